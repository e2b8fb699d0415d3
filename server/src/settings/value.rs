//! How values are written: sizes, shares of a whole, durations, addresses, core lists.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// Every interface, IPv6 and IPv4: `:9000`.
    Every {
        port: u16,
    },
    One(SocketAddr),
}

impl Address {
    /// What to try to bind, the first that works wins: a machine may have no IPv6.
    pub(crate) fn candidates(&self) -> Vec<SocketAddr> {
        match self {
            Address::Every { port } => {
                vec![(Ipv6Addr::UNSPECIFIED, *port).into(), (Ipv4Addr::UNSPECIFIED, *port).into()]
            }
            Address::One(address) => vec![*address],
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Every { port } => write!(f, ":{port}"),
            Address::One(address) => address.fmt(f),
        }
    }
}

/// An amount of memory, or a share of what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    Bytes(u64),
    Percent(u8),
}

impl Share {
    pub(crate) fn of(self, whole_bytes: u64) -> u64 {
        match self {
            Share::Bytes(bytes) => bytes,
            Share::Percent(percent) => whole_bytes / 100 * u64::from(percent),
        }
    }
}

/// `:9000`, `127.0.0.1:9000`, `[::1]:9000`, `localhost:9000`. A name is looked up here, once.
pub(crate) fn address(text: &str) -> Result<Address, String> {
    let wrong = || format!("{text:?} is not an address: write :9000, 127.0.0.1:9000 or [::1]:9000");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().map_err(|_| wrong())?;
    if host.is_empty() {
        return Ok(Address::Every { port });
    }
    let mut found = text.to_socket_addrs().map_err(|error| format!("{text:?}: {error}"))?;
    found.next().map(Address::One).ok_or_else(wrong)
}

/// `4096`, `8GiB`, `512 MiB`, `1.5GB`: powers of 1024 with an `i`, of 1000 without.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a size: write 8GiB, 512MiB or 64KiB");
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len()));
    let scale: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return Err(wrong()),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(scale).ok_or_else(wrong);
    }
    let fraction: f64 = number.parse().map_err(|_| wrong())?;
    let bytes = fraction * scale as f64;
    // Far beyond what any machine has, and still exact enough as a float.
    if bytes < 1e18 { Ok(bytes as u64) } else { Err(wrong()) }
}

/// A size, or `25%`.
pub(crate) fn share(text: &str) -> Result<Share, String> {
    match text.trim().strip_suffix('%') {
        Some(percent) => match percent.trim().parse() {
            Ok(percent @ 1..=100) => Ok(Share::Percent(percent)),
            _ => Err(format!("{text:?} is not a share: write 1% to 100%")),
        },
        None => size(text).map(Share::Bytes).map_err(|error| format!("{error}, or a share as 25%")),
    }
}

/// `10s`, `500ms`, `2m`, `1h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration: write 10s, 500ms or 2m");
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let ms: u64 = match unit.trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(ms).filter(|ms| *ms > 0).map(Duration::from_millis).ok_or_else(wrong)
}

/// `true` or `false`.
pub(crate) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "true" | "on" | "yes" | "1" => Ok(true),
        "false" | "off" | "no" | "0" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

/// A whole number within bounds, both of them allowed.
pub(crate) fn number(text: &str, least: u64, most: u64) -> Result<u64, String> {
    match text.parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("{text:?} is not a number from {least} to {most}")),
    }
}

/// `0 2 4-7`: cores by number, each at most once.
pub(crate) fn cores(words: &[String]) -> Result<Vec<usize>, String> {
    const CORE_MAX: u64 = 4095;
    let mut cores = Vec::new();
    for word in words.iter().flat_map(|word| word.split([',', ' '])).filter(|word| !word.is_empty()) {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        let wrong = |_| format!("{word:?} is no core: write 3 or 4-7");
        let (first, last) = (number(first, 0, CORE_MAX).map_err(wrong)?, number(last, 0, CORE_MAX).map_err(wrong)?);
        for core in first..=last {
            let core = core as usize;
            if cores.contains(&core) {
                return Err(format!("core {core} is named twice"));
            }
            cores.push(core);
        }
    }
    Ok(cores)
}

/// Bytes for people: `1.5 GiB`.
pub(crate) fn show_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(value.fract() > 0.05 && value < 100.0);
    format!("{value:.digits$} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_binary_and_decimal_units() {
        for (text, expect) in [
            ("4096", Some(4096)),
            ("8GiB", Some(8 << 30)),
            ("512 MiB", Some(512 << 20)),
            ("64kib", Some(64 << 10)),
            ("1.5GB", Some(1_500_000_000)),
            ("8G", None),
            ("GiB", None),
            ("-1", None),
            ("18446744073709551615KiB", None),
            ("", None),
        ] {
            assert_eq!(size(text).ok(), expect, "{text}");
        }
        assert_eq!(share("25%").map(|share| share.of(1000)), Ok(250));
        assert_eq!(share("1KiB").map(|share| share.of(1)), Ok(1024));
        assert!(share("0%").is_err() && share("101%").is_err() && share("x").is_err());
    }

    #[test]
    fn durations_need_a_unit_and_are_not_zero() {
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2 m"), Ok(Duration::from_secs(120)));
        assert!(duration("10").is_err() && duration("0s").is_err() && duration("s").is_err());
    }

    #[test]
    fn an_address_without_a_host_means_every_interface() {
        assert_eq!(address(":9000"), Ok(Address::Every { port: 9000 }));
        assert_eq!(address("127.0.0.1:0"), Ok(Address::One("127.0.0.1:0".parse().unwrap())));
        assert_eq!(address("[::1]:80"), Ok(Address::One("[::1]:80".parse().unwrap())));
        for wrong in ["9000", "127.0.0.1", ":port", "127.0.0.1:70000", ""] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Address::Every { port: 7 }.candidates().len(), 2);
    }

    #[test]
    fn cores_are_numbers_and_ranges_without_repetition() {
        let check = |text: &str| cores(&[text.to_owned()]);
        assert_eq!(check("0 2,4-6"), Ok(vec![0, 2, 4, 5, 6]));
        assert!(check("1 1").is_err() && check("a").is_err() && check("1-b").is_err());
        assert!(check("0-99999999").is_err());
    }

    #[test]
    fn bytes_are_shown_for_people() {
        for (bytes, expect) in [(0, "0 B"), (1536, "1.5 KiB"), (64 << 20, "64 MiB"), (130 << 30, "130 GiB")] {
            assert_eq!(show_bytes(bytes), expect);
        }
    }
}
