//! UPDATE in both directions (RFC 3311), offers in UPDATE and PRACK, and requests that meet others on the way.
//! Knows who has offered what. What an offer means is for the user to judge.

use super::facts::sdp_body;
use super::io::{DialogKey, Event};
use super::reliable::in_latest_fork;
use super::store::{Purpose, ServerMachine};
use super::uas::{Refusal, Request};
use super::{Endpoint, Step, routing};
use crate::builder::Writer;
use crate::dialog::{Dialog, Phase};
use crate::message::{HeaderName, Message};
use crate::pending::{Abilities, Again, Answer, Offered, OpenUpdate, Retry};
use crate::session::{Said, Session, Side, as_uas};
use crate::transaction::NonInviteServer;
use std::time::Duration;

/// RFC 3311 section 5.2: the answer to an UPDATE must not wait for a person.
const OFFER_LIMIT: Duration = Duration::from_secs(10);
/// A request that meets others this often is given up.
const MAX_RETRIES: u8 = 8;

impl Endpoint {
    /// An UPDATE of the peer.
    pub(super) fn handle_update(&mut self, step: &mut Step<'_>, request: Request<'_>, key: DialogKey) {
        let Some(dialog) = self.store.dialogs.get_mut(&key) else { return };
        let offer = sdp_body(request.message);
        if offer.is_some() && dialog.offers() {
            return self.refuse(step, request, Refusal::new(491));
        }
        if offer.is_some() && dialog.is_offered() {
            let retry_after = self.identifiers.below(10).to_string();
            return self.refuse(step, request, Refusal::with(500, "Retry-After", retry_after));
        }
        dialog.refresh_target_of(request.message);
        if let Some(offer) = offer {
            return self.take_offer(step, request, key, (offer, false));
        }
        dialog.peer = Abilities::read(request.message);
        let said = Said::read(request.message);
        let flow = request.flow;
        let mut writer = self.response(&request.template, 200, None, "");
        writer.header("Contact", self.contact_in(&flow, self.store.dialogs.get(&key)));
        self.agree(step, key, (&said, &mut writer));
        self.complete(step, request, String::new(), writer.finish(None, b""));
    }

    /// Writes what a 2xx of ours says of the session timer, and lets it hold. Before the answer to the first INVITE
    /// there is none.
    fn agree(&mut self, step: &Step<'_>, key: DialogKey, (said, writer): (&Said, &mut Writer)) {
        let Some(dialog) = self.store.dialogs.get(&key) else { return };
        self.write_abilities(writer, &dialog.policy);
        if dialog.phase != Phase::Confirmed {
            return;
        }
        let agreed = as_uas(&dialog.policy.session_timer, said, dialog.session.as_ref());
        self.write_agreed(writer, agreed);
        if let Some(dialog) = self.store.dialogs.get_mut(&key) {
            dialog.session = agreed
                .map(|agreed| Session::start(step.now, agreed.interval_s, agreed.refresher == Side::Uas));
        }
        self.store.wake_dialog(key);
    }

    /// Keeps an UPDATE or PRACK with an offer for the user's answer.
    pub(super) fn take_offer(
        &mut self,
        step: &mut Step<'_>,
        request: Request<'_>,
        key: DialogKey,
        (offer, is_prack): (String, bool),
    ) {
        let said = Said::read(request.message);
        let abilities = Abilities::read(request.message);
        let Some(transaction) = self.hold(step, request, key) else { return };
        if let Some(dialog) = self.store.dialogs.get_mut(&key) {
            if !is_prack {
                dialog.peer = abilities;
            }
            let ends = step.now + OFFER_LIMIT;
            dialog.offered = Some(Offered { transaction, said, ends, is_prack });
        }
        self.store.wake_dialog(key);
        self.note_their_sdp(key, Some(&offer));
        step.event(Event::Reinvite { dialog: key, offer: Some(offer) });
    }

    /// Opens a transaction whose answer comes from the user; a full store refuses.
    pub(super) fn hold(&mut self, step: &mut Step<'_>, request: Request<'_>, key: DialogKey) -> Option<u64> {
        if self.store.transactions() >= self.config.max_transactions {
            self.refuse(step, request, Refusal::new(503));
            return None;
        }
        let machine = NonInviteServer::new(self.config.timers, request.flow.transport.is_reliable());
        Some(self.add_server(request, ServerMachine::Other(machine), String::new(), Some(key)))
    }

    /// Answers a request that was held. `fill` adds fields and returns the description.
    pub(super) fn answer_held(
        &mut self,
        step: &mut Step<'_>,
        id: u64,
        status: u16,
        fill: impl FnOnce(&mut Writer) -> Option<String>,
    ) {
        let Some(transaction) = self.store.servers.get(&id) else { return };
        let flow = transaction.flow;
        let mut writer = self.response(&transaction.template, status, None, "");
        let sdp = fill(&mut writer).unwrap_or_default();
        let bytes = writer.finish(Some("application/sdp"), sdp.as_bytes());
        if let Some(transaction) = self.store.servers.get_mut(&id)
            && let ServerMachine::Other(machine) = &mut transaction.machine
        {
            machine.complete(step.now, bytes.clone());
        }
        self.store.wake_server(id);
        self.send(step, flow, bytes);
    }

    /// The user's answer to an offer in an UPDATE or PRACK.
    pub(super) fn answer_offered(&mut self, step: &mut Step<'_>, key: DialogKey, answer: Answer) {
        let Some(offered) = self.store.dialogs.get_mut(&key).and_then(|dialog| dialog.offered.take()) else {
            return;
        };
        // A PRACK cannot be refused: its response has been received (RFC 3262 section 3); only its offer can.
        let accepted = (200..300).contains(&answer.status);
        let status = answer.status;
        let mut head = Writer::fields();
        if accepted {
            let flow = self.store.servers.get(&offered.transaction).map(|transaction| transaction.flow);
            if let Some(flow) = flow.filter(|_| !offered.is_prack) {
                head.header("Contact", self.contact_in(&flow, self.store.dialogs.get(&key)));
                self.agree(step, key, (&offered.said, &mut head));
            }
            if let Some(dialog) = self.store.dialogs.get_mut(&key) {
                dialog.our_sdp = answer.sdp.clone().or_else(|| dialog.our_sdp.take());
            }
        }
        self.answer_held(step, offered.transaction, status, |writer| {
            writer.raw(head.written());
            answer.sdp.filter(|_| accepted)
        });
        if offered.is_prack {
            self.advance_provisional(step, key);
        }
        self.store.wake_dialog(key);
    }

    /// Nobody answered an offer in time.
    pub(super) fn fire_offered(&mut self, step: &mut Step<'_>, key: DialogKey) {
        let due = |dialog: &Dialog| dialog.offered.as_ref().is_some_and(|offered| offered.ends <= step.now);
        if self.store.dialogs.get(&key).is_some_and(due) {
            self.answer_offered(step, key, Answer::bare(504));
        }
    }

    /// [`super::Command::Update`].
    pub(super) fn update(&mut self, step: &mut Step<'_>, key: DialogKey, sdp: Option<String>) {
        let Some(dialog) = self.store.dialogs.get_mut(&key).filter(|dialog| can_be_updated(dialog)) else {
            self.statistics.commands_ignored += 1;
            return;
        };
        let fork = in_latest_fork(dialog);
        let allowed = match dialog.outgoing.as_ref().and_then(|outgoing| outgoing.early.last()) {
            Some(early) if dialog.phase == Phase::Early => early.abilities.update,
            Some(_) | None => dialog.peer.update,
        };
        let refused = if !allowed {
            Some((405, "Method Not Allowed"))
        } else if dialog.update.is_some() || (sdp.is_some() && (fork.offers() || fork.is_offered())) {
            Some((491, "Request Pending"))
        } else {
            None
        };
        if let Some((status, reason)) = refused {
            step.event(Event::Failed { dialog: key, status, reason: reason.to_owned() });
            return;
        }
        dialog.retry = None;
        self.send_update(step, key, (fork, sdp.clone()), Purpose::Update(sdp));
    }

    /// Sends an UPDATE in a dialog, as `fork` has it.
    pub(super) fn send_update(
        &mut self,
        step: &mut Step<'_>,
        key: DialogKey,
        (fork, sdp): (Dialog, Option<String>),
        purpose: Purpose,
    ) {
        let branch = self.identifiers.branch();
        let Some(dialog) = self.store.dialogs.get_mut(&key) else { return };
        let cseq = dialog.reserve_cseq();
        let flow = routing::next_hop(&fork);
        let mut writer = fork.request("UPDATE", cseq, &self.via(&flow, &branch));
        writer.header("Contact", self.contact_in(&flow, Some(&fork)));
        self.write_abilities(&mut writer, &fork.policy);
        if fork.phase == Phase::Confirmed {
            self.write_session_request(&mut writer, &fork);
        }
        let offer = sdp.is_some();
        let bytes = writer.finish(Some("application/sdp"), sdp.unwrap_or_default().as_bytes());
        let transaction = self.send_request(step, flow, ("UPDATE", branch, bytes), (Some(key), purpose));
        if let Some(dialog) = self.store.dialogs.get_mut(&key) {
            dialog.update = Some(OpenUpdate { transaction, offer });
        }
    }

    /// Our UPDATE has its final response; `None`: there will never be one.
    pub(super) fn update_completed(
        &mut self,
        step: &mut Step<'_>,
        key: DialogKey,
        (status, message): (u16, Option<&Message>),
        purpose: Purpose,
    ) {
        let Some(dialog) = self.store.dialogs.get_mut(&key) else { return };
        dialog.update = None;
        if dialog.phase == Phase::Ending {
            return;
        }
        let Purpose::Update(sdp) = purpose else {
            return self.refresh_completed(step, key, (status, message));
        };
        if let (200..300, Some(message)) = (status, message) {
            dialog.retries = 0;
            dialog.refresh_target_of(message);
            let answer = sdp_body(message);
            if sdp.is_some() {
                dialog.our_sdp = sdp;
            }
            self.session_from_2xx(step, key, message);
            self.note_their_sdp(key, answer.as_deref());
            step.event(Event::Answered { dialog: key, sdp: answer });
            return;
        }
        if status == 422 && self.raise_interval(key, message) {
            return self.update(step, key, sdp);
        }
        if self.try_again_later(step, key, (status, message), Again::Update(sdp)) {
            return;
        }
        let reason = crate::builder::reason_phrase(status).to_owned();
        step.event(Event::Failed { dialog: key, status, reason });
        self.end_if_unknown(step, key, status);
    }

    /// Section 12.2.1.2: after 481, or 408, the peer knows nothing of this dialog, or is gone.
    pub(super) fn end_if_unknown(&mut self, step: &mut Step<'_>, key: DialogKey, status: u16) {
        let confirmed = self.store.dialogs.get(&key).is_some_and(|dialog| dialog.phase == Phase::Confirmed);
        if matches!(status, 408 | 481) && confirmed {
            self.send_bye(step, key, None);
        }
    }

    /// Whether the request met one of the peer's (491), or the peer asks for patience (500 with Retry-After): then it
    /// goes out again later.
    pub(super) fn try_again_later(
        &mut self,
        step: &mut Step<'_>,
        key: DialogKey,
        (status, message): (u16, Option<&Message>),
        request: Again,
    ) -> bool {
        let Some(wait) = self.patience(key, status, message) else { return false };
        let Some(dialog) = self.store.dialogs.get_mut(&key) else { return false };
        if dialog.retries >= MAX_RETRIES {
            dialog.retries = 0;
            return false;
        }
        dialog.retries += 1;
        dialog.retry = Some(Retry { at: step.now + wait, request });
        self.store.wake_dialog(key);
        true
    }

    /// How long to wait before a request goes out again; `None` if that would not help.
    pub(super) fn patience(
        &mut self,
        key: DialogKey,
        status: u16,
        message: Option<&Message>,
    ) -> Option<Duration> {
        let is_caller = self.store.dialogs.get(&key)?.is_caller;
        let tens_of_ms = match status {
            // Section 14.1: the owner of the Call-ID waits 2.1 to 4 s, the other side 0 to 2 s, in steps of 10 ms.
            491 if is_caller => 210 + self.identifiers.below(191),
            491 => self.identifiers.below(201),
            500 => {
                let value = message?.value(&HeaderName::RetryAfter)?;
                let digits = value.split([' ', ';', '(']).next()?;
                digits.parse::<u32>().ok()?.clamp(1, 10) * 100
            }
            _ => return None,
        };
        Some(Duration::from_millis(10) * tens_of_ms)
    }
}

/// A dialog exists at the other side too, and is not ending.
fn can_be_updated(dialog: &Dialog) -> bool {
    match dialog.phase {
        Phase::Confirmed => dialog.bye_wanted.is_none(),
        Phase::Early if dialog.is_caller => {
            dialog.outgoing.as_ref().is_some_and(|outgoing| !outgoing.early.is_empty())
        }
        // The caller knows of the dialog for sure once it has acknowledged something.
        Phase::Early => {
            dialog.provisional.as_ref().is_some_and(|open| open.rseq != 0 && open.unpracked.is_none())
        }
        Phase::Ending => false,
    }
}
