//! What can be open in a dialog besides its INVITE: reliable provisional responses, offers in other requests, referrals.
//! Knows states and instants only; what is sent when is for the endpoint.

use crate::dialog::{Dialog, contact_uri, record_routes};
use crate::endpoint::Flow;
use crate::headers::{NameAddr, split_list};
use crate::message::{HeaderName, Message};
use crate::session::{Said, has_option};
use crate::transaction::Timers;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Provisional responses that wait for the PRACK of the one before; of more, only the newest is kept.
const QUEUED: usize = 4;

/// What the peer has said that it can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Abilities {
    /// 100rel in Supported or Require.
    pub(crate) reliable: bool,
    /// 100rel in Require.
    pub(crate) insists_on_reliable: bool,
    /// UPDATE in Allow.
    pub(crate) update: bool,
}

impl Abilities {
    pub(crate) fn read(message: &Message) -> Self {
        let insists_on_reliable = has_option(message, &HeaderName::Require, "100rel");
        let mut allowed = message.all(&HeaderName::Allow).flat_map(|field| split_list(&field.value));
        Self {
            reliable: insists_on_reliable || has_option(message, &HeaderName::Supported, "100rel"),
            insists_on_reliable,
            update: allowed.any(|method| method == "UPDATE"),
        }
    }
}

/// The user's answer to an INVITE, re-INVITE, or another request with an offer.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) reason: Option<String>,
    pub(crate) sdp: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
}

impl Answer {
    pub(crate) fn bare(status: u16) -> Self {
        Self { status, reason: None, sdp: None, headers: Vec::new() }
    }
}

/// The reliable provisional responses of the open INVITE (RFC 3262 section 3).
#[derive(Clone, Default)]
pub(crate) struct Provisional {
    /// The last RSeq; 0 before the first.
    pub(crate) rseq: u32,
    /// The one that waits for its PRACK.
    pub(crate) unpracked: Option<Unpracked>,
    /// Those that come after it.
    pub(crate) queue: VecDeque<Answer>,
    /// The 2xx that must wait until a description before it is acknowledged.
    pub(crate) accept: Option<Answer>,
}

impl Provisional {
    /// Puts one at the end of the queue.
    pub(crate) fn push(&mut self, answer: Answer) {
        if self.queue.len() >= QUEUED {
            self.queue.pop_back();
        }
        self.queue.push_back(answer);
    }

    /// Whether a description is on its way that the peer has not acknowledged.
    pub(crate) fn holds_description(&self) -> bool {
        self.unpracked.as_ref().is_some_and(|open| open.sdp)
            || self.queue.iter().any(|next| next.sdp.is_some())
    }
}

/// A reliable provisional response that waits for its PRACK.
#[derive(Clone)]
pub(crate) struct Unpracked {
    pub(crate) response: Vec<u8>,
    pub(crate) flow: Flow,
    /// It carries a description.
    pub(crate) sdp: bool,
    pub(crate) next: Instant,
    pub(crate) interval: Duration,
    pub(crate) ends: Instant,
}

impl Unpracked {
    pub(crate) fn new(now: Instant, flow: Flow, (response, sdp): (Vec<u8>, bool), timers: &Timers) -> Self {
        Self { response, flow, sdp, next: now + timers.t1, interval: timers.t1, ends: now + timers.timeout() }
    }

    /// The interval doubles without a limit (RFC 3262 section 3).
    pub(crate) fn advance(&mut self, now: Instant) {
        self.interval *= 2;
        self.next = now + self.interval;
    }
}

/// One early dialog of our INVITE: a fork that has answered provisionally (RFC 3261 section 12.1.2).
#[derive(Clone)]
pub(crate) struct EarlyDialog {
    pub(crate) tag: String,
    remote: Vec<u8>,
    route_set: Vec<String>,
    pub(crate) remote_target: String,
    pub(crate) remote_cseq: Option<u32>,
    /// The last RSeq that was taken (RFC 3262 section 4).
    rseq: Option<u32>,
    /// The answer that came reliably: the 2xx may leave it out.
    pub(crate) answer: Option<String>,
    /// Whether it can be sent an UPDATE.
    pub(crate) abilities: Abilities,
}

impl EarlyDialog {
    /// The early dialog that a provisional response begins; `None` without a To tag.
    pub(crate) fn of(response: &Message) -> Option<Self> {
        let to = response.header(&HeaderName::To)?;
        let tag = NameAddr::parse(&to.value)?.tag()?.to_owned();
        let mut route_set = record_routes(response);
        route_set.reverse();
        Some(Self {
            tag,
            remote: to.wire_value().into_owned(),
            route_set,
            remote_target: contact_uri(response).unwrap_or_default(),
            remote_cseq: None,
            rseq: None,
            answer: None,
            abilities: Abilities::read(response),
        })
    }

    /// Whether this RSeq is the first or the next one; then it counts as taken.
    pub(crate) fn takes(&mut self, rseq: u32) -> bool {
        let next = self.rseq.is_none_or(|last| last.checked_add(1) == Some(rseq));
        if next {
            self.rseq = Some(rseq);
        }
        next
    }

    /// The dialog as this fork has it, for requests to it.
    pub(crate) fn seen_from(&self, dialog: &Dialog) -> Dialog {
        let target = if self.remote_target.is_empty() { &dialog.remote_target } else { &self.remote_target };
        Dialog {
            remote: self.remote.clone(),
            remote_tag: Some(self.tag.clone()),
            route_set: self.route_set.clone(),
            remote_target: target.clone(),
            ..dialog.clone()
        }
    }
}

/// A request of the peer with an offer that waits for the user's answer: an UPDATE or a PRACK.
#[derive(Clone)]
pub(crate) struct Offered {
    pub(crate) transaction: u64,
    pub(crate) said: Said,
    /// The user must have answered by then.
    pub(crate) ends: Instant,
    /// The provisional responses go on after it.
    pub(crate) is_prack: bool,
}

/// Our UPDATE that waits for its final response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpenUpdate {
    pub(crate) transaction: u64,
    pub(crate) offer: bool,
}

/// A REFER of the peer that waits for the user's answer.
#[derive(Clone)]
pub(crate) struct Referral {
    pub(crate) transaction: u64,
    pub(crate) cseq: u32,
    pub(crate) ends: Instant,
}

/// A request of ours that met another one and is sent again later (RFC 3261 section 14.1, RFC 3311 section 5.3).
#[derive(Clone)]
pub(crate) struct Retry {
    pub(crate) at: Instant,
    pub(crate) request: Again,
}

/// Which.
#[derive(Clone)]
pub(crate) enum Again {
    Reinvite(String),
    Update(Option<String>),
}
