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
    /// The first one is late: whichever of the two can be heard first answers.
    Hedge,
    /// All were tried once; what failed for a passing reason is tried again.
    Retry,
}

impl Role {
    /// As it stands in traces.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Fallback => "fallback",
            Self::Hedge => "hedge",
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
    /// Targets that are no model: they answer at once and know little. They stand in when models fail, where they stand
    /// in the list; nobody is passed over for them, and they are never asked beside a model.
    pub last_resorts: Vec<TargetId>,
    /// Of a hundred requests, so many may be asked of a second target while the first one is late. 0: none.
    pub hedge_percent: u32,
    /// Whether a target that is over its budget is passed over for one within it.
    pub pass_over_slow: bool,
}

impl Route {
    /// A caller waits about this long before asking whether somebody is there.
    pub const FIRST_SPEAKABLE_TIMEOUT: Duration = Duration::from_millis(2_500);
    /// A sentence's worth of speech: a longer silence between deltas is heard as a gap.
    pub const STALL_TIMEOUT: Duration = Duration::from_millis(1_200);
    /// Nobody listens to a longer monologue on the phone.
    pub const TOTAL_TIMEOUT: Duration = Duration::from_secs(15);

    /// Enough for the slowest twentieth of replies, and no more than a twentieth of what they cost.
    pub const HEDGE_PERCENT: u32 = 5;

    /// Models that stand before the first last resort: only among these one may be preferred to another.
    pub fn models(&self) -> &[TargetId] {
        let end = self.targets.iter().position(|target| self.last_resorts.contains(target));
        &self.targets[..end.unwrap_or(self.targets.len())]
    }

    /// A route with the default times.
    pub fn new(name: impl Into<String>, targets: impl IntoIterator<Item = TargetId>) -> Self {
        Self {
            name: name.into(),
            targets: targets.into_iter().collect(),
            first_speakable_timeout: Self::FIRST_SPEAKABLE_TIMEOUT,
            stall_timeout: Self::STALL_TIMEOUT,
            total_timeout: Self::TOTAL_TIMEOUT,
            rounds: 2,
            last_resorts: Vec::new(),
            hedge_percent: Self::HEDGE_PERCENT,
            pass_over_slow: true,
        }
    }
}
