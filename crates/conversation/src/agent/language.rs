//! The other languages of an agent: what it says, how it is heard and with which voice it speaks in each of them.
//! Knows the keys of `[languages]` and `[[language]]`. When a call changes its language is not known here.

use super::{
    Agent, AgentError, Elsewhere, Menu, ToolKind,
    menu::{RawMenu, menu},
    prepared::fallbacks,
    raw::{Check, RawFallbacks, RawRoutes, RawSpeech},
};
use crate::{detection::matching, endpointing::Phrases, graph::Guard, spoken::Language, variables::Template};
use serde::Deserialize;
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc};
use toml::Spanned;

/// Languages of an agent at most, besides its first.
const MOST: usize = 12;
/// Turns in which a language is detected: the greeting's answer, and one more for who answers "yes".
const TURNS: u32 = 2;

/// What languages are called by those who do not know their tags.
const NAMED: [(&str, &str); 7] = [
    ("english", "en"),
    ("german", "de"),
    ("deutsch", "de"),
    ("spanish", "es"),
    ("french", "fr"),
    ("italian", "it"),
    ("dutch", "nl"),
];

/// When the language is decided.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLanguages {
    /// Whether it is detected in the caller's first turns.
    #[serde(default)]
    detect: bool,
    /// In how many of them.
    turns: Option<Spanned<u32>>,
    /// The key that chooses the first language.
    key: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLanguage {
    pub(super) tag: Spanned<String>,
    greeting: Spanned<String>,
    welcome_back: Option<Spanned<String>>,
    persona: Option<Spanned<String>>,
    voice: Option<Spanned<String>>,
    key: Option<Spanned<String>>,
    #[serde(default)]
    routes: RawRoutes,
    #[serde(default)]
    fallbacks: RawFallbacks,
    #[serde(default)]
    speech: RawSpeech,
    menu: Option<RawMenu>,
    #[serde(default)]
    nodes: BTreeMap<Spanned<String>, RawNodeText>,
    #[serde(default)]
    slots: BTreeMap<Spanned<String>, RawSlotText>,
}

/// The words of a node of the graph.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNodeText {
    say: Option<Spanned<String>>,
    prompt: Option<Spanned<String>>,
    otherwise: Option<Spanned<String>>,
}

/// The words of a slot.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSlotText {
    ask: Option<String>,
    none: Option<String>,
}

/// What the texts of a language may name.
pub(super) struct Names<'a> {
    pub(super) variables: &'a [&'a str],
    pub(super) tools: &'a [&'a str],
}

impl Check<'_> {
    /// Adds the other languages to an agent, which is complete in its first.
    pub(super) fn languages(
        &self,
        agent: &mut Agent,
        when: &RawLanguages,
        raw: Vec<RawLanguage>,
        names: &Names<'_>,
    ) -> Result<(), AgentError> {
        let turns = self.within(when.turns.as_ref(), 1..=20, TURNS)?;
        agent.detect_turns = if when.detect { turns } else { 0 };
        agent.language_key = self.language_key(agent, when.key.as_ref(), &[])?;
        let mut others: Vec<Agent> = Vec::new();
        for raw in raw {
            self.new_tag(agent, &raw.tag, &others)?;
            let key = self.language_key(agent, raw.key.as_ref(), &others)?;
            let other = self.in_language(agent, raw, names)?;
            others.push(Agent { language_key: key, ..other });
        }
        let tags: Vec<String> =
            std::iter::once(&*agent).chain(&others).map(|agent| agent.language().to_owned()).collect();
        std::iter::once(&mut *agent).chain(&mut others).for_each(|agent| set_language_takes(agent, &tags));
        agent.languages = others.into_iter().map(Arc::new).collect();
        Ok(())
    }

    fn new_tag(&self, agent: &Agent, written: &Spanned<String>, others: &[Agent]) -> Result<(), AgentError> {
        let tag = written.get_ref();
        let known = others.iter().map(Agent::language).chain([agent.language()]);
        let fault = if !is_tag(tag) {
            let lower = tag.to_lowercase();
            let meant = NAMED.iter().find(|(name, _)| *name == lower).map(|(_, tag)| (*tag).to_owned());
            let meant = meant.or_else(|| Some(tag.replace('_', "-")).filter(|tag| is_tag(tag)));
            let help = meant.map_or("write a tag such as `de-DE` or `es`".to_owned(), |tag| {
                format!("did you mean `{tag}`?")
            });
            Some((format!("`{tag}` is no language tag"), help))
        } else if matching(tag, known).is_some() {
            Some((format!("the agent speaks `{tag}` already"), "write each language once".to_owned()))
        } else if others.len() >= MOST {
            Some((format!("there are more than {MOST} of these"), "remove some".to_owned()))
        } else {
            None
        };
        fault.map_or(Ok(()), |(message, help)| Err(self.error(written, message, help)))
    }

    fn language_key(
        &self,
        agent: &Agent,
        key: Option<&Spanned<String>>,
        others: &[Agent],
    ) -> Result<Option<char>, AgentError> {
        let Some(written) = key else { return Ok(None) };
        let mut letters = written.get_ref().chars();
        let key = letters.next().filter(|key| key.is_ascii_digit() && letters.next().is_none());
        let Some(key) = key else {
            let message = format!("`{}` is no key", written.get_ref());
            return Err(self.error(written, message, "write one of 0 to 9"));
        };
        if std::iter::once(agent).chain(others).any(|other| other.language_key == Some(key)) {
            let message = format!("another language has the key `{key}`");
            return Err(self.error(written, message, "choose a free key"));
        }
        let leads = |guard: &Guard| matches!(guard, Guard::Keys(keys) if keys.starts_with(key));
        let node =
            agent.nodes.iter().find(|node| node.exits.iter().any(|exit| exit.guards.iter().any(leads)));
        if let Some(node) = node {
            let message = format!("the key `{key}` leads out of the node `{}`", node.name);
            return Err(self.error(written, message, "choose a free key"));
        }
        Ok(Some(key))
    }

    fn in_language(&self, agent: &Agent, raw: RawLanguage, names: &Names<'_>) -> Result<Agent, AgentError> {
        self.filled("greeting", &raw.greeting)?;
        let menu = self.menu_in_language(agent.menu(), &raw.tag, raw.menu, names.tools)?;
        let mut other = agent.clone();
        self.texts_in_language(&mut other, &raw.tag, &raw.nodes, &raw.slots, names)?;
        self.fallbacks_in_language(&raw.tag, &raw.fallbacks)?;
        let at = self.place(Elsewhere::Language, &raw.tag);
        let language = raw.tag.into_inner();
        let filled_in = |text: &Spanned<String>| self.filled_in(text, names.variables);
        other.identity.greeting = filled_in(&raw.greeting)?;
        other.identity.welcome_back = raw.welcome_back.as_ref().map(filled_in).transpose()?;
        other.identity.persona = match &raw.persona {
            Some(persona) => filled_in(persona)?,
            None => {
                let persona = agent.identity.persona.render(|name| format!("{{{name}}}"));
                Template::new(&format!("{persona}\nSpeak the language `{language}`."))
            }
        };
        other.places = vec![at];
        for (stage, route) in raw.routes.named() {
            other.places.push(self.place(Elsewhere::Route(stage), route));
            other.routes.insert(stage, route.get_ref().clone());
        }
        if let Some(voice) = raw.voice {
            other.places.push(self.place(Elsewhere::Voice, &voice));
            other.identity.voice = voice.into_inner();
        }
        other.fallbacks = fallbacks(raw.fallbacks, &language);
        other.spoken = raw.speech.spoken(&language);
        other.hints = raw.speech.hints;
        other.menu = menu;
        other.identity.language = language;
        // The ways to say something that are written in the file are those of the first language.
        other.phrases = Arc::new(Phrases::new(std::iter::empty()));
        Ok(other)
    }

    /// What the graph says and asks, in another language: all of it, or a caller would hear both.
    fn texts_in_language(
        &self,
        other: &mut Agent,
        tag: &Spanned<String>,
        nodes: &BTreeMap<Spanned<String>, RawNodeText>,
        slots: &BTreeMap<Spanned<String>, RawSlotText>,
        names: &Names<'_>,
    ) -> Result<(), AgentError> {
        for name in nodes.keys() {
            self.known("node", name, other.nodes.iter().map(|node| node.name.as_str()))?;
        }
        for name in slots.keys() {
            self.known("slot", name, other.slots.keys().map(String::as_str))?;
        }
        let slot_names: Vec<String> = other.slots.keys().cloned().collect();
        let known: Vec<&str> =
            names.variables.iter().copied().chain(slot_names.iter().map(String::as_str)).collect();
        let missing = |what: &str| {
            let message = format!("{what}, and nothing in `{}`", tag.get_ref());
            Err(self.error(tag, message, "write [language.nodes.NAME] and [language.slots.NAME] below this"))
        };
        let mut asked = Vec::new();
        for node in &mut other.nodes {
            let none = RawNodeText::default();
            let text =
                nodes.iter().find(|(name, _)| *name.get_ref() == node.name).map_or(&none, |(_, text)| text);
            asked.extend(node.collect.iter().cloned());
            for (own, new, what) in [
                (&mut node.say, &text.say, "says something"),
                (&mut node.otherwise, &text.otherwise, "has `otherwise`"),
                (&mut node.prompt, &text.prompt, ""),
            ] {
                match (own.is_some(), new) {
                    (true, Some(new)) => *own = Some(self.filled_in(new, &known)?),
                    (true, None) if !what.is_empty() => {
                        return missing(&format!("the node `{}` {what}", node.name));
                    }
                    (true, None) => {}
                    (false, Some(new)) => {
                        let message =
                            format!("the node `{}` has no such text in the first language", node.name);
                        return Err(self.error(new, message, "write it there, or remove it here"));
                    }
                    (false, None) => {}
                }
            }
        }
        for slot in other.slots.values_mut() {
            let text = slots.iter().find(|(name, _)| *name.get_ref() == slot.name).map(|(_, text)| text);
            match text.and_then(|text| text.ask.clone()) {
                Some(ask) => slot.ask = ask,
                None if asked.contains(&slot.name) => {
                    return missing(&format!("the slot `{}` is asked for", slot.name));
                }
                None => {}
            }
            if let Some(none) = text.and_then(|text| text.none.clone()) {
                slot.none = none;
            }
        }
        Ok(())
    }

    /// Sentences are ready in a few languages. In others a caller would hear English in a voice that speaks none.
    fn fallbacks_in_language(&self, tag: &Spanned<String>, raw: &RawFallbacks) -> Result<(), AgentError> {
        let written = [
            ("not_heard", raw.not_heard.is_some()),
            ("trouble", raw.trouble.is_some()),
            ("still_there", raw.still_there.is_some()),
            ("goodbye", raw.goodbye.is_some()),
            ("acknowledge", raw.acknowledge.is_some()),
            ("one_moment", raw.one_moment.is_some()),
            ("ending_soon", raw.ending_soon.is_some()),
        ];
        match written.iter().find(|(_, written)| !written) {
            Some((name, _)) if Language::of(tag.get_ref()).is_none() => {
                let message = format!("nothing is ready for `fallbacks.{name}` in `{}`", tag.get_ref());
                let help = "write [language.fallbacks] below this, with each sentence of [fallbacks]";
                Err(self.error(tag, message, help))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// A menu in the first language is no menu in another.
    fn menu_in_language(
        &self,
        first: Option<&Menu>,
        tag: &Spanned<String>,
        raw: Option<RawMenu>,
        tools: &[&str],
    ) -> Result<Option<Menu>, AgentError> {
        match (first, raw) {
            (Some(_), None) => {
                let message = format!("the agent has a [menu], and none in `{}`", tag.get_ref());
                Err(self.error(tag, message, "write [language.menu] below this [[language]]"))
            }
            (_, raw) => raw.map(|raw| menu(raw, tools, self)).transpose(),
        }
    }
}

/// Whether a text has the form of a BCP 47 tag: `de`, `de-AT`, `zh-Hant-TW`.
fn is_tag(text: &str) -> bool {
    let mut parts = text.split('-');
    let language = parts.next().unwrap_or_default();
    let fits = |part: &str, least: usize| {
        (least..=8).contains(&part.len()) && part.chars().all(|c| c.is_ascii_alphanumeric())
    };
    (2..=3).contains(&language.len())
        && language.chars().all(|c| c.is_ascii_alphabetic())
        && parts.all(|part| fits(part, 2))
}

/// The tool that changes the language takes those that there are.
fn set_language_takes(agent: &mut Agent, tags: &[String]) {
    for tool in agent.tools.iter_mut().filter(|tool| tool.kind == ToolKind::SetLanguage) {
        tool.spec.parameters["properties"]["language"]["enum"] = json!(tags);
    }
}
