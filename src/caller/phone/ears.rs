//! When the agent was heard and when not: the caller's stopwatch.
//! Knows instants. What a packet sounds like is told to it.

use super::Measures;
use crate::caller::script::AgentSound;
use std::time::{Duration, Instant};

/// The agent has fallen silent when no voiced packet came for so long: pauses between words are shorter.
const SILENT_AFTER: Duration = Duration::from_millis(400);

/// What has been heard of the agent.
#[derive(Default)]
pub(super) struct Ears {
    voiced_since: Option<Instant>,
    last_voiced: Option<Instant>,
    last_packet: Option<Instant>,
    last_sequence: Option<u16>,
    /// Whether the agent has been heard since our last step.
    heard: bool,
    own_step: Option<Instant>,
    /// The end of our speech that still waits for an answer.
    answer_to: Option<Instant>,
    /// The start of our speech over the agent's voice.
    talked_over: Option<Instant>,
    pub(super) last_answer: Option<Duration>,
    pub(super) last_silence: Option<Duration>,
}

impl Ears {
    /// The call was answered.
    pub(super) fn open(&mut self, now: Instant) {
        self.own_step = Some(now);
    }

    /// The next packet begins a new series: what is between it and the last one was agreed on.
    pub(super) fn pause(&mut self) {
        self.last_packet = None;
    }

    /// A packet of audio.
    pub(super) fn packet(&mut self, at: Instant, sequence: u16, measures: &mut Measures) {
        measures.received += 1;
        if let Some(last) = self.last_packet.replace(at) {
            measures.gaps_us.push(at.saturating_duration_since(last).as_micros() as u32);
        }
        if let Some(last) = self.last_sequence.replace(sequence) {
            let missing = sequence.wrapping_sub(last).wrapping_sub(1);
            // What looks like thousands is one that was overtaken.
            measures.missing += u64::from(if missing < 1_000 { missing } else { 0 });
        }
    }

    /// A packet with the agent's voice; true when the agent begins to speak with it.
    pub(super) fn voice(&mut self, at: Instant, invited: Instant, measures: &mut Measures) -> bool {
        self.last_voiced = Some(at);
        measures.voiced += 1;
        if let Some(ended) = self.answer_to.take() {
            let gap = at.saturating_duration_since(ended);
            measures.answers.push(gap);
            measures.asked.push(ended.saturating_duration_since(invited));
            self.last_answer = Some(gap);
        }
        let begins = self.voiced_since.is_none();
        self.voiced_since.get_or_insert(at);
        self.heard = true;
        measures.greeting.get_or_insert(at.saturating_duration_since(invited));
        begins
    }

    /// Looks at the time; true when the agent has fallen silent.
    pub(super) fn notice_silence(&mut self, now: Instant, measures: &mut Measures) -> bool {
        let Some(last) = self.last_voiced.filter(|last| now.saturating_duration_since(*last) >= SILENT_AFTER)
        else {
            return false;
        };
        if let Some(onset) = self.talked_over.take() {
            let took = last.saturating_duration_since(onset);
            measures.silences.push(took);
            self.last_silence = Some(took);
        }
        self.voiced_since.take().is_some()
    }

    /// A step of our own begins, with our voice or without.
    pub(super) fn own_step(&mut self, now: Instant, speaks: bool, measures: &mut Measures) {
        self.heard = false;
        self.own_step = Some(now);
        self.forget_answer(measures);
        (self.last_answer, self.last_silence) = (None, None);
        self.talked_over = (self.voiced_since.is_some() && speaks).then_some(now);
    }

    /// Our speech ended with the packet of this time: from it the answer is timed.
    pub(super) fn own_end(&mut self, at: Instant) {
        self.answer_to = Some(at);
        // What was heard until now was still the speech that we interrupted.
        self.heard = false;
    }

    /// Nobody waits for the answer to our last words any more.
    pub(super) fn forget_answer(&mut self, measures: &mut Measures) {
        measures.unanswered += u32::from(self.answer_to.take().is_some());
    }

    /// What the agent sounds like, on a clock that began at `zero`.
    pub(super) fn sound(&self, zero: Instant) -> AgentSound {
        let since = |at: Option<Instant>| at.unwrap_or(zero).saturating_duration_since(zero);
        match (self.voiced_since, self.heard) {
            (Some(from), _) => AgentSound::Speaking(since(Some(from))),
            (None, true) => AgentSound::Spoken(since(self.last_voiced)),
            (None, false) => AgentSound::Awaited(since(self.own_step.max(self.last_voiced))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Duration = media::FRAME;

    #[test]
    fn an_answer_is_timed_from_our_last_packet_and_silence_from_our_first_over_the_agents_voice() {
        let (mut ears, mut measures) = (Ears::default(), Measures::default());
        let start = Instant::now();
        let at = |n: u32| start + FRAME * n;
        ears.open(start);
        assert!(ears.voice(at(10), start, &mut measures));
        assert!(!ears.voice(at(11), start, &mut measures));
        ears.own_step(at(12), true, &mut measures);
        ears.voice(at(20), start, &mut measures);
        ears.own_end(at(25));
        assert!(!ears.notice_silence(at(39), &mut measures), "a pause between words is shorter");
        assert!(ears.notice_silence(at(40), &mut measures));
        ears.voice(at(75), start, &mut measures);
        assert_eq!((measures.silences, measures.answers), (vec![FRAME * 8], vec![FRAME * 50]));
        assert_eq!((measures.asked, measures.greeting), (vec![FRAME * 25], Some(FRAME * 10)));
    }

    #[test]
    fn words_that_get_no_answer_are_counted() {
        let (mut ears, mut measures) = (Ears::default(), Measures::default());
        let start = Instant::now();
        ears.own_end(start);
        ears.own_step(start + FRAME * 100, true, &mut measures);
        ears.own_step(start + FRAME * 200, true, &mut measures);
        assert_eq!(measures.unanswered, 1);
    }

    #[test]
    fn losses_are_counted_across_the_wrap_and_an_overtaken_packet_is_none() {
        let (mut ears, mut measures) = (Ears::default(), Measures::default());
        let start = Instant::now();
        for (n, sequence) in [65_534, 65_535, 2, 1].into_iter().enumerate() {
            ears.packet(start + FRAME * n as u32, sequence, &mut measures);
        }
        assert_eq!((measures.received, measures.missing), (4, 2));
        ears.pause();
        ears.packet(start + FRAME * 100, 3, &mut measures);
        assert_eq!(measures.gaps_us, [20_000; 3], "a hold is not a gap");
    }
}
