//! The one table of names: ours, and what other conventions call the same thing.
//! Knows names only. A profile changes what an attribute is called, never what it says.

use super::span::{Span, Value};

/// The version of the semantic conventions whose `gen_ai.*` names are used. They were last part of the main document there,
/// and none of them is stable: the version is told with every span.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.42.0";

/// Whose names are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// `gen_ai.*` as in version 1.42 and our own `voice.*` for the rest.
    #[default]
    Semconv,
    /// The drafts that follow it.
    GenAiNext,
    /// Future AGI's traceAI.
    TraceAi,
    /// Arize's OpenInference.
    OpenInference,
    /// LiveKit Agents.
    LiveKit,
}

impl Profile {
    /// As they are written in the config.
    pub const NAMES: [&'static str; 5] =
        ["semconv-1.42", "genai-next", "traceai", "openinference", "livekit"];

    /// All of them, in the order of their names.
    pub const ALL: [Self; 5] =
        [Self::Semconv, Self::GenAiNext, Self::TraceAi, Self::OpenInference, Self::LiveKit];

    /// The profile of that name.
    pub fn of(name: &str) -> Option<Self> {
        Self::NAMES.iter().position(|known| *known == name).map(|place| Self::ALL[place])
    }

    /// As it is written in the config.
    pub const fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// Gives a span the names of this profile.
    pub fn apply(self, span: &mut Span) {
        for (name, _) in &mut span.attributes {
            *name = self.name_of(name);
        }
        if self == Self::OpenInference {
            let kind = span_kind(&span.attributes);
            span.attributes.push(("openinference.span.kind", Value::from(kind)));
        }
    }

    fn name_of(self, ours: &'static str) -> &'static str {
        let Some((_, others)) = TABLE.iter().find(|(name, _)| *name == ours) else { return ours };
        match others[self as usize] {
            "" => ours,
            theirs => theirs,
        }
    }
}

/// What OpenInference wants every span to say.
fn span_kind(attributes: &[(&'static str, Value)]) -> &'static str {
    let operation = attributes.iter().find(|(name, _)| *name == "gen_ai.operation.name");
    match operation {
        Some((_, Value::Text(operation))) => match operation.as_str() {
            "invoke_agent" => "AGENT",
            "chat" => "LLM",
            "execute_tool" => "TOOL",
            _ => "CHAIN",
        },
        _ => "CHAIN",
    }
}

/// Ours, then in the order of [`Profile::ALL`]: 1.42, the drafts, traceAI, OpenInference, LiveKit. Empty: they have no word
/// for it, and ours stays.
const TABLE: &[(&str, [&str; 5])] = &[
    ("gen_ai.conversation.id", ["", "", "gen_ai.voice.call_id", "session.id", "lk.session_id"]),
    ("gen_ai.agent.name", ["", "", "", "agent.name", "lk.agent_name"]),
    ("gen_ai.provider.name", ["", "", "", "llm.provider", ""]),
    ("gen_ai.request.model", ["", "", "", "llm.model_name", ""]),
    ("gen_ai.usage.input_tokens", ["", "", "", "llm.token_count.prompt", ""]),
    ("gen_ai.usage.output_tokens", ["", "", "", "llm.token_count.completion", ""]),
    (
        "gen_ai.response.time_to_first_chunk",
        ["", "", "gen_ai.server.time_to_first_token", "", "lk.response.ttft"],
    ),
    ("gen_ai.tool.name", ["", "", "", "tool.name", "lk.function_tool.name"]),
    ("voice.provider", ["", "", "gen_ai.voice.provider", "", ""]),
    ("voice.pii.from_number", ["", "", "gen_ai.voice.from_number", "", ""]),
    ("voice.pii.to_number", ["", "", "gen_ai.voice.to_number", "", ""]),
    ("voice.pii.transcript", ["", "", "gen_ai.voice.transcript", "input.value", "lk.pii.user_transcript"]),
    ("voice.pii.reply", ["", "", "", "output.value", "lk.response.text"]),
    ("voice.call.duration_s", ["", "", "gen_ai.voice.call_duration_secs", "", ""]),
    ("voice.call.end_reason", ["", "", "gen_ai.voice.ended_reason", "", ""]),
    ("voice.turn.end_reason", ["", "gen_ai.agent.invocation.end_reason", "", "", ""]),
    (
        "voice.stt.provider",
        ["gen_ai.provider.name", "gen_ai.provider.name", "gen_ai.voice.stt.provider", "llm.provider", ""],
    ),
    (
        "voice.stt.model",
        ["gen_ai.request.model", "gen_ai.request.model", "gen_ai.voice.stt.model", "llm.model_name", ""],
    ),
    (
        "voice.stt.language",
        [
            "gen_ai.speech.input.language",
            "gen_ai.speech.input.language",
            "gen_ai.voice.stt.language",
            "",
            "lk.eou.language",
        ],
    ),
    (
        "voice.tts.provider",
        ["gen_ai.provider.name", "gen_ai.provider.name", "gen_ai.voice.tts.provider", "llm.provider", ""],
    ),
    (
        "voice.tts.model",
        ["gen_ai.request.model", "gen_ai.request.model", "gen_ai.voice.tts.model", "llm.model_name", ""],
    ),
    (
        "voice.tts.voice",
        ["gen_ai.speech.voice", "gen_ai.speech.voice", "gen_ai.voice.tts.voice_id", "", "lk.tts.label"],
    ),
    ("voice.tts.first_byte_ms", ["", "", "gen_ai.voice.latency.ttfb_ms", "", "lk.response.ttfb"]),
    ("voice.latency.e2e_ms", ["", "", "gen_ai.voice.latency.turn_avg_ms", "", "lk.e2e_latency"]),
    ("voice.eou.delay_ms", ["", "", "", "", "lk.end_of_turn_delay"]),
    ("voice.interrupted", ["", "", "gen_ai.voice.interruptions.user", "", "lk.interrupted"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_has_a_name_and_is_found_by_it() {
        for profile in Profile::ALL {
            assert_eq!(Profile::of(profile.name()), Some(profile));
        }
        assert_eq!(Profile::of("semconv"), None);
    }

    #[test]
    fn no_name_of_ours_stands_twice_in_the_table() {
        for (place, (name, _)) in TABLE.iter().enumerate() {
            assert!(!TABLE[..place].iter().any(|(other, _)| other == name), "{name}");
        }
    }
}
