//! A conversation as a graph: where it stands, what it knows, and where it goes by rules that need no model.
//! Knows nodes, exits and variables. Knows nothing of audio, turns or models: it says what to say and whether to ask one.

use crate::{
    agent::{Agent, Slot, SlotKind},
    grammar::{parse_day, parse_name, parse_time, spoken_digits, words, yes_no},
    request::ToolSpec,
    variables::{Template, Variables},
};
use jiff::civil::Date;
use serde_json::json;

/// The tool by which a model leaves a node.
pub const GO_TO: &str = "go_to";
/// Nodes passed through at once: more is a circle.
const MOST_HOPS: usize = 8;

/// A place in a conversation.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    /// Said on the way in; then the caller has the floor.
    pub(crate) say: Option<Template>,
    /// What a model is told to do here. Without it the node works without a model.
    pub(crate) prompt: Option<Template>,
    /// The tools that a model has here; all where absent.
    pub(crate) tools: Option<Vec<String>>,
    /// Slots taken from the caller's words.
    pub(crate) collect: Vec<String>,
    /// Said when no exit is open and there is no model to ask.
    pub(crate) otherwise: Option<Template>,
    pub(crate) exits: Vec<Exit>,
    /// The call ends here, once what is to be said has been said.
    pub(crate) ends: bool,
}

/// A way out of a node.
#[derive(Clone, Debug)]
pub(crate) struct Exit {
    pub(crate) to: usize,
    /// All of them must hold; without any, the exit is a model's to take.
    pub(crate) guards: Vec<Guard>,
    /// When a model is to take it.
    pub(crate) description: String,
}

/// A rule that can be decided without a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Guard {
    /// The words are one of the ways to say this.
    Intent(String),
    /// The words say yes or no.
    Answer(bool),
    /// This was keyed in.
    Keys(String),
    /// A variable has a value, or this very value; `not` turns it round.
    Known { name: String, value: Option<String>, not: bool },
}

/// Where a conversation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position(usize);

/// What became of the caller's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// The nodes passed through, from the first left to the last entered.
    pub path: Vec<String>,
    /// What to say without asking a model; nothing: ask it.
    pub say: Option<String>,
    /// The call ends after that.
    pub ends: bool,
}

/// What the caller did.
#[derive(Clone, Copy)]
struct Said<'a> {
    words: &'a [String],
    keys: Option<&'a str>,
}

impl Position {
    /// Where an agent with a graph begins.
    pub fn start(agent: &Agent) -> Option<Self> {
        (!agent.nodes.is_empty()).then_some(Self(0))
    }

    /// What is said on arrival at the start, after the greeting.
    pub fn opening(self, agent: &Agent, variables: &Variables) -> Option<String> {
        self.node(agent).say.as_ref().map(|say| say.with(variables))
    }

    /// The node's name.
    pub fn name(self, agent: &Agent) -> &str {
        &self.node(agent).name
    }

    /// What a model is told to do here.
    pub fn prompt(self, agent: &Agent, variables: &Variables) -> Option<String> {
        self.node(agent).prompt.as_ref().map(|prompt| prompt.with(variables))
    }

    /// Whether a model has this tool here.
    pub fn allows(self, agent: &Agent, tool: &str) -> bool {
        self.node(agent).tools.as_ref().is_none_or(|tools| tools.iter().any(|name| name == tool))
    }

    /// The exits that are a model's to take, as a tool.
    pub fn exits(self, agent: &Agent) -> Option<ToolSpec> {
        let open: Vec<(&str, &str)> =
            self.open(agent).map(|exit| (name(agent, exit), exit.description.as_str())).collect();
        let about: Vec<String> = open.iter().map(|(name, about)| format!("{name}: {about}")).collect();
        let names: Vec<&str> = open.iter().map(|(name, _)| *name).collect();
        (!open.is_empty()).then(|| ToolSpec {
            name: GO_TO.to_owned(),
            description: format!("Goes on to the next part of the conversation. {}", about.join(". ")),
            parameters: json!({
                "type": "object",
                "properties": { "to": { "type": "string", "enum": names } },
                "required": ["to"],
                "additionalProperties": false,
            }),
        })
    }

    /// A model takes an exit.
    ///
    /// # Errors
    /// In words for the model, when there is no such exit here.
    pub fn go(&mut self, agent: &Agent, to: &str, variables: &Variables) -> Result<Step, String> {
        let found = self.open(agent).find(|exit| name(agent, exit) == to).map(|exit| exit.to);
        let Some(to) = found else {
            let names: Vec<&str> = self.open(agent).map(|exit| name(agent, exit)).collect();
            return Err(format!("\"to\" must be one of {}", names.join(", ")));
        };
        let mut step = Step { path: vec![self.name(agent).to_owned()], ..Step::default() };
        self.enter(agent, to, variables, &mut step);
        self.pass(agent, None, variables, &mut step);
        Ok(step)
    }

    /// Takes the caller's words, or keys with blanks between them: fills slots, goes where the rules lead, and says what
    /// to say, if no model is to be asked.
    pub fn heard(
        &mut self,
        agent: &Agent,
        text: &str,
        digits: bool,
        today: Date,
        variables: &mut Variables,
    ) -> Step {
        let heard = words(text);
        let keys: Option<String> = digits.then(|| text.split_whitespace().collect());
        self.collect(agent, &heard, today, variables);
        let mut step = Step::default();
        self.pass(agent, Some(Said { words: &heard, keys: keys.as_deref() }), variables, &mut step);
        let node = self.node(agent);
        step.ends = node.ends;
        if step.say.is_none() && (node.prompt.is_none() || node.ends) {
            let missing = self.missing(agent, variables).map(|slot| Template::new(&slot.ask));
            let asked = missing.or_else(|| node.otherwise.clone().filter(|_| step.path.is_empty()));
            let text = asked.map_or_else(|| agent.fallback().examples.clone(), |text| text.with(variables));
            step.say = Some(if node.ends { agent.fallback().goodbye.clone() } else { text });
        }
        step
    }

    fn node(self, agent: &Agent) -> &Node {
        &agent.nodes[self.0]
    }

    fn open(self, agent: &Agent) -> impl Iterator<Item = &Exit> {
        self.node(agent).exits.iter().filter(|exit| exit.guards.is_empty())
    }

    /// The first slot of the node that nobody has filled yet.
    fn missing<'a>(self, agent: &'a Agent, variables: &Variables) -> Option<&'a Slot> {
        let unfilled = |name: &&String| variables.get(name).is_none_or(str::is_empty);
        self.node(agent).collect.iter().find(unfilled).and_then(|name| agent.slots.get(name))
    }

    fn collect(self, agent: &Agent, heard: &[String], today: Date, variables: &mut Variables) {
        let asked = self.missing(agent, variables).map(|slot| slot.name.clone());
        for name in &self.node(agent).collect {
            let Some(slot) = agent.slots.get(name) else { continue };
            if let Some(value) = value(slot, heard, today, asked.as_ref() == Some(name)) {
                variables.set(name.clone(), &value);
            }
        }
    }

    /// Follows exits whose guards hold. What was said counts for the first of them only.
    fn pass(&mut self, agent: &Agent, mut said: Option<Said<'_>>, variables: &Variables, step: &mut Step) {
        for _ in 0..MOST_HOPS {
            let exits = self.node(agent).exits.iter();
            let taken = exits
                .filter(|exit| !exit.guards.is_empty())
                .find(|exit| exit.guards.iter().all(|guard| guard.holds(agent, said, variables)));
            let Some(to) = taken.map(|exit| exit.to) else { return };
            if step.path.is_empty() {
                step.path.push(self.name(agent).to_owned());
            }
            self.enter(agent, to, variables, step);
            said = None;
        }
    }

    fn enter(&mut self, agent: &Agent, to: usize, variables: &Variables, step: &mut Step) {
        self.0 = to;
        let node = self.node(agent);
        step.path.push(node.name.clone());
        step.ends = node.ends;
        if let Some(say) = &node.say {
            let text = say.with(variables);
            step.say =
                Some(step.say.take().map_or_else(|| text.clone(), |before| format!("{before} {text}")));
        }
    }
}

fn name<'a>(agent: &'a Agent, exit: &Exit) -> &'a str {
    &agent.nodes[exit.to].name
}

impl Guard {
    fn holds(&self, agent: &Agent, said: Option<Said<'_>>, variables: &Variables) -> bool {
        match self {
            Self::Intent(name) => said.filter(|said| said.keys.is_none()).is_some_and(|said| {
                let best = agent.matcher.best(&agent.intents, &agent.slots, said.words);
                best.is_some_and(|(intent, _)| intent.name == *name)
            }),
            Self::Answer(yes) => said.is_some_and(|said| yes_no(said.words) == Some(*yes)),
            Self::Keys(keys) => said.is_some_and(|said| said.keys == Some(keys.as_str())),
            Self::Known { name, value, not } => {
                let known = variables.get(name).filter(|known| !known.is_empty());
                let holds = match value {
                    Some(value) => known.is_some_and(|known| known == value),
                    None => known.is_some(),
                };
                holds != *not
            }
        }
    }
}

/// What the words say about a slot.
fn value(slot: &Slot, heard: &[String], today: Date, asked: bool) -> Option<String> {
    match &slot.kind {
        SlotKind::Date => parse_day(heard, today).map(|day| day.to_string()),
        SlotKind::Time => parse_time(heard).filter(|time| time.precise || asked).map(|time| time.clock()),
        SlotKind::Digits { length } => {
            let digits = spoken_digits(heard);
            let fits =
                length.map_or(!digits.is_empty() && asked, |length| digits.len() == usize::from(length));
            fits.then_some(digits)
        }
        SlotKind::Name { known } => parse_name(heard, known, asked),
    }
}
