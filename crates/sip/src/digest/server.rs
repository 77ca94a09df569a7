//! The server's half of digest authentication: nonces that need no memory, and nonce counts that may not come twice
//! (RFC 7616 sections 3.3, 3.4, 5.4 and 5.5). Knows neither users nor trunks.

use super::{DigestAlgorithm, quoted};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Most nonces whose counts are remembered: about 60 bytes each; 54 calls a second with a fresh nonce each fill it in 300 s.
const MAX_NONCES: usize = 16_384;
/// Bytes of the proof in a nonce: nobody guesses 96 bits within its lifetime.
const PROOF: usize = 12;

/// A nonce of ours that came back in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Nonce {
    /// Seconds after the first nonce.
    issued: u32,
    /// Tells the nonces of one second apart.
    salt: u64,
}

/// Which counts of a nonce have been used: the highest, and the 64 below it as bits.
#[derive(Debug, Clone, Copy)]
struct Counts {
    highest: u32,
    below: u64,
}

impl Counts {
    /// Takes a count; false if it came before, or is too old to tell.
    fn take(&mut self, count: u32) -> bool {
        if count > self.highest {
            let step = count - self.highest;
            let shifted = self.below.checked_shl(step).unwrap_or(0);
            let former = if self.highest == 0 { 0 } else { 1_u64.checked_shl(step - 1).unwrap_or(0) };
            *self = Self { highest: count, below: shifted | former };
            return true;
        }
        let distance = self.highest - count;
        if distance == 0 || distance > 64 || count == 0 {
            return false;
        }
        let bit = 1 << (distance - 1);
        let fresh = self.below & bit == 0;
        self.below |= bit;
        fresh
    }
}

/// Makes and checks nonces. A nonce holds its time, a salt and an HMAC over both and the peer's address, so a
/// stranger costs no memory; only a nonce that was answered with the right password is remembered.
pub(crate) struct Nonces {
    key: [u8; 32],
    lifetime: Duration,
    begin: Option<Instant>,
    counts: BTreeMap<Nonce, Counts>,
    /// Nonces not newer than this have lost their counts and are worth nothing.
    forgotten: Option<Nonce>,
    /// Nonces that lost their counts before their time.
    pub(crate) evicted: u64,
}

impl Nonces {
    pub(crate) fn new(key: [u8; 32], lifetime: Duration) -> Self {
        Self { key, lifetime, begin: None, counts: BTreeMap::new(), forgotten: None, evicted: 0 }
    }

    /// How many nonces are remembered.
    pub(crate) fn len(&self) -> usize {
        self.counts.len()
    }

    /// A nonce for that peer: eight digits of time, sixteen of salt, the proof.
    pub(crate) fn issue(&mut self, now: Instant, peer: IpAddr, salt: u64) -> String {
        let nonce = Nonce { issued: self.seconds(now), salt };
        format!("{:08x}{:016x}{}", nonce.issued, nonce.salt, self.proof(nonce, peer))
    }

    /// The nonce, if it is ours, was made for that peer, and is not too old.
    pub(crate) fn check(&mut self, now: Instant, peer: IpAddr, text: &str) -> Option<Nonce> {
        let (issued, salt, proof) = (text.get(..8)?, text.get(8..24)?, text.get(24..)?);
        let issued = u32::from_str_radix(issued, 16).ok()?;
        let nonce = Nonce { issued, salt: u64::from_str_radix(salt, 16).ok()? };
        let age = u64::from(self.seconds(now)).checked_sub(issued.into())?;
        let known = self.counts.contains_key(&nonce) || self.forgotten.is_none_or(|last| nonce > last);
        (age <= self.lifetime.as_secs() && known && same_text(&self.proof(nonce, peer), proof))
            .then_some(nonce)
    }

    /// Uses a count of a nonce; false if it was used before. A peer without `qop` has no counts: it may use a
    /// nonce once.
    pub(crate) fn spend(&mut self, now: Instant, nonce: Nonce, count: Option<u32>) -> bool {
        let oldest = self.seconds(now).saturating_sub(self.lifetime.as_secs().try_into().unwrap_or(u32::MAX));
        while let Some(entry) = self.counts.first_entry()
            && entry.key().issued < oldest
        {
            entry.remove();
        }
        let counts = self.counts.entry(nonce).or_insert(Counts { highest: 0, below: 0 });
        let fresh = counts.take(count.unwrap_or(1));
        while self.counts.len() > MAX_NONCES
            && let Some((oldest, _)) = self.counts.pop_first()
        {
            // Without its counts it could be replayed, and so could what is older and not in the table.
            self.forgotten = self.forgotten.max(Some(oldest));
            self.evicted += 1;
        }
        fresh
    }

    fn seconds(&mut self, now: Instant) -> u32 {
        let begin = *self.begin.get_or_insert(now);
        now.saturating_duration_since(begin).as_secs().try_into().unwrap_or(u32::MAX)
    }

    fn proof(&self, nonce: Nonce, peer: IpAddr) -> String {
        let mut hash = Hmac::<Sha256>::new_from_slice(&self.key).expect("an HMAC takes a key of any length");
        hash.update(&nonce.issued.to_be_bytes());
        hash.update(&nonce.salt.to_be_bytes());
        match peer.to_canonical() {
            IpAddr::V4(v4) => hash.update(&v4.octets()),
            IpAddr::V6(v6) => hash.update(&v6.octets()),
        }
        let proof = hash.finalize().into_bytes();
        proof
            .iter()
            .take(PROOF)
            .fold(String::with_capacity(2 * PROOF), |text, byte| text + &format!("{byte:02x}"))
    }
}

/// A WWW-Authenticate value.
pub(crate) fn challenge(realm: &str, nonce: &str, algorithm: DigestAlgorithm, stale: bool) -> String {
    let stale = if stale { ", stale=true" } else { "" };
    format!(
        "Digest realm={}, nonce=\"{nonce}\", algorithm={}, qop=\"auth\"{stale}",
        quoted(realm),
        algorithm.token()
    )
}

/// Compares in the same time whatever the texts have in common. Hexadecimal may come in upper case.
pub(crate) fn same_text(ours: &str, theirs: &str) -> bool {
    if ours.len() != theirs.len() {
        return false;
    }
    let pairs = ours.bytes().zip(theirs.bytes());
    pairs.fold(0, |differ, (a, b)| differ | (a ^ b.to_ascii_lowercase())) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 7));

    #[expect(clippy::disallowed_methods, reason = "any instant will do as the zero of a test")]
    fn zero() -> Instant {
        Instant::now()
    }

    fn nonces() -> Nonces {
        Nonces::new([5; 32], Duration::from_secs(300))
    }

    #[test]
    fn a_nonce_is_good_for_its_peer_and_its_lifetime() {
        let (mut nonces, now) = (nonces(), zero());
        let text = nonces.issue(now, PEER, 9);
        assert_eq!(text.len(), 48);
        assert!(nonces.check(now, PEER, &text).is_some());
        let mapped = "::ffff:198.51.100.7".parse().expect("an address");
        assert!(nonces.check(now, mapped, &text).is_some(), "the same peer in IPv6 form");
        assert!(nonces.check(now + Duration::from_secs(300), PEER, &text).is_some());
        assert!(nonces.check(now + Duration::from_secs(301), PEER, &text).is_none());
        assert!(nonces.check(now, "198.51.100.8".parse().expect("an address"), &text).is_none());
        assert!(Nonces::new([6; 32], Duration::from_secs(300)).check(now, PEER, &text).is_none());
    }

    #[test]
    fn a_nonce_with_any_digit_changed_is_not_ours() {
        let (mut nonces, now) = (nonces(), zero());
        let text = nonces.issue(now, PEER, 0x0123_4567_89ab_cdef);
        for at in 0..text.len() {
            let digit = if &text[at..=at] == "0" { "1" } else { "0" };
            let forged = format!("{}{digit}{}", &text[..at], &text[at + 1..]);
            assert_eq!(nonces.check(now, PEER, &forged), None, "{forged}");
        }
        let long = format!("{text}0");
        for bad in ["", "0", &text[..47], &long, "\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}"] {
            assert_eq!(nonces.check(now, PEER, bad), None, "{bad}");
        }
    }

    #[test]
    fn no_count_is_good_twice_but_they_may_overtake_each_other() {
        let (mut nonces, now) = (nonces(), zero());
        let text = nonces.issue(now, PEER, 1);
        let nonce = nonces.check(now, PEER, &text).expect("ours");
        for (count, fresh) in
            [(1, true), (1, false), (5, true), (3, true), (3, false), (5, false), (0, false)]
        {
            assert_eq!(nonces.spend(now, nonce, Some(count)), fresh, "count {count}");
        }
        assert!(nonces.spend(now, nonce, Some(200)));
        assert!(!nonces.spend(now, nonce, Some(135)), "too old to tell");
        assert!(nonces.spend(now, nonce, Some(136)));
        assert!(nonces.spend(now, nonce, Some(u32::MAX)));
        assert!(!nonces.spend(now, nonce, Some(200)));
    }

    #[test]
    fn every_count_is_good_once_in_whatever_order() {
        let mut counts = Counts { highest: 0, below: 0 };
        for start in (0..400).step_by(40) {
            for count in (1..=40).rev().map(|offset| start + offset) {
                assert!(counts.take(count), "{count}");
                assert!(!counts.take(count), "{count} again");
            }
        }
    }

    #[test]
    fn without_qop_a_nonce_is_good_once() {
        let (mut nonces, now) = (nonces(), zero());
        let text = nonces.issue(now, PEER, 1);
        let nonce = nonces.check(now, PEER, &text).expect("ours");
        assert!(nonces.spend(now, nonce, None));
        assert!(!nonces.spend(now, nonce, None));
        assert!(!nonces.spend(now, nonce, Some(1)), "nor with the count that stands for it");
    }

    #[test]
    fn a_nonce_that_lost_its_counts_cannot_be_replayed() {
        let (mut nonces, now) = (nonces(), zero());
        let first = nonces.issue(now, PEER, 1);
        for salt in 1..=MAX_NONCES as u64 + 10 {
            let text = nonces.issue(now, PEER, salt);
            let nonce = nonces.check(now, PEER, &text).expect("ours");
            assert!(nonces.spend(now, nonce, Some(1)));
            assert!(nonces.len() <= MAX_NONCES);
        }
        assert_eq!(nonces.evicted, 10);
        assert_eq!(nonces.check(now, PEER, &first), None);
        let later = now + Duration::from_secs(301);
        let text = nonces.issue(later, PEER, 1);
        let nonce = nonces.check(later, PEER, &text).expect("ours");
        assert!(nonces.spend(later, nonce, Some(1)));
        assert_eq!(nonces.len(), 1, "what is too old is forgotten");
    }
}
