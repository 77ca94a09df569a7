//! In which language a call goes on: detected in the caller's first turns, wished for by a tool, or chosen by a key. Ears,
//! model, voice, prompt, prepared sentences and word lists change as one, at a moment when nothing is being said.
//! Knows the agent's languages. Opening the other streams is the shell's.

use crate::{
    Clips, Event, Output, ToolResult,
    config::Localised,
    machine::{Call, Phase},
    tools::arguments,
};
use conversation::{
    Agent, Expectation, Holder, SentenceChunker, Stage, ToolCall, TurnId, detect, is_telling, matching,
};
use serde_json::json;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// What was said in the old voice before a tool may take so long to be heard.
const TO_BE_HEARD: Duration = Duration::from_secs(60);
/// New ears that fail within this time have never heard: the old ones are taken back.
const TRIAL: Duration = Duration::from_secs(10);

/// How the language of a call stands.
#[derive(Default)]
pub(crate) struct Speaking {
    /// Turns of the caller that were looked at.
    judged: u32,
    /// What speech-to-text says of the turn under way.
    told: Option<String>,
    /// It was chosen, and is not detected any more.
    chosen: bool,
    /// What there was before the last change.
    before: Option<Before>,
    /// What a tool wishes for, once what was said before has been heard.
    wished: Option<Wish>,
    /// The caller was asked for keys that mean something else.
    keys_meant: bool,
}

struct Before {
    agent: Arc<Agent>,
    clips: Arc<Clips>,
    since: Instant,
    /// The new voice has been heard.
    voiced: bool,
}

struct Wish {
    turn: TurnId,
    call_id: String,
    tag: String,
}

/// What the caller's turn means for the language.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    None,
    /// The turn is answered in another language than those before.
    Other,
    /// The same, and the turn was nothing but the choice.
    ByKey,
}

impl Speaking {
    /// Another agent goes on, with languages of its own. Who chose one has chosen.
    pub(crate) fn begin_anew(&mut self) {
        (self.before, self.wished, self.told) = (None, None, None);
    }

    /// What the caller is asked for: a single key may still be one for a language.
    pub(crate) fn note_expected(&mut self, expectation: Expectation) {
        self.keys_meant = matches!(expectation, Expectation::Digits { count } if count != Some(1));
    }

    /// The keys that come next are a tool's.
    pub(crate) fn leave_keys(&mut self) {
        self.keys_meant = true;
    }

    /// Speech-to-text says which language it hears.
    pub(crate) fn note_told(&mut self, tag: String) {
        self.told = Some(tag);
    }

    /// The new voice is heard.
    pub(crate) fn note_voice(&mut self) {
        if let Some(before) = &mut self.before {
            before.voiced = true;
        }
    }
}

impl Call {
    /// The caller's turn is over: is it in another language, or a wish for one? Nothing of the answer has begun.
    pub(crate) fn judge_language(
        &mut self,
        now: Instant,
        text: &str,
        digits: bool,
        out: &mut Vec<Output>,
    ) -> Change {
        let told = self.speaking.told.take();
        let keys_meant = std::mem::take(&mut self.speaking.keys_meant);
        if self.setup.context.languages.is_empty() {
            return Change::None;
        }
        if self.grant_wish(now, out) {
            return Change::Other;
        }
        if digits {
            let free = !keys_meant && !self.menu.answers();
            let changed = free && self.language_by_key(now, text, out);
            return if changed { Change::ByKey } else { Change::None };
        }
        let turns = self.setup.agent.detect_turns();
        if self.speaking.chosen || self.speaking.judged >= turns || !is_telling(text) {
            return Change::None;
        }
        self.speaking.judged += 1;
        let tags = self.tags();
        let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
        let told = told.and_then(|tag| matching(&tag, tags.iter().copied()));
        match told.or_else(|| detect(text, &tags)) {
            Some(tag) if self.switch(now, tag, "detected", out) => Change::Other,
            Some(_) | None => Change::None,
        }
    }

    /// The keys that choose a language need no other to follow.
    pub(crate) fn offer_languages(&mut self) {
        let languages = self.setup.context.languages.values();
        self.floor.choices(languages.filter_map(|spoken| spoken.agent.language_key()).collect());
    }

    fn language_by_key(&mut self, now: Instant, keys: &str, out: &mut Vec<Output>) -> bool {
        let mut keys = keys.chars().filter(|key| !key.is_whitespace());
        let (Some(key), None) = (keys.next(), keys.next()) else { return false };
        let chosen =
            self.setup.context.languages.iter().find(|(_, spoken)| spoken.agent.language_key() == Some(key));
        let Some(tag) = chosen.map(|(tag, _)| tag.clone()) else { return false };
        self.speaking.chosen = true;
        self.switch(now, &tag, "key", out)
    }

    /// The tags of all languages of the agent, the one that calls begin in first.
    fn tags(&self) -> Vec<String> {
        let mut all: Vec<(&String, bool)> =
            self.setup.context.languages.iter().map(|(tag, spoken)| (tag, !spoken.first)).collect();
        all.sort_by_key(|(_, later)| *later);
        all.into_iter().map(|(tag, _)| tag.clone()).collect()
    }

    /// Everything that has to do with the language changes here, or nothing does. Nothing is being said.
    fn switch(&mut self, now: Instant, tag: &str, why: &str, out: &mut Vec<Output>) -> bool {
        if self.setup.agent.language() == tag {
            return false;
        }
        let Some(Localised { agent, clips, .. }) = self.setup.context.languages.get(tag).cloned() else {
            return false;
        };
        let (before, prepared) = (Arc::clone(&self.setup.agent), Arc::clone(&self.setup.clips));
        self.speaking.before = Some(Before { agent: before, clips: prepared, since: now, voiced: false });
        self.speak_with(agent, clips, why, out);
        true
    }

    fn speak_with(&mut self, agent: Arc<Agent>, clips: Arc<Clips>, why: &str, out: &mut Vec<Output>) {
        let language = agent.language().to_owned();
        self.floor.speak_as(&language, agent.phrases());
        self.context.speak_as(agent.system_prompt(self.context.variables()));
        (self.setup.agent, self.setup.clips) = (agent, clips);
        out.push(Output::Event(Event::Language { language: language.clone(), why: why.to_owned() }));
        out.push(Output::SetLanguage { language });
        self.guide(out);
    }

    /// A call that goes on where it was cut off goes on in the language it had there.
    pub(crate) fn resume_language(&mut self, now: Instant, out: &mut Vec<Output>) {
        let kept = self.setup.context.resumed.as_ref().and_then(|kept| kept.language.clone());
        if kept.is_some_and(|tag| self.switch(now, &tag, "resumed", out)) {
            self.speaking.chosen = true;
        }
    }

    /// Whether a stage that fails has never worked in the language there is.
    fn is_untried(&self, now: Instant, stage: &str) -> bool {
        let other = |before: &Before, stage| before.agent.route(stage) != self.setup.agent.route(stage);
        let untried = |before: &Before| match stage {
            "stt" => now.saturating_duration_since(before.since) < TRIAL,
            // The same model would fail in the old language as well.
            "llm" => !before.voiced && other(before, Stage::Llm),
            _ => !before.voiced,
        };
        matches!(self.phase, Phase::Talking) && self.speaking.before.as_ref().is_some_and(untried)
    }

    /// A stage has failed a turn, of which nothing is left to be heard. If it has never worked in the new language, all
    /// that there was before goes on, as a whole.
    pub(crate) fn speak_as_before(&mut self, now: Instant, stage: &str, out: &mut Vec<Output>) {
        if self.is_untried(now, stage)
            && let Some(Before { agent, clips, .. }) = self.speaking.before.take()
        {
            self.speaking.chosen = true;
            self.speak_with(agent, clips, &format!("{stage}_failed"), out);
        }
    }

    /// The new ears have failed: the old ones go on, with all that belongs to them, and what was being answered is answered
    /// anew. False if these are the only ears there are.
    pub(crate) fn hear_as_before(&mut self, now: Instant, out: &mut Vec<Output>) -> bool {
        if !self.is_untried(now, "stt") {
            return false;
        }
        let begun = self.reply.as_ref().map(|reply| (reply.marks, reply.rounds > 0));
        self.cut_reply(out);
        self.speak_as_before(now, "stt", out);
        let Some((marks, asked)) = begun else { return true };
        self.turn = self.turn.next();
        self.begin_reply(now, self.setup.agent.interruptible().1);
        if let Some(reply) = &mut self.reply {
            reply.marks = marks.map(|marks| marks.anew(now));
        }
        if asked {
            self.ask(now, out);
        } else {
            self.greet_again(now, out);
            self.close_text(out);
        }
        true
    }

    /// A tool wishes for another language. It has it once what was said before has been heard.
    pub(crate) fn begin_language(
        &mut self,
        now: Instant,
        turn: TurnId,
        call: ToolCall,
        out: &mut Vec<Output>,
    ) {
        let wished = arguments(&call)["language"].as_str().map(str::to_owned).unwrap_or_default();
        let tags = self.tags();
        let Some(tag) = matching(&wished, tags.iter().map(String::as_str)).map(str::to_owned) else {
            let error = format!("\"language\" must be one of {}", tags.join(", "));
            return self.answer_tool(turn, call, Err(error), out);
        };
        self.speaking.chosen = true;
        if tag == self.setup.agent.language() {
            return self.answer_tool(turn, call, Ok(json!({ "language": tag })), out);
        }
        self.await_tool(now, turn, &call, TO_BE_HEARD);
        self.speaking.wished = Some(Wish { turn, call_id: call.id, tag });
    }

    /// A wish comes true when nothing is left to be heard in the old voice, and the caller says nothing that the old ears
    /// would take along; who is speaking has it at the end of the turn.
    pub(crate) fn watch_language(&mut self, now: Instant, out: &mut Vec<Output>) {
        if self.speaking.wished.is_none() || !matches!(self.phase, Phase::Talking) {
            return;
        }
        let owed = self
            .reply
            .as_ref()
            .is_some_and(|reply| reply.asked || reply.sentences.iter().any(|said| !said.done));
        let heard = self.leg.as_ref().is_some_and(|leg| leg.playout.is_empty());
        if owed || !heard || self.floor.holder() == Holder::Caller || self.hearing.speech {
            return;
        }
        self.grant_wish(now, out);
    }

    /// True if a tool's wish has come true.
    fn grant_wish(&mut self, now: Instant, out: &mut Vec<Output>) -> bool {
        let Some(Wish { turn, call_id, tag }) = self.speaking.wished.take() else { return false };
        let waits = self.reply.as_ref().is_some_and(|reply| reply.tools.contains_key(&call_id));
        if !waits && !self.tools_left.contains_key(&call_id) {
            // It was given up, and its result is an error by now.
            return false;
        }
        let changed = self.switch(now, &tag, "tool", out);
        let scripted = self.reply.as_ref().is_some_and(|reply| reply.turn == turn && reply.scripted);
        if let Some(reply) = self.reply.as_mut().filter(|reply| reply.turn == turn) {
            // The rest of the reply is cut into sentences as the new language has it.
            reply.chunker = SentenceChunker::new(self.setup.agent.language());
        }
        if scripted {
            self.greet_again(now, out);
        }
        let result = Ok(json!({ "language": tag }).to_string());
        self.handle_tool(now, turn, ToolResult { call_id, result }, out);
        changed
    }

    /// Nobody was asked anything but the language: the new voice greets, and says where the call stands.
    pub(crate) fn greet_again(&mut self, now: Instant, out: &mut Vec<Output>) {
        let clip = self.greeting();
        self.say_clip(now, &clip, out);
        self.open_path(now, out);
    }
}
