//! kill -9 at random moments under load: what of the records is left, and how soon everything is well again.
//! Knows one server that is started again and again in the same folder, and callers who do not know of it.

use super::{ASK, CALL, FAREWELL, REPLY, answered, fault::Fault, of, records};
use crate::{
    bench::{Bench, Calls, World},
    fleet::{self, Outcome, Tally},
    processes::{Engines, Extras},
    report::Report,
    spread::Spread,
};
use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    sync::mpsc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tandem::{
    caller::{engine::News, script::Script},
    store::{CRASHED, CallRecord, DatabaseUrl},
};

/// From a start to the next kill: between these two.
const LIVES: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(6)];
/// For a life, with what a start takes.
const ROUND: Duration = Duration::from_secs(5);

/// One kill, on the callers' clock and on the wall's.
struct Killed {
    wall_us: i64,
    /// When the server was ready again.
    ready: Instant,
    /// What that took.
    took: Duration,
}

pub(super) fn measure(bench: &Bench, calls: usize, kills: u32, report: &mut Report) -> Result<bool, String> {
    let group = Fault::Kill.title();
    let extras = Extras { log: Some("info"), ..Extras::default() };
    let mut world = bench.start_with(Engines::Simulated, ASK, &["--reply", REPLY], extras)?;
    let spacing = CALL / calls as u32;
    let count = ((CALL + ROUND * kills).as_secs_f64() / spacing.as_secs_f64()) as usize;
    eprintln!("{group}: {count} calls, {calls} at once, {kills} kills ...");
    let uri = bench.uri();
    let plan = bench.plan(&uri, &Calls { count, spacing, limit: spacing * count as u32 + FAREWELL });
    let script = Script::conversation(&[ASK.to_owned()]);
    let (_nothing_to_say, news) = mpsc::channel::<News>();
    let tally = Tally::default();
    let began = Instant::now();
    let (outcomes, killed) = std::thread::scope(|scope| {
        let (plan, script, tally) = (&plan, &script, &tally);
        let callers = scope.spawn(move || fleet::run(plan, |_| script.clone(), news, tally));
        std::thread::sleep(CALL / 2);
        let killed: Result<Vec<_>, String> = (0..kills).map(|_| kill(&mut world)).collect();
        (callers.join(), killed)
    });
    let outcomes = outcomes.map_err(|_| "the callers' thread failed".to_owned())??;
    let killed = killed?;
    let (tally, records) = records::read(&world.server.data, &DatabaseUrl::Sqlite, &answered(&outcomes))?;
    let started = Spread::of_ms(killed.iter().map(|kill| kill.took));
    report.spread(group, "start to ready, of the server that was killed", "ms", &started, "≤ 2000");
    report.values(group, "records of answered calls", "", &of(tally), "0 lost, doubled, without end");
    let up: Vec<&CallRecord> =
        records.iter().filter(|record| record.end_cause.as_deref() == Some(CRASHED)).collect();
    let errors: Spread = up.iter().filter_map(|record| error_ms(record, &killed)).collect();
    report.spread(group, "error of the end of calls that were up", "ms", &errors, "≤ 5000");
    let begins = |number: usize| began + spacing * number as u32;
    let told = up.iter().filter_map(|record| told_after(record, &outcomes, begins, &killed));
    let told = Spread::of_ms(told);
    report.spread(group, "ready to the BYE of their callers", "ms", &told, "≤ 5000");
    let values = [("up when killed", up.len() as f64), ("kills", f64::from(kills))];
    report.values(group, "calls", "", &values, "");
    Ok((tally.lost, tally.doubled, tally.endless) == (0, 0, 0))
}

/// Lets the server live for a while, kills it, and starts it again.
fn kill(world: &mut World) -> Result<Killed, String> {
    let [least, most] = LIVES;
    // Every RandomState is keyed from the operating system's randomness.
    let chance = RandomState::new().build_hasher().finish();
    std::thread::sleep(least + Duration::from_millis(chance % (most - least).as_millis() as u64));
    world.server.kill();
    let wall_us = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as i64;
    world.server.start_again()?;
    Ok(Killed { wall_us, ready: Instant::now(), took: world.server.ready_after })
}

/// How far a record's end is from the kill that ended its call.
fn error_ms(record: &CallRecord, killed: &[Killed]) -> Option<f64> {
    let kill = killed.iter().find(|kill| kill.wall_us >= record.invite_us)?;
    Some((record.end_us? - kill.wall_us).abs() as f64 / 1_000.0)
}

/// From the server's next being ready until the caller's dialog was over.
fn told_after(
    record: &CallRecord,
    outcomes: &[Outcome],
    begins: impl Fn(usize) -> Instant,
    killed: &[Killed],
) -> Option<Duration> {
    let kill = killed.iter().find(|kill| kill.wall_us >= record.invite_us)?;
    let number = outcomes.iter().position(|call| call.call_id.as_deref() == Some(&record.sip_call_id))?;
    let ended = begins(number) + outcomes[number].measures.ended?;
    Some(ended.saturating_duration_since(kill.ready))
}
