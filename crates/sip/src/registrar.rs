//! The registrar: which contacts reach a trunk's users, and until when (RFC 3261 section 10.3).
//! Knows addresses of record and contacts. Who may register is for the gate to say, the wire for the endpoint.

use crate::endpoint::Flow;
use crate::headers::{NameAddr, param};
use crate::uri::Uri;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The longest contact URI that is kept, in bytes.
const MAX_CONTACT: usize = 512;
/// The longest address of record, in bytes.
const MAX_USER: usize = 128;

/// Limits of the registrar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrarLimits {
    /// Most contacts of one address of record; another one takes the place of the one that ends soonest.
    pub contacts_per_user: usize,
    /// Most contacts in all (about 1 KiB each at most); a new one beyond gets 503.
    pub contacts: usize,
    /// The shortest registration, in seconds; a shorter one gets 423 (RFC 3261 section 10.3 step 7).
    pub min_expires_s: u32,
    /// The longest registration, in seconds; a longer one is shortened.
    pub max_expires_s: u32,
    /// How long a registration lasts that names no time, in seconds.
    pub default_expires_s: u32,
}

impl Default for RegistrarLimits {
    /// An hour as RFC 3261 section 10.2.1.1 has it; a minute at least, as phones behind a NAT refresh often.
    fn default() -> Self {
        Self {
            contacts_per_user: 10,
            contacts: 10_000,
            min_expires_s: 60,
            max_expires_s: 7200,
            default_expires_s: 3600,
        }
    }
}

/// Whose contacts: the trunk and the user part of the address of record.
pub(crate) type Owner = (Arc<str>, String);

/// A contact that is registered.
#[derive(Clone, PartialEq, Eq)]
struct Binding {
    contact: String,
    /// Thousandths.
    q: u16,
    call_id: String,
    cseq: u32,
    flow: Flow,
    ends: Instant,
}

/// What a REGISTER asks for.
pub(crate) struct Register<'a> {
    pub(crate) owner: Owner,
    pub(crate) call_id: &'a str,
    pub(crate) cseq: u32,
    pub(crate) flow: Flow,
    /// The elements of its Contact fields.
    pub(crate) contacts: Vec<&'a str>,
    /// Its Expires header.
    pub(crate) expires: Option<&'a str>,
}

/// Why a REGISTER changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RegisterError {
    /// 400 with this reason phrase.
    Malformed(&'static str),
    /// 423: the interval is too brief.
    TooBrief,
    /// 500: an older request of the same sender came late.
    OutOfOrder,
    /// 403: more contacts than one user may have.
    TooManyContacts,
    /// 503.
    Full,
}

/// What happened to the bindings of a user.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Registered { owner: Owner, contact: String, flow: Flow, expires_s: u32 },
    Unregistered { owner: Owner },
}

/// A contact as a REGISTER names it.
struct Wish<'a> {
    contact: &'a str,
    q: u16,
    /// 0 = remove.
    expires_s: u32,
}

/// The machine.
pub(crate) struct Registrar {
    limits: RegistrarLimits,
    users: BTreeMap<Owner, Vec<Binding>>,
    /// The first end of each user's bindings.
    ends: BTreeSet<(Instant, Owner)>,
    /// Users with a binding on a stream, by the stream.
    streams: BTreeSet<(u64, Owner)>,
    bindings: usize,
}

impl Registrar {
    pub(crate) fn new(limits: RegistrarLimits) -> Self {
        Self { limits, users: BTreeMap::new(), ends: BTreeSet::new(), streams: BTreeSet::new(), bindings: 0 }
    }

    /// The shortest registration, in seconds.
    pub(crate) fn min_expires_s(&self) -> u32 {
        self.limits.min_expires_s
    }

    /// How many contacts are registered.
    pub(crate) fn len(&self) -> usize {
        self.bindings
    }

    /// When the next binding ends.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        self.ends.first().map(|(ends, _)| *ends)
    }

    /// The way to a user and its contact URI: the preferred contact, of equal ones the one heard from last.
    pub(crate) fn binding(&self, trunk: &str, user: &str) -> Option<(Flow, String)> {
        let bindings = self.users.get(&(trunk.into(), user.to_owned()))?;
        let best = bindings.iter().max_by_key(|binding| (binding.q, binding.ends))?;
        Some((best.flow, best.contact.clone()))
    }

    /// Carries out a REGISTER wholly or not at all; returns the Contact values of its 200.
    pub(crate) fn register(
        &mut self,
        now: Instant,
        register: &Register<'_>,
        changes: &mut Vec<Change>,
    ) -> Result<Vec<String>, RegisterError> {
        if register.owner.1.is_empty() || register.owner.1.len() > MAX_USER {
            return Err(RegisterError::Malformed("Unusable Address of Record"));
        }
        if register.contacts.contains(&"*") {
            self.remove_all(register, changes)?;
        } else {
            let wishes = self.wishes(register)?;
            let next = self.apply(now, register, &wishes)?;
            self.replace(&register.owner, next, changes);
            for wish in wishes.iter().filter(|wish| wish.expires_s > 0) {
                changes.push(Change::Registered {
                    owner: register.owner.clone(),
                    contact: wish.contact.to_owned(),
                    flow: register.flow,
                    expires_s: wish.expires_s,
                });
            }
        }
        Ok(self.contact_values(now, &register.owner))
    }

    /// `Contact: *` (step 6).
    fn remove_all(
        &mut self,
        register: &Register<'_>,
        changes: &mut Vec<Change>,
    ) -> Result<(), RegisterError> {
        let zero = register.expires.and_then(seconds) == Some(0);
        if register.contacts.len() != 1 || !zero {
            return Err(RegisterError::Malformed("Contact * Needs Expires 0"));
        }
        let bindings = self.users.get(&register.owner).map_or(&[][..], Vec::as_slice);
        if bindings.iter().any(|binding| is_late(binding, register)) {
            return Err(RegisterError::OutOfOrder);
        }
        self.replace(&register.owner, Vec::new(), changes);
        Ok(())
    }

    /// Reads the contacts (step 7).
    fn wishes<'a>(&self, register: &Register<'a>) -> Result<Vec<Wish<'a>>, RegisterError> {
        if register.contacts.len() > self.limits.contacts_per_user {
            return Err(RegisterError::TooManyContacts);
        }
        register.contacts.iter().map(|element| self.wish(element, register.expires)).collect()
    }

    fn wish<'a>(&self, element: &'a str, expires: Option<&str>) -> Result<Wish<'a>, RegisterError> {
        let unusable = RegisterError::Malformed("Unusable Contact");
        let address = NameAddr::parse(element).ok_or(unusable)?;
        let uri = Uri::parse(address.uri).map_err(|_| unusable)?;
        let is_sip = uri.scheme.eq_ignore_ascii_case("sip") || uri.scheme.eq_ignore_ascii_case("sips");
        if !is_sip || address.uri.len() > MAX_CONTACT {
            return Err(unusable);
        }
        let own = param(address.params, "expires");
        let wanted = match own.or(expires) {
            // A value that cannot be read counts as an hour (RFC 3261 section 10.2.1.1).
            Some(text) => seconds(text).unwrap_or(3600),
            None => self.limits.default_expires_s,
        };
        if wanted > 0 && wanted < self.limits.min_expires_s {
            return Err(RegisterError::TooBrief);
        }
        let expires_s = wanted.min(self.limits.max_expires_s);
        Ok(Wish {
            contact: address.uri,
            q: param(address.params, "q").and_then(thousandths).unwrap_or(1000),
            expires_s,
        })
    }

    /// The user's bindings as they shall be.
    fn apply(
        &self,
        now: Instant,
        register: &Register<'_>,
        wishes: &[Wish<'_>],
    ) -> Result<Vec<Binding>, RegisterError> {
        let mut next = self.users.get(&register.owner).cloned().unwrap_or_default();
        let before = next.len();
        for wish in wishes {
            if let Some(known) = next.iter().position(|binding| same_contact(&binding.contact, wish.contact))
            {
                // The contacts of one request may name one address twice.
                let own = next[known].call_id == register.call_id && next[known].cseq == register.cseq;
                if is_late(&next[known], register) && !own {
                    return Err(RegisterError::OutOfOrder);
                }
                next.remove(known);
            }
            if wish.expires_s > 0 {
                next.push(Binding {
                    contact: wish.contact.to_owned(),
                    q: wish.q,
                    call_id: register.call_id.to_owned(),
                    cseq: register.cseq,
                    flow: register.flow,
                    ends: now + Duration::from_secs(wish.expires_s.into()),
                });
            }
        }
        while next.len() > self.limits.contacts_per_user {
            let soonest = (0..next.len()).min_by_key(|at| next[*at].ends).unwrap_or(0);
            next.remove(soonest);
        }
        if next.len() > before && self.bindings + (next.len() - before) > self.limits.contacts {
            return Err(RegisterError::Full);
        }
        Ok(next)
    }

    /// Sets a user's bindings and keeps the indexes true.
    fn replace(&mut self, owner: &Owner, next: Vec<Binding>, changes: &mut Vec<Change>) {
        let former = self.users.remove(owner).unwrap_or_default();
        if let Some(ends) = former.iter().map(|binding| binding.ends).min() {
            self.ends.remove(&(ends, owner.clone()));
        }
        for stream in former.iter().filter_map(|binding| stream(binding.flow)) {
            self.streams.remove(&(stream, owner.clone()));
        }
        self.bindings = self.bindings - former.len() + next.len();
        if let Some(ends) = next.iter().map(|binding| binding.ends).min() {
            self.ends.insert((ends, owner.clone()));
        }
        self.streams.extend(next.iter().filter_map(|binding| Some((stream(binding.flow)?, owner.clone()))));
        if !next.is_empty() {
            self.users.insert(owner.clone(), next);
        } else if !former.is_empty() {
            changes.push(Change::Unregistered { owner: owner.clone() });
        }
    }

    /// Removes what has run out.
    pub(crate) fn handle_timeout(&mut self, now: Instant, changes: &mut Vec<Change>) {
        while let Some((ends, owner)) = self.ends.first().cloned()
            && ends <= now
        {
            let kept = self.users.get(&owner).cloned().unwrap_or_default();
            let kept = kept.into_iter().filter(|binding| binding.ends > now).collect();
            self.replace(&owner, kept, changes);
        }
    }

    /// Removes what was reached by a stream that is gone: nobody behind a NAT can be called back.
    pub(crate) fn handle_flow_closed(&mut self, flow: Flow, changes: &mut Vec<Change>) {
        let Some(closed) = stream(flow) else { return };
        let first = (closed, (Arc::from(""), String::new()));
        let users: Vec<Owner> = self
            .streams
            .range(first..)
            .take_while(|(at, _)| *at == closed)
            .map(|(_, owner)| owner.clone())
            .collect();
        for owner in users {
            let kept = self.users.get(&owner).cloned().unwrap_or_default();
            let kept = kept.into_iter().filter(|binding| stream(binding.flow) != Some(closed)).collect();
            self.replace(&owner, kept, changes);
        }
    }

    fn contact_values(&self, now: Instant, owner: &Owner) -> Vec<String> {
        let bindings = self.users.get(owner).map_or(&[][..], Vec::as_slice);
        let value = |binding: &Binding| {
            // Whole seconds that are left, rounded up: a phone that waits that long finds it gone, not before.
            let left = binding.ends.saturating_duration_since(now).as_millis().div_ceil(1000);
            let q = match binding.q {
                1000 => String::new(),
                q => format!(";q=0.{q:03}"),
            };
            format!("<{}>;expires={left}{q}", binding.contact)
        };
        bindings.iter().map(value).collect()
    }
}

/// The number of the stream; `None` for datagrams.
fn stream(flow: Flow) -> Option<u64> {
    Some(flow.connection & Flow::STREAM).filter(|stream| flow.transport.is_reliable() && *stream != 0)
}

/// Whether a request of the same sender has already gone further.
fn is_late(binding: &Binding, register: &Register<'_>) -> bool {
    binding.call_id == register.call_id && register.cseq <= binding.cseq
}

/// delta-seconds; what is larger than 2^32-1 counts as that (RFC 3261 section 20.19).
fn seconds(text: &str) -> Option<u32> {
    let text = text.trim();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u32::MAX))
}

/// A qvalue: 0 to 1 with up to three decimals.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, decimals) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    if decimals.len() > 3 || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let decimals: u16 = format!("{decimals:0<3}").parse().ok()?;
    match (whole, decimals) {
        ("0" | "", decimals) => Some(decimals),
        ("1", 0) => Some(1000),
        (_, _) => None,
    }
}

/// Whether two URIs are one address (RFC 3261 section 19.1.4, as far as it matters where a request goes).
fn same_contact(one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    match (Uri::parse(one), Uri::parse(other)) {
        (Ok(one), Ok(other)) => {
            one.scheme.eq_ignore_ascii_case(other.scheme)
                && one.user == other.user
                && one.host.eq_ignore_ascii_case(other.host)
                && one.port == other.port
                && lower(one.param("transport")) == lower(other.param("transport"))
        }
        (Ok(_) | Err(_), Ok(_) | Err(_)) => false,
    }
}

fn lower(text: Option<&str>) -> Option<String> {
    text.map(str::to_ascii_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preferences_are_read_as_thousandths() {
        let cases = [
            ("1", 1000),
            ("1.0", 1000),
            ("0.7", 700),
            ("0.123", 123),
            ("0", 0),
            ("1.000", 1000),
            (".5", 500),
        ];
        for (text, q) in cases {
            assert_eq!(thousandths(text), Some(q), "{text}");
        }
        for bad in ["", "2", "1.1", "0.1234", "-1", "0.x", "1e3"] {
            assert!(thousandths(bad).is_none() || bad.is_empty(), "{bad}");
        }
    }

    #[test]
    fn the_indexes_hold_what_is_registered_and_nothing_else() {
        #[expect(clippy::disallowed_methods, reason = "any instant will do as the zero of a test")]
        let now = Instant::now();
        let mut registrar = Registrar::new(RegistrarLimits::default());
        let mut changes = Vec::new();
        for cseq in 1..=5 {
            let flow = Flow {
                transport: crate::endpoint::Transport::Tcp,
                local: ([192, 0, 2, 1], 5060).into(),
                remote: ([192, 0, 2, 7], 4000).into(),
                connection: cseq.into(),
            };
            let register = Register {
                owner: ("pbx".into(), "100".into()),
                call_id: "c",
                cseq,
                flow,
                contacts: vec!["<sip:100@10.0.0.1>", "<sip:100@10.0.0.2>;expires=90"],
                expires: None,
            };
            registrar.register(now, &register, &mut changes).expect("room");
            assert_eq!((registrar.len(), registrar.streams.len(), registrar.ends.len()), (2, 1, 1));
        }
        registrar.handle_timeout(now + Duration::from_secs(90), &mut changes);
        assert_eq!((registrar.len(), registrar.streams.len(), registrar.ends.len()), (1, 1, 1));
        registrar.handle_timeout(now + Duration::from_secs(3600), &mut changes);
        assert_eq!((registrar.len(), registrar.streams.len(), registrar.ends.len()), (0, 0, 0));
        assert!(registrar.users.is_empty());
    }

    #[test]
    fn times_larger_than_a_number_are_the_largest() {
        assert_eq!(seconds("3600"), Some(3600));
        assert_eq!(seconds("4294967296"), Some(u32::MAX));
        assert_eq!(seconds("99999999999999999999999"), Some(u32::MAX));
        for bad in ["", "-1", "1h", "+5", "0x10"] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn one_address_may_be_written_in_several_ways() {
        assert!(same_contact("sip:ann@PC.example.org:5070", "SIP:ann@pc.example.org:5070;ob"));
        assert!(!same_contact("sip:ann@192.0.2.7:5060", "sip:ann@192.0.2.7:5061"));
        assert!(!same_contact("sip:ann@192.0.2.7", "sip:Ann@192.0.2.7"));
        assert!(!same_contact("sip:ann@192.0.2.7", "sip:ann@192.0.2.7;transport=tcp"));
        assert!(same_contact("sip:ann@192.0.2.7;transport=TCP", "sip:ann@192.0.2.7;transport=tcp"));
    }
}
