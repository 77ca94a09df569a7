//! Made-up audio: sines, noise, DTMF pairs and something a voice detector takes for speech.
//! Does not know where it goes: tests, the simulation and in-band DTMF use it.

use std::f32::consts::TAU;

use crate::Digit;

/// A small seeded generator of chance (splitmix64). Good enough for noise and simulations, never for secrets.
#[derive(Clone, Debug)]
pub struct Chance {
    state: u64,
}

impl Chance {
    /// The same seed gives the same numbers.
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 bits.
    pub const fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A whole number from 0 to `limit` - 1; 0 if the limit is 0.
    pub const fn below(&mut self, limit: u64) -> u64 {
        if limit == 0 { 0 } else { self.bits() % limit }
    }

    /// A number from 0 up to, not including, 1.
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 24) as f32
    }

    /// True once in a while: with this probability.
    pub fn happens(&mut self, probability: f32) -> bool {
        self.unit() < probability
    }
}

/// `count` samples of a sine whose root-mean-square level is `dbfs` (at most -3 before it clips).
pub fn sine(hz: u32, frequency: f32, dbfs: f32, count: usize) -> Vec<i16> {
    let amplitude = amplitude(dbfs) * std::f32::consts::SQRT_2;
    let step = f64::from(frequency) / f64::from(hz.max(1));
    (0..count)
        .map(|n| {
            let phase = (n as f64 * step).fract() as f32;
            to_sample(amplitude * (TAU * phase).sin())
        })
        .collect()
}

/// `count` samples of white noise of this root-mean-square level.
pub fn noise(seed: u64, dbfs: f32, count: usize) -> Vec<i16> {
    let mut chance = Chance::new(seed);
    // A uniform distribution of half width w has the root mean square w / sqrt(3).
    let half_width = amplitude(dbfs) * 3f32.sqrt();
    (0..count).map(|_| to_sample((chance.unit() * 2.0 - 1.0) * half_width)).collect()
}

/// `count` samples of a key's two tones (ITU-T Q.23), each at `dbfs`. `offset` continues an earlier stretch.
pub fn dtmf(hz: u32, digit: Digit, dbfs: f32, offset: usize, count: usize) -> Vec<i16> {
    let (low, high) = digit.frequencies();
    let amplitude = amplitude(dbfs) * std::f32::consts::SQRT_2;
    let at = |frequency: f32, n: usize| {
        let turns = n as f64 * f64::from(frequency) / f64::from(hz.max(1));
        (TAU * turns.fract() as f32).sin()
    };
    (offset..offset.saturating_add(count))
        .map(|n| to_sample(amplitude * (at(low, n) + at(high, n))))
        .collect()
}

/// `count` samples that a voice detector takes for speech: a wavering buzz through moving formants, in
/// syllables of about a quarter second. `dbfs` is roughly the level inside a syllable.
pub fn speech(hz: u32, seed: u64, dbfs: f32, count: usize) -> Vec<i16> {
    let mut voice = Voice::new(hz, seed);
    let mut samples: Vec<f32> = (0..count).map(|_| voice.next()).collect();
    let energy: f64 = samples.iter().map(|s| f64::from(*s).powi(2)).sum();
    let rms = (energy / count.max(1) as f64).sqrt() as f32;
    let gain = if rms > 0.0 { amplitude(dbfs) / rms } else { 0.0 };
    for sample in &mut samples {
        *sample *= gain;
    }
    samples.into_iter().map(to_sample).collect()
}

/// A glottal pulse train through three formant resonators.
struct Voice {
    chance: Chance,
    hz: f32,
    phase: f32,
    pitch: f32,
    syllable_left: u32,
    syllable_length: u32,
    formants: [Formant; 3],
}

#[derive(Clone, Copy, Default)]
struct Formant {
    gain: f32,
    feedback: [f32; 2],
    past: [f32; 2],
}

impl Formant {
    fn tune(&mut self, hz: f32, frequency: f32, bandwidth: f32) {
        let radius = (-std::f32::consts::PI * bandwidth / hz).exp();
        let angle = TAU * frequency / hz;
        self.feedback = [2.0 * radius * angle.cos(), -radius * radius];
        self.gain = 1.0 - radius;
    }

    fn pass(&mut self, input: f32) -> f32 {
        let output = self.gain * input + self.feedback[0] * self.past[0] + self.feedback[1] * self.past[1];
        self.past = [output, self.past[0]];
        output
    }
}

/// First three formants of five vowels, in Hz. No open "a": detectors want more of it than a buzz.
const VOWELS: [[f32; 3]; 5] = [
    [500.0, 1500.0, 2500.0],
    [270.0, 2290.0, 3010.0],
    [530.0, 1840.0, 2480.0],
    [570.0, 840.0, 2410.0],
    [300.0, 870.0, 2240.0],
];

impl Voice {
    fn new(hz: u32, seed: u64) -> Self {
        Self {
            chance: Chance::new(seed),
            hz: hz.max(8_000) as f32,
            phase: 0.0,
            pitch: 120.0,
            syllable_left: 0,
            syllable_length: 1,
            formants: [Formant::default(); 3],
        }
    }

    fn next(&mut self) -> f32 {
        if self.syllable_left == 0 {
            self.begin_syllable();
        }
        self.syllable_left -= 1;
        let through = 1.0 - self.syllable_left as f32 / self.syllable_length as f32;
        // Pitch falls through the syllable as in speech; a constant one sounds, and measures, like a machine.
        self.phase += self.pitch * (1.1 - 0.2 * through) / self.hz;
        let mut glottis = 0.02 * (self.chance.unit() - 0.5);
        if self.phase >= 1.0 {
            self.phase -= 1.0;
            glottis += 1.0;
        }
        // Speech starts sharply and fades.
        let open = (through * 12.0).min((1.0 - through) * 3.0).clamp(0.05, 1.0);
        self.formants.iter_mut().map(|formant| formant.pass(glottis)).sum::<f32>() * open
    }

    fn begin_syllable(&mut self) {
        self.syllable_length = (self.hz * (0.18 + 0.12 * self.chance.unit())) as u32;
        self.syllable_left = self.syllable_length;
        self.pitch = 100.0 + 40.0 * self.chance.unit();
        let vowel = VOWELS[self.chance.below(5) as usize];
        for (formant, frequency) in self.formants.iter_mut().zip(vowel) {
            formant.tune(self.hz, frequency, 60.0 + frequency / 20.0);
        }
    }
}

/// Root-mean-square amplitude of a level, full scale being 32,768.
fn amplitude(dbfs: f32) -> f32 {
    32_768.0 * 10f32.powf(dbfs / 20.0)
}

fn to_sample(value: f32) -> i16 {
    // A float cast saturates: too loud is clipped, never wrapped.
    value.round() as i16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Frame, SampleRate};

    #[test]
    fn levels_are_what_was_asked_for() {
        let level = |samples: &[i16]| Frame::from_samples(SampleRate::Hz8000, samples).level_dbfs();
        assert!((level(&sine(8_000, 400.0, -20.0, 160)) + 20.0).abs() < 0.1);
        assert!((level(&noise(1, -30.0, 160)) + 30.0).abs() < 1.0);
    }

    #[test]
    fn the_same_seed_sounds_the_same() {
        assert_eq!(speech(8_000, 4, -20.0, 4_000), speech(8_000, 4, -20.0, 4_000));
        assert_ne!(speech(8_000, 4, -20.0, 4_000), speech(8_000, 5, -20.0, 4_000));
    }
}
