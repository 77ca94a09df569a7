//! One conversation as the flow understands it: the task at hand, its slots, and what was asked last.
//! Knows the agent file, the caller's words and tool results. Knows nothing of requests or deltas.

use crate::{
    agent::{Action, Agent, Intent, Slot, SlotKind, Task},
    grammar::{
        SpokenTime, capital, day_words, digit_words, number_words, parse_day, parse_name, parse_time,
        spoken_digits, time_words, words, yes_no,
    },
    request::{LlmRequest, Message},
    turn::Expectation,
    variables::Variables,
};
use jiff::civil::Date;
use serde_json::Value;
use std::collections::BTreeMap;

/// Choices read out at once.
const CHOICES_SAID: usize = 3;
/// A match this good leaves the task at hand for another one.
const SURE: f32 = 0.6;
/// And this good even a question that was answered with yes or no.
const CERTAIN: f32 = 0.85;
/// An answer of so many words is only that.
const SHORT: usize = 4;

/// What the agent does.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Act {
    Say {
        text: String,
        expect: Expectation,
        /// Whether it is worth repeating: not a "sorry?".
        substance: bool,
        /// Whether it tells how a task ended.
        outcome: bool,
    },
    Call {
        tool: String,
        arguments: String,
        text: String,
    },
    /// Says goodbye and hangs up. None: the tool has been called.
    End {
        tool: Option<String>,
        text: String,
    },
}

impl Act {
    pub(super) fn say(text: String) -> Self {
        Self::Say { text, expect: Expectation::Any, substance: true, outcome: false }
    }
}

/// What tools answered within a turn.
#[derive(Default)]
pub(super) struct Results(Vec<Answered>);

/// One of them.
#[derive(Clone)]
struct Answered {
    tool: String,
    arguments: Value,
    result: Value,
}

impl Results {
    /// Pairs calls with their results.
    pub(super) fn of(messages: &[Message]) -> Self {
        let mut out = Vec::new();
        for message in messages {
            let Message::Tool { call_id, name, result } = message else { continue };
            let calls = messages.iter().filter_map(|message| match message {
                Message::Assistant { tool_calls, .. } => Some(tool_calls),
                Message::User { .. } | Message::Tool { .. } => None,
            });
            let call = calls.flatten().find(|call| call.id == *call_id);
            let arguments =
                call.and_then(|call| serde_json::from_str(&call.arguments).ok()).unwrap_or(Value::Null);
            let result = serde_json::from_str(result).unwrap_or_else(|_| Value::String(result.clone()));
            out.push(Answered { tool: name.clone(), arguments, result });
        }
        Self(out)
    }
}

/// What was asked last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Asked {
    #[default]
    Nothing,
    Slot(String),
    Confirm,
    /// What is wrong with what was to be confirmed.
    Change,
    AnythingElse,
}

/// A conversation so far.
pub(super) struct Talk<'a> {
    agent: &'a Agent,
    today: Date,
    variables: &'a Variables,
    task: Option<&'a Task>,
    slots: BTreeMap<String, String>,
    confirmed: bool,
    asked: Asked,
    /// What tools answered since the caller spoke last, and in the same task before.
    fresh: Vec<Answered>,
    known: Vec<Answered>,
    misses: u32,
    last_said: String,
    last_expect: Expectation,
    /// How a task ended that the caller has not been told yet.
    untold: Option<String>,
    /// Whether a tool had not answered yet.
    waiting: bool,
}

impl<'a> Talk<'a> {
    pub(super) fn new(agent: &'a Agent, request: &'a LlmRequest) -> Self {
        let LlmRequest { today, variables, .. } = request;
        Self {
            agent,
            today: *today,
            variables,
            task: None,
            slots: BTreeMap::new(),
            confirmed: false,
            asked: Asked::Nothing,
            fresh: Vec::new(),
            known: Vec::new(),
            misses: 0,
            last_said: agent.greeting(variables),
            last_expect: Expectation::Any,
            untold: None,
            waiting: false,
        }
    }

    /// What to do about the caller's words, given what tools have answered since.
    pub(super) fn answer(&mut self, text: &str, results: &Results) -> Act {
        // A result that is still to come stands in its place next time.
        self.known.append(&mut self.fresh);
        self.fresh.clone_from(&results.0);
        let heard = words(text);
        let act = if heard.is_empty() {
            self.sorry(&self.agent.fallback().not_heard)
        } else {
            self.understand(&heard)
        };
        match (self.untold.take(), act) {
            (Some(untold), Act::Say { text, expect, substance, outcome }) => {
                Act::Say { text: format!("{untold} {text}"), expect, substance, outcome }
            }
            (_, act) => act,
        }
    }

    /// The caller has heard an earlier answer, or something else in its place.
    pub(super) fn said(&mut self, act: &Act, answer: &[Message]) {
        let Act::Say { text, expect, substance, outcome } = act else { return };
        let mut after_tools = String::new();
        let mut cut = false;
        for message in answer {
            match message {
                Message::Assistant { text, interrupted, .. } => {
                    after_tools.clone_from(text);
                    cut |= interrupted;
                }
                Message::Tool { .. } => after_tools.clear(),
                Message::User { .. } => {}
            }
        }
        if *outcome && after_tools.is_empty() {
            self.untold = Some(text.clone());
        }
        if *substance {
            let really = !after_tools.is_empty() && !cut;
            self.last_said = if really { after_tools } else { text.clone() };
        }
        self.last_expect = *expect;
    }

    fn understand(&mut self, heard: &[String]) -> Act {
        let agent = self.agent;
        let found = agent.matcher.best(&agent.intents, &agent.slots, heard);
        let answer = yes_no(heard).filter(|_| heard.len() <= SHORT);
        let needed = if self.asked == Asked::Confirm && answer.is_some() { CERTAIN } else { SURE };
        // "No thanks" declines; it is not thanks.
        let declines = answer == Some(false) && matches!(self.asked, Asked::Confirm | Asked::AnythingElse);
        if let Some((intent, score)) = found
            && !self.is_mine(intent)
            && !(declines && matches!(intent.action, Action::Say(_)))
            && (score >= needed || self.task.is_none() && answer.is_none())
        {
            return self.begin(intent, heard);
        }
        let filled = self.fill(heard);
        let yes_no = yes_no(heard);
        match (self.asked.clone(), filled, yes_no) {
            (_, true, _) => self.go_on(String::new()),
            (Asked::Confirm, false, Some(true)) => {
                self.confirmed = true;
                self.go_on(String::new())
            }
            (Asked::Confirm, false, Some(false)) => self.ask_change(),
            (Asked::Change | Asked::Confirm, false, _) if self.clear_named(heard) => {
                self.go_on(String::new())
            }
            (Asked::AnythingElse, false, Some(false)) => self.goodbye(),
            (Asked::AnythingElse | Asked::Nothing, false, Some(true)) => {
                self.asked = Asked::Nothing;
                self.misses = 0;
                Act::say("What can I do for you?".to_owned())
            }
            (Asked::Change, false, Some(false)) => self.start_over(),
            (_, false, _) => match found {
                Some((intent, _)) if self.is_mine(intent) => self.go_on(String::new()),
                Some(_) | None if self.waiting => self.go_on(String::new()),
                Some(_) | None => self.miss(heard),
            },
        }
    }

    /// Whether the intent is the task at hand.
    fn is_mine(&self, intent: &Intent) -> bool {
        match (&intent.action, self.task) {
            (Action::Task(task), Some(mine)) => std::ptr::eq(&raw const **task, mine),
            _ => false,
        }
    }

    fn begin(&mut self, intent: &'a Intent, heard: &[String]) -> Act {
        self.misses = 0;
        match &intent.action {
            Action::Task(task) => {
                self.forget();
                self.task = Some(task);
                self.fill(heard);
                self.go_on(String::new())
            }
            Action::Say(text) => self.go_on(self.render(text, &Value::Null, &[])),
            Action::Knowledge => self.go_on(self.passage(&intent.name, heard)),
            Action::Repeat => Act::Say {
                text: self.last_said.clone(),
                expect: self.last_expect,
                substance: true,
                outcome: false,
            },
            Action::StartOver => self.start_over(),
            Action::Goodbye { tool } => self.end(tool),
        }
    }

    /// The section of the knowledge files that the words are about.
    fn passage(&self, intent: &str, heard: &[String]) -> String {
        let score = |title: &str| {
            let title = words(title);
            let by_name = title.iter().filter(|word| intent.contains(word.as_str())).count() * 2;
            by_name + title.iter().filter(|word| word.len() > 3 && heard.contains(word)).count() * 3
        };
        let mine =
            self.agent.knowledge.iter().filter(|passage| passage.intents.iter().any(|name| name == intent));
        let best = mine.rev().max_by_key(|passage| score(&passage.title));
        best.map(|passage| passage.text.clone()).unwrap_or_default()
    }

    fn goodbye(&mut self) -> Act {
        let tool = self.agent.intents.iter().find_map(|intent| match &intent.action {
            Action::Goodbye { tool } => Some(tool.clone()),
            Action::Task(_) | Action::Say(_) | Action::Knowledge | Action::Repeat | Action::StartOver => None,
        });
        match tool {
            Some(tool) => self.end(&tool),
            None => Act::say(self.agent.fallback().goodbye.clone()),
        }
    }

    fn end(&self, tool: &str) -> Act {
        if self.fresh.iter().any(|answered| answered.tool == tool) {
            return Act::End { tool: None, text: String::new() };
        }
        Act::End { tool: Some(tool.to_owned()), text: self.agent.fallback().goodbye.clone() }
    }

    fn start_over(&mut self) -> Act {
        self.forget();
        self.misses = 0;
        Act::say("All right, let us start over. What can I do for you?".to_owned())
    }

    fn forget(&mut self) {
        self.task = None;
        self.slots.clear();
        self.confirmed = false;
        self.asked = Asked::Nothing;
        self.waiting = false;
        // Whatever was looked up may have changed since.
        self.known.clear();
    }

    fn ask_change(&mut self) -> Act {
        self.asked = Asked::Change;
        let needs = self.task.map(|task| task.needs.as_slice()).unwrap_or_default();
        let what = list(needs.iter().map(|need| format!("the {need}")).collect());
        self.ask(format!("All right. What should I change: {what}?"), Expectation::Any)
    }

    /// Forgets the slot that the words name, so that it is asked for again.
    fn clear_named(&mut self, heard: &[String]) -> bool {
        let named = |slot: &str| heard.iter().any(|word| word == slot || (word == "date" && slot == "day"));
        let Some(slot) = self.slots.keys().find(|slot| named(slot)).cloned() else { return false };
        self.slots.remove(&slot).is_some()
    }

    /// Takes what the words tell about the task's slots. Says whether they told anything.
    fn fill(&mut self, heard: &[String]) -> bool {
        let Some(task) = self.task else { return false };
        if self.choose(heard) {
            return true;
        }
        let mut filled = false;
        // A name can be any word: the other slots are looked at first.
        let is_name = |need: &&String| matches!(self.agent.slots[*need].kind, SlotKind::Name { .. });
        let (mut names, others): (Vec<&String>, Vec<&String>) = task.needs.iter().partition(is_name);
        if self.asked == Asked::Confirm && yes_no(heard) == Some(true) && heard.len() <= 2 {
            // "Yes please", misheard: who means another name says more.
            names.clear();
        }
        for need in others.into_iter().chain(names) {
            let slot = &self.agent.slots[need];
            let asked = self.asked == Asked::Slot(need.clone());
            if let Some(value) = self.value(slot, heard, asked, filled) {
                self.slots.insert(need.clone(), value);
                filled = true;
            }
        }
        if filled {
            self.confirmed = false;
            self.misses = 0;
        }
        filled
    }

    /// What the words say about one slot.
    fn value(&self, slot: &Slot, heard: &[String], asked: bool, others: bool) -> Option<String> {
        match &slot.kind {
            SlotKind::Date => parse_day(heard, self.today).map(|day| day.to_string()),
            SlotKind::Time => {
                let time = parse_time(heard).filter(|time| time.precise || asked && !others);
                time.map(|time| self.nearest_choice(slot, time))
            }
            SlotKind::Digits { length } => {
                let digits = spoken_digits(heard);
                let fits = length.map_or(!digits.is_empty(), |length| digits.len() == usize::from(length));
                fits.then_some(digits)
            }
            SlotKind::Name { known } => parse_name(heard, known, asked && !others),
        }
    }

    /// "Three" is fifteen hours if that is what can be had.
    fn nearest_choice(&self, slot: &Slot, time: SpokenTime) -> String {
        let other = SpokenTime { hour: (time.hour + 12) % 24, ..time };
        let choices = self.choices(slot).unwrap_or_default();
        let takes_other =
            !time.half_of_day && !choices.contains(&time.clock()) && choices.contains(&other.clock());
        if takes_other { other.clock() } else { time.clock() }
    }

    /// "The second one": takes it from the choices that were read out.
    fn choose(&mut self, heard: &[String]) -> bool {
        let Asked::Slot(name) = &self.asked else { return false };
        let Some(choices) = self.agent.slots.get(name).and_then(|slot| self.choices(slot)) else {
            return false;
        };
        let said = &choices[..choices.len().min(CHOICES_SAID)];
        let places = [("first", 0), ("second", 1), ("third", 2), ("last", said.len().saturating_sub(1))];
        let place =
            places.iter().find(|(word, _)| heard.len() <= SHORT && heard.iter().any(|heard| heard == word));
        let Some(value) = place.and_then(|(_, place)| said.get(*place)) else { return false };
        self.slots.insert(name.clone(), value.clone());
        self.confirmed = false;
        self.misses = 0;
        true
    }

    /// What can be chosen for a slot, once its tool has answered.
    fn choices(&self, slot: &Slot) -> Option<Vec<String>> {
        let arguments = self.arguments(slot.choices.as_ref()?)?;
        let rows = rows(self.result(slot.choices.as_ref()?, &arguments)?);
        Some(rows.iter().filter_map(|row| row.as_object()?.values().next().map(plain)).collect())
    }

    /// A tool's arguments, once all are known.
    fn arguments(&self, tool: &str) -> Option<Value> {
        let tool = self.agent.tool(tool)?;
        let names = tool.spec.parameters.get("properties")?.as_object()?.keys();
        let pairs = names.map(|name| Some((name.clone(), Value::String(self.slots.get(name)?.clone()))));
        pairs.collect::<Option<serde_json::Map<_, _>>>().map(Value::Object)
    }

    fn result(&self, tool: &str, arguments: &Value) -> Option<&Value> {
        let mut answered = self.fresh.iter().rev().chain(self.known.iter().rev());
        answered
            .find(|answered| answered.tool == tool && answered.arguments == *arguments)
            .map(|answered| &answered.result)
    }

    /// The next step of the task at hand, after saying `first`.
    fn go_on(&mut self, first: String) -> Act {
        let Some(task) = self.task else {
            self.asked = Asked::AnythingElse;
            return Act::say(if first.is_empty() { "What can I do for you?".to_owned() } else { first });
        };
        for need in &task.needs {
            let slot = &self.agent.slots[need];
            if let Some(act) = self.ask_slot(slot, &first) {
                return act;
            }
        }
        if let Some(confirm) = task.confirm.as_ref().filter(|_| !self.confirmed) {
            self.asked = Asked::Confirm;
            let question = self.render(confirm, &Value::Null, &[]);
            return self.ask(spoken(&first, &question), Expectation::YesNo);
        }
        self.finish(task, &first)
    }

    /// Asks for a slot, or for what can be chosen for it. None: its value is known and can be had.
    fn ask_slot(&mut self, slot: &'a Slot, first: &str) -> Option<Act> {
        let mut notice = first.to_owned();
        let mut choices = Vec::new();
        if let Some(tool) = &slot.choices {
            let arguments = self.arguments(tool)?;
            match self.result(tool, &arguments) {
                None => return Some(call(tool, &arguments, first)),
                Some(result) if is_pending(result) => return Some(self.wait()),
                Some(result) if is_error(result) => return Some(self.give_up()),
                Some(_) => choices = self.choices(slot).unwrap_or_default(),
            }
            if choices.is_empty() {
                let text = self.render(&slot.none, &Value::Null, &[]);
                let names: Vec<String> =
                    arguments.as_object().map(|map| map.keys().cloned().collect()).unwrap_or_default();
                names.iter().for_each(|name| drop(self.slots.remove(name)));
                let asked = names.first().cloned().unwrap_or_default();
                let expect = self.agent.slots.get(&asked).map_or(Expectation::Any, Slot::expectation);
                self.asked = Asked::Slot(asked);
                return Some(self.ask(spoken(first, &text), expect));
            }
            if let Some(value) = self.slots.get(&slot.name)
                && !choices.contains(value)
            {
                notice = spoken(first, &format!("Sorry, {} is not free.", self.spoken_value(slot, value)));
                self.slots.remove(&slot.name);
            }
        }
        if self.slots.contains_key(&slot.name) {
            return None;
        }
        self.asked = Asked::Slot(slot.name.clone());
        let question = self.render(&slot.ask, &Value::Null, &choices);
        Some(self.ask(spoken(&notice, &question), slot.expectation()))
    }

    /// Everything is known: runs the tool and tells what came of it.
    fn finish(&mut self, task: &'a Task, first: &str) -> Act {
        let arguments = self.arguments(&task.tool).unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        let text = match self.result(&task.tool, &arguments) {
            None => return call(&task.tool, &arguments, first),
            Some(result) if is_pending(result) => return self.wait(),
            Some(result) if is_error(result) => return self.give_up(),
            Some(result) => {
                let row = rows(result).into_iter().next().unwrap_or(Value::Null);
                let nothing = row.is_null() || row.get("changes").is_some_and(|changes| changes == 0);
                self.render(if nothing { &task.nothing } else { &task.say }, &row, &[])
            }
        };
        self.forget();
        // Done is done: the same wish later is a new one.
        self.fresh.clear();
        self.asked = Asked::AnythingElse;
        Act::Say { text: spoken(first, &text), expect: Expectation::Any, substance: true, outcome: true }
    }

    fn ask(&self, text: String, expect: Expectation) -> Act {
        Act::Say { text, expect, substance: true, outcome: false }
    }

    fn wait(&mut self) -> Act {
        self.waiting = true;
        self.sorry("I am still looking that up, one moment please.")
    }

    fn give_up(&mut self) -> Act {
        self.forget();
        Act::say(
            "Sorry, I cannot reach our records just now. Please try again, or ask for a person.".to_owned(),
        )
    }

    /// Something that is not worth repeating; what was asked stays asked.
    fn sorry(&self, text: &str) -> Act {
        Act::Say { text: text.to_owned(), expect: self.expected(), substance: false, outcome: false }
    }

    fn expected(&self) -> Expectation {
        match &self.asked {
            Asked::Slot(name) => self.agent.slots.get(name).map_or(Expectation::Any, Slot::expectation),
            Asked::Confirm => Expectation::YesNo,
            Asked::Nothing | Asked::Change | Asked::AnythingElse => Expectation::Any,
        }
    }

    /// Nothing was understood.
    fn miss(&mut self, heard: &[String]) -> Act {
        self.misses += 1;
        if let Asked::Slot(name) = &self.asked
            && let Some(Slot { kind: SlotKind::Digits { length: Some(length) }, .. }) =
                self.agent.slots.get(name)
        {
            let said = spoken_digits(heard).len();
            if said > 0 {
                let (length, said) = (number_words(u64::from(*length)), number_words(said as u64));
                return self.sorry(&format!(
                    "I heard {said} digits, but I need {length}. Please say or key in all of them."
                ));
            }
        }
        let text = match (self.misses, &self.asked) {
            (1, Asked::Slot(_) | Asked::Confirm | Asked::Change) => {
                format!("Sorry, I did not understand that. {}", self.last_said)
            }
            (1, Asked::Nothing | Asked::AnythingElse) => {
                "Sorry, I did not understand that. What can I do for you?".to_owned()
            }
            _ => self.agent.fallback().examples.clone(),
        };
        self.sorry(&text)
    }

    /// A text with its placeholders filled in.
    fn render(&self, text: &str, row: &Value, choices: &[String]) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, after)) = after.split_once('}') else { break };
            out.push_str(before);
            let value = match (name, self.slots.get(name), row.get(name)) {
                ("choices", _, _) => {
                    list(choices.iter().take(CHOICES_SAID).map(|choice| self.spoken_text(choice)).collect())
                }
                (_, Some(value), _) => self.spoken_value(&self.agent.slots[name], value),
                (_, None, Some(value)) => self.spoken_text(&plain(value)),
                (_, None, None) => self.variables.get(name).unwrap_or_default().to_owned(),
            };
            out.push_str(&value);
            rest = after;
        }
        out.push_str(rest);
        capital(&out)
    }

    fn spoken_value(&self, slot: &Slot, value: &str) -> String {
        match slot.kind {
            SlotKind::Date | SlotKind::Time => self.spoken_text(value),
            SlotKind::Digits { .. } if slot.private => {
                format!("ending in {}", digit_words(&value[value.len().saturating_sub(2)..]))
            }
            SlotKind::Digits { .. } => digit_words(value),
            SlotKind::Name { .. } => value.split(' ').map(capital).collect::<Vec<_>>().join(" "),
        }
    }

    /// A day, a time or a number in words; any other text as it is.
    fn spoken_text(&self, value: &str) -> String {
        if let Ok(day) = value.parse::<Date>() {
            return day_words(day, self.today);
        }
        if let Ok(number) = value.parse::<u64>() {
            return number_words(number);
        }
        time_words(value)
    }
}

fn call(tool: &str, arguments: &Value, text: &str) -> Act {
    Act::Call { tool: tool.to_owned(), arguments: arguments.to_string(), text: text.to_owned() }
}

/// A result as rows, whatever shape it came in.
fn rows(result: &Value) -> Vec<Value> {
    match result {
        Value::Array(rows) => rows.clone(),
        Value::Null => Vec::new(),
        Value::Object(map) if map.get("rows").is_some_and(Value::is_array) => rows(&map["rows"]),
        Value::Object(_) | Value::Bool(_) | Value::Number(_) | Value::String(_) => vec![result.clone()],
    }
}

fn is_error(result: &Value) -> bool {
    result.get("error").is_some()
}

/// The stand-in of [`crate::Context`] for a result that has not come.
fn is_pending(result: &Value) -> bool {
    result.get("status").is_some_and(|status| status == "still running")
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// "a, b or c".
fn list(mut items: Vec<String>) -> String {
    match items.pop() {
        Some(last) if !items.is_empty() => format!("{} or {last}", items.join(", ")),
        Some(only) => only,
        None => String::new(),
    }
}

fn spoken(first: &str, then: &str) -> String {
    if first.is_empty() { then.to_owned() } else { format!("{first} {then}") }
}
