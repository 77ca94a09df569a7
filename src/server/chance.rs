//! Where names and seeds come from.
//! The only place that asks the operating system for chance.

use rand_chacha::{
    ChaCha12Rng,
    rand_core::{Rng, SeedableRng},
};
use std::{fs::File, io, io::Read, ops::RangeInclusive};

/// Chance for the server. Names are never repeatable, so that two runs with one seed do not name two calls alike.
pub(super) struct Chance {
    names: ChaCha12Rng,
    seeds: ChaCha12Rng,
}

impl Chance {
    /// # Errors
    /// When the operating system has no chance to give.
    pub(super) fn new(seed: Option<u64>) -> io::Result<Self> {
        let mut bytes = [0; 32];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        let mut names = ChaCha12Rng::from_seed(bytes);
        let seeds = match seed {
            Some(seed) => ChaCha12Rng::seed_from_u64(seed),
            None => ChaCha12Rng::seed_from_u64(names.next_u64()),
        };
        Ok(Self { names, seeds })
    }

    pub(super) fn name(&mut self) -> u64 {
        self.names.next_u64()
    }

    pub(super) fn number(&mut self) -> u64 {
        self.seeds.next_u64()
    }

    pub(super) fn seed(&mut self) -> [u8; 32] {
        let mut seed = [0; 32];
        self.seeds.fill_bytes(&mut seed);
        seed
    }

    pub(super) fn within(&mut self, range: &RangeInclusive<u32>) -> u32 {
        let span = u64::from(range.end().saturating_sub(*range.start())) + 1;
        range.start() + (self.names.next_u64() % span) as u32
    }
}
