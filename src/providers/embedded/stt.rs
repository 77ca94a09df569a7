//! The embedded recogniser as a speech-to-text provider: a thread per stream, recognisers kept for the next call.
//! Knows when an utterance begins; when it ends, the call says.

use crate::providers::{
    CallInfo, Events, Gone, ProviderEvent, STT_COMMANDS, SpeechToText, SttCommand, SttStream,
};
use call::SttEvent;
use conversation::Expectation;
use media::{Frame, SampleRate};
use pico_engine::HalfBand;
use pocketsphinx_engine::{Model, ModelConfig, Recogniser, Search};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use tokio::sync::mpsc;

/// What the recogniser is told at start.
#[derive(Clone, Debug)]
pub struct EmbeddedSttConfig {
    /// What callers may say, as lower-case words.
    pub sentences: Vec<Vec<String>>,
    /// Phones (ARPAbet) of words that the dictionary lacks; `|` separates alternatives.
    pub pronunciations: BTreeMap<String, String>,
    /// Where the acoustic model and the dictionary are, if not where the package installs them.
    pub model_dir: Option<PathBuf>,
    /// Calls that may be listened to at a time. Each takes a thread and 10 to 20 megabytes.
    pub max_streams: usize,
}

/// Speech-to-text on this machine, for the words of one agent.
pub struct EmbeddedStt {
    pool: Arc<Pool>,
}

impl EmbeddedStt {
    /// Finds the model, prepares the agent's words and loads a first recogniser to see that everything is there.
    ///
    /// # Errors
    /// Says what is missing: a package, or the pronunciation of a word.
    pub fn new(config: EmbeddedSttConfig) -> Result<Self, String> {
        let EmbeddedSttConfig { sentences, pronunciations, model_dir, max_streams } = config;
        let model =
            Model::new(&ModelConfig { sentences, pronunciations, model_dir }).map_err(|e| e.to_string())?;
        let first = model.recogniser().map_err(|e| e.to_string())?;
        let pool = Pool { model, idle: Mutex::new(vec![first]), streams: AtomicUsize::new(0), max_streams };
        Ok(Self { pool: Arc::new(pool) })
    }

    /// How many words it knows.
    pub fn vocabulary(&self) -> usize {
        self.pool.model.vocabulary()
    }

    /// Streams open now.
    pub fn streams(&self) -> usize {
        self.pool.streams.load(Ordering::Relaxed)
    }
}

impl SpeechToText for EmbeddedStt {
    fn start(&self, call: &CallInfo, events: Events) -> SttStream {
        let (sender, commands) = mpsc::channel(STT_COMMANDS);
        let pool = Arc::clone(&self.pool);
        let name = format!("stt-{}", call.call);
        let own = events.clone();
        let spawned = thread::Builder::new().name(name).spawn(move || serve(&pool, commands, &own));
        if let Err(error) = spawned {
            let reason = format!("no thread for the embedded recogniser: {error}");
            // The call has only begun: there is room for its first event.
            let _told = events.try_send(ProviderEvent::Stt(SttEvent::Failed { reason }));
        }
        SttStream::new(sender, None)
    }
}

/// Recognisers, and how many streams may have one.
struct Pool {
    model: Model,
    idle: Mutex<Vec<Recogniser>>,
    streams: AtomicUsize,
    max_streams: usize,
}

/// A stream's place in the pool; given back when dropped.
struct Seat<'a>(&'a Pool);

impl Pool {
    fn seat(&self) -> Option<Seat<'_>> {
        let grow = |streams| (streams < self.max_streams).then_some(streams + 1);
        self.streams.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grow).ok().map(|_| Seat(self))
    }

    /// An idle recogniser, or a new one: that takes some 20 ms, which is why this happens on the stream's own thread.
    fn recogniser(&self) -> Result<Recogniser, String> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.map_or_else(|| self.model.recogniser().map_err(|error| error.to_string()), Ok)
    }

    fn give_back(&self, mut recogniser: Recogniser) {
        recogniser.reset();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(recogniser);
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream's thread: ends when the call drops the stream or listens no more.
fn serve(pool: &Pool, mut commands: mpsc::Receiver<SttCommand>, events: &Events) {
    let Some(_seat) = pool.seat() else {
        let reason = format!("all {} embedded recognisers are in use", pool.max_streams);
        let _ = tell(events, SttEvent::Failed { reason });
        return;
    };
    let recogniser = match pool.recogniser() {
        Ok(recogniser) => recogniser,
        Err(reason) => {
            let _ = tell(events, SttEvent::Failed { reason });
            return;
        }
    };
    let mut listener = Listener::new(recogniser);
    let mut open = tell(events, SttEvent::Ready).is_ok();
    while open && let Some(command) = commands.blocking_recv() {
        if let Some(event) = listener.handle(command) {
            open = tell(events, event).is_ok();
        }
    }
    pool.give_back(listener.recogniser);
}

fn tell(events: &Events, event: SttEvent) -> Result<(), Gone> {
    block_on(events.send(ProviderEvent::Stt(event)))
}

/// Waits for a future that needs no runtime, on a thread that may wait.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// Looking for new words costs little, but not nothing: every 60 ms.
const FRAMES_PER_INTERIM: u32 = 3;
/// An utterance that nobody ends: 20 s.
const LONGEST_UTTERANCE: u32 = 1_000;
/// Silence after which an utterance is ended even if the call did not ask: it was a noise that only we took for speech. 1.6 s.
const ABANDONED: u32 = 80;

/// One call's listener: begins utterances, reports words.
struct Listener {
    recogniser: Recogniser,
    narrow: HalfBand,
    energy: Energy,
    expected: Search,
    frames: u32,
    quiet: u32,
    interim: String,
}

impl Listener {
    fn new(recogniser: Recogniser) -> Self {
        Self {
            recogniser,
            narrow: HalfBand::new(),
            energy: Energy::default(),
            expected: Search::Any,
            frames: 0,
            quiet: 0,
            interim: String::new(),
        }
    }

    fn handle(&mut self, command: SttCommand) -> Option<SttEvent> {
        match command {
            SttCommand::Audio(frame) => self.hear(&frame),
            SttCommand::Finalize => Some(self.finish()),
            SttCommand::Expect(expectation) => {
                self.expected = match expectation {
                    Expectation::Digits { .. } => Search::Digits,
                    Expectation::YesNo => Search::YesNo,
                    Expectation::Any
                    | Expectation::Date
                    | Expectation::Time
                    | Expectation::Name
                    | Expectation::Email
                    | Expectation::Spelling => Search::Any,
                };
                None
            }
        }
    }

    fn hear(&mut self, frame: &Frame) -> Option<SttEvent> {
        match frame.rate() {
            SampleRate::Hz8000 => self.recogniser.push(frame.samples()),
            SampleRate::Hz16000 => {
                let mut narrow = Vec::with_capacity(SampleRate::Hz8000.frame_samples());
                self.narrow.push(frame.samples(), &mut narrow);
                self.recogniser.push(&narrow);
            }
        }
        let loud = self.energy.is_loud(frame.level_dbfs());
        if !self.recogniser.is_active() {
            if loud {
                self.begin();
            }
            return None;
        }
        self.frames += 1;
        self.quiet = if loud { 0 } else { self.quiet + 1 };
        if self.frames >= LONGEST_UTTERANCE || self.quiet >= ABANDONED {
            let heard = self.finish();
            return if matches!(&heard, SttEvent::Final { text, .. } if text.is_empty()) {
                None
            } else {
                Some(heard)
            };
        }
        self.interim()
    }

    fn begin(&mut self) {
        self.recogniser.select(self.expected);
        self.recogniser.start_utterance();
        self.frames = 0;
        self.quiet = 0;
        self.interim.clear();
    }

    fn interim(&mut self) -> Option<SttEvent> {
        if !self.frames.is_multiple_of(FRAMES_PER_INTERIM) {
            return None;
        }
        let words = self.recogniser.hypothesis()?;
        if words == self.interim {
            return None;
        }
        self.interim.clone_from(&words);
        Some(SttEvent::Interim { text: words })
    }

    fn finish(&mut self) -> SttEvent {
        let utterance = self.recogniser.end_utterance();
        SttEvent::Final { text: utterance.text(), confidence: utterance.confidence() }
    }
}

/// Sound well above the line's own noise.
struct Energy {
    /// Level of the noise in dBFS.
    floor: f32,
    loud: u32,
}

/// Nothing below this is speech, however quiet the line.
const QUIETEST_DBFS: f32 = -52.0;
/// How far speech stands out of the noise.
const ABOVE_FLOOR_DB: f32 = 9.0;
/// The floor follows louder noise by 2 dB a second, quieter at once: speech has pauses, noise has none.
const FLOOR_RISE_DB: f32 = 0.04;
/// Frames in a row that make it more than a click.
const LOUD_FRAMES: u32 = 2;

impl Default for Energy {
    fn default() -> Self {
        Self { floor: -60.0, loud: 0 }
    }
}

impl Energy {
    fn is_loud(&mut self, level: f32) -> bool {
        let loud = level > (self.floor + ABOVE_FLOOR_DB).max(QUIETEST_DBFS);
        self.floor = (self.floor + FLOOR_RISE_DB).min(level).max(-70.0);
        self.loud = if loud { self.loud + 1 } else { 0 };
        self.loud >= LOUD_FRAMES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use call::CallId;
    use pico_engine::Voice;

    fn stt(max_streams: usize) -> EmbeddedStt {
        let sentences =
            ["i would like to book an appointment", "cancel my appointment", "yes please", "no thank you"];
        let words = |sentence: &str| sentence.split(' ').map(str::to_owned).collect();
        EmbeddedStt::new(EmbeddedSttConfig {
            sentences: sentences.into_iter().map(words).collect(),
            pronunciations: BTreeMap::new(),
            model_dir: None,
            max_streams,
        })
        .expect("the packages are installed")
    }

    fn listener() -> Listener {
        Listener::new(stt(1).pool.recogniser().expect("it was loaded before"))
    }

    /// Frames of a sentence with a second of silence before and half a second after it.
    fn frames(text: &str) -> Vec<Frame> {
        let mut audio = vec![0; 8_000];
        for chunk in Voice::new().expect("the voice is inside the binary").speak_8k(text) {
            audio.extend(chunk.expect("it speaks"));
        }
        audio.extend([0; 4_000]);
        audio.chunks(160).map(|samples| Frame::from_samples(SampleRate::Hz8000, samples)).collect()
    }

    fn hear(listener: &mut Listener, frames: Vec<Frame>) -> Vec<SttEvent> {
        frames.into_iter().filter_map(|frame| listener.handle(SttCommand::Audio(frame))).collect()
    }

    fn final_text(event: Option<SttEvent>) -> String {
        match event {
            Some(SttEvent::Final { text, .. }) => text,
            other => panic!("not a final: {other:?}"),
        }
    }

    #[test]
    fn interims_come_while_the_caller_speaks_and_the_final_when_asked() {
        let mut listener = listener();
        let events = hear(&mut listener, frames("cancel my appointment"));
        assert!(events.iter().all(|event| matches!(event, SttEvent::Interim { .. })) && !events.is_empty());
        assert_eq!(final_text(listener.handle(SttCommand::Finalize)), "cancel my appointment");
    }

    #[test]
    fn a_finalize_without_speech_is_answered_with_nothing() {
        let mut listener = listener();
        assert_eq!(final_text(listener.handle(SttCommand::Finalize)), "");
        assert!(hear(&mut listener, vec![Frame::silence(SampleRate::Hz8000); 200]).is_empty());
        assert_eq!(final_text(listener.handle(SttCommand::Finalize)), "");
    }

    #[test]
    fn the_next_utterance_begins_afresh() {
        let mut listener = listener();
        hear(&mut listener, frames("cancel my appointment"));
        listener.handle(SttCommand::Finalize);
        listener.handle(SttCommand::Expect(Expectation::YesNo));
        hear(&mut listener, frames("yes please"));
        assert_eq!(final_text(listener.handle(SttCommand::Finalize)), "yes please");
    }

    #[test]
    fn a_noise_that_the_call_took_no_notice_of_does_not_go_on_for_ever() {
        let mut listener = listener();
        let click = Frame::from_samples(SampleRate::Hz8000, &[8_000, -8_000].repeat(80));
        hear(&mut listener, vec![click; 4]);
        assert!(listener.recogniser.is_active());
        hear(&mut listener, vec![Frame::silence(SampleRate::Hz8000); ABANDONED as usize]);
        assert!(!listener.recogniser.is_active());
    }

    #[test]
    fn steady_noise_becomes_the_floor() {
        let mut energy = Energy::default();
        assert!(!energy.is_loud(-40.0));
        assert!(energy.is_loud(-40.0));
        for _ in 0..1_000 {
            energy.is_loud(-40.0);
        }
        assert!(!energy.is_loud(-40.0));
    }

    #[tokio::test]
    async fn a_stream_more_than_allowed_fails_and_a_closed_one_makes_room() {
        let stt = stt(1);
        let open = || {
            let (events, inbox) = Events::channel(Arc::new(|| ()));
            let info = CallInfo {
                call: CallId(7),
                rate: SampleRate::Hz8000,
                language: "en-US".to_owned(),
                turn: None,
                may_hedge: false,
            };
            (stt.start(&info, events), inbox)
        };
        let (first, mut first_inbox) = open();
        assert!(matches!(first_inbox.recv().await, Some(ProviderEvent::Stt(SttEvent::Ready))));
        let (_second, mut second_inbox) = open();
        assert!(matches!(second_inbox.recv().await, Some(ProviderEvent::Stt(SttEvent::Failed { .. }))));
        drop(first);
        // The thread gives its place back and lets go of the inbox.
        assert!(first_inbox.recv().await.is_none());
        let (_third, mut third_inbox) = open();
        assert!(matches!(third_inbox.recv().await, Some(ProviderEvent::Stt(SttEvent::Ready))));
    }

    #[tokio::test]
    async fn a_whole_call_through_the_threads() {
        let stt = stt(2);
        let (events, mut inbox) = Events::channel(Arc::new(|| ()));
        let info = CallInfo {
            call: CallId(7),
            rate: SampleRate::Hz8000,
            language: "en-US".to_owned(),
            turn: None,
            may_hedge: false,
        };
        let stream = stt.start(&info, events);
        for frame in frames("cancel my appointment") {
            while !stream.send(SttCommand::Audio(frame.clone())) {
                tokio::task::yield_now().await;
            }
        }
        while !stream.send(SttCommand::Finalize) {
            tokio::task::yield_now().await;
        }
        loop {
            if let ProviderEvent::Stt(SttEvent::Final { text, .. }) = inbox.recv().await.expect("it answers")
            {
                assert_eq!(text, "cancel my appointment");
                break;
            }
        }
    }
}
