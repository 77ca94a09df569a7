//! What an agent file promises: faults are located and explained, phrases become examples, and noisy words still find
//! their intent. Knows the demo's files.

use conversation::{Agent, Expectation, LlmRequest, Message, Stage, Tool, ToolKind, flow_reply};
use std::collections::{BTreeMap, BTreeSet};

const AGENT: &str = include_str!("../../../agents/demo.toml");
const HOURS: &str = include_str!("../../../agents/demo-hours.md");
const SCHEMA: &str = include_str!("../../../agents/demo.sql");

fn files() -> BTreeMap<String, String> {
    BTreeMap::from([("demo-hours.md".to_owned(), HOURS.to_owned())])
}

fn demo() -> Agent {
    Agent::parse(AGENT, &files()).expect("the demo agent is well formed")
}

const SMALL: &str = r#"[agent]
name = "small"
greeting = "Hello."

[[slot]]
name = "day"
kind = "date"
ask = "When?"

[[tool]]
name = "find"
description = "Looks."
kind = "sqlite"
args = ["day"]
sql = "SELECT ':no parameter' FROM slots WHERE day = :day AND at < :now"

[[intent]]
name = "look"
phrases = ["look [on <day>]"]
needs = ["day"]
tool = "find"
confirm = "{day}?"
"#;

#[test]
fn a_small_agent_has_defaults() {
    let agent = Agent::parse(SMALL, &BTreeMap::new()).expect("it is well formed");
    assert_eq!(agent.name(), "small");
    assert_eq!(agent.route(Stage::Llm), "default");
    assert_eq!(agent.fallback().still_there, "Are you still there?");
    let ToolKind::Sqlite { sql, .. } = &agent.tools()[0].kind else { panic!("a statement") };
    assert!(sql.starts_with("SELECT"));
    assert_eq!(agent.tools()[0].spec.parameters["required"][0], "day");
}

/// A change to the small agent, and the fault it makes.
const FAULTS: &[(&str, &str, usize, &str, &str)] = &[
    ("greeting", "greting", 3, "unknown field `greting`", "did you mean `greeting`?"),
    ("greeting = \"Hello.\"", "greeting = \"  \"", 3, "`greeting` is empty", "write some text"),
    ("kind = \"date\"", "kind = \"dat\"", 7, "unknown variant `dat`", "did you mean `date`?"),
    ("args = [\"day\"]", "args = [\"dya\"]", 14, "there is no slot `dya`", "did you mean `day`?"),
    (
        "= :day",
        "= :dya",
        15,
        "the statement uses `:dya`, which is no argument of this tool",
        "did you mean `day`?",
    ),
    ("tool = \"find\"", "tool = \"fnid\"", 21, "there is no tool `fnid`", "did you mean `find`?"),
    ("<day>", "<dey>", 19, "there is no slot `dey`", "did you mean `day`?"),
    (
        "[on",
        "(on",
        19,
        "this phrase cannot be read: `(` is not closed by `)`",
        "write `[optional] (one|two) <slot>`",
    ),
    (
        "look [",
        "look 5 [",
        19,
        "this phrase cannot be read: `5` cannot be spoken: write words in letters, numbers too",
        "write `[optional] (one|two) <slot>`",
    ),
    ("{day}?", "{time}?", 22, "`{time}` is not one of the slots in `needs`", "known: `day`"),
    (
        "tool = \"find\"\n",
        "",
        18,
        "intent `look` does nothing",
        "give it `tool`, `say` or `does`, or name it in the `intents` of a [[knowledge]]",
    ),
    ("needs = [\"day\"]", "needs = 3", 20, "invalid type: integer `3`, expected a sequence", ""),
    ("[[slot]]", "[[slot]", 5, "", ""),
];

#[test]
fn faults_are_located_and_explained() {
    for (right, wrong, line, message, help) in FAULTS {
        let text = SMALL.replacen(right, wrong, 1);
        assert_ne!(text, SMALL, "{right:?} is in the agent");
        let fault = Agent::parse(&text, &BTreeMap::new()).expect_err(wrong);
        assert_eq!(fault.line, *line, "{wrong:?}: {fault}");
        assert!(message.is_empty() || fault.message == *message, "{wrong:?}: {fault}");
        assert_eq!(fault.help, *help, "{wrong:?}: {fault}");
    }
    let twice = format!("{SMALL}\n[[slot]]\nname = \"day\"\nkind = \"date\"\nask = \"When?\"\n");
    assert_eq!(Agent::parse(&twice, &BTreeMap::new()).expect_err("twice").line, 25);
    let missing = format!("{SMALL}\n[[knowledge]]\nfile = \"demo-ours.md\"\n");
    let fault = Agent::parse(&missing, &files()).expect_err("no such file");
    assert_eq!((fault.line, fault.column), (25, 8));
    assert_eq!(
        fault.to_string(),
        "line 25, column 8: there is no file `demo-ours.md` (did you mean `demo-hours.md`?)"
    );
}

#[test]
fn a_broken_file_never_panics() {
    for at in (0..AGENT.len()).filter(|at| AGENT.is_char_boundary(*at)).step_by(7) {
        drop(Agent::parse(&AGENT[..at], &files()).map(|_| ()));
    }
    for deep in ["(".repeat(10_000), "[a ".repeat(15) + &"]".repeat(15), "(a|b) ".repeat(60)] {
        let text = SMALL.replacen("look [on <day>]", &deep, 1);
        drop(Agent::parse(&text, &BTreeMap::new()).map(|_| ()));
    }
}

#[test]
fn examples_are_many_bounded_and_always_the_same() {
    let sentences = demo().example_sentences();
    assert_eq!(sentences, demo().example_sentences());
    assert!((10_000..=25_000).contains(&sentences.len()), "{}", sentences.len());
    let spoken =
        |word: &String| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '\'');
    for sentence in &sentences {
        assert!(!sentence.is_empty() && sentence.iter().all(spoken), "{sentence:?}");
    }
    let has = |text: &str| sentences.iter().any(|sentence| sentence.join(" ") == text);
    for text in [
        "yes",
        "opening hours",
        "tuesday",
        "half past three",
        "my name is smith",
        "talk to a person",
        "next friday",
    ] {
        assert!(has(text), "{text} is missing");
    }
    let words: BTreeSet<&String> = sentences.iter().flatten().collect();
    println!("{} sentences, {} words", sentences.len(), words.len());
}

#[test]
fn statements_use_only_columns_of_the_schema() {
    let agent = demo();
    for table in ["slots", "appointments", "accounts", "callback_requests"] {
        assert!(SCHEMA.contains(&format!("CREATE TABLE IF NOT EXISTS {table} (")));
        let used = agent.tools().iter().any(|tool| {
            let sql = match tool {
                Tool { kind: ToolKind::Sqlite { sql, .. } | ToolKind::NotePerson { sql }, .. } => {
                    sql.as_str()
                }
                Tool { .. } => "",
            };
            sql.contains(table)
        });
        assert!(used, "{table} is used by no tool");
    }
}

/// What the flow does with one sentence at the beginning of a call: the tool it calls, or how its answer begins.
fn reaction(agent: &Agent, text: &str) -> String {
    let today = jiff::civil::date(2026, 10, 12);
    let messages = vec![Message::User { text: text.to_owned() }];
    let reply = flow_reply(
        agent,
        &LlmRequest {
            system: String::new(),
            messages,
            tools: Vec::new(),
            today,
            variables: Default::default(),
            looked_up: Vec::new(),
            acted: false,
        },
    );
    match (reply.tool_calls.first(), reply.expect) {
        (Some(call), _) if call.name == "find_slots" => "book".to_owned(),
        (Some(call), _) => call.name.clone(),
        (None, Expectation::Date) => "book".to_owned(),
        (None, Expectation::Digits { .. }) => "balance".to_owned(),
        (
            None,
            Expectation::Any
            | Expectation::YesNo
            | Expectation::Time
            | Expectation::Name
            | Expectation::Email
            | Expectation::Spelling,
        ) => reply.pieces.concat().chars().take(24).collect(),
    }
}

/// A word of every example is dropped or replaced by a random one of the vocabulary: the same is done in most cases.
/// Most of the others have lost their only word with a meaning, and are asked about.
#[test]
fn one_wrong_or_missing_word_rarely_changes_the_meaning() {
    let agent = demo();
    // Only what means something by itself: a day or a number does not.
    let empty = |sentence: &[String]| {
        let wants = ["appointment", "book", "come", "have", "is", "meeting", "schedule", "see", "visit"];
        reaction(&agent, &sentence.join(" ")) == "book"
            && !sentence.iter().any(|word| wants.contains(&word.as_str()))
    };
    let clear = |sentence: &Vec<String>| {
        sentence.len() >= 3 && !empty(sentence) && !reaction(&agent, &sentence.join(" ")).starts_with("Sorry")
    };
    let examples: Vec<Vec<String>> =
        agent.example_sentences().into_iter().step_by(19).filter(clear).collect();
    let vocabulary: Vec<&String> = examples.iter().flatten().collect();
    let mut chance = 1_u64;
    let mut next = |below: usize| {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(chance >> 33).unwrap_or(0) % below
    };
    let (mut dropped, mut replaced, mut all) = (0, 0, 0);
    for sentence in &examples {
        let wanted = reaction(&agent, &sentence.join(" "));
        let at = next(sentence.len());
        let mut without = sentence.clone();
        without.remove(at);
        let mut wrong = sentence.clone();
        wrong[at].clone_from(vocabulary[next(vocabulary.len())]);
        all += 1;
        dropped += usize::from(reaction(&agent, &without.join(" ")) == wanted);
        replaced += usize::from(reaction(&agent, &wrong.join(" ")) == wanted);
    }
    println!("{all} sentences: {dropped} the same with a word dropped, {replaced} with a word replaced");
    assert!(
        dropped * 100 >= all * 88 && replaced * 100 >= all * 83,
        "{all}: {dropped} dropped, {replaced} replaced"
    );
}

#[test]
fn a_booking_through_the_context_goes_on_after_its_tool() {
    use conversation::{Context, TurnId};
    let agent = demo();
    let mut context = Context::new(agent.system_prompt(agent.variables()));
    let today = jiff::civil::date(2026, 11, 20);
    context.assistant_sentence(TurnId(0), 0, "Hello.");
    context.user("i would like to book an appointment for tuesday");
    context.assistant_begin(TurnId(1));
    let reply = conversation::flow_reply(&agent, &context.request(&agent, today));
    let call = reply.tool_calls.first().expect("asks for free times").clone();
    context.tool_call(TurnId(1), call.clone());
    assert!(context.tool_result(&call.id, "[{\"time\":\"09:30\"},{\"time\":\"11:00\"}]"));
    let request = context.request(&agent, today);
    let reply = conversation::flow_reply(&agent, &request);
    assert!(reply.tool_calls.is_empty(), "asked again: {:?}", reply.tool_calls);
}

#[test]
fn an_agent_says_its_own_words_in_its_own_way() {
    let with = |speech: &str| {
        let text =
            format!("[agent]\nname = \"a\"\ngreeting = \"hi\"\nlanguage = \"de-DE\"\n\n[speech]\n{speech}");
        Agent::parse(&text, &BTreeMap::new())
            .expect("a small agent")
            .spoken()
            .say("5 km mit DHL")
            .text()
            .to_owned()
    };
    assert_eq!(with(""), "fünf Kilometer mit DHL");
    assert_eq!(with("say_as = { DHL = \"De Ha El\" }"), "fünf Kilometer mit De Ha El");
    assert_eq!(with("spoken_forms = false\nsay_as = { DHL = \"De Ha El\" }"), "5 km mit De Ha El");
}
