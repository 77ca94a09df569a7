//! What happens when an instant comes or a stream closes: retransmissions, timeouts, limits.
//! Knows the store's wake-ups. Every due owner either changes or leaves.

use super::io::{DialogKey, Event, Flow};
use super::large::same_stream;
use super::store::{ClientMachine, ClientTransaction, Owner, Purpose, ServerMachine};
use super::{Endpoint, Step};
use crate::pending::Again;
use crate::transaction::{Fired, InviteServerState};
use std::time::Duration;

/// How long a caller whose stream has closed may take to come back on another one.
const COME_BACK: Duration = Duration::from_secs(4);

/// What a client transaction's end means.
enum ClientEnd {
    Retransmit(Vec<u8>),
    TimedOut,
    Terminated,
}

impl Endpoint {
    pub(super) fn fire_due(&mut self, step: &mut Step<'_>) {
        while let Some(owner) = self.store.take_due(step.now) {
            match owner {
                Owner::Server(id) => self.fire_server(step, id),
                Owner::Client(id) => self.fire_client(step, id),
                Owner::Dialog(key) => self.fire_dialog(step, key),
            }
        }
    }

    fn fire_server(&mut self, step: &mut Step<'_>, id: u64) {
        let Some(transaction) = self.store.servers.get_mut(&id) else { return };
        let flow = transaction.flow;
        let fired = match &mut transaction.machine {
            ServerMachine::Invite(machine) => machine.handle_timeout(step.now),
            ServerMachine::Other(machine) => machine.handle_timeout(step.now),
        };
        match fired {
            Fired::Retransmit(bytes) => {
                let bytes = bytes.to_vec();
                self.store.wake_server(id);
                self.statistics.retransmissions_out += 1;
                self.send(step, flow, bytes);
            }
            // No ACK came for a rejection: nothing more can be done (section 17.2.1).
            Fired::TimedOut | Fired::Terminated => self.store.remove_server(id),
            Fired::Nothing => self.store.wake_server(id),
        }
    }

    fn fire_client(&mut self, step: &mut Step<'_>, id: u64) {
        let Some(client) = self.store.clients.get_mut(&id) else { return };
        let flow = client.flow;
        let fired = match &mut client.machine {
            ClientMachine::Invite(machine) => machine.handle_timeout(step.now),
            ClientMachine::Other(machine) => machine.handle_timeout(step.now),
        };
        let end = match fired {
            Fired::Nothing => return self.store.wake_client(id),
            Fired::Retransmit(bytes) => ClientEnd::Retransmit(bytes.to_vec()),
            Fired::TimedOut => ClientEnd::TimedOut,
            Fired::Terminated => ClientEnd::Terminated,
        };
        match end {
            ClientEnd::Retransmit(bytes) => {
                self.store.wake_client(id);
                self.statistics.retransmissions_out += 1;
                self.send(step, flow, bytes);
            }
            ClientEnd::TimedOut => self.client_failed(step, id, (408, "Request Timeout")),
            ClientEnd::Terminated => {
                self.store.remove_client(id);
            }
        }
    }

    /// A request will never have a final response.
    fn client_failed(&mut self, step: &mut Step<'_>, id: u64, why: (u16, &str)) {
        let Some(client) = self.store.remove_client(id) else { return };
        self.request_failed(step, &client, why);
        let Some(key) = client.dialog else { return };
        match client.purpose {
            Purpose::Invite | Purpose::Reinvite(_) => self.invite_failed(step, key, why, client.purpose),
            Purpose::RefreshInvite => {
                if let Some(dialog) = self.store.dialogs.get_mut(&key) {
                    dialog.outgoing = None;
                }
                self.refresh_completed(step, key, (why.0, None));
            }
            Purpose::Bye if why.0 == 503 && client.flow.connection & Flow::STREAM != 0 => {
                // The BYE was not heard: once more, on a new connection.
                self.send_bye(step, key, None);
            }
            purpose @ (Purpose::Bye
            | Purpose::Info
            | Purpose::Update(_)
            | Purpose::RefreshUpdate
            | Purpose::Prack
            | Purpose::Refer
            | Purpose::Notify
            | Purpose::Request(_)
            | Purpose::Silent) => self.request_completed(step, key, (why.0, None), purpose),
        }
    }

    fn fire_dialog(&mut self, step: &mut Step<'_>, key: DialogKey) {
        let now = step.now;
        let Some(dialog) = self.store.dialogs.get_mut(&key) else { return };
        if dialog.ends_at.is_some_and(|ends| ends <= now) {
            return self.end_dialog(step, key);
        }
        if dialog.unacked.as_ref().is_some_and(|unacked| unacked.ends <= now) {
            dialog.unacked = None;
            let reason = dialog.bye_wanted.take().flatten();
            step.event(Event::AckTimeout { dialog: key });
            return self.send_bye(step, key, reason);
        }
        if let Some(unacked) = dialog.unacked.as_mut().filter(|unacked| unacked.next <= now) {
            unacked.advance(now, &self.config.timers);
            let (flow, bytes) = (unacked.flow, unacked.response.clone());
            self.statistics.retransmissions_out += 1;
            self.send(step, flow, bytes);
        }
        self.fire_lost(step, key);
        self.fire_provisional(step, key);
        self.fire_offered(step, key);
        self.fire_referral(step, key);
        self.fire_incoming(step, key);
        self.fire_outgoing(step, key);
        self.fire_session(step, key);
        self.store.wake_dialog(key);
    }

    /// Nobody answered the INVITE, or a proxy on the way needs to hear that somebody still may.
    fn fire_incoming(&mut self, step: &mut Step<'_>, key: DialogKey) {
        let Some(dialog) = self.store.dialogs.get_mut(&key) else { return };
        let Some(incoming) = &mut dialog.incoming else { return };
        if incoming.ends <= step.now {
            return self.reject_incoming(step, key, 480);
        }
        if incoming.refresh > step.now {
            return;
        }
        incoming.refresh = step.now + Duration::from_secs(60);
        let id = incoming.transaction;
        let Some(transaction) = self.store.servers.get(&id) else { return };
        let ServerMachine::Invite(machine) = &transaction.machine else { return };
        if machine.state() == InviteServerState::Proceeding
            && let Some(bytes) = machine.handle_retransmission()
        {
            let (flow, bytes) = (transaction.flow, bytes.to_vec());
            self.statistics.retransmissions_out += 1;
            self.send(step, flow, bytes);
        }
    }

    /// Our INVITE rings too long, or a re-INVITE that met a 491 goes out again.
    fn fire_outgoing(&mut self, step: &mut Step<'_>, key: DialogKey) {
        let Some(dialog) = self.store.dialogs.get_mut(&key) else { return };
        if let Some(outgoing) = &mut dialog.outgoing
            && outgoing.ends.is_some_and(|ends| ends <= step.now)
        {
            outgoing.ends = None;
            let (id, initial) = (outgoing.transaction, outgoing.initial);
            return if initial {
                self.cancel(step, key);
            } else {
                self.client_failed(step, id, (408, "Request Timeout"));
            };
        }
        if dialog.retry.as_ref().is_some_and(|retry| retry.at <= step.now)
            && let Some(retry) = dialog.retry.take()
        {
            match retry.request {
                Again::Reinvite(sdp) => self.reinvite(step, key, sdp),
                Again::Update(sdp) => self.update(step, key, sdp),
            }
        }
    }

    /// The caller's stream has closed while its INVITE was open, and it did not come back: it is gone.
    fn fire_lost(&mut self, step: &mut Step<'_>, key: DialogKey) {
        let Some(dialog) = self.store.dialogs.get_mut(&key) else { return };
        if dialog.lost_at.is_none_or(|lost| lost > step.now) {
            return;
        }
        dialog.lost_at = None;
        let ringing = dialog.incoming.as_ref().is_some_and(|incoming| incoming.initial);
        if ringing {
            step.event(Event::Cancelled { dialog: key });
            self.reject_incoming(step, key, 487);
        } else if dialog.unacked.take().is_some() {
            let reason = dialog.bye_wanted.take().flatten();
            step.event(Event::AckTimeout { dialog: key });
            self.send_bye(step, key, reason);
        }
    }

    /// An INVITE that comes again on another stream moves its dialog there.
    pub(super) fn follow_flow(&mut self, flow: Flow, id: u64) {
        let Some(transaction) = self.store.servers.get_mut(&id) else { return };
        if !flow.transport.is_reliable() || transaction.flow == flow {
            return;
        }
        transaction.flow = flow;
        if let Some(key) = transaction.dialog {
            if let Some(dialog) = self.store.dialogs.get_mut(&key) {
                dialog.hear_on(flow);
                if let Some(unacked) = &mut dialog.unacked {
                    unacked.flow = flow;
                }
            }
            self.store.wake_dialog(key);
        }
    }

    /// A stream is gone: requests sent on it have failed, its dialogs wait for the peer to come back.
    pub(super) fn handle_flow_closed(&mut self, step: &mut Step<'_>, flow: Flow) {
        let waits = |client: &ClientTransaction| same_stream(&client.flow, &flow) && client.machine.waits();
        let failed: Vec<u64> =
            self.store.clients.iter().filter(|(_, client)| waits(client)).map(|(id, _)| *id).collect();
        let affected: Vec<DialogKey> = self
            .store
            .dialogs
            .values()
            // Where no particular stream is meant, the next request opens another.
            .filter(|dialog| same_stream(&dialog.flow, &flow) && !flow.is_any_stream())
            .map(|dialog| dialog.key)
            .collect();
        for key in affected {
            if let Some(dialog) = self.store.dialogs.get_mut(&key) {
                dialog.flow_closed = true;
                let owed =
                    dialog.unacked.is_some() || dialog.incoming.as_ref().is_some_and(|open| open.initial);
                dialog.lost_at = owed.then_some(step.now + COME_BACK);
            }
            self.store.wake_dialog(key);
        }
        for id in failed {
            if !self.fall_back_to_udp(step, id) {
                self.client_failed(step, id, (503, "Connection Lost"));
            }
        }
    }
}
