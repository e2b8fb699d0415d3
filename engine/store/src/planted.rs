//! Bugs that are planted on purpose, to prove that the rigs of this crate catch what they are there for.
//!
//! Each site asks `is`, which is a constant `false` without the feature `sim`: nothing of it is left in a server. One bug at a
//! time, and per thread: a simulation runs on one.

/// What is done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "sim"), expect(unreachable_pub, reason = "named outside in simulations only"))]
pub enum Bug {
    /// Log fragments are written without being made durable.
    LogNotSynced,
    /// A batch is acknowledged before the last of its fragments is durable.
    LogAcknowledgedEarly,
    /// Parity of a batch is not written.
    LogParityNotWritten,
    /// The successor of a log volume does not record where that ends.
    SuccessorForgetsEnd,
    /// A commit that failed still counts for later decisions.
    FailedStaysDecided,
    /// Readers see entries that are not durable.
    VisibleBeforeDurable,
    /// A put is acknowledged when it is decided.
    AcknowledgedBeforeDurable,
    /// What a commit replaces is looked up among durable entries only.
    ConditionsIgnorePending,
    /// A commit lets go of the new body instead of the old one.
    ReleasesNewBody,
    /// Data volumes are not flushed.
    DataFlushSkipped,
    /// A flush counts for writes that completed after it was submitted.
    FlushCoversLaterWrites,
    /// A fragment of a large body counts as durable although the drive has not answered.
    HungCountsAsDurable,
    /// Parity of a piece of a large body is not written.
    DataParityNotWritten,
    /// The checksum of a small body is not looked at.
    BodyChecksumSkipped,
    /// The checksums of blocks are not looked at.
    BlockChecksumSkipped,
    /// Recovery leaves out the last entry of each batch.
    RecoveryDropsLastEntry,
    /// Recovery counts entries that the tables hold already once more.
    RecoveryCountsTwice,
    /// Recovery reads beyond the recorded end of a log volume.
    RecoveryReadsBeyondEnd,
    /// A batch of which fragments are missing is not committed again.
    RecoveryTrustsTail,
    /// A start takes the number of the one before, and with it LSNs and volume ids.
    StartNumberReused,
    /// A drive that was taken out and comes back is read.
    StaleDriveUsed,
    /// A checkpoint covers entries that were decided but not flushed.
    CheckpointTooFar,
    /// Counters are not written with the tables.
    CountersNotFlushed,
    /// Deletes are not written to the tables.
    TombstonesNotFlushed,
    /// Tables count as copied, and no copy is made.
    CopiesSkipped,
    /// A log volume is removed before checkpoints lie beyond it.
    LogFreedUncovered,
    /// A dead range is a page too long.
    PunchTooLong,
    /// What an earlier start left counts as nobody's although an extent covers it.
    RemainsPunchLive,
    /// Space is freed under those who read it.
    ReadersNotAwaited,
    /// Compaction does not look whether the key still has the body that it moves.
    CompactionBlind,
    /// Compaction moves the body of another version without the lock of its key.
    CompactionUnlocked,
    /// The newest of the others does not become the current object when that is deleted.
    VersionNotPromoted,
    /// Where the null version is does not get written when it is another one than the current.
    NullVersionForgotten,
    /// A null version stays beside the one that replaces it.
    NullVersionKept,
    /// The name of a new slot file is not made durable.
    VolumeNameNotSynced,
    /// The first page of a new slot file is not made durable.
    VolumePageNotSynced,
    /// Rebuild leaves out the end of a slot.
    RebuildStopsEarly,
    /// Rebuild does not make parity fragments again.
    RebuildSkipsParity,
    /// A slot that has moved is used, and the old one removed, before the new one is durable.
    MoveNotSynced,
    /// A slot may move to a drive that holds another one of its volume.
    MoveSharesDrive,
    /// Recovery does not look whether drives lack what they had acknowledged.
    BehindNotNoticed,
    /// Repair computes from fragments that are bad.
    RepairFromBad,
    /// Repair does not write what it computed.
    RepairNotWritten,
    /// The census counts missing fragments as good.
    CensusCountsMissing,
    /// Healing reports that nothing is missing while it rebuilds.
    HealDoneEarly,
    /// A slot that was made again without all that was in it counts as any other.
    HollowCountsAsHealed,
    /// Healing reports nothing of copies of tables that are missing.
    TableCopiesNotCounted,
    /// The checksums of tables are not looked at when their copies are scrubbed.
    TableScrubSkipsChecksum,
    /// A rebuild goes on at full speed beside requests.
    RebuildNeverRests,
}

#[cfg(feature = "sim")]
impl Bug {
    /// All of them.
    pub const ALL: &[Bug] = &[
        Bug::LogNotSynced,
        Bug::LogAcknowledgedEarly,
        Bug::LogParityNotWritten,
        Bug::SuccessorForgetsEnd,
        Bug::FailedStaysDecided,
        Bug::VisibleBeforeDurable,
        Bug::AcknowledgedBeforeDurable,
        Bug::ConditionsIgnorePending,
        Bug::ReleasesNewBody,
        Bug::DataFlushSkipped,
        Bug::FlushCoversLaterWrites,
        Bug::HungCountsAsDurable,
        Bug::DataParityNotWritten,
        Bug::BodyChecksumSkipped,
        Bug::BlockChecksumSkipped,
        Bug::RecoveryDropsLastEntry,
        Bug::RecoveryCountsTwice,
        Bug::RecoveryReadsBeyondEnd,
        Bug::RecoveryTrustsTail,
        Bug::StartNumberReused,
        Bug::StaleDriveUsed,
        Bug::CheckpointTooFar,
        Bug::CountersNotFlushed,
        Bug::TombstonesNotFlushed,
        Bug::CopiesSkipped,
        Bug::LogFreedUncovered,
        Bug::PunchTooLong,
        Bug::RemainsPunchLive,
        Bug::ReadersNotAwaited,
        Bug::CompactionBlind,
        Bug::CompactionUnlocked,
        Bug::VersionNotPromoted,
        Bug::NullVersionForgotten,
        Bug::NullVersionKept,
        Bug::VolumeNameNotSynced,
        Bug::VolumePageNotSynced,
        Bug::RebuildStopsEarly,
        Bug::RebuildSkipsParity,
        Bug::MoveNotSynced,
        Bug::MoveSharesDrive,
        Bug::BehindNotNoticed,
        Bug::RepairFromBad,
        Bug::RepairNotWritten,
        Bug::CensusCountsMissing,
        Bug::HealDoneEarly,
        Bug::HollowCountsAsHealed,
        Bug::TableCopiesNotCounted,
        Bug::TableScrubSkipsChecksum,
        Bug::RebuildNeverRests,
    ];
}

#[cfg(feature = "sim")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Plants a bug on this thread instead of the one before; `None`: none.
#[cfg(feature = "sim")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether this bug is planted on this thread.
#[cfg(feature = "sim")]
pub(crate) fn is(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

#[cfg(not(feature = "sim"))]
#[inline(always)]
pub(crate) const fn is(_: Bug) -> bool {
    false
}
