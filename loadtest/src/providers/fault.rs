//! Faults that can be switched on while the simulators run.
//! Knows their names and how often they are to be played; the vendors' files play them.

use serde::{Deserialize, Deserializer, de::Error};
use std::{
    collections::BTreeMap,
    str::FromStr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// Speech-to-text.
    Deepgram,
    /// The language model.
    OpenAi,
    /// Text-to-speech.
    ElevenLabs,
}

impl FromStr for Provider {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "deepgram" => Ok(Self::Deepgram),
            "openai" => Ok(Self::OpenAi),
            "elevenlabs" => Ok(Self::ElevenLabs),
            _ => Err(format!("no provider is called {name}: deepgram, openai or elevenlabs")),
        }
    }
}

/// What goes wrong. As text: `none`, `refuse`, `http_429`, `close_1011`, and the others in snake case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Nothing: switches the provider's fault off.
    None,
    /// The request is answered with this HTTP status. `refuse` is 503.
    Http(u16),
    /// The connection is closed with this WebSocket code, with the reason that the vendor gives.
    Close(u16),
    /// The connection is dropped without a goodbye.
    Reset,
    /// The connection stays open and nothing comes any more.
    Stall,
    /// After the first third of a reply, nothing comes any more.
    StallMidway,
    /// After the first third of a reply, the connection is dropped.
    ResetMidway,
    /// After the first third of a reply, an error object comes.
    ErrorMidway,
    /// Everything takes ten times as long.
    Slow,
    /// Text that is no JSON.
    Garbage,
    /// Messages and fields that nobody knows yet.
    Unknown,
    /// OpenAI: events are cut at every seventh byte.
    Split,
    /// OpenAI: lines end with CR LF.
    Crlf,
    /// OpenAI: comments between the events.
    Comments,
    /// OpenAI: neither `[DONE]` nor token counts.
    NoDone,
    /// OpenAI: the reply begins with reasoning between think tags.
    Think,
    /// OpenAI: the arguments of a tool call come in one piece.
    ToolWhole,
    /// OpenAI: a tool call without index and id.
    ToolBare,
    /// OpenAI: two tool calls at once, their pieces mixed.
    ToolParallel,
    /// OpenAI: the arguments of a tool call are cut off.
    ToolMalformed,
    /// Speech-to-text: finalize is not answered.
    Deaf,
}

const NAMES: [(&str, FaultKind); 20] = [
    ("none", FaultKind::None),
    ("refuse", FaultKind::Http(503)),
    ("reset", FaultKind::Reset),
    ("stall", FaultKind::Stall),
    ("stall_midway", FaultKind::StallMidway),
    ("reset_midway", FaultKind::ResetMidway),
    ("error_midway", FaultKind::ErrorMidway),
    ("slow", FaultKind::Slow),
    ("garbage", FaultKind::Garbage),
    ("unknown", FaultKind::Unknown),
    ("split", FaultKind::Split),
    ("crlf", FaultKind::Crlf),
    ("comments", FaultKind::Comments),
    ("no_done", FaultKind::NoDone),
    ("think", FaultKind::Think),
    ("tool_whole", FaultKind::ToolWhole),
    ("tool_bare", FaultKind::ToolBare),
    ("tool_parallel", FaultKind::ToolParallel),
    ("tool_malformed", FaultKind::ToolMalformed),
    ("deaf", FaultKind::Deaf),
];

impl FaultKind {
    /// Whether it is played before the first answer rather than within the stream.
    pub(super) const fn at_handshake(self) -> bool {
        matches!(self, Self::Http(_))
    }
}

impl FromStr for FaultKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let number = |prefix: &str| name.strip_prefix(prefix)?.parse().ok();
        if let Some(status) = number("http_").filter(|status| (400..=599).contains(status)) {
            return Ok(Self::Http(status));
        }
        if let Some(code) = number("close_").filter(|code| (1000..=4999).contains(code)) {
            return Ok(Self::Close(code));
        }
        let known = NAMES.iter().find(|(known, _)| *known == name);
        known.map(|(_, kind)| *kind).ok_or_else(|| format!("no fault is called {name}"))
    }
}

impl<'de> Deserialize<'de> for FaultKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A fault that is switched on; the last one counts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Whose.
    pub provider: Provider,
    /// What.
    pub kind: FaultKind,
    /// How often it is played; without a number, until it is switched off.
    #[serde(default)]
    pub count: Option<u32>,
    /// How many chances it lets pass first.
    #[serde(default)]
    pub after: u32,
    /// The vendor's own code for the error.
    #[serde(default)]
    pub code: Option<String>,
    /// A `retry-after-ms` header.
    #[serde(default)]
    pub retry_after_ms: Option<u64>,
    /// How long the handshake takes first.
    #[serde(default)]
    pub delay_ms: Option<u64>,
}

impl Fault {
    /// A fault that stays.
    pub const fn new(provider: Provider, kind: FaultKind) -> Self {
        Self { provider, kind, count: None, after: 0, code: None, retry_after_ms: None, delay_ms: None }
    }

    /// A fault that is played this often.
    #[must_use]
    pub const fn times(mut self, count: u32) -> Self {
        self.count = Some(count);
        self
    }

    /// A fault that lets this many chances pass first.
    #[must_use]
    pub const fn after(mut self, chances: u32) -> Self {
        self.after = chances;
        self
    }

    pub(super) fn delay(&self) -> Option<Duration> {
        self.delay_ms.map(Duration::from_millis)
    }
}

impl FromStr for Fault {
    type Err = String;

    /// `PROVIDER:KIND` or `PROVIDER:KIND:COUNT`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(':');
        let provider = parts.next().unwrap_or_default().parse()?;
        let kind = parts.next().ok_or("a fault is written PROVIDER:KIND or PROVIDER:KIND:COUNT")?.parse()?;
        let count = parts.next().map(str::parse).transpose().map_err(|_| "COUNT is no number")?;
        Ok(Self { count, ..Self::new(provider, kind) })
    }
}

/// The faults that are switched on, one for each provider.
#[derive(Default)]
pub(super) struct Faults {
    active: Mutex<BTreeMap<Provider, Fault>>,
    played: AtomicU64,
}

impl Faults {
    pub(super) fn set(&self, fault: Fault) {
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        active.remove(&fault.provider);
        if fault.kind != FaultKind::None {
            active.insert(fault.provider, fault);
        }
    }

    /// The provider's fault, if it is one of the `wanted` and its time has come. Counts it as played.
    pub(super) fn take(&self, provider: Provider, wanted: impl Fn(FaultKind) -> bool) -> Option<Fault> {
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        let fault = active.get_mut(&provider).filter(|fault| wanted(fault.kind))?;
        if fault.after > 0 {
            fault.after -= 1;
            return None;
        }
        let taken = fault.clone();
        if let Some(count) = &mut fault.count {
            *count = count.saturating_sub(1);
            if *count == 0 {
                active.remove(&provider);
            }
        }
        self.played.fetch_add(1, Ordering::Relaxed);
        Some(taken)
    }

    pub(super) fn played(&self) -> u64 {
        self.played.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_played_as_often_as_asked() {
        let faults = Faults::default();
        faults.set("openai:http_429:2".parse::<Fault>().expect("a fault").after(1));
        let take = |provider| faults.take(provider, FaultKind::at_handshake).map(|fault| fault.kind);
        assert_eq!(take(Provider::Deepgram), None);
        assert_eq!(take(Provider::OpenAi), None, "one chance passes");
        assert_eq!(take(Provider::OpenAi), Some(FaultKind::Http(429)));
        assert_eq!(take(Provider::OpenAi), Some(FaultKind::Http(429)));
        assert_eq!(take(Provider::OpenAi), None);
        faults.set("openai:stall".parse().expect("a fault"));
        faults.set("openai:none".parse().expect("no fault"));
        assert_eq!(faults.take(Provider::OpenAi, |_| true), None);
    }

    #[test]
    fn a_fault_that_does_not_exist_is_refused() {
        for text in ["", "openai", "acme:stall", "openai:http_200", "openai:close_1", "openai:stall:x"] {
            assert!(text.parse::<Fault>().is_err(), "{text}");
        }
    }
}
