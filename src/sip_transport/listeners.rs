//! The sockets others can reach us at, and which local address a peer sees us under.
//! Knows addresses. Knows nothing of SIP but its transports.

use super::tls::Tls;
use crate::rtp_socket::local_address_towards;
use rustls::ServerConfig;
use sip::{Flow, Transport};
use std::{
    collections::HashMap,
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    task::{Context, Poll},
};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// What the kernel holds for the task: some hundreds of INVITEs, a burst at one moment.
const UDP_BUFFER: usize = 1024 * 1024;

/// Local addresses remembered for peers, where a socket listens on all addresses.
const ROUTES: usize = 4_096;

/// One address we listen at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listening {
    /// Its transport.
    pub transport: Transport,
    /// As bound: with its port, possibly with an unspecified address.
    pub address: SocketAddr,
}

impl std::fmt::Display for Listening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.transport.param(), self.address)
    }
}

/// Bound sockets.
pub struct SipSockets {
    udp: Vec<UdpSocket>,
    streams: Vec<(Transport, TcpListener)>,
    pub(super) tls: Arc<Tls>,
    listening: Vec<Listening>,
    routes: HashMap<IpAddr, IpAddr>,
    /// Whose turn it is, so that a flood on one socket does not silence another.
    turn: usize,
}

/// Which socket has something.
pub(super) enum Readable {
    /// The datagram socket with this number.
    Udp(usize),
    /// A stranger has connected.
    Stream(Transport, io::Result<(TcpStream, SocketAddr)>),
}

/// A stream before its handshakes.
pub(super) struct Stream {
    pub(super) stream: TcpStream,
    /// What to shake hands with, if that is to be done.
    pub(super) tls: Option<Arc<ServerConfig>>,
}

impl SipSockets {
    /// Binds all of them; port 0 lets the kernel choose. Needs a tokio runtime.
    ///
    /// # Errors
    /// What the kernel says, with the address it is about. TLS without a certificate cannot be awaited.
    pub fn bind(addresses: &[(Transport, SocketAddr)], tls: Arc<Tls>) -> io::Result<Self> {
        let mut sockets = Self {
            udp: Vec::new(),
            streams: Vec::new(),
            tls,
            listening: Vec::new(),
            routes: HashMap::new(),
            turn: 0,
        };
        for (transport, address) in addresses {
            let bound = match transport {
                Transport::Udp => bind_udp(*address).and_then(|socket| {
                    let bound = socket.local_addr()?;
                    sockets.udp.push(socket);
                    Ok(bound)
                }),
                Transport::Tls | Transport::Wss if !sockets.tls.can_accept() => {
                    Err(io::Error::new(io::ErrorKind::InvalidInput, "there is no certificate"))
                }
                Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => bind_tcp(*address)
                    .and_then(|socket| {
                        let bound = socket.local_addr()?;
                        sockets.streams.push((*transport, socket));
                        Ok(bound)
                    }),
            };
            let listening = Listening { transport: *transport, address: *address };
            let address =
                bound.map_err(|error| io::Error::new(error.kind(), format!("{listening}: {error}")))?;
            sockets.listening.push(Listening { address, ..listening });
        }
        Ok(sockets)
    }

    /// Where they listen, in the order they were asked for.
    pub fn listening(&self) -> &[Listening] {
        &self.listening
    }

    /// Waits until one can be read. Nothing is lost when this is dropped.
    pub(super) async fn readable(&mut self) -> Readable {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Readable> {
        let count = self.udp.len() + self.streams.len();
        for _ in 0..count {
            self.turn = (self.turn + 1) % count;
            let ready = match self.udp.get(self.turn) {
                Some(socket) => socket.poll_recv_ready(context).map(|_| Readable::Udp(self.turn)),
                None => {
                    let (transport, listener) = &self.streams[self.turn - self.udp.len()];
                    listener.poll_accept(context).map(|accepted| Readable::Stream(*transport, accepted))
                }
            };
            if ready.is_ready() {
                return ready;
            }
        }
        Poll::Pending
    }

    /// Reads one datagram; `None` when there is none.
    pub(super) fn receive(&mut self, number: usize, buffer: &mut [u8]) -> Option<(Flow, usize)> {
        loop {
            match self.udp[number].try_recv_from(buffer) {
                Ok((length, remote)) => {
                    let bound = self.udp[number].local_addr().ok()?;
                    let local = self.seen_as(bound, remote);
                    return Some((Flow { transport: Transport::Udp, local, remote, connection: 0 }, length));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(_) => {} // An earlier datagram of ours was refused by its host; the kernel says it once.
            }
        }
    }

    /// Sends a datagram without waiting.
    pub(super) fn send(&self, flow: &Flow, bytes: &[u8]) -> io::Result<()> {
        let bound = |socket: &&UdpSocket| socket.local_addr().is_ok_and(|bound| reaches(bound, flow.local));
        let socket = self.udp.iter().find(bound).ok_or(io::ErrorKind::AddrNotAvailable)?;
        socket.try_send_to(bytes, flow.remote).map(drop)
    }

    /// The address under which `remote` sees a socket: the routing table's word where it listens on all of them.
    fn seen_as(&mut self, bound: SocketAddr, remote: SocketAddr) -> SocketAddr {
        if !bound.ip().is_unspecified() {
            return bound;
        }
        if self.routes.len() >= ROUTES {
            self.routes.clear(); // Strangers' addresses; ours are found again in a few microseconds each.
        }
        let route = self.routes.entry(remote.ip());
        let ip = *route.or_insert_with(|| local_address_towards(remote.ip()).unwrap_or(bound.ip()));
        SocketAddr::new(ip, bound.port())
    }
}

/// The flow to `remote` whose local address is where we listen for that transport, so that its peer can reach us there.
/// A stream needs no listener: then the address is any of ours, with the transport's usual port.
pub(super) fn flow(listening: &[Listening], transport: Transport, remote: SocketAddr) -> Option<Flow> {
    let family = |listening: &&Listening| listening.address.is_ipv4() == remote.is_ipv4();
    let mut fitting = listening.iter().filter(family).filter(|listening| listening.transport == transport);
    let mut local = match fitting.next() {
        Some(listening) => listening.address,
        None if transport.is_reliable() => {
            let any = listening.iter().find(family).map(|listening| listening.address.ip());
            let routed =
                any.filter(|ip| !ip.is_unspecified()).or_else(|| local_address_towards(remote.ip()).ok());
            SocketAddr::new(routed?, transport.default_port())
        }
        None => return None,
    };
    if local.ip().is_unspecified() {
        local.set_ip(local_address_towards(remote.ip()).ok()?);
    }
    Some(Flow { transport, local, remote, connection: 0 })
}

fn reaches(bound: SocketAddr, local: SocketAddr) -> bool {
    let any = bound.ip().is_unspecified() && bound.is_ipv4() == local.is_ipv4();
    bound.port() == local.port() && (any || bound.ip() == local.ip())
}

fn bind_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let kind = socket2::Type::DGRAM.nonblocking();
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), kind, None)?;
    socket.set_recv_buffer_size(UDP_BUFFER)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?; // One family each: a v4 peer is told apart by its socket.
    }
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let kind = socket2::Type::STREAM.nonblocking();
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), kind, None)?;
    socket.set_reuse_address(true)?; // Connections of the process before us may still be closing.
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(256)?;
    TcpListener::from_std(socket.into())
}
