//! Deepgram's live transcription (v1 listen, and Flux as v2), simulated: hears speech by its energy and takes the words from a script.
//! Time in the transcript is time in the audio; only the delay of finals is real.

use super::{FaultKind, Jitter, Provider, Shared, World, count, sleep_until};
use axum::{
    extract::{
        Query, State,
        ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade},
    },
    http::{HeaderMap, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use media::{Codec, Frame, SampleRate};
use serde_json::{Value, json};
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::time::Instant;

/// How Deepgram refuses a connection.
pub(super) fn refusal(status: u16) -> Response {
    let reason = match status {
        401 | 403 => "Invalid credentials.",
        402 => "Project has no credit left.",
        429 => "Too many concurrent requests.",
        400 => "Bad request: unsupported parameter.",
        _ => "Service unavailable.",
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, reason).into_response();
    response.headers_mut().insert("dg-error", HeaderValue::from_static(reason));
    response.headers_mut().insert("dg-request-id", HeaderValue::from_static("00000000-sim"));
    response
}

pub(super) async fn listen(
    shared: World,
    headers: HeaderMap,
    query: Query<Vec<(String, String)>>,
    upgrade: WebSocketUpgrade,
) -> Response {
    serve(shared, headers, query, upgrade, false).await
}

/// v2: for the flux models only.
pub(super) async fn listen_flux(
    shared: World,
    headers: HeaderMap,
    query: Query<Vec<(String, String)>>,
    upgrade: WebSocketUpgrade,
) -> Response {
    serve(shared, headers, query, upgrade, true).await
}

async fn serve(
    State(shared): World,
    headers: HeaderMap,
    Query(query): Query<Vec<(String, String)>>,
    upgrade: WebSocketUpgrade,
    flux: bool,
) -> Response {
    if let Some(refusal) = shared.refuse(Provider::Deepgram).await {
        return refusal;
    }
    if !shared.admits(key(&headers)) {
        return refusal(401);
    }
    let Some(settings) = Settings::read(&query, flux) else { return refusal(400) };
    let ordinal = count(&shared.counters.stt_streams);
    upgrade.protocols(["token", "bearer"]).on_upgrade(move |socket| async move {
        let jitter = shared.jitter(ordinal);
        let listener = Listener::new(shared, settings, jitter);
        listener.run(socket).await;
    })
}

/// `Token KEY` and `Bearer KEY`, or the protocols `token, KEY` from a browser.
fn key(headers: &HeaderMap) -> Option<&str> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    match text("authorization") {
        Some(value) => value.split_once(' ').filter(|(scheme, _)| ["Token", "Bearer"].contains(scheme)),
        None => text("sec-websocket-protocol")?.split_once(", "),
    }
    .map(|(_, key)| key)
}

/// What the client asked for.
struct Settings {
    encoding: Encoding,
    rate: usize,
    interim_results: bool,
    vad_events: bool,
    /// In audio time.
    endpointing: Option<Duration>,
    utterance_end: Option<Duration>,
    /// v2: silence in the audio after which a turn is probably over, and after which it is.
    flux: Option<(Option<Duration>, Duration)>,
}

#[derive(Clone, Copy, PartialEq)]
enum Encoding {
    Law(Codec),
    Linear,
}

impl Settings {
    fn read(query: &[(String, String)], flux: bool) -> Option<Self> {
        let value = |name| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let is_true = |name| value(name).is_some_and(|value: &str| value.eq_ignore_ascii_case("true"));
        if value("model")?.starts_with("flux-") != flux {
            return None;
        }
        let eager = value("eager_eot_threshold").map(|_| EAGER_END);
        let encoding = match value("encoding")? {
            "mulaw" => Encoding::Law(Codec::Pcmu),
            "alaw" => Encoding::Law(Codec::Pcma),
            "linear16" => Encoding::Linear,
            _ => return None,
        };
        let millis = |text: &str| text.parse().ok().map(Duration::from_millis);
        let endpointing = match value("endpointing") {
            None | Some("true") => Some(Duration::from_millis(10)),
            Some(text) if text.eq_ignore_ascii_case("false") => None,
            Some(text) => Some(millis(text)?),
        };
        let utterance_end = value("utterance_end_ms").map(|text| millis(text).ok_or(())).transpose().ok()?;
        Some(Self {
            encoding,
            rate: value("sample_rate")?.parse().ok().filter(|rate| (8_000..=48_000).contains(rate))?,
            interim_results: is_true("interim_results"),
            vad_events: is_true("vad_events"),
            endpointing: endpointing.filter(|_| !flux),
            utterance_end,
            flux: flux.then_some((eager, END_OF_TURN)),
        })
    }
}

/// 20 ms, whatever the rate.
const FRAMES_A_SECOND: usize = 50;
const FRAME: Duration = media::FRAME;
/// Louder than this is speech.
const SPEECH_DBFS: f32 = -45.0;
/// Frames of speech in a row that make an utterance.
const ONSET: u32 = 3;
/// Silence before v2's ends of turn.
const EAGER_END: Duration = Duration::from_millis(260);
const END_OF_TURN: Duration = Duration::from_millis(500);
/// From one interim transcript to the next.
const INTERIM_EVERY: Duration = Duration::from_millis(240);
/// How long one word takes to say.
const WORD: Duration = Duration::from_millis(300);

/// One stream.
struct Listener {
    shared: Arc<Shared>,
    settings: Settings,
    jitter: Jitter,
    /// Bytes that do not make a frame yet.
    pending: Vec<u8>,
    /// Time in the audio.
    heard: Duration,
    loud_frames: u32,
    utterance: Option<Utterance>,
    /// When speech last ended, until its `UtteranceEnd` is due.
    ended: Option<Duration>,
    phrase: usize,
    outbox: VecDeque<(Instant, Message)>,
    last_sign_of_life: Instant,
    stalled: bool,
    slow: bool,
}

/// Speech that is not settled yet.
struct Utterance {
    start: Duration,
    last_speech: Duration,
    next_interim: Duration,
    /// v2 has said that it is probably over.
    eager: bool,
}

/// What to do after a message.
enum Next {
    Listen,
    /// Send what is due, then close.
    Close(u16, &'static str),
    /// Go without a goodbye.
    Drop,
}

impl Listener {
    fn new(shared: Arc<Shared>, settings: Settings, jitter: Jitter) -> Self {
        Self {
            shared,
            settings,
            jitter,
            pending: Vec::new(),
            heard: Duration::ZERO,
            loud_frames: 0,
            utterance: None,
            ended: None,
            phrase: 0,
            outbox: VecDeque::new(),
            last_sign_of_life: Instant::now(),
            stalled: false,
            slow: false,
        }
    }

    async fn run(mut self, mut socket: WebSocket) {
        let idle = self.shared.config.stt_idle;
        loop {
            let next = tokio::select! {
                message = socket.recv() => match message {
                    Some(Ok(message)) => self.handle(message),
                    Some(Err(_)) | None => Next::Drop,
                },
                () = sleep_until(self.outbox.front().map(|(at, _)| *at)) => {
                    let Some((_, message)) = self.outbox.pop_front() else { continue };
                    if socket.send(message).await.is_err() { Next::Drop } else { Next::Listen }
                }
                () = sleep_until(Some(self.last_sign_of_life + idle)) => {
                    Next::Close(1011, "NET-0001 did not receive audio data or a text message within the timeout window")
                }
            };
            match next {
                Next::Listen => {}
                Next::Drop => return,
                Next::Close(code, reason) => return self.close(socket, code, reason).await,
            }
        }
    }

    /// Sends what is outstanding, at its time, and closes.
    async fn close(mut self, mut socket: WebSocket, code: u16, reason: &'static str) {
        while let Some((at, message)) = self.outbox.pop_front() {
            tokio::time::sleep_until(at).await;
            if socket.send(message).await.is_err() {
                return;
            }
        }
        let frame = CloseFrame { code, reason: reason.into() };
        if socket.send(Message::Close(Some(frame))).await.is_ok() {
            // The client's close frame ends it in order.
            while let Some(Ok(_)) = socket.recv().await {}
        }
    }

    fn handle(&mut self, message: Message) -> Next {
        match message {
            Message::Binary(audio) => self.handle_audio(&audio),
            Message::Text(text) => self.handle_text(&text),
            Message::Close(_) => Next::Drop,
            Message::Ping(_) | Message::Pong(_) => Next::Listen,
        }
    }

    fn handle_text(&mut self, text: &str) -> Next {
        let kind = serde_json::from_str::<Value>(text).ok();
        match kind.as_ref().and_then(|value| value.get("type")?.as_str()) {
            Some("ForceEndTurn") if self.settings.flux.is_some() => self.end_turn("manual"),
            Some("KeepAlive" | "Finalize") if self.settings.flux.is_some() => {
                let error =
                    json!({"type": "Error", "code": "UNPARSABLE_CLIENT_MESSAGE", "description": text});
                self.post(Duration::ZERO, &error);
            }
            Some("KeepAlive") => {
                count(&self.shared.counters.stt_keep_alives);
                self.last_sign_of_life = Instant::now();
            }
            Some("Finalize") => {
                let deaf =
                    self.shared.faults.take(Provider::Deepgram, |kind| kind == FaultKind::Deaf).is_some();
                if !deaf {
                    let results = self.settle(false, true);
                    self.post(self.shared.config.stt_final, &results);
                }
            }
            Some("CloseStream") => {
                count(&self.shared.counters.stt_goodbyes);
                return self.say_goodbye();
            }
            Some("Configure") => {
                let keyterms = kind.as_ref().and_then(|value| value.get("keyterms")).cloned();
                let answer = json!({"type": "ConfigureSuccess", "request_id": "sim", "keyterms": keyterms});
                self.post(Duration::ZERO, &answer);
            }
            Some(_) | None => {
                let error = json!({"type": "Error", "variant": "SchemaError",
                    "description": "could not deserialize the message", "message": text});
                self.post(Duration::ZERO, &error);
            }
        }
        Next::Listen
    }

    fn say_goodbye(&mut self) -> Next {
        let results = self.settle(true, false);
        self.post(self.shared.config.stt_final, &results);
        let metadata = json!({"type": "Metadata", "transaction_key": "deprecated", "request_id": "sim",
            "sha256": "0", "created": "2026-11-20T00:00:00.000Z", "duration": self.heard.as_secs_f64(), "channels": 1});
        self.post(Duration::ZERO, &metadata);
        Next::Close(1000, "")
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "each vendor plays some of the faults only")]
    fn handle_audio(&mut self, audio: &[u8]) -> Next {
        self.last_sign_of_life = Instant::now();
        let plays_now = |kind: FaultKind| !kind.at_handshake() && kind != FaultKind::Deaf;
        if let Some(fault) = self.shared.faults.take(Provider::Deepgram, plays_now) {
            match fault.kind {
                FaultKind::Close(1008) => return Next::Close(1008, "DATA-0000 could not process audio"),
                FaultKind::Close(1011) => return Next::Close(1011, "NET-0000 no text in the window"),
                FaultKind::Close(code) => return Next::Close(code, ""),
                FaultKind::Reset | FaultKind::ResetMidway => return Next::Drop,
                FaultKind::Stall | FaultKind::StallMidway => self.stalled = true,
                FaultKind::Slow => self.slow = true,
                FaultKind::Garbage => self.outbox.push_back((Instant::now(), Message::text("}{ not json"))),
                FaultKind::ErrorMidway => self.post(
                    Duration::ZERO,
                    &json!({"type": "Error", "variant": "Internal", "description": "simulated", "message": ""}),
                ),
                FaultKind::Unknown => {
                    self.post(Duration::ZERO, &json!({"type": "OfTomorrow", "channel": {"x": [null]}}));
                }
                other => eprintln!("Deepgram has no fault {other:?}"),
            }
        }
        if audio.is_empty() {
            return self.say_goodbye();
        }
        self.pending.extend_from_slice(audio);
        let samples = self.settings.rate / FRAMES_A_SECOND;
        let size = if self.settings.encoding == Encoding::Linear { 2 * samples } else { samples };
        while self.pending.len() >= size {
            let bytes: Vec<u8> = self.pending.drain(..size).collect();
            let loud = level(self.settings.encoding, &bytes) > SPEECH_DBFS;
            self.handle_frame(loud);
        }
        Next::Listen
    }

    fn handle_frame(&mut self, loud: bool) {
        self.heard += FRAME;
        self.loud_frames = if loud { self.loud_frames + 1 } else { 0 };
        match &mut self.utterance {
            Some(utterance) if loud => {
                utterance.last_speech = self.heard;
                if std::mem::take(&mut utterance.eager) {
                    self.tell_turn("TurnResumed", None);
                }
                let Some(utterance) = &mut self.utterance else { return };
                if self.heard >= utterance.next_interim {
                    utterance.next_interim += INTERIM_EVERY;
                    self.tell_interim();
                }
            }
            Some(utterance) => {
                let silence = self.heard - utterance.last_speech;
                if let Some((eager, end)) = self.settings.flux {
                    if silence >= end {
                        self.end_turn("model");
                    } else if eager.is_some_and(|eager| silence >= eager)
                        && !std::mem::replace(&mut utterance.eager, true)
                    {
                        self.tell_turn("EagerEndOfTurn", None);
                    }
                    return;
                }
                if self.settings.endpointing.is_some_and(|limit| silence >= limit.max(FRAME)) {
                    let results = self.settle(true, false);
                    self.post(self.shared.config.stt_final, &results);
                }
            }
            None if self.loud_frames >= ONSET => self.begin_utterance(),
            None => self.tell_utterance_end(),
        }
    }

    fn begin_utterance(&mut self) {
        let start = self.heard - FRAME * self.loud_frames;
        let next_interim = start + INTERIM_EVERY;
        self.utterance = Some(Utterance { start, last_speech: self.heard, next_interim, eager: false });
        self.ended = None;
        if self.settings.flux.is_some() {
            self.tell_turn("StartOfTurn", None);
        }
        if self.settings.vad_events {
            let started = json!({"type": "SpeechStarted", "channel": [0], "timestamp": start.as_secs_f64()});
            self.post(Duration::ZERO, &started);
        }
    }

    fn tell_interim(&mut self) {
        if self.settings.flux.is_some() {
            return self.tell_turn("Update", None);
        }
        let Some(utterance) = self.utterance.as_ref().filter(|_| self.settings.interim_results) else {
            return;
        };
        let spoken = (self.heard - utterance.start).div_duration_f32(WORD) as usize;
        let words: Vec<&str> = self.phrase().split_whitespace().collect();
        // The last word comes with the final only.
        let words = words[..spoken.clamp(1, words.len().max(2) - 1).min(words.len())].join(" ");
        let start = utterance.start;
        let interim = self.results(&words, start, [false; 3]);
        self.post(Duration::ZERO, &interim);
    }

    /// v2: what there is of the turn. All of its words come with its ends.
    fn tell_turn(&mut self, event: &str, trigger: Option<&str>) {
        let Some(utterance) = &self.utterance else { return };
        let words: Vec<&str> = self.phrase().split_whitespace().collect();
        let spoken = (self.heard - utterance.start).div_duration_f32(WORD) as usize;
        let known = match event {
            "StartOfTurn" => 0,
            "Update" => spoken.clamp(1, words.len().max(2) - 1).min(words.len()),
            _ => words.len(),
        };
        let mut message = json!({"type": "TurnInfo", "request_id": "sim", "event": event, "turn_index": self.phrase,
            "audio_window_start": utterance.start.as_secs_f64(), "audio_window_end": self.heard.as_secs_f64(),
            "transcript": words[..known].join(" "), "words": [], "end_of_turn_confidence": 0.8});
        if let Some(trigger) = trigger {
            message["trigger"] = json!(trigger);
        }
        let delay = if known == words.len() { self.shared.config.stt_final } else { Duration::ZERO };
        self.post(delay, &message);
    }

    /// v2: the turn is over.
    fn end_turn(&mut self, trigger: &str) {
        self.tell_turn("EndOfTurn", Some(trigger));
        if self.utterance.take().is_some() {
            count(&self.shared.counters.stt_utterances);
            self.phrase += 1;
            self.loud_frames = 0;
        }
    }

    fn tell_utterance_end(&mut self) {
        let (Some(gap), Some(ended)) = (self.settings.utterance_end, self.ended) else { return };
        if self.heard >= ended + gap {
            self.ended = None;
            let last = ended.as_secs_f64();
            self.post(
                Duration::ZERO,
                &json!({"type": "UtteranceEnd", "channel": [0, 1], "last_word_end": last}),
            );
        }
    }

    /// Ends the utterance, if there is one, and gives its final result.
    fn settle(&mut self, speech_final: bool, from_finalize: bool) -> Value {
        let flags = [true, speech_final, from_finalize];
        let Some(utterance) = self.utterance.take() else {
            return self.results("", self.heard, flags);
        };
        count(&self.shared.counters.stt_utterances);
        self.loud_frames = 0;
        self.ended = Some(utterance.last_speech);
        let results = self.results(self.phrase(), utterance.start, flags);
        self.phrase += 1;
        results
    }

    fn phrase(&self) -> &str {
        let phrases = &self.shared.config.phrases;
        phrases.get(self.phrase % phrases.len().max(1)).map_or("", String::as_str)
    }

    fn results(
        &self,
        text: &str,
        start: Duration,
        [is_final, speech_final, from_finalize]: [bool; 3],
    ) -> Value {
        let at = |n: usize| (start + WORD * n as u32).as_secs_f64();
        let words: Vec<_> = text.split_whitespace().enumerate().map(|(n, word)| {
            let bare = word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
            json!({"word": bare, "start": at(n), "end": at(n + 1), "confidence": 0.98, "punctuated_word": word})
        }).collect();
        json!({
            "type": "Results", "channel_index": [0, 1], "start": start.as_secs_f64(),
            "duration": (self.heard.saturating_sub(start)).as_secs_f64(), "is_final": is_final,
            "speech_final": speech_final, "from_finalize": from_finalize,
            "channel": {"alternatives": [{"transcript": text, "confidence": 0.97, "words": words}]},
            "metadata": {"request_id": "sim", "model_uuid": "sim",
                "model_info": {"name": "sim", "version": "1", "arch": "sim"}},
        })
    }

    /// Sends after `delay`, but never before what was posted earlier.
    fn post(&mut self, delay: Duration, message: &Value) {
        if self.stalled {
            return;
        }
        let delay = self.jitter.vary(if self.slow { delay * 10 } else { delay });
        let earliest = self.outbox.back().map_or_else(Instant::now, |(at, _)| *at);
        self.outbox.push_back((earliest.max(Instant::now() + delay), Message::text(message.to_string())));
    }
}

/// Level of one frame. At rates other than 8 and 16 kHz its beginning must do.
fn level(encoding: Encoding, bytes: &[u8]) -> f32 {
    let mut samples = Vec::with_capacity(bytes.len());
    match encoding {
        Encoding::Law(codec) => codec.decode(bytes, &mut samples),
        Encoding::Linear => {
            samples.extend(bytes.as_chunks::<2>().0.iter().map(|pair| i16::from_le_bytes(*pair)));
        }
    }
    let rate = if samples.len() <= 160 { SampleRate::Hz8000 } else { SampleRate::Hz16000 };
    Frame::from_samples(rate, &samples).level_dbfs()
}
