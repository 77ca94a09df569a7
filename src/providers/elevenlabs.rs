//! ElevenLabs speech over a WebSocket (multi-stream-input): one connection a call, one context a sentence.
//! Knows its wire format and how to get a lost connection back. Does not know what the caller has heard.
//!
//! Contexts say nothing about sentences, and character timings may be missing or follow a normalised text. So each
//! sentence gets a context of its own: then `contextId` and `isFinal` say exactly what belongs to which sentence. The
//! price is that intonation does not carry over from one sentence to the next.

use super::{
    CallInfo, Events, ProviderEvent, TTS_COMMANDS, TextToSpeech, TtsCommand, TtsStream,
    websocket::{self, Refused, Socket},
};
use crate::secret::Secret;
use ai_gateway::{Failure, FailureClass};
use base64::{Engine, engine::general_purpose::STANDARD};
use call::{TtsEvent, WordTime};
use conversation::TurnId;
use futures_util::StreamExt;
use media::{Codec, SampleRate};
use reqwest::Url;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};
use tokio::{
    runtime::Handle,
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};
use tokio_tungstenite::tungstenite::Message;

/// How to reach ElevenLabs and how it is to sound.
#[derive(Clone, Debug)]
pub struct ElevenLabsConfig {
    /// `wss://` and the host.
    pub base_url: String,
    /// Sent as `xi-api-key`.
    pub api_key: Secret,
    /// The voice's id.
    pub voice: String,
    /// Further voices' ids, by the name that agents give them.
    pub voices: BTreeMap<String, String>,
    /// The model's name.
    pub model: String,
    /// `stability`, `similarity_boost`, `speed`, as the vendor defines them.
    pub voice_settings: Option<Value>,
    /// Further query parameters, as they are.
    pub extra_query: Vec<(String, String)>,
    /// Limit for one connection attempt.
    pub connect_timeout: Duration,
    /// How long a sentence's first audio may take.
    pub first_audio_timeout: Duration,
    /// How long the audio of a sentence may pause.
    pub stall_timeout: Duration,
    /// An idle connection gets a sign of life this often; contexts end after 20 s without one.
    pub keep_alive: Duration,
}

impl ElevenLabsConfig {
    /// The public service with defaults that suit a telephone conversation.
    pub fn new(api_key: Secret, voice: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            base_url: "wss://api.elevenlabs.io".into(),
            api_key,
            voice: voice.into(),
            voices: BTreeMap::new(),
            model: model.into(),
            voice_settings: None,
            extra_query: Vec::new(),
            connect_timeout: Duration::from_millis(1_500),
            first_audio_timeout: Duration::from_secs(3),
            stall_timeout: Duration::from_secs(2),
            keep_alive: Duration::from_secs(10),
        }
    }

    fn url(&self, rate: SampleRate) -> Result<String, String> {
        let mut url = Url::parse(&self.base_url).map_err(|error| format!("base_url: {error}"))?;
        url.path_segments_mut().map_err(|()| "base_url cannot have a path")?.pop_if_empty().extend([
            "v1",
            "text-to-speech",
            &self.voice,
            "multi-stream-input",
        ]);
        let format = match rate {
            SampleRate::Hz8000 => "ulaw_8000",
            SampleRate::Hz16000 => "pcm_16000",
        };
        url.query_pairs_mut()
            .append_pair("model_id", &self.model)
            .append_pair("output_format", format)
            .append_pair("inactivity_timeout", "180")
            .append_pair("sync_alignment", "true")
            .extend_pairs(&self.extra_query);
        Ok(url.into())
    }
}

/// ElevenLabs as a text-to-speech provider.
pub struct ElevenLabs {
    config: ElevenLabsConfig,
    runtime: Handle,
}

impl ElevenLabs {
    /// Sessions run on the runtime that this is called from.
    ///
    /// # Panics
    /// When called outside a tokio runtime.
    pub fn new(config: ElevenLabsConfig) -> Self {
        Self { config, runtime: Handle::current() }
    }
}

impl TextToSpeech for ElevenLabs {
    fn open(&self, call: &CallInfo, events: Events) -> TtsStream {
        let (sender, commands) = mpsc::channel(TTS_COMMANDS);
        let session = Session {
            config: self.config.clone(),
            call: call.clone(),
            events,
            commands,
            pipeline: Pipeline::new(&self.config, call.rate),
            failures: 0,
        };
        self.runtime.spawn(async move {
            let _ = session.run().await;
        });
        TtsStream::new(sender, None)
    }
}

/// One call's session, over as many connections as it takes.
struct Session {
    config: ElevenLabsConfig,
    call: CallInfo,
    events: Events,
    commands: mpsc::Receiver<TtsCommand>,
    pipeline: Pipeline,
    /// Connections lost in a row without a word of speech.
    failures: u32,
}

/// The call has ended.
struct Over;

/// Why a connection is no longer served.
enum End {
    Call,
    Lost(Failure),
}

impl From<Over> for End {
    fn from(_: Over) -> Self {
        Self::Call
    }
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        Self::Lost(failure)
    }
}

const CLOSE_SOCKET: &str = r#"{"close_socket":true}"#;

impl Session {
    async fn run(mut self) -> Result<(), Over> {
        loop {
            let mut socket = self.connect().await?;
            match self.serve(&mut socket).await {
                Ok(()) | Err(End::Call) => {
                    let _ = websocket::send(&mut socket, Message::text(CLOSE_SOCKET)).await;
                    let _ = socket.close(None).await;
                    return Ok(());
                }
                Err(End::Lost(failure)) => {
                    tracing::debug!(call = %self.call.call, %failure, "text-to-speech connection lost");
                    self.failures += 1;
                    let events = self.pipeline.lost(&self.redacted(failure.clone()));
                    self.tell(events).await?;
                    if !failure.class.is_passing() {
                        self.refuse(failure).await?;
                    }
                }
            }
        }
    }

    /// Connects, as often as it takes. A sentence waits for two attempts, not for more.
    async fn connect(&mut self) -> Result<Socket, Over> {
        let mut attempts = 0;
        loop {
            if self.failures > 0 {
                self.pause().await?;
            }
            let refused = match self.attempt().await? {
                Ok(socket) => return Ok(socket),
                Err(refused) => refused,
            };
            attempts += 1;
            self.failures += 1;
            let failure = refused.failure;
            if !failure.class.is_passing() {
                self.refuse(failure).await?;
            } else if attempts % 2 == 0 {
                let events = self.pipeline.fail(&self.redacted(failure));
                self.tell(events).await?;
            }
        }
    }

    async fn attempt(&mut self) -> Result<Result<Socket, Refused>, Over> {
        let url = match self.config.url(self.call.rate) {
            Ok(url) => url,
            Err(reason) => {
                let failure = Failure::new(FailureClass::BadRequest, reason);
                return Ok(Err(Refused { failure, status: None }));
            }
        };
        let headers = vec![
            ("xi-api-key", self.config.api_key.expose().to_owned()),
            ("traceparent", self.call.traceparent()),
        ];
        let attempt = websocket::connect(url, headers, self.config.connect_timeout);
        tokio::pin!(attempt);
        loop {
            tokio::select! {
                result = &mut attempt => return Ok(result.map_err(|mut refused| {
                    refused.failure.class = classify(&refused.failure.reason, refused.failure.class);
                    refused
                })),
                command = self.commands.recv() => {
                    let events = self.pipeline.obey(Instant::now(), command.ok_or(Over)?);
                    self.tell(events).await?;
                }
            }
        }
    }

    /// Waits before the next connection, unless somebody wants to be spoken.
    async fn pause(&mut self) -> Result<(), Over> {
        let pause = sleep(websocket::back_off(self.failures));
        tokio::pin!(pause);
        while self.pipeline.is_empty() {
            tokio::select! {
                () = &mut pause => break,
                command = self.commands.recv() => {
                    let events = self.pipeline.obey(Instant::now(), command.ok_or(Over)?);
                    self.tell(events).await?;
                }
            }
        }
        Ok(())
    }

    /// Fails every sentence until the call ends: the provider would refuse again.
    async fn refuse(&mut self, failure: Failure) -> Result<(), Over> {
        let failure = self.redacted(failure);
        loop {
            let events = self.pipeline.fail(&failure);
            self.tell(events).await?;
            let command = self.commands.recv().await.ok_or(Over)?;
            let events = self.pipeline.obey(Instant::now(), command);
            self.tell(events).await?;
        }
    }

    async fn serve(&mut self, socket: &mut Socket) -> Result<(), End> {
        let mut last_sent = Instant::now();
        loop {
            while let Some(messages) = self.pipeline.next_request(Instant::now()) {
                for message in messages {
                    websocket::send(socket, Message::text(message.to_string())).await?;
                }
                last_sent = Instant::now();
            }
            let keep_alive = last_sent + self.config.keep_alive;
            let deadline = self.pipeline.deadline();
            tokio::select! {
                command = self.commands.recv() => {
                    let Some(command) = command else { return Ok(()) };
                    let events = self.pipeline.obey(Instant::now(), command);
                    self.tell(events).await?;
                }
                message = socket.next() => match message {
                    Some(Ok(message)) => self.handle_message(message).await?,
                    Some(Err(error)) => return Err(websocket::broken(&error).into()),
                    None => return Err(websocket::closed(None).into()),
                },
                () = sleep_until(deadline.unwrap_or(keep_alive).min(keep_alive)) => {
                    if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                        return Err(Failure::new(FailureClass::Timeout, "no audio in time").into());
                    }
                    let message = self.pipeline.keep_alive();
                    websocket::send(socket, Message::text(message.to_string())).await?;
                    last_sent = Instant::now();
                }
            }
        }
    }

    async fn handle_message(&mut self, message: Message) -> Result<(), End> {
        let text = match message {
            Message::Text(text) => text,
            Message::Close(frame) => return Err(websocket::closed(frame.as_ref()).into()),
            Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => return Ok(()),
        };
        let Ok(reply) = serde_json::from_str::<Reply>(&text) else { return Ok(()) };
        if let Some(failure) = reply.failure() {
            return Err(failure.into());
        }
        if reply.audio.is_some() {
            self.failures = 0;
        }
        let events = self.pipeline.receive(Instant::now(), reply);
        Ok(self.tell(events).await?)
    }

    fn redacted(&self, mut failure: Failure) -> Failure {
        failure.reason = self.config.api_key.redact(&failure.reason);
        failure
    }

    async fn tell(&self, events: Vec<(TurnId, TtsEvent)>) -> Result<(), Over> {
        for (turn, event) in events {
            self.events.send(ProviderEvent::Tts(turn, event)).await.map_err(|_| Over)?;
        }
        Ok(())
    }
}

/// Sentences on their way, in the order in which they are spoken.
struct Pipeline {
    sentences: VecDeque<Sentence>,
    /// Contexts of cancelled sentences: still open there, no longer of interest here.
    leftovers: BTreeMap<String, Instant>,
    /// Whether the context exists that keeps an idle connection open.
    idle: bool,
    /// The turn that has used its second connection.
    retried: Option<TurnId>,
    rate: SampleRate,
    voice_settings: Option<Value>,
    first_audio_timeout: Duration,
    stall_timeout: Duration,
}

struct Sentence {
    turn: TurnId,
    number: u32,
    text: String,
    progress: Progress,
    /// Whether some of its audio has gone to the call.
    heard: bool,
    /// Audio that came before its turn to speak, and the ends of words that came with it.
    held: Vec<i16>,
    words: Vec<WordTime>,
    /// How far its letters have been aligned with its audio.
    aligner: Aligner,
    /// When something last happened to it.
    since: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Waiting,
    Asked,
    Complete,
}

/// The provider allows this many contexts on a connection.
const MOST_CONTEXTS: usize = 5;
/// Sentences being synthesised at once: the next one is ready in time, and little is paid for in vain at a barge-in.
const MOST_ASKED: usize = 2;
/// A cancelled context that has not ended after this long will not.
const LEFTOVER_TIMEOUT: Duration = Duration::from_secs(20);
/// The context that keeps an idle connection open.
const IDLE_CONTEXT: &str = "idle";

impl Pipeline {
    fn new(config: &ElevenLabsConfig, rate: SampleRate) -> Self {
        Self {
            sentences: VecDeque::new(),
            leftovers: BTreeMap::new(),
            idle: false,
            retried: None,
            rate,
            voice_settings: config.voice_settings.clone(),
            first_audio_timeout: config.first_audio_timeout,
            stall_timeout: config.stall_timeout,
        }
    }

    fn is_empty(&self) -> bool {
        self.sentences.is_empty()
    }

    fn obey(&mut self, now: Instant, command: TtsCommand) -> Vec<(TurnId, TtsEvent)> {
        match command {
            TtsCommand::Speak { turn, sentence, text } => {
                let nothing = text.trim().is_empty();
                let progress = if nothing { Progress::Complete } else { Progress::Waiting };
                let (heard, held, number) = (false, Vec::new(), sentence);
                let (words, aligner) = (Vec::new(), Aligner::default());
                self.sentences.push_back(Sentence {
                    turn,
                    number,
                    text,
                    progress,
                    heard,
                    held,
                    words,
                    aligner,
                    since: now,
                });
                self.release(now)
            }
            // Every sentence's context is closed as soon as its text is sent.
            TtsCommand::Finish { .. } => Vec::new(),
            TtsCommand::Cancel { turn } => {
                for sentence in self.sentences.iter().filter(|s| s.turn == turn) {
                    if sentence.progress == Progress::Asked {
                        self.leftovers.insert(sentence.context(), now);
                    }
                }
                self.sentences.retain(|sentence| sentence.turn != turn);
                self.release(now)
            }
        }
    }

    /// The messages that ask for the next sentence, if it may be asked for now.
    fn next_request(&mut self, now: Instant) -> Option<[Value; 3]> {
        self.leftovers.retain(|_, since| now < *since + LEFTOVER_TIMEOUT);
        let asked = self.sentences.iter().filter(|s| s.progress == Progress::Asked).count();
        if asked >= MOST_ASKED || asked + self.leftovers.len() + usize::from(self.idle) >= MOST_CONTEXTS {
            return None;
        }
        let sentence = self.sentences.iter_mut().find(|s| s.progress == Progress::Waiting)?;
        sentence.progress = Progress::Asked;
        sentence.since = now;
        let context = sentence.context();
        let text = format!("{} ", sentence.text.trim());
        Some([
            open_context(&context, self.voice_settings.as_ref()),
            json!({"text": text, "context_id": context, "flush": true}),
            json!({"context_id": context, "close_context": true}),
        ])
    }

    /// The message that keeps an idle connection open.
    fn keep_alive(&mut self) -> Value {
        if std::mem::replace(&mut self.idle, true) {
            json!({"text": "", "context_id": IDLE_CONTEXT})
        } else {
            open_context(IDLE_CONTEXT, self.voice_settings.as_ref())
        }
    }

    fn receive(&mut self, now: Instant, reply: Reply) -> Vec<(TurnId, TtsEvent)> {
        let Some(context) = reply.context_id.as_deref() else { return Vec::new() };
        let is_final = reply.is_final == Some(true);
        let found =
            self.sentences.iter_mut().find(|s| s.progress == Progress::Asked && s.context() == context);
        let Some(sentence) = found else {
            if is_final {
                self.leftovers.remove(context);
                self.idle &= context != IDLE_CONTEXT;
            }
            return Vec::new();
        };
        sentence.since = now;
        if let Some(audio) = reply.audio {
            let before = sentence.held.len();
            decode(&audio, self.rate, &mut sentence.held);
            let samples = sentence.held.len() - before;
            if let Some(alignment) = &reply.alignment {
                sentence.aligner.align(alignment, &mut sentence.words);
            }
            sentence.aligner.elapsed +=
                Duration::from_micros(samples as u64 * 1_000_000 / u64::from(self.rate.hz()));
        }
        if is_final {
            sentence.words.extend(sentence.aligner.word.take());
            sentence.progress = Progress::Complete;
        }
        self.release(now)
    }

    /// Gives out what the first sentence has, and the next one's once it is complete: sentences never overlap.
    fn release(&mut self, now: Instant) -> Vec<(TurnId, TtsEvent)> {
        let mut events = Vec::new();
        while let Some(first) = self.sentences.front_mut() {
            let sentence = first.number;
            if !first.held.is_empty() {
                first.heard = true;
                let samples = std::mem::take(&mut first.held);
                events.push((first.turn, TtsEvent::Audio { sentence, samples }));
            }
            if !first.words.is_empty() {
                let words = std::mem::take(&mut first.words);
                events.push((first.turn, TtsEvent::Words { sentence, words }));
            }
            if first.progress != Progress::Complete {
                break;
            }
            events.push((first.turn, TtsEvent::SentenceDone { sentence }));
            self.sentences.pop_front();
            if let Some(next) = self.sentences.front_mut() {
                // Only now somebody waits for it.
                next.since = now;
            }
        }
        events
    }

    /// When the first sentence has been silent for too long, or found no free context.
    fn deadline(&self) -> Option<Instant> {
        let first = self.sentences.front()?;
        Some(first.since + if first.heard { self.stall_timeout } else { self.first_audio_timeout })
    }

    /// The connection is gone. What was not heard yet is asked for once more; what was half heard has failed.
    fn lost(&mut self, failure: &Failure) -> Vec<(TurnId, TtsEvent)> {
        self.leftovers.clear();
        self.idle = false;
        let Some(turn) = self.sentences.front().map(|first| first.turn) else { return Vec::new() };
        if self.retried.replace(turn) == Some(turn) || !failure.class.is_passing() {
            return self.fail(failure);
        }
        let mut events = Vec::new();
        let half_heard = self.sentences.front().is_some_and(|s| s.heard && s.progress == Progress::Asked);
        if half_heard && let Some(first) = self.sentences.pop_front() {
            events.push(first.failed(failure));
        }
        for sentence in self.sentences.iter_mut().filter(|s| s.progress == Progress::Asked) {
            sentence.progress = Progress::Waiting;
            sentence.held.clear();
            sentence.words.clear();
            sentence.aligner = Aligner::default();
        }
        events.extend(self.release(Instant::now()));
        events
    }

    /// Gives all sentences up.
    fn fail(&mut self, failure: &Failure) -> Vec<(TurnId, TtsEvent)> {
        self.sentences.drain(..).map(|sentence| sentence.failed(failure)).collect()
    }
}

impl Sentence {
    fn context(&self) -> String {
        format!("t{}s{}", self.turn, self.number)
    }

    fn failed(&self, failure: &Failure) -> (TurnId, TtsEvent) {
        (self.turn, TtsEvent::Failed { sentence: self.number, reason: failure.to_string() })
    }
}

fn open_context(context: &str, voice_settings: Option<&Value>) -> Value {
    let mut message = json!({"text": " ", "context_id": context});
    if let Some(settings) = voice_settings {
        message["voice_settings"] = settings.clone();
    }
    message
}

/// Appends base64 audio as linear samples; what is no audio is ignored.
fn decode(audio: &str, rate: SampleRate, samples: &mut Vec<i16>) {
    let Ok(bytes) = STANDARD.decode(audio) else { return };
    match rate {
        SampleRate::Hz8000 => Codec::Pcmu.decode(&bytes, samples),
        SampleRate::Hz16000 => {
            samples.extend(bytes.as_chunks::<2>().0.iter().map(|pair| i16::from_le_bytes(*pair)));
        }
    }
}

/// Finds the ends of words in what comes with the audio piece by piece.
#[derive(Default)]
struct Aligner {
    /// Audio before this piece: times in a piece begin at its first sample.
    elapsed: Duration,
    characters: u32,
    /// The word under way, up to its latest letter.
    word: Option<WordTime>,
}

impl Aligner {
    fn align(&mut self, alignment: &Alignment, words: &mut Vec<WordTime>) {
        let times = alignment.char_start_times_ms.iter().zip(&alignment.char_durations_ms);
        for (text, (start, length)) in alignment.chars.iter().zip(times) {
            let blank = text.chars().all(char::is_whitespace);
            if blank {
                words.extend(self.word.take());
            }
            // A blank before the first word is not the sentence's: it opened the context.
            self.characters += u32::from(!blank || self.characters > 0);
            if !blank {
                let until = self.elapsed + Duration::from_millis(start.saturating_add(*length));
                self.word = Some(WordTime { characters: self.characters, until });
            }
        }
    }
}

/// When the letters of a piece of audio sound.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Alignment {
    chars: Vec<String>,
    char_start_times_ms: Vec<u64>,
    char_durations_ms: Vec<u64>,
}

/// What ElevenLabs sends: audio, the end of a context, or an error.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Reply {
    audio: Option<String>,
    is_final: Option<bool>,
    context_id: Option<String>,
    #[serde(deserialize_with = "lenient")]
    alignment: Option<Alignment>,
    message: Option<Value>,
    error: Option<Value>,
    detail: Option<Value>,
}

/// An alignment of another shape is none: the audio counts all the same.
fn lenient<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Alignment>, D::Error> {
    Ok(Value::deserialize(deserializer).ok().and_then(|value| serde_json::from_value(value).ok()))
}

impl Reply {
    fn failure(&self) -> Option<Failure> {
        if self.audio.is_some() || self.is_final.is_some() {
            return None;
        }
        let parts: Vec<_> = [&self.error, &self.message, &self.detail]
            .into_iter()
            .flatten()
            .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            .collect();
        let reason = parts.join(": ");
        let class = classify(&reason, FailureClass::Internal);
        (!parts.is_empty()).then(|| Failure::new(class, websocket::cut(&reason)))
    }
}

/// What an error's name says beyond its HTTP status or close code.
fn classify(text: &str, otherwise: FailureClass) -> FailureClass {
    const NAMES: [(&str, FailureClass); 7] = [
        ("quota_exceeded", FailureClass::Quota),
        ("max_character_limit_exceeded", FailureClass::Quota),
        ("invalid_api_key", FailureClass::Auth),
        ("voice_not_found", FailureClass::BadRequest),
        ("too_many_concurrent_requests", FailureClass::Concurrency),
        ("system_busy", FailureClass::Overloaded),
        ("inactivity", FailureClass::IdleTimeout),
    ];
    NAMES.iter().find(|(name, _)| text.contains(name)).map_or(otherwise, |(_, class)| *class)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipeline() -> Pipeline {
        Pipeline::new(&ElevenLabsConfig::new(Secret::new("k"), "v", "m"), SampleRate::Hz8000)
    }

    fn speak(pipeline: &mut Pipeline, turn: u32, sentence: u32) {
        let command = TtsCommand::Speak { turn: TurnId(turn), sentence, text: format!("S{sentence}.") };
        assert!(pipeline.obey(Instant::now(), command).is_empty());
    }

    fn asked(pipeline: &mut Pipeline) -> Vec<String> {
        let requests = std::iter::from_fn(|| pipeline.next_request(Instant::now()));
        requests.map(|[open, ..]| open["context_id"].as_str().expect("an id").to_owned()).collect()
    }

    fn receive(pipeline: &mut Pipeline, json: Value) -> Vec<String> {
        let reply = serde_json::from_value(json).expect("a reply");
        names(pipeline.receive(Instant::now(), reply))
    }

    fn audio(pipeline: &mut Pipeline, context: &str, bytes: usize) -> Vec<String> {
        let audio = STANDARD.encode(vec![0xff; bytes]);
        receive(pipeline, json!({"audio": audio, "isFinal": null, "contextId": context, "alignment": null}))
    }

    fn end(pipeline: &mut Pipeline, context: &str) -> Vec<String> {
        receive(pipeline, json!({"isFinal": true, "contextId": context}))
    }

    fn names(events: Vec<(TurnId, TtsEvent)>) -> Vec<String> {
        let name = |event| match event {
            TtsEvent::Audio { sentence, samples } => format!("audio {sentence} {}", samples.len()),
            TtsEvent::Words { sentence, words } => {
                let words =
                    words.iter().map(|word| format!("{}@{}", word.characters, word.until.as_millis()));
                format!("words {sentence} {}", words.collect::<Vec<_>>().join(" "))
            }
            TtsEvent::SentenceDone { sentence } => format!("done {sentence}"),
            TtsEvent::Failed { sentence, .. } => format!("failed {sentence}"),
        };
        events.into_iter().map(|(_, event)| name(event)).collect()
    }

    #[test]
    fn sentences_are_made_together_and_spoken_one_after_the_other() {
        let mut pipeline = pipeline();
        (0..3).for_each(|sentence| speak(&mut pipeline, 4, sentence));
        assert_eq!(asked(&mut pipeline), ["t4s0", "t4s1"]);
        assert_eq!(audio(&mut pipeline, "t4s1", 160), [""; 0], "not its turn yet");
        assert_eq!(audio(&mut pipeline, "t4s0", 80), ["audio 0 80"]);
        assert_eq!(end(&mut pipeline, "t4s1"), [""; 0]);
        assert_eq!(asked(&mut pipeline), ["t4s2"]);
        assert_eq!(end(&mut pipeline, "t4s0"), ["done 0", "audio 1 160", "done 1"]);
        assert_eq!(end(&mut pipeline, "t4s2"), ["done 2"]);
    }

    #[test]
    fn the_ends_of_words_come_with_their_audio() {
        let mut pipeline = pipeline();
        speak(&mut pipeline, 4, 0);
        assert_eq!(asked(&mut pipeline), ["t4s0"]);
        let piece = |text: &str, bytes: usize| {
            let chars: Vec<String> = text.chars().map(String::from).collect();
            let starts: Vec<usize> = (0..chars.len()).map(|n| n * 10).collect();
            json!({"audio": STANDARD.encode(vec![0xff; bytes]), "contextId": "t4s0", "alignment":
                {"chars": chars, "charStartTimesMs": starts, "charDurationsMs": vec![10; text.len()]}})
        };
        // 800 bytes are 100 ms: the second piece's times begin there.
        assert_eq!(receive(&mut pipeline, piece(" We op", 800)), ["audio 0 800", "words 0 2@30"]);
        assert_eq!(receive(&mut pipeline, piece("en.", 800)), ["audio 0 800"]);
        assert_eq!(end(&mut pipeline, "t4s0"), ["words 0 8@130", "done 0"]);
        let odd = json!({"audio": "", "contextId": "t4s0", "alignment": {"chars": 7}});
        assert_eq!(receive(&mut pipeline, odd), [""; 0]);
    }

    #[test]
    fn a_cancelled_turn_is_not_heard_again_and_frees_its_contexts_in_the_end() {
        let mut pipeline = pipeline();
        for turn in 0..2 {
            (0..2).for_each(|sentence| speak(&mut pipeline, turn, sentence));
            assert_eq!(asked(&mut pipeline).len(), 2);
            pipeline.obey(Instant::now(), TtsCommand::Cancel { turn: TurnId(turn) });
        }
        assert_eq!(audio(&mut pipeline, "t0s0", 160), [""; 0]);
        (0..2).for_each(|sentence| speak(&mut pipeline, 2, sentence));
        assert_eq!(asked(&mut pipeline), ["t2s0"], "five contexts are the limit");
        assert_eq!(end(&mut pipeline, "t0s0"), [""; 0]);
        assert_eq!(asked(&mut pipeline), ["t2s1"]);
    }

    #[test]
    fn the_context_that_keeps_the_connection_open_counts_too() {
        let mut pipeline = pipeline();
        assert_eq!(pipeline.keep_alive()["text"], " ", "opened first");
        assert_eq!(pipeline.keep_alive()["text"], "", "then kept alive");
        for turn in 0..2 {
            (0..2).for_each(|sentence| speak(&mut pipeline, turn, sentence));
            assert_eq!(asked(&mut pipeline).len(), 2);
            pipeline.obey(Instant::now(), TtsCommand::Cancel { turn: TurnId(turn) });
        }
        speak(&mut pipeline, 2, 0);
        assert_eq!(asked(&mut pipeline), [""; 0], "four sentences and the idle context");
        assert!(pipeline.deadline().is_some(), "but it does not wait for ever");
        end(&mut pipeline, IDLE_CONTEXT);
        assert_eq!(asked(&mut pipeline), ["t2s0"]);
        assert_eq!(pipeline.keep_alive()["text"], " ", "opened anew");
    }

    #[test]
    fn a_lost_connection_is_made_good_once_a_turn() {
        let failure = Failure::new(FailureClass::Network, "x");
        let mut pipeline = pipeline();
        (0..2).for_each(|sentence| speak(&mut pipeline, 1, sentence));
        asked(&mut pipeline);
        audio(&mut pipeline, "t1s1", 160);
        assert_eq!(names(pipeline.lost(&failure)), [""; 0]);
        assert_eq!(asked(&mut pipeline), ["t1s0", "t1s1"]);
        assert_eq!(names(pipeline.lost(&failure)), ["failed 0", "failed 1"]);
        speak(&mut pipeline, 2, 0);
        speak(&mut pipeline, 2, 1);
        asked(&mut pipeline);
        assert_eq!(audio(&mut pipeline, "t2s0", 160), ["audio 0 160"]);
        assert_eq!(names(pipeline.lost(&failure)), ["failed 0"], "half of it was heard already");
        assert_eq!(asked(&mut pipeline), ["t2s1"]);
    }

    #[test]
    fn a_sentence_without_words_is_done_in_its_turn() {
        let mut pipeline = pipeline();
        speak(&mut pipeline, 1, 0);
        let nothing = TtsCommand::Speak { turn: TurnId(1), sentence: 1, text: " ".into() };
        assert!(pipeline.obey(Instant::now(), nothing).is_empty());
        assert_eq!(asked(&mut pipeline), ["t1s0"]);
        assert_eq!(end(&mut pipeline, "t1s0"), ["done 0", "done 1"]);
    }

    #[test]
    fn errors_are_told_from_audio() {
        let failure = |json: Value| serde_json::from_value::<Reply>(json).expect("a reply").failure();
        let class = |json| failure(json).map(|failure| failure.class);
        assert_eq!(class(json!({"audio": "AA==", "isFinal": null, "message": "note"})), None);
        assert_eq!(class(json!({"news": 1})), None);
        assert_eq!(
            class(json!({"message": "m", "error": "quota_exceeded", "code": 1008})),
            Some(FailureClass::Quota)
        );
        assert_eq!(class(json!({"detail": {"status": "voice_not_found"}})), Some(FailureClass::BadRequest));
        assert_eq!(class(json!({"error": "boom"})), Some(FailureClass::Internal));
    }

    #[test]
    fn the_address_says_what_the_line_carries() {
        let mut config = ElevenLabsConfig::new(Secret::new("k"), "a/b", "m");
        config.base_url = "ws://localhost:1/".into();
        assert_eq!(
            config.url(SampleRate::Hz8000).expect("a URL"),
            "ws://localhost:1/v1/text-to-speech/a%2Fb/multi-stream-input?model_id=m&output_format=ulaw_8000\
             &inactivity_timeout=180&sync_alignment=true"
        );
    }
}
