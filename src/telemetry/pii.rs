//! Keeps what belongs to a caller (numbers, names, words) out of logs and panics.
//! Knows nothing of what it wraps; whoever needs the value says so with `expose`.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What is printed instead of the value: always the same, so that nobody can tell two callers apart by it.
const REDACTED: &str = "<redacted>";

/// A value that never shows itself in `Display` or `Debug`. Serialising it does write it out: the store and the API are
/// where such data belongs.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pii<T>(T);

impl<T> Pii<T> {
    /// Wraps a value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself, for the place that has to have it.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> From<T> for Pii<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T> fmt::Debug for Pii<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl<T> fmt::Display for Pii<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_never_shows_in_a_log_line() {
        let number = Pii::new("+15550100".to_owned());
        assert_eq!(
            format!("{number} {number:?} {:?}", Some(&number)),
            "<redacted> <redacted> Some(<redacted>)"
        );
        assert_eq!(number.expose(), "+15550100");
    }
}
