//! What a language model is asked: the conversation so far and the tools it may call.
//! Knows nothing of any vendor's wire format.

use crate::{
    knowledge::{LookedUp, Passage, as_data},
    variables::Variables,
};
use serde::{Deserialize, Serialize};

/// One question to a language model.
#[derive(Clone, Debug, PartialEq)]
pub struct LlmRequest {
    /// Who the agent is and what it knows.
    pub system: String,
    /// The conversation so far, oldest first; the last one is to be answered.
    pub messages: Vec<Message>,
    /// What the model may call.
    pub tools: Vec<ToolSpec>,
    /// The date at the caller's end, for "tomorrow" and "Tuesday".
    pub today: jiff::civil::Date,
    /// What is known of the call besides its words.
    pub variables: Variables,
    /// What was looked up for the caller's last words, and for those before, oldest first.
    pub looked_up: Vec<LookedUp>,
    /// A tool that changes something has run since the caller's last words. What is asked now is not asked of two models.
    pub acted: bool,
}

impl LlmRequest {
    /// About so many bytes of a European language are a token.
    pub const BYTES_PER_TOKEN: usize = 4;

    /// What it costs, roughly, in tokens: for where a provider was cut off before it counted them.
    pub fn tokens(&self) -> u64 {
        let said = self.messages.iter().map(|message| match message {
            Message::User { text } => text.len(),
            Message::Assistant { text, tool_calls, .. } => {
                text.len() + tool_calls.iter().map(|call| call.arguments.len()).sum::<usize>()
            }
            Message::Tool { result, .. } => result.len(),
        });
        let tools = self.tools.iter().map(|tool| tool.description.len() + tool.parameters.to_string().len());
        (self.system.len() + said.sum::<usize>() + tools.sum::<usize>()).div_ceil(Self::BYTES_PER_TOKEN)
            as u64
    }

    /// The passages that were looked up for something that the caller said.
    pub fn passages_for(&self, said: &str) -> &[Passage] {
        let found = self.looked_up.iter().rev().find(|looked_up| looked_up.said == said);
        found.map_or(&[], |looked_up| &looked_up.passages)
    }

    /// The caller's last words as a model is to read them, and which message they are: behind the passages that were
    /// looked up for them, which are marked as data. They stand with the question and not in the system prompt, so that
    /// what a provider has cached of the conversation so far stays valid. `None` where nothing was found.
    pub fn question_with_passages(&self) -> Option<(usize, String)> {
        let said = self.messages.iter().enumerate().rev().find_map(|(at, message)| match message {
            Message::User { text } => Some((at, text)),
            Message::Assistant { .. } | Message::Tool { .. } => None,
        });
        let (at, text) = said?;
        match self.passages_for(text) {
            [] => None,
            passages => Some((at, format!("{}\n\n{text}", as_data(passages)))),
        }
    }
}

/// One step of the conversation.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "role")]
pub enum Message {
    /// The caller's words, or the digits they keyed in.
    User {
        /// What was said.
        text: String,
    },
    /// The agent's words, as far as the caller heard them, and the tools it called.
    Assistant {
        /// What was heard.
        text: String,
        /// Calls made in this step.
        tool_calls: Vec<ToolCall>,
        /// Whether the caller cut it short.
        interrupted: bool,
    },
    /// What a tool answered.
    Tool {
        /// The call it answers.
        call_id: String,
        /// The tool's name.
        name: String,
        /// JSON text.
        result: String,
    },
}

impl std::fmt::Debug for Message {
    /// Leaves words, arguments and results out: they are the caller's.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::User { text } => write!(f, "User({} characters)", text.len()),
            Self::Assistant { text, tool_calls, .. } => {
                write!(f, "Assistant({} characters, {} tool calls)", text.len(), tool_calls.len())
            }
            Self::Tool { name, .. } => write!(f, "Tool({name})"),
        }
    }
}

/// A model's wish to call a tool.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Unique within the conversation; the result carries it back.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// JSON text of one object.
    pub arguments: String,
}

impl std::fmt::Debug for ToolCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ToolCall({} {})", self.name, self.id)
    }
}

/// A tool as a model sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolSpec {
    /// The name to call it by.
    pub name: String,
    /// What it does and when to use it.
    pub description: String,
    /// JSON schema of the arguments.
    pub parameters: serde_json::Value,
}
