//! What a caller experiences when a provider, the network or a stranger misbehaves, as timelines of whole calls.

#[path = "simulation/golden.rs"]
mod golden;
mod simulation;

use conversation::{LlmRequest, Message};
use golden::{check, hanging_up, ms, world};
use sim::{Act, Dialling, Fault, Planned, Said, Scenario, ToolStep, say};

/// One question and one answer, with something wrong for the whole call.
fn with(fault: Fault) -> Scenario {
    Scenario { faults: vec![fault], ..hanging_up(25_000) }
}

const fn tool(name: &'static str, takes: u64) -> ToolStep {
    ToolStep { name, takes: ms(takes), result: Ok("{\"open\":9}") }
}

#[test]
fn a_model_that_hangs_costs_a_fallback_sentence() {
    check(
        world(with(Fault::LlmHangs)),
        r#"
        [usual]
        4.940 filler "All right."
        7.360 filler "One moment, please."
        10.320 filler "I am still on it."
        12.080 turn 1 fallback: llm, nothing for 8000 ms
        12.080 turn 2 sentence 0: "Sorry, I am having some trouble here. Could you say that again?"
        12.100 turn 2 is heard
        12.100 gap 8360 ms = jitter 20 + end_of_turn 250 + stt_final 70 + llm_first_token 8000 + pacing 20
        15.860 turn 2 done
        23.860 no input 1
        23.860 turn 3 sentence 0: "Are you still there?"
        23.860 turn 3 is heard
        25.030 caller hangs up
        25.040 turn 3 done
        25.060 packets: 1249 received, 0 lost, 0 foreign, 1252 sent
        25.060 ended: caller_hung_up
        "#,
    );
}

#[test]
fn a_model_that_fails_costs_a_fallback_sentence() {
    check(
        world(with(Fault::LlmFails)),
        r#"
        [usual]
        4.380 turn 1 fallback: llm, simulated
        4.380 turn 2 sentence 0: "Sorry, I am having some trouble here. Could you say that again?"
        4.380 turn 2 is heard
        4.380 gap 640 ms = jitter 20 + end_of_turn 250 + stt_final 70 + llm_first_token 300
        8.140 turn 2 done
        16.140 no input 1
        16.140 turn 3 sentence 0: "Are you still there?"
        16.140 turn 3 is heard
        17.320 turn 3 done
        [hung up 25.030: 1249 in, 1252 out]
        "#,
    );
}

#[test]
fn a_model_that_stops_is_heard_so_far_and_excused() {
    check(
        world(with(Fault::LlmStops)),
        r#"
        [usual]
        4.380 turn 1 first token
        4.459 turn 1 sentence 0: "We open at nine."
        4.609 turn 1 first audio
        4.620 turn 1 is heard
        4.620 gap 880 ms = jitter 20 + end_of_turn 250 + stt_final 70 + llm_first_token 300 + first_sentence 79 + tts_first_audio 150 + pacing 11
        7.380 filler "One moment, please."
        10.340 filler "I am still on it."
        12.500 turn 1 fallback: llm, nothing for 8013 ms
        12.500 turn 2 sentence 0: "Sorry, I am having some trouble here. Could you say that again?"
        16.280 turn 2 done
        24.280 no input 1
        24.280 turn 3 sentence 0: "Are you still there?"
        24.280 turn 3 is heard
        [hung up 25.030: 1249 in, 1252 out]
        "#,
    );
}

#[test]
fn a_voice_that_hangs_costs_a_fallback_sentence() {
    check(
        world(with(Fault::TtsHangs)),
        r#"
        [usual]
        4.380 turn 1 first token
        4.459 turn 1 sentence 0: "We open at nine."
        4.592 turn 1 text complete
        4.592 turn 1 sentence 1: "We close at five."
        4.940 filler "All right."
        5.960 turn 1 fallback: tts, no audio for a sentence
        5.960 turn 2 sentence 0: "Sorry, I am having some trouble here. Could you say that again?"
        5.980 turn 2 is heard
        5.980 gap 2240 ms = jitter 20 + end_of_turn 250 + stt_final 70 + llm_first_token 300 + first_sentence 79 + tts_first_audio 1501 + pacing 20
        9.740 turn 2 done
        17.740 no input 1
        17.740 turn 3 sentence 0: "Are you still there?"
        17.740 turn 3 is heard
        18.920 turn 3 done
        [hung up 25.030: 1249 in, 1252 out]
        "#,
    );
}

#[test]
fn a_voice_that_fails_costs_a_fallback_sentence() {
    check(
        world(with(Fault::TtsFails)),
        r#"
        [usual]
        4.380 turn 1 first token
        4.459 turn 1 sentence 0: "We open at nine."
        4.592 turn 1 text complete
        4.592 turn 1 sentence 1: "We close at five."
        4.609 turn 1 fallback: tts, simulated
        4.609 turn 2 sentence 0: "Sorry, I am having some trouble here. Could you say that again?"
        4.620 turn 2 is heard
        4.620 gap 880 ms = jitter 20 + end_of_turn 250 + stt_final 70 + llm_first_token 300 + first_sentence 79 + tts_first_audio 150 + pacing 11
        8.380 turn 2 done
        16.380 no input 1
        16.380 turn 3 sentence 0: "Are you still there?"
        16.380 turn 3 is heard
        17.560 turn 3 done
        [hung up 25.030: 1249 in, 1252 out]
        "#,
    );
}

#[test]
fn a_voice_that_breaks_off_is_heard_so_far_and_excused() {
    check(
        world(with(Fault::TtsStops)),
        r#"
        [usual]
        4.380 turn 1 first token
        4.459 turn 1 sentence 0: "We open at nine."
        4.592 turn 1 text complete
        4.592 turn 1 sentence 1: "We close at five."
        4.609 turn 1 first audio
        4.620 turn 1 is heard
        4.620 gap 880 ms = jitter 20 + end_of_turn 250 + stt_final 70 + llm_first_token 300 + first_sentence 79 + tts_first_audio 150 + pacing 11
        4.849 turn 1 fallback: tts, simulated
        5.080 turn 2 sentence 0: "Sorry, I am having some trouble here. Could you say that again?"
        8.860 turn 2 done
        16.860 no input 1
        16.860 turn 3 sentence 0: "Are you still there?"
        16.860 turn 3 is heard
        18.040 turn 3 done
        [hung up 25.030: 1249 in, 1252 out]
        "#,
    );
}

#[test]
fn a_voice_without_a_sound_is_excused() {
    check(
        world(with(Fault::TtsMute)),
        r#"
        [usual]
        4.380 turn 1 first token
        4.459 turn 1 sentence 0: "We open at nine."
        4.592 turn 1 text complete
        4.592 turn 1 sentence 1: "We close at five."
        4.760 turn 1 fallback: tts, no sound
        4.760 turn 2 sentence 0: "Sorry, I am having some trouble here. Could you say that again?"
        4.780 turn 2 is heard
        4.780 gap 1040 ms = jitter 20 + end_of_turn 250 + stt_final 70 + llm_first_token 300 + first_sentence 79 + tts_first_audio 301 + pacing 20
        8.540 turn 2 done
        16.540 no input 1
        16.540 turn 3 sentence 0: "Are you still there?"
        16.540 turn 3 is heard
        17.720 turn 3 done
        [hung up 25.030: 1249 in, 1252 out]
        "#,
    );
}

#[test]
fn without_a_final_transcript_the_interim_one_counts() {
    check(
        world(with(Fault::SttNoFinal)),
        r#"
        [greeted]
        2.530 caller says "when are you open" (1200 ms)
        4.460 turn 1 ended: "when are you open" (stable, waited 700 ms)
        4.460 turn 1 asked
        4.760 turn 1 first token
        4.837 turn 1 sentence 0: "We open at nine."
        4.970 turn 1 text complete
        4.970 turn 1 sentence 1: "We close at five."
        4.987 turn 1 first audio
        5.000 turn 1 is heard
        5.000 gap 1260 ms = jitter 20 + end_of_turn 250 + stt_final 450 + llm_first_token 300 + first_sentence 77 + tts_first_audio 150 + pacing 13
        6.960 turn 1 done
        14.960 no input 1
        14.960 turn 2 sentence 0: "Are you still there?"
        14.960 turn 2 is heard
        16.140 turn 2 done
        24.140 no input 2
        24.140 turn 3 sentence 0: "Are you still there?"
        24.140 turn 3 is heard
        [hung up 25.030: 1249 in, 1252 out]
        "#,
    );
}

#[test]
fn without_ears_the_agent_takes_its_leave() {
    check(
        world(with(Fault::SttFails)),
        r#"
        [greeted]
        1.040 stt failed: simulated
        1.040 turn 1 sentence 0: "Thank you for calling. Goodbye."
        1.060 turn 1 is heard
        2.530         caller says "when are you open" (1200 ms)
        2.900 turn 1 done
        2.900 packets: 142 received, 0 lost, 0 foreign, 145 sent
        2.900 ended: stt_failed
    "#,
    );
}

#[test]
fn a_model_that_fails_after_a_tool_is_excused() {
    let looks = Said { tools: vec![tool("look_up", 500)], ..Said::text("Let me see.") };
    let mut scenario = Scenario { faulty: (ms(4_700), ms(5_000)), ..with(Fault::LlmFails) };
    scenario.replies = vec![looks, Said::text("We open at nine.")];
    check(
        world(scenario),
        r#"
        [usual]
        4.380 turn 1 first token
        4.459 turn 1 sentence 0: "Let me see."
        4.459 turn 1 tool look_up
        4.459 turn 1 text complete
        4.609 turn 1 first audio
        4.620 turn 1 is heard
        4.620 gap 880 ms = jitter 20 + end_of_turn 250 + stt_final 70 + llm_first_token 300 + first_sentence 79 + tts_first_audio 150 + pacing 11
        4.959 turn 1 tool look_up answered after 500 ms
        4.959 turn 1 asked
        5.259 turn 1 fallback: llm, simulated
        5.260 turn 2 sentence 0: "Sorry, I am having some trouble here. Could you say that again?"
        9.040 turn 2 done
        17.040 no input 1
        17.040 turn 3 sentence 0: "Are you still there?"
        17.040 turn 3 is heard
        18.220 turn 3 done
        [hung up 25.030: 1249 in, 1252 out]
        "#,
    );
}

#[test]
fn a_tool_that_hangs_is_given_up_and_told_to_the_model() {
    let looks = Said { tools: vec![tool("look_up", 500)], ..Said::text("Let me see.") };
    let mut scenario = with(Fault::ToolHangs);
    scenario.replies = vec![looks, Said::text("I cannot look that up now.")];
    scenario.caller[1] = Planned::at(20_000, Act::HangUp);
    check(
        world(scenario),
        r#"
        [usual]
        4.380 turn 1 first token
        4.459 turn 1 sentence 0: "Let me see."
        4.459 turn 1 tool look_up
        4.459 turn 1 text complete
        4.609 turn 1 first audio
        4.620 turn 1 is heard
        4.620 gap 880 ms = jitter 20 + end_of_turn 250 + stt_final 70 + llm_first_token 300 + first_sentence 79 + tts_first_audio 150 + pacing 11
        7.080 filler "One moment, please."
        10.040 filler "I am still on it."
        12.460 turn 1 tool look_up failed after 8000 ms
        12.460 turn 1 asked
        12.880 filler "Thank you for waiting, just a little longer."
        12.916 turn 1 text complete
        12.916 turn 1 sentence 1: "I cannot look that up now."
        14.620 turn 1 done
        [hung up 20.030: 999 in, 1002 out]
    "#,
    );
}

#[test]
fn without_prepared_sentences_and_without_a_voice_the_call_ends() {
    check(
        world(Scenario { clips: false, ..with(Fault::TtsHangs) }),
        r#"
        0.000 call in slot 0, PCMU
        0.000 answered
        0.060 acknowledged
        0.060 turn 0 sentence 0: "Hello, how can I help?"
        1.560 turn 0 fallback: tts, no audio for a sentence
        1.560 turn 1 sentence 0: "Sorry, I am having some trouble here. Could you say that again?"
        2.530 caller says "when are you open" (1200 ms)
        2.640 agent speaks more quietly
        2.780 turn 1 falls silent after 180 ms
        3.140 turn 1 barge-in (speaking): heard "", unsaid "Sorry, I am having some trouble here. Could you say that again?"
        4.080 understood "when are you open"
        4.080 turn 2 ended: "when are you open" (sentence, waited 320 ms)
        4.080 turn 2 asked
        4.380 turn 2 first token
        4.459 turn 2 sentence 0: "We open at nine."
        4.592 turn 2 text complete
        4.592 turn 2 sentence 1: "We close at five."
        5.960 turn 2 fallback: tts, no audio for a sentence
        5.960 turn 3 sentence 0: "Sorry, I am having some trouble here. Could you say that again?"
        7.460 turn 3 fallback: tts, no audio for a sentence
        7.460 packets: 370 received, 0 lost, 0 foreign, 373 sent
        7.460 ended: tts_failed
        "#,
    );
}

#[test]
fn a_caller_who_sends_nothing_any_more_is_let_go() {
    let mut scenario = hanging_up(90_000);
    scenario.caller.insert(1, Planned::at(3_900, Act::FallSilent));
    check(
        world(scenario).configure(|call| call.patience.media = ms(5_000)),
        r#"
        [greeted]
        2.530 caller says "when are you open" (1200 ms)
        3.930 caller sends no more packets
        4.080 understood "when are you open"
        4.080 turn 1 ended: "when are you open" (sentence, waited 320 ms)
        4.080 turn 1 asked
        4.380 turn 1 first token
        4.456 turn 1 sentence 0: "We open at nine."
        4.586 turn 1 text complete
        4.586 turn 1 sentence 1: "We close at five."
        4.606 turn 1 first audio
        4.620 turn 1 is heard
        4.620 gap 880 ms = jitter 20 + end_of_turn 250 + stt_final 70 + llm_first_token 300 + first_sentence 76 + tts_first_audio 150 + pacing 14
        5.620 media: silent
        6.580 turn 1 done
        9.020 media: no longer silent
        9.020 media: dead
        9.020 packets: 194 received, 0 lost, 0 foreign, 451 sent
        9.020 ended: media_timeout
        "#,
    );
}

#[test]
fn a_stranger_is_not_heard() {
    check(
        world(Scenario { stranger: true, ..hanging_up(7_000) }),
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
        7.030 caller hangs up
        7.060 packets: 349 received, 0 lost, 349 foreign, 352 sent
        7.060 ended: caller_hung_up
        "#,
    );
}

#[test]
fn a_tool_that_answers_too_late_is_known_in_the_next_turn() {
    let books = Said { tools: vec![tool("look_up", 9_000)], ..Said::text("Let me see.") };
    let mut scenario = hanging_up(25_000);
    scenario.replies = vec![books, Said::text("I cannot look that up now."), Said::text("It is done.")];
    scenario.caller.insert(1, say(17_000, "is it done", 800));
    let world = world(scenario).run();
    let results: Vec<&str> = world.requests().iter().filter_map(last_result).collect();
    assert_eq!(results, [r#"{"error":"the tool did not answer in time"}"#, r#"{"open":9}"#]);
}

/// The latest tool result that a question to the model holds.
fn last_result(request: &LlmRequest) -> Option<&str> {
    request.messages.iter().rev().find_map(|message| match message {
        Message::Tool { result, .. } => Some(result.as_str()),
        Message::User { .. } | Message::Assistant { .. } => None,
    })
}

#[test]
fn of_a_voice_that_was_given_up_nothing_more_is_heard() {
    // The second sentence's audio comes while the first one's rest still plays.
    let mut scenario = with(Fault::TtsStops);
    scenario.timings.llm_per_token = ms(65);
    check(
        world(scenario),
        r#"
        [usual]
        4.380 turn 1 first token
        4.586 turn 1 sentence 0: "We open at nine."
        4.736 turn 1 first audio
        4.740 turn 1 is heard
        4.740 gap 1000 ms = jitter 20 + end_of_turn 250 + stt_final 70 + llm_first_token 300 + first_sentence 206 + tts_first_audio 150 + pacing 4
        4.930 turn 1 text complete
        4.930 turn 1 sentence 1: "We close at five."
        4.976 turn 1 fallback: tts, simulated
        5.200 turn 2 sentence 0: "Sorry, I am having some trouble here. Could you say that again?"
        8.980 turn 2 done
        16.980 no input 1
        16.980 turn 3 sentence 0: "Are you still there?"
        16.980 turn 3 is heard
        18.160 turn 3 done
        [hung up 25.030: 1249 in, 1252 out]
        "#,
    );
}

#[test]
fn a_key_does_not_keep_a_call_that_is_ending() {
    let mut scenario = Scenario { clips: false, faulty: (ms(5_900), ms(60_000)), ..with(Fault::TtsHangs) };
    scenario.caller.insert(1, Planned::at(8_000, Act::Press('1')));
    check(
        world(scenario).drain_at(ms(6_000)),
        r#"
        0.000 call in slot 0, PCMU
        0.000 answered
        0.060 acknowledged
        0.060 turn 0 sentence 0: "Hello, how can I help?"
        0.210 turn 0 first audio
        0.220 turn 0 is heard
        1.520 turn 0 done
        2.530 caller says "when are you open" (1200 ms)
        4.080 understood "when are you open"
        4.080 turn 1 ended: "when are you open" (sentence, waited 320 ms)
        4.080 turn 1 asked
        4.380 turn 1 first token
        4.459 turn 1 sentence 0: "We open at nine."
        4.592 turn 1 text complete
        4.592 turn 1 sentence 1: "We close at five."
        4.609 turn 1 first audio
        4.620 turn 1 is heard
        4.620 gap 880 ms = jitter 20 + end_of_turn 250 + stt_final 70 + llm_first_token 300 + first_sentence 79 + tts_first_audio 150 + pacing 11
        5.970 turn 2 sentence 0: "Thank you for calling. Goodbye."
        7.480 turn 2 fallback: tts, no audio for a sentence
        7.480 turn 3 sentence 0: "Thank you for calling. Goodbye."
        8.030 caller presses 1
        8.060 key
        8.980 turn 3 fallback: tts, no audio for a sentence
        8.980 packets: 446 received, 0 lost, 0 foreign, 449 sent
        8.980 ended: server_stopping
        "#,
    );
}

#[test]
fn a_model_that_calls_tools_for_ever_is_stopped() {
    let mut scenario = hanging_up(18_000);
    scenario.replies = vec![Said { tools: vec![tool("look_up", 100)], ..Said::default() }];
    check(
        world(scenario),
        r#"
        [usual]
        4.380 turn 1 first token
        4.380 turn 1 tool look_up
        4.380 turn 1 text complete
        4.480 turn 1 tool look_up answered after 100 ms
        4.480 turn 1 asked
        4.780 turn 1 tool look_up
        4.780 turn 1 text complete
        4.880 turn 1 tool look_up answered after 100 ms
        4.880 turn 1 asked
        4.940 filler "All right."
        5.180 turn 1 tool look_up
        5.180 turn 1 text complete
        5.280 turn 1 tool look_up answered after 100 ms
        5.280 turn 1 asked
        5.580 turn 1 tool look_up
        5.580 turn 1 text complete
        5.680 turn 1 tool look_up answered after 100 ms
        5.680 turn 1 asked
        5.980 turn 1 tool look_up
        5.980 turn 1 text complete
        6.080 turn 1 tool look_up answered after 100 ms
        6.080 turn 1 asked
        6.380 turn 1 tool look_up
        6.380 turn 1 tool look_up failed after 0 ms
        6.380 turn 1 text complete
        6.380 turn 1 asked
        6.680 turn 1 tool look_up
        6.680 turn 1 tool look_up failed after 0 ms
        6.680 turn 1 text complete
        6.680 turn 1 fallback: llm, still calling tools after 5 steps
        6.680 turn 2 sentence 0: "Sorry, I am having some trouble here. Could you say that again?"
        6.680 turn 2 is heard
        6.680 gap 2940 ms = jitter 20 + end_of_turn 250 + stt_final 70 + llm_first_token 300 + tool 2300
        10.440 turn 2 done
        [hung up 18.030: 899 in, 902 out]
        "#,
    );
}

#[test]
fn a_caller_on_hold_need_not_send_anything() {
    let mut scenario = hanging_up(20_000);
    scenario.caller.splice(1..1, [Planned::at(7_000, Act::Hold(true)), Planned::at(7_100, Act::FallSilent)]);
    check(
        world(scenario).configure(|call| call.patience.media = ms(5_000)),
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
        7.130 caller sends no more packets
        [hung up 20.030: 354 in, 352 out]
        "#,
    );
}

#[test]
fn a_caller_whose_ack_is_lost_is_greeted_all_the_same() {
    check(
        world(Scenario { dialling: Dialling::WithoutAck, ..hanging_up(7_000) }),
        r#"
        0.000 call in slot 0, PCMU
        0.000 answered
        0.080 turn 0 sentence 0: "Hello, how can I help?"
        0.080 turn 0 is heard
        1.060 turn 0 done
        2.530 caller says "when are you open" (1200 ms)
        4.080 understood "when are you open"
        4.080 turn 1 ended: "when are you open" (sentence, waited 320 ms)
        4.080 turn 1 asked
        4.380 turn 1 first token
        4.460 turn 1 sentence 0: "We open at nine."
        4.591 turn 1 text complete
        4.591 turn 1 sentence 1: "We close at five."
        4.610 turn 1 first audio
        4.620 turn 1 is heard
        4.620 gap 880 ms = jitter 20 + end_of_turn 250 + stt_final 70 + llm_first_token 300 + first_sentence 80 + tts_first_audio 150 + pacing 10
        6.580 turn 1 done
        [hung up 7.030: 349 in, 352 out]
        "#,
    );
}
