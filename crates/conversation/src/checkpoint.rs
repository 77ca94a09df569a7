//! A conversation as it is put away, so that a caller who was cut off can call back and go on.
//! Knows what is worth keeping. Where it is kept, for whom and how long is somebody else's business.

use crate::{
    request::Message,
    variables::{GIVEN_VARIABLES, Variables},
};
use serde::{Deserialize, Serialize};

/// Where a conversation stood, at the end of a turn.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The agent's name.
    pub agent: String,
    /// Where the call stood in its graph, by the node's name.
    pub node: Option<String>,
    /// What was known, without what every call has by itself.
    pub variables: Variables,
    /// What was said and heard.
    pub messages: Vec<Message>,
}

impl Checkpoint {
    /// Puts a conversation away; nothing, where the caller has not said a word yet.
    pub fn of(
        agent: &str,
        node: Option<&str>,
        variables: &Variables,
        messages: Vec<Message>,
    ) -> Option<Self> {
        messages.iter().any(|message| matches!(message, Message::User { .. })).then(|| Self {
            agent: agent.to_owned(),
            node: node.map(str::to_owned),
            variables: variables.without(&GIVEN_VARIABLES),
            messages,
        })
    }
}

impl std::fmt::Debug for Checkpoint {
    /// Leaves words and values out: they are the caller's.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Checkpoint({}, {} messages)", self.agent, self.messages.len())
    }
}
