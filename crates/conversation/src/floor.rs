//! Who may speak: onset, barge-in, end of turn, no-input and keyed digits.
//! Knows speech yes/no per 20 ms frame, transcripts and time. Knows neither audio nor what the agent says.

use crate::{
    backchannel::{Backchannels, Heard, SideSound, Sound, Verdict},
    completeness::{SmallWords, TurnClassifier},
    endpointing::{Completeness, EndOfTurnReason, Evidence, Phrases, judge},
    grammar::words,
    turn::{Expectation, ProviderTurn, Transcript},
};
use serde::Deserialize;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

mod aside;

use aside::Aside;
pub use aside::{AgentVoice, BargeInConfig};

/// One frame of voice activity.
const FRAME: Duration = Duration::from_millis(20);
/// Frames in which the onset's speech must lie: gaps of two frames are allowed.
const ONSET_SLACK: u32 = 2;
/// Words that have not changed for so long are worth a guess.
const GUESS_AFTER: Duration = Duration::from_millis(300);
/// Keys kept of one entry; more are ignored.
const MAX_KEYS: usize = 64;
/// Characters kept of one utterance; more are ignored.
const MAX_TEXT: usize = 4000;

/// How patient the agent is.
#[derive(Clone, Debug)]
pub struct FloorConfig {
    /// Speech that takes the free floor (60 ms). Shorter sounds are clicks.
    pub onset_speech: Duration,
    /// What becomes of a sound beside the agent's voice.
    pub barge_in: BargeInConfig,
    /// Silence after which speech-to-text is asked for its last words (200 ms).
    pub pause: Duration,
    /// Silence that ends a turn which sounds finished (250 ms).
    pub complete: Duration,
    /// Silence that ends a turn after the yes or no that was asked for (150 ms).
    pub yes_no: Duration,
    /// Silence that ends a turn which speech-to-text holds to be probably over (450 ms).
    pub eager: Duration,
    /// Silence that ends a turn which may be finished (700 ms).
    pub unsure: Duration,
    /// Silence that ends a turn which breaks off, after "and" or "my" (2 s).
    pub incomplete: Duration,
    /// Silence that ends a turn in which a number is not whole yet (2 s).
    pub number_short: Duration,
    /// How long to wait for the final transcript after the pause was noticed (1.5 s).
    pub final_patience: Duration,
    /// Whole words that have not changed for so long are taken without their final (500 ms).
    pub stable: Duration,
    /// Speech without any words that is worth a "sorry?" (400 ms). Less is noise.
    pub unintelligible: Duration,
    /// Speech this shortly before the agent fell silent still counts as an answer (1 s).
    pub early_answer: Duration,
    /// Silence with nobody holding the floor that is worth asking (8 s).
    pub no_input: Duration,
    /// Silence after a key that ends the entry (2 s).
    pub key_pause: Duration,
    /// Sentences known to be whole, from [`crate::Agent::phrases`].
    pub phrases: Option<Arc<Phrases>>,
    /// A BCP 47 tag: whose small words are known.
    pub language: String,
    /// Says whether words without punctuation sound whole.
    pub classifier: Arc<dyn TurnClassifier>,
}

impl Default for FloorConfig {
    fn default() -> Self {
        Self {
            onset_speech: Duration::from_millis(60),
            barge_in: BargeInConfig::default(),
            pause: Duration::from_millis(200),
            complete: Duration::from_millis(250),
            yes_no: Duration::from_millis(150),
            eager: Duration::from_millis(450),
            unsure: Duration::from_millis(700),
            incomplete: Duration::from_secs(2),
            number_short: Duration::from_secs(2),
            final_patience: Duration::from_millis(1500),
            stable: Duration::from_millis(500),
            unintelligible: Duration::from_millis(400),
            early_answer: Duration::from_secs(1),
            no_input: Duration::from_secs(8),
            key_pause: Duration::from_secs(2),
            phrases: None,
            language: "en".to_owned(),
            classifier: Arc::new(SmallWords),
        }
    }
}

/// Who has the floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// The caller speaks, or is keying digits in.
    Caller,
    /// The agent thinks or speaks.
    Agent,
    /// Anybody may begin.
    Nobody,
}

impl Holder {
    /// As it stands in traces.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Agent => "agent",
            Self::Nobody => "nobody",
        }
    }
}

/// What may take the floor from the agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interruptible {
    /// Nothing: an announcement that must be heard.
    Never,
    /// A key, but no speech: for menus on noisy lines.
    Dtmf,
    /// Speech, but no key.
    Speech,
    /// Speech or a key.
    #[default]
    Any,
}

impl Interruptible {
    /// All, by name.
    pub const ALL: [Self; 4] = [Self::Never, Self::Dtmf, Self::Speech, Self::Any];

    /// As it is written in files and traces.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Dtmf => "dtmf",
            Self::Speech => "speech",
            Self::Any => "any",
        }
    }

    const fn by_speech(self) -> bool {
        matches!(self, Self::Speech | Self::Any)
    }
}

/// What the call has to do now.
#[derive(Clone, PartialEq, Eq)]
pub enum Decision {
    /// The caller paused: ask speech-to-text for its final words now.
    CallerPaused,
    /// The caller's turn is over; the agent has the floor.
    EndOfTurn {
        /// What was said, or the keys with blanks between them. Empty: something was said, nothing understood.
        text: String,
        /// Whether it was keyed in.
        digits: bool,
        /// When the last frame of speech was, or the last key.
        ended: Instant,
        /// The silence that would have sufficed with the words at hand: what was waited beyond it is due to the transcript.
        wait: Duration,
        /// For the trace.
        reason: EndOfTurnReason,
    },
    /// The caller makes a sound while the agent has the floor: the agent goes on, more quietly.
    Duck,
    /// It was nothing: as before.
    Unduck,
    /// It may be meant for the agent, who falls silent at once and keeps what it was saying.
    Pause {
        /// The first frame of that speech.
        onset: Instant,
    },
    /// It was not: the agent goes on where it fell silent.
    Resume {
        /// What it was instead.
        was: SideSound,
        /// The words of it, if any were understood.
        text: String,
    },
    /// The caller took the floor while the agent had it. What the agent was saying is not wanted any more.
    BargeIn {
        /// The first frame of that speech, or the key.
        onset: Instant,
        /// When the agent fell silent for it.
        silent: Instant,
    },
    /// Nothing came from the caller for the no-input time.
    NoInput {
        /// How often in a row.
        count: u32,
    },
}

impl std::fmt::Debug for Decision {
    /// Leaves the words out: they are the caller's.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::CallerPaused => f.write_str("CallerPaused"),
            Self::EndOfTurn { text, digits, reason, .. } => {
                write!(f, "EndOfTurn({} characters, digits: {digits}, {})", text.len(), reason.name())
            }
            Self::Duck => f.write_str("Duck"),
            Self::Unduck => f.write_str("Unduck"),
            Self::Pause { .. } => f.write_str("Pause"),
            Self::Resume { was, text } => write!(f, "Resume({}, {} characters)", was.name(), text.len()),
            Self::BargeIn { .. } => f.write_str("BargeIn"),
            Self::NoInput { count } => write!(f, "NoInput({count})"),
        }
    }
}

/// The turn-taking machine. Feed it every frame, transcript and key; when a decision comes back, the floor has
/// changed hands already.
pub struct Floor {
    config: FloorConfig,
    holder: Holder,
    interruptible: Interruptible,
    expectation: Expectation,
    /// Keys that mean something by themselves.
    choices: Vec<char>,
    /// The latest frames, the newest in bit 0, a set bit is speech.
    recent: u64,
    /// The same for speech with a pitch.
    recent_voiced: u64,
    aside: Aside,
    /// Until then sounds beside the agent's first words do not count.
    settled: Option<Instant>,
    utterance: Utterance,
    keys: Keys,
    /// The last key of an entry that was over because it had its length.
    counted_at: Option<Instant>,
    /// What was answered last, to know its late final again.
    answered: Answered,
    /// Since when nobody has had the floor.
    quiet_since: Option<Instant>,
    no_inputs: u32,
}

/// What the caller is saying.
#[derive(Default)]
struct Utterance {
    /// The last frame of speech. None: nothing but perhaps clicks.
    last_speech: Option<Instant>,
    /// Speech altogether, and the part of it with a pitch.
    speech: Duration,
    voiced: Duration,
    finals: String,
    interim: String,
    /// When the words changed for the last time.
    changed_at: Option<Instant>,
    /// What speech-to-text thinks of it.
    provider: Option<ProviderTurn>,
    /// When the last final came, empty ones too.
    final_at: Option<Instant>,
    /// When the pause was announced; speech takes it back.
    paused: Option<Instant>,
    /// How finished the text sounds, judged since the pause.
    sounds: Completeness,
    /// What the model that listens says of this pause.
    by_ear: Option<f32>,
    /// It took the floor from the agent, who owes an answer even if nothing was understood.
    cut_in: bool,
    /// It was taken for a backchannel: an answer only if the agent then ends with a question.
    noted: bool,
}

/// What the caller is keying in.
#[derive(Default)]
struct Keys {
    pressed: String,
    hash: bool,
    last: Option<Instant>,
}

/// The utterance before this one.
#[derive(Default)]
struct Answered {
    text: String,
    /// Its final has not come: the turn was ended without it.
    final_owed: bool,
    /// Speech since then.
    speech_since: bool,
}

impl Floor {
    /// A floor that nobody has.
    pub fn new(config: FloorConfig) -> Self {
        Self {
            config,
            holder: Holder::Nobody,
            interruptible: Interruptible::Any,
            expectation: Expectation::Any,
            choices: Vec::new(),
            recent: 0,
            recent_voiced: 0,
            aside: Aside::None,
            settled: None,
            utterance: Utterance::default(),
            keys: Keys::default(),
            counted_at: None,
            answered: Answered::default(),
            quiet_since: None,
            no_inputs: 0,
        }
    }

    /// Who has the floor.
    pub fn holder(&self) -> Holder {
        self.holder
    }

    /// What may take the floor from the agent now.
    pub const fn interruptible(&self) -> Interruptible {
        self.interruptible
    }

    /// Another agent, or another language: its small words, and the sentences that are known to be whole.
    pub fn speak_as(&mut self, language: &str, phrases: Arc<Phrases>) {
        language.clone_into(&mut self.config.language);
        self.config.phrases = Some(phrases);
    }

    /// Keys that are an answer by themselves while nobody has asked for keys.
    pub fn choices(&mut self, keys: Vec<char>) {
        self.choices = keys;
    }

    /// What the caller is expected to say next. Holds until the caller has said something.
    pub fn expect(&mut self, expectation: Expectation) {
        self.expectation = expectation;
        self.judge();
    }

    /// The agent takes the floor, to think or to speak. Call it again when `interruptible` changes.
    pub fn agent_starts(&mut self, now: Instant, interruptible: Interruptible) {
        self.settled.get_or_insert(now + self.config.barge_in.settle);
        if self.holder != Holder::Agent {
            self.utterance = Utterance::default();
            self.aside = Aside::None;
        }
        self.holder = Holder::Agent;
        self.interruptible = interruptible;
        if !interruptible.by_speech() {
            self.aside = Aside::None;
        }
    }

    /// The last frame of the agent's voice has left; `asked` says whether it ended with a question. What the caller began
    /// to say in the last moments is their turn.
    pub fn agent_done(&mut self, now: Instant, asked: bool) {
        if self.holder != Holder::Agent {
            return;
        }
        self.holder = Holder::Nobody;
        self.aside = Aside::None;
        if self.utterance.noted && !asked && self.expectation == Expectation::Any {
            self.utterance = Utterance::default();
        }
        self.quiet_since = Some(now);
        let began = self.utterance.speech >= self.config.onset_speech
            && self
                .utterance
                .last_speech
                .is_some_and(|last| now.duration_since(last) <= self.config.early_answer);
        if began || self.keys.last.is_some() {
            self.holder = Holder::Caller;
        } else {
            self.utterance = Utterance::default();
        }
    }

    /// The caller cannot be expected to say anything, being elsewhere: the no-input time begins anew.
    pub fn excuse(&mut self, now: Instant) {
        self.quiet_since = Some(now);
    }

    /// One 20 ms frame of the caller's voice activity; `now` is the frame's time.
    pub fn handle_frame(&mut self, now: Instant, sound: Sound) -> Option<Decision> {
        let speech = sound.is_speech();
        self.quiet_since.get_or_insert(now);
        self.recent = self.recent << 1 | u64::from(speech);
        self.recent_voiced = self.recent_voiced << 1 | u64::from(sound == Sound::Voiced);
        // A single frame of speech with silence around it is a click and prolongs nothing.
        if speech && (self.recent & 0b111).count_ones() >= 2 {
            self.utterance.last_speech = Some(now);
            self.utterance.speech += FRAME;
            self.utterance.voiced += if sound == Sound::Voiced { FRAME } else { Duration::ZERO };
            self.utterance.paused = None;
            self.utterance.by_ear = None;
            self.answered.speech_since = true;
        }
        match self.holder {
            Holder::Nobody if speech && self.lasts(self.config.onset_speech) => {
                self.holder = Holder::Caller;
                None
            }
            Holder::Agent => self.beside_agent(now),
            Holder::Nobody | Holder::Caller => self.handle_timeout(now),
        }
    }

    /// What speech-to-text understood.
    pub fn handle_transcript(&mut self, now: Instant, transcript: &Transcript) -> Option<Decision> {
        if self.is_stale(transcript) {
            return None;
        }
        let text = transcript.text.trim();
        let before = self.utterance.text();
        if transcript.is_final {
            self.utterance.append(text);
            self.utterance.interim.clear();
            self.utterance.final_at = Some(now);
        } else {
            self.utterance.interim = cut(text, MAX_TEXT).to_owned();
        }
        if self.utterance.text() != before {
            self.utterance.changed_at = Some(now);
            // More words take back what was thought of the fewer.
            self.utterance.provider = None;
        }
        self.judge();
        if self.holder == Holder::Nobody && transcript.is_final && !text.is_empty() {
            // Words without a detected onset: a soft speaker, or a final that came late.
            self.holder = Holder::Caller;
            self.utterance.last_speech.get_or_insert(now);
        }
        if self.holder == Holder::Agent {
            return self.words_beside_agent(now);
        }
        self.handle_timeout(now)
    }

    /// What speech-to-text thinks of the caller's turn; the words it goes with come first.
    pub fn handle_provider(&mut self, now: Instant, turn: ProviderTurn) -> Option<Decision> {
        if self.holder != Holder::Caller {
            return None;
        }
        self.utterance.provider = (turn != ProviderTurn::Resumed).then_some(turn);
        self.handle_timeout(now)
    }

    /// A model has listened to what was said up to the pause that goes on: how likely it is, 0 to 1, that it is all.
    pub fn handle_by_ear(&mut self, now: Instant, likelihood: f32) -> Option<Decision> {
        if self.holder != Holder::Caller || self.utterance.paused.is_none() {
            return None;
        }
        self.utterance.by_ear = Some(likelihood);
        self.judge();
        self.handle_timeout(now)
    }

    /// A key was pressed.
    pub fn handle_digit(&mut self, now: Instant, digit: char) -> Option<Decision> {
        let counted = self.counted_at.take();
        if digit == '#' && counted.is_some_and(|at| now.duration_since(at) <= self.config.key_pause) {
            // The end mark of an entry whose length had ended it already.
            return None;
        }
        if digit == '#' && !self.keys.pressed.is_empty() {
            self.keys.hash = true;
        } else if self.keys.pressed.len() < MAX_KEYS && digit.is_ascii() {
            self.keys.pressed.push(digit);
        }
        self.keys.last = Some(now);
        match (self.holder, self.interruptible) {
            (Holder::Agent, Interruptible::Any | Interruptible::Dtmf) => {
                self.holder = Holder::Caller;
                self.aside = Aside::None;
                Some(Decision::BargeIn { onset: now, silent: now })
            }
            // Keys pressed ahead wait until the agent has finished.
            (Holder::Agent, Interruptible::Never | Interruptible::Speech) => None,
            (Holder::Nobody | Holder::Caller, _) => {
                self.holder = Holder::Caller;
                self.handle_timeout(now)
            }
        }
    }

    /// When [`Floor::handle_timeout`] has something to do if nothing else happens.
    pub fn next_wake(&self) -> Option<Instant> {
        match self.holder {
            Holder::Agent => None,
            Holder::Nobody => self.quiet_since.map(|since| since + self.config.no_input),
            Holder::Caller => match self.keys.last {
                Some(last) => Some(last + self.key_wait().0),
                None => Some(self.utterance.last_speech? + self.silence_wait().0),
            },
        }
    }

    /// The time of [`Floor::next_wake`] may have come.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Decision> {
        if now < self.next_wake()? {
            return None;
        }
        match self.holder {
            Holder::Agent => None,
            Holder::Nobody => {
                self.quiet_since = Some(now);
                self.no_inputs += 1;
                Some(Decision::NoInput { count: self.no_inputs })
            }
            Holder::Caller if self.keys.last.is_some() => Some(self.end_keys(now)),
            Holder::Caller if self.utterance.paused.is_none() => {
                self.utterance.paused = Some(now);
                self.judge();
                Some(Decision::CallerPaused)
            }
            Holder::Caller => self.end_utterance(now),
        }
    }

    /// Judges the text anew; only while the caller pauses does it matter.
    fn judge(&mut self) {
        if self.utterance.paused.is_some() {
            self.utterance.sounds = judge(&Evidence {
                text: &self.utterance.text(),
                expectation: self.expectation,
                language: &self.config.language,
                phrases: self.config.phrases.as_deref(),
                classifier: &*self.config.classifier,
                sound: self.utterance.by_ear,
            });
        }
    }

    /// Whether a transcript belongs to the utterance that was answered already.
    fn is_stale(&mut self, transcript: &Transcript) -> bool {
        if self.holder == Holder::Caller && !self.answered.final_owed {
            return false;
        }
        let heard = words(&transcript.text);
        let answered = words(&self.answered.text);
        let same = !answered.is_empty()
            && (heard.is_empty() || answered.starts_with(&heard) || heard.starts_with(&answered));
        let stale = !self.answered.speech_since || (self.answered.final_owed && same);
        // Without any speech since, words that are not the answered ones come from a soft speaker.
        let stale = stale && (same || self.answered.final_owed || self.holder == Holder::Agent);
        if transcript.is_final {
            self.answered.final_owed = false;
        }
        stale
    }

    /// Whether one key was pressed that means something by itself, and nobody asked for keys.
    fn is_choice(&self) -> bool {
        let mut pressed = self.keys.pressed.chars();
        let (Some(key), None) = (pressed.next(), pressed.next()) else { return false };
        self.expectation == Expectation::Any && self.choices.contains(&key)
    }

    /// How long after the last key the entry is over, and why.
    fn key_wait(&self) -> (Duration, EndOfTurnReason) {
        let reached = match self.expectation {
            Expectation::Digits { count: Some(count) } => {
                self.keys.pressed.len() >= usize::from(count.max(1))
            }
            Expectation::Digits { count: None }
            | Expectation::Any
            | Expectation::YesNo
            | Expectation::Date
            | Expectation::Time
            | Expectation::Name
            | Expectation::Email
            | Expectation::Spelling => false,
        };
        match (self.keys.hash, reached) {
            (true, _) => (Duration::ZERO, EndOfTurnReason::KeyHash),
            (false, true) => (Duration::ZERO, EndOfTurnReason::KeyCount),
            (false, false) if self.is_choice() => (Duration::ZERO, EndOfTurnReason::KeyCount),
            (false, false) => (self.config.key_pause, EndOfTurnReason::KeyPause),
        }
    }

    /// How long after the last speech something is due, and why the turn would be over then.
    fn silence_wait(&self) -> (Duration, EndOfTurnReason) {
        let Some(paused) = self.utterance.paused else { return (self.pause(), EndOfTurnReason::Pause) };
        let (wait, reason) = self.judged_wait();
        if self.utterance.is_settled() {
            return (wait, reason);
        }
        let since = |at: Instant| {
            self.utterance.last_speech.map_or(Duration::ZERO, |last| at.saturating_duration_since(last))
        };
        let patience = wait.max(since(paused) + self.config.final_patience);
        let complete = matches!(self.utterance.sounds, Completeness::Complete(_));
        match self.utterance.changed_at.filter(|_| complete) {
            Some(changed) => {
                let stable =
                    wait.max(since(paused) + self.config.stable).max(since(changed) + self.config.stable);
                if stable < patience {
                    (stable, EndOfTurnReason::Stable)
                } else {
                    (patience, EndOfTurnReason::NoFinal)
                }
            }
            None => (patience, EndOfTurnReason::NoFinal),
        }
    }

    /// Silence after which the words are asked for. Of a yes they are wanted sooner.
    fn pause(&self) -> Duration {
        if self.expectation == Expectation::YesNo {
            self.config.pause.min(self.config.yes_no)
        } else {
            self.config.pause
        }
    }

    /// The silence that these words ask for, together with what speech-to-text thinks of them. It is trusted about
    /// sentences, not about numbers, and a trailing "and" casts doubt on it.
    fn judged_wait(&self) -> (Duration, EndOfTurnReason) {
        use ProviderTurn::{Eager, Over};
        let config = &self.config;
        match (self.utterance.sounds, self.utterance.provider) {
            (Completeness::Complete(EndOfTurnReason::YesNo), _) => (config.yes_no, EndOfTurnReason::YesNo),
            (Completeness::Complete(reason), _) => (config.complete, reason),
            (Completeness::Unsure, Some(Over)) => (config.complete, EndOfTurnReason::Provider),
            (Completeness::Unsure, Some(Eager)) => (config.eager, EndOfTurnReason::ProviderEager),
            (Completeness::Unsure, _) => (config.unsure, EndOfTurnReason::Pause),
            (Completeness::Incomplete, Some(Over)) => (config.unsure, EndOfTurnReason::Provider),
            (Completeness::Incomplete, _) => (config.incomplete, EndOfTurnReason::LongPause),
            (Completeness::NumberShort, _) => (config.number_short, EndOfTurnReason::LongPause),
        }
    }

    /// What the caller's turn would be if it were over now, while it may be: silence has begun, and the words sound whole
    /// or undecided. For those who want to prepare an answer; only [`Decision::EndOfTurn`] says that it is wanted.
    pub fn guess(&self, now: Instant) -> Option<String> {
        let settled = self.utterance.is_settled()
            || self.utterance.provider == Some(ProviderTurn::Eager)
            || self.utterance.changed_at.is_some_and(|at| at + GUESS_AFTER <= now);

        let may = matches!(self.utterance.sounds, Completeness::Complete(_) | Completeness::Unsure);
        let pausing =
            self.holder == Holder::Caller && self.utterance.paused.is_some() && self.keys.last.is_none();
        Some(self.utterance.text()).filter(|text| settled && pausing && may && !text.is_empty())
    }

    /// What the caller has said of the turn that is going on.
    pub fn heard_so_far(&self) -> String {
        self.utterance.text()
    }

    /// How much of the wait was for silence: all of it, unless the words came later than that.
    fn due_to_silence(&self, now: Instant, ended: Instant) -> Duration {
        let (wait, _) = self.judged_wait();
        let in_time = self.utterance.final_at.is_some_and(|at| at <= ended + wait);
        if in_time { now.duration_since(ended) } else { wait }
    }

    fn end_keys(&mut self, now: Instant) -> Decision {
        let (wait, reason) = self.key_wait();
        let keys = std::mem::take(&mut self.keys);
        let text = keys.pressed.chars().map(String::from).collect::<Vec<_>>().join(" ");
        let ended = keys.last.unwrap_or(now);
        self.counted_at = (reason == EndOfTurnReason::KeyCount).then_some(ended);
        self.end_turn(Decision::EndOfTurn { text, digits: true, ended, wait, reason }, String::new())
    }

    /// The silence was long enough: the turn is over, or it was only noise.
    fn end_utterance(&mut self, now: Instant) -> Option<Decision> {
        let (_, reason) = self.silence_wait();
        let text = self.utterance.text();
        let ended = self.utterance.last_speech.unwrap_or(now);
        let wait = self.due_to_silence(now, ended);
        if !text.is_empty() {
            let answered = text.clone();
            return Some(
                self.end_turn(Decision::EndOfTurn { text, digits: false, ended, wait, reason }, answered),
            );
        }
        if self.utterance.speech < self.config.unintelligible && !self.utterance.cut_in {
            self.holder = Holder::Nobody;
            self.quiet_since = Some(now);
            self.utterance = Utterance::default();
            return None;
        }
        let reason = EndOfTurnReason::Unintelligible;
        Some(self.end_turn(Decision::EndOfTurn { text, digits: false, ended, wait, reason }, String::new()))
    }

    fn end_turn(&mut self, decision: Decision, answered: String) -> Decision {
        let final_owed = self.utterance.last_speech.is_some() && !self.utterance.is_settled();
        if !answered.is_empty() || !matches!(&decision, Decision::EndOfTurn { digits: false, .. }) {
            self.expectation = Expectation::Any;
        }
        self.answered = Answered { text: answered, final_owed, speech_since: false };
        self.utterance = Utterance::default();
        self.keys = Keys::default();
        (self.recent, self.recent_voiced) = (0, 0);
        self.aside = Aside::None;
        self.holder = Holder::Agent;
        self.interruptible = Interruptible::Any;
        self.no_inputs = 0;
        decision
    }
}

impl Utterance {
    fn append(&mut self, text: &str) {
        if text.is_empty() || self.finals.len() >= MAX_TEXT {
            return;
        }
        if !self.finals.is_empty() {
            self.finals.push(' ');
        }
        self.finals.push_str(cut(text, MAX_TEXT));
    }

    /// Everything understood so far.
    fn text(&self) -> String {
        match (self.finals.is_empty(), self.interim.is_empty()) {
            (_, true) => self.finals.clone(),
            (true, false) => self.interim.clone(),
            (false, false) => format!("{} {}", self.finals, self.interim),
        }
    }

    /// Whether a final covers the last speech.
    fn is_settled(&self) -> bool {
        let covers = match (self.final_at, self.last_speech) {
            (Some(at), Some(last)) => at >= last,
            (at, None) => at.is_some(),
            (None, Some(_)) => false,
        };
        covers && self.interim.is_empty()
    }
}

/// Whole frames in a duration.
fn frames(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis() / FRAME.as_millis()).unwrap_or(u32::MAX)
}

/// The lowest `bits` bits.
fn mask(bits: u32) -> u64 {
    if bits >= 64 { u64::MAX } else { (1 << bits) - 1 }
}

/// At most `max` bytes of `text`, whole characters.
fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests;
