//! A SIP message as parsed: start line, header fields in order, body (RFC 3261 section 7).
//! Knows names and bytes. Knows nothing of transactions, dialogs or what a value means.

use std::borrow::Cow;
use std::fmt;

/// A request method. Case matters (RFC 3261 section 7.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Method {
    /// INVITE.
    Invite,
    /// ACK.
    Ack,
    /// BYE.
    Bye,
    /// CANCEL.
    Cancel,
    /// OPTIONS.
    Options,
    /// INFO (RFC 6086).
    Info,
    /// PRACK (RFC 3262).
    Prack,
    /// UPDATE (RFC 3311).
    Update,
    /// REFER (RFC 3515).
    Refer,
    /// NOTIFY (RFC 6665).
    Notify,
    /// Any other token.
    Other(String),
}

impl Method {
    /// The method named by `token`.
    pub fn from_token(token: &str) -> Self {
        match token {
            "INVITE" => Self::Invite,
            "ACK" => Self::Ack,
            "BYE" => Self::Bye,
            "CANCEL" => Self::Cancel,
            "OPTIONS" => Self::Options,
            "INFO" => Self::Info,
            "PRACK" => Self::Prack,
            "UPDATE" => Self::Update,
            "REFER" => Self::Refer,
            "NOTIFY" => Self::Notify,
            other => Self::Other(other.to_owned()),
        }
    }

    /// As written in a message.
    pub fn name(&self) -> &str {
        match self {
            Self::Invite => "INVITE",
            Self::Ack => "ACK",
            Self::Bye => "BYE",
            Self::Cancel => "CANCEL",
            Self::Options => "OPTIONS",
            Self::Info => "INFO",
            Self::Prack => "PRACK",
            Self::Update => "UPDATE",
            Self::Refer => "REFER",
            Self::Notify => "NOTIFY",
            Self::Other(token) => token,
        }
    }
}

/// The first line.
#[derive(Clone, PartialEq, Eq)]
pub enum StartLine {
    /// A request line.
    Request {
        /// The method.
        method: Method,
        /// The Request-URI as written, without `<>`.
        uri: String,
        /// Whether the version was SIP/2.0.
        version_supported: bool,
    },
    /// A status line.
    Response {
        /// 100 to 699.
        status: u16,
        /// The reason phrase, which may be empty.
        reason: String,
    },
}

/// A header field name, with compact forms already expanded (RFC 3261 section 7.3.3).
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is the header field of that name")]
pub enum HeaderName {
    Accept,
    Allow,
    CallId,
    Contact,
    ContentEncoding,
    ContentLength,
    ContentType,
    CSeq,
    Event,
    From,
    MaxForwards,
    MinSe,
    RAck,
    Reason,
    RecordRoute,
    ReferTo,
    ReferredBy,
    Replaces,
    Require,
    RetryAfter,
    Route,
    RSeq,
    SessionExpires,
    SubscriptionState,
    Supported,
    Timestamp,
    To,
    Via,
    Other(String),
}

impl HeaderName {
    /// The name spelled by `name`, in any case, long or compact.
    pub fn from_text(name: &str) -> Self {
        for (known, long, compact) in NAMES {
            if name.len() == 1 {
                if *compact != 0 && name.as_bytes()[0].eq_ignore_ascii_case(compact) {
                    return known.clone();
                }
            } else if name.len() == long.len() && name.eq_ignore_ascii_case(long) {
                return known.clone();
            }
        }
        Self::Other(name.to_owned())
    }

    /// The long form, as we write it.
    pub fn text(&self) -> &str {
        if let Self::Other(name) = self {
            return name;
        }
        NAMES.iter().find(|(known, _, _)| known == self).map_or("", |(_, long, _)| long)
    }
}

const NAMES: &[(HeaderName, &str, u8)] = &[
    (HeaderName::Via, "Via", b'v'),
    (HeaderName::To, "To", b't'),
    (HeaderName::From, "From", b'f'),
    (HeaderName::CSeq, "CSeq", 0),
    (HeaderName::CallId, "Call-ID", b'i'),
    (HeaderName::Contact, "Contact", b'm'),
    (HeaderName::ContentLength, "Content-Length", b'l'),
    (HeaderName::ContentType, "Content-Type", b'c'),
    (HeaderName::MaxForwards, "Max-Forwards", 0),
    (HeaderName::RecordRoute, "Record-Route", 0),
    (HeaderName::Route, "Route", 0),
    (HeaderName::Accept, "Accept", 0),
    (HeaderName::Require, "Require", 0),
    (HeaderName::ContentEncoding, "Content-Encoding", b'e'),
    (HeaderName::Reason, "Reason", 0),
    (HeaderName::RetryAfter, "Retry-After", 0),
    (HeaderName::Timestamp, "Timestamp", 0),
    (HeaderName::Supported, "Supported", b'k'),
    (HeaderName::Allow, "Allow", 0),
    (HeaderName::SessionExpires, "Session-Expires", b'x'),
    (HeaderName::MinSe, "Min-SE", 0),
    (HeaderName::RSeq, "RSeq", 0),
    (HeaderName::RAck, "RAck", 0),
    (HeaderName::ReferTo, "Refer-To", b'r'),
    (HeaderName::ReferredBy, "Referred-By", b'b'),
    (HeaderName::Replaces, "Replaces", 0),
    (HeaderName::Event, "Event", b'o'),
    (HeaderName::SubscriptionState, "Subscription-State", 0),
];

/// One header field.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    /// Its name.
    pub name: HeaderName,
    /// Its value, unfolded and trimmed.
    pub value: String,
    /// The value was not UTF-8 and was read as Latin-1; it is written back as Latin-1.
    pub latin1: bool,
}

impl Header {
    /// The value as it was on the wire (except folding), for echoing.
    pub fn wire_value(&self) -> Cow<'_, [u8]> {
        if self.latin1 {
            Cow::Owned(self.value.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect())
        } else {
            Cow::Borrowed(self.value.as_bytes())
        }
    }
}

/// What the frame parser found wrong with the body's length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFault {
    /// Content-Length says more than the datagram holds.
    Truncated,
    /// Content-Length is negative, not a number, or too large.
    BadLength,
    /// Two Content-Length fields that differ.
    DifferingLengths,
}

/// A parsed message. Parsing is lenient: what the values mean is checked on access.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// Request or status line.
    pub start: StartLine,
    /// Header fields in their order.
    pub headers: Vec<Header>,
    /// As many bytes as Content-Length says, or the rest of the datagram without it.
    pub body: Vec<u8>,
    /// What was wrong with the body's length.
    pub body_fault: Option<BodyFault>,
    /// Header lines that were not `name: value` and were skipped.
    pub skipped_lines: usize,
}

impl Message {
    /// All fields of that name, in order.
    pub fn all<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a Header> {
        self.headers.iter().filter(move |header| header.name == *name)
    }

    /// The first field of that name.
    pub fn header(&self, name: &HeaderName) -> Option<&Header> {
        self.headers.iter().find(|header| header.name == *name)
    }

    /// The value of the first field of that name.
    pub fn value(&self, name: &HeaderName) -> Option<&str> {
        self.header(name).map(|header| header.value.as_str())
    }

    /// The body as text; bytes that are not UTF-8 are replaced.
    pub fn body_text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

// What a message carries belongs to the caller: `Debug` shows its kind and size only.

impl fmt::Debug for StartLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request { method, .. } => f.write_str(method.name()),
            Self::Response { status, .. } => status.fmt(f),
        }
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ({} bytes)", self.name.text(), self.value.len())
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({} headers, {} bytes of body)", self.start, self.headers.len(), self.body.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compact_and_oddly_cased_names_are_the_same_field() {
        for name in ["Via", "v", "V", "vIa", "VIA"] {
            assert_eq!(HeaderName::from_text(name), HeaderName::Via);
        }
        assert_eq!(HeaderName::from_text("i").text(), "Call-ID");
        assert_eq!(HeaderName::from_text("X-Trunk"), HeaderName::Other("X-Trunk".into()));
    }

    #[test]
    fn methods_are_case_sensitive() {
        assert_eq!(Method::from_token("INVITE"), Method::Invite);
        assert_eq!(Method::from_token("invite"), Method::Other("invite".into()));
    }
}
