//! The client side: INVITE, CANCEL, BYE, re-INVITE, INFO and what their responses mean
//! (RFC 3261 sections 8.1, 9.1, 13.2, 14.1, 15.1.1). No authentication: a 401 or 407 is a failure.

use super::io::{DialogKey, Event, Flow, OutgoingInvite};
use super::store::{ClientMachine, ClientTransaction, Purpose};
use super::uas::{cseq_number, sdp_body, to_tag, write_extra_headers};
use super::{ALLOW, Endpoint, Step, routing};
use crate::builder::Writer;
use crate::dialog::{Cancel, Dialog, Outgoing, Phase, record_routes};
use crate::headers::{CSeq, NameAddr, Via, split_list};
use crate::message::{HeaderName, Message, StartLine};
use crate::parser::parse;
use crate::transaction::{Heard, InviteClient, NonInviteClient};
use crate::uri::Uri;
use std::time::{Duration, Instant};

/// The most forks of one INVITE that are acknowledged; the rest time out at their side.
const MAX_FORKS: usize = 8;

impl Endpoint {
    /// [`super::Command::Invite`].
    pub(super) fn invite(&mut self, step: &mut Step<'_>, invite: OutgoingInvite) {
        let key = invite.dialog;
        let valid = Uri::parse(&invite.uri).is_ok_and(|uri| uri.scheme_supported())
            && from_value(&invite.from).is_some_and(|from| NameAddr::parse(&from).is_some());
        let refused = if !valid || self.store.dialogs.contains_key(&key) {
            Some((400, "Bad Request"))
        } else if self.draining {
            self.statistics.refused_draining += 1;
            Some((503, "Draining"))
        } else if self.store.dialogs.len() >= self.config.max_dialogs
            || self.store.transactions() >= self.config.max_transactions
            || !routing::may_send_to(invite.flow.remote)
        {
            self.statistics.refused_full += 1;
            Some((503, "Service Unavailable"))
        } else {
            None
        };
        if let Some((status, reason)) = refused {
            step.event(Event::Failed { dialog: key, status, reason: reason.to_owned() });
            step.event(Event::Ended { dialog: key });
            return;
        }
        let mut dialog = self.uac_dialog(&invite);
        let cseq = dialog.reserve_cseq();
        let branch = self.identifiers.branch();
        let mut writer = dialog.request("INVITE", cseq, &self.via(&invite.flow, &branch));
        self.write_invite_headers(&mut writer, &invite.flow);
        write_extra_headers(&mut writer, &invite.headers);
        let bytes = writer.finish(Some("application/sdp"), invite.sdp.as_bytes());
        self.store.add_dialog(dialog);
        self.send_invite(step, key, invite.flow, (branch, bytes), Purpose::Invite);
    }

    fn uac_dialog(&mut self, invite: &OutgoingInvite) -> Dialog {
        let tag = self.identifiers.tag();
        let from = from_value(&invite.from).unwrap_or_default();
        Dialog {
            key: invite.dialog,
            is_caller: true,
            phase: Phase::Early,
            call_id: self.identifiers.call_id(),
            local: format!("{from};tag={tag}").into_bytes(),
            local_tag: tag,
            remote_tag: None,
            remote: format!("<{}>", invite.uri).into_bytes(),
            route_set: Vec::new(),
            remote_target: invite.uri.clone(),
            local_cseq: self.identifiers.cseq(),
            remote_cseq: None,
            flow: invite.flow,
            flow_closed: false,
            behind_nat: false,
            incoming: None,
            unacked: None,
            outgoing: None,
            bye_wanted: None,
            retry: None,
        }
    }

    fn write_invite_headers(&self, writer: &mut Writer, flow: &Flow) {
        writer
            .header("Contact", self.contact(flow))
            .header("Allow", ALLOW)
            .header("Accept", "application/sdp");
        if !self.config.product.is_empty() {
            writer.header("User-Agent", &self.config.product);
        }
    }

    /// Sends an INVITE or re-INVITE and notes it in its dialog.
    fn send_invite(
        &mut self,
        step: &mut Step<'_>,
        key: DialogKey,
        flow: Flow,
        (branch, bytes): (String, Vec<u8>),
        purpose: Purpose,
    ) {
        let initial = purpose == Purpose::Invite;
        let reliable = flow.transport.is_reliable();
        let machine = InviteClient::new(step.now, bytes.clone(), self.config.timers, reliable);
        let transaction = self.store.add_client(ClientTransaction {
            machine: ClientMachine::Invite(machine),
            flow,
            branch,
            method: "INVITE",
            dialog: Some(key),
            purpose,
            acks: Vec::new(),
            reject_ack: None,
        });
        if let Some(dialog) = self.store.dialogs.get_mut(&key) {
            dialog.outgoing = Some(Outgoing {
                transaction,
                initial,
                provisional_seen: false,
                cancel: Cancel::No,
                ends: Some(step.now + self.config.ring_limit),
            });
            self.store.wake_dialog(key);
        }
        self.send(step, flow, bytes);
    }

    /// Sends a request that is not an INVITE.
    fn send_request(
        &mut self,
        step: &mut Step<'_>,
        flow: Flow,
        (method, branch, bytes): (&'static str, String, Vec<u8>),
        (dialog, purpose): (Option<DialogKey>, Purpose),
    ) {
        let reliable = flow.transport.is_reliable();
        let machine = NonInviteClient::new(step.now, bytes.clone(), self.config.timers, reliable);
        self.store.add_client(ClientTransaction {
            machine: ClientMachine::Other(machine),
            flow,
            branch,
            method,
            dialog,
            purpose,
            acks: Vec::new(),
            reject_ack: None,
        });
        self.send(step, flow, bytes);
    }

    /// [`super::Command::Cancel`]; waits for a provisional response if there was none.
    pub(super) fn cancel(&mut self, step: &mut Step<'_>, key: DialogKey) {
        let outgoing = self.store.dialogs.get_mut(&key).and_then(|dialog| dialog.outgoing.as_mut());
        let Some(outgoing) = outgoing.filter(|outgoing| outgoing.initial && outgoing.cancel != Cancel::Sent)
        else {
            self.statistics.commands_ignored += 1;
            return;
        };
        outgoing.cancel = Cancel::Wanted;
        outgoing.ends = None;
        let (transaction, ready) = (outgoing.transaction, outgoing.provisional_seen);
        if ready {
            outgoing.cancel = Cancel::Sent;
        }
        self.store.wake_dialog(key);
        if ready {
            self.send_cancel(step, transaction);
        }
    }

    /// The CANCEL is made of the INVITE it cancels (section 9.1) and limits the wait for its final response.
    fn send_cancel(&mut self, step: &mut Step<'_>, transaction: u64) {
        self.limit_invite(transaction, step.now + self.config.timers.timeout());
        let Some(client) = self.store.clients.get(&transaction) else { return };
        let ClientMachine::Invite(machine) = &client.machine else { return };
        let (flow, branch) = (client.flow, client.branch.clone());
        let bytes = parse(machine.request()).ok().and_then(|invite| like_invite(&invite, "CANCEL", None));
        if let Some(bytes) = bytes {
            // The CANCEL has the branch of its INVITE, so its transaction needs a name of its own.
            let name = format!("{branch}|CANCEL");
            self.send_request(step, flow, ("CANCEL", name, bytes), (None, Purpose::Silent));
        }
    }

    /// The final response of this INVITE is waited for until `limit`, no longer.
    pub(super) fn limit_invite(&mut self, transaction: u64, limit: Instant) {
        if let Some(client) = self.store.clients.get_mut(&transaction)
            && let ClientMachine::Invite(machine) = &mut client.machine
        {
            machine.give_up_at(limit);
            self.store.wake_client(transaction);
        }
    }

    /// [`super::Command::Bye`] in any state of the dialog.
    pub(super) fn hang_up(&mut self, step: &mut Step<'_>, key: DialogKey, reason: Option<String>) {
        let Some(dialog) = self.store.dialogs.get_mut(&key) else {
            self.statistics.commands_ignored += 1;
            return;
        };
        match dialog.phase {
            Phase::Early if dialog.is_caller => self.cancel(step, key),
            Phase::Early => self.reject_incoming(step, key, 480),
            Phase::Confirmed if dialog.unacked.is_some() && !dialog.flow_closed => {
                dialog.bye_wanted = Some(reason);
            }
            Phase::Confirmed => self.send_bye(step, key, reason),
            Phase::Ending => self.statistics.commands_ignored += 1,
        }
    }

    /// Sends the BYE; an open re-INVITE of the peer is answered first.
    pub(super) fn send_bye(&mut self, step: &mut Step<'_>, key: DialogKey, reason: Option<String>) {
        if self.store.dialogs.get(&key).is_some_and(|dialog| dialog.incoming.is_some()) {
            self.reject_incoming(step, key, 487);
        }
        let Some(dialog) = self.store.dialogs.get_mut(&key) else { return };
        dialog.phase = Phase::Ending;
        dialog.unacked = None;
        dialog.retry = None;
        if dialog.flow_closed {
            return self.end_dialog(step, key);
        }
        let extra = reason.map(|reason| ("Reason", reason));
        self.send_in_dialog(step, key, ("BYE", Purpose::Bye), |writer| {
            if let Some((name, value)) = &extra {
                writer.header(name, value);
            }
            (None, Vec::new())
        });
        self.store.wake_dialog(key);
    }

    /// [`super::Command::Info`].
    pub(super) fn info(&mut self, step: &mut Step<'_>, key: DialogKey, content_type: &str, body: &str) {
        if self
            .store
            .dialogs
            .get(&key)
            .is_none_or(|dialog| dialog.phase != Phase::Confirmed || dialog.flow_closed)
        {
            self.statistics.commands_ignored += 1;
            return;
        }
        self.send_in_dialog(step, key, ("INFO", Purpose::Info), |_| {
            (Some(content_type.to_owned()), body.as_bytes().to_vec())
        });
    }

    fn send_in_dialog(
        &mut self,
        step: &mut Step<'_>,
        key: DialogKey,
        (method, purpose): (&'static str, Purpose),
        fill: impl FnOnce(&mut Writer) -> (Option<String>, Vec<u8>),
    ) {
        let Some(dialog) = self.store.dialogs.get_mut(&key) else { return };
        let cseq = dialog.reserve_cseq();
        let flow = routing::next_hop(dialog);
        let branch = self.identifiers.branch();
        let via = self.via(&flow, &branch);
        let Some(dialog) = self.store.dialogs.get(&key) else { return };
        let mut writer = dialog.request(method, cseq, &via);
        let (content_type, body) = fill(&mut writer);
        let bytes = writer.finish(content_type.as_deref(), &body);
        self.send_request(step, flow, (method, branch, bytes), (Some(key), purpose));
    }

    /// [`super::Command::Reinvite`].
    pub(super) fn reinvite(&mut self, step: &mut Step<'_>, key: DialogKey, sdp: String) {
        let Some(dialog) = self.store.dialogs.get_mut(&key) else {
            self.statistics.commands_ignored += 1;
            return;
        };
        if dialog.phase != Phase::Confirmed || dialog.bye_wanted.is_some() || dialog.flow_closed {
            self.statistics.commands_ignored += 1;
            return;
        }
        if dialog.invite_is_open() {
            // The same as a 491 from the peer: one INVITE at a time (section 14.1).
            let reason = "Request Pending".to_owned();
            step.event(Event::Failed { dialog: key, status: 491, reason });
            return;
        }
        dialog.retry = None;
        let cseq = dialog.reserve_cseq();
        let flow = routing::next_hop(dialog);
        let branch = self.identifiers.branch();
        let via = self.via(&flow, &branch);
        let Some(dialog) = self.store.dialogs.get(&key) else { return };
        let mut writer = dialog.request("INVITE", cseq, &via);
        self.write_invite_headers(&mut writer, &flow);
        let bytes = writer.finish(Some("application/sdp"), sdp.as_bytes());
        self.send_invite(step, key, flow, (branch, bytes), Purpose::Reinvite(sdp));
    }

    pub(super) fn handle_response(&mut self, step: &mut Step<'_>, message: &Message) {
        let Some(id) = self.client_of(message) else { return };
        let StartLine::Response { status, reason } = &message.start else { return };
        let Some(client) = self.store.clients.get_mut(&id) else { return };
        let heard = match &mut client.machine {
            ClientMachine::Invite(machine) => machine.handle_response(step.now, *status),
            ClientMachine::Other(machine) => machine.handle_response(step.now, *status),
        };
        let (purpose, dialog) = (client.purpose.clone(), client.dialog);
        self.store.wake_client(id);
        match heard {
            Heard::Ignore => {}
            Heard::Acknowledge => self.acknowledge_rejection(step, id, message),
            Heard::PassAndAcknowledge => {
                self.acknowledge_rejection(step, id, message);
                if let Some(key) = dialog {
                    self.invite_failed(step, key, (*status, reason), purpose);
                }
            }
            Heard::Pass => match (&purpose, *status) {
                (Purpose::Invite | Purpose::Reinvite(_), ..200) => self.handle_progress(step, id, message),
                (Purpose::Invite | Purpose::Reinvite(_), _) => self.handle_2xx(step, id, message),
                (Purpose::Bye | Purpose::Info, 200..) => {
                    if let Some(key) = dialog {
                        self.request_completed(step, key, &purpose, *status);
                    }
                }
                (Purpose::Bye | Purpose::Info | Purpose::Silent, _) => {}
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
        if send_cancel {
            self.send_cancel(step, id);
        } else if status > 100 && initial && !cancelled {
            step.event(Event::Progress { dialog: key, status, sdp: sdp_body(message) });
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
        let outgoing = dialog.outgoing.take();
        let initial = outgoing.as_ref().is_some_and(|outgoing| outgoing.initial);
        let cancelled = outgoing.is_some_and(|outgoing| outgoing.cancel != Cancel::No);
        if initial {
            dialog.learn_from_response(message);
            dialog.phase = Phase::Confirmed;
        } else {
            dialog.refresh_target(message);
        }
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
        step.event(Event::Answered { dialog: key, sdp: sdp_body(message) });
    }

    fn acknowledge_2xx(&mut self, step: &mut Step<'_>, id: u64, dialog: &Dialog, message: &Message) {
        let flow = routing::next_hop(dialog);
        let branch = self.identifiers.branch();
        let writer = dialog.request("ACK", cseq_number(message), &self.via(&flow, &branch));
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
        self.send_request(step, flow, ("BYE", branch, bytes), (None, Purpose::Silent));
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
        let failed = Event::Failed { dialog: key, status, reason: reason.to_owned() };
        let Purpose::Reinvite(sdp) = purpose else {
            step.event(failed);
            return self.end_dialog(step, key);
        };
        if status == 491 {
            // Section 14.1: the owner of the Call-ID waits 2.1 to 4 s, the other side 0 to 2 s, in steps of 10 ms.
            let steps = if dialog.is_caller {
                210 + self.identifiers.below(191)
            } else {
                self.identifiers.below(201)
            };
            dialog.retry = Some((step.now + Duration::from_millis(10) * steps, sdp));
            return self.store.wake_dialog(key);
        }
        self.store.wake_dialog(key);
        step.event(failed);
        if matches!(status, 408 | 481) {
            // Section 12.2.1.2: the peer knows nothing of this dialog, or is gone.
            self.send_bye(step, key, None);
        }
    }

    /// A BYE or INFO has its final response (or will never have one: 408).
    pub(super) fn request_completed(
        &mut self,
        step: &mut Step<'_>,
        key: DialogKey,
        purpose: &Purpose,
        status: u16,
    ) {
        match purpose {
            Purpose::Bye => self.end_dialog(step, key),
            Purpose::Info if status == 481 => {
                if self.store.dialogs.get(&key).is_some_and(|dialog| dialog.phase == Phase::Confirmed) {
                    self.send_bye(step, key, None);
                }
            }
            Purpose::Info | Purpose::Silent | Purpose::Invite | Purpose::Reinvite(_) => {}
        }
    }
}

/// `From` as a name-addr in brackets, so that the tag cannot become a URI parameter.
fn from_value(from: &str) -> Option<String> {
    if from.contains('<') {
        let end = from.rfind('>')?;
        return Some(from[..=end].trim().to_owned());
    }
    Some(format!("<{}>", from.trim()))
}

/// ACK (of a non-2xx) or CANCEL: both copy the INVITE's Request-URI, Via, From, Call-ID, CSeq number and Route.
fn like_invite(invite: &Message, method: &str, response: Option<&Message>) -> Option<Vec<u8>> {
    let StartLine::Request { uri, .. } = &invite.start else { return None };
    let mut writer = Writer::request(method, uri);
    let mut copy = |from: &Message, name: HeaderName| {
        for field in from.all(&name) {
            writer.header(name.text(), field.wire_value());
        }
    };
    copy(invite, HeaderName::Via);
    copy(invite, HeaderName::Route);
    copy(invite, HeaderName::From);
    copy(response.unwrap_or(invite), HeaderName::To);
    copy(invite, HeaderName::CallId);
    writer.header("CSeq", format!("{} {method}", cseq_number(invite))).header("Max-Forwards", "70");
    Some(writer.finish(None, b""))
}

/// The dialog of a fork, only to acknowledge and end it.
fn fork_dialog(invite: &Message, response: &Message, flow: Flow) -> Dialog {
    let local = invite.header(&HeaderName::From).map(|field| field.wire_value().into_owned());
    let uri = match &invite.start {
        StartLine::Request { uri, .. } => uri.clone(),
        StartLine::Response { .. } => String::new(),
    };
    let mut dialog = Dialog {
        key: DialogKey(0),
        is_caller: true,
        phase: Phase::Confirmed,
        call_id: invite.value(&HeaderName::CallId).unwrap_or_default().to_owned(),
        local_tag: String::new(),
        remote_tag: None,
        local: local.unwrap_or_default(),
        remote: Vec::new(),
        route_set: record_routes(response),
        remote_target: uri,
        local_cseq: cseq_number(invite),
        remote_cseq: None,
        flow,
        flow_closed: false,
        behind_nat: false,
        incoming: None,
        unacked: None,
        outgoing: None,
        bye_wanted: None,
        retry: None,
    };
    dialog.learn_from_response(response);
    dialog
}
