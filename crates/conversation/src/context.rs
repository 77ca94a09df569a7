//! The conversation as the language model may believe it: what the caller said and what the caller heard.
//! Knows turns, sentences and tool calls. Knows nothing of how they were made or played.

use crate::{
    agent::{Agent, ToolClass},
    checkpoint::Checkpoint,
    grammar::day_name,
    graph::Position,
    knowledge::{LookedUp, Passage},
    request::{LlmRequest, Message, ToolCall},
    turn::TurnId,
    variables::Variables,
};
use jiff::civil::Date;

/// Messages kept of a conversation; beyond that the oldest turns are left out.
const MAX_MESSAGES: usize = 80;
/// Bytes kept of all messages, about 6,000 tokens.
const MAX_BYTES: usize = 24_000;
/// Questions whose passages are kept: an answer that was cut short may be asked for again.
const MAX_LOOKED_UP: usize = 4;
/// What stands in for the result of a tool that is still running: a call without a result is refused by most models.
const PENDING: &str = r#"{"status":"still running"}"#;

/// How much of a sentence the caller heard.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeardSentence {
    /// The sentence's number within its turn.
    pub index: u32,
    /// How much of its audio left the sender, 0 to 1.
    pub fraction: f32,
}

/// The language model's view of a call.
#[derive(Clone)]
pub struct Context {
    system: String,
    /// How the call came to this agent, for the model.
    aside: String,
    variables: Variables,
    /// Where the conversation stands, for the model.
    guidance: Option<String>,
    entries: Vec<Entry>,
    /// Turns left out because the conversation became too long.
    dropped: usize,
    /// Tool calls whose results stand in for what did not come in time.
    overdue: Vec<String>,
    /// What was looked up for the caller's latest words, oldest first.
    looked_up: Vec<LookedUp>,
}

#[derive(Clone)]
enum Entry {
    User(String),
    Reply(Reply),
}

/// What the agent did in one turn.
#[derive(Clone)]
struct Reply {
    turn: TurnId,
    steps: Vec<Step>,
    /// Whether it is known how far the caller heard it. What comes later was not heard.
    reported: bool,
    /// Whether the caller cut it short.
    interrupted: bool,
}

/// Words and then tool calls. What is said after the tools' results is the next step.
#[derive(Clone, Default)]
struct Step {
    sentences: Vec<Sentence>,
    calls: Vec<(ToolCall, Option<String>)>,
}

#[derive(Clone)]
struct Sentence {
    index: u32,
    text: String,
    /// How much of it was heard, once that is known.
    heard: Option<f32>,
}

impl Context {
    /// A conversation that has not begun. `system` says who the agent is and what it knows.
    pub fn new(system: impl Into<String>) -> Self {
        Self {
            system: system.into(),
            aside: String::new(),
            variables: Variables::default(),
            guidance: None,
            entries: Vec::new(),
            dropped: 0,
            overdue: Vec::new(),
            looked_up: Vec::new(),
        }
    }

    /// The same, with what is known of the call besides its words.
    pub fn with_variables(mut self, variables: Variables) -> Self {
        self.variables = variables;
        self
    }

    /// The same, after a conversation that was cut off. What is known by now stays; the rest is as it was.
    pub fn after(mut self, kept: &Checkpoint) -> Self {
        for (name, value) in kept.variables.iter() {
            if self.variables.get(name).is_none() {
                self.variables.set(name, value);
            }
        }
        self.aside =
            "The caller was cut off and has called again. Above stands what was said before; go on from there."
                .to_owned();
        for (n, message) in kept.messages.iter().enumerate() {
            match message {
                Message::User { text } => self.entries.push(Entry::User(text.clone())),
                Message::Assistant { text, tool_calls, interrupted } => {
                    let sentence = Sentence { index: 0, text: text.clone(), heard: Some(1.0) };
                    let calls = tool_calls.iter().map(|call| (call.clone(), Some(PENDING.to_owned())));
                    let step = Step { sentences: vec![sentence], calls: calls.collect() };
                    // A number that no turn of this call will have.
                    let turn = TurnId(u32::MAX - u32::try_from(n).unwrap_or(u32::MAX / 2));
                    self.entries.push(Entry::Reply(Reply {
                        turn,
                        steps: vec![step],
                        reported: true,
                        interrupted: *interrupted,
                    }));
                }
                Message::Tool { call_id, result, .. } => self.answered(call_id, result),
            }
        }
        self.bound();
        self
    }

    /// The result of a call of the conversation before.
    fn answered(&mut self, call_id: &str, text: &str) {
        let Some(Entry::Reply(reply)) = self.entries.last_mut() else { return };
        let calls = reply.steps.iter_mut().flat_map(|step| &mut step.calls);
        for (_, result) in calls.filter(|(call, _)| call.id == call_id) {
            *result = Some(text.to_owned());
        }
    }

    /// What is worth keeping of it, should the caller be cut off now.
    pub fn checkpoint(&self, agent: &Agent, position: Option<Position>) -> Option<Checkpoint> {
        let node = position.map(|position| position.name(agent));
        let private = agent.slots.values().filter(|slot| slot.private).map(|slot| slot.name.as_str());
        let private: Vec<&str> = private.collect();
        let variables = self.variables.without(&private);
        let values: Vec<&str> = private.iter().filter_map(|name| self.variables.get(name)).collect();
        Checkpoint::of((agent.name(), agent.language()), node, &variables, self.messages(), &values)
    }

    /// What is known of the call besides its words.
    pub const fn variables(&self) -> &Variables {
        &self.variables
    }

    /// The same, to be changed.
    pub const fn variables_mut(&mut self) -> &mut Variables {
        &mut self.variables
    }

    /// Another agent goes on with the same conversation. `aside` is what it is told of that.
    pub fn take_over(&mut self, system: impl Into<String>, aside: String, variables: Variables) {
        self.system = system.into();
        self.aside = aside;
        self.variables = variables;
        self.guidance = None;
    }

    /// What the model is told about where the conversation stands, from now on.
    pub fn guide(&mut self, guidance: Option<String>) {
        self.guidance = guidance;
    }

    /// Who the agent is from now on: it goes on with the same conversation in another language.
    pub fn speak_as(&mut self, system: impl Into<String>) {
        self.system = system.into();
    }

    /// The caller said this.
    pub fn user(&mut self, text: impl Into<String>) {
        self.entries.push(Entry::User(text.into()));
        self.bound();
    }

    /// What the caller said last, with what was said before it and never answered; and what came before that.
    pub fn last_said(&self) -> Option<(String, Option<String>)> {
        let messages = self.messages();
        let mut said = messages.iter().rev().filter_map(|message| match message {
            Message::User { text } => Some(text.clone()),
            Message::Assistant { .. } | Message::Tool { .. } => None,
        });
        Some((said.next()?, said.next()))
    }

    /// These passages were looked up for what the caller said last.
    pub fn looked_up(&mut self, passages: Vec<Passage>) {
        let Some((said, _)) = self.last_said() else { return };
        self.looked_up.retain(|known| known.said != said);
        if !passages.is_empty() {
            self.looked_up.push(LookedUp { said, passages });
        }
        if self.looked_up.len() > MAX_LOOKED_UP {
            self.looked_up.remove(0);
        }
    }

    /// The agent begins to answer.
    pub fn assistant_begin(&mut self, turn: TurnId) {
        if self.reply(turn).is_none() {
            self.entries.push(Entry::Reply(Reply {
                turn,
                steps: vec![Step::default()],
                reported: false,
                interrupted: false,
            }));
        }
    }

    /// The agent is going to say this.
    pub fn assistant_sentence(&mut self, turn: TurnId, index: u32, text: impl Into<String>) {
        self.assistant_begin(turn);
        let Some(reply) = self.reply_mut(turn) else { return };
        let heard = reply.reported.then_some(0.0);
        reply.step().sentences.push(Sentence { index, text: text.into(), heard });
    }

    /// The agent calls a tool. It stays in the conversation whatever becomes of the turn.
    pub fn tool_call(&mut self, turn: TurnId, call: ToolCall) {
        self.assistant_begin(turn);
        let Some(reply) = self.reply_mut(turn) else { return };
        reply.step().calls.push((call, None));
    }

    /// A tool ended, with JSON text. Says whether its call is known and was open: late results of interrupted turns
    /// are, second ones are not.
    pub fn tool_result(&mut self, call_id: &str, result: impl Into<String>) -> bool {
        let mut open = self.entries.iter_mut().rev().filter_map(|entry| match entry {
            Entry::Reply(reply) => Some(reply),
            Entry::User(_) => None,
        });
        let overdue = self.overdue.iter().position(|id| id == call_id);
        let slot = open.find_map(|reply| {
            let mut calls = reply.steps.iter_mut().flat_map(|step| &mut step.calls);
            calls.find(|(call, result)| call.id == call_id && (result.is_none() || overdue.is_some()))
        });
        if let Some(overdue) = overdue {
            self.overdue.swap_remove(overdue);
        }
        match slot {
            Some((_, slot)) => {
                *slot = Some(result.into());
                true
            }
            None => false,
        }
    }

    /// A tool did not answer in time: the model gets `stand_in` until the result comes after all. What a tool has done,
    /// it has done, however late it says so.
    pub fn tool_overdue(&mut self, call_id: &str, stand_in: impl Into<String>) {
        if self.tool_result(call_id, stand_in) {
            self.overdue.push(call_id.to_owned());
        }
    }

    /// What the caller heard of a turn: the sentences not listed were not heard. Call it whenever playout was cut; a turn
    /// that is never reported counts as heard to its end.
    pub fn heard(&mut self, turn: TurnId, sentences: &[HeardSentence]) {
        let Some(reply) = self.reply_mut(turn) else { return };
        reply.reported = true;
        for sentence in reply.steps.iter_mut().flat_map(|step| &mut step.sentences) {
            let heard = sentences.iter().find(|heard| heard.index == sentence.index);
            sentence.heard = Some(heard.map_or(0.0, |heard| heard.fraction));
        }
        reply.interrupted |=
            reply.steps.iter().flat_map(|step| &step.sentences).any(|s| !s.unsaid().is_empty());
    }

    /// The caller cut this turn short, even if every sentence made so far was heard.
    pub fn interrupted(&mut self, turn: TurnId) {
        if let Some(reply) = self.reply_mut(turn) {
            reply.reported = true;
            reply.interrupted = true;
            for sentence in reply.steps.iter_mut().flat_map(|step| &mut step.sentences) {
                sentence.heard.get_or_insert(1.0);
            }
        }
    }

    /// The words of a turn that the caller heard, and those that were never heard.
    pub fn heard_and_unsaid(&self, turn: TurnId) -> (String, String) {
        let sentences =
            || self.reply(turn).into_iter().flat_map(|reply| &reply.steps).flat_map(|step| &step.sentences);
        (join(sentences().map(Sentence::said)), join(sentences().map(Sentence::unsaid)))
    }

    /// What to ask the model now.
    pub fn request(&self, agent: &Agent, today: Date) -> LlmRequest {
        let weekday = day_name(today);
        let mut system = self.system.clone();
        if !self.aside.is_empty() {
            system.push_str(&format!("\n\n{}", self.aside));
        }
        system.push_str(&format!("\n\nToday is {weekday}, {today}."));
        if let Some(guidance) = &self.guidance {
            system.push_str(&format!("\n\n# Where this call stands\n{guidance}"));
        }
        if self.dropped > 0 {
            system.push_str(&format!(
                "\n\nThe beginning of this call is left out ({} messages).",
                self.dropped
            ));
        }
        let tools = agent.tools().iter().map(|tool| tool.spec.clone()).collect();
        let messages = self.messages();
        let acted = messages.iter().rev().map_while(|message| match message {
            Message::User { .. } => None,
            Message::Assistant { .. } => Some(false),
            Message::Tool { name, .. } => Some(
                agent.tools().iter().any(|tool| tool.spec.name == *name && tool.class != ToolClass::Read),
            ),
        });
        LlmRequest {
            system,
            acted: acted.into_iter().any(|acts| acts),
            messages,
            tools,
            today,
            variables: self.variables.clone(),
            looked_up: self.looked_up.clone(),
        }
    }

    fn messages(&self) -> Vec<Message> {
        let mut out = Vec::new();
        for entry in &self.entries {
            match (entry, out.last_mut()) {
                // The answer in between was never heard: to the model it is one utterance.
                (Entry::User(more), Some(Message::User { text })) => {
                    text.push(' ');
                    text.push_str(more);
                }
                (Entry::User(text), _) => out.push(Message::User { text: text.clone() }),
                (Entry::Reply(reply), _) => reply.messages(&mut out),
            }
        }
        out
    }

    /// Leaves the oldest turns out until the rest is small enough. The latest stays whatever its size.
    fn bound(&mut self) {
        let size = |entry: &Entry| match entry {
            Entry::User(text) => (1, text.len()),
            Entry::Reply(reply) => reply.size(),
        };
        let total = |entries: &[Entry]| {
            entries.iter().map(size).fold((0, 0), |sum, size| (sum.0 + size.0, sum.1 + size.1))
        };
        let mut rest = total(&self.entries);
        let mut cut = 0;
        while (rest.0 > MAX_MESSAGES || rest.1 > MAX_BYTES) && cut + 1 < self.entries.len() {
            // To the next thing the caller said, so that what is left begins with a turn.
            let turn = self.entries[cut + 1..].iter().position(|entry| matches!(entry, Entry::User(_)));
            let Some(turn) = turn else { break };
            cut += turn + 1;
            rest = total(&self.entries[cut..]);
        }
        self.dropped += self.entries.drain(..cut).len();
    }

    fn reply(&self, turn: TurnId) -> Option<&Reply> {
        self.entries.iter().rev().find_map(|entry| match entry {
            Entry::Reply(reply) if reply.turn == turn => Some(reply),
            Entry::Reply(_) | Entry::User(_) => None,
        })
    }

    fn reply_mut(&mut self, turn: TurnId) -> Option<&mut Reply> {
        self.entries.iter_mut().rev().find_map(|entry| match entry {
            Entry::Reply(reply) if reply.turn == turn => Some(reply),
            Entry::Reply(_) | Entry::User(_) => None,
        })
    }
}

impl Reply {
    /// The step that goes on: a new one once a tool of the last one has answered.
    fn step(&mut self) -> &mut Step {
        let answered =
            self.steps.last().is_none_or(|step| step.calls.iter().any(|(_, result)| result.is_some()));
        if answered {
            self.steps.push(Step::default());
        }
        let last = self.steps.len() - 1;
        &mut self.steps[last]
    }

    fn messages(&self, out: &mut Vec<Message>) {
        for (n, step) in self.steps.iter().enumerate() {
            let text = join(step.sentences.iter().map(Sentence::said));
            let cut = step.sentences.iter().any(|sentence| !sentence.unsaid().is_empty());
            let last = n + 1 == self.steps.len();
            if text.is_empty() && step.calls.is_empty() {
                continue;
            }
            let tool_calls = step.calls.iter().map(|(call, _)| call.clone()).collect();
            out.push(Message::Assistant { text, tool_calls, interrupted: cut || (last && self.interrupted) });
            for (call, result) in &step.calls {
                let result = result.clone().unwrap_or_else(|| PENDING.to_owned());
                out.push(Message::Tool { call_id: call.id.clone(), name: call.name.clone(), result });
            }
        }
    }

    /// Messages and bytes.
    fn size(&self) -> (usize, usize) {
        let mut messages = Vec::new();
        self.messages(&mut messages);
        let bytes = messages.iter().map(|message| match message {
            Message::User { text } => text.len(),
            Message::Assistant { text, tool_calls, .. } => {
                text.len() + tool_calls.iter().map(|call| call.arguments.len()).sum::<usize>()
            }
            Message::Tool { result, .. } => result.len(),
        });
        (messages.len(), bytes.sum())
    }
}

impl Sentence {
    /// What was heard of it, up to the last whole word.
    fn said(&self) -> &str {
        self.text[..self.cut()].trim()
    }

    fn unsaid(&self) -> &str {
        self.text[self.cut()..].trim()
    }

    /// Where the last word ends whose sound is over, by how long its words take to say.
    fn cut(&self) -> usize {
        let fraction = self.heard.unwrap_or(1.0);
        if fraction >= 1.0 {
            return self.text.len();
        }
        // Not a number becomes 0.
        word_ends(&self.text)
            .take_while(|(_, share)| *share <= fraction.max(0.0))
            .last()
            .map_or(0, |(at, _)| at)
    }
}

/// How long words take to say, in letters: fitted to a voice, on four of the sentences of `loadtest/turn-taking`, checked
/// on the others. A syllable takes longer than a letter, a digit is a word, and after a comma the voice rests.
mod lasts {
    pub(super) const WORD: u32 = 3;
    pub(super) const LETTER: u32 = 1;
    pub(super) const SYLLABLE: u32 = 4;
    pub(super) const DIGIT: u32 = 7;
    pub(super) const REST: u32 = 12;
    /// A word counts only this much after its end: rather one too few in the context than one that nobody heard.
    pub(super) const MARGIN: u32 = 3;
}

/// Where each word but the last ends, in bytes and as a share of the sentence's duration.
fn word_ends(text: &str) -> impl Iterator<Item = (usize, f32)> {
    let mut spoken = 0;
    let words: Vec<(usize, u32)> = text
        .split_inclusive(char::is_whitespace)
        .scan(0, |at, word| {
            *at += word.len();
            Some((*at - (word.len() - word.trim_end().len()), word.trim()))
        })
        .map(|(end, word)| {
            let over = spoken + duration(word) + lasts::MARGIN;
            spoken += duration(word) + if word.ends_with(RESTS) { lasts::REST } else { 0 };
            (end, over)
        })
        .collect();
    // The rest after the last word is not part of the sentence.
    let whole = spoken - if text.trim_end().ends_with(RESTS) { lasts::REST } else { 0 };
    let last = words.len().saturating_sub(1);
    #[expect(clippy::cast_precision_loss, reason = "small")]
    words.into_iter().take(last).map(move |(end, over)| (end, over as f32 / whole.max(1) as f32))
}

const RESTS: [char; 6] = [',', ';', ':', '.', '!', '?'];

/// How long one word takes to say.
fn duration(word: &str) -> u32 {
    let count = |wanted: fn(char) -> bool| {
        u32::try_from(word.chars().filter(|c| wanted(*c)).count()).unwrap_or(u32::MAX / 64)
    };
    let letters = count(char::is_alphabetic);
    let mut syllables = 0;
    let mut in_vowel = false;
    for c in word.chars() {
        let vowel = "aeiouyäöüáéíóúàèêâîôûœ".contains(c.to_lowercase().next().unwrap_or(c));
        syllables += u32::from(vowel && !in_vowel);
        in_vowel = vowel;
    }
    // The "e" of "table" is silent.
    if syllables > 1 && word.trim_end_matches(RESTS).ends_with('e') {
        syllables -= 1;
    }
    lasts::WORD
        + lasts::LETTER * letters
        + lasts::SYLLABLE * syllables
        + lasts::DIGIT * count(|c| c.is_ascii_digit())
}

fn join<'a>(parts: impl Iterator<Item = &'a str>) -> String {
    parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grammar::scatter;

    fn call(id: &str) -> ToolCall {
        ToolCall { id: id.to_owned(), name: "find_slots".to_owned(), arguments: "{}".to_owned() }
    }

    fn heard(index: u32, fraction: f32) -> HeardSentence {
        HeardSentence { index, fraction }
    }

    /// The messages as lines: `u:`, `a:` (with `!` when interrupted and `+id` for calls), `t:`.
    fn lines(context: &Context) -> Vec<String> {
        let line = |message: &Message| match message {
            Message::User { text } => format!("u: {text}"),
            Message::Assistant { text, tool_calls, interrupted } => {
                let calls: String = tool_calls.iter().map(|call| format!(" +{}", call.id)).collect();
                format!("a{}: {text}{calls}", if *interrupted { "!" } else { "" })
            }
            Message::Tool { call_id, result, .. } => format!("t {call_id}: {result}"),
        };
        context.messages().iter().map(line).collect()
    }

    #[test]
    fn a_cut_sentence_ends_with_the_last_whole_word_that_was_heard() {
        let mut context = Context::new("");
        context.user("hours");
        context.assistant_sentence(TurnId(1), 0, "We open at nine.");
        context.assistant_sentence(TurnId(1), 1, "We close at five in the afternoon.");
        context.assistant_sentence(TurnId(1), 2, "On Sunday we are closed.");
        context.heard(TurnId(1), &[heard(0, 1.0), heard(1, 0.5)]);
        assert_eq!(lines(&context), ["u: hours", "a!: We open at nine. We close at"]);
        let (said, unsaid) = context.heard_and_unsaid(TurnId(1));
        assert_eq!(said, "We open at nine. We close at");
        assert_eq!(unsaid, "five in the afternoon. On Sunday we are closed.");
    }

    #[test]
    fn a_reply_of_which_nothing_was_heard_leaves_no_trace() {
        let mut context = Context::new("");
        context.user("book an appointment");
        context.assistant_sentence(TurnId(1), 0, "For which day?");
        context.heard(TurnId(1), &[]);
        context.user("for tuesday");
        assert_eq!(lines(&context), ["u: book an appointment for tuesday"]);
    }

    #[test]
    fn a_sentence_made_after_the_cut_was_not_heard() {
        let mut context = Context::new("");
        context.user("hours");
        context.assistant_sentence(TurnId(1), 0, "We open at nine.");
        context.heard(TurnId(1), &[heard(0, 1.0)]);
        context.interrupted(TurnId(1));
        context.assistant_sentence(TurnId(1), 1, "We close at five.");
        assert_eq!(lines(&context), ["u: hours", "a!: We open at nine."]);
    }

    #[test]
    fn a_tool_result_that_comes_after_the_interruption_is_kept() {
        let mut context = Context::new("");
        context.user("book it");
        context.assistant_sentence(TurnId(1), 0, "One moment.");
        context.tool_call(TurnId(1), call("c1"));
        context.heard(TurnId(1), &[]);
        context.user("hello?");
        assert_eq!(lines(&context), ["u: book it", "a!:  +c1", &format!("t c1: {PENDING}"), "u: hello?"]);
        assert!(context.tool_result("c1", r#"{"changes":1}"#));
        assert_eq!(lines(&context), ["u: book it", "a!:  +c1", r#"t c1: {"changes":1}"#, "u: hello?"]);
        assert!(!context.tool_result("c1", "{}"), "a second result is refused");
        assert!(!context.tool_result("c9", "{}"), "a result of nobody's call is refused");
    }

    #[test]
    fn words_after_a_tool_follow_its_result() {
        let mut context = Context::new("");
        context.user("tuesday");
        context.assistant_sentence(TurnId(1), 0, "Let me see.");
        context.tool_call(TurnId(1), call("c1"));
        context.tool_call(TurnId(1), call("c2"));
        context.tool_result("c2", "[]");
        context.tool_result("c1", "[1]");
        context.assistant_sentence(TurnId(1), 1, "Nine is free.");
        assert_eq!(
            lines(&context),
            ["u: tuesday", "a: Let me see. +c1 +c2", "t c1: [1]", "t c2: []", "a: Nine is free."]
        );
    }

    #[test]
    fn a_long_call_forgets_its_beginning_and_keeps_the_system_prompt() {
        let agent =
            Agent::parse("[agent]\nname = \"a\"\ngreeting = \"hi\"\n", &std::collections::BTreeMap::new())
                .expect("a small agent");
        let today = jiff::civil::date(2026, 10, 12);
        let mut context = Context::new("You are kind.");
        for turn in 0..500 {
            context.user(format!("question {turn}"));
            context.assistant_sentence(TurnId(turn), 0, "answer ".repeat(20));
            context.tool_call(TurnId(turn), call(&format!("c{turn}")));
        }
        let request = context.request(&agent, today);
        assert!(request.system.starts_with("You are kind."));
        assert!(request.messages.len() <= MAX_MESSAGES + 4);
        assert!(matches!(&request.messages[0], Message::User { .. }));
        assert!(
            matches!(&request.messages[request.messages.len() - 3], Message::User { text } if text == "question 499")
        );
    }

    /// Whatever is cut wherever: no word is in the context that was not heard whole, every call has its result right
    /// after it, and no tool is forgotten.
    #[test]
    fn the_context_never_holds_an_unheard_word() {
        for seed in 0..2_000_u64 {
            let mut chance = (0..).map(|n| scatter(seed << 16 | n));
            let mut next = |below: u64| chance.next().map_or(0, |n| n % below);
            let mut context = Context::new("");
            let (mut heard_words, mut calls) = (Vec::new(), Vec::new());
            for turn in 0..5 {
                let turn = TurnId(turn);
                context.user("so");
                let mut reports = Vec::new();
                for index in 0..u32::try_from(next(5)).expect("small") {
                    let count = next(9) + 1;
                    let words: Vec<String> = (0..count).map(|n| format!("w{}x{index}x{n}", turn.0)).collect();
                    let text = words.join(" ");
                    context.assistant_sentence(turn, index, text.clone());
                    #[expect(clippy::cast_precision_loss, reason = "small")]
                    let fraction = match next(3) {
                        0 => 0.0,
                        1 => 1.0,
                        _ => next(1000) as f32 / 1000.0,
                    };
                    // A word was heard if its last letter was.
                    let mut end = 0;
                    for word in &words {
                        end += word.len();
                        #[expect(clippy::cast_precision_loss, reason = "small")]
                        if end as f32 <= fraction * text.len() as f32 + 0.01 {
                            heard_words.push(word.clone());
                        }
                        end += 1;
                    }
                    reports.push(heard(index, fraction));
                    if next(3) == 0 {
                        let id = format!("c{}", calls.len());
                        context.tool_call(turn, call(&id));
                        calls.push(id.clone());
                        if next(2) == 0 {
                            context.tool_result(&id, "{}");
                        }
                    }
                }
                context.heard(turn, &reports);
                if let Some(id) = calls.last().filter(|_| next(2) == 0) {
                    context.tool_result(id, "{}");
                }
            }
            check(&context, &heard_words, &calls, seed);
        }
    }

    fn check(context: &Context, heard_words: &[String], calls: &[String], seed: u64) {
        let messages = context.messages();
        let mut found = Vec::new();
        let mut open: Vec<String> = Vec::new();
        for message in &messages {
            match message {
                Message::Assistant { text, tool_calls, .. } => {
                    assert!(open.is_empty(), "seed {seed}: a call without a result");
                    assert!(!text.is_empty() || !tool_calls.is_empty(), "seed {seed}: an empty message");
                    for word in text.split_whitespace() {
                        assert!(
                            heard_words.iter().any(|heard| heard == word),
                            "seed {seed}: {word} was not heard"
                        );
                    }
                    open.extend(tool_calls.iter().map(|call| call.id.clone()));
                    found.extend(tool_calls.iter().map(|call| call.id.clone()));
                }
                Message::Tool { call_id, .. } => assert_eq!(open.remove(0), *call_id, "seed {seed}"),
                Message::User { .. } => assert!(open.is_empty(), "seed {seed}: a call without a result"),
            }
        }
        assert_eq!(found, calls, "seed {seed}: a call was lost");
    }

    #[test]
    fn a_result_that_comes_too_late_takes_the_place_of_its_stand_in() {
        let mut context = Context::new("You answer.");
        context.user("book it");
        context.tool_call(TurnId(1), call("c1"));
        context.tool_overdue("c1", r#"{"error":"too late"}"#);
        assert!(context.tool_result("c1", r#"{"changes":1}"#), "what a tool has done, it has done");
        assert!(!context.tool_result("c1", "{}"), "a second result is refused");
        let result = context.messages().into_iter().rev().find_map(|message| match message {
            Message::Tool { result, .. } => Some(result),
            Message::User { .. } | Message::Assistant { .. } => None,
        });
        assert_eq!(result.as_deref(), Some(r#"{"changes":1}"#));
    }
}
