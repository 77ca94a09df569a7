//! Where the checking of a file is, what it has found so far, and the tools for single keys.
//! Does not know which keys there are.

use super::{
    Problem,
    problem::{Source, suggest},
    raw::Key,
};
use crate::secret::{Secret, SecretError};
use std::{
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};
use toml::Spanned;

/// What a secret means that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrets {
    /// The server is to start: an error.
    Required,
    /// The file is only looked at, perhaps on another machine: a warning, and the config must not be used.
    Noted,
}

/// Where the checking is, and what it has found so far.
pub(super) struct Checker<'a> {
    pub(super) source: &'a Source,
    pub(super) folder: &'a Path,
    pub(super) secrets: Secrets,
    pub(super) problems: Vec<Problem>,
    /// Files that were read, besides the config itself.
    pub(super) files: Vec<PathBuf>,
}

impl Checker<'_> {
    pub(super) fn error<T>(&mut self, key: &Spanned<T>, message: impl Into<String>, help: impl Into<String>) {
        let span = key.span();
        self.problems.push(Problem::error(self.source.place(&span), message, help).at(span.start));
    }

    pub(super) fn warn<T>(&mut self, key: &Spanned<T>, message: impl Into<String>, help: impl Into<String>) {
        let span = key.span();
        self.problems.push(Problem::warning(self.source.place(&span), message, help).at(span.start));
    }

    /// A whole number within bounds.
    pub(super) fn number<N: TryFrom<i64>>(
        &mut self,
        key: &Key<i64>,
        default: N,
        range: RangeInclusive<i64>,
    ) -> N {
        let Some(key) = key else { return default };
        let value = Some(*key.get_ref()).filter(|value| range.contains(value));
        value.and_then(|value| N::try_from(value).ok()).unwrap_or_else(|| {
            let help = match (range.start() == range.end(), *range.end()) {
                (true, only) => format!("only {only} is supported"),
                (false, i64::MAX) => format!("write a number from {}", range.start()),
                (false, end) => format!("write a number from {} to {end}", range.start()),
            };
            self.error(key, format!("{} is out of range", key.get_ref()), help);
            default
        })
    }

    /// Milliseconds within bounds.
    pub(super) fn milliseconds(
        &mut self,
        key: &Key<i64>,
        default: Duration,
        range: RangeInclusive<i64>,
    ) -> Duration {
        key.as_ref().map_or(default, |_| Duration::from_millis(self.number(key, 0, range)))
    }

    /// Seconds within bounds.
    pub(super) fn seconds(
        &mut self,
        key: &Key<i64>,
        default: Duration,
        range: RangeInclusive<i64>,
    ) -> Duration {
        key.as_ref().map_or(default, |_| Duration::from_secs(self.number(key, 0, range)))
    }

    /// A value with a grammar. `default` must follow it; a value that does not is replaced by it.
    pub(super) fn parsed<T>(
        &mut self,
        key: &Key<String>,
        default: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        let written = key.as_ref().and_then(|key| self.part(key, &parse));
        written.unwrap_or_else(|| parse(default).expect("a default follows its own grammar"))
    }

    /// A value with a grammar and no default.
    pub(super) fn parsed_or_none<T>(
        &mut self,
        key: &Key<String>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        key.as_ref().and_then(|key| self.part(key, &parse))
    }

    /// A list of values with a grammar.
    pub(super) fn each<T>(
        &mut self,
        key: &Key<Vec<Spanned<String>>>,
        default: &[&str],
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        match key {
            Some(list) => list.get_ref().iter().filter_map(|part| self.part(part, &parse)).collect(),
            None => default.iter().filter_map(|text| parse(text).ok()).collect(),
        }
    }

    fn part<T>(&mut self, key: &Spanned<String>, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        match parse(key.get_ref().trim()) {
            Ok(value) => Some(value),
            Err(wrong) => {
                let (message, help) =
                    wrong.split_once("; ").unwrap_or((&wrong, "see `tandem init` for an example"));
                self.error(key, message, help);
                None
            }
        }
    }

    /// One word of a few.
    pub(super) fn choice(&mut self, key: &Key<String>, default: &str, known: &[&str]) -> String {
        let Some(key) = key else { return default.to_owned() };
        let written = key.get_ref();
        if !known.contains(&written.as_str()) {
            self.error(key, format!("`{written}` is not a choice"), suggest(written, known.iter().copied()));
            return default.to_owned();
        }
        written.clone()
    }

    /// A secret from where `env:NAME` or `file:PATH` says; a relative path starts at the config's folder.
    pub(super) fn secret(&mut self, key: &Spanned<String>) -> Option<Secret> {
        let reference = key.get_ref();
        let found = match reference.strip_prefix("file:") {
            Some(path) => Secret::resolve(&format!("file:{}", self.folder.join(path).display())),
            None => Secret::resolve(reference),
        };
        match (found, self.secrets) {
            (Ok(secret), _) => return Some(secret),
            (Err(form @ SecretError::Form), _) => {
                self.error(key, form.to_string(), "write where it is, so that nobody reads it here");
            }
            (Err(missing), Secrets::Required) => {
                self.error(key, missing.to_string(), "provide it before the start")
            }
            (Err(missing), Secrets::Noted) => {
                self.warn(key, missing.to_string(), "provide it before the server starts");
            }
        }
        None
    }
}
