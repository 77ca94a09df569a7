//! Under which of our addresses a peer reaches us, where that is not the address that we see ourselves (NAT).
//! Knows networks. Asks no one: the addresses are the operator's word.

use std::net::IpAddr;

/// A network as its address and the bits that count.
type Prefix = (IpAddr, u8);

/// Rules for the address in Via, Contact and SDP; the first that fits counts. Empty: always the local address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExternalAddresses(pub Vec<ExternalAddress>);

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalAddress {
    /// What peers outside see.
    pub address: IpAddr,
    /// Our interfaces that it stands for, as a network; `None`: all of the same family.
    pub local: Option<Prefix>,
    /// Peers in these networks see the local address; `None`: those in private networks do (RFC 1918, 4193, 3927 and
    /// loopback).
    pub except: Option<Vec<Prefix>>,
}

impl ExternalAddress {
    /// For every interface, with the usual exception of private peers.
    pub fn new(address: IpAddr) -> Self {
        Self { address, local: None, except: None }
    }

    fn fits(&self, local: IpAddr, peer: IpAddr) -> bool {
        let inside = match &self.except {
            Some(networks) => networks.iter().any(|network| within(*network, peer)),
            None => is_private(peer),
        };
        let ours = self.local.is_none_or(|network| within(network, local));
        self.address.is_ipv4() == local.to_canonical().is_ipv4() && ours && !inside
    }
}

impl ExternalAddresses {
    /// What `peer` is to be told about our address `local`.
    pub fn address(&self, local: IpAddr, peer: IpAddr) -> IpAddr {
        self.0.iter().find(|rule| rule.fits(local, peer)).map_or(local, |rule| rule.address)
    }
}

/// Whether an address is not of the internet at large.
pub(crate) fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

fn within((network, prefix): Prefix, ip: IpAddr) -> bool {
    let (one, other, width) = match (network, ip.to_canonical()) {
        (IpAddr::V4(one), IpAddr::V4(other)) => (one.to_bits().into(), other.to_bits().into(), 32),
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits(), other.to_bits(), 128),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
    };
    (one ^ other).checked_shr(u32::saturating_sub(width, prefix.into())).unwrap_or(0_u128) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_public_peer_sees_the_external_address_and_a_private_one_the_local() {
        let rules = ExternalAddresses(vec![ExternalAddress::new(ip("203.0.113.9"))]);
        assert_eq!(rules.address(ip("10.0.0.5"), ip("198.51.100.1")), ip("203.0.113.9"));
        assert_eq!(rules.address(ip("10.0.0.5"), ip("::ffff:198.51.100.1")), ip("203.0.113.9"));
        for private in ["10.9.9.9", "192.168.1.1", "172.16.0.1", "127.0.0.1", "169.254.1.1"] {
            assert_eq!(rules.address(ip("10.0.0.5"), ip(private)), ip("10.0.0.5"), "{private}");
        }
        assert_eq!(rules.address(ip("2001:db8::1"), ip("2001:db8::2")), ip("2001:db8::1"), "another family");
    }

    #[test]
    fn each_interface_has_its_own_address_and_its_own_exceptions() {
        let rules = ExternalAddresses(vec![
            ExternalAddress {
                address: ip("203.0.113.1"),
                local: Some((ip("10.1.0.0"), 16)),
                except: Some(vec![]),
            },
            ExternalAddress {
                address: ip("203.0.113.2"),
                local: Some((ip("10.2.0.0"), 16)),
                except: Some(vec![(ip("198.51.100.0"), 24)]),
            },
        ]);
        assert_eq!(rules.address(ip("10.1.0.5"), ip("10.9.9.9")), ip("203.0.113.1"), "no exception");
        assert_eq!(rules.address(ip("10.2.0.5"), ip("192.0.2.1")), ip("203.0.113.2"));
        assert_eq!(rules.address(ip("10.2.0.5"), ip("198.51.100.7")), ip("10.2.0.5"), "an exception");
        assert_eq!(rules.address(ip("10.3.0.5"), ip("192.0.2.1")), ip("10.3.0.5"), "no rule");
    }
}
