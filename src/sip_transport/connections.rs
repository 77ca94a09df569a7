//! SIP over TCP: one reader and one writer task for each connection, with limits against those who mean harm.
//! Knows streams and where messages end. Knows nothing of what they say.

use super::{CONNECTION_MESSAGES, SipCounters, SipTransportConfig};
use sip::{Flow, StreamFramer, Transport};
use std::{collections::HashMap, io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};

/// Read from a connection at once.
const READ: usize = 8 * 1024;

/// How long a peer may leave our bytes unread.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);

/// What a connection reports to the task.
pub(super) enum Inbound {
    /// A whole message.
    Message(Flow, Vec<u8>),
    /// It is over; `cut` if that was our doing.
    Closed { flow: Flow, cut: bool },
}

struct Connection {
    flow: Flow,
    outgoing: mpsc::Sender<Vec<u8>>,
    /// Ends the reader when it is dropped.
    _open: tokio::sync::oneshot::Sender<()>,
}

/// The open connections of a transport.
pub(super) struct Connections {
    config: Arc<SipTransportConfig>,
    counters: Arc<SipCounters>,
    inbound: mpsc::Sender<Inbound>,
    open: HashMap<u64, Connection>,
    last: u64,
}

impl Connections {
    pub(super) fn new(
        config: Arc<SipTransportConfig>,
        counters: Arc<SipCounters>,
        inbound: mpsc::Sender<Inbound>,
    ) -> Self {
        Self { config, counters, inbound, open: HashMap::new(), last: 0 }
    }

    /// Takes a stream that a stranger opened.
    pub(super) fn accept(&mut self, stream: TcpStream, remote: SocketAddr) {
        let same = self.open.values().filter(|c| c.flow.remote.ip() == remote.ip()).count();
        let full = self.open.len() >= self.config.max_connections;
        if full || same >= self.config.max_connections_per_address {
            SipCounters::count(&self.counters.connections_refused);
            return;
        }
        if self.add(stream).is_ok() {
            SipCounters::count(&self.counters.connections_in);
        }
    }

    /// Takes a stream that we opened.
    pub(super) fn add(&mut self, stream: TcpStream) -> io::Result<Flow> {
        if self.open.len() >= self.config.max_connections {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        stream.set_nodelay(true)?;
        self.last += 1;
        let (local, remote) = (stream.local_addr()?, stream.peer_addr()?);
        let flow = Flow { transport: Transport::Tcp, local, remote, connection: self.last };
        let (outgoing, messages) = mpsc::channel(CONNECTION_MESSAGES);
        let (open, closed) = tokio::sync::oneshot::channel();
        let (reader, writer) = stream.into_split();
        tokio::spawn(write(writer, messages));
        let reading = Reading {
            flow,
            config: Arc::clone(&self.config),
            inbound: self.inbound.clone(),
            pong: outgoing.clone(),
        };
        tokio::spawn(async move {
            tokio::select! {
                () = reading.run(reader) => {}
                _ = closed => {}
            }
        });
        self.open.insert(flow.connection, Connection { flow, outgoing, _open: open });
        Ok(flow)
    }

    /// The open connection to `remote`, if there is one.
    pub(super) fn find(&self, remote: SocketAddr) -> Option<Flow> {
        self.open
            .values()
            .map(|c| c.flow)
            .filter(|flow| flow.remote == remote)
            .max_by_key(|flow| flow.connection)
    }

    /// Queues a message; false means that the connection is gone, or is now because its peer does not read.
    pub(super) fn send(&mut self, flow: &Flow, bytes: Vec<u8>) -> bool {
        let Some(connection) = self.open.get(&flow.connection) else { return false };
        if connection.outgoing.try_send(bytes).is_ok() {
            return true;
        }
        SipCounters::count(&self.counters.connections_cut);
        self.close(flow);
        false
    }

    /// Closes a connection after what is queued has been written.
    pub(super) fn close(&mut self, flow: &Flow) -> bool {
        self.open.remove(&flow.connection).is_some()
    }

    pub(super) fn config(&self) -> &Arc<SipTransportConfig> {
        &self.config
    }
}

async fn write(mut writer: OwnedWriteHalf, mut messages: mpsc::Receiver<Vec<u8>>) {
    while let Some(bytes) = messages.recv().await {
        match timeout(WRITE_DEADLINE, writer.write_all(&bytes)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return, // The full queue tells the task.
        }
    }
    let _ = writer.shutdown().await;
}

struct Reading {
    flow: Flow,
    config: Arc<SipTransportConfig>,
    inbound: mpsc::Sender<Inbound>,
    pong: mpsc::Sender<Vec<u8>>,
}

impl Reading {
    async fn run(self, mut reader: OwnedReadHalf) {
        let cut = self.read(&mut reader).await;
        let _ = self.inbound.send(Inbound::Closed { flow: self.flow, cut }).await;
    }

    /// Reads until the connection ends; says whether we ended it.
    async fn read(&self, reader: &mut OwnedReadHalf) -> bool {
        let mut framer = StreamFramer::new();
        let mut buffer = vec![0; READ];
        let mut patience = Patience::new(&self.config, Instant::now());
        loop {
            let length = match timeout_at(patience.deadline, reader.read(&mut buffer)).await {
                Ok(Ok(0) | Err(_)) => return false,
                Ok(Ok(length)) => length,
                Err(_) => return true,
            };
            framer.push(&buffer[..length]);
            let mut whole = false;
            loop {
                match framer.next() {
                    Ok(Some(bytes)) => {
                        whole = true;
                        if self.inbound.send(Inbound::Message(self.flow, bytes)).await.is_err() {
                            return false;
                        }
                    }
                    Ok(None) => break,
                    Err(_) => return true,
                }
            }
            let pongs = framer.take_pongs();
            if pongs > 0 {
                // A peer that pings but does not read needs no pong.
                let _ = self.pong.try_send(b"\r\n".repeat(pongs));
            }
            patience.read(&self.config, Instant::now(), whole, framer.is_mid_message());
        }
    }
}

/// Until when a connection may leave us waiting.
struct Patience {
    deadline: Instant,
    /// A whole message has come.
    proven: bool,
    /// A message has begun and is not whole.
    begun: bool,
}

impl Patience {
    fn new(config: &SipTransportConfig, now: Instant) -> Self {
        Self { deadline: now + config.first_message_deadline, proven: false, begun: false }
    }

    /// Something was read: `whole` messages, and then perhaps the beginning of another. A message that has begun must
    /// be whole in time, however slowly its bytes drip; between messages there is more patience.
    fn read(&mut self, config: &SipTransportConfig, now: Instant, whole: bool, begun: bool) {
        let still = !whole && (self.begun || !self.proven);
        self.proven |= whole;
        self.begun = begun;
        if !still {
            self.deadline = now + if begun { config.message_deadline } else { config.idle };
        }
    }
}

/// Opens a connection.
pub(super) async fn connect(remote: SocketAddr, deadline: Duration) -> io::Result<TcpStream> {
    timeout(deadline, TcpStream::connect(remote))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dripping_message_does_not_prolong_its_own_deadline() {
        let config = SipTransportConfig::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut patience = Patience::new(&config, start);
        patience.read(&config, at(29), false, true);
        assert_eq!(patience.deadline, at(30), "the first message is not whole yet");
        patience.read(&config, at(29), true, false);
        assert_eq!(patience.deadline, at(29) + config.idle);
        patience.read(&config, at(100), false, true);
        patience.read(&config, at(109), false, true);
        assert_eq!(patience.deadline, at(110));
        patience.read(&config, at(109), true, true);
        assert_eq!(patience.deadline, at(119), "the next message has its own time");
    }
}
