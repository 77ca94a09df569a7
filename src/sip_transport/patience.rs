//! How long a connection may leave us waiting, and how we find out that its peer is still there.
//! Knows times. Reads and writes nothing.

use super::SipTransportConfig;
use std::time::Duration;
use tokio::time::Instant;

/// How long the answer to a ping may take from a peer that is known to answer (RFC 5626 section 4.4.1).
const PONG_DEADLINE: Duration = Duration::from_secs(10);

/// For never: a timer needs a time.
const FAR: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Until when a connection may leave us waiting.
pub(super) struct Patience {
    pub(super) deadline: Instant,
    /// A whole message has come, or we know whom we connected to.
    proven: bool,
    /// A message has begun and is not whole.
    begun: bool,
}

impl Patience {
    pub(super) fn new(config: &SipTransportConfig, now: Instant, ours: bool) -> Self {
        let first = if ours { config.idle } else { config.first_message_deadline };
        Self { deadline: now + first, proven: ours, begun: false }
    }

    /// Something was read: `whole` messages, and then perhaps the beginning of another. A message that has begun must
    /// be whole in time, however slowly its bytes drip; between messages there is more patience.
    pub(super) fn read(&mut self, config: &SipTransportConfig, now: Instant, whole: bool, begun: bool) {
        let still = !whole && (self.begun || !self.proven);
        self.proven |= whole;
        self.begun = begun;
        if !still {
            self.deadline = now + if begun { config.message_deadline } else { config.idle };
        }
    }
}

/// The pings of a connection that we opened (RFC 5626 section 4.4.1). A missing pong ends it only if the peer has
/// answered one before: many do not.
pub(super) struct KeepAlive {
    every: Option<Duration>,
    next: Instant,
    awaited: bool,
    answers: bool,
}

/// What is to be done when the time has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tick {
    /// Send a ping.
    Ping,
    /// The peer is gone.
    Dead,
}

impl KeepAlive {
    pub(super) fn new(every: Option<Duration>, now: Instant) -> Self {
        Self { every, next: now + every.unwrap_or(FAR), awaited: false, answers: false }
    }

    pub(super) fn next(&self) -> Instant {
        self.next
    }

    pub(super) fn tick(&mut self, now: Instant) -> Tick {
        if self.awaited && self.answers {
            return Tick::Dead;
        }
        self.awaited = true;
        self.next = now + if self.answers { PONG_DEADLINE } else { self.every.unwrap_or(FAR) };
        Tick::Ping
    }

    /// Something came, perhaps the answer to a ping.
    pub(super) fn heard(&mut self, now: Instant, answer: bool) {
        self.awaited = false;
        self.answers |= answer;
        self.next = now + self.every.unwrap_or(FAR);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dripping_message_does_not_prolong_its_own_deadline() {
        let config = SipTransportConfig::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut patience = Patience::new(&config, start, false);
        patience.read(&config, at(29), false, true);
        assert_eq!(patience.deadline, at(30), "the first message is not whole yet");
        patience.read(&config, at(29), true, false);
        assert_eq!(patience.deadline, at(29) + config.idle);
        patience.read(&config, at(100), false, true);
        patience.read(&config, at(109), false, true);
        assert_eq!(patience.deadline, at(110));
        patience.read(&config, at(109), true, true);
        assert_eq!(patience.deadline, at(119), "the next message has its own time");
    }

    #[test]
    fn a_trunk_that_carries_no_calls_for_minutes_is_kept() {
        let config = SipTransportConfig::default();
        let start = Instant::now();
        let patience = Patience::new(&config, start, true);
        assert!(patience.deadline > start + Duration::from_secs(3_600));
    }

    #[test]
    fn a_peer_that_never_answers_pings_is_not_cut_and_one_that_did_is() {
        let every = Duration::from_secs(60);
        let start = Instant::now();
        let mut silent = KeepAlive::new(Some(every), start);
        for minute in 1..100 {
            assert_eq!(silent.tick(start + every * minute), Tick::Ping);
        }
        let mut polite = KeepAlive::new(Some(every), start);
        assert_eq!(polite.tick(start + every), Tick::Ping);
        polite.heard(start + every, true);
        assert_eq!(polite.tick(start + 2 * every), Tick::Ping);
        assert_eq!(polite.next(), start + 2 * every + PONG_DEADLINE);
        polite.heard(start + 2 * every, false);
        assert_eq!(polite.tick(start + 3 * every), Tick::Ping, "a message is a sign of life too");
        assert_eq!(polite.tick(polite.next()), Tick::Dead);
    }
}
