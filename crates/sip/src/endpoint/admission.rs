//! Who gets past the door: the gate's verdict and overload, each answered without a transaction, so that a stranger
//! costs one hash and no memory (RFC 3261 section 8.2.7). What an admitted request gets is decided elsewhere.

use super::facts::{refused_event, to_tag, transaction_key};
use super::uas::Request;
use super::{Endpoint, Step};
use crate::builder::reason_phrase;
use crate::digest::DigestResponse;
use crate::finding::{Finding, check_request};
use crate::gate::{Decision, Facts, Gate, GateReason, TrunkRules, Verdict};
use crate::message::{Message, Method};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Most Authorization headers that are looked at.
const MAX_AUTHORIZATIONS: usize = 8;

impl Endpoint {
    /// Lets a request pass that belongs to a dialog or transaction, or to a trunk; answers every other one.
    pub(super) fn pass_gate<'a>(
        &mut self,
        step: &mut Step<'_>,
        mut request: Request<'a>,
    ) -> Option<Request<'a>> {
        if self.is_inside(&request)
            || *request.method == Method::Notify && self.is_late_notify(step.now, request.message)
        {
            return Some(request);
        }
        let Some(gate) = &mut self.gate else {
            if self.is_overloaded(&request) {
                self.shed(step, &request);
                return None;
            }
            return Some(request);
        };
        if to_tag(request.message).is_some() || *request.method == Method::Cancel {
            self.answer_stray(step, &request);
            return None;
        }
        let facts = Facts {
            source: request.flow.remote,
            transport: request.flow.transport,
            method: request.method.name(),
            request_uri: request.uri,
            authorization: authorization(gate, request.message),
            salt: fingerprint(self.secret, &request.key),
        };
        let known = !matches!(gate.decide(&facts), Decision::Unmatched { .. })
            && !gate.is_banned(step.now, facts.source.ip());
        if known && self.is_overloaded(&request) {
            // Before digest: a server without room does not spend a hash on saying so.
            self.shed(step, &request);
            return None;
        }
        let Some(gate) = &mut self.gate else { return None };
        match gate.judge(step.now, &facts) {
            Verdict::Admit { trunk, user } => {
                self.statistics.gate.admitted += 1;
                self.statistics.gate.authenticated += u64::from(user.is_some());
                request.admitted = Some((trunk, user));
                Some(request)
            }
            verdict @ (Verdict::Challenge { .. } | Verdict::Refuse { .. } | Verdict::Ignore { .. }) => {
                self.turn_away(step, &request, verdict);
                None
            }
        }
    }

    /// In a dialog or transaction that exists: neither the gate nor overload refuses those.
    pub(super) fn is_inside(&self, request: &Request<'_>) -> bool {
        if *request.method == Method::Cancel {
            let invite = transaction_key(request.message, request.uri, "INVITE");
            return invite.is_some_and(|key| self.store.server_by_key(&key).is_some());
        }
        self.dialog_of(request.message).is_some()
    }

    /// Whether there is no room for a new request of that kind.
    fn is_overloaded(&self, request: &Request<'_>) -> bool {
        let invite = *request.method == Method::Invite;
        let dialogs_full = invite && self.store.dialogs.len() >= self.config.max_dialogs;
        let draining = self.draining && (invite || *request.method == Method::Options);
        let sheddable = !matches!(request.method, Method::Bye | Method::Cancel);
        draining || dialogs_full || (sheddable && self.store.transactions() >= self.config.max_transactions)
    }

    /// How many transactions there may be for one more of that request. A quarter is kept for what is inside a dialog
    /// or transaction.
    pub(super) fn transaction_limit(&self, request: &Request<'_>) -> usize {
        let limit = self.config.max_transactions;
        if self.is_inside(request) { limit.saturating_add(limit / 4) } else { limit }
    }

    /// 503 with a Retry-After of its own for each request, the same for each copy.
    pub(super) fn shed(&mut self, step: &mut Step<'_>, request: &Request<'_>) {
        let draining = self.draining && matches!(request.method, Method::Invite | Method::Options);
        if !draining {
            self.statistics.refused_full += 1;
        } else if *request.method == Method::Invite {
            self.statistics.refused_draining += 1;
        }
        let (from, to) = (*self.config.retry_after_s.start(), *self.config.retry_after_s.end());
        let spread = u64::from(to.saturating_sub(from)) + 1;
        let retry_after = u64::from(from) + fingerprint(self.secret, &request.key) % spread;
        let bytes = self.stateless(request, 503, &[("Retry-After", &retry_after.to_string())]);
        self.send(step, request.flow, bytes);
        if *request.method == Method::Invite && self.reports.is_new(fingerprint(self.secret, &request.key)) {
            step.event(refused_event(request, 503, if draining { "draining" } else { "full" }));
        }
    }

    /// A response that leaves nothing behind; every copy of the request gets the same one.
    fn stateless(&self, request: &Request<'_>, status: u16, fields: &[(&str, &str)]) -> Vec<u8> {
        let tag = self.stateless_tag(&request.key);
        // Without our Server field: who asks has not shown that it may know.
        let mut writer = request.template.response(status, reason_phrase(status), &tag);
        for (name, value) in fields {
            writer.header(name, value);
        }
        writer.finish(None, b"")
    }

    fn stateless_tag(&self, key: &str) -> String {
        format!("{:016x}", fingerprint(self.secret, key))
    }

    /// Whether an ACK answers one of our stateless refusals: it ends here.
    pub(super) fn absorbs(&mut self, request: &Request<'_>) -> bool {
        let ours = self.store.server_by_key(&request.key).is_none()
            && to_tag(request.message).is_some_and(|tag| tag == self.stateless_tag(&request.key));
        self.statistics.gate.acks_absorbed += u64::from(ours);
        ours
    }

    /// A request of a dialog or transaction that does not exist here.
    fn answer_stray(&mut self, step: &mut Step<'_>, request: &Request<'_>) {
        let silent = self.gate.as_ref().is_some_and(|g| g.is_silent_to(step.now, request.flow.remote.ip()));
        if silent {
            self.statistics.gate.count(GateReason::UnknownDialog);
            return;
        }
        // Syntax comes first (RFC 3261 section 8.2; RFC 4475 section 3.1.2.8 has such a request with a To tag).
        let status = check_request(request.message).map_or(481, Finding::status);
        let bytes = self.stateless(request, status, &[]);
        self.send_to_stranger(step, request, bytes);
    }

    fn turn_away(&mut self, step: &mut Step<'_>, request: &Request<'_>, verdict: Verdict) {
        match verdict {
            Verdict::Admit { .. } => {}
            Verdict::Challenge { challenges, reason } => {
                self.statistics.gate.count(reason);
                self.statistics.gate.challenged += 1;
                self.send_challenge(step, request, &challenges);
            }
            Verdict::Refuse { status, reason } => {
                self.statistics.gate.count(reason);
                let bytes = self.stateless(request, status, &[]);
                let sent = self.send_to_stranger(step, request, bytes);
                self.report(step, request, if sent { status } else { 0 }, reason);
            }
            Verdict::Ignore { reason } => {
                self.statistics.gate.count(reason);
                if reason != GateReason::Banned {
                    self.report(step, request, 0, reason);
                }
                if request.flow.transport.is_reliable() {
                    step.out.push(super::Output::CloseFlow { flow: request.flow });
                }
            }
        }
    }

    /// 401 with as many challenges as may be sent; the least preferred hash is the one everybody knows.
    fn send_challenge(&mut self, step: &mut Step<'_>, request: &Request<'_>, challenges: &[String]) {
        for first in 0..challenges.len() {
            let fields: Vec<(&str, &str)> =
                challenges[first..].iter().map(|value| ("WWW-Authenticate", value.as_str())).collect();
            let bytes = self.stateless(request, 401, &fields);
            if first + 1 == challenges.len() || !amplifies(request, &bytes) {
                self.send_to_stranger(step, request, bytes);
                return;
            }
        }
    }

    /// Sends, unless a forged source address would make it worth forging (at most 1.5 bytes for each that came).
    fn send_to_stranger(&mut self, step: &mut Step<'_>, request: &Request<'_>, bytes: Vec<u8>) -> bool {
        if amplifies(request, &bytes) {
            self.statistics.gate.count(GateReason::Amplification);
            return false;
        }
        self.send(step, request.flow, bytes);
        true
    }

    /// Reports a call that the gate refused: once, and not more often than each second may have.
    fn report(&mut self, step: &mut Step<'_>, request: &Request<'_>, status: u16, reason: GateReason) {
        let Some(gate) = &self.gate else { return };
        if *request.method != Method::Invite {
            return;
        }
        let limit = gate.config().reports_per_second;
        if !self.reports.is_new(fingerprint(self.secret, &request.key)) {
            return;
        }
        if self.reports.has_room(step.now, limit) {
            step.event(refused_event(request, status, reason.name()));
        } else {
            self.statistics.gate.unreported += 1;
        }
    }

    /// The trunk that a request was admitted for.
    pub(super) fn trunk_of(&self, request: &Request<'_>) -> Option<&TrunkRules> {
        let (trunk, _) = request.admitted?;
        self.gate.as_ref()?.config().trunks.get(trunk)
    }
}

fn amplifies(request: &Request<'_>, answer: &[u8]) -> bool {
    !request.flow.transport.is_reliable() && answer.len() * 2 > request.size * 3
}

/// The Authorization value that is meant for us: with several, the first of a realm of ours (RFC 3261 22.3).
fn authorization<'a>(gate: &Gate, message: &'a Message) -> Option<&'a str> {
    let fields =
        message.headers.iter().filter(|field| field.name.text().eq_ignore_ascii_case("Authorization"));
    let values: Vec<&str> = fields.map(|field| field.value.as_str()).take(MAX_AUTHORIZATIONS).collect();
    let for_us = |value: &&&str| {
        DigestResponse::parse(value).is_some_and(|response| gate.knows_realm(&response.realm))
    };
    match values.as_slice() {
        [] | [_] => values.first().copied(),
        [first, ..] => values.iter().find(for_us).copied().or(Some(first)),
    }
}

/// What tells a request from others, as nobody else can compute it.
fn fingerprint(secret: u64, key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (secret, key).hash(&mut hasher);
    hasher.finish()
}
