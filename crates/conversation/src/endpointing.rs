//! Whether what the caller said so far sounds finished, and why the turn was held to be over.
//! Knows words and expectations. Knows neither silence nor time: the floor waits.

use crate::{
    grammar::{parse_day, parse_time, spoken_digits, words, yes_no},
    turn::Expectation,
};
use std::collections::BTreeSet;

/// Why the caller's turn was held to be over; written into the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndOfTurnReason {
    /// Yes or no was expected and heard.
    YesNo,
    /// As many digits as expected were spoken.
    DigitsSpoken,
    /// The words answer what was asked, or are a whole phrase of the agent that no longer phrase begins with.
    Phrase,
    /// The transcript ends like a sentence.
    Punctuation,
    /// Nothing speaks for or against it: the usual silence passed.
    Pause,
    /// The words sounded unfinished, but the long silence passed.
    LongPause,
    /// The final transcript never came; the latest interim one was taken.
    NoFinal,
    /// The caller spoke for a while and nothing was understood.
    Unintelligible,
    /// As many keys as expected were pressed.
    KeyCount,
    /// The hash key was pressed.
    KeyHash,
    /// No key followed for a while.
    KeyPause,
}

impl EndOfTurnReason {
    /// As it stands in traces; never changes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::YesNo => "yes_no",
            Self::DigitsSpoken => "digits_spoken",
            Self::Phrase => "phrase",
            Self::Punctuation => "punctuation",
            Self::Pause => "pause",
            Self::LongPause => "long_pause",
            Self::NoFinal => "no_final",
            Self::Unintelligible => "unintelligible",
            Self::KeyCount => "key_count",
            Self::KeyHash => "key_hash",
            Self::KeyPause => "key_pause",
        }
    }
}

/// Whole sentences that callers of an agent are known to say.
#[derive(Clone, Debug, Default)]
pub struct Phrases(BTreeSet<String>);

impl Phrases {
    /// From sentences of lower-case words.
    pub fn new<'a>(sentences: impl IntoIterator<Item = &'a [String]>) -> Self {
        Self(sentences.into_iter().map(|words| words.join(" ")).collect())
    }

    /// Whether `words` is one of them and none goes on from there.
    fn ends_with(&self, words: &[String]) -> bool {
        let text = words.join(" ");
        let further = format!("{text} ");
        self.0.contains(&text)
            && !self.0.range(further.clone()..).next().is_some_and(|s| s.starts_with(&further))
    }
}

/// How finished an utterance sounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Completeness {
    /// Nothing more is to be expected.
    Complete(EndOfTurnReason),
    /// It could go on or not.
    #[default]
    Unsure,
    /// The sentence breaks off.
    Incomplete,
    /// A number that was asked for is not yet whole, or was only announced: callers look it up meanwhile.
    NumberShort,
}

/// A sentence that stops after one of these goes on.
const OPEN_WORDS: &[&str] = &[
    "a", "about", "and", "an", "at", "because", "but", "by", "for", "from", "have", "i", "i'd", "i'll",
    "i'm", "if", "in", "is", "it's", "like", "my", "of", "on", "or", "our", "so", "than", "that", "that's",
    "the", "their", "then", "to", "uh", "um", "umm", "er", "hmm", "want", "was", "we", "well", "with",
    "would", "your",
];

/// Judges the words heard so far.
pub(crate) fn judge(text: &str, expectation: Expectation, phrases: Option<&Phrases>) -> Completeness {
    use Completeness::{Complete, Incomplete, NumberShort, Unsure};
    let heard = words(text);
    let Some(last) = heard.last() else { return Unsure };
    let digits = spoken_digits(&heard).len();
    if let Expectation::Digits { count } = expectation {
        match count {
            Some(count) if digits >= usize::from(count) => return Complete(EndOfTurnReason::DigitsSpoken),
            Some(_) if digits > 0 => return NumberShort,
            None if digits > 0 => return Incomplete,
            Some(_) | None => {}
        }
    }
    if announces_number(&heard) {
        return NumberShort;
    }
    let question = text.trim_end().ends_with('?');
    if OPEN_WORDS.contains(&last.as_str()) && !question {
        return Incomplete;
    }
    if answers(&heard, expectation) {
        let yes_no = matches!(expectation, Expectation::YesNo);
        return Complete(if yes_no { EndOfTurnReason::YesNo } else { EndOfTurnReason::Phrase });
    }
    if ends_inside_number(&heard) {
        return Incomplete;
    }
    if phrases.is_some_and(|phrases| phrases.ends_with(&heard)) {
        return Complete(EndOfTurnReason::Phrase);
    }
    if text.trim_end().ends_with(['.', '!', '?']) {
        return Complete(EndOfTurnReason::Punctuation);
    }
    Unsure
}

/// "my account number is", and then the caller looks for it.
fn announces_number(heard: &[String]) -> bool {
    let tail: Vec<&str> = heard.iter().rev().take(2).map(String::as_str).collect();
    matches!(tail.as_slice(), ["is", "number" | "code" | "pin"] | ["it's", "number"])
}

/// Two or more single digits at the end: more of them may follow.
fn ends_inside_number(heard: &[String]) -> bool {
    let tail = heard.len().saturating_sub(2);
    heard.len() >= 2 && heard[tail..].iter().all(|word| spoken_digits(std::slice::from_ref(word)).len() == 1)
}

/// Whether the words are the whole answer to what was asked.
fn answers(heard: &[String], expectation: Expectation) -> bool {
    // Any day will do: only whether there is one matters.
    let today = jiff::civil::date(2024, 1, 1);
    match expectation {
        Expectation::YesNo => heard.len() <= 3 && yes_no(heard).is_some(),
        Expectation::Date => heard.len() <= 4 && parse_day(heard, today).is_some(),
        Expectation::Time => heard.len() <= 6 && parse_time(heard).is_some_and(|time| time.precise),
        Expectation::Any | Expectation::Digits { .. } | Expectation::Name => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sounds_finished_is_told_from_what_goes_on() {
        use Completeness::{Complete, Incomplete, NumberShort, Unsure};
        use EndOfTurnReason::{DigitsSpoken, Phrase, Punctuation, YesNo};
        let five = Expectation::Digits { count: Some(5) };
        let some = Expectation::Digits { count: None };
        for (text, expectation, wanted) in [
            ("what are your opening hours?", Expectation::Any, Complete(Punctuation)),
            ("what is it for?", Expectation::Any, Complete(Punctuation)),
            ("opening hours", Expectation::Any, Unsure),
            ("", Expectation::Any, Unsure),
            ("i would like to", Expectation::Any, Incomplete),
            ("My appointment is on.", Expectation::Any, Incomplete),
            ("tuesday um", Expectation::Date, Incomplete),
            ("on tuesday", Expectation::Date, Complete(Phrase)),
            ("half past three", Expectation::Time, Complete(Phrase)),
            ("three", Expectation::Time, Unsure),
            ("yes", Expectation::YesNo, Complete(YesNo)),
            ("no thanks", Expectation::YesNo, Complete(YesNo)),
            ("yes but", Expectation::YesNo, Incomplete),
            ("yes", Expectation::Any, Unsure),
            ("four two", five, NumberShort),
            ("four two double one oh", five, Complete(DigitsSpoken)),
            ("four two", some, Incomplete),
            ("i don't know", five, Unsure),
            ("my account number is", Expectation::Any, NumberShort),
            ("it's four two", Expectation::Any, Incomplete),
        ] {
            assert_eq!(judge(text, expectation, None), wanted, "{text:?}");
        }
    }

    #[test]
    fn a_phrase_that_may_go_on_is_not_whole() {
        let sentences = [vec!["book".to_owned()], vec!["book".to_owned(), "tuesday".to_owned()]];
        let phrases = Phrases::new(sentences.iter().map(Vec::as_slice));
        assert_eq!(judge("book", Expectation::Any, Some(&phrases)), Completeness::Unsure);
        let whole = Completeness::Complete(EndOfTurnReason::Phrase);
        assert_eq!(judge("book tuesday", Expectation::Any, Some(&phrases)), whole);
    }
}
