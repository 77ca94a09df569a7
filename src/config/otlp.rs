//! `[otlp]` and the tokens of `[http]`: what leaves and who may ask; where traces go besides the store, and the names that stand behind its targets.
//! Knows keys and which provider a target means. Sends nothing.

use super::{
    Config,
    checker::Checker,
    raw::{RawHttp, RawOtlp},
    target::{LlmTarget, SttTarget, TtsTarget},
};
use crate::http::{Role, Token};
use crate::telemetry::otlp::{AgentLabels, Labels, OtlpConfig, Profile, TargetLabels};
use conversation::{Agent, Stage};
use std::time::Duration;

/// How long a collector may take for a batch where the file says nothing: what the OpenTelemetry SDKs wait.
const TIMEOUT: Duration = Duration::from_secs(10);

impl Checker<'_> {
    pub(super) fn otlp(&mut self, raw: &RawOtlp) -> Option<OtlpConfig> {
        let profile = self.choice(&raw.profile, Profile::NAMES[0], &Profile::NAMES);
        let sample_percent = self.number(&raw.sample_percent, 100, 0..=100);
        let timeout = self.milliseconds(&raw.timeout_ms, TIMEOUT, 100..=60_000);
        let endpoint = self.parsed_or_none(&raw.endpoint, address);
        let mut headers = Vec::new();
        for (name, value) in raw.headers.iter().flat_map(|headers| headers.get_ref()) {
            if reqwest::header::HeaderName::from_bytes(name.as_bytes()).is_err() {
                self.error(
                    value,
                    format!("`{name}` is not a header"),
                    "write its name, such as authorization",
                );
            } else if let Some(secret) = self.secret(value) {
                headers.push((name.clone(), secret));
            }
        }
        Some(OtlpConfig {
            endpoint: endpoint?,
            headers,
            profile: Profile::of(&profile).unwrap_or_default(),
            sample_percent,
            words: raw.words.as_ref().is_some_and(|words| *words.get_ref()),
            timeout,
        })
    }
}

/// An address that something can be posted to.
pub(super) fn address(text: &str) -> Result<String, String> {
    let is_http = text.starts_with("http://") || text.starts_with("https://");
    let url = text.parse::<reqwest::Url>().ok().filter(|url| is_http && url.has_host());
    url.map(|_| text.to_owned())
        .ok_or_else(|| format!("`{text}` is no address to post to; write one such as http://127.0.0.1:4318"))
}

impl Checker<'_> {
    pub(super) fn tokens(&mut self, raw: &RawHttp) -> Vec<Token> {
        let mut tokens = Vec::new();
        for written in raw.tokens.iter().flat_map(|tokens| tokens.get_ref()) {
            let role = self.choice(&written.get_ref().role, "read", &Role::NAMES);
            let Some(secret) = &written.get_ref().token else {
                self.error(written, "a role without a token", "write token = \"env:NAME\"");
                continue;
            };
            let secret = self.secret(secret);
            tokens.extend(secret.zip(Role::of(&role)).map(|(secret, role)| Token { secret, role }));
        }
        tokens
    }
}

impl Config {
    /// What spans say besides what events tell.
    pub fn span_labels(&self) -> Labels {
        let trunks = self.trunks.iter().map(|trunk| (trunk.name.clone(), trunk.profile.name.clone()));
        let agents = self
            .agents
            .values()
            .map(|agent| (format!("{} {}", agent.name(), agent.version()), self.agent_labels(agent)));
        Labels {
            trunks: trunks.collect(),
            agents: agents.collect(),
            llm: self.llm.iter().map(|(name, target)| (name.clone(), target.label(name))).collect(),
            words: self.otlp.as_ref().is_some_and(|otlp| otlp.words),
            sample_percent: self.otlp.as_ref().map_or(100, |otlp| otlp.sample_percent),
        }
    }

    /// Of the first target of each route: which of them served a turn is known only where the gateway says so.
    fn agent_labels(&self, agent: &Agent) -> AgentLabels {
        let stt = self.routes.stt.get(agent.route(Stage::Stt)).and_then(|route| route.targets.first());
        let tts = self.routes.tts.get(agent.route(Stage::Tts)).and_then(|route| route.targets.first());
        let stt = stt.and_then(|name| self.stt.get(name));
        let tts = tts.and_then(|name| self.tts.get(name));
        AgentLabels {
            stt: stt.map(SttTarget::label).unwrap_or_default(),
            tts: tts.map(TtsTarget::label).unwrap_or_default(),
            voice: tts.and_then(TtsTarget::voice),
            language: agent.language().to_owned(),
        }
    }
}

fn label(provider: &str, model: &str) -> TargetLabels {
    TargetLabels { provider: provider.to_owned(), model: model.to_owned() }
}

impl SttTarget {
    fn label(&self) -> TargetLabels {
        match self {
            Self::Embedded { .. } => label("embedded", "pocketsphinx"),
            Self::Deepgram(deepgram) => label("deepgram", &deepgram.model),
        }
    }
}

impl LlmTarget {
    fn label(&self, name: &str) -> TargetLabels {
        match self {
            Self::Flow => label("embedded", name),
            Self::OpenAi(openai) => label("openai", &openai.model),
        }
    }
}

impl TtsTarget {
    fn label(&self) -> TargetLabels {
        match self {
            Self::Embedded => label("embedded", "pico"),
            Self::ElevenLabs(elevenlabs) => label("elevenlabs", &elevenlabs.model),
        }
    }

    fn voice(&self) -> Option<String> {
        match self {
            Self::Embedded => None,
            Self::ElevenLabs(elevenlabs) => Some(elevenlabs.voice.clone()),
        }
    }
}
