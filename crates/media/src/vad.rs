//! How probable it is that a frame holds speech: an energy gate, then a model, by itself or many calls at a time.
//! Does not know turns: who holds the floor is the conversation's. Does not know threads: who batches has them.

mod gate;

use earshot::Detector;

use crate::{Frame, SampleRate};
use gate::EnergyGate;
pub use gate::SpeechGate;

/// Samples that a model takes at once: 16 ms at 16 kHz.
pub const WINDOW: usize = 256;

/// What a stream has for the model: a window of samples, and the model's memory of this stream.
pub struct VadWindow<'a, S> {
    /// [`WINDOW`] samples at 16 kHz.
    pub samples: &'a [i16],
    /// What the model remembers of this stream. It has seen every window since the gate opened, in order.
    pub state: &'a mut S,
    /// The model's answer, 0 to 1.
    pub probability: &'a mut f32,
}

/// Tells speech from everything else. One model serves any number of streams: what it remembers of each is theirs.
pub trait VadModel {
    /// Its memory of one stream.
    type State;

    /// The memory of a stream that begins.
    fn begin(&self) -> Self::State;

    /// Answers for one window of each of these streams. No stream is in a batch twice.
    fn probabilities(&mut self, batch: &mut [VadWindow<'_, Self::State>]);
}

/// The earshot detector: small and quick enough to run where the frames are. It gains nothing from batches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Earshot;

impl VadModel for Earshot {
    type State = Box<Detector>;

    fn begin(&self) -> Self::State {
        Detector::default_boxed()
    }

    fn probabilities(&mut self, batch: &mut [VadWindow<'_, Self::State>]) {
        for window in batch {
            *window.probability = window.state.predict_i16(window.samples).clamp(0.0, 1.0);
        }
    }
}

/// One stream on its way to a model: the gate, the windows that are complete, and the answers.
pub struct VadStream<S> {
    gate: EnergyGate,
    state: S,
    /// 16 kHz samples; those before `used` have been handed out.
    pending: Vec<i16>,
    used: usize,
    /// Last sample of the previous 8 kHz frame, for the interpolation.
    last_sample: i16,
    /// The model's last answer, and the highest one of this frame.
    probability: f32,
    highest: Option<f32>,
    windows: u64,
}

impl<S> VadStream<S> {
    /// A stream that has heard nothing, with what [`VadModel::begin`] gave.
    pub fn new(state: S) -> Self {
        Self {
            gate: EnergyGate::default(),
            state,
            pending: Vec::with_capacity(4 * WINDOW),
            used: 0,
            last_sample: 0,
            probability: 0.0,
            highest: None,
            windows: 0,
        }
    }

    /// The next frame. The windows it completes are to be judged before [`VadStream::probability`] is asked.
    pub fn push(&mut self, frame: &Frame) {
        self.pending.drain(..self.used);
        self.used = 0;
        self.highest = None;
        let open = self.gate.opens(frame, self.probability);
        if !open {
            self.probability = 0.0;
            self.pending.clear();
            return;
        }
        for earlier in self.gate.take_skipped() {
            self.queue(&earlier);
        }
        self.queue(frame);
    }

    /// The next complete window, if there is one. A frame may complete two: each is a batch of its own.
    pub fn window(&mut self) -> Option<VadWindow<'_, S>> {
        self.note_highest();
        let samples = self.pending.get(self.used..self.used + WINDOW)?;
        self.used += WINDOW;
        self.windows += 1;
        self.highest.get_or_insert(0.0);
        Some(VadWindow { samples, state: &mut self.state, probability: &mut self.probability })
    }

    /// The probability, 0 to 1, that the last frame holds speech: the highest of its windows; the answer before if it
    /// completed none.
    pub fn probability(&self) -> f32 {
        self.highest.map_or(self.probability, |highest| highest.max(self.probability))
    }

    /// How many windows the model has looked at; the gate kept the others from it.
    pub const fn windows(&self) -> u64 {
        self.windows
    }

    /// An answer counts for its frame even if the next window of the same frame has a lower one.
    fn note_highest(&mut self) {
        if let Some(highest) = &mut self.highest {
            *highest = highest.max(self.probability);
        }
    }

    /// Appends a frame as 16 kHz; 8 kHz is doubled by drawing lines, which the detector hears as well as a filter.
    fn queue(&mut self, frame: &Frame) {
        match frame.rate() {
            SampleRate::Hz16000 => self.pending.extend_from_slice(frame.samples()),
            SampleRate::Hz8000 => {
                let samples = frame.samples();
                let between = |a: i16, b: i16| ((i32::from(a) + i32::from(b)) / 2) as i16;
                self.pending.extend([between(self.last_sample, samples[0]), samples[0]]);
                let start = self.pending.len();
                self.pending.resize(start + 2 * (samples.len() - 1), 0);
                let (pairs, _) = self.pending[start..].as_chunks_mut::<2>();
                for (pair, two) in pairs.iter_mut().zip(samples.windows(2)) {
                    *pair = [between(two[0], two[1]), two[1]];
                }
                self.last_sample = samples[samples.len() - 1];
            }
        }
    }
}

/// Has the model judge everything that is complete in these streams, as many at a time as there are.
pub fn judge<M: VadModel>(model: &mut M, streams: &mut [&mut VadStream<M::State>]) {
    loop {
        let mut batch: Vec<_> = streams.iter_mut().filter_map(|stream| stream.window()).collect();
        if batch.is_empty() {
            return;
        }
        model.probabilities(&mut batch);
    }
}

/// The voice activity detector of one stream, all in one place. About 9 KB.
pub struct Vad {
    stream: VadStream<<Earshot as VadModel>::State>,
}

impl Default for Vad {
    fn default() -> Self {
        Self::new()
    }
}

impl Vad {
    /// A detector that has heard nothing.
    pub fn new() -> Self {
        Self { stream: VadStream::new(Earshot.begin()) }
    }

    /// The probability, 0 to 1, that this frame holds speech.
    pub fn push(&mut self, frame: &Frame) -> f32 {
        self.stream.push(frame);
        while let Some(window) = self.stream.window() {
            Earshot.probabilities(&mut [window]);
        }
        self.stream.probability()
    }

    /// Whether a probability means speech by itself; [`SpeechGate`] is steadier.
    pub fn is_speech(probability: f32) -> bool {
        probability >= SpeechGate::OPEN
    }

    /// How many 16 ms windows the detector has looked at; the gate kept the others from it.
    pub const fn windows(&self) -> u64 {
        self.stream.windows()
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

    #[test]
    fn calls_judged_together_get_the_answers_they_would_get_alone() {
        let audio: Vec<Vec<i16>> = (0..8)
            .map(|seed| [tone::noise(seed, -60.0, 4_000), tone::speech(8_000, seed, -22.0, 16_000)].concat())
            .collect();
        let mut streams: Vec<_> = audio.iter().map(|_| VadStream::new(Earshot.begin())).collect();
        let mut alone: Vec<Vad> = audio.iter().map(|_| Vad::new()).collect();
        for n in 0..125 {
            let frames: Vec<Frame> = audio
                .iter()
                .map(|samples| Frame::from_samples(SampleRate::Hz8000, &samples[n * 160..]))
                .collect();
            for (stream, frame) in streams.iter_mut().zip(&frames) {
                stream.push(frame);
            }
            judge(&mut Earshot, &mut streams.iter_mut().collect::<Vec<_>>());
            for (call, (stream, vad)) in streams.iter().zip(&mut alone).enumerate() {
                assert_eq!(stream.probability(), vad.push(&frames[call]), "call {call}, frame {n}");
            }
        }
        assert!(streams.iter().all(|stream| stream.windows() > 100));
    }

    #[test]
    fn what_a_call_keeps_for_its_detector_is_small() {
        let stream = size_of::<VadStream<Box<Detector>>>() + size_of::<Detector>();
        // Besides, up to 2 KB of samples.
        assert!(stream < 11_000, "{stream}");
    }
}
