//! An agent: one TOML file that says who it is, what it can do and how callers ask for it.
//! Knows its text. Knows nothing of vendors, files or databases; what it names is looked up elsewhere.

mod error;
mod language;
mod menu;
mod prepared;
mod raw;
mod raw_node;
mod raw_tool;
mod tool;

pub use error::AgentError;
pub use menu::{Menu, MenuOption};
pub use tool::{HttpMethod, HttpTool, McpServer, McpTransport, Returns, Tool, ToolClass, ToolKind, Transfer};

use crate::{
    endpointing::Phrases,
    floor::Interruptible,
    flow::Matcher,
    grammar::{Pattern, Piece, digit_words, scatter},
    graph::Node,
    knowledge::Retrieval,
    spoken::Spoken,
    turn::Expectation,
    variables::Variables,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Sentences given to a recogniser at most.
const MAX_EXAMPLES: u64 = 20_000;
/// How often a sentence comes at most to make its intent as frequent as the others.
const MOST_REPEATS: u64 = 30;

/// A part of the answering chain that a route can be chosen for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Speech-to-text.
    Stt,
    /// The language model.
    Llm,
    /// Text-to-speech.
    Tts,
}

/// Sentences for when something goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallbacks {
    /// Something was said and nothing understood.
    pub not_heard: String,
    /// A stage failed the turn.
    pub trouble: String,
    /// The caller is silent.
    pub still_there: String,
    /// The call ends.
    pub goodbye: String,
    /// Nothing was understood twice: what can be asked for.
    pub examples: String,
    /// Sounds of attention while an answer is on its way, said in turn.
    pub acknowledge: Vec<String>,
    /// Said when it takes longer, one after the other.
    pub one_moment: Vec<String>,
    /// The longest call is nearly over.
    pub ending_soon: String,
}

/// Something that an agent's file names and others have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// The route of a stage.
    Route(Stage),
    /// A voice of the text-to-speech route.
    Voice,
    /// Another agent.
    Agent,
    /// A recogniser and a voice for a language.
    Language,
    /// A file with the sound of a room.
    Ambience,
}

/// Where a file names something that others have, for those who find it missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// What.
    pub what: Elsewhere,
    /// Its name.
    pub name: String,
    /// Counts from 1.
    pub line: usize,
    /// Counts from 1, in characters.
    pub column: usize,
}

/// The sound of the room that an agent seems to sit in, under everything it says and does not say.
#[derive(Clone, Debug, PartialEq)]
pub struct Ambience {
    /// A WAV file, beside the agent's.
    pub file: String,
    /// Its mean level on the line, in dB relative to full scale.
    pub level_dbfs: f32,
}

/// How far an agent may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Times that tools may lead to further tools within one turn.
    pub tool_steps: u32,
    /// Its longest call; the server's where absent.
    pub max_duration: Option<Duration>,
}

impl Default for Limits {
    /// Five steps: enough to look up, choose, do and check; more is a model that goes round in circles.
    fn default() -> Self {
        Self { tool_steps: 5, max_duration: None }
    }
}

/// One agent.
#[derive(Clone, Debug)]
pub struct Agent {
    pub(crate) identity: raw::Identity,
    /// What variables are before anybody sets them.
    variables: Variables,
    limits: Limits,
    ambience: Option<Ambience>,
    mcp: Vec<McpServer>,
    routes: BTreeMap<Stage, String>,
    places: Vec<Place>,
    fallbacks: Fallbacks,
    pub(crate) slots: BTreeMap<String, Slot>,
    tools: Vec<Tool>,
    pub(crate) intents: Vec<Intent>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) knowledge: Vec<Section>,
    retrieval: Option<Retrieval>,
    pronunciations: BTreeMap<String, String>,
    spoken: Arc<Spoken>,
    menu: Option<Menu>,
    /// Besides its first one.
    languages: Vec<Arc<Self>>,
    language_key: Option<char>,
    detect_turns: u32,
    hints: Vec<String>,
    phrases: Arc<Phrases>,
    pub(crate) matcher: Matcher,
}

/// Something the caller must tell.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) name: String,
    pub(crate) kind: SlotKind,
    /// How the agent asks for it.
    pub(crate) ask: String,
    /// Said instead when there is nothing to choose from.
    pub(crate) none: String,
    /// The tool whose rows are the choices, and its arguments.
    pub(crate) choices: Option<String>,
    /// Only its last two digits are ever spoken.
    pub(crate) private: bool,
}

/// How a slot is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SlotKind {
    Date,
    Time,
    Digits { length: Option<u8> },
    Name { known: Vec<String> },
}

/// Something the caller may want.
#[derive(Clone, Debug)]
pub(crate) struct Intent {
    pub(crate) name: String,
    pub(crate) action: Action,
    pub(crate) patterns: Vec<Pattern>,
    /// Ways to say it, for matching.
    pub(crate) skeletons: Vec<Vec<Piece>>,
}

/// What the agent does about it.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Collect slots, confirm, call a tool and say its result.
    Task(Box<Task>),
    /// Say a fixed text.
    Say(String),
    /// Say what the knowledge files, or the documents that were looked up, have about it.
    Knowledge {
        /// Said when they have nothing.
        nothing: String,
    },
    Repeat,
    StartOver,
    /// Call this tool, which hangs up, and say goodbye.
    Goodbye {
        tool: String,
    },
}

/// A task's texts may hold `{slot}` and `{column}`.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) needs: Vec<String>,
    pub(crate) confirm: Option<String>,
    pub(crate) tool: String,
    /// Said when it worked.
    pub(crate) say: String,
    /// Said when the tool found or changed nothing.
    pub(crate) nothing: String,
}

/// One section of a knowledge file.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub(crate) intents: Vec<String>,
    pub(crate) title: String,
    pub(crate) text: String,
}

impl Agent {
    /// Reads an agent file. `knowledge` holds the text of the files it may name.
    ///
    /// # Errors
    /// The first thing that is wrong, where, and what to write instead.
    pub fn parse(toml_text: &str, knowledge: &BTreeMap<String, String>) -> Result<Self, AgentError> {
        raw::read(toml_text, knowledge)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.identity.name
    }

    /// Its version, for the call's record: as declared, else a hash of all that it was read from.
    pub fn version(&self) -> &str {
        &self.identity.version
    }

    /// Its language, a BCP 47 tag.
    pub fn language(&self) -> &str {
        &self.identity.language
    }

    /// The same agent in its other languages.
    pub fn languages(&self) -> &[Arc<Self>] {
        &self.languages
    }

    /// The key that chooses its language: pressed alone, when no other key is expected.
    pub const fn language_key(&self) -> Option<char> {
        self.language_key
    }

    /// Turns of the caller in which the language is detected; 0: it is fixed.
    pub const fn detect_turns(&self) -> u32 {
        self.detect_turns
    }

    /// The name of its voice.
    pub fn voice(&self) -> &str {
        &self.identity.voice
    }

    /// What may take the floor from it: while it greets, and later.
    pub fn interruptible(&self) -> (Interruptible, Interruptible) {
        (self.identity.greeting_interruptible, self.identity.interruptible)
    }

    /// What it says first, in a call with these variables.
    pub fn greeting(&self, variables: &Variables) -> String {
        self.identity.greeting.with(variables)
    }

    /// What it says first to a caller who was cut off and calls back, where that is something of its own.
    pub fn welcome_back(&self, variables: &Variables) -> Option<String> {
        self.identity.welcome_back.as_ref().map(|text| text.with(variables))
    }

    /// Its variables, as they are before anybody sets them.
    pub const fn variables(&self) -> &Variables {
        &self.variables
    }

    /// How far it may go.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The room it seems to sit in, if there is one.
    pub const fn ambience(&self) -> Option<&Ambience> {
        self.ambience.as_ref()
    }

    /// The tool servers it works with.
    pub fn mcp(&self) -> &[McpServer] {
        &self.mcp
    }

    /// Sentences for when something goes wrong.
    pub fn fallback(&self) -> &Fallbacks {
        &self.fallbacks
    }

    /// The name of the route for a stage.
    pub fn route(&self, stage: Stage) -> &str {
        self.routes.get(&stage).map_or("default", String::as_str)
    }

    /// Those of its tools that are requests, by name.
    pub fn requests(&self) -> impl Iterator<Item = (&str, &HttpTool)> {
        self.tools.iter().filter_map(|tool| match tool {
            Tool { spec, kind: ToolKind::Http(http), .. } => Some((spec.name.as_str(), &**http)),
            Tool { .. } => None,
        })
    }

    /// What it can do.
    pub fn tools(&self) -> &[Tool] {
        &self.tools
    }

    /// The tool of that name.
    pub fn tool(&self, name: &str) -> Option<&Tool> {
        self.tools.iter().find(|tool| tool.spec.name == name)
    }

    /// What its file names and others have.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// Where its language is named, if that is not the first of its file.
    pub fn language_at(&self) -> Option<&Place> {
        self.places.iter().find(|place| place.what == Elsewhere::Language)
    }

    /// The agents that its tools hand a call over to.
    pub fn handed_to(&self) -> impl Iterator<Item = &str> {
        let agents = self.places.iter().filter(|place| place.what == Elsewhere::Agent);
        agents.map(|place| place.name.as_str())
    }

    /// Who it is and what it knows, for [`crate::Context::new`].
    pub fn system_prompt(&self, variables: &Variables) -> String {
        let mut out = self.identity.persona.with(variables).trim().to_owned();
        for passage in &self.knowledge {
            out.push_str(&format!("\n\n# {}\n{}", passage.title, passage.text));
        }
        out
    }

    /// How it looks things up in folders of documents, if it does.
    pub const fn retrieval(&self) -> Option<&Retrieval> {
        self.retrieval.as_ref()
    }

    /// Words that are not in dictionaries, with their ARPAbet.
    pub fn pronunciations(&self) -> &BTreeMap<String, String> {
        &self.pronunciations
    }

    /// How its writing is read aloud.
    pub fn spoken(&self) -> &Arc<Spoken> {
        &self.spoken
    }

    /// What it offers when no language model answers.
    pub fn menu(&self) -> Option<&Menu> {
        self.menu.as_ref()
    }

    /// Whether a caller says digits to it that only their last two are ever spoken of.
    pub fn has_private_digits(&self) -> bool {
        self.slots.values().any(|slot| slot.private && matches!(slot.kind, SlotKind::Digits { .. }))
    }

    /// Words and names worth telling any recogniser.
    pub fn hints(&self) -> &[String] {
        &self.hints
    }

    /// Sentences known to be whole, for [`crate::FloorConfig::phrases`].
    pub fn phrases(&self) -> Arc<Phrases> {
        Arc::clone(&self.phrases)
    }

    /// What callers say, as lower-case words, for a recogniser's language model: at most 20,000 sentences, the same
    /// every time. Frequent ones come several times.
    pub fn example_sentences(&self) -> Vec<Vec<String>> {
        examples(&self.intents, &self.slots)
    }
}

impl Slot {
    /// The hint that goes with its question.
    pub(crate) fn expectation(&self) -> Expectation {
        match &self.kind {
            SlotKind::Date => Expectation::Date,
            SlotKind::Time => Expectation::Time,
            SlotKind::Digits { length } => Expectation::Digits { count: *length },
            SlotKind::Name { .. } => Expectation::Name,
        }
    }

    /// The `n`-th example of how it is said.
    fn example(&self, n: u64) -> String {
        let pick = |list: &[&str]| list[usize_of(n) % list.len()].to_owned();
        match &self.kind {
            SlotKind::Date => pick(DAYS),
            SlotKind::Time => {
                let hour = HOURS[usize_of(n) % HOURS.len()];
                TIMES[usize_of(n / HOURS.len() as u64) % TIMES.len()].replace('#', hour)
            }
            SlotKind::Digits { length } => {
                let length = usize::from(length.unwrap_or(4));
                let digits = format!("{:020}", scatter(n));
                let digits = digit_words(&digits[digits.len() - length.min(digits.len())..]);
                if n.is_multiple_of(3) { digits.replace("zero", "oh") } else { digits }
            }
            SlotKind::Name { known } if known.is_empty() => "smith".to_owned(),
            SlotKind::Name { known } => known[usize_of(n) % known.len()].clone(),
        }
    }

    /// How many examples there are.
    fn examples(&self) -> u64 {
        match &self.kind {
            SlotKind::Date => DAYS.len() as u64,
            SlotKind::Time => (HOURS.len() * TIMES.len()) as u64,
            SlotKind::Digits { .. } => 300,
            SlotKind::Name { known } => known.len().max(1) as u64,
        }
    }
}

const DAYS: &[&str] = &[
    "today",
    "tomorrow",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
    "next monday",
    "next tuesday",
    "next wednesday",
    "next thursday",
    "next friday",
    "the day after tomorrow",
];
const HOURS: &[&str] =
    &["nine", "ten", "eleven", "twelve", "one", "two", "three", "four", "five", "eight", "six", "seven"];
const TIMES: &[&str] = &[
    "#",
    "# thirty",
    "half past #",
    "# o'clock",
    "# fifteen",
    "quarter past #",
    "quarter to #",
    "# forty five",
    "# am",
    "# pm",
    "# in the morning",
    "# in the afternoon",
];
/// Short answers that any agent must understand.
const ANSWERS: &[&str] = &[
    "yes",
    "yes please",
    "yeah",
    "yep",
    "sure",
    "correct",
    "that's right",
    "that is correct",
    "okay",
    "no",
    "no thanks",
    "no thank you",
    "nope",
    "wrong",
    "that's wrong",
    "not that one",
    "hello",
    "hi",
    "um",
    "uh",
];

/// Expands phrases and answers. Every intent and every slot gets about the same number of sentences, because a
/// recogniser takes their number for their probability; what can be said in few ways comes several times.
pub(crate) fn examples(intents: &[Intent], slots: &BTreeMap<String, Slot>) -> Vec<Vec<String>> {
    let share = (MAX_EXAMPLES / (intents.len() + slots.len() + 1).max(10) as u64).max(1);
    let split = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let answers = (0..share.min(MOST_REPEATS * ANSWERS.len() as u64))
        .map(|n| split(ANSWERS[usize_of(n) % ANSWERS.len()]));
    let mut out: Vec<Vec<String>> = answers.collect();
    for slot in slots.values() {
        let wanted = share.min(MOST_REPEATS * slot.examples());
        out.extend((0..wanted).map(|n| match n % 4 {
            3 => split(&format!("{} {}", slot_frame(&slot.kind), slot.example(n / 4))),
            _ => split(&slot.example(n / 4 * 3 + n % 4)),
        }));
    }
    for intent in intents {
        let share = share / intent.patterns.len().max(1) as u64;
        for pattern in &intent.patterns {
            // The short ways are the frequent ones.
            let bare = pattern.bare();
            let shapes = bare.some((share / 4).max(1)).chain(pattern.some(share.max(1)));
            let shapes: Vec<Vec<Piece>> = shapes.filter(|shape| !shape.is_empty()).collect();
            let wanted = share.min(MOST_REPEATS * shapes.len() as u64).max(1);
            let shape = |n: u64| &shapes[usize_of(n) % shapes.len()];
            out.extend((0..wanted).map(|n| say(shape(n), slots, scatter(n))));
        }
    }
    out.truncate(usize_of(MAX_EXAMPLES));
    out
}

fn usize_of(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// What callers put before an answer.
fn slot_frame(kind: &SlotKind) -> &'static str {
    match kind {
        SlotKind::Date => "on",
        SlotKind::Time => "at",
        SlotKind::Digits { .. } => "it's",
        SlotKind::Name { .. } => "my name is",
    }
}

/// A shape with examples in its slots.
pub(crate) fn say(shape: &[Piece], slots: &BTreeMap<String, Slot>, seed: u64) -> Vec<String> {
    let mut out = Vec::new();
    for (n, piece) in shape.iter().enumerate() {
        match piece {
            Piece::Word(word) => out.push(word.clone()),
            Piece::Slot(name) => {
                let Some(slot) = slots.get(name) else { continue };
                let example = slot.example(scatter(seed + n as u64) % slot.examples());
                out.extend(example.split_whitespace().map(str::to_owned));
            }
        }
    }
    out
}
