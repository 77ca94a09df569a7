//! Arguments and commands.
//! Knows how people ask; the work is done elsewhere.

pub mod trace;
