//! Tags, branches and Call-IDs from a seeded generator (RFC 3261 sections 8.1.1.7 and 19.3).
//! Knows randomness only. The same seed gives the same identifiers, so a simulation replays.

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The endpoint's only source of chance.
pub(crate) struct Identifiers {
    rng: ChaCha12Rng,
}

impl Identifiers {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self { rng: ChaCha12Rng::from_seed(seed) }
    }

    /// A tag: 64 random bits, twice what RFC 3261 section 19.3 asks for.
    pub(crate) fn tag(&mut self) -> String {
        format!("{:016x}", self.rng.next_u64())
    }

    /// A branch with the magic cookie.
    pub(crate) fn branch(&mut self) -> String {
        format!("z9hG4bK{:016x}", self.rng.next_u64())
    }

    /// A Call-ID: 128 random bits, no host name.
    pub(crate) fn call_id(&mut self) -> String {
        format!("{:016x}{:016x}", self.rng.next_u64(), self.rng.next_u64())
    }

    /// A first CSeq number: small enough to never overflow (RFC 3261 section 8.1.1.5).
    pub(crate) fn cseq(&mut self) -> u32 {
        self.rng.next_u32() >> 12 | 1
    }

    /// A number from 0 to `end` - 1.
    pub(crate) fn below(&mut self, end: u32) -> u32 {
        self.rng.next_u32() % end.max(1)
    }

    /// A key for an HMAC.
    pub(crate) fn key(&mut self) -> [u8; 32] {
        let mut key = [0; 32];
        self.rng.fill_bytes(&mut key);
        key
    }

    pub(crate) fn secret(&mut self) -> u64 {
        self.rng.next_u64()
    }
}
