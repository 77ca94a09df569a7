//! What happens when an instant comes or a stream closes: retransmissions, timeouts, limits.
//! Knows the store's wake-ups. Every due owner either changes or leaves.

use super::io::{DialogKey, Event, Flow};
use super::large::same_stream;
use super::store::{ClientMachine, Owner, Purpose, ServerMachine};
use super::{Endpoint, Step};
use crate::transaction::{Fired, InviteServerState};
use std::time::Duration;

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
            Purpose::Bye | Purpose::Info | Purpose::Silent | Purpose::Request(_) => {
                self.request_completed(step, key, &client.purpose, why.0);
            }
        }
    }

    fn fire_dialog(&mut self, step: &mut Step<'_>, key: DialogKey) {
        let now = step.now;
        let Some(dialog) = self.store.dialogs.get_mut(&key) else { return };
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
        self.fire_incoming(step, key);
        self.fire_outgoing(step, key);
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
        if dialog.retry.as_ref().is_some_and(|(at, _)| *at <= step.now)
            && let Some((_, sdp)) = dialog.retry.take()
        {
            self.reinvite(step, key, sdp);
        }
    }

    /// A stream is gone: requests sent on it have failed, its dialogs wait for the peer to come back.
    pub(super) fn handle_flow_closed(&mut self, step: &mut Step<'_>, flow: Flow) {
        let failed: Vec<u64> = self
            .store
            .clients
            .iter()
            .filter(|(_, client)| same_stream(&client.flow, &flow))
            .map(|(id, _)| *id)
            .collect();
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
            }
        }
        for id in failed {
            if !self.fall_back_to_udp(step, id) {
                self.client_failed(step, id, (503, "Connection Lost"));
            }
        }
    }
}
