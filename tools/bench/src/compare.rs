//! Two results side by side: the median of each, how far the repeats lie apart, and the ratio.

use std::collections::BTreeSet;
use std::fs;

use crate::result::{FORM, KindResult, Repeat, RunResult};

pub(crate) fn read(path: &str) -> Result<RunResult, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("read {path}: {error}"))?;
    let result: RunResult = serde_json::from_str(&text).map_err(|error| format!("{path}: {error}"))?;
    if result.form != FORM {
        return Err(format!("{path}: of form {}, {FORM} is known", result.form));
    }
    Ok(result)
}

type Figure = (&'static str, fn(&KindResult) -> f64);

const FIGURES: &[Figure] = &[
    ("per second", |kind| kind.per_second),
    ("MiB/s", |kind| kind.mib_per_second),
    ("p50 us", |kind| kind.p50_us as f64),
    ("p99 us", |kind| kind.p99_us as f64),
    ("p99.9 us", |kind| kind.p999_us as f64),
    ("failed", |kind| kind.failed as f64),
];

pub(crate) fn table(before: &RunResult, after: &RunResult) -> String {
    let mut text = format!("before: {}\nafter:  {}\n\n", before.command, after.command);
    text += &format!("{:<16} {:<11} {:>26} {:>26} {:>7}\n", "", "", "before", "after", "ratio");
    let kinds: BTreeSet<&String> =
        [before, after].iter().flat_map(|run| &run.repeats).flat_map(|repeat| repeat.kinds.keys()).collect();
    for kind in kinds {
        for (name, figure) in FIGURES {
            let of = |run: &RunResult| values(run, |repeat| repeat.kinds.get(kind).map(figure));
            text += &row(kind, name, &of(before), &of(after));
        }
    }
    let cpu = |run: &RunResult| values(run, |repeat| repeat.usage.map(|usage| usage.cpu_us));
    text + &row("all", "CPU us", &cpu(before), &cpu(after))
}

fn values(run: &RunResult, of: impl Fn(&Repeat) -> Option<f64>) -> Vec<f64> {
    let mut values: Vec<f64> = run.repeats.iter().filter_map(of).collect();
    values.sort_by(f64::total_cmp);
    values
}

/// Empty when neither has the figure.
fn row(kind: &str, name: &str, before: &[f64], after: &[f64]) -> String {
    let (Some(old), Some(new)) = (median(before), median(after)) else {
        return if before.is_empty() && after.is_empty() {
            String::new()
        } else {
            format!("{kind:<16} {name:<11} {:>26} {:>26}\n", spread(before), spread(after))
        };
    };
    if old == 0.0 && new == 0.0 {
        return String::new();
    }
    let ratio = if old == 0.0 { "-".to_owned() } else { format!("{:.2}", new / old) };
    format!("{kind:<16} {name:<11} {:>26} {:>26} {ratio:>7}\n", spread(before), spread(after))
}

/// Of sorted values.
fn median(values: &[f64]) -> Option<f64> {
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        len if len % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

/// The median, with the least and the largest of several.
fn spread(values: &[f64]) -> String {
    match (median(values), values) {
        (None, _) => "-".to_owned(),
        (Some(middle), [first, .., last]) => format!("{middle:.1} ({first:.1}-{last:.1})"),
        (Some(middle), _) => format!("{middle:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_the_repeats_is_compared() {
        assert_eq!((median(&[]), median(&[1.0, 2.0, 9.0]), median(&[1.0, 3.0])), (None, Some(2.0), Some(2.0)));
        assert_eq!(spread(&[1.0, 2.0, 9.0]), "2.0 (1.0-9.0)");
        let row = row("get", "p50 us", &[100.0], &[50.0]);
        assert!(row.ends_with("   0.50\n"), "{row}");
        assert_eq!(super::row("get", "failed", &[0.0], &[0.0]), "");
        assert!(super::row("get", "failed", &[0.0], &[1.0]).ends_with("      -\n"));
    }
}
