//! What an endpoint is told at its start: timers, limits, how it presents itself.
//! Checked values only; reading a file is not its work.

use crate::external::ExternalAddresses;
use crate::gate::GateConfig;
use crate::policy::DialogPolicy;
use crate::transaction::Timers;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The endpoint's settings. `Default` gives RFC 3261's timers and limits for a few thousand calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointConfig {
    /// T1, T2 and T4.
    pub timers: Timers,
    /// Host (or IP address) in our Via and Contact; `None` = what `external` says of the flow.
    pub advertised_host: Option<String>,
    /// Under which addresses others reach us; empty = the local address of each flow.
    pub external: ExternalAddresses,
    /// Port in our Via and Contact; `None` = the local port of the flow.
    pub advertised_port: Option<u16>,
    /// Server and User-Agent header; empty = none (scanners learn nothing).
    pub product: String,
    /// Most transactions at once; a request beyond gets 503. One call makes about four, each for 32 s.
    pub max_transactions: usize,
    /// Most dialogs at once; an INVITE beyond gets 503.
    pub max_dialogs: usize,
    /// Retry-After of our 503 answers, in seconds: each request gets its own number of this range, so that the
    /// callers whom we send away do not all come back at once.
    pub retry_after_s: RangeInclusive<u32>,
    /// Who may send us requests outside a dialog; `None` = everybody.
    pub gate: Option<GateConfig>,
    /// An INVITE or a request outside dialogs of more than 1,300 bytes goes over TCP instead of UDP, and over UDP
    /// after all if nobody listens there (RFC 3261 section 18.1.1).
    pub large_to_tcp: bool,
    /// An incoming INVITE that nobody has answered by then gets 480.
    pub answer_limit: Duration,
    /// An outgoing INVITE that rings longer is cancelled (like timer C, which is at least 3 minutes).
    pub ring_limit: Duration,
    /// How the dialogs of incoming calls behave that no trunk claims.
    pub default_policy: DialogPolicy,
    /// Whether the user takes calls in the place of others (RFC 3891), so that `replaces` is advertised.
    pub replaces: bool,
}

impl Default for EndpointConfig {
    fn default() -> Self {
        Self {
            timers: Timers::default(),
            advertised_host: None,
            external: ExternalAddresses::default(),
            advertised_port: None,
            product: String::new(),
            max_transactions: 50_000,
            max_dialogs: 10_000,
            retry_after_s: 5..=30,
            gate: None,
            large_to_tcp: true,
            answer_limit: Duration::from_secs(300),
            ring_limit: Duration::from_secs(200),
            default_policy: DialogPolicy::default(),
            replaces: false,
        }
    }
}
