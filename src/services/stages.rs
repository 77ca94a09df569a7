//! The providers behind an agent's routes.
//! Knows which config becomes which client. How a vendor is spoken to is the vendor's file.

use super::StartError;
use crate::{
    ai_gateway::AiGateway,
    config::{
        Config,
        target::{LlmTarget, SttTarget, TtsTarget},
    },
    providers::{
        LanguageModel, SpeechToText, TextToSpeech,
        deepgram::{Deepgram, DeepgramConfig},
        elevenlabs::{ElevenLabs, ElevenLabsConfig},
        embedded::EmbeddedTts,
        fallback::{Named, SttInTurn, TtsInTurn},
        flow::Flow,
        openai::OpenAi,
    },
};
use ::ai_gateway::Standings;
use conversation::{Agent, Stage};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex},
};
use tokio::runtime::Handle;

/// Threads that speak with the embedded voice: one renders a hundred times faster than it is heard.
const VOICES: usize = 2;

/// Connections in a row that may fail before the route's next recogniser takes over.
const BEFORE_FALLBACK: u32 = 1;

/// A recogniser, and how many words it knows if they are limited.
type Recogniser = (Arc<dyn SpeechToText>, Option<usize>);

/// The recogniser of an agent's speech-to-text route.
pub(super) fn speech_to_text(config: &Config, agent: &Agent) -> Result<Recogniser, StartError> {
    let route = agent.route(Stage::Stt);
    let names = config.routes.stt.get(route).map_or(&[][..], |route| &route.targets);
    let mut targets: Vec<Named<dyn SpeechToText>> = Vec::new();
    let mut words = None;
    for (position, name) in names.iter().enumerate() {
        let target: Arc<dyn SpeechToText> = match config.stt.get(name) {
            Some(SttTarget::Embedded { model_dir }) => {
                let (stt, known) = embedded_stt(config, agent, model_dir.clone())?;
                words = known;
                stt
            }
            Some(SttTarget::Deepgram(deepgram)) => {
                let is_last = position + 1 == names.len();
                // With another target waiting, a caller should not wait for this one for long.
                let reconnects =
                    if is_last { deepgram.reconnects } else { deepgram.reconnects.min(BEFORE_FALLBACK) };
                Arc::new(Deepgram::new(DeepgramConfig { reconnects, ..deepgram.clone() }))
            }
            None => return Err(no_target("stt", name)),
        };
        targets.push((name.clone(), target));
    }
    Ok((SttInTurn::of(targets), words))
}

#[cfg(feature = "embedded-stt")]
pub(super) fn embedded_stt(
    config: &Config,
    agent: &Agent,
    model_dir: Option<PathBuf>,
) -> Result<Recogniser, StartError> {
    use crate::providers::embedded::{EmbeddedStt, EmbeddedSttConfig};
    let stt = EmbeddedStt::new(EmbeddedSttConfig {
        sentences: agent.example_sentences(),
        pronunciations: agent.pronunciations().clone(),
        model_dir,
        max_streams: usize::from(config.server.ports),
    });
    match stt {
        Ok(stt) => {
            let words = stt.vocabulary();
            Ok((Arc::new(stt), Some(words)))
        }
        Err(error) => Err(StartError::Engine(format!(
            "the embedded recogniser cannot start: {error}; or configure another speech-to-text target"
        ))),
    }
}

#[cfg(not(feature = "embedded-stt"))]
pub(super) fn embedded_stt(_: &Config, _: &Agent, _: Option<PathBuf>) -> Result<Recogniser, StartError> {
    let reason = "this build has no embedded recogniser: configure a speech-to-text target, or build with the feature `embedded-stt`";
    Err(StartError::Engine(reason.to_owned()))
}

/// The voice of an agent's text-to-speech route.
pub(super) fn text_to_speech(config: &Config, agent: &Agent) -> Result<Arc<dyn TextToSpeech>, StartError> {
    let route = agent.route(Stage::Tts);
    let names = config.routes.tts.get(route).map_or(&[][..], |route| &route.targets);
    let mut targets: Vec<Named<dyn TextToSpeech>> = Vec::new();
    for name in names {
        let target: Arc<dyn TextToSpeech> = match config.tts.get(name) {
            Some(TtsTarget::Embedded) => Arc::new(embedded_tts()?),
            Some(TtsTarget::ElevenLabs(elevenlabs)) => {
                let voice = elevenlabs.voices.get(agent.voice()).unwrap_or(&elevenlabs.voice).clone();
                Arc::new(ElevenLabs::new(ElevenLabsConfig { voice, ..elevenlabs.clone() }))
            }
            None => return Err(no_target("tts", name)),
        };
        targets.push((name.clone(), target));
    }
    // The call gives up at its patience; the next voice must have spoken before.
    Ok(TtsInTurn::of(targets, config.call.patience.speech * 2 / 3))
}

/// The config's checks let no such route through.
fn no_target(stage: &str, name: &str) -> StartError {
    StartError::Provider(format!("there is no target [{stage}.{name}]"))
}

/// The voice on this machine.
pub(super) fn embedded_tts() -> Result<EmbeddedTts, StartError> {
    EmbeddedTts::new(Handle::current(), VOICES)
        .map_err(|error| StartError::Engine(format!("the embedded voice cannot start: {error}")))
}

/// The gateway of one agent: its flow is a target like any other.
pub(super) fn gateway(
    config: &Config,
    agent: &Arc<Agent>,
    standings: Arc<Mutex<Standings>>,
) -> Result<AiGateway, StartError> {
    let mut targets: BTreeMap<String, Arc<dyn LanguageModel>> = BTreeMap::new();
    for (name, target) in &config.llm {
        targets.insert(name.clone(), language_model(name, target, agent)?);
    }
    AiGateway::new(config.routes.llm.values().cloned(), targets)
        .map(|gateway| gateway.with_standings(standings))
        .map_err(|error| StartError::Provider(error.to_string()))
}

/// What models may take until they can be heard, for all agents together: a slow model is slow for each of them.
pub(super) fn standings(config: &Config) -> Arc<Mutex<Standings>> {
    Arc::new(Mutex::new(Standings::new(config.call.budgets.speakable().unwrap_or_default())))
}

fn language_model(
    name: &str,
    target: &LlmTarget,
    agent: &Arc<Agent>,
) -> Result<Arc<dyn LanguageModel>, StartError> {
    match target {
        LlmTarget::Flow => Ok(Arc::new(Flow::new(Arc::clone(agent)))),
        LlmTarget::OpenAi(openai) => match OpenAi::new(openai.clone()) {
            Ok(openai) => Ok(Arc::new(openai)),
            Err(failure) => Err(StartError::Provider(format!("[llm.{name}]: {failure}"))),
        },
    }
}
