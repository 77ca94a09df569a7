//! One event for one pressed key, however many ways it was reported: telephone event, SIP INFO, tones.
//! Does not know what a key means.

use std::time::{Duration, Instant};

use crate::Digit;

/// Who reports a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DigitSource {
    /// A telephone event in RTP (RFC 4733).
    Event,
    /// A SIP INFO request.
    Info,
    /// Two tones in the audio.
    InBand,
}

/// Reports of the same key from different sources within this time are one press.
pub const SAME_PRESS: Duration = Duration::from_millis(250);

/// Presses remembered: more than anybody types in [`SAME_PRESS`].
const RECENT: usize = 8;

/// Makes one press of several reports.
#[derive(Clone, Debug, Default)]
pub struct DigitMerger {
    /// The last presses, oldest first once it is full.
    recent: [Option<Press>; RECENT],
    next: usize,
    merged: u64,
}

#[derive(Clone, Debug)]
struct Press {
    digit: Digit,
    began: Instant,
    /// Bit per source that has reported it.
    sources: u8,
}

impl DigitMerger {
    /// Nothing was pressed yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A report. The key, if it is a new press; the same key from the same source is always one.
    pub fn offer(&mut self, now: Instant, source: DigitSource, digit: Digit) -> Option<Digit> {
        let digit = Digit(digit.0.to_ascii_uppercase());
        let bit = 1 << source as u8;
        let (newer, older) = self.recent.split_at_mut(self.next);
        let same = older.iter_mut().chain(newer).flatten().find(|press| {
            let recent = now.saturating_duration_since(press.began) <= SAME_PRESS;
            recent && press.digit == digit && press.sources & bit == 0
        });
        if let Some(press) = same {
            press.sources |= bit;
            self.merged += 1;
            return None;
        }
        self.recent[self.next] = Some(Press { digit, began: now, sources: bit });
        self.next = (self.next + 1) % RECENT;
        Some(digit)
    }

    /// Reports that belonged to a press another source had reported.
    pub const fn merged(&self) -> u64 {
        self.merged
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;
    use DigitSource::{Event, InBand, Info};

    /// What is pressed by reports of milliseconds, source and key.
    fn pressed(reports: &[(u64, DigitSource, char)]) -> String {
        let (start, mut merger) = (Instant::now(), DigitMerger::new());
        let at = |ms| start + Duration::from_millis(ms);
        let keys = reports.iter().filter_map(|(ms, source, key)| merger.offer(at(*ms), *source, Digit(*key)));
        keys.map(|Digit(key)| key).collect()
    }

    #[test]
    fn three_reports_of_one_press_are_one_key() {
        assert_eq!(pressed(&[(0, Event, '5'), (40, InBand, '5'), (180, Info, '5')]), "5");
        assert_eq!(pressed(&[(0, Info, 'a'), (20, Event, 'A')]), "A");
    }

    #[test]
    fn the_same_key_twice_is_two_presses_even_quickly_and_reported_twice() {
        let twice =
            [(0, Event, '5'), (40, InBand, '5'), (100, Event, '5'), (140, InBand, '5'), (141, Info, '5')];
        assert_eq!(pressed(&twice), "55");
        assert_eq!(pressed(&[(0, Event, '5'), (100, Event, '5')]), "55");
    }

    #[test]
    fn what_comes_later_or_is_another_key_is_another_press() {
        assert_eq!(pressed(&[(0, Event, '5'), (251, InBand, '5')]), "55");
        assert_eq!(pressed(&[(0, Event, '5'), (10, InBand, '6'), (20, Info, '5')]), "56");
    }

    #[test]
    fn fast_typing_beyond_what_is_remembered_stays_in_order() {
        let reports: Vec<(u64, DigitSource, char)> =
            (0..100).map(|n| (n * 30, Event, char::from(b'0' + (n % 10) as u8))).collect();
        assert_eq!(pressed(&reports).len(), 100);
    }
}
