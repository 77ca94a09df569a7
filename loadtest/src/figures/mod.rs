//! `loadtest figures`: starts servers of its own on loopback, calls them, and prints what they can do on this machine.
//! Knows the order of the measurements. Nothing is judged here: aims stand beside the figures.

mod barge_in;
mod load;
pub(crate) mod media;
mod ports;
mod ready;
mod telemetry;
mod turns;

use crate::{
    bench::{Bench, Where},
    machine::{self, Facts},
    report::Report,
};
use clap::{Args as ClapArgs, ValueEnum};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Measures a server on this machine: start, greeting, turns, barge-in, ports, load, media. Takes some twenty minutes.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Write the figures as JSON too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure only this (repeatable).
    #[arg(long, value_enum)]
    only: Vec<Part>,
    /// The server's program; without it, cargo builds the one of this workspace.
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// Concurrent calls to measure (repeatable). Without it, 50 and 200 for the load, 50 to 1,000 for the media.
    #[arg(long = "calls", value_name = "N")]
    calls: Vec<usize>,
    /// Seconds of each load. Without it, 30, and 5 when it is to be quick.
    #[arg(long)]
    seconds: Option<u64>,
    /// Fewer calls for a shorter time: a first look, not a figure to be quoted.
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    at: Where,
}

/// What can be measured alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// From start to ready, and to the greeting.
    Ready,
    /// Turns with simulated providers.
    Turns,
    /// Turns with the embedded engines.
    Embedded,
    /// Interruptions in every state.
    BargeIn,
    /// Concurrent calls.
    Load,
    /// What media costs beside a floor, on one core, and how evenly packets leave.
    Media,
    /// What a recorder adds to that.
    Recorded,
    /// Calls that are set up and hung up.
    SetUp,
    /// More calls than there are ports: overflow, refusals, caps.
    Ports,
    /// What traces, metrics and logs cost.
    Telemetry,
}

/// Everything that callers say.
const WORDS: [&str; 5] = [ASK, INTERRUPT, turns::HELLO, turns::THANKS, turns::HELP];
/// A question for simulated providers, which hear what they were told to hear.
const ASK: &str = "When are you open?";
/// Speech over the agent's voice, without a pause that would end a turn in the middle of it.
const INTERRUPT: &str = "Please stop talking for a moment";

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<(), String> {
    machine::raise_file_limit();
    let facts = Facts::read();
    let program = match &args.server {
        Some(program) => program.clone(),
        None => build()?,
    };
    eprintln!("The server is {}; a new one is started for each measurement.", program.display());
    eprintln!(
        "Callers and simulators stand for the outside: they are preferred where this user may do so (nice -5)."
    );
    let bench = Bench::new(program, args.at.addresses(), &WORDS)?;
    let mut report = Report::default();
    let wants = |part| args.only.is_empty() || args.only.contains(&part);
    if wants(Part::Ready) {
        ready::measure(&bench, &mut report)?;
    }
    if wants(Part::Turns) {
        turns::measure_simulated(&bench, &mut report)?;
    }
    if wants(Part::Embedded) {
        turns::measure_embedded(&bench, &mut report)?;
    }
    if wants(Part::BargeIn) {
        barge_in::measure(&bench, &mut report)?;
    }
    if wants(Part::SetUp) {
        load::measure_set_up(&bench, &mut report)?;
    }
    if wants(Part::Ports) {
        ports::measure(&bench, &mut report)?;
    }
    let seconds = args.seconds.unwrap_or(if args.quick { 5 } else { 30 });
    let calls = |usual: &[usize], quick: &[usize]| match (args.calls.is_empty(), args.quick) {
        (false, _) => args.calls.clone(),
        (true, false) => usual.to_vec(),
        (true, true) => quick.to_vec(),
    };
    for calls in calls(&[50, 200], &[50]).into_iter().filter(|_| wants(Part::Load)) {
        load::measure(&bench, calls, seconds, &mut report)?;
    }
    for calls in calls(&[50], &[50]).into_iter().filter(|_| wants(Part::Telemetry)) {
        telemetry::measure(&bench, calls, seconds, &mut report)?;
    }
    if wants(Part::Media) || wants(Part::Recorded) {
        let calls = calls(&media::CALLS, &media::QUICK_CALLS);
        let place = media::Place::split(&bench, seconds)?;
        if wants(Part::Media) {
            place.measure(&calls, &mut report)?;
        }
        if wants(Part::Recorded) {
            place.measure_recorded(&calls, &mut report)?;
        }
    }
    println!("\n{}", report.table(&facts));
    if let Some(path) = &args.json {
        let text = format!("{:#}\n", report.json(&facts));
        std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// Has cargo build the server, or finds one beside this program where cargo did not start it.
pub(crate) fn build() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let beside = own.parent().unwrap_or(Path::new(".")).join("tandem");
    let (Some(cargo), Some(folder)) = (std::env::var_os("CARGO"), std::env::var_os("CARGO_MANIFEST_DIR"))
    else {
        return if beside.exists() {
            Ok(beside)
        } else {
            Err(format!("there is no server at {}; give one with --server", beside.display()))
        };
    };
    eprintln!("Building the server: cargo build --release --package tandem");
    let manifest = Path::new(&folder).join("../Cargo.toml");
    let mut command = Command::new(cargo);
    command.args([
        "build",
        "--quiet",
        "--release",
        "--package",
        "tandem",
        "--bin",
        "tandem",
        "--manifest-path",
    ]);
    let built = command.arg(&manifest).status().map_err(|error| format!("cargo: {error}"))?;
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(&folder).join("../target"), PathBuf::from);
    let program = target.join("release/tandem");
    let program = program.canonicalize().map_err(|error| format!("{}: {error}", program.display()))?;
    if built.success() { Ok(program) } else { Err("the server does not build".to_owned()) }
}
