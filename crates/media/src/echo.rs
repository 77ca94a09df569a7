//! Whether what comes in is our own voice coming back from the far end: a loudspeaker, a cheap hybrid, a conference.
//! Does not remove it. Does not know who holds the floor.

use crate::{Frame, SampleRate, dot::dot, tail::Tail};

/// Both directions are compared with so many samples a second. Below 1 kHz is where the strength of a voice lies.
const HZ: usize = 2_000;
const FRAME_SAMPLES: usize = HZ / 50;
/// An echo comes back within half a second, our jitter buffer included.
const LONGEST: usize = HZ / 2;
/// Compared at a time: 100 ms. Shorter stretches of two voices resemble each other by chance.
const STRETCH: usize = 5 * FRAME_SAMPLES;
/// How alike they must be. Two voices often reach 0.5 by chance over all delays, an echo through G.711 0.8.
const ALIKE: f32 = 0.6;
/// And by how much the delay may differ from frame to frame: 1 ms.
const STEADY: usize = 2;
/// Frames in a row that must be alike at one delay. Two voices are alike by chance now and then, for as long as the
/// stretches overlap.
const IN_A_ROW: u32 = 8;
/// An echo this much louder than what we sent is none, in amplitude.
const LOUDEST: f32 = 2.0;

/// Compares the two directions of one call.
#[derive(Clone, Debug)]
pub struct EchoGuard {
    ours: Tail<f32>,
    theirs: Tail<f32>,
    /// The delay at which both have been alike, and for how many frames in a row.
    found: Option<(usize, u32)>,
}

impl Default for EchoGuard {
    fn default() -> Self {
        let past = |kept| Tail::new(kept, FRAME_SAMPLES);
        Self { ours: past(LONGEST + STRETCH), theirs: past(STRETCH), found: None }
    }
}

impl EchoGuard {
    /// The frame that was sent this time.
    pub fn sent(&mut self, frame: &Frame) {
        lower(&mut self.ours, frame);
    }

    /// The frame that came in this time.
    pub fn received(&mut self, frame: &Frame) {
        lower(&mut self.theirs, frame);
    }

    /// How much the last 100 ms from the far end are like something that we sent so much earlier, 0 to 1; the best within
    /// these delays, and where. All delays cost 200,000 multiplications.
    fn likeness(&self, delays: std::ops::RangeInclusive<usize>) -> (f32, usize) {
        let (all_ours, last_theirs) = (self.ours.samples(), self.theirs.samples());
        let theirs = dot(last_theirs, last_theirs);
        if theirs < STRETCH as f32 {
            return (0.0, 0);
        }
        let ours_at = |delay: usize| &all_ours[LONGEST - delay..][..STRETCH];
        let square = |sample: f32| f64::from(sample) * f64::from(sample);
        // The stretch of the next delay has one sample more at its beginning and one less at its end. Summed up with twice
        // the digits: a quiet stretch follows on a loud one.
        let mut sent: f64 = ours_at(*delays.start()).iter().map(|sample| square(*sample)).sum();
        let mut best = (0.0, 0);
        for delay in delays {
            let ours = ours_at(delay);
            let energy = sent as f32;
            if energy > STRETCH as f32 && theirs < energy * LOUDEST * LOUDEST {
                let likeness = dot(ours, last_theirs).abs() / (energy * theirs).sqrt();
                if likeness > best.0 {
                    best = (likeness, delay);
                }
            }
            if let (Some(before), Some(last)) = (LONGEST.checked_sub(delay + 1), ours.last()) {
                sent += square(all_ours[before]) - square(*last);
            }
        }
        best
    }

    /// Whether the last frame from the far end was our own voice: like what we sent, at one delay for some frames. A voice
    /// is periodic and so like itself at several delays: the one found is kept while it holds, even if another is better.
    /// Ask only while both sides sound.
    pub fn is_echo(&mut self) -> bool {
        let held = self.found.and_then(|(delay, frames)| {
            let near = delay.saturating_sub(STEADY)..=(delay + STEADY).min(LONGEST);
            let (likeness, _) = self.likeness(near);
            (likeness >= ALIKE).then_some((delay, frames + 1))
        });
        self.found = held.or_else(|| {
            let (likeness, delay) = self.likeness(0..=LONGEST);
            (likeness >= ALIKE).then_some((delay, 1))
        });
        self.found.is_some_and(|(_, frames)| frames >= IN_A_ROW)
    }
}

/// A frame of one direction as it is compared.
fn lower(past: &mut Tail<f32>, frame: &Frame) {
    match frame.rate() {
        SampleRate::Hz8000 => add::<{ SampleRate::Hz8000.frame_samples() / FRAME_SAMPLES }>(past, frame),
        SampleRate::Hz16000 => add::<{ SampleRate::Hz16000.frame_samples() / FRAME_SAMPLES }>(past, frame),
    }
}

/// The length of a piece is known here: the compiler then takes many at a time.
fn add<const EACH: usize>(past: &mut Tail<f32>, frame: &Frame) {
    let (pieces, _) = frame.samples().as_chunks::<EACH>();
    past.add(
        pieces
            .iter()
            .map(|piece| piece.iter().map(|sample| i32::from(*sample)).sum::<i32>() as f32 / EACH as f32),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tone;

    const RATE: SampleRate = SampleRate::Hz8000;

    /// How many frames of a second are taken for an echo, when we send `ours` and get `theirs`.
    fn echoes(ours: &[i16], theirs: &[i16]) -> usize {
        let mut guard = EchoGuard::default();
        let frames = ours.chunks(160).zip(theirs.chunks(160));
        let judged = frames.map(|(ours, theirs)| {
            guard.sent(&Frame::from_samples(RATE, ours));
            guard.received(&Frame::from_samples(RATE, theirs));
            guard.is_echo()
        });
        judged.filter(|echo| *echo).count()
    }

    #[test]
    fn our_own_voice_is_known_again_and_a_caller_is_not_taken_for_it() {
        let ours = tone::speech(8_000, 1, -18.0, 8_000);
        for delay in [0, 250, 1_100, 3_200] {
            // 15 dB lower, with a little noise of the line.
            let echo = ours.iter().zip(tone::noise(9, -50.0, 8_000)).map(|(s, n)| s / 6 + n);
            let echo: Vec<i16> = std::iter::repeat_n(0, delay).chain(echo).take(8_000).collect();
            let (known, silent) = (echoes(&ours, &echo), delay / 160);
            assert!(known + silent + 14 >= 50, "{known} of 50 frames at {delay}");
        }
        for seed in 2..12 {
            let taken = echoes(&ours, &tone::speech(8_000, seed, -22.0, 8_000));
            assert!(taken <= 2, "{taken} frames of caller {seed} were taken for an echo");
        }
    }
}
