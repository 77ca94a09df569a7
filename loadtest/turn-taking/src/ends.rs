//! Ends of turns: how many callers are cut off, how many are not noticed to have finished, and how long they wait.

use crate::{LINES, corpus, corpus::Turn, percent, percentile};
use call::{Event, Stamped};
use conversation::{Agent, FloorConfig};
use pico_engine::Voice;
use sim::{Act, Planned, Said, Scenario, World, say};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// When the caller answers the agent's question, after the answer of the call.
const BEGINS: u64 = 8_000;
/// A turn that is not noticed to be over for so long is missed.
const MISSED: Duration = Duration::from_secs(4);

/// What became of one turn of the corpus.
#[derive(Debug)]
enum Outcome {
    /// It was held to be over too early.
    CutOff {
        /// The caller went on into the agent's voice; else the agent let them, and took all their words together.
        heard: bool,
    },
    Missed,
    /// Milliseconds from its last sound to the decision.
    Ended(u64),
}

pub(crate) fn measure(voice: &mut Voice, agent: &Arc<Agent>, each: bool) -> Result<(), String> {
    println!(
        "End of turn: {} turns on {} lines, speech-to-text settles 120 ms after it is asked",
        corpus::TURNS.len(),
        LINES.len()
    );
    println!(
        "  {:<22} {:>12} {:>9} {:>10} {:>9} {:>7} {:>7} {:>7}",
        "", "cut off", "audibly", "missed", "delay p50", "p90", "p95", "max"
    );
    let fixed = |ms| FloorConfig {
        complete: Duration::from_millis(ms),
        yes_no: Duration::from_millis(ms),
        eager: Duration::from_millis(ms),
        unsure: Duration::from_millis(ms),
        incomplete: Duration::from_millis(ms),
        number_short: Duration::from_millis(ms),
        ..FloorConfig::default()
    };
    let mut kinds = BTreeMap::new();
    for (name, floor) in [
        ("Tandem", FloorConfig::default()),
        ("fixed silence, 500 ms", fixed(500)),
        ("fixed silence, 800 ms", fixed(800)),
    ] {
        let mut outcomes = Vec::new();
        for turn in corpus::TURNS {
            for (noise, line) in LINES {
                let outcome = play(voice, agent, turn, noise, &floor)?;
                if name == "Tandem" {
                    if each {
                        println!("    {outcome:?} on {line}: {:?}", turn.parts);
                    }
                    let kind: &mut Vec<Outcome> = kinds.entry(turn.kind).or_default();
                    kind.push(play(voice, agent, turn, noise, &floor)?);
                }
                outcomes.push(outcome);
            }
        }
        line(name, &outcomes);
    }
    println!("  {:<22} {:>12} {:>9} {:>10} {:>9}", "aim", "<= 4 %", "", "", "<= 350");
    println!("  Tandem by kind:");
    kinds.iter().for_each(|(kind, outcomes)| line(&format!("  {kind}"), outcomes));
    Ok(())
}

fn line(name: &str, outcomes: &[Outcome]) {
    let cut = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::CutOff { .. })).count();
    let heard = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::CutOff { heard: true })).count();
    let missed = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Missed)).count();
    let delays: Vec<u64> = outcomes
        .iter()
        .filter_map(|outcome| match outcome {
            Outcome::Ended(ms) => Some(*ms),
            Outcome::CutOff { .. } | Outcome::Missed => None,
        })
        .collect();
    let at = |share| percentile(&delays, share);
    let share = format!("{cut} ({:.1} %)", percent(cut, outcomes.len()));
    println!(
        "  {name:<22} {share:>12} {heard:>9} {missed:>10} {:>9} {:>7} {:>7} {:>7}",
        at(0.5),
        at(0.9),
        at(0.95),
        at(1.0)
    );
}

fn play(
    voice: &mut Voice,
    agent: &Arc<Agent>,
    turn: &Turn,
    noise: u16,
    floor: &FloorConfig,
) -> Result<Outcome, String> {
    let mut at = Duration::from_millis(BEGINS);
    let mut caller = vec![say(2_500, "hello there", 700)];
    for (text, pause) in turn.parts {
        let recording = corpus::speak(voice, text)?;
        let length = recording.length();
        caller.push(Planned { at, act: Act::Play(recording) });
        at += length + Duration::from_millis(*pause);
    }
    let asks = Said { expect: Some(turn.expects), ..Said::text("How can I help?") };
    caller.push(Planned { at: at + MISSED + Duration::from_secs(8), act: Act::HangUp });
    let scenario = Scenario {
        length: at + Duration::from_secs(20),
        caller,
        replies: vec![asks, Said::text("All right.")],
        line_noise: noise,
        ..Scenario::one_turn()
    };
    let latency = scenario.link.latency;
    let world = World::new(Instant::now(), 7, Arc::clone(agent), scenario)
        .configure(|call| call.floor = floor.clone())
        .run();
    // The call is answered one way after the INVITE and acknowledged after two; the script begins with the answer.
    let ended = at + latency + latency;
    let greeted = (BEGINS + 60) * 1_000;
    let ended_after =
        |stamped: &Stamped| matches!(stamped.event, Event::TurnEnded { .. }) && stamped.at_us > greeted;
    let first = world.trace().iter().find(|stamped| ended_after(stamped));
    let first = first.map(|stamped| Duration::from_micros(stamped.at_us));
    Ok(match first {
        None => Outcome::Missed,
        Some(first) if first + Duration::from_millis(60) < ended => {
            let spoke = |sent: &sim::Sent| sent.voice.is_some() && sent.at > first && sent.at < ended;
            Outcome::CutOff { heard: world.sent().iter().any(spoke) }
        }
        Some(first) if first > ended + MISSED => Outcome::Missed,
        Some(first) => Outcome::Ended(first.saturating_sub(ended).as_millis() as u64),
    })
}
