//! Which known name somebody may have meant.

/// The known name closest to `name`, if it is close enough to be a slip of the fingers.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (name.len().max(candidate.len()) / 3).max(1))
        .min()
        .map(|(_, candidate)| candidate)
}

/// `; did you mean ...?`, or nothing.
pub(crate) fn suggestion<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, known).map(|known| format!("; did you mean {known}?")).unwrap_or_default()
}

/// Characters to insert, remove, replace or swap with a neighbour, to make one of the other. O(a * b).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut next = vec![i];
        for j in 1..=b.len() {
            let changed = usize::from(a[i - 1] != b[j - 1]);
            let mut cost = (row[j - 1] + changed).min(row[j] + 1).min(next[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                let before: &Vec<usize> = &before;
                cost = cost.min(before[j - 2] + 1);
            }
            next.push(cost);
        }
        before = row;
        row = next;
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_a_stranger_is_not() {
        let known = ["address", "parity", "memory", "cache"];
        for (typed, expect) in [
            ("adress", Some("address")),
            ("partiy", Some("parity")),
            ("cahce", Some("cache")),
            ("memroy", Some("memory")),
            ("compression", None),
            ("x", None),
        ] {
            assert_eq!(nearest(typed, known), expect, "{typed}");
        }
        assert_eq!(suggestion("adress", known), "; did you mean address?");
        assert_eq!(suggestion("compression", known), "");
    }
}
