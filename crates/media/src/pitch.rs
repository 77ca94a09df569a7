//! Whether a sound has the pitch of a voice, as a vowel and a hum have, or none, as a cough, a hiss and traffic have.
//! Does not know words, nor whether the sound is speech.

use crate::{Frame, SampleRate, dot::dot};

/// The signal is looked at with so many samples a second: a pitch needs no more.
const HZ: usize = 4_000;
/// One frame of that.
const FRAME_SAMPLES: usize = HZ / 50;
/// A voice repeats itself between 60 and 400 times a second.
const SHORTEST: usize = HZ / 400;
const LONGEST: usize = HZ / 60;

/// How much of a frame must repeat itself. White noise of this length reaches 0.35 by chance, a vowel over a telephone
/// line 0.7.
const VOICED: f32 = 0.5;

/// Follows one stream. A pitch is longer than a frame is sure to show, so the frame before it is remembered.
#[derive(Clone, Debug)]
pub struct Pitch {
    samples: [f32; LONGEST + FRAME_SAMPLES],
}

impl Default for Pitch {
    fn default() -> Self {
        Self { samples: [0.0; LONGEST + FRAME_SAMPLES] }
    }
}

impl Pitch {
    /// The next frame. Costs some hundred operations; [`Pitch::is_voiced`] costs five thousand.
    pub fn push(&mut self, frame: &Frame) {
        self.samples.copy_within(FRAME_SAMPLES.., 0);
        match frame.rate() {
            SampleRate::Hz8000 => self.add::<{ SampleRate::Hz8000.frame_samples() / FRAME_SAMPLES }>(frame),
            SampleRate::Hz16000 => self.add::<{ SampleRate::Hz16000.frame_samples() / FRAME_SAMPLES }>(frame),
        }
    }

    /// The length of a piece is known here: the compiler then takes many at a time.
    fn add<const EACH: usize>(&mut self, frame: &Frame) {
        let (pieces, _) = frame.samples().as_chunks::<EACH>();
        for (slot, piece) in self.samples[LONGEST..].iter_mut().zip(pieces) {
            *slot = piece.iter().map(|sample| i32::from(*sample)).sum::<i32>() as f32 / EACH as f32;
        }
    }

    /// How much of the last frame repeats itself at the best pitch, 0 to 1.
    pub fn strength(&self) -> f32 {
        let now = &self.samples[LONGEST..];
        let energy = dot(now, now);
        if energy < FRAME_SAMPLES as f32 {
            return 0.0;
        }
        let at = |lag: usize| {
            let before = &self.samples[LONGEST - lag..][..FRAME_SAMPLES];
            dot(now, before) / (energy * dot(before, before)).sqrt().max(1.0)
        };
        (SHORTEST..=LONGEST).map(at).fold(0.0, f32::max).min(1.0)
    }

    /// Whether the last frame has the pitch of a voice.
    pub fn is_voiced(&self) -> bool {
        self.strength() >= VOICED
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tone;

    /// The share of frames with a pitch.
    fn voiced(rate: SampleRate, samples: &[i16]) -> f32 {
        let mut pitch = Pitch::default();
        let frames = samples.chunks(rate.frame_samples());
        let voiced = frames.map(|chunk| {
            pitch.push(&Frame::from_samples(rate, chunk));
            pitch.is_voiced()
        });
        let voiced: Vec<bool> = voiced.collect();
        voiced.iter().filter(|voiced| **voiced).count() as f32 / voiced.len() as f32
    }

    #[test]
    fn a_voice_has_a_pitch_and_a_cough_has_none() {
        for rate in [SampleRate::Hz8000, SampleRate::Hz16000] {
            let second = rate.hz() as usize;
            let speech = voiced(rate, &tone::speech(rate.hz(), 3, -20.0, second));
            assert!(speech > 0.6, "{speech} of speech at {} Hz", rate.hz());
            let cough = voiced(rate, &tone::noise(5, -14.0, second));
            assert!(cough < 0.05, "{cough} of a cough at {} Hz", rate.hz());
            assert!(voiced(rate, &vec![0; second]) < f32::EPSILON);
        }
    }
}
