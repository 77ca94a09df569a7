//! The tools that a reply calls: started at once, their results kept whatever became of the turn.
//! Knows names and results. What a tool does is the shell's.

use crate::{Event, Output, ToolResult, cdr::Cause, machine::Call, reply::RunningTool};
use conversation::{ToolCall, ToolKind, TurnId};
use std::time::Instant;

impl Call {
    pub(crate) fn start_tool(&mut self, now: Instant, turn: TurnId, call: ToolCall, out: &mut Vec<Output>) {
        let Some(reply) = &mut self.reply else { return };
        crate::model::note_first_token(reply, now, out);
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
}
