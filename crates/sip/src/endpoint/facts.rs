//! What is read from a request for the endpoint's own use: transaction keys, tags, addresses, events.
//! Knows fields. Decides nothing.

use super::farewell::SavedDialog;
use super::io::{Address, DialogKey, Event, IncomingInvite};
use super::uas::Request;
use crate::headers::{CSeq, NameAddr, Via, split_list};
use crate::message::{HeaderName, Message};
use crate::multipart::{is_multipart, session_description};
use crate::replaces::Replaces;
use crate::uri::Uri;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// The key that finds the transaction of a request (RFC 3261 section 17.2.3).
pub(super) fn transaction_key(message: &Message, uri: &str, method: &str) -> Option<String> {
    let field = message.header(&HeaderName::Via)?;
    let element = split_list(&field.value).next()?;
    let via = Via::parse(element)?;
    match via.branch() {
        Some(branch) if branch.starts_with("z9hG4bK") && branch.len() > 7 => {
            Some(format!("{branch}|{}|{}|{method}", via.host, via.port.unwrap_or_default()))
        }
        // An RFC 2543 sender: the request itself is the key. The To tag is left out because an ACK has one more.
        Some(_) | None => {
            let call_id = message.value(&HeaderName::CallId).unwrap_or_default();
            let from = message.value(&HeaderName::From).unwrap_or_default();
            Some(format!("{call_id}|{from}|{}|{uri}|{element}|{method}", cseq_number(message)))
        }
    }
}

/// The same request over another path has the same key (RFC 3261 section 8.2.2.2).
pub(super) fn merge_key(message: &Message) -> Option<String> {
    let from = NameAddr::parse(message.value(&HeaderName::From)?)?;
    let cseq = CSeq::parse(message.value(&HeaderName::CSeq)?)?;
    let call_id = message.value(&HeaderName::CallId)?;
    Some(format!("{call_id}|{}|{}|{}", from.tag()?, cseq.number, cseq.method))
}

pub(super) fn to_tag(message: &Message) -> Option<&str> {
    NameAddr::parse(message.value(&HeaderName::To)?)?.tag()
}

pub(super) fn from_tag(message: &Message) -> Option<&str> {
    NameAddr::parse(message.value(&HeaderName::From)?)?.tag()
}

pub(super) fn cseq_number(message: &Message) -> u32 {
    message.value(&HeaderName::CSeq).and_then(CSeq::parse).map_or(0, |cseq| cseq.number)
}

/// The session description of a message, also out of a multipart body.
pub(super) fn sdp_body(message: &Message) -> Option<String> {
    let kind = message.value(&HeaderName::ContentType).filter(|kind| is_multipart(kind));
    let body = match kind {
        Some(kind) => session_description(kind, &message.body).ok()??,
        None => &message.body,
    };
    (!body.is_empty()).then(|| String::from_utf8_lossy(body).into_owned())
}

/// Tells one session description from another.
pub(super) fn description_hash(sdp: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    sdp.trim_end().hash(&mut hasher);
    hasher.finish()
}

pub(super) fn address(message: &Message, name: &HeaderName) -> Address {
    let Some(addr) = message.value(name).and_then(NameAddr::parse) else {
        return Address::default();
    };
    Address {
        display: (!addr.display.is_empty()).then(|| addr.display.to_owned()),
        uri: addr.uri.to_owned(),
        user: Uri::parse(addr.uri).map(|uri| uri.user.to_owned()).unwrap_or_default(),
        tag: addr.tag().map(str::to_owned),
    }
}

pub(super) fn invite_event(
    dialog: DialogKey,
    trunk: Option<Arc<str>>,
    request: &Request<'_>,
    saved: SavedDialog,
) -> Event {
    let message = request.message;
    Event::Invite(IncomingInvite {
        dialog,
        saved,
        trunk,
        flow: request.flow,
        sip_call_id: message.value(&HeaderName::CallId).unwrap_or_default().to_owned(),
        from: address(message, &HeaderName::From),
        to: address(message, &HeaderName::To),
        request_uri: request.uri.to_owned(),
        user: Uri::parse(request.uri).map(|uri| uri.user.to_owned()).unwrap_or_default(),
        headers: message
            .headers
            .iter()
            .map(|header| (header.name.text().to_owned(), header.value.clone()))
            .collect(),
        offer: sdp_body(message),
        replaces: message.value(&HeaderName::Replaces).and_then(Replaces::parse),
    })
}

pub(super) fn refused_event(request: &Request<'_>, status: u16, reason: &'static str) -> Event {
    let message = request.message;
    Event::Refused {
        flow: request.flow,
        sip_call_id: message.value(&HeaderName::CallId).unwrap_or_default().to_owned(),
        from: address(message, &HeaderName::From),
        to: address(message, &HeaderName::To),
        request_uri: request.uri.to_owned(),
        user: Uri::parse(request.uri).map(|uri| uri.user.to_owned()).unwrap_or_default(),
        status,
        reason,
    }
}
