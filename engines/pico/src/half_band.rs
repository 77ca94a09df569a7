//! From 16 kHz to 8 kHz: a low-pass filter that keeps the telephone band, and every second sample.
//! Knows samples only.

use std::f32::consts::PI;

/// Taps on each side of the middle one: 1.9 ms of delay at 16 kHz.
const SIDE: usize = 31;
const TAPS: usize = 2 * SIDE + 1;

/// The filter with its memory.
pub struct HalfBand {
    taps: [f32; TAPS],
    /// The last samples, twice in a row so that any `TAPS` of them lie side by side.
    recent: [f32; 2 * TAPS],
    at: usize,
    odd: bool,
}

impl Default for HalfBand {
    fn default() -> Self {
        Self::new()
    }
}

impl HalfBand {
    /// A filter that has heard silence.
    pub fn new() -> Self {
        let mut taps: [f32; TAPS] = std::array::from_fn(|i| {
            let x = i as f32 - SIDE as f32;
            let sinc = if x == 0.0 { 0.5 } else { (PI * x / 2.0).sin() / (PI * x) };
            let phase = 2.0 * PI * (i as f32 + 0.5) / TAPS as f32;
            // Blackman: what would alias is 70 dB down.
            sinc * (0.42 - 0.5 * phase.cos() + 0.08 * (2.0 * phase).cos())
        });
        let sum: f32 = taps.iter().sum();
        taps.iter_mut().for_each(|tap| *tap /= sum);
        Self { taps, recent: [0.0; 2 * TAPS], at: 0, odd: false }
    }

    /// Filters `samples` and appends half as many.
    pub fn push(&mut self, samples: &[i16], out: &mut Vec<i16>) {
        for &sample in samples {
            self.recent[self.at] = f32::from(sample);
            self.recent[self.at + TAPS] = f32::from(sample);
            self.at = (self.at + 1) % TAPS;
            self.odd = !self.odd;
            if self.odd {
                let window = &self.recent[self.at..self.at + TAPS];
                let sum: f32 = window.iter().zip(&self.taps).map(|(a, b)| a * b).sum();
                out.push(sum.round() as i16);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level_after(hz: f32) -> f32 {
        let tone: Vec<i16> =
            (0..16_000).map(|i| (10_000.0 * (2.0 * PI * hz * i as f32 / 16_000.0).sin()) as i16).collect();
        let mut out = Vec::new();
        HalfBand::new().push(&tone, &mut out);
        let energy: f32 = out[100..].iter().map(|s| f32::from(*s).powi(2)).sum();
        10.0 * (energy / (out.len() - 100) as f32 / (10_000f32.powi(2) / 2.0)).max(1e-12).log10()
    }

    #[test]
    fn the_telephone_band_passes_and_what_would_alias_does_not() {
        for hz in [300.0, 1_000.0, 3_400.0] {
            assert!(level_after(hz).abs() < 0.5, "{hz} Hz: {} dB", level_after(hz));
        }
        for hz in [4_600.0, 6_000.0, 7_500.0] {
            assert!(level_after(hz) < -50.0, "{hz} Hz: {} dB", level_after(hz));
        }
    }

    #[test]
    fn full_scale_does_not_wrap() {
        let mut out = Vec::new();
        HalfBand::new().push(&[i16::MAX, i16::MIN].map(|s| [s; 200]).concat(), &mut out);
        assert_eq!(out.len(), 200);
        assert!(out[60..90].iter().all(|s| *s > 20_000) && out[160..].iter().all(|s| *s < -20_000));
    }
}
