//! What a caller says and presses, frame by frame.
//! Knows samples and keys. When it is time to speak is the script's business.

use super::VOICED_DBFS;
use crate::caller::script::Keypad;
use media::{Frame, SampleRate};
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// A frame this far below the loudest one of its utterance carries no word: it is neither said nor waited for.
const TAIL_DB: f32 = 30.0;
/// How long a key is held.
pub(super) const KEY: Duration = Duration::from_millis(120);
/// Between two keys.
const KEY_GAP: Duration = Duration::from_millis(120);

/// Words and keys that still have to go out.
pub(super) struct Mouth {
    rate: SampleRate,
    samples: VecDeque<i16>,
    keys: VecDeque<char>,
    by: Keypad,
    next_key: Option<Instant>,
    /// When the last packet of the utterance under way left.
    spoke_until: Option<Instant>,
    speaking: bool,
}

impl Mouth {
    pub(super) fn new(rate: SampleRate) -> Self {
        Self {
            rate,
            samples: VecDeque::new(),
            keys: VecDeque::new(),
            by: Keypad::Event,
            next_key: None,
            spoke_until: None,
            speaking: false,
        }
    }

    pub(super) fn say(&mut self, samples: &[i16]) {
        self.samples.extend(voiced(self.rate, samples));
    }

    pub(super) fn press(&mut self, now: Instant, keys: &str, by: Keypad) {
        self.keys = keys.chars().collect();
        self.by = by;
        self.next_key = Some(now);
    }

    pub(super) fn is_busy(&self) -> bool {
        !self.samples.is_empty() || !self.keys.is_empty() || self.next_key.is_some()
    }

    /// The key whose time has come.
    pub(super) fn key(&mut self, now: Instant) -> Option<(char, Keypad)> {
        self.next_key.filter(|at| *at <= now)?;
        let key = self.keys.pop_front();
        self.next_key = key.map(|_| now + KEY + KEY_GAP);
        Some((key?, self.by))
    }

    /// The next frame, and whether a talk spurt begins with it.
    pub(super) fn frame(&mut self, now: Instant) -> (Frame, bool) {
        let count = self.rate.frame_samples().min(self.samples.len());
        let samples: Vec<i16> = self.samples.drain(..count).collect();
        let frame = Frame::from_samples(self.rate, &samples);
        if frame.level_dbfs() > VOICED_DBFS {
            self.spoke_until = Some(now);
        }
        let busy = self.is_busy();
        let starts = busy && !std::mem::replace(&mut self.speaking, busy);
        (frame, starts)
    }

    /// When the last packet with our voice left, once the utterance is over; each utterance says it once.
    pub(super) fn ended(&mut self) -> Option<Instant> {
        if !self.samples.is_empty() {
            return None;
        }
        self.speaking = false;
        self.spoke_until.take()
    }
}

/// Speech without the silence around it: an interruption is timed from the first voiced packet; an answer from the last
/// one, and it may come at once.
fn voiced(rate: SampleRate, samples: &[i16]) -> &[i16] {
    let level = |frame: &[i16]| Frame::from_samples(rate, frame).level_dbfs();
    let levels: Vec<f32> = samples.chunks(rate.frame_samples()).map(level).collect();
    let loudest = levels.iter().copied().fold(f32::MIN, f32::max);
    let loud = |level: &f32| *level > VOICED_DBFS.max(loudest - TAIL_DB);
    let first = levels.iter().position(loud).unwrap_or(0);
    let end = levels.iter().rposition(loud).map_or(0, |last| (last + 1) * rate.frame_samples());
    let end = end.min(samples.len());
    samples.get(first * rate.frame_samples()..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_utterance_ends_with_its_last_voiced_packet_and_says_so_once() {
        let rate = SampleRate::Hz16000;
        let silence = vec![0_i16; rate.frame_samples() * 3];
        let tone = |dbfs| media::tone::sine(rate.hz(), 400.0, dbfs, rate.frame_samples() * 2);
        let mut mouth = Mouth::new(rate);
        mouth.say(&[silence.clone(), tone(-10.0), tone(-42.0), silence].concat());
        let start = Instant::now();
        let at = |n: u32| start + media::FRAME * n;
        assert!(mouth.frame(at(0)).1, "the spurt begins with its first packet");
        assert_eq!(mouth.ended(), None);
        assert!(!mouth.frame(at(1)).1);
        assert_eq!(mouth.ended(), Some(at(1)));
        assert_eq!((mouth.ended(), mouth.is_busy()), (None, false));
    }

    #[test]
    fn keys_follow_each_other_with_a_pause() {
        let mut mouth = Mouth::new(SampleRate::Hz8000);
        let start = Instant::now();
        mouth.press(start, "1#", Keypad::Info);
        assert_eq!(mouth.key(start), Some(('1', Keypad::Info)));
        assert_eq!(mouth.key(start + KEY), None);
        assert_eq!(mouth.key(start + KEY + KEY_GAP), Some(('#', Keypad::Info)));
        assert!(mouth.is_busy());
        assert_eq!(mouth.key(start + (KEY + KEY_GAP) * 2), None);
        assert!(!mouth.is_busy());
    }
}
