//! What becomes of a turn that a provider has failed: a prepared sentence, or an honest end.
//! Knows patience. Retries are the gateway's.

use crate::{Event, Output, ToolResult, cdr::Cause, machine::Call, reply::Overdue};
use conversation::Interruptible;
use std::time::Instant;

impl Call {
    /// The model failed. What it has said so far is still said; a turn it left empty is saved by a prepared sentence.
    pub(crate) fn fail_llm(&mut self, now: Instant, reason: String, out: &mut Vec<Output>) {
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
    pub(crate) fn save_turn(&mut self, now: Instant, stage: &str, reason: String, out: &mut Vec<Output>) {
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
}
