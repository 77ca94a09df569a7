//! How probable it is that a frame holds speech: an energy gate, then the earshot detector.
//! Does not know turns: who holds the floor is the conversation's.

use earshot::Detector;

use crate::{Frame, SampleRate};

/// Samples that earshot takes at once: 16 ms at 16 kHz.
const WINDOW: usize = 256;

/// Frames kept from before the gate opened, so that the detector hears the onset.
const PRE_ROLL: usize = 2;

/// How far above the noise floor a frame must be to be worth the detector's time.
const GATE_MARGIN_DB: f32 = 6.0;

/// The floor's range: nothing below is audible on a telephone, and no floor may swallow speech.
const FLOOR_RANGE_DBFS: (f32, f32) = (-70.0, -35.0);

/// How fast the floor follows louder noise while the detector says it is noise: 15 dB in a second. In speech
/// it rises hardly at all: half a dB in a second, for when the detector is wrong.
const FLOOR_RISE_DB: (f32, f32) = (0.3, 0.01);

/// Below this probability the detector is sure enough of noise.
const SURELY_NOISE: f32 = 0.35;

/// The gate stays open this many frames after the last loud one: 120 ms, about a stop consonant. Longer would
/// not find more speech but its end later.
const GATE_HOLD: u32 = 6;

/// The voice activity detector of one stream. About 9 KB.
pub struct Vad {
    detector: Box<Detector>,
    /// 16 kHz samples not yet given to the detector.
    pending: Vec<i16>,
    /// Last sample of the previous 8 kHz frame, for the interpolation.
    last_sample: i16,
    /// Recent frames that the gate kept from the detector.
    skipped: Vec<Frame>,
    floor_dbfs: f32,
    hold: u32,
    probability: f32,
    windows: u64,
}

impl Default for Vad {
    fn default() -> Self {
        Self::new()
    }
}

impl Vad {
    /// A detector that has heard nothing.
    pub fn new() -> Self {
        Self {
            detector: Detector::default_boxed(),
            pending: Vec::with_capacity(4 * WINDOW),
            last_sample: 0,
            skipped: Vec::with_capacity(PRE_ROLL),
            floor_dbfs: FLOOR_RANGE_DBFS.0,
            hold: 0,
            probability: 0.0,
            windows: 0,
        }
    }

    /// The probability, 0 to 1, that this frame holds speech.
    pub fn push(&mut self, frame: &Frame) -> f32 {
        if !self.gate(frame.level_dbfs()) {
            self.skip(frame);
            return 0.0;
        }
        for earlier in std::mem::take(&mut self.skipped) {
            self.queue(&earlier);
        }
        self.queue(frame);
        self.detect()
    }

    /// Whether a probability means speech by itself; [`SpeechGate`] is steadier.
    pub fn is_speech(probability: f32) -> bool {
        probability >= SpeechGate::OPEN
    }

    /// How many 16 ms windows the detector has looked at; the gate kept the others from it.
    pub const fn windows(&self) -> u64 {
        self.windows
    }

    /// Follows the noise floor and says whether the frame stands out of it.
    fn gate(&mut self, level: f32) -> bool {
        let open = level > self.floor_dbfs + GATE_MARGIN_DB;
        self.floor_dbfs = if level < self.floor_dbfs {
            // Down quickly: the quietest moments are the noise.
            self.floor_dbfs + (level - self.floor_dbfs) * 0.25
        } else {
            let noise = self.probability < SURELY_NOISE;
            self.floor_dbfs + if noise { FLOOR_RISE_DB.0 } else { FLOOR_RISE_DB.1 }
        }
        .clamp(FLOOR_RANGE_DBFS.0, FLOOR_RANGE_DBFS.1);
        self.hold = if open { GATE_HOLD } else { self.hold.saturating_sub(1) };
        self.hold > 0
    }

    fn skip(&mut self, frame: &Frame) {
        if self.skipped.len() >= PRE_ROLL {
            self.skipped.remove(0);
        }
        self.skipped.push(frame.clone());
        self.probability = 0.0;
        self.pending.clear();
    }

    /// Appends a frame as 16 kHz; 8 kHz is doubled by drawing lines, which the detector hears as well as a filter.
    fn queue(&mut self, frame: &Frame) {
        match frame.rate() {
            SampleRate::Hz16000 => self.pending.extend_from_slice(frame.samples()),
            SampleRate::Hz8000 => {
                for sample in frame.samples() {
                    let between = (i32::from(self.last_sample) + i32::from(*sample)) / 2;
                    self.pending.extend([between as i16, *sample]);
                    self.last_sample = *sample;
                }
            }
        }
    }

    /// The highest probability of the windows that are complete; the last one's if none is.
    fn detect(&mut self) -> f32 {
        let mut highest = None::<f32>;
        let mut used = 0;
        while let Some(window) = self.pending.get(used..used + WINDOW) {
            self.probability = self.detector.predict_i16(window).clamp(0.0, 1.0);
            self.windows += 1;
            highest = Some(highest.map_or(self.probability, |before| before.max(self.probability)));
            used += WINDOW;
        }
        self.pending.drain(..used);
        highest.unwrap_or(self.probability)
    }
}

/// Turns probabilities into speech yes or no that does not flicker.
#[derive(Clone, Debug, Default)]
pub struct SpeechGate {
    open: bool,
    quiet_frames: u32,
}

impl SpeechGate {
    /// Speech begins at this probability.
    pub const OPEN: f32 = 0.5;

    /// Speech ends below this one...
    pub const CLOSE: f32 = 0.35;

    /// ...for this many frames in a row.
    pub const CLOSE_FRAMES: u32 = 2;

    /// Closed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether speech is on, with this frame's probability.
    pub fn update(&mut self, probability: f32) -> bool {
        if probability >= Self::OPEN {
            self.open = true;
        }
        self.quiet_frames = if probability < Self::CLOSE { self.quiet_frames + 1 } else { 0 };
        if self.quiet_frames >= Self::CLOSE_FRAMES {
            self.open = false;
        }
        self.open
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tone;

    fn frames(samples: &[i16]) -> impl Iterator<Item = Frame> {
        samples.chunks(160).map(|chunk| Frame::from_samples(SampleRate::Hz8000, chunk))
    }

    /// The gate's word on every frame of 8 kHz audio.
    fn speech(vad: &mut Vad, gate: &mut SpeechGate, samples: &[i16]) -> Vec<bool> {
        frames(samples).map(|frame| gate.update(vad.push(&frame))).collect()
    }

    fn share(flags: &[bool]) -> f32 {
        flags.iter().filter(|flag| **flag).count() as f32 / flags.len() as f32
    }

    #[test]
    fn speech_is_speech_within_60_ms_and_its_end_within_160_ms() {
        for seed in 0..20 {
            let (mut vad, mut gate) = (Vad::new(), SpeechGate::new());
            assert_eq!(share(&speech(&mut vad, &mut gate, &[0; 8_000])), 0.0);
            let talk = speech(&mut vad, &mut gate, &tone::speech(8_000, seed, -22.0, 16_000));
            let onset = talk.iter().position(|flag| *flag);
            assert!(onset.is_some_and(|frame| frame <= 3), "seed {seed}: {onset:?}");
            assert!(share(&talk) > 0.9, "seed {seed}: {}", share(&talk));
            let after = speech(&mut vad, &mut gate, &[0; 8_000]);
            let end = after.iter().position(|flag| !flag);
            assert!(end.is_some_and(|frame| frame <= 8), "seed {seed}: {end:?}");
        }
    }

    #[test]
    fn noise_is_not_speech_and_mostly_does_not_reach_the_detector() {
        for (seed, dbfs) in [(1, -60.0), (2, -50.0), (3, -40.0), (4, -32.0)] {
            let (mut vad, mut gate) = (Vad::new(), SpeechGate::new());
            let flags = speech(&mut vad, &mut gate, &tone::noise(seed, dbfs, 8_000 * 60));
            assert!(share(&flags) < 0.02, "{dbfs} dBFS: {}", share(&flags));
            // 60 s are 3,750 windows.
            assert!(vad.windows() < 300, "{dbfs} dBFS: {} windows", vad.windows());
        }
    }

    #[test]
    fn a_steady_voice_is_not_learned_as_noise() {
        let (mut vad, mut gate) = (Vad::new(), SpeechGate::new());
        let talk = speech(&mut vad, &mut gate, &tone::speech(8_000, 9, -22.0, 8_000 * 60));
        assert!(share(&talk[2_500..]) > 0.9, "{}", share(&talk[2_500..]));
    }

    #[test]
    fn speech_in_wide_band_is_speech_too() {
        let mut vad = Vad::new();
        let samples = tone::speech(16_000, 1, -22.0, 32_000);
        let voiced = samples
            .chunks(320)
            .filter(|chunk| Vad::is_speech(vad.push(&Frame::from_samples(SampleRate::Hz16000, chunk))));
        assert!(voiced.count() > 70);
    }

    #[test]
    fn the_gate_opens_at_once_and_does_not_flicker() {
        let mut gate = SpeechGate::new();
        let flags = [0.4, 0.6, 0.2, 0.4, 0.2, 0.2, 0.2, 0.4, 0.4, 0.6].map(|p| gate.update(p));
        assert_eq!(flags, [false, true, true, true, true, false, false, false, false, true]);
    }
}
