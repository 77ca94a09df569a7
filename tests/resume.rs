//! Callers who are cut off and call back, in whole simulated calls: what goes on, and what does not.

#[path = "simulation/golden.rs"]
#[allow(dead_code, reason = "the agents of these calls are others")]
mod golden;
#[allow(dead_code, reason = "the agents of these calls are others")]
mod simulation;

use call::Event;
use conversation::{Agent, Checkpoint, Message};
use golden::check;
use sim::{Act, Planned, Said, Scenario, ToolStep, World, say};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

const AGENT: &str = r#"
[agent]
name = "desk"
greeting = "Hello."
welcome_back = "Welcome back, {first_name}."

[variables]
first_name = "there"

[[slot]]
name = "account"
kind = "digits"
length = 3
ask = "Which account?"

[[tool]]
name = "end_call"
description = "d"
kind = "end_call"

[[node]]
name = "account"
collect = ["account"]
[[node.exit]]
to = "help"
when = "account"

[[node]]
name = "help"
prompt = "Help with account {account}."
"#;

fn agent() -> Arc<Agent> {
    Arc::new(Agent::parse(AGENT, &BTreeMap::new()).expect("the agent is valid"))
}

/// A call that is kept, after another where there was one.
fn call(seed: u64, resumed: Option<Checkpoint>, replies: Vec<Said>, caller: Vec<Planned>) -> World {
    calling(seed, resumed, replies, caller).run()
}

fn calling(seed: u64, resumed: Option<Checkpoint>, replies: Vec<Said>, caller: Vec<Planned>) -> World {
    let mut scenario = Scenario { caller, replies, ..Scenario::one_turn() };
    scenario.length = Duration::from_secs(80);
    scenario.context.keep = true;
    scenario.context.resumed = resumed.map(Arc::new);
    scenario.context.variables = agent().variables().clone();
    scenario.context.variables.set("first_name", "Ann");
    scenario.context.variables.set("caller", "+4930123");
    World::new(Instant::now(), seed, agent(), scenario)
}

fn cut_off(seed: u64) -> World {
    let caller = vec![
        say(4_000, "one two three", 1_200),
        say(9_000, "is it much", 900),
        Planned::at(14_000, Act::FallSilent),
    ];
    call(seed, None, vec![Said::text("How can I help?"), Said::text("Three dollars, due on Friday.")], caller)
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
fn a_caller_who_was_cut_off_goes_on_where_the_conversation_stood() {
    let before = cut_off(1);
    assert!(before.timeline().contains("ended: no_input"), "{}", before.timeline());
    let kept = before.kept().last().cloned().flatten().expect("something is kept");
    assert_eq!((kept.node.as_deref(), kept.variables.get("account")), (Some("help"), Some("123")));
    assert_eq!(kept.variables.get("caller"), None, "no number is kept");
    let shown = format!("{kept:?}");
    assert!(!shown.contains("123") && !shown.contains("dollars"), "{shown}");
    // As it is kept, and read by another process.
    let text = serde_json::to_string(&kept).expect("it is plain data");
    let kept: Checkpoint = serde_json::from_str(&text).expect("what was written");
    let caller = vec![say(5_000, "and on saturday", 900), Planned::at(12_000, Act::HangUp)];
    let after = call(2, Some(kept), vec![Said::text("Four dollars then.")], caller);
    tells(
        &after,
        &["goes on after 5 messages", "\"Welcome back, Ann.\"", "turn 1 asked", "Four dollars then."],
    );
    let request = &after.requests()[0];
    assert!(request.system.contains("Help with account 123."), "{}", request.system);
    assert!(request.system.contains("was cut off"), "{}", request.system);
    let said: Vec<&str> = request.messages.iter().filter_map(words).collect();
    let wanted = [
        "Hello, how can I help? Which account?",
        "one two three",
        "How can I help?",
        "is it much",
        "Three dollars, due on Friday.",
        "Welcome back, Ann.",
        "and on saturday",
    ];
    assert_eq!(said, wanted);
}

#[test]
fn who_calls_back_is_welcomed_and_goes_on() {
    let kept = cut_off(1).kept().last().cloned().flatten().expect("something is kept");
    let caller = vec![say(5_000, "and on saturday", 900), Planned::at(12_000, Act::HangUp)];
    check(
        calling(2, Some(kept), vec![Said::text("Four dollars then.")], caller),
        r#"
        0.000 call in slot 0, PCMU
        0.000 answered
        0.060 acknowledged
        0.060 goes on after 5 messages
        0.060 turn 0 sentence 0: "Welcome back, Ann."
        0.210 turn 0 first audio
        0.220 turn 0 is heard
        1.280 turn 0 done
        5.030 caller says "and on saturday" (900 ms)
        6.280 understood "and on saturday"
        6.660 turn 1 ended: "and on saturday" (pause, waited 700 ms)
        6.660 turn 1 asked
        6.960 turn 1 first token
        7.038 turn 1 text complete
        7.038 turn 1 sentence 0: "Four dollars then."
        7.188 turn 1 first audio
        7.200 turn 1 is heard
        7.200 gap 1260 ms = jitter 20 + end_of_turn 700 + llm_first_token 300 + first_sentence 78 + tts_first_audio 150 + pacing 12
        8.260 turn 1 done
        [hung up 12.030: 599 in, 602 out]
        "#,
    );
}

/// What a webhook has said before the answer: the first words name the caller, and text-to-speech has to say them.
#[test]
fn a_caller_whom_the_webhook_knows_is_greeted_by_name_and_answered_with_what_it_said() {
    let greeting = AGENT.replace("greeting = \"Hello.\"", "greeting = \"Hello {first_name}.\"");
    let agent = Arc::new(Agent::parse(&greeting, &BTreeMap::new()).expect("the agent is valid"));
    let caller = vec![say(5_000, "is it much", 900), Planned::at(10_000, Act::HangUp)];
    let mut scenario =
        Scenario { caller, replies: vec![Said::text("Seven dollars.")], ..Scenario::one_turn() };
    scenario.length = Duration::from_secs(40);
    scenario.context.variables = agent.variables().clone();
    scenario.context.variables.set("first_name", "Ann");
    scenario.context.variables.set("account", "123");
    check(
        World::new(Instant::now(), 1, agent, scenario),
        r#"
        0.000 call in slot 0, PCMU
        0.000 answered
        0.060 acknowledged
        0.060 turn 0 sentence 0: "Hello Ann."
        0.060 turn 0 goes account -> help
        0.210 turn 0 first audio
        0.220 turn 0 is heard
        0.800 turn 0 done
        5.030 caller says "is it much" (900 ms)
        6.280 understood "is it much"
        6.280 turn 1 ended: "is it much" (sentence, waited 320 ms)
        6.280 turn 1 asked
        6.580 turn 1 first token
        6.631 turn 1 text complete
        6.631 turn 1 sentence 0: "Seven dollars."
        6.781 turn 1 first audio
        6.800 turn 1 is heard
        6.800 gap 860 ms = jitter 20 + end_of_turn 250 + stt_final 70 + llm_first_token 300 + first_sentence 51 + tts_first_audio 150 + pacing 19
        7.620 turn 1 done
        [hung up 10.030: 499 in, 502 out]
        "#,
    );
}

fn words(message: &Message) -> Option<&str> {
    match message {
        Message::User { text } | Message::Assistant { text, .. } => Some(text),
        Message::Tool { .. } => None,
    }
}

#[test]
fn a_conversation_that_came_to_its_end_is_forgotten() {
    let end = ToolStep { name: "end_call", takes: Duration::ZERO, result: Ok("{}") };
    let replies = vec![Said { tools: vec![end], ..Said::text("Goodbye then.") }];
    let world = call(1, None, replies, vec![say(4_000, "one two three", 1_200)]);
    assert!(world.timeline().contains("ended: agent_ended"), "{}", world.timeline());
    assert_eq!(world.kept().last(), Some(&None));
}

#[test]
fn nothing_is_kept_of_who_said_nothing_nor_where_nobody_asks_for_it() {
    let silent = call(1, None, vec![], vec![Planned::at(5_000, Act::HangUp)]);
    assert_eq!(silent.kept(), []);
    let mut scenario = Scenario::one_turn();
    scenario.caller.push(Planned::at(8_000, Act::HangUp));
    let world = World::new(Instant::now(), 1, agent(), scenario).run();
    assert_eq!(world.kept(), []);
}

/// A file may have changed since: what is not there any more is not gone to.
#[test]
fn a_node_that_is_gone_is_not_gone_back_to() {
    let mut kept = cut_off(1).kept().last().cloned().flatten().expect("something is kept");
    kept.node = Some("abolished".into());
    let world = call(2, Some(kept), vec![Said::text("Hm.")], vec![Planned::at(9_000, Act::HangUp)]);
    tells(&world, &["goes on after", "Welcome back, Ann.", "turn 0 done"]);
}

/// At whatever moment the line goes dead, what is kept holds no word that the caller did not hear, and every word that the
/// caller heard to its end.
#[test]
fn what_is_kept_is_what_was_heard_at_any_moment() {
    for seed in 0..120_u64 {
        let caller = vec![
            say(4_000, "one two three", 1_200),
            say(8_000 + seed * 23 % 3_000, "is it much", 900),
            say(12_000 + seed * 37 % 2_500, "wait what", 900),
            Planned::at(9_000 + seed * 131 % 12_000, Act::HangUp),
        ];
        let replies = vec![
            Said::text("How can I help?"),
            Said::text("Three dollars, due on Friday, at noon, in cash."),
        ];
        let world = call(seed, None, replies, caller);
        let heard: Vec<&str> = world
            .trace()
            .iter()
            .filter_map(|stamped| {
                if let Event::TurnEnded { text, .. } = &stamped.event { Some(text.as_str()) } else { None }
            })
            .collect();
        for kept in world.kept().iter().flatten() {
            let users = kept.messages.iter().filter(|message| matches!(message, Message::User { .. }));
            let users: String = users.filter_map(words).collect::<Vec<_>>().join(" ");
            assert!(heard.join(" ").starts_with(&users), "seed {seed}: {users:?} of {heard:?}");
            let again =
                serde_json::to_string(kept).and_then(|text| serde_json::from_str::<Checkpoint>(&text));
            assert_eq!(again.as_ref().ok(), Some(kept), "seed {seed}");
        }
        assert!(
            heard.is_empty() || world.kept().iter().any(Option::is_some) || heard.len() < 2,
            "seed {seed}"
        );
    }
}
