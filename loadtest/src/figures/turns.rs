//! From the end of the caller's speech to the first voiced packet of the answer: what of it is ours.
//! Knows traces and the callers' clocks. Our own share is what remains without the end-of-turn wait, which is chosen.

use crate::{
    bench::{Bench, Calls},
    figures::ASK,
    fleet::Outcome,
    processes::Engines,
    report::Report,
    spread::Spread,
};
use call::latency::Stage;
use std::time::Duration;
use tandem::{
    caller::script::Script,
    telemetry::{CallTrace, call_trace::LatencyTrace},
};

/// Words that the embedded recogniser knows and the demo agent answers briefly.
pub(super) const HELLO: &str = "hello";
pub(super) const THANKS: &str = "thank you very much";
pub(super) const HELP: &str = "what are your opening hours?";

/// Calls at the same time: few enough that nobody waits for anybody.
const CALLS: usize = 5;
/// Turns of each.
const TURNS: usize = 21;

pub(super) fn measure_simulated(bench: &Bench, report: &mut Report) -> Result<(), String> {
    eprintln!("{CALLS} calls of {TURNS} turns with simulated providers that take no time ...");
    let world = bench.start(Engines::Simulated, ASK, &[])?;
    let calls = Calls { count: CALLS, spacing: Duration::from_millis(730), limit: Duration::from_secs(240) };
    let script = Script::conversation(&vec![ASK.to_owned(); TURNS]);
    let outcomes = bench.call(&calls, |_| script.clone())?;
    let traces = world.traces(&outcomes)?;
    add("Turns, simulated providers without delay", &outcomes, &traces, "p99 ≤ 40", report);
    Ok(())
}

pub(super) fn measure_embedded(bench: &Bench, report: &mut Report) -> Result<(), String> {
    eprintln!("8 calls of 3 turns with the embedded engines, one after the other ...");
    let world = bench.start(Engines::Embedded, ASK, &[])?;
    let script = Script::conversation(&[HELLO, THANKS, HELP].map(str::to_owned));
    let mut outcomes = Vec::new();
    for _ in 0..8 {
        let one = Calls { count: 1, spacing: Duration::ZERO, limit: Duration::from_secs(90) };
        outcomes.extend(bench.call(&one, |_| script.clone())?);
    }
    let traces = world.traces(&outcomes)?;
    add("Turns, embedded engines", &outcomes, &traces, "", report);
    Ok(())
}

fn add(
    group: &'static str,
    outcomes: &[Outcome],
    traces: &[CallTrace],
    aim: &'static str,
    report: &mut Report,
) {
    let heard = outcomes.iter().flat_map(|outcome| outcome.measures.answers.iter().copied());
    report.spread(group, "end of speech to answer, caller's clock", "ms", &Spread::of_ms(heard), "");
    let turns: Vec<&LatencyTrace> =
        traces.iter().flat_map(|trace| &trace.turns).filter_map(|turn| turn.latency.as_ref()).collect();
    let total: Spread = turns.iter().map(|turn| ms(turn.total_us)).collect();
    report.spread(group, "the same, server's trace", "ms", &total, "");
    let own: Spread = turns.iter().map(|turn| ms(turn.total_us - stage_us(turn, Stage::EndOfTurn))).collect();
    report.spread(group, "our share beyond the end-of-turn wait", "ms", &own, aim);
    for stage in Stage::ALL {
        let times: Spread = turns.iter().map(|turn| ms(stage_us(turn, stage))).collect();
        if times.max() > 0.0 {
            report.spread(group, format!("  of it {}", stage.name()), "ms", &times, "");
        }
    }
    let saved: usize = traces.iter().flat_map(|trace| &trace.turns).map(|turn| turn.fallbacks.len()).sum();
    if saved > 0 {
        report.values(group, "turns that a prepared sentence had to save", "", &[("n", saved as f64)], "0");
    }
}

fn ms(us: u64) -> f64 {
    us as f64 / 1_000.0
}

fn stage_us(turn: &LatencyTrace, wanted: Stage) -> u64 {
    turn.stages.iter().filter(|stage| stage.time.stage == wanted).map(|stage| stage.time.us).sum()
}
