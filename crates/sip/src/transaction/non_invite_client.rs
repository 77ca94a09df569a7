//! Non-INVITE client transaction (RFC 3261 section 17.1.2).
//! Repeats the request until a final response. Knows nothing of what was asked.

use super::{Fired, Heard, Timers};
use std::time::{Duration, Instant};

/// Where the transaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NonInviteClientState {
    /// Nothing heard yet.
    Trying,
    /// A provisional response was heard.
    Proceeding,
    /// The final response was heard.
    Completed,
}

/// The machine.
pub struct NonInviteClient {
    state: NonInviteClientState,
    request: Vec<u8>,
    timers: Timers,
    reliable: bool,
    retransmit: Option<Instant>,
    interval: Duration,
    ends: Instant,
}

impl NonInviteClient {
    /// A new transaction whose `request` is sent now: timers E and F.
    pub fn new(now: Instant, request: Vec<u8>, timers: Timers, reliable: bool) -> Self {
        Self {
            state: NonInviteClientState::Trying,
            request,
            timers,
            reliable,
            retransmit: (!reliable).then(|| now + timers.t1),
            interval: timers.t1,
            ends: now + timers.timeout(),
        }
    }

    /// Where it is.
    pub fn state(&self) -> NonInviteClientState {
        self.state
    }

    /// The request as sent.
    pub fn request(&self) -> &[u8] {
        &self.request
    }

    /// A response to this request: timer K after the final one.
    pub fn handle_response(&mut self, now: Instant, status: u16) -> Heard {
        if self.state == NonInviteClientState::Completed {
            return Heard::Ignore;
        }
        if status < 200 {
            self.state = NonInviteClientState::Proceeding;
            return Heard::Pass;
        }
        self.state = NonInviteClientState::Completed;
        self.retransmit = None;
        self.ends = if self.reliable { now } else { now + self.timers.t4 };
        Heard::Pass
    }

    /// Something may be due.
    pub fn handle_timeout(&mut self, now: Instant) -> Fired<'_> {
        if self.ends <= now {
            let done = self.state == NonInviteClientState::Completed;
            return if done { Fired::Terminated } else { Fired::TimedOut };
        }
        if self.retransmit.is_some_and(|at| at <= now) {
            self.interval = match self.state {
                NonInviteClientState::Proceeding => self.timers.t2,
                NonInviteClientState::Trying | NonInviteClientState::Completed => {
                    (self.interval * 2).min(self.timers.t2)
                }
            };
            self.retransmit = Some(now + self.interval);
            return Fired::Retransmit(&self.request);
        }
        Fired::Nothing
    }

    /// When something is due.
    pub fn next_wake(&self) -> Option<Instant> {
        self.retransmit.into_iter().chain([self.ends]).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unanswered_request_is_repeated_up_to_every_4_seconds_for_32() {
        #[expect(clippy::disallowed_methods, reason = "any instant will do as the zero of a test")]
        let begin = Instant::now();
        let mut machine = NonInviteClient::new(begin, b"BYE".to_vec(), Timers::default(), false);
        let mut sent = Vec::new();
        loop {
            let wake = machine.next_wake().expect("still waiting");
            match machine.handle_timeout(wake) {
                Fired::Retransmit(_) => sent.push((wake - begin).as_millis()),
                Fired::TimedOut => break,
                Fired::Nothing | Fired::Terminated => panic!("not expected"),
            }
        }
        assert_eq!(sent, [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);
    }

    #[test]
    fn a_completed_transaction_leaves_after_t4() {
        #[expect(clippy::disallowed_methods, reason = "any instant will do as the zero of a test")]
        let begin = Instant::now();
        let mut machine = NonInviteClient::new(begin, Vec::new(), Timers::default(), false);
        assert_eq!(machine.handle_response(begin, 200), Heard::Pass);
        assert_eq!(machine.handle_response(begin, 200), Heard::Ignore);
        assert_eq!(machine.handle_timeout(begin + Duration::from_secs(5)), Fired::Terminated);
    }
}
