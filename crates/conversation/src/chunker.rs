//! Cuts a stream of text deltas into pieces that speech synthesis can start on, and takes out what cannot be spoken.
//! Knows punctuation and Markdown. Works letter by letter, so it does not matter where one delta ends.

mod filter;

use crate::spoken::{Language, Table};
use filter::Filter;

/// A clause is worth a breath of its own from this length on, in characters.
const FIRST_CLAUSE: usize = 12;
/// A blank ends the first piece once it is this long.
const FIRST_WORDS: usize = 40;
/// When the model pauses, this much is said rather than nothing.
const FIRST_IDLE: usize = 8;
/// Longer sentences are cut at a clause or a blank.
const LONGEST: usize = 200;
/// Even without a blank.
const HARD_LIMIT: usize = 400;

/// Cuts deltas into sentences. A slow model's first piece can be had before its sentence is complete, see
/// [`SentenceChunker::early`].
pub struct SentenceChunker {
    /// Where its sentences end.
    table: &'static Table,
    filter: Filter,
    /// Clean text that has not left yet.
    pending: String,
    /// Whether a piece has left.
    started: bool,
}

impl Default for SentenceChunker {
    /// For English.
    fn default() -> Self {
        Self::new("en")
    }
}

impl SentenceChunker {
    /// For the language of a BCP 47 tag; one without a table ends its sentences as English does.
    pub fn new(language: &str) -> Self {
        Self::with(Language::of(language).unwrap_or(Language::English { month_first: true }).table())
    }

    fn with(table: &'static Table) -> Self {
        Self { table, filter: Filter::default(), pending: String::new(), started: false }
    }

    /// Adds a delta; returns the pieces that it completed.
    pub fn push(&mut self, delta: &str) -> Vec<String> {
        let mut out = Vec::new();
        for c in delta.chars() {
            self.filter.push(c);
            self.take_clean(&mut out);
        }
        out
    }

    /// The beginning of the first sentence if nothing has left yet: up to the last clause, or up to the last word once
    /// there are 40 characters. For a model that is slower than the caller's patience; one that delivers whole sentences
    /// at once is spoken better in whole sentences.
    pub fn early(&mut self) -> Option<String> {
        if self.started {
            return None;
        }
        let clause = self.last_blank(FIRST_CLAUSE, |text| ends_clause(text, self.table));
        let end = clause.or_else(|| self.last_blank(FIRST_WORDS, |_| true))?;
        self.begin(end)
    }

    /// The same when the model has paused: a few words will do.
    pub fn idle(&mut self) -> Option<String> {
        let end = self.last_blank(FIRST_IDLE, |_| true)?;
        self.begin(end)
    }

    /// Text has been taken that no piece holds yet.
    pub fn is_holding(&self) -> bool {
        is_speakable(&self.pending)
    }

    /// The last place before which the text is `long` enough and `fits`, and a speaker may pause: never inside
    /// "3.30 p.m." or "Dr. Smith", so that what is said does not depend on where it was cut.
    fn last_blank(&self, long: usize, fits: impl Fn(&str) -> bool) -> Option<usize> {
        let blanks = self.pending.match_indices(' ').map(|(at, _)| at).rev();
        let mut blanks = blanks.filter(|at| {
            let text = self.pending[..*at].trim_end();
            let next = self.pending[*at..].trim_start().chars().next();
            next.is_some_and(char::is_alphabetic)
                && is_free_to_break(text, self.table)
                && text.chars().count() >= long
        });
        blanks.find(|at| fits(self.pending[..*at].trim_end()))
    }

    fn begin(&mut self, end: usize) -> Option<String> {
        let mut out = Vec::new();
        self.emit(end, &mut out);
        out.pop()
    }

    /// The reply is over: whatever is left.
    pub fn finish(&mut self) -> Option<String> {
        let mut out = Vec::new();
        self.filter.finish();
        self.take_clean(&mut out);
        let rest = std::mem::take(&mut self.pending);
        // At most one boundary can lie in what the filter had held back: both parts are one last piece.
        out.push(rest);
        *self = Self::with(self.table);
        let text = out.join(" ");
        let text = text.trim();
        is_speakable(text).then(|| text.to_owned())
    }

    fn take_clean(&mut self, out: &mut Vec<String>) {
        while let Some(c) = self.filter.pop() {
            self.add(c, out);
        }
    }

    /// One clean character.
    fn add(&mut self, c: char, out: &mut Vec<String>) {
        if c == '\n' {
            self.emit(self.pending.len(), out);
            return;
        }
        if c == ' ' && (self.pending.is_empty() || self.pending.ends_with(' ')) {
            return;
        }
        if let Some(end) = self.boundary_before(c) {
            self.emit(end, out);
        }
        self.pending.push(c);
        if self.pending.len() > LONGEST
            && let Some(end) = long_cut(&self.pending, self.table)
        {
            self.emit(end, out);
        }
    }

    /// Where the pending text may be cut now that `c` follows it.
    fn boundary_before(&self, c: char) -> Option<usize> {
        let text = self.pending.trim_end();
        if text.is_empty() {
            return None;
        }
        let end = text.len();
        if self.pending.len() > end {
            // `c` begins a word: a dot that could have been an abbreviation's is decided now.
            return (ends_sentence(text, Some(c), self.table)).then_some(end);
        }
        (c == ' ' && ends_sentence(text, None, self.table)).then_some(end)
    }

    fn emit(&mut self, end: usize, out: &mut Vec<String>) {
        let rest = self.pending.split_off(end);
        let piece = std::mem::replace(&mut self.pending, rest.trim_start().to_owned());
        let piece = piece.trim();
        if is_speakable(piece) {
            self.started = true;
            out.push(piece.to_owned());
        }
    }
}

/// Whether there is anything to say in it.
fn is_speakable(text: &str) -> bool {
    text.chars().any(char::is_alphanumeric)
}

/// Whether a speaker may pause after `text` because a clause ends.
fn ends_clause(text: &str, table: &Table) -> bool {
    text.ends_with([',', ';', ':', '\u{2013}', '\u{2014}']) && is_free_to_break(text, table)
}

/// Whether a sentence ends with `text`; `next` is the letter that the following word begins with, if it is known.
fn ends_sentence(text: &str, next: Option<char>, table: &Table) -> bool {
    let bare = text.trim_end_matches(['"', '\'', ')', '\u{bb}']);
    if bare.ends_with(['!', '?']) {
        return true;
    }
    let Some(before) = bare.strip_suffix('.') else {
        return bare.ends_with('\u{2026}') && next.is_some_and(char::is_uppercase);
    };
    let mut words = before.rsplit([' ', '(', '"']);
    let word = words.next().unwrap_or_default();
    let initial = word.chars().count() == 1 && word.chars().all(char::is_alphabetic) && word != "I";
    let ordinal = (1..=2).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_digit());
    let ordinal =
        ordinal && words.next().is_some_and(|word| table.ordinal_words.contains(&&*word.to_lowercase()));
    if initial || ordinal || is_abbreviation(word, table.abbreviations) && !says_number(word) {
        return false;
    }
    let open = is_abbreviation(word, table.open_abbreviations)
        || says_number(word)
        || before.ends_with('.')
        || before.ends_with(|c: char| c.is_ascii_digit());
    !open || next.is_some_and(|c| !c.is_lowercase() && !c.is_ascii_digit())
}

/// Whether one of these, or a part of one, is `word` with a full stop.
fn is_abbreviation(word: &str, all: &[(&str, &str)]) -> bool {
    let mut parts =
        all.iter().flat_map(|(written, _)| written.split(' ')).filter_map(|part| part.strip_suffix('.'));
    !word.is_empty() && parts.any(|part| part.to_lowercase() == word.to_lowercase())
}

/// "No." is an answer unless a number follows.
fn says_number(word: &str) -> bool {
    word.eq_ignore_ascii_case("no")
}

/// Whether a piece may end after this word although no punctuation says so: not inside "3.30 p.m." or "Dr. Smith", and
/// not between a number and what it counts.
fn is_free_to_break(text: &str, table: &Table) -> bool {
    let last = text.rsplit(' ').next().unwrap_or_default();
    let word = last.trim_end_matches([',', ':', ';']);
    let month =
        || table.months.iter().chain(&table.months_short).any(|month| month.eq_ignore_ascii_case(word));
    let code = || table.currencies.iter().any(|currency| currency.whole.written.contains(&word));
    !(table.leading.contains(&&*word.to_lowercase())
        || word.ends_with(['.', '$', '\u{20ac}', '\u{a3}', '&', '+', '#', '-', '\u{2013}', '@'])
        || word.contains(|c: char| c.is_ascii_digit())
        || last.ends_with(['.'])
        || month()
        || code())
}

/// Where to cut a sentence that is too long: after its last clause in the second half, or else its last free blank.
fn long_cut(text: &str, table: &Table) -> Option<usize> {
    let blanks = || text.match_indices(' ').map(|(at, _)| at).rev();
    let late = |at: &usize| *at >= LONGEST / 2;
    let clause = blanks().filter(late).find(|at| ends_clause(&text[..*at], table));
    let hard = || (text.len() > HARD_LIMIT).then_some(text.len());
    clause.or_else(|| blanks().find(|at| *at > 0 && is_free_to_break(&text[..*at], table))).or_else(hard)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All pieces of a text that comes in the given deltas.
    fn pieces<'a>(deltas: impl IntoIterator<Item = &'a str>) -> Vec<String> {
        let mut chunker = SentenceChunker::default();
        let mut out: Vec<String> = deltas.into_iter().flat_map(|delta| chunker.push(delta)).collect();
        out.extend(chunker.finish());
        out
    }

    /// Texts and their pieces.
    const TEXTS: &[(&str, &[&str])] = &[
        ("Sure. We open at nine! Anything else?", &["Sure.", "We open at nine!", "Anything else?"]),
        ("Yes, of course.", &["Yes, of course."]),
        (
            "On Tuesday I have nine, ten thirty, or two, which one suits you?",
            &["On Tuesday I have nine, ten thirty, or two, which one suits you?"],
        ),
        (
            "We are open Monday to Thursday from nine in the morning to five in the afternoon.",
            &["We are open Monday to Thursday from nine in the morning to five in the afternoon."],
        ),
        (
            "Yes. I can offer you nine in the morning, eleven in the morning, two or four in the afternoon.",
            &[
                "Yes.",
                "I can offer you nine in the morning, eleven in the morning, two or four in the afternoon.",
            ],
        ),
        ("Dr. Smith is free at 3.30 p.m. on Tuesday.", &["Dr. Smith is free at 3.30 p.m. on Tuesday."]),
        ("You are booked for 3.30 p.m. See you then.", &["You are booked for 3.30 p.m.", "See you then."]),
        (
            "It costs 10,000 dollars. Or 3.5 percent. Yes.",
            &["It costs 10,000 dollars.", "Or 3.5 percent.", "Yes."],
        ),
        ("Write to jane_doe@mail.example.com. Thanks.", &["Write to jane_doe@mail.example.com.", "Thanks."]),
        (
            "The next appointment is with the doctor Dr. Smith on Friday.",
            &["The next appointment is with the doctor Dr. Smith on Friday."],
        ),
        ("<think>He wants. A day.</think>For which day?", &["For which day?"]),
        ("Hello. <thinking>no\n\n- no</thinking> There.", &["Hello.", "There."]),
        ("<think>never closed. At all.", &[]),
        ("If 3 < 4 then a<b holds.", &["If 3 < 4 then a<b holds."]),
        (
            "# Times\n\n- **Tuesday** at *nine*\n- Friday\n\n1. One\n2) Two\n\n> quoted `code`",
            &["Times", "Tuesday at nine", "Friday", "One", "Two", "quoted code"],
        ),
        ("-5 degrees. 10 people. 3.30 is fine.", &["-5 degrees.", "10 people.", "3.30 is fine."]),
        ("See [our page](https://example.com/a_b) now.", &["See our page now."]),
        ("Great! \u{1F600}\u{FE0F} See you \u{2764}\u{FE0F} soon.", &["Great!", "See you soon."]),
        ("It\u{2019}s \u{201C}fine.\u{201D} Really.", &["It's \"fine.\"", "Really."]),
        ("Well... let me see. Mr. J. Smith? Yes.", &["Well... let me see.", "Mr. J. Smith?", "Yes."]),
        ("One\r\ntwo\n\n\nthree", &["One", "two", "three"]),
        ("---\n...\n***\n", &[]),
        (
            "Call 555 0100 or 555 0101 or 555 0102 or 555 0103 now.",
            &["Call 555 0100 or 555 0101 or 555 0102 or 555 0103 now."],
        ),
        ("", &[]),
    ];

    #[test]
    fn replies_are_cut_where_a_speaker_would_breathe() {
        for (text, wanted) in TEXTS {
            assert_eq!(pieces([*text]), *wanted, "{text:?}");
        }
    }

    #[test]
    fn it_does_not_matter_where_a_delta_ends() {
        for (text, wanted) in TEXTS {
            let cuts: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
            for &first in &cuts {
                for &second in cuts.iter().filter(|cut| **cut >= first) {
                    let split = pieces([&text[..first], &text[first..second], &text[second..]]);
                    assert_eq!(split, *wanted, "{text:?} cut at {first} and {second}");
                }
            }
            let letters = text.char_indices().map(|(at, c)| &text[at..at + c.len_utf8()]);
            assert_eq!(pieces(letters), *wanted, "{text:?} letter by letter");
        }
    }

    #[test]
    fn a_slow_model_can_be_spoken_before_its_sentence_is_complete() {
        let early = |text: &str| {
            let mut chunker = SentenceChunker::default();
            assert_eq!(chunker.push(text), [""; 0]);
            let early = chunker.early();
            assert!(early.is_none() || chunker.early().is_none(), "only the first piece is early");
            early
        };
        assert_eq!(
            early("On Tuesday the office is open, and"),
            Some("On Tuesday the office is open,".into())
        );
        assert_eq!(early("On Tuesday, and"), None, "too short to be worth a breath");
        let words = "We are open Monday to Thursday from nine in the";
        assert_eq!(early(words), Some("We are open Monday to Thursday from nine".into()));
        assert_eq!(early("The next appointment is with the doctor Dr. S"), None, "not inside a name");
    }

    #[test]
    fn what_follows_an_early_piece_is_not_lost() {
        let mut chunker = SentenceChunker::default();
        assert_eq!(chunker.push("On Tuesday the office is open, and the "), [""; 0]);
        assert_eq!(chunker.early(), Some("On Tuesday the office is open,".into()));
        assert_eq!(chunker.push("library too. Bye"), ["and the library too."]);
        assert_eq!(chunker.finish(), Some("Bye".into()));
    }

    #[test]
    fn a_sentence_leaves_as_soon_as_the_next_word_begins() {
        let mut chunker = SentenceChunker::default();
        assert_eq!(chunker.push("We are open."), [""; 0]);
        assert_eq!(chunker.push(" "), ["We are open."]);
    }

    #[test]
    fn no_piece_is_endless() {
        let text = "and so on ".repeat(200);
        let all = pieces([text.as_str()]);
        assert!(all.iter().all(|piece| piece.len() <= LONGEST + 10), "{all:?}");
        assert_eq!(all.join(" "), text.trim());
        assert!(pieces(["x".repeat(5_000).as_str()]).iter().all(|piece| piece.len() <= HARD_LIMIT + 1));
    }

    #[test]
    fn nothing_is_lost_and_nothing_is_made_up() {
        let alphabet =
            ["word ", "3.30 p.m. ", "Dr. ", "end. ", "why? ", "a, ", "10,000 ", "Yes! ", "\n", "and "];
        for seed in 0..500_u64 {
            let n = |at: u64| crate::grammar::scatter(seed << 8 | at) % alphabet.len() as u64;
            let text: String = (0..60).map(|at| alphabet[usize::try_from(n(at)).expect("small")]).collect();
            let spoken = pieces([text.as_str()]).join(" ");
            let plain = text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(spoken, plain, "seed {seed}");
        }
    }
}
