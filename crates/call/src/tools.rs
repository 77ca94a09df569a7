//! The tools that a reply calls: started at once, their results kept whatever became of the turn.
//! Knows names and results. What a tool of the shell does is the shell's; those of the call itself are done here.

use crate::{
    Event, Output, ToolResult, cdr::Cause, machine::Call, model::note_first_token, reply::RunningTool,
};
use conversation::{Expectation, Tool, ToolCall, ToolClass, ToolKind, TurnId};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A tool that keeps its own time is given this much more before the turn goes on without it.
const GRACE: Duration = Duration::from_millis(500);
/// Characters of a note in the call's record.
const NOTE: usize = 500;
/// Keys that a model may press at once.
const MOST_KEYS: usize = 64;
/// The longest silence that a caller may be granted.
const LONGEST_WAIT: u64 = 120;

impl Call {
    pub(crate) fn start_tool(&mut self, now: Instant, turn: TurnId, call: ToolCall, out: &mut Vec<Output>) {
        let Some(reply) = &mut self.reply else { return };
        reply.last_text = now;
        note_first_token(reply, now, out);
        if let Some(rest) = reply.chunker.finish() {
            // "Let me see" is worth hearing while the tool runs.
            self.say(now, turn, rest, out);
        }
        let Some(reply) = &mut self.reply else { return };
        if let Some(marks) = reply.marks.as_mut().filter(|marks| marks.first_sentence.is_none()) {
            marks.tool_from.get_or_insert(now);
        }
        self.context.tool_call(turn, call.clone());
        out.push(Output::Event(Event::ToolStarted { turn, name: call.name.clone() }));
        let tool = self.tool(&call.name).cloned();
        if self.is_repeated(&call, tool.as_ref()) {
            let note = json!({ "note": "this was done in this turn already, with the same arguments" });
            return self.answer_tool(turn, call, Ok(note), out);
        }
        if let (Some(rule), Some(reply)) =
            (tool.as_ref().and_then(|tool| tool.interruptible), &mut self.reply)
        {
            reply.rule = rule;
            if self.leg.as_ref().is_none_or(|leg| leg.playout.is_empty()) {
                self.floor.agent_starts(now, rule);
            }
        }
        if self.is_exit(&call.name) {
            return self.go_to(now, turn, call, out);
        }
        let Some(tool) = tool else { return self.run_tool(now, turn, call, None, out) };
        match &tool.kind {
            ToolKind::EndCall => {
                if let Some(reply) = &mut self.reply {
                    reply.then = Some(Cause::AgentEnded);
                }
                self.answer_tool(turn, call, Ok(json!({ "ok": true })), out);
            }
            ToolKind::Transfer(transfer) => self.begin_transfer(now, turn, call, transfer, out),
            ToolKind::HandOver { agents } => self.begin_hand_over(now, turn, call, agents, out),
            ToolKind::Wait => self.grant_silence(now, turn, call, out),
            ToolKind::CollectDigits { secret } => self.await_digits(turn, call, secret.as_deref(), out),
            ToolKind::SendDigits => self.send_digits(turn, call, out),
            ToolKind::RecordNote => self.note(turn, call, out),
            ToolKind::SetLanguage => self.begin_language(now, turn, call, out),
            ToolKind::Sqlite { .. }
            | ToolKind::NotePerson { .. }
            | ToolKind::Http(_)
            | ToolKind::Mcp { .. } => self.run_tool(now, turn, call, tool.timeout, out),
        }
    }

    /// The tool of that name: the agent's own, or one that a server brought.
    fn tool(&self, name: &str) -> Option<&Tool> {
        let more = self.setup.context.tools.iter();
        self.setup.agent.tool(name).or_else(|| more.into_iter().find(|tool| tool.spec.name == name))
    }

    fn run_tool(
        &mut self,
        now: Instant,
        turn: TurnId,
        call: ToolCall,
        timeout: Option<Duration>,
        out: &mut Vec<Output>,
    ) {
        let steps = self.setup.agent.limits().tool_steps;
        if self.reply.as_ref().is_some_and(|reply| reply.rounds > steps) {
            let error =
                format!("not run: {steps} steps of tools are the most in one turn; answer the caller now");
            return self.answer_tool(turn, call, Err(error), out);
        }
        let patience = timeout.map_or(self.config.patience.tool, |timeout| timeout + GRACE);
        self.await_tool(now, turn, &call, patience);
        let variables = self.context.variables().clone();
        let call = self.secrets.filled_in(call);
        out.push(Output::RunTool { turn, call, variables });
    }

    /// The turn waits for this tool.
    pub(crate) fn await_tool(&mut self, now: Instant, turn: TurnId, call: &ToolCall, patience: Duration) {
        let running = RunningTool { name: call.name.clone(), started: now, turn, until: now + patience };
        if let Some(reply) = &mut self.reply {
            reply.tools.insert(call.id.clone(), running);
        }
    }

    /// Whether the same change was already asked for in this turn: a model that repeats itself must not book twice.
    fn is_repeated(&mut self, call: &ToolCall, tool: Option<&Tool>) -> bool {
        let Some(reply) = &mut self.reply else { return false };
        if tool.is_none_or(|tool| tool.class == ToolClass::Read) {
            return false;
        }
        let arguments = serde_json::from_str(&call.arguments).unwrap_or(Value::Null);
        let change = (call.name.clone(), arguments);
        let repeated = reply.changes.contains(&change);
        reply.changes.push(change);
        repeated
    }

    /// A tool of the call itself has its result at once. The model hears of it with its next question; it is asked
    /// again only if it has said nothing that the caller could go on with.
    pub(crate) fn answer_tool(
        &mut self,
        turn: TurnId,
        call: ToolCall,
        result: Result<Value, String>,
        out: &mut Vec<Output>,
    ) {
        let ok = result.is_ok();
        self.context.tool_result(&call.id, result_text(result.map(|value| value.to_string())));
        if let Some(reply) = &mut self.reply {
            reply.results |= !ok || reply.sentences.is_empty();
        }
        out.push(Output::Event(Event::ToolEnded { turn, name: call.name, ok, ms: 0 }));
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
        // Whoever was given a secret may say it back.
        self.context.tool_result(&result.call_id, self.secrets.taken_out(result_text(result.result)));
        if let Some(tool) = self.tools_left.remove(&result.call_id) {
            return out.push(tool.ended(now, ok));
        }
        let Some(reply) = self.current(turn) else { return };
        let Some(tool) = reply.tools.remove(&result.call_id) else { return };
        reply.results = true;
        out.push(tool.ended(now, ok));
        self.go_on(now, out);
    }

    /// The turn goes on without this tool. Should its result come yet, the model hears of it in the next turn.
    pub(crate) fn give_up_tool(&mut self, now: Instant, call_id: &str, out: &mut Vec<Output>) {
        let Some(reply) = &mut self.reply else { return };
        let Some(tool) = reply.tools.remove(call_id) else { return };
        reply.results = true;
        self.context.tool_overdue(call_id, result_text(Err("the tool did not answer in time".into())));
        out.push(tool.ended(now, false));
        self.go_on(now, out);
    }

    /// The caller wants a moment: nobody asks whether they are still there meanwhile.
    fn grant_silence(&mut self, now: Instant, turn: TurnId, call: ToolCall, out: &mut Vec<Output>) {
        let seconds = arguments(&call)["seconds"].as_u64();
        let seconds = seconds.filter(|seconds| (1..=LONGEST_WAIT).contains(seconds));
        let result = seconds.ok_or_else(|| format!("\"seconds\" must be a number from 1 to {LONGEST_WAIT}"));
        if let Ok(seconds) = result {
            self.excused_until = Some(now + Duration::from_secs(seconds));
        }
        self.answer_tool(turn, call, result.map(|seconds| json!({ "silent_seconds": seconds })), out);
    }

    /// Keys reach the model as the caller's next words; whoever expects them knows when there are enough.
    fn await_digits(&mut self, turn: TurnId, call: ToolCall, secret: Option<&str>, out: &mut Vec<Output>) {
        let arguments = arguments(&call);
        let count = Some(&arguments["count"]).filter(|count| !count.is_null());
        let count = match count.map(|count| count.as_u64().and_then(|count| u8::try_from(count).ok())) {
            None => Ok(None),
            Some(Some(count @ 1..=32)) => Ok(Some(count)),
            Some(_) => Err("\"count\" must be a number from 1 to 32".to_owned()),
        };
        if let Ok(count) = count {
            self.expect(Expectation::Digits { count }, out);
            self.secrets.awaits(secret);
            self.speaking.leave_keys();
        }
        let note = match secret {
            None => "the keys come as the caller's next words".to_owned(),
            Some(name) => {
                format!("the caller keys them in next; they are kept from you: write {{{name}}} for a tool")
            }
        };
        let note = json!({ "note": note });
        self.answer_tool(turn, call, count.map(|_| note), out);
    }

    /// Pressed once what was said before has been heard: keys over speech are heard by nobody.
    fn send_digits(&mut self, turn: TurnId, call: ToolCall, out: &mut Vec<Output>) {
        let arguments = arguments(&call);
        let keys = arguments["keys"].as_str().unwrap_or_default().to_owned();
        let fits = |key: char| matches!(key, '0'..='9' | '*' | '#' | 'A'..='D' | 'a'..='d' | ',');
        let wrong = keys.is_empty() || keys.len() > MOST_KEYS || !keys.chars().all(fits);
        if wrong {
            let error = format!("\"keys\" must be 1 to {MOST_KEYS} of 0 to 9, *, #, A to D and commas");
            return self.answer_tool(turn, call, Err(error), out);
        }
        let count = keys.chars().filter(|key| *key != ',').count();
        if let Some(reply) = &mut self.reply {
            reply.keys.push_str(&keys);
        }
        self.answer_tool(turn, call, Ok(json!({ "keys_pressed_after_this_sentence": count })), out);
    }

    fn note(&mut self, turn: TurnId, call: ToolCall, out: &mut Vec<Output>) {
        let arguments = arguments(&call);
        let text = arguments["text"].as_str().map(str::trim).filter(|text| !text.is_empty());
        let Some(text) = text else {
            return self.answer_tool(turn, call, Err("\"text\" is missing".to_owned()), out);
        };
        out.push(Output::Event(Event::Noted { turn, text: text.chars().take(NOTE).collect() }));
        self.answer_tool(turn, call, Ok(json!({ "ok": true })), out);
    }
}

/// What a model gave a tool of the call itself; null where it is no JSON.
pub(crate) fn arguments(call: &ToolCall) -> Value {
    serde_json::from_str(&call.arguments).unwrap_or(Value::Null)
}

impl RunningTool {
    pub(crate) fn ended(self, now: Instant, ok: bool) -> Output {
        let ms = (now - self.started).as_millis() as u32;
        Output::Event(Event::ToolEnded { turn: self.turn, name: self.name, ok, ms })
    }
}

pub(crate) fn result_text(result: Result<String, String>) -> String {
    result.unwrap_or_else(|error| json!({ "error": error }).to_string())
}
