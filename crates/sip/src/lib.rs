//! SIP without sockets: messages, transactions, dialogs, and SDP offer/answer (RFC 3261, 6026, 3264).
//! Knows RFC 3261 and its family. Knows nothing of audio, AI or calls.

pub mod builder;
pub mod caller_id;
mod dialog;
pub mod digest;
mod endpoint;
mod external;
pub mod failover;
pub mod finding;
pub mod gate;
pub mod headers;
mod identifiers;
pub mod locate;
pub mod message;
mod multipart;
pub mod offer_answer;
pub mod parser;
mod pending;
mod policy;
mod registrar;
pub mod registration;
mod replaces;
pub mod sdp;
mod session;
pub mod stream;
pub mod transaction;
pub mod uri;

pub use endpoint::{
    Address, Command, DialogKey, Endpoint, EndpointConfig, EndpointStatistics, Event, Flow, IncomingInvite,
    Input, OutgoingInvite, OutgoingRequest, Output, RequestKey, SavedDialog, Transport,
};
pub use external::{ExternalAddress, ExternalAddresses};
pub use gate::{
    BanPolicy, Explained, Facts, Gate, GateConfig, GateReason, GateStatistics, Network, TrunkRules,
    Unmatched, Verdict,
};
pub use offer_answer::{
    CodecSpec, LocalMedia, MasterKey, MediaSession, Negotiated, OfferError, SrtpKeys, SrtpMode, SrtpSeed,
    SrtpSuite, accept_answer, make_answer, make_offer,
};
pub use policy::{DialogPolicy, Refresher, Reliable, SessionTimer, SessionTimerMode};
pub use registrar::RegistrarLimits;
pub use replaces::Replaces;
pub use sdp::Direction;
pub use stream::{FrameError, StreamFramer};
