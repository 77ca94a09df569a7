//! The SIP sockets and the task that runs the endpoint on them.
//! Knows datagrams, connections and the endpoint's three words. Knows neither calls nor what a message says.

mod connections;
pub mod hep;
pub mod ladder;
mod listeners;
mod masked;
mod names;
mod patience;
mod stream;
mod task;
pub mod tls;
mod websocket;

pub use ladder::Ladders;
pub use listeners::{Listening, SipSockets};
pub use tls::{Tls, TlsConfig};

use names::Names;
use sip::{Command, EndpointStatistics, Event, Flow, Transport};
use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

/// Requests of calls and of the server waiting for the task. Who finds it full keeps its request and tries again.
pub const REQUESTS: usize = 1_024;

/// Messages cut from streams waiting for the task; the connections wait while it is full, and so do their peers.
pub const STREAM_MESSAGES: usize = 256;

/// Messages waiting for one connection's peer to read. A peer that is further behind loses its connection.
pub const CONNECTION_MESSAGES: usize = 64;

/// Limits on what strangers can make us hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SipTransportConfig {
    /// Connections at once, ours included.
    pub max_connections: usize,
    /// Connections at once from one address: one stranger must not take all of them.
    pub max_connections_per_address: usize,
    /// How long the bytes of one message may take to arrive.
    pub message_deadline: Duration,
    /// How long a connection may stay silent before its first message.
    pub first_message_deadline: Duration,
    /// How long it may stay silent after that: longer than calls last, because their BYE comes on it.
    pub idle: Duration,
    /// How long a peer may take to accept a connection of ours.
    pub connect_deadline: Duration,
    /// How long a peer may take for the handshakes of TLS and WebSocket.
    pub handshake_deadline: Duration,
    /// Where copies of messages go.
    pub hep: Option<hep::HepConfig>,
    /// Between two pings on connections that we opened (RFC 5626); `None`: no pings.
    pub keep_alive: Option<Duration>,
}

impl Default for SipTransportConfig {
    fn default() -> Self {
        Self {
            max_connections: 1_024,
            max_connections_per_address: 128,
            message_deadline: Duration::from_secs(10),
            first_message_deadline: Duration::from_secs(30),
            idle: Duration::from_secs(2 * 3_600),
            connect_deadline: Duration::from_secs(5),
            handshake_deadline: Duration::from_secs(10),
            hep: None,
            // Firewalls forget a silent connection after some minutes, the strictest after one or two.
            keep_alive: Some(Duration::from_secs(60)),
        }
    }
}

/// What listens to an endpoint. All of it runs on the transport's task: it must not wait.
pub trait Handler: Send + 'static {
    /// What others tell the handler through the task's queue.
    type Message: Send + 'static;

    /// The endpoint reports something; what it is to do about it is appended to `commands`.
    fn event(&mut self, now: Instant, event: Event, commands: &mut Vec<Command>);

    /// Somebody sent a message.
    fn message(&mut self, now: Instant, message: Self::Message, commands: &mut Vec<Command>);

    /// About a second has passed.
    fn second(&mut self, now: Instant, statistics: &EndpointStatistics, commands: &mut Vec<Command>);
}

/// What the task does for others.
pub enum Request<M> {
    /// For the endpoint.
    Command(Box<Command>),
    /// For the handler.
    Message(M),
    /// Opens a connection, or finds the open one.
    Connect {
        /// Where to, as [`SipHandle::flow`] says it.
        flow: Flow,
        /// The flow to name in a command.
        reply: oneshot::Sender<io::Result<Flow>>,
    },
    /// Ends the task after what has been asked before.
    Stop,
}

/// What the task counts. Read by anybody.
#[derive(Debug, Default)]
pub struct SipCounters {
    /// Messages received, by transport in the order of [`Transport::ALL`]. A datagram is one, whatever is in it.
    pub messages_in: [AtomicU64; Transport::ALL.len()],
    /// Messages sent, or queued on a connection, by transport.
    pub messages_out: [AtomicU64; Transport::ALL.len()],
    /// Datagrams that could not be sent; the transaction sends them again.
    pub datagrams_failed: AtomicU64,
    /// Connections accepted.
    pub connections_in: AtomicU64,
    /// Connections refused because there were too many.
    pub connections_refused: AtomicU64,
    /// Connections opened by us.
    pub connections_out: AtomicU64,
    /// Connections that we could not open.
    pub connections_failed: AtomicU64,
    /// Connections there are, those with unfinished handshakes too.
    pub connections_open: AtomicU64,
    /// Strangers whose TLS or WebSocket handshake came to nothing.
    pub handshakes_failed: AtomicU64,
    /// Connections of ours that were closed because their peer no longer answered pings. They are also cut.
    pub keep_alives_unanswered: AtomicU64,
    /// Changed certificates that are in use.
    pub certificates_reloaded: AtomicU64,
    /// Changed certificates that could not be used.
    pub certificates_refused: AtomicU64,
    /// Connections closed because a message took too long, was not SIP, or was not read.
    pub connections_cut: AtomicU64,
    /// Messages whose connection was gone or whose queue was full.
    pub stream_messages_failed: AtomicU64,
    /// Copies sent to the capture server.
    pub hep_sent: AtomicU64,
    /// Copies that the kernel would not take, or that fit into no packet.
    pub hep_dropped: AtomicU64,
    /// Panics caught while a message was worked on: each is a bug.
    pub panics: AtomicU64,
}

impl SipCounters {
    fn received(&self, transport: Transport) {
        Self::count(&self.messages_in[transport as usize]);
    }

    fn sent(&self, transport: Transport) {
        Self::count(&self.messages_out[transport as usize]);
    }

    fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// A way to talk to a running transport.
pub struct SipHandle<M> {
    requests: mpsc::Sender<Request<M>>,
    listening: Arc<[Listening]>,
    counters: Arc<SipCounters>,
    names: Names,
    ladders: Ladders,
}

impl<M> Clone for SipHandle<M> {
    fn clone(&self) -> Self {
        let Self { requests, listening, counters, names, ladders } = self;
        let (listening, counters) = (Arc::clone(listening), Arc::clone(counters));
        let (names, ladders) = (names.clone(), ladders.clone());
        Self { requests: requests.clone(), listening, counters, names, ladders }
    }
}

impl<M> SipHandle<M> {
    /// Passes a request on without waiting.
    ///
    /// # Errors
    /// The request, when the queue is full or the task has ended.
    pub fn try_send(&self, request: Request<M>) -> Result<(), Request<M>> {
        self.requests.try_send(request).map_err(mpsc::error::TrySendError::into_inner)
    }

    /// Passes a request on, waiting for room. A task that has ended needs no requests.
    pub async fn send(&self, request: Request<M>) {
        let _ = self.requests.send(request).await;
    }

    /// The flow for datagrams to `remote`; `None` when no socket of its address family listens.
    pub fn udp_flow(&self, remote: SocketAddr) -> Option<Flow> {
        listeners::flow(&self.listening, Transport::Udp, remote)
    }

    /// The flow to `remote` for a command. Its connection is opened when the first message is sent, and reused by all
    /// that go to the same address under the same name. `server_name` is the domain that was asked for, which the
    /// certificate of a TLS peer must bear; without one that is the address.
    ///
    /// # Errors
    /// When the name is none, or nothing of ours reaches such an address.
    pub fn flow(
        &self,
        transport: Transport,
        remote: SocketAddr,
        server_name: Option<&str>,
    ) -> io::Result<Flow> {
        let unreachable = || io::Error::new(io::ErrorKind::AddrNotAvailable, "no socket for such addresses");
        let flow = listeners::flow(&self.listening, transport, remote).ok_or_else(unreachable)?;
        match server_name.filter(|_| transport.is_secure()) {
            Some(name) => Ok(Flow { connection: self.names.number(name)?, ..flow }),
            None => Ok(flow),
        }
    }

    /// Opens the connection of a flow of [`Self::flow`], or finds the open one.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn connect(&self, flow: Flow) -> io::Result<Flow> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Connect { flow, reply }).await;
        answer.await.unwrap_or_else(|_| Err(io::ErrorKind::NotConnected.into()))
    }

    /// Where it listens.
    pub fn listening(&self) -> &[Listening] {
        &self.listening
    }

    /// The messages of its calls.
    pub fn ladders(&self) -> &Ladders {
        &self.ladders
    }

    /// What it counts.
    pub fn counters(&self) -> &SipCounters {
        &self.counters
    }
}

/// Runs `endpoint` on `sockets` until somebody sends [`Request::Stop`].
pub fn start<H: Handler>(
    sockets: SipSockets,
    endpoint: sip::Endpoint,
    handler: H,
    config: SipTransportConfig,
) -> (SipHandle<H::Message>, JoinHandle<()>) {
    let (handle, requests) = handle(&sockets);
    let task = run(sockets, endpoint, handler, config, (handle.clone(), requests));
    (handle, task)
}

/// A handle whose task does not run yet, for a handler that needs one.
pub fn handle<M>(sockets: &SipSockets) -> (SipHandle<M>, mpsc::Receiver<Request<M>>) {
    let (requests, waiting) = mpsc::channel(REQUESTS);
    let counters = Arc::new(SipCounters::default());
    let (names, ladders) = (Names::default(), Ladders::default());
    (SipHandle { requests, listening: sockets.listening().into(), counters, names, ladders }, waiting)
}

/// Runs the task of a handle made by [`handle`].
pub fn run<H: Handler>(
    sockets: SipSockets,
    endpoint: sip::Endpoint,
    handler: H,
    config: SipTransportConfig,
    ends: (SipHandle<H::Message>, mpsc::Receiver<Request<H::Message>>),
) -> JoinHandle<()> {
    tokio::spawn(task::Task::new(sockets, endpoint, handler, config, ends).run())
}
