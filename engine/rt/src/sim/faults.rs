//! What can go wrong on a drive and with the clock, and the counters that prove that it did.

/// One class of faults, as counted by `World::fault_count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// An unsynced write that a crash lost, tore, or kept.
    CrashLost,
    CrashTorn,
    CrashKept,
    /// A change of a name that a crash undid.
    CrashNameLost,
    ReadError,
    WriteError,
    SyncError,
    /// An acknowledged write that never reached the medium.
    LostWrite,
    /// A write that went to another place of the same file.
    Misdirected,
    BitFlipRead,
    BitFlipWrite,
    BitFlipAtRest,
    /// A sync that was acknowledged but made nothing durable.
    LyingSync,
    ShortIo,
    NoSpace,
    Slow,
    Hang,
    Dead,
    Removed,
    /// The one operation that was to fail.
    OneFailed,
    /// The wall clock had jumped when it was read.
    ClockJump,
}

/// The state of one drive. Chances are between 0 and 1, per operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Faults {
    pub read_error: f64,
    pub write_error: f64,
    pub sync_error: f64,
    pub lost_write: f64,
    pub misdirected_write: f64,
    pub bit_flip_read: f64,
    pub bit_flip_write: f64,
    pub lying_sync: f64,
    pub short_io: f64,
    /// Everything that needs space fails.
    pub no_space: bool,
    /// Multiplies the time of every operation.
    pub slow_factor: u32,
    /// Operations do not complete until this is taken back.
    pub hang: bool,
    /// Every operation fails with EIO.
    pub dead: bool,
    /// The directory is not there; open files fail with EIO.
    pub removed: bool,
}

impl Default for Faults {
    /// A healthy drive.
    fn default() -> Faults {
        Faults {
            read_error: 0.0,
            write_error: 0.0,
            sync_error: 0.0,
            lost_write: 0.0,
            misdirected_write: 0.0,
            bit_flip_read: 0.0,
            bit_flip_write: 0.0,
            lying_sync: 0.0,
            short_io: 0.0,
            no_space: false,
            slow_factor: 1,
            hang: false,
            dead: false,
            removed: false,
        }
    }
}
