//! `loadtest soak`: calls that come and go for hours, and whether the server then holds more than after the first minutes.
//! Knows /proc, the server's metrics and how calls are placed. A leak is a slope, not a value: what it would come to is judged.

use crate::{
    bench::{Bench, Calls},
    figures,
    fleet::{self, Outcome, Tally},
    machine::{self, Usage},
    processes::{Addresses, Engines},
};
use clap::Args as ClapArgs;
use serde_json::json;
use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};
use tandem::caller::{
    engine::News,
    script::{Script, Step},
};

/// Holds a server under calls that come and go, and fails when its memory, files, threads or tasks go on growing.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// How long.
    #[arg(long, default_value_t = 1.0)]
    hours: f64,
    /// Calls at the same time, about.
    #[arg(long, default_value_t = 20)]
    calls: usize,
    /// Use the engines inside the server, not simulated providers.
    #[arg(long)]
    embedded: bool,
    /// Write all samples and the verdict as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The server's program; without it, cargo builds the one of this workspace.
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// Where the server takes calls.
    #[arg(long, default_value = "127.0.0.1:15360")]
    sip: SocketAddr,
    /// Where it answers HTTP.
    #[arg(long, default_value = "127.0.0.1:15361")]
    http: SocketAddr,
    /// Where the simulators of the providers listen.
    #[arg(long, default_value = "127.0.0.1:15362")]
    simulators: SocketAddr,
    /// Ports for RTP. Those of a call that is over rest for a while, so there must be many.
    #[arg(long, default_value = "20000-29999")]
    rtp: String,
}

/// What callers ask; the simulators hear it whatever is said.
const ASK: &str = "When are you open?";
const REPLY: &str = "open=We are open from nine to five, Monday to Friday, and on Saturday until noon.";
/// Samples of a run: enough for a slope, few enough for hours.
const SAMPLES: u32 = 400;
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
/// The part of a run in which caches fill and pools grow, and the least of it in seconds: until as many ports cool down
/// as ever will.
const WARM_UP: f64 = 0.25;
const WARM_UP_SECONDS: f64 = 90.0;
/// A run below this is a try of the command: its slopes are chance.
const TELLING: Duration = Duration::from_secs(15 * 60);
/// Groups of callers that take turns, so that there are always calls in every state.
const GROUPS: usize = 4;
/// Between the beginnings of two calls of a group.
const SPACING: Duration = Duration::from_millis(300);
/// The longest call.
const LIMIT: Duration = Duration::from_secs(90);
/// From one progress line to the next.
const PROGRESS: Duration = Duration::from_secs(10);
/// The server's own count of what runs on its asynchronous runtime, and how long it may take to say it.
const TASKS: &str = "tandem_runtime_tasks";
const ANSWER: Duration = Duration::from_secs(5);

/// What was counted at one moment.
#[derive(Clone, Copy)]
struct Sample {
    /// Seconds since the start.
    at: f64,
    resident: f64,
    files: f64,
    threads: f64,
    tasks: f64,
}

/// Runs the command; false when something grows or a call fails.
pub(crate) fn run(args: &Args) -> Result<bool, String> {
    machine::raise_file_limit();
    let program = args.server.clone().map_or_else(figures::build, Ok)?;
    let addresses = Addresses {
        sip: args.sip,
        http: args.http,
        simulators: args.simulators,
        rtp: args.rtp.clone(),
        tls: None,
    };
    let bench = Bench::new(program, addresses, &[ASK])?;
    let engines = if args.embedded { Engines::Embedded } else { Engines::Simulated };
    let world = bench.start(engines, ASK, &["--reply", REPLY])?;
    let time = Duration::try_from_secs_f64(args.hours * 3_600.0).map_err(|error| error.to_string())?;
    println!("{} calls come and go for {}", args.calls, words(time));
    let tasks = Tasks::of(args.http)?;
    let soak = Soak { bench: &bench, pid: world.server.pid(), tasks, time, began: Instant::now() };
    let (samples, calls) = soak.run(args.calls)?;
    let verdicts = judge(&samples, args.calls);
    if time < TELLING {
        println!("{} is too short to tell a leak from chance; what follows shows the form.", words(time));
    }
    for verdict in &verdicts {
        println!("{}", verdict.line());
    }
    let Ended { placed, failed, .. } = &calls;
    println!("{placed} calls, {} failed", failed.len());
    for failure in failed.iter().take(10) {
        println!("  {failure}");
    }
    if let Some(path) = &args.json {
        let text = format!("{:#}\n", report(&samples, &verdicts, &calls));
        std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let holds = verdicts.iter().all(Verdict::is_flat) && calls.failed.is_empty();
    println!("{}", if holds { "It holds." } else { "It does not hold." });
    Ok(holds)
}

struct Soak<'a> {
    bench: &'a Bench,
    pid: u32,
    tasks: Tasks,
    time: Duration,
    began: Instant,
}

/// Where the server tells how many tasks it has.
struct Tasks {
    runtime: tokio::runtime::Runtime,
    client: reqwest::Client,
    url: String,
}

impl Tasks {
    fn of(http: SocketAddr) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let client = reqwest::Client::builder().timeout(ANSWER).build().map_err(|error| error.to_string())?;
        Ok(Self { runtime, client, url: format!("http://{http}/metrics") })
    }

    fn read(&self) -> Result<f64, String> {
        let text = self.runtime.block_on(async { self.client.get(&self.url).send().await?.text().await });
        let text = text.map_err(|error| format!("{}: {error}", self.url))?;
        task_count(&text).ok_or_else(|| format!("{} does not say {TASKS}", self.url))
    }
}

fn task_count(metrics: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(TASKS)?.trim().parse().ok())
}

/// The calls that are over.
#[derive(Default)]
struct Ended {
    placed: usize,
    failed: Vec<String>,
}

impl Soak<'_> {
    fn run(&self, calls: usize) -> Result<(Vec<Sample>, Ended), String> {
        let (over, placed) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let groups: Vec<_> = (0..GROUPS)
                .map(|group| {
                    let share = (calls + group) / GROUPS;
                    let (over, placed) = (&over, &placed);
                    scope.spawn(move || self.call_again_and_again(group, share, over, placed))
                })
                .collect();
            let samples = self.sample(&placed);
            over.store(true, Ordering::Relaxed);
            let mut ended = Ended::default();
            for group in groups {
                let one = group.join().map_err(|_| "a callers' thread failed".to_owned())??;
                ended.placed += one.placed;
                ended.failed.extend(one.failed);
            }
            Ok((samples?, ended))
        })
    }

    /// One group's calls, round by round.
    fn call_again_and_again(
        &self,
        group: usize,
        calls: usize,
        over: &AtomicBool,
        placed: &AtomicUsize,
    ) -> Result<Ended, String> {
        let mut ended = Ended::default();
        // Groups begin apart, so that they are never all between two rounds.
        std::thread::sleep(Duration::from_secs(group as u64).min(self.time / 8));
        while calls > 0 && !over.load(Ordering::Relaxed) {
            let uri = self.bench.uri();
            let plan = self.bench.plan(&uri, &Calls { count: calls, spacing: SPACING, limit: LIMIT });
            let (stop, news) = mpsc::channel();
            let round = ended.placed;
            let script = move |number: usize| Script { steps: conversation(round + number) };
            let outcomes = std::thread::scope(|scope| {
                let calling = scope.spawn(|| fleet::run(&plan, script, news, &Tally::default()));
                while !calling.is_finished() {
                    std::thread::sleep(Duration::from_millis(100));
                    if over.load(Ordering::Relaxed) {
                        let _they_may_be_done = stop.send(News::Stop);
                    }
                }
                calling.join().map_err(|_| "the callers failed".to_owned())
            })??;
            ended.placed += outcomes.len();
            placed.fetch_add(outcomes.len(), Ordering::Relaxed);
            // What was broken off by the end of the time has not failed.
            if !over.load(Ordering::Relaxed) {
                ended.failed.extend(outcomes.iter().filter_map(Outcome::failure));
            }
        }
        Ok(ended)
    }

    /// Samples until the time is over, and says how it goes.
    fn sample(&self, placed: &AtomicUsize) -> Result<Vec<Sample>, String> {
        let interval = (self.time / SAMPLES).max(SHORTEST_INTERVAL);
        let (mut samples, mut told) = (Vec::new(), Duration::ZERO);
        while self.began.elapsed() < self.time {
            std::thread::sleep(interval.min(self.time.saturating_sub(self.began.elapsed())));
            let failed = |error: std::io::Error| format!("the server is gone: /proc/{}: {error}", self.pid);
            let usage = Usage::of(self.pid).map_err(failed)?;
            let files = machine::descriptors(self.pid).map_err(failed)?;
            let tasks = self.tasks.read()?;
            let elapsed = self.began.elapsed();
            samples.push(Sample {
                at: elapsed.as_secs_f64(),
                resident: usage.resident as f64 / f64::from(1 << 20),
                files: files as f64,
                threads: usage.threads as f64,
                tasks,
            });
            if elapsed >= told + PROGRESS {
                told = elapsed;
                let (done, left) = (placed.load(Ordering::Relaxed), self.time.saturating_sub(elapsed));
                println!(
                    "  {} left: {done} calls over, {:.1} MiB, {files} files, {} threads, {tasks} tasks, {:.0} s of CPU",
                    words(left),
                    usage.resident as f64 / f64::from(1 << 20),
                    usage.threads,
                    usage.cpu.as_secs_f64()
                );
            }
        }
        Ok(samples)
    }
}

/// One to three questions, and sometimes the caller is gone without a goodbye while the agent speaks.
fn conversation(number: usize) -> Vec<Step> {
    let turns = 1 + number % 3;
    let Script { mut steps } = Script::conversation(&vec![ASK.to_owned(); turns]);
    if number % 4 == 3 {
        steps.truncate(steps.len().saturating_sub(2));
        steps.push(Step::HangUp { hang_up: true });
    }
    steps
}

fn words(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 7_200.. => format!("{:.1} h", seconds as f64 / 3_600.0),
        seconds @ 120.. => format!("{} min", seconds / 60),
        seconds => format!("{seconds} s"),
    }
}

/// How one figure has moved after the warm-up.
struct Verdict {
    name: &'static str,
    mean: f64,
    /// What the slope comes to from the end of the warm-up to the end.
    growth: f64,
    /// What it may come to.
    allowed: f64,
    an_hour: f64,
}

impl Verdict {
    fn is_flat(&self) -> bool {
        self.growth <= self.allowed
    }

    fn line(&self) -> String {
        let Self { name, mean, growth, allowed, an_hour } = self;
        let word = if self.is_flat() { "flat" } else { "GROWS" };
        format!(
            "{name:14} {word:6} mean {mean:.1}, {growth:+.2} since the warm-up (allowed +{allowed:.2}), {an_hour:+.2} an hour"
        )
    }
}

/// A slope may come from chance: the allocator keeps some memory, and a sample meets more or fewer of so many calls.
fn judge(samples: &[Sample], calls: usize) -> Vec<Verdict> {
    let end = samples.last().map_or(0.0, |sample| sample.at);
    let warm_up = (end * WARM_UP).max(WARM_UP_SECONDS.min(end / 2.0));
    let warm: Vec<&Sample> = samples.iter().filter(|sample| sample.at >= warm_up).collect();
    let span = end - warm_up;
    let verdict = |name, of: fn(&Sample) -> f64, share: f64, least: f64| {
        let points: Vec<(f64, f64)> = warm.iter().map(|sample| (sample.at, of(sample))).collect();
        let (mean, slope) = line_through(&points);
        Verdict {
            name,
            mean,
            growth: slope * span,
            allowed: (mean * share).max(least),
            an_hour: slope * 3_600.0,
        }
    };
    vec![
        verdict("memory, MiB", |sample| sample.resident, 0.05, 2.0),
        verdict("open files", |sample| sample.files, 0.05, 4.0 + calls as f64),
        verdict("threads", |sample| sample.threads, 0.0, 1.0),
        verdict("tasks", |sample| sample.tasks, 0.05, 4.0 + calls as f64),
    ]
}

/// Mean and slope of the line with the least squares; a slope of 0 where there is none.
fn line_through(points: &[(f64, f64)]) -> (f64, f64) {
    let count = points.len().max(1) as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let across: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let along: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    (y, if along > 0.0 { across / along } else { 0.0 })
}

fn report(samples: &[Sample], verdicts: &[Verdict], calls: &Ended) -> serde_json::Value {
    let verdicts = verdicts.iter().map(|verdict| {
        json!({ "name": verdict.name, "flat": verdict.is_flat(), "mean": verdict.mean, "growth": verdict.growth,
            "allowed": verdict.allowed, "an_hour": verdict.an_hour })
    });
    let samples = samples.iter().map(|sample| {
        json!({ "s": sample.at, "memory_mib": sample.resident, "files": sample.files, "threads": sample.threads,
            "tasks": sample.tasks })
    });
    json!({
        "calls": calls.placed,
        "failed": calls.failed,
        "verdicts": verdicts.collect::<Vec<_>>(),
        "samples": samples.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples of an hour, of a server whose memory is this at each share of it.
    fn hour(resident: impl Fn(f64) -> f64) -> Vec<Sample> {
        (0..=360)
            .map(|n| {
                let share = f64::from(n) / 360.0;
                // Calls come and go: what is measured goes up and down with them.
                let wave = f64::from(n % 7);
                Sample {
                    at: share * 3_600.0,
                    resident: resident(share) + wave,
                    files: 100.0 + wave,
                    threads: 9.0,
                    tasks: 40.0 + wave,
                }
            })
            .collect()
    }

    #[test]
    fn what_grows_only_while_it_warms_up_is_flat() {
        let verdicts = judge(&hour(|share| 100.0 + 80.0 * (share / 0.2).min(1.0)), 20);
        assert!(verdicts.iter().all(Verdict::is_flat), "{}", verdicts[0].line());
    }

    #[test]
    fn a_slow_leak_below_the_coming_and_going_is_seen() {
        let verdicts = judge(&hour(|share| 100.0 + 12.0 * share), 20);
        let flat: Vec<bool> = verdicts.iter().map(Verdict::is_flat).collect();
        assert_eq!(flat, [false, true, true, true], "{}", verdicts[0].line());
        assert!((verdicts[0].growth - 9.0).abs() < 0.5, "{}", verdicts[0].growth);
    }

    #[test]
    fn memory_that_is_given_back_is_no_leak() {
        assert!(judge(&hour(|share| 200.0 - 50.0 * share), 20).iter().all(Verdict::is_flat));
        assert_eq!(judge(&[], 20).len(), 4);
    }

    #[test]
    fn tasks_that_outlive_their_calls_are_seen() {
        let mut samples = hour(|_| 100.0);
        samples.iter_mut().for_each(|sample| sample.tasks += sample.at / 36.0);
        let flat: Vec<bool> = judge(&samples, 20).iter().map(Verdict::is_flat).collect();
        assert_eq!(flat, [true, true, true, false]);
        let metrics =
            "# TYPE tandem_runtime_tasks gauge\ntandem_runtime_tasks 17\ntandem_ports_cap 50\n# EOF\n";
        assert_eq!((task_count(metrics), task_count("# EOF\n")), (Some(17.0), None));
    }
}
