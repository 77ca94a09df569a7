//! One connection: its handshakes, then one half that reads and one that writes, with limits against those who mean
//! harm. Knows streams and where messages end. Knows nothing of what they say.

use super::{
    SipCounters, SipTransportConfig,
    connections::{End, Inbound},
    listeners::Stream,
    patience::{KeepAlive, Patience, Tick},
    tls::Tls,
    websocket,
};
use rustls::pki_types::ServerName;
use sip::{Flow, StreamFramer, Transport};
use std::{io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::{mpsc, oneshot},
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Read from a connection at once.
const READ: usize = 8 * 1024;

/// How long a peer may leave our bytes unread.
pub(super) const WRITE_DEADLINE: Duration = Duration::from_secs(10);

/// What a connection's task works with.
pub(super) struct Line {
    pub(super) config: Arc<SipTransportConfig>,
    pub(super) counters: Arc<SipCounters>,
    pub(super) inbound: mpsc::Sender<Inbound>,
    /// The queue of this same connection, for answers to pings. Weak: the queue must end with its table entry.
    pub(super) pong: mpsc::WeakSender<Vec<u8>>,
    pub(super) messages: mpsc::Receiver<Vec<u8>>,
    /// Ends when the task wants the connection closed.
    pub(super) closed: oneshot::Receiver<()>,
    pub(super) ours: bool,
}

impl Line {
    /// Tells that there is no connection.
    pub(super) async fn fail(self, flow: Flow, error: io::Error) {
        let _ = self.inbound.send(Inbound::Closed(flow, End::Failed(error))).await; // The task may be gone.
    }
}

/// Runs a connection that a stranger opened.
pub(super) async fn accept(stream: Stream, mut line: Line, flow: Flow) {
    let deadline = line.config.handshake_deadline;
    let is_websocket = matches!(flow.transport, Transport::Ws | Transport::Wss);
    let Stream { stream, tls } = stream;
    let work = async {
        let late = |_| io::Error::from(io::ErrorKind::TimedOut);
        match (tls, is_websocket) {
            (None, false) => Ok(Ready::Tcp(stream)),
            (None, true) => timeout(deadline, websocket::accept(stream))
                .await
                .map_err(late)?
                .map(|socket| Ready::Ws(Box::new(socket))),
            (Some(tls), false) => {
                let accepted =
                    timeout(deadline, TlsAcceptor::from(tls).accept(stream)).await.map_err(late)??;
                Ok(Ready::Tls(Box::new(accepted.into())))
            }
            (Some(tls), true) => {
                let both = async { websocket::accept(TlsAcceptor::from(tls).accept(stream).await?).await };
                timeout(deadline, both).await.map_err(late)?.map(|socket| Ready::Wss(Box::new(socket)))
            }
        }
    };
    // A connection that is not wanted any more need not finish its handshake.
    let ready = tokio::select! {
        ready = work => ready,
        _ = &mut line.closed => return,
    };
    match ready {
        Ok(ready) => ready.run(line, flow).await,
        Err(error) => line.fail(flow, error).await,
    }
}

/// Runs a connection that we opened.
pub(super) async fn open(
    stream: TcpStream,
    line: Line,
    (flow, tls, name): (Flow, Arc<Tls>, ServerName<'static>),
) {
    if !flow.transport.is_secure() {
        return Ready::Tcp(stream).run(line, flow).await;
    }
    // Trusted roots may be read from disk.
    let config =
        tokio::task::spawn_blocking(move || tls.client()).await.unwrap_or_else(|e| Err(io::Error::other(e)));
    let config = match config {
        Ok(config) => config,
        Err(error) => return line.fail(flow, error).await,
    };
    match timeout(line.config.handshake_deadline, TlsConnector::from(config).connect(name, stream)).await {
        Ok(Ok(stream)) => Ready::Tls(Box::new(stream.into())).run(line, flow).await,
        Ok(Err(error)) => line.fail(flow, error).await,
        Err(_) => line.fail(flow, io::ErrorKind::TimedOut.into()).await,
    }
}

/// A stream that has done its handshakes.
enum Ready {
    Tcp(TcpStream),
    Tls(Box<tokio_rustls::TlsStream<TcpStream>>),
    Ws(Box<websocket::Socket<TcpStream>>),
    Wss(Box<websocket::Socket<tokio_rustls::server::TlsStream<TcpStream>>>),
}

impl Ready {
    async fn run(self, line: Line, flow: Flow) {
        if line.inbound.send(Inbound::Opened(flow)).await.is_err() {
            return;
        }
        match self {
            Self::Tcp(stream) => {
                let (reader, writer) = stream.into_split();
                run(reader, writer, line, flow).await;
            }
            Self::Tls(stream) => {
                let (reader, writer) = tokio::io::split(*stream);
                run(reader, writer, line, flow).await;
            }
            Self::Ws(socket) => websocket::run(*socket, line, flow).await,
            Self::Wss(socket) => websocket::run(*socket, line, flow).await,
        }
    }
}

async fn run<R, W>(mut reader: R, writer: W, line: Line, flow: Flow)
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let Line { config, counters, inbound, pong, messages, closed, ours } = line;
    tokio::spawn(write(writer, messages));
    let keep_alive = KeepAlive::new(config.keep_alive.filter(|_| ours), Instant::now());
    let reading = Reading { flow, config, counters, inbound, pong, keep_alive, ours };
    tokio::select! {
        () = reading.run(&mut reader) => {}
        _ = closed => {}
    }
}

async fn write(mut writer: impl AsyncWrite + Unpin, mut messages: mpsc::Receiver<Vec<u8>>) {
    while let Some(bytes) = messages.recv().await {
        let written = async {
            writer.write_all(&bytes).await?;
            writer.flush().await
        };
        match timeout(WRITE_DEADLINE, written).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return, // The full queue tells the task.
        }
    }
    let _ = timeout(WRITE_DEADLINE, writer.shutdown()).await;
}

struct Reading {
    flow: Flow,
    config: Arc<SipTransportConfig>,
    counters: Arc<SipCounters>,
    inbound: mpsc::Sender<Inbound>,
    pong: mpsc::WeakSender<Vec<u8>>,
    keep_alive: KeepAlive,
    ours: bool,
}

impl Reading {
    async fn run(mut self, reader: &mut (impl AsyncRead + Unpin)) {
        let end = self.read(reader).await;
        let _ = self.inbound.send(Inbound::Closed(self.flow, end)).await;
    }

    /// Reads until the connection ends.
    async fn read(&mut self, reader: &mut (impl AsyncRead + Unpin)) -> End {
        let mut framer = StreamFramer::new();
        let mut buffer = vec![0; READ];
        let mut patience = Patience::new(&self.config, Instant::now(), self.ours);
        loop {
            let deadline = patience.deadline.min(self.keep_alive.next());
            let length = match timeout_at(deadline, reader.read(&mut buffer)).await {
                Ok(Ok(0) | Err(_)) => return End::Left,
                Ok(Ok(length)) => length,
                Err(_) if Instant::now() >= patience.deadline => return End::Cut,
                Err(_) => match self.keep_alive.tick(Instant::now()) {
                    Tick::Dead => {
                        SipCounters::count(&self.counters.keep_alives_unanswered);
                        return End::Cut;
                    }
                    Tick::Ping => {
                        framer.pinged();
                        self.send(b"\r\n\r\n".to_vec());
                        continue;
                    }
                },
            };
            framer.push(&buffer[..length]);
            let mut whole = false;
            loop {
                match framer.next() {
                    Ok(Some(bytes)) => {
                        whole = true;
                        if self.inbound.send(Inbound::Message(self.flow, bytes)).await.is_err() {
                            return End::Left;
                        }
                    }
                    Ok(None) => break,
                    Err(_) => return End::Cut,
                }
            }
            self.keep_alive.heard(Instant::now(), framer.take_answers() > 0);
            let pongs = framer.take_pongs();
            if pongs > 0 {
                self.send(b"\r\n".repeat(pongs));
            }
            patience.read(&self.config, Instant::now(), whole, framer.is_mid_message());
        }
    }

    /// A peer that does not read needs no keep-alive.
    fn send(&self, bytes: Vec<u8>) {
        if let Some(queue) = self.pong.upgrade() {
            let _ = queue.try_send(bytes);
        }
    }
}
