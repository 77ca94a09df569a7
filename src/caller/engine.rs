//! Runs phones on one thread: their sockets, their timers, their outputs.
//! Knows sockets and time. What a phone does with them is the phone's business.

use super::phone::{Dial, Happening, Input, Output, Phone};
use call::Stamped;
use rustix::event::epoll;
use sip::{Flow, StreamFramer, Transport};
use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    os::fd::AsFd as _,
    sync::mpsc,
    time::{Duration, Instant},
};

/// The longest sleep: how soon a stop or an event of the server is noticed.
const NAP: Duration = Duration::from_millis(20);

/// A phone with its sockets.
pub struct Line {
    /// The machine.
    pub phone: Phone,
    sip: SipSocket,
    rtp: UdpSocket,
    wake: Instant,
    dial_at: Instant,
    done: bool,
}

enum SipSocket {
    Udp(UdpSocket),
    Tcp { stream: TcpStream, framer: StreamFramer },
}

/// What the outside tells a running engine.
pub enum News {
    /// An event of the server's trace, for the phone of this number.
    Server(usize, Box<Stamped>),
    /// Hang up everything.
    Stop,
}

/// A call that has sockets but no phone yet: the addresses that its offer and its requests must name.
pub struct Sockets {
    sip: SipSocket,
    rtp: UdpSocket,
    /// The flow for SIP.
    pub flow: Flow,
    /// Our RTP port.
    pub rtp_port: u16,
}

/// Opens the sockets towards a server.
///
/// # Errors
/// What the operating system says, when the server cannot be reached at all.
pub fn open(server: SocketAddr, transport: Transport) -> io::Result<Sockets> {
    let local = local_address(server)?;
    let rtp = UdpSocket::bind((local, 0))?;
    rtp.set_nonblocking(true)?;
    let rtp_port = rtp.local_addr()?.port();
    let (sip, address) = match transport {
        Transport::Udp => {
            let socket = UdpSocket::bind((local, 0))?;
            socket.connect(server)?;
            socket.set_nonblocking(true)?;
            let address = socket.local_addr()?;
            (SipSocket::Udp(socket), address)
        }
        Transport::Tcp => {
            let stream = TcpStream::connect_timeout(&server, Duration::from_secs(5))?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let address = stream.local_addr()?;
            (SipSocket::Tcp { stream, framer: StreamFramer::default() }, address)
        }
    };
    let connection = u64::from(transport == Transport::Tcp);
    Ok(Sockets { sip, rtp, flow: Flow { transport, local: address, remote: server, connection }, rtp_port })
}

/// The address of ours that the system would use to reach the server.
fn local_address(server: SocketAddr) -> io::Result<IpAddr> {
    let any: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let probe = UdpSocket::bind(any)?;
    probe.connect(server)?;
    Ok(probe.local_addr()?.ip())
}

impl Sockets {
    /// A line that dials at `dial_at`.
    pub fn line(self, dial: Dial, dial_at: Instant) -> Line {
        Line { phone: Phone::new(dial), sip: self.sip, rtp: self.rtp, wake: dial_at, dial_at, done: false }
    }
}

/// Runs the lines until every call is over or `deadline` has passed, and hands what happens to `tell`.
///
/// # Errors
/// What the operating system says when it will not wait for sockets.
pub fn run(
    lines: &mut [Line],
    news: &mpsc::Receiver<News>,
    deadline: Instant,
    mut tell: impl FnMut(usize, &Phone, Happening),
) -> io::Result<()> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (number, line) in lines.iter().enumerate() {
        let data = epoll::EventData::new_u64(number as u64);
        let sip = match &line.sip {
            SipSocket::Udp(socket) => socket.as_fd(),
            SipSocket::Tcp { stream, .. } => stream.as_fd(),
        };
        epoll::add(&poll, sip, data, epoll::EventFlags::IN)?;
        epoll::add(&poll, &line.rtp, data, epoll::EventFlags::IN)?;
    }
    let mut events: Vec<epoll::Event> = Vec::with_capacity(256);
    while lines.iter().any(|line| !line.done) {
        let now = Instant::now();
        if now >= deadline {
            return Ok(());
        }
        for news in news.try_iter() {
            take_news(lines, &news, &mut tell);
        }
        for (number, line) in lines.iter_mut().enumerate() {
            if !line.done && line.wake <= now {
                line.step(number, Input::Timeout, &mut tell);
            }
        }
        let next = lines.iter().filter(|line| !line.done).map(|line| line.wake).min().unwrap_or(now);
        let wait = next.saturating_duration_since(Instant::now()).min(NAP);
        wait_for(&poll, &mut events, wait)?;
        for event in &events {
            let number = event.data.u64() as usize;
            if let Some(line) = lines.get_mut(number) {
                line.receive(number, &mut tell);
            }
        }
    }
    Ok(())
}

fn wait_for(poll: &impl std::os::fd::AsFd, events: &mut Vec<epoll::Event>, wait: Duration) -> io::Result<()> {
    events.clear();
    let timeout =
        rustix::time::Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) };
    match epoll::wait(poll, rustix::buffer::spare_capacity(events), Some(&timeout)) {
        Ok(_) => Ok(()),
        Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn take_news(lines: &mut [Line], news: &News, tell: &mut impl FnMut(usize, &Phone, Happening)) {
    match news {
        News::Server(number, stamped) => {
            if let Some(line) = lines.get_mut(*number) {
                line.step(*number, Input::Server(stamped), tell);
            }
        }
        News::Stop => {
            for (number, line) in lines.iter_mut().enumerate() {
                line.step(number, Input::Stop, tell);
            }
        }
    }
}

impl Line {
    fn step(&mut self, number: usize, input: Input<'_>, tell: &mut impl FnMut(usize, &Phone, Happening)) {
        let now = Instant::now();
        if self.done || now < self.dial_at {
            return;
        }
        let mut out = Vec::new();
        match self.phone.step(now, input, &mut out) {
            Some(wake) => self.wake = wake,
            None => self.done = true,
        }
        for output in out {
            match output {
                // A datagram that the system will not take is lost, as on any network; the timers repeat it.
                Output::Rtp(to, datagram) => drop(self.rtp.send_to(&datagram, to)),
                Output::Sip(bytes) => self.send(&bytes),
                Output::Tell(happening) => tell(number, &self.phone, happening),
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        match &mut self.sip {
            SipSocket::Udp(socket) => drop(socket.send(bytes)),
            SipSocket::Tcp { stream, .. } => drop(stream.write_all(bytes)),
        }
    }

    fn receive(&mut self, number: usize, tell: &mut impl FnMut(usize, &Phone, Happening)) {
        let mut buffer = [0_u8; 65_536];
        while let Ok((length, _)) = self.rtp.recv_from(&mut buffer) {
            self.step(number, Input::Rtp(&buffer[..length]), tell);
        }
        loop {
            let read = match &mut self.sip {
                SipSocket::Udp(socket) => {
                    socket.recv(&mut buffer).map(|length| vec![buffer[..length].to_vec()])
                }
                SipSocket::Tcp { stream, framer } => read_stream(stream, framer, &mut buffer),
            };
            match read {
                Ok(messages) => {
                    for message in messages {
                        self.step(number, Input::Sip(&message), tell);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Refused by ICMP: nobody listens there. The transaction's timer would only say so much later.
                Err(_) => return self.step(number, Input::FlowClosed, tell),
            }
        }
    }
}

fn read_stream(
    stream: &mut TcpStream,
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
