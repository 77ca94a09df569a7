//! What has come of one SSRC: where its packet index is, and which of the last 128 have been seen (RFC 3711 section 3.3).
//! Knows numbers only.

/// How many packets back one may come late: more than two seconds of 20 ms packets.
const WINDOW: u64 = 128;

/// One authenticated SSRC.
pub(super) struct Stream {
    pub(super) ssrc: u32,
    /// Highest index: sequence number and roll-over counter, or SRTCP index.
    pub(super) highest: u64,
    /// Bit n: `highest` - n has come.
    seen: u128,
    /// When it last came, on the opener's count of packets.
    pub(super) used: u64,
}

impl Stream {
    /// A stream whose first packet has this index.
    pub(super) const fn new(ssrc: u32, index: u64, used: u64) -> Self {
        Self { ssrc, highest: index, seen: 1, used }
    }

    /// Whether a packet came before, or would be too old to tell.
    pub(super) const fn is_replay(&self, index: u64) -> bool {
        if index > self.highest {
            return false;
        }
        let back = self.highest - index;
        back >= WINDOW || self.seen & (1 << back) != 0
    }

    /// An authentic packet has come.
    pub(super) fn accept(&mut self, index: u64) {
        if let Some(ahead) = index.checked_sub(self.highest) {
            let shift = u32::try_from(ahead).unwrap_or(u32::MAX);
            self.seen = self.seen.checked_shl(shift).unwrap_or(0) | 1;
            self.highest = index;
        } else {
            self.seen |= 1_u128.checked_shl((self.highest - index) as u32).unwrap_or(0);
        }
    }
}

/// The index that a sequence number most likely stands for: the one nearest to the highest (RFC 3711 section 3.3.1).
pub(super) fn index_near(highest: u64, sequence: u16) -> u64 {
    let step = i64::from(sequence.wrapping_sub(highest as u16) as i16);
    // Before the very first packet there is no roll-over to go back to.
    highest.checked_add_signed(step).unwrap_or(u64::from(sequence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_follows_the_sequence_over_its_end_and_back() {
        assert_eq!(index_near(65_530, 3), 65_539);
        assert_eq!(index_near(65_539, 65_530), 65_530);
        assert_eq!(index_near(5 << 16, 65_535), (5 << 16) - 1);
        assert_eq!(index_near(3, 65_530), 65_530, "nothing came before the first");
    }

    #[test]
    fn a_packet_counts_once_and_an_old_one_not_at_all() {
        let mut stream = Stream::new(1, 1_000, 0);
        assert!(stream.is_replay(1_000) && !stream.is_replay(999) && !stream.is_replay(1_001));
        stream.accept(1_200);
        assert!(stream.is_replay(1_000) && stream.is_replay(1_072) && !stream.is_replay(1_073));
        stream.accept(1_073);
        assert!(stream.is_replay(1_073) && !stream.is_replay(1_074));
        stream.accept(1_201);
        assert!(stream.is_replay(1_200) && stream.is_replay(1_073));
        stream.accept(1 << 40);
        assert!(stream.is_replay(1 << 40) && !stream.is_replay((1 << 40) - 1));
    }
}
