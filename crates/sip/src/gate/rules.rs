//! Which trunks a request could belong to, and which rule says no: the cheap part, without any hash.
//! Knows rules and requests. Knows nothing of passwords, bans or answers.

use super::config::TrunkRules;
use super::reason::GateReason;
use crate::endpoint::Transport;
use crate::uri::Uri;
use std::cmp::Reverse;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What the gate looks at.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// Where the request came from.
    pub source: SocketAddr,
    /// Over which transport.
    pub transport: Transport,
    /// Its method.
    pub method: &'a str,
    /// Its Request-URI.
    pub request_uri: &'a str,
    /// The value of its Authorization header.
    pub authorization: Option<&'a str>,
    /// Tells this request from others; the same for every copy of it. It ends up in nonces.
    pub salt: u64,
}

impl<'a> Facts<'a> {
    /// The facts of a request without credentials.
    pub fn new(source: SocketAddr, transport: Transport, method: &'a str, request_uri: &'a str) -> Self {
        Self { source, transport, method, request_uri, authorization: None, salt: 0 }
    }
}

impl fmt::Debug for Facts<'_> {
    /// Without number and credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Facts({} {} from {})", self.method, self.transport.name(), self.source)
    }
}

/// How a trunk knows its requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// By their source.
    Address,
    /// By digest.
    Digest,
    /// Not at all.
    Open,
}

/// Which trunk takes a request, as far as its address, number and host can say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// This one, without digest.
    Admit {
        /// Its number in [`super::GateConfig::trunks`].
        trunk: usize,
    },
    /// One of these, whichever has the user.
    Digest {
        /// Their numbers.
        trunks: Vec<usize>,
    },
    /// None.
    Unmatched {
        /// What kept the nearest trunk from taking it: one that names the source, if any does.
        reason: GateReason,
    },
}

/// A rule, in the order in which they are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// [`TrunkRules::sources`].
    Source,
    /// [`TrunkRules::transports`].
    Transport,
    /// [`TrunkRules::hosts`].
    Host,
    /// [`TrunkRules::called`].
    Number,
    /// [`TrunkRules::users`].
    Digest,
}

impl Rule {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Transport => "transport",
            Self::Host => "host",
            Self::Number => "number",
            Self::Digest => "digest",
        }
    }
}

/// What one trunk says to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// Its name.
    pub trunk: Arc<str>,
    /// What each rule said, in order, up to the first that says no.
    pub steps: Vec<(Rule, String)>,
    /// Why it does not take the request; `None` = it could.
    pub refused: Option<GateReason>,
    /// Whether it is the one (or, where digest decides, one of those) that gets the request.
    pub chosen: bool,
}

impl fmt::Display for Explained {
    /// One line: `twilio: source in 54.172.60.0/30, any transport, any host, number begins with +1 -> takes it`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.trunk)?;
        for (number, (_, text)) in self.steps.iter().enumerate() {
            f.write_str(if number == 0 { "" } else { ", " })?;
            f.write_str(text)?;
        }
        match (self.refused, self.chosen) {
            (Some(reason), _) => write!(f, " -> no: {}", reason.name()),
            (None, true) => f.write_str(" -> takes it"),
            (None, false) => f.write_str(" -> could take it, but another trunk comes first"),
        }
    }
}

/// A request as the rules see it, read once.
struct Target<'a> {
    source: IpAddr,
    transport: Transport,
    uri: Option<Uri<'a>>,
    user: String,
    asks_host: bool,
    asks_number: bool,
}

impl<'a> Target<'a> {
    fn new(facts: &Facts<'a>) -> Self {
        let uri = Uri::parse(facts.request_uri).ok();
        Self {
            source: facts.source.ip(),
            transport: facts.transport,
            user: uri.map(|uri| unescaped(uri.user)).unwrap_or_default(),
            uri,
            // A ping is for the address, a registration for the domain; neither calls a number.
            asks_host: facts.method != "OPTIONS",
            asks_number: facts.method != "OPTIONS" && facts.method != "REGISTER",
        }
    }
}

/// `%2B1555` is `+1555` (RFC 3261 section 19.1.4).
pub(crate) fn unescaped(user: &str) -> String {
    if !user.contains('%') {
        return user.to_owned();
    }
    let mut plain = Vec::with_capacity(user.len());
    let mut rest = user.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|_| *byte == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        let escaped = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        plain.push(escaped.unwrap_or(*byte));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// Which trunk takes the request.
pub(super) fn decide(trunks: &[TrunkRules], facts: &Facts<'_>) -> Decision {
    let target = Target::new(facts);
    if facts.method != "REGISTER" {
        return choose(trunks, |_| true, &target, facts);
    }
    // A trunk that keeps registrations goes before one that only shares the address with it.
    match choose(trunks, |trunk| trunk.registrar, &target, facts) {
        Decision::Unmatched { reason } => match choose(trunks, |trunk| !trunk.registrar, &target, facts) {
            admit @ Decision::Admit { .. } => admit,
            // Nobody could register after the challenge either.
            Decision::Digest { .. } => Decision::Unmatched { reason },
            Decision::Unmatched { reason: other } => Decision::Unmatched { reason: reason.max(other) },
        },
        found @ (Decision::Admit { .. } | Decision::Digest { .. }) => found,
    }
}

fn choose(
    trunks: &[TrunkRules],
    wanted: impl Fn(&TrunkRules) -> bool,
    target: &Target<'_>,
    facts: &Facts<'_>,
) -> Decision {
    let (mut digest, mut open, mut nearest) = (Vec::new(), None, None::<Miss>);
    for (number, trunk) in trunks.iter().enumerate().filter(|(_, trunk)| wanted(trunk)) {
        match way_in(trunk, target) {
            Ok(Way::Address) => return Decision::Admit { trunk: number },
            Ok(Way::Digest) => digest.push(number),
            Ok(Way::Open) => open = open.or(Some(number)),
            Err(miss) if nearest.is_none_or(|before| miss.nearness() > before.nearness()) => {
                nearest = Some(miss)
            }
            Err(_) => {}
        }
    }
    match open {
        Some(trunk) if digest.is_empty() || facts.authorization.is_none() => Decision::Admit { trunk },
        Some(_) | None if !digest.is_empty() => Decision::Digest { trunks: digest },
        Some(_) | None => {
            Decision::Unmatched { reason: nearest.map_or(GateReason::UnknownSource, |miss| miss.reason) }
        }
    }
}

/// How far a request was from a trunk that does not take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Miss {
    /// The trunk names the source.
    named: bool,
    /// Of the four rules so many agree.
    agreed: usize,
    /// The first that does not.
    reason: GateReason,
}

impl Miss {
    /// What counts as nearer: a trunk that names the source, then one that all but one rule agree with. The reason is
    /// then what the operator has to change.
    fn nearness(&self) -> (bool, usize, Reverse<GateReason>) {
        (self.named, self.agreed, Reverse(self.reason))
    }
}

fn way_in(trunk: &TrunkRules, target: &Target<'_>) -> Result<Way, Miss> {
    let way = source_way(trunk, target.source);
    let rules = [
        (way.is_some(), GateReason::UnknownSource),
        (transport_ok(trunk, target), GateReason::TransportNotAllowed),
        (host_ok(trunk, target), GateReason::UnknownHost),
        (number_ok(trunk, target), GateReason::UnknownNumber),
    ];
    match (rules.iter().find(|(agrees, _)| !agrees), way) {
        (None, Some(way)) => Ok(way),
        (failed, _) => Err(Miss {
            named: names(trunk, target.source),
            agreed: rules.iter().filter(|(agrees, _)| *agrees).count(),
            reason: failed.map_or(GateReason::UnknownSource, |(_, reason)| *reason),
        }),
    }
}

fn names(trunk: &TrunkRules, source: IpAddr) -> bool {
    trunk.sources.iter().any(|network| network.contains(source))
}

fn source_way(trunk: &TrunkRules, source: IpAddr) -> Option<Way> {
    match (trunk.sources.is_empty(), names(trunk, source), trunk.users.is_empty()) {
        (true, _, true) => Some(Way::Open),
        (true, _, false) => Some(Way::Digest),
        (false, true, true) => Some(Way::Address),
        (false, true, false) => Some(if trunk.trust_sources { Way::Address } else { Way::Digest }),
        (false, false, true) => None,
        (false, false, false) => trunk.trust_sources.then_some(Way::Digest),
    }
}

fn transport_ok(trunk: &TrunkRules, target: &Target<'_>) -> bool {
    trunk.transports.is_empty() || trunk.transports.contains(&target.transport)
}

fn host_ok(trunk: &TrunkRules, target: &Target<'_>) -> bool {
    let host = target.uri.map(|uri| uri.host).unwrap_or_default();
    trunk.hosts.is_empty()
        || !target.asks_host
        || trunk.hosts.iter().any(|known| known.eq_ignore_ascii_case(host))
}

fn number_ok(trunk: &TrunkRules, target: &Target<'_>) -> bool {
    trunk.called.is_empty()
        || !target.asks_number
        || trunk.called.iter().any(|prefix| target.user.starts_with(prefix.as_str()))
}

/// What each trunk says, for somebody who asks why.
pub(super) fn explain(trunks: &[TrunkRules], facts: &Facts<'_>) -> Vec<Explained> {
    let (target, decision) = (Target::new(facts), decide(trunks, facts));
    let chosen = |number: usize| match &decision {
        Decision::Admit { trunk } => *trunk == number,
        Decision::Digest { trunks } => trunks.contains(&number),
        Decision::Unmatched { .. } => false,
    };
    let each = trunks.iter().enumerate();
    each.map(|(number, trunk)| Explained {
        trunk: trunk.name.clone(),
        steps: steps(trunk, &target),
        refused: way_in(trunk, &target).err().map(|miss| miss.reason),
        chosen: chosen(number),
    })
    .collect()
}

fn steps(trunk: &TrunkRules, target: &Target<'_>) -> Vec<(Rule, String)> {
    let way = source_way(trunk, target.source);
    let checks = [
        (Rule::Source, way.is_some(), source_text(trunk, target)),
        (Rule::Transport, transport_ok(trunk, target), transport_text(trunk, target)),
        (Rule::Host, host_ok(trunk, target), host_text(trunk, target)),
        (Rule::Number, number_ok(trunk, target), number_text(trunk, target)),
    ];
    let mut steps = Vec::with_capacity(5);
    for (rule, passed, text) in checks {
        steps.push((rule, text));
        if !passed {
            return steps;
        }
    }
    steps.push((
        Rule::Digest,
        if way == Some(Way::Digest) { "digest needed" } else { "no digest needed" }.into(),
    ));
    steps
}

fn source_text(trunk: &TrunkRules, target: &Target<'_>) -> String {
    match trunk.sources.iter().find(|network| network.contains(target.source)) {
        Some(network) => format!("source in {network}"),
        None if trunk.sources.is_empty() => "any source".to_owned(),
        None if source_way(trunk, target.source).is_some() => "any other source".to_owned(),
        None => format!("source in none of {} ranges", trunk.sources.len()),
    }
}

fn transport_text(trunk: &TrunkRules, target: &Target<'_>) -> String {
    let name = target.transport.name();
    match (trunk.transports.is_empty(), transport_ok(trunk, target)) {
        (true, _) => "any transport".to_owned(),
        (false, true) => format!("{name} allowed"),
        (false, false) => format!("{name} not allowed"),
    }
}

fn host_text(trunk: &TrunkRules, target: &Target<'_>) -> String {
    let host = target.uri.map(|uri| uri.host).unwrap_or_default();
    match (trunk.hosts.is_empty() || !target.asks_host, host_ok(trunk, target)) {
        (true, _) => "any host".to_owned(),
        (false, true) => format!("host {host}"),
        (false, false) => format!("host {host} is none of {}", trunk.hosts.join(", ")),
    }
}

fn number_text(trunk: &TrunkRules, target: &Target<'_>) -> String {
    if trunk.called.is_empty() || !target.asks_number {
        return "any number".to_owned();
    }
    match trunk.called.iter().find(|prefix| target.user.starts_with(prefix.as_str())) {
        Some(prefix) => format!("number begins with {prefix}"),
        None => format!("number begins with none of {}", trunk.called.join(", ")),
    }
}
