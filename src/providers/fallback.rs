//! Routes of speech providers: the next target takes over when one has failed for good.
//! Knows the order of targets and what is still to be said. Knows no vendor.

use super::{
    CallInfo, Events, Gone, ProviderEvent, STT_COMMANDS, SpeechToText, SttCommand, SttStream, TTS_COMMANDS,
    Task, TextToSpeech, TtsCommand, TtsStream,
};
use call::{SttEvent, TtsEvent};
use conversation::TurnId;
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::{
    runtime::Handle,
    sync::mpsc,
    time::{Instant, sleep_until},
};

/// A target with its name in the config.
pub type Named<T> = (String, Arc<T>);

/// Recognisers in the order in which they are tried.
pub struct SttInTurn {
    targets: Vec<Named<dyn SpeechToText>>,
    runtime: Handle,
}

impl SttInTurn {
    /// A route. One target needs nobody to watch over it.
    ///
    /// # Panics
    /// When called outside a tokio runtime.
    pub fn of(mut targets: Vec<Named<dyn SpeechToText>>) -> Arc<dyn SpeechToText> {
        match targets.len() {
            1 => targets.remove(0).1,
            _ => Arc::new(Self { targets, runtime: Handle::current() }),
        }
    }
}

impl SpeechToText for SttInTurn {
    fn start(&self, call: &CallInfo, events: Events) -> SttStream {
        let (sender, commands) = mpsc::channel(STT_COMMANDS);
        let run = listen(self.targets.clone(), call.clone(), commands, events);
        SttStream::new(sender, Some(Task::new(self.runtime.spawn(run))))
    }
}

/// Passes commands to the current target and its events on, until the last target has failed.
async fn listen(
    targets: Vec<Named<dyn SpeechToText>>,
    call: CallInfo,
    mut commands: mpsc::Receiver<SttCommand>,
    events: Events,
) {
    let mut failures = Vec::new();
    for (position, (name, target)) in targets.iter().enumerate() {
        if position > 0 && take_over(&events, "stt", &failures, name).await.is_err() {
            return;
        }
        let (own, mut heard) = Events::channel(Arc::new(|| {}));
        let stream = target.start(&call, own);
        loop {
            let event = tokio::select! {
                command = commands.recv() => match command {
                    // A frame that the target has no room for is lost, like one that the call had none for.
                    Some(command) => { let _dropped = stream.send(command); continue }
                    None => return,
                },
                event = heard.recv() => event,
            };
            match event {
                Some(ProviderEvent::Stt(SttEvent::Failed { reason })) => {
                    failures.push(format!("{name}: {reason}"));
                    break;
                }
                Some(event) => {
                    if events.send(event).await.is_err() {
                        return;
                    }
                }
                None => {
                    failures.push(format!("{name}: the stream ended"));
                    break;
                }
            }
        }
    }
    let failed = SttEvent::Failed { reason: failures.join("; ") };
    let _the_call_may_be_over = events.send(ProviderEvent::Stt(failed)).await;
}

/// Says in the trace that a target has failed and which one goes on.
async fn take_over(
    events: &Events,
    stage: &'static str,
    failures: &[String],
    next: &str,
) -> Result<(), Gone> {
    let failed = failures.last().map_or("", String::as_str);
    events.send(ProviderEvent::Failed { stage, reason: format!("{failed}; {next} takes over") }).await
}

/// Voices in the order in which they are tried.
pub struct TtsInTurn {
    targets: Vec<Named<dyn TextToSpeech>>,
    patience: Duration,
    runtime: Handle,
}

impl TtsInTurn {
    /// A route. One target needs nobody to watch over it. A target that still has something to say and gives no sound
    /// for `patience` is as good as failed, as long as there is another one: it must be shorter than the call's own.
    ///
    /// # Panics
    /// When called outside a tokio runtime.
    pub fn of(mut targets: Vec<Named<dyn TextToSpeech>>, patience: Duration) -> Arc<dyn TextToSpeech> {
        match targets.len() {
            1 => targets.remove(0).1,
            _ => Arc::new(Self { targets, patience, runtime: Handle::current() }),
        }
    }
}

impl TextToSpeech for TtsInTurn {
    fn open(&self, call: &CallInfo, events: Events) -> TtsStream {
        let (sender, commands) = mpsc::channel(TTS_COMMANDS);
        let (patience, since) = (self.patience, Instant::now());
        let speaker = Speaker { unsaid: VecDeque::new(), finishing: None, patience, since, events };
        let run = speaker.run(self.targets.clone(), call.clone(), commands);
        TtsStream::new(sender, Some(Task::new(self.runtime.spawn(run))))
    }
}

/// What of the current turn has been asked for and not been said.
struct Speaker {
    unsaid: VecDeque<Unsaid>,
    /// The turn has no more sentences.
    finishing: Option<TurnId>,
    patience: Duration,
    /// When the target last said something, or was last given something to say while it had nothing.
    since: Instant,
    events: Events,
}

#[derive(Clone)]
struct Unsaid {
    turn: TurnId,
    sentence: u32,
    text: String,
    /// Some of it has been heard: another voice must not say it again.
    begun: bool,
}

/// What becomes of the target after an event.
enum Then {
    GoOn,
    NextTarget(String),
    CallOver,
}

impl Speaker {
    async fn run(
        mut self,
        targets: Vec<Named<dyn TextToSpeech>>,
        call: CallInfo,
        mut commands: mpsc::Receiver<TtsCommand>,
    ) {
        let mut failures = Vec::new();
        for (position, (name, target)) in targets.iter().enumerate() {
            if position > 0 && take_over(&self.events, "tts", &failures, name).await.is_err() {
                return;
            }
            let is_last = position + 1 == targets.len();
            let (own, mut said) = Events::channel(Arc::new(|| {}));
            let stream = target.open(&call, own);
            self.say_again(&stream);
            loop {
                let silent_until = self.since + self.patience;
                let then = tokio::select! {
                    command = commands.recv() => match command {
                        Some(command) => self.pass(&stream, command),
                        None => return,
                    },
                    event = said.recv() => self.take(event).await,
                    () = sleep_until(silent_until), if !is_last && !self.unsaid.is_empty() => {
                        let turn = self.unsaid.front().map_or(TurnId::default(), |unsaid| unsaid.turn);
                        self.give_up(turn, "no audio in time".into()).await
                    }
                };
                match then {
                    Then::GoOn => {}
                    Then::CallOver => return,
                    Then::NextTarget(reason) => {
                        failures.push(format!("{name}: {reason}"));
                        break;
                    }
                }
            }
        }
        self.refuse(&mut commands, &failures.join("; ")).await;
    }

    /// What another target left unsaid. A sentence that was begun is left as it is.
    fn say_again(&mut self, stream: &TtsStream) {
        self.since = Instant::now();
        for Unsaid { turn, sentence, text, .. } in self.unsaid.iter().cloned() {
            let _full_means_failed_soon = stream.send(TtsCommand::Speak { turn, sentence, text });
        }
        if let Some(turn) = self.finishing {
            let _full_means_failed_soon = stream.send(TtsCommand::Finish { turn });
        }
    }

    fn pass(&mut self, stream: &TtsStream, command: TtsCommand) -> Then {
        match &command {
            TtsCommand::Speak { turn, sentence, text } => {
                self.finishing = None;
                if self.unsaid.is_empty() {
                    self.since = Instant::now();
                }
                let (turn, sentence, text) = (*turn, *sentence, text.clone());
                self.unsaid.push_back(Unsaid { turn, sentence, text, begun: false });
            }
            TtsCommand::Finish { turn } => self.finishing = Some(*turn),
            TtsCommand::Cancel { turn } => {
                self.unsaid.retain(|unsaid| unsaid.turn != *turn);
                self.finishing = None;
            }
        }
        if stream.send(command) {
            Then::GoOn
        } else {
            Then::NextTarget("the session takes no sentence".into())
        }
    }

    async fn take(&mut self, event: Option<ProviderEvent>) -> Then {
        let Some(event) = event else { return Then::NextTarget("the session ended".into()) };
        if let ProviderEvent::Tts(turn, TtsEvent::Failed { reason, .. }) = event {
            return self.give_up(turn, reason).await;
        }
        self.note(&event);
        if self.events.send(event).await.is_err() { Then::CallOver } else { Then::GoOn }
    }

    /// The target has failed: what it began is left as it is, the rest of the turn is for the next one.
    async fn give_up(&mut self, turn: TurnId, reason: String) -> Then {
        let begun: Vec<Unsaid> = self.unsaid.iter().filter(|unsaid| unsaid.begun).cloned().collect();
        self.unsaid.retain(|unsaid| !unsaid.begun && unsaid.turn == turn);
        for Unsaid { turn, sentence, .. } in begun {
            let done = ProviderEvent::Tts(turn, TtsEvent::SentenceDone { sentence });
            if self.events.send(done).await.is_err() {
                return Then::CallOver;
            }
        }
        Then::NextTarget(reason)
    }

    fn note(&mut self, event: &ProviderEvent) {
        self.since = Instant::now();
        match event {
            ProviderEvent::Tts(turn, TtsEvent::Audio { sentence, .. }) => {
                let spoken = self.unsaid.iter_mut().find(|u| u.turn == *turn && u.sentence == *sentence);
                if let Some(spoken) = spoken {
                    spoken.begun = true;
                }
            }
            ProviderEvent::Tts(turn, TtsEvent::SentenceDone { sentence }) => {
                self.unsaid.retain(|u| u.turn != *turn || u.sentence != *sentence);
            }
            ProviderEvent::Tts(_, TtsEvent::Failed { .. } | TtsEvent::Words { .. })
            | ProviderEvent::Stt(_)
            | ProviderEvent::Llm(..)
            | ProviderEvent::Tool(..)
            | ProviderEvent::Found(..)
            | ProviderEvent::TurnJudged(..)
            | ProviderEvent::Failed { .. } => {}
        }
    }

    /// No target is left: every sentence fails, those that are still to come too.
    async fn refuse(mut self, commands: &mut mpsc::Receiver<TtsCommand>, reason: &str) {
        let mut waiting = std::mem::take(&mut self.unsaid);
        loop {
            for Unsaid { turn, sentence, .. } in waiting.drain(..) {
                let failed = TtsEvent::Failed { sentence, reason: reason.to_owned() };
                if self.events.send(ProviderEvent::Tts(turn, failed)).await.is_err() {
                    return;
                }
            }
            match commands.recv().await {
                Some(TtsCommand::Speak { turn, sentence, text }) => {
                    waiting.push_back(Unsaid { turn, sentence, text, begun: false });
                }
                Some(TtsCommand::Finish { .. } | TtsCommand::Cancel { .. }) => {}
                None => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use call::CallId;
    use media::SampleRate;

    /// A voice that says each sentence as one sample of its own value, or fails after so many sentences.
    struct Voice {
        value: i16,
        fails_after: usize,
        runtime: Handle,
    }

    impl TextToSpeech for Voice {
        fn open(&self, _: &CallInfo, events: Events) -> TtsStream {
            let (sender, mut commands) = mpsc::channel(TTS_COMMANDS);
            let (value, mut left) = (self.value, self.fails_after);
            let task = self.runtime.spawn(async move {
                while let Some(command) = commands.recv().await {
                    let TtsCommand::Speak { turn, sentence, .. } = command else { continue };
                    if left == 0 && value == STALLS {
                        continue;
                    }
                    if left == 0 {
                        let failed = TtsEvent::Failed { sentence, reason: "gone".into() };
                        let _ = events.send(ProviderEvent::Tts(turn, failed)).await;
                        continue;
                    }
                    left -= 1;
                    for event in [
                        TtsEvent::Audio { sentence, samples: vec![value] },
                        TtsEvent::SentenceDone { sentence },
                    ] {
                        let _ = events.send(ProviderEvent::Tts(turn, event)).await;
                    }
                }
            });
            TtsStream::new(sender, Some(Task::new(task)))
        }
    }

    /// The voice that falls silent instead of saying that it fails.
    const STALLS: i16 = 3;

    async fn spoken(fails_after: [usize; 2]) -> Vec<String> {
        spoken_by([1, 2], fails_after).await
    }

    async fn spoken_by(voices: [i16; 2], fails_after: [usize; 2]) -> Vec<String> {
        let runtime = Handle::current();
        let voices = voices.into_iter().zip(fails_after);
        let targets = voices.map(|(value, fails_after)| {
            let voice = Voice { value, fails_after, runtime: runtime.clone() };
            (format!("v{value}"), Arc::new(voice) as Arc<dyn TextToSpeech>)
        });
        let route = TtsInTurn::of(targets.collect(), Duration::from_secs(1));
        let (events, mut inbox) = Events::channel(Arc::new(|| {}));
        let call = CallInfo {
            call: CallId(1),
            rate: SampleRate::Hz8000,
            language: "en-US".into(),
            turn: None,
            may_hedge: false,
        };
        let session = route.open(&call, events);
        for sentence in 0..3 {
            assert!(session.send(TtsCommand::Speak { turn: TurnId(1), sentence, text: "words".into() }));
        }
        let (mut log, mut told) = (Vec::new(), String::new());
        while log.len() < 3 {
            match inbox.recv().await {
                Some(ProviderEvent::Tts(_, TtsEvent::Audio { sentence, samples })) => {
                    log.push(format!("{sentence} by {}", samples[0]));
                }
                Some(ProviderEvent::Tts(_, TtsEvent::Failed { sentence, reason })) => {
                    log.push(format!("{sentence} {reason}"));
                }
                Some(ProviderEvent::Failed { stage, reason }) => told = format!("{stage} {reason}"),
                Some(_) => {}
                None => return log,
            }
        }
        assert!(told.is_empty() || told.ends_with("; v2 takes over"), "{told}");
        log
    }

    #[tokio::test(start_paused = true)]
    async fn a_voice_that_falls_silent_is_followed_by_the_next() {
        assert_eq!(spoken_by([STALLS, 2], [1, 9]).await, ["0 by 3", "1 by 2", "2 by 2"]);
    }

    #[tokio::test]
    async fn the_next_voice_says_what_the_first_could_not() {
        assert_eq!(spoken([1, 9]).await, ["0 by 1", "1 by 2", "2 by 2"]);
    }

    #[tokio::test]
    async fn a_sentence_fails_only_when_every_voice_has_failed() {
        assert_eq!(
            spoken([0, 0]).await,
            ["0 v1: gone; v2: gone", "1 v1: gone; v2: gone", "2 v1: gone; v2: gone"]
        );
    }
}
