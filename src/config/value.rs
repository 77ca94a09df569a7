//! The values a config file is made of: addresses, port ranges, networks, secrets.
//! Does not know which key they belong to.

pub use sip::Transport;
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

/// Where SIP is awaited, written `udp:0.0.0.0:5060`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The transport.
    pub transport: Transport,
    /// The local address.
    pub address: SocketAddr,
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transport.param(), self.address)
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let example = "write a transport and an address, such as udp:0.0.0.0:5060";
        let (transport, address) = text.split_once(':').unwrap_or_default();
        let transport = Transport::named(transport).ok_or_else(|| {
            format!("`{text}` does not begin with udp:, tcp:, tls:, ws: or wss:; {example}")
        })?;
        let address =
            address.parse().map_err(|_| format!("`{address}` is not an IP address and a port; {example}"))?;
        Ok(Self { transport, address })
    }
}

/// UDP ports from `first` to `last`, both included, written `20000-29999`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// The lowest.
    pub first: u16,
    /// The highest.
    pub last: u16,
}

impl PortRange {
    /// Pairs of an even port for RTP and the odd one above it for RTCP (RFC 3550 section 11).
    pub fn pairs(self) -> usize {
        let first_even = u32::from(self.first).next_multiple_of(2);
        usize::try_from((u32::from(self.last) + 1).saturating_sub(first_even) / 2).unwrap_or(0)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let example = "write the lowest and the highest port, such as 20000-29999";
        let port = |part: &str| part.trim().parse::<u16>().ok();
        match text.split_once('-').map(|(first, last)| (port(first), port(last))) {
            Some((Some(first), Some(last))) if first > last => {
                Err(format!("`{text}` ends below its start; write {last}-{first}"))
            }
            Some((Some(first), Some(_))) if first < 1024 => {
                Err(format!("`{text}` reaches below port 1024, where only root may bind; {example}"))
            }
            Some((Some(first), Some(last))) => Ok(Self { first, last }),
            Some(_) | None => Err(format!("`{text}` is not a range of ports (1024 to 65535); {example}")),
        }
    }
}

/// Where RTP is awaited, as the flag `--rtp` writes it: `0.0.0.0:20000-29999`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpBind {
    /// The local address.
    pub address: IpAddr,
    /// Its ports.
    pub ports: PortRange,
}

impl FromStr for RtpBind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, ports) = text.rsplit_once(':').unwrap_or((text, ""));
        let inside = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
        let address = inside.parse().map_err(|_| {
            format!(
                "`{address}` is not an IP address; write an address and ports, such as 0.0.0.0:20000-29999"
            )
        })?;
        Ok(Self { address, ports: ports.parse()? })
    }
}

/// Addresses with a common beginning, written `192.0.2.0/24`; a single address is its own network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Any address of it.
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// How many bits are common to all of them.
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether an address belongs to it. An IPv4 address in IPv6 clothes counts as the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                (network.to_bits() ^ address.to_bits()).checked_shr(32 - u32::from(self.prefix)).unwrap_or(0)
                    == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                (network.to_bits() ^ address.to_bits()).checked_shr(128 - u32::from(self.prefix)).unwrap_or(0)
                    == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self { address, prefix: if address.is_ipv4() { 32 } else { 128 } }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not an address or a network; write 192.0.2.7 or 192.0.2.0/24");
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(bits), str::parse).map_err(|_| wrong())?;
        if prefix > bits {
            return Err(format!("`{text}` has more than {bits} bits; write a number up to /{bits}"));
        }
        Ok(Self { address, prefix })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse<T: FromStr<Err = String>>(text: &str) -> T {
        text.parse().unwrap_or_else(|wrong| panic!("{wrong}"))
    }

    #[test]
    fn a_range_counts_its_even_odd_pairs() {
        for (range, pairs) in
            [("20000-29999", 5000), ("20001-20002", 0), ("20001-20003", 1), ("65534-65535", 1)]
        {
            assert_eq!(parse::<PortRange>(range).pairs(), pairs, "{range}");
        }
        for wrong in ["", "20000", "9-8", "a-b", "80-90", "20000-70000"] {
            assert!(wrong.parse::<PortRange>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_network_knows_its_addresses() {
        let network: Network = parse("192.0.2.0/30");
        assert!(network.contains(parse_ip("192.0.2.3")) && network.contains(parse_ip("::ffff:192.0.2.3")));
        assert!(!network.contains(parse_ip("192.0.2.4")) && !network.contains(parse_ip("2001:db8::1")));
        assert!(parse::<Network>("0.0.0.0/0").contains(parse_ip("203.0.113.9")));
        assert!(parse::<Network>("2001:db8::/32").contains(parse_ip("2001:db8:1::1")));
        assert!(!parse::<Network>("192.0.2.7").contains(parse_ip("192.0.2.8")));
        assert!("192.0.2.0/33".parse::<Network>().is_err() && "carrier.example".parse::<Network>().is_err());
    }

    fn parse_ip(text: &str) -> IpAddr {
        text.parse().expect("a valid address")
    }

    #[test]
    fn listeners_and_flags_are_read_as_they_are_written() {
        assert_eq!(parse::<Listen>("TCP:[::]:5060").to_string(), "tcp:[::]:5060");
        for listen in ["tls:0.0.0.0:5061", "ws:127.0.0.1:80", "wss:[::1]:443"] {
            assert_eq!(parse::<Listen>(listen).to_string(), listen);
        }
        assert!("http:0.0.0.0:80".parse::<Listen>().is_err());
        assert_eq!(parse::<RtpBind>("[::1]:20000-20099").ports.pairs(), 50);
        assert!("0.0.0.0:5060".parse::<Listen>().is_err() && "udp:5060".parse::<Listen>().is_err());
    }
}
