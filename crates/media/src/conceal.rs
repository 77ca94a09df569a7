//! What is played in place of lost audio: the last pitch periods again, fading out.
//! Does not know packets: the jitter buffer says what is missing.

use crate::{SampleRate, dot::dot, tail::Tail};

/// Samples at 8 kHz in a frame; everything below is reckoned from it.
const FRAME_8K: usize = SampleRate::Hz8000.frame_samples();

/// Fading takes 60 ms, three frames. Longer repeats sound like a machine, and a recogniser takes them for vowels.
const FADE_FRAMES: usize = 3;

/// What is remembered: 40 ms, two of the longest pitch periods.
const MEMORY_FRAMES: usize = 2;

/// The shortest pitch period looked for: 5 ms, 200 Hz; higher voices are found by their multiples. The longest
/// is a frame: 50 Hz.
const SHORTEST_8K: usize = 40;

/// Makes up audio.
pub(crate) struct Concealment {
    /// The last received audio.
    memory: Tail<i16>,
    /// Samples in 20 ms.
    frame: usize,
    /// The length at its end that repeats best.
    period: usize,
    /// Samples made up since the last received one, up to the fade's length.
    used: usize,
}

impl Concealment {
    /// Nothing to repeat yet.
    pub(crate) fn new(rate: SampleRate) -> Self {
        let frame = rate.frame_samples();
        Self {
            memory: Tail::new(MEMORY_FRAMES * frame, frame),
            frame,
            period: frame,
            used: FADE_FRAMES * frame,
        }
    }

    /// Takes in received audio: what is missing next is covered from the beginning.
    pub(crate) fn remember(&mut self, samples: &[i16]) {
        self.memory.add(samples.iter().copied());
        self.used = 0;
    }

    /// The last received audio, oldest first.
    pub(crate) fn memory(&self) -> &[i16] {
        self.memory.samples()
    }

    /// What is missing next is missing on purpose.
    pub(crate) const fn end(&mut self) {
        self.used = self.fade_length();
    }

    /// Whether something made up would still be heard.
    pub(crate) const fn is_fading(&self) -> bool {
        self.used < self.fade_length()
    }

    /// Fills a hole, which holds silence now. Says whether there was anything to fill it with.
    pub(crate) fn fill(&mut self, hole: &mut [i16]) -> bool {
        if !self.is_fading() || hole.is_empty() {
            return false;
        }
        if self.used == 0 {
            self.period = pitch_period(self.memory.samples(), self.frame);
        }
        let memory = self.memory.samples();
        let repeating = &memory[memory.len() - self.period..];
        for (n, sample) in hole.iter_mut().take(FADE_FRAMES * self.frame - self.used).enumerate() {
            *sample = repeating[(self.used + n) % self.period];
        }
        self.fade(hole);
        true
    }

    /// Lets made-up audio fade out from where the last left off.
    pub(crate) fn fade(&mut self, made_up: &mut [i16]) {
        let length = self.fade_length();
        for sample in made_up {
            *sample = (i32::from(*sample) * (length - self.used) as i32 / length as i32) as i16;
            self.used = (self.used + 1).min(length);
        }
    }

    const fn fade_length(&self) -> usize {
        FADE_FRAMES * self.frame
    }
}

/// The shift by which the end of the audio is most like what was before it, so that repeating or leaving out that
/// much goes on without a seam. Shifts are compared by correlation, normalised by the energy compared with.
/// `audio` holds two frames of `frame` samples.
pub(crate) fn pitch_period(audio: &[i16], frame: usize) -> usize {
    let audio: Vec<f32> = audio.iter().copied().map(f32::from).collect();
    let Some(start) = audio.len().checked_sub(frame) else { return frame };
    let end = &audio[start..];
    let likeness = |period: usize| {
        let earlier = start.checked_sub(period).map_or(end, |from| &audio[from..from + frame]);
        let product = dot(end, earlier).max(0.0);
        product * product / (dot(earlier, earlier) + 1.0)
    };
    let better = |best: (f32, usize), period: usize| {
        let found = likeness(period);
        if found > best.0 { (found, period) } else { best }
    };
    // In wide band every second shift first, then its neighbours: the cost would grow with the square else.
    let stride = frame / FRAME_8K;
    let shortest = SHORTEST_8K * stride;
    let (_, coarse) = (shortest..=frame).step_by(stride).fold((0.0, frame), better);
    let near = (coarse + 1).saturating_sub(stride).max(shortest)..=(coarse + stride - 1).min(frame);
    near.fold((0.0, coarse), better).1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tone;

    #[test]
    fn the_pitch_of_a_voice_is_found_and_noise_has_some() {
        for (hz, frame) in [(8_000, 160), (16_000, 320)] {
            for frequency in [200, 100, 50] {
                let wave: Vec<i16> = (0..2 * frame)
                    .map(|n| if (n * frequency * 10 / hz) % 10 == 0 { 9_000 } else { -1_000 })
                    .collect();
                let found = pitch_period(&wave, frame);
                assert_eq!(found % (hz / frequency), 0, "{frequency} Hz: {found}");
            }
            let noise = tone::noise(1, -20.0, 2 * frame);
            assert!((frame / 4..=frame).contains(&pitch_period(&noise, frame)));
            assert_eq!(pitch_period(&vec![0; 2 * frame], frame), frame);
        }
    }

    #[test]
    fn what_is_made_up_fades_out_once() {
        let mut concealment = Concealment::new(SampleRate::Hz8000);
        let mut hole = [0; FRAME_8K];
        assert!(!concealment.fill(&mut hole), "nothing was heard yet");
        concealment.remember(&[1_000; 320]);
        let ends = [(); 3].map(|()| {
            hole.fill(0);
            assert!(concealment.fill(&mut hole));
            hole[FRAME_8K - 1]
        });
        assert_eq!(ends, [668, 335, 2]);
        hole.fill(0);
        assert!(!concealment.fill(&mut hole));
        concealment.remember(&[1_000; 10]);
        concealment.end();
        assert!(!concealment.fill(&mut hole), "silence was meant");
    }
}
