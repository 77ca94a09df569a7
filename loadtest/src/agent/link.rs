//! One direction of an impaired network: what is lost, late, overtaken or doubled, from one seed.
//! Knows packets as something that arrives at a time. Sends and receives nothing itself.

use super::impairment::Impairment;
use media::tone::Chance;
use std::{
    cmp::Reverse,
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// How much later a packet comes that is to be overtaken: by more than a packet interval, so that it is.
const OVERTAKEN_BY: Duration = Duration::from_millis(30);
/// Packets under way in one direction of one call: 5 s of 50 a second and their copies, and some more.
const MOST: usize = 2_000;

/// What became of the packets of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LinkCounts {
    pub(crate) sent: u64,
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    pub(crate) reordered: u64,
}

/// One direction, with what is under way in it.
pub(crate) struct Link<T> {
    impairment: Impairment,
    chance: Chance,
    /// In a burst, packets are lost.
    in_burst: bool,
    last_due: Option<Instant>,
    under_way: BTreeMap<(Instant, u64), T>,
    pub(crate) counts: LinkCounts,
}

impl<T: Clone> Link<T> {
    /// A direction about to be used. The same seed treats the same packets in the same way.
    pub(crate) fn new(impairment: Impairment, seed: u64) -> Self {
        Self {
            impairment,
            chance: Chance::new(seed),
            in_burst: false,
            last_due: None,
            under_way: BTreeMap::new(),
            counts: LinkCounts::default(),
        }
    }

    /// Whether packets go straight through: then [`Link::pass`] counts them without touching them.
    pub(crate) fn is_clear(&self) -> bool {
        self.impairment.is_clear()
    }

    /// A packet went straight through.
    pub(crate) fn pass(&mut self) {
        self.counts.sent += 1;
    }

    /// Takes a packet. `Some`: it has arrived at once.
    pub(crate) fn send(&mut self, now: Instant, packet: T) -> Option<T> {
        self.counts.sent += 1;
        if self.impairment.is_clear() {
            return Some(packet);
        }
        if self.is_lost() || self.under_way.len() >= MOST {
            self.counts.lost += 1;
            return None;
        }
        let due = self.due_at(now);
        if self.chance.happens(self.impairment.duplicate) {
            self.counts.duplicated += 1;
            self.under_way.insert((due, self.counts.sent << 1 | 1), packet.clone());
        }
        self.under_way.insert((due, self.counts.sent << 1), packet);
        None
    }

    /// The next packet that has arrived by now, and when it did.
    pub(crate) fn arrived(&mut self, now: Instant) -> Option<(Instant, T)> {
        let entry = self.under_way.first_entry().filter(|entry| entry.key().0 <= now)?;
        let due = entry.key().0;
        Some((due, entry.remove()))
    }

    /// When the next packet arrives.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.under_way.first_key_value().map(|((due, _), _)| *due)
    }

    /// Gilbert's model: bursts begin and end by chance, so that their share and mean length are what was asked for.
    fn is_lost(&mut self) -> bool {
        let Impairment { loss, burst, burst_length, .. } = self.impairment;
        if burst > 0.0 {
            let ends = 1.0 / burst_length.max(1.0);
            let begins = if burst >= 1.0 { 1.0 } else { (ends * burst / (1.0 - burst)).min(1.0) };
            let changes = if self.in_burst && burst < 1.0 { ends } else { begins };
            if self.in_burst {
                self.in_burst = !self.chance.happens(changes) || burst >= 1.0;
            } else {
                self.in_burst = self.chance.happens(changes);
            }
        }
        self.in_burst || self.chance.happens(loss)
    }

    fn due_at(&mut self, now: Instant) -> Instant {
        let Impairment { delay, jitter, reorder, .. } = self.impairment;
        let due = now + delay + jitter.mul_f32(self.chance.unit());
        // What queues does not overtake.
        let due = self.last_due.map_or(due, |last| due.max(last));
        if self.chance.happens(reorder) {
            self.counts.reordered += 1;
            return due + OVERTAKEN_BY;
        }
        self.last_due = Some(due);
        due
    }
}

/// The earlier of wake-ups that may not be wanted.
pub(crate) fn earliest(wakes: impl IntoIterator<Item = Option<Instant>>) -> Option<Instant> {
    wakes.into_iter().flatten().map(Reverse).max().map(|Reverse(wake)| wake)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKETS: u32 = 50_000;

    /// Numbers of the packets in the order of their arrival, each with how long it took.
    fn carry(impairment: &str, seed: u64) -> (Vec<(u32, Duration)>, LinkCounts) {
        let mut link = Link::new(impairment.parse().expect("an impairment"), seed);
        let start = Instant::now();
        let sent_at = |n: u32| start + Duration::from_millis(20) * n;
        let mut arrived = Vec::new();
        for n in 0..PACKETS + 1_000 {
            while let Some((at, packet)) = link.arrived(sent_at(n)) {
                arrived.push((packet, at - sent_at(packet)));
            }
            if n < PACKETS
                && let Some(packet) = link.send(sent_at(n), n)
            {
                arrived.push((packet, Duration::ZERO));
            }
        }
        (arrived, link.counts)
    }

    fn share(part: u64) -> f64 {
        part as f64 / f64::from(PACKETS)
    }

    #[test]
    fn a_clear_link_changes_nothing() {
        let (arrived, counts) = carry("none", 1);
        assert!(arrived.iter().map(|(n, _)| *n).eq(0..PACKETS) && counts.lost == 0);
    }

    #[test]
    fn the_same_seed_treats_packets_in_the_same_way_and_another_does_not() {
        let all = "loss=2%,burst=2%x4,delay=40ms,jitter=30ms,reorder=2%,duplicate=2%";
        assert_eq!(carry(all, 7), carry(all, 7));
        assert_ne!(carry(all, 7).0, carry(all, 8).0);
    }

    #[test]
    fn as_much_is_lost_as_was_asked_for_and_nothing_else_is_missing() {
        let (arrived, counts) = carry("loss=5%", 3);
        assert!((share(counts.lost) - 0.05).abs() < 0.005, "{counts:?}");
        assert_eq!(arrived.len() as u64 + counts.lost, u64::from(PACKETS));
        assert!(arrived.windows(2).all(|pair| pair[0].0 < pair[1].0), "in order");
    }

    #[test]
    fn bursts_have_the_share_and_the_length_that_were_asked_for() {
        let (arrived, counts) = carry("burst=4%x8", 5);
        assert!((share(counts.lost) - 0.04).abs() < 0.01, "{counts:?}");
        let holes = arrived.windows(2).filter(|pair| pair[1].0 != pair[0].0 + 1).count();
        let length = counts.lost as f64 / holes as f64;
        assert!((length - 8.0).abs() < 1.5, "{length} packets in a burst");
        assert_eq!(carry("burst=100%", 5).1.lost, u64::from(PACKETS));
    }

    #[test]
    fn jitter_delays_within_its_bounds_and_never_overtakes() {
        let (arrived, _) = carry("delay=40ms,jitter=35ms", 9);
        let (least, most) = (Duration::from_millis(40), Duration::from_millis(75));
        assert!(arrived.iter().all(|(_, took)| (least..=most).contains(took)));
        assert!(arrived.iter().any(|(_, took)| *took > Duration::from_millis(70)));
        assert!(arrived.iter().map(|(n, _)| *n).eq(0..PACKETS));
    }

    #[test]
    fn as_many_are_overtaken_and_doubled_as_was_asked_for() {
        let (arrived, counts) = carry("reorder=3%,duplicate=2%", 11);
        let overtaken = arrived.windows(2).filter(|pair| pair[1].0 < pair[0].0).count() as u64;
        assert!((share(overtaken) - 0.03).abs() < 0.005, "{overtaken}");
        assert!((share(counts.duplicated) - 0.02).abs() < 0.005, "{counts:?}");
        assert_eq!(arrived.len() as u64, u64::from(PACKETS) + counts.duplicated);
    }
}
