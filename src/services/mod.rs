//! From a checked config to everything a server works with: providers, agents, trunks, store and sinks.
//! Knows which part needs which. Everything that can fail fails here, before the first call.

mod calls;
mod clips;
mod engines;
mod records;
mod reload;
mod stages;

pub use calls::{TrunkCalls, Vocabulary};
pub use engines::missing_engines;
pub use records::{Records, Traces};
pub use reload::{Load, reload, watch};

use crate::{config::Config, knowledge::Searcher, store::Checkpoints, telemetry::metrics::Metrics};
use calls::AgentServices;
use std::{collections::BTreeMap, sync::Arc};

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An engine, its model or a voice is missing.
    #[error("{0}")]
    Engine(String),
    /// A provider's client cannot be set up.
    #[error("{0}")]
    Provider(String),
    /// The data directory, or a database in it, cannot be used.
    #[error("{0}")]
    DataDir(String),
}

/// Prepares every agent of the config and the trunks that lead to them. Needs a tokio runtime; providers run on it.
///
/// # Errors
/// [`StartError`] with what to do about it.
pub async fn prepare(
    config: Arc<Config>,
    metrics: &Metrics,
    checkpoints: Option<&Checkpoints>,
) -> Result<TrunkCalls, StartError> {
    let no_thread = |error| StartError::Engine(format!("no thread for searches of documents: {error}"));
    let searcher = Searcher::start(metrics.clone()).map_err(no_thread)?;
    let standings = stages::standings(&config);
    let mut agents = BTreeMap::new();
    for (key, agent) in &config.agents {
        let services =
            AgentServices::prepare(&config, key, Arc::clone(agent), metrics, (&searcher, &standings)).await?;
        agents.insert(key.clone(), services);
    }
    TrunkCalls::new(config, agents, checkpoints)
}
