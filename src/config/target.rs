//! Targets (one model of one provider) and routes (what agents name): `[stt.NAME]`, `[routes.llm.NAME]` and the like.
//! Knows what each provider needs; does not know how to talk to it.

use super::{
    checker::Checker,
    defaults::OPENAI_URL,
    problem::suggest,
    raw::{Key, Named, RawEmbeddings, RawLlm, RawRoutes, RawStt, RawTts},
};
use crate::{
    providers::{
        deepgram::DeepgramConfig, elevenlabs::ElevenLabsConfig, embeddings::EmbeddingsConfig,
        openai::OpenAiConfig,
    },
    secret::Secret,
};
use ai_gateway::{Route as LlmRoute, TargetId};
use std::{collections::BTreeMap, path::PathBuf, time::Duration};
use toml::Spanned;

/// How long the vector of a question may take: less than the question waits for its passages.
const EMBEDDINGS_TIMEOUT: Duration = Duration::from_millis(60);

/// A speech-to-text target.
#[derive(Clone, Debug)]
pub enum SttTarget {
    /// The recogniser on this machine.
    Embedded {
        /// Where its acoustic model and dictionary are; `None`: where the package installs them.
        model_dir: Option<PathBuf>,
    },
    /// Deepgram's live `listen`.
    Deepgram(DeepgramConfig),
}

/// A language model target.
#[derive(Clone, Debug)]
pub enum LlmTarget {
    /// The flow engine on this machine.
    Flow,
    /// Anything that speaks OpenAI's chat completions.
    OpenAi(OpenAiConfig),
}

/// A text-to-speech target.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there are a handful, made once")]
pub enum TtsTarget {
    /// The voice on this machine.
    Embedded,
    /// ElevenLabs' multi-context stream.
    ElevenLabs(ElevenLabsConfig),
}

impl TtsTarget {
    /// The voices that agents may name, besides `default`.
    pub fn voices(&self) -> impl Iterator<Item = &str> {
        let voices = match self {
            Self::Embedded => None,
            Self::ElevenLabs(elevenlabs) => Some(&elevenlabs.voices),
        };
        voices.into_iter().flat_map(BTreeMap::keys).map(String::as_str)
    }
}

/// What agents may name. Each stage has a route called `default`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routes {
    /// Speech-to-text routes by name.
    pub stt: BTreeMap<String, Route>,
    /// Language model routes by name.
    pub llm: BTreeMap<String, LlmRoute>,
    /// Text-to-speech routes by name.
    pub tts: BTreeMap<String, Route>,
}

/// Targets in the order in which they are tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Never empty; each exists.
    pub targets: Vec<String>,
}

/// The names of all targets, for routes to refer to.
pub(super) struct Names {
    stt: Vec<String>,
    llm: Vec<String>,
    /// Of those, what is no model.
    flows: Vec<String>,
    tts: Vec<String>,
}

impl Names {
    pub(super) fn of(
        stt: &BTreeMap<String, SttTarget>,
        llm: &BTreeMap<String, LlmTarget>,
        tts: &BTreeMap<String, TtsTarget>,
    ) -> Self {
        Self {
            stt: stt.keys().cloned().collect(),
            llm: llm.keys().cloned().collect(),
            flows: llm
                .iter()
                .filter(|(_, target)| matches!(target, LlmTarget::Flow))
                .map(|(name, _)| name.clone())
                .collect(),
            tts: tts.keys().cloned().collect(),
        }
    }
}

impl Checker<'_> {
    pub(super) fn stt_targets(
        &mut self,
        raw: &Named<RawStt>,
        connect: Duration,
    ) -> BTreeMap<String, SttTarget> {
        let mut targets = BTreeMap::from([("embedded".to_owned(), SttTarget::Embedded { model_dir: None })]);
        for (name, raw) in raw {
            let RawStt { provider, base_url, api_key, model, language, extra_query, chunk_ms, model_dir } =
                raw;
            let target = match self.provider(name, provider, &["embedded", "deepgram"]).as_str() {
                "deepgram" => {
                    self.only_embedded(model_dir);
                    let secret = self.needed_secret(name, api_key);
                    let default = DeepgramConfig::new(secret, self.needed(name, "model", model));
                    SttTarget::Deepgram(DeepgramConfig {
                        base_url: self.base_url(base_url, &default.base_url, &["wss", "ws"]),
                        language: language.clone().map(Spanned::into_inner),
                        extra_query: self.query(extra_query),
                        chunk: self.chunk(chunk_ms, default.chunk),
                        connect_timeout: connect,
                        ..default
                    })
                }
                _ => {
                    self.takes_nothing(&[base_url, api_key, model, language]);
                    self.takes_nothing(&[extra_query]);
                    self.takes_nothing(&[chunk_ms]);
                    let model_dir = model_dir.as_ref().map(|key| self.folder.join(key.get_ref()));
                    SttTarget::Embedded { model_dir }
                }
            };
            targets.insert(name.get_ref().clone(), target);
        }
        targets
    }

    pub(super) fn llm_targets(&mut self, raw: &Named<RawLlm>) -> BTreeMap<String, LlmTarget> {
        let mut targets = BTreeMap::from([("flow".to_owned(), LlmTarget::Flow)]);
        for (name, raw) in raw {
            let RawLlm { provider, base_url, api_key, model, temperature, max_output_tokens, .. } = raw;
            let target = match self.provider(name, provider, &["flow", "openai"]).as_str() {
                "openai" => LlmTarget::OpenAi(self.openai(name, raw)),
                _ => {
                    self.takes_nothing(&[base_url, api_key, model]);
                    self.takes_nothing(&[temperature]);
                    self.takes_nothing(&[max_output_tokens]);
                    self.takes_nothing(&[&raw.max_tokens_field]);
                    self.takes_nothing(&[&raw.include_usage]);
                    self.takes_nothing(&[&raw.extra_body]);
                    LlmTarget::Flow
                }
            };
            targets.insert(name.get_ref().clone(), target);
        }
        targets
    }

    pub(super) fn tts_targets(
        &mut self,
        raw: &Named<RawTts>,
        first_audio: Duration,
    ) -> BTreeMap<String, TtsTarget> {
        let mut targets = BTreeMap::from([("embedded".to_owned(), TtsTarget::Embedded)]);
        for (name, raw) in raw {
            let RawTts { provider, base_url, api_key, model, voice, voices, voice_settings } = raw;
            let target = match self.provider(name, provider, &["embedded", "elevenlabs"]).as_str() {
                "elevenlabs" => {
                    let secret = self.needed_secret(name, api_key);
                    let (voice, model) =
                        (self.needed(name, "voice", voice), self.needed(name, "model", model));
                    let default = ElevenLabsConfig::new(secret, voice, model);
                    let voices = voices.iter().flat_map(|voices| voices.get_ref());
                    let voices = voices.map(|(name, id)| (name.clone(), id.get_ref().clone()));
                    TtsTarget::ElevenLabs(ElevenLabsConfig {
                        voices: voices.collect(),
                        base_url: self.base_url(base_url, &default.base_url, &["wss", "ws"]),
                        voice_settings: voice_settings.as_ref().map(|key| json(key.get_ref())),
                        first_audio_timeout: first_audio,
                        ..default
                    })
                }
                _ => {
                    self.takes_nothing(&[base_url, api_key, model, voice]);
                    self.takes_nothing(&[voices]);
                    self.takes_nothing(&[voice_settings]);
                    TtsTarget::Embedded
                }
            };
            targets.insert(name.get_ref().clone(), target);
        }
        targets
    }

    pub(super) fn routes(&mut self, raw: &RawRoutes, names: &Names, patience: Duration) -> Routes {
        let mut stt = BTreeMap::from([("default".to_owned(), Route { targets: vec!["embedded".into()] })]);
        let mut tts = stt.clone();
        let flow = LlmRoute {
            first_speakable_timeout: patience,
            last_resorts: names.flows.iter().cloned().map(TargetId).collect(),
            ..LlmRoute::new("default", [TargetId("flow".to_owned())])
        };
        let mut llm = BTreeMap::from([("default".to_owned(), flow)]);
        for (raw, routes, stage, known) in
            [(&raw.stt, &mut stt, "stt", &names.stt), (&raw.tts, &mut tts, "tts", &names.tts)]
        {
            for (name, raw) in raw {
                let targets = self.route_targets(stage, name, &raw.targets, known);
                routes.insert(name.get_ref().clone(), Route { targets });
            }
        }
        for (name, raw) in &raw.llm {
            let targets = self.route_targets("llm", name, &raw.targets, &names.llm).into_iter().map(TargetId);
            let default = LlmRoute::new(name.get_ref(), targets);
            let route = LlmRoute {
                first_speakable_timeout: self.milliseconds(&raw.first_speakable_ms, patience, 100..=60_000),
                stall_timeout: self.milliseconds(&raw.stall_ms, default.stall_timeout, 100..=60_000),
                total_timeout: self.milliseconds(&raw.total_ms, default.total_timeout, 1000..=600_000),
                rounds: self.number(&raw.rounds, default.rounds, 1..=10),
                hedge_percent: self.number(&raw.hedge_percent, default.hedge_percent, 0..=100),
                pass_over_slow: raw.pass_over_slow.as_ref().is_none_or(|key| *key.get_ref()),
                last_resorts: names.flows.iter().cloned().map(TargetId).collect(),
                ..default
            };
            llm.insert(name.get_ref().clone(), route);
        }
        Routes { stt, llm, tts }
    }

    /// A target that no route leads to is most likely a route that was forgotten.
    pub(super) fn unused<T>(&mut self, stage: &str, raw: &Named<T>, used: impl Fn(&String) -> bool) {
        for name in raw.keys().filter(|name| !used(name.get_ref())) {
            let message = format!("no route leads to the target `{}`", name.get_ref());
            self.warn(name, message, format!("write it into targets of [routes.{stage}.default]"));
        }
    }

    fn route_targets(
        &mut self,
        stage: &str,
        name: &Spanned<String>,
        targets: &Key<Vec<Spanned<String>>>,
        known: &[String],
    ) -> Vec<String> {
        let Some(targets) = targets.as_ref().filter(|targets| !targets.get_ref().is_empty()) else {
            let message = format!("the route `{}` leads nowhere", name.get_ref());
            self.error(name, message, format!("write targets = [\"{}\"]", known.join("\", \"")));
            return Vec::new();
        };
        for target in targets.get_ref() {
            if !known.contains(target.get_ref()) {
                let message = format!("there is no target [{stage}.{}]", target.get_ref());
                self.error(target, message, suggest(target.get_ref(), known.iter().map(String::as_str)));
            }
        }
        targets.get_ref().iter().map(|target| target.get_ref().clone()).collect()
    }

    fn provider(&mut self, name: &Spanned<String>, provider: &Key<String>, known: &[&str]) -> String {
        if provider.is_none() {
            let message = format!("the target `{}` does not say whose it is", name.get_ref());
            self.error(name, message, format!("write provider = \"{}\"", known.join("\" or \"")));
        }
        self.choice(provider, known[0], known)
    }

    fn openai(&mut self, name: &Spanned<String>, raw: &RawLlm) -> OpenAiConfig {
        let base_url = self.base_url(&raw.base_url, OPENAI_URL, &["https", "http"]);
        let api_key = match (&raw.api_key, &raw.base_url) {
            // A server of one's own often needs no key.
            (None, Some(_)) => None,
            (key, _) => Some(self.needed_secret(name, key)),
        };
        let default = OpenAiConfig::new(base_url, api_key, self.needed(name, "model", &raw.model));
        let limit = &raw.max_output_tokens;
        OpenAiConfig {
            temperature: self.temperature(&raw.temperature),
            max_tokens: limit.is_some().then(|| self.number(limit, 1, 1..=1_000_000)),
            max_tokens_field: raw
                .max_tokens_field
                .clone()
                .map_or(default.max_tokens_field, Spanned::into_inner),
            include_usage: raw.include_usage.as_ref().map_or(default.include_usage, |key| *key.get_ref()),
            extra_body: match raw.extra_body.as_ref().map(|key| json(key.get_ref())) {
                Some(serde_json::Value::Object(body)) => body,
                Some(_) | None => default.extra_body,
            },
            ..default
        }
    }

    /// Documents are found by their meaning where a model is named.
    pub(super) fn embeddings(&mut self, raw: &RawEmbeddings) -> Option<EmbeddingsConfig> {
        let RawEmbeddings { base_url, api_key, model, timeout_ms } = raw;
        let timeout = self.milliseconds(timeout_ms, EMBEDDINGS_TIMEOUT, 1..=2_000);
        let api_key = api_key.as_ref().and_then(|key| self.secret(key));
        let base_url = self.base_url(base_url, OPENAI_URL, &["https", "http"]);
        let Some(model) = model.as_ref().map(|model| model.get_ref().clone()) else {
            let written = raw.base_url.as_ref().or(raw.api_key.as_ref());
            if let Some(key) = written {
                let help = "write model = \"NAME\", or remove [embeddings]";
                self.error(key, "nothing is found by its meaning without a model", help);
            }
            return None;
        };
        Some(EmbeddingsConfig { base_url, api_key, model, timeout })
    }

    fn base_url(&mut self, key: &Key<String>, default: &str, schemes: &[&str]) -> String {
        let Some(key) = key else { return default.to_owned() };
        let url = reqwest::Url::parse(key.get_ref()).ok();
        if !url.is_some_and(|url| schemes.contains(&url.scheme()) && url.has_host()) {
            let message = format!("`{}` is not an address of this provider", key.get_ref());
            self.error(key, message, format!("write {}://HOST, such as {default}", schemes.join(":// or ")));
        }
        key.get_ref().trim_end_matches('/').to_owned()
    }

    /// Where the secret is only noted as missing, an empty one stands for it: such a config is never used.
    fn needed_secret(&mut self, name: &Spanned<String>, key: &Key<String>) -> Secret {
        let found = match key {
            Some(key) => self.secret(key),
            None => {
                let message = format!("the target `{}` has no key", name.get_ref());
                self.error(name, message, "write api_key = \"env:NAME\" or \"file:PATH\"");
                None
            }
        };
        found.unwrap_or_else(|| Secret::new(""))
    }

    fn needed(&mut self, name: &Spanned<String>, word: &str, key: &Key<String>) -> String {
        match key {
            Some(key) if !key.get_ref().trim().is_empty() => return key.get_ref().clone(),
            Some(key) => {
                self.error(key, format!("the {word} is empty"), "write its name as the provider does")
            }
            None => {
                let message = format!("the target `{}` needs a {word}", name.get_ref());
                self.error(name, message, format!("write {word} = \"…\" as the provider names it"));
            }
        }
        String::new()
    }

    fn chunk(&mut self, key: &Key<i64>, default: Duration) -> Duration {
        let chunk = self.milliseconds(key, default, 20..=100);
        let frame = media::FRAME.as_millis();
        if let Some(key) = key.as_ref().filter(|_| !chunk.as_millis().is_multiple_of(frame)) {
            let message = format!("{} is not a whole number of frames", key.get_ref());
            self.error(key, message, "write 20, 40, 60, 80 or 100");
        }
        chunk
    }

    fn query(&mut self, key: &Key<toml::Table>) -> Vec<(String, String)> {
        let table = key.iter().flat_map(|key| key.get_ref());
        let text = |value: &toml::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        table.map(|(name, value)| (name.clone(), text(value))).collect()
    }

    fn only_embedded(&mut self, key: &Key<String>) {
        if let Some(key) = key {
            let help = "remove the line or write provider = \"embedded\"";
            self.error(key, "only the engine on this machine has a model directory", help);
        }
    }

    fn takes_nothing<T>(&mut self, keys: &[&Key<T>]) {
        for key in keys.iter().filter_map(|key| key.as_ref()) {
            self.error(
                key,
                "an engine on this machine has no such setting",
                "remove the line or name another provider",
            );
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "a temperature has one or two digits")]
    fn temperature(&mut self, key: &Key<f64>) -> Option<f32> {
        let key = key.as_ref()?;
        if !(0.0..=2.0).contains(key.get_ref()) {
            self.error(key, format!("{} is out of range", key.get_ref()), "write a number from 0.0 to 2.0");
        }
        Some(*key.get_ref() as f32)
    }
}

/// What TOML can say, JSON can say too.
fn json(table: &toml::Table) -> serde_json::Value {
    serde_json::to_value(table).unwrap_or_default()
}
