//! Trunks at work: what the gate is told about them, registrations, reachability, outgoing calls, and how each stands.
//! Knows trunks of the config and the endpoint's commands. What a call says is not its business.

mod dialer;
mod dns;
mod metrics;
mod outgoing;
mod pinging;
mod placed;
mod registering;
pub mod rules;
mod runtime;
mod states;

pub use dialer::{AttemptFailure, CallRequest, DialError, Dialer, Early, Leg, Offer, trunks_of};
pub use dns::Resolver;
pub use metrics::TrunkMetrics;
pub use outgoing::Placement;
pub use runtime::Trunks;
pub use states::{
    AttemptResult, Failure, Registration, RegistrationState, TargetState, TrunkState, TrunkStates,
};
