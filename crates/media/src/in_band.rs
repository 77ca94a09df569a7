//! Keys as two tones in the audio, for callers whose network sends no telephone events (ITU-T Q.23, Q.24).
//! Does not know who else reports the same key: [`crate::DigitMerger`] makes one of several.

use std::f32::consts::TAU;

use crate::{Digit, Frame, SampleRate};

/// Row and column frequencies in Hz.
const FREQUENCIES: [f32; 8] = [697.0, 770.0, 852.0, 941.0, 1_209.0, 1_336.0, 1_477.0, 1_633.0];

/// The keypad by rows.
const KEYPAD: [[char; 4]; 4] =
    [['1', '2', '3', 'A'], ['4', '5', '6', 'B'], ['7', '8', '9', 'C'], ['*', '0', '#', 'D']];

/// Samples at 8 kHz that are looked at together: 12.75 ms. The lines are wide enough for 1.5 % beside them.
const BLOCK: usize = 102;

/// Blocks in a row that must show the same key, and that must show none before the same can come again. They overlap
/// by half: 40 ms hold four whole ones wherever they begin, 24 ms touch only three by enough.
const HITS: u32 = 4;
const MISSES: u32 = 4;

/// The stronger of both tones must have at least this level.
const QUIETEST_DBFS: f32 = -36.0;

/// How much stronger the row may be than the column, and the column than the row: 8 and 4 dB of ITU-T Q.24 annex A
/// and what the edge of a line costs.
const TWIST: (f32, f32) = (8.0, 3.2);

/// How much stronger a tone must be than the others of its group: 7 dB.
const PEAK: f32 = 5.0;

/// The part of all energy that both tones must have. Voices that sing a key's tones sing others, too.
const PURITY: f32 = 0.72;

/// How far two blocks of one press may differ in energy: a key does not swell, a voice does.
const STEADINESS: f32 = 2.0;

/// Eight resonators (Goertzel) over one block.
#[derive(Clone, Copy, Default)]
struct Bank {
    /// Their last two states.
    states: [[f32; 8]; 2],
    energy: f32,
    seen: usize,
}

impl Bank {
    /// One step of all, side by side for vector instructions.
    fn take(&mut self, turns: &[f32; 8], sample: f32) {
        let [newest, older] = self.states;
        let mut next = [0.0; 8];
        for lane in 0..8 {
            next[lane] = sample + turns[lane] * newest[lane] - older[lane];
        }
        self.states = [next, newest];
        self.energy += sample * sample;
        self.seen += 1;
    }

    fn powers(&self, turns: &[f32; 8]) -> [f32; 8] {
        let [newest, older] = self.states;
        let mut powers = [0.0; 8];
        for lane in 0..8 {
            let (s1, s2) = (newest[lane], older[lane]);
            powers[lane] = s1 * s1 + s2 * s2 - turns[lane] * s1 * s2;
        }
        powers
    }
}

/// Finds keys in one stream.
#[derive(Clone)]
pub struct InBandDigits {
    rate: SampleRate,
    /// 2·cos of each frequency's angle per sample.
    turns: [f32; 8],
    /// One half a block behind the other.
    banks: [Bank; 2],
    /// What the last block showed, how often in a row, and its energy.
    candidate: Option<char>,
    hits: u32,
    last_energy: f32,
    misses: u32,
    /// The key that is down.
    pressed: Option<char>,
}

impl InBandDigits {
    /// For frames of this rate.
    pub fn new(rate: SampleRate) -> Self {
        Self {
            rate,
            turns: FREQUENCIES.map(|frequency| 2.0 * (TAU * frequency / rate.hz() as f32).cos()),
            banks: [Bank::default(), Bank { seen: block(rate) / 2, ..Bank::default() }],
            candidate: None,
            hits: 0,
            last_energy: 0.0,
            misses: MISSES,
            pressed: None,
        }
    }

    /// The key that was recognised within this frame: each press once, 32 to 58 ms after it began.
    pub fn push(&mut self, frame: &Frame) -> Option<Digit> {
        if frame.rate() != self.rate {
            *self = Self::new(frame.rate());
        }
        let mut found = None;
        for sample in frame.samples() {
            for place in 0..self.banks.len() {
                self.banks[place].take(&self.turns, f32::from(*sample));
                if self.banks[place].seen == block(self.rate) {
                    let bank = std::mem::take(&mut self.banks[place]);
                    found = self.judge(&bank).or(found);
                }
            }
        }
        found
    }

    /// The end of a block.
    fn judge(&mut self, bank: &Bank) -> Option<Digit> {
        let Some(key) = self.key(bank) else {
            self.candidate = None;
            self.misses += 1;
            if self.misses >= MISSES {
                self.pressed = None;
            }
            return None;
        };
        let energy = bank.energy;
        let steady = (energy / STEADINESS..=energy * STEADINESS).contains(&self.last_energy);
        self.hits = if self.candidate == Some(key) && steady { self.hits + 1 } else { 1 };
        self.candidate = Some(key);
        self.last_energy = energy;
        if self.pressed == Some(key) {
            self.misses = 0;
            return None;
        }
        if self.hits < HITS {
            return None;
        }
        self.misses = 0;
        self.pressed = Some(key);
        Some(Digit(key))
    }

    /// The key whose tones fill this block.
    fn key(&self, bank: &Bank) -> Option<char> {
        let samples = bank.seen as f32;
        let powers = bank.powers(&self.turns);
        let (row, low) = strongest(&powers[..4])?;
        let (column, high) = strongest(&powers[4..])?;
        // A sine of amplitude a has the power (a·n/2)² here and the energy a²·n/2.
        let quietest =
            (32_768.0 * 10f32.powf(QUIETEST_DBFS / 20.0) * std::f32::consts::SQRT_2 * samples / 2.0).powi(2);
        let loud = low.max(high) >= quietest;
        let balanced = low <= high * TWIST.0 && high <= low * TWIST.1;
        let pure = low + high >= PURITY * bank.energy * samples / 2.0;
        (loud && balanced && pure).then(|| KEYPAD[row][column])
    }
}

/// Samples in a block.
const fn block(rate: SampleRate) -> usize {
    BLOCK * rate.hz() as usize / 8_000
}

/// The strongest of a group and its power, if it stands out of the others.
fn strongest(powers: &[f32]) -> Option<(usize, f32)> {
    let (place, power) = powers.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1))?;
    let alone = powers.iter().enumerate().all(|(other, less)| other == place || less * PEAK < power);
    alone.then_some((place, power))
}

impl std::fmt::Debug for InBandDigits {
    /// Never the key itself: callers type PINs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "InBandDigits({} Hz)", self.rate.hz())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Codec;
    use crate::tone::{self, Chance};

    /// A key as it is pressed somewhere: off frequency, twisted, in noise, through µ-law.
    #[derive(Clone, Copy)]
    struct Press {
        key: char,
        ms: usize,
        /// Factors of the row's and the column's frequency.
        off: (f32, f32),
        /// Levels of the row and the column in dBFS.
        levels: (f32, f32),
        noise_db_below: f32,
    }

    impl Press {
        fn plain(key: char) -> Self {
            Self { key, ms: 60, off: (1.0, 1.0), levels: (-15.0, -15.0), noise_db_below: 40.0 }
        }

        fn samples(self, hz: u32, seed: u64) -> Vec<i16> {
            let (low, high) = Digit(self.key).frequencies();
            let count = hz as usize * self.ms / 1_000;
            let row = tone::sine(hz, low * self.off.0, self.levels.0, count);
            let column = tone::sine(hz, high * self.off.1, self.levels.1, count);
            let loudest = self.levels.0.max(self.levels.1);
            let noise = tone::noise(seed, loudest - self.noise_db_below, count);
            row.iter()
                .zip(&column)
                .zip(&noise)
                .map(|((a, b), c)| a.saturating_add(*b).saturating_add(*c))
                .collect()
        }
    }

    /// What is recognised in audio that went through µ-law, from a random place in a frame on.
    fn heard(rate: SampleRate, samples: &[i16]) -> String {
        let mut digits = InBandDigits::new(rate);
        let coded = samples.chunks(rate.frame_samples()).map(|chunk| {
            let (mut bytes, mut again) = (Vec::new(), Vec::new());
            for part in chunk.chunks(160) {
                Codec::Pcmu.encode(&Frame::from_samples(SampleRate::Hz8000, part), &mut bytes);
            }
            Codec::Pcmu.decode(&bytes, &mut again);
            Frame::from_samples(rate, &again)
        });
        coded.filter_map(|frame| digits.push(&frame)).map(|Digit(key)| key).collect()
    }

    /// Presses with `pause` milliseconds between them.
    fn dialled(hz: u32, presses: &[Press], pause: usize, seed: u64) -> Vec<i16> {
        let mut chance = Chance::new(seed);
        let mut samples = vec![0; chance.below(400) as usize];
        for (n, press) in presses.iter().enumerate() {
            samples.extend(press.samples(hz, seed * 100 + n as u64));
            samples.resize(samples.len() + hz as usize * pause / 1_000, 0);
        }
        samples.resize(samples.len() + 800, 0);
        samples
    }

    const KEYS: &str = "1234567890*#ABCD";

    #[test]
    fn every_key_is_heard_in_both_bands_at_all_usual_levels() {
        for rate in [SampleRate::Hz8000, SampleRate::Hz16000] {
            for (n, dbfs) in [-6.5, -15.0, -24.0, -33.0].into_iter().enumerate() {
                let presses: Vec<Press> =
                    KEYS.chars().map(|key| Press { levels: (dbfs, dbfs), ..Press::plain(key) }).collect();
                assert_eq!(heard(rate, &dialled(rate.hz(), &presses, 60, n as u64)), KEYS, "{rate:?} {dbfs}");
            }
        }
    }

    #[test]
    fn a_key_of_40_ms_is_heard_wherever_it_begins_and_twice_if_it_comes_twice() {
        for seed in 0..200 {
            let short = |key| Press { ms: 40, ..Press::plain(key) };
            let presses = ['5', '5', '1', '1', '#'].map(short);
            assert_eq!(
                heard(SampleRate::Hz8000, &dialled(8_000, &presses, 40, seed)),
                "5511#",
                "seed {seed}"
            );
        }
    }

    #[test]
    fn one_and_a_half_per_cent_off_in_15_db_of_noise_is_a_key() {
        for seed in 0..100 {
            let mut chance = Chance::new(seed);
            let mut off = || if chance.happens(0.5) { 1.015 } else { 0.985 };
            let presses: Vec<Press> = KEYS
                .chars()
                .map(|key| Press { off: (off(), off()), noise_db_below: 15.0, ms: 70, ..Press::plain(key) })
                .collect();
            assert_eq!(heard(SampleRate::Hz8000, &dialled(8_000, &presses, 60, seed)), KEYS, "seed {seed}");
        }
    }

    #[test]
    fn the_column_may_be_4_db_stronger_and_the_row_8_and_no_more() {
        for (row, column, expected) in
            [(-19.0, -15.2, "8"), (-15.0, -22.7, "8"), (-21.5, -15.0, ""), (-15.0, -26.0, "")]
        {
            let press = Press { levels: (row, column), ..Press::plain('8') };
            assert_eq!(
                heard(SampleRate::Hz8000, &dialled(8_000, &[press], 60, 3)),
                expected,
                "{row} {column}"
            );
        }
    }

    #[test]
    fn a_long_press_is_one_key_and_a_blip_is_none() {
        let presses = [Press { ms: 2_000, ..Press::plain('0') }, Press { ms: 23, ..Press::plain('9') }];
        for seed in 0..50 {
            assert_eq!(heard(SampleRate::Hz8000, &dialled(8_000, &presses, 100, seed)), "0", "seed {seed}");
        }
    }

    #[test]
    fn voices_noise_and_other_tones_are_not_keys() {
        for seed in 0..60 {
            let talk = tone::speech(8_000, seed, -16.0, 8_000 * 30);
            assert_eq!(heard(SampleRate::Hz8000, &talk), "", "seed {seed}");
        }
        assert_eq!(heard(SampleRate::Hz8000, &tone::noise(1, -12.0, 8_000 * 60)), "");
        // Dial tones of Europe and North America, ringing, a fax's and a modem's answer.
        for tones in
            [&[425.0][..], &[350.0, 440.0], &[440.0, 480.0], &[1_100.0], &[2_100.0], &[697.0], &[1_209.0]]
        {
            let mut mixed = vec![0i16; 16_000];
            for frequency in tones {
                let sine = tone::sine(8_000, *frequency, -15.0, 16_000);
                mixed.iter_mut().zip(sine).for_each(|(sum, sample)| *sum += sample);
            }
            assert_eq!(heard(SampleRate::Hz8000, &mixed), "", "{tones:?}");
        }
    }
}
