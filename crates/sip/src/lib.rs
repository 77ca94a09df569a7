//! SIP without sockets: messages, transactions, dialogs, and SDP offer/answer (RFC 3261, 6026, 3264).
//! Knows RFC 3261 and its family. Knows nothing of audio, AI or calls.

pub mod builder;
mod dialog;
pub mod digest;
mod endpoint;
mod external;
pub mod finding;
pub mod headers;
mod identifiers;
pub mod message;
pub mod offer_answer;
pub mod parser;
pub mod sdp;
pub mod stream;
pub mod transaction;
pub mod uri;

pub use endpoint::{
    Address, Command, DialogKey, Endpoint, EndpointConfig, EndpointStatistics, Event, Flow, IncomingInvite,
    Input, OutgoingInvite, Output, Transport,
};
pub use external::{ExternalAddress, ExternalAddresses};
pub use offer_answer::{LocalMedia, Negotiated, OfferError, accept_answer, make_answer, make_offer};
pub use sdp::Direction;
pub use stream::{FrameError, StreamFramer};
