//! SIP, SIPS and tel URIs, read leniently and without copying (RFC 3261 section 19.1, RFC 3966).
//! Knows the parts of a URI. Knows nothing of resolving or of escapes: the user part stays as written.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// A URI's parts, borrowed from the text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Uri<'a> {
    /// As written: `sip`, `sips`, `tel` or something else.
    pub scheme: &'a str,
    /// User part without password; the number of a tel URI; empty if there is none.
    pub user: &'a str,
    /// Host, an IPv6 reference without its brackets; empty for schemes other than sip and sips.
    pub host: &'a str,
    /// Port, if written.
    pub port: Option<u16>,
    /// Parameters, without the first `;`.
    pub params: &'a str,
}

/// Why a URI cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UriError {
    /// No scheme, a space inside, a bad host or port.
    Malformed,
}

impl<'a> Uri<'a> {
    /// Reads a URI. An unknown scheme is not an error: `host` stays empty.
    pub fn parse(text: &'a str) -> Result<Self, UriError> {
        let (scheme, rest) = text.split_once(':').ok_or(UriError::Malformed)?;
        let scheme_ok = scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        if !scheme_ok || !scheme.bytes().next().is_some_and(|b| b.is_ascii_alphabetic()) {
            return Err(UriError::Malformed);
        }
        if text.bytes().any(|byte| byte == b' ' || byte == b'\t' || byte == b'<' || byte == b'>') {
            return Err(UriError::Malformed);
        }
        if scheme.eq_ignore_ascii_case("tel") {
            let (number, params) = rest.split_once(';').unwrap_or((rest, ""));
            return Ok(Self { scheme, user: number, host: "", port: None, params });
        }
        if !scheme.eq_ignore_ascii_case("sip") && !scheme.eq_ignore_ascii_case("sips") {
            return Ok(Self { scheme, user: "", host: "", port: None, params: "" });
        }
        // `@` is allowed neither in parameters nor in headers, but `;` and `?` are in the user part.
        let (userinfo, hostpart) = rest.rsplit_once('@').unwrap_or(("", rest));
        let user = userinfo.split_once(':').map_or(userinfo, |(user, _password)| user);
        let (hostpart, _headers) = hostpart.split_once('?').unwrap_or((hostpart, ""));
        let (hostport, params) = hostpart.split_once(';').unwrap_or((hostpart, ""));
        let (host, port) = split_host_port(hostport).ok_or(UriError::Malformed)?;
        Ok(Self { scheme, user, host, port, params })
    }

    /// `sip`, `sips` or `tel`: what this server serves.
    pub fn scheme_supported(&self) -> bool {
        ["sip", "sips", "tel"].iter().any(|known| self.scheme.eq_ignore_ascii_case(known))
    }

    /// The value of a parameter; `Some("")` if it has none.
    pub fn param(&self, name: &str) -> Option<&'a str> {
        crate::headers::param(self.params, name)
    }

    /// The address, if the host is an IP address (or `maddr` is one).
    pub fn socket_address(&self, default_port: u16) -> Option<SocketAddr> {
        let host = self.param("maddr").unwrap_or(self.host);
        let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok()?;
        Some(SocketAddr::new(ip, self.port.unwrap_or(default_port)))
    }
}

impl std::fmt::Debug for Uri<'_> {
    /// Without the user part, which is the caller's.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:..@{}", self.scheme, self.host)
    }
}

/// Splits `host[:port]`; the host of an IPv6 reference comes without brackets.
pub(crate) fn split_host_port(text: &str) -> Option<(&str, Option<u16>)> {
    let text = text.trim();
    if let Some(inner) = text.strip_prefix('[') {
        let (host, after) = inner.split_once(']')?;
        if !host.contains(':') || !host.bytes().all(|b| b.is_ascii_hexdigit() || b":.%".contains(&b)) {
            return None;
        }
        let after = after.trim();
        let port = match after.strip_prefix(':') {
            Some(port) => Some(port.trim().parse().ok()?),
            None if after.is_empty() => None,
            None => return None,
        };
        return Some((host, port));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host.trim_end(), Some(port.trim().parse().ok()?)),
        None => (text, None),
    };
    let host_ok = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    host_ok.then_some((host, port))
}

/// `host` as it must be written in a URI or a Via: IPv6 in brackets.
pub(crate) fn bracketed(host: &str) -> String {
    if host.parse::<Ipv6Addr>().is_ok() { format!("[{host}]") } else { host.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn semicolons_and_question_marks_belong_to_the_user_part() {
        let uri = Uri::parse("sip:user;par=u%40example.net@example.com").expect("valid");
        assert_eq!((uri.user, uri.host), ("user;par=u%40example.net", "example.com"));
        let uri = Uri::parse("sip:a?b:secret@example.com:5070;transport=tcp?Route=x").expect("valid");
        assert_eq!(
            (uri.user, uri.host, uri.port, uri.params),
            ("a?b", "example.com", Some(5070), "transport=tcp")
        );
    }

    #[test]
    fn an_ipv6_host_needs_its_brackets() {
        let uri = Uri::parse("sip:u@[2001:db8::10]:5070").expect("valid");
        assert_eq!((uri.host, uri.port), ("2001:db8::10", Some(5070)));
        assert!(Uri::parse("sip:2001:db8::10").is_err());
        assert!(Uri::parse("sip:user@[2001:db8:::192.0.2.1]").is_ok(), "RFC 5118 section 4.10: be tolerant");
    }

    #[test]
    fn service_codes_and_tel_numbers_are_users() {
        assert_eq!(Uri::parse("sip:*67#5551234@trunk.example").expect("valid").user, "*67#5551234");
        let uri = Uri::parse("tel:+15551234567;phone-context=x").expect("valid");
        assert_eq!(uri.user, "+15551234567");
        assert!(uri.scheme_supported());
        assert!(!Uri::parse("isbn:2983792873").expect("a URI").scheme_supported());
    }

    #[test]
    fn spaces_and_bad_ports_are_malformed() {
        for bad in ["sip:user@example.com; lr", "sip:a@b:99999", "sip:a@b:", "sip:", "nothing", "sip:a@"] {
            assert!(Uri::parse(bad).is_err(), "{bad}");
        }
    }
}
