//! A dialog: tags, CSeq, route set, remote target, and what of an INVITE is still open in it
//! (RFC 3261 sections 12 to 15). Knows no sockets; transactions appear only as numbers.

use crate::builder::Writer;
use crate::digest::AuthSession;
use crate::endpoint::{DialogKey, Flow};
use crate::headers::{NameAddr, param, split_list};
use crate::message::{HeaderName, Message, StartLine};
use crate::pending::{Abilities, EarlyDialog, Offered, OpenUpdate, Provisional, Referral, Retry};
use crate::policy::DialogPolicy;
use crate::session::{Said, Session};
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
    /// It came with an offer.
    pub(crate) offer: bool,
    /// Offer and answer are complete: by a reliable provisional response, or its PRACK.
    pub(crate) settled: bool,
    /// The PRACK brought the answer to our offer: it is told with the ACK.
    pub(crate) pracked_answer: Option<String>,
    /// What it says of session timers.
    pub(crate) said: Said,
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
    /// It holds an offer of ours, which the ACK answers.
    pub(crate) offer: bool,
    /// See [`Incoming::pracked_answer`].
    pub(crate) pracked_answer: Option<String>,
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
    /// Who has answered it provisionally, the latest last.
    pub(crate) early: Vec<EarlyDialog>,
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
    /// The user's header fields for our BYE.
    pub(crate) bye_headers: Vec<(String, String)>,
    /// Answers challenges to our requests. Never of an incoming call: its peer is not the one the credentials are for.
    pub(crate) auth: Option<AuthSession>,
    /// A re-INVITE that met a 491 and is sent again later (section 14.1).
    pub(crate) retry: Option<Retry>,
    /// How often it was sent again.
    pub(crate) retries: u8,
    pub(crate) policy: DialogPolicy,
    pub(crate) peer: Abilities,
    /// The session timer, while there is one.
    pub(crate) session: Option<Session>,
    /// Session-Expires and Min-SE of our requests, in seconds: a 422 raises them.
    pub(crate) expires_s: u32,
    pub(crate) min_se_s: u32,
    /// Our description that holds, for refreshes by re-INVITE.
    pub(crate) our_sdp: Option<String>,
    /// The peer's description that holds, as a hash: a refresh seldom brings a new one.
    pub(crate) their_sdp: u64,
    pub(crate) provisional: Option<Box<Provisional>>,
    /// RSeq and CSeq of a reliable response that the final one overtook: its PRACK may still come.
    pub(crate) late_rack: Option<(u32, u32)>,
    pub(crate) offered: Option<Offered>,
    pub(crate) update: Option<OpenUpdate>,
    pub(crate) referral: Option<Referral>,
    /// The Event value of the subscription that we notify.
    pub(crate) notifying: Option<String>,
    /// A REFER was accepted before: the next one needs an id (RFC 3515 section 2.4.6).
    pub(crate) was_referred: bool,
    /// A REFER of ours was sent: its NOTIFYs are expected.
    pub(crate) expects_notify: bool,
    /// Its stream has closed while the peer owes us an ACK, or we it an answer: it has until then to come back.
    pub(crate) lost_at: Option<Instant>,
    /// The BYE is not waited for any longer than this.
    pub(crate) ends_at: Option<Instant>,
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
            bye_headers: Vec::new(),
            retry: None,
            auth: None,
            retries: 0,
            policy: DialogPolicy::default(),
            peer: Abilities::default(),
            session: None,
            expires_s: 0,
            min_se_s: 0,
            our_sdp: None,
            their_sdp: 0,
            provisional: None,
            late_rack: None,
            offered: None,
            update: None,
            referral: None,
            notifying: None,
            was_referred: false,
            expects_notify: false,
            lost_at: None,
            ends_at: None,
        }
    }

    /// Behaves like this from now on.
    pub(crate) fn set_policy(&mut self, policy: DialogPolicy) {
        (self.expires_s, self.min_se_s) = (policy.session_timer.expires_s, policy.session_timer.min_se_s);
        self.policy = policy;
    }

    /// When something is due.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        let incoming = self.incoming.as_ref().map(|incoming| incoming.ends.min(incoming.refresh));
        let unacked = self.unacked.as_ref().map(|unacked| unacked.ends.min(unacked.next));
        let outgoing = self.outgoing.as_ref().and_then(|outgoing| outgoing.ends);
        let retry = self.retry.as_ref().map(|retry| retry.at);
        let unpracked = self.provisional.as_ref().and_then(|provisional| provisional.unpracked.as_ref());
        let unpracked = unpracked.map(|unpracked| unpracked.ends.min(unpracked.next));
        let session = self.session.as_ref().map(Session::next_wake);
        let offered = self.offered.as_ref().map(|offered| offered.ends);
        let referral = self.referral.as_ref().map(|referral| referral.ends);
        let own = [incoming, unacked, outgoing, retry, self.lost_at, self.ends_at];
        own.into_iter().chain([unpracked, session, offered, referral]).flatten().min()
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

    /// Takes the CSeq of a request of the peer; `false` if it is lower than one before (section 12.2.2).
    /// The forks of our INVITE count by themselves until one of them has answered.
    pub(crate) fn takes_cseq(&mut self, tag: Option<&str>, cseq: u32) -> bool {
        let early = self.early(tag);
        let last = match early {
            Some(early) => &mut early.remote_cseq,
            None => &mut self.remote_cseq,
        };
        let in_order = last.is_none_or(|last| cseq >= last);
        *last = (*last).max(Some(cseq));
        in_order
    }

    /// The early dialog with that tag of the peer, as long as the call has no answer.
    pub(crate) fn early(&mut self, tag: Option<&str>) -> Option<&mut EarlyDialog> {
        let tag = tag.filter(|_| self.remote_tag.is_none())?;
        self.outgoing.as_mut()?.early.iter_mut().find(|early| early.tag == tag)
    }

    /// Whether we have made an offer that is not answered.
    pub(crate) fn offers(&self) -> bool {
        let invite = self.outgoing.as_ref().is_some_and(|outgoing| {
            // A reliable provisional response has answered the first offer (RFC 3262 section 5).
            !outgoing.early.iter().any(|early| early.answer.is_some())
        });
        let provisional = self.provisional.as_ref().is_some_and(|provisional| {
            provisional.unpracked.as_ref().is_some_and(|open| open.sdp)
                && self.incoming.as_ref().is_some_and(|incoming| !incoming.settled)
        });
        invite
            || provisional
            || self.update.is_some_and(|update| update.offer)
            || self.unacked.as_ref().is_some_and(|unacked| unacked.offer)
    }

    /// Whether the peer has made an offer that we have not answered.
    pub(crate) fn is_offered(&self) -> bool {
        self.offered.is_some()
            || self.incoming.as_ref().is_some_and(|incoming| incoming.offer && !incoming.settled)
    }

    /// As [`Dialog::refresh_target`], in the early dialog that the message belongs to where there are several.
    pub(crate) fn refresh_target_of(&mut self, message: &Message) {
        let side = match message.start {
            StartLine::Request { .. } => HeaderName::From,
            StartLine::Response { .. } => HeaderName::To,
        };
        let tag = message.value(&side).and_then(NameAddr::parse).and_then(|addr| addr.tag());
        match (self.early(tag), contact_uri(message)) {
            (Some(early), Some(contact)) => early.remote_target = contact,
            (Some(_), None) => {}
            (None, _) => self.refresh_target(message),
        }
    }

    /// The peer was heard on this way: answers and requests go there from now on.
    pub(crate) fn hear_on(&mut self, flow: Flow) {
        self.flow = flow;
        self.flow_closed = false;
        self.lost_at = None;
    }

    /// Whether a 2xx of ours still waits for its ACK, or an INVITE is open in either direction.
    pub(crate) fn invite_is_open(&self) -> bool {
        self.incoming.is_some() || self.outgoing.is_some() || self.unacked.is_some()
    }
}

impl Unacked {
    pub(crate) fn new(now: Instant, flow: Flow, cseq: u32, response: Vec<u8>, timers: &Timers) -> Self {
        Self {
            offer: false,
            pracked_answer: None,
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
