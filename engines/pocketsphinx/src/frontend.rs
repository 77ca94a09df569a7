//! From 8 kHz samples to the cepstra that the stock 16 kHz model was trained on: 19 mel bands are measured, the 6 above
//! 4 kHz are predicted from them. Knows nothing of words or of PocketSphinx.

use std::f32::consts::PI;

/// Coefficients per frame of speech.
pub const CEPSTRA: usize = 13;
/// One frame of speech: what 25 ms of audio sound like, every 10 ms.
pub type Cepstrum = [f32; CEPSTRA];

/// Samples from one frame to the next: 10 ms.
const HOP: usize = 80;
/// Samples that a frame looks at: 25.6 ms, as in training.
const WINDOW: usize = 205;
const FFT: usize = 256;
const BINS: usize = FFT / 2 + 1;
/// Width of one bin in Hz.
const BIN_HZ: f32 = 8_000.0 / FFT as f32;
const PRE_EMPHASIS: f32 = 0.97;

/// The model's bands (`feat.params`), and how many of them lie below 4 kHz.
const BANDS: usize = 25;
const MEASURED: usize = 19;
const PREDICTED: usize = BANDS - MEASURED;
const LOWEST_HZ: f32 = 130.0;
const HIGHEST_HZ: f32 = 6_800.0;
const LIFTER: f32 = 22.0;

type Bands = [f32; MEASURED];

/// Turns a stream of 8 kHz samples into cepstra.
pub struct FrontEnd {
    tables: Tables,
    extension: BandExtension,
    noise: NoiseTracker,
    pending: Vec<f32>,
    previous: Option<f32>,
    /// Log energies of this frame and the two before it, the newest first.
    recent: Option<[Bands; 3]>,
}

impl Default for FrontEnd {
    fn default() -> Self {
        Self::new()
    }
}

impl FrontEnd {
    /// A front-end at the beginning of a call.
    pub fn new() -> Self {
        Self {
            tables: Tables::new(),
            extension: BandExtension::trained(),
            noise: NoiseTracker::default(),
            pending: Vec::with_capacity(2 * WINDOW),
            previous: None,
            recent: None,
        }
    }

    /// Forgets the call before.
    pub fn reset(&mut self) {
        self.noise = NoiseTracker::default();
        self.pending.clear();
        self.previous = None;
        self.recent = None;
    }

    /// Takes samples in pieces of any length; `frame` is called for every 10 ms that have become complete.
    pub fn push(&mut self, samples: &[i16], mut frame: impl FnMut(Cepstrum)) {
        for &sample in samples {
            let sample = f32::from(sample);
            let before = self.previous.replace(sample).unwrap_or(0.0);
            self.pending.push(PRE_EMPHASIS.mul_add(-before, sample));
        }
        while self.pending.len() >= WINDOW {
            let cepstrum = self.analyse();
            self.pending.drain(..HOP);
            frame(cepstrum);
        }
    }

    fn analyse(&mut self) -> Cepstrum {
        let power = self.tables.power_spectrum(&self.pending[..WINDOW]);
        let energy = self.tables.band_energies(&power);
        let gain = self.noise.gains(&energy);
        let now: Bands = std::array::from_fn(|band| energy[band].mul_add(gain[band], 1e-4).ln());
        let recent = match self.recent {
            Some([newest, before, _]) => [now, newest, before],
            None => [now; 3],
        };
        self.recent = Some(recent);
        let mut log_energy = [0.0; BANDS];
        log_energy[..MEASURED].copy_from_slice(&now);
        log_energy[MEASURED..].copy_from_slice(&self.extension.predict(&recent));
        self.tables.cepstrum(&log_energy)
    }
}

/// Everything that depends on the model's parameters only.
struct Tables {
    window: [f32; WINDOW],
    /// cos and -sin of the FFT's angles.
    twiddle: [(f32, f32); FFT / 2],
    /// First bin and weights of each measured band.
    filters: Vec<(usize, Vec<f32>)>,
    /// Pre-emphasis at 16 kHz over pre-emphasis at 8 kHz, and the longer window's greater energy.
    correction: [f32; BINS],
    /// DCT with the lifter multiplied in.
    dct: [[f32; BANDS]; CEPSTRA],
}

impl Tables {
    fn new() -> Self {
        Self {
            window: std::array::from_fn(|i| {
                0.46f32.mul_add(-(2.0 * PI * i as f32 / (WINDOW - 1) as f32).cos(), 0.54)
            }),
            twiddle: std::array::from_fn(|i| {
                let angle = -2.0 * PI * i as f32 / FFT as f32;
                (angle.cos(), angle.sin())
            }),
            filters: mel_filters(),
            correction: std::array::from_fn(|bin| {
                let hz = bin as f32 * BIN_HZ;
                4.0 * pre_emphasis_power(hz, 16_000.0) / pre_emphasis_power(hz, 8_000.0).max(1e-9)
            }),
            dct: std::array::from_fn(|k| {
                let scale = if k == 0 { (1.0 / BANDS as f32).sqrt() } else { (2.0 / BANDS as f32).sqrt() };
                let lifter = (k as f32 * PI / LIFTER).sin().mul_add(LIFTER / 2.0, 1.0);
                std::array::from_fn(|j| {
                    lifter * scale * (PI * k as f32 * (j as f32 + 0.5) / BANDS as f32).cos()
                })
            }),
        }
    }

    fn power_spectrum(&self, samples: &[f32]) -> [f32; BINS] {
        let mut points = [(0.0, 0.0); FFT];
        for ((point, sample), weight) in points.iter_mut().zip(samples).zip(&self.window) {
            point.0 = sample * weight;
        }
        self.fft(&mut points);
        std::array::from_fn(|bin| {
            let (re, im) = points[bin];
            re.mul_add(re, im * im) * self.correction[bin]
        })
    }

    /// In place, radix 2. A real-valued transform would save half of 0.02 % of a core.
    fn fft(&self, points: &mut [(f32, f32); FFT]) {
        let shift = usize::BITS - FFT.trailing_zeros();
        for i in 0..FFT {
            let j = i.reverse_bits() >> shift;
            if i < j {
                points.swap(i, j);
            }
        }
        let mut half = 1;
        while half < FFT {
            for block in points.chunks_exact_mut(2 * half) {
                let (low, high) = block.split_at_mut(half);
                for (k, (a, b)) in low.iter_mut().zip(high).enumerate() {
                    let (cos, sin) = self.twiddle[k * (FFT / 2 / half)];
                    let turned = (b.0.mul_add(cos, -(b.1 * sin)), b.0.mul_add(sin, b.1 * cos));
                    *b = (a.0 - turned.0, a.1 - turned.1);
                    *a = (a.0 + turned.0, a.1 + turned.1);
                }
            }
            half *= 2;
        }
    }

    fn band_energies(&self, power: &[f32; BINS]) -> Bands {
        std::array::from_fn(|band| {
            let (first, weights) = &self.filters[band];
            weights.iter().zip(&power[*first..]).map(|(weight, power)| weight * power).sum()
        })
    }

    fn cepstrum(&self, log_energy: &[f32; BANDS]) -> Cepstrum {
        std::array::from_fn(|k| self.dct[k].iter().zip(log_energy).map(|(a, b)| a * b).sum())
    }
}

/// Triangles of unit area, their corners rounded to bins as the model's training did.
fn mel_filters() -> Vec<(usize, Vec<f32>)> {
    let mel = |hz: f32| 2_595.0 * (1.0 + hz / 700.0).log10();
    let hz = |mel: f32| 700.0 * (10f32.powf(mel / 2_595.0) - 1.0);
    let step = (mel(HIGHEST_HZ) - mel(LOWEST_HZ)) / (BANDS + 1) as f32;
    let corner = |i: usize| ((hz(mel(LOWEST_HZ) + i as f32 * step) / BIN_HZ + 0.5) as usize) as f32 * BIN_HZ;
    (0..MEASURED)
        .map(|band| {
            let (left, peak, right) = (corner(band), corner(band + 1), corner(band + 2));
            let first = (left / BIN_HZ) as usize;
            let last = ((right / BIN_HZ) as usize).min(BINS - 1);
            let weights = (first..=last).map(|bin| {
                let hz = bin as f32 * BIN_HZ;
                let height = ((hz - left) / (peak - left)).min((right - hz) / (right - peak)).max(0.0);
                height * 2.0 / (right - left)
            });
            (first, weights.collect())
        })
        .collect()
}

/// What first-order pre-emphasis does to the power at `hz`.
fn pre_emphasis_power(hz: f32, rate: f32) -> f32 {
    let (sin, cos) = (2.0 * PI * hz / rate).sin_cos();
    PRE_EMPHASIS.mul_add(-cos, 1.0).powi(2) + (PRE_EMPHASIS * sin).powi(2)
}

/// Linear regression from 3 × 19 log energies to the bands that the telephone cut off.
struct BandExtension {
    mean: [f32; INPUTS],
    scale: [f32; INPUTS],
    weight: [[f32; PREDICTED]; INPUTS],
    offset: [f32; PREDICTED],
}

const INPUTS: usize = 3 * MEASURED;
/// Means, scales, weights and offsets as little-endian floats; trained on read speech.
const TRAINED: &[u8; (2 * INPUTS + (INPUTS + 1) * PREDICTED) * 4] =
    include_bytes!("../data/band-extension-8k.f32");

impl BandExtension {
    fn trained() -> Self {
        let at = |i: usize| {
            let bytes = &TRAINED[4 * i..];
            f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
        };
        let row = |input: usize| std::array::from_fn(|out| at(2 * INPUTS + input * PREDICTED + out));
        Self {
            mean: std::array::from_fn(at),
            scale: std::array::from_fn(|i| at(INPUTS + i)),
            weight: std::array::from_fn(row),
            offset: row(INPUTS),
        }
    }

    fn predict(&self, recent: &[Bands; 3]) -> [f32; PREDICTED] {
        let mut predicted = self.offset;
        for (input, value) in recent.as_flattened().iter().enumerate() {
            let value = (value - self.mean[input]) / self.scale[input];
            for (sum, weight) in predicted.iter_mut().zip(&self.weight[input]) {
                *sum = value.mul_add(*weight, *sum);
            }
        }
        predicted
    }
}

/// The noise removal that the model was trained with: a slow noise floor per band is subtracted, what sounds like the
/// echo of a louder moment is masked, and the remaining gains are smoothed over neighbouring bands.
#[derive(Default)]
struct NoiseTracker {
    state: Option<NoiseState>,
}

struct NoiseState {
    power: Bands,
    noise: Bands,
    floor: Bands,
    peak: Bands,
}

const POWER_SMOOTHING: f32 = 0.7;
const FLOOR_RISE: f32 = 0.995;
const FLOOR_FALL: f32 = 0.5;
const PEAK_DECAY: f32 = 0.85;
const MASKED_SHARE: f32 = 0.2;
const GAIN_LIMIT: f32 = 20.0;
const NEIGHBOURS: usize = 4;

impl NoiseTracker {
    fn gains(&mut self, energy: &Bands) -> Bands {
        let state = self.state.get_or_insert_with(|| {
            let start = energy.map(|e| e / GAIN_LIMIT);
            NoiseState { power: *energy, noise: start, floor: start, peak: [0.0; MEASURED] }
        });
        let gain: Bands = std::array::from_fn(|band| state.gain(band, energy[band]));
        std::array::from_fn(|band| {
            let near = &gain[band.saturating_sub(NEIGHBOURS)..(band + NEIGHBOURS + 1).min(MEASURED)];
            near.iter().sum::<f32>() / near.len() as f32
        })
    }
}

impl NoiseState {
    fn gain(&mut self, band: usize, energy: f32) -> f32 {
        let power = POWER_SMOOTHING.mul_add(self.power[band], (1.0 - POWER_SMOOTHING) * energy);
        self.power[band] = power;
        self.noise[band] = follow_floor(self.noise[band], power);
        let clean = (power - self.noise[band]).max(1.0);
        self.floor[band] = follow_floor(self.floor[band], clean);
        self.peak[band] *= PEAK_DECAY;
        let masked = clean < PEAK_DECAY * self.peak[band];
        let heard = if masked { self.peak[band] * MASKED_SHARE } else { clean };
        self.peak[band] = self.peak[band].max(clean);
        (heard.max(self.floor[band]) / power.max(1e-9)).clamp(1.0 / GAIN_LIMIT, GAIN_LIMIT)
    }
}

/// Rises slowly and falls fast.
fn follow_floor(floor: f32, value: f32) -> f32 {
    let keep = if value >= floor { FLOOR_RISE } else { FLOOR_FALL };
    floor.mul_add(keep, (1.0 - keep) * value)
}

/// Subtracts the channel's mean cepstrum. The mean starts at that of telephone speech, follows every frame of the
/// utterances, and is kept for the whole call: a first utterance is hardly longer than a second.
pub struct ChannelMean {
    sum: Cepstrum,
    frames: f32,
}

/// Mean of synthetic speech of three voices through G.711 and this front-end. The model's own (`-cmninit`) belongs to
/// another front-end: with it, five times as many words of a first utterance are misheard.
const USUAL_MEAN: Cepstrum = [51.3, 15.3, -4.1, 24.8, -4.7, -3.3, 10.5, -8.2, 2.0, 0.3, -1.0, 3.2, 0.7];
/// How many frames of speech the usual mean weighs: 1 s.
const USUAL_WEIGHT: f32 = 100.0;
/// Beyond this many frames the past is faded, so that the mean can follow: 8 s, and what is kept of them.
const MEMORY: f32 = 800.0;
const KEPT: f32 = 500.0;

impl Default for ChannelMean {
    fn default() -> Self {
        Self { sum: USUAL_MEAN.map(|c| c * USUAL_WEIGHT), frames: USUAL_WEIGHT }
    }
}

impl ChannelMean {
    /// Counts a frame of speech and normalises it.
    pub fn normalise(&mut self, cepstrum: &Cepstrum) -> Cepstrum {
        // Digital silence says nothing about the channel.
        if cepstrum[0] > 0.0 {
            self.count(cepstrum);
        }
        std::array::from_fn(|k| cepstrum[k] - self.sum[k] / self.frames)
    }

    fn count(&mut self, cepstrum: &Cepstrum) {
        for (sum, value) in self.sum.iter_mut().zip(cepstrum) {
            *sum += value;
        }
        self.frames += 1.0;
        if self.frames > MEMORY {
            self.sum = self.sum.map(|sum| sum * KEPT / self.frames);
            self.frames = KEPT;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cepstra(pieces: &[&[i16]]) -> Vec<Cepstrum> {
        let mut front_end = FrontEnd::new();
        let mut out = Vec::new();
        for piece in pieces {
            front_end.push(piece, |cepstrum| out.push(cepstrum));
        }
        out
    }

    fn sweep() -> Vec<i16> {
        (0..8_000).map(|i| (8_000.0 * (i as f32 * i as f32 * 1e-4).sin()) as i16).collect()
    }

    #[test]
    fn a_second_of_audio_is_a_hundred_frames_less_the_window() {
        assert_eq!(cepstra(&[&sweep()]).len(), (8_000 - WINDOW) / HOP + 1);
    }

    #[test]
    fn the_length_of_the_pieces_changes_nothing() {
        let audio = sweep();
        let pieces: Vec<&[i16]> = audio.chunks(37).collect();
        assert_eq!(cepstra(&[&audio]), cepstra(&pieces));
    }

    #[test]
    fn silence_and_full_scale_stay_finite() {
        for audio in [vec![0; 4_000], vec![i16::MIN; 4_000], [i16::MAX, i16::MIN].repeat(2_000)] {
            assert!(cepstra(&[&audio]).as_flattened().iter().all(|c| c.is_finite()));
        }
    }

    #[test]
    fn a_reset_front_end_is_a_new_one() {
        let mut used = FrontEnd::new();
        used.push(&sweep(), |_| ());
        used.reset();
        let mut out = Vec::new();
        used.push(&sweep(), |cepstrum| out.push(cepstrum));
        assert_eq!(out, cepstra(&[&sweep()]));
    }

    #[test]
    fn the_mean_follows_the_channel_but_not_digital_silence() {
        let mut mean = ChannelMean::default();
        let first = mean.normalise(&[60.0; CEPSTRA])[0];
        let silence = mean.normalise(&[-30.0; CEPSTRA])[0];
        assert_eq!(mean.normalise(&[-30.0; CEPSTRA])[0], silence);
        for _ in 0..2_000 {
            mean.normalise(&[60.0; CEPSTRA]);
        }
        let later = mean.normalise(&[60.0; CEPSTRA])[0];
        assert!(first > 8.0 && later.abs() < 0.5, "{first} at first, {later} later");
    }
}
