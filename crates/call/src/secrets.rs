//! Keys that a caller was promised nobody reads: kept out of the model's context and of everything that is written down.
//! Knows names and keys. What a tool does with them is the tool's.

use conversation::{Expectation, ToolCall, hide_all, hide_digits, said_digits};
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
    /// Turns of the caller in which digits are private: the one they were asked for in, and the next, in which
    /// speech-to-text may still settle words of the first.
    private: u8,
}

impl Secrets {
    /// The caller was asked for keys, to be kept under this name if there is one.
    pub(crate) fn awaits(&mut self, name: Option<&str>) {
        self.awaited = name.map(str::to_owned);
    }

    /// What the caller is asked for; `private`: the agent takes digits that are.
    pub(crate) fn note_expected(&mut self, expectation: Expectation, private: bool) {
        if private && matches!(expectation, Expectation::Digits { .. }) {
            self.private = 2;
        }
    }

    /// The turn that was asked for is over.
    pub(crate) fn note_answered(&mut self) {
        self.private = self.private.saturating_sub(1);
    }

    /// The caller's words as others may read them: in traces, records and logs.
    pub(crate) fn shown(&self, text: &str, language: &str) -> String {
        let told = || {
            let digits = said_digits(text, language);
            self.kept.values().any(|keys| keys.len() >= TELLING && digits.contains(keys.as_str()))
        };
        match (self.is_awaited(), self.private > 0 || !self.kept.is_empty() && told()) {
            // Speech-to-text may have written anything: "for" is a four.
            (true, _) => hide_all(text),
            (false, true) => hide_digits(text, language),
            (false, false) => text.to_owned(),
        }
    }

    /// Whether what the caller keys in now is secret.
    pub(crate) const fn is_awaited(&self) -> bool {
        self.awaited.is_some()
    }

    /// The caller's turn: keeps the keys that were asked for, pressed or said, and says what stands in their place.
    /// Whatever the caller did instead, the question is over.
    pub(crate) fn take(&mut self, text: &str, keyed: bool, language: &str) -> Option<String> {
        let name = self.awaited.take()?;
        let keys = match keyed {
            true => text.chars().filter(|c| !c.is_whitespace()).collect(),
            false => said_digits(text, language),
        };
        if keys.is_empty() || !keyed && keys.len() < TELLING {
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
        assert_eq!(
            secrets.take("4 7 1 1", true, "en").as_deref(),
            Some("[4 digits collected, kept as {pin}]")
        );
        assert_eq!(secrets.filled_in(call("{\"pin\":\"{pin}\"}")).arguments, "{\"pin\":\"4711\"}");
        assert_eq!(secrets.taken_out("no such PIN: 4711".into()), "no such PIN: {pin}");
        assert_eq!(secrets.take("4 7 1 2", true, "en"), None, "nobody asked for these");
    }

    #[test]
    fn words_instead_of_keys_are_words_and_end_the_question() {
        let mut secrets = Secrets::default();
        secrets.awaits(Some("pin"));
        assert_eq!(secrets.take("just a moment", false, "en"), None);
        assert!(!secrets.is_awaited());
        assert_eq!(secrets.take("1 2", true, "en"), None);
    }

    #[test]
    fn keys_that_are_said_are_kept_like_pressed_ones() {
        let mut secrets = Secrets::default();
        secrets.awaits(Some("pin"));
        assert_eq!(secrets.shown("it's for seven 11", "en"), "* * * **");
        let taken = secrets.take("it's four seven one one", false, "en");
        assert_eq!(taken.as_deref(), Some("[4 digits collected, kept as {pin}]"));
        assert_eq!(secrets.filled_in(call("{\"pin\":\"{pin}\"}")).arguments, "{\"pin\":\"4711\"}");
        assert_eq!(secrets.shown("one moment", "en"), "one moment");
        secrets.note_expected(Expectation::Digits { count: None }, true);
        assert_eq!(secrets.shown("it's four 7", "en"), "it's * *");
    }

    #[test]
    fn a_call_keeps_no_more_than_a_few() {
        let mut secrets = Secrets::default();
        for n in 0..100 {
            secrets.awaits(Some(&format!("s{n}")));
            secrets.take("1 2 3", true, "en");
        }
        assert_eq!(secrets.kept.len(), MOST);
    }
}
