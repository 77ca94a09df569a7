//! Golden timelines: what a caller experiences, line by line, and the scenarios they begin with.
//! Times in seconds since the INVITE; see `sim::World::timeline`. A failing test prints what is instead: read it as the
//! caller would before you believe it.

use super::simulation::agent;
use sim::{Act, Planned, Scenario, World};
use std::time::{Duration, Instant};

/// What `[greeted]` stands for in a timeline: the greeting is heard.
const GREETED: &str = r#"
    0.000 call in slot 0, PCMU
    0.000 answered
    0.060 acknowledged
    0.060 turn 0 sentence 0: "Hello, how can I help?"
    0.060 turn 0 is heard
    1.040 turn 0 done
"#;

/// What `[usual]` stands for: the same, then the caller asks the usual question.
const USUAL: &str = r#"
    [greeted]
    2.530 caller says "when are you open" (1200 ms)
    4.080 understood "when are you open"
    4.080 turn 1 ended: "when are you open" (sentence, waited 320 ms)
    4.080 turn 1 asked
"#;

/// So many milliseconds.
pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A call of this scenario with the simulated agent.
pub(crate) fn world(scenario: Scenario) -> World {
    World::new(Instant::now(), 1, agent(), scenario)
}

/// The call goes as written. Blanks between words and empty lines do not count.
pub(crate) fn check(world: World, wanted: &str) {
    let world = world.run();
    let (is, wanted) = (clean(&world.timeline()), clean(&expanded(wanted)));
    assert!(is == wanted, "\n--- is\n{is}\n--- wanted\n{wanted}\n---");
    assert_eq!(world.afterwards(), [""; 0], "nothing happens after the end");
    assert_eq!((world.busy(), world.cdr_of(0).1), (0, 1), "the slot comes back and there is one record");
}

/// A timeline with its beginnings and ends written out. `[hung up 8.030: 399 in, 402 out]` is a caller who hangs up, with
/// the packets of a line that lost none; we know of it 30 ms later.
fn expanded(wanted: &str) -> String {
    let wanted = wanted.replace("[usual]", USUAL).replace("[greeted]", GREETED);
    let ends = wanted.lines().map(|line| {
        let end = line.trim().strip_prefix("[hung up ").and_then(|end| end.strip_suffix(" out]"));
        let parts = end.and_then(|end| end.split_once(": ")).and_then(|(at, packets)| {
            let (received, sent) = packets.split_once(" in, ")?;
            Some((at.parse::<f64>().ok()?, received, sent))
        });
        parts.map_or_else(
            || line.to_owned(),
            |(at, received, sent)| {
                let known = at + 0.03;
                format!(
                    "{at:.3} caller hangs up\n{known:.3} packets: {received} received, 0 lost, 0 foreign, {sent} sent\n\
                     {known:.3} ended: caller_hung_up"
                )
            },
        )
    });
    ends.collect::<Vec<_>>().join("\n")
}

fn clean(text: &str) -> String {
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

/// One question and one answer; the caller hangs up at this time after the answer.
pub(crate) fn hanging_up(at: u64) -> Scenario {
    let mut scenario = Scenario::one_turn();
    scenario.caller.push(Planned::at(at, Act::HangUp));
    scenario.length = ms(at + 40_000);
    scenario
}
