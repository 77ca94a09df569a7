//! Takes Markdown, emoji and a model's thinking out of its reply, letter by letter.
//! Knows what cannot be spoken. Knows nothing of sentences.

use std::collections::VecDeque;

/// Tags around what a model thinks and does not say.
const THINKING: [(&str, &str); 2] = [("<think>", "</think>"), ("<thinking>", "</thinking>")];
/// The longest list marker that is looked at, in characters.
const LONGEST_MARKER: usize = 8;

/// Letters in, speakable letters out. A new line stays a new line; blanks may double.
#[derive(Default)]
pub(super) struct Filter {
    state: State,
    /// What may be a tag or a marker, not yet decided.
    held: String,
    /// The last letter that left, to know whether a `_` stands inside a word.
    last: Option<char>,
    /// Whether anything but blanks stands in this line.
    in_line: bool,
    clean: VecDeque<char>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// At the beginning of a line: it may begin with a list marker.
    Line,
    /// A `<` came: it may begin a tag.
    Tag,
    /// Inside the tag of this index.
    Thinking(usize),
    /// A `_` came after a letter.
    Underscore,
    /// A `]` came: a link's address may follow.
    Bracket,
    /// Inside a link's address.
    Address,
}

impl Filter {
    /// Takes a letter in.
    pub(super) fn push(&mut self, c: char) {
        match self.state {
            State::Thinking(tag) => self.think(c, tag),
            State::Address => {
                if matches!(c, ')' | '\n') {
                    self.state = State::Text;
                }
            }
            State::Tag => self.tag(c),
            State::Line => self.line(c),
            State::Underscore => {
                self.state = State::Text;
                if c.is_alphanumeric() {
                    self.emit('_');
                }
                self.text(c);
            }
            State::Bracket => {
                self.state = if c == '(' { State::Address } else { State::Text };
                if c != '(' {
                    self.text(c);
                }
            }
            State::Text => self.text(c),
        }
    }

    /// The next clean letter.
    pub(super) fn pop(&mut self) -> Option<char> {
        self.clean.pop_front()
    }

    /// Nothing follows: what was held back is decided.
    pub(super) fn finish(&mut self) {
        let held = std::mem::take(&mut self.held);
        let state = std::mem::replace(&mut self.state, State::Text);
        if matches!(state, State::Tag | State::Line) && !is_marker(&format!("{held} ")) {
            held.chars().for_each(|c| self.plain(c));
        }
    }

    /// A letter where nothing special is going on.
    fn text(&mut self, c: char) {
        if !self.in_line && (c == '-' || c == '+' || c == '#' || c == '>' || c.is_ascii_digit()) {
            self.state = State::Line;
            self.held.push(c);
            return;
        }
        match c {
            '<' => {
                self.state = State::Tag;
                self.held.push(c);
            }
            '_' if self.last.is_some_and(char::is_alphanumeric) => self.state = State::Underscore,
            ']' => self.state = State::Bracket,
            c => self.plain(c),
        }
    }

    /// A letter that is no markup's beginning.
    fn plain(&mut self, c: char) {
        match c {
            '*' | '`' | '~' | '_' | '[' | ']' | '\r' | '\u{2022}' => {}
            '\n' => {
                self.in_line = false;
                self.emit('\n');
            }
            '\u{2018}' | '\u{2019}' => self.emit('\''),
            '\u{201C}' | '\u{201D}' => self.emit('"'),
            '|' => self.emit(' '),
            c if c.is_whitespace() => self.emit(' '),
            c if is_picture(c) => {}
            c => {
                self.in_line = true;
                self.emit(c);
            }
        }
    }

    fn emit(&mut self, c: char) {
        self.last = Some(c);
        self.clean.push_back(c);
    }

    /// At the beginning of a line.
    fn line(&mut self, c: char) {
        self.held.push(c);
        if is_marker(&self.held) {
            self.held.clear();
            self.state = State::Text;
            if c == '\n' {
                self.plain(c);
            }
        } else if !may_be_marker(&self.held) || self.held.len() > LONGEST_MARKER {
            self.release();
        }
    }

    /// After a `<`.
    fn tag(&mut self, c: char) {
        self.held.push(c);
        let held = self.held.to_lowercase();
        if let Some(tag) = THINKING.iter().position(|(open, _)| *open == held) {
            self.held.clear();
            self.state = State::Thinking(tag);
        } else if !THINKING.iter().any(|(open, _)| open.starts_with(&held)) {
            self.release();
        }
    }

    /// What was held back is text after all; its last letter may begin something new.
    fn release(&mut self) {
        self.state = State::Text;
        let mut held = std::mem::take(&mut self.held);
        let last = held.pop();
        held.chars().for_each(|c| self.plain(c));
        self.in_line = true;
        last.into_iter().for_each(|c| self.text(c));
    }

    fn think(&mut self, c: char, tag: usize) {
        let close = THINKING[tag].1;
        self.held.push(c);
        while !close.starts_with(&self.held.to_lowercase()) {
            self.held.remove(0);
        }
        if self.held.len() == close.len() {
            self.held.clear();
            self.state = State::Text;
        }
    }
}

/// Whether this is the whole marker of a list item, a heading or a quotation, with the blank after it.
fn is_marker(text: &str) -> bool {
    let Some(marker) = text.strip_suffix([' ', '\n', '\t']) else { return false };
    let numbered =
        marker.strip_suffix(['.', ')']).is_some_and(|n| (1..=2).contains(&n.len()) && is_digits(n));
    numbered
        || matches!(marker, "-" | "+")
        || (!marker.is_empty() && marker.bytes().all(|b| b == b'#' || b == b'>'))
        || (marker.len() >= 3 && marker.bytes().all(|b| b == b'-'))
}

/// Whether more letters could make it one.
fn may_be_marker(text: &str) -> bool {
    let digits = text.strip_suffix(['.', ')']).unwrap_or(text);
    (digits.len() <= 2 && is_digits(digits))
        || text == "+"
        || text.bytes().all(|b| b == b'-')
        || text.bytes().all(|b| b == b'#' || b == b'>')
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// Emoji, symbols that stand for them, and what joins or colours them.
fn is_picture(c: char) -> bool {
    matches!(u32::from(c),
        0x1F000..=0x1FAFF | 0x2190..=0x21FF | 0x2300..=0x23FF | 0x2500..=0x27BF | 0x2B00..=0x2BFF
        | 0xFE00..=0xFE0F | 0x200B..=0x200D | 0x20E3 | 0xE0000..=0xE007F)
}
