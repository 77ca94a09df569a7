//! Whom tools may reach: hosts that an operator wrote down, at addresses that are no business of ours inside.
//! Knows names and addresses. Asked before every request, after every redirect and for every answer of the DNS.

use crate::config::Network;
use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};
use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
    sync::Arc,
};

/// A host that may be reached, written `api.example.com`, `*.example.com` or `api.example.com:8443`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AllowedHost {
    name: String,
    /// Any name below it, not itself.
    below: bool,
    /// Any port where absent.
    port: Option<u16>,
}

impl FromStr for AllowedHost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a host; write api.example.com, *.example.com or HOST:PORT");
        let (below, rest) = text.strip_prefix("*.").map_or((false, text), |rest| (true, rest));
        let url = Url::parse(&format!("http://{rest}/")).map_err(|_| wrong())?;
        let bare = url.path() == "/" && url.query().is_none() && url.username().is_empty();
        let name = url.host_str().filter(|_| bare && !rest.contains('/')).ok_or_else(wrong)?;
        // The scheme's own port disappears in a URL: what was written counts.
        let port = rest.rsplit_once(':').filter(|(_, port)| !port.ends_with(']'));
        let port = port.map(|(_, port)| port.parse().map_err(|_| wrong())).transpose()?;
        Ok(Self { name: name.to_owned(), below, port })
    }
}

impl fmt::Display for AllowedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        write!(f, "{}{}{port}", if self.below { "*." } else { "" }, self.name)
    }
}

impl AllowedHost {
    fn covers(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default().trim_end_matches('.');
        let named = match self.below {
            true => host.strip_suffix(&self.name).is_some_and(|before| before.ends_with('.')),
            false => host == self.name,
        };
        named && self.port.is_none_or(|port| url.port_or_known_default() == Some(port))
    }
}

/// Whom tools may reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Nobody else is reached.
    pub hosts: BTreeSet<AllowedHost>,
    /// Networks that may be reached although they are private, loopback or link-local.
    pub networks: Vec<Network>,
}

impl Reach {
    /// Whether a URL may be asked, as far as its text tells.
    ///
    /// # Errors
    /// Why not, for whoever reads the trace.
    pub fn check(&self, url: &Url) -> Result<(), String> {
        if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() || url.password().is_some()
        {
            return Err("only plain http and https URLs may be reached".to_owned());
        }
        let host = url.host_str().unwrap_or_default();
        if !self.hosts.iter().any(|allowed| allowed.covers(url)) {
            return Err(format!("{host} is not one of the hosts that tools may reach"));
        }
        // An address in the URL never passes through the resolver.
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        match literal {
            Ok(address) if !self.allows(address) => Err(not_public(host)),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Whether an address may be connected to.
    pub fn allows(&self, address: IpAddr) -> bool {
        is_public(address) || self.networks.iter().any(|network| network.contains(address))
    }
}

fn not_public(host: &str) -> String {
    format!("{host} is at a private, loopback or link-local address, which tools may not reach")
}

/// Resolves names for tools: an answer that may not be reached is as good as none. Connections are made to exactly the
/// addresses that were looked at, so that a name that changes its mind gains nothing.
pub(super) struct CheckedNames(pub(super) Arc<Reach>);

impl Resolve for CheckedNames {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = Arc::clone(&self.0);
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let allowed: Vec<SocketAddr> =
                found.into_iter().filter(|address| reach.allows(address.ip())).collect();
            if allowed.is_empty() {
                return Err(not_public(name.as_str()).into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// Whether an address belongs to the public internet (the IANA special-purpose registries, RFC 6890).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match embedded_v4(address) {
            Some(inside) => is_public_v4(inside),
            None => is_public_v6(address),
        },
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = matches!(
        (a, b, c),
        (0 | 10 | 127, _, _)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 168, _)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
            | (224..=255, _, _)
    );
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    // Global unicast is 2000::/3; without documentation, benchmarks, Teredo and the like.
    let special =
        first == 0x2001 && (second < 0x200 || second == 0xdb8) || first == 0x3fff && second < 0x1000;
    (0x2000..=0x3fff).contains(&first) && !special
}

/// The IPv4 address that an IPv6 address stands for: mapped, compatible, NAT64 (RFC 6052) or 6to4 (RFC 3056).
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match segments {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] if (high, low) > (0, 1) => Some(v4(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(v4(high, low)),
        [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(hosts: &[&str], networks: &[&str]) -> Reach {
        Reach {
            hosts: hosts.iter().map(|host| host.parse().expect("a host")).collect(),
            networks: networks.iter().map(|network| network.parse().expect("a network")).collect(),
        }
    }

    fn allowed(reach: &Reach, url: &str) -> bool {
        reach.check(&Url::parse(url).expect("a URL")).is_ok()
    }

    #[test]
    fn only_hosts_that_were_written_down_are_reached() {
        let reach = reach(&["api.example.com", "*.shop.example", "odd.example:8443"], &[]);
        for good in [
            "https://api.example.com/x",
            "https://API.example.com./x",
            "http://a.b.shop.example/",
            "https://odd.example:8443/",
        ] {
            assert!(allowed(&reach, good), "{good}");
        }
        for bad in [
            "https://example.com/",
            "https://api.example.com.evil.example/",
            "https://evilshop.example/",
            "https://shop.example/",
            "https://odd.example/",
            "https://user@api.example.com/",
            "ftp://api.example.com/",
            "file:///etc/passwd",
        ] {
            assert!(!allowed(&reach, bad), "{bad}");
        }
    }

    #[test]
    fn an_address_inside_is_refused_however_it_is_written() {
        let hosts = [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f.1",
            "0",
            "10.0.0.1",
            "172.16.9.9",
            "192.168.1.1",
            "100.64.0.1",
            "169.254.169.254",
            "[::1]",
            "[::]",
            "[fe80::1]",
            "[fd00::1]",
            "[::ffff:10.0.0.1]",
            "[64:ff9b::a00:1]",
            "[2002:a00:1::]",
            "[2001:db8::1]",
            "255.255.255.255",
            "224.0.0.1",
            "198.18.0.1",
        ];
        for host in hosts {
            let reach = reach(&[host], &[]);
            assert!(!allowed(&reach, &format!("http://{host}/")), "{host}");
        }
        for host in ["93.184.215.14", "[2606:2800:21f::1]"] {
            assert!(allowed(&reach(&[host], &[]), &format!("http://{host}/")), "{host}");
        }
    }

    #[test]
    fn a_network_inside_can_be_allowed() {
        let reach = reach(&["10.1.2.3", "10.2.0.1", "127.0.0.1:8000"], &["10.1.0.0/16", "127.0.0.1"]);
        assert!(allowed(&reach, "http://10.1.2.3/"));
        assert!(!allowed(&reach, "http://10.2.0.1/"));
        assert!(allowed(&reach, "http://127.0.0.1:8000/"));
        assert!(!allowed(&reach, "http://127.0.0.1:8001/"));
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_leads_nowhere() {
        let names = |networks: &[&str]| CheckedNames(Arc::new(reach(&["localhost"], networks)));
        let name = || Name::from_str("localhost").expect("a name");
        let error = names(&[]).resolve(name()).await.err().expect("it is inside").to_string();
        assert!(error.contains("may not reach"), "{error}");
        assert!(names(&["127.0.0.0/8", "::1"]).resolve(name()).await.is_ok());
    }

    #[test]
    fn what_is_no_host_is_refused_in_words() {
        for text in ["", "https://x.example", "x.example/path", "a b", "x:port", "user@x.example", "*."] {
            let error = text.parse::<AllowedHost>().expect_err(text);
            assert!(error.contains("is not a host"), "{error}");
        }
        assert_eq!(
            "*.X.example:443".parse::<AllowedHost>().map(|host| host.to_string()),
            Ok("*.x.example:443".into())
        );
    }
}
