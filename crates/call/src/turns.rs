//! Turn-taking at work: the floor's decisions carried out, providers' answers taken in.
//! Knows turns, sentences and tools. Decides nothing about when to speak: that is the floor's.

use crate::{
    Event, LlmEvent, Output, SttEvent, ToolResult, TtsEvent,
    cdr::Cause,
    config::Clip,
    latency::Marks,
    machine::{Call, Phase},
    reply::{Overdue, Reply, RunningTool},
};
use conversation::{Decision, HeardSentence, Interruptible, ToolCall, ToolKind, Transcript, TurnId};
use media::{SegmentId, SegmentProgress};
use std::time::{Duration, Instant};

/// Times the model may be asked within one turn: a tool that leads to a tool that leads to a tool ends somewhere.
const ROUNDS: u32 = 6;
/// How long after its first word a model may take to complete a sentence before its beginning is spoken by itself.
const EARLY_AFTER: Duration = Duration::from_millis(80);

impl Call {
    /// The greeting: turn 0, from its clip.
    pub(crate) fn greet(&mut self, now: Instant, out: &mut Vec<Output>) {
        if !matches!(self.phase, Phase::Answered) || self.leg.is_none() {
            return;
        }
        self.phase = Phase::Talking;
        if let Some(cause) = self.farewell.take() {
            return self.say_goodbye(now, cause, out);
        }
        let clip = self.setup.clips.greeting.clone();
        self.begin_reply(now, Interruptible::Any);
        self.say_clip(now, &clip, out);
        self.close_text(out);
    }

    /// What the floor decided is done here and nowhere else.
    pub(crate) fn decide(&mut self, now: Instant, decision: Option<Decision>, out: &mut Vec<Output>) {
        match decision {
            None => {}
            Some(Decision::CallerPaused) => out.push(Output::FinalizeStt),
            Some(Decision::EndOfTurn { text, digits, ended, wait, reason }) => {
                let waited = now.saturating_duration_since(ended);
                let heard =
                    Heard { text, digits, reason: reason.name(), waited_ms: waited.as_millis() as u32 };
                let marks = self.marks(now, ended, wait);
                self.answer_caller(now, heard, marks, out);
            }
            Some(Decision::BargeIn { onset }) => self.barge_in(now, onset, out),
            Some(Decision::NoInput { count }) => self.prompt_caller(now, count, out),
        }
    }

    fn marks(&self, now: Instant, ended: Instant, wait: Duration) -> Marks {
        let (arrived, heard) = self.hearing.last.unwrap_or((ended, ended));
        Marks {
            arrived,
            heard,
            silent_enough: ended + wait,
            ended: now,
            asked: now,
            first_token: None,
            tool_from: None,
            tool_until: None,
            first_sentence: None,
            first_audio: None,
        }
    }

    fn answer_caller(&mut self, now: Instant, heard: Heard, marks: Marks, out: &mut Vec<Output>) {
        self.turn = self.turn.next();
        let turn = self.turn;
        out.push(Output::Event(Event::TurnEnded {
            turn,
            text: if heard.digits { mask(&heard.text) } else { heard.text.clone() },
            reason: heard.reason.to_owned(),
            waited_ms: heard.waited_ms,
        }));
        let understood = !heard.text.trim().is_empty();
        if understood {
            self.context.user(heard.text);
        }
        self.begin_reply(now, Interruptible::Any);
        if let Some(reply) = &mut self.reply {
            reply.marks = Some(marks);
        }
        if understood {
            return self.ask(now, out);
        }
        let clip = self.setup.clips.not_heard.clone();
        self.say_clip(now, &clip, out);
        self.close_text(out);
    }

    fn prompt_caller(&mut self, now: Instant, count: u32, out: &mut Vec<Output>) {
        out.push(Output::Event(Event::NoInput { count }));
        if count >= self.config.patience.no_inputs {
            return self.say_goodbye(now, Cause::NoInput, out);
        }
        self.turn = self.turn.next();
        let clip = self.setup.clips.still_there.clone();
        self.begin_reply(now, Interruptible::Any);
        self.say_clip(now, &clip, out);
        self.close_text(out);
    }

    /// Says the farewell and hangs up after it; before the answer there is nobody to say it to. Between our answer and
    /// its ACK it waits for the ACK: until then no BYE may be sent (RFC 3261 section 15), and nobody may be listening.
    pub(crate) fn say_goodbye(&mut self, now: Instant, cause: Cause, out: &mut Vec<Output>) {
        if matches!(self.phase, Phase::Answered) {
            self.farewell.get_or_insert(cause);
            return;
        }
        if !matches!(self.phase, Phase::Talking) || self.leg.as_ref().is_none_or(|leg| !leg.may_send()) {
            if !matches!(self.phase, Phase::Leaving) {
                self.end(cause, out);
            }
            return;
        }
        self.cut_reply(out);
        self.turn = self.turn.next();
        let clip = self.setup.clips.goodbye.clone();
        self.begin_reply(now, Interruptible::Never);
        self.say_clip(now, &clip, out);
        if let Some(reply) = &mut self.reply {
            reply.then = Some(cause);
        }
        self.close_text(out);
        self.phase = Phase::Leaving;
    }

    fn begin_reply(&mut self, now: Instant, interruptible: Interruptible) {
        self.reply = Some(Reply::new(now, self.turn));
        self.silent_since = Some(now);
        self.context.assistant_begin(self.turn);
        self.floor.agent_starts(now, interruptible);
    }

    fn ask(&mut self, now: Instant, out: &mut Vec<Output>) {
        let Some(reply) = &mut self.reply else { return };
        reply.rounds += 1;
        reply.asked = true;
        reply.answered = false;
        reply.results = false;
        reply.last_text = now;
        let turn = reply.turn;
        let request = self.context.request(&self.setup.agent, self.setup.today);
        out.push(Output::Event(Event::Asked { turn }));
        out.push(Output::Ask { turn, request });
    }

    fn barge_in(&mut self, now: Instant, onset: Instant, out: &mut Vec<Output>) {
        let Some(reply) = &self.reply else { return };
        let playing = self.leg.as_ref().is_some_and(|leg| !leg.playout.is_empty());
        let (turn, state) = (reply.turn, reply.state(playing));
        let reaction = now.saturating_duration_since(onset);
        let (heard, unsaid) = self.cut_reply(out);
        let reaction_ms = reaction.as_millis() as u32;
        out.push(Output::Event(Event::BargeIn { turn, state: state.to_owned(), reaction_ms, heard, unsaid }));
    }

    /// Silences the agent at once. What the caller heard stays in the context; started tools go on. Returns what was
    /// heard of the reply and what was not.
    fn cut_reply(&mut self, out: &mut Vec<Output>) -> (String, String) {
        let Some(mut reply) = self.reply.take() else { return Default::default() };
        let left = self.leg.as_mut().map(|leg| leg.playout.flush()).unwrap_or_default();
        out.push(Output::Cancel { turn: reply.turn });
        if let Some(rest) = reply.chunker.finish() {
            let index = reply.add(rest, false);
            self.context.assistant_sentence(reply.turn, index as u32, reply.sentences[index].text.clone());
        }
        let heard: Vec<HeardSentence> =
            (0..reply.sentences.len()).map(|index| heard_sentence(&reply, index, &left)).collect();
        self.context.heard(reply.turn, &heard);
        if !reply.audio_done() {
            self.context.interrupted(reply.turn);
        }
        self.context.heard_and_unsaid(reply.turn)
    }

    pub(crate) fn handle_stt(&mut self, now: Instant, event: SttEvent, out: &mut Vec<Output>) {
        match event {
            SttEvent::Ready => {}
            SttEvent::Interim { text } => self.handle_transcript(now, text, false, None, out),
            SttEvent::Final { text, confidence } => self.handle_transcript(now, text, true, confidence, out),
            SttEvent::Failed { reason } => {
                out.push(Output::Event(Event::ProviderFailed { stage: "stt".into(), reason }));
                self.say_goodbye(now, Cause::SttFailed, out);
            }
        }
    }

    fn handle_transcript(
        &mut self,
        now: Instant,
        text: String,
        is_final: bool,
        confidence: Option<f32>,
        out: &mut Vec<Output>,
    ) {
        if !matches!(self.phase, Phase::Talking) {
            return;
        }
        let transcript = Transcript { text, is_final, confidence };
        let decision = self.floor.handle_transcript(now, &transcript);
        out.push(Output::Event(Event::Heard { text: transcript.text, is_final }));
        self.decide(now, decision, out);
    }

    /// The reply of this turn, unless the event belongs to one that was cancelled: the one comparison.
    fn current(&mut self, turn: TurnId) -> Option<&mut Reply> {
        self.reply.as_mut().filter(|reply| reply.turn == turn)
    }

    pub(crate) fn handle_llm(&mut self, now: Instant, turn: TurnId, event: LlmEvent, out: &mut Vec<Output>) {
        let Some(reply) = self.current(turn).filter(|reply| reply.asked) else { return };
        reply.last_text = now;
        match event {
            LlmEvent::Attempt { target, role } => {
                out.push(Output::Event(Event::LlmAttempt { turn, target, role: role.to_owned() }));
            }
            LlmEvent::Delta(text) => self.handle_delta(now, turn, &text, out),
            LlmEvent::ToolCall(call) => self.start_tool(now, turn, call, out),
            LlmEvent::Expect(expectation) => {
                self.floor.expect(expectation);
                out.push(Output::Event(Event::Expecting { expectation }));
                out.push(Output::Expect(expectation));
            }
            LlmEvent::Done { input_tokens, output_tokens } => {
                out.push(Output::Event(Event::ReplyDone { turn, input_tokens, output_tokens }));
                self.end_text(now, out);
            }
            LlmEvent::Failed { reason } => self.fail_llm(now, reason, out),
        }
    }

    fn handle_delta(&mut self, now: Instant, turn: TurnId, text: &str, out: &mut Vec<Output>) {
        let Some(reply) = &mut self.reply else { return };
        if !std::mem::replace(&mut reply.answered, true) && reply.sentences.is_empty() {
            note_first_token(reply, now, out);
            if let Some(marks) = reply.marks.as_mut().filter(|marks| marks.tool_from.is_some()) {
                marks.tool_until = Some(now);
            }
        }
        for sentence in reply.chunker.push(text) {
            self.say(now, turn, sentence, out);
        }
    }

    /// A model that writes slowly: the caller waits for a sound, not for a full stop.
    fn say_early(&mut self, now: Instant, out: &mut Vec<Output>) {
        let Some(reply) = self.reply.as_mut().filter(|reply| reply.asked && reply.answered) else { return };
        let first_token = reply.marks.and_then(|marks| marks.tool_until.or(marks.first_token));
        let slow = first_token.is_some_and(|at| now >= at + EARLY_AFTER);
        if !slow || !reply.sentences.is_empty() {
            return;
        }
        let turn = reply.turn;
        if let Some(piece) = reply.chunker.early() {
            self.say(now, turn, piece, out);
        }
    }

    /// A sentence of the reply: to text-to-speech as soon as it is its turn.
    fn say(&mut self, now: Instant, turn: TurnId, text: String, out: &mut Vec<Output>) {
        let Some(reply) = &mut self.reply else { return };
        if let Some(marks) = &mut reply.marks {
            marks.first_sentence.get_or_insert(now);
        }
        self.context.assistant_sentence(turn, reply.sentences.len() as u32, text.clone());
        let index = reply.add(text, false);
        reply.waiting.push_back(index);
        reply.last_audio =
            if reply.sentences.iter().filter(|s| !s.done).count() == 1 { now } else { reply.last_audio };
        self.speak_waiting(out);
    }

    fn speak_waiting(&mut self, out: &mut Vec<Output>) {
        let Some(reply) = &mut self.reply else { return };
        let turn = reply.turn;
        while let Some(index) = reply.next_to_speak() {
            let (sentence, text) = (index as u32, reply.sentences[index].text.clone());
            out.push(Output::Event(Event::Sentence { turn, sentence, text: text.clone() }));
            out.push(Output::Speak { turn, sentence, text });
        }
        if reply.text_done && reply.waiting.is_empty() && !std::mem::replace(&mut reply.finished, true) {
            out.push(Output::FinishSpeech { turn });
        }
    }

    /// A prepared sentence: its audio goes straight to the playout. One that could not be rendered is spoken instead.
    fn say_clip(&mut self, now: Instant, clip: &Clip, out: &mut Vec<Output>) {
        let (Some(reply), Some(leg)) = (&mut self.reply, &mut self.leg) else { return };
        let turn = reply.turn;
        if clip.samples.is_empty() {
            return self.say(now, turn, clip.text.clone(), out);
        }
        self.context.assistant_sentence(turn, reply.sentences.len() as u32, clip.text.clone());
        let index = reply.add(clip.text.clone(), true);
        if let Some(marks) = &mut reply.marks {
            marks.first_sentence.get_or_insert(now);
            marks.first_audio.get_or_insert(now);
        }
        out.push(Output::Event(Event::Sentence { turn, sentence: index as u32, text: clip.text.clone() }));
        let segment = segment(turn, index as u32);
        leg.playout.push(segment, &clip.samples);
        leg.playout.finish(segment);
    }

    /// The model has nothing more to say for now: either tools are awaited, or the text is complete.
    fn end_text(&mut self, now: Instant, out: &mut Vec<Output>) {
        let Some(reply) = &mut self.reply else { return };
        reply.asked = false;
        let turn = reply.turn;
        if let Some(rest) = reply.chunker.finish() {
            self.say(now, turn, rest, out);
        }
        let Some(reply) = &mut self.reply else { return };
        if !reply.tools.is_empty() {
            return;
        }
        if reply.then.is_none() && reply.results {
            return self.ask_again(now, out);
        }
        if reply.sentences.is_empty() {
            let farewell = reply.then.is_some();
            if !farewell {
                return self.save_turn(now, "llm", "the reply was empty".into(), out);
            }
            let clip = self.setup.clips.goodbye.clone();
            self.say_clip(now, &clip, out);
        }
        self.close_text(out);
    }

    fn ask_again(&mut self, now: Instant, out: &mut Vec<Output>) {
        let rounds = self.reply.as_ref().map_or(0, |reply| reply.rounds);
        if rounds >= ROUNDS {
            return self.save_turn(now, "llm", format!("still calling tools after {ROUNDS} rounds"), out);
        }
        self.ask(now, out);
    }

    fn close_text(&mut self, out: &mut Vec<Output>) {
        if let Some(reply) = &mut self.reply {
            reply.text_done = true;
        }
        self.speak_waiting(out);
    }

    fn start_tool(&mut self, now: Instant, turn: TurnId, call: ToolCall, out: &mut Vec<Output>) {
        let Some(reply) = &mut self.reply else { return };
        note_first_token(reply, now, out);
        if let Some(marks) = reply.marks.as_mut().filter(|marks| marks.first_sentence.is_none()) {
            marks.tool_from.get_or_insert(now);
        }
        self.context.tool_call(turn, call.clone());
        out.push(Output::Event(Event::ToolStarted { turn, name: call.name.clone() }));
        if self.setup.agent.tool(&call.name).is_some_and(|tool| matches!(tool.kind, ToolKind::EndCall)) {
            reply.then = Some(Cause::AgentEnded);
            self.context.tool_result(&call.id, "{\"ok\":true}");
            return out.push(Output::Event(Event::ToolEnded { turn, name: call.name, ok: true, ms: 0 }));
        }
        reply.tools.insert(call.id.clone(), RunningTool { name: call.name.clone(), started: now });
        out.push(Output::RunTool { turn, call });
    }

    /// A tool's result is kept whatever became of its turn; only a turn that still waits for it goes on.
    pub(crate) fn handle_tool(
        &mut self,
        now: Instant,
        turn: TurnId,
        result: ToolResult,
        out: &mut Vec<Output>,
    ) {
        let ok = result.result.is_ok();
        let text = result.result.unwrap_or_else(|error| serde_json::json!({ "error": error }).to_string());
        self.context.tool_result(&result.call_id, text);
        let Some(reply) = self.current(turn) else { return };
        let Some(tool) = reply.tools.remove(&result.call_id) else { return };
        let ms = (now - tool.started).as_millis() as u32;
        reply.results = true;
        let ready = reply.tools.is_empty() && !reply.asked;
        out.push(Output::Event(Event::ToolEnded { turn, name: tool.name, ok, ms }));
        if ready {
            self.ask_again(now, out);
        }
    }

    pub(crate) fn handle_tts(&mut self, now: Instant, turn: TurnId, event: TtsEvent, out: &mut Vec<Output>) {
        let Some(reply) = self.current(turn) else { return };
        match event {
            TtsEvent::Audio { sentence, samples } => {
                let known = reply.sentences.get(sentence as usize).is_some_and(|sentence| !sentence.done);
                if !known || samples.is_empty() {
                    return;
                }
                reply.last_audio = now;
                if let Some(marks) = reply.marks.as_mut().filter(|marks| marks.first_audio.is_none()) {
                    marks.first_audio = Some(now);
                }
                if sentence == 0
                    && self.leg.as_ref().is_some_and(|leg| leg.playout.progress(segment(turn, 0)).is_none())
                {
                    out.push(Output::Event(Event::FirstAudio { turn }));
                }
                if let Some(leg) = &mut self.leg {
                    leg.playout.push(segment(turn, sentence), &samples);
                }
            }
            TtsEvent::SentenceDone { sentence } => {
                if let Some(sentence) = reply.sentences.get_mut(sentence as usize) {
                    sentence.done = true;
                }
                reply.last_audio = now;
                if let Some(leg) = &mut self.leg {
                    leg.playout.finish(segment(turn, sentence));
                }
                self.speak_waiting(out);
            }
            TtsEvent::Failed { reason, .. } => self.save_turn(now, "tts", reason, out),
        }
    }

    /// The model failed. What it has said so far is still said; a turn it left empty is saved by a prepared sentence.
    fn fail_llm(&mut self, now: Instant, reason: String, out: &mut Vec<Output>) {
        let Some(reply) = &mut self.reply else { return };
        reply.asked = false;
        if let Some(rest) = reply.chunker.finish() {
            let turn = reply.turn;
            self.say(now, turn, rest, out);
        }
        let Some(reply) = &mut self.reply else { return };
        if reply.sentences.is_empty() {
            return self.save_turn(now, "llm", reason, out);
        }
        reply.tools.clear();
        out.push(Output::Event(Event::ProviderFailed { stage: "llm".into(), reason }));
        self.close_text(out);
    }

    /// A stage failed the turn: its work is dropped and a prepared sentence said instead. The call goes on.
    fn save_turn(&mut self, now: Instant, stage: &str, reason: String, out: &mut Vec<Output>) {
        let Some(reply) = &self.reply else { return };
        let (turn, marks, saved, first_packet) = (reply.turn, reply.marks, reply.saved, reply.first_packet);
        let then = reply.then;
        out.push(Output::Event(Event::Fallback { turn, stage: stage.to_owned(), reason }));
        self.cut_reply(out);
        if saved {
            // Not even the prepared sentence can be spoken: an honest end is better than a mute agent.
            return self.end(then.unwrap_or(Cause::TtsFailed), out);
        }
        let clip = if then.is_some() { &self.setup.clips.goodbye } else { &self.setup.clips.trouble }.clone();
        // A turn of its own: whatever the failed providers still send carries the old number.
        self.turn = self.turn.next();
        self.begin_reply(now, Interruptible::Any);
        if let Some(reply) = &mut self.reply {
            (reply.marks, reply.saved, reply.first_packet, reply.then) = (marks, true, first_packet, then);
        }
        self.say_clip(now, &clip, out);
        self.close_text(out);
    }

    pub(crate) fn watch_reply(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.say_early(now, out);
        let Some(reply) = &self.reply else { return };
        let late = format!("nothing for {} ms", now.saturating_duration_since(reply.last_text).as_millis());
        match reply.overdue(now, self.silent_since, &self.config.patience) {
            None => {}
            Some(Overdue::Llm) => self.fail_llm(now, late, out),
            Some(Overdue::Tts) => self.save_turn(now, "tts", "no audio for a sentence".into(), out),
            Some(Overdue::Tool(call_id)) => {
                let turn = reply.turn;
                self.handle_tool(
                    now,
                    turn,
                    ToolResult { call_id, result: Err("the tool did not answer in time".into()) },
                    out,
                );
            }
        }
    }

    pub(crate) fn note_first_packet(
        &mut self,
        now: Instant,
        played: Option<SegmentId>,
        out: &mut Vec<Output>,
    ) {
        let Some(reply) = &mut self.reply else { return };
        let own = played.is_some_and(|played| played.0 >> 32 == u64::from(reply.turn.0));
        if !own || std::mem::replace(&mut reply.first_packet, true) {
            return;
        }
        let turn = reply.turn;
        out.push(Output::Event(Event::FirstPacket { turn }));
        if let Some(marks) = &reply.marks {
            let latency = marks.partition(now, &self.config.budgets);
            out.push(Output::Event(Event::Latency { turn, latency }));
        }
    }

    /// Once everything has been said and has left, the floor is free.
    pub(crate) fn finish_reply(&mut self, now: Instant, out: &mut Vec<Output>) {
        let done = self.reply.as_ref().is_some_and(Reply::audio_done);
        if !done || self.leg.as_ref().is_some_and(|leg| !leg.playout.is_empty()) {
            return;
        }
        let Some(reply) = self.reply.take() else { return };
        let heard: Vec<HeardSentence> = (0..reply.sentences.len())
            .map(|index| HeardSentence { index: index as u32, fraction: 1.0 })
            .collect();
        self.context.heard(reply.turn, &heard);
        self.floor.agent_done(now);
        out.push(Output::Event(Event::AgentDone { turn: reply.turn }));
        if let Some(cause) = reply.then {
            self.end(cause, out);
        }
    }
}

/// What the caller said, and why it is held to be all.
struct Heard {
    text: String,
    digits: bool,
    reason: &'static str,
    waited_ms: u32,
}

/// Playout segments are sentences of turns.
const fn segment(turn: TurnId, sentence: u32) -> SegmentId {
    SegmentId(((turn.0 as u64) << 32) | sentence as u64)
}

fn note_first_token(reply: &mut Reply, now: Instant, out: &mut Vec<Output>) {
    if let Some(marks) = reply.marks.as_mut().filter(|marks| marks.first_token.is_none()) {
        marks.first_token = Some(now);
        out.push(Output::Event(Event::FirstToken { turn: reply.turn }));
    }
}

/// How much of a sentence left the sender. One that text-to-speech had not finished is measured against the length it
/// would have had.
fn heard_sentence(reply: &Reply, index: usize, left: &[SegmentProgress]) -> HeardSentence {
    let id = segment(reply.turn, index as u32);
    let fraction = match left.iter().find(|progress| progress.segment == id) {
        Some(progress) => {
            let expected = (reply.expected(index).as_millis() * 8) as usize;
            let whole = if progress.finished { progress.known } else { progress.known.max(expected) };
            progress.played as f32 / whole.max(1) as f32
        }
        // Not in the playout any more: it has left completely. Never begun: nothing of it was heard.
        None if reply.sentences[index].done => 1.0,
        None => 0.0,
    };
    HeardSentence { index: index as u32, fraction }
}

/// Digits keyed in are nobody's business: `1 2 3 4 5` becomes `* * * * *`.
fn mask(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_digit() { '*' } else { c }).collect()
}
