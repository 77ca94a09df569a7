//! What a sound beside the agent's voice was: a word for the agent, a mere "mm-hm", or a noise.
//! Knows words, lengths and pitch. Knows no model and no service: it must work when everything else is down.

use crate::{grammar::words, turn::Expectation};
use std::time::Duration;

/// A frame of the caller's audio as the floor sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sound {
    /// No speech.
    #[default]
    Silence,
    /// Taken for speech, without the pitch of a voice: a consonant, a cough, a hiss.
    Unvoiced,
    /// Speech with a pitch.
    Voiced,
}

impl Sound {
    /// Whether it was taken for speech.
    pub const fn is_speech(self) -> bool {
        !matches!(self, Self::Silence)
    }
}

/// What it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SideSound {
    /// "mm-hm", "okay", a hum: the caller listens.
    Backchannel,
    /// A cough, a door, traffic.
    Noise,
}

impl SideSound {
    /// As it stands in traces; never changes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Backchannel => "backchannel",
            Self::Noise => "noise",
        }
    }
}

/// What is known of a sound so far.
pub(crate) struct Heard<'a> {
    /// Settled and unsettled words.
    pub(crate) text: &'a str,
    /// Speech altogether, and the part of it with a pitch.
    pub(crate) speech: Duration,
    pub(crate) voiced: Duration,
    /// It goes on.
    pub(crate) goes_on: bool,
    /// What the caller was asked for.
    pub(crate) expectation: Expectation,
}

/// Whether the agent may go on speaking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was nothing: go on.
    Aside(SideSound),
    /// The caller wants the floor.
    TakesFloor,
    /// Neither for now.
    Undecided,
}

/// Of a cough, less than this has a pitch, in hundredths. Of a word, more than half has.
const UNVOICED_PERCENT: u128 = 25;

/// Words by which callers show that they listen, in one language.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backchannels(&'static [&'static str]);

impl Backchannels {
    /// Of a BCP 47 tag. A language without a list of its own has the hums, which are understood nearly everywhere.
    pub(crate) fn of(language: &str) -> Self {
        let primary = language.split(['-', '_']).next().unwrap_or_default().to_ascii_lowercase();
        Self(match primary.as_str() {
            "en" => ENGLISH,
            "de" => GERMAN,
            "es" => SPANISH,
            "fr" => FRENCH,
            _ => &[],
        })
    }

    /// Whether all of these words are such words. No words are not.
    pub(crate) fn cover(self, heard: &[String]) -> bool {
        let mut rest = heard;
        while !rest.is_empty() {
            let longest = HUMS.iter().chain(self.0).filter_map(|phrase| begins_with(rest, phrase)).max();
            match longest {
                Some(count) => rest = &rest[count..],
                None => return false,
            }
        }
        !heard.is_empty()
    }

    /// Whether these words may yet become such words: "I" is on its way to "I see".
    pub(crate) fn may_cover(self, heard: &[String]) -> bool {
        let begins = |phrase: &str| {
            let mut phrase = phrase.split(' ');
            heard.iter().all(|word| phrase.next() == Some(word)) && phrase.next().is_some()
        };
        !heard.is_empty() && HUMS.iter().chain(self.0).any(|phrase| begins(phrase))
    }

    /// What the sound was, as far as can be told by now. `longest` is how long a backchannel may be; with `must` the
    /// answer cannot wait for more words.
    pub(crate) fn judge(self, heard: &Heard<'_>, longest: Duration, must: bool) -> Verdict {
        use SideSound::{Backchannel, Noise};
        use Verdict::{Aside, TakesFloor, Undecided};
        let said = words(heard.text);
        let toneless = heard.voiced.as_millis() * 100 < heard.speech.as_millis() * UNVOICED_PERCENT;
        let long = heard.speech > longest;
        if !said.is_empty() && !self.cover(&said) {
            if !long && self.may_cover(&said) && !(must && heard.goes_on) {
                // If it is over, the missing word has been said and will come. Another one than thought silences again.
                return if must { Aside(Backchannel) } else { Undecided };
            }
            // A recogniser that must find words finds them in a cough, too.
            return if toneless && !long { Aside(Noise) } else { TakesFloor };
        }
        if !said.is_empty() && heard.expectation == Expectation::YesNo {
            return TakesFloor; // It is what was asked for.
        }
        match (long, heard.goes_on) {
            (true, _) if toneless => Aside(Noise),
            (true, _) => TakesFloor,
            (false, true) if !must => Undecided,
            (false, false) if said.is_empty() && !toneless && !must => Undecided,
            (false, _) if toneless => Aside(Noise),
            (false, _) => Aside(Backchannel),
        }
    }
}

/// How many words of `heard` the phrase is, if they begin with it.
fn begins_with(heard: &[String], phrase: &str) -> Option<usize> {
    let count = phrase.split(' ').count();
    let begins = phrase.split(' ').zip(heard).filter(|(a, b)| a == b).count() == count;
    begins.then_some(count)
}

/// As recognisers write them: "mm-hm" has become two words by now.
const HUMS: &[&str] = &[
    "mm", "mmm", "mhm", "mmhm", "mhmm", "mmhmm", "mm hm", "mm hmm", "hm", "hmm", "hum", "uh huh", "uhuh",
    "aha", "ah", "ah ha", "oh", "ok", "okay", "uh", "um", "er", "eh",
];

const ENGLISH: &[&str] = &[
    "yes",
    "yeah",
    "yep",
    "yup",
    "ya",
    "right",
    "alright",
    "all right",
    "sure",
    "i see",
    "got it",
    "great",
    "good",
    "cool",
    "nice",
    "fine",
    "perfect",
    "exactly",
    "of course",
    "true",
    "really",
    "wow",
    "oh really",
    "makes sense",
    "fair enough",
    "thanks",
    "thank you",
    "yes please",
    "sounds good",
    "i understand",
    "understood",
];

const GERMAN: &[&str] = &[
    "ja",
    "jaja",
    "jo",
    "jau",
    "genau",
    "ach",
    "ach so",
    "achso",
    "aso",
    "stimmt",
    "gut",
    "sehr gut",
    "klar",
    "alles klar",
    "verstehe",
    "ich verstehe",
    "verstanden",
    "richtig",
    "eben",
    "na gut",
    "in ordnung",
    "super",
    "prima",
    "toll",
    "echt",
    "wirklich",
    "danke",
    "natürlich",
    "schön",
];

const SPANISH: &[&str] = &[
    "sí",
    "si",
    "vale",
    "claro",
    "claro que sí",
    "bueno",
    "bien",
    "muy bien",
    "ya",
    "ajá",
    "aja",
    "entiendo",
    "de acuerdo",
    "exacto",
    "exactamente",
    "perfecto",
    "correcto",
    "eso es",
    "por supuesto",
    "gracias",
    "genial",
    "ah ya",
];

const FRENCH: &[&str] = &[
    "oui",
    "ouais",
    "d'accord",
    "dac",
    "bien",
    "très bien",
    "bon",
    "ah bon",
    "bien sûr",
    "voilà",
    "exactement",
    "exact",
    "je vois",
    "je comprends",
    "c'est ça",
    "parfait",
    "entendu",
    "merci",
    "super",
    "tout à fait",
    "ça marche",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(language: &str, text: &str) -> bool {
        Backchannels::of(language).cover(&words(text))
    }

    #[test]
    fn listening_words_are_known_in_each_language_and_requests_are_none() {
        for (language, listens, speaks) in [
            ("en-US", ["Mm-hm.", "Uh-huh, I see.", "yeah, okay, got it"], ["stop", "okay but", "no"]),
            ("de-DE", ["Mhm, ja.", "Ach so, alles klar", "genau"], ["nein", "ja aber", "Moment"]),
            ("es", ["Sí, claro.", "ajá", "claro que sí"], ["no", "espera", "sí pero"]),
            ("fr_FR", ["D'accord.", "oui, très bien", "ah bon"], ["non", "attendez", "oui mais"]),
            ("lv", ["Mm-hm", "ok", "aha"], ["jā", "nē", "lūdzu"]),
        ] {
            for text in listens {
                assert!(covers(language, text), "{language}: {text:?}");
            }
            for text in speaks {
                assert!(!covers(language, text), "{language}: {text:?}");
            }
        }
        assert!(!covers("en", ""));
    }

    #[test]
    fn words_length_and_pitch_decide_together() {
        use SideSound::{Backchannel, Noise};
        use Verdict::{Aside, TakesFloor, Undecided};
        let ms = Duration::from_millis;
        let judge = |text, speech, voiced, goes_on, expectation, must| {
            let heard = Heard { text, speech: ms(speech), voiced: ms(voiced), goes_on, expectation };
            Backchannels::of("en").judge(&heard, ms(700), must)
        };
        let any = Expectation::Any;
        for (what, verdict, wanted) in [
            ("mm-hm", judge("Mm-hm.", 360, 340, false, any, false), Aside(Backchannel)),
            ("a hum without words", judge("", 360, 340, false, any, false), Undecided),
            ("a hum without words in time", judge("", 360, 340, false, any, true), Aside(Backchannel)),
            ("a cough", judge("", 300, 20, false, any, false), Aside(Noise)),
            ("a cough that became a word", judge("good", 300, 20, false, any, false), Aside(Noise)),
            ("a cough that became a request", judge("book it", 300, 20, false, any, false), Aside(Noise)),
            ("the first word of one", judge("I", 300, 240, true, any, false), Undecided),
            ("the first word of one, and over", judge("I", 300, 240, false, any, true), Aside(Backchannel)),
            ("the first word of one, and it goes on", judge("I", 600, 500, true, any, true), TakesFloor),
            ("a request", judge("wait", 300, 240, false, any, false), TakesFloor),
            ("a long hiss", judge("", 900, 40, true, any, false), Aside(Noise)),
            ("speech that goes on", judge("yeah", 480, 400, true, any, false), Undecided),
            ("speech that goes on and on", judge("yeah", 800, 700, true, any, false), TakesFloor),
            ("yes to a question", judge("yes", 300, 260, false, Expectation::YesNo, false), TakesFloor),
        ] {
            assert_eq!(verdict, wanted, "{what}");
        }
    }
}
