//! How targets have been doing lately, and what follows for the next request: who is asked first, and when a second one is.
//! Knows names, times and a budget. Never sees a request, and no vendor.

use crate::{Route, TargetId};
use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

/// What is older tells nothing of how a target is doing now.
const WINDOW: Duration = Duration::from_secs(300);
/// Times that are kept of one target.
const KEPT: usize = 200;
/// Times before a target counts as slow: a twentieth of fewer is less than one.
const ENOUGH: usize = 20;
/// Times before a target counts as one that keeps within its budget.
const SOME: usize = 5;
/// From being passed over to the first request that tries whether it is over; doubled each time it is not.
const PROBE_AFTER: Duration = Duration::from_secs(30);
/// The longest such time.
const PROBE_AFTER_MOST: Duration = Duration::from_secs(300);
/// Between two such requests once one was answered within the budget.
const PROBE_AGAIN: Duration = Duration::from_secs(5);
/// So many of them within the budget, one after the other, and it is asked as before.
const PROBES: u32 = 3;
/// A second target is not asked sooner than this: connections and queues vary so much from one request to the next.
const HEDGE_LEAST: Duration = Duration::from_millis(400);
/// Nor later: beyond that the caller notices.
const HEDGE_MOST: Duration = Duration::from_millis(1_000);
/// Before enough is known of a target.
const HEDGE_UNKNOWN: Duration = Duration::from_millis(800);
/// Hedges that may be saved up.
const SAVED: f64 = 5.0;

/// What a route's targets did lately, all calls together.
#[derive(Debug)]
pub struct Standings {
    /// From the question to something that can be spoken; zero: there is no budget, and nothing follows from time.
    budget: Duration,
    targets: BTreeMap<TargetId, Standing>,
    /// Hedges that may be made now, of each route.
    allowance: BTreeMap<String, f64>,
}

#[derive(Debug, Default)]
struct Standing {
    /// When a target was asked, and how long it took or was waited for in vain.
    times: VecDeque<(Instant, Duration)>,
    passed_over: Option<PassedOver>,
}

#[derive(Debug)]
struct PassedOver {
    probe_at: Instant,
    pause: Duration,
    /// Probes within the budget, one after the other.
    good: u32,
}

/// Who is to be asked for one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// In this order.
    pub targets: Vec<TargetId>,
    /// When the second one is asked beside the first, if it may be.
    pub hedge_after: Option<Duration>,
    /// The first one is asked to see whether it is well again.
    pub is_probe: bool,
}

/// A target's standing has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which one.
    pub target: TargetId,
    /// It is passed over from now on; otherwise it is asked again as before.
    pub passed_over: bool,
    /// What a twentieth of its times were above.
    pub p95: Duration,
}

impl Standings {
    /// Nothing is known yet. The budget is from the question to something that can be spoken.
    pub const fn new(budget: Duration) -> Self {
        Self { budget, targets: BTreeMap::new(), allowance: BTreeMap::new() }
    }

    /// Who is asked for a request at `now`, and whose standing has changed.
    pub fn choose(&mut self, now: Instant, route: &Route, changes: &mut Vec<Change>) -> Choice {
        let models = route.models();
        let mut choice = Choice { targets: route.targets.clone(), hedge_after: None, is_probe: false };
        if self.budget.is_zero() || models.len() < 2 {
            return choice;
        }
        self.pass_over(now, route, models, changes);
        let is_over = |target: &TargetId| self.targets.get(target).is_some_and(|s| s.passed_over.is_some());
        // Stable: among those that are alike the order of the config stands.
        choice.targets[..models.len()].sort_by_key(is_over);
        if let Some(probed) = self.probe(now, models) {
            choice.targets.retain(|target| *target != probed);
            choice.targets.insert(0, probed);
            choice.is_probe = true;
        }
        let share = f64::from(route.hedge_percent) / 100.0;
        let allowance = self.allowance.entry(route.name.clone()).or_insert(SAVED * share.min(1.0));
        *allowance = (*allowance + share).min(SAVED.max(1.0));
        choice.hedge_after = match choice.is_probe {
            // A probe is no reason for a caller to wait longer than for whoever was asked otherwise.
            true => Some(self.budget),
            false => (route.hedge_percent > 0).then(|| self.hedge_after(now, &choice.targets[0])),
        };
        choice
    }

    /// Whether a second target may be asked now; if so, it is counted. A probe's always may.
    pub fn take_hedge(&mut self, route: &str) -> bool {
        let Some(allowance) = self.allowance.get_mut(route).filter(|allowance| **allowance >= 1.0) else {
            return false;
        };
        *allowance -= 1.0;
        true
    }

    /// A target took so long to say something, or was waited for in vain for so long.
    pub fn note(&mut self, now: Instant, target: &TargetId, took: Duration) {
        let standing = self.targets.entry(target.clone()).or_default();
        standing.times.push_back((now, took));
        if standing.times.len() > KEPT {
            standing.times.pop_front();
        }
        let Some(over) = &mut standing.passed_over else { return };
        if took <= self.budget {
            over.good += 1;
            over.probe_at = now + PROBE_AGAIN;
        } else {
            over.good = 0;
            over.pause = (over.pause * 2).min(PROBE_AFTER_MOST);
            over.probe_at = now + over.pause;
        }
    }

    /// Targets that are passed over now.
    pub fn passed_over(&self) -> impl Iterator<Item = &TargetId> {
        self.targets.iter().filter(|(_, standing)| standing.passed_over.is_some()).map(|(target, _)| target)
    }

    fn pass_over(&mut self, now: Instant, route: &Route, models: &[TargetId], changes: &mut Vec<Change>) {
        for target in models {
            let Some(standing) = self.targets.get_mut(target) else { continue };
            let is_well = standing.passed_over.as_ref().is_some_and(|over| over.good >= PROBES);
            if is_well || (standing.passed_over.is_some() && !route.pass_over_slow) {
                let p95 = standing.p95(now, 1).unwrap_or_default();
                // What it was before says nothing of how it is now.
                (standing.passed_over, standing.times) = (None, VecDeque::new());
                changes.push(Change { target: target.clone(), passed_over: false, p95 });
            }
        }
        if !route.pass_over_slow {
            return;
        }
        let within = |standing: &Standing| {
            standing.passed_over.is_none() && standing.p95(now, SOME).is_some_and(|p95| p95 <= self.budget)
        };
        let one_is_within = models.iter().filter_map(|target| self.targets.get(target)).any(within);
        for target in models.iter().filter(|_| one_is_within) {
            let Some(standing) = self.targets.get_mut(target) else { continue };
            let slow = standing.p95(now, ENOUGH).filter(|p95| *p95 > self.budget);
            if let Some(p95) = slow.filter(|_| standing.passed_over.is_none()) {
                let pause = PROBE_AFTER;
                standing.passed_over = Some(PassedOver { probe_at: now + pause, pause, good: 0 });
                changes.push(Change { target: target.clone(), passed_over: true, p95 });
            }
        }
    }

    /// The target whose turn it is to be tried again. One request at a time does so.
    fn probe(&mut self, now: Instant, models: &[TargetId]) -> Option<TargetId> {
        models.iter().find_map(|target| {
            let over = self.targets.get_mut(target)?.passed_over.as_mut()?;
            if now < over.probe_at {
                return None;
            }
            over.probe_at = now + over.pause;
            Some(target.clone())
        })
    }

    fn hedge_after(&self, now: Instant, target: &TargetId) -> Duration {
        let p95 = self.targets.get(target).and_then(|standing| standing.p95(now, ENOUGH));
        p95.unwrap_or(HEDGE_UNKNOWN).max(self.budget).clamp(HEDGE_LEAST, HEDGE_MOST)
    }
}

impl Standing {
    /// What a twentieth of the times are above; `None` where there are fewer than `least`.
    fn p95(&self, now: Instant, least: usize) -> Option<Duration> {
        let recent = |(at, _): &&(Instant, Duration)| now.saturating_duration_since(*at) <= WINDOW;
        let mut times: Vec<Duration> = self.times.iter().filter(recent).map(|(_, took)| *took).collect();
        if times.len() < least.max(1) {
            return None;
        }
        times.sort_unstable();
        let rank = (times.len() * 95).div_ceil(100);
        times.get(rank - 1).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Duration = Duration::from_millis(350);

    struct Case {
        now: Instant,
        standings: Standings,
        route: Route,
        changes: Vec<Change>,
    }

    fn id(name: &str) -> TargetId {
        TargetId(name.to_owned())
    }

    impl Case {
        fn new(targets: &[&str]) -> Self {
            #[expect(clippy::disallowed_methods, reason = "an origin for a test's clock")]
            let now = Instant::now();
            let mut route = Route::new("reply", targets.iter().map(|name| id(name)));
            route.last_resorts = vec![id("flow")];
            Self { now, standings: Standings::new(BUDGET), route, changes: Vec::new() }
        }

        fn note(&mut self, target: &str, times: usize, ms: u64) {
            for _ in 0..times {
                self.now += Duration::from_millis(100);
                self.standings.note(self.now, &id(target), Duration::from_millis(ms));
            }
        }

        fn choose(&mut self) -> Choice {
            self.standings.choose(self.now, &self.route, &mut self.changes)
        }

        fn order(&mut self) -> Vec<String> {
            self.choose().targets.into_iter().map(|target| target.0).collect()
        }
    }

    #[test]
    fn a_slow_model_is_passed_over_while_another_is_within_the_budget() {
        let mut case = Case::new(&["a", "b", "flow"]);
        case.note("a", 40, 900);
        assert_eq!(case.order(), ["a", "b", "flow"], "nobody is known to be faster");
        case.note("b", 5, 300);
        assert_eq!(case.order(), ["b", "a", "flow"]);
        assert_eq!(case.changes.len(), 1);
        assert_eq!(
            case.changes[0],
            Change { target: id("a"), passed_over: true, p95: Duration::from_millis(900) }
        );
        case.route.pass_over_slow = false;
        assert_eq!(case.order(), ["a", "b", "flow"], "the config says otherwise");
    }

    #[test]
    fn a_few_slow_replies_are_nothing() {
        let mut case = Case::new(&["a", "b"]);
        case.note("b", 30, 200);
        case.note("a", 19, 900);
        assert_eq!(case.order(), ["a", "b"], "too few to tell");
        case.note("a", 400, 200);
        case.note("a", 9, 2_000);
        assert_eq!(case.order(), ["a", "b"], "fewer than a twentieth of them");
    }

    #[test]
    fn no_model_ever_goes_behind_what_only_stands_in() {
        let mut case = Case::new(&["a", "flow", "b"]);
        case.note("a", 40, 5_000);
        case.note("flow", 40, 1);
        case.note("b", 40, 100);
        let choice = case.choose();
        assert_eq!(choice.targets, [id("a"), id("flow"), id("b")]);
        assert_eq!(choice.hedge_after, None, "nobody to ask beside it");
    }

    #[test]
    fn who_was_passed_over_comes_back_by_probes() {
        let mut case = Case::new(&["a", "b"]);
        case.note("a", 40, 900);
        case.note("b", 20, 100);
        assert_eq!(case.order(), ["b", "a"]);
        let mut probes = Vec::new();
        for second in 1..=400 {
            case.now += Duration::from_secs(1);
            case.note("b", 1, 100);
            let choice = case.choose();
            if choice.is_probe {
                assert_eq!((&choice.targets[0], choice.hedge_after), (&id("a"), Some(BUDGET)));
                probes.push(second);
                // It is well again after the second one.
                case.note("a", 1, if probes.len() <= 2 { 900 } else { 100 });
            }
        }
        assert!(probes.len() == 5 && probes[1] - probes[0] > 30 && probes[2] - probes[1] > 60, "{probes:?}");
        assert_eq!(case.order(), ["a", "b"]);
        let changed: Vec<bool> = case.changes.iter().map(|change| change.passed_over).collect();
        assert_eq!(changed, [true, false]);
    }

    #[test]
    fn a_second_target_is_asked_when_the_first_is_later_than_usual() {
        let mut case = Case::new(&["a", "b"]);
        assert_eq!(case.choose().hedge_after, Some(HEDGE_UNKNOWN));
        case.note("a", 100, 600);
        assert_eq!(case.choose().hedge_after, Some(Duration::from_millis(600)));
        case.note("a", 200, 50);
        assert_eq!(case.choose().hedge_after, Some(HEDGE_LEAST));
        case.note("a", 200, 3_000);
        assert_eq!(case.choose().hedge_after, Some(HEDGE_MOST));
        case.route.hedge_percent = 0;
        assert_eq!(case.choose().hedge_after, None);
    }

    #[test]
    fn no_more_than_their_share_of_requests_is_hedged() {
        let mut case = Case::new(&["a", "b"]);
        let mut hedged = 0;
        for _ in 0..2_000 {
            case.choose();
            hedged += u32::from(case.standings.take_hedge("reply"));
        }
        assert!((95..=100).contains(&hedged), "{hedged} of 2000");
        assert!(!case.standings.take_hedge("another"));
    }

    #[test]
    fn without_a_budget_nothing_follows_from_time() {
        let mut case = Case::new(&["a", "b"]);
        case.standings = Standings::new(Duration::ZERO);
        case.note("a", 100, 5_000);
        case.note("b", 100, 1);
        let choice = case.choose();
        assert_eq!((choice.targets, choice.hedge_after), (vec![id("a"), id("b")], None));
    }

    #[test]
    fn whatever_happens_every_target_stays_in_its_route_once() {
        for seed in 0..100_u64 {
            let mut case = Case::new(&["a", "b", "c", "flow", "d"]);
            let mut chance = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
            for _ in 0..200 {
                chance ^= chance << 13;
                chance ^= chance >> 7;
                chance ^= chance << 17;
                case.now += Duration::from_millis(chance % 5_000);
                let target = ["a", "b", "c", "flow", "d"][(chance >> 20) as usize % 5];
                case.note(target, 1 + (chance >> 30) as usize % 9, (chance >> 40) % 800);
                let order = case.order();
                let mut sorted = order.clone();
                sorted.sort_unstable();
                assert_eq!(sorted, ["a", "b", "c", "d", "flow"], "seed {seed}");
                assert_eq!(order[3..], ["flow", "d"], "seed {seed}: last resorts stay where they are");
            }
        }
    }
}
