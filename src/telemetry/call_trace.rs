//! One call turn by turn, made from its events: what `tandem trace`, `tandem call` and the API show.
//! Knows the meaning of events. Knows neither where they were kept nor how they are drawn.

use crate::store::CallRecord;
use call::{
    CallId, Event, FoundPassage, Stamped,
    latency::{Stage, StageTime, TurnLatency},
};
use conversation::TurnId;
use serde::{Deserialize, Serialize};

/// An event with its number within the call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NumberedEvent {
    /// From 1, without gaps unless events had to be dropped.
    pub seq: u64,
    /// What and when.
    #[serde(flatten)]
    pub stamped: Stamped,
}

/// A call as it can be read. Its words are the caller's: show them to whoever asked, never log them.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct CallTrace {
    /// Its record, as far as it is known.
    pub call: Option<CallRecord>,
    /// Whether it is still going on.
    pub running: bool,
    /// From the INVITE to the greeting's first voiced packet, in microseconds.
    pub greeting_us: Option<u64>,
    /// The agent's turns, in order; 0 is the greeting.
    pub turns: Vec<TurnTrace>,
    /// What happened outside any turn.
    pub notes: Vec<Note>,
    /// What is wrong with the trace itself.
    pub warnings: Vec<String>,
    /// The events it was made from.
    pub events: Vec<NumberedEvent>,
}

/// One turn: what the caller said, what the agent answered, and where the time went.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TurnTrace {
    /// Its number.
    pub turn: u32,
    /// When it began, in microseconds since the INVITE.
    pub at_us: u64,
    /// The caller's part; absent in the greeting and when the agent speaks up by itself.
    pub caller: Option<CallerPart>,
    /// The response gap, once the answer has begun.
    pub latency: Option<LatencyTrace>,
    /// What the agent set out to say, sentence by sentence.
    pub sentences: Vec<String>,
    /// How far the turn has come: the last mark it reached.
    pub reached: Option<Mark>,
    /// Sounds of the caller that it fell silent for and that were not meant for it: what each was, and its words.
    #[serde(default)]
    pub asides: Vec<Note>,
    /// How the caller cut it short.
    pub barge_in: Option<BargeInTrace>,
    /// What the agent's documents had about the caller's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub knowledge: Option<KnowledgeTrace>,
    /// Tools it ran.
    pub tools: Vec<ToolTrace>,
    /// Targets the gateway tried.
    pub attempts: Vec<AttemptTrace>,
    /// Prepared sentences played in place of an answer.
    pub fallbacks: Vec<Note>,
    /// Tokens in, where known.
    pub input_tokens: Option<u32>,
    /// Tokens out, where known.
    pub output_tokens: Option<u32>,
}

/// What went with a question from the agent's documents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnowledgeTrace {
    /// `ready`, `in_time`, `earlier` or `late`: see [`Event::Knowledge`].
    pub came: String,
    /// How long the search took, in milliseconds.
    pub took_ms: u32,
    /// How long the question waited for it, in milliseconds.
    pub waited_ms: u32,
    /// The passages, best first.
    pub passages: Vec<FoundPassage>,
}

/// What the caller did to get an answer.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct CallerPart {
    /// The words, digits masked when they were keyed in.
    pub text: String,
    /// Why the turn was held to be over.
    pub reason: String,
    /// Silence waited for, in milliseconds.
    pub waited_ms: u32,
}

/// The response gap and its parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencyTrace {
    /// From the last packet of the caller's speech to the first voiced packet of the answer, in microseconds.
    pub total_us: u64,
    /// Budget of the whole, in microseconds; 0 means none.
    pub budget_us: u64,
    /// Whether the whole took longer than that.
    pub over: bool,
    /// The stage to blame when the turn was over budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub violated_by: Option<Stage>,
    /// The parts, in the order in which time passed through them.
    pub stages: Vec<StageTrace>,
}

/// One part of the response gap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageTrace {
    /// Name, length and budget.
    #[serde(flatten)]
    pub time: StageTime,
    /// Whether it took longer than its budget.
    pub over: bool,
}

/// How far a turn has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// The model was asked.
    Asked,
    /// Its first delta came.
    FirstToken,
    /// A sentence went to text-to-speech.
    Sentence,
    /// Its first audio came.
    FirstAudio,
    /// Its first voiced packet left.
    FirstPacket,
    /// Its last packet left.
    Done,
}

/// A turn that the caller cut short.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct BargeInTrace {
    /// When, in microseconds since the INVITE.
    pub at_us: u64,
    /// What the agent was doing.
    pub state: String,
    /// From the caller's first frame of speech to the decision, in milliseconds.
    pub reaction_ms: u32,
    /// What the caller heard.
    pub heard: String,
    /// What was never heard.
    pub unsaid: String,
}

/// A tool that a turn ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolTrace {
    /// When it started, in microseconds since the INVITE.
    pub at_us: u64,
    /// Its name.
    pub name: String,
    /// Whether it gave a result; absent while it runs.
    pub ok: Option<bool>,
    /// How long it took, in milliseconds.
    pub ms: Option<u32>,
}

/// A target that the gateway tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptTrace {
    /// When, in microseconds since the INVITE.
    pub at_us: u64,
    /// The target's name.
    pub target: String,
    /// `primary` or `fallback`.
    pub role: String,
}

/// A line for the reader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// When, in microseconds since the INVITE.
    pub at_us: u64,
    /// What it is about: a stage, `no_input` or a queue.
    pub about: String,
    /// What happened.
    pub text: String,
}

impl CallTrace {
    /// Reads the events of one call, in order. The record may be missing; what the events say of it is used then.
    pub fn from_events(record: Option<CallRecord>, events: Vec<NumberedEvent>) -> Self {
        let ended = record.as_ref().is_some_and(|record| record.end_us.is_some());
        let mut trace = Self {
            call: record,
            running: !ended,
            greeting_us: None,
            turns: Vec::new(),
            notes: Vec::new(),
            warnings: Vec::new(),
            events: Vec::new(),
        };
        for event in &events {
            trace.take(&event.stamped);
        }
        trace.warn_of_gaps(&events);
        trace.events = events;
        trace
    }

    /// The call's name, where it is known.
    pub fn id(&self) -> Option<CallId> {
        self.call.as_ref().map(|record| record.call)
    }

    /// Response gaps of the turns that have one, in microseconds, shortest first.
    pub fn gaps_us(&self) -> Vec<u64> {
        let mut gaps: Vec<u64> = self
            .turns
            .iter()
            .filter_map(|turn| turn.latency.as_ref().map(|latency| latency.total_us))
            .collect();
        gaps.sort_unstable();
        gaps
    }

    /// What an event says about its turn; about the rest there may be a line for the reader.
    #[expect(clippy::wildcard_enum_match_arm, reason = "what is no part of a turn is taken below")]
    fn take(&mut self, stamped: &Stamped) {
        let at = stamped.at_us;
        match &stamped.event {
            Event::TurnEnded { turn, text, reason, waited_ms } => {
                let (text, reason, waited_ms) = (text.clone(), reason.clone(), *waited_ms);
                self.turn(*turn, at).caller = Some(CallerPart { text, reason, waited_ms });
            }
            Event::Asked { turn } => self.turn(*turn, at).reach(Mark::Asked),
            Event::LlmAttempt { turn, target, role } => {
                let attempt = AttemptTrace { at_us: at, target: target.clone(), role: role.clone() };
                self.turn(*turn, at).attempts.push(attempt);
            }
            Event::HedgeLost { turn, target, input_tokens, output_tokens } => {
                let text =
                    format!("{target} was asked for nothing: {input_tokens} tokens in, {output_tokens} out");
                self.turn(*turn, at).asides.push(Note { at_us: at, about: "hedge".into(), text });
            }
            Event::FirstToken { turn } => self.turn(*turn, at).reach(Mark::FirstToken),
            Event::Sentence { turn, text, .. } => {
                let turn = self.turn(*turn, at);
                turn.sentences.push(text.clone());
                turn.reach(Mark::Sentence);
            }
            Event::FirstAudio { turn } => self.turn(*turn, at).reach(Mark::FirstAudio),
            Event::FirstPacket { turn } => {
                self.turn(*turn, at).reach(Mark::FirstPacket);
                if *turn == TurnId(0) {
                    self.greeting_us.get_or_insert(at);
                }
            }
            Event::AgentDone { turn } => self.turn(*turn, at).reach(Mark::Done),
            Event::ReplyDone { turn, input_tokens, output_tokens } => {
                let turn = self.turn(*turn, at);
                (turn.input_tokens, turn.output_tokens) = (*input_tokens, *output_tokens);
            }
            Event::ToolStarted { turn, name } => {
                let tool = ToolTrace { at_us: at, name: name.clone(), ok: None, ms: None };
                self.turn(*turn, at).tools.push(tool);
            }
            Event::ToolEnded { turn, name, ok, ms } => self.turn(*turn, at).end_tool(at, name, *ok, *ms),
            Event::AgentResumed { turn, was, text, after_ms } => {
                let text = format!("\"{text}\", silent for {after_ms} ms");
                self.turn(*turn, at).asides.push(Note { at_us: at, about: was.clone(), text });
            }
            Event::BargeIn { turn, state, reaction_ms, heard, unsaid, .. } => {
                let (state, heard, unsaid) = (state.clone(), heard.clone(), unsaid.clone());
                let barge_in = BargeInTrace { at_us: at, state, reaction_ms: *reaction_ms, heard, unsaid };
                self.turn(*turn, at).barge_in = Some(barge_in);
            }
            Event::Latency { turn, latency } => self.take_latency(*turn, at, latency),
            Event::Fallback { turn, stage, reason } => {
                let note = Note { at_us: at, about: stage.clone(), text: reason.clone() };
                self.turn(*turn, at).fallbacks.push(note);
            }
            Event::GuessUsed { turn, saved_ms } => {
                let text = format!("right: asked {saved_ms} ms before the turn was over");
                self.turn(*turn, at).asides.push(Note { at_us: at, about: "guess".into(), text });
            }
            Event::Knowledge { turn, came, passages, took_ms, waited_ms } => {
                let (came, passages) = (came.clone(), passages.clone());
                let known = KnowledgeTrace { came, took_ms: *took_ms, waited_ms: *waited_ms, passages };
                self.turn(*turn, at).knowledge = Some(known);
            }
            Event::Ended { .. } => self.running = false,
            event => self.take_note(at, event),
        }
    }

    /// A line for the reader.
    #[expect(clippy::wildcard_enum_match_arm, reason = "not every event is worth one")]
    fn take_note(&mut self, at: u64, event: &Event) {
        match event {
            Event::GuessWasted { turn, why, input_tokens, output_tokens, .. } => {
                let spent = format!("{input_tokens} tokens in, {output_tokens} out");
                self.note(at, "guess", format!("turn {turn} wasted, {why}: {spent}"));
            }
            Event::Filler { rung, text, .. } => self.note(at, "filler", format!("{rung}: {text}")),
            Event::Loop { who, count: 0 } => self.note(at, "loop", who.clone()),
            Event::Loop { who, count } => self.note(at, "loop", format!("{who} ({count} in a row)")),
            Event::Transfer { destination, state, status } => {
                let status = status.map(|status| format!(" ({status})")).unwrap_or_default();
                self.note(at, "transfer", format!("to {destination}: {state}{status}"));
            }
            Event::Path { nodes, .. } => self.note(at, "path", nodes.join(" -> ")),
            Event::Continued { messages } => {
                self.note(at, "continued", format!("after {messages} messages of a call that was cut off"));
            }
            Event::HandedOver { agent } => self.note(at, "hand_over", format!("to {agent}")),
            Event::Language { language, why } => self.note(at, "language", format!("{language} ({why})")),
            Event::Noted { text, .. } => self.note(at, "note", text.clone()),
            Event::NoInput { count } => {
                self.note(at, "no_input", format!("the caller said nothing ({count})"))
            }
            Event::ProviderFailed { stage, reason } => self.note(at, stage, format!("failed: {reason}")),
            Event::Dropped { queue, count } => {
                self.note(at, queue, format!("{count} dropped, it was not keeping up"))
            }
            Event::Unrecorded => self.note(at, "store", "answered before its start was on disk".to_owned()),
            Event::MediaFault { fault, active } => self.note(
                at,
                "media",
                format!("{}{}", media_fault(fault), if *active { "" } else { ": over" }),
            ),
            Event::KeysSent { count } => self.note(at, "keys", format!("pressed {count} for the other side")),
            _ => {}
        }
    }

    fn take_latency(&mut self, turn: TurnId, at: u64, latency: &TurnLatency) {
        let over = |us: u64, budget: Option<u64>| budget.is_some_and(|budget| budget > 0 && us > budget);
        let sum: u64 = latency.stages.iter().fold(0, |sum, stage| sum.saturating_add(stage.us));
        if sum != latency.total_us {
            self.warnings.push(format!(
                "turn {turn}: the stages add up to {sum} µs, but the gap is {} µs; please report this",
                latency.total_us
            ));
        }
        self.turn(turn, at).latency = Some(LatencyTrace {
            total_us: latency.total_us,
            budget_us: latency.budget_us,
            over: over(latency.total_us, Some(latency.budget_us)),
            violated_by: latency.violated_by,
            stages: latency
                .stages
                .iter()
                .map(|time| StageTrace { time: *time, over: over(time.us, time.budget_us) })
                .collect(),
        });
    }

    /// Numbers that are missing are events that had to be dropped before they were kept.
    fn warn_of_gaps(&mut self, events: &[NumberedEvent]) {
        let Some(last) = events.last() else { return };
        let missing = last.seq.saturating_sub(events.len() as u64);
        if missing > 0 {
            self.warnings.push(format!("{missing} events are missing: the trace was not keeping up"));
        }
    }

    fn note(&mut self, at_us: u64, about: &str, text: String) {
        self.notes.push(Note { at_us, about: about.to_owned(), text });
    }

    /// The turn of that number; it begins with the first event that names it.
    fn turn(&mut self, turn: TurnId, at_us: u64) -> &mut TurnTrace {
        let place = match self.turns.binary_search_by_key(&turn.0, |turn| turn.turn) {
            Ok(place) => place,
            Err(place) => {
                self.turns.insert(place, TurnTrace { turn: turn.0, at_us, ..TurnTrace::default() });
                place
            }
        };
        &mut self.turns[place]
    }
}

impl TurnTrace {
    fn reach(&mut self, mark: Mark) {
        self.reached = self.reached.max(Some(mark));
    }

    fn end_tool(&mut self, at_us: u64, name: &str, ok: bool, ms: u32) {
        let running = self.tools.iter_mut().find(|tool| tool.name == name && tool.ok.is_none());
        if let Some(tool) = running {
            (tool.ok, tool.ms) = (Some(ok), Some(ms));
            return;
        }
        let at_us = at_us.saturating_sub(u64::from(ms) * 1_000);
        self.tools.push(ToolTrace { at_us, name: name.to_owned(), ok: Some(ok), ms: Some(ms) });
    }
}

impl std::fmt::Debug for CallTrace {
    /// Leaves words out: they are the caller's.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CallTrace({:?}, {} turns, {} events)", self.id(), self.turns.len(), self.events.len())
    }
}
/// What an operator makes of a fault.
fn media_fault(fault: &str) -> &str {
    match fault {
        "not_hearing" => "nothing comes from the caller, though its side reports (one-way audio)",
        "silent" => "nothing comes from the caller",
        "not_heard" => "the caller's side reports that nothing of ours arrives (one-way audio)",
        "dead" => "no audio, no reports, no sign of life of the dialog",
        other => other,
    }
}
