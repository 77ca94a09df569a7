//! Prepared sentences: what an agent can say with every provider dead, rendered before the first call.
//! Knows which sentences; the voice is the agent's own if it answers, else the one on this machine.

use super::{StartError, stages};
use crate::providers::{CallInfo, Events, ProviderEvent, TextToSpeech, TtsCommand};
use call::{CallId, Clip, Clips, TtsEvent};
use conversation::{Agent, TurnId};
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
    let greeting = agent.greeting(agent.variables());
    let texts = [
        greeting.as_str(),
        &fallback.trouble,
        &fallback.not_heard,
        &fallback.still_there,
        &fallback.goodbye,
        &fallback.one_moment,
    ];
    let said = texts.map(|text| agent.spoken().say(text).text().to_owned());
    let rendered = match render_all(&**tts, agent.language(), rate, &said).await {
        Ok(rendered) => rendered,
        Err(reason) => {
            tracing::warn!(
                agent = agent.name(),
                reason,
                "the agent's voice does not answer: its prepared sentences are spoken by the embedded one"
            );
            let voice = stages::embedded_tts()?;
            let speak = |text: &String| voice.render(text, rate).map_err(StartError::Engine);
            said.iter().map(speak).collect::<Result<_, _>>()?
        }
    };
    let mut clips =
        texts.iter().zip(rendered).map(|(text, samples)| Clip::new((*text).to_owned(), rate, samples));
    let mut next = || clips.next().unwrap_or_default();
    Ok(Clips {
        greeting: next(),
        trouble: next(),
        not_heard: next(),
        still_there: next(),
        goodbye: next(),
        one_moment: next(),
    })
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
        rendered.push(speak(tts, language, rate, text).await?);
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
    let info = CallInfo { call: CallId(0), rate, language: language.to_owned() };
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
                ProviderEvent::Stt(_)
                | ProviderEvent::Llm(..)
                | ProviderEvent::Tool(..)
                | ProviderEvent::Failed { .. } => {}
            }
        }
        Err("the session ended".into())
    };
    timeout(PATIENCE, collect).await.unwrap_or_else(|_| Err("no answer in time".into()))
}
