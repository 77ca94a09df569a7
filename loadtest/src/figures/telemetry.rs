//! What it costs to tell of calls: the same load with everything switched on, and with as little as there can be.
//! Knows what can be switched. Call records are kept in both: no call is without one.

use crate::{
    bench::Bench, exposition::metrics, faults::Collector, figures::load, fleet::Outcome, processes::Extras,
    report::Report,
};

const GROUP: &str =
    "Telemetry: a collector, local traces, a scrape each second and a log at info, beside none of them";
/// As little as there can be.
const OFF: &str = "[store]\ntraces = false\n";

/// Two loads, one after the other.
pub(super) fn measure(bench: &Bench, calls: usize, seconds: u64, report: &mut Report) -> Result<(), String> {
    let off = Extras { config: OFF.to_owned(), log: Some("error"), ..Extras::default() };
    let (without, outcomes) = load::cost(bench, calls, seconds, off, || {})?;
    let failed = failures(&outcomes);
    let collector = Collector::start()?;
    let on = Extras { config: collector.config(), log: Some("info"), ..Extras::default() };
    let scrape = || {
        if let Err(error) = metrics(bench.addresses.http) {
            eprintln!("  {error}");
        }
    };
    let (with, outcomes) = load::cost(bench, calls, seconds, on, scrape)?;
    let values = [("everything on", with), ("everything off", without)];
    report.values(GROUP, format!("CPU of the server for each call-second, {calls} calls"), "ms", &values, "");
    report.values(GROUP, "more", "%", &[("", (with / without - 1.0) * 100.0)], "≤ 10");
    let sent = collector.taken() as f64 / 1e3 / calls as f64;
    report.values(GROUP, "sent to the collector for each call", "kB", &[("", sent)], "more than 0");
    let values = [("on", failures(&outcomes)), ("off", failed)];
    report.values(GROUP, "calls that did not go as they should", "", &values, "0");
    Ok(())
}

fn failures(outcomes: &[Outcome]) -> f64 {
    outcomes.iter().filter(|outcome| outcome.failure().is_some()).count() as f64
}
