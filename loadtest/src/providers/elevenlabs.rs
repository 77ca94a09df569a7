//! ElevenLabs' streamed speech, simulated: multi-stream-input and stream-input.
//! Its speech is a tone pattern as long as the text would take to say, with the alignment that belongs to it.

use super::{FaultKind, Jitter, Provider, Shared, World, count, sleep_until};
use axum::{
    Json,
    extract::{
        Query, State,
        ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade},
    },
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use media::{Codec, Frame, SampleRate, tone};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// How ElevenLabs refuses a connection.
pub(super) fn refusal(status: u16, code: Option<&str>) -> Response {
    let usual = match status {
        401 => "invalid_api_key",
        402 => "quota_exceeded",
        404 => "voice_not_found",
        429 => "too_many_concurrent_requests",
        _ => "system_busy",
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let detail = json!({"status": code.unwrap_or(usual), "message": "simulated"});
    (status, Json(json!({"detail": detail}))).into_response()
}

type Parameters = Query<HashMap<String, String>>;

pub(super) async fn multi(
    world: World,
    headers: HeaderMap,
    query: Parameters,
    upgrade: WebSocketUpgrade,
) -> Response {
    speak(world, &headers, query, upgrade, true).await
}

pub(super) async fn single(
    world: World,
    headers: HeaderMap,
    query: Parameters,
    upgrade: WebSocketUpgrade,
) -> Response {
    speak(world, &headers, query, upgrade, false).await
}

async fn speak(
    State(shared): World,
    headers: &HeaderMap,
    Query(query): Parameters,
    upgrade: WebSocketUpgrade,
    is_multi: bool,
) -> Response {
    if let Some(refusal) = shared.refuse(Provider::ElevenLabs).await {
        return refusal;
    }
    let header = headers.get("xi-api-key").and_then(|value| value.to_str().ok());
    let key = header.or(query.get("authorization").map(String::as_str));
    // A key may still come in the first message.
    if key.is_some() && !shared.admits(key) {
        return refusal(401, None);
    }
    let admitted = key.is_some();
    let Some(format) = Format::read(query.get("output_format").map(String::as_str)) else {
        return refusal(400, Some("output_format_not_supported_by_the_simulator"));
    };
    let idle = query.get("inactivity_timeout").and_then(|text| text.parse().ok()).unwrap_or(IDLE_SECONDS);
    let ordinal = count(&shared.counters.tts_streams);
    upgrade.on_upgrade(move |socket| async move {
        let jitter = shared.jitter(ordinal);
        let idle = Duration::from_secs(idle.min(LONGEST_IDLE_SECONDS));
        let contexts = BTreeMap::new();
        let outbox = BTreeMap::new();
        let speaker =
            Speaker { shared, jitter, format, is_multi, admitted, idle, contexts, outbox, order: 0 };
        speaker.run(socket).await;
    })
}

const IDLE_SECONDS: u64 = 20;
const LONGEST_IDLE_SECONDS: u64 = 180;
/// Contexts that a connection may have at once.
const MOST_CONTEXTS: usize = 5;
/// How long a character takes to say.
const CHARACTER: Duration = Duration::from_millis(60);
/// Audio in one message.
const CHUNK: Duration = Duration::from_millis(240);

#[derive(Clone, Copy)]
enum Format {
    Law(Codec),
    Pcm(u32),
}

impl Format {
    /// The raw formats only: nobody here makes MP3.
    fn read(name: Option<&str>) -> Option<Self> {
        match name? {
            "ulaw_8000" => Some(Self::Law(Codec::Pcmu)),
            "alaw_8000" => Some(Self::Law(Codec::Pcma)),
            other => {
                let rate = other.strip_prefix("pcm_")?.parse().ok()?;
                [8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000]
                    .contains(&rate)
                    .then_some(Self::Pcm(rate))
            }
        }
    }

    const fn hz(self) -> u32 {
        match self {
            Self::Law(_) => 8_000,
            Self::Pcm(hz) => hz,
        }
    }

    fn encode(self, samples: &[i16]) -> Vec<u8> {
        match self {
            Self::Pcm(_) => samples.iter().flat_map(|sample| sample.to_le_bytes()).collect(),
            Self::Law(codec) => {
                let mut bytes = Vec::with_capacity(samples.len());
                for frame in samples.chunks(SampleRate::Hz8000.frame_samples()) {
                    codec.encode(&Frame::from_samples(SampleRate::Hz8000, frame), &mut bytes);
                }
                bytes.truncate(samples.len());
                bytes
            }
        }
    }
}

/// One connection.
struct Speaker {
    shared: Arc<Shared>,
    jitter: Jitter,
    format: Format,
    is_multi: bool,
    admitted: bool,
    idle: Duration,
    contexts: BTreeMap<String, Context>,
    /// What is to be sent, by time and then by order.
    outbox: BTreeMap<(Instant, u64), Outgoing>,
    order: u64,
}

/// A stream of text within a connection.
#[derive(Default)]
struct Context {
    text: String,
    /// Until when what was flushed will have been sent.
    busy: Option<Instant>,
    closing: bool,
}

enum Outgoing {
    Message(Value),
    /// The end of a context, after which its place is free.
    Final(String),
    Text(&'static str),
    Close(u16, &'static str),
    Drop,
}

impl Speaker {
    async fn run(mut self, mut socket: WebSocket) {
        let mut last_message = Instant::now();
        loop {
            tokio::select! {
                message = socket.recv() => {
                    last_message = Instant::now();
                    match message {
                        Some(Ok(Message::Text(text))) => self.handle(&text),
                        Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                        Some(Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_))) => {}
                    }
                }
                () = sleep_until(self.outbox.first_key_value().map(|((at, _), _)| *at)) => {
                    let Some((_, outgoing)) = self.outbox.pop_first() else { continue };
                    if self.send(&mut socket, outgoing).await.is_none() {
                        return;
                    }
                }
                () = sleep_until(Some(last_message + self.idle)) => {
                    self.post(Duration::ZERO, Outgoing::Close(1008, "inactivity timeout"));
                }
            }
        }
    }

    /// Sends one thing; `None` when the connection is over.
    async fn send(&mut self, socket: &mut WebSocket, outgoing: Outgoing) -> Option<()> {
        let message = match outgoing {
            Outgoing::Message(value) => Message::text(value.to_string()),
            Outgoing::Text(text) => Message::text(text),
            Outgoing::Final(context) => {
                self.contexts.remove(&context);
                let end = if self.is_multi {
                    json!({"isFinal": true, "contextId": context})
                } else {
                    self.post(Duration::ZERO, Outgoing::Close(1000, ""));
                    json!({"audio": null, "isFinal": true})
                };
                Message::text(end.to_string())
            }
            Outgoing::Drop => return None,
            Outgoing::Close(code, reason) => {
                let frame = CloseFrame { code, reason: reason.into() };
                socket.send(Message::Close(Some(frame))).await.ok()?;
                while let Some(Ok(_)) = socket.recv().await {}
                return None;
            }
        };
        socket.send(message).await.ok()
    }

    fn handle(&mut self, text: &str) {
        let Ok(message) = serde_json::from_str::<Value>(text) else {
            return self.complain("invalid_message", "invalid JSON");
        };
        if !self.admitted {
            let key = message["xi_api_key"].as_str().or(message["xi-api-key"].as_str());
            if !self.shared.admits(key) {
                return self.complain("invalid_api_key", "invalid_api_key");
            }
            self.admitted = true;
        }
        if message["close_socket"] == json!(true) {
            return self.post(Duration::ZERO, Outgoing::Close(1000, ""));
        }
        let id = message["context_id"].as_str().unwrap_or("default").to_owned();
        if self.is_multi && !self.contexts.contains_key(&id) && self.contexts.len() >= MOST_CONTEXTS {
            return self.complain("max_contexts_exceeded", "too many contexts");
        }
        let closes = message["close_context"] == json!(true);
        if closes && !self.contexts.contains_key(&id) {
            return;
        }
        let context = self.contexts.entry(id.clone()).or_default();
        if context.closing {
            return;
        }
        let text = message["text"].as_str();
        if self.is_multi && text == Some("") {
            count(&self.shared.counters.tts_keep_alives);
        }
        context.text.push_str(text.unwrap_or_default());
        let ends = closes || (!self.is_multi && text == Some(""));
        // Text without a flush is spoken once there is enough of it, as the default schedule does.
        let enough = context.text.trim().len() >= 120 || message["try_trigger_generation"] == json!(true);
        if ends || enough || message["flush"] == json!(true) {
            self.flush(&id);
        }
        if ends {
            self.end(&id);
        }
    }

    fn complain(&mut self, error: &'static str, reason: &'static str) {
        self.post(
            Duration::ZERO,
            Outgoing::Message(json!({"message": reason, "error": error, "code": 1008})),
        );
        self.post(Duration::ZERO, Outgoing::Close(1008, reason));
    }

    fn end(&mut self, id: &str) {
        let Some(context) = self.contexts.get_mut(id) else { return };
        context.closing = true;
        let at = context.busy.unwrap_or_else(Instant::now).max(Instant::now());
        self.post_at(at, Outgoing::Final(id.to_owned()));
    }

    /// Speaks what a context has collected.
    fn flush(&mut self, id: &str) {
        let Some(context) = self.contexts.get_mut(id) else { return };
        let text = std::mem::take(&mut context.text).trim().to_owned();
        if text.is_empty() {
            return;
        }
        let flushes = count(&self.shared.counters.tts_flushes);
        let begins = context.busy.unwrap_or_else(Instant::now).max(Instant::now());
        let fault = self.shared.faults.take(Provider::ElevenLabs, |kind| !kind.at_handshake());
        let fault = fault.map_or(FaultKind::None, |fault| fault.kind);
        let slow = if fault == FaultKind::Slow { 10 } else { 1 };
        let mut at = begins + self.jitter.vary(self.shared.config.tts_first_audio) * slow;
        let chunks = self.chunks(id, &text, flushes);
        let third = chunks.len().div_ceil(3);
        if !self.begin(fault, at) {
            return self.set_busy(id, at + STALLED);
        }
        for (n, chunk) in chunks.into_iter().enumerate() {
            if n == third && !self.midway(fault, at) {
                return self.set_busy(id, at + STALLED);
            }
            self.post_at(at, Outgoing::Message(chunk));
            at += self.jitter.vary(CHUNK.div_f32(self.shared.config.tts_speed.max(0.1))) * slow;
        }
        self.set_busy(id, at);
    }

    fn set_busy(&mut self, id: &str, until: Instant) {
        if let Some(context) = self.contexts.get_mut(id) {
            context.busy = Some(until);
        }
    }

    /// What goes wrong instead of the first audio; false when no audio follows.
    #[expect(clippy::wildcard_enum_match_arm, reason = "each vendor plays some of the faults only")]
    fn begin(&mut self, fault: FaultKind, at: Instant) -> bool {
        let outgoing = match fault {
            FaultKind::Stall => return false,
            FaultKind::Reset => Outgoing::Drop,
            FaultKind::Close(1008) => {
                let error = json!({"message": "quota", "error": "quota_exceeded", "code": 1008});
                self.post_at(at, Outgoing::Message(error));
                Outgoing::Close(1008, "quota_exceeded")
            }
            FaultKind::Close(code) => Outgoing::Close(code, "simulated"),
            FaultKind::Garbage => Outgoing::Text("}{ not json"),
            FaultKind::Unknown => Outgoing::Message(json!({"type": "of_tomorrow", "news": [1, {"a": null}]})),
            _ => return true,
        };
        self.post_at(at, outgoing);
        matches!(fault, FaultKind::Garbage | FaultKind::Unknown)
    }

    /// What goes wrong after the first third; false when no audio follows.
    #[expect(clippy::wildcard_enum_match_arm, reason = "each vendor plays some of the faults only")]
    fn midway(&mut self, fault: FaultKind, at: Instant) -> bool {
        let outgoing = match fault {
            FaultKind::StallMidway => return false,
            FaultKind::ResetMidway => Outgoing::Drop,
            FaultKind::ErrorMidway => {
                Outgoing::Message(json!({"error": "internal_error", "message": "simulated"}))
            }
            _ => return true,
        };
        self.post_at(at, outgoing);
        false
    }

    /// The messages of a text: audio with alignment.
    fn chunks(&self, id: &str, text: &str, flushes: u64) -> Vec<Value> {
        let characters: Vec<char> = text.chars().collect();
        let hz = self.format.hz();
        let total = (u64::from(hz) * CHARACTER.as_millis() as u64 / 1_000) as usize * characters.len();
        let samples = tone::speech(hz, self.shared.config.seed ^ flushes, -20.0, total);
        let characters_each = (CHUNK.as_millis() / CHARACTER.as_millis()) as usize;
        let samples_each = total / characters.len() * characters_each;
        let pairs = samples.chunks(samples_each).zip(characters.chunks(characters_each));
        pairs
            .map(|(samples, characters)| {
                let starts: Vec<_> =
                    (0..characters.len() as u64).map(|n| n * CHARACTER.as_millis() as u64).collect();
                let durations = vec![CHARACTER.as_millis() as u64; characters.len()];
                let characters: Vec<_> = characters.iter().map(char::to_string).collect();
                let alignment =
                    json!({"chars": characters, "charStartTimesMs": starts, "charDurationsMs": durations});
                let audio = STANDARD.encode(self.format.encode(samples));
                let mut message = json!({"audio": audio, "isFinal": null, "alignment": alignment,
                    "normalizedAlignment": alignment});
                if self.is_multi {
                    message["contextId"] = json!(id);
                }
                message
            })
            .collect()
    }

    fn post(&mut self, delay: Duration, outgoing: Outgoing) {
        self.post_at(Instant::now() + delay, outgoing);
    }

    fn post_at(&mut self, at: Instant, outgoing: Outgoing) {
        self.order += 1;
        self.outbox.insert((at, self.order), outgoing);
    }
}

/// As good as for ever.
const STALLED: Duration = Duration::from_secs(3_600);
