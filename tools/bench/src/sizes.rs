//! How large objects are: a function of their number, so that whoever knows the number knows the size.

use std::fs;

use crate::random::Random;

/// Distributions from a file or a list may have so many sizes.
const ROWS_MAX: usize = 100_000;
/// What is spread by magnitude covers so many powers of two below the largest size.
const OCTAVES: f64 = 8.0;
/// No smaller power of two than this is one of them.
const LEAST_OCTAVE: f64 = 7.0;

/// What `--size` says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Sizes {
    Fixed(u64),
    /// Each size from the first to the last as often.
    Uniform(u64, u64),
    /// Each magnitude as often, as warp's `--obj.randsize` does: the mean is about 0.18 of the largest.
    Magnitudes(u64),
    /// Sizes with the sum of the weights up to and with theirs.
    Weighted(Vec<(u64, u64)>),
}

impl Sizes {
    /// `4KiB`; `1KiB..64KiB`; `random:10MiB`; `4096:10740,8192:1685` (sizes and weights); `@FILE` with one `SIZE WEIGHT` a line.
    pub(crate) fn parse(text: &str) -> Result<Sizes, String> {
        if let Some(path) = text.strip_prefix('@') {
            let rows = fs::read_to_string(path).map_err(|error| format!("read {path}: {error}"))?;
            let lines = rows.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
            return weighted(lines.map(|line| line.split_once(char::is_whitespace).ok_or_else(|| no_row(line))));
        }
        if let Some(largest) = text.strip_prefix("random:") {
            return Ok(Sizes::Magnitudes(bytes(largest)?.max(1)));
        }
        if let Some((first, last)) = text.split_once("..") {
            let (first, last) = (bytes(first)?, bytes(last)?);
            return if first <= last {
                Ok(Sizes::Uniform(first, last))
            } else {
                Err(format!("{text}: the first is larger"))
            };
        }
        if text.contains(':') {
            return weighted(text.split(',').map(|row| row.split_once(':').ok_or_else(|| no_row(row))));
        }
        Ok(Sizes::Fixed(bytes(text)?))
    }

    /// The size of the object with this number.
    pub(crate) fn of(&self, number: u64) -> u64 {
        let mut random = Random::new(number);
        match self {
            Sizes::Fixed(size) => *size,
            Sizes::Uniform(first, last) => first + random.below(last - first + 1),
            Sizes::Magnitudes(largest) => {
                let top = (*largest as f64).log2();
                let low = (top - OCTAVES).max(LEAST_OCTAVE).min(top);
                let share = random.share();
                let above = share * (top - low);
                // All below the lowest octaves alike: the curve would leave the smallest sizes out.
                let size = if above > 1.0 { (low + above).exp2() } else { share * (low + 1.0).exp2() };
                (size as u64 + 1).min(*largest)
            }
            Sizes::Weighted(rows) => {
                let total = rows.last().expect("a distribution has rows").1;
                let drawn = random.below(total);
                rows[rows.partition_point(|(_, upto)| *upto <= drawn)].0
            }
        }
    }
}

fn no_row(row: &str) -> String {
    format!("{row}: a size and a weight are asked for")
}

fn weighted<'a>(rows: impl Iterator<Item = Result<(&'a str, &'a str), String>>) -> Result<Sizes, String> {
    let (mut found, mut total) = (Vec::new(), 0_u64);
    for row in rows {
        let (size, weight) = row?;
        let weight: u64 = weight.trim().parse().map_err(|_| format!("weight {weight}: not a number"))?;
        if weight == 0 {
            continue;
        }
        total = total.checked_add(weight).ok_or("the weights are too large")?;
        found.push((bytes(size.trim())?, total));
        if found.len() > ROWS_MAX {
            return Err(format!("more than {ROWS_MAX} sizes"));
        }
    }
    if found.is_empty() { Err("no size has a weight".to_owned()) } else { Ok(Sizes::Weighted(found)) }
}

/// `4096`, `4KiB`, `4K`, `4KB`: the last two are 1024 and 1000.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return Err(format!("{text}: not a size")),
    };
    let number = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    number.ok_or_else(|| format!("{text}: not a size"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_what_is_none_is_refused() {
        let check = |text: &str, expect: Result<Sizes, &str>| {
            assert_eq!(Sizes::parse(text), expect.map_err(str::to_owned), "{text}");
        };
        check("4KiB", Ok(Sizes::Fixed(4096)));
        check("10MB", Ok(Sizes::Fixed(10_000_000)));
        check("0", Ok(Sizes::Fixed(0)));
        check("1k..2K", Ok(Sizes::Uniform(1024, 2048)));
        check("random:1MiB", Ok(Sizes::Magnitudes(1 << 20)));
        check("4096:3,8K:1,5:0", Ok(Sizes::Weighted(vec![(4096, 3), (8192, 4)])));
        check("2K..1K", Err("2K..1K: the first is larger"));
        check("4096:x", Err("weight x: not a number"));
        check("4096:1,7", Err("7: a size and a weight are asked for"));
        check("4096:0", Err("no size has a weight"));
        check("4XB", Err("4XB: not a size"));
        check("99999999999TiB", Err("99999999999TiB: not a size"));
        check("", Err(": not a size"));
    }

    #[test]
    fn sizes_follow_their_distribution() {
        let mean = |sizes: &Sizes| (0..20_000).map(|number| sizes.of(number)).sum::<u64>() as f64 / 20_000.0;
        let uniform = Sizes::Uniform(1000, 3000);
        assert!((0..20_000).all(|number| (1000..=3000).contains(&uniform.of(number))));
        assert!((1980.0..2020.0).contains(&mean(&uniform)));
        let magnitudes = Sizes::Magnitudes(10 << 20);
        assert!((0..20_000).all(|number| (1..=10 << 20).contains(&magnitudes.of(number))));
        let share = mean(&magnitudes) / f64::from(10 << 20);
        assert!((0.17..0.19).contains(&share), "{share}");
        assert!((0..1000).all(|number| (1..=4).contains(&Sizes::Magnitudes(4).of(number))));
        let weighted = Sizes::Weighted(vec![(1, 3), (100, 4)]);
        let large = (0..20_000).filter(|number| weighted.of(*number) == 100).count();
        assert!((4700..5300).contains(&large), "{large}");
        assert_eq!(uniform.of(7), uniform.of(7));
    }
}
