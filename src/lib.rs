//! The server: everything that waits. What it decides with is in `crates/`.
//!
//! `ai_gateway` runs the routes' decisions; `caller` is the built-in SIP caller; `cli` the commands;
//! `config` the file as written and as checked; `http` the API;
//! `providers` the three traits and one file per vendor; `secret` what must never be printed; `store` the database;
//! `telemetry` traces, metrics and logs; `tools` what agents can do.

pub mod ai_gateway;
pub mod cli;
pub mod config;
pub mod http;
pub mod providers;
pub mod secret;
pub mod store;
pub mod telemetry;
pub mod tools;
