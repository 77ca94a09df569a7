//! What the server is tried with: simulators of the outside, and load.
//! Knows wire formats, never the server's own types.

pub mod providers;
pub mod simulate;
