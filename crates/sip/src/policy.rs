//! How the dialogs of one trunk behave: session timers (RFC 4028), reliable provisional responses (RFC 3262), early media.
//! Checked values only. Which trunk a dialog belongs to is decided elsewhere.

/// How dialogs behave. `Default`: session timers are accepted, reliable provisional responses are supported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialogPolicy {
    /// Session timers.
    pub session_timer: SessionTimer,
    /// Reliable provisional responses.
    pub reliable: Reliable,
    /// Whether a session description in a provisional response is sent and passed on.
    pub early_media: bool,
}

impl Default for DialogPolicy {
    fn default() -> Self {
        Self { session_timer: SessionTimer::default(), reliable: Reliable::Supported, early_media: true }
    }
}

/// Session timers (RFC 4028).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionTimer {
    /// Whether there are any.
    pub mode: SessionTimerMode,
    /// The interval that we ask for, in seconds; an interval that a caller asks for is lowered to it.
    pub expires_s: u32,
    /// The shortest interval that we take, in seconds; RFC 4028 section 4 asks for 90 at least.
    pub min_se_s: u32,
    /// Who is to refresh, where the choice is ours.
    pub refresher: Refresher,
}

impl Default for SessionTimer {
    fn default() -> Self {
        Self { mode: SessionTimerMode::Accept, expires_s: 1800, min_se_s: 90, refresher: Refresher::Any }
    }
}

/// Whether sessions have a timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionTimerMode {
    /// We do not know the extension.
    Off,
    /// If the peer wants one.
    Accept,
    /// We ask for one, and refresh by ourselves where the peer does not know the extension.
    Offer,
    /// As [`SessionTimerMode::Offer`], and a peer that does not know the extension is refused.
    Require,
}

/// Who refreshes the session, as we prefer it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresher {
    /// We do.
    Us,
    /// The peer does.
    Peer,
    /// The peer chooses; where it leaves it to us, the caller's side does.
    Any,
}

/// Reliable provisional responses (100rel, RFC 3262).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reliable {
    /// We do not know the extension.
    Off,
    /// If the peer knows it.
    Supported,
    /// A peer that does not know it is refused.
    Required,
}
