//! Events of running calls for whoever follows them now.
//! Bounded and lossy: a follower that is too slow is told so and reads what it missed from the store.

use call::{CallId, Stamped};
use tokio::sync::broadcast;

/// Events a follower may be behind; beyond that the oldest are overwritten, and counted where the follower notices.
pub const LIVE_EVENTS: usize = 1_024;

/// An event of a running call.
#[derive(Clone, Debug)]
pub struct LiveEvent {
    /// Which call.
    pub call: CallId,
    /// Its number within the call, from 1.
    pub seq: u64,
    /// What and when.
    pub stamped: Stamped,
}

/// Where running calls are told to followers.
#[derive(Clone, Debug)]
pub struct LiveEvents(broadcast::Sender<LiveEvent>);

impl LiveEvents {
    /// With nobody listening yet.
    pub fn new() -> Self {
        Self(broadcast::Sender::new(LIVE_EVENTS))
    }

    /// Tells every follower, without waiting.
    pub fn publish(&self, event: LiveEvent) {
        // No follower is the normal case, not an error.
        let _ = self.0.send(event);
    }

    /// Follows from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<LiveEvent> {
        self.0.subscribe()
    }
}

impl Default for LiveEvents {
    fn default() -> Self {
        Self::new()
    }
}
