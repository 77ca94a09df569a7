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
    /// The language that was spoken, a BCP 47 tag.
    #[serde(default)]
    pub language: Option<String>,
    /// Where the call stood in its graph, by the node's name.
    pub node: Option<String>,
    /// What was known, without what every call has by itself.
    pub variables: Variables,
    /// What was said and heard.
    pub messages: Vec<Message>,
}

impl Checkpoint {
    /// Puts a conversation away, without keys that were pressed; nothing, where the caller has not said a word yet.
    pub fn of(
        (agent, language): (&str, &str),
        node: Option<&str>,
        variables: &Variables,
        messages: Vec<Message>,
    ) -> Option<Self> {
        messages.iter().any(|message| matches!(message, Message::User { .. })).then(|| Self {
            agent: agent.to_owned(),
            language: Some(language.to_owned()),
            node: node.map(str::to_owned),
            variables: variables.without(&GIVEN_VARIABLES),
            messages: messages.into_iter().map(masked).collect(),
        })
    }
}

/// Keys are nobody's business, and may be a PIN: they are not kept.
fn masked(message: Message) -> Message {
    match message {
        Message::User { text } if is_keyed(&text) => {
            let hide = |c: char| if c.is_ascii_digit() { '*' } else { c };
            Message::User { text: text.chars().map(hide).collect() }
        }
        other @ (Message::User { .. } | Message::Assistant { .. } | Message::Tool { .. }) => other,
    }
}

fn is_keyed(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_digit() || matches!(c, ' ' | '*' | '#' | 'A'..='D'))
}

impl std::fmt::Debug for Checkpoint {
    /// Leaves words and values out: they are the caller's.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Checkpoint({}, {} messages)", self.agent, self.messages.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_not_kept_and_words_are() {
        let user = |text: &str| Message::User { text: text.to_owned() };
        let mut variables = Variables::default();
        variables.set("caller", "+4930123");
        variables.set("tier", "gold");
        let said = vec![user("1 2 3 4 #"), user("i have 2 parcels")];
        let kept = Checkpoint::of(("a", "en"), None, &variables, said).expect("words were said");
        assert_eq!(kept.messages, [user("* * * * #"), user("i have 2 parcels")]);
        assert_eq!(kept.variables.iter().collect::<Vec<_>>(), [("tier", "gold")]);
        assert_eq!(Checkpoint::of(("a", "en"), None, &variables, Vec::new()), None);
    }
}
