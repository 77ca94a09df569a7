//! How each trunk stands: registered, reachable, its last failure, its calls. What `tandem trunks` and `GET /trunks` show.
//! Holds what others find out. Bounded by the trunks of the config; never holds a caller's number or a password.

use crate::{
    config::{Config, trunk::Trunk},
    server::{Limit, TrunkCalls},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sip::GateStatistics;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// The longest reason that is kept, in characters: a carrier writes them.
const REASON: usize = 120;

/// One trunk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrunkState {
    /// Its name.
    pub name: String,
    /// The profile it is based on.
    pub profile: String,
    /// Our registration with it; absent when we do not register.
    pub registration: Option<Registration>,
    /// Where our requests go; empty for trunks that only bring calls.
    pub targets: Vec<TargetState>,
    /// Whether any target answers; absent when none has been asked yet.
    pub reachable: Option<bool>,
    /// The answer time of the target that answered last, in milliseconds.
    pub rtt_ms: Option<f64>,
    /// What went wrong last, if anything ever did.
    pub last_failure: Option<Failure>,
    /// Peers that are registered with us at present.
    pub bindings: u32,
    /// Calls at present.
    pub calls: u32,
    /// Calls in overflow slots at present.
    pub overflow: u32,
    /// Calls refused since the start, by the limit that did it.
    pub refused: BTreeMap<String, u64>,
    /// Attempts of outgoing calls since the start, by what became of them.
    pub attempts: BTreeMap<String, u64>,
}

/// Our registration with a trunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// `unregistered`, `registering`, `registered` or `failed`.
    pub state: RegistrationState,
    /// Where.
    pub registrar: Option<String>,
    /// Until when, if it is not refreshed.
    pub until: Option<Timestamp>,
    /// When it is tried again after a failure.
    pub retry_at: Option<Timestamp>,
}

/// Where a registration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegistrationState {
    /// Not asked for, or ended.
    Unregistered,
    /// Asked for.
    Registering,
    /// Granted.
    Registered,
    /// Refused, or not answered.
    Failed,
}

/// One address that our requests go to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetState {
    /// `udp:192.0.2.7:5060`.
    pub address: String,
    /// Whether it answered the last OPTIONS; absent before the first.
    pub reachable: Option<bool>,
    /// How long that took, in milliseconds.
    pub rtt_ms: Option<f64>,
    /// OPTIONS in a row that were not answered.
    pub misses: u32,
}

/// Something that went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// When.
    pub at: Timestamp,
    /// What, for a person.
    pub reason: String,
}

/// What became of one attempt to place a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptResult {
    /// Answered.
    Answered,
    /// Refused by whom it was for: no other target would help.
    Refused,
    /// Refused by the target, which another one may make good.
    FailedOver,
    /// No answer, or no way to ask.
    NoAnswer,
}

impl AttemptResult {
    /// Every result, so that each can be counted from zero.
    pub const ALL: [Self; 4] = [Self::Answered, Self::Refused, Self::FailedOver, Self::NoAnswer];

    /// As a metric label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::FailedOver => "failed_over",
            Self::NoAnswer => "no_answer",
        }
    }
}

/// All trunks. Clones share them.
#[derive(Clone, Debug)]
pub struct TrunkStates {
    trunks: Arc<Mutex<BTreeMap<String, TrunkState>>>,
    gate: Arc<Mutex<GateStatistics>>,
}

impl TrunkStates {
    /// Every trunk of the config, before anything is known.
    pub fn new(config: &Config) -> Self {
        let states = config.trunks.iter().map(|trunk| (trunk.name.clone(), TrunkState::new(trunk)));
        Self { trunks: Arc::new(Mutex::new(states.collect())), gate: Arc::default() }
    }

    /// All of them, by name.
    pub fn snapshot(&self) -> Vec<TrunkState> {
        self.lock().values().cloned().collect()
    }

    /// One of them.
    pub fn get(&self, trunk: &str) -> Option<TrunkState> {
        self.lock().get(trunk).cloned()
    }

    /// Notes something about one trunk.
    pub(super) fn note(&self, trunk: &str, change: impl FnOnce(&mut TrunkState)) {
        if let Some(state) = self.lock().get_mut(trunk) {
            change(state);
        }
    }

    /// Notes what went wrong with a trunk.
    pub(super) fn failed(&self, trunk: &str, reason: &str) {
        let reason = reason.chars().filter(|c| !c.is_control()).take(REASON).collect();
        self.note(trunk, |state| state.last_failure = Some(Failure { at: Timestamp::now(), reason }));
    }

    /// What the gate has counted.
    pub fn gate(&self) -> GateStatistics {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes over what the server and its gate count.
    pub fn count(&self, calls: &BTreeMap<String, TrunkCalls>, gate: &GateStatistics) {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner).clone_from(gate);
        let mut states = self.lock();
        for (name, figures) in calls {
            let Some(state) = states.get_mut(name) else { continue };
            (state.calls, state.overflow) = (figures.calls, figures.overflow);
            for (limit, count) in &figures.refused {
                state.refused.insert((*limit).to_owned(), *count);
            }
        }
    }

    /// Whether calls should try it: one that is known to be down is tried last.
    pub fn is_down(&self, trunk: &str) -> bool {
        self.lock().get(trunk).is_some_and(|state| state.reachable == Some(false))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, TrunkState>> {
        self.trunks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TrunkState {
    fn new(trunk: &Trunk) -> Self {
        let unregistered = Registration {
            state: RegistrationState::Unregistered,
            registrar: None,
            until: None,
            retry_at: None,
        };
        let zero = |name: &'static str| (name.to_owned(), 0);
        Self {
            name: trunk.name.clone(),
            profile: trunk.profile.name.clone(),
            registration: trunk.profile.auth.register.then_some(unregistered),
            targets: Vec::new(),
            reachable: None,
            rtt_ms: None,
            last_failure: None,
            bindings: 0,
            calls: 0,
            overflow: 0,
            refused: Limit::ALL.iter().map(|limit| zero(limit.name())).collect(),
            attempts: AttemptResult::ALL.iter().map(|result| zero(result.name())).collect(),
        }
    }

    /// What one OPTIONS told about a target: the time of the answer, or none.
    pub(super) fn pinged(&mut self, address: &str, answer: Option<Duration>, misses: u32) {
        let Some(target) = self.targets.iter_mut().find(|target| target.address == address) else { return };
        let rtt_ms = answer.map(|time| time.as_secs_f64() * 1_000.0);
        match rtt_ms {
            Some(_) => {
                (target.reachable, target.misses, target.rtt_ms) = (Some(true), 0, rtt_ms);
                self.rtt_ms = rtt_ms;
            }
            None => {
                target.misses += 1;
                if target.misses >= misses {
                    target.reachable = Some(false);
                }
            }
        }
        self.weigh();
    }

    /// Takes over where requests go now. What is known of addresses that stay is kept.
    pub(super) fn retarget(&mut self, addresses: &[String]) {
        let known = |address: &String| self.targets.iter().find(|target| target.address == *address).cloned();
        let unknown = |address: &String| TargetState {
            address: address.clone(),
            reachable: None,
            rtt_ms: None,
            misses: 0,
        };
        let targets = addresses.iter().map(|address| known(address).unwrap_or_else(|| unknown(address)));
        self.targets = targets.collect();
        self.weigh();
    }

    /// One target that answers makes a trunk reachable; all that were asked must fail to make it unreachable.
    fn weigh(&mut self) {
        let answers: Vec<Option<bool>> = self.targets.iter().map(|target| target.reachable).collect();
        self.reachable = match () {
            () if answers.contains(&Some(true)) => Some(true),
            () if answers.is_empty() || answers.contains(&None) => None,
            () => Some(false),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Overrides;

    fn state() -> TrunkState {
        let config = Config::load(None, &Overrides::default()).expect("the defaults are valid");
        let mut state = TrunkState::new(&config.trunks[0]);
        state.retarget(&["udp:192.0.2.1:5060".to_owned(), "udp:192.0.2.2:5060".to_owned()]);
        state
    }

    #[test]
    fn a_trunk_is_down_after_three_misses_of_every_target_and_up_at_the_first_answer() {
        let mut state = state();
        for _ in 0..3 {
            assert_eq!(state.reachable, None);
            state.pinged("udp:192.0.2.1:5060", None, 3);
        }
        assert_eq!(state.reachable, None, "the other one was not asked yet");
        (0..3).for_each(|_| state.pinged("udp:192.0.2.2:5060", None, 3));
        assert_eq!(state.reachable, Some(false));
        state.pinged("udp:192.0.2.2:5060", Some(Duration::from_millis(12)), 3);
        assert_eq!((state.reachable, state.rtt_ms), (Some(true), Some(12.0)));
        state.pinged("udp:192.0.2.2:5060", None, 3);
        assert_eq!(state.reachable, Some(true), "one miss is not an outage");
    }

    #[test]
    fn new_targets_keep_what_is_known_of_the_old_ones() {
        let mut state = state();
        state.pinged("udp:192.0.2.2:5060", Some(Duration::from_millis(5)), 3);
        state.retarget(&["udp:192.0.2.3:5060".to_owned(), "udp:192.0.2.2:5060".to_owned()]);
        assert_eq!(state.targets.len(), 2);
        assert_eq!((state.targets[0].reachable, state.targets[1].reachable), (None, Some(true)));
    }
}
