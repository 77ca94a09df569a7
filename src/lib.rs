//! The server: everything that waits. What it decides with is in `crates/`.

pub mod cli;
pub mod http;
pub mod providers;
pub mod store;
pub mod telemetry;
pub mod tools;
