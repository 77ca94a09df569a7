//! One agent in several languages, as timelines of whole calls: when the language changes, and that all of it changes.
//! What a file may say about it is here as well.

#[path = "simulation/golden.rs"]
#[allow(dead_code, reason = "the agent of these calls is another one")]
mod golden;
#[allow(dead_code, reason = "the agent of these calls is another one")]
mod simulation;

use call::Event;
use conversation::Agent;
use golden::{check, ms};
use sim::{Act, Fault, Planned, Said, Scenario, ToolStep, World, say};
use std::{collections::BTreeMap, sync::Arc, time::Instant};

const AGENT: &str = r#"
[agent]
name = "simulated"
language = "en-US"
greeting = "Hello, how can I help?"
persona = "You answer the phone."

[languages]
detect = true
key = "1"

[[language]]
tag = "de-DE"
key = "2"
greeting = "Guten Tag, was kann ich tun?"
persona = "Sie gehen ans Telefon."

[[language]]
tag = "fr-FR"
greeting = "Bonjour !"

[[tool]]
name = "set_language"
description = "Goes on in another language."
kind = "set_language"

[[tool]]
name = "end_call"
description = "Ends the call."
kind = "end_call"
"#;

fn agent() -> Arc<Agent> {
    Arc::new(Agent::parse(AGENT, &BTreeMap::new()).expect("a valid agent"))
}

/// The caller says this, and hangs up at this time.
fn saying(text: &'static str, at: u64) -> Scenario {
    let mut scenario = Scenario::one_turn();
    scenario.caller = vec![say(2_500, text, 1_200), Planned::at(at, Act::HangUp)];
    scenario.replies = vec![Said::text("Um neun.")];
    scenario.length = ms(at + 20_000);
    scenario
}

fn world(scenario: Scenario) -> World {
    World::new(Instant::now(), 1, agent(), scenario)
}

/// The model changes the language, with these arguments, after saying this.
fn by_tool(said: &'static str, arguments: &'static str) -> Scenario {
    let mut scenario = saying("can we speak german please", 11_000);
    let tool = ToolStep { name: "set_language", takes: ms(0), result: Ok("") };
    scenario.replies.insert(0, Said { tools: vec![tool], ..Said::text(said) });
    scenario.arguments = vec![("set_language", arguments)];
    scenario
}

#[test]
fn who_speaks_german_is_answered_in_german() {
    check(
        world(saying("wann haben Sie geöffnet", 8_000)),
        r#"
        [greeted]
        2.530 caller says "wann haben Sie geöffnet" (1200 ms)
        4.080 understood "wann haben Sie geöffnet"
        4.460 speaks de-DE (detected)
        4.460 turn 1 ended: "wann haben Sie geöffnet" (pause, waited 700 ms)
        4.460 turn 1 asked
        4.760 turn 1 first token
        4.811 turn 1 text complete
        4.811 turn 1 sentence 0: "Um neun."
        4.961 turn 1 first audio
        4.980 turn 1 is heard
        4.980 gap 1240 ms = jitter 20 + end_of_turn 700 + llm_first_token 300 + first_sentence 51 + tts_first_audio 150 + pacing 19
        5.440 turn 1 done
        [hung up 8.030: 399 in, 402 out]
        "#,
    );
}

#[test]
fn who_speaks_the_agents_own_language_changes_nothing() {
    let world = world(saying("when are you open", 8_000)).run();
    assert!(world.languages().is_empty(), "{}", world.timeline());
}

#[test]
fn a_tool_changes_the_language_once_the_old_voice_has_finished() {
    check(
        world(by_tool("Of course. One moment.", r#"{"language":"de"}"#)),
        r#"
        [greeted]
        2.530 caller says "can we speak german please" (1200 ms)
        4.080 understood "can we speak german please"
        4.460 turn 1 ended: "can we speak german please" (pause, waited 700 ms)
        4.460 turn 1 asked
        4.760 turn 1 first token
        4.785 turn 1 sentence 0: "Of course."
        4.863 turn 1 sentence 1: "One moment."
        4.863 turn 1 tool set_language
        4.863 turn 1 text complete
        4.935 turn 1 first audio
        4.940 turn 1 is heard
        4.940 gap 1200 ms = jitter 20 + end_of_turn 700 + llm_first_token 300 + first_sentence 25 + tts_first_audio 150 + pacing 5
        6.180 speaks de-DE (tool)
        6.180 turn 1 tool set_language answered after 1316 ms
        6.180 turn 1 asked
        6.531 turn 1 text complete
        6.531 turn 1 sentence 2: "Um neun."
        7.160 turn 1 done
        [hung up 11.030: 549 in, 552 out]
        "#,
    );
}

#[test]
fn a_language_that_the_agent_does_not_speak_is_an_error_for_the_model() {
    let world = world(by_tool("", r#"{"language":"pl"}"#)).run();
    assert!(world.languages().is_empty(), "{}", world.timeline());
    assert_eq!(world.requests().len(), 2, "the model hears of it: {}", world.timeline());
}

#[test]
fn a_key_chooses_a_language_and_asks_no_model() {
    let mut scenario = saying("", 9_000);
    scenario.caller = vec![Planned::at(2_000, Act::Press('2')), Planned::at(9_000, Act::HangUp)];
    check(
        world(scenario),
        r#"
        [greeted]
        2.030 caller presses 2
        2.060 key
        2.060 speaks de-DE (key)
        2.060 turn 1 ended: "*" (key_count, waited 0 ms)
        2.060 turn 1 sentence 0: "Guten Tag, was kann ich tun?"
        2.060 turn 1 is heard
        2.060 gap 0 ms =
        3.040 turn 1 done
        [hung up 9.030: 449 in, 452 out]
        "#,
    );
}

#[test]
fn a_new_voice_that_says_nothing_leaves_all_as_it_was() {
    let mut scenario = saying("wann haben Sie geöffnet", 12_000);
    scenario.faults = vec![Fault::TtsFails];
    scenario.faulty = (ms(2_000), ms(4_000));
    check(
        world(scenario),
        r#"
        [greeted]
        2.530 caller says "wann haben Sie geöffnet" (1200 ms)
        4.080 understood "wann haben Sie geöffnet"
        4.460 speaks de-DE (detected)
        4.460 turn 1 ended: "wann haben Sie geöffnet" (pause, waited 700 ms)
        4.460 turn 1 asked
        4.760 turn 1 first token
        4.811 turn 1 text complete
        4.811 turn 1 sentence 0: "Um neun."
        4.961 turn 1 fallback: tts, simulated
        4.961 speaks en-US (tts_failed)
        4.961 turn 2 sentence 0: "Sorry, I am having some trouble here. Could you say that again?"
        4.980 turn 2 is heard
        4.980 gap 1240 ms = jitter 20 + end_of_turn 700 + llm_first_token 300 + first_sentence 51 + tts_first_audio 150 + pacing 19
        8.740 turn 2 done
        [hung up 12.030: 599 in, 602 out]
        "#,
    );
}

#[test]
fn prompt_tools_and_words_change_with_the_voice() {
    let world = world(saying("wann haben Sie geöffnet", 8_000)).run();
    let request = world.requests().last().expect("a question");
    assert!(request.system.starts_with("Sie gehen ans Telefon."), "{}", request.system);
    let tool = request.tools.iter().find(|tool| tool.name == "set_language").expect("the tool");
    let known = &tool.parameters["properties"]["language"]["enum"];
    assert_eq!(known.to_string(), r#"["en-US","de-DE","fr-FR"]"#);
    assert_eq!(world.cdr_of(0).0.and_then(|cdr| cdr.language.as_deref()), Some("de-DE"));
}

/// The language that a call has at a time, in microseconds since the INVITE.
fn languages_of(world: &World) -> impl Fn(u128) -> String + '_ {
    |at: u128| {
        let last = world.languages().iter().rfind(|(since, _)| since.as_micros() <= at);
        last.map_or("en-US".to_owned(), |(_, tag)| tag.clone())
    }
}

/// Whatever the network, the caller and the providers do: no sentence that was begun before a change is heard after it,
/// every word that the caller said is in the context, and a change is whole.
#[test]
fn nobody_hears_a_sentence_in_the_old_voice_after_the_change() {
    let mut changes = 0;
    for seed in 0..240 {
        let mut scenario = Scenario::random(seed);
        let tool = ToolStep { name: "set_language", takes: ms(0), result: Ok("") };
        for said in scenario.replies.iter_mut().skip(seed as usize % 3).step_by(2) {
            said.tools.push(tool);
        }
        let tag = if seed % 2 == 0 { r#"{"language":"de-DE"}"# } else { r#"{"language":"fr"}"# };
        scenario.arguments = vec![("set_language", tag)];
        let world = World::new(Instant::now(), seed, agent(), scenario).run();
        changes += world.languages().len();
        for (at, _) in world.languages() {
            let at = at.as_micros();
            let begins = |event: &Event| matches!(event, Event::Sentence { .. } | Event::Filler { .. });
            let next = world.trace().iter().find(|told| begins(&told.event) && u128::from(told.at_us) >= at);
            let until = next.map_or(u128::MAX, |stamped| u128::from(stamped.at_us));
            let old = world.sent().iter().find(|sent| {
                let between = sent.at.as_micros() > at && sent.at.as_micros() < until;
                between && (sent.voice.is_some() || sent.clip)
            });
            assert!(old.is_none(), "seed {seed}: {old:?} after {at:?}\n{}", world.timeline());
        }
        let told = world.trace().iter().filter_map(|stamped| {
            if let Event::Language { language, .. } = &stamped.event { Some(language.as_str()) } else { None }
        });
        let told: Vec<&str> = told.collect();
        let asked: Vec<&str> = world.languages().iter().map(|(_, tag)| tag.as_str()).collect();
        assert_eq!(told, asked, "seed {seed}: the trace says what the shell was told");
        assert_eq!(world.cdr_of(0).0.and_then(|cdr| cdr.language.as_deref()), asked.last().copied());
        assert_eq!((world.busy(), world.cdr_of(0).1), (0, 1), "seed {seed}");
    }
    assert!(changes > 60, "only {changes} calls changed their language");
}

/// Prompt and voice of a question are of one language, whenever it is asked.
#[test]
fn a_change_is_whole() {
    for seed in 0..120 {
        let mut scenario = Scenario::random(seed);
        scenario.caller.insert(1, say(2_600, "wann haben Sie geöffnet", 1_300));
        let world = World::new(Instant::now(), seed, agent(), scenario).run();
        let speaks = languages_of(&world);
        let asked: Vec<u128> = world
            .trace()
            .iter()
            .filter(|stamped| matches!(stamped.event, Event::Asked { .. }))
            .map(|stamped| u128::from(stamped.at_us))
            .collect();
        assert_eq!(asked.len(), world.requests().len(), "seed {seed}");
        for (at, request) in asked.into_iter().zip(world.requests()) {
            let prompt =
                if speaks(at) == "de-DE" { "Sie gehen ans Telefon." } else { "You answer the phone." };
            assert!(request.system.starts_with(prompt), "seed {seed} at {at}: {}", request.system);
        }
    }
}

#[test]
fn a_caller_who_cuts_in_is_not_torn_between_two_ears() {
    let mut scenario = by_tool(
        "Of course, I will gladly go on in German, if that is better for you.",
        r#"{"language":"de"}"#,
    );
    scenario.caller.insert(1, say(6_000, "sehr gern bitte auf Deutsch", 1_800));
    check(
        world(scenario),
        r#"
        [greeted]
        2.530 caller says "can we speak german please" (1200 ms)
        4.080 understood "can we speak german please"
        4.460 turn 1 ended: "can we speak german please" (pause, waited 700 ms)
        4.460 turn 1 asked
        4.760 turn 1 first token
        4.940 filler "All right."
        4.996 turn 1 sentence 0: "Of course, I will gladly go on in German,"
        5.146 turn 1 first audio
        5.152 turn 1 sentence 1: "if that is better for you."
        5.152 turn 1 tool set_language
        5.152 turn 1 text complete
        5.160 turn 1 is heard
        5.160 gap 1420 ms = jitter 20 + end_of_turn 700 + llm_first_token 300 + first_sentence 236 + tts_first_audio 150 + pacing 14
        6.030 caller says "sehr gern bitte auf Deutsch" (1800 ms)
        6.140 agent speaks more quietly
        6.280 turn 1 falls silent after 180 ms
        6.640 turn 1 barge-in (streaming): heard "Of course, I", unsaid "will gladly go on in German, if that is better for you."
        8.180 understood "sehr gern bitte auf Deutsch"
        8.560 speaks de-DE (tool)
        8.560 turn 1 tool set_language answered after 3408 ms
        8.560 turn 2 ended: "sehr gern bitte auf Deutsch" (pause, waited 700 ms)
        8.560 turn 2 asked
        8.860 turn 2 first token
        8.912 turn 2 text complete
        8.912 turn 2 sentence 0: "Um neun."
        9.062 turn 2 first audio
        9.080 turn 2 is heard
        9.080 gap 1240 ms = jitter 20 + end_of_turn 700 + llm_first_token 300 + first_sentence 52 + tts_first_audio 150 + pacing 18
        9.540 turn 2 done
        [hung up 11.030: 549 in, 552 out]
        "#,
    );
}

#[test]
fn ears_that_do_not_open_leave_all_as_it_was() {
    let mut scenario = saying("wann haben Sie geöffnet", 12_000);
    scenario.faults = vec![Fault::SttFails];
    scenario.faulty = (ms(4_500), ms(5_000));
    check(
        world(scenario),
        r#"
        [greeted]
        2.530 caller says "wann haben Sie geöffnet" (1200 ms)
        4.080 understood "wann haben Sie geöffnet"
        4.460 speaks de-DE (detected)
        4.460 turn 1 ended: "wann haben Sie geöffnet" (pause, waited 700 ms)
        4.460 turn 1 asked
        4.540 stt failed: simulated
        4.540 speaks en-US (stt_failed)
        4.540 turn 2 asked
        4.840 turn 2 first token
        4.892 turn 2 text complete
        4.892 turn 2 sentence 0: "Um neun."
        5.042 turn 2 first audio
        5.060 turn 2 is heard
        5.060 gap 1320 ms = jitter 20 + end_of_turn 700 + llm_first_token 300 + first_sentence 52 + tts_first_audio 150 + pacing 18 + other 80
        5.520 turn 2 done
        [hung up 12.030: 599 in, 602 out]
        "#,
    );
}

fn wrong(change: &str, to: &str) -> String {
    let error = Agent::parse(&AGENT.replacen(change, to, 1), &BTreeMap::new()).expect_err("a fault");
    format!("{}: {}; {}", error.line, error.message, error.help)
}

#[test]
fn a_file_with_a_wrong_language_is_refused_with_its_line() {
    assert_eq!(wrong("\"fr-FR\"", "\"de\""), "19: the agent speaks `de` already; write each language once");
    assert_eq!(wrong("\"fr-FR\"", "\"german\""), "19: `german` is no language tag; did you mean `de`?");
    assert_eq!(wrong("\"fr-FR\"", "\"fr_FR\""), "19: `fr_FR` is no language tag; did you mean `fr-FR`?");
    assert_eq!(
        wrong("\"fr-FR\"", "\"?\""),
        "19: `?` is no language tag; write a tag such as `de-DE` or `es`"
    );
    assert_eq!(wrong("key = \"2\"", "key = \"22\""), "14: `22` is no key; write one of 0 to 9");
    assert_eq!(
        wrong("tag = \"fr-FR\"", "tag = \"fr-FR\"\nkey = \"2\""),
        "20: another language has the key `2`; choose a free key"
    );
    assert_eq!(
        wrong("detect = true", "detect = true\nturns = 0"),
        "10: 0 is out of range; write a number from 1 to 20"
    );
    assert_eq!(wrong("key = \"2\"", "keys = \"2\"").split(':').next(), Some("14"));
    assert_eq!(
        wrong("Guten Tag,", "Guten Tag {name},").split(';').next(),
        Some("15: there is no variable `{name}`")
    );
    assert_eq!(
        wrong("\"fr-FR\"", "\"it\"").split(';').next(),
        Some("19: nothing is ready for `fallbacks.not_heard` in `it`")
    );
    let end = "[[tool]]\nname = \"end_call\"";
    let menu = format!("[menu]\nprompt = \"Press.\"\n[[menu.option]]\nkey = \"1\"\nsay = \"Hello.\"\n{end}");
    let menu = wrong(end, &menu);
    assert!(menu.starts_with("13: the agent has a [menu], and none in `de-DE`"), "{menu}");
}

#[test]
fn a_graph_says_all_in_each_language_or_its_file_is_refused() {
    let graph = "[[slot]]\nname = \"account\"\nkind = \"digits\"\nask = \"Which account?\"\n[[node]]\nname = \"start\"\n\
                 say = \"Let us see.\"\ncollect = [\"account\"]\n[[node.exit]]\nto = \"end\"\nkeys = \"3\"\n\
                 [[node]]\nname = \"end\"\nsay = \"Bye.\"\nends = true\n";
    let end = "[[tool]]\nname = \"end_call\"";
    let with = |texts: &str| {
        let fr = "greeting = \"Bonjour !\"\n";
        let text = AGENT.replacen(fr, &format!("{fr}{}", texts.replace("DE", "FR")), 1);
        let text = text.replacen(
            "persona = \"Sie gehen ans Telefon.\"\n",
            &format!("persona = \"Sie gehen ans Telefon.\"\n{texts}"),
            1,
        );
        Agent::parse(&text.replacen(end, &format!("{graph}{end}"), 1), &BTreeMap::new())
    };
    let message = |texts: &str| with(texts).expect_err("something is missing").message;
    assert_eq!(message(""), "the node `start` says something, and nothing in `de-DE`");
    let nodes = "[language.nodes]\nstart = { say = \"Mal sehen.\" }\nend = { say = \"Tschüs.\" }\n";
    assert_eq!(message(nodes), "the slot `account` is asked for, and nothing in `de-DE`");
    let all = format!("{nodes}[language.slots]\naccount = {{ ask = \"Welches Konto?\" }}\n");
    with(&all).expect("all is there");
    assert_eq!(message(&all.replace("start =", "strat =")), "there is no node `strat`");
    let key = AGENT.replacen("key = \"2\"", "key = \"3\"", 1).replacen(end, &format!("{graph}{end}"), 1);
    let error = Agent::parse(&key, &BTreeMap::new()).expect_err("the key leads elsewhere");
    assert_eq!(error.message, "the key `3` leads out of the node `start`");
}
