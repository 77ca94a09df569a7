//! A reply on its way to the caller's ear: sentences to text-to-speech, audio to the playout, and how much was heard.
//! Knows sentences and segments. Knows nothing of models.

use crate::{
    Event, KeysBy, Output, TtsEvent, WordTime,
    config::Clip,
    leg::Leg,
    machine::{Call, Phase},
    reply::Reply,
    silence::is_filler,
};
use conversation::{HeardSentence, TurnId};
use media::SegmentId;
use std::time::{Duration, Instant};

impl Call {
    /// A sentence of the reply: to text-to-speech as soon as it is its turn.
    pub(crate) fn say(&mut self, now: Instant, turn: TurnId, text: String, out: &mut Vec<Output>) {
        let Some(reply) = &mut self.reply else { return };
        if let Some(marks) = &mut reply.marks {
            marks.first_sentence.get_or_insert(now);
        }
        self.context.assistant_sentence(turn, reply.sentences.len() as u32, text.clone());
        let spoken = self.setup.agent.spoken().say(&text);
        let index = reply.add(text, spoken, false);
        reply.waiting.push_back(index);
        reply.last_audio =
            if reply.sentences.iter().filter(|s| !s.done).count() == 1 { now } else { reply.last_audio };
        self.speak_waiting(out);
    }

    fn speak_waiting(&mut self, out: &mut Vec<Output>) {
        let Some(reply) = &mut self.reply else { return };
        let turn = reply.turn;
        while let Some(index) = reply.next_to_speak() {
            let (sentence, said) = (index as u32, &reply.sentences[index]);
            out.push(Output::Event(Event::Sentence { turn, sentence, text: said.text.clone() }));
            let text = said.spoken.text().to_owned();
            let spoken = index == 0 && reply.prespoken.take().is_some_and(|spoken| spoken == text);
            if !spoken {
                out.push(Output::Speak { turn, sentence, text });
            }
        }
        if reply.text_done && reply.waiting.is_empty() && !std::mem::replace(&mut reply.finished, true) {
            out.push(Output::FinishSpeech { turn });
        }
    }

    /// A prepared sentence: its audio goes straight to the playout. One that could not be rendered is spoken instead.
    pub(crate) fn say_clip(&mut self, now: Instant, clip: &Clip, out: &mut Vec<Output>) {
        let Some(rate) = self.leg.as_ref().map(Leg::rate) else { return };
        let Some(reply) = &mut self.reply else { return };
        let (turn, audio) = (reply.turn, clip.audio(rate));
        if audio.is_empty() {
            return self.say(now, turn, clip.text.clone(), out);
        }
        self.context.assistant_sentence(turn, reply.sentences.len() as u32, clip.text.clone());
        let spoken = self.setup.agent.spoken().say(&clip.text);
        let index = reply.add(clip.text.clone(), spoken, true);
        if let Some(marks) = &mut reply.marks {
            marks.first_sentence.get_or_insert(now);
            marks.first_audio.get_or_insert(now);
        }
        out.push(Output::Event(Event::Sentence { turn, sentence: index as u32, text: clip.text.clone() }));
        self.make_way();
        let segment = segment(turn, index as u32);
        if let Some(leg) = &mut self.leg {
            leg.playout.push(segment, &audio);
            leg.playout.finish(segment);
        }
    }

    pub(crate) fn close_text(&mut self, out: &mut Vec<Output>) {
        if let Some(reply) = &mut self.reply {
            reply.text_done = true;
        }
        self.speak_waiting(out);
    }

    pub(crate) fn handle_tts(&mut self, now: Instant, turn: TurnId, event: TtsEvent, out: &mut Vec<Output>) {
        let Some(event) = self.keep_tts(turn, event) else { return };
        if self.current(turn).is_some() && matches!(event, TtsEvent::Audio { .. }) {
            self.speaking.note_voice();
        }
        let Some(reply) = self.current(turn) else { return };
        match event {
            TtsEvent::Words { sentence, words } => {
                let sentence = reply.sentences.get_mut(sentence as usize);
                if let Some(sentence) = sentence.filter(|s| s.words.len() + words.len() <= MOST_WORDS) {
                    sentence.words.extend(words);
                }
            }
            TtsEvent::Audio { sentence, samples } => {
                if !reply.awaits(sentence) || samples.is_empty() {
                    return;
                }
                reply.last_audio = now;
                if let Some(marks) = reply.marks.as_mut().filter(|marks| marks.first_audio.is_none()) {
                    marks.first_audio = Some(now);
                }
                if sentence == 0
                    && self.leg.as_ref().is_some_and(|leg| leg.playout.progress(segment(turn, 0)).is_none())
                {
                    out.push(Output::Event(Event::FirstAudio { turn }));
                }
                self.make_way();
                if let Some(leg) = &mut self.leg {
                    leg.playout.push(segment(turn, sentence), &samples);
                }
            }
            TtsEvent::SentenceDone { sentence } => {
                if !reply.awaits(sentence) {
                    return;
                }
                reply.sentences[sentence as usize].done = true;
                reply.last_audio = now;
                if let Some(leg) = &mut self.leg {
                    leg.playout.finish(segment(turn, sentence));
                }
                self.speak_waiting(out);
            }
            TtsEvent::Failed { sentence, reason } if reply.awaits(sentence) => {
                self.fail_turn(now, "tts", reason, out);
            }
            TtsEvent::Failed { .. } => {}
        }
    }

    pub(crate) fn note_first_packet(
        &mut self,
        now: Instant,
        played: Option<SegmentId>,
        out: &mut Vec<Output>,
    ) {
        self.follow_rule(now, played);
        let Some(reply) = &mut self.reply else { return };
        let own =
            played.is_some_and(|played| played.0 >> 32 == u64::from(reply.turn.0) && !is_filler(played));
        if !own || std::mem::replace(&mut reply.first_packet, true) {
            return;
        }
        let turn = reply.turn;
        out.push(Output::Event(Event::FirstPacket { turn }));
        if let Some(marks) = &reply.marks {
            let latency = marks.partition(now, &self.config.budgets);
            out.push(Output::Event(Event::Latency { turn, latency }));
        }
    }

    /// What may cut in is for the sentence that is heard to say.
    fn follow_rule(&mut self, now: Instant, played: Option<SegmentId>) {
        let Some((reply, segment)) = self.reply.as_ref().zip(played.filter(|segment| !is_filler(*segment)))
        else {
            return;
        };
        let sentence = (segment.0 & u64::from(u32::MAX)) as usize;
        let own = segment.0 >> 32 == u64::from(reply.turn.0);
        if let Some(sentence) = reply.sentences.get(sentence).filter(|_| own)
            && self.floor.interruptible() != sentence.rule
            && matches!(self.phase, Phase::Talking)
        {
            self.floor.agent_starts(now, sentence.rule);
        }
    }

    /// Once everything has been said and has left, the floor is free.
    pub(crate) fn finish_reply(&mut self, now: Instant, out: &mut Vec<Output>) {
        let done = self.reply.as_ref().is_some_and(Reply::audio_done);
        if !done || self.leg.as_ref().is_some_and(|leg| !leg.playout.is_empty()) {
            return;
        }
        let Some(reply) = self.reply.take() else { return };
        self.report_heard(&reply);
        if let Some(hand_over) = reply.hand_over {
            // A last word that failed is no reason to stay.
            self.floor.agent_done(now, false);
            out.push(Output::Event(Event::AgentDone { turn: reply.turn }));
            return self.hand_over(now, hand_over, out);
        }
        if reply.failed {
            return self.rescue(now, &reply, out);
        }
        let pressed = !reply.keys.is_empty();
        if pressed {
            self.press_keys(&reply.keys, KeysBy::default(), out);
        }
        if !reply.first_packet && reply.then.is_none() && !(pressed && reply.sentences.is_empty()) {
            // Text-to-speech said that it was done, and there was no sound.
            let (turn, stage) = (reply.turn, "tts".to_owned());
            out.push(Output::Event(Event::Fallback { turn, stage, reason: "no sound".into() }));
            return self.rescue(now, &reply, out);
        }
        let asked = reply.sentences.last().is_some_and(|last| last.text.trim_end().ends_with('?'));
        self.floor.agent_done(now, asked);
        out.push(Output::Event(Event::AgentDone { turn: reply.turn }));
        if let Some(cause) = reply.then {
            return self.end(cause, out);
        }
        if reply.marks.is_some() {
            // "Are you still there?" is nothing to go on from.
            self.keep(out);
        }
        self.note_answer(now, &reply, out);
    }

    /// An answer was heard to its end: does the agent turn in circles, is the model alive again?
    fn note_answer(&mut self, now: Instant, reply: &Reply, out: &mut Vec<Output>) {
        if reply.marks.is_none() || reply.saved || reply.scripted {
            return;
        }
        if reply.rounds > 0 {
            self.ladder.failures = 0;
            self.close_menu();
        }
        let said: Vec<&str> = reply.sentences.iter().map(|sentence| sentence.text.as_str()).collect();
        if let Some(found) = self.loops.agent_said(&said.join(" ")) {
            self.break_loop(now, found, out);
        }
    }

    /// Silences the agent at once. What the caller heard stays in the context; started tools go on. Returns what was
    /// heard of the reply and what was not.
    pub(crate) fn cut_reply(&mut self, out: &mut Vec<Output>) -> (String, String) {
        let Some(mut reply) = self.reply.take() else { return Default::default() };
        if let Some(leg) = &mut self.leg {
            leg.playout.flush();
        }
        out.push(Output::Cancel { turn: reply.turn });
        self.tools_left.append(&mut reply.tools);
        self.keep_caller(&mut reply, out);
        if let Some(rest) = reply.chunker.finish() {
            let spoken = self.setup.agent.spoken().say(&rest);
            let index = reply.add(rest, spoken, false);
            self.context.assistant_sentence(reply.turn, index as u32, reply.sentences[index].text.clone());
        }
        self.report_heard(&reply);
        if !reply.audio_done() {
            self.context.interrupted(reply.turn);
        }
        self.context.heard_and_unsaid(reply.turn)
    }

    /// Tells the context how much of a reply has left.
    fn report_heard(&mut self, reply: &Reply) {
        let Some(leg) = &self.leg else { return };
        let heard: Vec<HeardSentence> =
            (0..reply.sentences.len()).map(|index| heard_sentence(reply, index, leg)).collect();
        self.context.heard(reply.turn, &heard);
    }
}

/// Playout segments are sentences of turns.
pub(crate) const fn segment(turn: TurnId, sentence: u32) -> SegmentId {
    SegmentId(((turn.0 as u64) << 32) | sentence as u64)
}

/// Words of a sentence whose times are kept.
const MOST_WORDS: usize = 1_000;

/// How much of a sentence left the sender: by the ends of its words where text-to-speech tells them, else by its length.
/// One that text-to-speech had not finished is measured against the length it would have had.
fn heard_sentence(reply: &Reply, index: usize, leg: &Leg) -> HeardSentence {
    let said = &reply.sentences[index];
    let (done, words) = (said.done, &said.words);
    let rate = u64::from(leg.rate().hz());
    let fraction = match leg.playout.progress(segment(reply.turn, index as u32)) {
        Some(progress) if !words.is_empty() => {
            let played = Duration::from_micros(progress.played as u64 * 1_000_000 / rate);
            // A provider that loses count at the end of a sentence does not take its last words away.
            let all = done && progress.played >= progress.known;
            let last = words.iter().take_while(|word| word.until <= played).last();
            let letters = said.text.chars().count().max(1) as f32;
            let written = |word: &WordTime| said.spoken.written_at(word.characters as usize) as f32;
            // Half a letter more: what is to the left of a word's end is in, whatever the division makes of it.
            let fraction = if all { 1.0 } else { last.map_or(0.0, |word| (written(word) + 0.5) / letters) };
            return HeardSentence { index: index as u32, fraction };
        }
        Some(progress) => {
            let expected = (reply.expected(index).as_millis() * u128::from(rate) / 1_000) as usize;
            let whole = if done { progress.known } else { progress.known.max(expected) };
            progress.played as f32 / whole.max(1) as f32
        }
        // Forgotten by now: it has left completely. Never begun: nothing of it was heard.
        None if done => 1.0,
        None => 0.0,
    };
    // Heard is what was said; the context holds what was written.
    let fraction = reply.sentences[index].spoken.written_share(fraction);
    HeardSentence { index: index as u32, fraction }
}
