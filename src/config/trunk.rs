//! Trunks: which calls we take, how their carrier behaves and which agent answers.
//! Does not know SIP messages, only where one came from and which number it asks for.

use super::{Config, profile::Profile, value::Network};
use std::{net::IpAddr, sync::Arc};

/// Our relation to one carrier or PBX.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trunk {
    /// Unique.
    pub name: String,
    /// How the carrier behaves.
    pub profile: Arc<Profile>,
    /// Where its calls may come from; empty means anywhere.
    pub sources: Vec<Network>,
    /// What the called number may begin with; empty means anything.
    pub called: Vec<String>,
    /// A key of [`Config::agents`].
    pub agent: String,
}

/// Why no trunk takes a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTrunk {
    /// Nobody at that address may call.
    UnknownSource,
    /// The address may call, but not this number.
    UnknownNumber,
}

impl NoTrunk {
    /// The SIP status: 403 tells a stranger nothing, 404 keeps a carrier from trying its other routes in vain.
    pub const fn status(self) -> u16 {
        match self {
            Self::UnknownSource => 403,
            Self::UnknownNumber => 404,
        }
    }
}

impl Config {
    /// The first trunk that takes calls from `source` to `called` (the user part of the request URI).
    ///
    /// # Errors
    /// [`NoTrunk`] says how to refuse the call.
    pub fn trunk_for(&self, source: IpAddr, called: &str) -> Result<&Trunk, NoTrunk> {
        let mut known = self.trunks.iter().filter(|trunk| trunk.takes_from(source)).peekable();
        let refusal = if known.peek().is_some() { NoTrunk::UnknownNumber } else { NoTrunk::UnknownSource };
        known.find(|trunk| trunk.takes_number(called)).ok_or(refusal)
    }
}

impl Trunk {
    fn takes_from(&self, source: IpAddr) -> bool {
        self.sources.is_empty() || self.sources.iter().any(|network| network.contains(source))
    }

    fn takes_number(&self, called: &str) -> bool {
        self.called.is_empty() || self.called.iter().any(|prefix| called.starts_with(prefix))
    }
}
