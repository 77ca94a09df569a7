//! Many calls at once: what they cost the server, and how evenly its packets leave.
//! Knows /proc and the kernel's time stamps at the callers' sockets.

use crate::{
    bench::{Bench, Calls, World},
    figures::ASK,
    fleet::{self, Outcome, Tally},
    machine::{Cores, Usage},
    processes::{Engines, Extras},
    report::Report,
    spread::Spread,
};
use std::{
    sync::{atomic::Ordering, mpsc},
    time::{Duration, Instant, SystemTime},
};
use tandem::caller::{
    engine::News,
    script::{Script, Step},
};

/// Between the beginnings of two calls.
const SPACING: Duration = Duration::from_millis(50);
/// From the last call's beginning to the measured time: its greeting is over.
const SETTLE: Duration = Duration::from_secs(8);
/// Beyond the measured time, for everybody to hang up.
const FAREWELL: Duration = Duration::from_secs(15);
/// Turns that do not end before the measured time does.
const TURNS: usize = 100;
/// What the agent says: a sentence of some four seconds.
const REPLY: &str = "open=We are open from nine to five, Monday to Friday, and on Saturday until noon.";
/// Calls that are only set up and hung up.
const SET_UPS: usize = 100;

/// Readings at one moment.
struct Reading {
    at: Instant,
    server: Usage,
    simulators: Usage,
    callers: Usage,
    cores: Cores,
}

impl Reading {
    fn take(world: &World) -> Result<Self, String> {
        let usage = |pid| Usage::of(pid).map_err(|error| format!("/proc/{pid}: {error}"));
        Ok(Self {
            at: Instant::now(),
            server: usage(world.server.pid())?,
            simulators: world.simulators.as_ref().map_or(Ok(Usage::default()), |s| usage(s.pid()))?,
            callers: usage(std::process::id())?,
            cores: Cores::read(),
        })
    }
}

pub(super) fn measure(bench: &Bench, calls: usize, seconds: u64, report: &mut Report) -> Result<(), String> {
    let (outcomes, [idle, before, after]) = hold(bench, calls, seconds, Extras::default(), || {})?;
    let group: &'static str = group(calls);
    add_cost(group, calls, [&idle, &before, &after], report);
    add_packets(group, &outcomes, report);
    add_failures(group, &outcomes, report);
    Ok(())
}

/// The server's processor time for each second of a call, in milliseconds, when it is started with this and `meanwhile` is
/// done once a second; and how its callers fared.
pub(super) fn cost(
    bench: &Bench,
    calls: usize,
    seconds: u64,
    extras: Extras,
    meanwhile: impl Fn(),
) -> Result<(f64, Vec<Outcome>), String> {
    let (outcomes, [_, before, after]) = hold(bench, calls, seconds, extras, meanwhile)?;
    let call_seconds = (after.at - before.at).as_secs_f64() * calls as f64;
    Ok(((after.server.cpu - before.server.cpu).as_secs_f64() * 1_000.0 / call_seconds, outcomes))
}

/// Lets a new server hold so many calls for so long. Readings: before the first call, and around the measured time.
fn hold(
    bench: &Bench,
    calls: usize,
    seconds: u64,
    extras: Extras,
    meanwhile: impl Fn(),
) -> Result<(Vec<Outcome>, [Reading; 3]), String> {
    let ramp = SPACING * calls as u32 + SETTLE;
    let measured = Duration::from_secs(seconds);
    eprintln!("{calls} calls at once with simulated providers, {seconds} s of them measured ...");
    let world = bench.start_with(Engines::Simulated, ASK, &["--reply", REPLY], extras)?;
    let idle = Reading::take(&world)?;
    let uri = bench.uri();
    let mut plan =
        bench.plan(&uri, &Calls { count: calls, spacing: SPACING, limit: ramp + measured + FAREWELL });
    let begins = SystemTime::now() + ramp;
    plan.measured = Some(begins..begins + measured);
    let script = Script::conversation(&vec![ASK.to_owned(); TURNS]);
    let (sender, news) = mpsc::channel();
    let tally = Tally::default();
    let (outcomes, readings) = std::thread::scope(|scope| {
        let (plan, script, tally) = (&plan, &script, &tally);
        let callers = scope.spawn(move || fleet::run(plan, |_| script.clone(), news, tally));
        std::thread::sleep(ramp);
        let before = Reading::take(&world);
        watch(measured, tally, &meanwhile);
        let after = Reading::take(&world);
        let _callers_may_have_given_up = sender.send(News::Stop);
        (callers.join(), before.and_then(|before| Ok((before, after?))))
    });
    let outcomes = outcomes.map_err(|_| "the callers' thread failed".to_owned())??;
    let (before, after) = readings?;
    Ok((outcomes, [idle, before, after]))
}

/// Names live as long as the report; the usual ones are known.
fn group(calls: usize) -> &'static str {
    match calls {
        50 => "Load, 50 calls at once",
        200 => "Load, 200 calls at once",
        _ => Box::leak(format!("Load, {calls} calls at once").into_boxed_str()),
    }
}

fn watch(time: Duration, tally: &Tally, meanwhile: &impl Fn()) {
    let start = Instant::now();
    let mut packets = tally.packets.load(Ordering::Relaxed);
    let mut told = start;
    while start.elapsed() < time {
        let left = time.saturating_sub(start.elapsed());
        std::thread::sleep(left.min(Duration::from_secs(1)));
        meanwhile();
        if told.elapsed() < Duration::from_secs(5) {
            continue;
        }
        told = Instant::now();
        let now = tally.packets.load(Ordering::Relaxed);
        let received = now - std::mem::replace(&mut packets, now);
        let failed = tally.failed.load(Ordering::Relaxed);
        eprintln!(
            "  {:3} s: {} calls up, {failed} failed, {received} packets",
            start.elapsed().as_secs(),
            tally.up()
        );
    }
}

fn add_cost(group: &'static str, calls: usize, [idle, before, after]: [&Reading; 3], report: &mut Report) {
    let wall = (after.at - before.at).as_secs_f64();
    let call_seconds = wall * calls as f64;
    let ms = |after: Usage, before: Usage| (after.cpu - before.cpu).as_secs_f64() * 1_000.0 / call_seconds;
    let server = ms(after.server, before.server);
    report.values(group, "CPU of the server for each call-second", "ms", &[("", server)], "rival 4.1–6.5");
    let others = [
        ("simulators", ms(after.simulators, before.simulators)),
        ("callers", ms(after.callers, before.callers)),
    ];
    report.values(group, "  the others of the machine, for each call-second", "ms", &others, "");
    let cores = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
    let busy = after.cores.busy_since(before.cores) * 100.0;
    let ours = (server + others[0].1 + others[1].1) * calls as f64 / 1_000.0 / cores * 100.0;
    let shares = [("busy", busy), ("of it not for these calls", (busy - ours).max(0.0))];
    report.values(group, "  all cores, everybody's work", "%", &shares, "");
    let held = after.server.resident.saturating_sub(idle.server.resident) as f64 / calls as f64;
    report.values(
        group,
        "memory of the server for each call",
        "MB",
        &[("", held / 1e6), ("idle in all", idle.server.resident as f64 / 1e6)],
        "rival 1.5–2",
    );
}

fn add_packets(group: &'static str, outcomes: &[Outcome], report: &mut Report) {
    let gaps =
        || outcomes.iter().flat_map(|outcome| &outcome.wire.gaps_us).map(|us| f64::from(*us) / 1_000.0);
    report.spread(group, "between packets, kernel's clock at the caller", "ms", &gaps().collect(), "");
    let off = gaps().map(|gap| (gap - 20.0).abs()).collect();
    report.spread(group, "  away from 20 ms", "ms", &off, "rival p99 0.6–1.0");
    let answers = outcomes.iter().flat_map(|outcome| outcome.measures.answers.iter().copied());
    report.spread(group, "end of speech to answer, caller's clock", "ms", &Spread::of_ms(answers), "");
}

fn add_failures(group: &'static str, outcomes: &[Outcome], report: &mut Report) {
    let failures: Vec<String> = outcomes.iter().filter_map(Outcome::failure).collect();
    for failure in failures.iter().take(5) {
        eprintln!("  failed: {failure}");
    }
    let lost: u64 = outcomes.iter().map(|outcome| outcome.wire.lost).sum();
    let values = [("calls failed", failures.len() as f64), ("packets lost", lost as f64)];
    report.values(group, "failures", "", &values, "0");
}

pub(super) fn measure_set_up(bench: &Bench, report: &mut Report) -> Result<(), String> {
    const GROUP: &str = "Set-up, hung up as soon as answered";
    eprintln!("{SET_UPS} calls that are set up and hung up ...");
    let world = bench.start(Engines::Simulated, ASK, &[])?;
    let calls = Calls { count: SET_UPS, spacing: Duration::from_millis(100), limit: Duration::from_secs(60) };
    // The first call pays for what is needed once.
    let first = Calls { count: 1, ..calls };
    bench.call(&first, |_| hang_up())?;
    let before = Reading::take(&world)?;
    let outcomes = bench.call(&calls, |_| hang_up())?;
    std::thread::sleep(Duration::from_secs(1));
    let after = Reading::take(&world)?;
    let cpu = (after.server.cpu - before.server.cpu).as_secs_f64() * 1_000.0;
    let each = cpu / outcomes.len().max(1) as f64;
    report.values(GROUP, "CPU of the server for each call", "ms", &[("", each)], "rival 10–16");
    let answered = Spread::of_ms(outcomes.iter().filter_map(|outcome| outcome.measures.answered));
    report.spread(GROUP, "INVITE to 200", "ms", &answered, "");
    Ok(())
}

fn hang_up() -> Script {
    Script { steps: vec![Step::HangUp { hang_up: true }] }
}
