//! In which part of a frame each call's heartbeat falls, so that calls that begin together do not work together.
//! Knows time and counts.

use media::FRAME;
use std::time::{Duration, Instant};

/// Parts of a frame: one for each millisecond tick.
const PARTS: usize = 20;

/// So few calls are kept in every other part: their thread then has nothing to do in between, and sleeps on. Waking costs
/// about as much as half a call's frame.
const FEW: u32 = 128;

/// How many calls have their heartbeat in each part.
pub(super) struct Phases {
    epoch: Instant,
    calls: [u32; PARTS],
}

impl Phases {
    /// No calls yet. `epoch` is a tick, so that a part is what is served at one tick.
    pub(super) const fn new(epoch: Instant) -> Self {
        Self { epoch, calls: [0; PARTS] }
    }

    /// The next part, from `now` on, that is not busier than the average of those in use; and when it begins, at most one
    /// frame away. A call is told to keep its heartbeat there.
    pub(super) fn take(&mut self, now: Instant) -> (usize, Instant) {
        let part = FRAME / PARTS as u32;
        let elapsed = now.saturating_duration_since(self.epoch);
        let into_frame = Duration::from_nanos((elapsed.as_nanos() % FRAME.as_nanos()) as u64);
        let current = (into_frame.as_nanos() / part.as_nanos()) as usize % PARTS;
        let calls = self.calls.iter().sum::<u32>();
        let every = if calls < FEW { 2 } else { 1 };
        let average = calls / (PARTS / every) as u32;
        let has_room = |part: usize| part.is_multiple_of(every) && self.calls[part] <= average;
        let ahead = (0..PARTS).find(|ahead| has_room((current + ahead) % PARTS)).unwrap_or(0);
        let phase = (current + ahead) % PARTS;
        self.calls[phase] += 1;
        let begins = if ahead == 0 { now } else { now + part * (current + ahead) as u32 - into_frame };
        (phase, begins)
    }

    pub(super) fn give_back(&mut self, phase: usize) {
        self.calls[phase] = self.calls[phase].saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_begin_together_are_spread_over_the_frame() {
        let epoch = Instant::now();
        let mut phases = Phases::new(epoch);
        let now = epoch + Duration::from_micros(8_300);
        let taken: Vec<_> = (0..20).map(|_| phases.take(now)).collect();
        assert!((0..PARTS).all(|part| phases.calls[part] == if part % 2 == 0 { 2 } else { 0 }));
        assert_eq!(taken[0], (8, now), "the first one need not wait");
        assert_eq!(taken[1], (10, epoch + Duration::from_millis(10)));
        assert_eq!(taken[6], (0, epoch + Duration::from_millis(20)));
        assert!(taken.iter().all(|(_, begins)| *begins < now + FRAME));
    }

    #[test]
    fn many_calls_fill_the_parts_between() {
        let epoch = Instant::now();
        let mut phases = Phases::new(epoch);
        for _ in 0..400 {
            phases.take(epoch + Duration::from_micros(5_100));
        }
        assert_eq!(phases.calls, [20; PARTS]);
    }

    #[test]
    fn a_part_that_was_given_back_is_taken_again() {
        let epoch = Instant::now();
        let mut phases = Phases::new(epoch);
        let (first, _) = phases.take(epoch);
        phases.take(epoch);
        phases.give_back(first);
        assert_eq!(phases.take(epoch), (first, epoch));
    }
}
