//! INVITE server transaction (RFC 3261 section 17.2.1, RFC 6026 section 7.1).
//! Repeats responses and waits for the ACK. Knows nothing of dialogs: 2xx retransmission is not its work.

use super::{Fired, Timers};
use std::time::{Duration, Instant};

/// Where the transaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InviteServerState {
    /// No final response yet.
    Proceeding,
    /// A 3xx–6xx was sent and waits for its ACK.
    Completed,
    /// The ACK has come; later copies are absorbed.
    Confirmed,
    /// A 2xx was sent; retransmitted INVITEs are absorbed (RFC 6026).
    Accepted,
}

/// The machine.
pub struct InviteServer {
    state: InviteServerState,
    response: Vec<u8>,
    timers: Timers,
    reliable: bool,
    retransmit: Option<Instant>,
    interval: Duration,
    ends: Option<Instant>,
}

impl InviteServer {
    /// A new transaction; `reliable` is true for TCP.
    pub fn new(timers: Timers, reliable: bool) -> Self {
        Self {
            state: InviteServerState::Proceeding,
            response: Vec::new(),
            timers,
            reliable,
            retransmit: None,
            interval: timers.t1,
            ends: None,
        }
    }

    /// Where it is.
    pub fn state(&self) -> InviteServerState {
        self.state
    }

    /// A provisional response is sent: retransmitted INVITEs get it again.
    pub fn provisional(&mut self, response: Vec<u8>) {
        if self.state == InviteServerState::Proceeding {
            self.response = response;
        }
    }

    /// A 2xx is sent (by the dialog, which also repeats it): timer L.
    pub fn accept(&mut self, now: Instant) {
        self.state = InviteServerState::Accepted;
        self.response = Vec::new();
        self.ends = Some(now + self.timers.timeout());
    }

    /// A 3xx–6xx is sent: timers G and H.
    pub fn reject(&mut self, now: Instant, response: Vec<u8>) {
        self.state = InviteServerState::Completed;
        self.response = response;
        self.ends = Some(now + self.timers.timeout());
        self.interval = self.timers.t1;
        self.retransmit = (!self.reliable).then(|| now + self.interval);
    }

    /// The INVITE came again: what to answer, if anything.
    pub fn handle_retransmission(&self) -> Option<&[u8]> {
        match self.state {
            InviteServerState::Proceeding | InviteServerState::Completed => {
                (!self.response.is_empty()).then_some(self.response.as_slice())
            }
            InviteServerState::Confirmed | InviteServerState::Accepted => None,
        }
    }

    /// An ACK that belongs to this transaction (to a non-2xx): timer I.
    pub fn handle_ack(&mut self, now: Instant) {
        if self.state == InviteServerState::Completed {
            self.state = InviteServerState::Confirmed;
            self.retransmit = None;
            self.ends = Some(if self.reliable { now } else { now + self.timers.t4 });
        }
    }

    /// Something may be due.
    pub fn handle_timeout(&mut self, now: Instant) -> Fired<'_> {
        if self.ends.is_some_and(|ends| ends <= now) {
            return if self.state == InviteServerState::Completed {
                Fired::TimedOut
            } else {
                Fired::Terminated
            };
        }
        if self.retransmit.is_some_and(|at| at <= now) {
            self.interval = (self.interval * 2).min(self.timers.t2);
            self.retransmit = Some(now + self.interval);
            return Fired::Retransmit(&self.response);
        }
        Fired::Nothing
    }

    /// When something is due.
    pub fn next_wake(&self) -> Option<Instant> {
        self.retransmit.into_iter().chain(self.ends).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "any instant will do as the zero of a test")]
        Instant::now()
    }

    #[test]
    fn a_rejection_is_repeated_until_the_ack_and_doubles_to_t2() {
        let begin = start();
        let mut machine = InviteServer::new(Timers::default(), false);
        machine.reject(begin, b"486".to_vec());
        let mut sent = Vec::new();
        while let Some(wake) = machine.next_wake() {
            match machine.handle_timeout(wake) {
                Fired::Retransmit(_) => sent.push((wake - begin).as_millis()),
                Fired::TimedOut => break,
                Fired::Nothing | Fired::Terminated => panic!("not expected"),
            }
        }
        assert_eq!(sent, [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);
    }

    #[test]
    fn after_the_ack_nothing_is_repeated() {
        let begin = start();
        let mut machine = InviteServer::new(Timers::default(), false);
        machine.reject(begin, b"486".to_vec());
        assert_eq!(machine.handle_retransmission(), Some(&b"486"[..]));
        machine.handle_ack(begin);
        assert_eq!(machine.handle_retransmission(), None);
        assert_eq!(machine.next_wake(), Some(begin + Duration::from_secs(5)));
        assert_eq!(machine.handle_timeout(begin + Duration::from_secs(5)), Fired::Terminated);
    }

    #[test]
    fn on_tcp_a_rejection_is_sent_once_and_ends_with_its_ack() {
        let begin = start();
        let mut machine = InviteServer::new(Timers::default(), true);
        machine.reject(begin, b"486".to_vec());
        assert_eq!(machine.next_wake(), Some(begin + Duration::from_secs(32)));
        machine.handle_ack(begin);
        assert_eq!(machine.handle_timeout(begin), Fired::Terminated);
    }

    #[test]
    fn a_late_invite_copy_after_the_2xx_is_absorbed() {
        let begin = start();
        let mut machine = InviteServer::new(Timers::default(), false);
        machine.provisional(b"180".to_vec());
        assert_eq!(machine.handle_retransmission(), Some(&b"180"[..]));
        machine.accept(begin);
        assert_eq!(machine.handle_retransmission(), None);
        assert_eq!(machine.handle_timeout(begin + Duration::from_secs(32)), Fired::Terminated);
    }
}
