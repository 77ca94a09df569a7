//! Who has the floor, what was said, and what the agent may say next.
//! Knows speech yes/no, transcripts, text and time. Knows nothing of RTP, SIP or vendors.

mod agent;
mod backchannel;
mod checkpoint;
mod chunker;
mod completeness;
mod context;
mod detection;
mod endpointing;
mod floor;
mod flow;
mod grammar;
mod graph;
mod knowledge;
mod loops;
mod request;
mod spoken;
mod turn;
mod variables;

pub use agent::{
    Agent, AgentError, Elsewhere, Fallbacks, HttpMethod, HttpTool, Limits, McpServer, McpTransport, Menu,
    MenuOption, Place, Returns, Stage, Tool, ToolClass, ToolKind, Transfer,
};
pub use backchannel::{SideSound, Sound};
pub use checkpoint::Checkpoint;
pub use chunker::SentenceChunker;
pub use completeness::{SmallWords, SoFar, TurnClassifier};
pub use context::{Context, HeardSentence};
pub use detection::{detect, is_telling, matching, primary};
pub use endpointing::{EndOfTurnReason, Phrases};
pub use floor::{AgentVoice, BargeInConfig, Decision, Floor, FloorConfig, Holder, Interruptible};
pub use flow::{FlowReply, flow_reply};
pub use graph::{GO_TO, Position, Step};
pub use knowledge::{LookedUp, Passage, Retrieval, fit, question, telling_words};
pub use loops::{Loop, LoopWatch};
pub use request::{LlmRequest, Message, ToolCall, ToolSpec};
pub use spoken::{Language, Spoken, SpokenForm};
pub use turn::{Expectation, ProviderTurn, Transcript, TurnId};
pub use variables::{GIVEN_VARIABLES, Template, Variables};
