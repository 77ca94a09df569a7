//! Prepared sentences: what an agent can say with every provider dead, rendered before the first call.
//! Knows which sentences; the voice is the agent's own if it answers, else the one on this machine.

use super::{StartError, stages};
use crate::providers::{CallInfo, Events, ProviderEvent, TextToSpeech, TtsCommand};
use call::{CallId, Clip, Clips, TtsEvent};
use conversation::{Agent, TurnId, primary};
use media::SampleRate;
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

/// How long a provider's voice may take for one sentence before the one on this machine says it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Renders the sentences of an agent. The text is what is said, whoever says it. `wide`: for wide-band calls as well; the
/// voice is asked once all the same, and telephones hear it converted.
pub(super) async fn render(
    agent: &Agent,
    tts: &Arc<dyn TextToSpeech>,
    wide: bool,
) -> Result<Clips, StartError> {
    let rate = if wide { SampleRate::Hz16000 } else { SampleRate::Hz8000 };
    let fallback = agent.fallback();
    let menu = agent.menu();
    let menu_options = menu.map_or(&[][..], |menu| &menu.options);
    let greeting = agent.greeting(agent.variables());
    let mut texts = vec![
        greeting.as_str(),
        &fallback.trouble,
        &fallback.not_heard,
        &fallback.still_there,
        &fallback.goodbye,
        &fallback.ending_soon,
        menu.map_or("", |menu| &menu.prompt),
    ];
    let lists = [fallback.acknowledge.len(), fallback.one_moment.len(), menu_options.len()];
    texts.extend(fallback.acknowledge.iter().chain(&fallback.one_moment).map(String::as_str));
    texts.extend(menu_options.iter().map(|option| option.say.as_str()));
    let said: Vec<String> = texts.iter().map(|text| agent.spoken().say(text).text().to_owned()).collect();
    let rendered = match render_all(&**tts, agent.language(), rate, &said).await {
        Ok(rendered) => rendered,
        // The voice on this machine knows English only: elsewhere the sentences are spoken when they are needed.
        Err(reason) if primary(agent.language()) != "en" => {
            let language = agent.language();
            tracing::warn!(
                agent = agent.name(),
                language,
                reason,
                "its voice does not answer, and the embedded one speaks English only: nothing is prepared"
            );
            vec![Vec::new(); said.len()]
        }
        Err(reason) => {
            tracing::warn!(
                agent = agent.name(),
                reason,
                "the agent's voice does not answer: its prepared sentences are spoken by the embedded one"
            );
            let voice = stages::embedded_tts()?;
            let speak = |text: &String| match text.trim().is_empty() {
                true => Ok(Vec::new()),
                false => voice.render(text, rate).map_err(StartError::Engine),
            };
            said.iter().map(speak).collect::<Result<_, _>>()?
        }
    };
    let mut clips =
        texts.iter().zip(rendered).map(|(text, samples)| Clip::new((*text).to_owned(), rate, samples));
    let mut next = || clips.next().unwrap_or_default();
    let mut out = Clips {
        greeting: next(),
        trouble: next(),
        not_heard: next(),
        still_there: next(),
        goodbye: next(),
        ending_soon: next(),
        menu: next(),
        ..Clips::default()
    };
    let [acknowledge, one_moment, options] = lists;
    out.acknowledge = (0..acknowledge).map(|_| next()).collect();
    out.one_moment = (0..one_moment).map(|_| next()).collect();
    out.menu_options = (0..options).map(|_| next()).collect();
    for clip in out.all().filter(|clip| !clip.text.is_empty() && clip.audio(rate).is_empty()) {
        tracing::warn!(agent = agent.name(), text = clip.text, "a prepared sentence has no sound");
    }
    Ok(out)
}

/// All of them in one voice, or none: a provider that is down is waited for once.
async fn render_all(
    tts: &dyn TextToSpeech,
    language: &str,
    rate: SampleRate,
    texts: &[String],
) -> Result<Vec<Vec<i16>>, String> {
    let mut rendered = Vec::with_capacity(texts.len());
    for text in texts {
        let silent = text.trim().is_empty();
        rendered.push(if silent { Vec::new() } else { speak(tts, language, rate, text).await? });
    }
    Ok(rendered)
}

/// One sentence, spoken in a session of its own.
async fn speak(
    tts: &dyn TextToSpeech,
    language: &str,
    rate: SampleRate,
    text: &str,
) -> Result<Vec<i16>, String> {
    let (events, mut inbox) = Events::channel(Arc::new(|| {}));
    let info =
        CallInfo { call: CallId(0), rate, language: language.to_owned(), turn: None, may_hedge: false };
    let session = tts.open(&info, events);
    let turn = TurnId::default();
    let command = TtsCommand::Speak { turn, sentence: 0, text: text.to_owned() };
    if !session.send(command) || !session.send(TtsCommand::Finish { turn }) {
        return Err("the session takes no sentence".into());
    }
    let collect = async {
        let mut samples = Vec::new();
        while let Some(event) = inbox.recv().await {
            match event {
                ProviderEvent::Tts(_, TtsEvent::Audio { samples: more, .. }) => samples.extend(more),
                ProviderEvent::Tts(_, TtsEvent::SentenceDone { .. }) => return Ok(samples),
                ProviderEvent::Tts(_, TtsEvent::Failed { reason, .. }) => return Err(reason),
                ProviderEvent::Tts(_, TtsEvent::Words { .. })
                | ProviderEvent::Stt(_)
                | ProviderEvent::Llm(..)
                | ProviderEvent::Tool(..)
                | ProviderEvent::Found(..)
                | ProviderEvent::TurnJudged(..)
                | ProviderEvent::Failed { .. } => {}
            }
        }
        Err("the session ended".into())
    };
    timeout(PATIENCE, collect).await.unwrap_or_else(|_| Err("no answer in time".into()))
}
