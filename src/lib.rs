//! The server: everything that waits. What it decides with is in `crates/`.
//!
//! `ai_gateway` runs the routes' decisions; `ambience` reads the sound of a room; `call_actor` carries out what a call decides; `caller` is the built-in SIP
//! caller; `cli` the commands; `config` the file as written and as checked; `context_webhook` who is asked before a call
//! is answered; `hex` bytes as digits; `http` the API; `knowledge` the documents that agents look up; `media_threads` where calls live;
//! `providers` the three traits and one file per vendor; `rtp_socket` a leg's sockets; `secret` what must never be
//! printed; `report` what a period's calls amount to; `resume` callers who were cut off and call back; `server` joins all
//! of it; `services` prepares what it works with; `sip_transport` the SIP sockets; `store` the database; `telemetry`
//! traces, metrics and logs; `tools` what agents can do; `trunks` registrations, reachability and outgoing calls;
//! `vad_pool` judges the frames of many calls at a time; `webhooks` tells other systems of calls.

pub mod ai_gateway;
pub mod ambience;
pub mod call_actor;
pub mod caller;
pub mod cli;
pub mod config;
pub mod context_webhook;
mod hex;
pub mod http;
pub mod knowledge;
pub mod media_threads;
pub mod providers;
pub mod queue;
pub mod recorder;
pub mod report;
pub mod resume;
pub mod rtp_socket;
pub mod secret;
pub mod server;
pub mod services;
pub mod sip_transport;
pub mod store;
pub mod telemetry;
pub mod tools;
pub mod trunks;
pub mod turn_pool;
pub mod vad_pool;
pub mod webhooks;
