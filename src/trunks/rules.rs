//! From the config's trunks to the rules of the gate: who may send us what, and how the dialogs of each trunk behave.
//! Translates only. The gate decides.

use crate::config::{
    Config, Network, Unmatched,
    trunk::{Login, Trunk},
};
use sip::{
    digest::{Credentials, Password},
    gate::{self, GateConfig, TrunkRules},
};

/// What the endpoint's gate is to know.
pub fn gate(config: &Config) -> GateConfig {
    GateConfig {
        trunks: config.trunks.iter().filter(|trunk| trunk.incoming).map(rules).collect(),
        unmatched: match config.sip.unmatched {
            Unmatched::Silent => gate::Unmatched::Silent,
            Unmatched::Forbidden => gate::Unmatched::Forbidden,
            Unmatched::NotFound => gate::Unmatched::NotFound,
        },
        realm: REALM.to_owned(),
        algorithms: config.sip.digest.clone(),
        ..GateConfig::default()
    }
}

/// Our realm where a trunk names none.
const REALM: &str = "tandem";

/// What the gate asks of one trunk's requests.
fn rules(trunk: &Trunk) -> TrunkRules {
    let profile = &trunk.profile;
    // A trunk that nobody wrote takes every call, over whatever we listen on.
    let is_anyones = trunk.sources.is_empty() && trunk.users.is_empty() && trunk.hosts.is_empty();
    TrunkRules {
        name: trunk.name.as_str().into(),
        sources: trunk.sources.iter().map(network).collect(),
        users: trunk.users.iter().map(credentials).collect(),
        trust_sources: profile.auth.trust_sources,
        called: trunk.called.clone(),
        hosts: trunk.hosts.clone(),
        transports: if is_anyones { Vec::new() } else { profile.signalling.transport.clone() },
        registrar: profile.auth.registrar,
        policy: profile.timers.policy.clone(),
    }
}

fn network(network: &Network) -> gate::Network {
    gate::Network { address: network.address(), prefix: network.prefix() }
}

/// A login as the endpoint takes it.
pub fn credentials(login: &Login) -> Credentials {
    Credentials {
        realm: login.realm.clone(),
        username: login.username.clone(),
        password: Password::new(login.password.expose()),
    }
}
