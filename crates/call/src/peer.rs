//! Whose packets we take and where ours go: learn in a short while after each offer/answer, then lock.
//! Knows addresses, streams and time. Knows nothing of what the packets carry.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

/// How long after an offer/answer a source other than the one in the SDP may be learnt (a caller behind NAT).
const LEARNING: Duration = Duration::from_secs(5);
/// Packets of one stream in a row from one stranger before it is taken for the caller.
const STEADY: u32 = 5;
/// Who is locked gives way to nobody while its packets come: one that falls silent for so long may have moved.
const MOVED: Duration = Duration::from_millis(500);

/// The far end of a leg's media.
#[derive(Debug)]
pub(crate) struct Peer {
    described: SocketAddr,
    locked: Option<SocketAddr>,
    /// When a packet came from there.
    last: Instant,
    candidate: Option<(SocketAddr, u32, u32)>,
    learn_until: Instant,
    foreign: u64,
}

impl Peer {
    /// A peer that described itself at `described` in its SDP.
    pub(crate) fn new(now: Instant, described: SocketAddr) -> Self {
        Self { described, locked: None, last: now, candidate: None, learn_until: now + LEARNING, foreign: 0 }
    }

    /// A new description: learn again, at once if it names another place.
    pub(crate) fn redescribe(&mut self, now: Instant, described: SocketAddr) {
        if described != self.described {
            let foreign = self.foreign;
            *self = Self { foreign, ..Self::new(now, described) };
        }
        self.expect(now);
    }

    /// An answer went out: whoever got it begins to send about now, or sends from another place than before.
    pub(crate) fn expect(&mut self, now: Instant) {
        self.learn_until = now + LEARNING;
    }

    fn may_learn(&self, now: Instant) -> bool {
        let free = self.locked.is_none() || now.saturating_duration_since(self.last) >= MOVED;
        free && now < self.learn_until
    }

    /// Where to send: the locked source, else the described one.
    pub(crate) fn address(&self) -> SocketAddr {
        self.locked.unwrap_or(self.described)
    }

    /// Whether a source cannot be the far end whatever it sends: that is known without looking into the packet.
    pub(crate) fn refuses(&mut self, now: Instant, from: SocketAddr) -> bool {
        let stranger = self.locked.is_some_and(|locked| locked != from) && from != self.described;
        let refused = stranger && !self.may_learn(now);
        self.foreign += u64::from(refused);
        refused
    }

    /// Whether a packet from this source belongs to the call; `stream` is its SSRC, if it is media that was agreed on.
    /// The described source locks at its first packet, and takes the call back from whoever was learnt before; a
    /// stranger is learnt only when one stream of its keeps coming within the window while the others are silent.
    pub(crate) fn accepts(&mut self, now: Instant, from: SocketAddr, stream: Option<u32>) -> bool {
        if self.locked == Some(from) || from == self.described {
            (self.locked, self.last) = (Some(from), now);
            return true;
        }
        let Some(ssrc) = stream.filter(|_| self.may_learn(now)) else {
            self.foreign += 1;
            return false;
        };
        let count = match self.candidate {
            Some((candidate, stream, count)) if (candidate, stream) == (from, ssrc) => count + 1,
            _ => 1,
        };
        self.candidate = Some((from, ssrc, count));
        if count >= STEADY {
            (self.locked, self.last, self.candidate) = (Some(from), now, None);
            return true;
        }
        self.foreign += 1;
        false
    }

    /// Packets of strangers, ignored.
    pub(crate) const fn foreign(&self) -> u64 {
        self.foreign
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
mod tests {
    use super::*;

    const VOICE: Option<u32> = Some(7);

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn a_stranger_is_ignored_after_the_lock() {
        let now = Instant::now();
        let mut peer = Peer::new(now, address(4000));
        assert!(peer.accepts(now, address(4000), VOICE));
        assert!((0..100).all(|_| !peer.accepts(now, address(5000), VOICE)));
        assert_eq!((peer.address(), peer.foreign()), (address(4000), 100));
    }

    #[test]
    fn a_caller_behind_nat_is_learnt_when_it_keeps_coming() {
        let now = Instant::now();
        let mut peer = Peer::new(now, address(4000));
        let taken: Vec<bool> = (0..6).map(|_| peer.accepts(now, address(5000), VOICE)).collect();
        assert_eq!(taken, [false, false, false, false, true, true]);
        assert_eq!(peer.address(), address(5000));
    }

    #[test]
    fn noise_is_never_learnt() {
        let now = Instant::now();
        let mut peer = Peer::new(now, address(4000));
        assert!((0..100).all(|_| !peer.accepts(now, address(5000), None)));
        assert!((0..100).all(|ssrc| !peer.accepts(now, address(5000), Some(ssrc))));
        assert_eq!((peer.address(), peer.foreign()), (address(4000), 200));
    }

    #[test]
    fn who_described_itself_takes_the_call_back_from_a_stranger() {
        let now = Instant::now();
        let mut peer = Peer::new(now, address(4000));
        assert!((0..6).any(|_| peer.accepts(now, address(5000), VOICE)));
        assert!(peer.accepts(now, address(4000), Some(8)));
        assert!(!peer.accepts(now, address(5000), VOICE));
        assert_eq!(peer.address(), address(4000));
    }

    #[test]
    fn nobody_is_learnt_after_the_window() {
        let now = Instant::now();
        let mut peer = Peer::new(now, address(4000));
        assert!((0..50).all(|_| !peer.accepts(now + LEARNING, address(5000), VOICE)));
        assert_eq!(peer.address(), address(4000));
    }

    #[test]
    fn a_new_description_is_learnt_anew() {
        let now = Instant::now();
        let mut peer = Peer::new(now, address(4000));
        assert!(peer.accepts(now, address(4000), VOICE));
        peer.redescribe(now, address(4002));
        assert!(peer.accepts(now, address(4002), VOICE));
        assert!(!peer.accepts(now, address(4000), VOICE));
    }

    #[test]
    fn a_caller_whose_nat_moved_it_is_learnt_after_the_next_offer_and_nobody_beside_one_that_speaks() {
        let now = Instant::now();
        let at = |ms| now + Duration::from_millis(ms);
        let mut peer = Peer::new(now, address(4000));
        assert!((0..6).any(|_| peer.accepts(now, address(5000), VOICE)));
        let tries = |peer: &mut Peer, from: u64| {
            (0..10)
                .filter(|n| {
                    !peer.refuses(at(from + n), address(6000))
                        && peer.accepts(at(from + n), address(6000), VOICE)
                })
                .count()
        };
        assert_eq!(tries(&mut peer, 60_000), 0, "nobody has offered anything");
        peer.redescribe(at(70_000), address(4000));
        assert!(peer.accepts(at(70_000), address(5000), VOICE));
        assert_eq!(tries(&mut peer, 70_010), 0, "the one before still speaks");
        assert_eq!(tries(&mut peer, 71_000), 6, "it does not any more");
        assert_eq!((peer.address(), peer.accepts(at(71_020), address(5000), VOICE)), (address(6000), false));
    }

    #[test]
    fn the_window_begins_with_the_answer_however_long_it_rang() {
        let now = Instant::now();
        let mut peer = Peer::new(now, address(4000));
        let answer = now + Duration::from_secs(20);
        peer.expect(answer);
        assert!((0..6).any(|_| peer.accepts(answer, address(5000), VOICE)));
    }
}
