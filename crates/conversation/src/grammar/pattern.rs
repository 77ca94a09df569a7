//! The phrase syntax of agent files, a subset of JSGF: `[opt] (one|two) <slot>`.
//! Knows its text and its expansions. Knows nothing of what a slot means.

/// A phrase as it was written: what may follow what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern(Node);

/// One step of an expansion.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Piece {
    /// A lower-case word.
    Word(String),
    /// Something of a slot's kind.
    Slot(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Piece(Piece),
    /// All of them, in order. Empty: nothing is said.
    All(Vec<Self>),
    /// Any one of them.
    One(Vec<Self>),
}

/// How deep groups may be nested: the agent file is outside input.
const MAX_DEPTH: usize = 16;

impl Pattern {
    /// Reads a phrase.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser { rest: text, depth: 0 };
        let node = parser.alternatives()?;
        match parser.rest.chars().next() {
            None if node.longest() > 0 => Ok(Self(node)),
            None => Err("the phrase is empty".to_owned()),
            Some(close) => Err(format!("`{close}` closes nothing")),
        }
    }

    /// How many ways there are to say it.
    pub(crate) fn count(&self) -> u64 {
        self.0.count()
    }

    /// The `index`-th way to say it.
    pub(crate) fn nth(&self, index: u64) -> Vec<Piece> {
        let mut out = Vec::new();
        self.0.nth(index % self.count().max(1), &mut out);
        out
    }

    /// At most `limit` ways to say it, spread over all of them; the same ones every time.
    pub(crate) fn some(&self, limit: u64) -> impl Iterator<Item = Vec<Piece>> + '_ {
        let count = self.count();
        let taken = count.min(limit);
        // Indices a little irregularly apart, or the same options would always meet.
        let index = move |n: u64| if taken == count { n } else { scatter(n) % count };
        (0..taken).map(move |n| self.nth(index(n)))
    }

    /// The phrase without anything optional.
    pub(crate) fn bare(&self) -> Self {
        Self(self.0.bare())
    }

    /// The names of all slots in it.
    pub(crate) fn slots(&self) -> Vec<&str> {
        let mut out = Vec::new();
        self.0.slots(&mut out);
        out
    }
}

/// A number that looks like chance and is not (the finaliser of SplitMix64).
pub(crate) fn scatter(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Node {
    fn count(&self) -> u64 {
        match self {
            Self::Piece(_) => 1,
            Self::All(nodes) => nodes.iter().fold(1, |n, node| n.saturating_mul(node.count())),
            Self::One(nodes) => nodes.iter().fold(0, |n, node| n.saturating_add(node.count())),
        }
    }

    /// Words in the longest way to say it.
    fn longest(&self) -> usize {
        match self {
            Self::Piece(_) => 1,
            Self::All(nodes) => nodes.iter().map(Self::longest).sum(),
            Self::One(nodes) => nodes.iter().map(Self::longest).max().unwrap_or(0),
        }
    }

    fn nth(&self, mut index: u64, out: &mut Vec<Piece>) {
        match self {
            Self::Piece(piece) => out.push(piece.clone()),
            Self::All(nodes) => {
                for node in nodes {
                    let count = node.count().max(1);
                    node.nth(index % count, out);
                    index /= count;
                }
            }
            Self::One(nodes) => {
                for node in nodes {
                    let count = node.count();
                    if index < count {
                        return node.nth(index, out);
                    }
                    index -= count;
                }
            }
        }
    }

    fn bare(&self) -> Self {
        let empty = Self::All(Vec::new());
        match self {
            Self::Piece(_) => self.clone(),
            Self::One(nodes) if nodes.contains(&empty) => empty,
            Self::All(nodes) => Self::All(nodes.iter().map(Self::bare).collect()),
            Self::One(nodes) => Self::One(nodes.iter().map(Self::bare).collect()),
        }
    }

    fn slots<'a>(&'a self, out: &mut Vec<&'a str>) {
        match self {
            Self::Piece(Piece::Slot(name)) => out.push(name),
            Self::Piece(Piece::Word(_)) => {}
            Self::All(nodes) | Self::One(nodes) => nodes.iter().for_each(|node| node.slots(out)),
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

impl Parser<'_> {
    /// `a b | c`, up to a closing bracket or the end.
    fn alternatives(&mut self) -> Result<Node, String> {
        let mut all = vec![self.sequence()?];
        while let Some(rest) = self.rest.strip_prefix('|') {
            self.rest = rest;
            all.push(self.sequence()?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Node::One(all) })
    }

    fn sequence(&mut self) -> Result<Node, String> {
        let mut all = Vec::new();
        loop {
            self.rest = self.rest.trim_start();
            match self.rest.chars().next() {
                None | Some('|' | ')' | ']') => return Ok(Node::All(all)),
                Some('(') => all.push(self.group('(', ')')?),
                Some('[') => all.push(Node::One(vec![self.group('[', ']')?, Node::All(Vec::new())])),
                Some('<') => {
                    let (name, rest) = self.rest[1..].split_once('>').ok_or("`<` is not closed by `>`")?;
                    self.rest = rest;
                    all.push(Node::Piece(Piece::Slot(name.trim().to_owned())));
                }
                Some('>') => return Err("`>` closes nothing".to_owned()),
                Some(_) => all.push(self.word()?),
            }
        }
    }

    fn group(&mut self, open: char, close: char) -> Result<Node, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("groups are nested more than {MAX_DEPTH} deep"));
        }
        self.rest = &self.rest[1..];
        let node = self.alternatives()?;
        self.rest =
            self.rest.strip_prefix(close).ok_or_else(|| format!("`{open}` is not closed by `{close}`"))?;
        self.depth -= 1;
        Ok(node)
    }

    fn word(&mut self) -> Result<Node, String> {
        let end =
            self.rest.find(|c: char| c.is_whitespace() || "()[]<>|".contains(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        if let Some(c) = word.chars().find(|c| !c.is_alphabetic() && *c != '\'') {
            return Err(format!("`{c}` cannot be spoken: write words in letters, numbers too"));
        }
        Ok(Node::Piece(Piece::Word(word.to_lowercase())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ways(text: &str) -> Vec<String> {
        let pattern = Pattern::parse(text).expect(text);
        let word = |piece: &Piece| match piece {
            Piece::Word(word) => word.clone(),
            Piece::Slot(name) => format!("<{name}>"),
        };
        (0..pattern.count()).map(|n| pattern.nth(n).iter().map(word).collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn a_phrase_is_said_in_all_its_ways() {
        assert_eq!(
            ways("[Please] (book|make) it"),
            ["please book it", "book it", "please make it", "make it"]
        );
        assert_eq!(ways("a | b [on <day>]"), ["a", "b on <day>", "b"]);
        assert_eq!(ways("don't"), ["don't"]);
    }

    #[test]
    fn some_ways_are_the_same_every_time_and_differ() {
        let pattern = Pattern::parse("(a|b|c|d) (e|f|g|h) (i|j|k|l) [m] [n]").expect("a phrase");
        let some: Vec<_> = pattern.some(20).collect();
        assert_eq!(some, pattern.some(20).collect::<Vec<_>>());
        assert!(some.iter().collect::<std::collections::BTreeSet<_>>().len() > 15);
    }

    #[test]
    fn faults_are_named() {
        for (text, fault) in [
            ("(a", "`(` is not closed by `)`"),
            ("a]", "`]` closes nothing"),
            ("<day", "`<` is not closed by `>`"),
            ("a > b", "`>` closes nothing"),
            ("", "the phrase is empty"),
            ("[ ]", "the phrase is empty"),
            ("3 times", "`3` cannot be spoken: write words in letters, numbers too"),
        ] {
            assert_eq!(Pattern::parse(text).expect_err(text), fault);
        }
    }

    #[test]
    fn without_its_options_a_phrase_is_bare() {
        let pattern = Pattern::parse("[please] (book|make [me]) it [now]").expect("a phrase");
        let wanted = Pattern::parse("(book|make) it").expect("a phrase");
        assert!(pattern.bare().some(9).eq(wanted.some(9)));
    }
}
