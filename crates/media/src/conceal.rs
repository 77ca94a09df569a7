//! What is played in place of lost audio: the last pitch periods again, fading out.
//! Does not know packets: the jitter buffer says what is missing.

use crate::resample::dot;

/// Fading takes 60 ms. Longer repeats sound like a machine, and a recogniser takes them for vowels.
const FADE: usize = 480;

/// What is remembered: 40 ms, two of the longest pitch periods.
const MEMORY: usize = 320;

/// Over how much two stretches are compared: 20 ms.
const WINDOW: usize = 160;

/// Pitch periods looked for: 50 to 200 Hz, and by their multiples higher voices.
const PERIODS: std::ops::RangeInclusive<usize> = 40..=160;

/// Makes up audio at 8 kHz.
pub(crate) struct Concealment {
    /// The last audio as it was played.
    memory: [i16; MEMORY],
    /// The length at its end that repeats best.
    period: usize,
    /// Samples made up since the last received one, up to [`FADE`].
    used: usize,
}

impl Default for Concealment {
    /// Nothing to repeat yet.
    fn default() -> Self {
        Self { memory: [0; MEMORY], period: *PERIODS.end(), used: FADE }
    }
}

impl Concealment {
    /// Takes in a frame that was played and is not all made up.
    pub(crate) fn remember(&mut self, frame: &[i16; WINDOW]) {
        self.memory.copy_within(WINDOW.., 0);
        self.memory[MEMORY - WINDOW..].copy_from_slice(frame);
    }

    /// Audio has been received: what is missing next is covered from the beginning.
    pub(crate) const fn arm(&mut self) {
        self.used = 0;
    }

    /// What is missing next is missing on purpose.
    pub(crate) const fn end(&mut self) {
        self.used = FADE;
    }

    /// Fills a hole, which holds silence now. Says whether there was anything to fill it with.
    pub(crate) fn fill(&mut self, hole: &mut [i16]) -> bool {
        if self.used >= FADE || hole.is_empty() {
            return false;
        }
        if self.used == 0 {
            self.period = pitch_period(&self.memory);
        }
        // Within a frame that began with received audio the memory is still the frame before; close enough.
        let repeating = &self.memory[MEMORY - self.period..];
        for sample in hole.iter_mut().take(FADE - self.used) {
            let remembered = i32::from(repeating[self.used % self.period]);
            *sample = (remembered * (FADE - self.used) as i32 / FADE as i32) as i16;
            self.used += 1;
        }
        true
    }
}

/// The shift by which the end of the memory is most like what was before it, so that repeating that much goes
/// on without a seam. Shifts are compared by correlation, normalised by the energy compared with.
fn pitch_period(memory: &[i16; MEMORY]) -> usize {
    let memory = memory.map(f32::from);
    let end = &memory[MEMORY - WINDOW..];
    let mut best = (0.0, *PERIODS.end());
    for period in PERIODS {
        let earlier = &memory[MEMORY - WINDOW - period..MEMORY - period];
        let product = dot(end, earlier).max(0.0);
        let likeness = product * product / (dot(earlier, earlier) + 1.0);
        if likeness > best.0 {
            best = (likeness, period);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tone;

    #[test]
    fn the_pitch_of_a_voice_is_found_and_noise_has_some() {
        for (frequency, period) in [(200, 40), (100, 80), (50, 160)] {
            let wave: Vec<i16> = (0..MEMORY)
                .map(|n| if (n * frequency * 10 / 8_000) % 10 == 0 { 9_000 } else { -1_000 })
                .collect();
            let found = pitch_period(wave.as_slice().try_into().expect("as long as the memory"));
            assert_eq!(found % period, 0, "{frequency} Hz: {found}");
        }
        let noise = tone::noise(1, -20.0, MEMORY);
        assert!(PERIODS.contains(&pitch_period(noise.as_slice().try_into().expect("as long"))));
        assert_eq!(pitch_period(&[0; MEMORY]), *PERIODS.end());
    }

    #[test]
    fn what_is_made_up_fades_out_once() {
        let mut concealment = Concealment::default();
        let mut hole = [0; WINDOW];
        assert!(!concealment.fill(&mut hole), "nothing was heard yet");
        concealment.remember(&[1_000; WINDOW]);
        concealment.remember(&[1_000; WINDOW]);
        concealment.arm();
        let ends = [(); 3].map(|()| {
            assert!(concealment.fill(&mut hole));
            hole[WINDOW - 1]
        });
        assert_eq!(ends, [668, 335, 2]);
        assert!(!concealment.fill(&mut hole));
        concealment.arm();
        concealment.end();
        assert!(!concealment.fill(&mut hole), "silence was meant");
    }
}
