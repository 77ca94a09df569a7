//! The sections of a SIP profile as they are written, and what they mean. A trunk may write any of them again.
//! Does not know which of the two files it reads: what is missing stays as it was.

use super::{
    checker::Checker,
    problem::suggest,
    profile::*,
    raw::Key,
    value::{Network, Transport},
};
use serde::Deserialize;
use sip::{DialogPolicy, Refresher, Reliable, SessionTimerMode};
use std::{ops::RangeInclusive, time::Duration};
use toml::Spanned;

type List = Key<Vec<Spanned<String>>>;

/// The SRTP suites there are (RFC 4568 section 6.2, RFC 7714 section 14.2).
const SRTP_SUITES: [&str; 3] = ["AEAD_AES_128_GCM", "AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32"];

macro_rules! section {
    ($name:ident, $header:literal, { $($key:ident: $kind:ty,)* }) => {
        #[derive(Debug, Default, Deserialize)]
        #[serde(default, deny_unknown_fields, expecting = $header)]
        pub(super) struct $name { $(pub(super) $key: $kind,)* }
    };
}

section!(RawSignalling, "a table: write [signalling] on a line of its own", {
    transport: List,
    sources: List,
    outbound: List,
    outbound_proxy: Key<String>,
    failover_codes: Key<Vec<Spanned<i64>>>,
    hold_down_seconds: Key<i64>,
    first_response_ms: Key<i64>,
});

section!(RawUser, "a table: write { username = \"...\", password = \"env:...\" }", {
    username: Key<String>,
    password: Key<String>,
});

section!(RawAuth, "a table: write [auth] on a line of its own", {
    register: Key<bool>,
    registrar: Key<bool>,
    registrars: List,
    expires_seconds: Key<i64>,
    trust_sources: Key<bool>,
    username: Key<String>,
    password: Key<String>,
    realm: Key<String>,
    users: Key<Vec<Spanned<RawUser>>>,
});

section!(RawIdentity, "a table: write [identity] on a line of its own", {
    number_format: Key<String>,
    strip: Key<String>,
    prepend: Key<String>,
    from_user: Key<String>,
    from_host: Key<String>,
    caller_id: Key<String>,
    privacy: Key<bool>,
    caller_id_in: List,
    headers: Key<toml::Table>,
});

section!(RawMedia, "a table: write [media] on a line of its own", {
    codecs: List,
    dtmf: Key<String>,
    ptime_ms: Key<i64>,
    srtp: Key<String>,
    srtp_suites: List,
});

section!(RawTimers, "a table: write [timers] on a line of its own", {
    session_timer: Key<String>,
    session_expires_seconds: Key<i64>,
    min_se_seconds: Key<i64>,
    refresher: Key<String>,
    reliable: Key<String>,
    early_media: Key<bool>,
    options_ping_seconds: Key<i64>,
    options_misses: Key<i64>,
    ring_seconds: Key<i64>,
});

section!(RawTransfer, "a table: write [transfer] on a line of its own", {
    refer: Key<String>,
    replaces: Key<bool>,
});

section!(RawLimits, "a table: write [limits] on a line of its own", {
    max_channels: Key<i64>,
    max_cps: Key<i64>,
});

section!(RawAtCap, "a table: write [at_cap] on a line of its own", {
    status: Key<i64>,
    retry_after_seconds: Key<Vec<Spanned<i64>>>,
    redirect: Key<String>,
    overflow_slots: Key<i64>,
});

section!(RawQuirks, "a table: write [quirks] on a line of its own", {
    called_in: Key<String>,
    notes: List,
});

section!(RawProfile, "a table of sections", {
    name: Key<String>,
    signalling: RawSignalling,
    auth: RawAuth,
    identity: RawIdentity,
    media: RawMedia,
    timers: RawTimers,
    transfer: RawTransfer,
    limits: RawLimits,
    at_cap: RawAtCap,
    quirks: RawQuirks,
});

/// A codec as we name it.
pub(super) fn codec_name(text: &str) -> Result<&'static str, String> {
    let known = CODECS.into_iter().find(|codec| codec.eq_ignore_ascii_case(text));
    known.ok_or_else(|| format!("unknown codec `{text}`; {}", suggest(text, CODECS)))
}

/// The sections of a profile file or of a trunk.
#[derive(Clone, Copy)]
pub(super) struct Sections<'a> {
    pub(super) signalling: &'a RawSignalling,
    pub(super) auth: &'a RawAuth,
    pub(super) identity: &'a RawIdentity,
    pub(super) media: &'a RawMedia,
    pub(super) timers: &'a RawTimers,
    pub(super) transfer: &'a RawTransfer,
    pub(super) limits: &'a RawLimits,
    pub(super) at_cap: &'a RawAtCap,
    pub(super) quirks: &'a RawQuirks,
}

impl RawProfile {
    pub(super) fn sections(&self) -> Sections<'_> {
        Sections {
            signalling: &self.signalling,
            auth: &self.auth,
            identity: &self.identity,
            media: &self.media,
            timers: &self.timers,
            transfer: &self.transfer,
            limits: &self.limits,
            at_cap: &self.at_cap,
            quirks: &self.quirks,
        }
    }
}

impl Profile {
    /// What holds where neither profile nor trunk says anything; sip-profiles/generic.toml says why.
    pub(super) fn base() -> Self {
        Self {
            name: String::new(),
            signalling: Signalling {
                transport: vec![Transport::Udp, Transport::Tcp, Transport::Tls],
                sources: Vec::new(),
                outbound: Vec::new(),
                outbound_proxy: None,
                failover_codes: vec![408, 480, 500, 502, 503, 504],
                hold_down: Duration::from_secs(30),
                first_response: Duration::from_secs(4),
            },
            auth: Auth {
                register: false,
                registrar: false,
                registrars: Vec::new(),
                expires_s: 3600,
                trust_sources: false,
            },
            identity: Identity {
                number_format: NumberFormat::AsWritten,
                strip: String::new(),
                prepend: String::new(),
                from_user: None,
                from_host: None,
                caller_id: CallerIdOut::From,
                privacy: false,
                caller_id_in: vec![CallerIdIn::Asserted, CallerIdIn::From],
                headers: Default::default(),
            },
            media: Media {
                codecs: CODECS.to_vec(),
                dtmf: Dtmf::Rfc4733,
                ptime: Duration::from_millis(20),
                srtp: Srtp::Off,
                srtp_suites: SRTP_SUITES.to_vec(),
            },
            timers: Timers {
                policy: DialogPolicy::default(),
                ping: Duration::from_secs(30),
                ping_misses: 3,
                ring: Duration::from_secs(60),
            },
            transfer: Transfer { send: true, accept: false, replaces: true },
            limits: Limits::default(),
            at_cap: AtCap { status: 503, retry_after_seconds: None, redirect: None, overflow_slots: 0 },
            quirks: Quirks::default(),
        }
    }
}

impl Checker<'_> {
    /// `base` with what the sections say.
    pub(super) fn sections(&mut self, base: &Profile, raw: Sections<'_>) -> Profile {
        Profile {
            name: base.name.clone(),
            signalling: self.signalling(&base.signalling, raw.signalling),
            auth: self.auth(&base.auth, raw.auth),
            identity: self.identity(&base.identity, raw.identity),
            media: self.media_of_trunk(&base.media, raw.media),
            timers: self.timers(&base.timers, raw.timers),
            transfer: self.transfer(base.transfer, raw.transfer),
            limits: Limits {
                max_channels: self.limit(base.limits.max_channels, &raw.limits.max_channels),
                max_cps: self.limit(base.limits.max_cps, &raw.limits.max_cps),
            },
            at_cap: self.at_cap(&base.at_cap, raw.at_cap),
            quirks: self.quirks(&base.quirks, raw.quirks),
        }
    }

    fn signalling(&mut self, base: &Signalling, raw: &RawSignalling) -> Signalling {
        let transport = |text: &str| {
            Transport::named(text).ok_or_else(|| {
                format!("unknown transport `{text}`; {}", suggest(text, Transport::ALL.map(Transport::param)))
            })
        };
        let codes = raw.failover_codes.as_ref().map(|codes| {
            let codes = codes.get_ref().iter();
            codes.map(|code| self.number(&Some(code.clone()), 503, 300..=699)).collect()
        });
        Signalling {
            transport: self.list(&base.transport, &raw.transport, transport),
            sources: self.list(&base.sources, &raw.sources, str::parse::<Network>),
            outbound: self.list(&base.outbound, &raw.outbound, sip_uri),
            outbound_proxy: self.text(&base.outbound_proxy, &raw.outbound_proxy, sip_uri),
            failover_codes: codes.unwrap_or_else(|| base.failover_codes.clone()),
            hold_down: self.seconds(&raw.hold_down_seconds, base.hold_down, 0..=3600),
            first_response: self.milliseconds(&raw.first_response_ms, base.first_response, 500..=32_000),
        }
    }

    fn auth(&mut self, base: &Auth, raw: &RawAuth) -> Auth {
        Auth {
            register: flag(base.register, &raw.register),
            registrar: flag(base.registrar, &raw.registrar),
            registrars: self.list(&base.registrars, &raw.registrars, sip_uri),
            expires_s: self.number(&raw.expires_seconds, base.expires_s, 60..=86_400),
            trust_sources: flag(base.trust_sources, &raw.trust_sources),
        }
    }

    fn identity(&mut self, base: &Identity, raw: &RawIdentity) -> Identity {
        let format = word(base.number_format, &NUMBER_FORMATS);
        let caller_id = word(base.caller_id, &CALLER_ID_OUT);
        let mut headers = base.headers.clone();
        for (name, value) in raw.headers.iter().flat_map(|table| table.get_ref()) {
            headers.extend(raw.headers.as_ref().and_then(|at| self.header(at, name, value)));
        }
        Identity {
            number_format: self.word(&raw.number_format, format, &NUMBER_FORMATS),
            strip: self.text(&Some(base.strip.clone()), &raw.strip, digits).unwrap_or_default(),
            prepend: self.text(&Some(base.prepend.clone()), &raw.prepend, digits).unwrap_or_default(),
            from_user: self.text(&base.from_user, &raw.from_user, uri_part),
            from_host: self.text(&base.from_host, &raw.from_host, uri_part),
            caller_id: self.word(&raw.caller_id, caller_id, &CALLER_ID_OUT),
            privacy: flag(base.privacy, &raw.privacy),
            caller_id_in: self.list(&base.caller_id_in, &raw.caller_id_in, caller_id_in),
            headers,
        }
    }

    /// A header of ours. Its value may be a secret elsewhere, as tokens of carriers are.
    fn header(
        &mut self,
        at: &Spanned<toml::Table>,
        name: &str,
        value: &toml::Value,
    ) -> Option<(String, String)> {
        let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let Some(text) = value.as_str().filter(|text| is_name && !text.chars().any(char::is_control)) else {
            self.error(at, format!("`{name}` is not a header"), "write { X-Name = \"one line of text\" }");
            return None;
        };
        if !text.starts_with("env:") && !text.starts_with("file:") {
            return Some((name.to_owned(), text.to_owned()));
        }
        let secret = self.secret(&Spanned::new(at.span(), text.to_owned()))?;
        Some((name.to_owned(), secret.expose().to_owned()))
    }

    fn media_of_trunk(&mut self, base: &Media, raw: &RawMedia) -> Media {
        let suite = |text: &str| {
            let known = SRTP_SUITES.into_iter().find(|suite| suite.eq_ignore_ascii_case(text));
            known.ok_or_else(|| format!("unknown SRTP suite `{text}`; {}", suggest(text, SRTP_SUITES)))
        };
        Media {
            codecs: self.list(&base.codecs, &raw.codecs, codec_name),
            dtmf: self.word(&raw.dtmf, word(base.dtmf, &DTMF), &DTMF),
            ptime: self.milliseconds(&raw.ptime_ms, base.ptime, 20..=20),
            srtp: self.word(&raw.srtp, word(base.srtp, &SRTP), &SRTP),
            srtp_suites: self.list(&base.srtp_suites, &raw.srtp_suites, suite),
        }
    }

    fn timers(&mut self, base: &Timers, raw: &RawTimers) -> Timers {
        let mut policy = base.policy.clone();
        let timer = &mut policy.session_timer;
        timer.mode = self.word(&raw.session_timer, word(timer.mode, &SESSION_TIMER), &SESSION_TIMER);
        timer.refresher = self.word(&raw.refresher, word(timer.refresher, &REFRESHER), &REFRESHER);
        timer.expires_s = self.number(&raw.session_expires_seconds, timer.expires_s, 90..=86_400);
        timer.min_se_s = self.number(&raw.min_se_seconds, timer.min_se_s, 90..=86_400);
        if let (Some(key), true) = (
            raw.min_se_seconds.as_ref().or(raw.session_expires_seconds.as_ref()),
            timer.expires_s < timer.min_se_s,
        ) {
            self.error(key, "min_se_seconds is above session_expires_seconds", "make it smaller");
        }
        policy.reliable = self.word(&raw.reliable, word(policy.reliable, &RELIABLE), &RELIABLE);
        policy.early_media = flag(policy.early_media, &raw.early_media);
        Timers {
            policy,
            ping: self.seconds(&raw.options_ping_seconds, base.ping, 0..=3600),
            ping_misses: self.number(&raw.options_misses, base.ping_misses, 1..=100),
            ring: self.seconds(&raw.ring_seconds, base.ring, 1..=180),
        }
    }

    fn transfer(&mut self, base: Transfer, raw: &RawTransfer) -> Transfer {
        let (send, accept) = self.word(&raw.refer, word((base.send, base.accept), &REFER), &REFER);
        Transfer { send, accept, replaces: flag(base.replaces, &raw.replaces) }
    }

    fn limit(&mut self, base: Option<u32>, key: &Key<i64>) -> Option<u32> {
        if key.is_some() { Some(self.number(key, 1, 1..=100_000)) } else { base }
    }

    fn at_cap(&mut self, base: &AtCap, raw: &RawAtCap) -> AtCap {
        let at_cap = AtCap {
            status: self.number(&raw.status, base.status, 300..=699),
            retry_after_seconds: match &raw.retry_after_seconds {
                Some(bounds) => self.retry_after(bounds),
                None => base.retry_after_seconds.clone(),
            },
            redirect: self.text(&base.redirect, &raw.redirect, sip_uri),
            overflow_slots: self.number(&raw.overflow_slots, base.overflow_slots, 0..=20_000),
        };
        let written = raw.status.as_ref();
        if let (Some(key), 300..=399, None) = (written, at_cap.status, &at_cap.redirect) {
            self.error(key, "a redirection needs an address", "write redirect = \"sip:HOST\" below it");
        }
        if let (Some(key), 400..=699) = (&raw.redirect, at_cap.status) {
            self.error(key, format!("{} redirects nobody", at_cap.status), "write status = 302 with it");
        }
        at_cap
    }

    fn retry_after(&mut self, bounds: &Spanned<Vec<Spanned<i64>>>) -> Option<RangeInclusive<u32>> {
        let numbers = bounds.get_ref().iter();
        let numbers: Vec<u32> = numbers.map(|bound| self.number(&Some(bound.clone()), 5, 1..=3600)).collect();
        match numbers[..] {
            [] => None,
            [low, high] if low <= high => Some(low..=high),
            _ => {
                self.error(
                    bounds,
                    "this needs two numbers, the lower one first",
                    "write [5, 15], or [] for none",
                );
                None
            }
        }
    }

    fn quirks(&mut self, base: &Quirks, raw: &RawQuirks) -> Quirks {
        let called = word(base.called_in_to, &CALLED_IN);
        Quirks {
            called_in_to: self.word(&raw.called_in, called, &CALLED_IN),
            notes: self.list(&base.notes, &raw.notes, |text| Ok(text.to_owned())),
        }
    }

    /// A list that replaces another when it is written.
    fn list<T: Clone>(
        &mut self,
        base: &[T],
        key: &List,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        if key.is_some() { self.each(key, &[], parse) } else { base.to_vec() }
    }

    /// A text with a grammar that replaces another when it is written.
    fn text(
        &mut self,
        base: &Option<String>,
        key: &Key<String>,
        parse: impl Fn(&str) -> Result<String, String>,
    ) -> Option<String> {
        if key.is_some() { self.parsed_or_none(key, parse) } else { base.clone() }
    }

    /// What one word of a few means.
    fn word<T: Copy>(&mut self, key: &Key<String>, default: &str, known: &[(&str, T)]) -> T {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        let word = self.choice(key, default, &names);
        known.iter().find(|(name, _)| *name == word).unwrap_or(&known[0]).1
    }
}

const NUMBER_FORMATS: [(&str, NumberFormat); 3] = [
    ("as-written", NumberFormat::AsWritten),
    ("e164plus", NumberFormat::E164Plus),
    ("e164", NumberFormat::E164),
];
const CALLER_ID_OUT: [(&str, CallerIdOut); 4] = [
    ("from", CallerIdOut::From),
    ("asserted", CallerIdOut::Asserted),
    ("remote-party", CallerIdOut::RemoteParty),
    ("both", CallerIdOut::Both),
];
const DTMF: [(&str, Dtmf); 4] =
    [("rfc4733", Dtmf::Rfc4733), ("info", Dtmf::Info), ("inband", Dtmf::Inband), ("auto", Dtmf::Auto)];
const SRTP: [(&str, Srtp); 3] =
    [("off", Srtp::Off), ("optional", Srtp::Optional), ("required", Srtp::Required)];
const SESSION_TIMER: [(&str, SessionTimerMode); 4] = [
    ("accept", SessionTimerMode::Accept),
    ("off", SessionTimerMode::Off),
    ("offer", SessionTimerMode::Offer),
    ("require", SessionTimerMode::Require),
];
const REFRESHER: [(&str, Refresher); 3] =
    [("any", Refresher::Any), ("us", Refresher::Us), ("peer", Refresher::Peer)];
const RELIABLE: [(&str, Reliable); 3] =
    [("supported", Reliable::Supported), ("off", Reliable::Off), ("required", Reliable::Required)];
/// Send, accept.
const REFER: [(&str, (bool, bool)); 4] =
    [("send", (true, false)), ("off", (false, false)), ("accept", (false, true)), ("both", (true, true))];
/// Whether in To.
const CALLED_IN: [(&str, bool); 2] = [("request-uri", false), ("to", true)];

/// The word for a value.
fn word<T: PartialEq>(value: T, known: &[(&'static str, T)]) -> &'static str {
    known.iter().find(|(_, known)| *known == value).map_or("", |(name, _)| name)
}

fn flag(base: bool, key: &Key<bool>) -> bool {
    key.as_ref().map_or(base, |key| *key.get_ref())
}

fn caller_id_in(text: &str) -> Result<CallerIdIn, String> {
    let known = CallerIdIn::ALL.into_iter().find(|known| known.header().eq_ignore_ascii_case(text));
    known.ok_or_else(|| {
        format!("`{text}` does not say who calls; {}", suggest(text, CallerIdIn::ALL.map(CallerIdIn::header)))
    })
}

/// A SIP URI, for where something is sent.
pub(super) fn sip_uri(text: &str) -> Result<String, String> {
    let known =
        sip::uri::Uri::parse(text).ok().filter(|_| text.starts_with("sip:") || text.starts_with("sips:"));
    match known {
        Some(_) => Ok(text.to_owned()),
        None => Err(format!(
            "`{text}` is not a SIP address; write one such as \"sip:carrier.example;transport=tls\""
        )),
    }
}

/// What can stand before a number.
fn digits(text: &str) -> Result<String, String> {
    let dialable = text.chars().all(|c| c.is_ascii_alphanumeric() || "+*#-_.".contains(c));
    if dialable {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is not part of a number; write digits"))
    }
}

/// A user or host that needs no escaping in a URI.
fn uri_part(text: &str) -> Result<String, String> {
    let plain =
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-_.~*[]:".contains(c));
    if plain {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` cannot stand in a SIP address; write it plainly"))
    }
}
