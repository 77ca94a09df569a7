//! `loadtest agent`: many callers at once who speak, listen, interrupt, press keys and hold, over a network that may be
//! bad; what they measure, judged. Knows a SIP address; the server may be anybody's.

mod arrivals;
mod callers;
mod html;
mod impairment;
mod limits;
mod link;
mod outcome;
mod own_server;
mod plot;
mod run;
mod scenario;
mod seat;
mod strangers;
mod summary;
mod truth;
mod watch;

use crate::{machine, voice};
use arrivals::{ArrivalPlan, Pattern};
use callers::{Plan, Report, Share, Tally, Voices};
use clap::Args as ClapArgs;
use impairment::Impairment;
use limits::Limit;
use outcome::CallOutcome;
use run::{Run, histogram};
use scenario::{Defaults, Scenario};
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    time::{Duration, Instant},
};
use watch::{Second, Watch};

/// Bounds of a load: whatever is asked for, it stays below them.
const MOST_CALLERS: usize = 10_000;
const MOST_RATE: f64 = 1_000.0;
const MOST_CALLS: u64 = 1_000_000;
const LONGEST: Duration = Duration::from_secs(24 * 3_600);
/// Without a given ramp, the first calls of so many callers begin in a second.
const RAMP_PER_SECOND: f64 = 20.0;

/// Calls an address many times at once, talks, listens, and measures from the outside.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Whom to call; without it, the server on this machine.
    #[arg(default_value = "sip:load@127.0.0.1:5060")]
    uri: String,
    /// Callers at the same time, at most.
    #[arg(long, alias = "count", default_value_t = 10)]
    calls: usize,
    /// New calls a second, for example 5/s; without it every caller calls again when its call is over.
    #[arg(long, value_name = "RATE")]
    rate: Option<String>,
    /// How calls at a rate follow each other.
    #[arg(long, value_enum, default_value_t = Pattern::Even)]
    arrivals: Pattern,
    /// In what time the load grows; without it, twenty callers a second.
    #[arg(long, value_name = "TIME")]
    ramp: Option<String>,
    /// How long calls are placed: 30s, 5m, 8h.
    #[arg(long, value_name = "TIME", default_value = "30s")]
    duration: String,
    /// How long calls may go on after that.
    #[arg(long, value_name = "TIME", default_value = "30s")]
    finish: String,
    /// Calls in all, at most.
    #[arg(long, value_name = "N")]
    total: Option<u64>,
    /// What callers say, over and over (repeatable).
    #[arg(long, value_name = "TEXT", default_value = "When are you open?")]
    say: Vec<String>,
    /// What callers do instead (repeatable): a script of `tandem call`, a scenario or a mix; see loadtest/scenarios/.
    #[arg(long = "scenario", visible_alias = "script", value_name = "FILE[=WEIGHT]")]
    scenarios: Vec<String>,
    /// Codecs to offer, preferred first.
    #[arg(long, value_delimiter = ',', default_value = "pcmu,pcma")]
    codec: Vec<String>,
    /// SRTP with SDES: off, optional or required.
    #[arg(long, default_value = "off")]
    srtp: String,
    /// What the network does wrong in both directions: loss=1%,burst=2%x5,delay=40ms,jitter=30ms,reorder=1%,
    /// duplicate=1%,skew=200ppm,garbage=200/s,foreign=200/s.
    #[arg(long, value_name = "WHAT", default_value = "none")]
    impair: Impairment,
    /// The same for packets to the server alone.
    #[arg(long, value_name = "WHAT")]
    impair_up: Option<Impairment>,
    /// The same for packets from the server alone.
    #[arg(long, value_name = "WHAT")]
    impair_down: Option<Impairment>,
    /// What must not be exceeded, for example gap.p95<=800ms or failed<=1% (repeatable).
    #[arg(long = "limit", value_name = "LIMIT")]
    limits: Vec<Limit>,
    /// Write a report to look at.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Write everything as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write what both sides of every call said into this folder: caller left, agent right.
    #[arg(long, value_name = "FOLDER")]
    record: Option<PathBuf>,
    /// The HTTP API of a Tandem server: its traces are compared with what callers measured.
    #[arg(long, value_name = "URL")]
    api: Option<String>,
    /// The process whose CPU and memory to watch; without it, the one on this machine that listens at the port called.
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// What all chance comes from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Threads of callers.
    #[arg(long, default_value_t = 1)]
    threads: u64,
    /// Start a server and simulated providers on loopback, call them, and end them.
    #[arg(long)]
    self_contained: bool,
    /// The server's program for that; without it, cargo builds the one of this workspace.
    #[arg(long, value_name = "FILE", requires = "self_contained")]
    server: Option<PathBuf>,
}

/// Runs the command; false when a limit was exceeded or, without any, when a call failed.
pub(crate) fn run(args: &Args) -> Result<bool, String> {
    machine::raise_file_limit();
    // Wrong arguments are said before anything is started.
    let (arrivals, finish, scenarios) = (arrival_plan(args)?, time(&args.finish)?, scenarios(args)?);
    let own = args.self_contained.then(|| own_server::start(args)).transpose()?;
    let uri = own.as_ref().map_or_else(|| args.uri.clone(), own_server::OwnServer::uri);
    let (server, transport) = tandem::cli::call::resolve(&uri)?;
    if transport == sip::Transport::Tls {
        return Err(format!("{uri}: load goes over UDP or TCP"));
    }
    let pid = args.server_pid.or(own.as_ref().map(own_server::OwnServer::pid));
    let pid = pid.or_else(|| server.ip().is_loopback().then(|| watch::process_on(server.port())).flatten());
    let speech = voices(&scenarios)?;
    announce(args, &uri, server, &scenarios, pid);
    let record = args.record.is_some();
    let seed = args.seed;
    let plan = Plan { uri, server, transport, scenarios, speech, arrivals, finish, record, seed };
    let mut run = carry_out(args, &plan, pid)?;
    if let Some(api) = own.as_ref().map(own_server::OwnServer::api).or(args.api.clone()) {
        eprintln!("Reading the traces of {} calls ...", run.calls.len());
        run.truth = Some(truth::compare(&api, &run.calls)?);
    }
    let verdicts: Vec<_> = args.limits.iter().map(|limit| limit.judge(&run)).collect();
    print!("{}", summary::table(&run, &verdicts));
    let facts = machine::Facts::read();
    if let Some(path) = &args.json {
        write(path, &format!("{:#}\n", summary::json(&run, &verdicts, &facts)))?;
    }
    if let Some(path) = &args.report {
        write(path, &html::page(&run, &verdicts, &facts))?;
        println!("report: {}", path.display());
    }
    let failed = run.calls.is_empty() || run.calls.iter().any(|call| call.failure.is_some());
    Ok(if verdicts.is_empty() { !failed } else { verdicts.iter().all(|verdict| verdict.met) })
}

fn write(path: &PathBuf, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

fn announce(args: &Args, uri: &str, server: std::net::SocketAddr, scenarios: &[Scenario], pid: Option<u32>) {
    let names: Vec<&str> = scenarios.iter().map(|scenario| scenario.name.as_str()).collect();
    eprintln!("{} callers to {uri} ({server}): {}", args.calls, names.join(", "));
    let left_out: usize = scenarios.iter().map(|scenario| scenario.left_out).sum();
    if left_out > 0 {
        eprintln!(
            "{left_out} expectations of words are left out: callers of a load do not know the server's words."
        );
    }
    match pid {
        Some(pid) => eprintln!("The server is process {pid}."),
        None => eprintln!("The server's CPU and memory are not seen; --server-pid names its process."),
    }
}

fn scenarios(args: &Args) -> Result<Vec<Scenario>, String> {
    let defaults = Defaults {
        codecs: scenario::codecs(&args.codec)?,
        srtp: scenario::srtp(&args.srtp)?,
        up: args.impair_up.unwrap_or(args.impair),
        down: args.impair_down.unwrap_or(args.impair),
    };
    if args.scenarios.is_empty() {
        return Ok(vec![scenario::conversation(&args.say, &defaults)?]);
    }
    let read = args.scenarios.iter().map(|argument| scenario::read(argument, &defaults));
    Ok(read.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

fn arrival_plan(args: &Args) -> Result<ArrivalPlan, String> {
    let rate = args.rate.as_ref().map(|text| {
        let rate = text.strip_suffix("/s").unwrap_or(text).parse::<f64>().ok();
        let rate = rate.filter(|rate| *rate > 0.0 && *rate <= MOST_RATE);
        rate.ok_or_else(|| format!("--rate {text}: write for example 5/s; at most {MOST_RATE}/s"))
    });
    if !(1..=MOST_CALLERS).contains(&args.calls) || !(1..=64).contains(&args.threads) {
        return Err(format!("--calls is 1 to {MOST_CALLERS}, --threads 1 to 64"));
    }
    let ramp = Duration::from_secs_f64(args.calls as f64 / RAMP_PER_SECOND);
    Ok(ArrivalPlan {
        callers: args.calls,
        rate: rate.transpose()?,
        pattern: args.arrivals,
        ramp: args.ramp.as_deref().map_or(Ok(ramp), time)?,
        duration: time(&args.duration)?,
        total: args.total.unwrap_or(MOST_CALLS).min(MOST_CALLS),
    })
}

/// `90`, `90s`, `5m`, `1h`, `500ms`.
fn time(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let factor = match &text[digits..] {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3_600.0,
        _ => f64::NAN,
    };
    let seconds = text[..digits].parse::<f64>().map(|number| number * factor).ok();
    let seconds = seconds.filter(|seconds| (0.0..=LONGEST.as_secs_f64()).contains(seconds));
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| format!("{text}: a time is written 90s, 5m or 1h; at most 24h"))
}

/// Everything that is said, at the rates that are needed.
fn voices(scenarios: &[Scenario]) -> Result<Voices, String> {
    let mut voices = Voices::default();
    for place in 0..2 {
        let at_rate: Vec<&Scenario> = scenarios.iter().filter(|one| callers::rate(one).1 == place).collect();
        let Some(first) = at_rate.first() else { continue };
        let (rate, _) = callers::rate(first);
        let texts = at_rate.iter().flat_map(|one| one.script.spoken());
        voices.texts[place] = Arc::new(voice::speak_at(rate, texts)?);
        let files = at_rate.iter().flat_map(|one| one.script.files());
        voices.files[place] = Arc::new(voice::read_files(rate, files)?);
    }
    Ok(voices)
}

/// Places the calls, watches them, and collects what they measured.
fn carry_out(args: &Args, plan: &Plan, pid: Option<u32>) -> Result<Run, String> {
    if let Some(folder) = &args.record {
        std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_interrupt(stop.clone());
    let tally = Tally::default();
    let (sender, reports) = mpsc::channel();
    let start = Instant::now();
    let mut collector = Collector::new(args, plan, &tally);
    let mut watch = Watch::new(start, pid);
    let threads = std::thread::scope(|scope| {
        let begin = |thread| {
            let share = Share { thread, threads: args.threads, start };
            let (sender, tally, stop): (Sender<Report>, _, _) = (sender.clone(), &tally, &stop);
            scope.spawn(move || callers::run(plan, share, tally, stop, &sender))
        };
        let threads: Vec<_> = (0..args.threads).map(begin).collect();
        drop(sender);
        collector.collect(&reports, &mut watch);
        threads.into_iter().map(|thread| thread.join()).collect::<Vec<_>>()
    });
    watch.end();
    for thread in threads {
        let ended = thread.map_err(|_| "a thread of callers failed".to_owned())?;
        ended.map_err(|error| format!("calling {}: {error}", plan.server))?;
    }
    Ok(collector.finish(start.elapsed(), watch.series))
}

/// The first interrupt hangs up and reports; a second one ends the program.
fn stop_on_interrupt(stop: Arc<AtomicBool>) {
    let wait = move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            stop.store(true, Ordering::Relaxed);
        }
        if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            std::process::exit(130);
        }
    };
    let _without_it_an_interrupt_just_ends_the_program = std::thread::Builder::new().spawn(wait);
}

/// Takes what the threads of callers report.
struct Collector<'a> {
    args: &'a Args,
    plan: &'a Plan,
    tally: &'a Tally,
    run: Run,
    /// The longest waits for an answer of the last calls, for the progress line.
    recent: Vec<f64>,
    unwritten: Option<String>,
}

impl<'a> Collector<'a> {
    fn new(args: &'a Args, plan: &'a Plan, tally: &'a Tally) -> Self {
        let run = Run {
            uri: plan.uri.clone(),
            command: std::env::args().skip(1).collect::<Vec<_>>().join(" "),
            seed: plan.seed,
            began: summary::now(),
            seconds: 0.0,
            calls: Vec::new(),
            packets: histogram(),
            own_late: histogram(),
            series: Vec::new(),
            held_back: 0,
            truth: None,
        };
        Self { args, plan, tally, run, recent: Vec::new(), unwritten: None }
    }

    /// Until every thread is done.
    fn collect(&mut self, reports: &Receiver<Report>, watch: &mut Watch) {
        loop {
            match reports.recv_timeout(watch.next().saturating_duration_since(Instant::now())) {
                Ok(report) => self.take(report),
                Err(RecvTimeoutError::Timeout) => watch.tick(self.tally, &self.recent_gap()),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn take(&mut self, report: Report) {
        match report {
            Report::Ended { ended, recording, rate } => {
                let outcome = CallOutcome::new(&ended, &self.plan.scenarios[ended.scenario]);
                let count = |count: &std::sync::atomic::AtomicU64, yes: bool| {
                    count.fetch_add(u64::from(yes), Ordering::Relaxed)
                };
                count(&self.tally.over, outcome.setup_ms.is_some());
                count(&self.tally.failed, outcome.failure.is_some());
                for us in &ended.measures.gaps_us {
                    self.run.packets.saturating_record(u64::from(*us).max(1));
                }
                self.recent.extend(outcome.answers.iter().map(|answer| answer.gap_ms));
                let surplus = self.recent.len().saturating_sub(200);
                self.recent.drain(..surplus);
                if let Some(folder) = &self.args.record {
                    let path = folder.join(format!("call-{:06}.wav", outcome.number));
                    let written = voice::write_stereo(&path, rate, &recording);
                    self.unwritten = written.err().map(|error| format!("{}: {error}", path.display()));
                }
                self.run.calls.push(outcome);
            }
            Report::Late(late) => {
                late.into_iter().for_each(|us| self.run.own_late.saturating_record(u64::from(us).max(1)));
            }
        }
    }

    fn recent_gap(&self) -> String {
        let recent: crate::spread::Spread = self.recent.iter().copied().collect();
        if recent.len() == 0 { String::new() } else { format!("  gap p95 {:.0} ms", recent.at(0.95)) }
    }

    fn finish(mut self, took: Duration, series: Vec<Second>) -> Run {
        if let Some(unwritten) = &self.unwritten {
            eprintln!("A recording could not be written: {unwritten}");
        }
        self.run.calls.sort_by_key(|call| call.number);
        self.run.held_back = Tally::read(&self.tally.held_back);
        Run { seconds: took.as_secs_f64(), series, ..self.run }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_people_write_them() {
        let seconds = |text| time(text).map(|time| time.as_secs_f64());
        assert_eq!(seconds("90"), Ok(90.0));
        assert_eq!((seconds("500ms"), seconds("5m"), seconds("1.5h")), (Ok(0.5), Ok(300.0), Ok(5_400.0)));
        for wrong in ["", "5d", "-1s", "25h", "m"] {
            assert!(time(wrong).is_err_and(|error| error.contains("90s")), "{wrong}");
        }
    }
}
