//! The server: everything that waits. What it decides with is in `crates/`.

pub mod providers;
