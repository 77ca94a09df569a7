//! What others may do with the endpoint of a running server: send it commands and hear of what they began.
//! Knows queues. What a call or a registration needs is decided by who holds it.

use super::{
    admission::{Message, RecordSink},
    lease::{NoLease, PortLease},
};
use crate::sip_transport::{Request, SipHandle};
use sip::{Command, Event, Flow, Transport};
use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::{mpsc, oneshot};

/// Events of calls and requests that we began, which wait to be read. More than a second's worth: whoever is this far
/// behind has stopped.
const EVENTS: usize = 1_024;

/// A way to the endpoint, to port slots and to the records of calls.
#[derive(Clone)]
pub struct SipLink(SipHandle<Message>, Arc<dyn RecordSink>);

impl SipLink {
    pub(super) fn new(handle: SipHandle<Message>, records: Arc<dyn RecordSink>) -> Self {
        Self(handle, records)
    }

    /// A slot of the pool, by its place, for a call that is about to be placed.
    ///
    /// # Errors
    /// [`NoLease`] says why there is none.
    pub async fn lease(&self, pool: usize) -> Result<PortLease, NoLease> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Request::Message(Message::Lease { pool, reply })).await;
        let granted = answer.await.unwrap_or(Err(NoLease::Draining))?;
        Ok(PortLease::new(granted, self.0.clone()))
    }

    /// Where the records of calls go that we place.
    pub fn records(&self) -> Arc<dyn RecordSink> {
        Arc::clone(&self.1)
    }

    /// Passes a command on; false when the queue is full or the server has ended.
    pub fn command(&self, command: Command) -> bool {
        self.0.try_send(Request::Command(Box::new(command))).is_ok()
    }

    /// The flow to an address, for a command. `server_name` is the domain that was asked for, which a certificate must
    /// bear.
    ///
    /// # Errors
    /// When nothing of ours reaches such an address.
    pub fn flow(
        &self,
        transport: Transport,
        remote: SocketAddr,
        server_name: Option<&str>,
    ) -> io::Result<Flow> {
        self.0.flow(transport, remote, server_name)
    }
}

/// Where the events of what we began go.
#[derive(Clone)]
pub(super) struct OutgoingSink {
    events: mpsc::Sender<Event>,
    lost: Arc<AtomicU64>,
}

/// The events of what we began: responses, outgoing calls, and who registered with us.
pub struct OutgoingEvents {
    events: mpsc::Receiver<Event>,
    lost: Arc<AtomicU64>,
}

pub(super) fn outgoing() -> (OutgoingSink, OutgoingEvents) {
    let (sender, receiver) = mpsc::channel(EVENTS);
    let lost = Arc::new(AtomicU64::new(0));
    let sink = OutgoingSink { events: sender, lost: Arc::clone(&lost) };
    (sink, OutgoingEvents { events: receiver, lost })
}

impl OutgoingSink {
    /// Passes an event on without waiting; a full queue loses it, and counts.
    pub(super) fn tell(&self, event: Event) {
        if self.events.try_send(event).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl OutgoingEvents {
    /// The next event; `None` when the server has ended.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// Events that were lost because nobody read them in time.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}
