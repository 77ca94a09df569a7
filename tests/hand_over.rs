//! One agent hands a call over to another, in whole simulated calls: what is kept, and what changes.

use call::{Clip, Clips, Member};
use conversation::{Agent, Message};
use sim::{Act, Planned, Said, Scenario, ToolStep, World, say};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// One question; the caller hangs up at this time after the answer, in milliseconds.
fn hanging_up(at: u64) -> Scenario {
    let mut scenario = Scenario::one_turn();
    scenario.caller.push(Planned::at(at, Act::HangUp));
    scenario.length = Duration::from_millis(at + 40_000);
    scenario
}

const FRONT: &str = r#"
[agent]
name = "front"
version = "1"
greeting = "Hello."
persona = "You sort calls."
[variables]
first_name = ""
[[tool]]
name = "pass"
description = "d"
kind = "hand_over"
agents = ["billing.toml"]
"#;

const BILLING: &str = r#"
[agent]
name = "billing"
version = "7"
greeting = "Hello {first_name}, billing here."
persona = "You know invoices."
[variables]
first_name = "there"
[[tool]]
name = "pass"
description = "d"
kind = "hand_over"
agents = ["billing.toml"]
"#;

fn agent(text: &str) -> Arc<Agent> {
    Arc::new(Agent::parse(text, &BTreeMap::new()).expect("the agent is valid"))
}

fn run(replies: Vec<Said>, arguments: &'static str, caller: Vec<Planned>) -> World {
    let mut scenario = Scenario { replies, ..hanging_up(25_000) };
    scenario.arguments = vec![("pass", arguments)];
    for (n, planned) in caller.into_iter().enumerate() {
        scenario.caller.insert(1 + n, planned);
    }
    let clips = Clips {
        greeting: Clip { text: "Hello there, billing here.".into(), samples: vec![600; 16_000], wide: Vec::new() },
        ..Clips::default()
    };
    let member = Member { agent: agent(BILLING), clips: Arc::new(clips), tools: Arc::default() };
    scenario.context.team = Arc::new(BTreeMap::from([("billing.toml".to_owned(), member)]));
    scenario.context.variables.set("first_name", "Ann");
    World::new(Instant::now(), 1, agent(FRONT), scenario).run()
}

fn pass(text: &'static str) -> Said {
    let step = ToolStep { name: "pass", takes: Duration::ZERO, result: Ok("{}") };
    Said { tools: vec![step], ..Said::text(text) }
}

fn tells(world: &World, wanted: &[&str]) {
    let timeline = world.timeline();
    let mut rest = timeline.as_str();
    for part in wanted {
        let Some((_, after)) = rest.split_once(part) else {
            panic!("{part:?} is missing, or comes too early, in\n{timeline}")
        };
        rest = after;
    }
}

#[test]
fn the_other_agent_knows_what_was_said_and_speaks_after_the_first_has_finished() {
    let caller = vec![say(14_000, "what do i owe", 900)];
    let replies = vec![pass("One second, billing will help."), Said::text("Seven dollars.")];
    let world = run(replies, "{\"agent\":\"billing.toml\",\"summary\":\"wants the balance\"}", caller);
    tells(
        &world,
        &[
            "turn 1 sentence 0: \"One second, billing will help.\"",
            "turn 1 done",
            "handed over to billing 7",
            "turn 2 sentence 0: \"Hello Ann, billing here.\"",
            "turn 3 asked",
            "Seven dollars.",
        ],
    );
    let request = &world.requests()[1];
    assert!(request.system.starts_with("You know invoices."), "{}", request.system);
    assert!(request.system.contains("It said: wants the balance"), "{}", request.system);
    assert_eq!(request.variables.get("first_name"), Some("Ann"));
    let heard = request
        .messages
        .iter()
        .any(|message| matches!(message, Message::User { text } if text.contains("when are you open")));
    assert!(heard, "what the first agent heard is known");
}

#[test]
fn nobody_is_handed_over_to_an_agent_that_the_file_does_not_name() {
    for arguments in ["{\"agent\":\"admin.toml\"}", "{\"agent\":7}"] {
        let world = run(vec![pass(""), Said::text("I stay with you.")], arguments, vec![]);
        tells(&world, &["tool pass failed", "I stay with you."]);
        assert!(!world.timeline().contains("handed over"));
    }
}

#[test]
fn agents_that_hand_over_in_circles_end_somewhere() {
    let caller = (1..9).map(|n| say(6_000 * n, "go on", 600)).collect();
    let world = run(vec![pass("")], "{}", caller);
    let circles = world.timeline().matches("handed over to").count();
    assert!((1..=5).contains(&circles), "{}", world.timeline());
}

#[test]
fn a_caller_who_cuts_in_before_the_hand_over_keeps_the_first_agent() {
    let mut caller = vec![say(4_800, "no wait please", 900)];
    caller.push(Planned::at(20_000, Act::HangUp));
    let replies = vec![
        pass("One second, our colleagues of billing will certainly help you."),
        Said::text("All right."),
    ];
    let world = run(replies, "{}", caller);
    tells(&world, &["barge-in", "All right."]);
    assert!(!world.timeline().contains("handed over"));
}
