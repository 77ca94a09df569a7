//! What an agent offers when no language model answers: a spoken menu, by key or by word.
//! Knows the choices. Who plays it, and when, is the call's business.

use super::{AgentError, raw::Check};
use crate::{
    grammar::{spoken_digits, words},
    request::ToolCall,
};
use serde::Deserialize;
use toml::Spanned;

/// Choices of a menu at most: one for each key.
const MAX_OPTIONS: usize = 12;

/// The menu of an agent.
#[derive(Clone, Debug, PartialEq)]
pub struct Menu {
    /// Tells the choices.
    pub prompt: String,
    /// In the order of the file.
    pub options: Vec<MenuOption>,
    /// How often it is told before the agent says goodbye.
    pub attempts: u32,
}

/// One choice.
#[derive(Clone, Debug, PartialEq)]
pub struct MenuOption {
    /// The key.
    pub key: char,
    /// Words and phrases that choose it, lower case.
    pub words: Vec<Vec<String>>,
    /// What the agent says.
    pub say: String,
    /// What it does then, if anything: a tool with fixed arguments.
    pub tool: Option<(String, String)>,
    /// Whether it says goodbye after that.
    pub ends: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMenu {
    prompt: Spanned<String>,
    #[serde(default = "three")]
    attempts: u32,
    option: Vec<RawOption>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOption {
    key: Spanned<String>,
    #[serde(default)]
    words: Vec<String>,
    say: Spanned<String>,
    #[serde(default)]
    tool: Option<Spanned<String>>,
    #[serde(default)]
    arguments: Option<toml::Table>,
    #[serde(default)]
    ends: bool,
}

const fn three() -> u32 {
    3
}

impl Menu {
    /// The choice that the caller's keys or words make: the first whose key was pressed last, or all of whose words were
    /// said in their order.
    pub fn choose(&self, text: &str, digits: bool) -> Option<usize> {
        if digits {
            let key = text.chars().rev().find(|c| !c.is_whitespace())?;
            return self.options.iter().position(|option| option.key == key);
        }
        let said = words(text);
        let has = |phrase: &Vec<String>| said.windows(phrase.len()).any(|window| window == phrase.as_slice());
        let named = self.options.iter().position(|option| option.words.iter().any(has));
        let digit = spoken_digits(&said);
        named.or_else(|| self.options.iter().position(|option| digit == option.key.to_string()))
    }
}

impl MenuOption {
    /// The tool call of this choice.
    pub fn call(&self, id: String) -> Option<ToolCall> {
        let (name, arguments) = self.tool.clone()?;
        Some(ToolCall { id, name, arguments })
    }
}

/// Reads and checks a menu. `tools` are the names of the agent's tools.
pub(super) fn menu(raw: RawMenu, tools: &[&str], check: &Check<'_>) -> Result<Menu, AgentError> {
    check.filled("prompt", &raw.prompt)?;
    if raw.option.is_empty() || raw.option.len() > MAX_OPTIONS {
        let message = format!("a menu has 1 to {MAX_OPTIONS} choices, this one has {}", raw.option.len());
        return Err(check.error(&raw.prompt, message, "write one [[menu.option]] for each key"));
    }
    let mut options: Vec<MenuOption> = Vec::new();
    for option in raw.option {
        check.filled("say", &option.say)?;
        let mut letters = option.key.get_ref().chars();
        let key =
            letters.next().filter(|key| matches!(key, '0'..='9' | '*' | '#') && letters.next().is_none());
        let Some(key) = key else {
            let message = format!("`{}` is no key", option.key.get_ref());
            return Err(check.error(&option.key, message, "write one of 0 to 9, * or #"));
        };
        if options.iter().any(|other| other.key == key) {
            return Err(check.error(
                &option.key,
                format!("another choice has the key `{key}`"),
                "choose a free key",
            ));
        }
        let tool = match &option.tool {
            Some(tool) => {
                let name = check.known("tool", tool, tools.iter().copied())?;
                let arguments = serde_json::to_string(&option.arguments.unwrap_or_default());
                Some((name, arguments.unwrap_or_else(|_| "{}".to_owned())))
            }
            None => None,
        };
        let phrases =
            option.words.iter().map(|phrase| words(phrase)).filter(|phrase| !phrase.is_empty()).collect();
        options.push(MenuOption {
            key,
            words: phrases,
            say: option.say.into_inner(),
            tool,
            ends: option.ends,
        });
    }
    Ok(Menu { prompt: raw.prompt.into_inner(), options, attempts: raw.attempts.clamp(1, 10) })
}
