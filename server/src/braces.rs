//! Brace ranges in directory names: `/data{1..6}`, also `{1...6}`, for shells and files that do not expand them.

/// Names one pattern may stand for.
const NAMES_MAX: usize = 1024;

/// What a name with ranges stands for, in order; the name itself when it has none. Several ranges multiply. A width
/// with leading zeros is kept: `{01..12}`.
///
/// Errors: a range that is not two numbers in rising order, or more than `NAMES_MAX` names.
pub(crate) fn expand(pattern: &str) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    expand_into(pattern, &mut names)?;
    Ok(names)
}

fn expand_into(pattern: &str, names: &mut Vec<String>) -> Result<(), String> {
    let range = pattern.find('{').and_then(|open| Some((open, open + pattern[open..].find('}')?)));
    let Some((open, close)) = range else {
        if names.len() == NAMES_MAX {
            return Err(format!("more than {NAMES_MAX} directories"));
        }
        names.push(pattern.to_owned());
        return Ok(());
    };
    let inside = &pattern[open + 1..close];
    let wrong = || format!("{{{inside}}} is not a range: write {{1..6}}");
    let (first, last) = inside.split_once("...").or_else(|| inside.split_once("..")).ok_or_else(wrong)?;
    let bound = |text: &str| -> Result<u64, String> {
        let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|_| is_number).ok_or_else(wrong)
    };
    let (from, to) = (bound(first)?, bound(last)?);
    if from > to {
        return Err(wrong());
    }
    let width = if first.starts_with('0') || last.starts_with('0') { first.len().max(last.len()) } else { 0 };
    for number in from..=to {
        let (before, after) = (&pattern[..open], &pattern[close + 1..]);
        expand_into(&format!("{before}{number:0width$}{after}"), names)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, expect: &[&str]) {
        assert_eq!(expand(pattern).unwrap(), expect, "{pattern}");
    }

    #[test]
    fn ranges_are_expanded_with_two_or_three_dots() {
        check("/data", &["/data"]);
        check("/data{1..3}", &["/data1", "/data2", "/data3"]);
        check("/data{1...3}", &["/data1", "/data2", "/data3"]);
        check("/data{08..10}/x", &["/data08/x", "/data09/x", "/data10/x"]);
        check("/n{1..2}/d{1..2}", &["/n1/d1", "/n1/d2", "/n2/d1", "/n2/d2"]);
        check("/odd}name{", &["/odd}name{"]);
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for pattern in ["/d{3..1}", "/d{a..c}", "/d{1,2}", "/d{}", "/d{1..}", "/d{+1..2}", "/d{1..999999999}"] {
            assert!(expand(pattern).is_err(), "{pattern}");
        }
    }
}
