//! Trunks: which calls we take, how their carrier behaves and which agent answers.
//! Does not know SIP messages, only where one came from and which number it asks for.

use super::{
    Config, Problem,
    agent::Agents,
    checker::Checker,
    problem::{Source, suggest},
    profile::{self, Profile},
    raw::{Key, RawConfig, RawTrunk},
    value::Network,
};
use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

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

impl Checker<'_> {
    pub(super) fn trunks(&mut self, raw: &RawConfig, default_agent: &str, agents: &mut Agents) -> Vec<Trunk> {
        let at_cap =
            raw.sip.at_cap_status.is_some().then(|| self.number(&raw.sip.at_cap_status, 503, 400..=699));
        let mut names = BTreeSet::new();
        let mut takes_everything: Option<String> = None;
        let mut trunks: Vec<Trunk> = Vec::new();
        for raw in &raw.trunk {
            let (at, raw) = (raw, raw.get_ref());
            let name = raw.name.as_ref().map_or_else(String::new, |key| key.get_ref().clone());
            match &raw.name {
                None => self.error(at, "this trunk has no name", "write name = \"my-carrier\""),
                Some(key) if !names.insert(name.clone()) => {
                    self.error(
                        key,
                        format!("a second trunk is called `{name}`"),
                        "give each trunk its own name",
                    );
                }
                Some(_) => {}
            }
            if let Some(earlier) = &takes_everything {
                let message = format!("no call reaches this trunk: `{earlier}` above it takes every call");
                self.warn(at, message, "put it first, or give the other one sources or called");
            }
            if raw.sources.is_none() && raw.called.is_none() {
                takes_everything.get_or_insert_with(|| name.clone());
            }
            trunks.push(self.trunk(name, raw, at_cap, default_agent, agents));
        }
        if trunks.is_empty() {
            trunks.push(self.trunk("open".to_owned(), &RawTrunk::default(), at_cap, default_agent, agents));
        }
        trunks
    }

    fn trunk(
        &mut self,
        name: String,
        raw: &RawTrunk,
        at_cap: Option<u16>,
        default_agent: &str,
        agents: &mut Agents,
    ) -> Trunk {
        for list in [&raw.sources, &raw.called].into_iter().flatten().filter(|list| list.get_ref().is_empty())
        {
            self.error(
                list,
                "an empty list would let everything in",
                "name what may come in, or remove the line",
            );
        }
        let mut profile = self.profile(&raw.profile);
        profile.at_cap.status = at_cap.unwrap_or(profile.at_cap.status);
        Trunk {
            name,
            profile: Arc::new(profile),
            sources: self.each(&raw.sources, &[], str::parse),
            called: self.each(&raw.called, &[], called_prefix),
            agent: self.agent(&raw.agent, default_agent, agents),
        }
    }

    fn profile(&mut self, key: &Key<String>) -> Profile {
        let name = key.as_ref().map_or("generic", |key| key.get_ref());
        let built_in = profile::BUILT_IN.into_iter().find(|(known, _)| *known == name);
        let source = match (built_in, key) {
            (Some((name, text)), _) => Source::new(format!("sip-profiles/{name}.toml (built in)"), text),
            (None, Some(key)) if name.ends_with(".toml") => match Source::read(&self.folder.join(name)) {
                Ok(source) => source,
                Err(reason) => {
                    self.error(
                        key,
                        format!("the profile `{name}` cannot be read: {reason}"),
                        "correct the path",
                    );
                    return self.profile(&None);
                }
            },
            (None, _) => {
                let help = suggest(name, profile::BUILT_IN.map(|(known, _)| known));
                if let Some(key) = key {
                    self.error(
                        key,
                        format!("unknown profile `{name}`"),
                        format!("{help} (or the path of a .toml file)"),
                    );
                }
                return self.profile(&None);
            }
        };
        let mut inner =
            Checker { source: &source, folder: self.folder, secrets: self.secrets, problems: Vec::new() };
        let profile = Profile::read(&mut inner);
        inner.problems.sort_by_key(Problem::offset);
        let at = key.as_ref().map_or(0, |key| key.span().start);
        self.problems.extend(inner.problems.into_iter().map(|problem| problem.at(at)));
        profile
    }
}

/// Numbers are compared by their beginning; what is not part of a number can never match.
fn called_prefix(text: &str) -> Result<String, String> {
    let dialable =
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "+*#-_.".contains(c));
    if dialable {
        Ok(text.to_owned())
    } else {
        Err(format!("no called number begins with `{text}`; write its first digits, such as \"+4930\""))
    }
}
