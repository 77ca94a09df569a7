//! A call as text, one short line per event, for people and for golden tests.
//! Knows events. Leaves out voice activity, interim words and who has the floor: they are in the events themselves.

use call::{Event, Stamped, latency::TurnLatency};
use std::fmt::Write as _;

/// The caller's acts and the call's events in the order of time; times in seconds since the INVITE.
pub(crate) fn write(acts: impl Iterator<Item = (u64, String)>, trace: &[Stamped]) -> String {
    let events = trace.iter().filter_map(|stamped| Some((stamped.at_us, describe(&stamped.event)?)));
    let mut lines: Vec<(u64, String)> = acts.chain(events).collect();
    lines.sort_by_key(|(at_us, _)| *at_us);
    lines.iter().fold(String::new(), |mut text, (at_us, line)| {
        let _ = writeln!(text, "{:7.3} {line}", *at_us as f64 / 1e6);
        text
    })
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the rest is described below")]
fn describe(event: &Event) -> Option<String> {
    Some(match event {
        Event::Started { port_slot, codec, .. } if codec.is_empty() => format!("call in slot {port_slot}"),
        Event::Started { port_slot, codec, .. } => format!("call in slot {port_slot}, {codec}"),
        Event::Answered => "answered".into(),
        Event::Acked => "acknowledged".into(),
        Event::Speech { .. } | Event::Floor { .. } | Event::Heard { is_final: false, .. } => return None,
        Event::Heard { text, .. } => format!("understood {text:?}"),
        Event::Digit => "key".into(),
        Event::Cost { turn, call, .. } => format!("turn {} costs, call {call:?}", turn.0),
        Event::Unrecorded => "the start is not on disk".to_owned(),
        Event::Hold { active } => format!("hold {}", if *active { "begins" } else { "ends" }),
        Event::TurnEnded { turn, text, reason, waited_ms } => {
            format!("turn {turn} ended: {text:?} ({reason}, waited {waited_ms} ms)")
        }
        Event::ProviderTurn { says } => format!("speech-to-text: {says}"),
        Event::Guessed { turn } => format!("turn {turn} asked on a guess"),
        Event::GuessUsed { turn, saved_ms } => format!("turn {turn} guessed right, {saved_ms} ms early"),
        Event::GuessWasted { turn, why, input_tokens, output_tokens, .. } => {
            format!("turn {turn} wasted, {why}: {input_tokens} tokens in, {output_tokens} out")
        }
        Event::Knowledge { turn, came, passages, waited_ms, .. } => {
            let sources: Vec<&str> = passages.iter().map(|passage| passage.source.as_str()).collect();
            format!("turn {turn} knows {sources:?} ({came}, waited {waited_ms} ms)")
        }
        Event::Asked { turn } => format!("turn {turn} asked"),
        Event::LlmAttempt { role, .. } if role == "primary" => return None,
        Event::LlmAttempt { turn, target, .. } => format!("turn {turn} asked {target} instead"),
        Event::HedgeLost { turn, target, .. } => format!("turn {turn} is not answered by {target}"),
        Event::FirstToken { turn } => format!("turn {turn} first token"),
        Event::Sentence { turn, sentence, text } => format!("turn {turn} sentence {sentence}: {text:?}"),
        Event::FirstAudio { turn } => format!("turn {turn} first audio"),
        Event::FirstPacket { turn } => format!("turn {turn} is heard"),
        Event::ReplyDone { turn, .. } => format!("turn {turn} text complete"),
        Event::ToolStarted { turn, name } => format!("turn {turn} tool {name}"),
        Event::ToolEnded { turn, name, ok, ms } => {
            format!("turn {turn} tool {name} {} after {ms} ms", if *ok { "answered" } else { "failed" })
        }
        Event::Transfer { destination, state, status: None } => format!("transfer to {destination}: {state}"),
        Event::Transfer { destination, state, status: Some(status) } => {
            format!("transfer to {destination}: {state}, {status}")
        }
        Event::Path { turn, nodes } => format!("turn {turn} goes {}", nodes.join(" -> ")),
        event => return describe_floor_and_faults(event),
    })
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the rest is described above")]
fn describe_floor_and_faults(event: &Event) -> Option<String> {
    Some(match event {
        Event::Continued { messages } => format!("goes on after {messages} messages"),
        Event::HandedOver { agent } => format!("handed over to {agent}"),
        Event::Language { language, why } => format!("speaks {language} ({why})"),
        Event::Noted { turn, text } => format!("turn {turn} noted {text:?}"),
        Event::Expecting { expectation } => format!("expects {expectation:?}"),
        Event::TurnByEar { percent } => format!("caller sounds {percent} % finished"),
        Event::Ducked { active: true } => "agent speaks more quietly".into(),
        Event::Ducked { active: false } => "agent speaks as before".into(),
        Event::AgentPaused { turn, reaction_ms } => {
            format!("turn {turn} falls silent after {reaction_ms} ms")
        }
        Event::AgentResumed { turn, was, text, after_ms } => {
            format!("turn {turn} goes on after {after_ms} ms: {was} {text:?}")
        }
        Event::BargeIn { turn, state, heard, unsaid, .. } => {
            format!("turn {turn} barge-in ({state}): heard {heard:?}, unsaid {unsaid:?}")
        }
        Event::AgentDone { turn } => format!("turn {turn} done"),
        Event::Latency { latency, .. } => waterfall(latency),
        Event::Filler { text, .. } => format!("filler {text:?}"),
        Event::Loop { who, count } => format!("loop: {who} {count}"),
        Event::NoInput { count } => format!("no input {count}"),
        Event::Fallback { turn, stage, reason } => format!("turn {turn} fallback: {stage}, {reason}"),
        Event::ProviderFailed { stage, reason } => format!("{stage} failed: {reason}"),
        Event::Dropped { queue, count } => format!("{queue} dropped {count}"),
        Event::KeysSent { count } => format!("presses {count} keys"),
        Event::MediaFault { fault, active: true } => format!("media: {fault}"),
        Event::MediaFault { fault, active: false } => format!("media: no longer {fault}"),
        Event::Quality { received, lost, sent, foreign, .. } => {
            format!("packets: {received} received, {lost} lost, {foreign} foreign, {sent} sent")
        }
        Event::Ended { cause, status: None } => format!("ended: {cause}"),
        Event::Ended { cause, status: Some(status) } => format!("ended: {cause}, {status}"),
        _ => return None,
    })
}

/// `gap 1100 ms = jitter 20 + end_of_turn 450 + …`, without the stages that took no time.
fn waterfall(latency: &TurnLatency) -> String {
    let stages = latency.stages.iter().filter(|stage| stage.us > 0);
    let stages: Vec<String> =
        stages.map(|stage| format!("{} {}", stage.stage.name(), (stage.us + 500) / 1_000)).collect();
    format!("gap {} ms = {}", (latency.total_us + 500) / 1_000, stages.join(" + "))
}
