//! Many callers at once, on one thread, each with its script.
//! Knows the caller's machine and its engine. What the calls are for is the commands' business.

use crate::{
    voice::Speech,
    wire::{self, Tap, Wire},
};
use media::SampleRate;
use sip::{LocalMedia, Transport};
use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    net::SocketAddr,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::Receiver,
    },
    time::{Duration, Instant, SystemTime},
};
use tandem::caller::{
    engine::{self, News, Sockets},
    phone::{Dial, Happening, Measures, Phone},
    script::Script,
};

/// Whom to call, how often and how fast.
pub(crate) struct Plan<'a> {
    pub(crate) uri: &'a str,
    pub(crate) server: SocketAddr,
    pub(crate) transport: Transport,
    pub(crate) speech: &'a Speech,
    pub(crate) calls: usize,
    /// Between the beginnings of two calls.
    pub(crate) spacing: Duration,
    /// When callers are given up.
    pub(crate) limit: Duration,
    /// The time in which packets count; without it, always.
    pub(crate) measured: Option<Range<SystemTime>>,
}

/// What is going on, for progress lines.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) answered: AtomicU64,
    pub(crate) over: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) packets: AtomicU64,
}

impl Tally {
    fn note(&self, happening: &Happening) {
        match happening {
            Happening::Answered(_) => self.answered.fetch_add(1, Ordering::Relaxed),
            Happening::Over(_) => self.over.fetch_add(1, Ordering::Relaxed),
            Happening::Failed(..) | Happening::Unmet(_) => self.failed.fetch_add(1, Ordering::Relaxed),
            Happening::Progress(_)
            | Happening::Saying(_)
            | Happening::Pressing(_)
            | Happening::Held(_)
            | Happening::Agent(_)
            | Happening::Met(_) => 0,
        };
    }

    /// Calls that are up.
    pub(crate) fn up(&self) -> u64 {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        read(&self.answered).saturating_sub(read(&self.over))
    }
}

/// How one call went.
pub(crate) struct Outcome {
    /// Its SIP Call-ID, if it came so far.
    pub(crate) call_id: Option<String>,
    pub(crate) measures: Measures,
    pub(crate) wire: Wire,
}

impl Outcome {
    /// What went wrong, if anything did.
    pub(crate) fn failure(&self) -> Option<String> {
        match (self.measures.status, self.measures.unmet.first()) {
            (Some(200), None) => None,
            (Some(200), Some(unmet)) => Some(unmet.clone()),
            (Some(status), _) => Some(format!("refused with {status}")),
            (None, _) => Some("never answered".to_owned()),
        }
    }
}

/// Callers and simulators stand for the outside, which does not slow down when this machine is busy. They go before
/// everybody's work but after the server's media threads (-10), where it is allowed.
pub(crate) const NICENESS: i32 = -5;

/// Places the calls, on a thread of their own, and returns when they are over.
pub(crate) fn run(
    plan: &Plan<'_>,
    script: impl Fn(usize) -> Script + Send,
    news: Receiver<News>,
    tally: &Tally,
) -> Result<Vec<Outcome>, String> {
    let outcomes = std::thread::scope(|scope| {
        let callers = scope.spawn(move || {
            // For the kernel this is the thread's own: what this process starts later does not inherit it.
            let _ = rustix::process::setpriority_process(None, NICENESS);
            talk(plan, script, news, tally)
        });
        callers.join()
    });
    outcomes.map_err(|_| "the callers' thread failed".to_owned())?
}

fn talk(
    plan: &Plan<'_>,
    script: impl Fn(usize) -> Script,
    news: Receiver<News>,
    tally: &Tally,
) -> Result<Vec<Outcome>, String> {
    let broken = |error: std::io::Error| format!("calling {}: {error}", plan.server);
    let start = Instant::now();
    let speech = Arc::new(plan.speech.clone());
    let mut lines = Vec::with_capacity(plan.calls);
    for number in 0..plan.calls {
        let sockets = engine::open(plan.server, plan.transport).map_err(broken)?;
        wire::stamp(&sockets.rtp).map_err(broken)?;
        let dial = dial(plan, &speech, number, &sockets, script(number));
        lines.push(sockets.line(dial, start + plan.spacing * number as u32));
    }
    let mut tap = Tap::new(plan.calls, plan.measured.clone(), &tally.packets);
    let mut call_ids = vec![None; plan.calls];
    let tell = |number: usize, phone: &Phone, happening: Happening| {
        if call_ids[number].is_none() {
            call_ids[number] = phone.call_id().map(str::to_owned);
        }
        tally.note(&happening);
    };
    let receive =
        |line: usize, socket: &std::net::UdpSocket, buffer: &mut [u8]| tap.receive(line, socket, buffer);
    engine::run_with(&mut lines, &news, start + plan.limit, receive, tell).map_err(broken)?;
    let wires = tap.finish().into_iter().zip(call_ids);
    let outcomes = lines.into_iter().zip(wires);
    Ok(outcomes
        .map(|(line, (wire, call_id))| Outcome { call_id, measures: line.phone.measures, wire })
        .collect())
}

fn dial(plan: &Plan<'_>, speech: &Arc<Speech>, number: usize, sockets: &Sockets, script: Script) -> Dial {
    let seed = seed();
    Dial {
        uri: plan.uri.to_owned(),
        from: format!("<sip:load{number}@{}>", sockets.flow.local),
        flow: sockets.flow,
        local: LocalMedia {
            session_id: number as u64 + 1,
            ..LocalMedia::new(sockets.flow.local.ip(), sockets.rtp_port)
        },
        seed,
        rate: SampleRate::Hz8000,
        clock_ppm: 0,
        speech: speech.clone(),
        files: Arc::default(),
        script,
        record: false,
        extras: Default::default(),
    }
}

/// Identifiers that no other call has.
fn seed() -> [u8; 32] {
    let mut seed = [0; 32];
    for part in seed.chunks_mut(8) {
        // Every RandomState is keyed from the operating system's randomness.
        part.copy_from_slice(&RandomState::new().build_hasher().finish().to_le_bytes());
    }
    seed
}
