//! The built-in SIP caller: what `tandem call` dials with and what the load driver multiplies.
//! A `Phone` decides, the `engine` waits. Knows the server only from the wire and, if asked to, from its HTTP API.

pub mod engine;
pub mod phone;
pub mod script;
pub mod sockets;
