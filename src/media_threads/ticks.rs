//! The grid of whole milliseconds on which a busy thread wakes.
//! Knows the kernel's monotonic clock, which is what an `Instant` counts on Linux. Knows nothing of calls.

use rustix::{
    thread::{ClockId, clock_nanosleep_absolute},
    time::{Timespec, clock_gettime},
};
use std::time::{Duration, Instant};

/// A twentieth of a frame: what sharing a wake-up costs a packet at most.
pub(super) const TICK: Duration = Duration::from_millis(1);

/// The clock was read twice at practically the same time.
const AT_ONCE: Duration = Duration::from_micros(5);
const TRIES: usize = 100;

const NANOSECONDS: i64 = 1_000_000_000;

/// Where the ticks are on the scale of `Instant`.
pub(super) struct Ticks {
    epoch: Instant,
}

impl Ticks {
    pub(super) fn new() -> Self {
        let mut epoch = Instant::now();
        for _ in 0..TRIES {
            let before = Instant::now();
            let kernel = clock_gettime(ClockId::Monotonic);
            let since_tick = kernel.tv_nsec % nanoseconds(TICK);
            epoch = before - Duration::from_nanos(u64::try_from(since_tick).unwrap_or(0));
            if before.elapsed() < AT_ONCE {
                break;
            }
        }
        Self { epoch }
    }

    /// A tick: all others are whole [`TICK`]s away from it.
    pub(super) const fn epoch(&self) -> Instant {
        self.epoch
    }

    /// The tick that `now` belongs to: at it or at most a [`TICK`] before. What is due is compared with this and not
    /// with the time itself. Who is due some microseconds after a tick would otherwise be woken at that one or at the
    /// next one, as the kernel is late or in time, and its packets would be a millisecond off in turn.
    pub(super) fn at(&self, now: Instant) -> Instant {
        let since = now.saturating_duration_since(self.epoch).as_nanos();
        let into = u64::try_from(since % TICK.as_nanos()).unwrap_or(0);
        now - Duration::from_nanos(into)
    }

    /// Sleeps until the tick after the one that was served last, or until the second one after it if nothing is due before
    /// `due`. Where the tick after it has come already, because the work took longer, it does not sleep: the calls of that
    /// tick would wait for another one. Returns the tick that was to be served next.
    pub(super) fn sleep_after(&self, served: Instant, due: Option<Instant>) -> Instant {
        if self.at(Instant::now()) > served {
            return served + TICK;
        }
        let ticks = if due.is_none_or(|due| due > served + TICK) { 2 } else { 1 };
        self.sleep(ticks);
        served + TICK * ticks
    }

    /// Sleeps until so many ticks from now, the next one being the first.
    fn sleep(&self, ticks: u32) {
        let now = clock_gettime(ClockId::Monotonic);
        let mut next = Timespec {
            tv_sec: now.tv_sec,
            tv_nsec: (now.tv_nsec / nanoseconds(TICK) + i64::from(ticks)) * nanoseconds(TICK),
        };
        if next.tv_nsec >= NANOSECONDS {
            next = Timespec { tv_sec: now.tv_sec + 1, tv_nsec: next.tv_nsec - NANOSECONDS };
        }
        let _ = clock_nanosleep_absolute(ClockId::Monotonic, &next); // Interrupted is awake.
    }
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::from(duration.subsec_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_due_after_a_tick_is_woken_at_the_next_one_however_late_this_one_is() {
        let ticks = Ticks { epoch: Instant::now() };
        let tick = ticks.epoch + 7 * TICK;
        let due = tick + Duration::from_micros(70);
        for late in [0, 10, 69, 70, 71, 500, 999] {
            assert_eq!(ticks.at(tick + Duration::from_micros(late)), tick);
            assert!(due > ticks.at(tick + Duration::from_micros(late)), "{late} µs");
            assert!(due <= ticks.at(tick + TICK + Duration::from_micros(late)), "{late} µs");
        }
    }

    #[test]
    fn a_tick_that_came_during_the_work_is_served_at_once() {
        let ticks = Ticks::new();
        let late = ticks.at(Instant::now()) - 3 * TICK;
        assert_eq!(ticks.sleep_after(late, None), late + TICK);
        assert!(ticks.at(Instant::now()) > late);
        let served = ticks.at(Instant::now());
        ticks.sleep_after(served, Some(served + TICK));
        assert!(ticks.at(Instant::now()) > served);
    }

    #[test]
    fn a_thread_wakes_at_a_tick_and_never_before() {
        let ticks = Ticks::new();
        for slept in [1, 2].repeat(20) {
            let before = ticks.at(Instant::now());
            ticks.sleep(slept);
            assert!(ticks.at(Instant::now()) >= before + TICK * slept);
        }
    }

    #[test]
    fn a_tick_without_anybody_due_is_slept_through() {
        let ticks = Ticks::new();
        for due in [Some(2 * TICK), Some(3 * TICK), None] {
            let served = ticks.at(Instant::now());
            let wanted = ticks.sleep_after(served, due.map(|after| served + after));
            assert!(ticks.at(Instant::now()) >= served + 2 * TICK, "{due:?}");
            // Waking there is not late, unless this thread had to wait before it got so far as to sleep.
            assert!(wanted == served + 2 * TICK || wanted == served + TICK, "{due:?}");
        }
    }
}
