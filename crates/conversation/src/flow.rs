//! The deterministic brain: answers a request from the agent file alone, without a model.
//! Knows intents, slots and tool results. Keeps nothing: every request is replayed from its first message.

mod matcher;
mod talk;

pub(crate) use matcher::{Matcher, keywords};

use crate::{
    agent::Agent,
    request::{LlmRequest, Message, ToolCall},
    turn::Expectation,
};
use talk::{Act, Results, Talk};

/// What the agent does next.
#[derive(Clone, PartialEq, Eq)]
pub struct FlowReply {
    /// What it says, word by word; together they are the text.
    pub pieces: Vec<String>,
    /// The tools it calls. Their results are wanted in the next request.
    pub tool_calls: Vec<ToolCall>,
    /// What the caller will likely say to it.
    pub expect: Expectation,
    /// Whether the call ends once this is said.
    pub end_call: bool,
}

impl std::fmt::Debug for FlowReply {
    /// Leaves the words out: they repeat the caller's.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { pieces, tool_calls, expect, end_call } = self;
        write!(f, "FlowReply({} words, {tool_calls:?}, {expect:?}, end: {end_call})", pieces.len())
    }
}

/// Answers the last message of a request. Assistant messages may come from anywhere: only what the caller said and what
/// tools answered counts.
pub fn flow_reply(agent: &Agent, request: &LlmRequest) -> FlowReply {
    let mut talk = Talk::new(agent, request);
    let mut act = Act::say(agent.greeting(&request.variables));
    let turns = turns(&request.messages);
    let last = turns.len().saturating_sub(1);
    for (n, turn) in turns.into_iter().enumerate() {
        let results = Results::of(turn.answer);
        if let Some(text) = turn.user {
            act = talk.answer(text, &results);
        }
        if n < last {
            talk.said(&act, turn.answer);
        }
    }
    reply(act, &request.messages)
}

/// What the caller said, and what the agent did about it.
struct Turn<'a> {
    user: Option<&'a str>,
    answer: &'a [Message],
}

/// Cuts a conversation before everything the caller said.
fn turns(messages: &[Message]) -> Vec<Turn<'_>> {
    let mut out = Vec::new();
    let mut rest = messages;
    while !rest.is_empty() {
        let (user, after) = match rest {
            [Message::User { text }, after @ ..] => (Some(text.as_str()), after),
            _ => (None, rest),
        };
        let end =
            after.iter().position(|message| matches!(message, Message::User { .. })).unwrap_or(after.len());
        out.push(Turn { user, answer: &after[..end] });
        rest = &after[end..];
    }
    out
}

fn reply(act: Act, messages: &[Message]) -> FlowReply {
    let calls_before: usize = messages
        .iter()
        .map(|message| match message {
            Message::Assistant { tool_calls, .. } => tool_calls.len(),
            Message::User { .. } | Message::Tool { .. } => 0,
        })
        .sum();
    let call = |name: String, arguments: String| ToolCall {
        id: format!("flow_{}", calls_before + 1),
        name,
        arguments,
    };
    let (text, tool_calls, expect, end_call) = match act {
        Act::Say { text, expect, .. } => (text, Vec::new(), expect, false),
        Act::Call { tool, arguments, text } => (text, vec![call(tool, arguments)], Expectation::Any, false),
        Act::End { tool, text } => {
            (text, tool.map(|tool| call(tool, "{}".to_owned())).into_iter().collect(), Expectation::Any, true)
        }
    };
    FlowReply { pieces: pieces(&text), tool_calls, expect, end_call }
}

/// Word by word, as a model would write it.
fn pieces(text: &str) -> Vec<String> {
    text.split_inclusive(' ').map(str::to_owned).collect()
}
