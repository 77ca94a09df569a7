//! What is wrong with a config file, where, and what to write instead.
//! Does not know what the keys mean.

use std::{fmt, ops::Range, path::Path, path::PathBuf};

/// Whether a problem stops the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The config cannot be used.
    Error,
    /// It can be used, but will likely surprise.
    Warning,
}

/// One thing that is wrong. Never holds a secret's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Whether it stops the start.
    pub severity: Severity,
    /// `file:line:column`, or the flag it came from; empty for the machine itself.
    pub place: String,
    /// What is wrong.
    pub message: String,
    /// What to do instead.
    pub help: String,
    /// Where in its file, for sorting.
    offset: usize,
}

impl Problem {
    /// A problem that stops the start.
    pub fn error(place: impl Into<String>, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            place: place.into(),
            message: message.into(),
            help: help.into(),
            offset: 0,
        }
    }

    /// A problem worth knowing.
    pub fn warning(place: impl Into<String>, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(place, message, help) }
    }

    /// The same, found at this byte of its file.
    pub(super) fn at(self, offset: usize) -> Self {
        Self { offset, ..self }
    }

    /// Where in its file.
    pub(super) fn offset(&self) -> usize {
        self.offset
    }

    /// Whether it stops the start.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        if !self.is_error() {
            f.write_str("warning: ")?;
        }
        write!(f, "{}; {}", self.message, self.help)
    }
}

/// Why there is no config.
#[derive(Debug)]
pub enum ConfigError {
    /// The file itself could not be read.
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
    /// Everything that is wrong with it, warnings too.
    Wrong(Vec<Problem>),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, reason } => {
                write!(f, "{}: cannot be read: {reason}; `tandem init` writes a config file", path.display())
            }
            Self::Wrong(problems) => {
                for (index, problem) in problems.iter().enumerate() {
                    if index > 0 {
                        f.write_str("\n")?;
                    }
                    problem.fmt(f)?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for ConfigError {}

/// A text with the name that its problems carry.
#[derive(Clone, Debug)]
pub(super) struct Source {
    name: String,
    text: String,
}

impl Source {
    /// `name` is a path as the user wrote it, or says that the text is built in.
    pub(super) fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into() }
    }

    /// Reads a file.
    pub(super) fn read(path: &Path) -> std::io::Result<Self> {
        Ok(Self::new(path.display().to_string(), std::fs::read_to_string(path)?))
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// `file:line:column` of a byte range; columns count characters from 1, as editors do.
    pub(super) fn place(&self, span: &Range<usize>) -> String {
        let start = (0..=span.start.min(self.text.len())).rev().find(|at| self.text.is_char_boundary(*at));
        let before = &self.text[..start.unwrap_or(0)];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |rest| rest.chars().count()) + 1;
        format!("{}:{line}:{column}", self.name)
    }
}

/// "did you mean `x`?" if something known is close to what was written, else the list of what is known.
pub(super) fn suggest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let distance = |name: &str| strsim::damerau_levenshtein(&written.to_lowercase(), &name.to_lowercase());
    let limit = (written.chars().count() / 3).max(2);
    let near = |name: &str| distance(name) <= limit || (written.len() > 3 && name.starts_with(written));
    match known.iter().filter(|name| near(name)).min_by_key(|name| distance(name)) {
        Some(name) => format!("did you mean `{name}`?"),
        None if known.is_empty() => "there is nothing to choose from yet".into(),
        None => format!("known here: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_lines_and_characters_from_one() {
        let source = Source::new("x.toml", "a = 1\n# ü\nbcd = 2\n");
        assert_eq!(source.place(&(0..1)), "x.toml:1:1");
        let at = source.text().find("cd").expect("is there");
        assert_eq!(source.place(&(at..at + 2)), "x.toml:3:2");
        assert_eq!(source.place(&(999..1000)), "x.toml:4:1");
    }

    #[test]
    fn a_near_miss_is_suggested_and_a_far_one_lists_what_is_known() {
        assert_eq!(suggest("prots", ["ports", "seed"]), "did you mean `ports`?");
        assert_eq!(suggest("Ports", ["ports", "seed"]), "did you mean `ports`?");
        assert_eq!(suggest("telephone", ["ports", "seed"]), "known here: ports, seed");
    }
}
