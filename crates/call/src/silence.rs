//! The silence ladder: what the caller hears while the agent owes an answer and has none yet, and when both sides are
//! silent for too long. Knows times and prepared sentences. Does not know why the answer is late.

use crate::{
    Event, Output,
    cdr::Cause,
    config::Clip,
    machine::{Call, Phase},
    speech::segment,
    transfer::Passing,
};
use conversation::{Holder, Interruptible, Loop, TurnId};
use media::{Played, SegmentId};
use std::time::{Duration, Instant};

/// A sentence that text-to-speech has been given is expected to sound within this time.
const VOICE_EXPECTED: Duration = Duration::from_millis(400);
/// Segments of prepared sounds carry this bit: they are no sentences of the reply.
const FILLER: u64 = 1 << 31;

/// Where a call stands on the ladder.
#[derive(Default)]
pub(crate) struct Ladder {
    /// Since when nothing of ours has been on the wire.
    wire_silent_since: Option<Instant>,
    /// The turn whose rungs are counted, and how many it has climbed.
    turn: TurnId,
    rung: u32,
    /// Sounds played in this call: no two in a row are the same, no two have the same number.
    acknowledged: usize,
    moments: usize,
    count: u64,
    playing: bool,
    /// The last sound of either side.
    last_sound: Option<Instant>,
    warned: bool,
    /// Turns in a row that the language model has failed.
    pub(crate) failures: u32,
}

/// Whether a segment is a prepared sound and no part of the reply.
pub(crate) const fn is_filler(segment: SegmentId) -> bool {
    segment.0 & FILLER != 0
}

impl Ladder {
    /// Takes note of our own 20 ms.
    pub(crate) fn note_played(&mut self, now: Instant, played: &Played) {
        if played.voiced {
            self.last_sound = Some(now);
        }
        self.playing &= played.segment.is_some_and(is_filler);
        self.wire_silent_since = match played.segment {
            Some(_) => None,
            None => self.wire_silent_since.or(Some(now)),
        };
    }

    /// Takes note of a frame with the caller's speech.
    pub(crate) fn note_heard(&mut self, now: Instant) {
        self.last_sound = Some(now);
    }
}

impl Call {
    /// Climbs the ladder where the caller has waited long enough.
    pub(crate) fn watch_silence(&mut self, now: Instant, out: &mut Vec<Output>) {
        if let Some(due) = self.next_rung()
            && now >= due
        {
            self.climb(out);
        }
        self.warn_of_the_end(now, out);
        if self.excused_until.is_some_and(|until| now < until) {
            self.ladder.last_sound = Some(now);
        }
        let since = *self.ladder.last_sound.get_or_insert(now);
        let quiet = now.saturating_duration_since(since) >= self.config.patience.silence;
        if quiet && matches!(self.phase, Phase::Talking) && !self.is_on_hold() {
            self.say_goodbye(now, Cause::MaxSilence, out);
        }
    }

    /// When the next sound is due, if the agent owes one.
    fn next_rung(&self) -> Option<Instant> {
        if self.transfer.as_ref().is_some_and(Passing::is_asked) {
            return None;
        }
        let reply = self.reply.as_ref().filter(|reply| !reply.audio_done() && !reply.failed)?;
        self.leg.as_ref().filter(|leg| leg.may_send() && leg.playout.is_empty())?;
        // Whoever speaks is not to be spoken over by a mere sound.
        let silent = self.ladder.wire_silent_since.filter(|_| !self.hearing.speech)?;
        let owed_since = reply.marks.map_or(silent, |marks| marks.ended.max(silent));
        let longest = owed_since + self.config.patience.still;
        let first = self.ladder.turn != reply.turn || self.ladder.rung == 0;
        let marks = reply.marks.filter(|_| first && !reply.first_packet);
        let Some(marks) = marks else { return Some(longest) };
        let budget = marks.arrived + self.config.patience.filler;
        let voice = marks.first_sentence.map(|at| at + VOICE_EXPECTED);
        Some(voice.map_or(budget, |voice| voice.max(budget)).min(longest))
    }

    fn climb(&mut self, out: &mut Vec<Output>) {
        let Some(reply) = &self.reply else { return };
        let (turn, spoken) = (reply.turn, reply.first_packet || !reply.tools.is_empty());
        let ladder = &mut self.ladder;
        if std::mem::replace(&mut ladder.turn, turn) != turn {
            ladder.rung = 0;
            ladder.moments = 0;
        }
        let clips = &self.setup.clips;
        let (clip, rung) = if ladder.rung == 0 && !spoken && !clips.acknowledge.is_empty() {
            ladder.acknowledged += 1;
            (&clips.acknowledge[ladder.acknowledged % clips.acknowledge.len()], "acknowledge")
        } else if clips.one_moment.is_empty() {
            return;
        } else {
            ladder.moments += 1;
            (&clips.one_moment[(ladder.moments - 1) % clips.one_moment.len()], "one_moment")
        };
        ladder.rung += 1;
        let Some(leg) = &mut self.leg else { return };
        let audio = clip.audio(leg.rate());
        if audio.is_empty() {
            return;
        }
        ladder.count += 1;
        ladder.playing = true;
        let filler = SegmentId(segment(turn, 0).0 | FILLER | ladder.count);
        let event = Event::Filler { turn, rung: rung.to_owned(), text: clip.text.clone() };
        leg.playout.push(filler, &audio);
        leg.playout.finish(filler);
        out.push(Output::Event(event));
    }

    /// The answer has come: what was to bridge the wait fades out while it fades in.
    pub(crate) fn make_way(&mut self) {
        if std::mem::take(&mut self.ladder.playing)
            && let Some(leg) = &mut self.leg
        {
            leg.playout.cross_fade();
        }
    }

    /// The longest call is nearly over: told once, when nobody speaks.
    fn warn_of_the_end(&mut self, now: Instant, out: &mut Vec<Output>) {
        let warning = self.config.patience.warning;
        let early = self.longest().saturating_sub(warning);
        let due = !warning.is_zero() && !early.is_zero() && now >= self.started + early;
        let free = self.reply.is_none() && self.floor.holder() == Holder::Nobody;
        if self.ladder.warned || !due || !free || !matches!(self.phase, Phase::Talking) {
            return;
        }
        self.ladder.warned = true;
        let clip = self.setup.clips.ending_soon.clone();
        self.say_prepared(now, &clip, out);
    }

    /// A prepared sentence as a turn of its own.
    pub(crate) fn say_prepared(&mut self, now: Instant, clip: &Clip, out: &mut Vec<Output>) {
        self.turn = self.turn.next();
        self.begin_reply(now, Interruptible::Any);
        self.say_clip(now, clip, out);
        self.close_text(out);
    }

    /// Somebody turns in circles. Says whether the call ends for it.
    pub(crate) fn break_loop(&mut self, now: Instant, found: Loop, out: &mut Vec<Output>) -> bool {
        let count = match found {
            Loop::Agent(count) => count,
            Loop::Machine => 0,
        };
        out.push(Output::Event(Event::Loop { who: found.name().to_owned(), count }));
        match found {
            Loop::Machine => self.say_goodbye(now, Cause::BotLoop, out),
            Loop::Agent(count) if count >= self.config.patience.circles => {
                self.say_goodbye(now, Cause::RepeatLoop, out);
            }
            // Once more, with the menu, where there is one.
            Loop::Agent(_) => {
                self.menu.wanted = self.setup.agent.menu().is_some();
                return false;
            }
        }
        true
    }
}
