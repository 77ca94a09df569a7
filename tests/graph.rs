//! Conversations that follow a graph, in whole simulated calls: by rules alone, and with a model between them.

#[allow(dead_code, reason = "each test file uses its part")]
#[path = "simulation/golden.rs"]
mod golden;
#[allow(dead_code, reason = "each test file uses its part")]
mod simulation;

use call::{Event, Speculate};
use conversation::{Agent, Message};
use golden::{check, hanging_up, ms};
use sim::{Act, Fault, Link, Planned, Said, Scenario, ToolStep, World, say};
use std::{collections::BTreeMap, sync::Arc, time::Instant};

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

[[slot]]
name = "pin"
kind = "digits"
length = 4
ask = "And the PIN?"
private = true

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
interruptible = "never"
prompt = "Give advice."
tools = []
[[node.exit]]
to = "welcome"
when = "not tier"
[[node.exit]]
to = "secret"
keys = "77"

[[node]]
name = "secret"
collect = ["pin"]
[[node.exit]]
to = "known"
when = "pin"

[[node]]
name = "known"
say = "I have the PIN that ends in {pin}."
expect = "email"
[[node.exit]]
to = "advice"
answer = "yes"
"#;

/// Where each node leads to.
const EDGES: [(&str, &[&str]); 7] = [
    ("welcome", &["account", "advice"]),
    ("account", &["gold", "silver"]),
    ("gold", &[]),
    ("silver", &["advice"]),
    ("advice", &["welcome", "secret"]),
    ("secret", &["known"]),
    ("known", &["advice"]),
];

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
fn one_sentence_may_hold_all_that_is_asked_for() {
    let world = run(vec![say(6_000, "my balance one two three", 1_500)], vec![], "gold", vec![]);
    tells(&world, &["turn 1 goes welcome -> account -> gold", "For account 123 a person calls you."]);
}

#[test]
fn what_is_known_before_the_call_leads_on_before_a_word_is_said() {
    let text = AGENT.replace("[[node]]\nname = \"welcome\"", "[[node]]\nname = \"door\"\nsay = \"Welcome.\"\n[[node.exit]]\nto = \"welcome\"\nwhen = \"tier != gold\"\n[[node.exit]]\nto = \"gold\"\nwhen = \"tier == gold\"\n\n[[node]]\nname = \"welcome\"");
    let agent = Arc::new(Agent::parse(&text, &BTreeMap::new()).expect("the agent is valid"));
    let mut scenario = Scenario { caller: vec![], ..hanging_up(20_000) };
    scenario.context.variables = agent.variables().clone();
    scenario.context.variables.set("tier", "gold");
    let world = World::new(Instant::now(), 1, agent, scenario).run();
    tells(&world, &["turn 0 goes door -> gold", "\"Welcome.\"", "a person calls you", "ended: agent_ended"]);
}

#[test]
fn a_secret_is_kept_and_the_ears_know_what_comes() {
    let caller = vec![
        say(6_000, "no", 600),
        Planned::at(14_000, Act::Press('7')),
        Planned::at(14_300, Act::Press('7')),
        say(19_000, "nine eight seven six", 1_600),
    ];
    let world = run(caller, vec![Said::text("Yes?")], "silver", vec![]);
    tells(
        &world,
        &[
            "expects Digits { count: Some(1) }",
            "turn 1 goes welcome -> advice",
            "expects Digits { count: Some(2) }",
            "turn 2 goes advice -> secret",
            "expects Digits { count: Some(4) }",
            "\"And the PIN?\"",
            "turn 3 goes secret -> known",
            "expects Email",
            "\"I have the PIN that ends in 76.\"",
        ],
    );
}

#[test]
fn digits_for_a_private_slot_stand_in_no_trace_and_in_nothing_that_is_kept() {
    let keys = |at| [Planned::at(at, Act::Press('7')), Planned::at(at + 300, Act::Press('7'))];
    let mut caller = vec![say(5_000, "no", 500)];
    caller.extend(keys(12_000));
    caller.extend([say(18_000, "it is four eight two nine", 1_800), Planned::at(26_000, Act::HangUp)]);
    let mut scenario = Scenario { caller, ..Scenario::one_turn() };
    scenario.length = ms(60_000);
    scenario.context.keep = true;
    scenario.context.variables.set("tier", "gold");
    let world = World::new(Instant::now(), 1, agent(), scenario).run();
    tells(&world, &["\"And the PIN?\"", "understood \"it is * * * *\"", "I have the PIN that ends in 29."]);
    assert!(!world.kept().is_empty(), "{}", world.timeline());
    let trace = world.trace().iter().map(|told| serde_json::to_string(told).expect("a trace is JSON"));
    let kept = world.kept().iter().map(|kept| serde_json::to_string(kept).expect("so is what is kept"));
    for text in trace.chain(kept) {
        assert!(!text.contains("eight") && !text.contains("4829"), "{text}");
    }
}

#[test]
fn a_node_may_forbid_to_cut_in_on_its_own_words() {
    let caller = vec![say(6_000, "no", 600), say(8_000, "stop it please stop", 900)];
    let world = run(caller, vec![Said::text("Fine.")], "silver", vec![]);
    tells(&world, &["turn 1 goes welcome -> advice", "\"Our advice is free.\"", "turn 1 done"]);
    assert!(!world.timeline().contains("barge-in"), "{}", world.timeline());
    let free = AGENT.replace("interruptible = \"never\"\n", "");
    let agent = Arc::new(Agent::parse(&free, &BTreeMap::new()).expect("the agent is valid"));
    let caller = vec![say(6_000, "no", 600), say(8_000, "stop it please stop", 900)];
    let scenario = Scenario { caller, ..hanging_up(25_000) };
    let world = World::new(Instant::now(), 1, agent, scenario).run();
    assert!(world.timeline().contains("barge-in"), "{}", world.timeline());
}

#[test]
fn tools_know_what_the_graph_has_collected() {
    let caller = vec![
        say(6_000, "my balance", 900),
        say(11_000, "one two three", 1_200),
        say(17_000, "is it much", 900),
    ];
    let look_up = ToolStep { name: "look_up", takes: ms(300), result: Ok("{\"dollars\":3}") };
    let replies = vec![
        Said::text("Yes?"),
        Said { tools: vec![look_up], ..Said::default() },
        Said::text("Three dollars."),
    ];
    let world = run(caller, replies, "silver", vec![]);
    tells(&world, &["turn 2 goes account -> silver", "tool look_up", "Three dollars."]);
    let known = world.known_to("look_up").expect("it was run");
    assert_eq!((known.get("account"), known.get("tier")), (Some("123"), Some("silver")));
}

/// An answer that was begun on a guess is for the node where the call stood then.
#[test]
fn a_guess_at_another_node_is_not_the_answer() {
    let caller = vec![
        say(6_000, "my balance", 900),
        say(11_000, "one two three", 1_200),
        say(17_000, "i need advice", 900),
        Planned::at(32_000, Act::HangUp),
    ];
    for mode in [Speculate::Llm, Speculate::Speech] {
        let mut scenario = Scenario { caller: caller.clone(), ..hanging_up(32_000) };
        scenario.replies = vec![Said::text("It is three dollars.")];
        scenario.context.variables = agent().variables().clone();
        let world = World::new(Instant::now(), 1, agent(), scenario);
        let world = world.configure(|call| call.speculation.mode = mode).run();
        let welcome =
            world.requests().iter().filter(|request| !request.system.contains("Help with account 123"));
        assert_eq!(welcome.count(), 0, "no model is asked where rules answer:\n{}", world.timeline());
    }
}

#[test]
fn a_call_that_rules_lead_goes_like_this() {
    let mut scenario = hanging_up(25_000);
    scenario.caller.insert(0, say(6_000, "my balance", 900));
    scenario.caller[1] = say(11_000, "one two three", 1_200);
    scenario.context.variables = agent().variables().clone();
    scenario.context.variables.set("tier", "gold");
    check(
        World::new(Instant::now(), 1, agent(), scenario),
        r#"
        0.000 call in slot 0, PCMU
        0.000 answered
        0.060 acknowledged
        0.060 turn 0 sentence 0: "Hello, how can I help?"
        0.060 expects Digits { count: Some(1) }
        0.060 turn 0 sentence 1: "Is it about your balance, or something else?"
        0.060 turn 0 is heard
        3.680 turn 0 done
        6.030 caller says "my balance" (900 ms)
        7.280 understood "my balance"
        7.280 turn 1 ended: "my balance" (phrase, waited 320 ms)
        7.280 turn 1 goes welcome -> account
        7.280 expects Digits { count: Some(3) }
        7.280 turn 1 sentence 0: "Which account is it?"
        7.430 turn 1 first audio
        7.440 turn 1 is heard
        7.440 gap 500 ms = jitter 20 + end_of_turn 250 + stt_final 70 + tts_first_audio 150 + pacing 10
        8.620 turn 1 done
        11.030 caller says "one two three" (1200 ms)
        12.580 understood "one two three"
        12.580 turn 2 ended: "one two three" (digits_spoken, waited 320 ms)
        12.580 turn 2 goes account -> gold
        12.580 turn 2 sentence 0: "Thank you."
        12.580 turn 2 sentence 1: "For account 123 a person calls you."
        12.580 turn 2 sentence 2: "Goodbye."
        12.730 turn 2 first audio
        12.740 turn 2 is heard
        12.740 gap 500 ms = jitter 20 + end_of_turn 250 + stt_final 70 + tts_first_audio 150 + pacing 10
        16.500 turn 2 done
        16.500 packets: 822 received, 0 lost, 0 foreign, 825 sent
        16.500 ended: agent_ended
        "#,
    );
}

/// Whatever the line, the providers and the caller do: a call moves along edges, from where it stood to where it stands,
/// tools of the graph never reach the shell, and every call ends in one record.
#[test]
fn a_call_never_leaves_its_graph() {
    let words =
        ["my balance", "no", "one two three", "yes", "blue cheese", "i need advice", "nine eight seven six"];
    for seed in 0..150_u64 {
        let at = |n: u64| 4_000 + n * (2_500 + seed * 37 % 4_000);
        let word = |n: u64| words[((seed * 7 + n * 3) % 7) as usize];
        let mut caller: Vec<Planned> = (0..6).map(|n| say(at(n), word(n), 700 + seed * 13 % 800)).collect();
        caller.push(Planned::at(at(6), Act::Press(if seed.is_multiple_of(2) { '1' } else { '7' })));
        caller.push(Planned::at(at(8), Act::HangUp));
        let exit = ToolStep { name: "go_to", takes: ms(0), result: Ok("{}") };
        let moves =
            Said { tools: vec![exit], ..Said::text(if seed.is_multiple_of(3) { "Well." } else { "" }) };
        let mut scenario =
            Scenario { caller, replies: vec![moves, Said::text("Good.")], ..Scenario::one_turn() };
        scenario.arguments =
            vec![("go_to", ["{\"to\":\"advice\"}", "{\"to\":\"gold\"}", "[]"][(seed % 3) as usize])];
        scenario.length = ms(at(8) + 60_000);
        scenario.link = Link { loss_percent: seed / 3 % 8, ..scenario.link };
        let faults = [Fault::LlmHangs, Fault::LlmFails, Fault::TtsFails, Fault::SttNoFinal, Fault::LlmStops];
        scenario.faults.extend(faults.get((seed % 10) as usize));
        scenario.context.variables = agent().variables().clone();
        scenario.context.variables.set("tier", if seed.is_multiple_of(5) { "gold" } else { "silver" });
        let mode = [Speculate::Off, Speculate::Llm, Speculate::Speech][(seed % 3) as usize];
        let world = World::new(Instant::now(), seed, agent(), scenario);
        let world = world.configure(|call| call.speculation.mode = mode).run();
        let mut stands = "welcome".to_owned();
        for stamped in world.trace() {
            let Event::Path { nodes, .. } = &stamped.event else { continue };
            assert_eq!(nodes[0], stands, "seed {seed}");
            for pair in nodes.windows(2) {
                let leads = EDGES.iter().any(|(from, to)| *from == pair[0] && to.contains(&pair[1].as_str()));
                assert!(leads, "seed {seed}: {pair:?}");
            }
            stands.clone_from(&nodes[nodes.len() - 1]);
        }
        assert_eq!(world.ran("go_to"), 0, "seed {seed}");
        let open = world.requests().iter().flat_map(|request| request.messages.last());
        let mut open = open.filter(|last| !matches!(last, Message::User { .. } | Message::Tool { .. }));
        assert!(open.next().is_none(), "seed {seed}");
        assert_eq!((world.cdr_of(0).1, world.busy()), (1, 0), "seed {seed}\n{}", world.timeline());
    }
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
        (format!("{node}ends = true\nexpect = \"digit\"\n"), "to say `digit`", "digits:10"),
        (format!("{node}ends = true\nexpect = \"digits:99\"\n"), "to say `digits:99`", "1 to 40"),
        (format!("{node}ends = true\nexpect = \"yesno\"\n"), "to say `yesno`", "`yes_no`"),
        (format!("{node}ends = true\nsya = \"x\"\n"), "unknown field `sya`", "`say`"),
    ] {
        let error = Agent::parse(&format!("{head}{text}"), &BTreeMap::new()).expect_err(&text);
        assert!(error.message.contains(message), "{error}\n{text}");
        assert!(error.help.contains(help), "{error}\n{text}");
        assert!(error.line > 5, "{error}");
    }
}
