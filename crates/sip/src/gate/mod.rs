//! Who may send us requests outside a dialog: by address, number, host, transport and digest (RFC 3261 section 22.4).
//! Judges requests. Sends nothing: what a verdict looks like on the wire is the endpoint's work.

mod bans;
mod config;
mod network;
mod reason;
mod rules;
mod statistics;

pub use bans::BanPolicy;
pub use config::{GateConfig, TrunkRules, Unmatched};
pub use network::{Network, NetworkError};
pub use reason::GateReason;
pub use rules::{Decision, Explained, Facts, Rule};
pub use statistics::GateStatistics;

pub(crate) use rules::unescaped;

use crate::digest::server::{Nonces, challenge, same_text};
use crate::digest::{Credentials, DigestAlgorithm, DigestResponse, Password, digest_response};
use crate::uri::Uri;
use bans::{Bans, Proof};
use std::net::IpAddr;
use std::time::Instant;

/// Most realms in one challenge.
const MAX_REALMS: usize = 4;

/// What a request gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It belongs to a trunk.
    Admit {
        /// The trunk's number in [`GateConfig::trunks`].
        trunk: usize,
        /// The number of the user in [`TrunkRules::users`] that has authenticated.
        user: Option<usize>,
    },
    /// 401.
    Challenge {
        /// Values for WWW-Authenticate, the preferred first. Fewer of them may be sent.
        challenges: Vec<String>,
        /// Why.
        reason: GateReason,
    },
    /// A final refusal.
    Refuse {
        /// 403 or 404.
        status: u16,
        /// Why.
        reason: GateReason,
    },
    /// No answer.
    Ignore {
        /// Why.
        reason: GateReason,
    },
}

/// The machine. Its memory is bounded: addresses that failed, and nonces that were answered rightly.
pub struct Gate {
    config: GateConfig,
    nonces: Nonces,
    bans: Bans,
    /// Whose password an unknown user is compared with, so that both cost the same.
    nobody: Credentials,
}

impl Gate {
    /// A gate. `secret` makes its nonces unguessable.
    pub fn new(config: GateConfig, secret: [u8; 32]) -> Self {
        Self {
            nonces: Nonces::new(secret, config.nonce_lifetime),
            bans: Bans::new(config.ban.clone()),
            nobody: Credentials { realm: None, username: String::new(), password: Password::new("") },
            config,
        }
    }

    /// Its settings.
    pub fn config(&self) -> &GateConfig {
        &self.config
    }

    /// The verdict on one request, which changes who is banned and which nonce counts are used.
    pub fn judge(&mut self, now: Instant, facts: &Facts<'_>) -> Verdict {
        if self.is_banned(now, facts.source.ip()) {
            return Verdict::Ignore { reason: GateReason::Banned };
        }
        match self.decide(facts) {
            Decision::Admit { trunk } => Verdict::Admit { trunk, user: None },
            Decision::Digest { trunks } => self.authenticate(now, facts, &trunks),
            Decision::Unmatched { reason } => self.unmatched(now, facts, reason),
        }
    }

    /// Which trunk would take a request, before digest; nothing changes.
    pub fn decide(&self, facts: &Facts<'_>) -> Decision {
        rules::decide(&self.config.trunks, facts)
    }

    /// What each trunk says to a request, in the order of the configuration, for `route-test` and logs.
    pub fn explain(&self, facts: &Facts<'_>) -> Vec<Explained> {
        rules::explain(&self.config.trunks, facts)
    }

    /// Whether a source is ignored now. One that a trunk names never is.
    pub fn is_banned(&self, now: Instant, source: IpAddr) -> bool {
        self.bans.is_banned(now, source) && !self.is_named(source)
    }

    /// Whether a request from there that matches nothing would get no answer: the policy is silence and no trunk
    /// can be reached from that address.
    pub(crate) fn is_silent_to(&self, now: Instant, source: IpAddr) -> bool {
        let reachable =
            self.config.trunks.iter().any(|trunk| trunk.sources.is_empty() || trunk.trust_sources);
        let silent = self.config.unmatched == Unmatched::Silent && !reachable && !self.is_named(source);
        silent || self.is_banned(now, source)
    }

    /// Whether a challenge of ours could name that realm.
    pub(crate) fn knows_realm(&self, realm: &str) -> bool {
        let mut users = self.config.trunks.iter().flat_map(|trunk| &trunk.users);
        users.any(|user| self.realm_of(user) == realm)
    }

    /// How many addresses and nonces it remembers: what it holds on to, whatever comes.
    pub fn sizes(&self) -> (usize, usize) {
        (self.bans.len(), self.nonces.len())
    }

    /// Sizes and totals of its tables.
    pub(crate) fn update(&self, statistics: &mut GateStatistics) {
        (statistics.suspects, statistics.nonces) = self.sizes();
        statistics.bans = self.bans.begun;
        statistics.suspects_evicted = self.bans.evicted;
        statistics.nonces_evicted = self.nonces.evicted;
    }

    fn is_named(&self, source: IpAddr) -> bool {
        let mut networks = self.config.trunks.iter().flat_map(|trunk| &trunk.sources);
        networks.any(|network| network.contains(source))
    }

    fn unmatched(&mut self, now: Instant, facts: &Facts<'_>, reason: GateReason) -> Verdict {
        if self.is_named(facts.source.ip()) {
            // A carrier is told the truth, so that its operator finds the mistake: never silence.
            let status = if reason == GateReason::TransportNotAllowed { 403 } else { 404 };
            return Verdict::Refuse { status, reason };
        }
        let proof = if facts.transport.is_reliable() { Proof::Reachable } else { Proof::None };
        self.bans.failed(now, facts.source.ip(), proof);
        match self.config.unmatched {
            Unmatched::Silent => Verdict::Ignore { reason },
            Unmatched::Forbidden => Verdict::Refuse { status: 403, reason },
            Unmatched::NotFound => Verdict::Refuse { status: 404, reason },
        }
    }

    /// Cheap checks first: a stranger costs one HMAC, and a password is hashed only for a nonce that was made for
    /// its sender, so that whoever guesses can be held to account.
    fn authenticate(&mut self, now: Instant, facts: &Facts<'_>, trunks: &[usize]) -> Verdict {
        let Some(text) = facts.authorization else {
            return self.challenge(now, facts, trunks, GateReason::NoCredentials);
        };
        let Some(response) = DigestResponse::parse(text).filter(|response| self.acceptable(response, facts))
        else {
            self.count_failure(now, facts, Proof::None);
            return self.challenge(now, facts, trunks, GateReason::MalformedCredentials);
        };
        if !self.realms(trunks).contains(&&*response.realm) {
            // Meant for somebody else on the way (RFC 3261 section 22.3).
            return self.challenge(now, facts, trunks, GateReason::NoCredentials);
        }
        let Some(nonce) = self.nonces.check(now, facts.source.ip(), &response.nonce) else {
            return self.challenge(now, facts, trunks, GateReason::StaleNonce);
        };
        match self.find_user(trunks, &response, facts.method) {
            Ok((trunk, user)) if self.nonces.spend(now, nonce, response.nonce_count()) => {
                if !self.is_named(facts.source.ip()) {
                    self.bans.vouch(now, facts.source.ip());
                }
                Verdict::Admit { trunk, user: Some(user) }
            }
            Ok(_) => self.challenge(now, facts, trunks, GateReason::ReplayedNonce),
            Err(reason) => {
                self.count_failure(now, facts, Proof::Reachable);
                Verdict::Refuse { status: 403, reason }
            }
        }
    }

    fn count_failure(&mut self, now: Instant, facts: &Facts<'_>, proof: Proof) {
        if !self.is_named(facts.source.ip()) {
            self.bans.failed(now, facts.source.ip(), proof);
        }
    }

    /// Whether it answers what we asked, about this request.
    fn acceptable(&self, response: &DigestResponse<'_>, facts: &Facts<'_>) -> bool {
        let count_ok = match response.qop.as_deref() {
            Some(qop) => qop.eq_ignore_ascii_case("auth") && response.nonce_count().is_some_and(|nc| nc > 0),
            None => true,
        };
        let length = match response.algorithm {
            DigestAlgorithm::Md5 => 32,
            DigestAlgorithm::Sha256 => 64,
        };
        count_ok
            && response.response.len() == length
            && self.config.algorithms.contains(&response.algorithm)
            && same_resource(&response.uri, facts.request_uri)
    }

    /// The user whose password was used. Every user of that name is tried, and somebody if there is none, so that
    /// neither the answer nor the time tells who exists.
    fn find_user(
        &self,
        trunks: &[usize],
        response: &DigestResponse<'_>,
        method: &str,
    ) -> Result<(usize, usize), GateReason> {
        let (mut named, mut found) = (false, None);
        for trunk in trunks {
            let users = self.config.trunks.get(*trunk).map_or(&[][..], |rules| &rules.users);
            for (number, user) in users.iter().enumerate() {
                if user.username == response.username && self.realm_of(user) == response.realm {
                    named = true;
                    if proves(response, user, method) && found.is_none() {
                        found = Some((*trunk, number));
                    }
                }
            }
        }
        if !named {
            let _ = std::hint::black_box(proves(response, &self.nobody, method));
            return Err(GateReason::UnknownUser);
        }
        found.ok_or(GateReason::WrongCredentials)
    }

    fn realm_of<'a>(&'a self, user: &'a Credentials) -> &'a str {
        user.realm.as_deref().unwrap_or(&self.config.realm)
    }

    fn realms(&self, trunks: &[usize]) -> Vec<&str> {
        let mut realms = Vec::with_capacity(1);
        let rules = trunks.iter().filter_map(|trunk| self.config.trunks.get(*trunk));
        for user in rules.flat_map(|rules| &rules.users) {
            let realm = self.realm_of(user);
            if !realms.contains(&realm) && realms.len() < MAX_REALMS {
                realms.push(realm);
            }
        }
        realms
    }

    fn challenge(
        &mut self,
        now: Instant,
        facts: &Facts<'_>,
        trunks: &[usize],
        reason: GateReason,
    ) -> Verdict {
        let stale = matches!(reason, GateReason::StaleNonce | GateReason::ReplayedNonce);
        let nonce = self.nonces.issue(now, facts.source.ip(), facts.salt);
        let mut challenges = Vec::with_capacity(self.config.algorithms.len());
        for algorithm in &self.config.algorithms {
            let realms = self.realms(trunks);
            challenges.extend(realms.iter().map(|realm| challenge(realm, &nonce, *algorithm, stale)));
        }
        Verdict::Challenge { challenges, reason }
    }
}

fn proves(response: &DigestResponse<'_>, user: &Credentials, method: &str) -> bool {
    same_text(&digest_response(response, &user.password, method), &response.response)
}

/// Whether the URI that was hashed names what is asked for. Parameters may differ: proxies and old phones drop them.
fn same_resource(hashed: &str, requested: &str) -> bool {
    if hashed == requested {
        return true;
    }
    match (Uri::parse(hashed), Uri::parse(requested)) {
        (Ok(one), Ok(other)) => {
            // SIPp, pyVoIP and others hash the server's own URI, without the user they call.
            let user = one.user.is_empty() || unescaped(one.user) == unescaped(other.user);
            user && one.host.eq_ignore_ascii_case(other.host)
        }
        (Ok(_) | Err(_), Ok(_) | Err(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_for_another_user_or_host_is_none_and_one_without_a_user_is() {
        let asked = "sip:100@pbx.example;transport=udp";
        for same in [asked, "sip:100@PBX.example", "sip:%3100@pbx.example", "sip:pbx.example"] {
            assert!(same_resource(same, asked), "{same}");
        }
        for other in ["sip:101@pbx.example", "sip:100@other.example", "sip:other.example", "pbx.example", ""]
        {
            assert!(!same_resource(other, asked), "{other}");
        }
        assert!(
            !same_resource("sip:100@pbx.example", "sip:pbx.example"),
            "only the hashed URI may lack a user"
        );
    }
}
