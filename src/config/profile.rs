//! SIP profiles: how one kind of carrier or PBX behaves. The files are in sip-profiles/.
//! Knows the checked values only; `sections.rs` reads them, a trunk says what differs.

use super::value::{Network, Transport};
use sip::DialogPolicy;
pub use sip::caller_id::{CallerIdIn, CallerIdOut, NumberFormat};
use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

/// Profiles that are compiled in, by name.
pub const BUILT_IN: [(&str, &str); 11] = [
    ("generic", include_str!("../../sip-profiles/generic.toml")),
    ("twilio", include_str!("../../sip-profiles/twilio.toml")),
    ("telnyx", include_str!("../../sip-profiles/telnyx.toml")),
    ("plivo", include_str!("../../sip-profiles/plivo.toml")),
    ("vonage", include_str!("../../sip-profiles/vonage.toml")),
    ("bandwidth", include_str!("../../sip-profiles/bandwidth.toml")),
    ("signalwire", include_str!("../../sip-profiles/signalwire.toml")),
    ("kamailio", include_str!("../../sip-profiles/kamailio.toml")),
    ("asterisk", include_str!("../../sip-profiles/asterisk.toml")),
    ("freeswitch", include_str!("../../sip-profiles/freeswitch.toml")),
    ("threecx", include_str!("../../sip-profiles/threecx.toml")),
];

/// What we speak, in the order in which we offer it where nothing else is written.
pub const CODECS: [&str; 4] = ["PCMU", "PCMA", "G722", "opus"];

/// How a carrier behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// Where its SIP comes from and goes to.
    pub signalling: Signalling,
    /// Who proves what to whom.
    pub auth: Auth,
    /// How numbers are written, and who is said to call.
    pub identity: Identity,
    /// What calls sound like on the wire.
    pub media: Media,
    /// What is repeated, waited for and given up.
    pub timers: Timers,
    /// Who may move a call elsewhere.
    pub transfer: Transfer,
    /// How much it may bring.
    pub limits: Limits,
    /// The answer over the cap.
    pub at_cap: AtCap,
    /// What it does differently from everybody else.
    pub quirks: Quirks,
}

/// `[signalling]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signalling {
    /// What it may send SIP over; for our own requests the first is preferred.
    pub transport: Vec<Transport>,
    /// Where its requests may come from; empty means anywhere.
    pub sources: Vec<Network>,
    /// Where our requests go: SIP URIs, the first is asked first.
    pub outbound: Vec<String>,
    /// The proxy that all our requests pass (RFC 3261 section 8.1.2).
    pub outbound_proxy: Option<String>,
    /// Status codes on which the next target is tried; also those on which the carrier tries its next route.
    pub failover_codes: Vec<u16>,
    /// How long a target that failed is asked last.
    pub hold_down: Duration,
    /// Without any response for so long, the next target is tried.
    pub first_response: Duration,
}

/// `[auth]`, without the secrets: those belong to the trunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// We register with it.
    pub register: bool,
    /// It registers with us.
    pub registrar: bool,
    /// Where we register, the first is asked first; empty: the outbound addresses.
    pub registrars: Vec<String>,
    /// The expiry we ask for, in seconds.
    pub expires_s: u32,
    /// A source address that is known needs no digest.
    pub trust_sources: bool,
}

/// `[identity]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// How numbers are written.
    pub number_format: NumberFormat,
    /// What the called number loses at its beginning before it is sent.
    pub strip: String,
    /// What it gets there instead, such as a technical prefix.
    pub prepend: String,
    /// The user part of From; `None`: the login's name, or the caller's number.
    pub from_user: Option<String>,
    /// The host of From; `None`: that of the target.
    pub from_host: Option<String>,
    /// Where we say who calls.
    pub caller_id: CallerIdOut,
    /// Asks that the caller's number be hidden (RFC 3323 `Privacy: id`).
    pub privacy: bool,
    /// Where the carrier says who calls, the most trustworthy first.
    pub caller_id_in: Vec<CallerIdIn>,
    /// Header fields in every INVITE of ours.
    pub headers: BTreeMap<String, String>,
}

/// How keys come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtmf {
    /// As telephone-event in RTP (RFC 4733).
    Rfc4733,
    /// In INFO requests.
    Info,
    /// As tones in the audio.
    Inband,
    /// As telephone-event where it was negotiated, else as INFO or tones.
    Auto,
}

/// Whether media is encrypted (RFC 4568).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Srtp {
    /// Never.
    Off,
    /// When the other side wants.
    Optional,
    /// Always; a call without is refused with 488.
    Required,
}

/// `[media]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// Codecs to accept, best first.
    pub codecs: Vec<&'static str>,
    /// How keys come.
    pub dtmf: Dtmf,
    /// Audio in one packet.
    pub ptime: Duration,
    /// Encryption.
    pub srtp: Srtp,
    /// Suites in order of preference, by their names of RFC 4568 and RFC 7714.
    pub srtp_suites: Vec<&'static str>,
}

/// `[timers]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timers {
    /// Session timers, 100rel and early media.
    pub policy: DialogPolicy,
    /// Between two OPTIONS of ours; zero: none.
    pub ping: Duration,
    /// So many unanswered OPTIONS in a row mean that it is down.
    pub ping_misses: u32,
    /// How long a call of ours may ring.
    pub ring: Duration,
}

/// `[transfer]`: who may use REFER (RFC 3515).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// We may send it.
    pub send: bool,
    /// We obey it.
    pub accept: bool,
    /// Replaces (RFC 3891) may be in it.
    pub replaces: bool,
}

/// `[limits]`. What is over them gets the answer of `[at_cap]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Calls at once; `None`: the server's cap alone.
    pub max_channels: Option<u32>,
    /// New calls in any second.
    pub max_cps: Option<u32>,
}

/// `[at_cap]`: the answer to a call over the cap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtCap {
    /// The status code.
    pub status: u16,
    /// Bounds of the Retry-After, in seconds; `None`: no such header, so that a carrier takes its next route at once.
    pub retry_after_seconds: Option<RangeInclusive<u32>>,
    /// Where a 302 sends the call.
    pub redirect: Option<String>,
    /// Slots beyond the cap, for calls that another agent answers; 0: none.
    pub overflow_slots: u32,
}

/// `[quirks]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quirks {
    /// The called number is in To; the Request-URI holds the name that we registered.
    pub called_in_to: bool,
    /// What an operator should know about it.
    pub notes: Vec<String>,
}
