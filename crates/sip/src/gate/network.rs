//! A range of IP addresses, as `203.0.113.0/24` (RFC 4632, RFC 4291 section 2.3).
//! Knows prefixes. Resolves no names.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A range of addresses: all that share the first `prefix` bits with `address`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network {
    /// Any address of the range.
    pub address: IpAddr,
    /// How many bits are common: up to 32 for IPv4, up to 128 for IPv6.
    pub prefix: u8,
}

/// Why a text is not a [`Network`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Before the `/` stands no IP address.
    #[error("not an IP address")]
    Address,
    /// After the `/` stands no number of bits that the family has.
    #[error("not a prefix length")]
    Prefix,
}

impl Network {
    /// The range of one address.
    pub fn host(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self { address, prefix: width(address) }
    }

    /// Whether the address is in the range. An IPv4 address mapped into IPv6 is the IPv4 address: a dual-stack
    /// socket shows every IPv4 peer in that form.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (range, prefix) = self.canonical();
        match (range, address.to_canonical()) {
            (IpAddr::V4(range), IpAddr::V4(address)) => {
                same_bits(range.to_bits().into(), address.to_bits().into(), 32, prefix)
            }
            (IpAddr::V6(range), IpAddr::V6(address)) => {
                same_bits(range.to_bits(), address.to_bits(), 128, prefix)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }

    /// `::ffff:192.0.2.0/120` is `192.0.2.0/24`; a mapped range wider than IPv4 itself stays IPv6.
    fn canonical(&self) -> (IpAddr, u8) {
        match self.address.to_canonical() {
            canonical if canonical != self.address && self.prefix >= 96 => (canonical, self.prefix - 96),
            _ => (self.address, self.prefix),
        }
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn same_bits(one: u128, other: u128, width: u32, prefix: u8) -> bool {
    let ignored = width.saturating_sub(u32::from(prefix));
    (one ^ other).checked_shr(ignored).unwrap_or(0) == 0
}

impl FromStr for Network {
    type Err = NetworkError;

    /// Reads `address` or `address/prefix`. Bits after the prefix are allowed and mean nothing.
    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.trim().parse().map_err(|_| NetworkError::Address)?;
        let Some(prefix) = prefix else { return Ok(Self::host(address)) };
        match prefix.trim().parse::<u8>() {
            Ok(prefix) if prefix <= width(address) => Ok(Self { address, prefix }),
            Ok(_) | Err(_) => Err(NetworkError::Prefix),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(network: &str, address: &str) -> bool {
        network.parse::<Network>().expect("a network").contains(address.parse().expect("an address"))
    }

    #[test]
    fn a_range_ends_where_its_prefix_says() {
        assert!(contains("54.172.60.0/30", "54.172.60.3"));
        assert!(!contains("54.172.60.0/30", "54.172.60.4"));
        assert!(contains("54.172.60.2/30", "54.172.60.1"), "bits after the prefix mean nothing");
        assert!(contains("0.0.0.0/0", "203.0.113.9"));
        assert!(!contains("0.0.0.0/0", "2001:db8::1"), "all of IPv4 is not all of IPv6");
        assert!(contains("2001:db8::/32", "2001:db8:ffff::1"));
        assert!(!contains("2001:db8::/32", "2001:db9::1"));
        assert!(contains("::/0", "2001:db9::1"));
    }

    #[test]
    fn a_bare_address_is_a_range_of_one() {
        assert!(contains("192.0.2.7", "192.0.2.7"));
        assert!(!contains("192.0.2.7", "192.0.2.6"));
        assert_eq!("192.0.2.7".parse::<Network>().expect("a host").to_string(), "192.0.2.7/32");
    }

    #[test]
    fn a_mapped_address_is_its_ipv4_address_on_either_side() {
        assert!(contains("192.0.2.0/24", "::ffff:192.0.2.9"));
        assert!(contains("::ffff:192.0.2.0/120", "192.0.2.9"));
        assert!(!contains("::ffff:192.0.2.0/120", "192.0.3.9"));
        assert!(!contains("::/0", "::ffff:192.0.2.9"), "all of IPv6 does not open IPv4");
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for bad in
            ["", "x", "192.0.2.0/33", "2001:db8::/129", "192.0.2.0/", "192.0.2.0/-1", "/8", "192.0.2/24"]
        {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }
}
