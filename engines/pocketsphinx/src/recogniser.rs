//! One recogniser: telephone audio in, words out, one utterance after the other.
//! Says nothing about when an utterance begins or ends: that is for who listens to the call.

use crate::decoder::{Decoder, Segment};
use crate::frontend::{Cepstrum, ChannelMean, FrontEnd};
use std::collections::VecDeque;
use std::ffi::CStr;

/// What the next utterance will likely be. The others stay possible, they only are less likely.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Search {
    /// Anything in the agent's sentences.
    #[default]
    Any,
    /// A string of digits.
    Digits,
    /// Yes or no.
    YesNo,
}

impl Search {
    pub(crate) const fn name(self) -> &'static CStr {
        match self {
            Self::Any => c"any",
            Self::Digits => c"digits",
            Self::YesNo => c"yes-no",
        }
    }
}

/// A word of an utterance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// As in the sentences.
    pub text: String,
    /// When it began, in units of 10 ms since the start of the utterance.
    pub start: u32,
    /// When it ended, likewise.
    pub end: u32,
}

/// What was understood.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Utterance {
    /// The words, in order; empty if there were none.
    pub words: Vec<Word>,
    /// Mean log probability (natural) of the words' frames against the best of all that was considered: 0 is perfect. None
    /// without words, and for grammars.
    pub fit: Option<f32>,
}

impl Utterance {
    /// How surely this is what was said, 0 to 1: far from 0 for what the agent's words can explain, near 0 for other
    /// speech and for noise. A guide, not a probability.
    pub fn confidence(&self) -> Option<f32> {
        self.fit.map(|fit| 1.0 / (1.0 + ((EVEN_FIT - fit) * FIT_SLOPE).exp()))
    }

    /// The words with spaces between them.
    pub fn text(&self) -> String {
        self.words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ")
    }
}

/// A fit that is as likely for the agent's words as for anything else, and how fast that changes.
const EVEN_FIT: f32 = -4.3;
const FIT_SLOPE: f32 = 3.0;
/// Acoustic scores of n-gram searches are logarithms to the base 1.0001.
const NATS: f32 = 1e-4;

/// How much of the audio before an utterance is heard with it: 300 ms.
const PRE_ROLL: usize = 30;

/// A decoder with its front-end.
pub struct Recogniser {
    decoder: Decoder,
    front_end: FrontEnd,
    channel: ChannelMean,
    pre_roll: VecDeque<Cepstrum>,
    active: bool,
    /// Whether a grammar is searched, whose scores say nothing about the fit.
    grammar: bool,
}

impl Recogniser {
    pub(crate) fn new(mut decoder: Decoder) -> Option<Self> {
        decoder.select(Search::Any.name()).then(|| Self {
            decoder,
            front_end: FrontEnd::new(),
            channel: ChannelMean::default(),
            pre_roll: VecDeque::with_capacity(PRE_ROLL),
            active: false,
            grammar: false,
        })
    }

    /// Forgets the call before: its channel, its noise and its last words.
    pub fn reset(&mut self) {
        self.end_utterance();
        self.front_end.reset();
        self.channel = ChannelMean::default();
        self.pre_roll.clear();
        self.select(Search::Any);
    }

    /// Chooses what the next utterance will likely be. Ignored (false) within an utterance.
    pub fn select(&mut self, search: Search) -> bool {
        let selected = !self.active && self.decoder.select(search.name());
        self.grammar &= !selected;
        selected
    }

    /// Switches to a grammar of [`crate::Model::add_grammar`]; nothing else can be understood then. False within an
    /// utterance, or if there is no such grammar.
    pub fn select_grammar(&mut self, name: &CStr) -> bool {
        let selected = !self.active && self.decoder.select(name);
        self.grammar |= selected;
        selected
    }

    /// Hears 8 kHz samples, in pieces of any length: all of the call, whether or not an utterance is on.
    pub fn push(&mut self, samples: &[i16]) {
        let Self { decoder, front_end, channel, pre_roll, active, .. } = self;
        front_end.push(samples, |cepstrum| {
            if *active {
                decoder.process(channel.normalise(&cepstrum));
            } else {
                if pre_roll.len() == PRE_ROLL {
                    pre_roll.pop_front();
                }
                pre_roll.push_back(cepstrum);
            }
        });
    }

    /// Begins an utterance, with the audio of the last 300 ms. False if one is on already.
    pub fn start_utterance(&mut self) -> bool {
        if self.active || !self.decoder.start() {
            return false;
        }
        self.active = true;
        for cepstrum in self.pre_roll.drain(..) {
            self.decoder.process(self.channel.normalise(&cepstrum));
        }
        true
    }

    /// Whether an utterance is on.
    pub fn is_active(&self) -> bool {
        self.active
    }

    /// The words so far; they may still change.
    pub fn hypothesis(&mut self) -> Option<String> {
        if !self.active {
            return None;
        }
        self.decoder.hypothesis().filter(|words| !words.is_empty())
    }

    /// Ends the utterance. Empty if none is on, or if there were no words in it.
    pub fn end_utterance(&mut self) -> Utterance {
        if !self.active {
            return Utterance::default();
        }
        self.active = false;
        if !self.decoder.end() {
            return Utterance::default();
        }
        // The second pass over the word graph happens when the hypothesis is asked for.
        let _ = self.decoder.hypothesis();
        let heard = utterance(&self.decoder.segments());
        if self.grammar { Utterance { fit: None, ..heard } } else { heard }
    }
}

fn utterance(segments: &[Segment]) -> Utterance {
    let words: Vec<&Segment> = segments.iter().filter(|segment| !is_filler(&segment.text)).collect();
    let frames: u32 = words.iter().map(|word| word.frames.1.saturating_sub(word.frames.0) + 1).sum();
    let score: f32 = words.iter().map(|word| word.acoustic as f32).sum();
    Utterance {
        fit: (frames > 0).then(|| NATS * score / frames as f32),
        words: words
            .into_iter()
            .map(|word| Word {
                text: without_alternative(&word.text).to_owned(),
                start: word.frames.0,
                end: word.frames.1 + 1,
            })
            .collect(),
    }
}

/// Silence and noise.
fn is_filler(word: &str) -> bool {
    word.starts_with(['<', '[', '+']) || word == "(NULL)"
}

/// `a(2)` is `a`, pronounced in the second way.
fn without_alternative(word: &str) -> &str {
    word.split_once('(').map_or(word, |(word, _)| word)
}
