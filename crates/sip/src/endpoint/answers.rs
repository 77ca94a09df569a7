//! The user's answers to INVITEs and re-INVITEs, and what they make of the dialog (RFC 3261 sections 13.3.1, 14.2).
//! Knows the open INVITE of a dialog. What a status means to the caller is for the user to know.

use super::io::{DialogKey, Event, Flow};
use super::store::ServerMachine;
use super::uas::PROVISIONAL_REFRESH;
use super::{ALLOW, Endpoint, Step};
use crate::builder::Writer;
use crate::dialog::{Incoming, Phase, Unacked};
use crate::message::HeaderName;
use crate::parser::is_token;

/// The user's answer to an INVITE.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) reason: Option<String>,
    pub(super) sdp: Option<String>,
    pub(super) headers: Vec<(String, String)>,
}

impl Endpoint {
    /// [`super::Command::Respond`].
    pub(super) fn respond(&mut self, step: &mut Step<'_>, key: DialogKey, answer: Answer) {
        let status = if (100..=699).contains(&answer.status) { answer.status } else { 500 };
        let incoming = self.store.dialogs.get(&key).and_then(|dialog| dialog.incoming.clone());
        let Some(incoming) = incoming.filter(|_| status != 100) else {
            self.statistics.commands_ignored += 1;
            return;
        };
        let Some(bytes) = self.invite_response(&incoming, status, &answer) else { return };
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
        if status >= 200 {
            self.finish_incoming(step, key, &incoming, (status < 300).then_some((flow, bytes)));
        } else if let Some(dialog) = self.store.dialogs.get_mut(&key)
            && let Some(open) = &mut dialog.incoming
        {
            open.refresh = step.now + PROVISIONAL_REFRESH;
            self.store.wake_dialog(key);
        }
    }

    fn invite_response(&self, incoming: &Incoming, status: u16, answer: &Answer) -> Option<Vec<u8>> {
        let transaction = self.store.servers.get(&incoming.transaction)?;
        let mut writer =
            self.response(&transaction.template, status, answer.reason.as_deref(), &transaction.tag);
        if status < 300 {
            writer.raw(transaction.template.record_route());
            writer.header("Contact", self.contact(&transaction.flow)).header("Allow", ALLOW);
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
        incoming: &Incoming,
        accepted: Option<(Flow, Vec<u8>)>,
    ) {
        let Some(dialog) = self.store.dialogs.get_mut(&key) else { return };
        dialog.incoming = None;
        match accepted {
            Some((flow, bytes)) => {
                if dialog.phase == Phase::Early {
                    dialog.phase = Phase::Confirmed;
                }
                let timers = &self.config.timers;
                dialog.unacked = Some(Unacked::new(step.now, flow, incoming.cseq, bytes, timers));
                self.store.wake_dialog(key);
            }
            None if incoming.initial => self.end_dialog(step, key),
            None => self.store.wake_dialog(key),
        }
    }

    /// Refuses the open INVITE of a dialog on the endpoint's own account.
    pub(super) fn reject_incoming(&mut self, step: &mut Step<'_>, key: DialogKey, status: u16) {
        self.respond(step, key, Answer { status, reason: None, sdp: None, headers: Vec::new() });
    }

    /// Removes the dialog and says so, once. An INVITE of ours that is still open must not wait for ever.
    pub(super) fn end_dialog(&mut self, step: &mut Step<'_>, key: DialogKey) {
        let Some(dialog) = self.store.remove_dialog(key) else { return };
        if let Some(outgoing) = dialog.outgoing {
            self.limit_invite(outgoing.transaction, step.now + self.config.timers.timeout());
        }
        step.event(Event::Ended { dialog: key });
    }
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
        );
        if !reserved && is_token(name) {
            writer.header(name, value);
        }
    }
}
