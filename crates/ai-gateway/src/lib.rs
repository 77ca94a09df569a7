//! Which model answers, and what happens when it does not.
//! Knows requests, targets and outcomes. Knows no call, audio, vendor, socket or clock.

mod attempt;
mod cost;
mod failure;
mod route;
mod standings;

pub use attempt::{Attempt, AttemptId, Cancelled, Input, Output, TargetEvent};
pub use cost::{LlmRate, Rates};
pub use failure::{Failure, FailureClass};
pub use route::{Role, Route, TargetId};
pub use standings::{Change, Choice, Standings};
