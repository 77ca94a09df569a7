//! Keys that we press for the other side: to get through a menu, or for an extension.
//! Knows their order and pace. Does not know what they are for.

use media::Digit;
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// How our keys are told to the other side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeysBy {
    /// As telephone events (RFC 4733) where they were agreed on, else as tones.
    #[default]
    Events,
    /// As two tones each, whatever was agreed on: for what listens behind the other side.
    Tones,
    /// In INFO requests, as `application/dtmf-relay`.
    Info,
}

/// How long a key is held.
pub(crate) const HELD: Duration = Duration::from_millis(100);
/// From the beginning of a key to that of the next.
const EVERY: Duration = Duration::from_millis(200);
/// What a comma among the keys means, as on every dialler.
const COMMA: Duration = Duration::from_millis(500);
/// Keys waiting to be pressed. More than any menu asks for; further ones are left out.
const MOST: usize = 128;

/// The keys that wait.
#[derive(Debug, Default)]
pub(crate) struct Pressing {
    waiting: VecDeque<(char, KeysBy)>,
    next: Option<Instant>,
}

impl Pressing {
    /// Puts keys behind those that wait, and says how many were taken: `0` to `9`, `*`, `#`, `A` to `D`. A comma waits
    /// half a second; anything else, such as the blanks in a number, is left out.
    pub(crate) fn queue(&mut self, keys: &str, by: KeysBy) -> u32 {
        let known = keys.chars().map(|key| key.to_ascii_uppercase());
        let known = known.filter(|key| matches!(key, '0'..='9' | '*' | '#' | 'A'..='D' | ','));
        let room = MOST - self.waiting.len();
        let before = self.count();
        self.waiting.extend(known.take(room).map(|key| (key, by)));
        self.count() - before
    }

    /// The key to be pressed now, if there is one.
    pub(crate) fn due(&mut self, now: Instant) -> Option<(Digit, KeysBy)> {
        while self.next.is_none_or(|next| now >= next) {
            let Some((key, by)) = self.waiting.pop_front() else {
                self.next = None;
                return None;
            };
            let pause = if key == ',' { COMMA } else { EVERY };
            self.next = Some(self.next.unwrap_or(now).max(now) + pause);
            if key != ',' {
                return Some((Digit(key), by));
            }
        }
        None
    }

    fn count(&self) -> u32 {
        self.waiting.iter().filter(|(key, _)| *key != ',').count() as u32
    }
}

/// The body of the INFO that tells a key.
pub(crate) fn info_body(digit: Digit) -> String {
    format!("Signal={}\r\nDuration={}\r\n", digit.0, HELD.as_millis())
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
mod tests {
    use super::*;

    #[test]
    fn keys_follow_each_other_at_a_pace_that_every_menu_understands() {
        let start = Instant::now();
        let mut pressing = Pressing::default();
        assert_eq!(pressing.queue("1 2,,d-", KeysBy::Info), 3);
        let mut pressed = Vec::new();
        for ms in (0..3_000).step_by(20) {
            let key = pressing.due(start + Duration::from_millis(ms));
            pressed.extend(key.map(|(Digit(key), by)| (ms, key, by)));
        }
        assert_eq!(pressed, [(0, '1', KeysBy::Info), (200, '2', KeysBy::Info), (1_400, 'D', KeysBy::Info)]);
        assert_eq!(info_body(Digit('#')), "Signal=#\r\nDuration=100\r\n");
    }

    #[test]
    fn no_more_keys_wait_than_a_menu_asks_for() {
        let mut pressing = Pressing::default();
        assert_eq!(pressing.queue(&"7".repeat(1_000), KeysBy::Events), 128);
        assert_eq!(pressing.queue("7", KeysBy::Events), 0);
    }
}
