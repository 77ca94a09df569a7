//! The tools that a reply calls: started at once, their results kept whatever became of the turn.
//! Knows names and results. What a tool does is the shell's.

use crate::{
    Event, Output, ToolResult, cdr::Cause, machine::Call, model::note_first_token, reply::RunningTool,
};
use conversation::{ToolCall, ToolKind, TurnId};
use std::time::Instant;

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
        if self.setup.agent.tool(&call.name).is_some_and(|tool| matches!(tool.kind, ToolKind::EndCall)) {
            reply.then = Some(Cause::AgentEnded);
            self.context.tool_result(&call.id, "{\"ok\":true}");
            return out.push(Output::Event(Event::ToolEnded { turn, name: call.name, ok: true, ms: 0 }));
        }
        reply.tools.insert(call.id.clone(), RunningTool { name: call.name.clone(), started: now, turn });
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
        self.context.tool_result(&result.call_id, result_text(result.result));
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
}

impl RunningTool {
    fn ended(self, now: Instant, ok: bool) -> Output {
        let ms = (now - self.started).as_millis() as u32;
        Output::Event(Event::ToolEnded { turn: self.turn, name: self.name, ok, ms })
    }
}

fn result_text(result: Result<String, String>) -> String {
    result.unwrap_or_else(|error| serde_json::json!({ "error": error }).to_string())
}
