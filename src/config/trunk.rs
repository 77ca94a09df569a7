//! Trunks: how each carrier or PBX behaves, who may call over it, where our calls go, and which agent answers.
//! Does not decide which trunk a call belongs to: the gate does, with the rules that `trunks::rules` makes of these.

use super::{
    Problem,
    agent::Agents,
    checker::Checker,
    problem::{Source, suggest},
    profile::{self, Profile, Srtp},
    raw::{Key, RawConfig, RawTrunk},
    read::read,
    sections::{RawProfile, codec_name},
    value::{Network, Transport},
};
use crate::secret::Secret;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use toml::Spanned;

/// Our relation to one carrier or PBX.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trunk {
    /// Unique.
    pub name: String,
    /// How the carrier behaves, with what this trunk says otherwise.
    pub profile: Arc<Profile>,
    /// Where its calls may come from; empty means anywhere.
    pub sources: Vec<Network>,
    /// What the called number may begin with; empty means anything.
    pub called: Vec<String>,
    /// Hosts of the Request-URI that mean this trunk; empty means any.
    pub hosts: Vec<String>,
    /// Whether calls over it are taken at all.
    pub incoming: bool,
    /// A key of [`super::Config::agents`].
    pub agent: String,
    /// The agent of the overflow slots.
    pub overflow_agent: Option<String>,
    /// The pool of its calls, by its place in [`super::Config::pools`]; none: the first.
    pub pool: Option<usize>,
    /// Who we are, when it asks.
    pub login: Option<Login>,
    /// Who they may be, when we ask.
    pub users: Vec<Login>,
}

/// A name and its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The name in the digest.
    pub username: String,
    /// The password.
    pub password: Secret,
    /// The realm it is for; `None`: that of the trunk's peer.
    pub realm: Option<String>,
}

impl Trunk {
    /// Where we register; empty when we do not.
    pub fn registrars(&self) -> &[String] {
        let Profile { auth, signalling, .. } = &*self.profile;
        match (auth.register, auth.registrars.is_empty()) {
            (false, _) => &[],
            (true, true) => &signalling.outbound,
            (true, false) => &auth.registrars,
        }
    }
}

/// What the rest of the file says about every trunk.
#[derive(Clone, Copy)]
struct Everywhere<'a> {
    at_cap: Option<u16>,
    codecs: Option<&'a [&'static str]>,
    default_agent: &'a str,
    pools: &'a [String],
}

impl Checker<'_> {
    pub(super) fn trunks(
        &mut self,
        raw: &RawConfig,
        default_agent: &str,
        agents: &mut Agents,
        pools: &[String],
    ) -> Vec<Trunk> {
        let codecs = self.codecs(raw);
        let at_cap =
            raw.sip.at_cap_status.is_some().then(|| self.number(&raw.sip.at_cap_status, 503, 400..=699));
        let mut names = BTreeSet::new();
        let mut takes_everything: Option<String> = None;
        let mut trunks: Vec<Trunk> = Vec::new();
        for raw in &raw.trunk {
            let (at, raw) = (raw, raw.get_ref());
            let name = self.trunk_name(at, &mut names);
            if let Some(earlier) = &takes_everything {
                let message = format!("no call reaches this trunk: `{earlier}` above it takes every call");
                self.warn(at, message, "put it first, or give the other one sources or called");
            }
            let everywhere = Everywhere { at_cap, codecs: codecs.as_deref(), default_agent, pools };
            let trunk = self.trunk(name, raw, everywhere, agents);
            self.contradictions(at, &trunk);
            if trunk.takes_everything() && !raw.names_its_calls() {
                takes_everything.get_or_insert_with(|| trunk.name.clone());
            }
            trunks.push(trunk);
        }
        if trunks.is_empty() {
            let everywhere = Everywhere { at_cap, codecs: codecs.as_deref(), default_agent, pools };
            trunks.push(self.trunk("open".to_owned(), &RawTrunk::default(), everywhere, agents));
        }
        trunks
    }

    /// What every trunk speaks that does not say otherwise itself.
    fn codecs(&mut self, raw: &RawConfig) -> Option<Vec<&'static str>> {
        let key = raw.media.codecs.as_ref()?;
        let codecs = self.each(&raw.media.codecs, &[], codec_name);
        if codecs.is_empty() {
            self.error(key, "calls need a codec", "write one at least, such as \"PCMU\"");
            return None;
        }
        Some(codecs)
    }

    fn trunk_name(&mut self, at: &Spanned<RawTrunk>, names: &mut BTreeSet<String>) -> String {
        let Some(key) = &at.get_ref().name else {
            self.error(at, "this trunk has no name", "write name = \"my-carrier\"");
            return String::new();
        };
        let name = key.get_ref().clone();
        if !names.insert(name.clone()) {
            self.error(key, format!("a second trunk is called `{name}`"), "give each trunk its own name");
        }
        name
    }

    fn trunk(
        &mut self,
        name: String,
        raw: &RawTrunk,
        everywhere: Everywhere<'_>,
        agents: &mut Agents,
    ) -> Trunk {
        let Everywhere { at_cap, codecs, default_agent, pools } = everywhere;
        let lists = [&raw.sources, &raw.called, &raw.hosts];
        for list in lists.into_iter().flatten().filter(|list| list.get_ref().is_empty()) {
            self.error(
                list,
                "an empty list would let everything in",
                "name what may come in, or remove the line",
            );
        }
        let base = self.profile(&raw.profile);
        let mut profile = self.sections(&base, raw.sections());
        self.at_cap_without_failover(raw, &profile);
        profile.at_cap.status = at_cap.unwrap_or(profile.at_cap.status);
        if let (Some(codecs), None) = (codecs, &raw.media.codecs) {
            profile.media.codecs = codecs.to_vec();
        }
        let overflow_agent = raw.overflow_agent.is_some();
        let mut trunk = Trunk {
            name,
            sources: match &raw.sources {
                Some(_) => self.each(&raw.sources, &[], str::parse),
                None => profile.signalling.sources.clone(),
            },
            called: self.each(&raw.called, &[], called_prefix),
            hosts: self.each(&raw.hosts, &[], |text| Ok(text.to_ascii_lowercase())),
            incoming: true,
            agent: self.agent(&raw.agent, default_agent, agents),
            overflow_agent: overflow_agent.then(|| self.agent(&raw.overflow_agent, default_agent, agents)),
            pool: raw.pool.as_ref().and_then(|key| self.pool_place(key, pools)),
            login: self.login(&raw.auth.username, &raw.auth.password, &raw.auth.realm),
            users: self.users(raw),
            profile: Arc::new(profile),
        };
        trunk.recognise();
        trunk
    }

    fn users(&mut self, raw: &RawTrunk) -> Vec<Login> {
        let mut users = Vec::new();
        for user in raw.auth.users.iter().flat_map(|users| users.get_ref()) {
            let raw_user = user.get_ref();
            if raw_user.username.is_none() && raw_user.password.is_none() {
                self.error(user, "an empty user", "write { username = \"...\", password = \"env:...\" }");
            }
            users.extend(self.login(&raw_user.username, &raw_user.password, &raw.auth.realm));
        }
        users
    }

    /// A name and its password: both or neither.
    fn login(
        &mut self,
        username: &Key<String>,
        password: &Key<String>,
        realm: &Key<String>,
    ) -> Option<Login> {
        match (username, password) {
            (Some(username), Some(password)) => {
                let realm = realm.as_ref().map(|key| key.get_ref().clone());
                let username = username.get_ref().clone();
                // What is missing is told; with it noted only, the config is looked at and never used.
                let password = self.secret(password).unwrap_or_else(|| Secret::new(""));
                Some(Login { username, password, realm })
            }
            (Some(username), None) => {
                self.error(username, "this login has no password", "write password = \"env:NAME\"");
                None
            }
            (None, Some(password)) => {
                self.error(password, "this login has no username", "write username = \"...\"");
                None
            }
            (None, None) => None,
        }
    }

    /// The profile that a trunk names, as its file says.
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
        let mut inner = Checker {
            source: &source,
            folder: self.folder,
            secrets: self.secrets,
            problems: Vec::new(),
            files: Vec::new(),
        };
        let profile = inner.profile_file();
        inner.problems.sort_by_key(Problem::offset);
        let at = key.as_ref().map_or(0, |key| key.span().start);
        self.problems.extend(inner.problems.into_iter().map(|problem| problem.at(at)));
        profile
    }

    /// Reads the profile that this checker is at.
    fn profile_file(&mut self) -> Profile {
        let raw: RawProfile = read(self.source, &mut self.problems);
        let auth = &raw.auth;
        let secrets = [&auth.username, &auth.password, &auth.realm].into_iter().flatten();
        for key in secrets {
            self.error(key, "a login belongs to a trunk, not to a profile", "write it below [trunk.auth]");
        }
        if let Some(key) = &auth.users {
            self.error(key, "users belong to a trunk, not to a profile", "write them below [trunk.auth]");
        }
        let profile = self.sections(&Profile::base(), raw.sections());
        if let Some(key) = &raw.at_cap.status {
            self.at_cap_in_failover(key, &profile);
        }
        let name = raw.name.map_or_else(|| self.source.name().to_owned(), Spanned::into_inner);
        Profile { name, ..profile }
    }

    fn at_cap_without_failover(&mut self, raw: &RawTrunk, profile: &Profile) {
        if let Some(key) = &raw.at_cap.status {
            self.at_cap_in_failover(key, profile);
        }
    }

    fn at_cap_in_failover(&mut self, key: &Spanned<i64>, profile: &Profile) {
        let status = profile.at_cap.status;
        if status >= 400 && !profile.signalling.failover_codes.contains(&status) {
            self.warn(
                key,
                format!("{status} is not among failover_codes, so a full server ends the call"),
                "choose one of them if the carrier has another route",
            );
        }
    }

    /// What cannot work, or will not do what its author expects.
    fn contradictions(&mut self, at: &Spanned<RawTrunk>, trunk: &Trunk) {
        let Profile { auth, signalling, media, at_cap, .. } = &*trunk.profile;
        let raw = at.get_ref();
        if auth.register && trunk.registrars().is_empty() {
            self.error(
                at,
                "there is nowhere to register",
                "write registrars or outbound, such as [\"sip:pbx.example\"]",
            );
        }
        if auth.register && raw.auth.username.is_none() {
            self.error(at, "registering needs a login", "write username and password below [trunk.auth]");
        }
        if auth.registrar && trunk.users.is_empty() {
            self.error(
                at,
                "anybody could register",
                "write users = [{ username, password }] below [trunk.auth]",
            );
        }
        if auth.register && auth.registrar {
            self.warn(at, "both sides register with each other", "set register or registrar to false");
        }
        if auth.trust_sources && trunk.sources.is_empty() && trunk.incoming {
            self.warn(at, "trust_sources trusts every address", "name sources, or remove it");
        }
        if media.srtp == Srtp::Required && signalling.transport.iter().any(|transport| !transport.is_secure())
        {
            let message =
                "SRTP keys may travel unencrypted: srtp is required, and the signalling need not be TLS";
            self.warn(at, message, "write transport = [\"tls\"] below [trunk.signalling]");
        }
        if (at_cap.overflow_slots > 0) != trunk.overflow_agent.is_some() {
            self.error(
                at,
                "overflow needs both slots and an agent",
                "write overflow_agent, and overflow_slots below [trunk.at_cap]",
            );
        }
        if !trunk.incoming {
            self.warn(
                at,
                "this trunk takes no calls: nothing says which ones are its own",
                "name sources, hosts or users if it should",
            );
        } else if trunk.is_open_to_strangers() && !raw.names_its_calls() {
            self.warn(
                at,
                "anybody may call over this trunk",
                "name sources or users, unless it is in a closed network",
            );
        }
    }

    /// Groups of trunks that outgoing calls may name instead of one.
    pub(super) fn trunk_groups(
        &mut self,
        raw: &RawConfig,
        trunks: &[Trunk],
    ) -> BTreeMap<String, Vec<String>> {
        let mut groups = BTreeMap::new();
        for (name, list) in &raw.trunk_groups {
            let known: Vec<&str> = trunks.iter().map(|trunk| trunk.name.as_str()).collect();
            if known.contains(&name.get_ref().as_str()) {
                self.error(name, "a trunk has this name", "call the group otherwise");
            }
            let mut members = Vec::new();
            for member in list {
                match trunks.iter().find(|trunk| trunk.name == *member.get_ref()) {
                    Some(trunk) if trunk.profile.signalling.outbound.is_empty() => {
                        let message = format!("the trunk `{}` has no outbound address", trunk.name);
                        self.error(member, message, "write outbound below its [trunk.signalling]");
                    }
                    Some(trunk) => members.push(trunk.name.clone()),
                    None => {
                        let message = format!("there is no trunk `{}`", member.get_ref());
                        self.error(member, message, suggest(member.get_ref(), known.iter().copied()));
                    }
                }
            }
            groups.insert(name.get_ref().clone(), members);
        }
        groups
    }
}

impl Trunk {
    /// By what its calls are known when nothing was written: the addresses that our own go to, or the login that we
    /// registered. Where neither tells, a trunk for outgoing calls takes none.
    fn recognise(&mut self) {
        if !self.sources.is_empty() || !self.users.is_empty() || !self.hosts.is_empty() {
            return;
        }
        let targets = self.profile.signalling.outbound.iter().chain(self.registrars());
        let hosts: Vec<&str> =
            targets.filter_map(|uri| sip::uri::Uri::parse(uri).ok()).map(|uri| uri.host).collect();
        if hosts.is_empty() {
            return;
        }
        let addresses: Vec<Network> =
            hosts.iter().filter_map(|host| host.trim_matches(['[', ']']).parse().ok()).collect();
        if addresses.len() == hosts.len() {
            self.sources = addresses;
        } else if let (true, Some(login)) = (self.profile.auth.register, &self.login) {
            if self.called.is_empty() {
                // What our Contact says.
                self.called = vec![self.profile.identity.from_user.clone().unwrap_or(login.username.clone())];
            }
        } else {
            self.incoming = false;
        }
    }

    fn takes_everything(&self) -> bool {
        self.is_open_to_strangers() && self.called.is_empty()
    }

    /// Whether its calls are known by nothing but the number that they call.
    pub fn is_open_to_strangers(&self) -> bool {
        self.incoming && self.sources.is_empty() && self.users.is_empty() && self.hosts.is_empty()
    }

    /// Whether SIP over it may use a transport.
    pub fn speaks(&self, transport: Transport) -> bool {
        self.profile.signalling.transport.contains(&transport)
    }
}

/// Numbers are compared by their beginning; what is not part of a number can never match.
pub(super) fn called_prefix(text: &str) -> Result<String, String> {
    let dialable =
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "+*#-_.".contains(c));
    if dialable {
        Ok(text.to_owned())
    } else {
        Err(format!("no called number begins with `{text}`; write its first digits, such as \"+4930\""))
    }
}
