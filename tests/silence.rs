//! What a caller hears instead of silence, as timelines of whole calls: the ladder, the menu without any model, the
//! warning before the end, and how calls end that lead nowhere.

#![expect(clippy::wildcard_enum_match_arm, reason = "a timeline looks at a few of many events")]

#[path = "simulation/golden.rs"]
mod golden;
mod simulation;

use call::Event;
use conversation::Agent;
use golden::{check, hanging_up, ms, world};
use sim::{Act, Fault, Planned, Said, Scenario, Timings, ToolStep, World, say};
use std::{collections::BTreeMap, sync::Arc, time::Instant};

/// An agent that has a menu for when nobody thinks.
const WITH_MENU: &str = r#"
[agent]
name = "simulated"
greeting = "Hello, how can I help?"

[[tool]]
name = "look_up"
description = "Looks something up."
kind = "sqlite"
sql = "SELECT 1"

[menu]
prompt = "Press 1 for our hours, 2 to leave a note."
attempts = 2

[[menu.option]]
key = "1"
words = ["hours", "open"]
say = "We open at 9 a.m."

[[menu.option]]
key = "2"
words = ["note"]
say = "I note that."
tool = "look_up"

[[menu.option]]
key = "9"
words = ["goodbye"]
say = "Goodbye."
ends = true
"#;

fn with_menu(scenario: Scenario) -> World {
    let agent = Agent::parse(WITH_MENU, &BTreeMap::new()).expect("a small agent");
    World::new(Instant::now(), 1, Arc::new(agent), scenario)
}

fn cause(world: &World) -> Option<String> {
    world.cdr_of(0).0.and_then(|cdr| cdr.cause.clone())
}

fn fillers(world: &World) -> Vec<String> {
    let texts = world.trace().iter().filter_map(|stamped| match &stamped.event {
        Event::Filler { text, .. } => Some(text.clone()),
        _ => None,
    });
    texts.collect()
}

#[test]
fn a_slow_answer_is_bridged_and_a_fast_one_is_not() {
    assert_eq!(fillers(&world(hanging_up(8_000)).run()), [""; 0]);
    let mut scenario = hanging_up(14_000);
    scenario.timings.llm_first_token = ms(4_500);
    check(
        world(scenario),
        r#"
        [usual]
        4.940 filler "All right."
        7.360 filler "One moment, please."
        8.580 turn 1 first token
        8.659 turn 1 sentence 0: "We open at nine."
        8.792 turn 1 text complete
        8.792 turn 1 sentence 1: "We close at five."
        8.809 turn 1 first audio
        8.820 turn 1 is heard
        8.820 gap 5080 ms = jitter 20 + end_of_turn 250 + stt_final 70 + llm_first_token 4500 + first_sentence 79 + tts_first_audio 150 + pacing 11
        10.780 turn 1 done
        14.030 caller hangs up
        14.060 packets: 699 received, 0 lost, 0 foreign, 702 sent
        14.060 ended: caller_hung_up
    "#,
    );
}

#[test]
fn with_every_model_dead_a_caller_gets_a_menu() {
    let mut scenario = Scenario { faults: vec![Fault::LlmFails], ..hanging_up(30_000) };
    scenario.caller.insert(1, Planned::at(10_000, Act::Press('1')));
    scenario.caller.insert(2, say(15_000, "leave a note", 900));
    scenario.caller.insert(3, say(20_000, "goodbye", 600));
    scenario.replies = vec![Said {
        tools: vec![ToolStep { name: "look_up", takes: ms(200), result: Ok("{}") }],
        ..Said::text("")
    }];
    check(
        with_menu(scenario),
        r#"
        [usual]
        4.380 turn 1 fallback: llm, simulated
        4.380 turn 2 sentence 0: "Press 1 for our hours, 2 to leave a note."
        4.380 turn 2 is heard
        4.380 gap 640 ms = jitter 20 + end_of_turn 250 + stt_final 70 + llm_first_token 300
        6.820 turn 2 done
        10.030 caller presses 1
        10.060 key
        10.060 turn 3 ended: "*" (key_count, waited 0 ms)
        10.060 turn 3 sentence 0: "We open at 9 a.m."
        10.060 turn 3 is heard
        10.060 gap 0 ms =
        11.060 turn 3 done
        15.030 caller says "leave a note" (900 ms)
        16.280 understood "leave a note"
        16.660 turn 4 ended: "leave a note" (pause, waited 700 ms)
        16.660 turn 4 sentence 0: "I note that."
        16.660 turn 4 first token
        16.660 turn 4 tool look_up
        16.660 turn 4 is heard
        16.660 gap 720 ms = jitter 20 + end_of_turn 700
        16.860 turn 4 tool look_up answered after 200 ms
        17.360 turn 4 done
        20.030 caller says "goodbye" (600 ms)
        20.980 understood "goodbye"
        20.980 turn 5 ended: "goodbye" (sentence, waited 320 ms)
        20.980 turn 5 sentence 0: "Goodbye."
        20.980 turn 5 is heard
        20.980 gap 340 ms = jitter 20 + end_of_turn 250 + stt_final 70
        21.440 turn 5 done
        21.440 packets: 1069 received, 0 lost, 0 foreign, 1072 sent
        21.440 ended: agent_ended
    "#,
    );
}

#[test]
fn a_menu_that_nobody_chooses_from_ends_the_call_with_its_reason() {
    let mut scenario = Scenario { faults: vec![Fault::LlmFails], ..hanging_up(60_000) };
    for n in 1..4 {
        scenario.caller.insert(n, say(n as u64 * 8_000, "something else", 900));
    }
    let world = with_menu(scenario).run();
    assert_eq!(cause(&world).as_deref(), Some("llm_failed"), "{}", world.timeline());
}

#[test]
fn a_model_that_is_back_is_asked_again() {
    let mut scenario =
        Scenario { faults: vec![Fault::LlmFails], faulty: (ms(0), ms(6_000)), ..hanging_up(30_000) };
    scenario.caller.insert(1, say(10_000, "how much is it", 900));
    let world = with_menu(scenario).run();
    let said = world.spoken().iter().any(|(_, text)| text.starts_with("We open at nine."));
    assert!(said, "{}", world.timeline());
    assert_eq!(cause(&world).as_deref(), Some("caller_hung_up"));
}

#[test]
fn without_a_menu_a_call_does_not_stay_in_trouble_for_ever() {
    let mut scenario = Scenario { faults: vec![Fault::LlmFails], ..hanging_up(90_000) };
    for n in 1..6 {
        scenario.caller.insert(n, say(n as u64 * 10_000, "are you there", 900));
    }
    let world = world(scenario).run();
    assert_eq!(cause(&world).as_deref(), Some("llm_failed"), "{}", world.timeline());
}

#[test]
fn the_longest_call_is_announced_before_it_ends() {
    let scenario = hanging_up(90_000);
    let world = world(scenario)
        .configure(|config| {
            config.patience.call = ms(40_000);
            config.patience.warning = ms(20_000);
            config.patience.no_inputs = 20;
        })
        .run();
    let warned = world.trace().iter().find_map(|stamped| match &stamped.event {
        Event::Sentence { text, .. } if text.contains("has to end") => Some(stamped.at_us),
        _ => None,
    });
    assert!(warned.is_some_and(|at| (20_000_000..24_000_000).contains(&at)), "{}", world.timeline());
    assert_eq!(cause(&world).as_deref(), Some("max_duration"));
}

#[test]
fn a_line_on_which_nobody_speaks_is_given_up() {
    let world = world(hanging_up(120_000))
        .configure(|config| {
            config.floor.no_input = ms(100_000);
            config.patience.silence = ms(45_000);
        })
        .run();
    assert_eq!(cause(&world).as_deref(), Some("max_silence"), "{}", world.timeline());
}

#[test]
fn an_agent_that_repeats_itself_says_goodbye() {
    let questions = [
        "what about monday",
        "is there parking nearby",
        "can i pay by card",
        "do you sell shoes",
        "who is the owner",
    ];
    let mut scenario =
        Scenario { replies: vec![Said::text("I am sorry, I do not know that.")], ..hanging_up(120_000) };
    for (n, question) in (1..).zip(questions) {
        scenario.caller.insert(n, say(n as u64 * 9_000, question, 1_200));
    }
    let world = world(scenario).run();
    assert_eq!(cause(&world).as_deref(), Some("repeat_loop"), "{}", world.timeline());
}

#[test]
fn a_machine_at_the_other_end_is_not_talked_to() {
    let mut scenario = hanging_up(60_000);
    scenario.caller =
        vec![say(2_500, "your call is important to us please hold", 2_000), Planned::at(60_000, Act::HangUp)];
    let world = world(scenario).run();
    assert_eq!(cause(&world).as_deref(), Some("bot_loop"), "{}", world.timeline());
}

#[test]
fn a_sound_of_attention_gives_way_to_the_answer() {
    // Every time at which the answer can meet the sound: what is heard is one or the other, and nothing is lost.
    for first_token in (700..2_000).step_by(50) {
        let mut scenario = hanging_up(12_000);
        scenario.timings = Timings { llm_first_token: ms(first_token), ..scenario.timings };
        let world = world(scenario).run();
        let own = world.sent().iter().filter(|sent| sent.voice.is_some_and(|turn| turn.0 == 1)).count();
        let due: usize =
            world.spoken().iter().filter(|(turn, _)| turn.0 == 1).map(|(_, text)| text.len() * 3).sum();
        // Two packets hold both voices while one fades into the other.
        assert!(own.abs_diff(due) <= 3, "{first_token} ms: {own} frames of {due}");
        assert!(fillers(&world).len() <= 1, "{first_token} ms: {:?}", fillers(&world));
    }
}

/// Whoever meets a menu presses its keys, after its own last word and before anything else.
#[test]
fn an_agent_presses_keys_for_the_other_side_once_it_has_said_its_sentence() {
    const PRESSES: &str = "[agent]\nname = \"simulated\"\ngreeting = \"Hello, how can I help?\"\n\
        [[tool]]\nname = \"press\"\ndescription = \"d\"\nkind = \"send_dtmf\"\n";
    let agent = Arc::new(Agent::parse(PRESSES, &BTreeMap::new()).expect("the agent is valid"));
    let press = ToolStep { name: "press", takes: ms(0), result: Ok("{}") };
    for (text, arguments, pressed) in [
        ("I press one.", "{\"keys\":\"1,2#\"}", true),
        ("", "{\"keys\":\"1,2#\"}", true),
        ("Well.", "{\"keys\":\"1 or so\"}", false),
        ("Well.", "{\"keys\":\"\"}", false),
        ("Well.", "[]", false),
    ] {
        let mut scenario = hanging_up(14_000);
        scenario.replies = vec![Said { tools: vec![press], ..Said::text(text) }, Said::text("Done.")];
        scenario.arguments = vec![("press", arguments)];
        let world = World::new(Instant::now(), 1, Arc::clone(&agent), scenario).run();
        let timeline = world.timeline();
        assert_eq!(timeline.contains("presses 3 keys"), pressed, "{text:?} {arguments}\n{timeline}");
        assert_eq!(timeline.contains("tool press failed"), !pressed, "{text:?} {arguments}\n{timeline}");
        if pressed && !text.is_empty() {
            let (before, _) = timeline.split_once("presses 3 keys").expect("it was said above");
            assert!(before.contains("turn 1 is heard"), "the sentence comes first:\n{timeline}");
        }
    }
}
