//! Which refused calls are reported: each once, and strangers' only so many each second.
//! Knows fingerprints and instants.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// How many refused INVITEs are remembered, so that each is reported once.
const REMEMBERED: usize = 1024;

/// What has been reported a short while ago.
#[derive(Default)]
pub(super) struct Reports {
    known: BTreeSet<u64>,
    order: VecDeque<u64>,
    second: Option<Instant>,
    in_second: u32,
}

impl Reports {
    /// Whether this is the first copy of that request. The oldest of many is forgotten.
    pub(super) fn is_new(&mut self, fingerprint: u64) -> bool {
        if !self.known.insert(fingerprint) {
            return false;
        }
        self.order.push_back(fingerprint);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }

    /// Whether one more may be reported in this second, and counts it.
    pub(super) fn has_room(&mut self, now: Instant, limit: u32) -> bool {
        let same_second = self.second.is_some_and(|second| now < second + Duration::from_secs(1));
        if !same_second {
            (self.second, self.in_second) = (Some(now), 0);
        }
        self.in_second = self.in_second.saturating_add(1);
        self.in_second <= limit
    }
}
