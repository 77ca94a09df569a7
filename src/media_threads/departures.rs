//! Which calls' packets leave at the next tick.
//! Knows places and ticks. Knows nothing of what a call does.

use super::ticks::TICK;
use std::time::Instant;

/// From so many calls on, packets are made in one tick and leave at the beginning of the next one, all at once. A call that
/// is woken after others would otherwise send when they are done, which takes them longer at some times than at others.
/// With fewer calls that is a fraction of a millisecond, and an additional wake-up would cost more than it gains.
const MANY: usize = 128;

/// And back again with fewer than this: the change moves each call's packets by a tick once.
const FEWER: usize = 96;

/// What waits.
#[derive(Debug, Default)]
pub(super) struct Departures {
    at_ticks: bool,
    places: Vec<usize>,
    due: Option<Instant>,
}

impl Departures {
    /// So many calls the thread has now.
    pub(super) const fn resize(&mut self, calls: usize) {
        self.at_ticks = calls >= if self.at_ticks { FEWER } else { MANY };
    }

    /// Whether packets that are made at `tick` leave at the next one.
    pub(super) const fn wait(&self) -> bool {
        self.at_ticks
    }

    /// The call in this place has packets that were made at `tick`.
    pub(super) fn add(&mut self, place: usize, tick: Instant) {
        self.places.push(place);
        self.due = Some(tick + TICK);
    }

    /// When the next ones leave.
    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Those whose time has come, to be given back with [`Departures::clear`].
    pub(super) fn take(&mut self, now: Instant) -> Option<Vec<usize>> {
        self.due.filter(|due| *due <= now)?;
        self.due = None;
        Some(std::mem::take(&mut self.places))
    }

    /// The memory for the next ones.
    pub(super) fn clear(&mut self, mut places: Vec<usize>) {
        places.clear();
        self.places = places;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_was_made_at_a_tick_leaves_at_the_next_one_and_once() {
        let mut departures = Departures::default();
        let tick = Instant::now();
        assert_eq!((departures.due(), departures.take(tick)), (None, None));
        departures.add(3, tick);
        departures.add(5, tick);
        assert_eq!(departures.take(tick + TICK - Duration::from_nanos(1)), None);
        assert_eq!(departures.take(tick + TICK), Some(vec![3, 5]));
        departures.clear(vec![3, 5]);
        assert_eq!((departures.due(), departures.take(tick + 9 * TICK)), (None, None));
    }

    #[test]
    fn a_call_that_comes_and_goes_does_not_move_the_others_packets() {
        let mut departures = Departures::default();
        let mut waits = |calls| {
            departures.resize(calls);
            departures.wait()
        };
        assert!(!waits(127) && waits(128) && waits(127) && waits(96) && !waits(95) && !waits(127));
    }
}
