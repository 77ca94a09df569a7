//! The client side: sends INVITE, CANCEL, BYE, re-INVITE and INFO (RFC 3261 sections 8.1, 9.1, 13.2, 14.1, 15.1.1).
//! Knows what may be sent when. What the responses mean is in `responses`, challenges in `authentication`.

use super::answers::write_extra_headers;
use super::facts::cseq_number;
use super::io::{DialogKey, Event, Flow, OutgoingInvite};
use super::large::{SizeChoice, Way};
use super::store::{ClientMachine, ClientTransaction, Purpose};
use super::{Endpoint, Step, routing};
use crate::builder::Writer;
use crate::dialog::{Cancel, Dialog, Outgoing, Phase};
use crate::digest::AuthSession;
use crate::headers::NameAddr;
use crate::message::{HeaderName, Message, StartLine};
use crate::parser::parse;
use crate::policy::{Reliable, SessionTimerMode};
use crate::transaction::{InviteClient, NonInviteClient};
use crate::uri::Uri;
use std::time::Instant;

impl Endpoint {
    /// [`super::Command::Invite`].
    pub(super) fn invite(&mut self, step: &mut Step<'_>, invite: OutgoingInvite) {
        let key = invite.dialog;
        let valid = Uri::parse(&invite.uri).is_ok_and(|uri| uri.scheme_supported())
            && from_value(&invite.from).is_some_and(|from| NameAddr::parse(&from).is_some())
            && invite.route.iter().all(|route| NameAddr::parse(route).is_some())
            && from_value(invite.to.as_ref().unwrap_or(&invite.uri))
                .is_some_and(|to| NameAddr::parse(&to).is_some());
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
        dialog.set_policy(invite.policy);
        dialog.our_sdp = Some(invite.sdp.clone());
        let cseq = dialog.reserve_cseq();
        let branch = self.identifiers.branch();
        let mut writer = dialog.request("INVITE", cseq, &self.via(&invite.flow, &branch));
        self.write_invite_headers(&mut writer, &invite.flow, &dialog);
        write_extra_headers(&mut writer, &invite.headers);
        let bytes = writer.finish(Some("application/sdp"), invite.sdp.as_bytes());
        self.store.add_dialog(dialog);
        self.send_invite(step, key, invite.flow, (branch, bytes), Purpose::Invite);
    }

    fn uac_dialog(&mut self, invite: &OutgoingInvite) -> Dialog {
        let tag = self.identifiers.tag();
        let from = from_value(&invite.from).unwrap_or_default();
        let call_id = self.identifiers.call_id();
        Dialog {
            is_caller: true,
            local: format!("{from};tag={tag}").into_bytes(),
            local_tag: tag,
            remote: from_value(invite.to.as_ref().unwrap_or(&invite.uri)).unwrap_or_default().into_bytes(),
            route_set: invite.route.clone(),
            auth: invite.credentials.clone().map(AuthSession::new),
            remote_target: invite.uri.clone(),
            local_cseq: self.identifiers.cseq(),
            ..Dialog::new(invite.dialog, call_id, invite.flow)
        }
    }

    fn write_invite_headers(&self, writer: &mut Writer, flow: &Flow, dialog: &Dialog) {
        writer.header("Contact", self.contact_in(flow, Some(dialog)));
        self.write_abilities(writer, &dialog.policy);
        writer.header("Accept", "application/sdp");
        let initial = dialog.phase == Phase::Early;
        let required = [
            ("100rel", initial && dialog.policy.reliable == Reliable::Required),
            ("timer", initial && dialog.policy.session_timer.mode == SessionTimerMode::Require),
        ];
        for (tag, _) in required.iter().filter(|(_, wanted)| *wanted) {
            writer.header("Require", tag);
        }
        self.write_session_request(writer, dialog);
        if !self.config.product.is_empty() {
            writer.header("User-Agent", &self.config.product);
        }
    }

    /// Sends an INVITE or re-INVITE and notes it in its dialog.
    pub(super) fn send_invite(
        &mut self,
        step: &mut Step<'_>,
        key: DialogKey,
        flow: Flow,
        (branch, bytes): (String, Vec<u8>),
        purpose: Purpose,
    ) {
        let initial = purpose == Purpose::Invite;
        let bytes = self.authorize_in_dialog(Some(key), bytes);
        let (Way { flow, size }, bytes) =
            self.way_of(&purpose, Way { flow, size: SizeChoice::AsGiven }, bytes);
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
            rounds: 0,
            size,
            auth: None,
        });
        if let Some(dialog) = self.store.dialogs.get_mut(&key) {
            dialog.outgoing = Some(Outgoing {
                transaction,
                initial,
                provisional_seen: false,
                cancel: Cancel::No,
                ends: Some(step.now + self.config.ring_limit),
                early: Vec::new(),
            });
            self.store.wake_dialog(key);
        }
        self.send(step, flow, bytes);
    }

    /// Sends a request that is not an INVITE.
    pub(super) fn send_request(
        &mut self,
        step: &mut Step<'_>,
        flow: Flow,
        (method, branch, bytes): (&'static str, String, Vec<u8>),
        (dialog, purpose): (Option<DialogKey>, Purpose),
    ) -> u64 {
        let bytes = self.authorize_in_dialog(dialog, bytes);
        let (Way { flow, size }, bytes) =
            self.way_of(&purpose, Way { flow, size: SizeChoice::AsGiven }, bytes);
        let reliable = flow.transport.is_reliable();
        let machine = NonInviteClient::new(step.now, bytes.clone(), self.config.timers, reliable);
        let id = self.store.add_client(ClientTransaction {
            machine: ClientMachine::Other(machine),
            flow,
            branch,
            method,
            dialog,
            purpose,
            acks: Vec::new(),
            reject_ack: None,
            rounds: 0,
            size,
            auth: None,
        });
        self.send(step, flow, bytes);
        id
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
    pub(super) fn send_cancel(&mut self, step: &mut Step<'_>, transaction: u64) {
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
            Phase::Confirmed if dialog.unacked.is_some() => {
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
        dialog.session = None;
        let extra = reason.map(|reason| ("Reason", reason));
        let headers = std::mem::take(&mut dialog.bye_headers);
        self.send_in_dialog(step, key, ("BYE", Purpose::Bye), |writer| {
            if let Some((name, value)) = &extra {
                writer.header(name, value);
            }
            write_extra_headers(writer, &headers);
            (None, Vec::new())
        });
        self.store.wake_dialog(key);
    }

    /// [`super::Command::Info`].
    pub(super) fn info(&mut self, step: &mut Step<'_>, key: DialogKey, content_type: &str, body: &str) {
        if self.store.dialogs.get(&key).is_none_or(|dialog| dialog.phase != Phase::Confirmed) {
            self.statistics.commands_ignored += 1;
            return;
        }
        self.send_in_dialog(step, key, ("INFO", Purpose::Info), |_| {
            (Some(content_type.to_owned()), body.as_bytes().to_vec())
        });
    }

    /// Sends a request of a dialog with the next CSeq; `fill` adds fields and returns the body.
    pub(super) fn send_in_dialog(
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
        if dialog.phase != Phase::Confirmed || dialog.bye_wanted.is_some() {
            self.statistics.commands_ignored += 1;
            return;
        }
        if dialog.invite_is_open() || dialog.offers() || dialog.is_offered() {
            // The same as a 491 from the peer: one offer at a time (section 14.1).
            let reason = "Request Pending".to_owned();
            step.event(Event::Failed { dialog: key, status: 491, reason });
            return;
        }
        dialog.retry = None;
        self.send_reinvite(step, key, sdp.clone(), Purpose::Reinvite(sdp));
    }

    /// Sends a re-INVITE with that offer.
    pub(super) fn send_reinvite(
        &mut self,
        step: &mut Step<'_>,
        key: DialogKey,
        sdp: String,
        purpose: Purpose,
    ) {
        let Some(dialog) = self.store.dialogs.get_mut(&key) else { return };
        let cseq = dialog.reserve_cseq();
        let flow = routing::next_hop(dialog);
        let branch = self.identifiers.branch();
        let via = self.via(&flow, &branch);
        let Some(dialog) = self.store.dialogs.get(&key) else { return };
        let mut writer = dialog.request("INVITE", cseq, &via);
        self.write_invite_headers(&mut writer, &flow, dialog);
        let bytes = writer.finish(Some("application/sdp"), sdp.as_bytes());
        self.send_invite(step, key, flow, (branch, bytes), purpose);
    }
}

/// `From` as a name-addr in brackets, so that the tag cannot become a URI parameter.
pub(super) fn from_value(from: &str) -> Option<String> {
    if from.contains('<') {
        let end = from.rfind('>')?;
        return Some(from[..=end].trim().to_owned());
    }
    Some(format!("<{}>", from.trim()))
}

/// ACK (of a non-2xx) or CANCEL: both copy the INVITE's Request-URI, Via, From, Call-ID, CSeq number and Route.
pub(super) fn like_invite(invite: &Message, method: &str, response: Option<&Message>) -> Option<Vec<u8>> {
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
