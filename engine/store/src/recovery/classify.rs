//! What a stripe at the end of a log counts for, from what was found of it. Pure: facts in, verdict out.

/// What is known of one fragment that the stripe should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Header and, above the known durable end, every byte of the payload are right.
    Whole,
    /// Its drive is there and answers, and the fragment is not on it.
    Missing,
    /// Its drive is absent, out, or does not answer: nothing can be said.
    Unknown,
}

/// What becomes of a stripe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It counts, and stays where it is.
    Keep,
    /// It counts, but not every fragment is proved to be there: it is committed again, and the stream ends before it.
    Recommit,
    /// It never became durable, so it was never acknowledged: the stream ends before it.
    Torn,
    /// It was acknowledged, or may have been, and cannot be read.
    Damaged,
}

/// Judges a stripe. `expected` has one item for each fragment that its length covers, parity included; any `needed` of
/// them give back its bytes. `durable` says that a later header, a recorded end or a checkpoint vouches for it.
///
/// An acknowledged stripe was durable on *every* drive. So one fragment that is missing on a drive which is there proves
/// that nobody was told "done" - unless something vouches for the stripe: then it has rotted. A fragment on an absent
/// drive proves nothing.
pub(super) fn classify(expected: &[Found], needed: usize, durable: bool) -> Verdict {
    assert!(needed >= 1 && needed <= expected.len(), "a stripe has fragments");
    let whole = expected.iter().filter(|found| **found == Found::Whole).count();
    let readable = whole >= needed;
    let complete = whole == expected.len();
    let missing = expected.contains(&Found::Missing);
    match (durable, readable) {
        (true, true) => Verdict::Keep,
        (true, false) => Verdict::Damaged,
        (false, true) if complete => Verdict::Keep,
        (false, true) => Verdict::Recommit,
        (false, false) if missing => Verdict::Torn,
        (false, false) => Verdict::Damaged,
    }
}

/// What is known of a fragment that every stripe has, at a place where no header of a stripe was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Front {
    /// It was read, and is not there.
    Empty,
    /// Its drive and its file are there, and it cannot be read.
    Unreadable,
    /// Its drive is not there.
    Absent,
}

/// Judges a place where the next stripe should begin and no header was found. `fronts` are those of the fragments that every
/// stripe has: the first one and parity. `durable` as for `classify`.
///
/// One that was read and is not there proves that nothing was acknowledged there. When none was read although some should be
/// readable, a bad sector may hide an acknowledged stripe: that is damage, not the end.
pub(super) fn classify_empty(fronts: &[Front], durable: bool) -> Verdict {
    let unreadable = !fronts.contains(&Front::Empty) && fronts.contains(&Front::Unreadable);
    if durable || unreadable { Verdict::Damaged } else { Verdict::Torn }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `fragments`: `+` whole, `-` missing on a drive that is there, `?` on an absent drive.
    fn check(fragments: &str, needed: usize, durable: Verdict, not_vouched_for: Verdict) {
        let expected: Vec<Found> = fragments
            .chars()
            .map(|c| match c {
                '+' => Found::Whole,
                '-' => Found::Missing,
                _ => Found::Unknown,
            })
            .collect();
        assert_eq!(classify(&expected, needed, true), durable, "{fragments} vouched for");
        assert_eq!(classify(&expected, needed, false), not_vouched_for, "{fragments} not vouched for");
    }

    #[test]
    fn every_kind_of_stripe_has_its_verdict() {
        use Verdict::*;
        // 1+0: one drive, no parity.
        check("+", 1, Keep, Keep);
        check("-", 1, Damaged, Torn);
        check("?", 1, Damaged, Damaged);
        // 1+1: two copies.
        check("++", 1, Keep, Keep);
        check("+-", 1, Keep, Recommit);
        check("+?", 1, Keep, Recommit);
        check("--", 1, Damaged, Torn);
        check("-?", 1, Damaged, Torn);
        check("??", 1, Damaged, Damaged);
        // 4+2 with all data fragments in use.
        check("++++++", 4, Keep, Keep);
        check("+++++-", 4, Keep, Recommit);
        check("++++--", 4, Keep, Recommit);
        check("++++??", 4, Keep, Recommit);
        check("++++?-", 4, Keep, Recommit);
        check("+++---", 4, Damaged, Torn);
        // One fragment is missing where its drive is there: not acknowledged, whatever the absent drives hold.
        check("+++-??", 4, Damaged, Torn);
        check("-----?", 4, Damaged, Torn);
        // More drives absent than parity makes up for, nothing missing on the others: it may have been acknowledged.
        check("+++???", 4, Damaged, Damaged);
        check("??????", 4, Damaged, Damaged);
        // 4+2, but the batch fills one fragment only: three are implied zero, any one of the three written ones is enough.
        check("+++", 1, Keep, Keep);
        check("+--", 1, Keep, Recommit);
        check("?+?", 1, Keep, Recommit);
        check("---", 1, Damaged, Torn);
        check("?-?", 1, Damaged, Torn);
    }

    #[test]
    fn a_bad_sector_at_the_end_is_no_end() {
        use Verdict::*;
        // `-` read and empty, `!` cannot be read, `?` on an absent drive.
        let check = |fronts: &str, durable: Verdict, not_vouched_for: Verdict| {
            let front = |c| match c {
                '-' => Front::Empty,
                '!' => Front::Unreadable,
                _ => Front::Absent,
            };
            let found: Vec<Front> = fronts.chars().map(front).collect();
            assert_eq!(classify_empty(&found, true), durable, "{fronts} vouched for");
            assert_eq!(classify_empty(&found, false), not_vouched_for, "{fronts} not vouched for");
        };
        // Without parity the first fragment alone knows.
        check("-", Damaged, Torn);
        check("!", Damaged, Damaged);
        // With two parities one of three is enough.
        check("---", Damaged, Torn);
        check("!!-", Damaged, Torn);
        check("??-", Damaged, Torn);
        check("!!!", Damaged, Damaged);
        check("!??", Damaged, Damaged);
        // Nothing is there to ask: a start that goes on without these drives was told to give up what only they had.
        check("???", Damaged, Torn);
    }

    #[test]
    fn losing_more_never_makes_a_stripe_count_for_more() {
        let rank = |verdict| match verdict {
            Verdict::Keep => 3,
            Verdict::Recommit => 2,
            Verdict::Torn | Verdict::Damaged => 1,
        };
        let kinds = [Found::Whole, Found::Missing, Found::Unknown];
        for code in 0..3usize.pow(5) {
            let stripe: Vec<Found> = (0..5).map(|i| kinds[code / 3usize.pow(i) % 3]).collect();
            for durable in [true, false] {
                let before = classify(&stripe, 3, durable);
                for lost in 0..stripe.len() {
                    for kind in [Found::Missing, Found::Unknown] {
                        if stripe[lost] == Found::Whole {
                            let mut worse = stripe.clone();
                            worse[lost] = kind;
                            let after = classify(&worse, 3, durable);
                            assert!(rank(after) <= rank(before), "{stripe:?} {worse:?}");
                        }
                    }
                }
            }
        }
    }
}
