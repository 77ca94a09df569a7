//! One agent hands a call over to another, in whole simulated calls: what is kept, and what changes.

#![expect(clippy::wildcard_enum_match_arm, reason = "a hand-over looks at a few of many events")]

use call::{Clip, Clips, Event, Member};
use conversation::{Agent, Message};
use sim::{Act, Fault, Planned, Said, Scenario, ToolStep, World, say};
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
    for (n, planned) in caller.into_iter().enumerate() {
        scenario.caller.insert(1 + n, planned);
    }
    run_in(scenario, arguments, 1)
}

fn run_in(mut scenario: Scenario, arguments: &'static str, seed: u64) -> World {
    scenario.arguments = vec![("pass", arguments)];
    let clips = Clips {
        greeting: Clip {
            text: "Hello there, billing here.".into(),
            samples: vec![600; 16_000],
            wide: Vec::new(),
        },
        ..Clips::default()
    };
    let member = Member {
        agent: agent(BILLING),
        clips: Arc::new(clips),
        tools: Arc::default(),
        languages: Arc::default(),
    };
    scenario.context.team = Arc::new(BTreeMap::from([("billing.toml".to_owned(), member)]));
    scenario.context.variables.set("first_name", "Ann");
    World::new(Instant::now(), seed, agent(FRONT), scenario).run()
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
    let notes = &world.cdr_of(0).0.expect("there is a record").notes;
    assert_eq!(notes, &["handed over to billing 7"], "the record has the version");
    assert!(
        request.messages.iter().any(
            |message| matches!(message, Message::Tool { result, .. } if result.contains("handed_over_to"))
        )
    );
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
    let told = world.requests()[1].messages.iter().any(
        |message| matches!(message, Message::Tool { result, .. } if result.contains("did not take place")),
    );
    assert!(told, "the agent that stays knows that it stays");
}

/// The line may lose packets and providers may fail: an agent that was not handed the call is never asked, what is known
/// is never lost, and the call ends in one record.
#[test]
fn whoever_is_asked_was_handed_the_call() {
    for seed in 0..100_u64 {
        let at = |n: u64| 4_000 + n * (3_000 + seed * 41 % 3_000);
        let mut caller: Vec<Planned> =
            (0..5).map(|n| say(at(n), "go on please", 700 + seed * 17 % 900)).collect();
        caller.push(Planned::at(at(6), Act::HangUp));
        let text =
            ["", "One second.", "One second, our colleagues of billing will help."][(seed % 3) as usize];
        let mut scenario =
            Scenario { caller, replies: vec![pass(text), Said::text("Seven.")], ..Scenario::one_turn() };
        scenario.length = Duration::from_millis(at(6) + 60_000);
        scenario.link.loss_percent = seed / 5 % 8;
        let faults = [Fault::LlmHangs, Fault::TtsFails, Fault::TtsHangs, Fault::TtsMute, Fault::SttNoFinal];
        scenario.faults.extend(faults.get((seed % 12) as usize));
        let world = run_in(scenario, "{}", seed);
        let mut handed = world.trace().iter().filter_map(|stamped| match &stamped.event {
            Event::HandedOver { .. } => Some(stamped.at_us),
            _ => None,
        });
        let first = handed.next();
        for (asked, request) in asked_at(&world).zip(world.requests()) {
            let billing = request.system.starts_with("You know invoices.");
            assert_eq!(billing, first.is_some_and(|at| at <= asked), "seed {seed}\n{}", world.timeline());
            assert_eq!(request.variables.get("first_name"), Some("Ann"), "seed {seed}");
        }
        assert!(handed.count() < 5, "seed {seed}");
        assert_eq!((world.cdr_of(0).1, world.busy()), (1, 0), "seed {seed}");
    }
}

fn asked_at(world: &World) -> impl Iterator<Item = u64> + '_ {
    world.trace().iter().filter_map(|stamped| match &stamped.event {
        Event::Asked { .. } => Some(stamped.at_us),
        _ => None,
    })
}
