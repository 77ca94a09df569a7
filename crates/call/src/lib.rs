//! One call, as one state machine that joins SIP, media, conversation and the AI gateway's answers.
//! Knows every call feature. Knows no socket, vendor, database or clock.

pub mod event;
mod id;
mod io;
pub mod latency;

pub use event::{Event, Stamped};
pub use id::CallId;
pub use io::{HangUp, Input, LlmEvent, Output, SipInput, SipOutput, SttEvent, ToolResult, TtsEvent};
