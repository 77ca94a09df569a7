//! Where the time between the caller's last word and the agent's first sound went.
//! Knows stages and budgets; the marks come from the call's own history.

use serde::{Deserialize, Serialize};

/// A part of the response gap, in the order in which time passes through them. Together they leave no gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// From the arrival of the last packet with the caller's speech until the jitter buffer gave it out.
    Jitter,
    /// Waiting to be sure that the caller has finished.
    EndOfTurn,
    /// Waiting for the final transcript beyond that.
    SttFinal,
    /// From the question to the language model's first delta.
    LlmFirstToken,
    /// Waiting for tools, and for the model to go on after them.
    Tool,
    /// From the first delta to the first sentence given to text-to-speech.
    FirstSentence,
    /// From there to its first audio.
    TtsFirstAudio,
    /// From the first audio to the first voiced packet on the wire.
    Pacing,
    /// What no stage accounts for.
    Other,
}

impl Stage {
    /// All stages, in order.
    pub const ALL: [Self; 9] = [
        Self::Jitter,
        Self::EndOfTurn,
        Self::SttFinal,
        Self::LlmFirstToken,
        Self::Tool,
        Self::FirstSentence,
        Self::TtsFirstAudio,
        Self::Pacing,
        Self::Other,
    ];

    /// As it stands in traces, metrics and the config.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Jitter => "jitter",
            Self::EndOfTurn => "end_of_turn",
            Self::SttFinal => "stt_final",
            Self::LlmFirstToken => "llm_first_token",
            Self::Tool => "tool",
            Self::FirstSentence => "first_sentence",
            Self::TtsFirstAudio => "tts_first_audio",
            Self::Pacing => "pacing",
            Self::Other => "other",
        }
    }
}

/// How long one stage of one turn took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageTime {
    /// Which part.
    pub stage: Stage,
    /// How long, in microseconds.
    pub us: u64,
    /// Its budget in microseconds, if it has one.
    pub budget_us: Option<u64>,
}

/// The response gap of one turn, partitioned: the stages add up to `total_us`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnLatency {
    /// From the last packet of the caller's speech to the first voiced packet of the answer, in microseconds.
    pub total_us: u64,
    /// Budget of the whole.
    pub budget_us: u64,
    /// Every stage of [`Stage::ALL`], in that order.
    pub stages: Vec<StageTime>,
}
