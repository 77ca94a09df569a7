//! What becomes of a turn that a provider has failed: what can be heard is heard, then a prepared sentence, or an honest
//! end. Knows patience. Retries are the gateway's.

use crate::{
    Event, Output,
    cdr::Cause,
    machine::{Call, Phase},
    reply::{Overdue, Reply},
    speech::segment,
};
use conversation::Interruptible;
use std::time::Instant;

impl Call {
    /// A stage failed the turn. Whole sentences that the model wrote are still said, and audio that has come is still
    /// heard; [`Call::rescue`] follows once it has left.
    pub(crate) fn fail_turn(&mut self, now: Instant, stage: &str, reason: String, out: &mut Vec<Output>) {
        let Some(reply) = &mut self.reply else { return };
        let turn = reply.turn;
        if !std::mem::replace(&mut reply.failed, true) {
            out.push(Output::Event(Event::Fallback { turn, stage: stage.to_owned(), reason }));
        }
        reply.asked = false;
        reply.unanswered = stage == "llm";
        reply.chunker.finish();
        self.tools_left.append(&mut reply.tools);
        if stage == "tts" || reply.sentences.is_empty() {
            self.give_up_speech(out);
        }
        self.close_text(out);
        self.finish_reply(now, out);
    }

    /// Text-to-speech gets no more of this turn and is not listened to any more.
    fn give_up_speech(&mut self, out: &mut Vec<Output>) {
        let (Some(reply), Some(leg)) = (&mut self.reply, &mut self.leg) else { return };
        reply.mute = true;
        reply.finished = true;
        reply.waiting.clear();
        out.push(Output::Cancel { turn: reply.turn });
        // What has come of the first sentence that will not be whole is heard, but nothing behind it.
        let turn = reply.turn;
        let mut broken = (0..).zip(&reply.sentences).filter(|(_, sentence)| !sentence.done);
        let broken = broken.find_map(|(index, _)| leg.playout.progress(segment(turn, index)));
        if let Some(broken) = broken {
            leg.playout.cut_after(broken.segment);
            leg.playout.finish(broken.segment);
        }
    }

    /// The prepared sentence after a failed turn. The call goes on.
    pub(crate) fn rescue(&mut self, now: Instant, failed: &Reply, out: &mut Vec<Output>) {
        let then = failed.then;
        // All that was said in the new voice has been heard: now the old one may go on.
        self.speak_as_before(now, if failed.unanswered { "llm" } else { "tts" }, out);
        if failed.saved {
            // Not even the prepared sentence can be spoken: an honest end is better than a mute agent.
            return self.end(then.unwrap_or(Cause::TtsFailed), out);
        }
        let failures = self.note_failure(failed);
        let clip = if then.is_some() { &self.setup.clips.goodbye } else { &self.setup.clips.trouble }.clone();
        if !failed.mute {
            out.push(Output::Cancel { turn: failed.turn });
        }
        // A turn of its own: whatever the failed providers still send carries the old number.
        self.turn = self.turn.next();
        let leaving = matches!(self.phase, Phase::Leaving);
        self.begin_reply(
            now,
            if leaving { Interruptible::Never } else { self.setup.agent.interruptible().1 },
        );
        if let Some(reply) = &mut self.reply {
            (reply.marks, reply.first_packet) = (failed.marks, failed.first_packet);
            (reply.saved, reply.then) = (true, then);
        }
        if failures > 0 && then.is_none() && self.tell_menu(now, out) {
            return;
        }
        if failures >= self.config.patience.failures && then.is_none() && !leaving {
            return self.say_goodbye(now, Cause::LlmFailed, out);
        }
        self.say_clip(now, &clip, out);
        self.close_text(out);
    }

    /// Turns in a row in which no model had anything to say, this one included; 0 if it was something else.
    fn note_failure(&mut self, failed: &Reply) -> u32 {
        if failed.rounds == 0 || !failed.unanswered {
            return 0;
        }
        self.ladder.failures += 1;
        self.ladder.failures
    }

    pub(crate) fn watch_reply(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.say_early(now, out);
        self.watch_transfer(now, out);
        let Some(reply) = &self.reply else { return };
        let late = now.saturating_duration_since(reply.last_text).as_millis();
        match reply.overdue(now, self.silent_since, &self.config.patience) {
            None => {}
            Some(Overdue::Llm) => self.fail_turn(now, "llm", format!("nothing for {late} ms"), out),
            Some(Overdue::Tts) => self.fail_turn(now, "tts", "no audio for a sentence".into(), out),
            Some(Overdue::Tool(call_id)) => self.give_up_tool(now, &call_id, out),
        }
    }
}
