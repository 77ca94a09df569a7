//! What the responses to our requests mean: progress, answers, forks, failures
//! (RFC 3261 sections 12.2.1.2, 13.2.2, 14.1, 17.1.1.3). Knows client transactions.
//! What a 401 or 407 asks for is in `authentication`.

use super::authentication::copy_proofs;
use super::facts::{cseq_number, sdp_body, to_tag};
use super::io::{DialogKey, Event, Flow};
use super::reliable::early_answer;
use super::store::{ClientMachine, Purpose};
use super::uac::like_invite;
use super::{Endpoint, Step, routing};
use crate::dialog::{Cancel, Dialog, Phase};
use crate::headers::{CSeq, Via, split_list};
use crate::message::{HeaderName, Message, StartLine};
use crate::parser::parse;
use crate::pending::Again;
use crate::transaction::Heard;

/// The most forks of one INVITE that are acknowledged; the rest time out at their side.
const MAX_FORKS: usize = 8;

impl Endpoint {
    pub(super) fn handle_response(&mut self, step: &mut Step<'_>, flow: Flow, message: &Message) {
        let Some(id) = self.client_of(message) else { return };
        let StartLine::Response { status, reason } = &message.start else { return };
        let Some(client) = self.store.clients.get_mut(&id) else { return };
        let heard = match &mut client.machine {
            ClientMachine::Invite(machine) => machine.handle_response(step.now, *status),
            ClientMachine::Other(machine) => machine.handle_response(step.now, *status),
        };
        let (purpose, dialog) = (client.purpose.clone(), client.dialog);
        self.store.wake_client(id);
        self.learn_connection(id, flow);
        self.follow_response(dialog, flow);
        match heard {
            Heard::Ignore => {}
            Heard::Acknowledge => self.acknowledge_rejection(step, id, message),
            Heard::PassAndAcknowledge => {
                self.acknowledge_rejection(step, id, message);
                if self.answer_challenge(step, id, message) {
                    return;
                }
                if let Some(key) = dialog {
                    self.invite_rejected(step, (key, id), (*status, reason, message), purpose);
                }
            }
            Heard::Pass if self.answer_challenge(step, id, message) => {}
            Heard::Pass => match (&purpose, *status) {
                (Purpose::Request(request), 200..) => {
                    self.request_answered(step, id, (*request, flow), message);
                }
                (Purpose::Invite | Purpose::Reinvite(_) | Purpose::RefreshInvite, ..200) => {
                    self.handle_progress(step, id, message);
                }
                (Purpose::Invite | Purpose::Reinvite(_) | Purpose::RefreshInvite, _) => {
                    self.handle_2xx(step, id, message);
                }
                (_, 200..) => {
                    if let Some(key) = dialog {
                        self.request_completed(step, key, (*status, Some(message)), purpose);
                    }
                }
                (_, _) => {}
            },
        }
    }

    /// The transaction of a response; what belongs to none is dropped and counted.
    fn client_of(&mut self, message: &Message) -> Option<u64> {
        let mut vias = message.all(&HeaderName::Via).flat_map(|field| split_list(&field.value));
        let top = vias.next().and_then(Via::parse);
        if vias.next().is_some() {
            // Section 8.1.3.3: it was not meant for us.
            self.statistics.drop("response_via");
            return None;
        }
        let cseq = message.value(&HeaderName::CSeq).and_then(CSeq::parse);
        let (Some(branch), Some(cseq)) = (top.and_then(|via| via.branch()), cseq) else {
            self.statistics.drop("response_malformed");
            return None;
        };
        let name = if cseq.method == "CANCEL" { format!("{branch}|CANCEL") } else { branch.to_owned() };
        let id = self.store.client_by_branch(&name);
        let id =
            id.filter(|id| self.store.clients.get(id).is_some_and(|client| client.method == cseq.method));
        if id.is_none() {
            self.statistics.drop("response_without_transaction");
        }
        id
    }

    fn handle_progress(&mut self, step: &mut Step<'_>, id: u64, message: &Message) {
        let StartLine::Response { status, .. } = message.start else { return };
        let Some(key) = self.store.clients.get(&id).and_then(|client| client.dialog) else { return };
        let Some(dialog) = self.store.dialogs.get_mut(&key) else { return };
        let Some(outgoing) = dialog.outgoing.as_mut().filter(|outgoing| outgoing.transaction == id) else {
            return;
        };
        outgoing.provisional_seen = true;
        let send_cancel = outgoing.cancel == Cancel::Wanted;
        if send_cancel {
            outgoing.cancel = Cancel::Sent;
        }
        let initial = outgoing.initial;
        let cancelled = outgoing.cancel != Cancel::No;
        self.store.wake_dialog(key);
        let new = status > 100 && self.take_provisional(step, key, message);
        if send_cancel {
            self.send_cancel(step, id);
        } else if status == 100 && initial && !cancelled {
            step.event(Event::Trying { dialog: key });
        } else if new && initial && !cancelled {
            self.tell_progress(step, key, (status, message));
        }
    }

    /// A 2xx to an INVITE: the first one answers the call, copies get their ACK again,
    /// and those of other forks are acknowledged and ended (section 13.2.2.4).
    fn handle_2xx(&mut self, step: &mut Step<'_>, id: u64, message: &Message) {
        let Some(client) = self.store.clients.get(&id) else { return };
        let tag = to_tag(message).unwrap_or_default();
        if let Some((_, flow, ack)) = client.acks.iter().find(|(known, _, _)| known == tag) {
            let (flow, ack) = (*flow, ack.clone());
            self.statistics.retransmissions_out += 1;
            return self.send(step, flow, ack);
        }
        let first = client.acks.is_empty();
        if client.acks.len() >= MAX_FORKS {
            return;
        }
        let waiting = client.dialog.filter(|key| {
            first
                && self.store.dialogs.get(key).is_some_and(|dialog| {
                    dialog.outgoing.as_ref().is_some_and(|outgoing| outgoing.transaction == id)
                })
        });
        match waiting {
            Some(key) => self.answered(step, id, key, message),
            None => self.end_fork(step, id, message),
        }
    }

    fn answered(&mut self, step: &mut Step<'_>, id: u64, key: DialogKey, message: &Message) {
        let Some(dialog) = self.store.dialogs.get_mut(&key) else { return };
        let sdp = sdp_body(message).or_else(|| early_answer(dialog, message));
        let outgoing = dialog.outgoing.take();
        let initial = outgoing.as_ref().is_some_and(|outgoing| outgoing.initial);
        let cancelled = outgoing.is_some_and(|outgoing| outgoing.cancel != Cancel::No);
        if initial {
            dialog.learn_from_response(message);
            dialog.phase = Phase::Confirmed;
        } else {
            dialog.refresh_target(message);
        }
        dialog.retries = 0;
        let ending = dialog.phase == Phase::Ending;
        let dialog = dialog.clone();
        self.store.wake_dialog(key);
        self.acknowledge_2xx(step, id, &dialog, message);
        if ending {
            return;
        }
        if cancelled {
            let reason = "Request Terminated".to_owned();
            step.event(Event::Failed { dialog: key, status: 487, reason });
            return self.send_bye(step, key, None);
        }
        self.told_answer(step, (key, id), message, sdp);
    }

    /// A 2xx to our INVITE or re-INVITE is for the user, unless it only confirms a refresh.
    fn told_answer(
        &mut self,
        step: &mut Step<'_>,
        (key, id): (DialogKey, u64),
        message: &Message,
        sdp: Option<String>,
    ) {
        let purpose = self.store.clients.get(&id).map(|client| client.purpose.clone());
        if purpose == Some(Purpose::RefreshInvite) {
            return self.refresh_completed(step, key, (200, Some(message)));
        }
        if let (Some(Purpose::Reinvite(offer)), Some(dialog)) = (purpose, self.store.dialogs.get_mut(&key)) {
            dialog.our_sdp = Some(offer);
        }
        self.session_from_2xx(step, key, message);
        self.note_their_sdp(key, sdp.as_deref());
        step.event(Event::Answered { dialog: key, sdp });
    }

    fn acknowledge_2xx(&mut self, step: &mut Step<'_>, id: u64, dialog: &Dialog, message: &Message) {
        let flow = routing::next_hop(dialog);
        let branch = self.identifiers.branch();
        let mut writer = dialog.request("ACK", cseq_number(message), &self.via(&flow, &branch));
        let invite = self.store.clients.get(&id).and_then(|client| parse(client.machine.request()).ok());
        if let Some(invite) = invite {
            copy_proofs(&invite, &mut writer);
        }
        let ack = writer.finish(None, b"");
        if let Some(client) = self.store.clients.get_mut(&id) {
            client.acks.push((to_tag(message).unwrap_or_default().to_owned(), flow, ack.clone()));
        }
        self.send(step, flow, ack);
    }

    /// A 2xx that nobody waits for any more: ACK, and BYE for a call of its own.
    fn end_fork(&mut self, step: &mut Step<'_>, id: u64, message: &Message) {
        let Some(client) = self.store.clients.get(&id) else { return };
        let ClientMachine::Invite(machine) = &client.machine else { return };
        let Ok(invite) = parse(machine.request()) else { return };
        let is_fork = client.purpose == Purpose::Invite;
        let auth = client.dialog.and_then(|key| self.store.dialogs.get(&key)?.auth.clone());
        let mut leg = fork_dialog(&invite, message, client.flow);
        self.acknowledge_2xx(step, id, &leg, message);
        if !is_fork {
            // The late 2xx of a re-INVITE: its dialog has ended by a BYE of its own.
            return;
        }
        let cseq = leg.reserve_cseq();
        let flow = routing::next_hop(&leg);
        let branch = self.identifiers.branch();
        let bytes = leg.request("BYE", cseq, &self.via(&flow, &branch)).finish(None, b"");
        let bye = self.send_request(step, flow, ("BYE", branch, bytes), (None, Purpose::Silent));
        if let Some(client) = self.store.clients.get_mut(&bye) {
            client.auth = auth;
        }
    }

    /// The ACK of a non-2xx goes where the INVITE went, with its branch (section 17.1.1.3).
    fn acknowledge_rejection(&mut self, step: &mut Step<'_>, id: u64, message: &Message) {
        let Some(client) = self.store.clients.get_mut(&id) else { return };
        let ClientMachine::Invite(machine) = &client.machine else { return };
        if client.reject_ack.is_none() {
            let invite = parse(machine.request()).ok();
            client.reject_ack = invite.and_then(|invite| like_invite(&invite, "ACK", Some(message)));
        }
        if let Some(ack) = client.reject_ack.clone() {
            let flow = client.flow;
            self.send(step, flow, ack);
        }
    }

    /// Our INVITE or re-INVITE ended without a 2xx.
    pub(super) fn invite_failed(
        &mut self,
        step: &mut Step<'_>,
        key: DialogKey,
        (status, reason): (u16, &str),
        purpose: Purpose,
    ) {
        let Some(dialog) = self.store.dialogs.get_mut(&key) else { return };
        dialog.outgoing = None;
        if dialog.phase == Phase::Ending {
            return self.store.wake_dialog(key);
        }
        self.store.wake_dialog(key);
        step.event(Event::Failed { dialog: key, status, reason: reason.to_owned() });
        if purpose == Purpose::Invite {
            return self.end_dialog(step, key);
        }
        self.end_if_unknown(step, key, status);
    }

    /// A non-2xx to our INVITE or re-INVITE: some only ask for another try.
    fn invite_rejected(
        &mut self,
        step: &mut Step<'_>,
        (key, id): (DialogKey, u64),
        (status, reason, message): (u16, &str, &Message),
        purpose: Purpose,
    ) {
        let Some(dialog) = self.store.dialogs.get_mut(&key) else { return };
        let alive = dialog.phase != Phase::Ending;
        match &purpose {
            Purpose::RefreshInvite => {
                dialog.outgoing = None;
                self.store.wake_dialog(key);
                if alive {
                    self.refresh_completed(step, key, (status, Some(message)));
                }
                return;
            }
            Purpose::Reinvite(sdp) if alive => {
                dialog.outgoing = None;
                if status == 422 && self.raise_interval(key, Some(message)) {
                    return self.reinvite(step, key, sdp.clone());
                }
                let again = Again::Reinvite(sdp.clone());
                if self.try_again_later(step, key, (status, Some(message)), again) {
                    return;
                }
            }
            Purpose::Invite
                if status == 422
                    && self.raise_interval(key, Some(message))
                    && self.invite_again(step, id, key) =>
            {
                return;
            }
            Purpose::Invite
            | Purpose::Reinvite(_)
            | Purpose::Bye
            | Purpose::Info
            | Purpose::Update(_)
            | Purpose::RefreshUpdate
            | Purpose::Prack
            | Purpose::Refer
            | Purpose::Notify
            | Purpose::Request(_)
            | Purpose::Silent => {}
        }
        self.invite_failed(step, key, (status, reason), purpose);
    }

    /// A request that is no INVITE has its final response; without a message there will never be one.
    pub(super) fn request_completed(
        &mut self,
        step: &mut Step<'_>,
        key: DialogKey,
        (status, message): (u16, Option<&Message>),
        purpose: Purpose,
    ) {
        match purpose {
            Purpose::Bye => self.end_dialog(step, key),
            Purpose::Info if status == 481 => self.end_if_unknown(step, key, status),
            Purpose::Update(_) | Purpose::RefreshUpdate => {
                self.update_completed(step, key, (status, message), purpose);
            }
            Purpose::Refer => self.refer_completed(step, key, status),
            Purpose::Notify => {
                if let Some(dialog) = self.store.dialogs.get_mut(&key).filter(|_| status == 481) {
                    dialog.notifying = None;
                }
            }
            Purpose::Info
            | Purpose::Prack
            | Purpose::Silent
            | Purpose::Invite
            | Purpose::Reinvite(_)
            | Purpose::RefreshInvite
            | Purpose::Request(_) => {}
        }
    }

    /// The peer answered on a stream: the dialog's requests go there from now on.
    fn follow_response(&mut self, dialog: Option<DialogKey>, flow: Flow) {
        if !flow.transport.is_reliable() {
            return;
        }
        if let Some(dialog) = dialog.and_then(|key| self.store.dialogs.get_mut(&key))
            && dialog.flow.transport == flow.transport
        {
            dialog.flow = flow;
            dialog.flow_closed = false;
        }
    }
}

/// The dialog of a fork, only to acknowledge and end it.
fn fork_dialog(invite: &Message, response: &Message, flow: Flow) -> Dialog {
    let local = invite.header(&HeaderName::From).map(|field| field.wire_value().into_owned());
    let uri = match &invite.start {
        StartLine::Request { uri, .. } => uri.clone(),
        StartLine::Response { .. } => String::new(),
    };
    let call_id = invite.value(&HeaderName::CallId).unwrap_or_default().to_owned();
    let mut dialog = Dialog {
        is_caller: true,
        phase: Phase::Confirmed,
        local: local.unwrap_or_default(),
        remote_target: uri,
        local_cseq: cseq_number(invite),
        ..Dialog::new(DialogKey(0), call_id, flow)
    };
    dialog.learn_from_response(response);
    dialog
}
