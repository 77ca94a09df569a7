//! Conversations that follow a graph, in whole simulated calls: by rules alone, and with a model between them.

use conversation::Agent;
use sim::{Act, Planned, Said, Scenario, ToolStep, World, say};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const AGENT: &str = r#"
[agent]
name = "menu"
greeting = "Hello."

[variables]
tier = "silver"

[[slot]]
name = "account"
kind = "digits"
length = 3
ask = "Which account?"

[[tool]]
name = "look_up"
description = "d"
kind = "http"
url = "https://api.example/{number}"
parameters = { properties = { number = { type = "string" } } }

[[intent]]
name = "balance"
phrases = ["[what is] my balance"]
say = "unused"

[[node]]
name = "welcome"
say = "Is it about your balance, or something else?"
otherwise = "Please say balance, or press one."
[[node.exit]]
to = "account"
intent = "balance"
[[node.exit]]
to = "account"
keys = "1"
[[node.exit]]
to = "advice"
answer = "no"

[[node]]
name = "account"
say = "Which account is it?"
collect = ["account"]
[[node.exit]]
to = "gold"
when = "account and tier == gold"
[[node.exit]]
to = "silver"
when = "account and tier != gold"

[[node]]
name = "gold"
say = "Thank you. For account {account} a person calls you. Goodbye."
ends = true

[[node]]
name = "silver"
prompt = "Help with account {account}."
tools = ["look_up"]
[[node.exit]]
to = "advice"
description = "the caller wants advice"

[[node]]
name = "advice"
say = "Our advice is free."
prompt = "Give advice."
tools = []
[[node.exit]]
to = "welcome"
when = "not tier"
"#;

fn agent() -> Arc<Agent> {
    Arc::new(Agent::parse(AGENT, &BTreeMap::new()).expect("the agent is valid"))
}

fn run(
    caller: Vec<Planned>,
    replies: Vec<Said>,
    tier: &str,
    arguments: Vec<(&'static str, &'static str)>,
) -> World {
    let mut scenario = Scenario { caller, replies, arguments, ..Scenario::one_turn() };
    scenario.caller.push(Planned::at(30_000, Act::HangUp));
    scenario.length = ms(70_000);
    scenario.context.variables = agent().variables().clone();
    scenario.context.variables.set("tier", tier);
    World::new(Instant::now(), 1, agent(), scenario).run()
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
fn rules_alone_lead_a_caller_to_the_end_without_any_model() {
    let caller = vec![say(6_000, "my balance", 900), say(11_000, "one two three", 1_200)];
    let world = run(caller, vec![Said::text("never said")], "gold", vec![]);
    tells(
        &world,
        &[
            "turn 0 sentence 1: \"Is it about your balance, or something else?\"",
            "turn 1 goes welcome -> account",
            "\"Which account is it?\"",
            "turn 2 goes account -> gold",
            "For account 123 a person calls you.",
            "ended: agent_ended",
        ],
    );
    assert!(world.requests().is_empty(), "no model was asked");
}

#[test]
fn keys_and_no_lead_on_and_what_fits_nowhere_is_asked_again() {
    let caller = vec![say(6_000, "blue cheese", 900), Planned::at(13_000, Act::Press('1'))];
    let world = run(caller, vec![], "silver", vec![]);
    tells(&world, &["\"Please say balance, or press one.\"", "turn 2 goes welcome -> account"]);
    let world = run(vec![say(6_000, "no", 600)], vec![], "silver", vec![]);
    tells(&world, &["turn 1 goes welcome -> advice", "\"Our advice is free.\""]);
}

#[test]
fn a_model_answers_where_the_graph_says_so_and_may_take_the_exits_that_are_its_own() {
    let caller = vec![
        say(6_000, "my balance", 900),
        say(11_000, "one two three", 1_200),
        say(17_000, "i need advice", 900),
    ];
    let exit = ToolStep { name: "go_to", takes: ms(0), result: Ok("{}") };
    let replies = vec![Said::text("It is three dollars."), Said { tools: vec![exit], ..Said::default() }];
    let world = run(caller, replies, "silver", vec![("go_to", "{\"to\":\"advice\"}")]);
    tells(
        &world,
        &[
            "turn 2 goes account -> silver",
            "turn 2 asked",
            "It is three dollars.",
            "turn 3 asked",
            "tool go_to",
            "turn 3 goes silver -> advice",
            "Our advice is free.",
        ],
    );
    let request = &world.requests()[0];
    assert!(request.system.contains("Help with account 123."), "{}", request.system);
    let tools: Vec<&str> = request.tools.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(tools, ["look_up", "go_to"]);
    assert_eq!(world.ran("go_to"), 0, "no tool of the shell's");
}

#[test]
fn a_graph_with_a_mistake_is_refused_at_its_line() {
    let head = "[agent]\nname = \"a\"\ngreeting = \"Hi.\"\n[variables]\ntier = \"x\"\n";
    let node = "[[node]]\nname = \"a\"\nsay = \"Hi.\"\n";
    for (text, message, help) in [
        (format!("{node}[[node.exit]]\nto = \"b\"\nwhen = \"tier\"\n"), "no node `b`", "`a`"),
        (format!("{node}[[node.exit]]\nto = \"a\"\n"), "nothing says when", "intent"),
        (
            format!("{node}[[node.exit]]\nto = \"a\"\nwhen = \"teir == gold\"\n"),
            "no variable `teir`",
            "`tier`",
        ),
        (format!("{node}[[node.exit]]\nto = \"a\"\nkeys = \"x\"\n"), "cannot be keyed in", "digits"),
        (format!("{node}[[node.exit]]\nto = \"a\"\ndescription = \"x\"\n"), "no model to take it", "prompt"),
        (node.to_owned(), "has no way out", "ends = true"),
        (
            format!("{node}ends = true\n[[node]]\nname = \"b\"\nsay = \"x\"\nends = true\n"),
            "no exit leads to `b`",
            "first",
        ),
        (format!("{node}ends = true\ntools = [\"x\"]\n"), "no tool `x`", ""),
        (format!("{node}ends = true\ncollect = [\"x\"]\n"), "no slot `x`", ""),
        (
            "[[node]]\nname = \"a\"\n[[node.exit]]\nto = \"a\"\nwhen = \"tier\"\n".to_owned(),
            "neither says nor asks",
            "say",
        ),
        (format!("{node}ends = true\nsya = \"x\"\n"), "unknown field `sya`", "`say`"),
    ] {
        let error = Agent::parse(&format!("{head}{text}"), &BTreeMap::new()).expect_err(&text);
        assert!(error.message.contains(message), "{error}\n{text}");
        assert!(error.help.contains(help), "{error}\n{text}");
        assert!(error.line > 5, "{error}");
    }
}
