//! The calls that are going on, as far as their spans need it: events in, spans out when a turn or a call is over.
//! Knows no collector. Whoever calls it is on no call's path.

use super::{
    ids::{Part, digest},
    span::{Kind, Span},
    turn::{Context, End, Turn},
};
use call::{
    CallId, Event, Stamped,
    cdr::{Cause, Cdr},
};
use conversation::TurnId;
use std::collections::{BTreeMap, HashMap};

/// Turns of one call that are open at once: the one that is spoken, and whatever came out of order.
const OPEN_TURNS: usize = 8;
/// Tools of one call that run at once and become spans.
const OPEN_TOOLS: usize = 64;

/// Names that no event carries: which model stands behind which target, and whose calls are whose.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    /// The carrier profile of each trunk.
    pub trunks: BTreeMap<String, String>,
    /// By the agent's name and version, as events tell them.
    pub agents: BTreeMap<String, AgentLabels>,
    /// Language model targets by name.
    pub llm: BTreeMap<String, TargetLabels>,
    /// Whether numbers and words may leave this machine.
    pub words: bool,
    /// Of calls in which nothing of interest happened, so many of a hundred are told. The others always are.
    pub sample_percent: u8,
}

/// What an agent works with.
#[derive(Clone, Debug, Default)]
pub struct AgentLabels {
    /// Its first speech-to-text target.
    pub stt: TargetLabels,
    /// Its first text-to-speech target.
    pub tts: TargetLabels,
    /// The voice, where it has a name.
    pub voice: Option<String>,
    /// A BCP 47 tag.
    pub language: String,
}

/// One model of one provider.
#[derive(Clone, Debug, Default)]
pub struct TargetLabels {
    /// Whose.
    pub provider: String,
    /// Which.
    pub model: String,
}

/// All calls that are going on. Bounded by the port slots: a call leaves with its last event.
pub struct CallSpans {
    labels: Labels,
    calls: HashMap<CallId, Call>,
}

struct Call {
    zero_us: u64,
    trunk: String,
    pool: Option<(String, u32, &'static str)>,
    sip_call_id: String,
    numbers: (String, String),
    agent: String,
    started: Option<(u32, u32, String)>,
    /// The root waits until the call is answered, and then until it is known whether the call is told at all.
    root: Option<Span>,
    root_left: bool,
    told: bool,
    turns: BTreeMap<TurnId, Turn>,
    newest: Option<TurnId>,
    /// The caller's speech that no turn has claimed yet began then.
    speech_from: Option<u64>,
    confidence: Option<f32>,
    tools: Vec<Tool>,
    step: u32,
    sums: Sums,
}

struct Tool {
    turn: TurnId,
    number: u32,
    name: String,
    from: u64,
    step: u32,
}

/// What the last span of a call says.
#[derive(Default)]
struct Sums {
    turns: u32,
    barge_ins: u32,
    fallbacks: u32,
    violations: u32,
    tokens: (u64, u64),
}

impl CallSpans {
    /// No calls yet.
    pub fn new(labels: Labels) -> Self {
        Self { labels, calls: HashMap::new() }
    }

    /// A call has its slot and begins.
    pub fn begin(&mut self, cdr: &Cdr) {
        self.calls.insert(cdr.arrival.call, Call::new(cdr, &self.labels));
    }

    /// A call that never got a slot: one span, an error.
    pub fn refused(&mut self, cdr: &Cdr, out: &mut Vec<Span>) {
        let call = Call::new(cdr, &self.labels);
        if !call.told {
            return;
        }
        let mut root = call.root_span(cdr.arrival.call, cdr.ended_after_us.unwrap_or_default(), &self.labels);
        let cause = cdr.cause.clone().unwrap_or_default();
        root.set("voice.call.end_reason", cause.clone());
        root.set_some("sip.status_code", cdr.sip_status.map(u32::from));
        root.error = Some(cause);
        out.push(root);
    }

    /// Something happened in a call.
    pub fn event(&mut self, id: CallId, stamped: &Stamped, out: &mut Vec<Span>) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.take(id, stamped, &self.labels, out);
        if matches!(stamped.event, Event::Ended { .. }) {
            self.calls.remove(&id);
        }
    }

    /// Calls that are going on.
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }
}

impl Call {
    fn new(cdr: &Cdr, labels: &Labels) -> Self {
        let arrival = &cdr.arrival;
        Self {
            zero_us: arrival.invited_at_us,
            trunk: arrival.trunk.clone(),
            pool: cdr.pool.clone().zip(cdr.load).map(|(pool, (cap, band))| (pool, cap, band.name())),
            sip_call_id: arrival.sip_call_id.clone(),
            numbers: (arrival.caller.clone(), arrival.called.clone()),
            agent: String::new(),
            started: None,
            root: None,
            root_left: false,
            // The id is random: its last digits are as good a draw as any, and every span of the call agrees on it.
            told: arrival.call.0 % 100 < u64::from(labels.sample_percent),
            turns: BTreeMap::new(),
            newest: None,
            speech_from: None,
            confidence: None,
            tools: Vec::new(),
            step: 0,
            sums: Sums::default(),
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "a span says little of what happens in a call")]
    fn take(&mut self, id: CallId, stamped: &Stamped, labels: &Labels, out: &mut Vec<Span>) {
        let at = stamped.at_us;
        match &stamped.event {
            Event::Started { agent, port_slot, concurrency, codec } => {
                self.agent.clone_from(agent);
                self.started = Some((*port_slot, *concurrency, codec.clone()));
            }
            Event::Answered => self.root = Some(self.root_span(id, at, labels)),
            Event::Heard { is_final: true, confidence, .. } => self.confidence = *confidence,
            Event::Speech { active: true } => self.speech_from = self.speech_from.or(Some(at)),
            Event::TurnEnded { turn, text, reason, waited_ms } => {
                let from = self.speech_from.take().unwrap_or(at);
                self.sums.turns += 1;
                let confidence = self.confidence.take();
                let turn = self.open(id, *turn, from, at, labels, out);
                turn.caller_spoke(at, reason, *waited_ms, text);
                turn.confidence(confidence);
            }
            Event::LlmAttempt { turn, target, role } => {
                self.open(id, *turn, at, at, labels, out).attempt(at, target, role);
                self.decide(id, *turn, at, target, role);
            }
            Event::HedgeLost { turn, target, .. } => {
                self.open(id, *turn, at, at, labels, out).hedge_lost(at, target);
            }
            Event::FirstToken { turn } => self.open(id, *turn, at, at, labels, out).first_token(at),
            Event::ReplyDone { turn, input_tokens, output_tokens } => {
                self.sums.tokens.0 += u64::from(input_tokens.unwrap_or_default());
                self.sums.tokens.1 += u64::from(output_tokens.unwrap_or_default());
                let tokens = (*input_tokens, *output_tokens);
                self.open(id, *turn, at, at, labels, out).reply_done(at, tokens);
            }
            Event::Sentence { turn, text, .. } => {
                self.open(id, *turn, at, at, labels, out).sentence(at, text, labels.words);
            }
            Event::FirstAudio { turn } => self.open(id, *turn, at, at, labels, out).first_audio(at),
            Event::Latency { turn, latency } => {
                self.sums.violations += u32::from(latency.violated_by.is_some());
                self.open(id, *turn, at, at, labels, out).latency(latency);
            }
            Event::Fallback { turn, stage, .. } => {
                self.sums.fallbacks += 1;
                self.open(id, *turn, at, at, labels, out).fell_back(stage);
                self.decide(id, *turn, at, "prepared sentence", "fallback");
            }
            Event::ToolStarted { turn, name } => self.start_tool(id, *turn, at, name, labels, out),
            Event::ToolEnded { turn, name, ok, .. } => self.end_tool(id, *turn, at, name, *ok, out),
            Event::BargeIn { turn, state, reaction_ms, .. } => {
                self.sums.barge_ins += 1;
                if let Some(open) = self.turns.get_mut(turn) {
                    open.interrupted(*reaction_ms, state);
                }
                self.close(id, *turn, at, End::Interrupted, labels, out);
            }
            Event::AgentDone { turn } => self.close(id, *turn, at, End::Completed, labels, out),
            Event::Ended { cause, status } => self.end(id, at, (cause, *status), labels, out),
            _ => {}
        }
    }

    /// The turn of that number. Its coming ends those before it: nobody will hear of them again.
    fn open(
        &mut self,
        id: CallId,
        turn: TurnId,
        from: u64,
        at: u64,
        labels: &Labels,
        out: &mut Vec<Span>,
    ) -> &mut Turn {
        if self.newest < Some(turn) {
            self.newest = Some(turn);
            let before: Vec<TurnId> = self.turns.keys().copied().filter(|open| *open < turn).collect();
            for open in before {
                self.close(id, open, at, End::SessionClosed, labels, out);
            }
        }
        while self.turns.len() >= OPEN_TURNS && !self.turns.contains_key(&turn) {
            self.turns.pop_first();
        }
        self.turns.entry(turn).or_insert_with(|| Turn::new(turn, from))
    }

    fn close(&mut self, id: CallId, turn: TurnId, at: u64, end: End, labels: &Labels, out: &mut Vec<Span>) {
        let Some(closed) = self.turns.remove(&turn) else { return };
        self.told |= closed.is_interesting();
        if !self.told {
            return;
        }
        if let Some(root) = self.root.take() {
            self.root_left = true;
            out.push(root);
        }
        let context = Context {
            call: id,
            zero_us: self.zero_us,
            agent_name: agent_name(&self.agent),
            agent: labels.agents.get(&self.agent),
            labels,
        };
        out.extend(closed.spans(at, end, &context));
    }

    /// A step of the call's trajectory: who is asked, and why.
    fn decide(&mut self, id: CallId, turn: TurnId, at: u64, target: &str, reason: &str) {
        let step = self.next_step();
        let at = self.zero_us.saturating_add(at);
        let part = Part::Decision(step);
        let mut span = Span::new(id, part, Some(Part::Turn(turn)), "gateway.decision").between(at, at);
        span.set("agent.trajectory.step", step);
        span.set("gateway.target", target);
        span.set("gateway.reason", reason);
        if let Some(turn) = self.turns.get_mut(&turn) {
            turn.add(span);
        }
    }

    /// Decisions and tools count together, from 1 and without a gap.
    const fn next_step(&mut self) -> u32 {
        self.step += 1;
        self.step
    }

    fn start_tool(
        &mut self,
        id: CallId,
        turn: TurnId,
        at: u64,
        name: &str,
        labels: &Labels,
        out: &mut Vec<Span>,
    ) {
        let number = self.open(id, turn, at, at, labels, out).next_tool();
        let step = self.next_step();
        if self.tools.len() < OPEN_TOOLS {
            self.tools.push(Tool { turn, number, name: name.to_owned(), from: at, step });
        }
    }

    /// A tool may outlive its turn; it is a part of it all the same.
    fn end_tool(&mut self, id: CallId, turn: TurnId, at: u64, name: &str, ok: bool, out: &mut Vec<Span>) {
        let running = self.tools.iter().position(|tool| tool.turn == turn && tool.name == name);
        let Some(tool) = running.map(|place| self.tools.swap_remove(place)) else { return };
        let part = Part::Tool(turn, tool.number);
        let (from, to) = (self.zero_us.saturating_add(tool.from), self.zero_us.saturating_add(at));
        let mut span = Span::new(id, part, Some(Part::Turn(turn)), format!("execute_tool {name}"));
        span = span.between(from, to);
        span.set("gen_ai.operation.name", "execute_tool");
        span.set("gen_ai.tool.name", name);
        span.set("agent.trajectory.step", tool.step);
        if !ok {
            span.set("error.type", "tool_failed");
            span.error = Some("no result".to_owned());
        }
        match self.turns.get_mut(&turn) {
            Some(open) => open.add(span),
            None if self.told => out.push(span),
            None => {}
        }
    }

    fn root_span(&self, id: CallId, at: u64, labels: &Labels) -> Span {
        let zero = self.zero_us;
        let mut span = Span::new(id, Part::Setup, None, "call setup").between(zero, zero.saturating_add(at));
        span.kind = Kind::Server;
        span.set("voice.call.id", id.to_string());
        span.set("gen_ai.conversation.id", id.to_string());
        span.set("voice.direction", "inbound");
        span.set("voice.trunk", self.trunk.clone());
        let carrier = labels.trunks.get(&self.trunk).cloned();
        span.set("voice.provider", carrier.unwrap_or_else(|| self.trunk.clone()));
        span.set("sip.call_id", digest(&self.sip_call_id));
        if let Some((pool, cap, band)) = &self.pool {
            span.set("voice.pool", pool.clone());
            span.set("voice.port.cap", *cap);
            span.set("voice.load_band", *band);
        }
        if let Some((slot, concurrency, codec)) = &self.started {
            span.set("voice.port.id", *slot);
            span.set("voice.concurrency_at_call_start", *concurrency);
            span.set("voice.codec", codec.clone());
            span.set("voice.agent", self.agent.clone());
        }
        if labels.words {
            span.set("voice.pii.from_number", self.numbers.0.clone());
            span.set("voice.pii.to_number", self.numbers.1.clone());
        }
        span
    }

    fn end(
        &mut self,
        id: CallId,
        at: u64,
        (cause, status): (&str, Option<u16>),
        labels: &Labels,
        out: &mut Vec<Span>,
    ) {
        while let Some(turn) = self.turns.keys().next().copied() {
            self.close(id, turn, at, End::SessionClosed, labels, out);
        }
        self.told |= is_trouble(cause);
        if !self.told {
            return;
        }
        if !self.root_left {
            let mut root = self.root.take().unwrap_or_else(|| self.root_span(id, at, labels));
            if let Some(status) = status.filter(|status| *status >= 300) {
                root.set("sip.status_code", u32::from(status));
                root.error = Some(cause.to_owned());
            }
            out.push(root);
        }
        let zero = self.zero_us;
        let now = zero.saturating_add(at);
        let mut slot = Span::new(id, Part::Lifecycle, Some(Part::Setup), "port.lifecycle").between(zero, now);
        slot.set_some("voice.port.id", self.started.as_ref().map(|(slot, ..)| *slot));
        let mut end = Span::new(id, Part::End, Some(Part::Setup), "call end").between(now, now);
        end.set("voice.call.duration_s", at as f64 / 1e6);
        end.set("voice.call.end_reason", cause);
        end.set("voice.turns", self.sums.turns);
        end.set("voice.interruptions", self.sums.barge_ins);
        end.set("voice.fallbacks", self.sums.fallbacks);
        end.set("voice.budget_violations", self.sums.violations);
        end.set("gen_ai.usage.input_tokens", self.sums.tokens.0);
        end.set("gen_ai.usage.output_tokens", self.sums.tokens.1);
        out.extend([slot, end]);
    }
}

/// Events tell an agent by its name and version.
fn agent_name(agent: &str) -> &str {
    agent.rsplit_once(' ').map_or(agent, |(name, _version)| name)
}

/// Whether a call that ended so is told however few are.
fn is_trouble(cause: &str) -> bool {
    let fine = [Cause::CallerHungUp, Cause::CallerCancelled, Cause::AgentEnded, Cause::NoInput];
    !fine.iter().any(|fine| fine.name() == cause)
}
