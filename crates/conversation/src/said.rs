//! Digits as callers say them, in every language that has a table of numbers: what they are, and how they are kept from
//! being read. Knows words. Who asked for them, and who may know them, is decided elsewhere.

use crate::{
    grammar::{spoken_digits, words},
    spoken::Language,
};

/// The digits in a text, in order: said as words or written by speech-to-text.
pub fn said_digits(text: &str, language: &str) -> String {
    match Language::of(language) {
        Some(Language::English { .. }) => spoken_digits(&words(text)),
        other => parts(text).map(|part| digits_of(part, other).unwrap_or_default()).collect(),
    }
}

/// The same text with a star for each digit, and for each word that is a number.
pub fn hide_digits(text: &str, language: &str) -> String {
    let known = Language::of(language);
    let hide = |part: &str| {
        let english = matches!(known, Some(Language::English { .. }));
        let number = match english {
            true => !spoken_digits(&words(part)).is_empty() || matches!(part, "double" | "triple" | "oh"),
            false => digits_of(part, known).is_some(),
        };
        if number { hidden(part) } else { part.to_owned() }
    };
    text.split_inclusive(char::is_whitespace)
        .map(|part| {
            let word = part.trim_end();
            format!("{}{}", hide(word), &part[word.len()..])
        })
        .collect()
}

/// A text in which nothing can be read: a star for each word, or for each digit of a number.
pub fn hide_all(text: &str) -> String {
    text.split_whitespace().map(hidden).collect::<Vec<_>>().join(" ")
}

fn hidden(word: &str) -> String {
    let digits = word.chars().filter(char::is_ascii_digit).count();
    "*".repeat(digits.max(1))
}

fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split_whitespace()
}

/// The digits of one word; `None` if it is no number.
fn digits_of(part: &str, language: Option<Language>) -> Option<String> {
    let written: String = part.chars().filter(char::is_ascii_digit).collect();
    if !written.is_empty() {
        return Some(written);
    }
    let word = part.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
    let table = language?.table();
    let digit = table.digits.iter().position(|digit| *digit == word);
    if let Some(digit) = digit.or((word == "zwo").then_some(2)) {
        return Some(digit.to_string());
    }
    (10..100).find(|n| (table.cardinal)(*n) == word).map(|n| n.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_known_as_they_are_said_in_each_language() {
        for (said, language, digits) in [
            ("it's four seven double one", "en-US", "4711"),
            ("4711.", "en-GB", "4711"),
            ("forty seven eleven", "en", "4711"),
            ("vier sieben eins eins", "de-DE", "4711"),
            ("Siebenundvierzig, elf!", "de", "4711"),
            ("zwo null fünf", "de", "205"),
            ("cuatro siete uno uno", "es-ES", "4711"),
            ("quatre sept un un", "fr", "4711"),
            ("4 7 1 1", "pl", "4711"),
            ("I have forgotten it", "en", ""),
        ] {
            assert_eq!(said_digits(said, language), digits, "{said}");
        }
    }

    #[test]
    fn what_is_hidden_cannot_be_read() {
        assert_eq!(hide_digits("it is four seven 11, please", "en"), "it is * * ** please");
        assert_eq!(hide_digits("double one", "en"), "* *");
        assert_eq!(hide_digits("meine Nummer ist vier elf", "de"), "meine Nummer ist * *");
        assert_eq!(hide_digits("to jest 4711", "pl"), "to jest ****");
        assert_eq!(hide_all("for seven 11"), "* * **");
    }
}
