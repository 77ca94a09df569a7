//! The server: everything that waits. What it decides with is in `crates/`.

pub mod ai_gateway;
pub mod providers;
pub mod secret;
