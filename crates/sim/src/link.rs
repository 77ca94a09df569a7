//! Chance from a seed, and one direction of a network.
//! Knows packets as something to delay or lose, nothing of what is in them.

use std::time::Duration;

/// A seeded generator (xorshift64*).
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit.max(1)
    }

    /// A duration of `limit` at most, to the microsecond.
    pub fn up_to(&mut self, limit: Duration) -> Duration {
        Duration::from_micros(self.below(limit.as_micros() as u64 + 1))
    }

    /// Whether something with this many chances in a hundred happens.
    pub fn percent(&mut self, chances: u64) -> bool {
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
}

impl Link {
    /// How long each copy of this packet takes: none if it is lost, two if it is duplicated.
    pub fn deliver(&self, chance: &mut Chance) -> Vec<Duration> {
        let copies = match () {
            () if chance.percent(self.loss_percent) => 0,
            () if chance.percent(self.duplicate_percent) => 2,
            () => 1,
        };
        (0..copies).map(|_| self.latency + chance.up_to(self.jitter)).collect()
    }
}
