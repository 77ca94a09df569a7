//! The SIP sockets and the task that runs the endpoint on them.
//! Knows datagrams, connections and the endpoint's three words. Knows neither calls nor what a message says.

mod connections;
mod listeners;
mod task;

pub use listeners::{Listening, SipSockets};

use sip::{Command, EndpointStatistics, Event, Flow};
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
        /// Where to.
        remote: SocketAddr,
        /// The flow to name in a command.
        reply: oneshot::Sender<io::Result<Flow>>,
    },
    /// Ends the task after what has been asked before.
    Stop,
}

/// What the task counts. Read by anybody.
#[derive(Debug, Default)]
pub struct SipCounters {
    /// Datagrams received.
    pub datagrams_in: AtomicU64,
    /// Datagrams sent.
    pub datagrams_out: AtomicU64,
    /// Datagrams that could not be sent; the transaction sends them again.
    pub datagrams_failed: AtomicU64,
    /// Connections accepted.
    pub connections_in: AtomicU64,
    /// Connections refused because there were too many.
    pub connections_refused: AtomicU64,
    /// Connections opened by us.
    pub connections_out: AtomicU64,
    /// Connections closed because a message took too long, was not SIP, or was not read.
    pub connections_cut: AtomicU64,
    /// Messages whose connection was gone or whose queue was full.
    pub stream_messages_failed: AtomicU64,
    /// Panics caught while a message was worked on: each is a bug.
    pub panics: AtomicU64,
}

impl SipCounters {
    fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// A way to talk to a running transport.
pub struct SipHandle<M> {
    requests: mpsc::Sender<Request<M>>,
    listening: Arc<[Listening]>,
    counters: Arc<SipCounters>,
}

impl<M> Clone for SipHandle<M> {
    fn clone(&self) -> Self {
        let Self { requests, listening, counters } = self;
        Self { requests: requests.clone(), listening: Arc::clone(listening), counters: Arc::clone(counters) }
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
        listeners::udp_flow(&self.listening, remote)
    }

    /// Opens a connection to `remote`, or finds the open one.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn connect(&self, remote: SocketAddr) -> io::Result<Flow> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Connect { remote, reply }).await;
        answer.await.unwrap_or_else(|_| Err(io::ErrorKind::NotConnected.into()))
    }

    /// Where it listens.
    pub fn listening(&self) -> &[Listening] {
        &self.listening
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
    (SipHandle { requests, listening: sockets.listening().into(), counters }, waiting)
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
