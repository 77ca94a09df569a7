//! Runs phones on one thread: their sockets, their timers, their outputs.
//! Knows sockets and time. What a phone does with them is the phone's business.

pub use super::sockets::{Sockets, Trust, open, open_with};

use super::phone::{Dial, Happening, Input, Output, Phone};
use call::Stamped;
use rustix::event::epoll;
use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    io,
    net::UdpSocket,
    os::fd::OwnedFd,
    sync::mpsc,
    time::{Duration, Instant},
};

/// The longest sleep: how soon a stop or an event of the server is noticed.
const NAP: Duration = Duration::from_millis(20);

/// With more lines than this the engine wakes every [`TICK`] for all of them together; with fewer, for each event.
const HANDFUL: usize = 16;

/// What sharing a wake-up costs a packet at most.
const TICK: Duration = Duration::from_millis(1);

/// How long the goodbyes of calls that are given up may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// The largest datagram.
const DATAGRAM: usize = 65_536;

/// A phone with its sockets.
pub struct Line {
    /// The machine.
    pub phone: Phone,
    sockets: Sockets,
    wake: Instant,
    dial_at: Instant,
    done: bool,
}

/// What the outside tells a running engine.
pub enum News {
    /// An event of the server's trace, for the phone of this number.
    Server(usize, Box<Stamped>),
    /// Hang up everything.
    Stop,
}

impl Sockets {
    /// A line that dials at `dial_at`.
    pub fn line(self, dial: Dial, dial_at: Instant) -> Line {
        Line { phone: Phone::new(dial), sockets: self, wake: dial_at, dial_at, done: false }
    }
}

/// Runs the lines until every call is over, and hands what happens to `tell`. At `deadline` it hangs up.
///
/// # Errors
/// What the operating system says when it will not wait for sockets.
pub fn run(
    lines: &mut [Line],
    news: &mpsc::Receiver<News>,
    deadline: Instant,
    tell: impl FnMut(usize, &Phone, Happening),
) -> io::Result<()> {
    run_with(lines, news, deadline, |_, socket, buffer| socket.recv(buffer), tell)
}

/// As [`run`], with another way to read a datagram from the RTP socket of a line: one that also asks the kernel when it
/// came, for example. It must not wait.
///
/// # Errors
/// What the operating system says when it will not wait for sockets.
pub fn run_with(
    lines: &mut [Line],
    news: &mpsc::Receiver<News>,
    mut deadline: Instant,
    mut receive: impl FnMut(usize, &UdpSocket, &mut [u8]) -> io::Result<usize>,
    mut tell: impl FnMut(usize, &Phone, Happening),
) -> io::Result<()> {
    let poll = register(lines)?;
    let mut agenda = Agenda::new(lines);
    let mut given_up = false;
    let mut events: Vec<epoll::Event> = Vec::with_capacity(256);
    let mut buffer = vec![0_u8; DATAGRAM];
    while agenda.open > 0 {
        let now = Instant::now();
        if now >= deadline && std::mem::replace(&mut given_up, true) {
            return Ok(());
        }
        if given_up && deadline <= now {
            // Who is left without a goodbye pays for a call with nobody in it.
            deadline = now + FAREWELL;
            take_news(lines, &News::Stop, &mut agenda, &mut tell);
        }
        for news in news.try_iter() {
            take_news(lines, &news, &mut agenda, &mut tell);
        }
        while let Some(number) = agenda.due(lines, now) {
            agenda.step(lines, number, Input::Timeout, &mut tell);
        }
        let wait = agenda.next().map_or(NAP, |next| next.saturating_duration_since(Instant::now())).min(NAP);
        if lines.len() > HANDFUL {
            std::thread::sleep(wait.min(TICK));
            wait_for(&poll, &mut events, Duration::ZERO)?;
        } else {
            wait_for(&poll, &mut events, wait)?;
        }
        for event in &events {
            let (number, port) = ((event.data.u64() >> 2) as usize, event.data.u64() & 3);
            match port {
                RTP => hear(lines, number, &mut buffer, &mut receive, &mut agenda, &mut tell),
                RTCP => read_rtcp(lines, number, &mut buffer, &mut agenda, &mut tell),
                _ => read_sip(lines, number, &mut buffer, &mut agenda, &mut tell),
            }
        }
    }
    Ok(())
}

/// Which socket of a line an event is about.
const SIP: u64 = 0;
const RTP: u64 = 1;
const RTCP: u64 = 2;

/// An epoll with every socket of every line; an event's data is the line's number, and which socket it is.
fn register(lines: &[Line]) -> io::Result<OwnedFd> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (number, line) in lines.iter().enumerate() {
        let data = |port: u64| epoll::EventData::new_u64((number as u64) << 2 | port);
        let Sockets { sip, rtp, rtcp, .. } = &line.sockets;
        epoll::add(&poll, sip, data(SIP), epoll::EventFlags::IN)?;
        epoll::add(&poll, rtp, data(RTP), epoll::EventFlags::IN)?;
        epoll::add(&poll, rtcp, data(RTCP), epoll::EventFlags::IN)?;
    }
    Ok(poll)
}

/// Which line wants to be woken when, the earliest first. Entries that a later step has overtaken are skipped.
struct Agenda {
    wakes: BinaryHeap<Reverse<(Instant, usize)>>,
    /// Lines that are not done.
    open: usize,
}

impl Agenda {
    fn new(lines: &[Line]) -> Self {
        let open = lines.iter().enumerate().filter(|(_, line)| !line.done);
        let wakes: BinaryHeap<_> = open.map(|(number, line)| Reverse((line.wake, number))).collect();
        Self { open: wakes.len(), wakes }
    }

    fn next(&self) -> Option<Instant> {
        self.wakes.peek().map(|Reverse((wake, _))| *wake)
    }

    /// Hangs up; a call that was to begin later never begins.
    fn stop(&mut self, lines: &mut [Line], number: usize, tell: &mut impl FnMut(usize, &Phone, Happening)) {
        let Some(line) = lines.get_mut(number).filter(|line| !line.done) else { return };
        if Instant::now() < line.dial_at {
            line.done = true;
            self.open -= 1;
            return;
        }
        self.step(lines, number, Input::Stop, tell);
    }

    /// A line whose time has come.
    fn due(&mut self, lines: &[Line], now: Instant) -> Option<usize> {
        while self.next().is_some_and(|wake| wake <= now) {
            let Reverse((wake, number)) = self.wakes.pop()?;
            if lines.get(number).is_some_and(|line| !line.done && line.wake == wake) {
                return Some(number);
            }
        }
        None
    }

    fn step(
        &mut self,
        lines: &mut [Line],
        number: usize,
        input: Input<'_>,
        tell: &mut impl FnMut(usize, &Phone, Happening),
    ) {
        let Some(line) = lines.get_mut(number).filter(|line| !line.done) else { return };
        let timeout = matches!(input, Input::Timeout);
        let before = line.wake;
        line.step(number, input, tell);
        if line.done {
            self.open -= 1;
        } else if timeout || line.wake != before {
            self.wakes.push(Reverse((line.wake, number)));
        }
    }
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

fn take_news(
    lines: &mut [Line],
    news: &News,
    agenda: &mut Agenda,
    tell: &mut impl FnMut(usize, &Phone, Happening),
) {
    match news {
        News::Server(number, stamped) => agenda.step(lines, *number, Input::Server(stamped), tell),
        News::Stop => {
            for number in 0..lines.len() {
                agenda.stop(lines, number, tell);
            }
        }
    }
}

/// One datagram of the RTP socket: the socket is reported again as long as there are more.
fn hear(
    lines: &mut [Line],
    number: usize,
    buffer: &mut [u8],
    receive: &mut impl FnMut(usize, &UdpSocket, &mut [u8]) -> io::Result<usize>,
    agenda: &mut Agenda,
    tell: &mut impl FnMut(usize, &Phone, Happening),
) {
    let Some(line) = lines.get(number) else { return };
    if let Ok(length) = receive(number, &line.sockets.rtp, buffer) {
        agenda.step(lines, number, Input::Rtp(Instant::now(), &buffer[..length]), tell);
    }
}

fn read_rtcp(
    lines: &mut [Line],
    number: usize,
    buffer: &mut [u8],
    agenda: &mut Agenda,
    tell: &mut impl FnMut(usize, &Phone, Happening),
) {
    let Some(line) = lines.get(number) else { return };
    if let Ok(length) = line.sockets.rtcp.recv(buffer) {
        agenda.step(lines, number, Input::Rtcp(Instant::now(), &buffer[..length]), tell);
    }
}

fn read_sip(
    lines: &mut [Line],
    number: usize,
    buffer: &mut [u8],
    agenda: &mut Agenda,
    tell: &mut impl FnMut(usize, &Phone, Happening),
) {
    while let Some(line) = lines.get_mut(number) {
        match line.sockets.sip.read(buffer) {
            Ok(messages) => {
                for message in messages {
                    agenda.step(lines, number, Input::Sip(&message), tell);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            // Refused by ICMP: nobody listens there. The transaction's timer would only say so much later.
            Err(_) => return agenda.step(lines, number, Input::FlowClosed, tell),
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
                Output::Rtp(to, datagram) => drop(self.sockets.rtp.send_to(&datagram, to)),
                Output::Rtcp(to, datagram) => drop(self.sockets.rtcp.send_to(&datagram, to)),
                Output::Sip(bytes) => self.sockets.sip.send(&bytes),
                Output::Tell(happening) => tell(number, &self.phone, happening),
            }
        }
    }
}
