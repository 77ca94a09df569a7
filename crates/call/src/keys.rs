//! The caller's keys, however they are reported: telephone events (RFC 4733), SIP INFO, tones in the audio.
//! Knows what one press is. Does not know what a key means.

use media::{Digit, DigitMerger, DigitSource, Frame, InBandDigits, SampleRate};
use std::time::Instant;

/// The keys of one leg.
pub(crate) struct Keys {
    merger: DigitMerger,
    /// Listens for tones where no telephone-event was agreed on: a peer that has events need not send tones.
    in_band: Option<InBandDigits>,
}

impl Keys {
    pub(crate) fn new(telephone_event: Option<u8>, rate: SampleRate) -> Self {
        let mut keys = Self { merger: DigitMerger::new(), in_band: None };
        keys.renegotiate(telephone_event, rate);
        keys
    }

    /// What the latest offer and answer agreed on; `rate` is that of the frames.
    pub(crate) fn renegotiate(&mut self, telephone_event: Option<u8>, rate: SampleRate) {
        if telephone_event.is_some() {
            self.in_band = None;
        } else {
            self.in_band.get_or_insert_with(|| InBandDigits::new(rate));
        }
    }

    /// A telephone event; the key if it is a new press.
    pub(crate) fn event(&mut self, now: Instant, digit: Digit) -> Option<Digit> {
        self.merger.offer(now, DigitSource::Event, digit)
    }

    /// An INFO request; the key if it is one and a new press.
    pub(crate) fn info(&mut self, now: Instant, content_type: &str, body: &str) -> Option<Digit> {
        info_digit(content_type, body).and_then(|digit| self.merger.offer(now, DigitSource::Info, digit))
    }

    /// The caller's next 20 ms; the key whose tones are in them if it is a new press.
    pub(crate) fn hear(&mut self, now: Instant, frame: &Frame) -> Option<Digit> {
        let digit = self.in_band.as_mut()?.push(frame)?;
        self.merger.offer(now, DigitSource::InBand, digit)
    }
}

/// The key in the body of an INFO. `application/dtmf-relay` says `Signal=5` and a duration, one line each;
/// `application/dtmf` is the key alone. Neither has a standard; both write 10 and 11 for star and hash as events do.
fn info_digit(content_type: &str, body: &str) -> Option<Digit> {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    let signal = if kind.eq_ignore_ascii_case("application/dtmf-relay") {
        body.lines().find_map(|line| {
            let (name, value) = line.split_once('=')?;
            name.trim().eq_ignore_ascii_case("signal").then_some(value)
        })?
    } else if kind.eq_ignore_ascii_case("application/dtmf") {
        body
    } else {
        return None;
    };
    let digit = match signal.trim() {
        "10" => '*',
        "11" => '#',
        key => {
            let mut characters = key.chars();
            characters.next().filter(|_| characters.next().is_none())?.to_ascii_uppercase()
        }
    };
    matches!(digit, '0'..='9' | '*' | '#' | 'A'..='D').then_some(Digit(digit))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn an_info_tells_its_key_in_either_form_and_nothing_else_does() {
        let relay = |body| info_digit("application/dtmf-relay", body).map(|Digit(key)| key);
        assert_eq!(relay("Signal=5\r\nDuration=160\r\n"), Some('5'));
        assert_eq!(relay("duration = 160\nSIGNAL = * \n"), Some('*'));
        assert_eq!(relay("Signal=11"), Some('#'));
        assert_eq!(relay("Signal=16"), None, "a hook flash is no key");
        assert_eq!(relay("Duration=160"), None);
        let plain = |body| info_digit("Application/DTMF; charset=utf-8", body).map(|Digit(key)| key);
        assert_eq!((plain("d\r\n"), plain("55"), plain("")), (Some('D'), None, None));
        assert_eq!(info_digit("application/media_control+xml", "5"), None);
    }

    #[test]
    fn a_press_that_is_reported_twice_is_one_key() {
        let now = Instant::now();
        let mut keys = Keys::new(Some(101), SampleRate::Hz8000);
        assert_eq!(keys.event(now, Digit('7')), Some(Digit('7')));
        let at = |ms| now + Duration::from_millis(ms);
        assert_eq!(keys.info(at(100), "application/dtmf", "7"), None);
        assert_eq!(keys.info(at(600), "application/dtmf", "7"), Some(Digit('7')));
    }

    #[test]
    fn tones_are_keys_only_where_no_events_were_agreed_on() {
        let pressed = |telephone_event| {
            let (now, mut keys) = (Instant::now(), Keys::new(telephone_event, SampleRate::Hz8000));
            let samples: Vec<i16> = (0..800)
                .map(|n| {
                    let angle = |hz: f32| std::f32::consts::TAU * hz * n as f32 / 8000.0;
                    ((angle(770.0).sin() + angle(1336.0).sin()) * 8000.0) as i16
                })
                .collect();
            let frames = samples.chunks(160).map(|chunk| Frame::from_samples(SampleRate::Hz8000, chunk));
            frames.filter_map(|frame| keys.hear(now, &frame)).map(|Digit(key)| key).collect::<String>()
        };
        assert_eq!(pressed(None), "5");
        assert_eq!(pressed(Some(101)), "");
    }
}
