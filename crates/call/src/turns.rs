//! Turn-taking at work: the floor's decisions carried out.
//! Decides nothing about when to speak: that is the floor's. What is said and by whom is in `model` and `speech`.

use crate::{
    Clip, Event, Output, SttEvent,
    cdr::Cause,
    language::Change,
    latency::Marks,
    machine::{Call, Phase},
    reply::Reply,
    speculation::Guess,
};
use conversation::{
    AgentVoice, Decision, Holder, Interruptible, ProviderTurn, SideSound, Step, Transcript, TurnId, hide_all,
    hide_digits,
};
use std::time::Instant;

impl Call {
    /// The greeting: turn 0, from its clip.
    pub(crate) fn greet(&mut self, now: Instant, out: &mut Vec<Output>) {
        if !matches!(self.phase, Phase::Answered) || self.leg.is_none() {
            return;
        }
        self.phase = Phase::Talking;
        self.offer_languages();
        self.open_room();
        if let Some(cause) = self.farewell.take() {
            return self.say_goodbye(now, cause, out);
        }
        if let Some(kept) = &self.setup.context.resumed {
            let messages = u32::try_from(kept.messages.len()).unwrap_or(u32::MAX);
            out.push(Output::Event(Event::Continued { messages }));
        }
        self.resume_language(now, out);
        let clip = self.greeting();
        self.setup.context.resumed = None;
        self.begin_reply(now, self.setup.agent.interruptible().0);
        self.say_clip(now, &clip, out);
        self.open_path(now, out);
        self.close_text(out);
    }

    /// Prepared, unless it says something about this caller: then text-to-speech has to.
    pub(crate) fn greeting(&self) -> Clip {
        let agent = &self.setup.agent;
        if let Some(text) = self.welcome_back() {
            return Clip { text, ..Clip::default() };
        }
        let text = agent.greeting(&self.setup.context.variables);
        let prepared = text == agent.greeting(agent.variables());
        if prepared { self.setup.clips.greeting.clone() } else { Clip { text, ..Clip::default() } }
    }

    /// For a caller who was cut off, until another agent goes on.
    fn welcome_back(&self) -> Option<String> {
        let kept = self.setup.context.resumed.as_ref()?;
        let agent = &self.setup.agent;
        (kept.agent == agent.name()).then(|| agent.welcome_back(self.context.variables())).flatten()
    }

    /// Tells where the conversation stands, for the case that the caller is cut off now.
    pub(crate) fn keep(&self, out: &mut Vec<Output>) {
        if self.setup.context.keep
            && let Some(checkpoint) = self.context.checkpoint(&self.setup.agent, self.position)
        {
            out.push(Output::Checkpoint(Some(Box::new(checkpoint))));
        }
    }

    /// What the floor decided is done here and nowhere else.
    pub(crate) fn decide(&mut self, now: Instant, decision: Option<Decision>, out: &mut Vec<Output>) {
        match decision {
            None => {}
            Some(Decision::CallerPaused) => {
                out.push(Output::FinalizeStt);
                self.pauses = self.pauses.wrapping_add(1);
                if self.config.turn_model {
                    out.push(Output::JudgeTurn { pause: self.pauses });
                }
            }
            Some(Decision::EndOfTurn { text, digits, ended, wait, reason }) => {
                let waited = now.saturating_duration_since(ended);
                let heard =
                    Heard { text, digits, reason: reason.name(), waited_ms: waited.as_millis() as u32 };
                // A key is heard at once; what was said before it is not what is answered.
                let last = self.hearing.last.filter(|_| !digits).unwrap_or((ended, ended));
                let marks = marks(now, last, ended + wait);
                self.answer_caller(now, heard, marks, out);
            }
            Some(Decision::Duck) => out.push(Output::Event(Event::Ducked { active: true })),
            Some(Decision::Unduck) => out.push(Output::Event(Event::Ducked { active: false })),
            Some(Decision::Pause { onset }) => self.pause_agent(now, onset, out),
            Some(Decision::Resume { was, text }) => self.resume_agent(now, was, text, out),
            Some(Decision::BargeIn { onset, silent }) => self.barge_in(now, onset, silent, out),
            Some(Decision::NoInput { count }) => self.prompt_caller(now, count, out),
        }
    }

    /// A model has listened; what it says of an earlier pause has come too late.
    pub(crate) fn handle_by_ear(
        &mut self,
        now: Instant,
        pause: u32,
        probability: f32,
        out: &mut Vec<Output>,
    ) {
        if pause != self.pauses || self.floor.holder() != Holder::Caller {
            return;
        }
        let percent = (probability.clamp(0.0, 1.0) * 100.0).round() as u8;
        out.push(Output::Event(Event::TurnByEar { percent }));
        let decision = self.floor.handle_by_ear(now, probability);
        self.decide(now, decision, out);
    }

    fn answer_caller(&mut self, now: Instant, mut heard: Heard, marks: Marks, out: &mut Vec<Output>) {
        let (hidden, shown) = self.keep_secret(&heard);
        let change = match hidden {
            Some(_) => Change::None,
            None => self.judge_language(now, &heard.text, heard.digits, out),
        };
        if let Some(hidden) = hidden {
            heard.text = hidden;
        }
        let step = if change == Change::ByKey { None } else { self.step_of(&heard) };
        let guess = if self.menu.answers() || step.as_ref().is_some_and(|step| step.answers) {
            self.give_up_guess(now, "no model answers", out);
            None
        } else if step.as_ref().is_some_and(|step| step.moves) {
            self.give_up_guess(now, "the conversation went on elsewhere", out);
            None
        } else if change != Change::None {
            self.give_up_guess(now, "another language", out);
            None
        } else {
            self.take_guess(now, &heard.text, out)
        };
        self.turn = guess.as_ref().map_or(self.turn.next(), Guess::turn);
        let turn = self.turn;
        out.push(Output::Event(Event::TurnEnded {
            turn,
            text: shown,
            reason: heard.reason.to_owned(),
            waited_ms: heard.waited_ms,
        }));
        let understood = !heard.text.trim().is_empty();
        if understood && change != Change::ByKey {
            self.context.user(heard.text.clone());
        }
        let (said, digits) = (heard.text, heard.digits);
        self.searches_begin_anew();
        self.begin_reply(now, self.setup.agent.interruptible().1);
        if let Some(reply) = &mut self.reply {
            reply.marks = Some(marks);
        }
        if change == Change::ByKey {
            self.greet_again(now, out);
            return self.close_text(out);
        }
        if understood {
            if self.menu.wanted && self.tell_menu(now, out) || self.choose(now, &said, digits, out) {
                return;
            }
            if let Some(found) = self.loops.caller_said(&said).filter(|_| !digits)
                && self.break_loop(now, found, out)
            {
                return;
            }
            if step.is_some_and(|step| self.take_step(now, step.step, out)) {
                return self.close_text(out);
            }
            return match guess {
                Some(guess) => self.adopt(now, guess, out),
                None => self.ask_informed(now, out),
            };
        }
        let clip = self.setup.clips.not_heard.clone();
        self.say_clip(now, &clip, out);
        self.close_text(out);
    }

    /// What stands in the place of a secret, for the model, and the words as others may read them.
    fn keep_secret(&mut self, heard: &Heard) -> (Option<String>, String) {
        let language = self.setup.agent.language();
        let asked = self.secrets.is_awaited();
        let usual = self.secrets.shown(&heard.text, language);
        let hidden = self.secrets.take(&heard.text, heard.digits, language);
        self.secrets.note_answered();
        let shown = match (heard.digits, asked, &hidden) {
            (true, ..) => mask(&heard.text),
            (false, true, Some(_)) => hide_all(&heard.text),
            // Other words than those that were asked for are no secret.
            (false, true, None) => hide_digits(&heard.text, language),
            (false, false, _) => usual,
        };
        (hidden, shown)
    }

    /// Where the graph leads with these words; nowhere while a menu is open.
    fn step_of(&mut self, heard: &Heard) -> Option<Led> {
        if self.menu.answers() || heard.text.trim().is_empty() {
            return None;
        }
        let known = self.context.variables().clone();
        let step = self.follow(&heard.text, heard.digits)?;
        let moves = !step.path.is_empty() || known != *self.context.variables();
        Some(Led { answers: step.say.is_some(), moves, step })
    }

    fn prompt_caller(&mut self, now: Instant, count: u32, out: &mut Vec<Output>) {
        out.push(Output::Event(Event::NoInput { count }));
        if count >= self.config.patience.no_inputs {
            return self.say_goodbye(now, Cause::NoInput, out);
        }
        self.turn = self.turn.next();
        let clip = self.setup.clips.still_there.clone();
        self.begin_reply(now, self.setup.agent.interruptible().1);
        self.say_clip(now, &clip, out);
        self.close_text(out);
    }

    /// Says the farewell and hangs up after it; before the answer there is nobody to say it to. Between our answer and
    /// its ACK it waits for the ACK: until then no BYE may be sent (RFC 3261 section 15), and nobody may be listening.
    pub(crate) fn say_goodbye(&mut self, now: Instant, cause: Cause, out: &mut Vec<Output>) {
        // Ears that fail while the answer waits are told of after it, as they are a moment later.
        let soon = matches!(self.phase, Phase::Ringing { .. }) && cause == Cause::SttFailed;
        if matches!(self.phase, Phase::Answered) || soon {
            self.farewell.get_or_insert(cause);
            return;
        }
        if !matches!(self.phase, Phase::Talking) || self.leg.as_ref().is_none_or(|leg| !leg.may_send()) {
            if !matches!(self.phase, Phase::Leaving) {
                self.end(cause, out);
            }
            return;
        }
        if self.reply.as_ref().is_some_and(|reply| reply.then.is_some() && reply.text_done) {
            // The agent is saying it already.
            self.floor.agent_starts(now, Interruptible::Never);
            self.phase = Phase::Leaving;
            return;
        }
        self.cut_reply(out);
        self.turn = self.turn.next();
        let clip = self.setup.clips.goodbye.clone();
        self.begin_reply(now, Interruptible::Never);
        self.say_clip(now, &clip, out);
        if let Some(reply) = &mut self.reply {
            reply.then = Some(cause);
        }
        self.close_text(out);
        self.phase = Phase::Leaving;
    }

    pub(crate) fn begin_reply(&mut self, now: Instant, interruptible: Interruptible) {
        self.reply = Some(Reply::new(now, self.turn, self.setup.agent.language(), interruptible));
        self.silent_since = Some(now);
        self.context.assistant_begin(self.turn);
        self.floor.agent_starts(now, interruptible);
    }

    fn barge_in(&mut self, now: Instant, onset: Instant, silent: Instant, out: &mut Vec<Output>) {
        self.paused_at = None;
        let Some(reply) = &self.reply else { return };
        let playing = self.leg.as_ref().is_some_and(|leg| !leg.playout.is_empty());
        let (turn, state) = (reply.turn, reply.state(playing).to_owned());
        let (reaction_ms, decided_ms) = (millis(silent, onset), millis(now, silent));
        let (heard, unsaid) = self.cut_reply(out);
        out.push(Output::Event(Event::BargeIn { turn, state, reaction_ms, decided_ms, heard, unsaid }));
        self.keep(out);
    }

    fn pause_agent(&mut self, now: Instant, onset: Instant, out: &mut Vec<Output>) {
        self.paused_at = Some(now);
        let turn = self.reply.as_ref().map_or(self.turn, |reply| reply.turn);
        out.push(Output::Event(Event::AgentPaused { turn, reaction_ms: millis(now, onset) }));
    }

    fn resume_agent(&mut self, now: Instant, was: SideSound, text: String, out: &mut Vec<Output>) {
        let after_ms = self.paused_at.take().map_or(0, |since| millis(now, since));
        let turn = self.reply.as_ref().map_or(self.turn, |reply| reply.turn);
        let was = was.name().to_owned();
        let text = self.secrets.shown(&text, self.setup.agent.language());
        out.push(Output::Event(Event::AgentResumed { turn, was, text, after_ms }));
    }

    /// The playout follows the floor: quieter, silent, or as it is. Called before every frame that leaves.
    pub(crate) fn voice_agent(&mut self, now: Instant) {
        let Some(leg) = &mut self.leg else { return };
        let voice =
            if matches!(self.phase, Phase::Talking) { self.floor.agent_voice() } else { AgentVoice::Full };
        leg.playout.duck(voice != AgentVoice::Full);
        if voice == AgentVoice::Paused {
            leg.playout.pause();
            // What is not said now is nobody's fault.
            self.silent_since = Some(now);
        } else {
            leg.playout.resume();
        }
    }

    pub(crate) fn handle_stt(&mut self, now: Instant, event: SttEvent, out: &mut Vec<Output>) {
        match event {
            SttEvent::Ready => {}
            SttEvent::Language { tag } => self.speaking.note_told(tag),
            SttEvent::Interim { text } => self.handle_transcript(now, text, false, None, out),
            SttEvent::Final { text, confidence } => self.handle_transcript(now, text, true, confidence, out),
            SttEvent::EagerEnd { text } => {
                self.handle_transcript(now, text, false, None, out);
                self.handle_provider_turn(now, ProviderTurn::Eager, out);
            }
            SttEvent::Resumed => self.handle_provider_turn(now, ProviderTurn::Resumed, out),
            SttEvent::End { text, confidence } => {
                self.handle_transcript(now, text, true, confidence, out);
                self.handle_provider_turn(now, ProviderTurn::Over, out);
            }
            SttEvent::Failed { reason } => {
                out.push(Output::Event(Event::ProviderFailed { stage: "stt".into(), reason }));
                if self.hear_as_before(now, out) {
                    return;
                }
                self.say_goodbye(now, Cause::SttFailed, out);
            }
        }
    }

    fn handle_transcript(
        &mut self,
        now: Instant,
        text: String,
        is_final: bool,
        confidence: Option<f32>,
        out: &mut Vec<Output>,
    ) {
        if !matches!(self.phase, Phase::Talking) {
            return;
        }
        let transcript = Transcript { text, is_final, confidence };
        let decision = self.floor.handle_transcript(now, &transcript);
        let text = self.secrets.shown(&transcript.text, self.setup.agent.language());
        out.push(Output::Event(Event::Heard { text, is_final, confidence }));
        self.decide(now, decision, out);
        if self.floor.holder() == Holder::Caller && !self.secrets.is_awaited() {
            let so_far = self.floor.heard_so_far();
            self.look_ahead(now, &so_far, out);
        }
    }

    fn handle_provider_turn(&mut self, now: Instant, turn: ProviderTurn, out: &mut Vec<Output>) {
        if matches!(self.phase, Phase::Talking) {
            out.push(Output::Event(Event::ProviderTurn { says: turn.name().to_owned() }));
            let decision = self.floor.handle_provider(now, turn);
            self.decide(now, decision, out);
        }
    }

    /// The reply of this turn, unless the event belongs to one that was cancelled or given up: the one comparison.
    pub(crate) fn current(&mut self, turn: TurnId) -> Option<&mut Reply> {
        self.reply.as_mut().filter(|reply| reply.turn == turn && !reply.mute)
    }
}

/// What the caller said, and why it is held to be all.
struct Heard {
    text: String,
    digits: bool,
    reason: &'static str,
    waited_ms: u32,
}

/// A step of the graph, and what it means for an answer that was begun on a guess.
struct Led {
    step: Step,
    /// No model is asked.
    answers: bool,
    /// A model is told something else than before.
    moves: bool,
}

/// From `since` to `now`.
fn millis(now: Instant, since: Instant) -> u32 {
    u32::try_from(now.saturating_duration_since(since).as_millis()).unwrap_or(u32::MAX)
}

/// The marks of a turn that ends now.
const fn marks(now: Instant, (arrived, heard): (Instant, Instant), silent_enough: Instant) -> Marks {
    Marks {
        arrived,
        heard,
        silent_enough,
        ended: now,
        looked_up: now,
        asked: now,
        first_token: None,
        tool_from: None,
        tool_until: None,
        first_sentence: None,
        first_audio: None,
    }
}

/// Digits keyed in are nobody's business: `1 2 3 4 5` becomes `* * * * *`.
fn mask(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_digit() { '*' } else { c }).collect()
}
