//! Chance from a seed, and one direction of a network.
//! Knows packets as something to delay or lose, nothing of what is in them.

use media::tone::Chance;
use std::time::Duration;

/// What is drawn from a seed beyond plain numbers.
pub(crate) trait Draw {
    /// A duration of `limit` at most, to the microsecond.
    fn up_to(&mut self, limit: Duration) -> Duration;
    /// Whether something with this many chances in a hundred happens.
    fn percent(&mut self, chances: u64) -> bool;
}

impl Draw for Chance {
    fn up_to(&mut self, limit: Duration) -> Duration {
        Duration::from_micros(self.below(limit.as_micros() as u64 + 1))
    }

    fn percent(&mut self, chances: u64) -> bool {
        self.below(100) < chances
    }
}

/// One direction of the network between the carrier and us.
#[derive(Clone, Debug, Default)]
pub struct Link {
    /// What every packet takes.
    pub latency: Duration,
    /// What a packet may take beyond that, evenly distributed: packets overtake each other.
    pub jitter: Duration,
    /// Packets in a hundred that never arrive.
    pub loss_percent: u64,
    /// Packets in a hundred that arrive twice.
    pub duplicate_percent: u64,
    /// Packets in a hundred that are held up for longer than a packet lasts, so that others come first.
    pub reordered_percent: u64,
}

/// How long a packet is held up.
const HELD_UP: Duration = Duration::from_millis(45);

impl Link {
    /// How long each copy of this packet takes: none if it is lost, two if it is duplicated.
    pub fn deliver(&self, chance: &mut Chance) -> Vec<Duration> {
        let copies = match () {
            () if chance.percent(self.loss_percent) => 0,
            () if chance.percent(self.duplicate_percent) => 2,
            () => 1,
        };
        let held = self.reordered_percent > 0 && chance.percent(self.reordered_percent);
        let latency = self.latency + if held { HELD_UP } else { Duration::ZERO };
        (0..copies).map(|_| latency + chance.up_to(self.jitter)).collect()
    }
}
