//! An agent file as it is written, and its checks.
//! Knows the file's keys. What the rest of the crate needs comes out as [`Agent`].

use super::{
    Action, Agent, AgentError, Intent, Passage, Returns, Slot, SlotKind, Stage, Task, Tool, ToolClass,
    ToolKind,
    error::did_you_mean,
    examples,
    menu::{RawMenu, menu},
    prepared::fallbacks,
};
use crate::{
    endpointing::Phrases,
    flow::{Matcher, keywords},
    grammar::Pattern,
    request::ToolSpec,
    spoken::Spoken,
};
use serde::Deserialize;
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use toml::Spanned;

/// Parameters that every statement may use besides its tool's arguments.
const GIVEN_PARAMETERS: [&str; 4] = ["call_id", "caller", "today", "now"];
/// Phrases of an intent in all, expanded: more are a mistake in the file.
const MAX_WAYS: u64 = 5_000_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    agent: RawIdentity,
    #[serde(default)]
    routes: RawRoutes,
    #[serde(default)]
    fallbacks: RawFallbacks,
    #[serde(default)]
    slot: Vec<RawSlot>,
    #[serde(default)]
    tool: Vec<RawTool>,
    #[serde(default)]
    intent: Vec<RawIntent>,
    #[serde(default)]
    knowledge: Vec<RawKnowledge>,
    #[serde(default)]
    speech: RawSpeech,
    #[serde(default)]
    menu: Option<RawMenu>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawIdentity {
    name: Spanned<String>,
    #[serde(default = "first_version")]
    version: String,
    #[serde(default = "english")]
    language: String,
    #[serde(default = "default_name")]
    voice: String,
    greeting: Spanned<String>,
    #[serde(default)]
    persona: String,
}

/// Who an agent is.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) language: String,
    pub(crate) voice: String,
    pub(crate) greeting: String,
    pub(crate) persona: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRoutes {
    stt: Option<String>,
    llm: Option<String>,
    tts: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFallbacks {
    pub(super) not_heard: Option<String>,
    pub(super) trouble: Option<String>,
    pub(super) still_there: Option<String>,
    pub(super) goodbye: Option<String>,
    pub(super) examples: Option<String>,
    pub(super) acknowledge: Option<Vec<String>>,
    pub(super) one_moment: Option<Vec<String>>,
    pub(super) ending_soon: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSlot {
    name: Spanned<String>,
    kind: RawSlotKind,
    ask: String,
    #[serde(default)]
    none: String,
    #[serde(default)]
    length: Option<u8>,
    #[serde(default)]
    values: Vec<String>,
    #[serde(default)]
    choices: Option<Spanned<String>>,
    #[serde(default)]
    private: bool,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawSlotKind {
    Date,
    Time,
    Digits,
    Name,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTool {
    name: Spanned<String>,
    description: String,
    kind: RawToolKind,
    #[serde(default)]
    sql: Option<Spanned<String>>,
    #[serde(default)]
    args: Vec<Spanned<String>>,
    #[serde(default)]
    returns: RawReturns,
    #[serde(default)]
    class: Option<RawClass>,
    #[serde(default = "eight_seconds")]
    timeout_ms: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawToolKind {
    Sqlite,
    EndCall,
    Note,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawReturns {
    #[default]
    Rows,
    Row,
    Changes,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawClass {
    Read,
    Write,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawIntent {
    name: Spanned<String>,
    phrases: Vec<Spanned<String>>,
    #[serde(default)]
    needs: Vec<Spanned<String>>,
    #[serde(default)]
    tool: Option<Spanned<String>>,
    #[serde(default)]
    confirm: Option<Spanned<String>>,
    #[serde(default)]
    say: Option<String>,
    #[serde(default)]
    nothing: Option<String>,
    #[serde(default)]
    does: Option<RawDoes>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawDoes {
    Repeat,
    StartOver,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKnowledge {
    file: Spanned<String>,
    #[serde(default)]
    intents: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSpeech {
    #[serde(default)]
    extra_words: BTreeMap<String, String>,
    #[serde(default)]
    hints: Vec<String>,
    #[serde(default)]
    say_as: BTreeMap<String, String>,
    #[serde(default = "yes")]
    spoken_forms: bool,
}

impl Default for RawSpeech {
    fn default() -> Self {
        Self { extra_words: BTreeMap::new(), hints: Vec::new(), say_as: BTreeMap::new(), spoken_forms: true }
    }
}

impl RawSpeech {
    /// How the agent's writing is read aloud in a language.
    fn spoken(&self, language: &str) -> Arc<Spoken> {
        let list = self.say_as.iter().map(|(word, said)| (word.as_str(), said.as_str()));
        let spoken = Spoken::new(language, list);
        Arc::new(if self.spoken_forms { spoken } else { spoken.without_rules() })
    }
}

fn yes() -> bool {
    true
}

fn first_version() -> String {
    "1".to_owned()
}

fn english() -> String {
    "en-US".to_owned()
}

fn default_name() -> String {
    "default".to_owned()
}

fn eight_seconds() -> u64 {
    8_000
}

/// Reads and checks a file.
pub(super) fn read(text: &str, files: &BTreeMap<String, String>) -> Result<Agent, AgentError> {
    let raw: Raw = toml::from_str(text).map_err(|error| AgentError::from_toml(text, &error))?;
    let check = Check { text };
    check.names("slot", raw.slot.iter().map(|slot| &slot.name))?;
    check.names("tool", raw.tool.iter().map(|tool| &tool.name))?;
    check.names("intent", raw.intent.iter().map(|intent| &intent.name))?;
    for (what, value) in [("name", &raw.agent.name), ("greeting", &raw.agent.greeting)] {
        check.filled(what, value)?;
    }
    let tool_names: Vec<&str> = raw.tool.iter().map(|tool| tool.name.get_ref().as_str()).collect();
    let slots = check.slots(&raw.slot, &tool_names)?;
    let tools = raw.tool.iter().map(|tool| check.tool(tool, &slots)).collect::<Result<Vec<_>, _>>()?;
    let intent_names: Vec<&str> = raw.intent.iter().map(|intent| intent.name.get_ref().as_str()).collect();
    let knowledge = check.knowledge(&raw.knowledge, files, &intent_names)?;
    let intents = raw
        .intent
        .iter()
        .map(|intent| check.intent(intent, &slots, &tools, &knowledge))
        .collect::<Result<Vec<_>, _>>()?;
    let phrases = Arc::new(Phrases::new(examples(&intents, &slots).iter().map(Vec::as_slice)));
    let matcher = Matcher::new(&intents);
    let language = raw.agent.language;
    let routes = [(Stage::Stt, raw.routes.stt), (Stage::Llm, raw.routes.llm), (Stage::Tts, raw.routes.tts)];
    Ok(Agent {
        identity: Identity {
            name: raw.agent.name.into_inner(),
            version: raw.agent.version,
            language: language.clone(),
            voice: raw.agent.voice,
            greeting: raw.agent.greeting.into_inner(),
            persona: raw.agent.persona,
        },
        routes: routes.into_iter().filter_map(|(stage, route)| Some((stage, route?))).collect(),
        fallbacks: fallbacks(raw.fallbacks, &language),
        menu: raw.menu.map(|raw| menu(raw, &tool_names, &check)).transpose()?,
        slots,
        tools,
        intents,
        knowledge,
        spoken: raw.speech.spoken(&language),
        pronunciations: raw.speech.extra_words,
        hints: raw.speech.hints,
        phrases,
        matcher,
    })
}

/// The checks, with the text that faults are located in.
pub(super) struct Check<'a> {
    text: &'a str,
}

impl Check<'_> {
    pub(super) fn error<T>(&self, at: &Spanned<T>, message: String, help: impl Into<String>) -> AgentError {
        AgentError::at(self.text, at.span().start, message, help)
    }

    pub(super) fn filled(&self, what: &str, value: &Spanned<String>) -> Result<(), AgentError> {
        if value.get_ref().trim().is_empty() {
            return Err(self.error(value, format!("`{what}` is empty"), "write some text"));
        }
        Ok(())
    }

    /// Names are there, and once only.
    fn names<'n>(
        &self,
        what: &str,
        names: impl Iterator<Item = &'n Spanned<String>>,
    ) -> Result<(), AgentError> {
        let mut seen = BTreeSet::new();
        for name in names {
            self.filled("name", name)?;
            if !seen.insert(name.get_ref()) {
                let message = format!("there is another {what} `{}`", name.get_ref());
                return Err(self.error(name, message, "give it a name of its own"));
            }
        }
        Ok(())
    }

    /// A name that must be known.
    pub(super) fn known<'n>(
        &self,
        what: &str,
        name: &Spanned<String>,
        known: impl Iterator<Item = &'n str> + Clone,
    ) -> Result<String, AgentError> {
        if known.clone().any(|known| known == name.get_ref()) {
            return Ok(name.get_ref().clone());
        }
        let message = format!("there is no {what} `{}`", name.get_ref());
        Err(self.error(name, message, did_you_mean(name.get_ref(), known)))
    }

    fn slots(&self, raw: &[RawSlot], tools: &[&str]) -> Result<BTreeMap<String, Slot>, AgentError> {
        let mut out = BTreeMap::new();
        for slot in raw {
            let choices = slot
                .choices
                .as_ref()
                .map(|tool| self.known("tool", tool, tools.iter().copied()))
                .transpose()?;
            let kind = match slot.kind {
                RawSlotKind::Date => SlotKind::Date,
                RawSlotKind::Time => SlotKind::Time,
                RawSlotKind::Digits => SlotKind::Digits { length: slot.length },
                RawSlotKind::Name => {
                    SlotKind::Name { known: slot.values.iter().map(|name| name.to_lowercase()).collect() }
                }
            };
            let name = slot.name.get_ref().clone();
            let slot = Slot {
                name: name.clone(),
                kind,
                ask: slot.ask.clone(),
                none: slot.none.clone(),
                choices,
                private: slot.private,
            };
            out.insert(name, slot);
        }
        Ok(out)
    }

    fn tool(&self, raw: &RawTool, slots: &BTreeMap<String, Slot>) -> Result<Tool, AgentError> {
        let mut properties = serde_json::Map::new();
        for arg in &raw.args {
            let name = self.known("slot", arg, slots.keys().map(String::as_str))?;
            properties.insert(name.clone(), schema(&slots[&name]));
        }
        let sql = || match &raw.sql {
            Some(sql) => {
                self.parameters(sql, &raw.args)?;
                Ok(sql.get_ref().trim().to_owned())
            }
            None => {
                Err(self.error(&raw.name, "this tool has no `sql`".to_owned(), "add the statement it runs"))
            }
        };
        let kind = match raw.kind {
            RawToolKind::Sqlite => {
                let returns = match raw.returns {
                    RawReturns::Rows => Returns::Rows,
                    RawReturns::Row => Returns::Row,
                    RawReturns::Changes => Returns::Changes,
                };
                ToolKind::Sqlite { sql: sql()?, returns }
            }
            RawToolKind::Note => ToolKind::NotePerson { sql: sql()? },
            RawToolKind::EndCall => ToolKind::EndCall,
        };
        let class = match (raw.class, &kind) {
            (Some(RawClass::Read), _) => ToolClass::Read,
            (Some(RawClass::Write), _) | (None, ToolKind::NotePerson { .. } | ToolKind::EndCall) => {
                ToolClass::Write
            }
            (None, ToolKind::Sqlite { returns: Returns::Changes, .. }) => ToolClass::Write,
            (None, ToolKind::Sqlite { .. }) => ToolClass::Read,
        };
        let required: Vec<&String> = properties.keys().collect();
        let parameters = json!({
            "type": "object", "properties": properties, "required": required, "additionalProperties": false,
        });
        let name = raw.name.get_ref().clone();
        Ok(Tool {
            spec: ToolSpec { name, description: raw.description.clone(), parameters },
            kind,
            timeout: Duration::from_millis(raw.timeout_ms),
            class,
        })
    }

    /// Every `:parameter` of a statement is an argument or given.
    fn parameters(&self, sql: &Spanned<String>, args: &[Spanned<String>]) -> Result<(), AgentError> {
        let known = || args.iter().map(|arg| arg.get_ref().as_str()).chain(GIVEN_PARAMETERS);
        // Every other part lies between quotes.
        for part in sql.get_ref().split('\'').step_by(2) {
            for after in part.split(':').skip(1) {
                let end = after.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(after.len());
                let name = &after[..end];
                if !name.is_empty() && !known().any(|known| known == name) {
                    let message = format!("the statement uses `:{name}`, which is no argument of this tool");
                    return Err(self.error(
                        sql,
                        message,
                        did_you_mean(name, known().collect::<Vec<_>>().into_iter()),
                    ));
                }
            }
        }
        Ok(())
    }

    fn knowledge(
        &self,
        raw: &[RawKnowledge],
        files: &BTreeMap<String, String>,
        intents: &[&str],
    ) -> Result<Vec<Passage>, AgentError> {
        let mut out = Vec::new();
        for item in raw {
            let file = self.known("file", &item.file, files.keys().map(String::as_str))?;
            let about = item
                .intents
                .iter()
                .map(|intent| self.known("intent", intent, intents.iter().copied()))
                .collect::<Result<Vec<_>, _>>()?;
            out.extend(passages(&files[&file], &about));
        }
        Ok(out)
    }

    fn intent(
        &self,
        raw: &RawIntent,
        slots: &BTreeMap<String, Slot>,
        tools: &[Tool],
        knowledge: &[Passage],
    ) -> Result<Intent, AgentError> {
        let name = raw.name.get_ref().clone();
        let mut patterns = Vec::new();
        for phrase in &raw.phrases {
            let pattern = Pattern::parse(phrase.get_ref()).map_err(|fault| {
                self.error(
                    phrase,
                    format!("this phrase cannot be read: {fault}"),
                    "write `[optional] (one|two) <slot>`",
                )
            })?;
            if pattern.count() > MAX_WAYS {
                let message = format!("this phrase can be said in {} ways", pattern.count());
                return Err(self.error(phrase, message, "split it into several phrases"));
            }
            for slot in pattern.slots() {
                if !slots.contains_key(slot) {
                    let help = did_you_mean(slot, slots.keys().map(String::as_str));
                    return Err(self.error(phrase, format!("there is no slot `{slot}`"), help));
                }
            }
            patterns.push(pattern);
        }
        if patterns.is_empty() {
            return Err(self.error(
                &raw.name,
                format!("intent `{name}` has no phrases"),
                "add at least one to `phrases`",
            ));
        }
        let action = self.action(raw, slots, tools, knowledge)?;
        let skeletons = patterns.iter().flat_map(keywords).collect::<BTreeSet<_>>().into_iter().collect();
        Ok(Intent { name, action, patterns, skeletons })
    }

    fn action(
        &self,
        raw: &RawIntent,
        slots: &BTreeMap<String, Slot>,
        tools: &[Tool],
        knowledge: &[Passage],
    ) -> Result<Action, AgentError> {
        let name = raw.name.get_ref();
        if let Some(does) = raw.does {
            return Ok(match does {
                RawDoes::Repeat => Action::Repeat,
                RawDoes::StartOver => Action::StartOver,
            });
        }
        let needs = raw
            .needs
            .iter()
            .map(|slot| self.known("slot", slot, slots.keys().map(String::as_str)))
            .collect::<Result<Vec<_>, _>>()?;
        if let Some(tool) = &raw.tool {
            let tool = self.known("tool", tool, tools.iter().map(|tool| tool.spec.name.as_str()))?;
            let ends = tools.iter().any(|known| known.spec.name == tool && known.kind == ToolKind::EndCall);
            if ends {
                return Ok(Action::Goodbye { tool });
            }
            if let Some(confirm) = &raw.confirm {
                self.placeholders(confirm, &needs)?;
            }
            return Ok(Action::Task(Box::new(Task {
                needs,
                confirm: raw.confirm.as_ref().map(|confirm| confirm.get_ref().clone()),
                tool,
                say: raw.say.clone().unwrap_or_else(|| "That is done.".to_owned()),
                nothing: raw.nothing.clone().unwrap_or_else(|| "Sorry, I found nothing.".to_owned()),
            })));
        }
        if let Some(say) = &raw.say {
            return Ok(Action::Say(say.clone()));
        }
        if knowledge.iter().any(|passage| passage.intents.contains(name)) {
            return Ok(Action::Knowledge);
        }
        let help = "give it `tool`, `say` or `does`, or name it in the `intents` of a [[knowledge]]";
        Err(self.error(&raw.name, format!("intent `{name}` does nothing"), help))
    }

    /// Every `{name}` in a text is one of the slots asked for.
    fn placeholders(&self, text: &Spanned<String>, needs: &[String]) -> Result<(), AgentError> {
        for part in text.get_ref().split('{').skip(1) {
            let name = part.split('}').next().unwrap_or(part);
            if !needs.iter().any(|need| need == name) {
                let help = did_you_mean(name, needs.iter().map(String::as_str));
                return Err(self.error(
                    text,
                    format!("`{{{name}}}` is not one of the slots in `needs`"),
                    help,
                ));
            }
        }
        Ok(())
    }
}

/// A slot as an argument in a JSON schema.
fn schema(slot: &Slot) -> serde_json::Value {
    match &slot.kind {
        SlotKind::Date => json!({"type": "string", "format": "date", "description": "a day, as 2026-10-14"}),
        SlotKind::Time => {
            json!({"type": "string", "description": "a time of day on the 24-hour clock, as 15:30"})
        }
        SlotKind::Digits { length: Some(length) } => {
            json!({"type": "string", "description": format!("exactly {length} digits, without blanks")})
        }
        SlotKind::Digits { length: None } => {
            json!({"type": "string", "description": "digits, without blanks"})
        }
        SlotKind::Name { .. } => json!({"type": "string", "description": "a person's name"}),
    }
}

/// A Markdown file, one passage for each heading.
fn passages(text: &str, intents: &[String]) -> Vec<Passage> {
    let mut out: Vec<Passage> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if line.starts_with('#') || out.is_empty() {
            let title = line.trim_start_matches('#').trim().to_owned();
            out.push(Passage { intents: intents.to_vec(), title, text: String::new() });
            if line.starts_with('#') {
                continue;
            }
        }
        if let Some(passage) = out.last_mut() {
            if !passage.text.is_empty() {
                passage.text.push(' ');
            }
            passage.text.push_str(line);
        }
    }
    out.retain(|passage| !passage.text.is_empty());
    out
}
