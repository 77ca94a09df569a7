//! Callers who were cut off and call back: where their conversation stood is put away and found again.
//! Knows who may go on, and for how long. What goes on is the call's.

use crate::{
    call_actor::Keeper,
    secret::Secret,
    store::{CallerKey, Checkpoints},
};
use conversation::Checkpoint;
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

/// How long a call waits for the database before it is answered as if nothing had been kept.
const PATIENCE: Duration = Duration::from_millis(300);

/// For how long, and by which key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResumeConfig {
    /// How long after its last turn a conversation goes on.
    pub good_for: Duration,
    /// Callers' numbers are hashed with it.
    pub secret: Secret,
}

/// Puts conversations away, and finds them.
#[derive(Clone)]
pub struct Resume {
    config: ResumeConfig,
    checkpoints: Checkpoints,
}

impl Resume {
    /// With a database behind it.
    pub fn new(config: ResumeConfig, checkpoints: Checkpoints) -> Self {
        Self { config, checkpoints }
    }

    /// Where the last conversation of this caller with this number stood.
    pub async fn find(&self, caller: String, called: String) -> Option<Checkpoint> {
        let found = self.checkpoints.find(self.key(&caller, &called)?);
        let state = timeout(PATIENCE, found).await.ok().flatten()?;
        // What an older version has written may be of no use.
        serde_json::from_str(&state).ok()
    }

    /// What keeps one call's conversation; nobody whose caller has no number to be known by.
    pub fn keeper(&self, caller: &str, called: &str) -> Option<Arc<dyn Keeper>> {
        let caller = self.key(caller, called)?;
        Some(Arc::new(OneCaller { resume: self.clone(), caller }))
    }

    fn key(&self, caller: &str, called: &str) -> Option<CallerKey> {
        let known =
            !matches!(caller.to_ascii_lowercase().as_str(), "" | "anonymous" | "unknown" | "restricted");
        known.then(|| CallerKey::new(&self.config.secret, caller, called))
    }
}

struct OneCaller {
    resume: Resume,
    caller: CallerKey,
}

impl Keeper for OneCaller {
    fn keep(&self, checkpoint: Option<Box<Checkpoint>>) {
        match checkpoint {
            // Written down on the database's thread: a long conversation would take this one half a frame.
            Some(kept) => self.resume.checkpoints.keep(
                &self.caller,
                self.resume.config.good_for,
                Box::new(move || serde_json::to_string(&kept).ok()),
            ),
            None => self.resume.checkpoints.forget(&self.caller),
        }
    }
}
