//! Taking turns on the phone, as timelines of whole calls: what a caller experiences when everything works.
//! The best documentation of the product's behaviour. What happens when something fails is in `rescue.rs`.

#[path = "simulation/golden.rs"]
mod golden;
mod simulation;

use conversation::{Expectation, Message};
use golden::{check, hanging_up, ms, world};
use sim::{Act, Dialling, Noise, Planned, Said, Scenario, ToolStep, World, say};
use simulation::agent;
use std::time::Instant;

/// What the model says, one for each question.
fn replies(said: Vec<Said>) -> Scenario {
    Scenario { replies: said, ..hanging_up(12_000) }
}

const fn tool(name: &'static str, takes: u64) -> ToolStep {
    ToolStep { name, takes: ms(takes), result: Ok("{\"open\":9}") }
}

#[test]
fn one_question_gets_one_answer() {
    check(
        world(hanging_up(8_000)),
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
        [hung up 8.030: 399 in, 402 out]
        "#,
    );
}

#[test]
fn a_caller_who_speaks_over_the_answer_silences_it() {
    let mut scenario = Scenario::barge_in();
    scenario.caller.push(Planned::at(10_000, Act::HangUp));
    check(
        world(scenario),
        r#"
        [usual]
        4.380 turn 1 first token
        4.539 turn 1 sentence 0: "We open at nine in the morning."
        4.689 turn 1 first audio
        4.700 turn 1 is heard
        4.700 gap 960 ms = jitter 20 + end_of_turn 250 + stt_final 70 + llm_first_token 300 + first_sentence 159 + tts_first_audio 150 + pacing 11
        4.802 turn 1 text complete
        4.802 turn 1 sentence 1: "We close at five in the afternoon, every day."
        6.030 caller says "never mind" (900 ms)
        6.140 agent speaks more quietly
        6.280 turn 1 falls silent after 180 ms
        6.640 turn 1 barge-in (speaking): heard "We open at nine in the", unsaid "morning. We close at five in the afternoon, every day."
        7.280 understood "never mind"
        7.280 turn 2 ended: "never mind" (sentence, waited 320 ms)
        7.280 turn 2 asked
        7.580 turn 2 first token
        7.633 turn 2 text complete
        7.633 turn 2 sentence 0: "All right."
        7.783 turn 2 first audio
        7.800 turn 2 is heard
        7.800 gap 860 ms = jitter 20 + end_of_turn 250 + stt_final 70 + llm_first_token 300 + first_sentence 53 + tts_first_audio 150 + pacing 17
        8.380 turn 2 done
        [hung up 10.030: 499 in, 502 out]
        "#,
    );
}

#[test]
fn a_caller_who_speaks_into_the_greeting_is_heard() {
    check(
        world(Scenario {
            length: ms(12_000),
            caller: vec![say(300, "when are you open", 1_200), Planned::at(7_000, Act::HangUp)],
            ..hanging_up(7_000)
        }),
        r#"
        0.000 call in slot 0, PCMU
        0.000 answered
        0.060 acknowledged
        0.060 turn 0 sentence 0: "Hello, how can I help?"
        0.060 turn 0 is heard
        0.330 caller says "when are you open" (1200 ms)
        0.440 agent speaks more quietly
        0.580 turn 0 falls silent after 180 ms
        0.940 turn 0 barge-in (greeting): heard "Hello,", unsaid "how can I help?"
        1.880 understood "when are you open"
        1.880 turn 1 ended: "when are you open" (sentence, waited 320 ms)
        1.880 turn 1 asked
        2.180 turn 1 first token
        2.257 turn 1 sentence 0: "We open at nine."
        2.389 turn 1 text complete
        2.389 turn 1 sentence 1: "We close at five."
        2.407 turn 1 first audio
        2.420 turn 1 is heard
        2.420 gap 880 ms = jitter 20 + end_of_turn 250 + stt_final 70 + llm_first_token 300 + first_sentence 77 + tts_first_audio 150 + pacing 13
        4.380 turn 1 done
        [hung up 7.030: 349 in, 352 out]
        "#,
    );
}

#[test]
fn a_caller_may_cut_in_while_the_model_still_writes() {
    let mut scenario = Scenario::slow_model();
    scenario.caller.push(Planned::at(10_000, Act::HangUp));
    check(
        world(scenario),
        r#"
        [usual]
        4.380 turn 1 first token
        4.940 filler "All right."
        6.030 caller says "never mind" (900 ms)
        6.140 agent speaks more quietly
        6.183 turn 1 sentence 0: "We open at nine"
        6.280 turn 1 falls silent after 180 ms
        6.333 turn 1 first audio
        6.640 turn 1 barge-in (streaming): heard "", unsaid "We open at nine in the"
        7.280 understood "never mind"
        7.280 turn 2 ended: "never mind" (sentence, waited 320 ms)
        7.280 turn 2 asked
        7.580 turn 2 first token
        8.140 filler "Let me see."
        8.440 turn 2 text complete
        8.440 turn 2 sentence 0: "All right."
        8.590 turn 2 first audio
        8.600 turn 2 is heard
        8.600 gap 1660 ms = jitter 20 + end_of_turn 250 + stt_final 70 + llm_first_token 300 + first_sentence 860 + tts_first_audio 150 + pacing 10
        9.180 turn 2 done
        [hung up 10.030: 499 in, 502 out]
    "#,
    );
}

#[test]
fn a_caller_may_cut_in_while_the_voice_is_still_to_come() {
    let mut scenario = Scenario::slow_voice();
    scenario.caller[1] = say(5_000, "never mind", 900);
    scenario.caller.push(Planned::at(12_000, Act::HangUp));
    scenario.length = ms(20_000);
    check(
        world(scenario),
        r#"
        [usual]
        4.380 turn 1 first token
        4.539 turn 1 sentence 0: "We open at nine in the morning."
        4.802 turn 1 text complete
        4.802 turn 1 sentence 1: "We close at five in the afternoon, every day."
        4.940 filler "All right."
        5.030 caller says "never mind" (900 ms)
        5.140 agent speaks more quietly
        5.280 turn 1 falls silent after 180 ms
        5.640 turn 1 barge-in (speaking): heard "", unsaid "We open at nine in the morning. We close at five in the afternoon, every day."
        6.280 understood "never mind"
        6.280 turn 2 ended: "never mind" (sentence, waited 320 ms)
        6.280 turn 2 asked
        6.580 turn 2 first token
        6.634 turn 2 text complete
        6.634 turn 2 sentence 0: "All right."
        7.140 filler "Let me see."
        7.934 turn 2 first audio
        7.940 turn 2 is heard
        7.940 gap 2000 ms = jitter 20 + end_of_turn 250 + stt_final 70 + llm_first_token 300 + first_sentence 54 + tts_first_audio 1300 + pacing 6
        8.520 turn 2 done
        [hung up 12.030: 599 in, 602 out]
    "#,
    );
}

#[test]
fn a_caller_may_cut_in_while_a_tool_runs_and_its_result_is_kept() {
    let mut scenario = Scenario::over_a_tool();
    scenario.caller.push(Planned::at(11_000, Act::HangUp));
    check(
        world(scenario),
        r#"
        [usual]
        4.380 turn 1 first token
        4.380 turn 1 tool look_up
        4.380 turn 1 text complete
        4.940 filler "One moment, please."
        5.230 caller says "are you there" (900 ms)
        5.340 agent speaks more quietly
        5.480 turn 1 falls silent after 180 ms
        5.840 turn 1 barge-in (thinking): heard "", unsaid ""
        6.480 understood "are you there"
        6.480 turn 2 ended: "are you there" (sentence, waited 320 ms)
        6.480 turn 2 asked
        6.780 turn 2 first token
        6.880 turn 1 tool look_up answered after 2500 ms
        6.933 turn 2 sentence 0: "We open at nine in the morning."
        7.083 turn 2 first audio
        7.100 turn 2 is heard
        7.100 gap 960 ms = jitter 20 + end_of_turn 250 + stt_final 70 + llm_first_token 300 + first_sentence 153 + tts_first_audio 150 + pacing 17
        7.195 turn 2 text complete
        7.195 turn 2 sentence 1: "We close at five in the afternoon, every day."
        [hung up 11.030: 549 in, 552 out]
    "#,
    );
}

#[test]
fn a_cough_is_not_a_barge_in() {
    let mut scenario = hanging_up(9_000);
    scenario.caller.insert(1, Planned::at(5_200, Act::Noise(Noise::Cough, ms(120))));
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
        5.230 caller coughs (120 ms)
        5.340 agent speaks more quietly
        5.580 agent speaks as before
        6.580 turn 1 done
        [hung up 9.030: 449 in, 452 out]
        "#,
    );
}

#[test]
fn speech_that_nobody_understands_does_not_leave_the_agent_mute() {
    let mut scenario = hanging_up(12_000);
    scenario.caller.insert(1, say(5_200, "", 300));
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
        5.230 caller says "" (300 ms)
        5.340 agent speaks more quietly
        5.480 turn 1 falls silent after 180 ms
        5.800 understood ""
        5.840 turn 1 goes on after 360 ms: backchannel ""
        6.940 turn 1 done
        [hung up 12.030: 599 in, 602 out]
        "#,
    );
}

#[test]
fn a_pause_within_an_utterance_is_not_its_end() {
    let mut scenario = hanging_up(12_000);
    scenario.caller.splice(0..1, [say(2_500, "my name is", 800), say(3_900, "Miller", 600)]);
    check(
        world(scenario),
        r#"
        [greeted]
        2.530 caller says "my name is" (800 ms)
        3.680 understood "my name is"
        3.930 caller says "Miller" (600 ms)
        4.880 understood "Miller"
        4.880 turn 1 ended: "my name is Miller" (sentence, waited 320 ms)
        4.880 turn 1 asked
        5.180 turn 1 first token
        5.260 turn 1 sentence 0: "We open at nine."
        5.391 turn 1 text complete
        5.391 turn 1 sentence 1: "We close at five."
        5.410 turn 1 first audio
        5.420 turn 1 is heard
        5.420 gap 880 ms = jitter 20 + end_of_turn 250 + stt_final 70 + llm_first_token 300 + first_sentence 80 + tts_first_audio 150 + pacing 10
        7.380 turn 1 done
        [hung up 12.030: 599 in, 602 out]
        "#,
    );
}

#[test]
fn keys_answer_a_question_and_stay_secret() {
    let asks = Said { expect: Some(Expectation::Digits { count: Some(4) }), ..Said::text("Your number?") };
    let mut scenario = replies(vec![asks, Said::text("Thank you.")]);
    let keys = (0..4).map(|n| Planned::at(5_500 + 300 * n, Act::Press(['4', '2', '7', '1'][n as usize])));
    scenario.caller.splice(1..1, keys);
    check(
        world(scenario),
        r#"
        [usual]
        4.380 turn 1 first token
        4.434 expects Digits { count: Some(4) }
        4.434 turn 1 text complete
        4.434 turn 1 sentence 0: "Your number?"
        4.584 turn 1 first audio
        4.600 turn 1 is heard
        4.600 gap 860 ms = jitter 20 + end_of_turn 250 + stt_final 70 + llm_first_token 300 + first_sentence 54 + tts_first_audio 150 + pacing 16
        5.300 turn 1 done
        5.530 caller presses 4
        5.560 key
        5.830 caller presses 2
        5.860 key
        6.130 caller presses 7
        6.160 key
        6.430 caller presses 1
        6.460 key
        6.460 turn 2 ended: "* * * *" (key_count, waited 0 ms)
        6.460 turn 2 asked
        6.760 turn 2 first token
        6.813 turn 2 text complete
        6.813 turn 2 sentence 0: "Thank you."
        6.963 turn 2 first audio
        6.980 turn 2 is heard
        6.980 gap 520 ms = llm_first_token 300 + first_sentence 53 + tts_first_audio 150 + pacing 17
        7.560 turn 2 done
        [hung up 12.030: 599 in, 602 out]
        "#,
    );
}

#[test]
fn silence_is_asked_about_twice_and_then_ended() {
    check(
        world(Scenario { caller: Vec::new(), length: ms(90_000), ..Scenario::one_turn() }),
        r#"
        [greeted]
        9.040 no input 1
        9.040 turn 1 sentence 0: "Are you still there?"
        9.040 turn 1 is heard
        10.220 turn 1 done
        18.220 no input 2
        18.220 turn 2 sentence 0: "Are you still there?"
        18.220 turn 2 is heard
        19.400 turn 2 done
        27.400 no input 3
        27.400 turn 3 sentence 0: "Thank you for calling. Goodbye."
        27.400 turn 3 is heard
        29.240 turn 3 done
        29.240 packets: 1459 received, 0 lost, 0 foreign, 1462 sent
        29.240 ended: no_input
    "#,
    );
}

#[test]
fn the_agent_says_goodbye_and_hangs_up() {
    let bye = Said { tools: vec![tool("end_call", 0)], ..Said::text("Goodbye then.") };
    check(
        world(replies(vec![bye])),
        r#"
        [usual]
        4.380 turn 1 first token
        4.434 turn 1 sentence 0: "Goodbye then."
        4.434 turn 1 tool end_call
        4.434 turn 1 tool end_call answered after 0 ms
        4.434 turn 1 text complete
        4.584 turn 1 first audio
        4.600 turn 1 is heard
        4.600 gap 860 ms = jitter 20 + end_of_turn 250 + stt_final 70 + llm_first_token 300 + first_sentence 54 + tts_first_audio 150 + pacing 16
        5.360 turn 1 done
        5.360 packets: 265 received, 0 lost, 0 foreign, 268 sent
        5.360 ended: agent_ended
        "#,
    );
}

#[test]
fn an_agent_that_ends_the_call_without_a_word_says_the_prepared_one() {
    let bye = Said { tools: vec![tool("end_call", 0)], ..Said::default() };
    check(
        world(replies(vec![bye])),
        r#"
        [usual]
        4.380 turn 1 first token
        4.380 turn 1 tool end_call
        4.380 turn 1 tool end_call answered after 0 ms
        4.380 turn 1 text complete
        4.380 turn 1 sentence 0: "Thank you for calling. Goodbye."
        4.380 turn 1 is heard
        4.380 gap 640 ms = jitter 20 + end_of_turn 250 + stt_final 70 + llm_first_token 300
        6.220 turn 1 done
        6.220 packets: 308 received, 0 lost, 0 foreign, 311 sent
        6.220 ended: agent_ended
        "#,
    );
}

#[test]
fn a_caller_may_take_back_the_goodbye() {
    let bye =
        Said { tools: vec![tool("end_call", 0)], ..Said::text("It was nice talking to you. Goodbye then.") };
    let mut scenario = replies(vec![bye, Said::text("We are open until five.")]);
    scenario.caller.insert(1, say(5_300, "wait until when", 900));
    check(
        world(scenario),
        r#"
        [usual]
        4.380 turn 1 first token
        4.513 turn 1 sentence 0: "It was nice talking to you."
        4.592 turn 1 sentence 1: "Goodbye then."
        4.592 turn 1 tool end_call
        4.592 turn 1 tool end_call answered after 0 ms
        4.592 turn 1 text complete
        4.663 turn 1 first audio
        4.680 turn 1 is heard
        4.680 gap 940 ms = jitter 20 + end_of_turn 250 + stt_final 70 + llm_first_token 300 + first_sentence 133 + tts_first_audio 150 + pacing 17
        5.330 caller says "wait until when" (900 ms)
        5.440 agent speaks more quietly
        5.580 turn 1 falls silent after 180 ms
        5.940 turn 1 barge-in (speaking): heard "It was nice", unsaid "talking to you. Goodbye then."
        6.580 understood "wait until when"
        8.260 turn 2 ended: "wait until when" (long_pause, waited 2000 ms)
        8.260 turn 2 asked
        8.260 filler "All right."
        8.560 turn 2 first token
        8.693 turn 2 text complete
        8.693 turn 2 sentence 0: "We are open until five."
        8.843 turn 2 first audio
        8.860 turn 2 is heard
        8.860 gap 2620 ms = jitter 20 + end_of_turn 2000 + llm_first_token 300 + first_sentence 133 + tts_first_audio 150 + pacing 17
        10.220 turn 2 done
        [hung up 12.030: 599 in, 602 out]
        "#,
    );
}

#[test]
fn a_call_ends_after_its_last_tool_even_if_that_comes_after_the_goodbye() {
    let bye =
        Said { tools: vec![tool("look_up", 900), tool("end_call", 0)], ..Said::text("Noted. Goodbye.") };
    check(
        world(replies(vec![bye])),
        r#"
        [usual]
        4.380 turn 1 first token
        4.380 turn 1 sentence 0: "Noted."
        4.434 turn 1 sentence 1: "Goodbye."
        4.434 turn 1 tool look_up
        4.434 turn 1 tool end_call
        4.434 turn 1 tool end_call answered after 0 ms
        4.434 turn 1 text complete
        4.530 turn 1 first audio
        4.540 turn 1 is heard
        4.540 gap 800 ms = jitter 20 + end_of_turn 250 + stt_final 70 + llm_first_token 300 + tts_first_audio 150 + pacing 10
        5.334 turn 1 tool look_up answered after 900 ms
        5.360 turn 1 done
        5.360 packets: 265 received, 0 lost, 0 foreign, 268 sent
        5.360 ended: agent_ended
        "#,
    );
}

#[test]
fn a_caller_may_hang_up_while_the_agent_speaks() {
    check(
        world(hanging_up(5_300)),
        r#"
        [usual]
        4.380 turn 1 first token
        4.459 turn 1 sentence 0: "We open at nine."
        4.592 turn 1 text complete
        4.592 turn 1 sentence 1: "We close at five."
        4.609 turn 1 first audio
        4.620 turn 1 is heard
        4.620 gap 880 ms = jitter 20 + end_of_turn 250 + stt_final 70 + llm_first_token 300 + first_sentence 79 + tts_first_audio 150 + pacing 11
        [hung up 5.330: 264 in, 267 out]
        "#,
    );
}

#[test]
fn a_caller_may_give_up_while_it_rings() {
    check(
        world(Scenario { dialling: Dialling::Impatient(ms(2_000)), ..hanging_up(8_000) })
            .configure(|call| call.ring_for = ms(5_000)),
        r#"
        0.000 call in slot 0, PCMU
        1.970         caller gives up
        2.000 packets: 0 received, 0 lost, 0 foreign, 0 sent
        2.000 ended: caller_cancelled, 487
    "#,
    );
}

#[test]
fn it_rings_as_long_as_configured() {
    check(
        world(hanging_up(5_800)).configure(|call| call.ring_for = ms(1_000)),
        r#"
        0.000 call in slot 0, PCMU
        1.000 answered
        1.060 acknowledged
        1.060 turn 0 sentence 0: "Hello, how can I help?"
        1.060 turn 0 is heard
        2.040 turn 0 done
        3.530 caller says "when are you open" (1200 ms)
        5.080 understood "when are you open"
        5.080 turn 1 ended: "when are you open" (sentence, waited 320 ms)
        5.080 turn 1 asked
        5.380 turn 1 first token
        5.459 turn 1 sentence 0: "We open at nine."
        5.592 turn 1 text complete
        5.592 turn 1 sentence 1: "We close at five."
        5.609 turn 1 first audio
        5.620 turn 1 is heard
        5.620 gap 880 ms = jitter 20 + end_of_turn 250 + stt_final 70 + llm_first_token 300 + first_sentence 79 + tts_first_audio 150 + pacing 11
        [hung up 6.830: 289 in, 292 out]
        "#,
    );
}

#[test]
fn a_stopping_server_says_goodbye() {
    check(
        world(hanging_up(25_000)).drain_at(ms(5_500)),
        r#"
        [usual]
        4.380 turn 1 first token
        4.459 turn 1 sentence 0: "We open at nine."
        4.592 turn 1 text complete
        4.592 turn 1 sentence 1: "We close at five."
        4.609 turn 1 first audio
        4.620 turn 1 is heard
        4.620 gap 880 ms = jitter 20 + end_of_turn 250 + stt_final 70 + llm_first_token 300 + first_sentence 79 + tts_first_audio 150 + pacing 11
        5.470 turn 2 sentence 0: "Thank you for calling. Goodbye."
        5.480 turn 2 is heard
        7.320 turn 2 done
        7.320 packets: 363 received, 0 lost, 0 foreign, 366 sent
        7.320 ended: server_stopping
        "#,
    );
}

#[test]
fn a_stopping_server_refuses_a_call_that_rings() {
    check(
        world(hanging_up(8_000)).configure(|call| call.ring_for = ms(5_000)).drain_at(ms(1_000)),
        r#"
        0.000 call in slot 0, PCMU
        0.970 packets: 0 received, 0 lost, 0 foreign, 0 sent
        0.970 ended: server_stopping, 503
    "#,
    );
}

#[test]
fn a_call_that_lasts_too_long_is_ended_with_a_goodbye() {
    check(
        world(hanging_up(30_000)).configure(|call| call.patience.call = ms(7_000)),
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
        7.000 turn 2 sentence 0: "Thank you for calling. Goodbye."
        7.020 turn 2 is heard
        8.860 turn 2 done
        8.860 packets: 440 received, 0 lost, 0 foreign, 443 sent
        8.860 ended: max_duration
        "#,
    );
}

#[test]
fn a_caller_without_a_codec_of_ours_is_refused() {
    check(
        world(Scenario { dialling: Dialling::StrangeCodec, ..hanging_up(8_000) }),
        r#"
        0.000 call in slot 0
        0.000 ended: no_common_codec, 488
    "#,
    );
}

#[test]
fn over_the_cap_a_caller_is_refused_at_once() {
    let callers = (0..3).map(|n| (ms(n * 100), Scenario { cap: 2, ..hanging_up(8_000) })).collect();
    let world = World::with_callers(Instant::now(), 1, agent(), callers).run();
    let statuses: Vec<_> = (0..3).map(|number| world.status_of(number)).collect();
    assert_eq!(statuses, [Some(200), Some(200), Some(503)]);
    let causes: Vec<_> = (0..3).map(|n| world.cdr_of(n).0.and_then(|cdr| cdr.cause.clone())).collect();
    assert_eq!(
        causes.iter().map(|c| c.as_deref()).collect::<Vec<_>>(),
        [Some("caller_hung_up"), Some("caller_hung_up"), Some("ports_full")]
    );
}

#[test]
fn an_amount_is_said_in_words_and_stays_an_amount_in_the_context() {
    let mut scenario = Scenario::barge_in();
    scenario.replies.insert(0, Said::text("Your balance is $1,234.56 today."));
    let world = world(scenario).run();
    let spoken = "Your balance is one thousand two hundred thirty-four dollars and fifty-six cents today.";
    assert!(world.spoken().iter().any(|(_, text)| text == spoken), "{:?}", world.spoken());
    let last = world.requests().last().expect("the model was asked");
    let heard = last.messages.iter().find_map(|message| match message {
        Message::Assistant { text, interrupted: true, .. } => Some(text.as_str()),
        Message::Assistant { .. } | Message::User { .. } | Message::Tool { .. } => None,
    });
    // The caller cut in while the amount was being said.
    assert_eq!(heard, Some("Your balance is"));
}

#[test]
fn the_model_is_told_what_was_said_and_heard_in_its_order() {
    let world = world(Scenario::barge_in()).run();
    let last = world.requests().last().expect("the model was asked");
    let told: Vec<String> = last.messages.iter().map(in_words).collect();
    let heard = "agent, cut short: We open at nine in the";
    assert_eq!(
        told,
        ["agent: Hello, how can I help?", "caller: when are you open", heard, "caller: never mind"]
    );
}

fn in_words(message: &Message) -> String {
    match message {
        Message::User { text } => format!("caller: {text}"),
        Message::Assistant { text, interrupted: false, .. } => format!("agent: {text}"),
        Message::Assistant { text, .. } => format!("agent, cut short: {text}"),
        Message::Tool { name, result, .. } => format!("{name}: {result}"),
    }
}

#[test]
fn a_goodbye_under_way_is_not_said_twice() {
    let bye = Said { tools: vec![tool("end_call", 0)], ..Said::text("Goodbye then.") };
    check(
        world(replies(vec![bye])).drain_at(ms(5_000)),
        r#"
        [usual]
        4.380 turn 1 first token
        4.434 turn 1 sentence 0: "Goodbye then."
        4.434 turn 1 tool end_call
        4.434 turn 1 tool end_call answered after 0 ms
        4.434 turn 1 text complete
        4.584 turn 1 first audio
        4.600 turn 1 is heard
        4.600 gap 860 ms = jitter 20 + end_of_turn 250 + stt_final 70 + llm_first_token 300 + first_sentence 54 + tts_first_audio 150 + pacing 16
        5.360 turn 1 done
        5.360 packets: 265 received, 0 lost, 0 foreign, 268 sent
        5.360 ended: agent_ended
        "#,
    );
}

#[test]
fn a_caller_who_was_just_answered_hears_the_goodbye_too() {
    check(
        world(hanging_up(8_000)).drain_at(ms(50)),
        r#"
        0.000 call in slot 0, PCMU
        0.000 answered
        0.060 acknowledged
        0.060 turn 1 sentence 0: "Thank you for calling. Goodbye."
        0.060 turn 1 is heard
        1.900 turn 1 done
        1.900 packets: 92 received, 0 lost, 0 foreign, 95 sent
        1.900 ended: server_stopping
    "#,
    );
}
