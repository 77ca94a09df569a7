//! The four transaction machines (RFC 3261 section 17, with the Accepted states of RFC 6026).
//! They know states and timers. They know neither messages, sockets nor dialogs: bytes in, bytes out.

mod invite_client;
mod invite_server;
mod non_invite_client;
mod non_invite_server;

pub use invite_client::{InviteClient, InviteClientState};
pub use invite_server::{InviteServer, InviteServerState};
pub use non_invite_client::{NonInviteClient, NonInviteClientState};
pub use non_invite_server::{NonInviteServer, NonInviteServerState};

use std::time::Duration;

/// The three base timers (RFC 3261 section 17.1.1.1 and table 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// Estimated round-trip time; the default is 500 ms.
    pub t1: Duration,
    /// The longest retransmit interval; the default is 4 s.
    pub t2: Duration,
    /// How long a message stays in the network; the default is 5 s.
    pub t4: Duration,
}

impl Timers {
    /// 64*T1: when an unanswered transaction gives up (timers B, F, H, J, L, M).
    pub fn timeout(&self) -> Duration {
        self.t1 * 64
    }

    /// Timer D: at least 32 s on UDP.
    pub(crate) fn d(&self) -> Duration {
        self.timeout().max(Duration::from_secs(32))
    }
}

impl Default for Timers {
    fn default() -> Self {
        Self { t1: Duration::from_millis(500), t2: Duration::from_secs(4), t4: Duration::from_secs(5) }
    }
}

/// What a transaction's timer asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Fired<'a> {
    /// Not due.
    Nothing,
    /// Send these bytes again.
    Retransmit(&'a [u8]),
    /// The other side never answered; the transaction is over.
    TimedOut,
    /// The transaction has done its work and is over.
    Terminated,
}

/// What a client transaction makes of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// New to the user of the transaction.
    Pass,
    /// New, and the transaction must send an ACK (non-2xx final to an INVITE).
    PassAndAcknowledge,
    /// Seen before, but the ACK must be sent again.
    Acknowledge,
    /// Seen before.
    Ignore,
}
