//! The table of connections: which are open or being opened, to whom, and what waits for them.
//! Knows limits and identities. Reading and writing is done by each connection's own task.

use super::{
    CONNECTION_MESSAGES, SipCounters, SipTransportConfig,
    listeners::Stream,
    names::Names,
    stream::{self, Line},
    tls::Tls,
};
use sip::{Flow, Transport};
use std::{collections::HashMap, io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpSocket, TcpStream},
    sync::{mpsc, oneshot},
    time::timeout,
};

/// Connections of ours under way at once.
const OPENING: usize = 64;

/// One in so many connections is kept for those that we open: strangers cannot take them all.
const OURS: usize = 8;

/// Flows without a stream of their own by which one connection is known: one for each of our addresses.
const ALIASES: usize = 16;

/// What a connection reports to the task.
pub(super) enum Inbound {
    /// It can be used.
    Opened(Flow),
    /// A whole message.
    Message(Flow, Vec<u8>),
    /// It is over.
    Closed(Flow, End),
}

/// How a connection ended.
pub(super) enum End {
    /// Its peer ended it.
    Left,
    /// We ended it: a message took too long, was not SIP, or keep-alives were not answered.
    Cut,
    /// It never began.
    Failed(io::Error),
}

struct Connection {
    flow: Flow,
    /// We opened it.
    ours: bool,
    opened: bool,
    outgoing: mpsc::Sender<Vec<u8>>,
    /// Flows without a stream that have led here: who sent on them wants to know the end.
    aliases: Vec<Flow>,
    /// Who waits until it is open.
    waiting: Vec<oneshot::Sender<io::Result<Flow>>>,
    /// Ends the reader when it is dropped.
    _open: oneshot::Sender<()>,
}

impl Connection {
    /// Everything that it was known under.
    fn flows(self) -> Vec<Flow> {
        self.aliases.into_iter().chain([self.flow]).collect()
    }
}

/// The connections of a transport.
pub(super) struct Connections {
    config: Arc<SipTransportConfig>,
    counters: Arc<SipCounters>,
    inbound: mpsc::Sender<Inbound>,
    tls: Arc<Tls>,
    names: Names,
    open: HashMap<u64, Connection>,
    last: u64,
}

impl Connections {
    pub(super) fn new(
        config: Arc<SipTransportConfig>,
        counters: Arc<SipCounters>,
        inbound: mpsc::Sender<Inbound>,
        (tls, names): (Arc<Tls>, Names),
    ) -> Self {
        Self { config, counters, inbound, tls, names, open: HashMap::new(), last: 0 }
    }

    /// Takes a stream that a stranger opened. Its handshakes are its own task's work.
    pub(super) fn accept(&mut self, transport: Transport, stream: TcpStream, remote: SocketAddr) {
        let strangers = self.open.values().filter(|c| !c.ours);
        let (mut all, mut same) = (0, 0);
        for connection in strangers {
            all += 1;
            same += usize::from(connection.flow.remote.ip() == remote.ip());
        }
        let full = all >= self.config.max_connections - self.config.max_connections / OURS
            || self.open.len() >= self.config.max_connections;
        let Ok(local) = stream.local_addr() else { return };
        if full || same >= self.config.max_connections_per_address {
            SipCounters::count(&self.counters.connections_refused);
            return;
        }
        SipCounters::count(&self.counters.connections_in);
        let flow = Flow { transport, local, remote, connection: 0 };
        let (line, flow) = self.add(flow, false);
        let tls = transport.is_secure().then(|| self.tls.server()).flatten();
        debug_assert_eq!(tls.is_some(), transport.is_secure(), "no listener without a certificate");
        tokio::spawn(async move {
            prepare(&stream);
            stream::accept(Stream { stream, tls }, line, flow).await;
        });
    }

    /// Queues a message. A flow without a stream leads to the open one, or to a new one.
    ///
    /// # Errors
    /// The flows that lead nowhere, or do not any more because their peer does not read.
    pub(super) fn send(&mut self, flow: &Flow, bytes: Vec<u8>) -> Result<(), Vec<Flow>> {
        let number = self.lead(flow).map_err(|error| {
            tracing::warn!(remote = %flow.remote, transport = flow.transport.param(), %error, "cannot connect");
            vec![*flow]
        })?;
        let Some(connection) = self.open.get(&number) else { return Err(vec![*flow]) };
        if connection.outgoing.try_send(bytes).is_ok() {
            return Ok(());
        }
        SipCounters::count(&self.counters.connections_cut);
        let flow = connection.flow;
        Err(self.close(&flow))
    }

    /// Opens a connection, or finds the open one, and tells who asks.
    pub(super) fn connect(&mut self, flow: &Flow, reply: oneshot::Sender<io::Result<Flow>>) {
        let number = match self.lead(flow) {
            Ok(number) => number,
            Err(error) => return drop(reply.send(Err(error))), // Nobody waits any more: fine.
        };
        match self.open.get_mut(&number) {
            Some(connection) if connection.opened => drop(reply.send(Ok(connection.flow))),
            Some(connection) => connection.waiting.push(reply),
            None => drop(reply.send(Err(io::ErrorKind::NotConnected.into()))),
        }
    }

    /// Where in the table a flow leads.
    fn lead(&mut self, flow: &Flow) -> io::Result<u64> {
        if !flow.is_any_stream() {
            return Ok(flow.connection & Flow::STREAM);
        }
        let number = match self.find(flow) {
            Some(number) => number,
            None => self.open(flow)?,
        };
        if let Some(connection) = self.open.get_mut(&number)
            && !connection.aliases.contains(flow)
            && connection.aliases.len() < ALIASES
        {
            connection.aliases.push(*flow);
        }
        Ok(number)
    }

    /// The newest connection to the same peer. Over TLS, that is one that we opened, and to the same name: who knows who
    /// it was that connected to us from there, or which of the names at that address it showed (CVE-2020-15260).
    fn find(&self, flow: &Flow) -> Option<u64> {
        let same = |connection: &&Connection| {
            let Flow { transport, remote, connection: name, .. } = connection.flow.any_stream();
            let identity = transport != Transport::Tls || (connection.ours && name == flow.connection);
            transport == flow.transport && remote == flow.remote && identity
        };
        self.open.values().filter(same).map(|c| c.flow.connection & Flow::STREAM).max()
    }

    fn open(&mut self, flow: &Flow) -> io::Result<u64> {
        if matches!(flow.transport, Transport::Udp | Transport::Ws | Transport::Wss) {
            // Browsers connect to us; nobody is known who would have us connect to a WebSocket.
            return Err(io::ErrorKind::Unsupported.into());
        }
        let opening = self.open.values().filter(|c| c.ours && !c.opened).count();
        if self.open.len() >= self.config.max_connections || opening >= OPENING {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        let name = self.names.server_name(flow)?;
        let (line, flow) = self.add(*flow, true);
        let (tls, deadline) = (Arc::clone(&self.tls), self.config.connect_deadline);
        tokio::spawn(async move {
            match timeout(deadline, connect(&flow)).await {
                Ok(Ok(stream)) => stream::open(stream, line, (flow, tls, name)).await,
                Ok(Err(error)) => line.fail(flow, error).await,
                Err(_) => line.fail(flow, io::ErrorKind::TimedOut.into()).await,
            }
        });
        Ok(flow.connection & Flow::STREAM)
    }

    fn add(&mut self, flow: Flow, ours: bool) -> (Line, Flow) {
        self.last += 1;
        let flow = Flow { connection: flow.connection | self.last, ..flow };
        let (outgoing, messages) = mpsc::channel(CONNECTION_MESSAGES);
        let (open, closed) = oneshot::channel();
        let line = Line {
            config: Arc::clone(&self.config),
            counters: Arc::clone(&self.counters),
            inbound: self.inbound.clone(),
            pong: outgoing.downgrade(),
            messages,
            closed,
            ours,
        };
        let (aliases, waiting) = (Vec::new(), Vec::new());
        let connection = Connection { flow, ours, opened: false, outgoing, aliases, waiting, _open: open };
        self.open.insert(self.last, connection);
        self.counters.connections_open.store(self.open.len() as u64, std::sync::atomic::Ordering::Relaxed);
        (line, flow)
    }

    /// A connection has done its handshakes.
    pub(super) fn opened(&mut self, flow: &Flow) {
        let Some(connection) = self.open.get_mut(&(flow.connection & Flow::STREAM)) else { return };
        connection.opened = true;
        if connection.ours {
            SipCounters::count(&self.counters.connections_out);
        }
        for reply in connection.waiting.drain(..) {
            let _ = reply.send(Ok(connection.flow)); // Who asked has gone; the connection idles out.
        }
    }

    /// A connection is over: under which flows it was known.
    pub(super) fn closed(&mut self, flow: &Flow, end: End) -> Vec<Flow> {
        let counters = Arc::clone(&self.counters);
        let Some(mut connection) = self.remove(flow) else { return Vec::new() };
        match &end {
            End::Left => {}
            End::Cut => SipCounters::count(&counters.connections_cut),
            End::Failed(_) if connection.ours => SipCounters::count(&counters.connections_failed),
            End::Failed(_) => SipCounters::count(&counters.handshakes_failed),
        }
        if let End::Failed(error) = &end
            && connection.ours
        {
            tracing::warn!(remote = %flow.remote, transport = flow.transport.param(), %error, "cannot connect");
        }
        let reason = match end {
            End::Failed(error) => (error.kind(), error.to_string()),
            End::Left | End::Cut => (io::ErrorKind::ConnectionReset, "it was closed".to_owned()),
        };
        for reply in connection.waiting.drain(..) {
            let _ = reply.send(Err(io::Error::new(reason.0, reason.1.clone()))); // Nobody waits any more: fine.
        }
        connection.flows()
    }

    /// Closes a connection after what is queued has been written: under which flows it was known.
    pub(super) fn close(&mut self, flow: &Flow) -> Vec<Flow> {
        self.remove(flow).map(Connection::flows).unwrap_or_default()
    }

    fn remove(&mut self, flow: &Flow) -> Option<Connection> {
        let connection = self.open.remove(&(flow.connection & Flow::STREAM));
        self.counters.connections_open.store(self.open.len() as u64, std::sync::atomic::Ordering::Relaxed);
        connection
    }
}

/// Opens a stream from the address that the flow names: a carrier knows us by it.
async fn connect(flow: &Flow) -> io::Result<TcpStream> {
    let socket = if flow.remote.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if !flow.local.ip().is_unspecified() {
        socket.bind(SocketAddr::new(flow.local.ip(), 0))?;
    }
    let stream = socket.connect(flow.remote).await?;
    prepare(&stream);
    Ok(stream)
}

/// How long a silent peer is believed to be there before the kernel asks.
const ALIVE: Duration = Duration::from_secs(120);

/// Without delay, and with the kernel's own look for peers that went without a word. A stream that cannot have either
/// works all the same.
fn prepare(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let _ = socket2::SockRef::from(stream).set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(ALIVE));
}
