//! Calls that are set up and hung up at a steady rate, whether or not the earlier ones have been answered.
//! Knows when each message is due. Repeats nothing: on loopback what is lost was too much for somebody.

use crate::sip_text::Wording;
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
/// Where callers that are hung up at once want their audio.
const DISCARD: u16 = 9;
/// Room for answers while this thread is not running.
const RECEIVE_BUFFER: usize = 8 << 20;

/// What to do.
pub(crate) struct Load {
    pub(crate) server: SocketAddr,
    /// Calls a second.
    pub(crate) rate: u32,
    pub(crate) time: Duration,
    /// Whether calls end as soon as they are up.
    pub(crate) hang_up: bool,
}

/// How it went.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Calls begun.
    pub(crate) offered: usize,
    /// Calls that came to their end, or are up where none ends.
    pub(crate) set_up: usize,
    /// Calls that were refused, by status.
    pub(crate) refused: BTreeMap<u16, usize>,
    /// From INVITE to the refusal.
    pub(crate) refused_after: Vec<Duration>,
    /// From INVITE to 100.
    pub(crate) trying: Vec<Duration>,
    /// From INVITE to 200.
    pub(crate) answered: Vec<Duration>,
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
    wording: Wording,
    calls: Vec<Call>,
    outcome: Outcome,
}

/// Places the calls and waits for their ends.
pub(crate) fn run(load: &Load) -> io::Result<Outcome> {
    let socket = UdpSocket::bind((load.server.ip(), 0))?;
    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBuf, &RECEIVE_BUFFER)?;
    socket.connect(load.server)?;
    socket.set_nonblocking(true)?;
    let wording = Wording::new(socket.local_addr()?, load.server);
    let mut callers = Callers { load, socket, wording, calls: Vec::new(), outcome: Outcome::default() };
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
            let done = self.outcome.set_up + self.outcome.refused_after.len() == total;
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
        let Some(number) = self.wording.number_of(&message, self.calls.len()) else { return Ok(()) };
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
            // A refusal that nobody acknowledges comes again: it is one all the same.
            (false, 300..) if !call.over => {
                call.over = true;
                self.outcome.refused_after.push(after);
                *self.outcome.refused.entry(status).or_default() += 1;
            }
            _ => {}
        }
        Ok(())
    }

    fn invite(&mut self) -> io::Result<()> {
        let text = self.wording.invite(self.calls.len(), DISCARD);
        self.calls.push(Call { begun: Instant::now(), tried: false, answered: false, over: false });
        self.send(&text)
    }

    fn acknowledge(&self, number: usize, answer: &Message) -> io::Result<()> {
        self.send(&self.wording.ack(number, answer))?;
        if self.load.hang_up { self.send(&self.wording.bye(number, answer)) } else { Ok(()) }
    }
}
