//! A route: what agents name, and the targets that may answer under that name.
//! Knows no model, vendor or price; a target is a name that the config gives a meaning.

use std::time::Duration;

/// A target's name in the config.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetId(pub String);

impl std::fmt::Display for TargetId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a target is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The first one of the route.
    Primary,
    /// One before it failed.
    Fallback,
    /// All were tried once; what failed for a passing reason is tried again.
    Retry,
}

impl Role {
    /// As it stands in traces.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Fallback => "fallback",
            Self::Retry => "retry",
        }
    }
}

/// Targets in the order in which they are tried, and how long each may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// What agents call it.
    pub name: String,
    /// In order of preference.
    pub targets: Vec<TargetId>,
    /// How long a target may take to its first speakable delta.
    pub first_speakable_timeout: Duration,
    /// How long it may then be silent between two deltas.
    pub stall_timeout: Duration,
    /// How long the whole reply may take, all attempts together.
    pub total_timeout: Duration,
    /// How often the whole list is gone through. A second round serves those whose failure may have passed.
    pub rounds: u32,
}

impl Route {
    /// A caller waits about this long before asking whether somebody is there.
    pub const FIRST_SPEAKABLE_TIMEOUT: Duration = Duration::from_millis(2_500);
    /// A sentence's worth of speech: a longer silence between deltas is heard as a gap.
    pub const STALL_TIMEOUT: Duration = Duration::from_millis(1_200);
    /// Nobody listens to a longer monologue on the phone.
    pub const TOTAL_TIMEOUT: Duration = Duration::from_secs(15);

    /// A route with the default times.
    pub fn new(name: impl Into<String>, targets: impl IntoIterator<Item = TargetId>) -> Self {
        Self {
            name: name.into(),
            targets: targets.into_iter().collect(),
            first_speakable_timeout: Self::FIRST_SPEAKABLE_TIMEOUT,
            stall_timeout: Self::STALL_TIMEOUT,
            total_timeout: Self::TOTAL_TIMEOUT,
            rounds: 2,
        }
    }
}
