//! Hold, and what else is agreed on anew in a call, as timelines: a caller who is away owes no answer and hears none.
//! Taking turns while both sides listen is in `turns.rs`.

#[path = "simulation/golden.rs"]
mod golden;
mod simulation;

use golden::{check, hanging_up, ms, world};
use sim::{Act, Dialling, Planned, Scenario, say};

#[test]
fn on_hold_nothing_is_said_heard_or_asked() {
    let mut scenario = hanging_up(28_000);
    let hold = [
        Planned::at(5_200, Act::Hold(true)),
        say(8_000, "hold music", 4_000),
        Planned::at(20_000, Act::Hold(false)),
        say(23_000, "are you there", 900),
    ];
    scenario.caller.splice(1..1, hold);
    check(
        world(scenario),
        r#"
        [usual]
        4.380 turn 1 first token
        4.459 turn 1 sentence 0: "We open at nine."
        4.592 turn 1 text complete
        4.592 turn 1 sentence 1: "We close at five."
        4.609 turn 1 first audio
        4.620 turn 1 is heard
        4.620 gap 880 ms = jitter 20 + end_of_turn 250 + stt_final 70 + llm_first_token 300 + first_sentence 79 + tts_first_audio 150 + pacing 11
        5.230 caller puts us on hold
        5.260 hold begins
        8.030 caller says "hold music" (4000 ms)
        20.030 caller takes us back
        20.060 hold ends
        21.380 turn 1 done
        23.030 caller says "are you there" (900 ms)
        24.280 understood "are you there"
        24.280 turn 2 ended: "are you there" (sentence, waited 320 ms)
        24.280 turn 2 asked
        24.580 turn 2 first token
        24.658 turn 2 sentence 0: "We open at nine."
        24.791 turn 2 text complete
        24.791 turn 2 sentence 1: "We close at five."
        24.808 turn 2 first audio
        24.820 turn 2 is heard
        24.820 gap 880 ms = jitter 20 + end_of_turn 250 + stt_final 70 + llm_first_token 300 + first_sentence 78 + tts_first_audio 150 + pacing 12
        26.780 turn 2 done
        [hung up 28.030: 1399 in, 662 out]
        "#,
    );
}

#[test]
fn a_question_just_before_the_hold_is_answered_after_it() {
    let mut scenario = hanging_up(24_000);
    scenario
        .caller
        .splice(1..1, [Planned::at(3_800, Act::Hold(true)), Planned::at(20_000, Act::Hold(false))]);
    check(
        world(scenario),
        r#"
        [greeted]
        2.530 caller says "when are you open" (1200 ms)
        3.830 caller puts us on hold
        3.860 hold begins
        4.080 understood "when are you open"
        4.080 turn 1 ended: "when are you open" (sentence, waited 320 ms)
        4.080 turn 1 asked
        4.459 turn 1 sentence 0: "We open at nine."
        4.590 turn 1 text complete
        4.590 turn 1 sentence 1: "We close at five."
        4.609 turn 1 first audio
        20.030 caller takes us back
        20.060 hold ends
        20.060 turn 1 is heard
        22.020 turn 1 done
        [hung up 24.030: 1199 in, 392 out]
        "#,
    );
}

#[test]
fn a_goodbye_to_a_caller_who_does_not_listen_still_ends() {
    let mut scenario = hanging_up(60_000);
    scenario.caller.insert(1, Planned::at(6_100, Act::Hold(true)));
    check(
        world(scenario).drain_at(ms(6_000)),
        r#"
        [usual]
        4.380 turn 1 first token
        4.459 turn 1 sentence 0: "We open at nine."
        4.592 turn 1 text complete
        4.592 turn 1 sentence 1: "We close at five."
        4.609 turn 1 first audio
        4.620 turn 1 is heard
        4.620 gap 880 ms = jitter 20 + end_of_turn 250 + stt_final 70 + llm_first_token 300 + first_sentence 79 + tts_first_audio 150 + pacing 11
        5.970 turn 2 sentence 0: "Thank you for calling. Goodbye."
        5.980 turn 2 is heard
        6.130 caller puts us on hold
        6.160 hold begins
        6.160 packets: 305 received, 0 lost, 0 foreign, 307 sent
        6.160 ended: server_stopping
        "#,
    );
}

#[test]
fn a_late_offer_is_answered_in_the_ack() {
    check(
        world(Scenario { dialling: Dialling::LateOffer, ..hanging_up(7_000) }),
        r#"
        0.000 call in slot 0
        0.000 answered
        0.060 acknowledged
        0.060 turn 0 sentence 0: "Hello, how can I help?"
        0.060 turn 0 is heard
        1.040 turn 0 done
        2.530 caller says "when are you open" (1200 ms)
        4.080 understood "when are you open"
        4.080 turn 1 ended: "when are you open" (sentence, waited 320 ms)
        4.080 turn 1 asked
        4.380 turn 1 first token
        4.457 turn 1 sentence 0: "We open at nine."
        4.591 turn 1 text complete
        4.591 turn 1 sentence 1: "We close at five."
        4.607 turn 1 first audio
        4.620 turn 1 is heard
        4.620 gap 880 ms = jitter 20 + end_of_turn 250 + stt_final 70 + llm_first_token 300 + first_sentence 77 + tts_first_audio 150 + pacing 13
        6.580 turn 1 done
        [hung up 7.030: 349 in, 350 out]
        "#,
    );
}

#[test]
fn a_caller_may_change_the_codec() {
    let mut scenario = hanging_up(12_000);
    scenario.caller.splice(1..1, [Planned::at(5_000, Act::OtherCodec), say(8_000, "and on sunday", 900)]);
    check(
        world(scenario),
        r#"
        [usual]
        4.380 turn 1 first token
        4.459 turn 1 sentence 0: "We open at nine."
        4.592 turn 1 text complete
        4.592 turn 1 sentence 1: "We close at five."
        4.609 turn 1 first audio
        4.620 turn 1 is heard
        4.620 gap 880 ms = jitter 20 + end_of_turn 250 + stt_final 70 + llm_first_token 300 + first_sentence 79 + tts_first_audio 150 + pacing 11
        5.030 caller changes the codec
        6.580 turn 1 done
        8.030 caller says "and on sunday" (900 ms)
        9.280 understood "and on sunday"
        9.660 turn 2 ended: "and on sunday" (pause, waited 700 ms)
        9.660 turn 2 asked
        9.960 turn 2 first token
        10.038 turn 2 sentence 0: "We open at nine."
        10.168 turn 2 text complete
        10.168 turn 2 sentence 1: "We close at five."
        10.188 turn 2 first audio
        10.200 turn 2 is heard
        10.200 gap 1260 ms = jitter 20 + end_of_turn 700 + llm_first_token 300 + first_sentence 78 + tts_first_audio 150 + pacing 12
        [hung up 12.030: 599 in, 602 out]
        "#,
    );
}

#[test]
fn a_caller_on_hold_is_not_asked_whether_they_are_there() {
    let mut scenario = hanging_up(35_000);
    let hold = [Planned::at(7_000, Act::Hold(true)), Planned::at(22_000, Act::Hold(false))];
    scenario.caller.splice(1..1, hold);
    check(
        world(scenario),
        r#"
        [usual]
        4.380 turn 1 first token
        4.459 turn 1 sentence 0: "We open at nine."
        4.592 turn 1 text complete
        4.592 turn 1 sentence 1: "We close at five."
        4.609 turn 1 first audio
        4.620 turn 1 is heard
        4.620 gap 880 ms = jitter 20 + end_of_turn 250 + stt_final 70 + llm_first_token 300 + first_sentence 79 + tts_first_audio 150 + pacing 11
        6.580 turn 1 done
        7.030 caller puts us on hold
        7.060 hold begins
        22.030 caller takes us back
        22.060 hold ends
        30.040 no input 1
        30.040 turn 2 sentence 0: "Are you still there?"
        30.040 turn 2 is heard
        31.220 turn 2 done
        [hung up 35.030: 1749 in, 1002 out]
        "#,
    );
}
