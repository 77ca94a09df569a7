//! What the gate is told: whom each trunk is, what happens to everybody else, and the limits.
//! Checked values only; reading a file is not its work.

use super::bans::BanPolicy;
use super::network::Network;
use crate::digest::{Credentials, DigestAlgorithm};
use crate::endpoint::Transport;
use crate::policy::DialogPolicy;
use crate::registrar::RegistrarLimits;
use std::sync::Arc;
use std::time::Duration;

/// Whom we take requests from on behalf of one trunk. A trunk is known by its address or by digest, never by what a
/// From header says. Empty lists restrict nothing, so a trunk with neither `sources` nor `users` is open to everybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrunkRules {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Where its requests come from; empty = from anywhere.
    pub sources: Vec<Network>,
    /// Its users. With any, digest is needed, and from `sources` only if there are any; see `trust_sources`.
    pub users: Vec<Credentials>,
    /// With both `sources` and `users`: false = the source must match and digest is needed as well; true = a source
    /// that matches needs no digest, any other source does.
    pub trust_sources: bool,
    /// Beginnings of the user part of the Request-URI; empty = any number. Not asked of OPTIONS and REGISTER.
    pub called: Vec<String>,
    /// Hosts of the Request-URI; empty = any. Not asked of OPTIONS.
    pub hosts: Vec<String>,
    /// Over which transports; empty = any.
    pub transports: Vec<Transport>,
    /// Whether its users may REGISTER here.
    pub registrar: bool,
    /// How its dialogs behave.
    pub policy: DialogPolicy,
}

impl TrunkRules {
    /// A trunk that everybody may use, to be narrowed.
    pub fn open(name: &str) -> Self {
        Self {
            name: name.into(),
            sources: Vec::new(),
            users: Vec::new(),
            trust_sources: false,
            called: Vec::new(),
            hosts: Vec::new(),
            transports: Vec::new(),
            registrar: false,
            policy: DialogPolicy::default(),
        }
    }
}

/// What a request gets that matches no trunk and comes from an address that no trunk names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmatched {
    /// Nothing: a scanner learns not even that somebody is here.
    Silent,
    /// 403.
    Forbidden,
    /// 404.
    NotFound,
}

/// The gate's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateConfig {
    /// The trunks. Where several match, the first that names the source wins, then digest, then the first open one.
    pub trunks: Vec<TrunkRules>,
    /// What strangers get.
    pub unmatched: Unmatched,
    /// When a stranger is ignored.
    pub ban: BanPolicy,
    /// How long a nonce is good.
    pub nonce_lifetime: Duration,
    /// Our realm towards users whose credentials name none.
    pub realm: String,
    /// The hashes that we offer, the preferred first (RFC 8760 section 2.4). Phones that cannot do the first one
    /// take a later one; some old ones read only the first challenge and need MD5 alone.
    pub algorithms: Vec<DigestAlgorithm>,
    /// Most refused calls of strangers that are reported each second; the others are only counted.
    pub reports_per_second: u32,
    /// Limits of the registrar.
    pub registrar: RegistrarLimits,
}

impl Default for GateConfig {
    /// No trunk, so everybody gets 403.
    fn default() -> Self {
        Self {
            trunks: Vec::new(),
            unmatched: Unmatched::Forbidden,
            ban: BanPolicy::default(),
            nonce_lifetime: Duration::from_secs(300),
            realm: "sip".to_owned(),
            algorithms: vec![DigestAlgorithm::Sha256, DigestAlgorithm::Md5],
            reports_per_second: 10,
            registrar: RegistrarLimits::default(),
        }
    }
}
