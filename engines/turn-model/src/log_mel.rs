//! Eight seconds of sound as the picture that speech models look at: 80 mel bands, a column each 10 ms.
//! The measures are those of Whisper (Radford and others, 2022, section 2.2); the bands are Slaney's, as librosa has them.

use realfft::{RealFftPlanner, RealToComplex, num_complex::Complex};
use std::{f64::consts::PI, sync::Arc};

/// Samples per second.
pub const HZ: usize = 16_000;
/// Looked at: 8 s.
pub const SAMPLES: usize = 8 * HZ;
/// Mel bands, rows.
pub const BANDS: usize = 80;
/// Columns, one each 10 ms.
pub const COLUMNS: usize = SAMPLES / HOP;

const HOP: usize = HZ / 100;
/// 25 ms.
const WINDOW: usize = 400;
const BINS: usize = WINDOW / 2 + 1;

/// Below it a band counts as silent, in power.
const QUIETEST: f32 = 1e-10;
/// What is this much quieter than the loudest is cut off, in powers of ten.
const RANGE: f32 = 8.0;

/// Makes the picture. Keeps its memory: half a megabyte.
pub struct LogMel {
    transform: Arc<dyn RealToComplex<f32>>,
    window: [f32; WINDOW],
    bands: Vec<Band>,
    padded: Vec<f32>,
    spectrum: Vec<Complex<f32>>,
    scratch: Vec<Complex<f32>>,
}

/// A triangle over some bins of the spectrum.
struct Band {
    first: usize,
    weights: Vec<f32>,
}

impl Default for LogMel {
    fn default() -> Self {
        let transform = RealFftPlanner::new().plan_fft_forward(WINDOW);
        let hann = |n: usize| 0.5 - 0.5 * (2.0 * PI * n as f64 / WINDOW as f64).cos();
        Self {
            window: std::array::from_fn(|n| hann(n) as f32),
            bands: bands(),
            padded: Vec::with_capacity(SAMPLES + WINDOW),
            spectrum: transform.make_output_vec(),
            scratch: transform.make_scratch_vec(),
            transform,
        }
    }
}

impl LogMel {
    /// The picture of the last 8 s at 16 kHz, row by row: [`BANDS`] times [`COLUMNS`] values around -1 to 1. Before a
    /// shorter sound there was silence.
    pub fn of(&mut self, samples: &[i16]) -> Vec<f32> {
        self.prepare(&samples[samples.len().saturating_sub(SAMPLES)..]);
        let mut picture = vec![0.0; BANDS * COLUMNS];
        let mut loudest = f32::MIN;
        for column in 0..COLUMNS {
            let power = self.power(column * HOP);
            for (row, band) in self.bands.iter().enumerate() {
                let sum: f32 = band.weights.iter().zip(&power[band.first..]).map(|(w, p)| w * p).sum();
                let value = sum.max(QUIETEST).log10();
                loudest = loudest.max(value);
                picture[row * COLUMNS + column] = value;
            }
        }
        for value in &mut picture {
            *value = (value.max(loudest - RANGE) + 4.0) / 4.0;
        }
        picture
    }

    /// Mean 0 and variance 1 over all 8 s, and half a window more at both ends, mirrored.
    fn prepare(&mut self, samples: &[i16]) {
        let all = SAMPLES as f64;
        let mean = samples.iter().map(|sample| f64::from(*sample)).sum::<f64>() / all;
        let squares = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>() / all;
        let scale = 32_768.0;
        let deviation = ((squares - mean * mean) / (scale * scale) + 1e-7).sqrt();
        let normal = |sample: f64| ((sample - mean) / scale / deviation) as f32;
        let edge = WINDOW / 2;
        self.padded.clear();
        self.padded.resize(edge + SAMPLES - samples.len(), normal(0.0));
        self.padded.extend(samples.iter().map(|sample| normal(f64::from(*sample))));
        for n in 0..edge {
            self.padded[n] = self.padded[2 * edge - n];
        }
        for n in 0..edge {
            self.padded.push(self.padded[edge + SAMPLES - 2 - n]);
        }
    }

    fn power(&mut self, start: usize) -> [f32; BINS] {
        let sound = &self.padded[start..][..WINDOW];
        let mut windowed: [f32; WINDOW] = std::array::from_fn(|n| sound[n] * self.window[n]);
        // Fails for wrong lengths only, and all of them are constants.
        let _ = self.transform.process_with_scratch(&mut windowed, &mut self.spectrum, &mut self.scratch);
        std::array::from_fn(|bin| self.spectrum[bin].norm_sqr())
    }
}

/// Triangles of equal area whose corners are equally far apart in mel, from 0 to 8 kHz.
fn bands() -> Vec<Band> {
    let top = mel(HZ as f64 / 2.0);
    let corners: Vec<f64> = (0..BANDS + 2).map(|n| hertz(top * n as f64 / (BANDS + 1) as f64)).collect();
    let triangle = |band: usize| {
        let [low, middle, high] = [corners[band], corners[band + 1], corners[band + 2]];
        let weight = |bin: usize| {
            let at = bin as f64 * HZ as f64 / WINDOW as f64;
            let slope = ((at - low) / (middle - low)).min((high - at) / (high - middle));
            (slope.max(0.0) * 2.0 / (high - low)) as f32
        };
        let weights: Vec<f32> = (0..BINS).map(weight).collect();
        let first = weights.iter().position(|weight| *weight > 0.0).unwrap_or(0);
        let end = weights.iter().rposition(|weight| *weight > 0.0).map_or(first, |last| last + 1);
        Band { first, weights: weights[first..end].to_vec() }
    };
    (0..BANDS).map(triangle).collect()
}

/// Where Slaney's scale turns from linear to logarithmic.
const TURN: f64 = 1_000.0;
const TURN_MEL: f64 = 15.0;

fn step() -> f64 {
    6.4_f64.ln() / 27.0
}

fn mel(hertz: f64) -> f64 {
    if hertz < TURN { hertz * 3.0 / 200.0 } else { TURN_MEL + (hertz / TURN).ln() / step() }
}

fn hertz(mel: f64) -> f64 {
    if mel < TURN_MEL { mel * 200.0 / 3.0 } else { TURN * ((mel - TURN_MEL) * step()).exp() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A rising tone that is heard for the last 3 s.
    fn chirp() -> Vec<i16> {
        (0..3 * HZ)
            .map(|n| {
                let t = n as f64 / HZ as f64;
                (8_000.0 * (2.0 * PI * (200.0 * t + 400.0 * t * t)).sin()) as i16
            })
            .collect()
    }

    #[test]
    fn a_picture_is_that_of_the_reference() {
        let picture = LogMel::default().of(&chirp());
        // From numpy, with the same definition in double precision.
        for (row, column, expected) in REFERENCE {
            let found = picture[row * COLUMNS + column];
            assert!((found - expected).abs() < 2e-3, "band {row} at {column}: {found}, not {expected}");
        }
    }

    #[test]
    fn a_tone_is_seen_in_its_band_while_it_sounds() {
        let picture = LogMel::default().of(&chirp());
        let loudest = |column: usize| {
            let at = |row: &usize| picture[row * COLUMNS + column];
            (0..BANDS).max_by(|a, b| at(a).total_cmp(&at(b))).unwrap_or(0)
        };
        let heard = [520, 600, 700, 780].map(loudest);
        assert!(heard.is_sorted() && heard[0] < heard[3], "{heard:?}");
    }

    #[test]
    fn what_is_older_than_eight_seconds_is_not_looked_at() {
        let mut old = vec![9_000; 2 * HZ];
        old.extend((0..SAMPLES).map(|n| (n % 700) as i16));
        let new = old[2 * HZ..].to_vec();
        let mut maker = LogMel::default();
        assert_eq!(maker.of(&old), maker.of(&new));
        assert!(maker.of(&[]).iter().all(|value| value.is_finite()));
    }

    const REFERENCE: [(usize, usize, f32); 14] = [
        (0, 0, -0.21541),
        (0, 499, 0.71505),
        (0, 500, 1.35143),
        (5, 505, 1.74160),
        (20, 510, -0.21541),
        (9, 600, -0.21541),
        (30, 600, 0.25095),
        (33, 650, 1.39581),
        (50, 700, -0.21541),
        (55, 720, -0.21541),
        (60, 780, -0.21541),
        (79, 799, 0.01564),
        (40, 799, 0.40524),
        (59, 799, 0.32938),
    ];
}
