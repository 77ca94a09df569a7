//! Who has the floor, what was said, and what the agent may say next.
//! Knows speech yes/no, transcripts, text and time. Knows nothing of RTP, SIP or vendors.

mod request;
mod turn;

pub use request::{LlmRequest, Message, ToolCall, ToolSpec};
pub use turn::{Expectation, Transcript, TurnId};
