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
/// A match that has less in common is none unless it is nearly whole: "what is the" means nothing.
const LEAST_COMMON: f32 = 0.5;
const NEARLY_WHOLE: f32 = 0.85;
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

/// Every way to say every intent, ready to be compared.
#[derive(Clone, Debug, Default)]
pub(crate) struct Matcher {
    /// Every word and slot of any intent.
    terms: BTreeMap<Piece, usize>,
    /// What each is worth.
    weights: Vec<f32>,
    /// For each intent its shapes.
    shapes: Vec<Vec<Shape>>,
}

#[derive(Clone, Debug)]
struct Shape {
    terms: Vec<usize>,
    /// Their worth together.
    weight: f32,
}

impl Matcher {
    /// A word that few intents use is worth more.
    pub(crate) fn new(intents: &[Intent]) -> Self {
        let mut used: BTreeMap<Piece, BTreeSet<usize>> = BTreeMap::new();
        for (n, intent) in intents.iter().enumerate() {
            for piece in intent.skeletons.iter().flatten() {
                used.entry(piece.clone()).or_default().insert(n);
            }
        }
        let weight = |(piece, by): (&Piece, &BTreeSet<usize>)| match piece {
            Piece::Slot(_) => SLOT,
            Piece::Word(word) if SMALL_WORDS.contains(&word.as_str()) => SMALL,
            Piece::Word(_) => 1.0 / float(by.len()).sqrt(),
        };
        let weights: Vec<f32> = used.iter().map(weight).collect();
        let terms: BTreeMap<Piece, usize> =
            used.into_keys().enumerate().map(|(n, piece)| (piece, n)).collect();
        let shape = |pieces: &Vec<Piece>| {
            let terms: Vec<usize> = pieces.iter().map(|piece| terms[piece]).collect();
            let weight = terms.iter().map(|term| weights[*term]).sum();
            Shape { terms, weight }
        };
        let shapes = intents.iter().map(|intent| intent.skeletons.iter().map(shape).collect()).collect();
        Self { terms, weights, shapes }
    }

    /// The intent that fits best, and how well, 0 to 1.
    pub(crate) fn best<'a>(
        &self,
        intents: &'a [Intent],
        slots: &BTreeMap<String, Slot>,
        heard: &[String],
    ) -> Option<(&'a Intent, f32)> {
        let said = Said::new(self, slots, heard);
        let scored = intents.iter().zip(&self.shapes).filter_map(|(intent, shapes)| {
            // A day or a number by itself says what a task needs, but asks for nothing else.
            let task = matches!(intent.action, Action::Task(_));
            let best = shapes.iter().map(|shape| self.score(shape, &said, task)).fold(0.0, f32::max);
            let ends = matches!(intent.action, Action::Goodbye { .. });
            (best >= if ends { LEAST_TO_END } else { LEAST }).then_some((intent, best))
        });
        // Of equals the first in the file.
        scored.fold(None, |best, next| match best {
            Some((_, score)) if score >= next.1 => best,
            Some(_) | None => Some(next),
        })
    }

    /// Twice what both have over all that either has.
    fn score(&self, shape: &Shape, said: &Said, slots_count: bool) -> f32 {
        let (mut both, mut common) = (0.0, 0.0);
        for &term in shape.terms.iter().filter(|term| said.there[**term]) {
            both += self.weights[term];
            common += if slots_count || !said.is_slot[term] { self.weights[term] } else { 0.0 };
        }
        let score = 2.0 * both / (shape.weight + said.weight);
        if common < LEAST_COMMON && score < NEARLY_WHOLE { 0.0 } else { score }
    }
}

/// What the caller said, in the matcher's terms.
struct Said {
    /// For every term whether it was said.
    there: Vec<bool>,
    is_slot: Vec<bool>,
    /// What it is worth together, strange words too.
    weight: f32,
}

impl Said {
    fn new(matcher: &Matcher, slots: &BTreeMap<String, Slot>, heard: &[String]) -> Self {
        let mut there = vec![false; matcher.weights.len()];
        let mut is_slot = there.clone();
        let mut weight = 0.0;
        for word in heard.iter().collect::<BTreeSet<_>>() {
            match matcher.terms.get(&Piece::Word(word.clone())) {
                Some(term) => {
                    there[*term] = true;
                    weight += matcher.weights[*term];
                }
                None if is_value_word(word) => {}
                None => weight += if SMALL_WORDS.contains(&word.as_str()) { SMALL / 2.0 } else { STRANGE },
            }
        }
        for slot in slots.values() {
            let found = is_said(slot, heard);
            weight += if found { SLOT } else { 0.0 };
            if let Some(term) = matcher.terms.get(&Piece::Slot(slot.name.clone())) {
                there[*term] = found;
                is_slot[*term] = true;
            }
        }
        Self { there, is_slot, weight }
    }
}

#[expect(clippy::cast_precision_loss, reason = "few intents")]
fn float(count: usize) -> f32 {
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
