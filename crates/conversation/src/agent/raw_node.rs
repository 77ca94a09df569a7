//! The graph of an agent file as it is written, and its checks.
//! Knows the keys of `[[node]]`. Where a conversation goes is decided in `graph`.

use super::{AgentError, Intent, Slot, Tool, error::did_you_mean, raw::Check};
use crate::{
    floor::Interruptible,
    graph::{Exit, Guard, Node},
    turn::Expectation,
    variables::Template,
};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawNode {
    pub(super) name: Spanned<String>,
    say: Option<Spanned<String>>,
    prompt: Option<Spanned<String>>,
    tools: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    collect: Vec<Spanned<String>>,
    otherwise: Option<Spanned<String>>,
    #[serde(default)]
    exit: Vec<RawExit>,
    expect: Option<Spanned<String>>,
    interruptible: Option<Interruptible>,
    #[serde(default)]
    ends: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawExit {
    to: Spanned<String>,
    intent: Option<Spanned<String>>,
    answer: Option<RawAnswer>,
    keys: Option<Spanned<String>>,
    when: Option<Spanned<String>>,
    description: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawAnswer {
    Yes,
    No,
}

/// As [`Expectation::parse`] reads them.
const EXPECTATIONS: [&str; 8] = ["any", "yes_no", "digits", "date", "time", "name", "email", "spelling"];

/// What nodes may name.
pub(super) struct Named<'a> {
    pub(super) slots: &'a BTreeMap<String, Slot>,
    pub(super) tools: &'a [Tool],
    pub(super) intents: &'a [Intent],
    /// Variables, given ones included.
    pub(super) variables: &'a [&'a str],
    /// Servers bring tools whose names are not known here.
    pub(super) more_tools: bool,
}

impl Check<'_> {
    /// The graph; its first node is where calls begin.
    pub(super) fn nodes(&self, raw: &[RawNode], named: &Named<'_>) -> Result<Vec<Node>, AgentError> {
        self.names("node", raw.iter().map(|node| &node.name))?;
        let nodes = raw.iter().map(|node| self.node(node, raw, named)).collect::<Result<Vec<_>, _>>()?;
        let mut reached = BTreeSet::from([0]);
        let mut next = vec![0];
        while let Some(at) = next.pop() {
            let exits = nodes.get(at).into_iter().flat_map(|node: &Node| &node.exits);
            next.extend(exits.map(|exit| exit.to).filter(|to| reached.insert(*to)));
        }
        if let Some(lost) = (0..nodes.len()).find(|node| !reached.contains(node)) {
            let message = format!("no exit leads to `{}`", raw[lost].name.get_ref());
            return Err(self.error(
                &raw[lost].name,
                message,
                "the first node is where calls begin; add an exit to it",
            ));
        }
        Ok(nodes)
    }

    fn node(&self, raw: &RawNode, all: &[RawNode], named: &Named<'_>) -> Result<Node, AgentError> {
        let slots = || named.slots.keys().map(String::as_str);
        let known: Vec<&str> = named.variables.iter().copied().chain(slots()).collect();
        let text = |text: &Option<Spanned<String>>| -> Result<Option<Template>, AgentError> {
            text.as_ref().map(|text| self.filled_in(text, &known)).transpose()
        };
        let collect =
            raw.collect.iter().map(|slot| self.known("slot", slot, slots())).collect::<Result<_, _>>()?;
        let tools = named.tools.iter().map(|tool| tool.spec.name.as_str());
        let tool = |name: &Spanned<String>| match named.more_tools {
            true => Ok(name.get_ref().clone()),
            false => self.known("tool", name, tools.clone()),
        };
        let tools = raw
            .tools
            .as_ref()
            .map(|list| list.iter().map(tool).collect::<Result<Vec<_>, _>>())
            .transpose()?;
        let node = Node {
            name: raw.name.get_ref().clone(),
            say: text(&raw.say)?,
            prompt: text(&raw.prompt)?,
            tools,
            collect,
            otherwise: text(&raw.otherwise)?,
            exits: raw
                .exit
                .iter()
                .map(|exit| self.exit(exit, all, named, &known))
                .collect::<Result<_, _>>()?,
            expect: raw.expect.as_ref().map(|expect| self.expectation(expect)).transpose()?,
            interruptible: raw.interruptible,
            ends: raw.ends,
        };
        let silent = node.say.is_none() && node.prompt.is_none() && node.collect.is_empty();
        let stuck = node.exits.is_empty() && !node.ends && node.prompt.is_none();
        let open = node.exits.iter().any(|exit| exit.guards.is_empty());
        let wrong = match () {
            () if silent && !node.ends => {
                Some(("neither says nor asks anything", "give it `say`, `prompt` or `collect`"))
            }
            () if stuck => Some(("has no way out", "add a [[node.exit]], or ends = true")),
            () if open && node.prompt.is_none() => Some((
                "has an exit without a rule, and no model to take it",
                "add `intent`, `keys`, `answer` or `when` to the exit, or `prompt` to the node",
            )),
            () => None,
        };
        match wrong {
            Some((wrong, help)) => {
                Err(self.error(&raw.name, format!("the node `{}` {wrong}", node.name), help))
            }
            None => Ok(node),
        }
    }

    /// What the caller is expected to say, as `digits:10` or `yes_no`.
    pub(super) fn expectation(&self, text: &Spanned<String>) -> Result<Expectation, AgentError> {
        Expectation::parse(text.get_ref()).ok_or_else(|| {
            let name = text.get_ref().split(':').next().unwrap_or_default();
            let message = format!("nobody can be expected to say `{}`", text.get_ref());
            let help = match did_you_mean(name, EXPECTATIONS.into_iter()) {
                near if near.starts_with("did") && near.contains("`digits`") => {
                    "write `digits`, or `digits:10` with a number from 1 to 40".to_owned()
                }
                near => near,
            };
            self.error(text, message, help)
        })
    }

    fn exit(
        &self,
        raw: &RawExit,
        all: &[RawNode],
        named: &Named<'_>,
        known: &[&str],
    ) -> Result<Exit, AgentError> {
        let names = all.iter().map(|node| node.name.get_ref().as_str());
        let name = self.known("node", &raw.to, names.clone())?;
        let to = names.clone().position(|node| node == name).unwrap_or_default();
        let mut guards = Vec::new();
        if let Some(intent) = &raw.intent {
            let intents = named.intents.iter().map(|intent| intent.name.as_str());
            guards.push(Guard::Intent(self.known("intent", intent, intents)?));
        }
        guards.extend(raw.answer.map(|answer| Guard::Answer(matches!(answer, RawAnswer::Yes))));
        if let Some(keys) = &raw.keys {
            if keys.get_ref().is_empty() || !keys.get_ref().chars().all(|key| "0123456789*#".contains(key)) {
                return Err(self.error(
                    keys,
                    format!("`{}` cannot be keyed in", keys.get_ref()),
                    "write digits, * or #",
                ));
            }
            guards.push(Guard::Keys(keys.get_ref().clone()));
        }
        for part in raw.when.iter().flat_map(|when| when.get_ref().split(" and ")) {
            let Some(when) = &raw.when else { continue };
            guards.push(self.condition(when, part.trim(), known)?);
        }
        if guards.is_empty() && raw.description.is_none() {
            let help = "add `intent`, `answer`, `keys` or `when`, or a `description` for a model to go by";
            return Err(self.error(&raw.to, format!("nothing says when to go to `{name}`"), help));
        }
        Ok(Exit { to, guards, description: raw.description.clone().unwrap_or_default() })
    }

    /// `name`, `not name`, `name == value` or `name != value`.
    fn condition(&self, when: &Spanned<String>, part: &str, known: &[&str]) -> Result<Guard, AgentError> {
        let (name, value, not) = match (part.split_once("!="), part.split_once("==")) {
            (Some((name, value)), _) => (name, Some(value), true),
            (None, Some((name, value))) => (name, Some(value), false),
            (None, None) => match part.strip_prefix("not ") {
                Some(name) => (name, None, true),
                None => (part, None, false),
            },
        };
        let name = name.trim();
        if !known.contains(&name) {
            let message = format!(
                "there is no variable `{name}`; write NAME, not NAME, NAME == VALUE or NAME != VALUE"
            );
            return Err(self.error(when, message, did_you_mean(name, known.iter().copied())));
        }
        let value = value.map(|value| value.trim().trim_matches(['"', '\'']).to_owned());
        Ok(Guard::Known { name: name.to_owned(), value, not })
    }
}
