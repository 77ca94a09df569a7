//! Typed reading of header values: Via, name-addr, CSeq, lists and parameters (RFC 3261 section 20).
//! Borrows from the message. Knows the grammar only, not what a request may or must carry.

use crate::uri::split_host_port;

/// Splits a list at its commas, but not inside quotes or `<>`. Empty elements are left out.
pub fn split_list(value: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        loop {
            let text = rest?;
            let end = find_outside_quotes(text, b',');
            let element = match end {
                Some(at) => {
                    rest = Some(&text[at + 1..]);
                    &text[..at]
                }
                None => {
                    rest = None;
                    text
                }
            };
            let element = element.trim();
            if !element.is_empty() {
                return Some(element);
            }
        }
    })
}

/// Position of `wanted` outside quoted strings and `<>`.
fn find_outside_quotes(text: &str, wanted: u8) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    let mut angle = false;
    for (at, byte) in text.bytes().enumerate() {
        if escaped {
            escaped = false;
            continue;
        }
        match byte {
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            _ if byte == wanted && !angle => return Some(at),
            b'<' => angle = true,
            b'>' => angle = false,
            _ => {}
        }
    }
    None
}

/// Whether every quoted string is closed.
pub(crate) fn quotes_balanced(text: &str) -> bool {
    let mut quoted = false;
    let mut escaped = false;
    for byte in text.bytes() {
        if escaped {
            escaped = false;
            continue;
        }
        match byte {
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
    }
    !quoted
}

/// The value of `name` in `a=b;c;d = e`; `Some("")` for a parameter without value.
pub fn param<'a>(params: &'a str, name: &str) -> Option<&'a str> {
    params_of(params).find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// All parameters in order; empty ones (`;;`) are left out.
pub(crate) fn params_of(params: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = Some(params);
    std::iter::from_fn(move || {
        loop {
            let text = rest?;
            let piece = match find_outside_quotes(text, b';') {
                Some(at) => {
                    rest = Some(&text[at + 1..]);
                    &text[..at]
                }
                None => {
                    rest = None;
                    text
                }
            };
            let (key, value) = piece.split_once('=').unwrap_or((piece, ""));
            if !key.trim().is_empty() {
                return Some((key.trim(), value.trim()));
            }
        }
    })
}

/// One Via element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Via<'a> {
    /// `UDP`, `TCP`, `TLS`, … as written.
    pub transport: &'a str,
    /// The sent-by host, IPv6 without brackets.
    pub host: &'a str,
    /// The sent-by port, if written.
    pub port: Option<u16>,
    /// Parameters, without the first `;`.
    pub params: &'a str,
}

impl<'a> Via<'a> {
    /// Reads one element. The SIP version inside is not checked here.
    pub fn parse(element: &'a str) -> Option<Self> {
        let (name, rest) = element.split_once('/')?;
        let (_version, rest) = rest.split_once('/')?;
        if !name.trim().eq_ignore_ascii_case("SIP") {
            return None;
        }
        let (protocol, params) = rest.split_once(';').unwrap_or((rest, ""));
        let (transport, sent_by) = protocol.trim().split_once([' ', '\t'])?;
        let (host, port) = split_host_port(sent_by)?;
        crate::parser::is_token(transport).then_some(Self { transport, host, port, params })
    }

    /// The branch, if there is one.
    pub fn branch(&self) -> Option<&'a str> {
        param(self.params, "branch").filter(|branch| !branch.is_empty())
    }
}

/// `"display" <uri>;params` or `uri;params` (From, To, Contact, Route, Record-Route).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NameAddr<'a> {
    /// The display name without quotes, escapes left in; empty if there is none.
    pub display: &'a str,
    /// The URI.
    pub uri: &'a str,
    /// Header parameters, without the first `;`.
    pub params: &'a str,
}

impl<'a> NameAddr<'a> {
    /// Reads one element; `None` if a quote or bracket is not closed or there is no URI.
    pub fn parse(value: &'a str) -> Option<Self> {
        if !quotes_balanced(value) {
            return None;
        }
        let value = value.trim();
        let Some(open) = find_angle(value) else {
            let (uri, params) = value.split_once(';').unwrap_or((value, ""));
            let uri = uri.trim();
            return uri.contains(':').then_some(Self { display: "", uri, params });
        };
        let (uri, after) = value[open + 1..].split_once('>')?;
        let display = value[..open].trim();
        let display = display.strip_prefix('"').and_then(|d| d.strip_suffix('"')).unwrap_or(display);
        let params = after.trim().strip_prefix(';').unwrap_or("");
        let uri = uri.trim();
        uri.contains(':').then_some(Self { display, uri, params })
    }

    /// The tag, if there is one.
    pub fn tag(&self) -> Option<&'a str> {
        param(self.params, "tag").filter(|tag| !tag.is_empty())
    }
}

impl std::fmt::Debug for NameAddr<'_> {
    /// Without name and URI, which are the caller's.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NameAddr(..)")
    }
}

/// Position of the first `<` outside quotes.
fn find_angle(text: &str) -> Option<usize> {
    find_outside_quotes(text, b'<')
}

/// A CSeq value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CSeq<'a> {
    /// Below 2^31 (RFC 3261 section 8.1.1.5).
    pub number: u32,
    /// The method.
    pub method: &'a str,
}

impl<'a> CSeq<'a> {
    /// Reads `number method`.
    pub fn parse(value: &'a str) -> Option<Self> {
        let (number, method) = value.trim().split_once([' ', '\t'])?;
        let number = number.bytes().all(|b| b.is_ascii_digit()).then(|| number.parse::<u32>().ok())??;
        let method = method.trim();
        (number < 1 << 31 && crate::parser::is_token(method)).then_some(Self { number, method })
    }
}

/// Whether an Accept value admits SDP. An empty value admits nothing (RFC 3261 section 20.1).
pub(crate) fn accepts_sdp(value: &str) -> bool {
    split_list(value).any(|range| {
        let kind = media_type(range);
        ["application/sdp", "application/*", "*/*"].iter().any(|known| kind.eq_ignore_ascii_case(known))
    })
}

/// The type of a Content-Type value without parameters.
pub(crate) fn media_type(value: &str) -> &str {
    value.split_once(';').map_or(value, |(kind, _)| kind).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_in_quotes_and_brackets_do_not_split() {
        let list: Vec<_> = split_list(r#""Bell, A" <sip:a,b@x>, ,, <sip:c@d>"#).collect();
        assert_eq!(list, [r#""Bell, A" <sip:a,b@x>"#, "<sip:c@d>"]);
    }

    #[test]
    fn a_via_with_spaces_and_ipv6_is_read() {
        let via = Via::parse("SIP  / 2.0  / TCP     [2001:db8::9]:6050   ; branch  =   z9hG4bK9ikj8")
            .expect("valid");
        assert_eq!((via.transport, via.host, via.port), ("TCP", "2001:db8::9", Some(6050)));
        assert_eq!(via.branch(), Some("z9hG4bK9ikj8"));
        let via = Via::parse("SIP/2.0/UDP [2001:db8::9:1];received=2001:db8::9:255;branch=z9hG4bKas3")
            .expect("valid");
        assert_eq!(param(via.params, "received"), Some("2001:db8::9:255"));
        for bad in ["", ";", "SIP/2.0/UDP", "SIP/2.0/UDP ", "HTTP/1.1/TCP host"] {
            assert_eq!(Via::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn names_with_and_without_brackets_are_read() {
        let addr = NameAddr::parse(r#""J \"R\"" < sip:j@x;lr > ; tag = 98"#).expect("valid");
        assert_eq!((addr.display, addr.uri, addr.tag()), (r#"J \"R\""#, "sip:j@x;lr", Some("98")));
        let addr = NameAddr::parse("sip:j@x;tag=7").expect("valid");
        assert_eq!((addr.uri, addr.tag()), ("sip:j@x", Some("7")));
        let addr = NameAddr::parse("Bell, Alexander <sip:b@x>;tag=43").expect("tolerated");
        assert_eq!(addr.display, "Bell, Alexander");
        assert_eq!(NameAddr::parse(r#""Mr. J. User <sip:j@x>"#), None);
        assert_eq!(NameAddr::parse("<sip:j@x"), None);
    }

    #[test]
    fn a_cseq_does_not_wrap() {
        assert_eq!(CSeq::parse("0009  INVITE"), Some(CSeq { number: 9, method: "INVITE" }));
        assert_eq!(CSeq::parse("36893488147419103232 REGISTER"), None);
        assert_eq!(CSeq::parse("2147483648 OPTIONS"), None);
        assert_eq!(CSeq::parse("-1 OPTIONS"), None);
    }

    #[test]
    fn a_cseq_names_one_method() {
        assert_eq!(CSeq::parse("1 INVITE x"), None);
        assert_eq!(CSeq::parse("1 INVITE;x"), None);
    }

    #[test]
    fn an_empty_accept_admits_nothing() {
        assert!(accepts_sdp("text/plain, application/SDP;level=1"));
        assert!(accepts_sdp("*/*"));
        assert!(!accepts_sdp(""));
        assert!(!accepts_sdp("text/nobodyKnowsThis"));
    }
}
