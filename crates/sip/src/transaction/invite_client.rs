//! INVITE client transaction (RFC 3261 section 17.1.1, RFC 6026 section 7.2).
//! Repeats the INVITE, asks for the ACK of a non-2xx. The ACK of a 2xx belongs to the dialog.

use super::{Fired, Heard, Timers};
use std::time::{Duration, Instant};

/// Where the transaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InviteClientState {
    /// Nothing heard yet.
    Calling,
    /// A provisional response was heard.
    Proceeding,
    /// A 3xx–6xx was heard and acknowledged.
    Completed,
    /// A 2xx was heard; more may come, from forks or because an ACK was lost (RFC 6026).
    Accepted,
}

/// The machine.
pub struct InviteClient {
    state: InviteClientState,
    request: Vec<u8>,
    timers: Timers,
    reliable: bool,
    retransmit: Option<Instant>,
    interval: Duration,
    ends: Option<Instant>,
    limit: Option<Instant>,
}

impl InviteClient {
    /// A new transaction whose `request` is sent now: timers A and B.
    pub fn new(now: Instant, request: Vec<u8>, timers: Timers, reliable: bool) -> Self {
        Self {
            state: InviteClientState::Calling,
            request,
            timers,
            reliable,
            retransmit: (!reliable).then(|| now + timers.t1),
            interval: timers.t1,
            ends: Some(now + timers.timeout()),
            limit: None,
        }
    }

    /// Where it is.
    pub fn state(&self) -> InviteClientState {
        self.state
    }

    /// The INVITE as sent.
    pub fn request(&self) -> &[u8] {
        &self.request
    }

    /// A response to this INVITE.
    pub fn handle_response(&mut self, now: Instant, status: u16) -> Heard {
        match (self.state, status) {
            (InviteClientState::Calling | InviteClientState::Proceeding, 100..=199) => {
                self.state = InviteClientState::Proceeding;
                self.retransmit = None;
                self.ends = self.limit;
                Heard::Pass
            }
            (InviteClientState::Calling | InviteClientState::Proceeding, 200..=299) => {
                self.state = InviteClientState::Accepted;
                self.retransmit = None;
                self.ends = Some(now + self.timers.timeout());
                Heard::Pass
            }
            (InviteClientState::Accepted, 200..=299) => Heard::Pass,
            (InviteClientState::Calling | InviteClientState::Proceeding, _) => {
                self.state = InviteClientState::Completed;
                self.retransmit = None;
                self.ends = Some(if self.reliable { now } else { now + self.timers.d() });
                Heard::PassAndAcknowledge
            }
            (InviteClientState::Completed, 300..) => Heard::Acknowledge,
            (InviteClientState::Completed | InviteClientState::Accepted, _) => Heard::Ignore,
        }
    }

    /// The wait for a final response is limited from outside: after a CANCEL it lasts 64*T1 (RFC 3261 section 9.1).
    pub fn give_up_at(&mut self, at: Instant) {
        if matches!(self.state, InviteClientState::Calling | InviteClientState::Proceeding) {
            self.limit = Some(at);
            self.ends = Some(self.ends.map_or(at, |ends| ends.min(at)));
        }
    }

    /// Something may be due.
    pub fn handle_timeout(&mut self, now: Instant) -> Fired<'_> {
        if self.ends.is_some_and(|ends| ends <= now) {
            return match self.state {
                InviteClientState::Calling | InviteClientState::Proceeding => Fired::TimedOut,
                InviteClientState::Completed | InviteClientState::Accepted => Fired::Terminated,
            };
        }
        if self.retransmit.is_some_and(|at| at <= now) {
            self.interval *= 2;
            self.retransmit = Some(now + self.interval);
            return Fired::Retransmit(&self.request);
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
    fn an_unanswered_invite_is_repeated_with_doubling_and_given_up_after_32_seconds() {
        let begin = start();
        let mut machine = InviteClient::new(begin, b"INVITE".to_vec(), Timers::default(), false);
        let mut sent = Vec::new();
        loop {
            let wake = machine.next_wake().expect("still waiting");
            match machine.handle_timeout(wake) {
                Fired::Retransmit(_) => sent.push((wake - begin).as_millis()),
                Fired::TimedOut => break assert_eq!(wake - begin, Duration::from_secs(32)),
                Fired::Nothing | Fired::Terminated => panic!("not expected"),
            }
        }
        assert_eq!(sent, [500, 1500, 3500, 7500, 15500, 31500]);
    }

    #[test]
    fn a_provisional_stops_the_repetition() {
        let begin = start();
        let mut machine = InviteClient::new(begin, Vec::new(), Timers::default(), false);
        assert_eq!(machine.handle_response(begin, 180), Heard::Pass);
        assert_eq!(machine.next_wake(), None);
    }

    #[test]
    fn a_limited_wait_ends_although_it_rings_on() {
        let begin = start();
        let mut machine = InviteClient::new(begin, Vec::new(), Timers::default(), false);
        machine.give_up_at(begin + Duration::from_secs(9));
        assert_eq!(machine.handle_response(begin, 180), Heard::Pass);
        assert_eq!(machine.handle_timeout(begin + Duration::from_secs(9)), Fired::TimedOut);
    }

    #[test]
    fn every_copy_of_a_rejection_is_acknowledged_but_told_once() {
        let begin = start();
        let mut machine = InviteClient::new(begin, Vec::new(), Timers::default(), false);
        assert_eq!(machine.handle_response(begin, 486), Heard::PassAndAcknowledge);
        assert_eq!(machine.handle_response(begin, 486), Heard::Acknowledge);
        assert_eq!(machine.handle_response(begin, 180), Heard::Ignore);
        assert_eq!(machine.handle_timeout(begin + Duration::from_secs(32)), Fired::Terminated);
    }

    #[test]
    fn more_2xx_reach_the_user_until_timer_m() {
        let begin = start();
        let mut machine = InviteClient::new(begin, Vec::new(), Timers::default(), true);
        assert_eq!(machine.handle_response(begin, 200), Heard::Pass);
        assert_eq!(machine.handle_response(begin, 200), Heard::Pass);
        assert_eq!(machine.next_wake(), Some(begin + Duration::from_secs(32)));
    }
}
