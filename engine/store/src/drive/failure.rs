//! What an I/O error says about the drive.

use std::io;

const EIO: i32 = 5;
const ENXIO: i32 = 6;
const ENODEV: i32 = 19;
const EROFS: i32 = 30;
const ENOSPC: i32 = 28;
const ESHUTDOWN: i32 = 108;
const ETIMEDOUT: i32 = 110;
const ESTALE: i32 = 116;
const EUCLEAN: i32 = 117;
const EREMOTEIO: i32 = 121;
const EDQUOT: i32 = 122;

/// Read errors that a drive may show before it is taken out: a bad sector costs its fragments, which parity makes good,
/// while taking the drive out costs all it holds.
const READ_ERRORS_MAX: u64 = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Read,
    /// Writes, flushes, allocation, and changes of names.
    Write,
}

/// What follows from an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    /// The drive is full. That is no failure.
    Full,
    /// These bytes are lost; the drive goes on.
    Bytes,
    /// The drive is to be taken out.
    Drive,
}

/// Judges the `count`-th error of this kind on a drive.
pub(crate) fn blame(error: &io::Error, op: Op, count: u64) -> Blame {
    if is_full(error) {
        return Blame::Full;
    }
    match (op, error.raw_os_error()) {
        // After a failed write or flush nobody knows what the drive holds.
        (Op::Write, _) => Blame::Drive,
        (Op::Read, Some(ENXIO | ENODEV | ESHUTDOWN | ESTALE | EUCLEAN)) => Blame::Drive,
        (Op::Read, _) if count >= READ_ERRORS_MAX => Blame::Drive,
        (Op::Read, _) => Blame::Bytes,
    }
}

pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(ENOSPC | EDQUOT))
        || matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether a drive that answers so at the start counts as missing; other errors (permissions, not a directory) are the
/// operator's to correct.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(EIO | ENXIO | ENODEV | EROFS | ESHUTDOWN | ETIMEDOUT | ESTALE | EUCLEAN | EREMOTEIO)
    ) || error.kind() == io::ErrorKind::NotFound
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_judged_by_what_was_done() {
        let check = |errno: i32, op: Op, count: u64, expect: Blame| {
            let error = io::Error::from_raw_os_error(errno);
            assert_eq!(blame(&error, op, count), expect, "{error} {op:?} {count}");
        };
        check(ENOSPC, Op::Write, 1, Blame::Full);
        check(EDQUOT, Op::Write, 99, Blame::Full);
        check(EIO, Op::Write, 1, Blame::Drive);
        check(EROFS, Op::Write, 1, Blame::Drive);
        check(EIO, Op::Read, 1, Blame::Bytes);
        check(EIO, Op::Read, READ_ERRORS_MAX, Blame::Drive);
        check(ENODEV, Op::Read, 1, Blame::Drive);
    }
}
