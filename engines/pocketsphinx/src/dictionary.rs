//! The words an agent's callers may use, with how they are spoken: a part of CMUdict and the agent's own words.
//! Knows text only; reading the dictionary file is the model's business.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// The phones of the English model.
const PHONES: [&str; 39] = [
    "AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY", "F", "G", "HH", "IH", "IY",
    "JH", "K", "L", "M", "N", "NG", "OW", "OY", "P", "R", "S", "SH", "T", "TH", "UH", "UW", "V", "W", "Y",
    "Z", "ZH",
];

/// Pronunciations by word, in the order in which they were found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Dictionary {
    words: BTreeMap<String, Vec<String>>,
}

/// Why there is no dictionary.
#[derive(Debug, PartialEq, Eq)]
pub enum DictionaryError {
    /// These words are in no dictionary.
    Unpronounceable(Vec<String>),
    /// A pronunciation holds something that is not one of the model's phones.
    UnknownPhone {
        /// Of which word.
        word: String,
        /// What it is.
        phone: String,
    },
}

impl std::fmt::Display for DictionaryError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unpronounceable(words) => {
                let shown = words.iter().take(12).map(|w| format!("\"{w}\"")).collect::<Vec<_>>().join(", ");
                write!(f, "no pronunciation is known for {shown}")?;
                if words.len() > 12 {
                    write!(f, " and {} more", words.len() - 12)?;
                }
                write!(f, "; add one, such as acme = \"AE K M IY\"")
            }
            Self::UnknownPhone { word, phone } => {
                write!(
                    f,
                    "the pronunciation of \"{word}\" holds \"{phone}\", which is not a phone; the phones are {}",
                    PHONES.join(" ")
                )
            }
        }
    }
}

impl std::error::Error for DictionaryError {}

impl Dictionary {
    /// All pronunciations of `words`: those of `cmudict` (the text of such a file) and those in `extra`, where `|` may
    /// separate several and stress marks (`AH0`) are ignored.
    ///
    /// # Errors
    /// Names the words without a pronunciation, and phones the model does not have.
    pub fn build(
        words: &BTreeSet<String>,
        extra: &BTreeMap<String, String>,
        cmudict: &str,
    ) -> Result<Self, DictionaryError> {
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (word, pronunciations) in extra.iter().filter(|(word, _)| words.contains(*word)) {
            for phones in pronunciations.split('|') {
                add(&mut found, word, checked_phones(word, phones)?);
            }
        }
        for line in cmudict.lines() {
            let Some((entry, phones)) = line.split_once(char::is_whitespace) else { continue };
            let word = entry.split_once('(').map_or(entry, |(word, _)| word);
            if words.contains(word) {
                add(&mut found, word, phones.split_whitespace().collect::<Vec<_>>().join(" "));
            }
        }
        let missing: Vec<String> = words.iter().filter(|word| !found.contains_key(*word)).cloned().collect();
        if missing.is_empty() {
            Ok(Self { words: found })
        } else {
            Err(DictionaryError::Unpronounceable(missing))
        }
    }

    /// The words, sorted.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.words.keys().map(String::as_str)
    }

    /// As PocketSphinx reads it: `word phones`, and `word(2) phones` for alternatives.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for (word, pronunciations) in &self.words {
            for (i, phones) in pronunciations.iter().enumerate() {
                // Writing to a String cannot fail.
                let _ = match i {
                    0 => writeln!(text, "{word} {phones}"),
                    _ => writeln!(text, "{word}({}) {phones}", i + 1),
                };
            }
        }
        text
    }
}

fn add(found: &mut BTreeMap<String, Vec<String>>, word: &str, phones: String) {
    let known = found.entry(word.to_owned()).or_default();
    if !known.contains(&phones) {
        known.push(phones);
    }
}

fn checked_phones(word: &str, phones: &str) -> Result<String, DictionaryError> {
    let unknown =
        |phone: &str| DictionaryError::UnknownPhone { word: word.to_owned(), phone: phone.to_owned() };
    let mut checked = Vec::new();
    for given in phones.split_whitespace() {
        let phone = given.trim_end_matches(|c: char| c.is_ascii_digit()).to_ascii_uppercase();
        if !PHONES.contains(&phone.as_str()) {
            return Err(unknown(given));
        }
        checked.push(phone);
    }
    if checked.is_empty() { Err(unknown("")) } else { Ok(checked.join(" ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CMUDICT: &str = "a AH\na(2) EY\nbook B UH K\nzoo Z UW\n";

    fn build(words: &[&str], extra: &[(&str, &str)]) -> Result<Dictionary, DictionaryError> {
        let words = words.iter().map(|w| (*w).to_owned()).collect();
        let extra = extra.iter().map(|(w, p)| ((*w).to_owned(), (*p).to_owned())).collect();
        Dictionary::build(&words, &extra, CMUDICT)
    }

    #[test]
    fn every_alternative_is_kept_and_no_other_word() {
        let dictionary = build(&["a", "book"], &[]).expect("both are known");
        assert_eq!(dictionary.to_text(), "a AH\na(2) EY\nbook B UH K\n");
    }

    #[test]
    fn the_agents_pronunciation_comes_first() {
        let dictionary = build(&["acme", "zoo"], &[("acme", "ae1 k m iy0|EY K M IY"), ("zoo", "Z OW")]);
        let text = dictionary.expect("all are known").to_text();
        assert_eq!(text, "acme AE K M IY\nacme(2) EY K M IY\nzoo Z OW\nzoo(2) Z UW\n");
    }

    #[test]
    fn a_word_without_pronunciation_is_named() {
        let error = build(&["book", "xyzzy"], &[]).expect_err("xyzzy is unknown");
        assert!(error.to_string().contains("\"xyzzy\""), "{error}");
    }

    #[test]
    fn a_phone_that_does_not_exist_is_named() {
        let error = build(&["acme"], &[("acme", "AE K Q")]).expect_err("Q is no phone");
        assert_eq!(error, DictionaryError::UnknownPhone { word: "acme".to_owned(), phone: "Q".to_owned() });
    }
}
