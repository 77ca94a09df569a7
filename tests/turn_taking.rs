//! Who gives way to whom, in whole calls: sounds beside the agent's voice, ends of turns, and answers that are
//! begun on a guess. What a call is like otherwise is in `turns.rs`.

#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks at a few of many events")]

mod simulation;

use call::{Event, Speculate, Stamped};
use conversation::{Agent, TurnId};
use sim::{Act, Noise, Order, Planned, Said, Scenario, ToolStep, World, say};
use simulation::agent;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn world(scenario: Scenario) -> World {
    World::new(Instant::now(), 1, agent(), scenario)
}

/// One question and one answer; the caller hangs up at this time after the answer.
fn hanging_up(at: u64) -> Scenario {
    let mut scenario = Scenario::one_turn();
    scenario.caller.push(Planned::at(at, Act::HangUp));
    scenario.length = ms(at + 40_000);
    scenario
}

const fn tool(name: &'static str, takes: u64) -> ToolStep {
    ToolStep { name, takes: ms(takes), result: Ok("{\"open\":9}") }
}

/// The agent speaks for a while, and the caller makes a sound beside it at six seconds.
fn beside(act: Act) -> Scenario {
    let mut scenario = Scenario::barge_in();
    scenario.caller[1] = Planned::at(6_000, act);
    scenario.caller.push(Planned::at(11_000, Act::HangUp));
    scenario.length = ms(20_000);
    scenario
}

#[test]
fn mm_hm_does_not_stop_the_agent() {
    let world = world(beside(Act::Say("mm-hm", ms(400)))).run();
    let resumed = world.trace().iter().find_map(|stamped| match &stamped.event {
        Event::AgentResumed { was, text, after_ms, .. } => Some((was.as_str(), text.as_str(), *after_ms)),
        _ => None,
    });
    let (was, text, after_ms) = resumed.expect("the agent went on");
    assert_eq!((was, text), ("backchannel", "mm-hm"));
    assert!((350..=600).contains(&after_ms), "after {after_ms} ms");
}

#[test]
fn after_a_backchannel_not_a_sample_is_missing() {
    let with = world(beside(Act::Say("mm-hm", ms(400)))).run();
    let without = world(beside(Act::FallSilent)).run();
    let frames = |world: &World| world.sent().iter().filter(|sent| sent.voice == Some(TurnId(1))).count();
    assert_eq!(frames(&with), frames(&without));
    let cut = with.trace().iter().any(|stamped| matches!(stamped.event, Event::BargeIn { .. }));
    assert!(!cut && with.requests().len() == 1, "it was noted, not answered");
}

#[test]
fn a_long_cough_is_waited_out() {
    let world = world(beside(Act::Noise(Noise::Cough, ms(450)))).run();
    let names = |stamped: &Stamped| match &stamped.event {
        Event::AgentPaused { .. } => Some("silent".to_owned()),
        Event::AgentResumed { was, .. } => Some(was.clone()),
        Event::BargeIn { .. } => Some("cut".to_owned()),
        _ => None,
    };
    let came: Vec<String> = world.trace().iter().filter_map(names).collect();
    assert_eq!(came, ["silent", "noise"]);
}

#[test]
fn the_wire_is_silent_in_the_frame_after_the_pause() {
    let world = world(Scenario::barge_in()).run();
    let paused = world.trace().iter().find(|stamped| matches!(stamped.event, Event::AgentPaused { .. }));
    let at = Duration::from_micros(paused.expect("the agent fell silent").at_us);
    let cut = world.trace().iter().find(|stamped| matches!(stamped.event, Event::BargeIn { .. }));
    let until = Duration::from_micros(cut.expect("it was a barge-in").at_us);
    let heard =
        world.sent().iter().filter(|sent| sent.at > at && sent.at < until && sent.voice.is_some()).count();
    assert_eq!(heard, 0, "nothing leaves after the decision");
    let cancelled =
        world.orders().iter().position(|(turn, order)| (*turn, *order) == (TurnId(1), Order::Cancel));
    assert!(
        cancelled.is_some() && until - at >= ms(350),
        "what was asked for is cancelled at the decision, not before"
    );
}

#[test]
fn a_guess_that_was_right_answers_sooner() {
    let gap = |mode| {
        let mut scenario = hanging_up(8_000);
        scenario.caller[0] = say(2_500, "opening hours please", 1_200);
        let world = world(scenario).configure(|call| call.speculation.mode = mode).run();
        world.trace().iter().find_map(|stamped| match &stamped.event {
            Event::Latency { latency, .. } => Some(Duration::from_micros(latency.total_us)),
            _ => None,
        })
    };
    let (off, on) = (gap(Speculate::Off).expect("an answer"), gap(Speculate::Llm).expect("an answer"));
    assert!(on + ms(150) <= off, "{on:?} instead of {off:?}");
}

#[test]
fn the_first_sentence_may_be_spoken_on_a_guess() {
    let mut scenario = hanging_up(8_000);
    scenario.caller[0] = say(2_500, "opening hours please", 1_200);
    let world = world(scenario).configure(|call| call.speculation.mode = Speculate::Speech).run();
    let order = |wanted| world.orders().iter().position(|order| *order == (TurnId(1), wanted));
    assert!(order(Order::Speak).is_some() && order(Order::Cancel).is_none());
    let spoken = world.spoken().iter().filter(|(_, text)| text == "We open at nine.").count();
    assert_eq!(spoken, 1, "once");
    let gap = world.trace().iter().find_map(|stamped| match &stamped.event {
        Event::Latency { latency, .. } => Some(latency.total_us),
        _ => None,
    });
    assert!(gap.is_some_and(|gap| gap < 1_000_000), "{gap:?}");
}

#[test]
fn a_guess_is_given_up_when_the_caller_goes_on_and_no_tool_has_run() {
    let mut scenario = hanging_up(12_000);
    scenario.replies = vec![
        Said { tools: vec![tool("look_up", 100)], ..Said::text("Let me see.") },
        Said::text("We close at five."),
    ];
    scenario.caller.splice(0..1, [say(2_500, "opening hours", 800), say(3_850, "on sunday please", 900)]);
    let world = world(scenario).configure(|call| call.speculation.mode = Speculate::Llm).run();
    let wasted: Vec<u32> = world
        .trace()
        .iter()
        .filter_map(|stamped| match &stamped.event {
            Event::GuessWasted { input_tokens, .. } => Some(*input_tokens),
            _ => None,
        })
        .collect();
    assert!(wasted.len() == 1 && wasted[0] > 0, "{wasted:?}: one guess, and its price is told");
    let tools =
        world.trace().iter().filter(|stamped| matches!(stamped.event, Event::ToolStarted { .. })).count();
    assert_eq!(tools, 0, "the guess asked for a tool and was not the answer");
}

#[test]
fn with_little_room_left_nothing_is_done_on_a_guess() {
    let scenario = Scenario { cap: 1, ..hanging_up(8_000) };
    let world = world(scenario).configure(|call| call.speculation.mode = Speculate::Speech).run();
    let guessed = world.trace().iter().any(|stamped| matches!(stamped.event, Event::Guessed { .. }));
    assert!(!guessed, "one of one ports is more than 85 %");
}

#[test]
fn a_caller_who_trails_off_with_and_is_waited_for() {
    let mut scenario = hanging_up(12_000);
    scenario.caller.splice(0..1, [say(2_500, "book a table and", 900), say(4_500, "a room for two", 900)]);
    let world = world(scenario).run();
    let turns: Vec<&str> = world
        .trace()
        .iter()
        .filter_map(|stamped| match &stamped.event {
            Event::TurnEnded { text, .. } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(turns, ["book a table and a room for two"]);
}

#[test]
fn a_greeting_that_must_be_heard_is_heard_whole_and_the_caller_answered_then() {
    let text = "[agent]\nname = \"strict\"\ngreeting = \"Hello, how can I help?\"\npersona = \"You answer.\"\n\
        greeting_interruptible = \"never\"\n";
    let agent = Arc::new(Agent::parse(text, &BTreeMap::new()).expect("an agent"));
    let mut scenario = hanging_up(8_000);
    scenario.caller[0] = say(300, "when are you open", 1_200);
    let world = World::new(Instant::now(), 1, agent, scenario).run();
    let greeting = world.sent().iter().filter(|sent| sent.voice == Some(TurnId(0))).count();
    assert_eq!(greeting, 50, "all of it");
    let answered = world.trace().iter().any(
        |stamped| matches!(&stamped.event, Event::TurnEnded { text, .. } if text == "when are you open"),
    );
    assert!(answered, "what was said over it is not lost");
}
