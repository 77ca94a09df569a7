//! The server: everything that waits. What it decides with is in `crates/`.

pub mod cli;
pub mod config;
pub mod providers;
