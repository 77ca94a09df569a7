//! Whether a sentence sounds whole, by its words alone: for transcripts that come without punctuation.
//! Knows a few words of each language. Knows neither silence nor what was asked: `endpointing` weighs it with the rest.

use crate::{grammar::words, turn::Expectation};

/// What a classifier may look at.
#[derive(Clone, Copy)]
pub struct SoFar<'a> {
    /// Everything understood of the utterance. The caller's words: they belong into no log.
    pub text: &'a str,
    /// What the caller was asked for.
    pub expectation: Expectation,
    /// A BCP 47 tag.
    pub language: &'a str,
}

/// Tells how likely it is that an utterance is over. Asked once for each change of the words while the caller pauses, on
/// the thread of the call: it may take a tenth of a millisecond, not more.
pub trait TurnClassifier: std::fmt::Debug + Send + Sync {
    /// 0: it surely goes on; 1: it is surely over; `None`: no opinion. Above 0.75 counts as over, below 0.25 as not.
    fn likelihood(&self, so_far: &SoFar<'_>) -> Option<f32>;
}

/// The classifier that is built in: small words and how sentences begin, in English, German, Spanish and French.
#[derive(Clone, Copy, Debug, Default)]
pub struct SmallWords;

impl TurnClassifier for SmallWords {
    fn likelihood(&self, so_far: &SoFar<'_>) -> Option<f32> {
        let language = Language::of(so_far.language)?;
        let said = words(so_far.text);
        let last = said.last()?;
        if language.open.contains(&last.as_str()) {
            return Some(0.1);
        }
        let whole = |phrases: &[&str]| {
            phrases.iter().any(|phrase| said.iter().map(String::as_str).eq(phrase.split(' ')))
        };
        if whole(language.closers) {
            return Some(0.9);
        }
        if language.wanting.contains(&last.as_str()) {
            return None; // "I would like to change": what?
        }
        let begins = |openers: &[&str]| {
            openers.iter().any(|opener| {
                let count = opener.split(' ').count();
                // After "hello", "so", "well" and the like.
                (0..=2).any(|skip| {
                    said.len() > skip
                        && said[skip..].iter().take(count).map(String::as_str).eq(opener.split(' '))
                })
            })
        };
        if begins(language.questions) && said.len() >= 3 {
            return Some(0.85);
        }
        (begins(language.statements) && said.len() >= 4).then_some(0.8)
    }
}

/// What is known of a language.
struct Language {
    /// A sentence does not end with one of these.
    open: &'static [&'static str],
    /// Nor, usually, with one of these: they want an object.
    wanting: &'static [&'static str],
    /// Sentences that are whole by themselves.
    closers: &'static [&'static str],
    /// Questions begin with these.
    questions: &'static [&'static str],
    /// Statements begin with these.
    statements: &'static [&'static str],
}

impl Language {
    fn of(tag: &str) -> Option<&'static Self> {
        let primary = tag.split(['-', '_']).next()?;
        LANGUAGES.iter().find(|(name, _)| name.eq_ignore_ascii_case(primary)).map(|(_, language)| language)
    }
}

/// Whether nothing ends with this word in this language.
pub(crate) fn is_open(word: &str, language: &str) -> bool {
    Language::of(language).is_some_and(|language| language.open.contains(&word))
}

const LANGUAGES: [(&str, Language); 4] = [
    (
        "en",
        Language {
            open: &[
                "a", "about", "and", "an", "at", "because", "but", "by", "for", "from", "have", "i", "i'd",
                "i'll", "i'm", "if", "in", "is", "it's", "its", "like", "my", "of", "on", "or", "our", "so",
                "than", "that's", "the", "their", "then", "to", "uh", "um", "umm", "er", "hmm", "want",
                "was", "we", "well", "with", "would", "your", "are", "am", "between", "when", "until",
                "this", "very", "really", "also", "maybe", "as",
            ],
            wanting: &[
                "book", "make", "change", "cancel", "need", "know", "ask", "get", "see", "find", "order",
                "pay", "speak", "talk", "call", "send", "tell", "give", "check", "move", "please", "that",
                "do", "can", "could", "take",
            ],
            closers: &[
                "thank you",
                "thanks",
                "thank you very much",
                "goodbye",
                "bye",
                "bye bye",
                "that's all",
                "that is all",
                "that's it",
                "no thanks",
                "no thank you",
                "yes please",
                "never mind",
                "i don't know",
                "i'm not sure",
                "that's right",
                "that's correct",
                "that's wrong",
                "i agree",
                "stop",
                "help",
                "wait a moment",
            ],
            questions: &[
                "what", "when", "where", "how", "who", "which", "why", "can", "could", "do", "does", "did",
                "is", "are", "will", "would", "what's", "when's", "where's", "how's", "may", "should",
                "have you", "has",
            ],
            statements: &[
                "i", "i'd", "i'll", "i'm", "i've", "we", "we're", "my", "the", "it", "it's", "that", "this",
                "there", "please", "let", "let's", "he", "she", "they", "you", "your", "tell", "give",
                "book", "cancel", "change", "send",
            ],
        },
    ),
    (
        "de",
        Language {
            open: &[
                "und", "oder", "aber", "weil", "dass", "ich", "der", "die", "das", "den", "dem", "des",
                "ein", "eine", "einen", "einem", "einer", "mein", "meine", "meinen", "meiner", "meinem",
                "zu", "zum", "zur", "mit", "von", "vom", "für", "auf", "am", "im", "in", "an", "um", "bei",
                "wenn", "ob", "ist", "äh", "ähm", "hm", "also", "dann", "noch", "wir", "sehr", "bis", "ab",
                "nach", "aus", "über", "unter", "wie", "als", "denn", "nämlich", "möchte", "würde", "unser",
            ],
            wanting: &["bitte", "habe", "brauche", "kann", "will", "hätte", "gern", "gerne"],
            closers: &[
                "danke",
                "vielen dank",
                "danke schön",
                "tschüss",
                "auf wiederhören",
                "auf wiedersehen",
                "das war's",
                "das ist alles",
                "nein danke",
                "ja bitte",
                "ja gerne",
                "ich weiß nicht",
                "das stimmt",
                "stopp",
                "hilfe",
            ],
            questions: &[
                "was", "wann", "wo", "wie", "wer", "welche", "welcher", "welches", "warum", "kann", "können",
                "könnten", "haben", "hat", "ist", "sind", "gibt", "darf", "wird", "würden", "wohin",
                "wieviel",
            ],
            statements: &[
                "ich", "wir", "mein", "meine", "der", "die", "das", "es", "bitte", "er", "sie", "da", "dann",
            ],
        },
    ),
    (
        "es",
        Language {
            open: &[
                "y", "o", "u", "pero", "porque", "que", "el", "la", "los", "las", "un", "una", "unos",
                "unas", "mi", "mis", "de", "del", "a", "al", "en", "con", "para", "por", "es", "eh", "este",
                "esta", "yo", "si", "cuando", "como", "muy", "su", "sobre", "entre", "hasta", "desde", "sin",
                "quiero", "quisiera", "me", "se", "le", "lo", "entonces", "pues",
            ],
            wanting: &[
                "favor", "reservar", "cambiar", "cancelar", "hablar", "saber", "necesito", "tengo", "hacer",
            ],
            closers: &[
                "gracias",
                "muchas gracias",
                "adiós",
                "hasta luego",
                "eso es todo",
                "nada más",
                "no gracias",
                "sí por favor",
                "no lo sé",
                "no sé",
                "está bien",
                "ayuda",
            ],
            questions: &[
                "qué", "cuándo", "dónde", "cómo", "quién", "cuál", "cuánto", "cuánta", "puedo", "puede",
                "pueden", "hay", "tienen", "tiene", "es", "son", "a qué", "por qué",
            ],
            statements: &[
                "yo", "quiero", "quisiera", "me", "mi", "el", "la", "necesito", "tengo", "es", "hay",
                "nosotros",
            ],
        },
    ),
    (
        "fr",
        Language {
            open: &[
                "et", "ou", "mais", "parce", "que", "qui", "le", "la", "les", "l", "un", "une", "des", "mon",
                "ma", "mes", "de", "du", "à", "au", "aux", "en", "dans", "avec", "pour", "par", "est", "euh",
                "je", "j'ai", "si", "quand", "comme", "très", "sur", "entre", "jusqu'à", "chez", "sans",
                "ce", "cette", "c'est", "notre", "votre", "voudrais", "veux", "alors",
            ],
            wanting: &[
                "plaît",
                "réserver",
                "changer",
                "annuler",
                "parler",
                "savoir",
                "faire",
                "ai",
                "prendre",
            ],
            closers: &[
                "merci",
                "merci beaucoup",
                "au revoir",
                "c'est tout",
                "non merci",
                "oui merci",
                "je ne sais pas",
                "c'est bon",
                "à bientôt",
                "aidez moi",
            ],
            questions: &[
                "quand", "où", "comment", "qui", "quel", "quelle", "quels", "quelles", "combien", "pourquoi",
                "est", "est ce", "pouvez", "puis", "avez", "y", "qu'est",
            ],
            statements: &[
                "je",
                "j'ai",
                "j'aimerais",
                "nous",
                "mon",
                "ma",
                "le",
                "la",
                "il",
                "elle",
                "c'est",
                "on",
            ],
        },
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_sentences_are_told_from_broken_off_ones_without_punctuation() {
        let judge =
            |language, text| SmallWords.likelihood(&SoFar { text, expectation: Expectation::Any, language });
        for (language, text) in [
            ("en-US", "when are you open"),
            ("en", "hello i would like to book an appointment for tuesday"),
            ("en", "i need to speak to a person"),
            ("en", "thank you"),
            ("de", "wann haben sie am samstag geöffnet"),
            ("de-AT", "ich möchte einen termin vereinbaren"),
            ("es", "quiero una cita para el martes"),
            ("fr", "je voudrais prendre un rendez-vous"),
        ] {
            assert!(judge(language, text) > Some(0.75), "{language}: {text}");
        }
        for (language, text) in [
            ("en", "i would like to"),
            ("en", "i want to book an appointment and"),
            ("de", "ich möchte einen termin und"),
            ("es", "quiero una cita para el"),
            ("fr", "je voudrais un rendez-vous avec"),
        ] {
            assert!(judge(language, text).is_some_and(|likely| likely < 0.25), "{language}: {text}");
        }
        for (language, text) in
            [("en", "opening hours"), ("en", "i want to change"), ("lv", "kad jūs strādājat"), ("en", "")]
        {
            assert_eq!(judge(language, text), None, "{language}: {text}");
        }
    }
}
