//! What is wrong with a request, as a list of findings with the status each one earns (RFC 3261 section 8.2).
//! Knows what every request must carry. Does not decide about dialogs, transactions or the call.

use crate::headers::{CSeq, NameAddr, Via, split_list};
use crate::message::{HeaderName, Message, StartLine};
use crate::uri::Uri;

/// One thing wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// Not SIP/2.0.
    Version,
    /// A mandatory field is missing.
    Missing(&'static str),
    /// A field that may stand only once stands twice.
    Repeated(&'static str),
    /// A field cannot be read.
    Malformed(&'static str),
    /// The method in CSeq is not the method of the request line.
    MethodMismatch,
    /// Content-Length is wrong or contradicts the datagram.
    BodyLength,
}

impl Finding {
    /// The status that answers it.
    pub fn status(self) -> u16 {
        match self {
            Self::Version => 505,
            Self::Missing(_)
            | Self::Repeated(_)
            | Self::Malformed(_)
            | Self::MethodMismatch
            | Self::BodyLength => 400,
        }
    }

    /// The reason phrase that names it, so that the sender's operator can find it.
    pub fn reason(self) -> String {
        match self {
            Self::Version => "Version Not Supported".to_owned(),
            Self::Missing(name) => format!("Missing {name}"),
            Self::Repeated(name) => format!("Repeated {name}"),
            Self::Malformed(name) => format!("Malformed {name}"),
            Self::MethodMismatch => "CSeq Method Mismatch".to_owned(),
            Self::BodyLength => "Bad Content-Length".to_owned(),
        }
    }
}

const SINGLE: &[(HeaderName, &str)] = &[
    (HeaderName::From, "From"),
    (HeaderName::To, "To"),
    (HeaderName::CallId, "Call-ID"),
    (HeaderName::CSeq, "CSeq"),
    (HeaderName::MaxForwards, "Max-Forwards"),
    (HeaderName::ContentType, "Content-Type"),
];

/// The first thing wrong with a request's syntax; `None` if it can be served.
/// Missing Max-Forwards and a missing From tag are tolerated (RFC 2543 senders exist).
pub fn check_request(message: &Message) -> Option<Finding> {
    let StartLine::Request { method, uri, version_supported } = &message.start else {
        return Some(Finding::Malformed("start line"));
    };
    if !version_supported {
        return Some(Finding::Version);
    }
    if Uri::parse(uri).is_err() {
        return Some(Finding::Malformed("Request-URI"));
    }
    check_single(message).or_else(|| check_addresses(message)).or_else(|| check_vias(message)).or_else(|| {
        let cseq = message.value(&HeaderName::CSeq).and_then(CSeq::parse);
        match cseq {
            None => Some(Finding::Malformed("CSeq")),
            Some(cseq) if cseq.method != method.name() => Some(Finding::MethodMismatch),
            Some(_) => check_scalars(message),
        }
    })
}

fn check_single(message: &Message) -> Option<Finding> {
    for (name, text) in SINGLE {
        let mut fields = message.all(name);
        let required = !matches!(name, HeaderName::MaxForwards | HeaderName::ContentType);
        if fields.next().is_none_or(|first| required && first.value.is_empty()) {
            if required {
                return Some(Finding::Missing(text));
            }
        } else if fields.next().is_some() {
            return Some(Finding::Repeated(text));
        }
    }
    None
}

fn check_addresses(message: &Message) -> Option<Finding> {
    for (name, text) in [(HeaderName::From, "From"), (HeaderName::To, "To")] {
        if message.value(&name).and_then(NameAddr::parse).is_none() {
            return Some(Finding::Malformed(text));
        }
    }
    let contact_ok = message
        .all(&HeaderName::Contact)
        .flat_map(|field| split_list(&field.value))
        .all(|contact| contact == "*" || NameAddr::parse(contact).is_some());
    (!contact_ok).then_some(Finding::Malformed("Contact"))
}

fn check_vias(message: &Message) -> Option<Finding> {
    let all_ok = message
        .all(&HeaderName::Via)
        .flat_map(|field| split_list(&field.value))
        .all(|element| Via::parse(element).is_some());
    (!all_ok).then_some(Finding::Malformed("Via"))
}

fn check_scalars(message: &Message) -> Option<Finding> {
    if let Some(value) = message.value(&HeaderName::MaxForwards)
        && value.parse::<u16>().ok().is_none_or(|hops| hops > 255)
    {
        return Some(Finding::Malformed("Max-Forwards"));
    }
    message.body_fault.map(|_| Finding::BodyLength)
}
