//! Changes the sample rate of a stream with a polyphase FIR filter, 2 ms of delay.
//! Does not know where streams begin: one resampler serves one stream.

use crate::dot::dot;
use std::f64::consts::PI;

/// Converts one stream of 16-bit samples from one rate to another.
///
/// A windowed-sinc low-pass at the lower of both Nyquist frequencies, Kaiser window, 4 ms long: flat to within
/// 0.5 dB up to 85 % of the band, images and aliases about 80 dB down beyond the transition of ±630 Hz.
pub struct Resampler {
    /// Filter coefficients, one row per phase, oldest sample first.
    phases: Vec<f32>,
    taps: usize,
    up: usize,
    down: usize,
    /// The last `taps` - 1 inputs, then what was pushed and not consumed.
    history: Vec<f32>,
    /// Phase of the next output, in 1/`up` of an input sample, relative to the start of `history`.
    position: usize,
}

/// Length of the filter. Its half is the delay; what is saved here costs transition width.
const SPAN_MS: f64 = 4.0;

/// Stop-band attenuation the window is made for.
const ATTENUATION_DB: f64 = 80.0;

/// More phases than any ratio of usual audio rates needs (44,100 to 16,000 has 160); odd ratios are rounded.
const MAX_PHASES: usize = 640;

/// Rates outside of this are nonsense from a file or vendor and are taken as the nearest.
const RATES: (u32, u32) = (4_000, 192_000);

impl Resampler {
    /// A resampler between two rates in Hz. Equal rates pass samples through.
    pub fn new(from_hz: u32, to_hz: u32) -> Self {
        let (from, to) = (from_hz.clamp(RATES.0, RATES.1), to_hz.clamp(RATES.0, RATES.1));
        let (up, down) = ratio(from as usize, to as usize);
        if up == down {
            return Self { phases: Vec::new(), taps: 0, up, down, history: Vec::new(), position: 0 };
        }
        let taps = (SPAN_MS * f64::from(from) / 1_000.0).ceil() as usize;
        let phases = design(f64::from(from), f64::from(to), up, taps);
        Self { phases, taps, up, down, history: vec![0.0; taps - 1], position: 0 }
    }

    /// Converts the next samples and appends what is ready.
    pub fn push(&mut self, samples: &[i16], out: &mut Vec<i16>) {
        if self.taps == 0 {
            out.extend_from_slice(samples);
            return;
        }
        self.history.extend(samples.iter().map(|sample| f32::from(*sample)));
        out.reserve(samples.len() * self.up / self.down + 1);
        loop {
            let (start, phase) = (self.position / self.up, self.position % self.up);
            let Some(window) = self.history.get(start..start + self.taps) else { break };
            let row = &self.phases[phase * self.taps..(phase + 1) * self.taps];
            // A float cast saturates: overshoot is clipped, never wrapped.
            out.push(dot(window, row).round() as i16);
            self.position += self.down;
        }
        let consumed = (self.position / self.up).min(self.history.len());
        self.history.drain(..consumed);
        self.position -= consumed * self.up;
    }

    /// Ends the stream: appends what the filter's delay holds back and starts anew.
    pub fn finish(&mut self, out: &mut Vec<i16>) {
        let tail = vec![0; self.taps / 2];
        self.push(&tail, out);
        self.history.clear();
        self.history.resize(self.taps.saturating_sub(1), 0.0);
        self.position = 0;
    }
}

/// Interpolation and decimation factors in lowest terms, or nearly if they would be huge.
fn ratio(from: usize, to: usize) -> (usize, usize) {
    let divisor = greatest_common_divisor(from, to);
    let (up, down) = (to / divisor, from / divisor);
    if up <= MAX_PHASES { (up, down) } else { (MAX_PHASES, (MAX_PHASES * from + to / 2) / to) }
}

const fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// All phases of the filter, each normalised so that a constant stays exactly constant.
fn design(from: f64, to: f64, up: usize, taps: usize) -> Vec<f32> {
    let beta = 0.1102 * (ATTENUATION_DB - 8.7);
    let cutoff = from.min(to) / 2.0 / from; // cycles per input sample
    let centre = taps as f64 / 2.0;
    let mut phases = Vec::with_capacity(up * taps);
    for phase in 0..up {
        let fraction = phase as f64 / up as f64;
        let row: Vec<f64> = (0..taps)
            .map(|tap| {
                let t = tap as f64 + 1.0 - fraction - centre;
                2.0 * cutoff * sinc(2.0 * cutoff * t) * kaiser(t / centre, beta)
            })
            .collect();
        let sum: f64 = row.iter().sum();
        phases.extend(row.iter().map(|value| (value / sum) as f32));
    }
    phases
}

fn sinc(x: f64) -> f64 {
    if x.abs() < 1e-9 { 1.0 } else { (PI * x).sin() / (PI * x) }
}

/// The Kaiser window at -1 to 1.
fn kaiser(x: f64, beta: f64) -> f64 {
    let inside = 1.0 - x * x;
    if inside <= 0.0 { 0.0 } else { bessel_i0(beta * inside.sqrt()) / bessel_i0(beta) }
}

/// Modified Bessel function of the first kind, order zero, by its power series.
fn bessel_i0(x: f64) -> f64 {
    let quarter = x * x / 4.0;
    let (mut sum, mut term) = (1.0, 1.0);
    for k in 1..40 {
        term *= quarter / f64::from(k * k);
        sum += term;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tone;

    const PAIRS: [(u32, u32); 14] = [
        (24_000, 8_000),
        (24_000, 16_000),
        (16_000, 8_000),
        (8_000, 16_000),
        (22_050, 8_000),
        (22_050, 16_000),
        (44_100, 8_000),
        (44_100, 16_000),
        (48_000, 8_000),
        (48_000, 16_000),
        (8_000, 24_000),
        (8_000, 48_000),
        (16_000, 48_000),
        (16_000, 24_000),
    ];

    fn convert(from: u32, to: u32, samples: &[i16]) -> Vec<i16> {
        let mut out = Vec::new();
        let mut resampler = Resampler::new(from, to);
        for chunk in samples.chunks(331) {
            resampler.push(chunk, &mut out);
        }
        out
    }

    /// Root-mean-square level in dBFS of the settled middle.
    fn level(samples: &[i16]) -> f64 {
        let middle = &samples[samples.len() / 4..samples.len() * 3 / 4];
        let energy: f64 = middle.iter().map(|s| f64::from(*s).powi(2)).sum();
        20.0 * ((energy / middle.len() as f64).sqrt() / 32_768.0).max(1e-9).log10()
    }

    #[test]
    fn a_tone_in_the_band_keeps_its_level() {
        for (from, to) in PAIRS {
            for frequency in [300.0, 1_000.0, 3_400.0] {
                let out = convert(from, to, &tone::sine(from, frequency, -10.0, from as usize));
                let got = level(&out);
                assert!((got + 10.0).abs() < 0.5, "{from} to {to}: {frequency} Hz at {got:.2} dBFS");
            }
        }
    }

    #[test]
    fn a_tone_above_the_band_is_gone() {
        for (from, to) in PAIRS.into_iter().filter(|(from, to)| from > to) {
            let frequency = to as f32 / 2.0 + 700.0;
            if frequency * 2.0 < from as f32 {
                let out = convert(from, to, &tone::sine(from, frequency, -10.0, from as usize));
                let got = level(&out);
                // 16-bit rounding alone is -101 dBFS.
                assert!(got < -80.0, "{from} to {to}: {frequency} Hz leaks at {got:.1} dBFS");
            }
        }
    }

    #[test]
    fn the_image_of_an_upsampled_tone_is_gone() {
        let out = convert(8_000, 16_000, &tone::sine(8_000, 1_000.0, -10.0, 8_000));
        // Take the wanted tone away by its own projection; what is left is the image at 7 kHz and rounding.
        let settled = &out[4_000..12_000];
        let (mut s, mut c) = (0.0, 0.0);
        for (n, sample) in settled.iter().enumerate() {
            let angle = 2.0 * PI * 7_000.0 * n as f64 / 16_000.0;
            s += f64::from(*sample) * angle.sin();
            c += f64::from(*sample) * angle.cos();
        }
        let amplitude = 2.0 * s.hypot(c) / settled.len() as f64 / 32_768.0;
        assert!(20.0 * amplitude.log10() < -80.0);
    }

    #[test]
    fn the_delay_is_two_milliseconds() {
        for (from, to) in PAIRS {
            let mut impulse = vec![0i16; from as usize / 10];
            impulse[from as usize / 20] = 20_000;
            let out = convert(from, to, &impulse);
            let peak = (0..out.len()).max_by_key(|n| out[*n]).unwrap_or(0);
            let delay = (peak as f64 / f64::from(to) - 0.05) * 1_000.0;
            assert!((1.8..=2.2).contains(&delay), "{from} to {to}: {delay:.2} ms");
        }
    }

    #[test]
    fn the_number_of_samples_follows_the_ratio_however_they_are_cut() {
        for (from, to) in PAIRS {
            let samples = tone::noise(3, -20.0, from as usize);
            let whole = convert(from, to, &samples);
            let mut in_pieces = Vec::new();
            let mut resampler = Resampler::new(from, to);
            for chunk in samples.chunks(7) {
                resampler.push(chunk, &mut in_pieces);
            }
            assert_eq!(whole, in_pieces);
            assert_eq!(whole.len(), to as usize, "{from} to {to}");
        }
    }

    #[test]
    fn the_tail_comes_out_at_the_end() {
        let mut resampler = Resampler::new(24_000, 8_000);
        let mut out = Vec::new();
        resampler.push(&[10_000; 480], &mut out);
        resampler.finish(&mut out);
        assert_eq!(out.len(), 176);
        assert!(out[165] > 9_000, "the last input sample is out");
    }

    #[test]
    fn silence_and_equal_rates_pass_unchanged() {
        assert_eq!(convert(8_000, 8_000, &[1, 2, 3]), [1, 2, 3]);
        assert!(convert(44_100, 8_000, &[0; 4_410]).iter().all(|sample| *sample == 0));
    }

    #[test]
    fn odd_rates_are_served_nearly() {
        for from in [0, 7_919, 11_025, 32_000, 96_000, u32::MAX] {
            let mut resampler = Resampler::new(from, 8_000);
            let mut out = Vec::new();
            resampler.push(&[0; 4_000], &mut out);
            let expected = 4_000.0 * 8_000.0 / f64::from(from.clamp(RATES.0, RATES.1));
            assert!((out.len() as f64 - expected).abs() < 2.0 + expected * 0.001, "{from}: {}", out.len());
        }
    }
}
