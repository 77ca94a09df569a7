//! Why a provider could not serve, in classes that say what to do about it.
//! Knows classes, not vendors: each vendor file sorts its own errors into them.

use std::{fmt, time::Duration};

/// What kind of trouble it was. The kind decides whether trying the same target again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureClass {
    /// The key is missing, wrong or may not do this.
    Auth,
    /// The account has no credit left.
    Quota,
    /// Too many requests a minute.
    RateLimited,
    /// Too many streams at once.
    Concurrency,
    /// The provider says that it is busy.
    Overloaded,
    /// The provider refuses what was asked; it would refuse it again.
    BadRequest,
    /// The provider cannot make sense of the audio.
    AudioFormat,
    /// Nothing came in time.
    Timeout,
    /// The provider closed the stream because it had heard nothing from us.
    IdleTimeout,
    /// The provider closed the stream because it had lasted long enough.
    SessionExpired,
    /// The connection could not be made, or broke.
    Network,
    /// The provider failed inside, or answered nonsense.
    Internal,
}

impl FailureClass {
    /// All classes.
    pub const ALL: [Self; 12] = [
        Self::Auth,
        Self::Quota,
        Self::RateLimited,
        Self::Concurrency,
        Self::Overloaded,
        Self::BadRequest,
        Self::AudioFormat,
        Self::Timeout,
        Self::IdleTimeout,
        Self::SessionExpired,
        Self::Network,
        Self::Internal,
    ];

    /// As it stands in reasons, traces and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Quota => "quota",
            Self::RateLimited => "rate_limited",
            Self::Concurrency => "concurrency",
            Self::Overloaded => "overloaded",
            Self::BadRequest => "bad_request",
            Self::AudioFormat => "audio_format",
            Self::Timeout => "timeout",
            Self::IdleTimeout => "idle_timeout",
            Self::SessionExpired => "session_expired",
            Self::Network => "network",
            Self::Internal => "internal",
        }
    }

    /// Whether the same target may do better a moment later.
    pub const fn is_passing(self) -> bool {
        match self {
            Self::Auth | Self::Quota | Self::BadRequest | Self::AudioFormat => false,
            Self::RateLimited
            | Self::Concurrency
            | Self::Overloaded
            | Self::Timeout
            | Self::IdleTimeout
            | Self::SessionExpired
            | Self::Network
            | Self::Internal => true,
        }
    }

    /// The class that an HTTP status stands for (RFC 9110 section 15). A vendor's error code may say it better.
    pub const fn of_http_status(status: u16) -> Self {
        match status {
            401 | 403 => Self::Auth,
            402 => Self::Quota,
            408 | 504 => Self::Timeout,
            429 => Self::RateLimited,
            409 | 503 | 529 => Self::Overloaded,
            400..=499 => Self::BadRequest,
            _ => Self::Internal,
        }
    }
}

/// One failure of one provider. As text it begins with its class, so that it survives a journey through
/// `reason` strings: `rate_limited[300ms]: slow down`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind.
    pub class: FailureClass,
    /// When the provider wants to be asked again, if it said so.
    pub retry_after: Option<Duration>,
    /// For the operator. Holds no words of the caller and no key.
    pub reason: String,
}

impl Failure {
    /// A failure without a wish to be asked again later.
    pub fn new(class: FailureClass, reason: impl Into<String>) -> Self {
        Self { class, retry_after: None, reason: reason.into() }
    }

    /// Reads what [`Display`](fmt::Display) wrote. Text from elsewhere counts as an internal failure.
    pub fn parse(text: &str) -> Self {
        Self::parse_classed(text).unwrap_or_else(|| Self::new(FailureClass::Internal, text))
    }

    fn parse_classed(text: &str) -> Option<Self> {
        let (head, reason) = text.split_once(": ")?;
        let (name, wait) = match head.split_once('[') {
            Some((name, wait)) => (name, Some(wait.strip_suffix("ms]")?.parse().ok()?)),
            None => (head, None),
        };
        let class = FailureClass::ALL.into_iter().find(|class| class.name() == name)?;
        Some(Self { class, retry_after: wait.map(Duration::from_millis), reason: reason.into() })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.class.name())?;
        if let Some(wait) = self.retry_after {
            write!(f, "[{}ms]", wait.as_millis())?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_survives_as_text() {
        for class in FailureClass::ALL {
            for retry_after in [None, Some(Duration::from_millis(300))] {
                let failure = Failure { class, retry_after, reason: "HTTP 503: model: loading".into() };
                assert_eq!(Failure::parse(&failure.to_string()), failure);
            }
        }
    }

    #[test]
    fn text_from_elsewhere_is_an_internal_failure() {
        for text in ["", "boom", "what: ever", "auth[soon]: x", "auth[9999999999999999999999ms]: x"] {
            assert_eq!(Failure::parse(text), Failure::new(FailureClass::Internal, text));
        }
    }

    #[test]
    fn a_refusal_does_not_pass_by_waiting() {
        for status in [400, 401, 402, 403, 404, 422] {
            assert!(!FailureClass::of_http_status(status).is_passing(), "{status}");
        }
        for status in [408, 429, 500, 502, 503, 504, 529] {
            assert!(FailureClass::of_http_status(status).is_passing(), "{status}");
        }
    }
}
