//! `loadtest sip`: how many calls a second are set up and hung up on one core, how fast, and what they cost.
//! Knows two servers: the whole agent, and the SIP stack alone behind a user that answers at once.

pub(crate) mod answerer;
pub(crate) mod setups;

use crate::{
    bench::Bench,
    figures,
    machine::{self, Facts, Places, Usage},
    processes::{Addresses, Bare, Engines},
    report::Report,
    spread::Spread,
};
use clap::{Args as ClapArgs, ValueEnum};
use setups::{Load, Outcome};
use std::{
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

/// Measures call set-up over SIP: INVITE, 200, ACK, BYE on loopback, the server on one core and the callers on another.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Measure only this server (repeatable).
    #[arg(long, value_enum)]
    only: Vec<Kind>,
    /// Seconds of each rate.
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// Calls that stay up for the memory of an idle dialog; 0: that is not measured.
    #[arg(long, default_value_t = 4_000)]
    idle: u32,
    /// The agent's program; without it, cargo builds the one of this workspace.
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// Where servers take calls.
    #[arg(long, default_value = "127.0.0.1:15260")]
    sip: SocketAddr,
    /// Where servers answer HTTP.
    #[arg(long, default_value = "127.0.0.1:15261")]
    http: SocketAddr,
    /// Where the simulators of the providers listen.
    #[arg(long, default_value = "127.0.0.1:15262")]
    simulators: SocketAddr,
    /// Ports for RTP. Those of a call that is over rest for a while, so there must be many.
    #[arg(long, default_value = "33000-60999")]
    rtp: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Sockets, transactions, dialogs, offer and answer; no media.
    Stack,
    /// The same, with a slot, RTP ports, a media thread, records and a trace for every call; simulated providers.
    Agent,
}

/// The rate at which latency is looked at.
const CALM: u32 = 50;
/// Rates that are tried one after the other, in calls a second.
const RATES: [u32; 12] = [100, 200, 300, 400, 500, 700, 1_000, 1_400, 2_000, 2_800, 4_000, 5_600];
/// A rate is sustained when so many calls are set up, in ten thousand.
const SET_UP: usize = 9_990;
/// And when all but one in a hundred are answered within this time.
const ANSWERED_MS: f64 = 50.0;
/// How long the last transactions live, with room: 64*T1 (RFC 3261 section 17).
const TRANSACTIONS_OVER: Duration = Duration::from_secs(36);

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<(), String> {
    machine::raise_file_limit();
    let facts = Facts::read();
    let mut report = Report::default();
    let wants = |kind| args.only.is_empty() || args.only.contains(&kind);
    let cores = Places::split()?;
    if wants(Kind::Stack) {
        measure_stack(args, &cores, &mut report)?;
    }
    if wants(Kind::Agent) {
        measure_agent(args, &cores, &mut report)?;
    }
    println!("\n{}", report.table(&facts));
    println!(
        "A call is INVITE with an offer, 200 with an answer, ACK, BYE, 200 over UDP on loopback. Nothing is sent"
    );
    println!(
        "twice: what is lost is a failed call. Rates are steps; the highest is the last that was sustained."
    );
    Ok(())
}

fn answerer(listen: SocketAddr) -> Result<Bare, String> {
    Bare::start(&["sip-answerer", "--listen", &listen.to_string()])
}

fn measure_stack(args: &Args, cores: &Places, report: &mut Report) -> Result<(), String> {
    const GROUP: &str = "SIP stack alone, on one core";
    eprintln!("{GROUP} ...");
    let mut start = || {
        let server = cores.on_the_servers(|| answerer(args.sip))?;
        Ok((server.pid(), server))
    };
    measure_rates(GROUP, args, &mut start, report)?;
    if args.idle > 0 {
        eprintln!("  {} calls stay up until their transactions are over ...", args.idle);
        let server = cores.on_the_servers(|| answerer(args.sip))?;
        measure_idle(GROUP, args, server.pid(), report)?;
    }
    Ok(())
}

fn measure_agent(args: &Args, cores: &Places, report: &mut Report) -> Result<(), String> {
    const GROUP: &str = "The whole agent, providers simulated, on one core";
    eprintln!("{GROUP} ...");
    let program = match &args.server {
        Some(program) => program.clone(),
        None => figures::build()?,
    };
    let Args { sip, http, simulators, rtp, .. } = args;
    let addresses =
        Addresses { sip: *sip, http: *http, simulators: *simulators, rtp: rtp.clone(), tls: None };
    let bench = Bench::new(program, addresses, &["hello"])?;
    let mut start = || {
        // Simulators inherit the core too, which a moment later is theirs to leave.
        let world = cores.on_the_servers(|| bench.start(Engines::Simulated, "hello", &[]))?;
        if let Some(simulators) = &world.simulators {
            machine::move_all_threads(simulators.pid(), &cores.others)?;
        }
        Ok((world.server.pid(), world))
    };
    measure_rates(GROUP, args, &mut start, report)
}

/// Latency and cost at the calm rate, then the highest rate. Every rate gets a server of its own: transactions live for
/// 32 s and RTP ports rest, so that else a rate would pay for the one before.
fn measure_rates<T>(
    group: &'static str,
    args: &Args,
    start: &mut impl FnMut() -> Result<(u32, T), String>,
    report: &mut Report,
) -> Result<(), String> {
    let place = |rate: u32, seconds: u64| {
        let load = Load { server: args.sip, rate, time: Duration::from_secs(seconds), hang_up: true };
        setups::run(&load).map_err(|error| format!("calling {}: {error}", args.sip))
    };
    let mut step = |rate: u32| -> Result<(Outcome, Duration), String> {
        let (pid, _server) = start()?;
        // What is needed once is paid by these.
        place(20, 2)?;
        let before = usage(pid)?;
        let outcome = place(rate, args.seconds)?;
        Ok((outcome, usage(pid)?.cpu - before.cpu))
    };
    let (calm, cpu) = step(CALM)?;
    add(report, group, &format!("at {CALM}/s"), &calm, cpu, "p99 ≤ 10");
    let mut highest = None;
    'rates: for rate in RATES {
        // What else the machine does can spoil a rate, and never improves one: it has two tries.
        for _ in 0..2 {
            let (outcome, cpu) = step(rate)?;
            let p99 = Spread::of_ms(outcome.answered.iter().copied()).at(0.99);
            let sustained = outcome.set_up * 10_000 >= outcome.offered * SET_UP && p99 <= ANSWERED_MS;
            let Outcome { offered, set_up, refused, .. } = &outcome;
            eprintln!(
                "  {rate}/s: {set_up} of {offered} set up, 200 after p99 {p99:.1} ms, refused {refused:?}"
            );
            if sustained {
                highest = Some((rate, outcome, cpu));
                continue 'rates;
            }
        }
        break;
    }
    if let Some((rate, outcome, cpu)) = highest {
        report.values(group, "highest sustained rate", "/s", &[("", f64::from(rate))], "≥ 500");
        add(report, group, "at the highest rate", &outcome, cpu, "");
    }
    Ok(())
}

fn usage(pid: u32) -> Result<Usage, String> {
    Usage::of(pid).map_err(|error| format!("/proc/{pid}: {error}"))
}

fn add(
    report: &mut Report,
    group: &'static str,
    at: &str,
    outcome: &Outcome,
    cpu: Duration,
    aim: &'static str,
) {
    report.spread(group, format!("INVITE to 100 {at}"), "ms", &Spread::of_ms(outcome.trying.clone()), "");
    report.spread(group, format!("INVITE to 200 {at}"), "ms", &Spread::of_ms(outcome.answered.clone()), aim);
    let each = cpu.as_secs_f64() * 1_000.0 / outcome.set_up.max(1) as f64;
    report.values(group, format!("CPU of the server for 1,000 set-ups {at}"), "s", &[("", each)], "");
    let failed = outcome.offered - outcome.set_up;
    report.values(group, format!("failed {at}"), "", &[("", failed as f64)], "0");
}

/// Dialogs that nobody uses, after their transactions.
fn measure_idle(group: &'static str, args: &Args, pid: u32, report: &mut Report) -> Result<(), String> {
    let hold = |rate, calls: u32| {
        let time = Duration::from_secs_f64(f64::from(calls) / f64::from(rate));
        let load = Load { server: args.sip, rate, time, hang_up: false };
        setups::run(&load).map_err(|error| format!("calling {}: {error}", args.sip))
    };
    hold(100, 100)?;
    let before = usage(pid)?.resident;
    let outcome = hold(200, args.idle)?;
    let fresh = usage(pid)?.resident;
    let until = Instant::now() + TRANSACTIONS_OVER;
    std::thread::sleep(until.saturating_duration_since(Instant::now()));
    let idle = usage(pid)?.resident;
    let kib = |bytes: u64| bytes.saturating_sub(before) as f64 / 1024.0 / outcome.set_up.max(1) as f64;
    let values = [("", kib(idle)), ("while transactions live", kib(fresh)), ("n", outcome.set_up as f64)];
    report.values(group, "memory of one idle dialog", "KiB", &values, "≤ 64");
    Ok(())
}
