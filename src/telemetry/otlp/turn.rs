//! One turn while it goes on, and the spans it becomes when it is over.
//! Knows the meaning of a turn's events. Does not know which call it belongs to beyond its name.

use super::{
    calls::{AgentLabels, Labels},
    ids::Part,
    span::Span,
};
use call::{
    CallId,
    latency::{Stage, TurnLatency},
};
use conversation::TurnId;

/// The role of a target that is asked beside another one.
const HEDGE: &str = "hedge";

/// A turn that has begun.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) turn: TurnId,
    /// All instants: microseconds since the INVITE.
    began: u64,
    caller: Option<Caller>,
    attempts: Vec<Attempt>,
    first_sentence: Option<u64>,
    first_audio: Option<u64>,
    sentences: u32,
    characters: u64,
    reply: String,
    latency: Option<TurnLatency>,
    barge_in: Option<(u32, String)>,
    fallbacks: Vec<String>,
    tools: u32,
    /// Spans of it that are over.
    ready: Vec<Span>,
}

#[derive(Debug)]
struct Caller {
    ended: u64,
    reason: String,
    waited_ms: u32,
    text: String,
    confidence: Option<f64>,
}

#[derive(Debug)]
struct Attempt {
    at: u64,
    target: String,
    role: String,
    first_token: Option<u64>,
    ended: Option<u64>,
    outcome: &'static str,
    tokens: (Option<u32>, Option<u32>),
}

/// How a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Its last packet left.
    Completed,
    /// The caller took the floor.
    Interrupted,
    /// The call ended under it, or the next turn began without a word of it.
    SessionClosed,
}

impl End {
    const fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Interrupted => "interrupted",
            Self::SessionClosed => "session_closed",
        }
    }
}

/// What turns need to become spans.
pub(super) struct Context<'a> {
    pub(super) call: CallId,
    /// Wall clock of the INVITE, in microseconds since 1970.
    pub(super) zero_us: u64,
    pub(super) agent_name: &'a str,
    pub(super) agent: Option<&'a AgentLabels>,
    pub(super) labels: &'a Labels,
}

impl Turn {
    pub(super) fn new(turn: TurnId, began: u64) -> Self {
        Self {
            turn,
            began,
            caller: None,
            attempts: Vec::new(),
            first_sentence: None,
            first_audio: None,
            sentences: 0,
            characters: 0,
            reply: String::new(),
            latency: None,
            barge_in: None,
            fallbacks: Vec::new(),
            tools: 0,
            ready: Vec::new(),
        }
    }

    pub(super) fn caller_spoke(&mut self, ended: u64, reason: &str, waited_ms: u32, text: &str) {
        let (reason, text) = (reason.to_owned(), text.to_owned());
        self.caller = Some(Caller { ended, reason, waited_ms, text, confidence: None });
    }

    pub(super) fn confidence(&mut self, confidence: Option<f32>) {
        if let Some(caller) = &mut self.caller {
            caller.confidence = confidence.map(f64::from);
        }
    }

    /// Another target is asked; the one before it had nothing to say in time, or has called tools.
    pub(super) fn attempt(&mut self, at: u64, target: &str, role: &str) {
        if role != HEDGE {
            self.end_attempt(at, "failed");
        }
        self.attempts.push(Attempt {
            at,
            target: target.to_owned(),
            role: role.to_owned(),
            first_token: None,
            ended: None,
            outcome: "failed",
            tokens: (None, None),
        });
    }

    /// Two targets were asked; this is the one that nobody waits for any more.
    pub(super) fn hedge_lost(&mut self, at: u64, target: &str) {
        let mut open = self.attempts.iter_mut().rev().filter(|attempt| attempt.ended.is_none());
        if let Some(lost) = open.find(|attempt| attempt.target == target) {
            (lost.ended, lost.outcome) = (Some(at), "cancelled");
        }
    }

    /// The target that is being asked, or was last.
    fn asked(&mut self) -> Option<&mut Attempt> {
        let open = self.attempts.iter().rposition(|attempt| attempt.ended.is_none());
        let last = self.attempts.len().checked_sub(1)?;
        self.attempts.get_mut(open.unwrap_or(last))
    }

    pub(super) fn first_token(&mut self, at: u64) {
        if let Some(attempt) = self.asked() {
            attempt.first_token.get_or_insert(at);
        }
    }

    pub(super) fn reply_done(&mut self, at: u64, tokens: (Option<u32>, Option<u32>)) {
        if let Some(attempt) = self.asked() {
            attempt.tokens = tokens;
        }
        self.end_attempt(at, "won");
    }

    pub(super) fn sentence(&mut self, at: u64, text: &str, keep: bool) {
        self.first_sentence.get_or_insert(at);
        self.sentences += 1;
        self.characters += text.chars().count() as u64;
        if keep {
            let space = if self.reply.is_empty() { "" } else { " " };
            self.reply.extend([space, text]);
        }
    }

    pub(super) fn first_audio(&mut self, at: u64) {
        self.first_audio.get_or_insert(at);
    }

    pub(super) fn latency(&mut self, latency: &TurnLatency) {
        self.latency = Some(latency.clone());
    }

    pub(super) fn interrupted(&mut self, reaction_ms: u32, state: &str) {
        self.barge_in = Some((reaction_ms, state.to_owned()));
    }

    pub(super) fn fell_back(&mut self, stage: &str) {
        self.fallbacks.push(stage.to_owned());
    }

    /// The number of the next tool of this turn.
    pub(super) fn next_tool(&mut self) -> u32 {
        self.tools += 1;
        self.tools - 1
    }

    pub(super) fn add(&mut self, span: Span) {
        self.ready.push(span);
    }

    /// Whether it should be kept however few are: it was slow, failed or cut short.
    pub(super) fn is_interesting(&self) -> bool {
        let slow = self.latency.as_ref().is_some_and(|latency| latency.violated_by.is_some());
        slow || !self.fallbacks.is_empty() || self.attempts.len() > 1 && self.has_other_roles()
    }

    fn has_other_roles(&self) -> bool {
        self.attempts.iter().any(|attempt| attempt.role != "primary")
    }

    /// The last of those that are being asked is done; what else was asked beside it has failed unheard of.
    fn end_attempt(&mut self, at: u64, outcome: &'static str) {
        let open = self.attempts.iter_mut().rev().filter(|attempt| attempt.ended.is_none());
        for (attempt, outcome) in open.zip(std::iter::once(outcome).chain(std::iter::repeat("failed"))) {
            (attempt.ended, attempt.outcome) = (Some(at), outcome);
        }
    }

    /// The turn and everything in it, the turn first.
    pub(super) fn spans(mut self, at: u64, end: End, context: &Context<'_>) -> Vec<Span> {
        self.end_attempt(at, if end == End::Completed { "won" } else { "cancelled" });
        let mut spans = vec![self.turn_span(at, end, context)];
        spans.extend(self.stt_span(context));
        spans.extend((0..self.attempts.len()).map(|n| self.chat_span(n, at, context)));
        spans.extend(self.tts_span(at, context));
        spans.append(&mut self.ready);
        spans
    }

    fn turn_span(&self, at: u64, end: End, context: &Context<'_>) -> Span {
        let name = format!("invoke_agent {}", context.agent_name);
        let mut span = self.span(Part::Turn(self.turn), Some(Part::Setup), name, context, (self.began, at));
        span.set("gen_ai.operation.name", "invoke_agent");
        span.set("gen_ai.agent.name", context.agent_name);
        span.set("gen_ai.conversation.id", context.call.to_string());
        span.set("voice.call.id", context.call.to_string());
        span.set("voice.turn.index", self.turn.0);
        span.set("voice.turn.end_reason", end.name());
        span.set("voice.interrupted", self.barge_in.is_some());
        span.set_some("voice.barge_in.reaction_ms", self.barge_in.as_ref().map(|(ms, _)| *ms));
        span.set_some("voice.barge_in.state", self.barge_in.as_ref().map(|(_, state)| state.clone()));
        span.set("voice.degraded_level", u32::from(!self.fallbacks.is_empty()));
        if let Some(caller) = &self.caller {
            span.set("voice.eou.reason", caller.reason.clone());
            span.set("voice.eou.delay_ms", caller.waited_ms);
        }
        if let Some(latency) = &self.latency {
            set_latency(&mut span, latency);
        }
        if context.labels.words {
            span.set_some("voice.pii.transcript", self.caller.as_ref().map(|caller| caller.text.clone()));
            span.set("voice.pii.reply", self.reply.clone());
        }
        span.error = self.fallbacks.first().map(|stage| format!("{stage} failed the turn"));
        span
    }

    /// From the caller's first sound to the words being settled.
    fn stt_span(&self, context: &Context<'_>) -> Option<Span> {
        let caller = self.caller.as_ref()?;
        let target = context.agent.map(|agent| &agent.stt);
        let name = named("speech_to_text", target.map(|target| &*target.model));
        let times = (self.began, caller.ended);
        let mut span = self.span(Part::Stt(self.turn), Some(Part::Turn(self.turn)), name, context, times);
        span.set("gen_ai.operation.name", "speech_to_text");
        span.set_some("voice.stt.provider", target.map(|target| target.provider.clone()));
        span.set_some("voice.stt.model", target.map(|target| target.model.clone()));
        span.set_some("voice.stt.language", context.agent.map(|agent| agent.language.clone()));
        span.set_some("voice.stt.confidence", caller.confidence);
        span.set("voice.stt.audio_s", (caller.ended.saturating_sub(self.began)) as f64 / 1e6);
        let settled = self.latency.as_ref().map(|latency| stage_ms(latency, Stage::SttFinal));
        span.set_some("voice.stt.final_delay_ms", settled);
        Some(span.client())
    }

    fn chat_span(&self, n: usize, at: u64, context: &Context<'_>) -> Span {
        let attempt = &self.attempts[n];
        let target = context.labels.llm.get(&attempt.target);
        let name = named("chat", target.map(|target| &*target.model));
        let number = u32::try_from(n).unwrap_or(u32::MAX);
        let times = (attempt.at, attempt.ended.unwrap_or(at));
        let part = Part::Chat(self.turn, number);
        let mut span = self.span(part, Some(Part::Turn(self.turn)), name, context, times);
        span.set("gen_ai.operation.name", "chat");
        span.set_some("gen_ai.provider.name", target.map(|target| target.provider.clone()));
        span.set_some("gen_ai.request.model", target.map(|target| target.model.clone()));
        span.set("gen_ai.conversation.id", context.call.to_string());
        let first = attempt.first_token.map(|first| first.saturating_sub(attempt.at));
        span.set_some("gen_ai.response.time_to_first_chunk", first.map(|us| us as f64 / 1e6));
        let speakable = self.first_sentence.filter(|_| first.is_some());
        let speakable = speakable.map(|said| said.saturating_sub(attempt.at) as f64 / 1e3);
        span.set_some("voice.llm.first_speakable_ms", speakable);
        span.set_some("gen_ai.usage.input_tokens", attempt.tokens.0);
        span.set_some("gen_ai.usage.output_tokens", attempt.tokens.1);
        span.set("gateway.target", attempt.target.clone());
        span.set("gateway.attempt", number);
        span.set("gateway.attempt.role", attempt.role.clone());
        span.set("gateway.attempt.outcome", attempt.outcome);
        if attempt.outcome == "failed" {
            span.set("error.type", "no_reply");
            span.error = Some("nothing speakable in time, or a failure".to_owned());
        }
        span.client()
    }

    fn tts_span(&self, at: u64, context: &Context<'_>) -> Option<Span> {
        let from = self.first_sentence?;
        let target = context.agent.map(|agent| &agent.tts);
        let name = named("text_to_speech", target.map(|target| &*target.model));
        let part = Part::Tts(self.turn);
        let mut span = self.span(part, Some(Part::Turn(self.turn)), name, context, (from, at));
        span.set("gen_ai.operation.name", "text_to_speech");
        span.set_some("voice.tts.provider", target.map(|target| target.provider.clone()));
        span.set_some("voice.tts.model", target.map(|target| target.model.clone()));
        span.set_some("voice.tts.voice", context.agent.and_then(|agent| agent.voice.clone()));
        span.set("voice.tts.chars", self.characters);
        span.set("voice.tts.sentences", self.sentences);
        // Prepared sentences need no voice: their audio was rendered before the first call.
        span.set("voice.tts.cached", self.first_audio.is_none());
        let first = self.first_audio.map(|first| first.saturating_sub(from) as f64 / 1e3);
        span.set_some("voice.tts.first_byte_ms", first);
        Some(span.client())
    }

    fn span(
        &self,
        part: Part,
        parent: Option<Part>,
        name: String,
        context: &Context<'_>,
        (from, to): (u64, u64),
    ) -> Span {
        let zero = context.zero_us;
        Span::new(context.call, part, parent, name)
            .between(zero.saturating_add(from), zero.saturating_add(to))
    }
}

fn named(operation: &str, model: Option<&str>) -> String {
    match model {
        Some(model) => format!("{operation} {model}"),
        None => operation.to_owned(),
    }
}

fn stage_ms(latency: &TurnLatency, stage: Stage) -> f64 {
    let found = latency.stages.iter().find(|time| time.stage == stage);
    found.map_or(0.0, |time| time.us as f64 / 1e3)
}

/// The partition: its parts add up to the whole.
fn set_latency(span: &mut Span, latency: &TurnLatency) {
    span.set("voice.latency.e2e_ms", latency.total_us as f64 / 1e3);
    for stage in Stage::ALL {
        span.set(stage_attribute(stage), stage_ms(latency, stage));
    }
    span.set("voice.budget_ms", latency.budget_us / 1_000);
    span.set("voice.work_budget_ms", latency.work_budget_us / 1_000);
    span.set_some("voice.budget_violated_stage", latency.violated_by.map(Stage::name));
}

const fn stage_attribute(stage: Stage) -> &'static str {
    match stage {
        Stage::Jitter => "voice.latency.jitter_ms",
        Stage::EndOfTurn => "voice.latency.end_of_turn_ms",
        Stage::SttFinal => "voice.latency.stt_final_ms",
        Stage::Knowledge => "voice.latency.knowledge_ms",
        Stage::LlmFirstToken => "voice.latency.llm_first_token_ms",
        Stage::Tool => "voice.latency.tool_ms",
        Stage::FirstSentence => "voice.latency.first_sentence_ms",
        Stage::TtsFirstAudio => "voice.latency.tts_first_audio_ms",
        Stage::Pacing => "voice.latency.pacing_ms",
        Stage::Other => "voice.latency.other_ms",
    }
}
