//! `loadtest faults`: calls go on while the disk, the database, the collector or the log fails under them, and while the
//! server is killed. What callers noticed and what the records say stands beside a run in which nothing fails.
//! Knows the order of a run. How each fault comes about is told in its own file.

mod collector;
mod crash;
mod disk;
mod fault;
mod records;

pub(crate) use collector::Collector;

use crate::{
    bench::{Bench, Calls, Where},
    exposition::{figure, metrics, quantile},
    figures,
    fleet::{self, Outcome, Tally},
    machine::{self, Facts},
    processes::Engines,
    report::Report,
    spread::Spread,
};
use clap::Args as ClapArgs;
use fault::{Fault, Prepared};
use std::{
    path::PathBuf,
    sync::mpsc,
    time::{Duration, SystemTime},
};
use tandem::caller::{engine::News, script::Script};

/// Lets calls go on while something fails, and says what callers noticed and what became of the records.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Try only this (repeatable). Without it, everything that this machine permits.
    #[arg(long, value_enum)]
    only: Vec<Fault>,
    /// Calls at the same time.
    #[arg(long, default_value_t = 40)]
    calls: usize,
    /// How long something fails, in seconds.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// How often the server is killed.
    #[arg(long, default_value_t = 8)]
    kills: u32,
    /// Write the figures as JSON too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The server's program; without it, cargo builds the one of this workspace.
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    #[command(flatten)]
    at: Where,
}

/// What callers say, and what they hear: a sentence of some four seconds.
const ASK: &str = "When are you open?";
const REPLY: &str = "open=We are open from nine to five, Monday to Friday, and on Saturday until noon.";
/// About how long a call with one question lasts: greeting, question, answer.
const CALL: Duration = Duration::from_secs(14);
/// From the last call's beginning to the end of everybody's patience.
const FAREWELL: Duration = Duration::from_secs(25);
/// Queues in which something may be lost, as the server's metrics call them.
const QUEUES: [&str; 5] = ["trace", "store", "otlp", "log", "checkpoints"];

/// Runs the command; false when a record is missing or doubled.
pub(crate) fn run(args: &Args) -> Result<bool, String> {
    machine::raise_file_limit();
    if args.calls == 0 || args.calls > 500 || args.seconds == 0 || args.seconds > 600 {
        return Err("--calls is 1 to 500, --seconds 1 to 600".to_owned());
    }
    let facts = Facts::read();
    let program = args.server.clone().map_or_else(figures::build, Ok)?;
    let bench = Bench::new(program, args.at.addresses(), &[ASK])?;
    let (mut report, mut whole) = (Report::default(), true);
    let wanted = |fault: &Fault| args.only.is_empty() || args.only.contains(fault);
    for fault in Fault::ALL.into_iter().filter(wanted) {
        let tried = if fault == Fault::Kill {
            crash::measure(&bench, args.calls, args.kills, &mut report)
        } else {
            measure(&bench, fault, args, &mut report)
        };
        match tried {
            Ok(sound) => whole &= sound,
            Err(why) => report.note(format!("{}: not tried: {why}", fault.title())),
        }
    }
    println!("\n{}", report.table(&facts));
    if let Some(path) = &args.json {
        let text = format!("{:#}\n", report.json(&facts));
        std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(whole)
}

/// Calls come and go before, during and after the fault.
fn measure(bench: &Bench, fault: Fault, args: &Args, report: &mut Report) -> Result<bool, String> {
    let prepared = Prepared::new(fault, bench)?;
    let extras = prepared.extras();
    let world = bench.start_with(Engines::Simulated, ASK, &["--reply", REPLY], extras)?;
    let fails = Duration::from_secs(args.seconds);
    let spacing = CALL / args.calls as u32;
    let count = ((CALL * 2 + fails).as_secs_f64() / spacing.as_secs_f64()) as usize;
    eprintln!("{}: {count} calls, {} at once, {} s of it ...", fault.title(), args.calls, args.seconds);
    let uri = bench.uri();
    let mut plan = bench.plan(&uri, &Calls { count, spacing, limit: spacing * count as u32 + FAREWELL });
    let begins = SystemTime::now() + CALL;
    plan.measured = Some(begins..begins + fails);
    let script = Script::conversation(&[ASK.to_owned()]);
    let (_nothing_to_say, news) = mpsc::channel::<News>();
    let tally = Tally::default();
    let mut prepared = prepared;
    let (outcomes, failed) = std::thread::scope(|scope| {
        let (plan, script, tally) = (&plan, &script, &tally);
        let callers = scope.spawn(move || fleet::run(plan, |_| script.clone(), news, tally));
        std::thread::sleep(CALL);
        let failed = prepared.begin();
        std::thread::sleep(fails);
        let ended = prepared.end();
        (callers.join(), failed.and(ended))
    });
    let outcomes = outcomes.map_err(|_| "the callers' thread failed".to_owned())??;
    failed?;
    let meanwhile = |number: usize| {
        let at = spacing * number as u32;
        at >= CALL && at < CALL + fails
    };
    let group = fault.title();
    add_callers(group, &outcomes, meanwhile, report);
    let sound = add_records(group, &prepared, &world.server.data, &outcomes, report)?;
    add_losses(group, &metrics(bench.addresses.http)?, report);
    prepared.explain(group, report);
    Ok(sound)
}

/// What callers noticed: how evenly packets came, what calls that began meanwhile waited for.
fn add_callers(
    group: &'static str,
    outcomes: &[Outcome],
    meanwhile: impl Fn(usize) -> bool,
    report: &mut Report,
) {
    let off = outcomes.iter().flat_map(|outcome| &outcome.wire.gaps_us);
    let off = off.map(|us| (f64::from(*us) / 1_000.0 - 20.0).abs()).collect();
    report.spread(group, "packets away from 20 ms, meanwhile", "ms", &off, "");
    let lost: u64 = outcomes.iter().map(|outcome| outcome.wire.lost).sum();
    let heard: u64 = outcomes.iter().map(|outcome| outcome.wire.packets).sum();
    let values = [("lost", lost as f64), ("of", heard as f64)];
    report.values(group, "frames of the agent that never came, meanwhile", "", &values, "0");
    let begun = || outcomes.iter().enumerate().filter(|(number, _)| meanwhile(*number)).map(|(_, call)| call);
    let setup = Spread::of_ms(begun().filter_map(|call| call.measures.answered));
    report.spread(group, "INVITE to 200, of calls that began meanwhile", "ms", &setup, "");
    let answers = Spread::of_ms(begun().flat_map(|call| call.measures.answers.iter().copied()));
    report.spread(group, "end of speech to answer, in those", "ms", &answers, "");
    let failures: Vec<String> = outcomes.iter().filter_map(Outcome::failure).collect();
    for failure in failures.iter().take(5) {
        eprintln!("  failed: {failure}");
    }
    let values = [("failed", failures.len() as f64), ("of", outcomes.len() as f64)];
    report.values(group, "calls that did not go as they should", "", &values, "0");
}

/// Whether every answered call has its record.
fn add_records(
    group: &'static str,
    prepared: &Prepared,
    data: &std::path::Path,
    outcomes: &[Outcome],
    report: &mut Report,
) -> Result<bool, String> {
    let (tally, _) = records::read(data, &prepared.database()?, &answered(outcomes))?;
    report.values(group, "records of answered calls", "", &of(tally), "0 lost, doubled, without end");
    Ok((tally.lost, tally.doubled, tally.endless) == (0, 0, 0))
}

fn answered(outcomes: &[Outcome]) -> Vec<String> {
    let answered = outcomes.iter().filter(|outcome| outcome.measures.status == Some(200));
    answered.filter_map(|outcome| outcome.call_id.clone()).collect()
}

fn of(tally: records::Tally) -> [(&'static str, f64); 4] {
    [
        ("answered", tally.answered as f64),
        ("lost", tally.lost as f64),
        ("doubled", tally.doubled as f64),
        ("without end", tally.endless as f64),
    ]
}

/// What the server itself says that it gave up, and how long records took to be on the disk.
fn add_losses(group: &'static str, text: &str, report: &mut Report) {
    let dropped = |queue| figure(text, &format!("tandem_queue_dropped_total{{queue=\"{queue}\"}}"));
    let dropped: Vec<(&'static str, f64)> = QUEUES
        .into_iter()
        .filter_map(|queue| Some((queue, dropped(queue)?)))
        .filter(|(_, n)| *n > 0.0)
        .collect();
    let dropped = if dropped.is_empty() { vec![("", 0.0)] } else { dropped };
    report.values(group, "given up and counted: events, spans, log lines", "", &dropped, "");
    let of = |series: &str| figure(text, series).unwrap_or(f64::NAN);
    let values = [
        ("answered without it", of("tandem_cdr_unrecorded_total")),
        ("waited for the database", of("tandem_cdr_spooled_total")),
        ("lost", of("tandem_cdr_lost_total")),
    ];
    report.values(group, "records, as the server counts them", "", &values, "");
    let at =
        |share| quantile(text, "tandem_cdr_end_durable_seconds", share).map(|(bound, n)| (bound * 1e3, n));
    if let (Some((half, _)), Some((most, n))) = (at(0.5), at(0.99)) {
        let values = [("p50 ≤", half), ("p99 ≤", most), ("n", n)];
        report.values(
            group,
            "end of a call to its record on the disk",
            "ms",
            &values,
            "p99 ≤ 100 where the disk works",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum as _;

    #[test]
    fn every_fault_can_be_asked_for_and_none_is_tried_twice() {
        for fault in Fault::value_variants() {
            assert_eq!(Fault::ALL.iter().filter(|other| *other == fault).count(), 1, "{fault:?}");
        }
    }
}
