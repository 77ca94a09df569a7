//! The language model's part of a turn: what it is asked, and what becomes of its words.
//! Knows text. How a sentence becomes sound is in `speech`, what happens when the model fails in `rescue`.

use crate::{Event, LlmEvent, Output, machine::Call, reply::Reply, speculation::Guess};
use conversation::{Context, Expectation, LlmRequest, TurnId};
use std::time::{Duration, Instant};

/// How long after its first word a model may take to complete a sentence before its beginning is spoken by itself.
const EARLY_AFTER: Duration = Duration::from_millis(40);

impl Call {
    /// What there is to be asked now.
    fn question(&self) -> LlmRequest {
        self.question_after(&self.context)
    }

    /// The same, of a conversation that went on a little.
    pub(crate) fn question_after(&self, context: &Context) -> LlmRequest {
        let mut request = context.request(&self.setup.agent, self.setup.today);
        request.tools.extend(self.setup.context.tools.iter().map(|tool| tool.spec.clone()));
        self.tools_here(&mut request.tools);
        request
    }

    pub(crate) fn ask(&mut self, now: Instant, out: &mut Vec<Output>) {
        let Some(reply) = &mut self.reply else { return };
        reply.rounds += 1;
        reply.asked = true;
        reply.answered = false;
        reply.results = false;
        reply.last_text = now;
        let turn = reply.turn;
        let request = self.question();
        self.note_tokens(&request);
        out.push(Output::Event(Event::Asked { turn }));
        out.push(Output::Ask { turn, request });
    }

    /// The answer that was begun on a guess is the answer: what has come of it comes now, and the rest as it comes.
    pub(crate) fn adopt(&mut self, now: Instant, guess: Guess, out: &mut Vec<Output>) {
        let Some(reply) = &mut self.reply else { return };
        let turn = guess.turn();
        (reply.rounds, reply.asked, reply.last_text) = (1, true, now);
        reply.prespoken = guess.spoken;
        if guess.informed {
            self.note_adopted(now, out);
        }
        out.push(Output::Event(Event::Asked { turn }));
        for event in guess.llm {
            self.handle_llm(now, turn, event, out);
        }
        for event in guess.tts {
            self.handle_tts(now, turn, event, out);
        }
    }

    pub(crate) fn handle_llm(&mut self, now: Instant, turn: TurnId, event: LlmEvent, out: &mut Vec<Output>) {
        let Some(event) = self.keep_llm(turn, event, out) else { return };
        if self.current(turn).is_none_or(|reply| !reply.asked) {
            return;
        }
        match event {
            LlmEvent::Attempt { target, role } => {
                out.push(Output::Event(Event::LlmAttempt { turn, target, role: role.to_owned() }));
            }
            LlmEvent::HedgeLost { .. } => out.extend(event.hedge_lost(turn).map(Output::Event)),
            LlmEvent::Delta(text) if text.is_empty() => {}
            LlmEvent::Delta(text) => self.handle_delta(now, turn, &text, out),
            LlmEvent::ToolCall(call) => self.start_tool(now, turn, call, out),
            LlmEvent::Expect(expectation) => {
                self.expect(expectation, out);
            }
            LlmEvent::Done { input_tokens, output_tokens } => {
                out.push(Output::Event(Event::ReplyDone { turn, input_tokens, output_tokens }));
                self.end_text(now, out);
            }
            LlmEvent::Failed { reason } => self.fail_turn(now, "llm", reason, out),
        }
    }

    /// What the caller is expected to say next, for the floor and for the recogniser.
    pub(crate) fn expect(&mut self, expectation: Expectation, out: &mut Vec<Output>) {
        self.floor.expect(expectation);
        self.speaking.note_expected(expectation);
        let (agent, variables) = (&self.setup.agent, self.context.variables());
        let private = match self.position {
            Some(position) => position.asks_private(agent, variables),
            // A flow does not say which of its slots it asks for.
            None => agent.has_private_digits(),
        };
        self.secrets.note_expected(expectation, private);
        out.push(Output::Event(Event::Expecting { expectation }));
        out.push(Output::Expect(expectation));
    }

    fn handle_delta(&mut self, now: Instant, turn: TurnId, text: &str, out: &mut Vec<Output>) {
        let Some(reply) = &mut self.reply else { return };
        reply.last_text = now;
        if !std::mem::replace(&mut reply.answered, true) && reply.sentences.is_empty() {
            note_first_token(reply, now, out);
            if let Some(marks) = reply.marks.as_mut().filter(|marks| marks.tool_from.is_some()) {
                marks.tool_until = Some(now);
            }
        }
        for sentence in reply.chunker.push(text) {
            self.say(now, turn, sentence, out);
        }
        self.say_early(now, out);
    }

    /// The model has nothing more to say for now: either tools are awaited, or the text is complete.
    fn end_text(&mut self, now: Instant, out: &mut Vec<Output>) {
        let Some(reply) = &mut self.reply else { return };
        reply.asked = false;
        let turn = reply.turn;
        if let Some(rest) = reply.chunker.finish() {
            self.say(now, turn, rest, out);
        }
        self.go_on(now, out);
    }

    /// The model is silent. Once no tool runs any more, it hears of their results, or that was all.
    pub(crate) fn go_on(&mut self, now: Instant, out: &mut Vec<Output>) {
        let Some(reply) = self.reply.as_ref().filter(|reply| !reply.asked && reply.tools.is_empty()) else {
            return;
        };
        if reply.then.is_none() && reply.results && !reply.scripted {
            return self.ask_again(now, out);
        }
        if reply.sentences.is_empty() {
            if reply.hand_over.is_some() || !reply.keys.is_empty() {
                return self.close_text(out);
            }
            let farewell = reply.then.is_some();
            if !farewell {
                return self.fail_turn(now, "llm", "the reply was empty".into(), out);
            }
            let clip = self.setup.clips.goodbye.clone();
            self.say_clip(now, &clip, out);
        }
        self.close_text(out);
    }

    fn ask_again(&mut self, now: Instant, out: &mut Vec<Output>) {
        let rounds = self.reply.as_ref().map_or(0, |reply| reply.rounds);
        let steps = self.setup.agent.limits().tool_steps;
        // One more than that: a model that is told so may still find an answer.
        if rounds > steps + 1 {
            return self.fail_turn(now, "llm", format!("still calling tools after {steps} steps"), out);
        }
        self.ask(now, out);
    }

    /// A model that writes slowly: the caller waits for a sound, not for a full stop. The first clause is said by itself,
    /// or its first words when they are many or the model pauses; later ones when the caller hears nothing meanwhile.
    pub(crate) fn say_early(&mut self, now: Instant, out: &mut Vec<Output>) {
        let Some(reply) = self.reply.as_mut().filter(|reply| reply.asked && reply.answered) else { return };
        let first = reply.sentences.is_empty();
        let first_token = reply.marks.and_then(|marks| marks.tool_until.or(marks.first_token));
        let paused = reply.idle_at().is_some_and(|at| now >= at) && (first || self.silent_since.is_some());
        let slow = first && first_token.is_some_and(|at| now >= at + EARLY_AFTER);
        let turn = reply.turn;
        let early = if slow { reply.chunker.early() } else { None };
        if let Some(piece) = early.or_else(|| if paused { reply.chunker.idle() } else { None }) {
            self.say(now, turn, piece, out);
        }
    }
}

pub(crate) fn note_first_token(reply: &mut Reply, now: Instant, out: &mut Vec<Output>) {
    if let Some(marks) = reply.marks.as_mut().filter(|marks| marks.first_token.is_none()) {
        marks.first_token = Some(now);
        out.push(Output::Event(Event::FirstToken { turn: reply.turn }));
    }
}
