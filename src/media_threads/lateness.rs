//! How late a media thread wakes its calls: the first sign that a machine is full.
//! Knows durations only.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Upper ends of the buckets in microseconds; a last bucket takes the rest.
pub const BUCKETS_US: [u64; 10] = [100, 250, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000];

/// A histogram that one thread writes and anybody reads.
#[derive(Debug, Default)]
pub struct Lateness {
    buckets: [AtomicU64; BUCKETS_US.len() + 1],
    total_us: AtomicU64,
    worst_us: AtomicU64,
    worst_lately_us: AtomicU64,
}

/// A histogram as it was at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LatenessSnapshot {
    /// How many wake-ups fell into each bucket of [`BUCKETS_US`], and beyond.
    pub buckets: [u64; BUCKETS_US.len() + 1],
    /// The sum of all of them, in microseconds.
    pub total_us: u64,
    /// The worst since the last time that somebody asked with [`Lateness::take_worst`], in microseconds.
    pub worst_us: u64,
}

impl Lateness {
    pub(super) fn add(&self, late: Duration) {
        let us = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_US.iter().position(|end| us <= *end).unwrap_or(BUCKETS_US.len());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.total_us.fetch_add(us, Ordering::Relaxed);
        self.worst_us.fetch_max(us, Ordering::Relaxed);
        self.worst_lately_us.fetch_max(us, Ordering::Relaxed);
    }

    /// The counts so far.
    pub fn snapshot(&self) -> LatenessSnapshot {
        let load = |value: &AtomicU64| value.load(Ordering::Relaxed);
        LatenessSnapshot {
            buckets: std::array::from_fn(|i| load(&self.buckets[i])),
            total_us: load(&self.total_us),
            worst_us: load(&self.worst_us),
        }
    }

    /// The worst since the last call of this function, which admission asks; metrics have a worst of their own.
    pub fn take_worst_for_admission(&self) -> Duration {
        Duration::from_micros(self.worst_lately_us.swap(0, Ordering::Relaxed))
    }

    /// The worst since the last call of this function.
    pub fn take_worst(&self) -> Duration {
        Duration::from_micros(self.worst_us.swap(0, Ordering::Relaxed))
    }
}

impl LatenessSnapshot {
    /// All wake-ups.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The end of the bucket below which `share` (0 to 1) of all wake-ups fell; the worst one for the last bucket.
    pub fn quantile(&self, share: f64) -> Duration {
        let wanted = (self.count() as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (count, end) in self.buckets.iter().zip(BUCKETS_US) {
            seen += count;
            if seen >= wanted {
                return Duration::from_micros(end);
            }
        }
        Duration::from_micros(self.worst_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_come_from_the_bucket_ends() {
        let lateness = Lateness::default();
        for _ in 0..99 {
            lateness.add(Duration::from_micros(60));
        }
        lateness.add(Duration::from_millis(3));
        let snapshot = lateness.snapshot();
        assert_eq!((snapshot.count(), snapshot.worst_us), (100, 3_000));
        assert_eq!(snapshot.quantile(0.5), Duration::from_micros(100));
        assert_eq!(snapshot.quantile(1.0), Duration::from_millis(5));
        assert_eq!(lateness.take_worst(), Duration::from_millis(3));
        assert_eq!(lateness.take_worst(), Duration::ZERO);
    }
}
