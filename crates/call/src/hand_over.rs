//! One agent hands a call over to another: what was said and what is known stays, prompt, tools and voice change.
//! Knows agents by name. The other voice's session is the shell's.

use crate::{Event, Output, machine::Call, tools::arguments};
use conversation::{Interruptible, Position, ToolCall, TurnId};
use serde_json::json;
use std::time::Instant;

/// Times that a call may be handed over: two agents that send a caller round in circles end somewhere.
const MOST_HAND_OVERS: u32 = 5;

impl Call {
    /// The other agent takes over once this one has said what it had to say.
    pub(crate) fn begin_hand_over(
        &mut self,
        turn: TurnId,
        call: ToolCall,
        agents: &[String],
        out: &mut Vec<Output>,
    ) {
        let arguments = arguments(&call);
        let chosen = match (arguments["agent"].as_str(), agents) {
            (None, [only]) => Some(only.as_str()),
            (name, _) => name.filter(|name| agents.iter().any(|agent| agent == name)),
        };
        let known = chosen.filter(|name| self.setup.context.team.contains_key(*name));
        let result = match known {
            _ if self.hand_overs >= MOST_HAND_OVERS => Err("this call was handed over too often".to_owned()),
            None => Err(format!("\"agent\" must be one of {}", agents.join(", "))),
            Some(name) => Ok(name.to_owned()),
        };
        if let (Ok(name), Some(reply)) = (&result, &mut self.reply) {
            let summary: String =
                arguments["summary"].as_str().unwrap_or_default().chars().take(1_000).collect();
            reply.hand_over = Some((name.clone(), summary));
        }
        let ok = result.is_ok();
        self.answer_tool(turn, call, result.map(|name| json!({ "handed_over_to": name })), out);
        if let Some(reply) = self.reply.as_mut().filter(|_| ok) {
            // The next word is the other agent's.
            reply.results = false;
        }
    }

    /// The other agent greets the caller, in its own voice, and has the floor as if it had been asked.
    pub(crate) fn hand_over(&mut self, now: Instant, name: &str, summary: &str, out: &mut Vec<Output>) {
        let Some(member) = self.setup.context.team.get(name).cloned() else { return };
        self.hand_overs += 1;
        let before = self.setup.agent.name().to_owned();
        let variables = self.context.variables().clone();
        let mut known = member.agent.variables().clone();
        variables.iter().for_each(|(name, value)| known.set(name, value));
        let mut system = member.agent.system_prompt(&known);
        system.push_str(&format!("\n\nThis call was handed over to you by the agent \"{before}\"."));
        if !summary.is_empty() {
            system.push_str(&format!(" It said: {summary}"));
        }
        self.context.take_over(system, known.clone());
        out.push(Output::HandOver { agent: name.to_owned() });
        let agent = format!("{} {}", member.agent.name(), member.agent.version());
        out.push(Output::Event(Event::HandedOver { agent }));
        self.position = Position::start(&member.agent);
        self.setup.agent = member.agent;
        self.setup.clips = member.clips;
        self.setup.context.tools = member.tools;
        self.setup.context.variables = known;
        self.turn = self.turn.next();
        let clip = self.greeting();
        self.begin_reply(now, Interruptible::Any);
        self.say_clip(now, &clip, out);
        self.open_path(now, out);
        self.close_text(out);
    }
}
