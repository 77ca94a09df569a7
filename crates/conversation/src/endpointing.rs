//! Whether what the caller said so far sounds finished, and why the turn was held to be over.
//! Knows words and expectations. Knows neither silence nor time: the floor waits.

use crate::{
    completeness::{SoFar, TurnClassifier, is_open},
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
    /// A whole e-mail address was expected and heard.
    Email,
    /// The transcript ends like a sentence.
    Punctuation,
    /// The words sound like a whole sentence.
    Sentence,
    /// It sounds finished, says the model that listens to how it is said.
    Sound,
    /// Speech-to-text held the turn to be over.
    Provider,
    /// Speech-to-text held the turn to be probably over.
    ProviderEager,
    /// The words are whole and have not changed for long enough to do without the final transcript.
    Stable,
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
            Self::Email => "email",
            Self::Punctuation => "punctuation",
            Self::Sentence => "sentence",
            Self::Sound => "sound",
            Self::Provider => "provider",
            Self::ProviderEager => "provider_eager",
            Self::Stable => "stable",
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

/// What an utterance is judged by.
pub(crate) struct Evidence<'a> {
    pub(crate) text: &'a str,
    pub(crate) expectation: Expectation,
    pub(crate) language: &'a str,
    pub(crate) phrases: Option<&'a Phrases>,
    pub(crate) classifier: &'a dyn TurnClassifier,
    /// How likely it is over by how it sounds, if there is a model that listens.
    pub(crate) sound: Option<f32>,
}

/// From what a classifier says: over, or not over.
const LIKELY: f32 = 0.75;
const UNLIKELY: f32 = 0.25;

/// Judges the words heard so far. What was asked for weighs most, then how the words end, then the agent's phrases, the
/// punctuation, and last the classifier. A model that listens decides where they leave it open, and casts doubt where the
/// punctuation is sure: it hears what is written down, too, but not what it means.
pub(crate) fn judge(evidence: &Evidence<'_>) -> Completeness {
    use Completeness::{Complete, Incomplete, Unsure};
    let &Evidence { text, expectation, language, phrases, classifier, sound } = evidence;
    let heard = words(text);
    let Some(last) = heard.last() else { return Unsure };
    if let Some(judged) = asked_for(&heard, expectation) {
        return judged;
    }
    let question = text.trim_end().ends_with('?');
    if is_open(last, language) && !question {
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
    let by_words = if text.trim_end().ends_with(['.', '!', '?']) {
        Complete(EndOfTurnReason::Punctuation)
    } else {
        match classifier.likelihood(&SoFar { text, expectation, language }) {
            Some(likely) if likely >= LIKELY => Complete(EndOfTurnReason::Sentence),
            Some(likely) if likely <= UNLIKELY => Incomplete,
            Some(_) | None => Unsure,
        }
    };
    match (by_words, sound) {
        (Complete(_), Some(likely)) if likely <= UNLIKELY => Unsure,
        (Incomplete, Some(likely)) if likely >= LIKELY => Unsure,
        (Unsure, Some(likely)) if likely >= LIKELY => Complete(EndOfTurnReason::Sound),
        (Unsure, Some(likely)) if likely <= UNLIKELY => Incomplete,
        _ => by_words,
    }
}

/// Whether a number, a spelt word or an address that was asked for is whole. `None`: the words decide.
fn asked_for(heard: &[String], expectation: Expectation) -> Option<Completeness> {
    use Completeness::{Complete, Incomplete, NumberShort};
    let digits = spoken_digits(heard).len();
    match expectation {
        Expectation::Digits { count: Some(count) } if digits >= usize::from(count) => {
            return Some(Complete(EndOfTurnReason::DigitsSpoken));
        }
        Expectation::Digits { count: Some(_) } if digits > 0 => return Some(NumberShort),
        Expectation::Digits { count: None } if digits > 0 => return Some(Incomplete),
        // Who spells looks for the next letter.
        Expectation::Spelling if heard.last().is_some_and(|word| is_letter(word)) => {
            return Some(NumberShort);
        }
        Expectation::Email if is_address(heard) => return Some(Complete(EndOfTurnReason::Email)),
        Expectation::Email
            if heard.iter().any(|word| word == "at" || word == "dot") || is_letter(heard.last()?) =>
        {
            return Some(NumberShort);
        }
        Expectation::Digits { .. }
        | Expectation::Spelling
        | Expectation::Email
        | Expectation::Any
        | Expectation::YesNo
        | Expectation::Date
        | Expectation::Time
        | Expectation::Name => {}
    }
    announces_number(heard).then_some(NumberShort)
}

fn is_letter(word: &str) -> bool {
    word.chars().count() == 1
}

/// "… at example dot com", spoken or as some recognisers write it.
fn is_address(heard: &[String]) -> bool {
    const ENDINGS: &[&str] = &[
        "com", "org", "net", "edu", "gov", "io", "ai", "eu", "de", "at", "ch", "es", "fr", "it", "nl", "lv",
        "uk", "us", "info", "biz", "app", "dev", "co",
    ];
    let at =
        heard.iter().position(|word| matches!(word.as_str(), "at" | "arroba" | "arobase" | "klammeraffe"));
    let ends = heard.last().is_some_and(|last| ENDINGS.contains(&last.as_str()) && last != "at");
    // "example dot co" may be on its way to "uk".
    at.is_some_and(|at| at > 0 && at + 2 < heard.len())
        && ends
        && heard.last().is_none_or(|last| last != "co")
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
        Expectation::Any
        | Expectation::Digits { .. }
        | Expectation::Name
        | Expectation::Email
        | Expectation::Spelling => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::completeness::SmallWords;

    fn judge(text: &str, expectation: Expectation, phrases: Option<&Phrases>) -> Completeness {
        let sound = None;
        super::judge(&Evidence { text, expectation, language: "en", phrases, classifier: &SmallWords, sound })
    }

    #[test]
    fn how_it_sounds_decides_where_words_leave_it_open() {
        use Completeness::{Complete, Incomplete, Unsure};
        use EndOfTurnReason::{Punctuation, Sound};
        for (text, sound, wanted) in [
            ("opening hours", 0.9, Complete(Sound)),
            ("opening hours", 0.5, Unsure),
            ("opening hours", 0.1, Incomplete),
            ("i would like to", 0.9, Incomplete),
            ("Opening hours.", 0.9, Complete(Punctuation)),
            ("Opening hours.", 0.1, Unsure),
        ] {
            let judged = super::judge(&Evidence {
                text,
                expectation: Expectation::Any,
                language: "en",
                phrases: None,
                classifier: &SmallWords,
                sound: Some(sound),
            });
            assert_eq!(judged, wanted, "{text} at {sound}");
        }
        let asked = |sound| {
            super::judge(&Evidence {
                text: "one two three",
                expectation: Expectation::Digits { count: Some(5) },
                language: "en",
                phrases: None,
                classifier: &SmallWords,
                sound,
            })
        };
        assert_eq!(asked(Some(0.99)), asked(None), "digits that were asked for are counted, not heard");
    }

    #[test]
    fn what_sounds_finished_is_told_from_what_goes_on() {
        use Completeness::{Complete, Incomplete, NumberShort, Unsure};
        use EndOfTurnReason::{DigitsSpoken, Email, Phrase, Punctuation, Sentence, YesNo};
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
            ("i don't know", five, Complete(Sentence)),
            ("my account number is", Expectation::Any, NumberShort),
            ("it's four two", Expectation::Any, Incomplete),
            ("i would like to book an appointment", Expectation::Any, Complete(Sentence)),
            ("b a u", Expectation::Spelling, NumberShort),
            ("john at", Expectation::Email, NumberShort),
            ("john at example dot com", Expectation::Email, Complete(Email)),
            ("john dot smith", Expectation::Email, NumberShort),
            ("I don't have one.", Expectation::Email, Complete(Punctuation)),
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
