//! How many ports were in use: exact maximum and mean of each minute, and the 95th percentile of its seconds.
//! Knows beginnings and ends of calls, in microseconds since the Unix epoch.

use serde::Serialize;

const MINUTE_US: i64 = 60_000_000;
const SECOND_US: i64 = 1_000_000;
/// Minutes that are looked at one by one; a longer period is cut at its beginning (this is most of a year).
const MOST_MINUTES: i64 = 500_000;

/// Ports in use during one minute.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Minute {
    /// When it began, in microseconds since the Unix epoch.
    pub at_us: i64,
    /// The most at any moment.
    pub max: u32,
    /// The mean over its time.
    pub mean: f64,
    /// What 95 of 100 of its seconds stayed within.
    pub p95: u32,
}

/// Ports in use over a period.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Concurrency {
    /// The most at any moment.
    pub max: u32,
    /// The mean over the whole period.
    pub mean: f64,
    /// What 95 of 100 seconds of the period stayed within.
    pub p95: u32,
    /// Port seconds: what the mean is made of.
    pub busy_seconds: f64,
    /// Minute by minute, those at the beginning and the end only as far as they belong to the period.
    pub minutes: Vec<Minute>,
}

/// Counts calls, each from when it took its port to when it gave it back.
pub(super) fn concurrency(calls: &[(i64, i64)], since_us: i64, until_us: i64) -> Concurrency {
    let since_us = since_us.max(until_us - MOST_MINUTES * MINUTE_US);
    let mut changes: Vec<(i64, i32)> = Vec::with_capacity(2 * calls.len());
    for (begin, end) in calls {
        let (begin, end) = ((*begin).max(since_us), (*end).min(until_us));
        if begin < end {
            changes.extend([(begin, 1), (end, -1)]);
        }
    }
    // An end before a beginning at the same moment: a port that is handed on is not two ports.
    changes.sort_unstable();
    let mut sweep = Sweep { changes, next: 0, now: since_us, busy: 0 };
    let mut all_seconds = Histogram::default();
    let mut result = Concurrency::default();
    let mut at = since_us;
    while at < until_us {
        let end = (at.div_euclid(MINUTE_US) * MINUTE_US + MINUTE_US).min(until_us);
        let (minute, busy_us, seconds) = sweep.minute(at, end);
        result.busy_seconds += busy_us as f64 / 1e6;
        result.max = result.max.max(minute.max);
        all_seconds.add(&seconds);
        result.minutes.push(minute);
        at = end;
    }
    if until_us > since_us {
        result.mean = result.busy_seconds / ((until_us - since_us) as f64 / 1e6);
        result.p95 = all_seconds.share(0.95);
    }
    result
}

struct Sweep {
    changes: Vec<(i64, i32)>,
    next: usize,
    now: i64,
    busy: u32,
}

impl Sweep {
    /// One minute, its busy microseconds, and how many of its seconds began with how many ports in use.
    fn minute(&mut self, begin: i64, end: i64) -> (Minute, i64, Histogram) {
        let (mut max, mut busy_us, mut seconds) = (0, 0, Histogram::default());
        let mut second = begin;
        loop {
            let change = self.changes.get(self.next).map_or(end, |change| change.0.min(end));
            // Everything that changes at a moment has changed before it is looked at.
            while second < change {
                seconds.count(self.busy);
                second += SECOND_US;
            }
            if change > self.now {
                max = max.max(self.busy);
                busy_us += (change - self.now) * i64::from(self.busy);
                self.now = change;
            }
            if change >= end {
                break;
            }
            while let Some((_, by)) = self.changes.get(self.next).filter(|(at, _)| *at == change) {
                self.busy = self.busy.saturating_add_signed(*by);
                self.next += 1;
            }
        }
        let mean = if end > begin { busy_us as f64 / (end - begin) as f64 } else { 0.0 };
        (Minute { at_us: begin, max, mean, p95: seconds.share(0.95) }, busy_us, seconds)
    }
}

/// How often each number was seen.
#[derive(Default)]
struct Histogram(Vec<u64>);

impl Histogram {
    fn count(&mut self, busy: u32) {
        let place = busy as usize;
        if self.0.len() <= place {
            self.0.resize(place + 1, 0);
        }
        self.0[place] += 1;
    }

    fn add(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        self.0.iter_mut().zip(&other.0).for_each(|(all, one)| *all += one);
    }

    /// The smallest number that this share of what was counted stays within.
    fn share(&self, share: f64) -> u32 {
        let total: u64 = self.0.iter().sum();
        let wanted = (total as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (busy, count) in self.0.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return u32::try_from(busy).unwrap_or(u32::MAX);
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = SECOND_US;

    #[test]
    fn a_minute_that_can_be_counted_by_hand() {
        // From 0 to 120 s. One call 0..90, one 30..60, one 30..33: at 30 s there are three.
        let calls = [(0, 90 * S), (30 * S, 60 * S), (30 * S, 33 * S)];
        let found = concurrency(&calls, 0, 120 * S);
        assert_eq!(found.max, 3);
        assert!((found.busy_seconds - 123.0).abs() < 1e-9);
        assert!((found.mean - 123.0 / 120.0).abs() < 1e-9);
        let [first, second] = found.minutes.as_slice() else { panic!("{found:?}") };
        // Seconds of the first minute: 30 with one, 3 with three, 27 with two; 57 of 60 are within two.
        assert_eq!((first.max, first.p95), (3, 2));
        assert!((first.mean - 93.0 / 60.0).abs() < 1e-9);
        // Of the second: 30 with one, 30 with none.
        assert_eq!((second.max, second.p95), (1, 1));
        assert!((second.mean - 0.5).abs() < 1e-9);
        // Of all 120: 30 none, 60 one, 27 two, 3 three: 114 are needed for 95 of 100.
        assert_eq!(found.p95, 2);
    }

    #[test]
    fn a_port_that_is_handed_on_is_one_port_and_the_period_cuts_calls() {
        let found = concurrency(&[(-50 * S, 10 * S), (10 * S, 500 * S)], 0, 60 * S);
        assert_eq!((found.max, found.p95), (1, 1));
        assert!((found.busy_seconds - 60.0).abs() < 1e-9);
        assert_eq!(concurrency(&[], 0, 60 * S).max, 0);
        assert_eq!(concurrency(&[(5, 5), (9, 3)], 0, 60 * S).busy_seconds, 0.0);
        assert!(concurrency(&[(0, 5)], 7, 7).minutes.is_empty());
    }
}
