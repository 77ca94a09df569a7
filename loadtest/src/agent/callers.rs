//! Many callers on one thread: who dials when, what comes for whom, and whose time has come.
//! Knows sockets and clocks. What a caller does is decided by its phone; what becomes of the outcomes, elsewhere.

use super::{
    arrivals::{ArrivalPlan, Arrivals},
    outcome::Ended,
    scenario::{Scenario, choose},
    seat::{Order, Port, Seat},
};
use crate::{fleet::NICENESS, wire};
use media::{SampleRate, tone::Chance};
use rustix::event::epoll;
use sip::{LocalMedia, Transport};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    io,
    net::{SocketAddr, UdpSocket},
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::Sender,
    },
    time::{Duration, Instant},
};
use tandem::caller::{
    phone::{Dial, Happening},
    sockets,
};

/// The longest sleep: how soon a stop is noticed.
const NAP: Duration = Duration::from_millis(20);
/// With more callers than this the thread wakes every [`TICK`] for all of them together.
const HANDFUL: usize = 16;
/// What sharing a wake-up costs a packet at most.
const TICK: Duration = Duration::from_millis(1);
/// How long the goodbyes of calls that are given up may take.
const FAREWELL: Duration = Duration::from_secs(3);
/// The largest datagram.
const DATAGRAM: usize = 65_536;
/// Packets of one port that are read before the next port's turn.
const AT_ONCE: usize = 8;

/// What all callers have in common.
pub(crate) struct Plan {
    pub(crate) uri: String,
    pub(crate) server: SocketAddr,
    pub(crate) transport: Transport,
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) speech: Voices,
    pub(crate) arrivals: ArrivalPlan,
    /// How long calls may go on after the last one has begun.
    pub(crate) finish: Duration,
    pub(crate) record: bool,
    pub(crate) seed: u64,
}

/// What is said, at both rates.
#[derive(Default)]
pub(crate) struct Voices {
    pub(crate) texts: [Arc<BTreeMap<String, Vec<i16>>>; 2],
    pub(crate) files: [Arc<BTreeMap<PathBuf, Vec<i16>>>; 2],
}

/// The rate at which callers of these codecs speak and listen, and its place in [`Voices`].
pub(crate) fn rate(scenario: &Scenario) -> (SampleRate, usize) {
    let wide = scenario.codecs.iter().any(|codec| ["G722", "opus"].contains(&codec.name));
    if wide { (SampleRate::Hz16000, 1) } else { (SampleRate::Hz8000, 0) }
}

/// What is going on, for progress lines.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) placed: AtomicU64,
    pub(crate) answered: AtomicU64,
    pub(crate) over: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) held_back: AtomicU64,
    pub(crate) packets: AtomicU64,
}

impl Tally {
    fn note(&self, happening: &Happening) {
        if matches!(happening, Happening::Answered(_)) {
            add(&self.answered, 1);
        }
    }

    pub(crate) fn read(count: &AtomicU64) -> u64 {
        count.load(Ordering::Relaxed)
    }
}

fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}

/// What a thread of callers reports.
pub(crate) enum Report {
    /// A call is over.
    Ended { ended: Box<Ended>, recording: (Vec<i16>, Vec<i16>), rate: SampleRate },
    /// How late this thread was with its packets, in microseconds: the load's own fault.
    Late(Vec<u32>),
}

/// Places this thread's share of the calls and returns when all of them are over.
pub(crate) fn run(
    plan: &Plan,
    share: Share,
    tally: &Tally,
    stop: &AtomicBool,
    report: &Sender<Report>,
) -> io::Result<()> {
    // Callers stand for the outside, which does not slow down when this machine is busy. For the kernel this is the
    // thread's own.
    let _not_allowed_to_everybody = rustix::process::setpriority_process(None, NICENESS);
    Callers::new(plan, share, tally)?.run(stop, report)
}

/// The part of the load that one thread carries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    /// Which of the threads, from 0.
    pub(crate) thread: u64,
    pub(crate) threads: u64,
    /// The beginning of the load.
    pub(crate) start: Instant,
}

impl Share {
    /// What of the whole plan is this thread's.
    fn of(self, plan: &ArrivalPlan) -> ArrivalPlan {
        let part = |whole: u64| whole / self.threads + u64::from(whole % self.threads > self.thread);
        ArrivalPlan {
            callers: part(plan.callers as u64) as usize,
            rate: plan.rate.map(|rate| rate / self.threads as f64),
            total: part(plan.total),
            ..*plan
        }
    }
}

struct Callers<'a> {
    plan: &'a Plan,
    share: Share,
    tally: &'a Tally,
    poll: OwnedFd,
    arrivals: Arrivals,
    chance: Chance,
    seats: Vec<Option<Seat>>,
    free: Vec<usize>,
    /// Which seat wants to be woken when, with the number of its call.
    agenda: BinaryHeap<Reverse<(Instant, usize, u64)>>,
    wakes: Vec<Instant>,
    stranger: UdpSocket,
    up: usize,
    placed: u64,
    late_us: Vec<u32>,
}

impl<'a> Callers<'a> {
    fn new(plan: &'a Plan, share: Share, tally: &'a Tally) -> io::Result<Self> {
        let seed = plan.seed.wrapping_add(share.thread << 32);
        let any: SocketAddr = if plan.server.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
        Ok(Self {
            plan,
            share,
            tally,
            poll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            arrivals: Arrivals::new(share.of(&plan.arrivals), seed),
            chance: Chance::new(seed ^ 0x5ce9_a210),
            seats: Vec::new(),
            free: Vec::new(),
            agenda: BinaryHeap::new(),
            wakes: Vec::new(),
            stranger: UdpSocket::bind(any)?,
            up: 0,
            placed: 0,
            late_us: Vec::new(),
        })
    }

    fn run(mut self, stop: &AtomicBool, report: &Sender<Report>) -> io::Result<()> {
        let last_call = self.share.start + self.plan.arrivals.duration;
        let mut hang_up_at = last_call + self.plan.finish;
        let (mut is_last, mut gone_by) = (false, None);
        let mut events: Vec<epoll::Event> = Vec::with_capacity(256);
        let mut buffer = vec![0_u8; DATAGRAM];
        loop {
            let now = Instant::now();
            if stop.load(Ordering::Relaxed) && gone_by.is_none() {
                self.arrivals.stop();
                hang_up_at = now;
            }
            if now >= last_call && !std::mem::replace(&mut is_last, true) {
                self.hang_up(now, |scenario| scenario.repeats);
            }
            if now >= hang_up_at && gone_by.is_none() {
                self.hang_up(now, |_| true);
                gone_by = Some(now + FAREWELL);
            }
            if gone_by.is_some_and(|gone_by| now >= gone_by) {
                // Whoever answers no BYE is left alone.
                (0..self.seats.len()).for_each(|place| self.vacate(place, report));
            }
            self.dial(now)?;
            self.wake(now, report);
            if self.up == 0 && self.arrivals.next().is_none() {
                break;
            }
            self.wait(&mut events)?;
            for event in &events {
                self.read((event.data.u64() >> 2) as usize, event.data.u64() & 3, &mut buffer, report);
            }
        }
        let _nobody_may_be_left = report.send(Report::Late(self.late_us));
        Ok(())
    }

    /// Places the calls whose time has come.
    fn dial(&mut self, now: Instant) -> io::Result<()> {
        let held_back = self.arrivals.held_back;
        while self.arrivals.begins(now.saturating_duration_since(self.share.start)) {
            let place = self.free.pop().unwrap_or(self.seats.len());
            let seat = self.seat(now)?;
            let data = |port: u64| epoll::EventData::new_u64((place as u64) << 2 | port);
            let sockets = &seat.sockets;
            epoll::add(&self.poll, &sockets.sip, data(SIP), epoll::EventFlags::IN)?;
            epoll::add(&self.poll, &sockets.rtp, data(RTP), epoll::EventFlags::IN)?;
            epoll::add(&self.poll, &sockets.rtcp, data(RTCP), epoll::EventFlags::IN)?;
            self.agenda.push(Reverse((now, place, seat.number)));
            if place == self.seats.len() {
                self.seats.push(None);
                self.wakes.push(now);
            }
            self.wakes[place] = now;
            self.seats[place] = Some(seat);
            self.up += 1;
            add(&self.tally.placed, 1);
        }
        add(&self.tally.held_back, self.arrivals.held_back - held_back);
        Ok(())
    }

    fn seat(&mut self, now: Instant) -> io::Result<Seat> {
        let plan = self.plan;
        let index = choose(&plan.scenarios, &mut self.chance);
        let scenario = &plan.scenarios[index];
        let sockets = sockets::open(plan.server, plan.transport)?;
        wire::stamp(&sockets.rtp)?;
        let number = self.placed * self.share.threads + self.share.thread + 1;
        self.placed += 1;
        let seed = plan.seed.wrapping_mul(0x9e37_79b9).wrapping_add(number);
        let order = Order {
            number,
            scenario: index,
            at: now.saturating_duration_since(self.share.start),
            up: scenario.up,
            down: scenario.down,
            give_up_at: scenario.give_up.map(|patience| now + patience),
            seed,
        };
        let (rate, voice) = rate(scenario);
        let seed = identity(seed);
        let dial = Dial {
            uri: plan.uri.clone(),
            from: format!("<sip:load{number}@{}>", sockets.flow.local),
            flow: sockets.flow,
            local: LocalMedia {
                codecs: scenario.codecs.clone(),
                session_id: number,
                srtp: scenario.srtp,
                srtp_seed: sip::SrtpSeed::new(identity(order.seed)),
                ..LocalMedia::new(sockets.flow.local.ip(), sockets.rtp_port)
            },
            seed,
            rate,
            clock_ppm: scenario.up.skew_ppm,
            speech: plan.speech.texts[voice].clone(),
            files: plan.speech.files[voice].clone(),
            script: scenario.script.clone(),
            record: plan.record,
            extras: Default::default(),
        };
        Ok(Seat::new(now, &order, sockets, dial))
    }

    /// Advances every seat whose time has come.
    fn wake(&mut self, now: Instant, report: &Sender<Report>) {
        while let Some(Reverse((wake, place, number))) =
            self.agenda.peek().copied().filter(|next| next.0.0 <= now)
        {
            self.agenda.pop();
            let wanted = self.wakes[place] == wake
                && self.seats[place].as_ref().is_some_and(|seat| seat.number == number);
            if wanted {
                self.late_us.push(now.saturating_duration_since(wake).as_micros() as u32);
                self.advance(place, report);
            }
        }
        // A sample of a long run tells as much.
        if self.late_us.len() > 2_000_000 {
            let kept = self.late_us.iter().copied().step_by(2).collect();
            self.late_us = kept;
        }
    }

    fn advance(&mut self, place: usize, report: &Sender<Report>) {
        let tally = self.tally;
        let Some(seat) = &mut self.seats[place] else { return };
        let number = seat.number;
        match seat.advance(Instant::now(), &self.stranger, &mut |happening| tally.note(happening)) {
            Some(wake) => {
                self.wakes[place] = wake;
                self.agenda.push(Reverse((wake, place, number)));
            }
            None => self.vacate(place, report),
        }
    }

    fn vacate(&mut self, place: usize, report: &Sender<Report>) {
        let Some(seat) = self.seats[place].take() else { return };
        self.free.push(place);
        self.up -= 1;
        self.arrivals.ended(self.share.start.elapsed());
        // Closing the sockets takes them out of the epoll.
        let (ended, recording) = seat.end();
        let (rate, _) = rate(&self.plan.scenarios[ended.scenario]);
        let _nobody_may_be_left = report.send(Report::Ended { ended: Box::new(ended), recording, rate });
    }

    fn hang_up(&mut self, now: Instant, whom: impl Fn(&Scenario) -> bool) {
        let tally = self.tally;
        for place in 0..self.seats.len() {
            if let Some(seat) = &mut self.seats[place]
                && whom(&self.plan.scenarios[seat.scenario()])
            {
                seat.hang_up(now, &mut |happening| tally.note(happening));
                self.wakes[place] = now;
                self.agenda.push(Reverse((now, place, seat.number)));
            }
        }
    }

    fn wait(&self, events: &mut Vec<epoll::Event>) -> io::Result<()> {
        let now = Instant::now();
        let next = self.agenda.peek().map(|Reverse((wake, ..))| *wake);
        let dials = self.arrivals.next().map(|at| self.share.start + at);
        let wake = super::link::earliest([next, dials]);
        let wait = wake.map_or(NAP, |wake| wake.saturating_duration_since(now)).min(NAP);
        let wait = if self.up > HANDFUL {
            std::thread::sleep(wait.min(TICK));
            Duration::ZERO
        } else {
            wait
        };
        events.clear();
        let timeout =
            rustix::time::Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) };
        match epoll::wait(&self.poll, rustix::buffer::spare_capacity(events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads what came to a port. The port is reported again as long as there is more.
    fn read(&mut self, place: usize, port: u64, buffer: &mut [u8], report: &Sender<Report>) {
        let tally = self.tally;
        let mut tell = |happening: &Happening| tally.note(happening);
        let Some(Some(seat)) = self.seats.get_mut(place) else { return };
        match port {
            RTP => {
                for _ in 0..AT_ONCE {
                    let Ok((length, at)) = wire::receive_at(&seat.sockets.rtp, buffer) else { break };
                    add(&tally.packets, 1);
                    seat.receive(at, Port::Rtp, &buffer[..length], &mut tell);
                }
            }
            RTCP => {
                while let Ok(length) = seat.sockets.rtcp.recv(buffer) {
                    seat.receive(Instant::now(), Port::Rtcp, &buffer[..length], &mut tell);
                }
            }
            _ => loop {
                match seat.sockets.sip.read(buffer) {
                    Ok(messages) => messages.iter().for_each(|message| seat.receive_sip(message, &mut tell)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // Refused by ICMP: nobody listens there.
                    Err(_) => break seat.flow_closed(&mut tell),
                }
            },
        }
        self.advance(place, report);
    }
}

const SIP: u64 = 0;
const RTP: u64 = 1;
const RTCP: u64 = 2;

/// Identifiers of one call. Those of another run differ, because a server may still remember its calls.
fn identity(seed: u64) -> [u8; 32] {
    use std::hash::{BuildHasher as _, Hasher as _};
    let mut chance = Chance::new(seed ^ std::hash::RandomState::new().build_hasher().finish());
    let mut identity = [0; 32];
    for part in identity.chunks_mut(8) {
        part.copy_from_slice(&chance.bits().to_le_bytes());
    }
    identity
}
