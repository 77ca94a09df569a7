//! A neural model that hears whether the caller sounds finished, beside the words: as timelines of whole calls, and as a
//! file that the server loads.

#[path = "simulation/golden.rs"]
mod golden;
mod served;
mod simulation;

use golden::{check, hanging_up, ms, world};
use served::{Served, repository};
use sim::{Act, Planned, Scenario, say};

/// A model for which more sound is more finished.
const MODEL: &str = "engines/turn-model/tests/models/amount-of-sound.onnx";

/// Words that could go on or not, and are all that the caller says.
fn open_ended(by_ear: &[u8]) -> Scenario {
    let mut scenario = hanging_up(8_000);
    scenario.caller = vec![say(2_500, "opening hours", 1_200), Planned::at(8_000, Act::HangUp)];
    scenario.by_ear = by_ear.to_vec();
    scenario
}

#[test]
fn who_sounds_finished_is_answered_without_the_usual_wait() {
    check(
        world(open_ended(&[96])),
        r#"
        [greeted]
        2.530 caller says "opening hours" (1200 ms)
        4.050 caller sounds 96 % finished
        4.080 understood "opening hours"
        4.080 turn 1 ended: "opening hours" (sound, waited 320 ms)
        4.080 turn 1 asked
        4.380 turn 1 first token
        4.459 turn 1 sentence 0: "We open at nine."
        4.592 turn 1 text complete
        4.592 turn 1 sentence 1: "We close at five."
        4.609 turn 1 first audio
        4.620 turn 1 is heard
        4.620 gap 880 ms = jitter 20 + end_of_turn 250 + stt_final 70 + llm_first_token 300 + first_sentence 79 + tts_first_audio 150 + pacing 11
        6.580 turn 1 done
        [hung up 8.030: 399 in, 402 out]
        "#,
    );
}

#[test]
fn who_sounds_unfinished_is_given_time() {
    let mut scenario = open_ended(&[4, 90]);
    scenario.caller.insert(1, say(4_900, "on sunday", 700));
    check(
        world(scenario),
        r#"
        [greeted]
        2.530 caller says "opening hours" (1200 ms)
        4.050 caller sounds 4 % finished
        4.080 understood "opening hours"
        4.930 caller says "on sunday" (700 ms)
        5.950 caller sounds 90 % finished
        5.980 understood "on sunday"
        5.980 turn 1 ended: "opening hours on sunday" (sound, waited 320 ms)
        5.980 turn 1 asked
        6.280 turn 1 first token
        6.359 turn 1 sentence 0: "We open at nine."
        6.488 turn 1 text complete
        6.488 turn 1 sentence 1: "We close at five."
        6.509 turn 1 first audio
        6.520 turn 1 is heard
        6.520 gap 880 ms = jitter 20 + end_of_turn 250 + stt_final 70 + llm_first_token 300 + first_sentence 79 + tts_first_audio 150 + pacing 11
        [hung up 8.030: 399 in, 402 out]
        "#,
    );
}

#[test]
fn a_model_that_is_late_changes_nothing() {
    let mut scenario = open_ended(&[96]);
    scenario.timings.by_ear = ms(900);
    check(
        world(scenario),
        r#"
        [greeted]
        2.530 caller says "opening hours" (1200 ms)
        4.080 understood "opening hours"
        4.460 turn 1 ended: "opening hours" (pause, waited 700 ms)
        4.460 turn 1 asked
        4.760 turn 1 first token
        4.837 turn 1 sentence 0: "We open at nine."
        4.970 turn 1 text complete
        4.970 turn 1 sentence 1: "We close at five."
        4.987 turn 1 first audio
        5.000 turn 1 is heard
        5.000 gap 1260 ms = jitter 20 + end_of_turn 700 + llm_first_token 300 + first_sentence 77 + tts_first_audio 150 + pacing 13
        6.960 turn 1 done
        [hung up 8.030: 399 in, 402 out]
        "#,
    );
}

#[test]
fn a_server_with_a_model_asks_it_in_every_pause() {
    let model = repository(MODEL);
    let server = Served::start(2, &format!("[conversation]\nturn_model = \"{}\"\n", model.display()));
    let script = repository("loadtest/scripts/hours.toml");
    let output = server.call(&["--script", &script.to_string_lossy()]).output().expect("tandem starts");
    assert!(output.status.success(), "{output:?}");
    let trace = server.trace(&["last"]).to_string();
    assert!(trace.contains("turn_by_ear"), "{trace}");
}

#[test]
fn a_model_that_is_none_stops_the_start_and_is_told_with_its_reason() {
    let folder = served::folder();
    let not_one = repository("engines/turn-model/tests/models/make.py");
    let config = format!("[conversation]\nturn_model = \"{}\"\n", not_one.display());
    std::fs::write(folder.join("t.toml"), config).expect("our folder");
    let tandem = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tandem"));
        command.args(arguments).current_dir(&folder).output().expect("tandem starts")
    };
    let started =
        tandem(&["serve", "--config", "t.toml", "--sip", "udp:127.0.0.1:0", "--http", "127.0.0.1:0"]);
    let told = String::from_utf8_lossy(&started.stderr);
    assert!(!started.status.success());
    assert!(told.contains("conversation.turn_model") && told.contains("no ONNX model"), "{told}");

    std::fs::write(folder.join("t.toml"), "[conversation]\nturn_model = \"gone.onnx\"\n")
        .expect("our folder");
    let checked = tandem(&["check", "t.toml"]);
    let told = String::from_utf8_lossy(&checked.stdout);
    assert!(told.contains("t.toml:2:14: warning: there is no file"), "{told}");
    std::fs::remove_dir_all(&folder).expect("our folder");
}
