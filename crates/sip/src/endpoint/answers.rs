//! The user's answers to INVITEs and re-INVITEs, and what they make of the dialog (RFC 3261 sections 13.3.1, 14.2).
//! Knows the open INVITE of a dialog. What a status means to the caller is for the user to know.

use super::facts::description_hash;
use super::io::{DialogKey, Event, Flow};
use super::store::ServerMachine;
use super::uas::PROVISIONAL_REFRESH;
use super::{Endpoint, Step};
use crate::builder::Writer;
use crate::dialog::{Dialog, Incoming, Phase, Unacked};
use crate::message::HeaderName;
use crate::parser::is_token;
use crate::pending::Answer;
use crate::session::{Agreed, Session, Side, as_uas};

impl Endpoint {
    /// [`super::Command::Respond`]. A final answer is for the latest question: an offer in an UPDATE or PRACK comes
    /// after the INVITE.
    pub(super) fn respond(&mut self, step: &mut Step<'_>, key: DialogKey, mut answer: Answer) {
        if !(100..=699).contains(&answer.status) {
            answer.status = 500;
        }
        let dialog = self.store.dialogs.get(&key).filter(|_| answer.status != 100);
        let Some(dialog) = dialog else {
            self.statistics.commands_ignored += 1;
            return;
        };
        if answer.status >= 200 && dialog.offered.is_some() {
            return self.answer_offered(step, key, answer);
        }
        let Some(incoming) = &dialog.incoming else {
            self.statistics.commands_ignored += 1;
            return;
        };
        match answer.status {
            ..200 if incoming.initial => self.provisional(step, key, answer),
            200..300 if self.waits_for_prack(key) => self.accept_after_prack(key, answer),
            _ => self.answer_invite(step, key, answer, None),
        }
    }

    /// Sends a response to the open INVITE; `rseq` makes it a reliable provisional one.
    pub(super) fn answer_invite(
        &mut self,
        step: &mut Step<'_>,
        key: DialogKey,
        mut answer: Answer,
        rseq: Option<u32>,
    ) {
        let Some(dialog) = self.store.dialogs.get(&key) else { return };
        let Some(incoming) = dialog.incoming.clone() else { return };
        if answer.status < 300 && incoming.settled {
            // The answer has gone out reliably: a second one would be a new offer (RFC 6337 section 2.1).
            answer.sdp = None;
        }
        let status = answer.status;
        let agreed = agreed(dialog, &incoming, status);
        let Some(bytes) = self.invite_response(dialog, &incoming, &answer, (agreed, rseq)) else { return };
        let Some(transaction) = self.store.servers.get_mut(&incoming.transaction) else { return };
        let flow = transaction.flow;
        if let ServerMachine::Invite(machine) = &mut transaction.machine {
            match status {
                ..200 => machine.provisional(bytes.clone()),
                200..300 => machine.accept(step.now),
                300.. => machine.reject(step.now, bytes.clone()),
            }
        }
        self.store.wake_server(incoming.transaction);
        self.send(step, flow, bytes.clone());
        let Some(dialog) = self.store.dialogs.get_mut(&key) else { return };
        if status < 300 && answer.sdp.is_some() {
            dialog.our_sdp.clone_from(&answer.sdp);
        }
        if status >= 200 {
            let accepted = (status < 300).then_some((flow, bytes, answer.sdp.is_some() && !incoming.offer));
            return self.finish_incoming(step, key, (incoming, agreed), accepted);
        }
        if let Some(open) = &mut dialog.incoming {
            open.refresh = step.now + PROVISIONAL_REFRESH;
        }
        if rseq.is_some() {
            self.note_unpracked(step.now, key, flow, (bytes, answer.sdp.is_some()));
        }
        self.store.wake_dialog(key);
    }

    fn invite_response(
        &self,
        dialog: &Dialog,
        incoming: &Incoming,
        answer: &Answer,
        (agreed, rseq): (Option<Agreed>, Option<u32>),
    ) -> Option<Vec<u8>> {
        let transaction = self.store.servers.get(&incoming.transaction)?;
        let status = answer.status;
        let mut writer =
            self.response(&transaction.template, status, answer.reason.as_deref(), &transaction.tag);
        if status < 300 {
            writer.raw(transaction.template.record_route());
            writer.header("Contact", self.contact_in(&transaction.flow, Some(dialog)));
            self.write_abilities(&mut writer, &dialog.policy);
            self.write_agreed(&mut writer, agreed);
        }
        if let Some(rseq) = rseq {
            writer.header("Require", "100rel").header("RSeq", rseq.to_string());
        }
        write_extra_headers(&mut writer, &answer.headers);
        let body = answer.sdp.as_deref().unwrap_or_default();
        Some(writer.finish(Some("application/sdp"), body.as_bytes()))
    }

    /// The final response has left: the dialog stands, stays, or ends.
    fn finish_incoming(
        &mut self,
        step: &mut Step<'_>,
        key: DialogKey,
        (incoming, agreed): (Incoming, Option<Agreed>),
        accepted: Option<(Flow, Vec<u8>, bool)>,
    ) {
        let Some(dialog) = self.store.dialogs.get_mut(&key) else { return };
        dialog.incoming = None;
        let provisional = dialog.provisional.take();
        let overtaken = provisional.filter(|open| open.unpracked.is_some()).map(|open| open.rseq);
        dialog.late_rack = overtaken.map(|rseq| (rseq, incoming.cseq));
        match accepted {
            Some((flow, bytes, offer)) => {
                if dialog.phase == Phase::Early {
                    dialog.phase = Phase::Confirmed;
                }
                let timers = &self.config.timers;
                let unacked = Unacked::new(step.now, flow, incoming.cseq, bytes, timers);
                dialog.unacked = Some(Unacked { offer, pracked_answer: incoming.pracked_answer, ..unacked });
                dialog.session = agreed
                    .map(|agreed| Session::start(step.now, agreed.interval_s, agreed.refresher == Side::Uas));
                self.store.wake_dialog(key);
            }
            None if incoming.initial => self.end_dialog(step, key),
            None => self.store.wake_dialog(key),
        }
    }

    /// Refuses the open INVITE of a dialog on the endpoint's own account.
    pub(super) fn reject_incoming(&mut self, step: &mut Step<'_>, key: DialogKey, status: u16) {
        self.answer_invite(step, key, Answer::bare(status), None);
    }

    /// Removes the dialog and says so, once. An INVITE of ours that is still open must not wait for ever, and what the
    /// peer asked gets an answer.
    pub(super) fn end_dialog(&mut self, step: &mut Step<'_>, key: DialogKey) {
        let Some(dialog) = self.store.remove_dialog(key) else { return };
        if let Some(outgoing) = &dialog.outgoing {
            self.limit_invite(outgoing.transaction, step.now + self.config.timers.timeout());
        }
        let held = [
            dialog.offered.as_ref().map(|offered| offered.transaction),
            dialog.referral.as_ref().map(|referral| referral.transaction),
        ];
        for transaction in held.into_iter().flatten() {
            self.answer_held(step, transaction, 487, |_| None);
        }
        if dialog.expects_notify {
            self.remember_referral(step.now, &dialog);
        }
        step.event(Event::Ended { dialog: key });
    }

    /// What the peer describes now; whether it differs from what it described before.
    pub(super) fn note_their_sdp(&mut self, key: DialogKey, sdp: Option<&str>) -> bool {
        let (Some(sdp), Some(dialog)) = (sdp, self.store.dialogs.get_mut(&key)) else { return false };
        let hash = description_hash(sdp);
        std::mem::replace(&mut dialog.their_sdp, hash) != hash
    }
}

/// The session timer that a 2xx to this INVITE agrees to.
fn agreed(dialog: &Dialog, incoming: &Incoming, status: u16) -> Option<Agreed> {
    let accepts = (200..300).contains(&status);
    accepts.then(|| as_uas(&dialog.policy.session_timer, &incoming.said, dialog.session.as_ref())).flatten()
}

/// The user's own fields, except those the endpoint answers for.
pub(super) fn write_extra_headers(writer: &mut Writer, headers: &[(String, String)]) {
    for (name, value) in headers {
        let reserved = matches!(
            HeaderName::from_text(name),
            HeaderName::Via
                | HeaderName::From
                | HeaderName::To
                | HeaderName::CallId
                | HeaderName::CSeq
                | HeaderName::ContentLength
                | HeaderName::ContentType
                | HeaderName::MaxForwards
                | HeaderName::Route
                | HeaderName::RecordRoute
                | HeaderName::RSeq
                | HeaderName::RAck
                | HeaderName::SessionExpires
        );
        if !reserved && is_token(name) {
            writer.header(name, value);
        }
    }
}
