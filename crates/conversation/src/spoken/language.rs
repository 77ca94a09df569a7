//! The languages whose writing can be turned into speech, and what a table of one holds.
//! Knows no text and no rule: what is done with a table stands in the files beside this one.

use super::{english, french, german, spanish};

/// A language with a table of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Language {
    /// `en`, days and months as in the United States or as elsewhere.
    English {
        /// The month comes first in 10/14/2026.
        month_first: bool,
    },
    /// `de`
    German,
    /// `es`
    Spanish,
    /// `fr`
    French,
}

impl Language {
    /// The language of a BCP 47 tag; `None` where there is no table for it.
    pub fn of(tag: &str) -> Option<Self> {
        let mut parts = tag.split(['-', '_']);
        let language = parts.next()?.to_ascii_lowercase();
        let region = parts.next_back().unwrap_or("US");
        Some(match language.as_str() {
            "en" => Self::English { month_first: region.eq_ignore_ascii_case("US") },
            "de" => Self::German,
            "es" => Self::Spanish,
            "fr" => Self::French,
            _ => return None,
        })
    }

    pub(crate) const fn table(self) -> &'static Table {
        match self {
            Self::English { .. } => &english::TABLE,
            Self::German => &german::TABLE,
            Self::Spanish => &spanish::TABLE,
            Self::French => &french::TABLE,
        }
    }
}

/// Grammatical gender, where the number one has to agree.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gender {
    Masculine,
    Feminine,
}
pub(crate) use Gender::{Feminine as F, Masculine as M};

/// Something that is counted.
pub(crate) struct Noun {
    /// As it is written: `km`, `$`, `EUR`.
    pub(crate) written: &'static [&'static str],
    pub(crate) one: &'static str,
    pub(crate) many: &'static str,
    pub(crate) gender: Gender,
}

/// A currency with its hundredth.
pub(crate) struct Currency {
    pub(crate) whole: Noun,
    pub(crate) cent_one: &'static str,
    pub(crate) cent_many: &'static str,
}

/// What one language says.
pub(crate) struct Table {
    /// 0 to 9.
    pub(crate) digits: [&'static str; 10],
    /// A whole number below 10^15.
    pub(crate) cardinal: fn(u64) -> String,
    /// The number one and what ends in it, before a noun.
    pub(crate) counting: fn(u64, Gender) -> String,
    /// The n-th, after the given word.
    pub(crate) ordinal: fn(u64, &str) -> String,
    pub(crate) year: fn(u64) -> String,
    /// Hour, minute, whether in the second half of a twelve-hour clock if that is written.
    pub(crate) clock: fn(u32, u32, Option<bool>) -> String,
    /// Day, month 1 to 12, year, and the word before it.
    pub(crate) date: fn(u32, u32, Option<u64>, &str) -> String,
    /// What parts whole and fraction, and how it is said.
    pub(crate) decimal: char,
    pub(crate) decimal_said: &'static str,
    /// What parts groups of three digits.
    pub(crate) groups: &'static [char],
    pub(crate) minus: &'static str,
    pub(crate) plus: &'static str,
    pub(crate) percent: &'static str,
    pub(crate) and: &'static str,
    /// Between the ends of a range.
    pub(crate) to: &'static str,
    /// In addresses.
    pub(crate) at: &'static str,
    pub(crate) dot: &'static str,
    pub(crate) dash: &'static str,
    pub(crate) underscore: &'static str,
    pub(crate) slash: &'static str,
    /// January to December, then short forms in the same order, a full stop left out.
    pub(crate) months: [&'static str; 12],
    pub(crate) months_short: [&'static str; 12],
    pub(crate) units: &'static [Noun],
    pub(crate) currencies: &'static [Currency],
    /// Written with its full stops, and as it is said. No sentence ends with one of these.
    pub(crate) abbreviations: &'static [(&'static str, &'static str)],
    /// A sentence may end with one of these.
    pub(crate) open_abbreviations: &'static [(&'static str, &'static str)],
    /// After these, digits are read one by one.
    pub(crate) number_words: &'static [&'static str],
    /// After these, four digits are a year.
    pub(crate) year_words: &'static [&'static str],
    /// After these, a number with a full stop is an ordinal and ends no sentence.
    pub(crate) ordinal_words: &'static [&'static str],
    /// What an ordinal is written with: `st`, `er`, `º`.
    pub(crate) ordinal_marks: &'static [&'static str],
    /// What follows a time of day: `Uhr`.
    pub(crate) clock_words: &'static [&'static str],
    /// Powers of ten after a number: `million`.
    pub(crate) big: &'static [&'static str],
    /// What stands between a large amount and its currency: "un millón de euros".
    pub(crate) of: &'static str,
    /// No speaker breathes after one of these.
    pub(crate) leading: &'static [&'static str],
}
