//! The Replaces header and parameter (RFC 3891): which dialog a new call is to take the place of.
//! Knows the grammar. Whether there is such a dialog, and what to do then, is for others.

use crate::headers::param;
use std::fmt;

/// A dialog named from outside. The tags are seen from whom the header is sent to: `to_tag` is the receiver's own.
#[derive(Clone, PartialEq, Eq)]
pub struct Replaces {
    /// Its Call-ID.
    pub call_id: String,
    /// The local tag of whoever receives this.
    pub to_tag: String,
    /// The remote tag of whoever receives this.
    pub from_tag: String,
    /// Only a dialog that is not answered yet may be replaced.
    pub early_only: bool,
}

impl Replaces {
    /// Reads a header value: `callid;to-tag=a;from-tag=b[;early-only]` (section 6.1). Each tag must be there once.
    pub fn parse(value: &str) -> Option<Self> {
        let (call_id, params) = value.trim().split_once(';')?;
        let call_id = call_id.trim();
        let tag = |name| param(params, name).filter(|tag| !tag.is_empty()).map(str::to_owned);
        let once = |name: &str| {
            crate::headers::params_of(params).filter(|(key, _)| key.eq_ignore_ascii_case(name)).count() == 1
        };
        if call_id.is_empty() || call_id.contains([' ', ',']) || !once("to-tag") || !once("from-tag") {
            return None;
        }
        Some(Self {
            call_id: call_id.to_owned(),
            to_tag: tag("to-tag")?,
            from_tag: tag("from-tag")?,
            early_only: param(params, "early-only").is_some(),
        })
    }

    /// Reads the `?Replaces=` header of a Refer-To URI, which is escaped there (RFC 3891 section 4, RFC 3515).
    pub fn of_uri(uri: &str) -> Option<Self> {
        let headers = uri.rsplit_once('?').map(|(_, headers)| headers)?;
        let escaped = headers.split('&').find_map(|header| {
            let (name, value) = header.split_once('=')?;
            name.eq_ignore_ascii_case("Replaces").then_some(value)
        })?;
        Self::parse(&unescape(escaped)?)
    }

    /// As a header value.
    pub fn value(&self) -> String {
        let early = if self.early_only { ";early-only" } else { "" };
        format!("{};to-tag={};from-tag={}{early}", self.call_id, self.to_tag, self.from_tag)
    }
}

impl fmt::Debug for Replaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Replaces(..)")
    }
}

/// `%3B` and its like; `None` where an escape is cut short or the result is not text.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        let (high, low) = (digit()?, digit()?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaces_header_names_one_dialog() {
        let replaces = Replaces::parse("98732@sip.example.com;from-tag=r33th4x0r ;to-tag=ff87ff;early-only")
            .expect("valid");
        assert_eq!(
            (replaces.call_id.as_str(), replaces.to_tag.as_str()),
            ("98732@sip.example.com", "ff87ff")
        );
        assert!(replaces.early_only);
        assert_eq!(Replaces::parse(&replaces.value()), Some(replaces));
        for bad in
            ["", "x", "x;to-tag=a", "x;from-tag=a", ";to-tag=a;from-tag=b", "x;to-tag=a;to-tag=c;from-tag=b"]
        {
            assert_eq!(Replaces::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_target_of_a_refer_may_name_a_dialog_to_replace() {
        let uri = "sip:bob@x;p?Replaces=a%40h%3Bto-tag%3D1%3Bfrom-tag%3D2&Require=replaces";
        let replaces = Replaces::of_uri(uri).expect("there");
        assert_eq!((replaces.call_id.as_str(), replaces.to_tag.as_str()), ("a@h", "1"));
        for none in
            ["sip:bob@x", "sip:bob@x?Subject=hi", "sip:bob@x?Replaces=a%4", "sip:bob@x?Replaces=%ff%fe"]
        {
            assert_eq!(Replaces::of_uri(none), None, "{none}");
        }
    }
}
