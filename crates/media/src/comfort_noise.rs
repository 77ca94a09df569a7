//! Comfort noise: what a pause sounds like, as two ends describe it to each other (RFC 3389).
//! Does not know when a pause is: the jitter buffer and the playout say.

use crate::tone::Chance;

/// Reflection coefficients used and sent at most; more would describe what nobody hears in noise.
const ORDER: usize = 8;

/// Louder than this it is no comfort: a description that says so is a mistake or a prank.
const LOUDEST_DBOV: u8 = 40;

/// The level byte's range, in -dBov.
const QUIETEST_DBOV: u8 = 127;

/// Noise of one level and colour. Two of the same description and seed give the same samples.
#[derive(Clone)]
pub struct ComfortNoise {
    /// Of the noise before it is coloured, in samples.
    amplitude: f32,
    /// Whether there is no colour to give: most noise is, and the filter is most of its cost.
    white: bool,
    reflection: [f32; ORDER],
    /// The lattice filter's backward errors.
    state: [f32; ORDER + 1],
    chance: Chance,
}

impl ComfortNoise {
    /// White noise at this level, in dB relative to full scale; -40 at most.
    pub fn white(dbfs: f32, seed: u64) -> Self {
        Self::new(-dbfs, [0.0; ORDER], seed)
    }

    /// The noise a payload describes; `None` if it is empty. Without coefficients the noise is white.
    pub fn parse(payload: &[u8], seed: u64) -> Option<Self> {
        let (level, coefficients) = payload.split_first()?;
        let mut reflection = [0.0; ORDER];
        for (to, byte) in reflection.iter_mut().zip(coefficients) {
            // RFC 3389 section 3.2; kept from the edge of stability.
            *to = ((f32::from(*byte) - 127.0) * 258.0 / 32_768.0).clamp(-0.98, 0.98);
        }
        Some(Self::new(f32::from(level & 0x7f), reflection, seed))
    }

    fn new(level: f32, reflection: [f32; ORDER], seed: u64) -> Self {
        let level = level.clamp(f32::from(LOUDEST_DBOV), f32::from(QUIETEST_DBOV));
        let rms = 32_768.0 * 10f32.powf(-level / 20.0);
        // The filter makes noise louder by what its coefficients predict; evenly spread noise of half width w has
        // the root mean square w / sqrt(3).
        let gain: f32 = reflection.iter().map(|k| 1.0 - k * k).product();
        let amplitude = rms * gain.sqrt() * 3f32.sqrt();
        let white = reflection.iter().all(|k| *k == 0.0);
        Self { amplitude, white, reflection, state: [0.0; ORDER + 1], chance: Chance::new(seed) }
    }

    /// Adds the next samples of the noise to what is there.
    pub fn add_to(&mut self, samples: &mut [i16]) {
        for sample in samples {
            let noise = self.next_sample().round() as i32;
            *sample = (i32::from(*sample) + noise).clamp(-32_768, 32_767) as i16;
        }
    }

    /// An all-pole lattice, from the last stage to the first.
    fn next_sample(&mut self) -> f32 {
        let mut forward = (self.chance.unit() * 2.0 - 1.0) * self.amplitude;
        if self.white {
            return forward;
        }
        for stage in (0..ORDER).rev() {
            forward -= self.reflection[stage] * self.state[stage];
            self.state[stage + 1] = self.state[stage] + self.reflection[stage] * forward;
        }
        self.state[0] = forward;
        forward
    }
}

impl std::fmt::Debug for ComfortNoise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ComfortNoise(amplitude {:.1})", self.amplitude)
    }
}

/// The payload that describes a stretch of background: its level and the colour of its spectrum.
pub fn describe(samples: &[i16]) -> Vec<u8> {
    let samples: Vec<f64> = samples.iter().copied().map(f64::from).collect();
    let correlation: Vec<f64> = (0..=ORDER)
        .map(|lag| samples.iter().zip(samples.iter().skip(lag)).map(|(a, b)| a * b).sum())
        .collect();
    let rms = (correlation[0] / samples.len().max(1) as f64).sqrt() / 32_768.0;
    let level = if rms > 0.0 { (-20.0 * rms.log10()).round() } else { f64::from(QUIETEST_DBOV) };
    let mut payload = vec![level.clamp(0.0, f64::from(QUIETEST_DBOV)) as u8];
    // A float cast of what is not a number gives zero; the coefficients are within ±1 by construction.
    payload.extend(reflection(&correlation).map(|k| (k * 127.0 + 127.0).round().clamp(0.0, 254.0) as u8));
    payload
}

/// Reflection coefficients from correlations: the recursion of Levinson and Durbin.
fn reflection(correlation: &[f64]) -> [f64; ORDER] {
    let mut coefficients = [0.0; ORDER];
    let mut predictor = [0.0; ORDER + 1];
    predictor[0] = 1.0;
    // A little white noise keeps the recursion stable for tones and silence.
    let mut error = correlation[0] * 1.001 + 1.0;
    for stage in 1..=ORDER {
        let sum: f64 = (0..stage).map(|n| predictor[n] * correlation[stage - n]).sum();
        let k = (-sum / error).clamp(-0.98, 0.98);
        coefficients[stage - 1] = k;
        let before = predictor;
        for n in 1..=stage {
            predictor[n] = before[n] + k * before[stage - n];
        }
        error *= 1.0 - k * k;
    }
    coefficients
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Frame, SampleRate, tone};

    fn level(samples: &[i16]) -> f32 {
        let frames =
            samples.chunks_exact(160).map(|c| Frame::from_samples(SampleRate::Hz8000, c).level_dbfs());
        frames.sum::<f32>() / (samples.len() / 160) as f32
    }

    /// How alike neighbouring samples are: 1 for low sounds, 0 for white noise.
    fn colour(samples: &[i16]) -> f64 {
        let product = |lag: usize| -> f64 {
            samples.iter().zip(&samples[lag..]).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        product(1) / product(0)
    }

    #[test]
    fn noise_sounds_as_it_was_described() {
        let white = tone::noise(3, -50.0, 16_000);
        let dark: Vec<i16> =
            tone::noise(4, -45.0, 16_001).windows(2).map(|w| (w[0] / 2) + (w[1] / 2)).collect();
        for original in [white, dark] {
            let mut made = vec![0; 16_000];
            ComfortNoise::parse(&describe(&original), 9).expect("not empty").add_to(&mut made);
            assert!((level(&made) - level(&original)).abs() < 1.5, "{} {}", level(&made), level(&original));
            assert!((colour(&made) - colour(&original)).abs() < 0.1, "{}", colour(&made));
        }
    }

    #[test]
    fn a_description_cannot_shout_or_whistle_for_ever() {
        let mut chance = Chance::new(1);
        for _ in 0..200 {
            let payload: Vec<u8> = (0..=chance.below(30)).map(|_| chance.bits() as u8).collect();
            let mut made = vec![0; 16_000];
            ComfortNoise::parse(&payload, 1).expect("not empty").add_to(&mut made);
            assert!(level(&made) < -34.0, "{payload:?}: {}", level(&made));
        }
        assert!(ComfortNoise::parse(&[], 1).is_none());
        assert_eq!(describe(&[])[0], 127);
        assert_eq!(describe(&[0; 160])[0], 127);
    }
}
