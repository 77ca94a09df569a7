//! Counters of the gate. All of them exist at zero from the start, so that a rate can be taken.
//! Knows numbers only.

use super::reason::GateReason;
use std::collections::BTreeMap;

/// What the gate has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateStatistics {
    /// Requests that were not admitted, by the decisive reason, each copy counted.
    pub reasons: BTreeMap<&'static str, u64>,
    /// Requests admitted.
    pub admitted: u64,
    /// Of these by digest.
    pub authenticated: u64,
    /// 401 answers.
    pub challenged: u64,
    /// Refused calls that were counted and not reported, because there were too many.
    pub unreported: u64,
    /// ACKs to refusals that left no transaction behind.
    pub acks_absorbed: u64,
    /// Sources that began to be ignored.
    pub bans: u64,
    /// Addresses that are remembered now: failed, banned, or vouched for.
    pub suspects: usize,
    /// Addresses that were forgotten early because the table was full.
    pub suspects_evicted: u64,
    /// Nonces whose counts are remembered now.
    pub nonces: usize,
    /// Nonces that were forgotten early because the table was full; each is stale from then on.
    pub nonces_evicted: u64,
    /// Contacts that are registered now.
    pub bindings: usize,
}

impl Default for GateStatistics {
    fn default() -> Self {
        Self {
            reasons: GateReason::ALL.iter().map(|reason| (reason.name(), 0)).collect(),
            admitted: 0,
            authenticated: 0,
            challenged: 0,
            unreported: 0,
            acks_absorbed: 0,
            bans: 0,
            suspects: 0,
            suspects_evicted: 0,
            nonces: 0,
            nonces_evicted: 0,
            bindings: 0,
        }
    }
}

impl GateStatistics {
    pub(crate) fn count(&mut self, reason: GateReason) {
        *self.reasons.entry(reason.name()).or_default() += 1;
    }
}
