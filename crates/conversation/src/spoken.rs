//! From written to spoken: numbers, money, dates, times, abbreviations and addresses in the words of a language.
//! Knows text and languages. Knows nothing of voices, turns or sentences.

mod clock;
mod contact;
mod date;
pub(crate) mod english;
mod french;
mod german;
mod language;
mod money;
mod number;
mod spanish;
mod words;

pub use language::Language;
pub(crate) use language::Table;

/// How an agent's writing is read aloud.
#[derive(Clone, Debug, Default)]
pub struct Spoken {
    language: Option<Language>,
    /// Words and how they are to be written for the voice, lower case, longest first.
    pronunciations: Vec<(String, String)>,
}

/// A text as it is read aloud, with its way back to what was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpokenForm {
    text: String,
    /// Characters of the written text.
    written: usize,
    /// Characters of `text`.
    spoken: usize,
    /// What was replaced, in characters, in order. Everything between is the same in both.
    replaced: Vec<Replaced>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Replaced {
    written: (usize, usize),
    spoken: (usize, usize),
}

/// Where a rule looks: what was written before it, and what follows.
#[derive(Clone, Copy)]
struct Place<'a> {
    before: &'a str,
    rest: &'a str,
    language: Language,
    table: &'static Table,
}

/// Bytes that were read, and what is said for them.
type Found = Option<(usize, String)>;

/// In the order in which they are asked: what looks like several things is the first of them.
const RULES: &[fn(Place<'_>) -> Found] = &[
    contact::address,
    date::date,
    clock::clock,
    contact::telephone,
    money::money,
    words::abbreviation,
    number::number,
    words::symbol,
];

impl Spoken {
    /// The rules of a language (a BCP 47 tag) and an agent's own list of words. A language without a table has the list
    /// alone.
    pub fn new<'a>(language: &str, pronunciations: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let own = pronunciations.into_iter().map(|(word, said)| (word.to_lowercase(), said.to_owned()));
        let mut pronunciations: Vec<_> = own.filter(|(word, _)| !word.is_empty()).collect();
        pronunciations.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.0.cmp(&b.0)));
        Self { language: Language::of(language), pronunciations }
    }

    /// The agent's own list alone, for a voice that reads numbers better by itself.
    #[must_use]
    pub fn without_rules(self) -> Self {
        Self { language: None, ..self }
    }

    /// How `written` is read aloud.
    pub fn say(&self, written: &str) -> SpokenForm {
        let mut out = SpokenForm::default();
        let mut at = 0;
        while at < written.len() {
            let (before, rest) = written.split_at(at);
            match self.replacement(before, rest) {
                Some((used, said)) if used > 0 => {
                    let used = used.min(rest.len());
                    out.replace(&rest[..used], &said, &rest[used..]);
                    at += used;
                }
                Some(_) | None => {
                    let c = rest.chars().next().unwrap_or_default();
                    out.keep(c);
                    at += c.len_utf8();
                }
            }
        }
        out
    }

    fn replacement(&self, before: &str, rest: &str) -> Found {
        let inside = before.ends_with(char::is_alphanumeric);
        if let Some(language) = self.language {
            let place = Place { before, rest, language, table: language.table() };
            if let Some(range) = number::range(place) {
                return Some(range);
            }
            if !inside {
                return self.listed(rest).or_else(|| RULES.iter().find_map(|rule| rule(place)));
            }
        }
        if inside { None } else { self.listed(rest) }
    }

    /// A word of the agent's list.
    fn listed(&self, rest: &str) -> Found {
        self.pronunciations.iter().find_map(|(word, said)| {
            let used = prefix_ignoring_case(rest, word)?;
            ends_word(&rest[used..]).then(|| (used, said.clone()))
        })
    }
}

impl SpokenForm {
    /// A text that is read as it is written.
    pub fn unchanged(text: &str) -> Self {
        let characters = text.chars().count();
        Self { text: text.to_owned(), written: characters, spoken: characters, replaced: Vec::new() }
    }

    /// What the voice is given.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// How far in the written text one is when this share (0 to 1) of the spoken text has been heard. What is said in
    /// other words than it is written counts only when all of it was heard.
    pub fn written_share(&self, spoken_share: f32) -> f32 {
        if spoken_share >= 1.0 || self.written == 0 || self.replaced.is_empty() {
            return spoken_share;
        }
        let heard = (self.spoken as f32 * spoken_share.max(0.0)) as usize;
        self.written_at(heard) as f32 / self.written as f32
    }

    /// The written character that the spoken one belongs to, both counted from the front.
    pub fn written_at(&self, spoken: usize) -> usize {
        let mut kept = (0, 0);
        for part in &self.replaced {
            if spoken < part.spoken.0 {
                break;
            }
            if spoken < part.spoken.1 {
                return part.written.0;
            }
            kept = (part.written.1, part.spoken.1);
        }
        (kept.0 + (spoken - kept.1)).min(self.written)
    }

    fn keep(&mut self, c: char) {
        self.text.push(c);
        self.written += 1;
        self.spoken += 1;
    }

    fn replace(&mut self, written: &str, said: &str, next: &str) {
        let from = (self.written, self.spoken);
        let before = self.text.len();
        if self.text.ends_with(char::is_alphanumeric) && said.starts_with(char::is_alphanumeric) {
            self.text.push(' ');
        }
        self.text.push_str(said);
        if said.ends_with(char::is_alphanumeric) && next.starts_with(char::is_alphanumeric) {
            self.text.push(' ');
        }
        self.written += written.chars().count();
        self.spoken += self.text[before..].chars().count();
        self.replaced.push(Replaced { written: (from.0, self.written), spoken: (from.1, self.spoken) });
    }
}

impl<'a> Place<'a> {
    /// The word before, in lower case and without the punctuation around it, its full stop excepted.
    fn word_before(self) -> String {
        let word = self.before.trim_end().rsplit(char::is_whitespace).next().unwrap_or_default();
        word.trim_start_matches(['(', '"', '\'']).trim_end_matches([',', ':', ';']).to_lowercase()
    }

    /// The same place, a little further on.
    fn after(self, used: usize) -> &'a str {
        &self.rest[used..]
    }
}

/// How many bytes of `text` are `wanted`, which is in lower case, whatever the case of `text`.
fn prefix_ignoring_case(text: &str, wanted: &str) -> Option<usize> {
    let mut letters = text.char_indices();
    for c in wanted.chars() {
        let (_, found) = letters.next()?;
        if found != c && !found.to_lowercase().eq(std::iter::once(c)) {
            return None;
        }
    }
    Some(letters.offset())
}

/// Whether a word is over where `rest` begins.
fn ends_word(rest: &str) -> bool {
    !rest.starts_with(char::is_alphanumeric)
}

/// The digits at the front.
fn digits(text: &str) -> &str {
    &text[..text.bytes().take_while(u8::is_ascii_digit).count()]
}

/// Blanks at the front, those that do not break included.
fn blanks(text: &str) -> usize {
    text.len() - text.trim_start_matches([' ', '\u{a0}', '\u{202f}']).len()
}

#[cfg(test)]
mod tests;
