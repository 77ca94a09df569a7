//! What the media plane costs beside a bare program that moves the same packets, and how evenly its packets leave.
//! Knows three servers: a floor, an echo with a jitter buffer, and the whole pipeline. The server has a core of its own.

mod dial;
pub(crate) mod echo;
pub(crate) mod floor;

use crate::{
    bench::{Bench, World},
    figures::ASK,
    machine::{self, Places, Usage},
    processes::{Bare, Engines},
    report::Report,
    spread::Spread,
    streams::{self, Heard, Speech, Streams},
};
use dial::Calls;
use rustix::thread::sched_setaffinity;
use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, Sender},
    },
    time::{Duration, Instant, SystemTime},
};

/// Calls at once, one after the other.
pub(super) const CALLS: [usize; 6] = [50, 100, 200, 400, 800, 1_000];
/// The same for a first look.
pub(super) const QUICK_CALLS: [usize; 2] = [50, 200];

/// From the last call's beginning to the measured time: the greetings are over, everybody is in the middle of it.
const SETTLE: Duration = Duration::from_secs(8);
/// The same where there is nothing to settle but the jitter buffers.
const SETTLE_BARE: Duration = Duration::from_secs(2);
/// Between the beginnings of two calls.
const SPACING: Duration = Duration::from_millis(20);
/// From one question of a caller to its next one: a second of speech, then the agent's turn.
const ROUND: Duration = Duration::from_secs(9);
/// The most calls that are recorded.
const RECORDED: usize = 200;
/// What the agent says: a sentence of some four seconds.
const REPLY: &str = "open=We are open from nine to five, Monday to Friday, and on Saturday until noon.";
/// How much the sender of the callers' packets is preferred to the simulators beside it.
const NICENESS: i32 = -15;

/// A server, by what it does with a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Floor,
    Echo,
    Full,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Echo => "echo",
            Self::Full => "full",
        }
    }
}

/// What was seen of one server under so many calls.
struct Measured {
    calls: usize,
    /// CPU of the server for each call-second, in milliseconds.
    cost: f64,
    /// The same of the simulators, and of whoever sends the callers' packets.
    others: [f64; 2],
    /// Resident memory for each call, KiB; what the idle server holds is not in it.
    memory: f64,
    /// How far the time between two packets is from 20 ms, in milliseconds.
    off: Spread,
    lost: u64,
    /// Packets that are missing where one is due every 20 ms.
    short: u64,
    /// The share of packets with more than silence or comfort noise.
    voiced: f64,
    /// The share of a core that the server used, and that simulators and callers did.
    busy: [f64; 2],
    /// Calls that were refused or did not last.
    failed: usize,
}

/// Readings at one moment.
struct Reading {
    at: Instant,
    server: Usage,
    simulators: Usage,
    callers: Usage,
}

impl Reading {
    fn take(server: u32, simulators: Option<u32>) -> Result<Self, String> {
        let usage = |pid| Usage::of(pid).map_err(|error| format!("/proc/{pid}: {error}"));
        Ok(Self {
            at: Instant::now(),
            server: usage(server)?,
            simulators: simulators.map_or(Ok(Usage::default()), usage)?,
            callers: usage(std::process::id())?,
        })
    }
}

/// What all measurements have in common.
pub(super) struct Place<'a> {
    bench: &'a Bench,
    places: Places,
    speech: Speech,
    time: Duration,
    first_port: u16,
}

impl<'a> Place<'a> {
    /// Takes one core for the server and the others for everybody else, from now on.
    pub(super) fn split(bench: &'a Bench, seconds: u64) -> Result<Self, String> {
        let places = Places::split()?;
        // Everything from here on is the outside.
        sched_setaffinity(None, &places.others).map_err(|error| format!("affinity: {error}"))?;
        let said = bench.speech.get(ASK).ok_or("nothing is said")?;
        let first_port = bench.addresses.rtp.split('-').next().and_then(|port| port.parse().ok());
        Ok(Self {
            bench,
            places,
            speech: Speech::new(said, ROUND),
            time: Duration::from_secs(seconds),
            first_port: first_port.ok_or("--rtp is written LOW-HIGH")?,
        })
    }
}

impl Place<'_> {
    /// Measures one number of calls after the other.
    pub(super) fn measure(&self, counts: &[usize], report: &mut Report) -> Result<(), String> {
        let mut growth = Vec::new();
        for calls in counts {
            let floor = self.bare(Kind::Floor, *calls)?;
            let echo = self.bare(Kind::Echo, *calls)?;
            let full = self.full(*calls, "")?;
            let group: &'static str =
                Box::leak(format!("Media, {calls} calls at once, one core").into_boxed_str());
            add(group, [&floor, &echo, &full], report);
            growth.push([floor, echo, full]);
        }
        add_growth(&growth, report);
        Ok(())
    }

    /// The floor or the echo: no call has to be set up.
    fn bare(&self, kind: Kind, calls: usize) -> Result<Measured, String> {
        eprintln!("{calls} calls, {} ...", kind.name());
        let Place { bench, places, first_port, .. } = self;
        let address = bench.addresses.sip.ip();
        let (ip, port, count) = (address.to_string(), first_port.to_string(), calls.to_string());
        let arguments = [kind.name(), "--address", &ip, "--port", &port, "--calls", &count];
        let server = places.on_the_servers(|| Bare::start(&arguments))?;
        let streams = Streams::open(address, calls).map_err(|error| format!("callers' sockets: {error}"))?;
        let before = Reading::take(server.pid(), None)?;
        self.listen(kind, streams, (server.pid(), None), &before, |targets, _| {
            for line in 0..calls {
                let _they_have_just_begun =
                    targets.send((line, SocketAddr::new(address, first_port + 2 * line as u16)));
            }
            Ok(None)
        })
    }

    /// The whole server, with simulated providers and this further config.
    fn full(&self, calls: usize, config: &str) -> Result<Measured, String> {
        eprintln!("{calls} calls, full pipeline ...");
        let Place { bench, places, .. } = self;
        // Simulators inherit the core too, which a moment later is theirs to leave.
        let start = || bench.start_configured(Engines::Simulated, ASK, &["--reply", REPLY], config);
        let World { server, simulators } = places.on_the_servers(start)?;
        let simulators = simulators.ok_or("no simulators")?;
        machine::move_all_threads(simulators.pid(), &places.others)?;
        let sip = bench.addresses.sip;
        let streams = Streams::open(sip.ip(), calls).map_err(|error| format!("callers' sockets: {error}"))?;
        let ids = (server.pid(), Some(simulators.pid()));
        let before = Reading::take(server.pid(), ids.1)?;
        self.listen(Kind::Full, streams, ids, &before, |targets, ports| {
            let progress = |placed: usize| {
                if placed.is_multiple_of(100) {
                    eprintln!("  {placed} of {calls} placed");
                }
            };
            Calls::place(sip, ports, SPACING, targets, progress)
                .map(Some)
                .map_err(|error| format!("calling {sip}: {error}"))
        })
    }

    /// The same calls with and without a tap on both sides, one after the other.
    pub(super) fn measure_recorded(&self, counts: &[usize], report: &mut Report) -> Result<(), String> {
        const GROUP: &str = "Media, recorded";
        // Where neither core is full, and the cost is that of calls and not of a few of them.
        let Some(calls) = counts.iter().copied().filter(|calls| *calls <= RECORDED).max() else {
            return Ok(());
        };
        let folder = self.bench.folder.join("recordings");
        let config = format!("[recording]\nenabled = true\ndirectory = \"{}\"\n", folder.display());
        let (without, with) = (self.full(calls, "")?, self.full(calls, &config)?);
        let bytes = bytes_below(&folder);
        let more = (with.cost / without.cost - 1.0) * 100.0;
        let costs = [("without", without.cost), ("with", with.cost)];
        report.values(
            GROUP,
            format!("{calls} calls, CPU of the server for each call-second"),
            "ms",
            &costs,
            "",
        );
        report.values(GROUP, "  more with a recorder", "%", &[("", more)], "≤ 10");
        report.values(GROUP, "  written", "MB", &[("", bytes as f64 / 1e6)], "");
        let memory = [("without", without.memory), ("with", with.memory)];
        report.values(GROUP, "  memory of the server for each call", "KiB", &memory, "");
        report.spread(GROUP, "  between packets, away from 20 ms", "ms", &with.off, "");
        Ok(())
    }

    /// Has `begin` set calls up, lets their packets flow, and reads what that cost.
    fn listen(
        &self,
        kind: Kind,
        streams: Streams,
        (server, simulators): (u32, Option<u32>),
        idle: &Reading,
        begin: impl FnOnce(&Sender<(usize, SocketAddr)>, &[u16]) -> Result<Option<Calls>, String>,
    ) -> Result<Measured, String> {
        let (targets, answered) = mpsc::channel();
        let ports = streams.ports().map_err(|error| error.to_string())?;
        let calls = ports.len();
        let (stop, packets) = (AtomicBool::new(false), AtomicU64::new(0));
        let measured = std::sync::OnceLock::new();
        std::thread::scope(|scope| {
            let run = streams::Run {
                speech: &self.speech,
                answered,
                measured: &measured,
                stop: &stop,
                packets: &packets,
            };
            let flowing = scope.spawn(move || {
                let _not_everybody_may = rustix::process::setpriority_process(None, NICENESS);
                streams.run(&run)
            });
            let work = || -> Result<_, String> {
                let up = begin(&targets, &ports)?;
                let settle = if kind == Kind::Full { SETTLE } else { SETTLE_BARE };
                let begins = SystemTime::now() + settle;
                let _nobody_else_sets_it = measured.set(begins..begins + self.time);
                std::thread::sleep(settle);
                let before = Reading::take(server, simulators)?;
                watch(self.time, &packets);
                let after = Reading::take(server, simulators)?;
                let failed =
                    up.map_or(Ok(0), Calls::hang_up).map_err(|error| format!("hanging up: {error}"))?;
                Ok((before, after, failed))
            };
            let result = work();
            stop.store(true, Ordering::Relaxed);
            let heard = flowing.join().map_err(|_| "the callers' thread failed".to_owned())?;
            let heard = heard.map_err(|error| format!("callers' sockets: {error}"))?;
            let (before, after, failed) = result?;
            Ok(self.put_together(calls, idle, (&before, &after), &heard, failed))
        })
    }

    fn put_together(
        &self,
        calls: usize,
        idle: &Reading,
        (before, after): (&Reading, &Reading),
        heard: &[Heard],
        failed: usize,
    ) -> Measured {
        let call_seconds = (after.at - before.at).as_secs_f64() * calls as f64;
        let cost = |of: fn(&Reading) -> Usage| {
            (of(after).cpu.saturating_sub(of(before).cpu)).as_secs_f64() * 1_000.0 / call_seconds
        };
        let gaps = heard.iter().flat_map(|line| &line.wire.gaps_us);
        let packets: u64 = heard.iter().map(|line| line.wire.packets).sum();
        let voiced: u64 = heard.iter().map(|line| line.voiced).sum();
        let due = calls as u64 * self.time.as_millis() as u64 / 20;
        let server = cost(|reading| reading.server);
        let others = [cost(|reading| reading.simulators), cost(|reading| reading.callers)];
        Measured {
            calls,
            cost: server,
            others,
            memory: after.server.resident.saturating_sub(idle.server.resident) as f64 / 1024.0 / calls as f64,
            off: gaps.map(|us| (f64::from(*us) / 1_000.0 - 20.0).abs()).collect(),
            lost: heard.iter().map(|line| line.wire.lost).sum(),
            short: due.saturating_sub(packets),
            voiced: voiced as f64 / packets.max(1) as f64,
            // Not what the kernel says of the cores: it looks once in a tick, and these threads work in between.
            busy: [server, others.iter().sum()].map(|cost| cost * calls as f64 / 1_000.0),
            failed,
        }
    }
}

fn watch(time: Duration, packets: &AtomicU64) {
    let start = Instant::now();
    let mut before = packets.load(Ordering::Relaxed);
    while start.elapsed() < time {
        std::thread::sleep(time.saturating_sub(start.elapsed()).min(Duration::from_secs(5)));
        let now = packets.load(Ordering::Relaxed);
        let received = now - std::mem::replace(&mut before, now);
        eprintln!("  {:3} s: {received} packets received", start.elapsed().as_secs());
    }
}

fn add(group: &'static str, [floor, echo, full]: [&Measured; 3], report: &mut Report) {
    let costs = [("floor", floor.cost), ("echo", echo.cost), ("full", full.cost)];
    report.values(group, "CPU of the server for each call-second", "ms", &costs, "full ≤ 1.5");
    let ratios = [("echo", echo.cost / floor.cost), ("full", full.cost / floor.cost)];
    report.values(group, "  beside the floor", "times", &ratios, "echo ≤ 2.5, full ≤ 4");
    let others = [("simulators", full.others[0]), ("callers", full.others[1])];
    report.values(group, "  full: the others, for each call-second", "ms", &others, "");
    report.values(group, "memory of the server for each call, full", "KiB", &[("", full.memory)], "≤ 300");
    for (name, measured) in [("floor", floor), ("echo", echo), ("full", full)] {
        let aim = if name == "full" { "p99 ≤ 1, p99.9 ≤ 3" } else { "" };
        report.spread(group, format!("between packets, away from 20 ms, {name}"), "ms", &measured.off, aim);
    }
    let lost = [("floor", floor.lost as f64), ("echo", echo.lost as f64), ("full", full.lost as f64)];
    report.values(group, "packets lost on their way back", "", &lost, "0");
    let missing = [("frames never sent", full.short as f64), ("calls failed", full.failed as f64)];
    report.values(group, "full: missing", "", &missing, "0");
    let busy = [("server's", full.busy[0] * 100.0), ("callers' and simulators'", full.busy[1] * 100.0)];
    report.values(group, "full: a core in use by", "%", &busy, "");
    report.values(group, "full: the agent speaks, of the time", "%", &[("", full.voiced * 100.0)], "");
}

/// One line for each number of calls, and where it breaks.
fn add_growth(growth: &[[Measured; 3]], report: &mut Report) {
    const GROUP: &str = "Media, how the cost grows";
    for [floor, echo, full] in growth {
        let values = [
            ("floor", floor.cost),
            ("echo", echo.cost),
            ("full", full.cost),
            ("full/floor", full.cost / floor.cost),
            ("KiB", full.memory),
            ("p99", full.off.at(0.99)),
            ("p99.9", full.off.at(0.999)),
            ("lost", full.lost as f64),
        ];
        report.values(GROUP, format!("{} calls", full.calls), "ms", &values, "");
    }
    let broken = growth.iter().find_map(|[_, _, full]| Some((full, breaks(full)?)));
    let most = growth.iter().map(|[_, _, full]| full.calls).max().unwrap_or_default();
    report.note(match broken {
        Some((full, what)) => {
            format!("The full pipeline breaks at {} calls: {what}; {}.", full.calls, why(full))
        }
        None => format!("The full pipeline holds up to {most} calls, the most that were tried."),
    });
}

/// What all files in a folder and below hold.
fn bytes_below(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.map(size).sum()
}

/// What a caller would notice.
fn breaks(full: &Measured) -> Option<String> {
    let (p99, tail) = (full.off.at(0.99), full.off.at(0.999));
    match full {
        Measured { failed: 1.., .. } => Some(format!("{} calls failed", full.failed)),
        Measured { lost: 1.., .. } => Some(format!("{} packets were lost", full.lost)),
        _ if p99 > 1.0 => Some(format!("packets are {p99:.1} ms off at p99")),
        _ if tail > 3.0 => Some(format!("packets are {tail:.1} ms off at p99.9")),
        _ => None,
    }
}

/// Whose fault it is, as far as two cores tell.
fn why(full: &Measured) -> String {
    let [server, others] = full.busy.map(|busy| busy * 100.0);
    match full.busy {
        [busy, _] if busy >= FULL => format!("the server's core is full ({server:.0} %)"),
        [_, busy] if busy >= FULL => format!(
            "the core of callers and simulators is full ({others:.0} %, the server's {server:.0} %): \
             it is the outside that breaks"
        ),
        _ => format!("neither core is full ({server:.0} % and {others:.0} %): something else ran in between"),
    }
}

/// A core that is this busy has no room for what comes in bursts.
const FULL: f64 = 0.95;
