//! Calls that are set up, stay up while their audio flows elsewhere, and are hung up together.
//! Knows SIP as text and where each side wants its audio.

use crate::sip_text::Wording;
use rustix::{
    event::{PollFd, PollFlags, poll},
    time::Timespec,
};
use sip::{
    message::{HeaderName, Message, Method, StartLine},
    parser::parse,
};
use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::mpsc::Sender,
    time::{Duration, Instant},
};

/// How long the last call may take to be answered, and to be over.
const PATIENCE: Duration = Duration::from_secs(10);
/// Room for answers while this thread is not running.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Calls that are up or were to be.
pub(super) struct Calls {
    socket: UdpSocket,
    wording: Wording,
    /// What each call was answered with, if it was.
    answers: Vec<Option<Message>>,
    refused: Vec<u16>,
    /// Calls that the server hung up.
    ended: usize,
    over: usize,
}

impl Calls {
    /// Sets up a call for each of these RTP ports, one each `spacing`, and says where its audio goes as soon as it is
    /// answered.
    pub(super) fn place(
        server: SocketAddr,
        ports: &[u16],
        spacing: Duration,
        answered: &Sender<(usize, SocketAddr)>,
        mut progress: impl FnMut(usize),
    ) -> io::Result<Self> {
        let socket = UdpSocket::bind((server.ip(), 0))?;
        nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBuf, &RECEIVE_BUFFER)?;
        socket.connect(server)?;
        socket.set_nonblocking(true)?;
        let wording = Wording::new(socket.local_addr()?, server);
        let answers = ports.iter().map(|_| None).collect();
        let mut calls = Self { socket, wording, answers, refused: Vec::new(), ended: 0, over: 0 };
        let begin = Instant::now();
        for (number, port) in ports.iter().enumerate() {
            let at = begin + spacing * number as u32;
            while Instant::now() < at {
                calls.receive(at, answered)?;
            }
            calls.socket.send(calls.wording.invite(number, *port).as_bytes())?;
            progress(number + 1);
        }
        let patience = Instant::now() + PATIENCE;
        while calls.up() + calls.refused.len() < ports.len() && Instant::now() < patience {
            calls.receive(patience, answered)?;
        }
        Ok(calls)
    }

    /// Calls that were answered.
    pub(super) fn up(&self) -> usize {
        self.answers.iter().flatten().count()
    }

    /// Hangs all of them up. Returns how many were not answered, or did not last.
    pub(super) fn hang_up(mut self) -> io::Result<usize> {
        let (nobody, _) = std::sync::mpsc::channel();
        for number in 0..self.answers.len() {
            if let Some(answer) = &self.answers[number] {
                self.socket.send(self.wording.bye(number, answer).as_bytes())?;
            }
            if number % 50 == 49 {
                self.receive(Instant::now(), &nobody)?;
            }
        }
        let (up, patience) = (self.up(), Instant::now() + PATIENCE);
        while self.over < up && Instant::now() < patience {
            self.receive(patience, &nobody)?;
        }
        Ok(self.answers.len() - up + self.ended)
    }

    /// Takes what comes until then, or until nothing has come for a moment.
    fn receive(&mut self, until: Instant, answered: &Sender<(usize, SocketAddr)>) -> io::Result<()> {
        let wait = until.saturating_duration_since(Instant::now()).min(Duration::from_millis(20));
        let timeout = Timespec { tv_sec: 0, tv_nsec: wait.as_nanos() as _ };
        match poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut buffer = [0; 4_096];
        loop {
            match self.socket.recv(&mut buffer) {
                Ok(length) => self.take(&buffer[..length], answered)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn take(&mut self, bytes: &[u8], answered: &Sender<(usize, SocketAddr)>) -> io::Result<()> {
        let Ok(message) = parse(bytes) else { return Ok(()) };
        let status = match &message.start {
            StartLine::Response { status, .. } => *status,
            StartLine::Request { method, .. } => {
                self.ended += usize::from(*method == Method::Bye);
                return self.agree(&message);
            }
        };
        let Some(number) = self.wording.number_of(&message, self.answers.len()) else { return Ok(()) };
        if message.value(&HeaderName::CSeq).is_some_and(|cseq| cseq.ends_with("BYE")) {
            self.over += 1;
            return Ok(());
        }
        match status {
            200 => {
                self.socket.send(self.wording.ack(number, &message).as_bytes())?;
                if let Some(media) = media_address(&message) {
                    let _they_may_have_stopped = answered.send((number, media));
                }
                self.answers[number] = Some(message);
            }
            300.. => self.refused.push(status),
            _ => {}
        }
        Ok(())
    }

    /// Says 200 to a request of the server.
    fn agree(&self, request: &Message) -> io::Result<()> {
        let mut text = String::from("SIP/2.0 200 OK\r\n");
        let names = [
            (HeaderName::Via, "Via"),
            (HeaderName::From, "From"),
            (HeaderName::To, "To"),
            (HeaderName::CallId, "Call-ID"),
            (HeaderName::CSeq, "CSeq"),
        ];
        for (name, written) in names {
            for header in request.all(&name) {
                text = text + written + ": " + &header.value + "\r\n";
            }
        }
        text += "Content-Length: 0\r\n\r\n";
        self.socket.send(text.as_bytes()).map(|_| ())
    }
}

/// Where the answer wants audio. `None` where it is not understood: that call stays silent and is seen to.
fn media_address(answer: &Message) -> Option<SocketAddr> {
    let body = answer.body_text();
    let ip: IpAddr = body.lines().find_map(|line| line.strip_prefix("c=IN IP4 "))?.trim().parse().ok()?;
    let port = body.lines().find_map(|line| line.strip_prefix("m=audio "))?.split(' ').next()?;
    Some(SocketAddr::new(ip, port.parse().ok()?))
}
