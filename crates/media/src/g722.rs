//! G.722 at 64 kbit/s: 16 kHz samples in two bands of adaptive differential code, one byte for two samples.
//! Does not know packets. The names of the blocks are those of ITU-T G.722 (09/2012) sections 3 and 6.

/// Taps of one phase of the quadrature mirror filters (table 11).
const QMF: [i32; 12] = [3, -11, 12, 32, -210, 951, 3_876, -805, 362, -156, 53, -11];

/// Decision levels of the six-bit lower quantizer (table 14).
const DECISIONS: [i32; 30] = [
    0, 35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940, 1_023, 1_121,
    1_219, 1_339, 1_458, 1_612, 1_765, 1_980, 2_195, 2_557, 2_919,
];

/// Output levels of the lower inverse quantizer: all six bits (table 17), and the upper four (table 18), with
/// which both sides predict.
const LOW_OUTPUT: [i32; 64] = [
    -136, -136, -136, -136, -24_808, -21_904, -19_008, -16_704, -14_984, -13_512, -12_280, -11_192, -10_232,
    -9_360, -8_576, -7_856, -7_192, -6_576, -6_000, -5_456, -4_944, -4_464, -4_008, -3_576, -3_168, -2_776,
    -2_400, -2_032, -1_688, -1_360, -1_040, -728, 24_808, 21_904, 19_008, 16_704, 14_984, 13_512, 12_280,
    11_192, 10_232, 9_360, 8_576, 7_856, 7_192, 6_576, 6_000, 5_456, 4_944, 4_464, 4_008, 3_576, 3_168,
    2_776, 2_400, 2_032, 1_688, 1_360, 1_040, 728, 432, 136, -432, -136,
];
const LOW_PREDICTED: [i32; 16] = [
    0, -20_456, -12_896, -8_968, -6_288, -4_240, -2_584, -1_200, 20_456, 12_896, 8_968, 6_288, 4_240, 2_584,
    1_200, 0,
];

/// How the lower quantizer's scale follows the upper four bits of a code (tables 19 and 20).
const LOW_SCALE: [i32; 16] =
    [-60, 3_042, 1_198, 538, 334, 172, 58, -30, 3_042, 1_198, 538, 334, 172, 58, -30, -60];

/// Output levels of the higher inverse quantizer (table 22), and its scale (table 23).
const HIGH_OUTPUT: [i32; 4] = [-7_408, -1_616, 7_408, 1_616];
const HIGH_SCALE: [i32; 4] = [798, -214, 798, -214];

/// The decision level of the higher quantizer.
const HIGH_DECISION: i32 = 564;

/// From the logarithm of the scale to the scale: one octave in 32 steps (table 21).
const OCTAVE: [i32; 32] = [
    2_048, 2_093, 2_139, 2_186, 2_233, 2_282, 2_332, 2_383, 2_435, 2_489, 2_543, 2_599, 2_656, 2_714, 2_774,
    2_834, 2_896, 2_960, 3_025, 3_091, 3_158, 3_228, 3_298, 3_371, 3_444, 3_520, 3_597, 3_676, 3_756, 3_838,
    3_922, 4_008,
];

/// Upper limits of the logarithmic scales, and how far each octave table is shifted.
const LOW_BAND: Limits = Limits { log_scale: 18_432, shift: 8 };
const HIGH_BAND: Limits = Limits { log_scale: 22_528, shift: 10 };

#[derive(Clone, Copy)]
struct Limits {
    log_scale: i32,
    shift: i32,
}

/// What one band remembers: the quantizer's scale and the predictor of two poles and six zeros.
#[derive(Clone)]
struct Band {
    limits: Limits,
    log_scale: i32,
    scale: i32,
    /// The prediction for the next sample, and the part of it that the zeros make.
    predicted: i32,
    zero_part: i32,
    poles: [i32; 2],
    zeros: [i32; 6],
    /// Earlier reconstructed samples, and earlier partly reconstructed ones, newest first.
    samples: [i32; 2],
    partial: [i32; 2],
    differences: [i32; 6],
}

impl Band {
    const fn new(limits: Limits, scale: i32) -> Self {
        Self {
            limits,
            log_scale: 0,
            scale,
            predicted: 0,
            zero_part: 0,
            poles: [0; 2],
            zeros: [0; 6],
            samples: [0; 2],
            partial: [0; 2],
            differences: [0; 6],
        }
    }

    /// A quantizer level at the current scale.
    const fn scaled(&self, level: i32) -> i32 {
        (self.scale * level) >> 15
    }

    /// Takes in a difference as both sides know it: the scale moves by `step`, the predictor learns.
    fn adapt(&mut self, difference: i32, step: i32) {
        self.log_scale = ((self.log_scale * 127) >> 7) + step;
        self.log_scale = self.log_scale.clamp(0, self.limits.log_scale);
        let octave = OCTAVE[((self.log_scale >> 6) & 31) as usize];
        let shift = self.limits.shift - (self.log_scale >> 11);
        self.scale = (if shift < 0 { octave << -shift } else { octave >> shift }) << 2;
        self.learn(difference);
    }

    /// Blocks RECONS to PREDIC.
    fn learn(&mut self, difference: i32) {
        let sample = saturate(self.predicted + difference);
        let partial = saturate(self.zero_part + difference);
        self.update_poles(partial);
        let gain = if difference == 0 { 0 } else { 128 };
        for (zero, earlier) in self.zeros.iter_mut().zip(self.differences) {
            let towards = if same_sign(earlier, difference) { gain } else { -gain };
            *zero = saturate(towards + ((*zero * 32_640) >> 15));
        }
        self.samples = [sample, self.samples[0]];
        self.partial = [partial, self.partial[0]];
        self.differences.copy_within(..5, 1);
        self.differences[0] = difference;
        let weighted = |(weight, value): (&i32, &i32)| (weight * saturate(value + value)) >> 15;
        let pole_part = saturate(self.poles.iter().zip(&self.samples).map(weighted).sum());
        self.zero_part = saturate(self.zeros.iter().zip(&self.differences).map(weighted).sum());
        self.predicted = saturate(pole_part + self.zero_part);
    }

    /// Blocks UPPOL2 and UPPOL1: the poles stay where the filter is stable.
    fn update_poles(&mut self, partial: i32) {
        let quadruple = saturate(self.poles[0] << 2);
        let follow = same_sign(partial, self.partial[0]);
        let first = quadruple * if follow { -1 } else { 1 };
        let second = if same_sign(partial, self.partial[1]) { 128 } else { -128 };
        let second = second + (first.min(32_767) >> 7) + ((self.poles[1] * 32_512) >> 15);
        let second = second.clamp(-12_288, 12_288);
        let towards = if follow { 192 } else { -192 };
        let first = saturate(towards + ((self.poles[0] * 32_640) >> 15));
        let limit = saturate(15_360 - second);
        self.poles = [first.clamp(-limit, limit), second];
    }
}

fn saturate(value: i32) -> i32 {
    value.clamp(-32_768, 32_767)
}

const fn same_sign(a: i32, b: i32) -> bool {
    (a < 0) == (b < 0)
}

/// Twice twelve samples, filtered in two phases.
#[derive(Clone)]
struct MirrorFilter([i32; 24]);

impl MirrorFilter {
    /// Shifts two samples in; gives the sums of the even and the odd ones.
    fn pass(&mut self, first: i32, second: i32) -> (i32, i32) {
        self.0.copy_within(2.., 0);
        self.0[22] = first;
        self.0[23] = second;
        let pairs = self.0.as_chunks::<2>().0;
        let even = pairs.iter().zip(QMF).map(|(pair, tap)| pair[0] * tap).sum();
        let odd = pairs.iter().zip(QMF.iter().rev()).map(|(pair, tap)| pair[1] * tap).sum();
        (even, odd)
    }
}

/// From samples to bytes.
#[derive(Clone)]
pub(crate) struct G722Encoder {
    filter: MirrorFilter,
    low: Band,
    high: Band,
}

impl G722Encoder {
    pub(crate) const fn new() -> Self {
        Self { filter: MirrorFilter([0; 24]), low: Band::new(LOW_BAND, 32), high: Band::new(HIGH_BAND, 8) }
    }

    /// Appends a byte for every two samples; a last odd one is left out.
    pub(crate) fn encode(&mut self, samples: &[i16], out: &mut Vec<u8>) {
        let pairs = samples.as_chunks::<2>().0;
        out.extend(pairs.iter().map(|pair| self.pair(i32::from(pair[0]), i32::from(pair[1]))));
    }

    fn pair(&mut self, first: i32, second: i32) -> u8 {
        let (even, odd) = self.filter.pass(first, second);
        let low = self.low_code(saturate(((odd + even) >> 14) - self.low.predicted));
        let high = self.high_code(saturate(((odd - even) >> 14) - self.high.predicted));
        high << 6 | low
    }

    /// Block QUANTL and what follows from the code.
    fn low_code(&mut self, difference: i32) -> u8 {
        let magnitude = if difference < 0 { !difference } else { difference };
        let scale = self.low.scale;
        let level = DECISIONS[1..].iter().take_while(|level| magnitude >= (**level * scale) >> 12).count();
        // Codes count down from the largest magnitude; the two smallest negative ones are odd (table 16).
        let code = match (difference < 0, level as u8) {
            (false, level) => 61 - level,
            (true, level @ 0..=1) => 63 - level,
            (true, level) => 33 - level,
        };
        let coarse = usize::from(code >> 2);
        self.low.adapt(self.low.scaled(LOW_PREDICTED[coarse]), LOW_SCALE[coarse]);
        code
    }

    /// Block QUANTH and what follows from the code.
    fn high_code(&mut self, difference: i32) -> u8 {
        let magnitude = if difference < 0 { !difference } else { difference };
        let large = magnitude >= (HIGH_DECISION * self.high.scale) >> 12;
        let code = match (difference < 0, large) {
            (true, false) => 1,
            (true, true) => 0,
            (false, false) => 3,
            (false, true) => 2,
        };
        let index = usize::from(code);
        self.high.adapt(self.high.scaled(HIGH_OUTPUT[index]), HIGH_SCALE[index]);
        code
    }
}

/// From bytes to samples.
#[derive(Clone)]
pub(crate) struct G722Decoder {
    filter: MirrorFilter,
    low: Band,
    high: Band,
}

impl G722Decoder {
    pub(crate) const fn new() -> Self {
        Self { filter: MirrorFilter([0; 24]), low: Band::new(LOW_BAND, 32), high: Band::new(HIGH_BAND, 8) }
    }

    /// Appends two samples for every byte.
    pub(crate) fn decode(&mut self, bytes: &[u8], out: &mut Vec<i16>) {
        out.reserve(bytes.len() * 2);
        for byte in bytes {
            out.extend(self.byte(*byte));
        }
    }

    fn byte(&mut self, byte: u8) -> [i16; 2] {
        let (code, coarse, upper) =
            (usize::from(byte & 63), usize::from(byte >> 2 & 15), usize::from(byte >> 6));
        let limit = |value: i32| value.clamp(-16_384, 16_383);
        let low = limit(self.low.predicted + self.low.scaled(LOW_OUTPUT[code]));
        self.low.adapt(self.low.scaled(LOW_PREDICTED[coarse]), LOW_SCALE[coarse]);
        let difference = self.high.scaled(HIGH_OUTPUT[upper]);
        let high = limit(self.high.predicted + difference);
        self.high.adapt(difference, HIGH_SCALE[upper]);
        let (even, odd) = self.filter.pass(low + high, low - high);
        [saturate(odd >> 11) as i16, saturate(even >> 11) as i16]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tone;

    /// Noise from very soft to loud, from whole numbers only.
    fn rough() -> Vec<i16> {
        let mut state = 12_345_i64;
        (0..16_000)
            .map(|n| {
                state = (state * 1_103_515_245 + 12_345) & 0x7fff_ffff;
                let width = [200, 3_000, 20_000, 9_000][n / 2_000 % 4];
                ((state >> 8) % width - width / 2) as i16
            })
            .collect()
    }

    /// FNV-1a.
    fn hash(bytes: impl IntoIterator<Item = u8>) -> u64 {
        bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        })
    }

    /// The sums are those of spandsp 0.0.6, which is tested with the vectors of ITU-T G.722 appendix II.
    #[test]
    fn every_bit_is_that_of_an_independent_implementation() {
        let (mut bytes, mut out) = (Vec::new(), Vec::new());
        G722Encoder::new().encode(&rough(), &mut bytes);
        assert_eq!(bytes[..8], [122, 222, 119, 183, 44, 138, 162, 31]);
        assert_eq!(hash(bytes.iter().copied()), 0xa5d5_b328_af0b_3a13);
        G722Decoder::new().decode(&bytes, &mut out);
        assert_eq!(out[2_000..2_005], [-41, 85, 49, -46, -49]);
        assert_eq!(hash(out.iter().flat_map(|sample| sample.to_le_bytes())), 0x5ba5_9851_972b_2f54);
    }

    fn round_trip(samples: &[i16]) -> Vec<i16> {
        let (mut bytes, mut out) = (Vec::new(), Vec::new());
        G722Encoder::new().encode(samples, &mut bytes);
        assert_eq!(bytes.len(), samples.len() / 2);
        G722Decoder::new().decode(&bytes, &mut out);
        out
    }

    /// Signal to noise in dB, with the 22 samples that both filters delay.
    fn quality(original: &[i16], decoded: &[i16]) -> f64 {
        let pairs = original.iter().zip(&decoded[22..]).skip(200);
        let (signal, noise) = pairs.fold((0.0, 0.0), |(signal, noise), (a, b)| {
            let (a, b) = (f64::from(*a), f64::from(*b));
            (signal + a * a, noise + (a - b) * (a - b))
        });
        10.0 * (signal / noise).log10()
    }

    #[test]
    fn a_voice_and_tones_in_both_bands_survive() {
        for frequency in [300.0, 1_000.0, 3_000.0] {
            let wave = tone::sine(16_000, frequency, -12.0, 16_000);
            assert!(quality(&wave, &round_trip(&wave)) > 25.0, "{frequency}");
        }
        let wave = tone::sine(16_000, 6_000.0, -20.0, 16_000);
        assert!(quality(&wave, &round_trip(&wave)) > 10.0, "the upper band has two bits");
        let voice = tone::speech(16_000, 1, -22.0, 32_000);
        assert!(quality(&voice, &round_trip(&voice)) > 15.0, "{}", quality(&voice, &round_trip(&voice)));
    }

    #[test]
    fn silence_stays_silent_and_full_scale_does_not_wrap() {
        assert!(round_trip(&[0; 640]).iter().all(|sample| sample.abs() < 8));
        let loud = tone::sine(16_000, 440.0, -3.1, 16_000);
        let out = round_trip(&loud);
        assert!(
            loud.iter().zip(&out[22..]).skip(200).all(|(a, b)| (i32::from(*a) - i32::from(*b)).abs() < 8_000)
        );
    }

    #[test]
    fn any_bytes_decode() {
        let mut chance = tone::Chance::new(1);
        let bytes: Vec<u8> = (0..100_000).map(|_| chance.bits() as u8).collect();
        let mut out = Vec::new();
        G722Decoder::new().decode(&bytes, &mut out);
        assert_eq!(out.len(), 200_000);
    }
}
