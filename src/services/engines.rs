//! What `tandem check` asks of this machine: are the engines there that the config leads to?
//! Loads each of them once, as a start would, and calls no provider.

use super::{StartError, stages};
use crate::config::{Config, Problem, target::SttTarget};
use conversation::Stage;
use pico_engine::Voice;
use std::collections::BTreeSet;

/// Every engine that a start would miss: the recogniser where a route leads to it, with every agent's words, and the
/// voice, which speaks the prepared sentences when nobody else does.
pub fn missing_engines(config: &Config) -> Vec<Problem> {
    let mut missing = BTreeSet::new();
    for agent in config.agents.values() {
        let route = config.routes.stt.get(agent.route(Stage::Stt));
        for name in route.map_or(&[][..], |route| &route.targets) {
            let Some(SttTarget::Embedded { model_dir }) = config.stt.get(name) else { continue };
            if let Err(StartError::Engine(reason)) =
                stages::embedded_stt(config, agent, model_dir.clone()).map(drop)
            {
                missing.insert(reason);
            }
        }
    }
    if let Err(error) = Voice::new() {
        missing.insert(format!("the embedded voice cannot start: {error}"));
    }
    missing.into_iter().map(problem).collect()
}

fn problem(reason: String) -> Problem {
    // The engines say themselves what is to be installed.
    let (message, help) = reason.split_once("; ").unwrap_or((&reason, "run scripts/setup"));
    Problem::error("", message, help)
}
