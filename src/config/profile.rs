//! SIP profiles: how one kind of carrier or PBX behaves. The files are in sip-profiles/.
//! Does not know trunks or addresses.

use super::{checker::Checker, problem::suggest, raw::Key, read::read, value::Transport};
use serde::Deserialize;
use std::{ops::RangeInclusive, time::Duration};
use toml::Spanned;

/// Profiles that are compiled in, by name.
pub const BUILT_IN: [(&str, &str); 1] = [("generic", include_str!("../../sip-profiles/generic.toml"))];

/// What we can encode.
pub const CODECS: [&str; 2] = ["PCMU", "PCMA"];

/// How a carrier behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// What it may send SIP over.
    pub transport: Vec<Transport>,
    /// Status codes on which it tries its next route.
    pub failover_codes: Vec<u16>,
    /// Codecs to accept, best first.
    pub codecs: Vec<&'static str>,
    /// Whether keys come as telephone-event (RFC 4733).
    pub telephone_event: bool,
    /// Audio in one packet.
    pub ptime: Duration,
    /// The answer over the cap.
    pub at_cap: AtCap,
}

/// The answer to a call over the cap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtCap {
    /// The status code.
    pub status: u16,
    /// Bounds of the Retry-After, in seconds; spread so that callers do not come back together.
    pub retry_after_seconds: RangeInclusive<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table of sections")]
struct RawProfile {
    name: Key<String>,
    signalling: RawSignalling,
    media: RawMedia,
    timers: RawTimers,
    at_cap: RawAtCap,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table: write [signalling] on a line of its own")]
struct RawSignalling {
    transport: Key<Vec<Spanned<String>>>,
    failover_codes: Key<Vec<Spanned<i64>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table: write [media] on a line of its own")]
struct RawMedia {
    codecs: Key<Vec<Spanned<String>>>,
    dtmf: Key<String>,
    ptime_ms: Key<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table: write [timers] on a line of its own")]
struct RawTimers {
    session_timer: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table: write [at_cap] on a line of its own")]
struct RawAtCap {
    status: Key<i64>,
    retry_after_seconds: Key<Vec<Spanned<i64>>>,
}

impl Profile {
    /// Reads the profile that `checker` is at. What is missing is as in `generic`.
    pub(super) fn read(checker: &mut Checker<'_>) -> Self {
        let raw: RawProfile = read(checker.source, &mut checker.problems);
        let transport = checker.each(&raw.signalling.transport, &["udp", "tcp"], |text| {
            Transport::named(text).ok_or_else(|| {
                format!("unknown transport `{text}`; {}", suggest(text, Transport::ALL.map(Transport::param)))
            })
        });
        let codecs = checker.each(&raw.media.codecs, &CODECS, |text| {
            let known = CODECS.into_iter().find(|codec| codec.eq_ignore_ascii_case(text));
            known.ok_or_else(|| format!("unknown codec `{text}`; {}", suggest(text, CODECS)))
        });
        checker.choice(&raw.media.dtmf, "rfc4733", &["rfc4733"]);
        checker.choice(&raw.timers.session_timer, "off", &["off"]);
        let failover_codes = failover_codes(checker, &raw.signalling.failover_codes);
        let at_cap = AtCap {
            status: checker.number(&raw.at_cap.status, 503, 400..=699),
            retry_after_seconds: retry_after(checker, &raw.at_cap.retry_after_seconds),
        };
        if let Some(key) = raw.at_cap.status.filter(|_| !failover_codes.contains(&at_cap.status)) {
            checker.warn(
                &key,
                format!("{} is not among failover_codes, so a full server ends the call", at_cap.status),
                "choose one of them if the carrier has another route",
            );
        }
        Self {
            name: raw.name.map_or_else(|| checker.source.name().to_owned(), Spanned::into_inner),
            transport,
            failover_codes,
            codecs,
            telephone_event: true,
            ptime: checker.milliseconds(&raw.media.ptime_ms, Duration::from_millis(20), 20..=20),
            at_cap,
        }
    }
}

fn failover_codes(checker: &mut Checker<'_>, key: &Key<Vec<Spanned<i64>>>) -> Vec<u16> {
    let Some(codes) = key else { return vec![408, 480, 500, 502, 503, 504] };
    codes.get_ref().iter().map(|code| checker.number(&Some(code.clone()), 503, 400..=699)).collect()
}

fn retry_after(checker: &mut Checker<'_>, key: &Key<Vec<Spanned<i64>>>) -> RangeInclusive<u32> {
    let default = 5..=15;
    let Some(bounds) = key else { return default };
    let numbers: Vec<u32> =
        bounds.get_ref().iter().map(|bound| checker.number(&Some(bound.clone()), 5, 1..=3600)).collect();
    match numbers[..] {
        [low, high] if low <= high => low..=high,
        _ => {
            checker.error(bounds, "this needs two numbers, the lower one first", "write [5, 15]");
            default
        }
    }
}
