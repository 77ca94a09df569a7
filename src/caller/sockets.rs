//! The sockets of one call: SIP over any transport, and a pair of ports for RTP and RTCP.
//! Knows the operating system. What is sent and what comes is not its business.

use rustls::pki_types::ServerName;
use sip::{Flow, StreamFramer, Transport};
use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
    time::Duration,
};

/// How long a server may take to accept a connection, and for each step of its handshake.
const CONNECT: Duration = Duration::from_secs(5);

/// How often a pair of free neighbours is looked for.
const PAIRS: usize = 100;

/// The way to the server.
pub struct SipSocket(Kind);

enum Kind {
    Udp(UdpSocket),
    Stream { stream: Stream, framer: StreamFramer },
}

enum Stream {
    Tcp(TcpStream),
    Tls(Box<rustls::StreamOwned<rustls::ClientConnection, TcpStream>>),
}

impl Stream {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => &stream.sock,
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }

    /// What is sent is small: the kernel takes it at once, or the call is lost anyway.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes),
            Self::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }
}

/// Whom a call over TLS trusts.
#[derive(Clone, Debug)]
pub struct Trust {
    /// What the peer's certificate is checked with.
    pub config: Arc<rustls::ClientConfig>,
    /// The name that it must bear: the domain that was dialled.
    pub name: ServerName<'static>,
}

/// A call that has sockets but no phone yet: the addresses that its offer and its requests must name.
pub struct Sockets {
    /// For SIP.
    pub sip: SipSocket,
    /// For RTP.
    pub rtp: UdpSocket,
    /// For RTCP: the port after that of RTP.
    pub rtcp: UdpSocket,
    /// The flow for SIP.
    pub flow: Flow,
    /// Our RTP port.
    pub rtp_port: u16,
}

impl SipSocket {
    /// What can be read now: a datagram, or whole messages of a stream. Like every read it may say `WouldBlock`.
    ///
    /// # Errors
    /// What the operating system says; a stream that does not hold SIP is invalid data.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<Vec<Vec<u8>>> {
        match &mut self.0 {
            Kind::Udp(socket) => socket.recv(buffer).map(|length| vec![buffer[..length].to_vec()]),
            Kind::Stream { stream, framer } => read_stream(stream, framer, buffer),
        }
    }

    /// Sends a message. What the system will not take is lost, as on any network.
    pub fn send(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Kind::Udp(socket) => drop(socket.send(bytes)),
            Kind::Stream { stream, .. } => drop(stream.write(bytes)),
        }
    }
}

impl AsFd for SipSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Kind::Udp(socket) => socket.as_fd(),
            Kind::Stream { stream, .. } => stream.socket().as_fd(),
        }
    }
}

/// Opens the sockets towards a server.
///
/// # Errors
/// What the operating system says, when the server cannot be reached at all.
pub fn open(server: SocketAddr, transport: Transport) -> io::Result<Sockets> {
    open_with(server, transport, None)
}

/// As [`open`]; TLS needs to know whom to trust.
///
/// # Errors
/// What the operating system says, or what is wrong with the peer's certificate.
pub fn open_with(server: SocketAddr, transport: Transport, trust: Option<Trust>) -> io::Result<Sockets> {
    let local = local_address(server)?;
    let (rtp, rtcp) = pair(local)?;
    let rtp_port = rtp.local_addr()?.port();
    let (sip, address) = match transport {
        Transport::Udp => {
            let socket = UdpSocket::bind((local, 0))?;
            socket.connect(server)?;
            socket.set_nonblocking(true)?;
            let address = socket.local_addr()?;
            (Kind::Udp(socket), address)
        }
        Transport::Tcp => {
            let stream = connect(server)?;
            stream.set_nonblocking(true)?;
            let address = stream.local_addr()?;
            (Kind::Stream { stream: Stream::Tcp(stream), framer: StreamFramer::default() }, address)
        }
        Transport::Tls => {
            let trust = trust.ok_or(io::ErrorKind::InvalidInput)?;
            let stream = shake_hands(connect(server)?, trust)?;
            let address = stream.socket().local_addr()?;
            (Kind::Stream { stream, framer: StreamFramer::default() }, address)
        }
        Transport::Ws | Transport::Wss => return Err(io::ErrorKind::Unsupported.into()),
    };
    let connection = u64::from(transport.is_reliable());
    let flow = Flow { transport, local: address, remote: server, connection };
    Ok(Sockets { sip: SipSocket(sip), rtp, rtcp, flow, rtp_port })
}

/// An even port and the one after it (RFC 3550 section 11).
fn pair(local: IpAddr) -> io::Result<(UdpSocket, UdpSocket)> {
    // Odd ones are kept until there is a pair, so that the system gives out others.
    let mut kept = Vec::new();
    for _ in 0..PAIRS {
        let rtp = UdpSocket::bind((local, 0))?;
        let port = rtp.local_addr()?.port();
        let next = port.checked_add(1).filter(|_| port.is_multiple_of(2));
        if let Some(Ok(rtcp)) = next.map(|next| UdpSocket::bind((local, next))) {
            rtp.set_nonblocking(true)?;
            rtcp.set_nonblocking(true)?;
            return Ok((rtp, rtcp));
        }
        kept.push(rtp);
    }
    Err(io::ErrorKind::AddrInUse.into())
}

fn connect(server: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&server, CONNECT)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The handshake waits; everything after it does not.
fn shake_hands(mut socket: TcpStream, trust: Trust) -> io::Result<Stream> {
    let mut tls = rustls::ClientConnection::new(trust.config, trust.name).map_err(io::Error::other)?;
    socket.set_read_timeout(Some(CONNECT))?;
    while tls.is_handshaking() {
        tls.complete_io(&mut socket)?;
    }
    socket.set_nonblocking(true)?;
    Ok(Stream::Tls(Box::new(rustls::StreamOwned::new(tls, socket))))
}

/// The address of ours that the system would use to reach the server.
fn local_address(server: SocketAddr) -> io::Result<IpAddr> {
    let any: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let probe = UdpSocket::bind(any)?;
    probe.connect(server)?;
    Ok(probe.local_addr()?.ip())
}

fn read_stream(
    stream: &mut Stream,
    framer: &mut StreamFramer,
    buffer: &mut [u8],
) -> io::Result<Vec<Vec<u8>>> {
    let length = stream.read(buffer)?;
    if length == 0 {
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    framer.push(&buffer[..length]);
    let mut messages = Vec::new();
    while let Some(message) = framer.next().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))? {
        messages.push(message);
    }
    Ok(messages)
}
