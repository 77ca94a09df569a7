//! The embedded voice as a text-to-speech provider: a few threads with a voice each speak for all calls.
//! Knows sentences, turns and queues; how text becomes sound is the engine's business.

use crate::providers::{
    CallInfo, Events, Gone, ProviderEvent, TTS_COMMANDS, Task, TextToSpeech, TtsCommand, TtsStream,
};
use call::TtsEvent;
use conversation::TurnId;
use media::SampleRate;
use pico_engine::{Speech, Voice};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// Sentences waiting for a voice, of all calls together; a call that is too many waits.
const JOBS: usize = 256;
/// Pieces of one sentence waiting for the call's inbox. A voice never waits for a slow call: this holds three minutes.
const PIECES: usize = 1_800;
/// Milliseconds in the first piece, which should come soon, and in the others, which should be few.
const FIRST_PIECE_MS: usize = 20;
const PIECE_MS: usize = 100;

/// Text-to-speech on this machine.
pub struct EmbeddedTts {
    runtime: Handle,
    jobs: mpsc::Sender<Job>,
}

impl EmbeddedTts {
    /// Starts `voices` threads with a voice each (1.7 MB; one speaks for some hundred calls). Sessions run on `runtime`.
    ///
    /// # Errors
    /// Says why there is no voice or no thread.
    pub fn new(runtime: Handle, voices: usize) -> Result<Self, String> {
        let (jobs, queue) = mpsc::channel(JOBS);
        let queue = Arc::new(Mutex::new(queue));
        for number in 0..voices.max(1) {
            let voice = Voice::new().map_err(|error| error.to_string())?;
            let queue = Arc::clone(&queue);
            thread::Builder::new()
                .name(format!("tts-{number}"))
                .spawn(move || speak_jobs(voice, &queue))
                .map_err(|error| format!("no thread for the embedded voice: {error}"))?;
        }
        Ok(Self { runtime, jobs })
    }

    /// Speaks a text at once and as a whole, for clips made at start. Waits some milliseconds for each second of speech.
    ///
    /// # Errors
    /// Says why there is no speech.
    pub fn render(&self, text: &str, rate: SampleRate) -> Result<Vec<i16>, String> {
        let mut voice = Voice::new().map_err(|error| error.to_string())?;
        let pieces: Result<Vec<_>, _> = speak(&mut voice, text, rate).collect();
        Ok(pieces.map_err(|error| error.to_string())?.concat())
    }
}

impl TextToSpeech for EmbeddedTts {
    fn open(&self, call: &CallInfo, events: Events) -> TtsStream {
        let (sender, commands) = mpsc::channel(TTS_COMMANDS);
        let session = Session {
            rate: call.rate,
            jobs: self.jobs.clone(),
            events,
            waiting: VecDeque::new(),
            current: None,
        };
        let task = self.runtime.spawn(session.run(commands));
        TtsStream::new(sender, Some(Task::new(task)))
    }
}

fn speak<'a>(voice: &'a mut Voice, text: &str, rate: SampleRate) -> Speech<'a> {
    match rate {
        SampleRate::Hz8000 => voice.speak_8k(text),
        SampleRate::Hz16000 => voice.speak(text),
    }
}

/// A sentence for a voice, and where its sound goes. Nobody listening there any more means: stop.
struct Job {
    text: String,
    rate: SampleRate,
    pieces: mpsc::Sender<Result<Vec<i16>, String>>,
}

/// A voice's thread: ends when the provider and all its sessions are gone.
fn speak_jobs(mut voice: Voice, queue: &Mutex<mpsc::Receiver<Job>>) {
    loop {
        // One thread waits in the queue, the others for the lock: either way the next job wakes one.
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let Some(job) = job else { return };
        let Err(reason) = speak_job(&mut voice, &job) else { continue };
        let _ = job.pieces.try_send(Err(reason));
        // Whatever went wrong, the next call begins with a fresh engine if there can be one.
        match Voice::new() {
            Ok(fresh) => voice = fresh,
            Err(error) => tracing::error!(%error, "the embedded voice could not be loaded again"),
        }
    }
}

fn speak_job(voice: &mut Voice, job: &Job) -> Result<(), String> {
    let samples = |ms: usize| job.rate.hz() as usize / 1_000 * ms;
    let mut wanted = samples(FIRST_PIECE_MS);
    let mut piece = Vec::with_capacity(samples(PIECE_MS));
    for chunk in speak(voice, &job.text, job.rate) {
        piece.extend(chunk.map_err(|error| error.to_string())?);
        if piece.len() >= wanted {
            wanted = samples(PIECE_MS);
            let full = std::mem::replace(&mut piece, Vec::with_capacity(wanted));
            if !give(job, full)? {
                return Ok(());
            }
        }
    }
    if !piece.is_empty() {
        give(job, piece)?;
    }
    Ok(())
}

/// Passes a piece on; false when it is not wanted any more.
fn give(job: &Job, piece: Vec<i16>) -> Result<bool, String> {
    match job.pieces.try_send(Ok(piece)) {
        Ok(()) => Ok(true),
        Err(mpsc::error::TrySendError::Closed(_)) => Ok(false),
        Err(mpsc::error::TrySendError::Full(_)) => {
            Err("the sentence is longer than three minutes".to_owned())
        }
    }
}

/// A sentence to be spoken.
struct Sentence {
    turn: TurnId,
    number: u32,
    text: String,
}

/// The sentence that a voice speaks now.
struct Current {
    turn: TurnId,
    number: u32,
    pieces: mpsc::Receiver<Result<Vec<i16>, String>>,
}

/// One call's session: sentences one after the other, and a cancel seen at once, even while the call's inbox is full.
struct Session {
    rate: SampleRate,
    jobs: mpsc::Sender<Job>,
    events: Events,
    waiting: VecDeque<Sentence>,
    current: Option<Current>,
}

impl Session {
    async fn run(mut self, mut commands: mpsc::Receiver<TtsCommand>) {
        loop {
            let room = self.waiting.len() < TTS_COMMANDS;
            tokio::select! {
                biased;
                command = commands.recv(), if room => match command {
                    Some(command) => self.handle(command),
                    None => return,
                },
                step = next_step(&self.jobs, self.waiting.front(), self.current.as_mut()) => {
                    let Some(event) = self.take(step) else { continue };
                    // A full inbox must not hide a cancel, nor may the event be lost: both are waited for.
                    if self.report(event, &mut commands).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    fn handle(&mut self, command: TtsCommand) {
        match command {
            TtsCommand::Speak { turn, sentence, text } => {
                self.waiting.push_back(Sentence { turn, number: sentence, text });
            }
            TtsCommand::Finish { .. } => {}
            TtsCommand::Cancel { turn } => {
                self.waiting.retain(|sentence| sentence.turn != turn);
                if self.current.as_ref().is_some_and(|current| current.turn == turn) {
                    // The voice notices that nobody takes its pieces, and stops.
                    self.current = None;
                }
            }
        }
    }

    /// Takes note of a step; some are worth an event.
    fn take(&mut self, step: Step) -> Option<(TurnId, TtsEvent)> {
        if let Step::Place(place) = step {
            let sentence = self.waiting.pop_front()?;
            let (sender, pieces) = mpsc::channel(PIECES);
            place.send(Job { text: sentence.text, rate: self.rate, pieces: sender });
            self.current = Some(Current { turn: sentence.turn, number: sentence.number, pieces });
            return None;
        }
        let current = self.current.as_ref()?;
        let (turn, sentence) = (current.turn, current.number);
        let event = match step {
            Step::Piece(samples) => TtsEvent::Audio { sentence, samples },
            Step::Done => TtsEvent::SentenceDone { sentence },
            Step::Failed(reason) => TtsEvent::Failed { sentence, reason },
            Step::Place(_) => return None,
        };
        if !matches!(event, TtsEvent::Audio { .. }) {
            self.current = None;
        }
        Some((turn, event))
    }

    async fn report(
        &mut self,
        (turn, event): (TurnId, TtsEvent),
        commands: &mut mpsc::Receiver<TtsCommand>,
    ) -> Result<(), Gone> {
        let events = self.events.clone();
        let mut sending = std::pin::pin!(events.send(ProviderEvent::Tts(turn, event)));
        loop {
            tokio::select! {
                biased;
                sent = &mut sending => return sent,
                command = commands.recv(), if self.waiting.len() < TTS_COMMANDS => {
                    self.handle(command.ok_or(Gone)?);
                }
            }
        }
    }
}

/// What happens next in a session.
enum Step {
    /// There is room for a sentence in the queue of the voices.
    Place(mpsc::OwnedPermit<Job>),
    Piece(Vec<i16>),
    Done,
    Failed(String),
}

/// Waits for the next step: for ever when there is nothing to say. Loses nothing when it is abandoned.
async fn next_step(jobs: &mpsc::Sender<Job>, next: Option<&Sentence>, current: Option<&mut Current>) -> Step {
    if let Some(current) = current {
        return match current.pieces.recv().await {
            Some(Ok(samples)) => Step::Piece(samples),
            Some(Err(reason)) => Step::Failed(reason),
            None => Step::Done,
        };
    }
    if next.is_some()
        && let Ok(place) = jobs.clone().reserve_owned().await
    {
        return Step::Place(place);
    }
    std::future::pending().await
}

#[cfg(test)]
#[expect(clippy::wildcard_enum_match_arm, reason = "anything else fails the test")]
mod tests {
    use super::*;
    use call::CallId;
    use std::time::Duration;

    fn session(tts: &EmbeddedTts) -> (TtsStream, mpsc::Receiver<ProviderEvent>) {
        let (events, inbox) = Events::channel(Arc::new(|| ()));
        let info = CallInfo {
            call: CallId(1),
            rate: SampleRate::Hz8000,
            language: "en-US".to_owned(),
            turn: None,
            may_hedge: false,
        };
        (tts.open(&info, events), inbox)
    }

    fn say(stream: &TtsStream, turn: u32, sentence: u32, text: &str) {
        assert!(stream.send(TtsCommand::Speak { turn: TurnId(turn), sentence, text: text.to_owned() }));
    }

    /// Samples until the sentence is done, and its turn and number.
    async fn next_sentence(inbox: &mut mpsc::Receiver<ProviderEvent>) -> (TurnId, u32, usize) {
        let mut samples = 0;
        loop {
            match inbox.recv().await.expect("the session lives") {
                ProviderEvent::Tts(_, TtsEvent::Audio { samples: piece, .. }) => samples += piece.len(),
                ProviderEvent::Tts(turn, TtsEvent::SentenceDone { sentence }) => {
                    return (turn, sentence, samples);
                }
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    fn tts(voices: usize) -> EmbeddedTts {
        EmbeddedTts::new(Handle::current(), voices).expect("the voice is inside the binary")
    }

    #[tokio::test]
    async fn sentences_are_spoken_in_order_and_whole() {
        let tts = tts(2);
        let (stream, mut inbox) = session(&tts);
        say(&stream, 1, 0, "Good morning.");
        say(&stream, 1, 1, "How can I help you?");
        assert!(stream.send(TtsCommand::Finish { turn: TurnId(1) }));
        for number in 0..2 {
            let (turn, sentence, samples) = next_sentence(&mut inbox).await;
            assert_eq!((turn, sentence), (TurnId(1), number));
            assert!(samples > 4_000, "{samples} samples");
        }
    }

    #[tokio::test]
    async fn a_cancelled_turn_is_not_spoken_on_and_the_next_one_is() {
        let tts = tts(1);
        let (stream, mut inbox) = session(&tts);
        say(&stream, 1, 0, &"This is a very long sentence that goes on and on. ".repeat(20));
        say(&stream, 1, 1, "Nobody hears this.");
        let first = inbox.recv().await.expect("audio");
        assert!(matches!(first, ProviderEvent::Tts(TurnId(1), TtsEvent::Audio { sentence: 0, .. })));
        assert!(stream.send(TtsCommand::Cancel { turn: TurnId(1) }));
        say(&stream, 2, 0, "Yes.");
        loop {
            match inbox.recv().await.expect("the session lives") {
                ProviderEvent::Tts(TurnId(1), event) => assert!(matches!(event, TtsEvent::Audio { .. })),
                ProviderEvent::Tts(TurnId(2), TtsEvent::SentenceDone { sentence: 0 }) => break,
                ProviderEvent::Tts(TurnId(2), _) => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_cancel_is_seen_while_the_inbox_is_full() {
        let tts = tts(1);
        let (stream, mut inbox) = session(&tts);
        say(&stream, 1, 0, &"This is a very long sentence that goes on and on. ".repeat(38));
        // Nobody reads: the inbox fills up, the voice finishes all the same.
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert!(stream.send(TtsCommand::Cancel { turn: TurnId(1) }));
        say(&stream, 2, 0, "Yes.");
        let mut spoken = false;
        while !spoken {
            let event = inbox.recv().await.expect("the session lives");
            spoken = matches!(event, ProviderEvent::Tts(TurnId(2), TtsEvent::SentenceDone { .. }));
        }
    }

    #[tokio::test]
    async fn one_call_that_does_not_listen_does_not_silence_the_others() {
        let tts = tts(1);
        let (deaf, _inbox) = session(&tts);
        say(&deaf, 1, 0, &"This is a very long sentence that goes on and on. ".repeat(38));
        let (stream, mut inbox) = session(&tts);
        say(&stream, 1, 0, "Hello.");
        assert!(next_sentence(&mut inbox).await.2 > 2_000);
    }

    #[tokio::test]
    async fn nothing_to_say_is_a_sentence_without_audio() {
        let tts = tts(1);
        let (stream, mut inbox) = session(&tts);
        say(&stream, 1, 0, "...");
        assert_eq!(next_sentence(&mut inbox).await.2, 0);
    }

    #[tokio::test]
    async fn a_clip_is_the_same_every_time() {
        let tts = tts(1);
        let clip = tts.render("One moment, please.", SampleRate::Hz8000).expect("it speaks");
        assert_eq!(clip, tts.render("One moment, please.", SampleRate::Hz8000).expect("it speaks"));
        assert!(clip.len() > 4_000);
    }
}
