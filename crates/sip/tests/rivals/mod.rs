//! The same message as three parsers see it: ours and two published ones, reduced to what routing and matching need.
//! Knows the three interfaces. Who is right when they differ is said where this is used.
#![allow(unreachable_pub, dead_code, reason = "shared by tests, each of which uses its part")]
#![allow(clippy::wildcard_enum_match_arm, reason = "foreign enums have more kinds than are compared")]

use bytes::Bytes;
use rsipstack::sip::{HeadersExt as _, SipMessage, headers::ToTypedHeader as _};
use sip::headers::{CSeq, NameAddr, Via, split_list};
use sip::message::{HeaderName, StartLine};
use sip::uri::Uri;
use std::{fmt::Display, net::IpAddr};

/// What is compared, in this order.
pub const FIELDS: [&str; 9] =
    ["start", "uri", "from-tag", "to-tag", "cseq", "call-id", "via-host", "via-branch", "body"];

/// A message reduced to [`FIELDS`]; `None` where a parser cannot read a field, or finds none.
pub type View = [Option<String>; 9];

/// A host in one spelling, whatever the case and however an IPv6 address is shortened.
fn host(text: impl Display) -> String {
    let text = text.to_string();
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpAddr>().map_or_else(|_| bare.to_ascii_lowercase(), |address| address.to_string())
}

fn address(scheme: &str, user: &str, place: &str, port: Option<u16>) -> String {
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}:{user}@{}{port}", scheme.to_ascii_lowercase(), host(place))
}

/// Ours; `None` if the bytes are no message.
pub fn ours(bytes: &[u8]) -> Option<View> {
    let message = sip::parser::parse(bytes).ok()?;
    let (start, uri) = match &message.start {
        StartLine::Request { method, uri, .. } => {
            let uri = Uri::parse(uri).ok().map(|uri| address(uri.scheme, uri.user, uri.host, uri.port));
            (method.name().to_owned(), uri)
        }
        StartLine::Response { status, .. } => (status.to_string(), None),
    };
    let tag = |name: &HeaderName| {
        message.value(name).and_then(NameAddr::parse).and_then(|address| address.tag().map(str::to_owned))
    };
    let cseq = message.value(&HeaderName::CSeq).and_then(CSeq::parse);
    let top = message.value(&HeaderName::Via).and_then(|value| split_list(value).next());
    let via = top.and_then(Via::parse);
    Some([
        Some(start),
        uri,
        tag(&HeaderName::From),
        tag(&HeaderName::To),
        cseq.map(|cseq| format!("{} {}", cseq.number, cseq.method)),
        message.value(&HeaderName::CallId).filter(|id| !id.is_empty()).map(str::to_owned),
        via.map(|via| host(via.host)),
        via.and_then(|via| via.branch().map(str::to_owned)),
        message.body_fault.is_none().then(|| message.body.len().to_string()),
    ])
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap_or_else(|_| bytes.iter().copied().map(char::from).collect())
}

/// That of sipx-sip.
pub fn sipx(bytes: &[u8]) -> Option<View> {
    use sipx_sip::{Limits, Message, headers};
    let message = sipx_sip::parse_datagram(Bytes::copy_from_slice(bytes), &Limits::datagram()).ok()?;
    let (start, uri) = match &message {
        Message::Request(request) => {
            let uri = &request.uri;
            let user = uri.user().or_else(|| uri.tel_parts().map(|parts| parts.subscriber()));
            let place = uri.host().map(host).unwrap_or_default();
            let scheme = text(uri.scheme().as_bytes());
            let uri = address(&scheme, &text(user.unwrap_or_default()), &place, uri.port());
            (request.method.to_string(), Some(uri))
        }
        Message::Response(response) => (response.status.code().to_string(), None),
    };
    let fields = message.headers();
    let tag = |address: &sipx_sip::Address| address.tag().filter(|tag| !tag.is_empty()).map(text);
    let via = fields.typed_all::<headers::Via>().next().and_then(Result::ok);
    let cseq = fields.typed::<headers::CSeq>().and_then(Result::ok);
    Some([
        Some(start),
        uri,
        fields.typed::<headers::From>().and_then(Result::ok).and_then(|from| tag(&from.0)),
        fields.typed::<headers::To>().and_then(Result::ok).and_then(|to| tag(&to.0)),
        cseq.map(|cseq| format!("{} {}", cseq.sequence, cseq.method)),
        fields.typed::<headers::CallId>().and_then(Result::ok).map(|id| text(&id.0)),
        via.as_ref().map(|via| host(&via.host)),
        via.as_ref().and_then(|via| via.branch().filter(|branch| !branch.is_empty()).map(text)),
        Some(message.body().len().to_string()),
    ])
}

/// That of rsipstack.
pub fn rsipstack(bytes: &[u8]) -> Option<View> {
    let message = SipMessage::try_from(bytes).ok()?;
    let (start, uri, body) = match &message {
        SipMessage::Request(request) => {
            let uri = &request.uri;
            let scheme = uri.scheme.as_ref().map(ToString::to_string).unwrap_or_default();
            let place = host(uri.host());
            let port = uri.host_with_port.port.as_ref().map(|port| port.0);
            // A tel URI has no host here: its number is taken for one.
            let uri = match scheme.as_str() {
                "tel" => address("tel", &place, "", None),
                _ => address(&scheme, uri.user().unwrap_or_default(), &place, port),
            };
            (request.method.to_string(), Some(uri), request.body.len())
        }
        SipMessage::Response(response) => {
            (response.status_code.code().to_string(), None, response.body.len())
        }
    };
    let from = message.from_header().ok().and_then(|from| from.typed().ok());
    let to = message.to_header().ok().and_then(|to| to.typed().ok());
    let cseq = message.cseq_header().ok().and_then(|cseq| cseq.typed().ok());
    let via = message.top_via_header().ok().and_then(|via| via.typed().ok());
    let call_id = message.call_id_header().ok().map(|id| id.value().to_owned());
    let filled = |text: String| (!text.is_empty()).then_some(text);
    Some([
        Some(start),
        uri,
        from.and_then(|from| from.tag().map(ToString::to_string)).and_then(filled),
        to.and_then(|to| to.tag().map(ToString::to_string)).and_then(filled),
        cseq.map(|cseq| format!("{} {}", cseq.seq, cseq.method)),
        call_id.and_then(filled),
        via.as_ref().map(|via| host(&via.sent_by().host)),
        via.as_ref().and_then(|via| via.branch().map(ToString::to_string)).and_then(filled),
        Some(body.to_string()),
    ])
}
