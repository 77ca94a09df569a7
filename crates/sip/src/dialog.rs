//! A dialog: tags, CSeq, route set, remote target, and what of an INVITE is still open in it
//! (RFC 3261 sections 12 to 15). Knows no sockets; transactions appear only as numbers.

use crate::builder::Writer;
use crate::digest::AuthSession;
use crate::endpoint::{DialogKey, Flow};
use crate::headers::{NameAddr, param, split_list};
use crate::message::{HeaderName, Message};
use crate::transaction::Timers;
use std::time::{Duration, Instant};

/// How far a dialog has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No 2xx yet.
    Early,
    /// A 2xx was sent or received.
    Confirmed,
    /// Our BYE is under way.
    Ending,
}

/// An INVITE or re-INVITE of the peer that waits for our final response.
#[derive(Clone)]
pub(crate) struct Incoming {
    pub(crate) transaction: u64,
    pub(crate) cseq: u32,
    /// The call's first INVITE, not a re-INVITE.
    pub(crate) initial: bool,
    /// The user must have answered by then.
    pub(crate) ends: Instant,
    /// When a provisional response is repeated (RFC 3261 section 13.3.1.1: every minute).
    pub(crate) refresh: Instant,
}

/// Our 2xx that waits for its ACK (RFC 3261 section 13.3.1.4).
#[derive(Clone)]
pub(crate) struct Unacked {
    pub(crate) response: Vec<u8>,
    pub(crate) flow: Flow,
    pub(crate) cseq: u32,
    pub(crate) next: Instant,
    pub(crate) interval: Duration,
    pub(crate) ends: Instant,
}

/// Our INVITE or re-INVITE that waits for its final response.
#[derive(Clone)]
pub(crate) struct Outgoing {
    pub(crate) transaction: u64,
    pub(crate) initial: bool,
    pub(crate) provisional_seen: bool,
    pub(crate) cancel: Cancel,
    /// Ringing longer than this is cancelled.
    pub(crate) ends: Option<Instant>,
}

/// How far a wish to cancel has come: a CANCEL may leave only after a provisional response (section 9.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cancel {
    No,
    Wanted,
    Sent,
}

#[derive(Clone)]
pub(crate) struct Dialog {
    pub(crate) key: DialogKey,
    /// We sent the first INVITE, so we own the Call-ID (matters for glare, section 14.1).
    pub(crate) is_caller: bool,
    pub(crate) phase: Phase,
    pub(crate) call_id: String,
    pub(crate) local_tag: String,
    pub(crate) remote_tag: Option<String>,
    /// Our name-addr with our tag: From of our requests.
    pub(crate) local: Vec<u8>,
    /// The peer's name-addr with its tag: To of our requests.
    pub(crate) remote: Vec<u8>,
    pub(crate) route_set: Vec<String>,
    pub(crate) remote_target: String,
    pub(crate) local_cseq: u32,
    pub(crate) remote_cseq: Option<u32>,
    pub(crate) flow: Flow,
    pub(crate) flow_closed: bool,
    /// The peer names another address than it sends from: requests must follow the flow.
    pub(crate) behind_nat: bool,
    pub(crate) incoming: Option<Incoming>,
    pub(crate) unacked: Option<Unacked>,
    pub(crate) outgoing: Option<Outgoing>,
    /// BYE is wanted, but our 2xx must be acknowledged first (section 15).
    pub(crate) bye_wanted: Option<Option<String>>,
    /// A re-INVITE that met a 491 and is sent again later (section 14.1).
    pub(crate) retry: Option<(Instant, String)>,
    /// Answers challenges to our requests. Never of an incoming call: its peer is not the one the credentials are for.
    pub(crate) auth: Option<AuthSession>,
}

impl Dialog {
    /// A dialog of which only the name and the way are known yet.
    pub(crate) fn new(key: DialogKey, call_id: String, flow: Flow) -> Self {
        Self {
            key,
            is_caller: false,
            phase: Phase::Early,
            call_id,
            local_tag: String::new(),
            remote_tag: None,
            local: Vec::new(),
            remote: Vec::new(),
            route_set: Vec::new(),
            remote_target: String::new(),
            local_cseq: 0,
            remote_cseq: None,
            flow,
            flow_closed: false,
            behind_nat: false,
            incoming: None,
            unacked: None,
            outgoing: None,
            bye_wanted: None,
            retry: None,
            auth: None,
        }
    }

    /// When something is due.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        let incoming = self.incoming.as_ref().map(|incoming| incoming.ends.min(incoming.refresh));
        let unacked = self.unacked.as_ref().map(|unacked| unacked.ends.min(unacked.next));
        let outgoing = self.outgoing.as_ref().and_then(|outgoing| outgoing.ends);
        let retry = self.retry.as_ref().map(|(at, _)| *at);
        [incoming, unacked, outgoing, retry].into_iter().flatten().min()
    }

    /// Reserves the next CSeq number.
    pub(crate) fn reserve_cseq(&mut self) -> u32 {
        self.local_cseq += 1;
        self.local_cseq
    }

    /// Begins a request in this dialog with its route set (section 12.2.1.1).
    pub(crate) fn request(&self, method: &str, cseq: u32, via: &str) -> Writer {
        let strict = self.route_set.first().is_some_and(|first| !is_loose(first));
        let target = match self.route_set.first().and_then(|first| NameAddr::parse(first)) {
            Some(first) if strict => first.uri,
            Some(_) | None => self.remote_target.as_str(),
        };
        let mut writer = Writer::request(method, target);
        writer.header("Via", via);
        for route in self.route_set.iter().skip(usize::from(strict)) {
            writer.header("Route", route);
        }
        if strict {
            writer.header("Route", format!("<{}>", self.remote_target));
        }
        writer
            .header("Max-Forwards", "70")
            .header("From", &self.local)
            .header("To", &self.remote)
            .header("Call-ID", &self.call_id)
            .header("CSeq", format!("{cseq} {method}"));
        writer
    }

    /// Takes what a 2xx to our INVITE says about the peer (section 12.1.2).
    pub(crate) fn learn_from_response(&mut self, response: &Message) {
        if let Some(to) = response.header(&HeaderName::To) {
            self.remote = to.wire_value().into_owned();
            self.remote_tag = NameAddr::parse(&to.value).and_then(|addr| addr.tag()).map(str::to_owned);
        }
        let mut routes = record_routes(response);
        routes.reverse();
        self.route_set = routes;
        self.refresh_target(response);
    }

    /// A target refresh: the Contact of an INVITE, re-INVITE or their 2xx (section 12.2).
    pub(crate) fn refresh_target(&mut self, message: &Message) {
        if let Some(contact) = contact_uri(message) {
            self.remote_target = contact;
        }
    }

    /// Whether a 2xx of ours still waits for its ACK, or an INVITE is open in either direction.
    pub(crate) fn invite_is_open(&self) -> bool {
        self.incoming.is_some() || self.outgoing.is_some() || self.unacked.is_some()
    }
}

impl Unacked {
    pub(crate) fn new(now: Instant, flow: Flow, cseq: u32, response: Vec<u8>, timers: &Timers) -> Self {
        Self {
            response,
            flow,
            cseq,
            next: now + timers.t1,
            interval: timers.t1,
            ends: now + timers.timeout(),
        }
    }

    /// The interval doubles up to T2 (section 13.3.1.4).
    pub(crate) fn advance(&mut self, now: Instant, timers: &Timers) {
        self.interval = (self.interval * 2).min(timers.t2);
        self.next = now + self.interval;
    }
}

/// The Record-Route values of a message, in order, one element each.
pub(crate) fn record_routes(message: &Message) -> Vec<String> {
    message
        .all(&HeaderName::RecordRoute)
        .flat_map(|field| split_list(&field.value))
        .filter(|route| NameAddr::parse(route).is_some())
        .map(str::to_owned)
        .collect()
}

/// The URI of the first Contact, without URI headers: `?Route=` must never become a header of ours.
pub(crate) fn contact_uri(message: &Message) -> Option<String> {
    let field = message.header(&HeaderName::Contact)?;
    let contact = split_list(&field.value).next()?;
    let uri = NameAddr::parse(contact)?.uri;
    crate::uri::Uri::parse(uri).ok()?;
    let at = uri.rfind('@').unwrap_or(0);
    let end = uri[at..].find('?').map_or(uri.len(), |offset| at + offset);
    Some(uri[..end].to_owned())
}

/// Whether a route's proxy does loose routing (`lr`, section 16.12).
pub(crate) fn is_loose(route: &str) -> bool {
    NameAddr::parse(route).is_some_and(|addr| {
        let params = addr.uri.split_once(';').map_or("", |(_, params)| params);
        param(params, "lr").is_some()
    })
}
