//! `loadtest calls`: simple load. Many callers with one script, a line each second, a summary.
//! Knows a SIP address and what its callers measure; the server may be anywhere.

use crate::{
    fleet::{self, Outcome, Plan, Tally},
    machine,
    spread::Spread,
    voice,
};
use clap::Args as ClapArgs;
use std::{
    path::PathBuf,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Sender},
    },
    time::{Duration, Instant},
};
use tandem::caller::{engine::News, script::Script};

/// How long callers may take to hang up.
const FAREWELL: Duration = Duration::from_secs(10);

/// Calls an address many times at once and talks.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Whom to call, for example sip:demo@127.0.0.1:5060.
    uri: String,
    /// Callers.
    #[arg(long, default_value_t = 10)]
    count: usize,
    /// Seconds until everybody hangs up.
    #[arg(long, default_value_t = 30)]
    duration: u64,
    /// Milliseconds between the beginnings of two calls.
    #[arg(long, default_value_t = 100)]
    spacing: u64,
    /// What callers say, over and over (repeatable).
    #[arg(long, value_name = "TEXT", default_value = "when are you open?")]
    say: Vec<String>,
    /// A script for every caller instead, as of `tandem call --script`; without WAV files.
    #[arg(long, value_name = "FILE", conflicts_with = "say")]
    script: Option<PathBuf>,
}

/// Runs the command; false when a call failed.
pub(crate) fn run(args: &Args) -> Result<bool, String> {
    machine::raise_file_limit();
    let script = script(args)?;
    let speech = voice::speak(script.spoken())?;
    let (server, transport) = tandem::cli::call::resolve(&args.uri)?;
    let duration = Duration::from_secs(args.duration);
    let plan = Plan {
        uri: &args.uri,
        server,
        transport,
        speech: &speech,
        calls: args.count,
        spacing: Duration::from_millis(args.spacing),
        limit: duration + FAREWELL,
        measured: None,
    };
    println!("{} callers to {server} for {} s", args.count, args.duration);
    let (sender, news) = mpsc::channel();
    let (tally, done) = (Tally::default(), AtomicBool::new(false));
    let outcomes = std::thread::scope(|scope| {
        scope.spawn(|| watch(duration, &tally, &done, &sender));
        let outcomes = fleet::run(&plan, |_| script.clone(), news, &tally);
        done.store(true, Ordering::Relaxed);
        outcomes
    })?;
    Ok(summarise(&outcomes))
}

fn script(args: &Args) -> Result<Script, String> {
    let Some(path) = &args.script else {
        // More turns than fit: the duration ends them.
        let turns = args.say.iter().cycle().take(args.duration as usize + args.say.len());
        return Ok(Script::conversation(&turns.cloned().collect::<Vec<_>>()));
    };
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
    let script = Script::parse(&text).map_err(|error| wrong(&error))?;
    if script.needs_words() || script.files().next().is_some() {
        return Err(wrong(&"load callers neither play files nor know the agent's words"));
    }
    Ok(script)
}

/// Says each second how it goes, and ends the calls when their time is over.
fn watch(duration: Duration, tally: &Tally, done: &AtomicBool, sender: &Sender<News>) {
    let start = Instant::now();
    let (mut second, mut packets, mut stopped) = (0, 0, false);
    while !done.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(50));
        if start.elapsed() >= duration && !std::mem::replace(&mut stopped, true) {
            let _callers_may_be_gone = sender.send(News::Stop);
        }
        if start.elapsed() >= Duration::from_secs(second + 1) {
            second += 1;
            let read = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
            let (answered, failed, now) = (read(&tally.answered), read(&tally.failed), read(&tally.packets));
            let rate = now - std::mem::replace(&mut packets, now);
            println!(
                "{second:4} s  {} up, {answered} answered, {failed} failed, {rate} packets/s",
                tally.up()
            );
        }
    }
}

fn summarise(outcomes: &[Outcome]) -> bool {
    let measured = || outcomes.iter().map(|outcome| &outcome.measures);
    let wires = || outcomes.iter().map(|outcome| &outcome.wire);
    print("answered after", "ms", &Spread::of_ms(measured().filter_map(|m| m.answered)));
    print("greeting heard after", "ms", &Spread::of_ms(measured().filter_map(|m| m.greeting)));
    print(
        "end of speech to answer",
        "ms",
        &Spread::of_ms(measured().flat_map(|m| m.answers.iter().copied())),
    );
    let silences = Spread::of_ms(measured().flat_map(|m| m.silences.iter().copied()));
    if silences.len() > 0 {
        print("interruption to silence", "ms", &silences);
    }
    let gaps = wires().flat_map(|wire| wire.gaps_us.iter().map(|us| f64::from(*us) / 1_000.0)).collect();
    print("between packets", "ms", &gaps);
    let (packets, lost) =
        wires().fold((0, 0), |(packets, lost), wire| (packets + wire.packets, lost + wire.lost));
    println!("{packets} packets received, {lost} missing");
    let failures: Vec<String> = outcomes.iter().filter_map(Outcome::failure).collect();
    println!("{} calls, {} failed", outcomes.len(), failures.len());
    for failure in failures.iter().take(10) {
        println!("  {failure}");
    }
    failures.is_empty()
}

fn print(name: &str, unit: &str, spread: &Spread) {
    println!(
        "{name:24} p50 {:.1}  p95 {:.1}  p99 {:.1}  p99.9 {:.1}  max {:.1} {unit}  ({} values)",
        spread.at(0.5),
        spread.at(0.95),
        spread.at(0.99),
        spread.at(0.999),
        spread.max(),
        spread.len()
    );
}
