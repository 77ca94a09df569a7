//! A conversation as a graph: where it stands, what it knows, and where it goes by rules that need no model.
//! Knows nodes, exits and variables. Knows nothing of audio, turns or models: it says what to say and whether to ask one.

use crate::{
    agent::{Agent, Slot, SlotKind},
    floor::Interruptible,
    grammar::{parse_day, parse_name, parse_time, spoken_digits, words, yes_no},
    request::ToolSpec,
    turn::Expectation,
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
    /// What the caller is expected to say here; where absent, what it collects and its exits say that.
    pub(crate) expect: Option<Expectation>,
    /// What may cut in on the node's own words; the agent's rule where absent.
    pub(crate) interruptible: Option<Interruptible>,
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
    today: Date,
}

impl Position {
    /// Where an agent with a graph begins.
    pub fn start(agent: &Agent) -> Option<Self> {
        (!agent.nodes.is_empty()).then_some(Self(0))
    }

    /// The node of that name; a file may have changed since.
    pub fn named(agent: &Agent, name: &str) -> Option<Self> {
        agent.nodes.iter().position(|node| node.name == name).map(Self)
    }

    /// What is said after the greeting. What is known of the caller already may lead on at once.
    pub fn begin(&mut self, agent: &Agent, variables: &Variables) -> Step {
        let say = self.node(agent).say.as_ref().map(|say| agent.aloud(say, variables));
        let mut step = Step { say, ..Step::default() };
        self.pass(agent, None, &mut variables.clone(), &mut step);
        let node = self.node(agent);
        step.ends = node.ends;
        if step.say.is_none() && node.prompt.is_none() {
            step.say = self.missing(agent, variables).map(|slot| slot.ask.clone());
        }
        step
    }

    /// The node's name.
    pub fn name(self, agent: &Agent) -> &str {
        &self.node(agent).name
    }

    /// What a model is told to do here.
    pub fn prompt(self, agent: &Agent, variables: &Variables) -> Option<String> {
        self.node(agent).prompt.as_ref().map(|prompt| prompt.with(variables))
    }

    /// What the caller is expected to say here, if anything in particular.
    pub fn expects(self, agent: &Agent, variables: &Variables) -> Option<Expectation> {
        let node = self.node(agent);
        let guards = || node.exits.iter().flat_map(|exit| &exit.guards);
        let longest = guards().filter_map(|guard| match guard {
            Guard::Keys(keys) => u8::try_from(keys.len()).ok(),
            Guard::Intent(_) | Guard::Answer(_) | Guard::Known { .. } => None,
        });
        let keys = longest.max().map(|count| Expectation::Digits { count: Some(count) });
        let answer = guards().any(|guard| matches!(guard, Guard::Answer(_))).then_some(Expectation::YesNo);
        let slot = self.missing(agent, variables).map(Slot::expectation);
        node.expect.or(slot).or(keys).or(answer)
    }

    /// Whether the caller is asked for something here of which only the end is ever spoken.
    pub fn asks_private(self, agent: &Agent, variables: &Variables) -> bool {
        self.missing(agent, variables).is_some_and(|slot| slot.private)
    }

    /// What may cut in on the node's own words, where it has a rule of its own.
    pub fn interruptible(self, agent: &Agent) -> Option<Interruptible> {
        self.node(agent).interruptible
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
        self.pass(agent, None, &mut variables.clone(), &mut step);
        self.settle(agent, variables, &mut step);
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
        let asked = self.missing(agent, variables).map(|slot| slot.name.clone());
        self.collect(agent, &heard, today, asked.as_deref(), variables);
        let mut step = Step::default();
        let said = Said { words: &heard, keys: keys.as_deref(), today };
        self.pass(agent, Some(said), variables, &mut step);
        self.settle(agent, variables, &mut step);
        step
    }

    /// Where neither the nodes nor a model have anything to say, the caller is asked for what is missing.
    fn settle(self, agent: &Agent, variables: &Variables, step: &mut Step) {
        let node = self.node(agent);
        step.ends = node.ends;
        if step.say.is_some() || (node.prompt.is_some() && !node.ends) {
            return;
        }
        let missing = self.missing(agent, variables).map(|slot| slot.ask.clone());
        let otherwise = || node.otherwise.as_ref().map(|text| agent.aloud(text, variables));
        step.say = Some(match node.ends {
            true => agent.fallback().goodbye.clone(),
            false => missing.or_else(otherwise).unwrap_or_else(|| agent.fallback().examples.clone()),
        });
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

    /// `asked` is the slot that the caller was asked for: a bare number is an answer to that alone.
    fn collect(
        self,
        agent: &Agent,
        heard: &[String],
        today: Date,
        asked: Option<&str>,
        variables: &mut Variables,
    ) {
        for name in &self.node(agent).collect {
            let Some(slot) = agent.slots.get(name) else { continue };
            if let Some(value) = value(slot, heard, today, asked == Some(name)) {
                variables.set(name.clone(), &value);
            }
        }
    }

    /// Follows exits whose guards hold. What was said leads through the first of them only, but it may hold what later
    /// nodes collect: "my balance, account one two three". A node is entered once: a circle ends where it closes.
    fn pass(
        &mut self,
        agent: &Agent,
        mut said: Option<Said<'_>>,
        variables: &mut Variables,
        step: &mut Step,
    ) {
        let words = said;
        for hop in 0..MOST_HOPS {
            let exits = self.node(agent).exits.iter();
            let taken = exits
                .filter(|exit| !exit.guards.is_empty())
                .find(|exit| exit.guards.iter().all(|guard| guard.holds(agent, said, variables)));
            let Some(to) = taken.map(|exit| exit.to) else { return };
            if hop > 0 && step.path.contains(&agent.nodes[to].name) {
                return;
            }
            if step.path.is_empty() {
                step.path.push(self.name(agent).to_owned());
            }
            if let Some(Said { words, today, .. }) = words {
                Self(to).collect(agent, words, today, None, variables);
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
            let text = agent.aloud(say, variables);
            step.say =
                Some(step.say.take().map_or_else(|| text.clone(), |before| format!("{before} {text}")));
        }
    }
}

impl Agent {
    /// A text with variables in it, for the caller's ear: of what is private, the last two characters alone.
    fn aloud(&self, text: &Template, variables: &Variables) -> String {
        text.render(|name| {
            let value = variables.get(name).unwrap_or_default();
            let private = self.slots.get(name).is_some_and(|slot| slot.private);
            let hidden = if private { value.chars().count().saturating_sub(2) } else { 0 };
            value.chars().skip(hidden).collect()
        })
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
