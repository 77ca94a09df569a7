//! A port slot for a call that we place: asked for before anything is sent, given back when its holder lets go of it.
//! Knows the way to who hands slots out. Decides nothing: reservations and caps are the pools' business.

use super::admission::Message;
use crate::sip_transport::{Request, SipHandle};
use call::{
    CallId,
    admission::{Denied, Level},
    port_slots::{Grant, LoadBand},
};
use std::{
    fmt,
    sync::{Arc, Weak},
};

/// Why there is no slot for a call of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoLease {
    /// The server stops, or has ended.
    Draining,
    /// The pool says no.
    Denied(Denied),
}

impl fmt::Display for NoLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Draining => "the server is stopping: no new calls",
            Self::Denied(Denied::Full) => "every port of its pool is in use; raise server.ports or the pool's ports",
            Self::Denied(Denied::Reserved) => {
                "what is free in its pool is kept for others; see inbound_min, outbound_max and the reserves of its [[pool]]"
            }
            Self::Denied(Denied::CampaignsStopped) => {
                "its pool is more than 85 % full: calls that can wait are not placed until it has room"
            }
            Self::Denied(Denied::Stage(_)) => "a stage has no room for another call",
            Self::Denied(Denied::Machine(_)) => "this machine has no room for another call",
        })
    }
}

/// What was granted.
pub(super) struct Granted {
    pub(super) call: CallId,
    pub(super) grant: Grant,
    pub(super) pool: String,
    pub(super) load: (u32, LoadBand),
    pub(super) level: Level,
    pub(super) held: Arc<()>,
}

/// A slot. Dropping it gives it back, once, however that comes about.
pub struct PortLease {
    /// The name of the call that it was granted to.
    pub call: CallId,
    /// The slot, with how many are in use in its pool.
    pub grant: Grant,
    /// The pool's name.
    pub pool: String,
    /// The pool's cap, and how busy it was.
    pub load: (u32, LoadBand),
    /// How full the pool counted as.
    pub level: Level,
    held: Option<Arc<()>>,
    sip: SipHandle<Message>,
}

impl PortLease {
    pub(super) fn new(granted: Granted, sip: SipHandle<Message>) -> Self {
        let Granted { call, grant, pool, load, level, held } = granted;
        Self { call, grant, pool, load, level, held: Some(held), sip }
    }
}

impl Drop for PortLease {
    fn drop(&mut self) {
        // From here on nobody holds it; a full queue only means that this is seen a second later.
        drop(self.held.take());
        let _ = self.sip.try_send(Request::Message(Message::LeaseEnded));
    }
}

impl fmt::Debug for PortLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PortLease({:?} of {})", self.grant.slot, self.pool)
    }
}

/// Tells whether a lease is still held.
pub(super) struct Holder(Weak<()>);

impl Holder {
    pub(super) fn of(held: &Arc<()>) -> Self {
        Self(Arc::downgrade(held))
    }

    pub(super) fn is_gone(&self) -> bool {
        self.0.strong_count() == 0
    }
}
