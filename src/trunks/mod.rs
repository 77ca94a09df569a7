//! Trunks at work: what the gate is told about them, how each of them stands, and the figures of that.
//! Knows trunks of the config and the endpoint's commands. What a call says is not its business.

pub mod metrics;
pub mod rules;
mod states;

pub use metrics::TrunkMetrics;
pub use states::{
    AttemptResult, Failure, Registration, RegistrationState, TargetState, TrunkState, TrunkStates,
};
