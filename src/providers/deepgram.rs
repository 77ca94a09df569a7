//! Deepgram live transcription over a WebSocket: v1 listen, and v2 for the models called `flux-…`.
//! Knows its wire format and how to get a lost connection back. Does not know when a turn is over.

mod flux;

use super::{
    CallInfo, Events, Gone, ProviderEvent, STT_COMMANDS, SpeechToText, SttCommand, SttStream,
    websocket::{self, Refused, Socket},
};
use crate::secret::Secret;
use ai_gateway::{Failure, FailureClass};
use call::SttEvent;
use futures_util::StreamExt;
use media::{Codec, FRAME, Frame, SampleRate};
use reqwest::Url;
use serde::Deserialize;
use std::{collections::VecDeque, time::Duration};
use tokio::{
    runtime::Handle,
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use tokio_tungstenite::tungstenite::Message;

/// How to reach Deepgram and what to ask of it.
#[derive(Clone, Debug)]
pub struct DeepgramConfig {
    /// `wss://` and the host, regional or self-hosted.
    pub base_url: String,
    /// Sent as `Authorization: Token`.
    pub api_key: Secret,
    /// The model's name.
    pub model: String,
    /// A language tag; without one, the call's.
    pub language: Option<String>,
    /// Silence after which a segment is settled; `None` leaves that to finalize alone.
    pub endpointing: Option<Duration>,
    /// Further query parameters, as they are: `("smart_format", "true")`, `("keyterm", "Riga")`.
    pub extra_query: Vec<(String, String)>,
    /// Audio in one message, in whole frames; Deepgram wants 20 to 250 ms, 80 of them for Flux. The wish for a final never
    /// waits for one to fill.
    pub chunk: Duration,
    /// Limit for one connection attempt.
    pub connect_timeout: Duration,
    /// Without audio for this long, a sign of life is sent. Deepgram closes after 10 s.
    pub keep_alive: Duration,
    /// How long an answer to finalize may take before what is settled so far must do.
    pub finalize_timeout: Duration,
    /// How many connections in a row may fail before the stream is given up.
    pub reconnects: u32,
}

impl DeepgramConfig {
    /// The public service with defaults that suit a telephone conversation.
    pub fn new(api_key: Secret, model: impl Into<String>) -> Self {
        Self {
            base_url: "wss://api.deepgram.com".into(),
            api_key,
            model: model.into(),
            language: None,
            endpointing: Some(Duration::from_millis(300)),
            extra_query: Vec::new(),
            chunk: 4 * FRAME,
            connect_timeout: Duration::from_secs(3),
            keep_alive: Duration::from_secs(4),
            finalize_timeout: Duration::from_secs(1),
            reconnects: 5,
        }
    }

    /// Where the stream of a call is.
    fn url(&self, call: &CallInfo) -> Result<String, String> {
        let version = if flux::is_flux(&self.model) { "v2" } else { "v1" };
        let base = format!("{}/{version}/listen", self.base_url.trim_end_matches('/'));
        let mut url = Url::parse(&base).map_err(|error| format!("base_url: {error}"))?;
        let encoding = match call.rate {
            SampleRate::Hz8000 => "mulaw",
            SampleRate::Hz16000 => "linear16",
        };
        if flux::is_flux(&self.model) {
            let eager = self.extra_query.iter().all(|(name, _)| name != "eager_eot_threshold");
            url.query_pairs_mut()
                .append_pair("model", &self.model)
                .append_pair("encoding", encoding)
                .append_pair("sample_rate", &call.rate.hz().to_string())
                // Without one there are no eager ends.
                .extend_pairs(eager.then_some(("eager_eot_threshold", "0.5")))
                .extend_pairs(&self.extra_query);
            return Ok(url.into());
        }
        let endpointing = self.endpointing.map_or("false".into(), |limit| limit.as_millis().to_string());
        url.query_pairs_mut()
            .append_pair("model", &self.model)
            .append_pair("language", self.language.as_deref().unwrap_or(&call.language))
            .append_pair("encoding", encoding)
            .append_pair("sample_rate", &call.rate.hz().to_string())
            .append_pair("channels", "1")
            .append_pair("interim_results", "true")
            .append_pair("endpointing", &endpointing)
            .extend_pairs(&self.extra_query);
        Ok(url.into())
    }
}

/// Deepgram as a speech-to-text provider.
pub struct Deepgram {
    config: DeepgramConfig,
    runtime: Handle,
}

impl Deepgram {
    /// Streams run on the runtime that this is called from.
    ///
    /// # Panics
    /// When called outside a tokio runtime.
    pub fn new(config: DeepgramConfig) -> Self {
        Self { config, runtime: Handle::current() }
    }
}

impl SpeechToText for Deepgram {
    fn start(&self, call: &CallInfo, events: Events) -> SttStream {
        let (sender, commands) = mpsc::channel(STT_COMMANDS);
        let stream = Stream {
            config: self.config.clone(),
            call: call.clone(),
            events,
            commands,
            chunk: Chunk::of(self.config.chunk),
            held: VecDeque::new(),
            lost_frames: 0,
            segment: Segment::default(),
            turn: flux::Turn::default(),
            forced: false,
            flux: flux::is_flux(&self.config.model),
            finalizing: None,
            finalize_held: false,
            unanswered: 0,
            told_ready: false,
            failures: 0,
            connected: None,
        };
        let frames = (self.config.chunk.as_nanos() / FRAME.as_nanos()) as usize;
        self.runtime.spawn(stream.run());
        SttStream::new(sender, None).in_chunks(frames)
    }
}

/// Audio kept for a connection that is not there: 2 s. The oldest goes first.
const LARGEST_BACKLOG: usize = 100;
/// How long Deepgram may take to say goodbye.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection that works and has lasted this long makes up for those that failed before it.
const STABLE: Duration = Duration::from_secs(5);
/// Finalizes in a row without any word from Deepgram: the connection is only open in name.
const MOST_UNANSWERED: u32 = 2;

const KEEP_ALIVE: &str = r#"{"type":"KeepAlive"}"#;
const FINALIZE: &str = r#"{"type":"Finalize"}"#;
/// Of v2, which has no finalize: its own opinion is waited for, so long, and then the turn is ended.
const FORCE_END: &str = r#"{"type":"ForceEndTurn"}"#;
const FORCE_AFTER: Duration = Duration::from_millis(600);
const CLOSE_STREAM: &str = r#"{"type":"CloseStream"}"#;

/// One call's stream, over as many connections as it takes.
struct Stream {
    config: DeepgramConfig,
    call: CallInfo,
    events: Events,
    commands: mpsc::Receiver<SttCommand>,
    chunk: Chunk,
    held: VecDeque<Vec<u8>>,
    lost_frames: u64,
    segment: Segment,
    /// Of v2: the turn under way, and whether we have asked for its end.
    turn: flux::Turn,
    forced: bool,
    flux: bool,
    /// When finalize was asked for, while its answer is outstanding.
    finalizing: Option<Instant>,
    /// A finalize that waits for a connection.
    finalize_held: bool,
    unanswered: u32,
    told_ready: bool,
    /// Connections lost in a row, and since when the present one stands.
    failures: u32,
    connected: Option<Instant>,
}

/// Why a connection is no longer served.
enum End {
    /// The call is over.
    Call,
    /// The connection is lost.
    Lost(Failure),
}

impl From<Gone> for End {
    fn from(_: Gone) -> Self {
        Self::Call
    }
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        Self::Lost(failure)
    }
}

impl Stream {
    async fn run(mut self) {
        let reason = loop {
            let failure = match self.connect().await {
                Ok(None) => return,
                Ok(Some(mut socket)) => match self.serve(&mut socket).await {
                    End::Call => return say_goodbye(socket).await,
                    End::Lost(failure) => failure,
                },
                // A refusal will be repeated, however often we ask.
                Err(Refused { failure, status: Some(400..=499) }) => break failure,
                Err(Refused { failure, .. }) => failure,
            };
            self.failures += 1;
            if !failure.class.is_passing() || self.failures > self.config.reconnects {
                break failure;
            }
            tracing::debug!(call = %self.call.call, %failure, "speech-to-text connection lost");
            let pause = sleep(websocket::back_off(self.failures));
            if self.meanwhile(pause).await.is_none() {
                return;
            }
        };
        let reason = self.config.api_key.redact(&reason.to_string());
        let _ = self.events.send(ProviderEvent::Stt(SttEvent::Failed { reason })).await;
    }

    async fn connect(&mut self) -> Result<Option<Socket>, Refused> {
        let url = self.config.url(&self.call).map_err(|reason| Refused {
            failure: Failure::new(FailureClass::BadRequest, reason),
            status: None,
        })?;
        let headers = vec![
            ("authorization", format!("Token {}", self.config.api_key.expose())),
            ("traceparent", self.call.traceparent()),
        ];
        let attempt = websocket::connect(url, headers, self.config.connect_timeout);
        self.meanwhile(attempt).await.transpose()
    }

    /// Waits for `work`, keeping what the call says; `None` when the call ends first.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Some(done),
                command = self.commands.recv() => match command? {
                    SttCommand::Audio(frame) => self.hold(&frame),
                    SttCommand::Finalize => self.finalize_held = true,
                    SttCommand::Expect(_) => {}
                },
            }
        }
    }

    fn hold(&mut self, frame: &Frame) {
        if self.held.len() == LARGEST_BACKLOG {
            self.held.pop_front();
            self.lost_frames += 1;
        }
        let mut bytes = Vec::new();
        encode(frame, &mut bytes);
        self.held.push_back(bytes);
    }

    /// Serves one connection until it or the call ends.
    async fn serve(&mut self, socket: &mut Socket) -> End {
        match self.exchange(socket).await {
            Ok(()) => End::Call,
            Err(end) => {
                // The answer to an open finalize is to come from the next connection.
                self.finalize_held |= self.finalizing.take().is_some();
                self.held.extend(self.chunk.take());
                self.unanswered = 0;
                end
            }
        }
    }

    async fn exchange(&mut self, socket: &mut Socket) -> Result<(), End> {
        self.connected = Some(Instant::now());
        self.resume(socket).await?;
        let mut last_sent = Instant::now();
        // Set anew only when it must ring earlier, not for every message: twenty-five a second move its end.
        let alarm = sleep(self.config.keep_alive);
        tokio::pin!(alarm);
        loop {
            let patience = if self.flux && !self.forced { FORCE_AFTER } else { self.config.finalize_timeout };
            let finalize_ends = self.finalizing.map(|since| since + patience);
            let keep_alive = last_sent + self.config.keep_alive;
            let due = finalize_ends.unwrap_or(keep_alive).min(keep_alive);
            if due < alarm.deadline() {
                alarm.as_mut().reset(due);
            }
            tokio::select! {
                // Looking into the socket is the dearest of the three; audio that waits is passed on before.
                biased;
                command = self.commands.recv() => {
                    let Some(command) = command else { return Ok(()) };
                    if self.obey(socket, command).await? {
                        last_sent = Instant::now();
                    }
                }
                message = socket.next() => match message {
                    Some(Ok(message)) => self.handle_message(message).await?,
                    Some(Err(error)) => return Err(websocket::broken(&error).into()),
                    None => return Err(websocket::closed(None).into()),
                },
                () = &mut alarm => {
                    if Instant::now() < due {
                        alarm.as_mut().reset(due);
                        continue;
                    }
                    if finalize_ends.is_some_and(|end| Instant::now() >= end) {
                        if self.flux && !self.forced {
                            self.force_end(socket).await?;
                        } else {
                            self.settle_without_answer().await?;
                        }
                    } else if self.flux {
                        // There is no sign of life but audio.
                        let mut silence = Vec::new();
                        encode(&Frame::silence(self.call.rate), &mut silence);
                        websocket::send(socket, Message::binary(silence)).await?;
                        last_sent = Instant::now();
                    } else {
                        websocket::send(socket, Message::text(KEEP_ALIVE)).await?;
                        last_sent = Instant::now();
                    }
                    alarm.as_mut().reset(last_sent.max(Instant::now()) + self.config.keep_alive);
                }
            }
        }
    }

    /// Begins a connection with what was kept for it.
    async fn resume(&mut self, socket: &mut Socket) -> Result<(), End> {
        if !std::mem::replace(&mut self.told_ready, true) {
            self.tell(SttEvent::Ready).await?;
        }
        if self.lost_frames > 0 {
            let lost_ms = 20 * std::mem::take(&mut self.lost_frames);
            tracing::warn!(call = %self.call.call, lost_ms, "speech-to-text was away for longer than its backlog");
        }
        while let Some(audio) = self.held.pop_front() {
            websocket::send(socket, Message::binary(audio)).await?;
        }
        if std::mem::take(&mut self.finalize_held) {
            self.obey(socket, SttCommand::Finalize).await?;
        }
        Ok(())
    }

    /// Carries a command out; true if something was sent.
    async fn obey(&mut self, socket: &mut Socket, command: SttCommand) -> Result<bool, End> {
        match command {
            SttCommand::Audio(frame) => match self.chunk.push(&frame) {
                Some(audio) => websocket::send(socket, Message::binary(audio)).await?,
                None => return Ok(false),
            },
            SttCommand::Finalize => {
                if let Some(audio) = self.chunk.take() {
                    websocket::send(socket, Message::binary(audio)).await?;
                }
                if self.flux {
                    return self.finalize_flux(socket).await.map(|()| true);
                }
                self.finalizing.get_or_insert_with(Instant::now);
                websocket::send(socket, Message::text(FINALIZE)).await?;
            }
            SttCommand::Expect(_) => return Ok(false),
        }
        Ok(true)
    }

    /// The caller pauses. Of nothing there is nothing to settle; asked twice, we do not wait for an opinion.
    async fn finalize_flux(&mut self, socket: &mut Socket) -> Result<(), End> {
        if !self.turn.is_open() {
            let settled = self.turn.settle();
            return self.tell(settled).await;
        }
        if self.finalizing.is_some() && !self.forced {
            return self.force_end(socket).await;
        }
        self.finalizing.get_or_insert_with(Instant::now);
        Ok(())
    }

    async fn force_end(&mut self, socket: &mut Socket) -> Result<(), End> {
        (self.finalizing, self.forced) = (Some(Instant::now()), true);
        Ok(websocket::send(socket, Message::text(FORCE_END)).await?)
    }

    async fn handle_message(&mut self, message: Message) -> Result<(), End> {
        let text = match message {
            Message::Text(text) => text,
            Message::Close(frame) => return Err(websocket::closed(frame.as_ref()).into()),
            Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => return Ok(()),
        };
        let Some(reply) = parse(&text) else { return Ok(()) };
        self.unanswered = 0;
        if self.connected.is_some_and(|since| since.elapsed() >= STABLE) {
            self.failures = 0;
        }
        let event = match reply {
            Reply::Results(results) => {
                if let Some(tag) = results.language() {
                    self.tell(SttEvent::Language { tag }).await?;
                }
                let answers = results.from_finalize;
                let awaited = answers && self.finalizing.take().is_some();
                // An answer that comes after we stopped waiting has nothing more to say unless it has words.
                self.segment.add(results).filter(|event| awaited || !answers || !is_empty(event))
            }
            Reply::UtteranceEnd => self.segment.utterance_end(),
            Reply::TurnInfo(info) => {
                if let Some(tag) = info.language() {
                    self.tell(SttEvent::Language { tag }).await?;
                }
                let (event, news) = self.turn.take(info);
                if news {
                    (self.finalizing, self.forced) = (None, false);
                }
                event
            }
            Reply::Error { description } => {
                tracing::warn!(call = %self.call.call, error = websocket::cut(&description), "Deepgram complains");
                None
            }
            Reply::Other => None,
        };
        match event {
            Some(event) => self.tell(event).await,
            None => Ok(()),
        }
    }

    /// No answer to finalize: what is settled so far must do.
    async fn settle_without_answer(&mut self) -> Result<(), End> {
        (self.finalizing, self.forced) = (None, false);
        self.unanswered += 1;
        let settled = if self.flux { self.turn.settle() } else { self.segment.settle() };
        self.tell(settled).await?;
        if self.unanswered >= MOST_UNANSWERED {
            return Err(Failure::new(FailureClass::Timeout, "finalize is not answered").into());
        }
        Ok(())
    }

    async fn tell(&self, event: SttEvent) -> Result<(), End> {
        Ok(self.events.send(ProviderEvent::Stt(event)).await?)
    }
}

/// Lets Deepgram close the stream, so that it is not billed further.
async fn say_goodbye(mut socket: Socket) {
    let goodbye = async {
        websocket::send(&mut socket, Message::text(CLOSE_STREAM)).await.ok()?;
        while let Some(Ok(_)) = socket.next().await {}
        Some(())
    };
    let _ = timeout(GOODBYE_TIMEOUT, goodbye).await;
}

/// Frames on their way into one message: each message is a system call here and a packet in the network.
struct Chunk {
    bytes: Vec<u8>,
    length: Duration,
    full: Duration,
}

impl Chunk {
    fn of(full: Duration) -> Self {
        Self { bytes: Vec::new(), length: Duration::ZERO, full }
    }

    /// Adds a frame; the whole chunk once it is full.
    fn push(&mut self, frame: &Frame) -> Option<Vec<u8>> {
        if self.bytes.is_empty() {
            let frames = self.full.as_nanos().div_ceil(FRAME.as_nanos()) as usize;
            self.bytes.reserve_exact(frames * bytes_of(frame));
        }
        encode(frame, &mut self.bytes);
        self.length += FRAME;
        if self.length < self.full { None } else { self.take() }
    }

    /// What there is of it.
    fn take(&mut self) -> Option<Vec<u8>> {
        self.length = Duration::ZERO;
        Some(std::mem::take(&mut self.bytes)).filter(|bytes| !bytes.is_empty())
    }
}

/// G.711 at 8 kHz as it is on the telephone line, linear little-endian samples at 16 kHz.
fn encode(frame: &Frame, bytes: &mut Vec<u8>) {
    match frame.rate() {
        SampleRate::Hz8000 => Codec::Pcmu.encode(frame, bytes),
        SampleRate::Hz16000 => bytes.extend(frame.samples().iter().flat_map(|sample| sample.to_le_bytes())),
    }
}

/// How many bytes [`encode`] makes of it.
const fn bytes_of(frame: &Frame) -> usize {
    match frame.rate() {
        SampleRate::Hz8000 => SampleRate::Hz8000.frame_samples(),
        SampleRate::Hz16000 => 2 * SampleRate::Hz16000.frame_samples(),
    }
}

fn is_empty(event: &SttEvent) -> bool {
    matches!(event, SttEvent::Final { text, .. } if text.is_empty())
}

/// The settled parts of what the caller is saying.
#[derive(Default)]
struct Segment {
    parts: Vec<String>,
    /// Confidence of the parts, weighed by their length, and that length in characters.
    confidence: f32,
    weight: f32,
}

impl Segment {
    fn add(&mut self, results: Results) -> Option<SttEvent> {
        let Results { is_final, speech_final, from_finalize, channel } = results;
        let best = channel.alternatives.into_iter().next().unwrap_or_default();
        let words = best.transcript.trim();
        if !is_final {
            let text = self.with(words);
            return (!words.is_empty()).then_some(SttEvent::Interim { text });
        }
        if !words.is_empty() {
            let weight = words.chars().count() as f32;
            self.confidence += best.confidence.unwrap_or(1.0) * weight;
            self.weight += weight;
            self.parts.push(words.into());
        }
        if from_finalize || (speech_final && !self.parts.is_empty()) {
            return Some(self.settle());
        }
        (!words.is_empty()).then(|| SttEvent::Interim { text: self.parts.join(" ") })
    }

    fn utterance_end(&mut self) -> Option<SttEvent> {
        (!self.parts.is_empty()).then(|| self.settle())
    }

    fn settle(&mut self) -> SttEvent {
        let Self { parts, confidence, weight } = std::mem::take(self);
        let confidence = (weight > 0.0).then(|| confidence / weight);
        SttEvent::Final { text: parts.join(" "), confidence }
    }

    fn with(&self, words: &str) -> String {
        let parts = self.parts.iter().map(String::as_str).chain([words]);
        parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
    }
}

/// What Deepgram sends. What is not here is ignored: new types come without notice.
#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
enum Reply {
    Results(Results),
    UtteranceEnd,
    TurnInfo(flux::TurnInfo),
    Error {
        #[serde(default)]
        description: String,
    },
    #[serde(other)]
    Other,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Results {
    is_final: bool,
    speech_final: bool,
    from_finalize: bool,
    channel: Channel,
}

impl Results {
    /// The language that most of a settled part is in, where there are words and Deepgram says it.
    fn language(&self) -> Option<String> {
        let best = self.channel.alternatives.first()?;
        best.languages.first().filter(|_| self.is_final && !best.transcript.trim().is_empty()).cloned()
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Channel {
    alternatives: Vec<Alternative>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Alternative {
    transcript: String,
    confidence: Option<f32>,
    /// With `language=multi`: what is spoken, most of it first.
    languages: Vec<String>,
}

/// `None` for what is not one of Deepgram's messages.
fn parse(text: &str) -> Option<Reply> {
    serde_json::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settled_words_have_a_language_with_a_model_for_many() {
        let language = |is_final: bool, transcript: &str| {
            let alternative =
                serde_json::json!({"transcript": transcript, "languages": ["de", "en"], "words": []});
            let json = serde_json::json!({"type": "Results", "is_final": is_final,
                "channel": {"alternatives": [alternative]}});
            match parse(&json.to_string()) {
                Some(Reply::Results(results)) => results.language(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(language(true, "guten Tag").as_deref(), Some("de"));
        assert_eq!((language(false, "guten Tag"), language(true, " ")), (None, None));
        assert_eq!(results("good morning", [true; 3]).language(), None);
    }

    fn results(text: &str, flags: [bool; 3]) -> Results {
        let json = serde_json::json!({
            "type": "Results", "channel_index": [0, 1], "start": 0.0, "duration": 1.02, "is_final": flags[0],
            "speech_final": flags[1], "from_finalize": flags[2], "news": {"of": "tomorrow"},
            "channel": {"alternatives": [{"transcript": text, "confidence": 0.5, "words": []}]},
            "metadata": {"request_id": "9f", "model_info": {"name": "sim"}, "model_uuid": "x"},
        });
        match parse(&json.to_string()) {
            Some(Reply::Results(results)) => results,
            other => panic!("{other:?}"),
        }
    }

    fn words(event: Option<SttEvent>) -> Option<(String, bool)> {
        match event? {
            SttEvent::Interim { text } => Some((text, false)),
            SttEvent::Final { text, .. } => Some((text, true)),
            SttEvent::Ready
            | SttEvent::EagerEnd { .. }
            | SttEvent::Resumed
            | SttEvent::Language { .. }
            | SttEvent::End { .. }
            | SttEvent::Failed { .. } => None,
        }
    }

    #[test]
    fn frames_travel_in_chunks_and_a_final_waits_for_none_to_fill() {
        let frame = Frame::silence(SampleRate::Hz8000);
        let mut chunk = Chunk::of(2 * FRAME);
        let sizes: Vec<_> = (0..4).map(|_| chunk.push(&frame).map(|audio| audio.len())).collect();
        assert_eq!(sizes, [None, Some(320), None, Some(320)]);
        assert_eq!(chunk.take(), None);
        chunk.push(&frame);
        assert_eq!(chunk.take().map(|audio| audio.len()), Some(160));
        assert_eq!(Chunk::of(FRAME).push(&frame).map(|audio| audio.len()), Some(160));
    }

    #[test]
    fn settled_parts_are_joined_until_the_segment_ends() {
        let mut segment = Segment::default();
        let mut add = |text, flags| words(segment.add(results(text, flags)));
        assert_eq!(add("two", [false; 3]), Some(("two".into(), false)));
        assert_eq!(add("two seats", [true, false, false]), Some(("two seats".into(), false)));
        assert_eq!(add("please", [false; 3]), Some(("two seats please".into(), false)));
        assert_eq!(add("please.", [true, true, false]), Some(("two seats please.".into(), true)));
        assert_eq!(add("", [true, true, false]), None, "silence settles nothing");
    }

    #[test]
    fn finalize_is_answered_even_without_words() {
        let mut segment = Segment::default();
        assert_eq!(words(segment.add(results("", [true, false, true]))), Some((String::new(), true)));
        assert_eq!(words(segment.add(results("yes", [true, false, false]))), Some(("yes".into(), false)));
        assert_eq!(words(segment.add(results("", [true, false, true]))), Some(("yes".into(), true)));
    }

    #[test]
    fn an_utterance_end_settles_what_is_there() {
        let mut segment = Segment::default();
        assert!(segment.utterance_end().is_none());
        segment.add(results("hello", [true, false, false]));
        assert_eq!(words(segment.utterance_end()), Some(("hello".into(), true)));
    }

    #[test]
    fn messages_of_tomorrow_are_ignored() {
        assert!(matches!(parse(r#"{"type":"Connected","x":[1]}"#), Some(Reply::Other)));
        let end = r#"{"type":"UtteranceEnd","channel":[0,1],"last_word_end":3.07}"#;
        assert!(matches!(parse(end), Some(Reply::UtteranceEnd)));
        let error = r#"{"type":"Error","variant":"SchemaError","description":"bad","message":"{"}"#;
        assert!(matches!(parse(error), Some(Reply::Error { description }) if description == "bad"));
        for garbage in ["", "{", "[]", "null", r#"{"type":3}"#, r#"{"type":"Results","channel":7}"#] {
            assert!(parse(garbage).is_none(), "{garbage}");
        }
    }

    #[test]
    fn the_models_that_know_turns_are_asked_for_them() {
        let call = CallInfo {
            call: call::CallId(1),
            rate: SampleRate::Hz8000,
            language: "en".into(),
            turn: None,
            may_hedge: false,
        };
        let mut config = DeepgramConfig::new(Secret::new("k"), "flux-general-en");
        let url = "wss://api.deepgram.com/v2/listen?model=flux-general-en&encoding=mulaw&sample_rate=8000";
        assert_eq!(config.url(&call), Ok(format!("{url}&eager_eot_threshold=0.5")));
        config.extra_query.push(("eager_eot_threshold".into(), "0.4".into()));
        assert_eq!(config.url(&call), Ok(format!("{url}&eager_eot_threshold=0.4")));
    }

    #[test]
    fn code_words_of_the_telephone_reach_it_untouched() {
        let words: Vec<u8> = (96..=255).collect();
        let mut samples = Vec::new();
        Codec::Pcmu.decode(&words, &mut samples);
        let mut sent = Vec::new();
        encode(&Frame::from_samples(SampleRate::Hz8000, &samples), &mut sent);
        assert!(words.contains(&0x7f) && words.contains(&0xff), "both zeros are among them");
        assert_eq!(sent, words);
    }

    #[test]
    fn the_address_says_what_the_line_carries() {
        let call = CallInfo {
            call: call::CallId(1),
            rate: SampleRate::Hz8000,
            language: "de".into(),
            turn: None,
            may_hedge: false,
        };
        let mut config = DeepgramConfig::new(Secret::new("k"), "m");
        config.extra_query.push(("keyterm".into(), "Riga & Zeta".into()));
        assert_eq!(
            config.url(&call).expect("a URL"),
            "wss://api.deepgram.com/v1/listen?model=m&language=de&encoding=mulaw&sample_rate=8000&channels=1\
             &interim_results=true&endpointing=300&keyterm=Riga+%26+Zeta"
        );
    }
}
