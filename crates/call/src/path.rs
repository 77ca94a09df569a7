//! The way of a call through its agent's graph: what the rules decide is done here, everything else is a model's.
//! Knows the graph's steps. How a sentence is spoken is in `speech`.

use crate::{Event, Output, cdr::Cause, machine::Call};
use conversation::{GO_TO, Interruptible, Step, ToolCall, TurnId};
use std::time::Instant;

impl Call {
    /// The first node's words, after the greeting.
    pub(crate) fn open_path(&mut self, now: Instant, out: &mut Vec<Output>) {
        let Some(position) = &mut self.position else { return };
        let step = position.begin(&self.setup.agent, self.context.variables());
        self.take_step(now, step, out);
    }

    /// Where the caller's words lead by the graph's rules. Nothing is said or told yet.
    pub(crate) fn follow(&mut self, text: &str, digits: bool) -> Option<Step> {
        let position = self.position.as_mut()?;
        let (agent, today) = (&self.setup.agent, self.setup.today);
        Some(position.heard(agent, text, digits, today, self.context.variables_mut()))
    }

    /// A model goes on to another node.
    pub(crate) fn go_to(&mut self, now: Instant, turn: TurnId, call: ToolCall, out: &mut Vec<Output>) {
        let to = crate::tools::arguments(&call)["to"].as_str().unwrap_or_default().to_owned();
        let Some(position) = &mut self.position else { return };
        match position.go(&self.setup.agent, &to, self.context.variables()) {
            Ok(step) => {
                let answered = self.take_step(now, step, out);
                let result = serde_json::json!({ "now": to });
                self.answer_tool(turn, call, Ok(result), out);
                if let Some(reply) = &mut self.reply {
                    // What the node says is the answer; without it the model has to find one.
                    reply.results = !answered;
                }
            }
            Err(error) => self.answer_tool(turn, call, Err(error), out),
        }
    }

    /// Tells where the graph has led, and says what is said there. True if the turn is answered with that.
    pub(crate) fn take_step(&mut self, now: Instant, step: Step, out: &mut Vec<Output>) -> bool {
        let Step { path, say, ends } = step;
        let turn = self.turn;
        if !path.is_empty() {
            out.push(Output::Event(Event::Path { turn, nodes: path }));
        }
        self.guide(out);
        let Some(text) = say else { return false };
        let interruptible = self.position.and_then(|position| position.interruptible(&self.setup.agent));
        self.say_all(now, turn, &text, interruptible, out);
        if let Some(reply) = self.reply.as_mut().filter(|_| ends) {
            reply.then = Some(Cause::AgentEnded);
        }
        true
    }

    /// Tells the model where the call stands, and the ears what to expect.
    pub(crate) fn guide(&mut self, out: &mut Vec<Output>) {
        let Some(position) = self.position else { return };
        let (agent, variables) = (&self.setup.agent, self.context.variables());
        let (prompt, expected) = (position.prompt(agent, variables), position.expects(agent, variables));
        self.context.guide(prompt);
        if let Some(expectation) = expected {
            self.expect(expectation, out);
        }
    }

    /// Whether a model is asked where the call stands.
    pub(crate) fn asks_a_model(&self) -> bool {
        let variables = self.context.variables();
        self.position.is_none_or(|position| position.prompt(&self.setup.agent, variables).is_some())
    }

    /// A text of the agent's file, sentence by sentence.
    fn say_all(
        &mut self,
        now: Instant,
        turn: TurnId,
        text: &str,
        interruptible: Option<Interruptible>,
        out: &mut Vec<Output>,
    ) {
        let Some(reply) = &mut self.reply else { return };
        let mut sentences = reply.chunker.push(text);
        sentences.extend(reply.chunker.finish());
        let usual = reply.rule;
        reply.rule = interruptible.unwrap_or(usual);
        for sentence in sentences {
            self.say(now, turn, sentence, out);
        }
        if let Some(reply) = &mut self.reply {
            reply.rule = usual;
        }
    }

    /// What a model may call where the call stands.
    pub(crate) fn tools_here(&self, tools: &mut Vec<conversation::ToolSpec>) {
        let Some(position) = self.position else { return };
        tools.retain(|tool| position.allows(&self.setup.agent, &tool.name));
        tools.extend(position.exits(&self.setup.agent));
    }

    /// Whether a tool call is one of the graph's.
    pub(crate) fn is_exit(&self, name: &str) -> bool {
        name == GO_TO && self.position.is_some() && self.setup.agent.tool(GO_TO).is_none()
    }
}
