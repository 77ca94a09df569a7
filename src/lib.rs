//! The server: everything that waits. What it decides with is in `crates/`.

pub mod call_actor;
pub mod media_threads;
pub mod providers;
pub mod rtp_socket;
pub mod server;
pub mod sip_transport;
