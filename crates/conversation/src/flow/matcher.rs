//! Which intent a noisy sentence means: by its keywords and slots, not by whole sentences.
//! Knows words and their weight. Knows nothing of the conversation.

use crate::{
    agent::{Action, Intent, Slot, SlotKind},
    grammar::{Pattern, Piece, is_value_word, parse_day, parse_name, parse_time, spoken_digits},
};
use std::collections::{BTreeMap, BTreeSet};

/// Ways to say a phrase that are looked at.
const MAX_SHAPES: u64 = 400;
/// What a word that no intent uses takes away from a match.
const STRANGE: f32 = 0.4;
/// What a word that carries no meaning by itself is worth.
const SMALL: f32 = 0.15;
/// What a slot is worth, in a phrase and in what was said.
const SLOT: f32 = 0.8;
/// A match below this is none.
const LEAST: f32 = 0.5;
/// A match that has less in common is none unless it is whole: "what is the" means nothing.
const LEAST_COMMON: f32 = 0.5;
/// Hanging up cannot be undone.
const LEAST_TO_END: f32 = 0.75;

/// Words that carry no meaning by themselves.
const SMALL_WORDS: &[&str] = &[
    "a", "am", "an", "and", "any", "are", "at", "be", "can", "could", "did", "do", "does", "for", "from",
    "get", "give", "go", "have", "hello", "hey", "hi", "i", "i'd", "i'll", "i'm", "in", "is", "it", "just",
    "let", "let's", "like", "may", "me", "my", "need", "of", "oh", "okay", "on", "or", "our", "please", "so",
    "some", "right", "that", "that's", "the", "there", "this", "to", "uh", "um", "us", "want", "wanna", "we",
    "well", "what", "what's", "will", "with", "would", "you", "your", "yes", "no",
];

/// The keywords of every way to say a phrase; each once.
pub(crate) fn keywords(pattern: &Pattern) -> Vec<Vec<Piece>> {
    let bags = pattern.some(MAX_SHAPES).map(|shape| shape.into_iter().collect::<BTreeSet<_>>());
    bags.map(|bag| bag.into_iter().collect()).collect::<BTreeSet<Vec<Piece>>>().into_iter().collect()
}

/// What every word is worth.
#[derive(Clone, Debug, Default)]
pub(crate) struct Matcher {
    weights: BTreeMap<String, f32>,
}

impl Matcher {
    /// A word that few intents use is worth more.
    pub(crate) fn new(intents: &[Intent]) -> Self {
        let mut used: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
        for (n, intent) in intents.iter().enumerate() {
            for piece in intent.skeletons.iter().flatten() {
                if let Piece::Word(word) = piece {
                    used.entry(word).or_default().insert(n);
                }
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "few intents")]
        let weight = |word: &str, by: usize| {
            if SMALL_WORDS.contains(&word) { SMALL } else { 1.0 / (by as f32).sqrt() }
        };
        Self {
            weights: used.into_iter().map(|(word, by)| (word.to_owned(), weight(word, by.len()))).collect(),
        }
    }

    /// The intent that fits best, and how well, 0 to 1.
    pub(crate) fn best<'a>(
        &self,
        intents: &'a [Intent],
        slots: &BTreeMap<String, Slot>,
        heard: &[String],
    ) -> Option<(&'a Intent, f32)> {
        let found: BTreeSet<&str> =
            slots.values().filter(|slot| is_said(slot, heard)).map(|slot| slot.name.as_str()).collect();
        let text: BTreeSet<&str> = heard.iter().map(String::as_str).collect();
        let meant = |word: &&&str| !is_value_word(word) || self.weights.contains_key(**word);
        let values = SLOT * said(found.len());
        let all: f32 = text.iter().filter(meant).map(|word| self.weight(word)).sum::<f32>() + values;
        let scored = intents.iter().flat_map(|intent| {
            // A day or a number by itself says what a task needs, but asks for nothing else.
            let task = matches!(intent.action, Action::Task(_));
            let slot_counts = if task { SLOT } else { 0.0 };
            let score = |shape: &Vec<Piece>| self.score(shape, &text, &found, all, slot_counts);
            let best = intent.skeletons.iter().map(score).fold(0.0, f32::max);
            let ends = matches!(intent.action, Action::Goodbye { .. });
            (best >= if ends { LEAST_TO_END } else { LEAST }).then_some((intent, best))
        });
        // Of equals the first in the file.
        scored.fold(None, |best, next| match best {
            Some((_, score)) if score >= next.1 => best,
            Some(_) | None => Some(next),
        })
    }

    fn weight(&self, word: &str) -> f32 {
        let small = || if SMALL_WORDS.contains(&word) { SMALL / 2.0 } else { STRANGE };
        self.weights.get(word).copied().unwrap_or_else(small)
    }

    /// Twice what both have over all that either has.
    fn score(
        &self,
        shape: &[Piece],
        text: &BTreeSet<&str>,
        found: &BTreeSet<&str>,
        all: f32,
        slot_counts: f32,
    ) -> f32 {
        let (mut both, mut own, mut common) = (0.0, 0.0, 0.0);
        for piece in shape {
            let (weight, counts, there) = match piece {
                Piece::Word(word) => {
                    let weight = self.weight(word);
                    (weight, weight, text.contains(word.as_str()))
                }
                Piece::Slot(name) => (SLOT, slot_counts, found.contains(name.as_str())),
            };
            own += weight;
            if there {
                both += weight;
                common += counts;
            }
        }
        let score = 2.0 * both / (own + all);
        if common < LEAST_COMMON && score < 0.99 { 0.0 } else { score }
    }
}

#[expect(clippy::cast_precision_loss, reason = "few slots")]
fn said(count: usize) -> f32 {
    count as f32
}

/// Whether something of the slot's kind is in the words.
fn is_said(slot: &Slot, heard: &[String]) -> bool {
    match &slot.kind {
        // Any day will do: only whether there is one matters.
        SlotKind::Date => parse_day(heard, jiff::civil::date(2024, 1, 1)).is_some(),
        SlotKind::Time => parse_time(heard).is_some_and(|time| time.precise),
        SlotKind::Digits { length } => spoken_digits(heard).len() >= usize::from(length.unwrap_or(3)),
        SlotKind::Name { known } => parse_name(heard, known, false).is_some(),
    }
}
