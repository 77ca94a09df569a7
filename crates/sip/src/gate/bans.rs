//! Who failed how often, and who is ignored for that: one bounded table of addresses.
//! Knows addresses and instants. What counts as a failure is for the gate to say.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// When a source is ignored, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BanPolicy {
    /// So many failures ...
    pub failures: u32,
    /// ... within this time ...
    pub window: Duration,
    /// ... and the source is ignored for that time.
    pub ignored: Duration,
    /// Most addresses remembered (about 150 bytes each); the one whose entry ends soonest makes room.
    pub max_addresses: usize,
}

impl Default for BanPolicy {
    /// Ten failures in a minute, ignored for ten minutes: a person who mistypes a password stays below it.
    fn default() -> Self {
        Self {
            failures: 10,
            window: Duration::from_secs(60),
            ignored: Duration::from_secs(600),
            max_addresses: 10_000,
        }
    }
}

/// An address that has authenticated is not banned for what anybody could have sent in its name.
const VOUCHED: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Suspect,
    Banned,
    /// Proved itself by digest a short while ago.
    Vouched,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    standing: Standing,
    /// Failures since `since`.
    failures: u32,
    since: Instant,
    /// When this entry means nothing any more.
    ends: Instant,
}

/// Whether the peer has shown that it receives what we send to its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// It answered a nonce that was made for it, or the transport has a handshake.
    Reachable,
    /// One datagram: the address may be forged.
    None,
}

/// The table.
#[derive(Debug)]
pub(super) struct Bans {
    policy: BanPolicy,
    entries: BTreeMap<IpAddr, Entry>,
    ends: BTreeSet<(Instant, IpAddr)>,
    /// Sources that began to be ignored.
    pub(super) begun: u64,
    /// Entries that went before their time because the table was full.
    pub(super) evicted: u64,
}

impl Bans {
    pub(super) fn new(policy: BanPolicy) -> Self {
        Self { policy, entries: BTreeMap::new(), ends: BTreeSet::new(), begun: 0, evicted: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_banned(&self, now: Instant, source: IpAddr) -> bool {
        let entry = self.entries.get(&subject(source));
        entry.is_some_and(|entry| entry.standing == Standing::Banned && entry.ends > now)
    }

    /// Counts a failure.
    pub(super) fn failed(&mut self, now: Instant, source: IpAddr, proof: Proof) {
        self.forget_ended(now);
        let source = subject(source);
        let fresh =
            Entry { standing: Standing::Suspect, failures: 0, since: now, ends: now + self.policy.window };
        let mut entry = self.entries.get(&source).copied().unwrap_or(fresh);
        match entry.standing {
            Standing::Banned => return,
            Standing::Vouched if proof == Proof::None => return,
            Standing::Vouched | Standing::Suspect => {}
        }
        if now.saturating_duration_since(entry.since) >= self.policy.window {
            (entry.failures, entry.since) = (0, now);
        }
        entry.failures += 1;
        if entry.failures >= self.policy.failures {
            self.begun += 1;
            (entry.standing, entry.ends) = (Standing::Banned, now + self.policy.ignored);
        }
        self.set(source, entry);
    }

    /// The source has authenticated: its failures are forgiven.
    pub(super) fn vouch(&mut self, now: Instant, source: IpAddr) {
        self.forget_ended(now);
        let entry = Entry { standing: Standing::Vouched, failures: 0, since: now, ends: now + VOUCHED };
        self.set(subject(source), entry);
    }

    fn set(&mut self, source: IpAddr, entry: Entry) {
        if let Some(before) = self.entries.insert(source, entry) {
            self.ends.remove(&(before.ends, source));
        }
        self.ends.insert((entry.ends, source));
        // Suspects end first and make room first: a flood of forged sources lifts no ban.
        while self.entries.len() > self.policy.max_addresses.max(1) {
            let Some((_, soonest)) = self.ends.pop_first() else { return };
            self.entries.remove(&soonest);
            self.evicted += 1;
        }
    }

    fn forget_ended(&mut self, now: Instant) {
        while let Some((ends, source)) = self.ends.first().copied()
            && ends <= now
        {
            self.ends.pop_first();
            self.entries.remove(&source);
        }
    }
}

/// An IPv6 peer has at least a /64 to choose its address from.
fn subject(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "any instant will do as the zero of a test")]
    fn zero() -> Instant {
        Instant::now()
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn peer(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(0xc633_6400 + number).into()
    }

    #[test]
    fn the_tenth_failure_in_a_minute_bans_for_ten() {
        let (mut bans, now) = (Bans::new(BanPolicy::default()), zero());
        for _ in 0..9 {
            bans.failed(now, peer(1), Proof::None);
        }
        assert!(!bans.is_banned(now, peer(1)));
        bans.failed(now + seconds(59), peer(1), Proof::None);
        assert!(bans.is_banned(now + seconds(59), peer(1)));
        assert!(bans.is_banned(now + seconds(658), peer(1)));
        assert!(!bans.is_banned(now + seconds(659), peer(1)));
        assert!(!bans.is_banned(now + seconds(60), peer(2)), "a neighbour is not to blame");
        assert_eq!(bans.begun, 1);
    }

    #[test]
    fn failures_of_an_earlier_minute_do_not_count() {
        let (mut bans, now) = (Bans::new(BanPolicy::default()), zero());
        for round in 0..20 {
            for _ in 0..9 {
                bans.failed(now + seconds(60 * round), peer(1), Proof::None);
            }
        }
        assert_eq!(bans.begun, 0);
    }

    #[test]
    fn all_addresses_of_an_ipv6_subscriber_are_one_peer() {
        let (mut bans, now) = (Bans::new(BanPolicy::default()), zero());
        for last in 0..10 {
            bans.failed(now, format!("2001:db8::{last}").parse().expect("an address"), Proof::None);
        }
        assert!(bans.is_banned(now, "2001:db8::ffff".parse().expect("an address")));
        assert!(!bans.is_banned(now, "2001:db8:0:1::1".parse().expect("an address")));
    }

    #[test]
    fn forged_datagrams_do_not_ban_who_has_authenticated() {
        let (mut bans, now) = (Bans::new(BanPolicy::default()), zero());
        bans.vouch(now, peer(1));
        for _ in 0..100 {
            bans.failed(now, peer(1), Proof::None);
        }
        assert!(!bans.is_banned(now, peer(1)));
        for _ in 0..10 {
            bans.failed(now, peer(1), Proof::Reachable);
        }
        assert!(bans.is_banned(now, peer(1)), "but its own guesses do");
    }

    #[test]
    fn a_flood_of_sources_neither_grows_the_table_nor_lifts_a_ban() {
        let policy = BanPolicy { max_addresses: 100, ..BanPolicy::default() };
        let (mut bans, now) = (Bans::new(policy), zero());
        for _ in 0..10 {
            bans.failed(now, peer(0), Proof::None);
        }
        for number in 1..10_000 {
            bans.failed(now, peer(number), Proof::None);
            assert!(bans.len() <= 100 && bans.ends.len() == bans.len());
        }
        assert!(bans.is_banned(now, peer(0)));
        assert_eq!(bans.evicted, 9_900);
        bans.failed(now + seconds(700), peer(1), Proof::None);
        assert_eq!(bans.len(), 1, "what has ended is forgotten");
    }
}
