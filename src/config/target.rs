//! Targets (one model of one provider) and routes (what agents name): `[stt.NAME]`, `[routes.llm.NAME]` and the like.
//! Knows what each provider needs; does not know how to talk to it.

use super::{
    checker::Checker,
    defaults::{DEEPGRAM_URL, ELEVENLABS_URL, OPENAI_URL},
    problem::suggest,
    raw::{Key, Named, RawLlm, RawRoutes, RawStt, RawTts},
};
use crate::secret::Secret;
use ai_gateway::{Route as LlmRoute, TargetId};
use std::{collections::BTreeMap, time::Duration};
use toml::Spanned;

/// Where a provider is, and the key to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Without a slash at its end.
    pub base_url: String,
    /// Absent only where `base_url` was written and needs none.
    pub api_key: Option<Secret>,
}

/// A speech-to-text target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SttTarget {
    /// The recogniser on this machine.
    Embedded,
    /// Deepgram's live `listen`.
    Deepgram {
        /// Where.
        endpoint: Endpoint,
        /// Which model.
        model: String,
        /// A BCP 47 tag; the agent's language when absent.
        language: Option<String>,
    },
}

/// A language model target.
#[derive(Clone, Debug, PartialEq)]
pub enum LlmTarget {
    /// The flow engine on this machine.
    Flow,
    /// Anything that speaks OpenAI's chat completions.
    OpenAi {
        /// Where.
        endpoint: Endpoint,
        /// Which model.
        model: String,
        /// The model's own when absent.
        temperature: Option<f64>,
        /// The model's own when absent.
        max_output_tokens: Option<u32>,
    },
}

/// A text-to-speech target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TtsTarget {
    /// The voice on this machine.
    Embedded,
    /// ElevenLabs' multi-context stream.
    ElevenLabs {
        /// Where.
        endpoint: Endpoint,
        /// Which model.
        model: String,
        /// Which voice.
        voice: String,
    },
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
            tts: tts.keys().cloned().collect(),
        }
    }
}

/// The keys that network providers share, as written.
struct Vendor<'a> {
    name: &'a Spanned<String>,
    base_url: &'a Key<String>,
    api_key: &'a Key<String>,
}

impl Checker<'_> {
    pub(super) fn stt_targets(&mut self, raw: &Named<RawStt>) -> BTreeMap<String, SttTarget> {
        let mut targets = BTreeMap::from([("embedded".to_owned(), SttTarget::Embedded)]);
        for (name, raw) in raw {
            let RawStt { provider, base_url, api_key, model, language } = raw;
            let vendor = Vendor { name, base_url, api_key };
            let target = match self.provider(name, provider, &["embedded", "deepgram"]).as_str() {
                "deepgram" => SttTarget::Deepgram {
                    endpoint: self.endpoint(&vendor, DEEPGRAM_URL, &["wss", "ws"]),
                    model: self.needed(&vendor, "model", model),
                    language: language.clone().map(Spanned::into_inner),
                },
                _ => {
                    self.takes_nothing(&[base_url, api_key, model, language]);
                    SttTarget::Embedded
                }
            };
            targets.insert(name.get_ref().clone(), target);
        }
        targets
    }

    pub(super) fn llm_targets(&mut self, raw: &Named<RawLlm>) -> BTreeMap<String, LlmTarget> {
        let mut targets = BTreeMap::from([("flow".to_owned(), LlmTarget::Flow)]);
        for (name, raw) in raw {
            let RawLlm { provider, base_url, api_key, model, temperature, max_output_tokens } = raw;
            let vendor = Vendor { name, base_url, api_key };
            let target = match self.provider(name, provider, &["flow", "openai"]).as_str() {
                "openai" => LlmTarget::OpenAi {
                    endpoint: self.endpoint(&vendor, OPENAI_URL, &["https", "http"]),
                    model: self.needed(&vendor, "model", model),
                    temperature: self.temperature(temperature),
                    max_output_tokens: max_output_tokens
                        .is_some()
                        .then(|| self.number(max_output_tokens, 0, 1..=1_000_000)),
                },
                _ => {
                    self.takes_nothing(&[base_url, api_key, model]);
                    self.takes_nothing(&[temperature]);
                    self.takes_nothing(&[max_output_tokens]);
                    LlmTarget::Flow
                }
            };
            targets.insert(name.get_ref().clone(), target);
        }
        targets
    }

    pub(super) fn tts_targets(&mut self, raw: &Named<RawTts>) -> BTreeMap<String, TtsTarget> {
        let mut targets = BTreeMap::from([("embedded".to_owned(), TtsTarget::Embedded)]);
        for (name, raw) in raw {
            let RawTts { provider, base_url, api_key, model, voice } = raw;
            let vendor = Vendor { name, base_url, api_key };
            let target = match self.provider(name, provider, &["embedded", "elevenlabs"]).as_str() {
                "elevenlabs" => TtsTarget::ElevenLabs {
                    endpoint: self.endpoint(&vendor, ELEVENLABS_URL, &["wss", "ws"]),
                    model: self.needed(&vendor, "model", model),
                    voice: self.needed(&vendor, "voice", voice),
                },
                _ => {
                    self.takes_nothing(&[base_url, api_key, model, voice]);
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

    fn endpoint(&mut self, vendor: &Vendor<'_>, default_url: &str, schemes: &[&str]) -> Endpoint {
        let base_url = match vendor.base_url {
            Some(key) => {
                let url = reqwest::Url::parse(key.get_ref()).ok();
                if !url.is_some_and(|url| schemes.contains(&url.scheme()) && url.has_host()) {
                    let message = format!("`{}` is not an address of this provider", key.get_ref());
                    self.error(
                        key,
                        message,
                        format!("write {}://HOST, such as {default_url}", schemes.join(":// or ")),
                    );
                }
                key.get_ref().trim_end_matches('/').to_owned()
            }
            None => default_url.to_owned(),
        };
        if vendor.api_key.is_none() && vendor.base_url.is_none() {
            let message = format!("the target `{}` has no key", vendor.name.get_ref());
            self.error(vendor.name, message, "write api_key = \"env:NAME\" or \"file:PATH\"");
        }
        Endpoint { base_url, api_key: vendor.api_key.as_ref().and_then(|key| self.secret(key)) }
    }

    fn needed(&mut self, vendor: &Vendor<'_>, word: &str, key: &Key<String>) -> String {
        match key {
            Some(key) if !key.get_ref().trim().is_empty() => return key.get_ref().clone(),
            Some(key) => {
                self.error(key, format!("the {word} is empty"), "write its name as the provider does")
            }
            None => {
                let message = format!("the target `{}` needs a {word}", vendor.name.get_ref());
                self.error(vendor.name, message, format!("write {word} = \"…\" as the provider names it"));
            }
        }
        String::new()
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

    fn temperature(&mut self, key: &Key<f64>) -> Option<f64> {
        let key = key.as_ref()?;
        if !(0.0..=2.0).contains(key.get_ref()) {
            self.error(key, format!("{} is out of range", key.get_ref()), "write a number from 0.0 to 2.0");
        }
        Some(*key.get_ref())
    }
}
