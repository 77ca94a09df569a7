//! Which word follows which: a trigram model with Witten-Bell back-off, counted from example sentences.
//! Deterministic: the same sentences in the same order give the same bytes. Knows words only.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Counts of words, pairs and triples.
#[derive(Debug, Default)]
pub struct LanguageModel {
    /// Numbers of words, in order of appearance; the two marks come first.
    numbers: BTreeMap<String, u32>,
    words: Vec<String>,
    unigrams: BTreeMap<u32, f64>,
    bigrams: BTreeMap<[u32; 2], f64>,
    trigrams: BTreeMap<[u32; 3], f64>,
}

const BEGIN: u32 = 0;
const END: u32 = 1;
/// What ARPA files say for "never".
const NEVER: f64 = -99.0;

impl LanguageModel {
    /// A model that has seen nothing.
    pub fn new() -> Self {
        let mut model = Self::default();
        model.number("<s>");
        model.number("</s>");
        model
    }

    /// Counts a sentence as if it had been seen `weight` times. Empty sentences are ignored.
    pub fn add(&mut self, sentence: &[impl AsRef<str>], weight: f64) {
        if sentence.is_empty() {
            return;
        }
        let mut history = [None, Some(BEGIN)];
        for word in sentence.iter().map(AsRef::as_ref).chain(["</s>"]) {
            let word = self.number(word);
            *self.unigrams.entry(word).or_default() += weight;
            if let Some(before) = history[1] {
                *self.bigrams.entry([before, word]).or_default() += weight;
                if let Some(first) = history[0] {
                    *self.trigrams.entry([first, before, word]).or_default() += weight;
                }
            }
            history = [history[1], Some(word)];
        }
    }

    /// Sum of the weights of all sentences.
    pub fn weight(&self) -> f64 {
        self.unigrams.get(&END).copied().unwrap_or_default()
    }

    /// The words that were seen, sorted.
    pub fn vocabulary(&self) -> BTreeSet<String> {
        self.words.iter().skip(2).cloned().collect()
    }

    fn number(&mut self, word: &str) -> u32 {
        if let Some(number) = self.numbers.get(word) {
            return *number;
        }
        let number = self.words.len() as u32;
        self.numbers.insert(word.to_owned(), number);
        self.words.push(word.to_owned());
        number
    }

    /// The model as an ARPA file (log base 10).
    pub fn to_arpa(&self) -> String {
        let estimate = Estimate::new(self);
        let mut text = format!(
            "\\data\\\nngram 1={}\nngram 2={}\nngram 3={}\n\n\\1-grams:\n",
            self.words.len(),
            self.bigrams.len(),
            self.trigrams.len()
        );
        // Writing to a String cannot fail, here and below.
        for (word, name) in (0..).zip(&self.words) {
            let probability = if word == BEGIN { NEVER } else { estimate.unigram(word).log10() };
            let _ = writeln!(text, "{probability:.4} {name} {:.4}", estimate.back_off_1(word).log10());
        }
        text.push_str("\n\\2-grams:\n");
        for [a, b] in self.bigrams.keys().copied() {
            let (probability, back_off) =
                (estimate.bigram([a, b]).log10(), estimate.back_off_2([a, b]).log10());
            let _ = writeln!(text, "{probability:.4} {} {} {back_off:.4}", self.name(a), self.name(b));
        }
        text.push_str("\n\\3-grams:\n");
        for [a, b, c] in self.trigrams.keys().copied() {
            let probability = estimate.trigram([a, b, c]).log10();
            let _ = writeln!(text, "{probability:.4} {} {} {}", self.name(a), self.name(b), self.name(c));
        }
        text.push_str("\n\\end\\\n");
        text
    }

    fn name(&self, word: u32) -> &str {
        &self.words[word as usize]
    }
}

/// What followed a history: how often anything did, and how many different words.
#[derive(Clone, Copy, Default)]
struct Followers {
    count: f64,
    kinds: f64,
}

impl Followers {
    fn add(&mut self, count: f64) {
        self.count += count;
        self.kinds += 1.0;
    }

    /// Witten-Bell: a new word comes as often as new words have come before.
    fn unseen_share(self) -> f64 {
        if self.kinds > 0.0 { self.kinds / (self.count + self.kinds) } else { 1.0 }
    }

    fn probability(self, count: f64, lower: f64) -> f64 {
        (count + self.kinds * lower) / (self.count + self.kinds)
    }
}

struct Estimate<'a> {
    model: &'a LanguageModel,
    after_nothing: Followers,
    after_one: BTreeMap<u32, Followers>,
    after_two: BTreeMap<[u32; 2], Followers>,
}

impl<'a> Estimate<'a> {
    fn new(model: &'a LanguageModel) -> Self {
        let mut estimate = Self {
            model,
            after_nothing: Followers::default(),
            after_one: BTreeMap::new(),
            after_two: BTreeMap::new(),
        };
        for count in model.unigrams.values() {
            estimate.after_nothing.add(*count);
        }
        for ([a, _], count) in &model.bigrams {
            estimate.after_one.entry(*a).or_default().add(*count);
        }
        for ([a, b, _], count) in &model.trigrams {
            estimate.after_two.entry([*a, *b]).or_default().add(*count);
        }
        estimate
    }

    fn unigram(&self, word: u32) -> f64 {
        let count = self.model.unigrams.get(&word).copied().unwrap_or_default();
        // An empty model has no followers at all.
        if self.after_nothing.kinds == 0.0 {
            return 1.0;
        }
        self.after_nothing.probability(count, 1.0 / self.after_nothing.kinds)
    }

    fn bigram(&self, [a, b]: [u32; 2]) -> f64 {
        let count = self.model.bigrams.get(&[a, b]).copied().unwrap_or_default();
        let after = self.after_one.get(&a).copied().unwrap_or_default();
        after.probability(count, self.unigram(b))
    }

    fn trigram(&self, [a, b, c]: [u32; 3]) -> f64 {
        let count = self.model.trigrams.get(&[a, b, c]).copied().unwrap_or_default();
        let after = self.after_two.get(&[a, b]).copied().unwrap_or_default();
        after.probability(count, self.bigram([b, c]))
    }

    fn back_off_1(&self, a: u32) -> f64 {
        self.after_one.get(&a).copied().unwrap_or_default().unseen_share()
    }

    fn back_off_2(&self, pair: [u32; 2]) -> f64 {
        self.after_two.get(&pair).copied().unwrap_or_default().unseen_share()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> LanguageModel {
        let mut model = LanguageModel::new();
        for sentence in ["book a table", "book a room", "cancel the table", "yes"] {
            let words: Vec<&str> = sentence.split(' ').collect();
            model.add(&words, 1.0);
        }
        model
    }

    fn words(model: &LanguageModel) -> impl Iterator<Item = u32> {
        1..model.words.len() as u32
    }

    #[test]
    fn the_probabilities_of_all_words_after_any_history_add_up_to_one() {
        let model = model();
        let estimate = Estimate::new(&model);
        let total: f64 = words(&model).map(|w| estimate.unigram(w)).sum();
        assert!((total - 1.0).abs() < 1e-9);
        for pair @ [a, b] in model.bigrams.keys().copied().filter(|[_, b]| *b != END) {
            let bigram = |w| match model.bigrams.contains_key(&[b, w]) {
                true => estimate.bigram([b, w]),
                false => estimate.back_off_1(b) * estimate.unigram(w),
            };
            let trigram = |w| match model.trigrams.contains_key(&[a, b, w]) {
                true => estimate.trigram([a, b, w]),
                false => estimate.back_off_2(pair) * bigram(w),
            };
            assert!((words(&model).map(bigram).sum::<f64>() - 1.0).abs() < 1e-9);
            assert!((words(&model).map(trigram).sum::<f64>() - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn what_was_seen_is_likelier_than_what_was_not() {
        let model = model();
        let estimate = Estimate::new(&model);
        let [book, a, table, room, the] = ["book", "a", "table", "room", "the"].map(|w| model.numbers[w]);
        assert!(estimate.trigram([book, a, room]) > estimate.trigram([book, a, the]));
        assert!(estimate.trigram([book, a, table]) > estimate.unigram(table));
    }

    #[test]
    fn the_same_sentences_give_the_same_file() {
        let text = model().to_arpa();
        assert_eq!(text, model().to_arpa());
        assert!(text.starts_with("\\data\\\nngram 1=9\nngram 2=11\nngram 3=9\n"), "{text}");
    }

    #[test]
    fn an_empty_sentence_is_ignored() {
        let mut model = LanguageModel::new();
        model.add(&[""; 0], 1.0);
        assert_eq!(model.weight(), 0.0);
        assert!(model.to_arpa().contains("ngram 2=0"));
    }
}
