//! The small words that the conversation and its neighbours share.
//! Knows nothing of how they come about.

use serde::{Deserialize, Serialize};

/// Numbers the agent's replies within a call; 0 is the greeting. Everything a provider sends back carries the
/// number it was asked under, so whatever belongs to a cancelled turn is recognised by one comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TurnId(pub u32);

impl TurnId {
    /// The turn after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl std::fmt::Display for TurnId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What the caller is expected to say next: a hint for endpointing and for the recogniser.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expectation {
    /// Anything.
    #[default]
    Any,
    /// Yes or no.
    YesNo,
    /// Digits, spoken or keyed in.
    Digits {
        /// How many, if it is known.
        count: Option<u8>,
    },
    /// A day.
    Date,
    /// A time of day.
    Time,
    /// A person's name.
    Name,
    /// An e-mail address.
    Email,
    /// A word letter by letter.
    Spelling,
}

/// What speech-to-text thinks of the caller's turn, where it has an opinion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderTurn {
    /// It is probably over.
    Eager,
    /// It goes on after all.
    Resumed,
    /// It is over.
    Over,
}

impl ProviderTurn {
    /// As it stands in traces; never changes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Eager => "eager_end",
            Self::Resumed => "resumed",
            Self::Over => "end",
        }
    }
}

/// What speech-to-text made of the caller's words.
#[derive(Clone, PartialEq)]
pub struct Transcript {
    /// The words.
    pub text: String,
    /// Whether they are settled; an interim transcript may still change.
    pub is_final: bool,
    /// 0 to 1, where the provider says it.
    pub confidence: Option<f32>,
}

impl Expectation {
    /// As it is written in agents, flows and tools: `any`, `yes_no`, `digits`, `digits:10`, `date`, `time`, `name`,
    /// `email`, `spelling`.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text.split_once(':') {
            Some(("digits", count)) => Self::Digits {
                count: Some(count.trim().parse().ok().filter(|count| (1..=40).contains(count))?),
            },
            Some(_) => return None,
            None => match text {
                "any" => Self::Any,
                "yes_no" => Self::YesNo,
                "digits" => Self::Digits { count: None },
                "date" => Self::Date,
                "time" => Self::Time,
                "name" => Self::Name,
                "email" => Self::Email,
                "spelling" => Self::Spelling,
                _ => return None,
            },
        })
    }
}

impl std::fmt::Debug for Transcript {
    /// Leaves the words out: they are the caller's.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Transcript({} characters, final: {})", self.text.len(), self.is_final)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expectation_is_read_as_it_is_written() {
        assert_eq!(Expectation::parse("digits:10"), Some(Expectation::Digits { count: Some(10) }));
        assert_eq!(Expectation::parse("email"), Some(Expectation::Email));
        for wrong in ["digits:0", "digits:x", "digits:300", "yes_no:1", "number", ""] {
            assert_eq!(Expectation::parse(wrong), None, "{wrong}");
        }
    }
}
