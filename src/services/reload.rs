//! Agents that change while the server runs: read again when a file changes or on SIGHUP, all of them or none.
//! Knows files and when to look. Calls that are up keep what they began with; the last good agents stay.

use super::TrunkCalls;
use crate::{
    config::{Config, ConfigError},
    store::Checkpoints,
    telemetry::metrics::Metrics,
};
use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{MissedTickBehavior, interval},
};

/// How often files are looked at: a change is heard by the next call but one.
const LOOK: Duration = Duration::from_secs(2);

/// How a file was when it was last read.
type Print = Option<(SystemTime, u64)>;

/// Reads the config again.
pub type Load = Box<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>;

/// Looks after the agents for ever.
pub async fn watch(load: Load, calls: Arc<TrunkCalls>, metrics: Metrics, checkpoints: Option<Checkpoints>) {
    let Ok(mut told) = signal(SignalKind::hangup()) else { return };
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut files = calls.files();
    let mut before = prints(&files).await;
    loop {
        let asked = tokio::select! {
            _ = looks.tick() => false,
            _ = told.recv() => true,
        };
        let now = prints(&files).await;
        if !asked && now == before {
            continue;
        }
        let read = reload(&load, &calls, &metrics, checkpoints.as_ref()).await;
        calls.note_stale(read.is_err());
        match read {
            Ok(changed) => tracing::info!(agents = changed, "agents are read again; new calls get them"),
            Err(reason) => tracing::error!("agents stay as they were: {reason}"),
        }
        files = calls.files();
        before = prints(&files).await;
    }
}

/// Reads everything again and, if all of it is good, gives it to new calls. Says how many agents there are.
///
/// # Errors
/// Everything that is wrong, in lines with file and place.
pub async fn reload(
    load: &Load,
    calls: &Arc<TrunkCalls>,
    metrics: &Metrics,
    checkpoints: Option<&Checkpoints>,
) -> Result<usize, String> {
    let config = load().map_err(|error| error.to_string())?;
    calls.fits(&config)?;
    let fresh =
        super::prepare(Arc::new(config), metrics, checkpoints).await.map_err(|error| error.to_string())?;
    Ok(calls.replace(fresh))
}

async fn prints(files: &[PathBuf]) -> Vec<Print> {
    let files = files.to_vec();
    let look = move || {
        files
            .iter()
            .map(|file| {
                let about = std::fs::metadata(file).ok()?;
                Some((about.modified().ok()?, about.len()))
            })
            .collect()
    };
    // A disk may be slow; the runtime must not be.
    tokio::task::spawn_blocking(look).await.unwrap_or_default()
}
