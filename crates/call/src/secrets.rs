//! Keys that a caller was promised nobody reads: kept out of the model's context and of everything that is written down.
//! Knows names and keys. What a tool does with them is the tool's.

use conversation::ToolCall;
use std::collections::BTreeMap;

/// Secrets of one call. More than anybody is asked for in a call; beyond that the first one goes.
const MOST: usize = 16;

/// Fewer keys are found in too many innocent texts to be taken out of them.
const TELLING: usize = 3;

/// The secrets of one call, by the names that a model uses for them. Never printed.
#[derive(Default)]
pub(crate) struct Secrets {
    /// The caller's next keys are for this one.
    awaited: Option<String>,
    kept: BTreeMap<String, String>,
}

impl Secrets {
    /// The caller was asked for keys, to be kept under this name if there is one.
    pub(crate) fn awaits(&mut self, name: Option<&str>) {
        self.awaited = name.map(str::to_owned);
    }

    /// Whether what the caller keys in now is secret.
    pub(crate) const fn is_awaited(&self) -> bool {
        self.awaited.is_some()
    }

    /// The caller's turn: keeps it if it is the keys that were asked for, and says what stands in their place. Whatever
    /// the caller did instead, the question is over.
    pub(crate) fn take(&mut self, text: &str, keyed: bool) -> Option<String> {
        let name = self.awaited.take().filter(|_| keyed)?;
        let keys: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        if keys.is_empty() {
            return None;
        }
        let count = keys.chars().count();
        if self.kept.len() >= MOST && !self.kept.contains_key(&name) {
            self.kept.pop_first();
        }
        let place = place(&name);
        self.kept.insert(name, keys);
        let digits = if count == 1 { "digit" } else { "digits" };
        Some(format!("[{count} {digits} collected, kept as {place}]"))
    }

    /// A call as the tool gets it: with the keys where its arguments name them.
    pub(crate) fn filled_in(&self, call: ToolCall) -> ToolCall {
        let mut arguments = call.arguments;
        for (name, keys) in &self.kept {
            // Keys need no escaping in JSON.
            arguments = arguments.replace(&place(name), keys);
        }
        ToolCall { arguments, ..call }
    }

    /// A text with the names in place of the keys.
    pub(crate) fn taken_out(&self, mut text: String) -> String {
        for (name, keys) in self.kept.iter().filter(|(_, keys)| keys.len() >= TELLING) {
            if text.contains(keys.as_str()) {
                text = text.replace(keys.as_str(), &place(name));
            }
        }
        text
    }
}

/// How a model names a secret.
fn place(name: &str) -> String {
    format!("{{{name}}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(arguments: &str) -> ToolCall {
        ToolCall { id: "1".into(), name: "check".into(), arguments: arguments.into() }
    }

    #[test]
    fn keys_have_a_name_in_place_of_themselves_until_a_tool_needs_them() {
        let mut secrets = Secrets::default();
        secrets.awaits(Some("pin"));
        assert_eq!(secrets.take("4 7 1 1", true).as_deref(), Some("[4 digits collected, kept as {pin}]"));
        assert_eq!(secrets.filled_in(call("{\"pin\":\"{pin}\"}")).arguments, "{\"pin\":\"4711\"}");
        assert_eq!(secrets.taken_out("no such PIN: 4711".into()), "no such PIN: {pin}");
        assert_eq!(secrets.take("4 7 1 2", true), None, "nobody asked for these");
    }

    #[test]
    fn words_instead_of_keys_are_words_and_end_the_question() {
        let mut secrets = Secrets::default();
        secrets.awaits(Some("pin"));
        assert_eq!(secrets.take("just a moment", false), None);
        assert!(!secrets.is_awaited());
        assert_eq!(secrets.take("1 2", true), None);
    }

    #[test]
    fn a_call_keeps_no_more_than_a_few() {
        let mut secrets = Secrets::default();
        for n in 0..100 {
            secrets.awaits(Some(&format!("s{n}")));
            secrets.take("1 2 3", true);
        }
        assert_eq!(secrets.kept.len(), MOST);
    }
}
