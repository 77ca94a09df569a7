//! The world for tests: a caller, a carrier's network, the providers and a clock that jumps, all in memory.
//! Everything random comes from one seed, so a failing seed is a reproduction. Knows the machines, not the server.

mod caller;
mod link;
mod providers;
mod random;
mod scenario;
mod timeline;
mod world;

pub use link::Link;
pub use scenario::{Act, Dialling, Fault, Noise, Planned, Referral, Said, Scenario, Timings, ToolStep, say};
pub use world::{Heard, Order, Sent, World};
