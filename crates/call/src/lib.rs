//! One call, as one state machine that joins SIP, media, conversation and the AI gateway's answers.
//! Knows every call feature. Knows no socket, vendor, database or clock.

pub mod admission;
pub mod cdr;
mod codec;
mod config;
pub mod event;
pub mod forecast;
mod hand_over;
mod id;
mod io;
mod keys;
mod knowledge;
mod language;
pub mod latency;
mod leg;
mod machine;
mod menu;
mod model;
pub mod other_leg;
mod path;
mod peer;
pub mod port_slots;
mod pressing;
mod protection;
mod reply;
mod rescue;
mod secrets;
mod signalling;
mod silence;
mod speculation;
mod speech;
pub mod spent;
mod tools;
mod transfer;
mod turns;
mod voicing;

pub use codec::codec_of;
pub use config::{
    CallConfig, CallContext, CallSetup, Clip, Clips, Localised, Member, Patience, Speculate,
    SpeculationConfig,
};
pub use event::{Event, FoundPassage, MosRange, Stamped};
pub use id::CallId;
pub use io::{
    HangUp, Input, LlmEvent, Output, Side, SipInput, SipOutput, SttEvent, ToolResult, TtsEvent, WordTime,
};
pub use machine::Call;
pub use pressing::KeysBy;
pub use protection::Protection;
