//! An agent file as it is written, and its checks.
//! Knows the file's keys. What the rest of the crate needs comes out as [`Agent`].

use super::{
    Action, Agent, AgentError, Elsewhere, Intent, Limits, Place, Section, Slot, SlotKind, Stage, Task, Tool,
    ToolKind,
    error::did_you_mean,
    examples,
    language::{Names, RawLanguage, RawLanguages},
    menu::{RawMenu, menu},
    prepared::fallbacks,
    raw_node::{Named, RawNode},
    raw_tool::{RawMcp, RawTool},
};
use crate::{
    endpointing::Phrases,
    floor::Interruptible,
    flow::{Matcher, keywords},
    grammar::Pattern,
    knowledge::Retrieval,
    spoken::Spoken,
    variables::{GIVEN_VARIABLES, Template, Variables, is_name},
};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use toml::Spanned;

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
    variables: BTreeMap<Spanned<String>, String>,
    #[serde(default)]
    limits: RawLimits,
    #[serde(default)]
    slot: Vec<RawSlot>,
    #[serde(default)]
    tool: Vec<RawTool>,
    #[serde(default)]
    mcp: Vec<RawMcp>,
    #[serde(default)]
    intent: Vec<RawIntent>,
    #[serde(default)]
    node: Vec<RawNode>,
    #[serde(default)]
    knowledge: Vec<RawKnowledge>,
    #[serde(default)]
    retrieval: RawRetrieval,
    #[serde(default)]
    languages: RawLanguages,
    #[serde(default)]
    language: Vec<RawLanguage>,
    #[serde(default)]
    speech: RawSpeech,
    #[serde(default)]
    menu: Option<RawMenu>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawIdentity {
    name: Spanned<String>,
    version: Option<String>,
    #[serde(default = "english")]
    language: String,
    #[serde(default)]
    voice: Option<Spanned<String>>,
    greeting: Spanned<String>,
    /// Said instead to a caller who was cut off and calls back.
    welcome_back: Option<Spanned<String>>,
    /// What may take the floor from the agent: `never`, `dtmf`, `speech` or `any`.
    #[serde(default)]
    interruptible: Interruptible,
    /// The same while it greets, if that differs.
    #[serde(default)]
    greeting_interruptible: Option<Interruptible>,
    #[serde(default)]
    persona: Option<Spanned<String>>,
}

/// Who an agent is. Greeting and persona may hold `{variable}`.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) language: String,
    pub(crate) voice: String,
    pub(crate) greeting: Template,
    pub(crate) welcome_back: Option<Template>,
    pub(crate) persona: Template,
    pub(crate) interruptible: Interruptible,
    pub(crate) greeting_interruptible: Interruptible,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLimits {
    tool_steps: Option<Spanned<u32>>,
    max_duration_minutes: Option<Spanned<u32>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRoutes {
    pub(super) stt: Option<Spanned<String>>,
    pub(super) llm: Option<Spanned<String>>,
    pub(super) tts: Option<Spanned<String>>,
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
    /// A Markdown file that is a part of the prompt.
    file: Option<Spanned<String>>,
    /// A folder of documents that are looked up for each question.
    folder: Option<Spanned<String>>,
    #[serde(default)]
    intents: Vec<Spanned<String>>,
}

/// How the folders are looked up.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRetrieval {
    passages: Option<Spanned<u32>>,
    budget_ms: Option<Spanned<u32>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSpeech {
    #[serde(default)]
    extra_words: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) hints: Vec<String>,
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
    pub(super) fn spoken(&self, language: &str) -> Arc<Spoken> {
        let list = self.say_as.iter().map(|(word, said)| (word.as_str(), said.as_str()));
        let spoken = Spoken::new(language, list);
        Arc::new(if self.spoken_forms { spoken } else { spoken.without_rules() })
    }
}

fn yes() -> bool {
    true
}

/// What tells this text from any other (FNV-1a): the version of a file that declares none. Two words' worth of hash is
/// enough to tell apart what one operator writes.
fn fingerprint(text: &str, files: &BTreeMap<String, String>) -> String {
    let parts =
        std::iter::once(text).chain(files.iter().flat_map(|(name, text)| [name.as_str(), text.as_str()]));
    let bytes = parts.flat_map(|part| part.bytes().chain([0]));
    let hash = bytes
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    format!("{hash:016x}")
}

fn english() -> String {
    "en-US".to_owned()
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
    let variables = check.variables(&raw.variables, &slots)?;
    let names: Vec<&str> = variables.iter().map(|(name, _)| name).chain(GIVEN_VARIABLES).collect();
    check.filled_in(&raw.agent.greeting, &names)?;
    let welcome_back = raw.agent.welcome_back.as_ref();
    let welcome_back = welcome_back.map(|text| check.filled_in(text, &names)).transpose()?;
    if let Some(persona) = &raw.agent.persona {
        check.filled_in(persona, &names)?;
    }
    let tools =
        raw.tool.iter().map(|tool| check.tool(tool, &slots, &names)).collect::<Result<Vec<_>, _>>()?;
    check.names("mcp", raw.mcp.iter().map(RawMcp::name))?;
    let mcp = raw.mcp.iter().map(|server| check.mcp(server)).collect::<Result<Vec<_>, _>>()?;
    let limits = check.limits(&raw.limits)?;
    let intent_names: Vec<&str> = raw.intent.iter().map(|intent| intent.name.get_ref().as_str()).collect();
    let knowledge = check.knowledge(&raw.knowledge, files, &intent_names)?;
    let retrieval = check.retrieval(&raw.knowledge, &raw.retrieval)?;
    let from_folders: Vec<&str> = raw
        .knowledge
        .iter()
        .filter(|item| item.folder.is_some())
        .flat_map(|item| item.intents.iter().map(|intent| intent.get_ref().as_str()))
        .collect();
    let informed: Vec<&str> = knowledge
        .iter()
        .flat_map(|section| section.intents.iter().map(String::as_str))
        .chain(from_folders)
        .collect();
    let intents = raw
        .intent
        .iter()
        .map(|intent| check.intent(intent, &slots, &tools, &informed))
        .collect::<Result<Vec<_>, _>>()?;
    let named = Named {
        slots: &slots,
        tools: &tools,
        intents: &intents,
        variables: &names,
        more_tools: !mcp.is_empty(),
    };
    let nodes = check.nodes(&raw.node, &named)?;
    let phrases = Arc::new(Phrases::new(examples(&intents, &slots).iter().map(Vec::as_slice)));
    let matcher = Matcher::new(&intents);
    let language = raw.agent.language;
    let routes = [(Stage::Stt, raw.routes.stt), (Stage::Llm, raw.routes.llm), (Stage::Tts, raw.routes.tts)];
    let routes = || routes.iter().filter_map(|(stage, route)| Some((*stage, route.as_ref()?)));
    let named = routes().map(|(stage, at)| (Elsewhere::Route(stage), at));
    let named = named.chain(raw.agent.voice.iter().map(|at| (Elsewhere::Voice, at)));
    let named = named.chain(raw.tool.iter().flat_map(RawTool::handed_to).map(|at| (Elsewhere::Agent, at)));
    let places = named.map(|(what, at)| check.place(what, at)).collect();
    let mut agent = Agent {
        identity: Identity {
            name: raw.agent.name.into_inner(),
            version: raw.agent.version.unwrap_or_else(|| fingerprint(text, files)),
            language: language.clone(),
            voice: raw.agent.voice.as_ref().map_or("default", |voice| voice.get_ref()).to_owned(),
            greeting: Template::new(raw.agent.greeting.get_ref()),
            welcome_back,
            interruptible: raw.agent.interruptible,
            greeting_interruptible: raw.agent.greeting_interruptible.unwrap_or(raw.agent.interruptible),
            persona: Template::new(raw.agent.persona.as_ref().map_or("", |persona| persona.get_ref())),
        },
        variables: variables.clone(),
        limits,
        mcp,
        routes: routes().map(|(stage, route)| (stage, route.get_ref().clone())).collect(),
        places,
        fallbacks: fallbacks(raw.fallbacks, &language),
        menu: raw.menu.map(|raw| menu(raw, &tool_names, &check)).transpose()?,
        slots,
        tools,
        intents,
        nodes,
        knowledge,
        retrieval,
        spoken: raw.speech.spoken(&language),
        pronunciations: raw.speech.extra_words,
        hints: raw.speech.hints,
        phrases,
        matcher,
        languages: Vec::new(),
        language_key: None,
        detect_turns: 0,
    };
    let alone = agent.tools.iter().position(|tool| tool.kind == ToolKind::SetLanguage);
    if let Some(tool) = alone.and_then(|at| raw.tool.get(at)).filter(|_| raw.language.is_empty()) {
        let message = "there is no other language for this tool".to_owned();
        return Err(check.error(&tool.name, message, "add a [[language]], or remove the tool"));
    }
    let names = Names { variables: &names, tools: &tool_names };
    check.languages(&mut agent, &raw.languages, raw.language, &names)?;
    Ok(agent)
}

/// The checks, with the text that faults are located in.
pub(super) struct Check<'a> {
    text: &'a str,
}

impl Check<'_> {
    pub(super) fn error<T>(&self, at: &Spanned<T>, message: String, help: impl Into<String>) -> AgentError {
        AgentError::at(self.text, at.span().start, message, help)
    }

    /// Where a file names what only the config knows.
    pub(super) fn place(&self, what: Elsewhere, name: &Spanned<String>) -> Place {
        let AgentError { line, column, .. } = self.error(name, String::new(), "");
        Place { what, name: name.get_ref().clone(), line, column }
    }

    pub(super) fn filled(&self, what: &str, value: &Spanned<String>) -> Result<(), AgentError> {
        if value.get_ref().trim().is_empty() {
            return Err(self.error(value, format!("`{what}` is empty"), "write some text"));
        }
        Ok(())
    }

    /// Names are there, and once only.
    pub(super) fn names<'n>(
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

    /// Variables with what they are before anybody sets them.
    fn variables(
        &self,
        raw: &BTreeMap<Spanned<String>, String>,
        slots: &BTreeMap<String, Slot>,
    ) -> Result<Variables, AgentError> {
        let mut variables = Variables::default();
        for (name, value) in raw {
            let taken = GIVEN_VARIABLES.contains(&name.get_ref().as_str()) || name.get_ref() == "now";
            if !is_name(name.get_ref()) {
                let message = format!("`{}` cannot name a variable", name.get_ref());
                return Err(self.error(
                    name,
                    message,
                    "use letters, digits and underscores, as in `first_name`",
                ));
            }
            if taken || slots.contains_key(name.get_ref()) {
                let what = if taken { "every call has" } else { "is a slot" };
                let message = format!("`{}` {what} already", name.get_ref());
                return Err(self.error(name, message, "give the variable a name of its own"));
            }
            variables.set(name.get_ref().clone(), value);
        }
        Ok(variables)
    }

    /// Every `{name}` of a text is known.
    pub(super) fn filled_in(&self, text: &Spanned<String>, known: &[&str]) -> Result<Template, AgentError> {
        let template = Template::new(text.get_ref());
        let unknown = template.names().find(|name| !known.contains(name)).map(str::to_owned);
        match unknown {
            None => Ok(template),
            Some(name) => {
                let message =
                    format!("there is no variable `{{{name}}}`; variables are declared in [variables]");
                Err(self.error(text, message, did_you_mean(&name, known.iter().copied())))
            }
        }
    }

    fn limits(&self, raw: &RawLimits) -> Result<Limits, AgentError> {
        let default = Limits::default();
        let within = |key: &Option<Spanned<u32>>, range: std::ops::RangeInclusive<u32>| match key {
            Some(key) if !range.contains(key.get_ref()) => {
                let help = format!("write a number from {} to {}", range.start(), range.end());
                Err(self.error(key, format!("{} is out of range", key.get_ref()), help))
            }
            key => Ok(key.as_ref().map(|key| *key.get_ref())),
        };
        let minutes = within(&raw.max_duration_minutes, 1..=1440)?;
        Ok(Limits {
            tool_steps: within(&raw.tool_steps, 1..=20)?.unwrap_or(default.tool_steps),
            max_duration: minutes.map(|minutes| Duration::from_secs(60 * u64::from(minutes))),
        })
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

    fn knowledge(
        &self,
        raw: &[RawKnowledge],
        files: &BTreeMap<String, String>,
        intents: &[&str],
    ) -> Result<Vec<Section>, AgentError> {
        let mut out = Vec::new();
        for item in raw {
            let about = item
                .intents
                .iter()
                .map(|intent| self.known("intent", intent, intents.iter().copied()))
                .collect::<Result<Vec<_>, _>>()?;
            if let Some(file) = &item.file {
                let file = self.known("file", file, files.keys().map(String::as_str))?;
                out.extend(sections(&files[&file], &about));
            }
        }
        Ok(out)
    }

    /// How the folders that are named are looked up, if there are any.
    fn retrieval(&self, raw: &[RawKnowledge], how: &RawRetrieval) -> Result<Option<Retrieval>, AgentError> {
        let mut folders: Vec<String> = Vec::new();
        for item in raw {
            match (&item.file, &item.folder) {
                (Some(_), None) => {}
                (None, Some(folder)) => {
                    self.filled("folder", folder)?;
                    if !folders.contains(folder.get_ref()) {
                        folders.push(folder.get_ref().clone());
                    }
                }
                (file, _) => {
                    let help = "write `file` for a Markdown file that is a part of the prompt, or `folder` for documents \
                                that are looked up";
                    let message = "a [[knowledge]] is either a `file` or a `folder`".to_owned();
                    return Err(match file {
                        Some(file) => self.error(file, message, help),
                        None => AgentError::at(self.text, 0, message, help),
                    });
                }
            }
        }
        let passages = self.within(how.passages.as_ref(), 1..=10, 3)?;
        let budget = self.within(how.budget_ms.as_ref(), 0..=2_000, 80)?;
        let (passages, budget) = (passages as usize, Duration::from_millis(u64::from(budget)));
        Ok((!folders.is_empty()).then_some(Retrieval { folders, passages, budget }))
    }

    fn intent(
        &self,
        raw: &RawIntent,
        slots: &BTreeMap<String, Slot>,
        tools: &[Tool],
        informed: &[&str],
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
        let action = self.action(raw, slots, tools, informed)?;
        let skeletons = patterns.iter().flat_map(keywords).collect::<BTreeSet<_>>().into_iter().collect();
        Ok(Intent { name, action, patterns, skeletons })
    }

    fn action(
        &self,
        raw: &RawIntent,
        slots: &BTreeMap<String, Slot>,
        tools: &[Tool],
        informed: &[&str],
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
        if informed.contains(&name.as_str()) {
            let nothing = "Sorry, I have nothing written down about that. Is there anything else?".to_owned();
            return Ok(Action::Knowledge { nothing: raw.nothing.clone().unwrap_or(nothing) });
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

/// A Markdown file, one section for each heading.
fn sections(text: &str, intents: &[String]) -> Vec<Section> {
    let mut out: Vec<Section> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if line.starts_with('#') || out.is_empty() {
            let title = line.trim_start_matches('#').trim().to_owned();
            out.push(Section { intents: intents.to_vec(), title, text: String::new() });
            if line.starts_with('#') {
                continue;
            }
        }
        if let Some(section) = out.last_mut() {
            if !section.text.is_empty() {
                section.text.push(' ');
            }
            section.text.push_str(line);
        }
    }
    out.retain(|section| !section.text.is_empty());
    out
}
