//! Which transport a request takes: too large for a datagram means TCP, and back if nobody listens there
//! (RFC 3261 section 18.1.1); and which stream a request without a connection of its own got.
//! Knows sizes and flows. Opens nothing: connection 0 asks the transport for a connection.

use super::io::{Flow, Transport};
use super::store::{ClientMachine, ClientTransaction, Purpose};
use super::{Endpoint, Step};
use crate::transaction::{InviteClient, InviteClientState, NonInviteClient, NonInviteClientState};

/// The largest request that goes in a datagram where the path's MTU is not known, in bytes.
const LARGEST_DATAGRAM: usize = 1300;

/// What a request's size has done to its transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum SizeChoice {
    /// Nothing: it goes as the user wanted.
    #[default]
    AsGiven,
    /// It was to be UDP on this flow and goes over TCP.
    Tcp(Flow),
    /// TCP failed; it goes over UDP whatever its size.
    UdpAfterAll,
}

/// The flow of a request and what its size had to do with it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    pub(super) flow: Flow,
    pub(super) size: SizeChoice,
}

impl ClientTransaction {
    pub(super) fn way(&self) -> Way {
        Way { flow: self.flow, size: self.size }
    }

    /// The flow as our Via names it: a stream that only size has opened has a port of its own that nobody should call.
    pub(super) fn named_flow(&self) -> Flow {
        match self.size {
            SizeChoice::Tcp(udp) => Flow { local: udp.local, ..self.flow },
            SizeChoice::AsGiven | SizeChoice::UdpAfterAll => self.flow,
        }
    }

    fn heard_nothing(&self) -> bool {
        match &self.machine {
            ClientMachine::Invite(machine) => machine.state() == InviteClientState::Calling,
            ClientMachine::Other(machine) => machine.state() == NonInviteClientState::Trying,
        }
    }
}

/// Whether `stream` is the one that `flow` names, or the one that a request for any stream to that peer got.
pub(super) fn same_stream(flow: &Flow, stream: &Flow) -> bool {
    let any = Flow { local: flow.local, ..stream.any_stream() };
    flow == stream || flow.is_any_stream() && *flow == any
}

impl Endpoint {
    /// A request that no dialog has tied to a flow yet goes over TCP if it is too large for a datagram.
    pub(super) fn way_of(&self, purpose: &Purpose, way: Way, bytes: Vec<u8>) -> (Way, Vec<u8>) {
        let free = matches!(purpose, Purpose::Invite | Purpose::Request(_));
        let wanted = self.config.large_to_tcp
            && free
            && way.size == SizeChoice::AsGiven
            && way.flow.transport == Transport::Udp
            && bytes.len() > LARGEST_DATAGRAM;
        if !wanted {
            return (way, bytes);
        }
        let flow = Flow { transport: Transport::Tcp, connection: 0, ..way.flow };
        (
            Way { flow, size: SizeChoice::Tcp(way.flow) },
            with_via_transport(bytes, Transport::Udp, Transport::Tcp),
        )
    }

    /// TCP was our own idea and failed before anything was heard: the same request over UDP. Says whether it was sent.
    pub(super) fn fall_back_to_udp(&mut self, step: &mut Step<'_>, id: u64) -> bool {
        let Some(client) = self.store.clients.get(&id).filter(|client| client.heard_nothing()) else {
            return false;
        };
        let SizeChoice::Tcp(udp) = client.size else { return false };
        let Some(mut client) = self.store.remove_client(id) else { return false };
        let bytes = with_via_transport(client.machine.request().to_vec(), Transport::Tcp, Transport::Udp);
        let timers = self.config.timers;
        client.flow = udp;
        client.size = SizeChoice::UdpAfterAll;
        client.machine = match client.machine {
            ClientMachine::Invite(_) => {
                ClientMachine::Invite(InviteClient::new(step.now, bytes.clone(), timers, false))
            }
            ClientMachine::Other(_) => {
                ClientMachine::Other(NonInviteClient::new(step.now, bytes.clone(), timers, false))
            }
        };
        self.statistics.udp_after_tcp += 1;
        let (flow, key) = (client.flow, client.dialog);
        let new = self.store.add_client(client);
        self.replace_outgoing(key, id, new);
        self.send(step, flow, bytes);
        true
    }

    /// A response names the connection that a request with connection 0 got.
    pub(super) fn learn_connection(&mut self, id: u64, flow: Flow) {
        if let Some(client) = self.store.clients.get_mut(&id)
            && same_stream(&client.flow, &flow)
        {
            client.flow = flow;
        }
    }
}

/// The message with another transport in its top Via, which is ours.
fn with_via_transport(mut bytes: Vec<u8>, from: Transport, to: Transport) -> Vec<u8> {
    let before = format!("\r\nVia: SIP/2.0/{} ", from.name()).into_bytes();
    let after = format!("\r\nVia: SIP/2.0/{} ", to.name()).into_bytes();
    if let Some(at) = bytes.windows(before.len()).position(|window| window == before) {
        bytes.splice(at..at + before.len(), after);
    }
    bytes
}
