//! Calls that are set up and hung up at a steady rate, whether or not the earlier ones have been answered.
//! Knows five messages as text. Repeats nothing: on loopback what is lost was too much for somebody.

use rustix::{
    event::{PollFd, PollFlags, poll},
    time::Timespec,
};
use sip::{
    message::{HeaderName, Message, StartLine},
    parser::parse,
};
use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

/// How long the last calls may take after the last has begun.
const PATIENCE: Duration = Duration::from_secs(5);
/// Room for answers while this thread is not running.
const RECEIVE_BUFFER: usize = 8 << 20;

/// What to do.
pub(super) struct Load {
    pub(super) server: SocketAddr,
    /// Calls a second.
    pub(super) rate: u32,
    pub(super) time: Duration,
    /// Whether calls end as soon as they are up.
    pub(super) hang_up: bool,
}

/// How it went.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Calls begun.
    pub(super) offered: usize,
    /// Calls that came to their end, or are up where none ends.
    pub(super) set_up: usize,
    /// Calls that were refused, by status.
    pub(super) refused: BTreeMap<u16, usize>,
    /// From INVITE to 100.
    pub(super) trying: Vec<Duration>,
    /// From INVITE to 200.
    pub(super) answered: Vec<Duration>,
}

#[derive(Clone, Copy)]
struct Call {
    begun: Instant,
    tried: bool,
    answered: bool,
    over: bool,
}

struct Callers<'a> {
    load: &'a Load,
    socket: UdpSocket,
    local: SocketAddr,
    /// Tells the calls of one load from those of another.
    run: u32,
    calls: Vec<Call>,
    outcome: Outcome,
}

/// Places the calls and waits for their ends.
pub(super) fn run(load: &Load) -> io::Result<Outcome> {
    let socket = UdpSocket::bind((load.server.ip(), 0))?;
    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBuf, &RECEIVE_BUFFER)?;
    socket.connect(load.server)?;
    socket.set_nonblocking(true)?;
    let local = socket.local_addr()?;
    let run = u32::from(local.port()) ^ std::process::id().rotate_left(16);
    let mut callers = Callers { load, socket, local, run, calls: Vec::new(), outcome: Outcome::default() };
    callers.call()?;
    Ok(callers.outcome)
}

impl Callers<'_> {
    fn call(&mut self) -> io::Result<()> {
        let total = (f64::from(self.load.rate) * self.load.time.as_secs_f64()) as usize;
        let spacing = Duration::from_secs(1) / self.load.rate;
        let begin = Instant::now();
        let mut over = begin + self.load.time + PATIENCE;
        loop {
            while self.calls.len() < total && Instant::now() >= begin + spacing * self.calls.len() as u32 {
                self.invite()?;
                over = Instant::now() + PATIENCE;
            }
            self.receive()?;
            let now = Instant::now();
            let done = self.outcome.set_up == total;
            if done || now >= over {
                self.outcome.offered = total;
                return Ok(());
            }
            let next =
                if self.calls.len() < total { begin + spacing * self.calls.len() as u32 } else { over };
            self.wait(next.saturating_duration_since(now))?;
        }
    }

    fn wait(&self, time: Duration) -> io::Result<()> {
        let timeout = Timespec { tv_sec: 0, tv_nsec: time.as_nanos().min(900_000_000) as _ };
        match poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn send(&self, text: &str) -> io::Result<()> {
        match self.socket.send(text.as_bytes()) {
            // What the kernel has no room for is lost, as it would be on a wire.
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn receive(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4_096];
        loop {
            match self.socket.recv(&mut buffer) {
                Ok(length) => self.take(&buffer[..length])?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        let now = Instant::now();
        let Ok(message) = parse(bytes) else { return Ok(()) };
        let StartLine::Response { status, .. } = message.start else { return Ok(()) };
        let Some(number) = self.number_of(&message) else { return Ok(()) };
        let hangs_up = message.value(&HeaderName::CSeq).is_some_and(|cseq| cseq.ends_with("BYE"));
        let call = &mut self.calls[number];
        let after = now - call.begun;
        match (hangs_up, status) {
            (false, 100) if !call.tried => {
                call.tried = true;
                self.outcome.trying.push(after);
            }
            (false, 200) if !call.answered => {
                call.answered = true;
                self.outcome.answered.push(after);
                self.outcome.set_up += usize::from(!self.load.hang_up);
                self.acknowledge(number, &message)?;
            }
            (true, 200) if !call.over => {
                call.over = true;
                self.outcome.set_up += 1;
            }
            (false, 300..) => *self.outcome.refused.entry(status).or_default() += 1,
            _ => {}
        }
        Ok(())
    }

    /// Which call a response belongs to; `None` for one of an earlier load.
    fn number_of(&self, message: &Message) -> Option<usize> {
        let id = message.value(&HeaderName::CallId)?;
        let (number, run) = id.split_once('-')?;
        let number: usize = number.parse().ok()?;
        (run == self.run.to_string() && number < self.calls.len()).then_some(number)
    }

    fn head(&self, method: &str, uri: &str, number: usize, to: &str) -> String {
        let Self { local, run, .. } = self;
        let cseq = if method == "BYE" { 2 } else { 1 };
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{method}{number}x{run};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:load@{local}>;tag={number}\r\nTo: {to}\r\nCall-ID: {number}-{run}\r\n\
             CSeq: {cseq} {method}\r\nContact: <sip:load@{local}>\r\n"
        )
    }

    fn invite(&mut self) -> io::Result<()> {
        let (number, server, ip) = (self.calls.len(), self.load.server, self.local.ip());
        let uri = format!("sip:bench@{server}");
        let offer = format!(
            "v=0\r\no=- {number} 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 9 RTP/AVP 0 8 101\r\n\
             a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n\
             a=ptime:20\r\na=sendrecv\r\n"
        );
        let head = self.head("INVITE", &uri, number, &format!("<{uri}>"));
        let text = format!(
            "{head}Allow: INVITE, ACK, BYE, CANCEL, OPTIONS\r\nContent-Type: application/sdp\r\n\
             Content-Length: {}\r\n\r\n{offer}",
            offer.len()
        );
        self.calls.push(Call { begun: Instant::now(), tried: false, answered: false, over: false });
        self.send(&text)
    }

    fn acknowledge(&self, number: usize, answer: &Message) -> io::Result<()> {
        let to = answer.value(&HeaderName::To).unwrap_or_default();
        let contact = answer.value(&HeaderName::Contact).and_then(sip::headers::NameAddr::parse);
        let target = contact.map_or_else(|| format!("sip:bench@{}", self.load.server), |c| c.uri.to_owned());
        self.send(&(self.head("ACK", &target, number, to) + "Content-Length: 0\r\n\r\n"))?;
        if self.load.hang_up {
            self.send(&(self.head("BYE", &target, number, to) + "Content-Length: 0\r\n\r\n"))?;
        }
        Ok(())
    }
}
