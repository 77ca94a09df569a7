//! Tools inside calls, as the caller experiences them: fillers, transfers, notes, silence that was asked for.
//! Whole calls in the simulation. How a request reaches a server is in `tools.rs`.

use call::{CallContext, Event};
use conversation::{Agent, Message, Variables};
use sim::{Act, Planned, Referral, Said, Scenario, ToolStep, World, say};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// One question; the caller hangs up at this time after the answer, in milliseconds.
fn hanging_up(at: u64) -> Scenario {
    let mut scenario = Scenario::one_turn();
    scenario.caller.push(Planned::at(at, Act::HangUp));
    scenario.length = Duration::from_millis(at + 40_000);
    scenario
}

const AGENT: &str = r#"
[agent]
name = "simulated"
greeting = "Hello {first_name}, how can I help?"
persona = "You answer {first_name}, who called {called}."

[variables]
first_name = "there"

[limits]
tool_steps = 2

[[tool]]
name = "look_up"
description = "Looks something up."
kind = "http"
url = "https://api.example/x"

[[tool]]
name = "book"
description = "Books."
kind = "http"
method = "POST"
url = "https://api.example/x"

[[tool]]
name = "pass_on"
description = "Passes the caller on."
kind = "transfer"
destinations = { sales = "sip:sales@pbx.example", billing = "sip:{called}@pbx.example" }
headers = { X-Name = "{first_name}" }

[[tool]]
name = "wait"
description = "Waits."
kind = "wait"

[[tool]]
name = "keys"
description = "Lets the caller key something in."
kind = "collect_dtmf"

[[tool]]
name = "pin"
description = "Lets the caller key in the PIN."
kind = "collect_dtmf"
secret = "pin"

[[tool]]
name = "remember"
description = "Notes."
kind = "record_note"
"#;

fn agent() -> Arc<Agent> {
    Arc::new(Agent::parse(AGENT, &BTreeMap::new()).expect("the agent is valid"))
}

fn run(scenario: Scenario) -> World {
    World::new(Instant::now(), 1, agent(), scenario).run()
}

const fn tool(name: &'static str, takes: u64) -> ToolStep {
    ToolStep { name, takes: ms(takes), result: Ok("{\"open\":9}") }
}

fn calls(text: &'static str, tools: Vec<ToolStep>) -> Said {
    Said { tools, ..Said::text(text) }
}

/// The caller asks once; the model says this, one for each question.
fn replies(said: Vec<Said>, length: u64) -> Scenario {
    Scenario { replies: said, ..hanging_up(length) }
}

/// The timeline tells all of this, in this order.
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

fn never_tells(world: &World, unwanted: &str) {
    let timeline = world.timeline();
    assert!(!timeline.contains(unwanted), "{unwanted:?} is in\n{timeline}");
}

#[test]
fn a_tool_that_takes_its_time_is_bridged_in_other_words_each_time() {
    let world =
        run(replies(vec![calls("", vec![tool("look_up", 6_000)]), Said::text("We open at nine.")], 16_000));
    tells(
        &world,
        &[
            "tool look_up",
            "4.940 filler \"One moment, please.\"",
            "filler \"I am still on it.\"",
            "tool look_up answered after 6000 ms",
            "sentence 0: \"We open at nine.\"",
            "turn 1 done",
        ],
    );
    assert_eq!(world.timeline().matches("One moment").count(), 1);
}

#[test]
fn a_quick_tool_needs_no_filler() {
    let world =
        run(replies(vec![calls("", vec![tool("look_up", 200)]), Said::text("We open at nine.")], 9_000));
    never_tells(&world, "One moment");
    let said = "Let me see what I can find out about that.";
    let world =
        run(replies(vec![calls(said, vec![tool("look_up", 2_500)]), Said::text("We open at nine.")], 14_000));
    never_tells(&world, "One moment");
}

#[test]
fn tools_side_by_side_are_both_awaited() {
    let both = vec![tool("look_up", 900), tool("book", 300)];
    let world = run(replies(vec![calls("", both), Said::text("Done.")], 9_000));
    tells(
        &world,
        &[
            "tool look_up",
            "tool book",
            "tool book answered",
            "tool look_up answered",
            "turn 1 asked",
            "Done.",
        ],
    );
    assert_eq!(world.timeline().matches("turn 1 asked").count(), 2);
}

#[test]
fn a_model_that_repeats_itself_books_once() {
    let again = || calls("", vec![tool("book", 300)]);
    let world = run(replies(vec![again(), again(), Said::text("It is booked.")], 10_000));
    let started =
        world.trace().iter().filter(|stamped| matches!(stamped.event, Event::ToolStarted { .. })).count();
    assert_eq!((started, world.ran("book")), (2, 1), "{}", world.timeline());
    tells(&world, &["It is booked."]);
}

#[test]
fn a_model_that_goes_round_in_circles_ends_in_a_prepared_sentence() {
    let again = |_| calls("", vec![tool("look_up", 100)]);
    let world = run(replies((0..8).map(again).collect(), 12_000));
    tells(&world, &["fallback: llm, still calling tools after 2 steps", "turn 2 sentence 0: \"Sorry"]);
    assert_eq!(world.ran("look_up"), 2);
}

#[test]
fn a_caller_is_passed_on_after_the_sentence_and_the_call_ends() {
    let mut scenario = replies(vec![calls("I will connect you.", vec![tool("pass_on", 0)])], 30_000);
    scenario.arguments = vec![("pass_on", "{\"destination\":\"sales\"}")];
    scenario.referral = Referral::Ends(ms(4_000), 200);
    let world = run(scenario);
    tells(
        &world,
        &[
            "sentence 0: \"I will connect you.\"",
            "is heard",
            "transfer to sales: asked",
            "transfer to sales: accepted, 202",
            "transfer to sales: done, 200",
            "ended: transferred",
        ],
    );
    never_tells(&world, "One moment");
    assert_eq!(world.referred(), ["sip:sales@pbx.example"]);
}

#[test]
fn a_carrier_that_takes_the_call_away_by_hanging_up_has_taken_it() {
    let mut scenario = replies(vec![calls("I will connect you.", vec![tool("pass_on", 0)])], 30_000);
    scenario.arguments = vec![("pass_on", "{\"destination\":\"sales\"}")];
    scenario.referral = Referral::HangsUp(ms(1_000));
    tells(&run(scenario), &["transfer to sales: accepted, 202", "ended: transferred"]);
}

#[test]
fn a_transfer_that_fails_gives_the_agent_its_caller_back() {
    for (referral, expected) in [
        (Referral::Refused(603), "transfer to sales: failed, 603"),
        (Referral::Ends(ms(5_000), 486), "transfer to sales: failed, 486"),
        (Referral::Silent, "transfer to sales: failed\n"),
    ] {
        let mut scenario = replies(
            vec![
                calls("I will connect you.", vec![tool("pass_on", 0)]),
                Said::text("The line is busy, sorry."),
            ],
            50_000,
        );
        scenario.arguments = vec![("pass_on", "{\"destination\":\"sales\"}")];
        scenario.referral = referral;
        let world = run(scenario);
        tells(&world, &["transfer to sales: asked", expected, "The line is busy, sorry.", "turn 1 done"]);
    }
}

#[test]
fn nobody_is_passed_on_to_a_destination_that_the_file_does_not_name() {
    for arguments in
        ["{\"destination\":\"sip:premium@evil.example\"}", "{}", "nonsense", "{\"destination\":[\"sales\"]}"]
    {
        let mut scenario = replies(
            vec![calls("I will connect you.", vec![tool("pass_on", 0)]), Said::text("I cannot do that.")],
            14_000,
        );
        scenario.arguments = vec![("pass_on", arguments)];
        let world = run(scenario);
        tells(&world, &["tool pass_on failed after 0 ms", "I cannot do that."]);
        assert!(world.referred().is_empty(), "{arguments}");
    }
}

#[test]
fn a_line_that_takes_no_refer_says_so_to_the_model() {
    let mut scenario =
        replies(vec![calls("", vec![tool("pass_on", 0)]), Said::text("I cannot do that.")], 12_000);
    scenario.arguments = vec![("pass_on", "{\"destination\":\"sales\"}")];
    scenario.context = CallContext::default();
    tells(&run(scenario), &["tool pass_on failed", "I cannot do that."]);
}

#[test]
fn a_caller_who_asked_for_a_moment_is_left_alone() {
    let mut scenario = replies(vec![calls("Take your time.", vec![tool("wait", 0)])], 40_000);
    scenario.arguments = vec![("wait", "{\"seconds\":20}")];
    let world = run(scenario);
    tells(&world, &["Take your time.", "turn 1 done", "no input 1"]);
    let prompted = world.trace().iter().find(|stamped| matches!(stamped.event, Event::NoInput { .. }));
    let at = prompted.expect("asked in the end").at_us;
    assert!((31_000_000..34_000_000).contains(&at), "20 s and the usual 8 s later, but at {at}");
}

#[test]
fn keys_that_were_asked_for_are_the_next_words_and_stay_masked() {
    let mut scenario =
        replies(vec![calls("Key in your code.", vec![tool("keys", 0)]), Said::text("Thank you.")], 20_000);
    scenario.arguments = vec![("keys", "{\"count\":3}")];
    let presses =
        [(8_000, '4'), (8_300, '7'), (8_600, '1')].map(|(at, key)| Planned::at(at, Act::Press(key)));
    scenario.caller.splice(1..1, presses);
    let world = run(scenario);
    tells(&world, &["expects Digits", "key", "key", "key", "turn 2 ended: \"* * *\"", "Thank you."]);
}

/// The caller gives a PIN, 4829, in this way; nothing that others may read has any of these.
fn the_pin_is_the_tools_alone(given: Vec<Planned>, shown: &str, unread: &[&str]) {
    const BLABS: ToolStep =
        ToolStep { name: "book", takes: ms(200), result: Ok("{\"wrong\":\"4829 is no PIN\"}") };
    let mut scenario = replies(
        vec![
            calls("Key in your PIN.", vec![tool("pin", 0)]),
            calls("", vec![BLABS]),
            Said::text("That was wrong."),
        ],
        20_000,
    );
    scenario.arguments = vec![("pin", "{\"count\":4}"), ("book", "{\"pin\":\"{pin}\",\"seats\":2}")];
    scenario.caller.splice(1..1, given);
    let world = run(scenario);
    tells(&world, &["expects Digits", shown, "tool book", "That was wrong."]);
    let called = world.tool_calls().next().expect("a tool was run");
    assert_eq!(called.arguments, "{\"pin\":\"4829\",\"seats\":2}");

    let asked: Vec<String> = world
        .requests()
        .iter()
        .map(|request| {
            let messages = serde_json::to_string(&request.messages).expect("messages are JSON");
            let variables = serde_json::to_string(&request.variables).expect("so are variables");
            format!("{} {messages} {variables}", request.system)
        })
        .collect();
    let last = asked.last().expect("it was asked");
    assert!(last.contains("[4 digits collected, kept as {pin}]"), "{last}");
    assert!(last.contains("{pin} is no PIN"), "{last}");
    let record = format!("{:?}", world.cdr_of(0).0.expect("a record"));
    let trace: Vec<String> =
        world.trace().iter().map(|stamped| serde_json::to_string(stamped).expect("so is a trace")).collect();
    let kept: Vec<String> =
        world.kept().iter().map(|kept| format!("{:?}", kept.as_ref().map(|kept| &kept.messages))).collect();
    for (place, text) in [
        ("the model", asked.join("\n")),
        ("the record", record),
        ("the trace", trace.join("\n")),
        ("what is kept", kept.join("\n")),
    ] {
        for digits in unread {
            assert!(!text.contains(digits), "{digits} is known to {place}: {text}");
        }
    }
}

#[test]
fn secret_keys_are_read_by_the_tool_that_needs_them_and_by_nobody_else() {
    let presses = [(8_000, '4'), (8_300, '8'), (8_600, '2'), (8_900, '9')]
        .map(|(at, key)| Planned::at(at, Act::Press(key)));
    let unread = ["4829", "4 8 2 9", "4, 8, 2, 9"];
    the_pin_is_the_tools_alone(presses.to_vec(), "turn 2 ended: \"* * * *\"", &unread);
}

#[test]
fn a_pin_that_is_said_is_as_secret_as_one_that_is_keyed_in() {
    let unread = ["4829", "eight", "nine"];
    for (said, shown) in
        [("it is four eight two nine", "turn 2 ended: \"* * * * * *\""), ("48 29", "turn 2 ended: \"** **\"")]
    {
        the_pin_is_the_tools_alone(vec![say(8_000, said, 1_800)], shown, &unread);
    }
}

#[test]
fn a_note_stands_in_the_record_and_the_model_goes_on() {
    let mut scenario = replies(vec![calls("", vec![tool("remember", 0)]), Said::text("Noted.")], 12_000);
    scenario.arguments = vec![("remember", "{\"text\":\"wants a quote\"}")];
    let world = run(scenario);
    tells(&world, &["turn 1 noted \"wants a quote\"", "Noted."]);
    assert_eq!(world.cdr_of(0).0.expect("a record").notes, ["wants a quote"]);
}

#[test]
fn what_is_known_of_a_caller_is_in_the_greeting_and_in_the_prompt() {
    let mut variables = Variables::default();
    variables.set("first_name", "Ann");
    variables.set("called", "4930123");
    let mut scenario = replies(vec![Said::text("All right.")], 9_000);
    scenario.context = CallContext { variables, ..CallContext::default() };
    let world = run(scenario);
    tells(&world, &["turn 0 sentence 0: \"Hello Ann, how can I help?\"", "turn 0 is heard"]);
    let request = &world.requests()[0];
    assert!(request.system.contains("You answer Ann, who called 4930123."), "{}", request.system);
    assert!(matches!(&request.messages[0], Message::Assistant { text, .. } if text.starts_with("Hello Ann")));
}

#[test]
fn a_tool_result_that_comes_after_a_barge_in_is_known_in_the_next_turn() {
    let mut scenario = replies(
        vec![calls("", vec![tool("book", 3_000)]), Said::text("It is booked, do not worry.")],
        16_000,
    );
    scenario.caller.insert(1, say(4_900, "hello are you there", 900));
    let world = run(scenario);
    tells(&world, &["tool book", "barge-in", "turn 2 asked", "It is booked"]);
    assert_eq!(world.ran("book"), 1);
}
