//! The agent's reply of one turn, from the question to its last packet: what came, what was said, what is awaited.
//! Knows text, sentences and instants. Knows no audio and no provider.

use crate::{WordTime, cdr::Cause, config::Patience, hand_over::HandOver, latency::Marks};
use conversation::{Interruptible, SentenceChunker, SpokenForm, TurnId};
use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

/// Sentences given to text-to-speech before the first of them is complete. Keeps its queue from ever being full.
const AHEAD: usize = 4;

/// What an agent's spoken letter takes on average: how long an unfinished sentence would have become.
pub(crate) const PER_CHARACTER: Duration = Duration::from_millis(62);

/// A model that adds nothing for so long has paused.
const IDLE: Duration = Duration::from_millis(120);

/// A reply under way.
pub(crate) struct Reply {
    pub(crate) turn: TurnId,
    pub(crate) chunker: SentenceChunker,
    pub(crate) sentences: Vec<Sentence>,
    /// Sentences not yet given to text-to-speech.
    pub(crate) waiting: VecDeque<usize>,
    /// The first sentence as text-to-speech was given it on a guess.
    pub(crate) prespoken: Option<String>,
    /// Nothing more will be added to `sentences`.
    pub(crate) text_done: bool,
    /// Text-to-speech was told so.
    pub(crate) finished: bool,
    pub(crate) tools: BTreeMap<String, RunningTool>,
    /// Changes that tools were asked for in this turn: name and arguments.
    pub(crate) changes: Vec<(String, serde_json::Value)>,
    /// Times the model was asked within this turn.
    pub(crate) rounds: u32,
    /// The model is writing.
    pub(crate) asked: bool,
    /// The model said something since it was last asked.
    pub(crate) answered: bool,
    /// Tool results came since it was last asked: it has to hear of them.
    pub(crate) results: bool,
    pub(crate) last_text: Instant,
    pub(crate) last_audio: Instant,
    pub(crate) marks: Option<Marks>,
    pub(crate) first_packet: bool,
    /// A stage has failed it: what can still be said is said, then a prepared sentence.
    pub(crate) failed: bool,
    /// Text-to-speech is given up: only what the playout holds is still heard.
    pub(crate) mute: bool,
    /// A prepared sentence has already saved this turn.
    pub(crate) saved: bool,
    /// No model answered it.
    pub(crate) unanswered: bool,
    /// It follows a menu: no model is asked, whatever its tools answer.
    pub(crate) scripted: bool,
    /// Another agent goes on once it has been said.
    pub(crate) hand_over: Option<HandOver>,
    /// What may cut in on sentences that are added from now on.
    pub(crate) rule: Interruptible,
    /// Pressed for the other side once it has been said.
    pub(crate) keys: String,
    /// Hang up once it has been said.
    pub(crate) then: Option<Cause>,
}

/// One sentence of a reply.
pub(crate) struct Sentence {
    /// As it is written.
    pub(crate) text: String,
    /// As it is read aloud.
    pub(crate) spoken: SpokenForm,
    pub(crate) done: bool,
    /// What may cut in while it is heard.
    pub(crate) rule: Interruptible,
    /// When its words end, as far as text-to-speech says.
    pub(crate) words: Vec<WordTime>,
}

/// A tool this turn waits for.
pub(crate) struct RunningTool {
    pub(crate) name: String,
    pub(crate) started: Instant,
    /// The turn that called it.
    pub(crate) turn: TurnId,
    /// When the turn goes on without it.
    pub(crate) until: Instant,
}

/// What has been waited for long enough.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// The model has not said anything, or stopped in the middle.
    Llm,
    /// No audio for the sentence whose turn it is.
    Tts,
    /// This tool call.
    Tool(String),
}

impl Reply {
    pub(crate) fn new(now: Instant, turn: TurnId, language: &str, rule: Interruptible) -> Self {
        Self {
            turn,
            chunker: SentenceChunker::new(language),
            sentences: Vec::new(),
            waiting: VecDeque::new(),
            prespoken: None,
            text_done: false,
            finished: false,
            tools: BTreeMap::new(),
            changes: Vec::new(),
            rounds: 0,
            asked: false,
            answered: false,
            results: false,
            last_text: now,
            last_audio: now,
            marks: None,
            first_packet: false,
            failed: false,
            mute: false,
            saved: false,
            unanswered: false,
            scripted: false,
            hand_over: None,
            keys: String::new(),
            rule,
            then: None,
        }
    }

    /// Adds a sentence and returns its number.
    pub(crate) fn add(&mut self, text: String, spoken: SpokenForm, done: bool) -> usize {
        self.sentences.push(Sentence { text, spoken, done, rule: self.rule, words: Vec::new() });
        self.sentences.len() - 1
    }

    /// Whether text-to-speech owes audio for this sentence.
    pub(crate) fn awaits(&self, sentence: u32) -> bool {
        let index = sentence as usize;
        self.sentences.get(index).is_some_and(|sentence| !sentence.done) && !self.waiting.contains(&index)
    }

    /// The next sentence that may go to text-to-speech.
    pub(crate) fn next_to_speak(&mut self) -> Option<usize> {
        let next = *self.waiting.front()?;
        let under_way = self.sentences[..next].iter().filter(|sentence| !sentence.done).count();
        if under_way < AHEAD { self.waiting.pop_front() } else { None }
    }

    /// Whether everything that will be said has been handed to the playout.
    pub(crate) fn audio_done(&self) -> bool {
        self.mute
            || self.text_done && self.tools.is_empty() && self.sentences.iter().all(|sentence| sentence.done)
    }

    /// What the agent is doing, for the trace of a barge-in.
    pub(crate) fn state(&self, playing: bool) -> &'static str {
        match () {
            () if self.turn == TurnId::default() => "greeting",
            () if !self.tools.is_empty() && !playing => "tool",
            () if !self.answered && self.sentences.is_empty() => "thinking",
            () if !self.text_done => "streaming",
            () => "speaking",
        }
    }

    /// When words that wait for the rest of their clause are said without it: the model pauses.
    pub(crate) fn idle_at(&self) -> Option<Instant> {
        let holding = self.asked && self.answered && self.chunker.is_holding();
        holding.then(|| self.last_text + IDLE)
    }

    /// What has been waited for long enough. `silent_since` is when the playout ran out of audio, if it has.
    pub(crate) fn overdue(
        &self,
        now: Instant,
        silent_since: Option<Instant>,
        patience: &Patience,
    ) -> Option<Overdue> {
        let tool = self.tools.iter().find(|(_, tool)| now >= tool.until);
        if let Some((id, _)) = tool {
            return Some(Overdue::Tool(id.clone()));
        }
        if self.asked && now - self.last_text >= patience.reply {
            return Some(Overdue::Llm);
        }
        let awaited = !self.mute && self.sentences.iter().any(|sentence| !sentence.done);
        let since = silent_since?.max(self.last_audio);
        (awaited && now - since >= patience.speech).then_some(Overdue::Tts)
    }

    /// How long a sentence becomes when spoken, roughly.
    pub(crate) fn expected(&self, sentence: usize) -> Duration {
        let characters =
            self.sentences.get(sentence).map_or(0, |sentence| sentence.spoken.text().chars().count());
        PER_CHARACTER * u32::try_from(characters).unwrap_or(u32::MAX)
    }
}
