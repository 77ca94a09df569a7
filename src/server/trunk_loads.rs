//! How many calls each trunk has, against what it may have: channels, calls in a second, overflow slots.
//! Knows names and figures. What a call over a limit is answered is the trunk's policy.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::RangeInclusive,
    sync::Arc,
    time::{Duration, Instant},
};

/// The answer to a call over a cap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtCap {
    /// The status.
    pub status: u16,
    /// Seconds of the Retry-After of a 503; `None`: no such header, so that the carrier takes its next route at once.
    pub retry_after: Option<RangeInclusive<u32>>,
    /// Where a 3xx sends the call.
    pub redirect: Option<String>,
    /// Calls beyond the cap that another agent answers.
    pub overflow_slots: u32,
}

/// What a trunk may bring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrunkLimits {
    /// Calls at once.
    pub max_channels: Option<u32>,
    /// New calls in any second.
    pub max_cps: Option<u32>,
}

/// Which limit refused a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// The server's slots.
    Ports,
    /// The trunk's channels.
    Channels,
    /// The trunk's calls in a second.
    Rate,
}

impl Limit {
    /// Every limit, so that each can be counted from zero.
    pub const ALL: [Self; 3] = [Self::Ports, Self::Channels, Self::Rate];

    /// As a metric label and in a log line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ports => "ports",
            Self::Channels => "max_channels",
            Self::Rate => "max_cps",
        }
    }
}

/// How a trunk stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrunkCalls {
    /// Calls at present, those in overflow slots not counted.
    pub calls: u32,
    /// Calls in overflow slots.
    pub overflow: u32,
    /// Calls refused since the start, by the limit that did it.
    pub refused: BTreeMap<&'static str, u64>,
}

/// The place of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Regular,
    Overflow,
}

/// Every trunk that has had a call. Bounded by the number of trunks in the config.
#[derive(Default)]
pub(super) struct TrunkLoads {
    figures: Arc<BTreeMap<String, TrunkCalls>>,
    recent: BTreeMap<String, VecDeque<Instant>>,
}

impl TrunkLoads {
    /// Whether another call may come over the trunk.
    pub(super) fn room(&mut self, now: Instant, trunk: &str, limits: TrunkLimits) -> Result<(), Limit> {
        let calls = self.figures.get(trunk).map_or(0, |figures| figures.calls);
        if limits.max_channels.is_some_and(|most| calls >= most) {
            return Err(Limit::Channels);
        }
        let Some(most) = limits.max_cps else { return Ok(()) };
        let recent = self.recent.entry(trunk.to_owned()).or_default();
        while recent.front().is_some_and(|at| now.saturating_duration_since(*at) >= Duration::from_secs(1)) {
            recent.pop_front();
        }
        if recent.len() >= usize::try_from(most).unwrap_or(usize::MAX) {
            return Err(Limit::Rate);
        }
        recent.push_back(now);
        Ok(())
    }

    /// Calls of the trunk that are in overflow slots.
    pub(super) fn overflow(&self, trunk: &str) -> u32 {
        self.figures.get(trunk).map_or(0, |figures| figures.overflow)
    }

    pub(super) fn enter(&mut self, trunk: &str, place: Place) {
        *self.count(trunk, place) += 1;
    }

    pub(super) fn leave(&mut self, trunk: &str, place: Place) {
        let count = self.count(trunk, place);
        *count = count.saturating_sub(1);
    }

    pub(super) fn refused(&mut self, trunk: &str, limit: Limit) {
        *self.of(trunk).refused.entry(limit.name()).or_default() += 1;
    }

    /// All of it, to be published.
    pub(super) fn figures(&self) -> Arc<BTreeMap<String, TrunkCalls>> {
        Arc::clone(&self.figures)
    }

    fn count(&mut self, trunk: &str, place: Place) -> &mut u32 {
        let figures = self.of(trunk);
        match place {
            Place::Regular => &mut figures.calls,
            Place::Overflow => &mut figures.overflow,
        }
    }

    fn of(&mut self, trunk: &str) -> &mut TrunkCalls {
        Arc::make_mut(&mut self.figures).entry(trunk.to_owned()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trunk_has_its_channels_and_no_more() {
        let (mut loads, now) = (TrunkLoads::default(), Instant::now());
        let limits = TrunkLimits { max_channels: Some(1), max_cps: None };
        assert_eq!(loads.room(now, "a", limits), Ok(()));
        loads.enter("a", Place::Regular);
        assert_eq!(loads.room(now, "a", limits), Err(Limit::Channels));
        assert_eq!(loads.room(now, "b", limits), Ok(()), "another trunk's channels are its own");
        loads.enter("a", Place::Overflow);
        loads.leave("a", Place::Regular);
        assert_eq!((loads.room(now, "a", limits), loads.overflow("a")), (Ok(()), 1));
    }

    #[test]
    fn a_trunk_has_its_calls_in_any_second_and_no_more() {
        let (mut loads, now) = (TrunkLoads::default(), Instant::now());
        let limits = TrunkLimits { max_channels: None, max_cps: Some(2) };
        let mut at = |ms| loads.room(now + Duration::from_millis(ms), "a", limits);
        assert_eq!((at(0), at(600), at(900)), (Ok(()), Ok(()), Err(Limit::Rate)));
        assert_eq!((at(1_000), at(1_100), at(1_600)), (Ok(()), Err(Limit::Rate), Ok(())));
    }
}
