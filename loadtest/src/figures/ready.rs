//! How soon a server is ready, and how soon a caller hears it.
//! Knows the callers' and the parent's clocks.

use crate::{
    bench::{Bench, Calls},
    figures::ASK,
    processes::Engines,
    report::Report,
    spread::Spread,
};
use std::time::Duration;
use tandem::caller::script::{Script, Step};

/// Starts of each kind of server.
const STARTS: usize = 5;
/// Calls; at most two are up at the same time.
const CALLS: usize = 25;

pub(super) fn measure(bench: &Bench, report: &mut Report) -> Result<(), String> {
    for (engines, name) in
        [(Engines::Simulated, "simulated providers"), (Engines::Embedded, "embedded engines")]
    {
        eprintln!("Starting a server {STARTS} times with {name} ...");
        let mut starts = Vec::new();
        for _ in 0..STARTS {
            starts.push(bench.start(engines, ASK, &[])?.server.ready_after.as_secs_f64());
        }
        let starts = starts.into_iter().collect();
        report.spread("Ready", format!("start to ready, {name}"), "s", &starts, "≤ 1");
        eprintln!("Listening to {CALLS} greetings with {name} ...");
        let world = bench.start(engines, ASK, &[])?;
        let calls =
            Calls { count: CALLS, spacing: Duration::from_millis(417), limit: Duration::from_secs(60) };
        let outcomes = bench.call(&calls, |_| listen_briefly())?;
        let greetings = outcomes.iter().filter_map(|outcome| outcome.measures.greeting);
        let name = format!("INVITE to the greeting's first voiced packet, {name}");
        report.spread("Ready", name, "ms", &Spread::of_ms(greetings), "≤ 300");
        drop(world);
    }
    Ok(())
}

fn listen_briefly() -> Script {
    Script { steps: vec![Step::Pause { pause_ms: 600 }, Step::HangUp { hang_up: true }] }
}
