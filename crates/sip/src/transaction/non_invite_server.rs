//! Non-INVITE server transaction (RFC 3261 section 17.2.2).
//! Repeats the final response for timer J. Knows nothing of what was asked.

use super::{Fired, Timers};
use std::time::Instant;

/// Where the transaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NonInviteServerState {
    /// No response yet.
    Trying,
    /// A provisional response was sent.
    Proceeding,
    /// The final response was sent.
    Completed,
}

/// The machine.
pub struct NonInviteServer {
    state: NonInviteServerState,
    response: Vec<u8>,
    timers: Timers,
    reliable: bool,
    ends: Option<Instant>,
}

impl NonInviteServer {
    /// A new transaction; `reliable` is true for TCP.
    pub fn new(timers: Timers, reliable: bool) -> Self {
        Self { state: NonInviteServerState::Trying, response: Vec::new(), timers, reliable, ends: None }
    }

    /// Where it is.
    pub fn state(&self) -> NonInviteServerState {
        self.state
    }

    /// A provisional response is sent.
    pub fn provisional(&mut self, response: Vec<u8>) {
        if self.state != NonInviteServerState::Completed {
            self.state = NonInviteServerState::Proceeding;
            self.response = response;
        }
    }

    /// The final response is sent: timer J, which is zero on TCP.
    pub fn complete(&mut self, now: Instant, response: Vec<u8>) {
        if self.state != NonInviteServerState::Completed {
            self.state = NonInviteServerState::Completed;
            self.response = response;
            self.ends = Some(if self.reliable { now } else { now + self.timers.timeout() });
        }
    }

    /// The request came again: what to answer, if anything.
    pub fn handle_retransmission(&self) -> Option<&[u8]> {
        (!self.response.is_empty()).then_some(self.response.as_slice())
    }

    /// Something may be due.
    pub fn handle_timeout(&mut self, now: Instant) -> Fired<'_> {
        if self.ends.is_some_and(|ends| ends <= now) { Fired::Terminated } else { Fired::Nothing }
    }

    /// When something is due.
    pub fn next_wake(&self) -> Option<Instant> {
        self.ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_final_response_is_repeated_for_32_seconds_on_udp_only() {
        #[expect(clippy::disallowed_methods, reason = "any instant will do as the zero of a test")]
        let begin = Instant::now();
        let mut udp = NonInviteServer::new(Timers::default(), false);
        assert_eq!(udp.handle_retransmission(), None);
        udp.complete(begin, b"200".to_vec());
        assert_eq!(udp.handle_retransmission(), Some(&b"200"[..]));
        assert_eq!(udp.next_wake(), Some(begin + Duration::from_secs(32)));
        let mut tcp = NonInviteServer::new(Timers::default(), true);
        tcp.complete(begin, b"200".to_vec());
        assert_eq!(tcp.handle_timeout(begin), Fired::Terminated);
    }
}
