//! Which intent a noisy sentence means: by its keywords and slots, not by whole sentences.
//! Knows words and their weight. Knows nothing of the conversation.

use crate::{
    agent::{Intent, Slot, SlotKind},
    grammar::{Pattern, Piece, is_value_word, parse_day, parse_name, parse_time, spoken_digits},
};
use std::collections::{BTreeMap, BTreeSet};

/// Ways to say a phrase that are looked at.
const MAX_SHAPES: u64 = 400;
/// What a word that no intent uses takes away from a match.
const STRANGE: f32 = 0.4;
/// What a word that carries no meaning by itself is worth.
const SMALL: f32 = 0.15;
/// A match below this is none.
pub(super) const LEAST: f32 = 0.5;

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
        let all: f32 = text
            .iter()
            .filter(|word| !is_value_word(word) || self.weights.contains_key(**word))
            .map(|word| self.weight(word))
            .sum();
        let scored = intents.iter().flat_map(|intent| {
            let text = &text;
            let found = &found;
            intent.skeletons.iter().map(move |shape| (intent, self.score(shape, text, found, all)))
        });
        // Of equals the first in the file.
        let best = scored.fold(None, |best: Option<(&Intent, f32)>, next| match best {
            Some(best) if best.1 >= next.1 => Some(best),
            Some(_) | None => Some(next),
        });
        best.filter(|(_, score)| *score >= LEAST)
    }

    fn weight(&self, word: &str) -> f32 {
        let small = || if SMALL_WORDS.contains(&word) { SMALL / 2.0 } else { STRANGE };
        self.weights.get(word).copied().unwrap_or_else(small)
    }

    /// Twice what both have over all that either has.
    fn score(&self, shape: &[Piece], text: &BTreeSet<&str>, found: &BTreeSet<&str>, all: f32) -> f32 {
        let (mut both, mut own) = (0.0, 0.0);
        let mut slots = 0.0;
        for piece in shape {
            let (weight, there) = match piece {
                Piece::Word(word) => (self.weight(word), text.contains(word.as_str())),
                Piece::Slot(name) => {
                    let there = found.contains(name.as_str());
                    slots += if there { 0.5 } else { 0.0 };
                    (0.5, there)
                }
            };
            own += weight;
            both += if there { weight } else { 0.0 };
        }
        2.0 * both / (own + all + slots)
    }
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
