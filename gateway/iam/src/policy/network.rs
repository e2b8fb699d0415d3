//! Networks of IP addresses, as `IpAddress` writes them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address with the bits that count. Networks within `::ffff:0:0/96` are those of IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Network {
    address: IpAddr,
    bits: u8,
}

/// Ranges that no packet of the internet comes from: RFC 1918, and RFC 4193 for IPv6.
const PRIVATE: [Network; 4] = [
    Network { address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)), bits: 8 },
    Network { address: IpAddr::V4(Ipv4Addr::new(172, 16, 0, 0)), bits: 12 },
    Network { address: IpAddr::V4(Ipv4Addr::new(192, 168, 0, 0)), bits: 16 },
    Network { address: IpAddr::V6(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0)), bits: 7 },
];
/// Shortest prefixes that S3 takes for narrow.
const NARROW_BITS_V4: u8 = 8;
const NARROW_BITS_V6: u8 = 32;
/// The bits of `::ffff:0:0/96`.
const MAPPED_BITS: u8 = 96;

impl Network {
    /// `203.0.113.0/24`, `2001:db8::/32`, or one address. Bits behind the prefix do not count.
    pub(super) fn parse(text: &str) -> Option<Network> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => width,
            Some(bits) => {
                let is_number = (1..=3).contains(&bits.len()) && bits.bytes().all(|b| b.is_ascii_digit());
                let bits = if is_number { bits.parse::<u8>().ok()? } else { return None };
                (bits <= width).then_some(bits)?
            }
        };
        let canonical = address.to_canonical();
        Some(match (address, canonical) {
            (IpAddr::V6(_), IpAddr::V4(_)) if bits >= MAPPED_BITS => {
                Network { address: canonical, bits: bits - MAPPED_BITS }
            }
            _ => Network { address, bits },
        })
    }

    /// An IPv4 address that is mapped into IPv6 is taken for what it is.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        let is_same = |ours: u128, theirs: u128, width: u8| {
            let behind = u32::from(width - self.bits);
            ours.checked_shr(behind).unwrap_or(0) == theirs.checked_shr(behind).unwrap_or(0)
        };
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                is_same(u128::from(u32::from(ours)), u128::from(u32::from(theirs)), 32)
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => is_same(u128::from(ours), u128::from(theirs), 128),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }

    /// Whether S3 takes it for a fixed set of clients.
    pub(super) fn is_narrow(&self) -> bool {
        let bits = match self.address {
            IpAddr::V4(_) => NARROW_BITS_V4,
            IpAddr::V6(_) => NARROW_BITS_V6,
        };
        self.bits >= bits || PRIVATE.iter().any(|private| self.bits >= private.bits && private.contains(self.address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_what_begins_like_them() {
        let check = |network: &str, address: &str, expect: bool| {
            let network = Network::parse(network).unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), expect, "{network:?} {address}");
        };
        check("203.0.113.0/24", "203.0.113.255", true);
        check("203.0.113.0/24", "203.0.114.0", false);
        check("203.0.113.77/24", "203.0.113.1", true);
        check("203.0.113.7", "203.0.113.7", true);
        check("203.0.113.7", "203.0.113.8", false);
        check("0.0.0.0/0", "255.255.255.255", true);
        check("0.0.0.0/0", "2001:db8::1", false);
        check("::/0", "2001:db8::1", true);
        check("::/0", "203.0.113.7", false);
        check("2001:db8::/32", "2001:db8:ffff::1", true);
        check("2001:db8::/32", "2001:db9::1", false);
        check("2001:db8::1", "2001:db8::1", true);
        // The same client, as a socket of both families shows it.
        check("203.0.113.0/24", "::ffff:203.0.113.9", true);
        check("::ffff:203.0.113.0/120", "203.0.113.9", true);
        check("::ffff:203.0.113.0/120", "::ffff:203.0.114.9", false);
        check("::ffff:203.0.113.9", "203.0.113.9", true);
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "x", "203.0.113", "203.0.113.0/33", "203.0.113.0/", "203.0.113.0/+8", "203.0.113.0/0008"]
            .into_iter()
            .chain(["203.0.113.*", "::/129", "::1/-1", "[::1]", "203.0.113.0/24/24", " 203.0.113.0", "010.0.0.1"])
        {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }

    #[test]
    fn narrow_networks_are_as_s3_says() {
        let check = |network: &str, expect: bool| {
            assert_eq!(Network::parse(network).unwrap().is_narrow(), expect, "{network}");
        };
        check("203.0.113.0/24", true);
        check("54.0.0.0/8", true);
        check("54.0.0.0/7", false);
        check("0.0.0.0/1", false);
        check("0.0.0.0/0", false);
        check("10.0.0.0/8", true);
        check("10.0.0.0/7", false);
        check("2001:db8::/32", true);
        check("2001:db8::/31", false);
        check("::/0", false);
        check("fc00::/7", true);
        check("fd00::/8", true);
        check("::ffff:0.0.0.0/96", false);
    }
}
