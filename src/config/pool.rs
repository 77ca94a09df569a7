//! `[[pool]]` and `[admission]`: how many calls there may be, of which kind, and when the machine or a stage says no.
//! Knows keys and what they refer to. Who gets a slot is `call::admission`'s business.

use super::{
    Config, Problem,
    checker::Checker,
    problem::suggest,
    raw::{Key, RawAdmission, RawConfig, RawPool},
    target::Route,
    trunk::{Trunk, called_prefix},
};
use call::admission::{MachineLimits, Permit, PoolConfig};
use std::{collections::BTreeMap, time::Duration};
use toml::Spanned;

/// A share of the port slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its cap, its reservations and where its overflow goes.
    pub slots: PoolConfig,
    /// Called numbers whose calls are its, whatever the trunk says.
    pub called: Vec<String>,
    /// Called numbers that may take what is reserved for them.
    pub priority: Vec<String>,
    /// Who answers in it; none: the trunk's agent.
    pub agent: Option<String>,
    /// The language model route of its calls; none: the agent's.
    pub llm_route: Option<String>,
}

/// `[admission]`, checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AdmissionLimits {
    /// When the machine takes no more calls.
    pub machine: MachineLimits,
    /// Streams that a target can have at once, by `stt.NAME` or `tts.NAME`.
    pub max_streams: BTreeMap<String, u32>,
}

impl Pool {
    /// The only pool of a config that names none.
    pub(super) fn only(cap: u16) -> Self {
        Self {
            slots: PoolConfig::new("default", u32::from(cap)),
            called: Vec::new(),
            priority: Vec::new(),
            agent: None,
            llm_route: None,
        }
    }
}

impl Checker<'_> {
    /// The pools; empty when the file names none.
    pub(super) fn pools(
        &mut self,
        raw: &RawConfig,
        routes: &super::target::Routes,
        agents: &mut super::agent::Agents,
    ) -> Vec<Pool> {
        let names: Vec<String> = raw.pool.iter().map(|pool| self.pool_name(pool)).collect();
        for (place, name) in names.iter().enumerate() {
            if names[..place].contains(name) {
                self.error(
                    &raw.pool[place],
                    format!("a second pool is called `{name}`"),
                    "give each its own name",
                );
            }
        }
        let mut pools = Vec::new();
        for (place, pool) in raw.pool.iter().enumerate() {
            pools.push(self.pool(place, pool.get_ref(), &names, routes, agents));
        }
        let sum: u32 = pools.iter().map(|pool| pool.slots.cap).sum();
        if let (Some(key), false) = (&raw.server.ports, pools.is_empty())
            && *key.get_ref() != i64::from(sum)
        {
            self.error(key, format!("the pools hold {sum} calls"), "leave server.ports out: it is their sum");
        }
        pools
    }

    fn pool_name(&mut self, pool: &Spanned<RawPool>) -> String {
        let name = pool.get_ref().name.as_ref();
        name.map(|name| name.get_ref().clone()).unwrap_or_else(|| {
            self.error(pool, "this pool has no name", "write name = \"main\"");
            String::new()
        })
    }

    fn pool(
        &mut self,
        place: usize,
        raw: &RawPool,
        names: &[String],
        routes: &super::target::Routes,
        agents: &mut super::agent::Agents,
    ) -> Pool {
        let cap: u32 = self.number(&raw.ports, 0, 1..=20_000);
        if let (Some(name), None) = (&raw.name, &raw.ports) {
            self.error(name, "this pool has no ports", "write ports = 40");
        }
        let overflow = raw.overflow.as_ref().and_then(|key| self.pool_place(key, names));
        if let (Some(key), true) = (&raw.overflow, overflow == Some(place)) {
            self.error(key, "a pool cannot take its own overflow", "name another pool");
        }
        let slots = PoolConfig {
            overflow,
            priority_reserve: self.number(&raw.priority_reserve, 0, 0..=i64::from(cap)),
            ..PoolConfig::new(names[place].clone(), cap)
        };
        if let (Some(key), true) = (&raw.priority_reserve, raw.priority.is_none()) {
            self.error(key, "nobody could take these slots", "name the numbers: priority = [\"+4930911\"]");
        }
        if let Some(route) = raw.llm_route.as_ref().filter(|route| !routes.llm.contains_key(route.get_ref()))
        {
            let help = suggest(route.get_ref(), routes.llm.keys().map(String::as_str));
            self.error(route, format!("there is no route `{}`", route.get_ref()), help);
        }
        Pool {
            slots,
            called: self.each(&raw.called, &[], called_prefix),
            priority: self.each(&raw.priority, &[], called_prefix),
            agent: raw.agent.is_some().then(|| self.agent(&raw.agent, super::DEMO, agents)),
            llm_route: raw.llm_route.as_ref().map(|route| route.get_ref().clone()),
        }
    }

    /// The place of a pool that another key names.
    pub(super) fn pool_place(&mut self, key: &Spanned<String>, names: &[String]) -> Option<usize> {
        let place = names.iter().position(|name| name == key.get_ref());
        if place.is_none() {
            let help = suggest(key.get_ref(), names.iter().map(String::as_str));
            self.error(key, format!("there is no pool `{}`", key.get_ref()), help);
        }
        place
    }

    pub(super) fn admission(&mut self, raw: &RawAdmission, known: &[String]) -> AdmissionLimits {
        let percent = |key: &Key<i64>, checker: &mut Self| {
            key.is_some().then(|| f32::from(checker.number::<u8>(key, 100, 1..=100)))
        };
        let machine = MachineLimits {
            cpu_percent: percent(&raw.max_cpu_percent, self),
            lag: raw
                .max_media_lag_ms
                .is_some()
                .then(|| self.milliseconds(&raw.max_media_lag_ms, Duration::from_millis(20), 1..=1_000)),
            memory_free_percent: percent(&raw.min_memory_free_percent, self),
        };
        let mut max_streams = BTreeMap::new();
        for (target, most) in raw.max_streams.iter().flat_map(|limits| limits.get_ref()) {
            if known.contains(target) {
                max_streams.insert(target.clone(), self.number(&Some(most.clone()), 0, 0..=100_000));
            } else {
                let help = suggest(target, known.iter().map(String::as_str));
                self.error(most, format!("there is no target `{target}`"), help);
            }
        }
        AdmissionLimits { machine, max_streams }
    }
}

/// `--ports` says how many calls there may be in all: the first pool takes the difference.
pub(super) fn resize(pools: &mut [Pool], ports: u16) -> Option<Problem> {
    let (first, others) = pools.split_first_mut()?;
    let others: u32 = others.iter().map(|pool| pool.slots.cap).sum();
    let left = u32::from(ports).saturating_sub(others);
    if left == 0 {
        let message =
            format!("the other pools hold {others} calls, which leaves none to `{}`", first.slots.name);
        return Some(Problem::error("--ports", message, "give more, or leave it out"));
    }
    first.slots.cap = left;
    None
}

impl Config {
    /// The pool of a call over this trunk to this number, and whether the number has priority there.
    pub fn pool_of(&self, trunk: &Trunk, called: &str) -> (usize, bool) {
        let begins = |numbers: &[String]| numbers.iter().any(|number| called.starts_with(number.as_str()));
        let by_number = self.pools.iter().position(|pool| begins(&pool.called));
        let place = by_number.or(trunk.pool).unwrap_or(0);
        (place, self.pools.get(place).is_some_and(|pool| begins(&pool.priority)))
    }

    /// What the stages can do at once: one permit for each route whose targets all have a limit.
    pub fn permits(&self) -> Vec<Permit> {
        let permit = |(name, cap): (String, u32)| Permit { name, cap, used: 0 };
        self.limited("stt", &self.routes.stt)
            .chain(self.limited("tts", &self.routes.tts))
            .map(permit)
            .collect()
    }

    /// The permits that a call needs on these routes, by their places in [`Config::permits`].
    pub fn needs(&self, stt: &str, tts: &str) -> Vec<usize> {
        let permits = self.permits();
        let names = [format!("stt {stt}"), format!("tts {tts}")];
        names.iter().filter_map(|name| permits.iter().position(|permit| permit.name == *name)).collect()
    }

    fn limited<'a>(
        &'a self,
        stage: &'static str,
        routes: &'a BTreeMap<String, Route>,
    ) -> impl Iterator<Item = (String, u32)> + 'a {
        routes.iter().filter_map(move |(name, route)| {
            let limit =
                |target: &String| self.admission.max_streams.get(&format!("{stage}.{target}")).copied();
            let limits: Option<Vec<u32>> = route.targets.iter().map(limit).collect();
            Some((format!("{stage} {name}"), limits?.iter().sum()))
        })
    }
}
