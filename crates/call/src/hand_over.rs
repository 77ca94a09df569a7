//! One agent hands a call over to another: what was said and what is known stays, prompt, tools and voice change.
//! Knows agents by name. The other voice's session is the shell's.

use crate::{
    Event, Output,
    machine::Call,
    menu::MenuState,
    reply::Reply,
    tools::{arguments, result_text},
};
use conversation::{LoopWatch, Position, ToolCall, TurnId};
use serde_json::{Value, json};
use std::time::Instant;

/// Times that a call may be handed over: two agents that send a caller round in circles end somewhere.
const MOST_HAND_OVERS: u32 = 5;
/// Characters of what one agent tells another.
const SUMMARY: usize = 1_000;

/// What is to happen once the reply has been heard.
pub(crate) struct HandOver {
    call_id: String,
    name: String,
    /// The other agent, as the file names it.
    agent: String,
    summary: String,
    since: Instant,
}

impl Call {
    /// The other agent takes over once this one has said what it had to say. Until then the tool has no result: a caller
    /// who cuts in stays.
    pub(crate) fn begin_hand_over(
        &mut self,
        now: Instant,
        turn: TurnId,
        call: ToolCall,
        agents: &[String],
        out: &mut Vec<Output>,
    ) {
        let arguments = arguments(&call);
        let chosen = match (&arguments["agent"], agents) {
            (Value::Null, [only]) => Some(only.as_str()),
            (name, _) => name.as_str().filter(|name| agents.iter().any(|agent| agent == name)),
        };
        let known = chosen.filter(|name| self.setup.context.team.contains_key(*name));
        let error = match known {
            _ if self.hand_overs >= MOST_HAND_OVERS => "this call was handed over too often".to_owned(),
            None => format!("\"agent\" must be one of {}", agents.join(", ")),
            Some(agent) => {
                let summary = arguments["summary"].as_str().unwrap_or_default().chars().take(SUMMARY);
                let (call_id, name) = (call.id, call.name);
                let (agent, summary) = (agent.to_owned(), summary.collect());
                if let Some(reply) = &mut self.reply {
                    reply.hand_over = Some(HandOver { call_id, name, agent, summary, since: now });
                }
                return;
            }
        };
        self.answer_tool(turn, call, Err(error), out);
    }

    /// The caller cut in, or the turn failed: the agent there is keeps its caller, and hears so.
    pub(crate) fn keep_caller(&mut self, reply: &mut Reply, out: &mut Vec<Output>) {
        let Some(HandOver { call_id, name, .. }) = reply.hand_over.take() else { return };
        let error = "the caller spoke before the hand-over, which did not take place".to_owned();
        self.context.tool_result(&call_id, result_text(Err(error)));
        out.push(Output::Event(Event::ToolEnded { turn: reply.turn, name, ok: false, ms: 0 }));
    }

    /// The other agent greets the caller, in its own voice, and has the floor as if it had been asked.
    pub(crate) fn hand_over(&mut self, now: Instant, hand_over: HandOver, out: &mut Vec<Output>) {
        let HandOver { call_id, name, agent: key, summary, since } = hand_over;
        let Some(member) = self.setup.context.team.get(&key).cloned() else { return };
        let member = member.in_language(self.setup.agent.language());
        self.hand_overs += 1;
        let result: Value = json!({ "handed_over_to": key });
        self.context.tool_result(&call_id, result.to_string());
        let ms = now.saturating_duration_since(since).as_millis() as u32;
        out.push(Output::Event(Event::ToolEnded { turn: self.turn, name, ok: true, ms }));
        let mut known = member.agent.variables().clone();
        self.context.variables().iter().for_each(|(name, value)| known.set(name, value));
        let system = member.agent.system_prompt(&known);
        let before = self.setup.agent.name();
        let mut aside = format!("This call was handed over to you by the agent \"{before}\".");
        if !summary.is_empty() {
            aside.push_str(&format!(" It said: {summary}"));
        }
        self.context.take_over(system, aside, known.clone());
        let language = member.agent.language().to_owned();
        self.floor.speak_as(&language, member.agent.phrases());
        out.push(Output::HandOver { agent: key, language });
        let agent = format!("{} {}", member.agent.name(), member.agent.version());
        out.push(Output::Event(Event::HandedOver { agent }));
        self.position = Position::start(&member.agent);
        self.setup.agent = member.agent;
        self.setup.clips = member.clips;
        self.setup.context.tools = member.tools;
        self.setup.context.variables = known;
        self.setup.context.languages = member.languages;
        self.speaking.begin_anew();
        self.offer_languages();
        (self.menu, self.loops, self.ladder.failures) = (MenuState::default(), LoopWatch::default(), 0);
        self.turn = self.turn.next();
        let clip = self.greeting();
        self.begin_reply(now, self.setup.agent.interruptible().0);
        self.say_clip(now, &clip, out);
        self.open_path(now, out);
        self.close_text(out);
    }
}
