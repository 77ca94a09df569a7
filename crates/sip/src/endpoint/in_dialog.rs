//! Requests inside a dialog: ACK, BYE, re-INVITE, INFO, OPTIONS (RFC 3261 sections 12.2.2, 13.3.1.4, 14.2, 15).
//! Knows dialogs by our tag. What a re-INVITE offers is for the user to judge.

use super::facts::{cseq_number, from_tag, sdp_body, to_tag};
use super::io::{DialogKey, Event};
use super::store::ServerMachine;
use super::uas::{Refusal, Request};
use super::{Endpoint, Step};
use crate::dialog::Phase;
use crate::message::{HeaderName, Message, Method};
use crate::pending::Abilities;
use crate::transaction::InviteServerState;

impl Endpoint {
    /// The dialog a request belongs to: our tag in To, the peer's tag in From.
    pub(super) fn dialog_of(&self, message: &Message) -> Option<DialogKey> {
        let call_id = message.value(&HeaderName::CallId)?;
        let key = self.store.dialog_by_tag(call_id, to_tag(message)?)?;
        let dialog = self.store.dialogs.get(&key)?;
        let same_peer = match &dialog.remote_tag {
            Some(tag) => from_tag(message) == Some(tag.as_str()),
            // An RFC 2543 peer without tag, or our INVITE has no answer yet.
            None => true,
        };
        same_peer.then_some(key)
    }

    pub(super) fn handle_in_dialog(&mut self, step: &mut Step<'_>, request: Request<'_>) {
        let Some(key) = self.dialog_of(request.message) else {
            if *request.method == Method::Notify && self.is_late_notify(step.now, request.message) {
                return self.answer_ok(step, request);
            }
            return self.refuse(step, request, Refusal::new(481));
        };
        let cseq = cseq_number(request.message);
        let Some(dialog) = self.store.dialogs.get_mut(&key) else { return };
        // Section 12.2.2: a lower CSeq is out of order. BYE is served all the same: the call is over.
        if !dialog.takes_cseq(from_tag(request.message), cseq) && *request.method != Method::Bye {
            return self.refuse(step, request, Refusal::new(500));
        }
        dialog.hear_on(request.flow);
        let ending = dialog.phase == Phase::Ending;
        self.store.wake_dialog(key);
        match request.method {
            Method::Prack | Method::Update | Method::Refer | Method::Info if ending => {
                self.refuse(step, request, Refusal::new(481));
            }
            Method::Prack => self.handle_prack(step, request, key),
            Method::Update => self.handle_update(step, request, key),
            Method::Refer => self.handle_refer(step, request, key),
            Method::Notify => self.handle_notify(step, request, key),
            Method::Bye => self.handle_bye(step, request, key),
            Method::Invite => self.handle_reinvite(step, request, key),
            Method::Info => self.handle_info(step, request, key),
            Method::Options => self.answer_options(step, request),
            Method::Ack | Method::Cancel | Method::Other(_) => {
                self.refuse(step, request, Refusal::new(481));
            }
        }
    }

    /// Answers a request of a dialog with a bare 200.
    pub(super) fn answer_ok(&mut self, step: &mut Step<'_>, request: Request<'_>) {
        let bytes = self.response(&request.template, 200, None, "").finish(None, b"");
        self.complete(step, request, String::new(), bytes);
    }

    fn handle_bye(&mut self, step: &mut Step<'_>, request: Request<'_>, key: DialogKey) {
        let reason = request.message.value(&HeaderName::Reason).map(str::to_owned);
        self.answer_ok(step, request);
        let Some(dialog) = self.store.dialogs.get(&key) else { return };
        let ending = dialog.phase == Phase::Ending;
        // An open INVITE is answered (section 15.1.2); its dialog must not end twice by that.
        let initial = dialog.incoming.as_ref().map(|incoming| incoming.initial);
        if !ending {
            step.event(Event::Bye { dialog: key, reason });
        }
        if initial.is_some() {
            self.reject_incoming(step, key, 487);
        }
        self.end_dialog(step, key);
    }

    fn handle_info(&mut self, step: &mut Step<'_>, request: Request<'_>, key: DialogKey) {
        let content_type = request.message.value(&HeaderName::ContentType).unwrap_or_default().to_owned();
        let body = request.message.body_text();
        self.answer_ok(step, request);
        step.event(Event::Info { dialog: key, content_type, body });
    }

    fn handle_reinvite(&mut self, step: &mut Step<'_>, request: Request<'_>, key: DialogKey) {
        let Some(dialog) = self.store.dialogs.get_mut(&key) else { return };
        if dialog.phase == Phase::Ending {
            return self.refuse(step, request, Refusal::new(481));
        }
        if dialog.outgoing.is_some() || dialog.update.is_some_and(|update| update.offer) {
            return self.refuse(step, request, Refusal::new(491));
        }
        if dialog.incoming.is_some() || dialog.unacked.is_some() || dialog.offered.is_some() {
            // Section 14.2: Retry-After between 0 and 10 seconds, by chance.
            let retry_after = self.identifiers.below(10).to_string();
            return self.refuse(step, request, Refusal::with(500, "Retry-After", retry_after));
        }
        dialog.refresh_target(request.message);
        dialog.peer = Abilities::read(request.message);
        let message = request.message;
        let transaction = self.begin_invite(step, request, String::new(), key);
        let incoming = self.incoming(step, message, transaction, false);
        if let Some(dialog) = self.store.dialogs.get_mut(&key) {
            dialog.incoming = Some(incoming);
        }
        self.store.wake_dialog(key);
        self.note_their_sdp(key, sdp_body(message).as_deref());
        step.event(Event::Reinvite { dialog: key, offer: sdp_body(message) });
    }

    /// The ACK of a non-2xx belongs to the transaction, the ACK of a 2xx to the dialog (section 17.2.1).
    pub(super) fn handle_ack(&mut self, step: &mut Step<'_>, request: &Request<'_>) {
        if let Some(id) = self.store.server_by_key(&request.key)
            && let Some(transaction) = self.store.servers.get_mut(&id)
            && let ServerMachine::Invite(machine) = &mut transaction.machine
            && machine.state() != InviteServerState::Accepted
        {
            machine.handle_ack(step.now);
            self.store.wake_server(id);
            return;
        }
        let Some(key) = self.dialog_of(request.message) else {
            self.statistics.drop("ack_without_transaction");
            return;
        };
        let cseq = cseq_number(request.message);
        let Some(dialog) = self.store.dialogs.get_mut(&key) else { return };
        if dialog.unacked.as_ref().is_none_or(|unacked| unacked.cseq != cseq) {
            self.statistics.retransmissions_in += 1;
            return;
        }
        let pracked = dialog.unacked.take().and_then(|unacked| unacked.pracked_answer);
        dialog.hear_on(request.flow);
        let bye = dialog.bye_wanted.take();
        self.store.wake_dialog(key);
        let sdp = sdp_body(request.message).or(pracked);
        self.note_their_sdp(key, sdp.as_deref());
        step.event(Event::Acked { dialog: key, sdp });
        if let Some(reason) = bye {
            self.send_bye(step, key, reason);
        }
    }
}
