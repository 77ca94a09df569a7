//! Which target of a trunk group is tried next: order, failover codes, and who is left alone for a while.
//! Knows targets and outcomes. Places no calls and resolves no names.

use crate::endpoint::Transport;
use crate::locate::Target;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The most targets whose failures are remembered; the one that failed longest ago is forgotten first.
const MAX_REMEMBERED: usize = 256;
/// A probe whose outcome was never reported counts as over after this.
const PROBE_LIMIT: Duration = Duration::from_secs(60);

/// When to go on, and how long to leave a target alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailoverPolicy {
    /// Final statuses after which the next target is tried. A timeout and a transport failure always go on.
    pub codes: Vec<u16>,
    /// How long a target is left alone after its first failure; doubles with each one that follows.
    pub hold_down: Duration,
    /// The longest it is left alone.
    pub hold_down_max: Duration,
    /// The most targets one call tries.
    pub max_attempts: usize,
}

impl Default for FailoverPolicy {
    fn default() -> Self {
        Self {
            codes: vec![408, 480, 500, 502, 503, 504],
            hold_down: Duration::from_secs(30),
            hold_down_max: Duration::from_secs(600),
            max_attempts: 4,
        }
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A 2xx to a call or to an OPTIONS.
    Answered,
    /// Another final status, and the Retry-After that came with it, in seconds.
    Status(u16, Option<u32>),
    /// No final response.
    Timeout,
    /// It could not be sent, or the connection was lost.
    TransportFailed,
}

/// What to do after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// This outcome is the call's outcome.
    Stop,
    /// Try the next target, if there is one.
    GoOn,
}

/// Why a target was chosen, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The best one that is not known to be down.
    InOrder,
    /// It was down; its time is over and this call shows whether it is back.
    Probe,
    /// All are down, and this one has failed longest ago.
    LeastRecentlyFailed,
}

impl Choice {
    /// In words.
    pub fn reason(self) -> &'static str {
        match self {
            Self::InOrder => "next in order",
            Self::Probe => "probe of a target that had failed",
            Self::LeastRecentlyFailed => "all targets are down: the one that failed longest ago",
        }
    }
}

/// One call's way through its targets.
#[derive(Debug, Clone)]
pub struct Hunt {
    left: Vec<Target>,
    attempts: usize,
}

impl Hunt {
    /// A call that may try these targets in this order.
    pub fn new(targets: Vec<Target>) -> Self {
        Self { left: targets, attempts: 0 }
    }

    /// How many have been tried.
    pub fn attempts(&self) -> usize {
        self.attempts
    }
}

#[derive(Debug, Clone, Copy)]
struct Failure {
    count: u32,
    at: Instant,
    until: Instant,
    /// Somebody is finding out whether it is back, since then.
    probed_at: Option<Instant>,
}

type Key = (Transport, SocketAddr);

/// What is known of the targets of one trunk group.
#[derive(Debug, Clone, Default)]
pub struct Failover {
    policy: FailoverPolicy,
    failures: BTreeMap<Key, Failure>,
}

impl Failover {
    /// Nothing has failed yet.
    pub fn new(policy: FailoverPolicy) -> Self {
        Self { policy, failures: BTreeMap::new() }
    }

    /// The target to try now; `None` when there is none left or enough have been tried.
    pub fn next(&mut self, now: Instant, hunt: &mut Hunt) -> Option<(Target, Choice)> {
        if hunt.attempts >= self.policy.max_attempts {
            return None;
        }
        let in_order =
            hunt.left.iter().enumerate().find_map(|(at, target)| match self.failures.get(&key(target)) {
                None => Some((at, Choice::InOrder)),
                Some(failure) if failure.may_be_probed(now) => Some((at, Choice::Probe)),
                Some(_) => None,
            });
        // A call that has already failed somewhere does not wait for the dead as well.
        let (at, choice) = match in_order {
            Some(found) => found,
            None if hunt.attempts == 0 => (self.least_recently_failed(hunt)?, Choice::LeastRecentlyFailed),
            None => return None,
        };
        let target = hunt.left.remove(at);
        hunt.attempts += 1;
        if let Some(failure) = self.failures.get_mut(&key(&target)) {
            failure.probed_at = Some(now);
        }
        Some((target, choice))
    }

    fn least_recently_failed(&self, hunt: &Hunt) -> Option<usize> {
        let failed_at = |target: &Target| self.failures.get(&key(target)).map(|failure| failure.at);
        (0..hunt.left.len()).min_by_key(|at| hunt.left.get(*at).and_then(failed_at))
    }

    /// What an attempt has shown of its target: of a call, or of an OPTIONS that asks whether it lives.
    pub fn report(&mut self, now: Instant, target: &Target, outcome: Outcome) -> Advice {
        let (down_for, advice) = match outcome {
            Outcome::Answered => (None, Advice::Stop),
            Outcome::Timeout | Outcome::TransportFailed => (Some(Duration::ZERO), Advice::GoOn),
            Outcome::Status(status, retry_after) => {
                let go_on = self.policy.codes.contains(&status);
                let asked = Duration::from_secs(u64::from(retry_after.unwrap_or(0)));
                // Only 503 speaks of the target itself; the other codes are about this one call.
                let down = (status == 503).then_some(asked);
                (down, if go_on { Advice::GoOn } else { Advice::Stop })
            }
        };
        match down_for {
            Some(asked) => self.failed(now, key(target), asked),
            None => {
                self.failures.remove(&key(target));
            }
        }
        advice
    }

    /// Whether a target is left alone now, and until when.
    pub fn down_until(&self, now: Instant, target: &Target) -> Option<Instant> {
        self.failures.get(&key(target)).map(|failure| failure.until).filter(|until| *until > now)
    }

    fn failed(&mut self, now: Instant, key: Key, asked: Duration) {
        if !self.failures.contains_key(&key) && self.failures.len() >= MAX_REMEMBERED {
            let oldest = self.failures.iter().min_by_key(|(_, failure)| failure.at).map(|(key, _)| *key);
            if let Some(oldest) = oldest {
                self.failures.remove(&oldest);
            }
        }
        let known = self.failures.get(&key);
        // Several calls that were under way together are one failure.
        let same = known.is_some_and(|failure| failure.probed_at.is_none() && failure.until > now);
        let before = known.map_or(0, |failure| failure.count);
        let count = if same { before } else { before.saturating_add(1) };
        let doubled = self.policy.hold_down * (1 << count.saturating_sub(1).min(16));
        let hold = doubled.max(asked).min(self.policy.hold_down_max);
        self.failures.insert(key, Failure { count, at: now, until: now + hold, probed_at: None });
    }
}

impl Failure {
    fn may_be_probed(&self, now: Instant) -> bool {
        self.until <= now && self.probed_at.is_none_or(|at| now >= at + PROBE_LIMIT)
    }
}

fn key(target: &Target) -> Key {
    (target.transport, target.address)
}
