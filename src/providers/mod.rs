//! How speech-to-text, language models and text-to-speech plug in.
//! Knows the three traits and the streams between a call and a provider; each vendor is a file beside this one.

pub mod deepgram;
pub mod elevenlabs;
pub mod embedded;
pub mod embeddings;
pub mod fallback;
pub mod flow;
pub mod openai;
mod websocket;

use crate::telemetry::otlp::traceparent;
use call::{CallId, LlmEvent, SttEvent, ToolResult, TtsEvent};
use conversation::{Expectation, LlmRequest, Passage, TurnId};
use media::{Frame, SampleRate};
use std::sync::Arc;
use tokio::{sync::mpsc, task::JoinHandle};

/// What a call's inbox holds; a provider that is this far ahead waits.
pub const INBOX: usize = 256;
/// Audio on its way to speech-to-text: half a second. The newest frame is dropped beyond that, and counted.
pub const STT_COMMANDS: usize = 25;
/// Deltas on their way from a model to the gateway's runner.
pub const LLM_EVENTS: usize = 64;
/// Sentences on their way to text-to-speech. Never dropped: the turn fails instead.
pub const TTS_COMMANDS: usize = 16;

/// What providers report to the call, in the order it happened.
#[derive(Debug)]
pub enum ProviderEvent {
    /// From speech-to-text.
    Stt(SttEvent),
    /// From the gateway, for a turn.
    Llm(TurnId, LlmEvent),
    /// From text-to-speech, for a turn.
    Tts(TurnId, TtsEvent),
    /// From a tool, for a turn.
    Tool(TurnId, ToolResult),
    /// What a search of the agent's documents found, or why it found nothing.
    Found(u32, Result<Vec<Passage>, String>),
    /// What the model that listens says of the caller's pause with this number: how likely it is that this was all.
    TurnJudged(u32, f32),
    /// From a route: one of its targets has failed and the next one is asked. The trace is to say so; the call, for which
    /// nothing has changed, never sees it.
    Failed {
        /// `stt`, `llm` or `tts`.
        stage: &'static str,
        /// For the operator: which target, why, and which one is next.
        reason: String,
    },
}

/// The call has ended: nobody listens any more.
#[derive(Debug, PartialEq, Eq)]
pub struct Gone;

/// A call's inbox, with the bell that wakes the thread the call lives on.
#[derive(Clone)]
pub struct Events {
    inbox: mpsc::Sender<ProviderEvent>,
    bell: Arc<dyn Fn() + Send + Sync>,
}

impl Events {
    /// An inbox and its other end. `bell` is rung after every event.
    pub fn channel(bell: Arc<dyn Fn() + Send + Sync>) -> (Self, mpsc::Receiver<ProviderEvent>) {
        let (inbox, events) = mpsc::channel(INBOX);
        (Self { inbox, bell }, events)
    }

    /// Reports an event; waits while the inbox is full.
    ///
    /// # Errors
    /// [`Gone`] when the call has ended.
    pub async fn send(&self, event: ProviderEvent) -> Result<(), Gone> {
        self.inbox.send(event).await.map_err(|_| Gone)?;
        (self.bell)();
        Ok(())
    }

    /// Reports an event without waiting; false when there is no room for it, or nobody to hear it.
    pub fn try_send(&self, event: ProviderEvent) -> bool {
        let sent = self.inbox.try_send(event).is_ok();
        (self.bell)();
        sent
    }

    /// Whether the call has ended.
    pub fn is_gone(&self) -> bool {
        self.inbox.is_closed()
    }
}

/// What a provider may know about the call it serves.
#[derive(Clone)]
pub struct CallInfo {
    /// The call.
    pub call: CallId,
    /// Rate of the frames it hears and of the samples it speaks.
    pub rate: SampleRate,
    /// A BCP 47 tag, such as `en-US`.
    pub language: String,
    /// The turn that a request is for; none for what lasts as long as the call.
    pub turn: Option<TurnId>,
    /// Whether two models may be asked the same, for whoever answers first: not where there is little room left.
    pub may_hedge: bool,
}

impl CallInfo {
    /// The `traceparent` header of a request: what the provider does becomes a part of the turn, or of the call.
    pub fn traceparent(&self) -> String {
        traceparent(self.call, self.turn)
    }
}

/// Ends a provider's task when it is dropped.
pub struct Task(JoinHandle<()>);

impl Task {
    /// Guards a task.
    pub fn new(handle: JoinHandle<()>) -> Self {
        Self(handle)
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Recognises speech.
pub trait SpeechToText: Send + Sync {
    /// Opens a stream for the whole call without waiting. What goes wrong is reported as an event.
    fn start(&self, call: &CallInfo, events: Events) -> SttStream;
}

/// What a call tells its speech-to-text stream.
#[derive(Debug)]
pub enum SttCommand {
    /// 20 ms of the caller.
    Audio(Frame),
    /// The caller paused: a final is wanted now.
    Finalize,
    /// What the caller will likely say next.
    Expect(Expectation),
}

/// A speech-to-text stream. Dropping it ends the stream.
pub struct SttStream {
    commands: mpsc::Sender<SttCommand>,
    chunk: usize,
    _task: Option<Task>,
}

impl SttStream {
    /// A stream whose provider reads the other end of `commands`. A provider that must say goodbye on the wire passes no
    /// task and ends by itself when the channel closes.
    pub fn new(commands: mpsc::Sender<SttCommand>, task: Option<Task>) -> Self {
        Self { commands, chunk: 1, _task: task }
    }

    /// For a provider that sends so many frames in one message: it need not be woken for each of them.
    #[must_use]
    pub fn in_chunks(mut self, frames: usize) -> Self {
        self.chunk = frames.max(1);
        self
    }

    /// How many frames are best passed on together. Nothing else is to wait for a chunk to fill.
    pub const fn chunk(&self) -> usize {
        self.chunk
    }

    /// Passes a command on without waiting; false means that it had to be dropped.
    pub fn send(&self, command: SttCommand) -> bool {
        self.commands.try_send(command).is_ok()
    }
}

/// Where a model's reply goes.
pub type LlmSink = mpsc::Sender<LlmEvent>;

/// Writes replies.
pub trait LanguageModel: Send + Sync {
    /// Asks one question without waiting. Everything, failures too, is reported to `events`; `Done` or `Failed` comes last.
    fn ask(&self, call: &CallInfo, request: LlmRequest, events: LlmSink) -> Request;

    /// Opens the connection that the next request will need, without waiting. For the moment a call rings.
    fn warm(&self) {}
}

/// A request under way. Dropping it cancels it.
pub struct Request {
    _task: Task,
}

impl Request {
    /// A request that `handle` carries out.
    pub fn new(handle: JoinHandle<()>) -> Self {
        Self { _task: Task::new(handle) }
    }
}

/// Speaks.
pub trait TextToSpeech: Send + Sync {
    /// Opens a session for the whole call without waiting. What goes wrong is reported as an event.
    fn open(&self, call: &CallInfo, events: Events) -> TtsStream;
}

/// What a call tells its text-to-speech session.
#[derive(Debug, PartialEq, Eq)]
pub enum TtsCommand {
    /// Say a sentence; its audio carries the turn and the sentence's number.
    Speak {
        /// The turn.
        turn: TurnId,
        /// Counts from 0 within the turn.
        sentence: u32,
        /// What to say.
        text: String,
    },
    /// No more sentences for this turn.
    Finish {
        /// The turn.
        turn: TurnId,
    },
    /// Stop speaking this turn; what still comes of it is ignored.
    Cancel {
        /// The turn.
        turn: TurnId,
    },
}

/// A text-to-speech session. Dropping it ends the session.
pub struct TtsStream {
    commands: mpsc::Sender<TtsCommand>,
    _task: Option<Task>,
}

impl TtsStream {
    /// A session whose provider reads the other end of `commands`; see [`SttStream::new`] for `task`.
    pub fn new(commands: mpsc::Sender<TtsCommand>, task: Option<Task>) -> Self {
        Self { commands, _task: task }
    }

    /// Passes a command on without waiting; false means that the queue is full or the session has ended.
    pub fn send(&self, command: TtsCommand) -> bool {
        self.commands.try_send(command).is_ok()
    }
}
