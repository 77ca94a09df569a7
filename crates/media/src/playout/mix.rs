//! What is laid over and under speech on its way out: volume, fading tails, a background, comfort noise.
//! Does not know sentences: it gets frames and changes how they sound, never how long they are.

use std::sync::Arc;

use crate::comfort_noise::rounded;
use crate::{ComfortNoise, Frame, SampleRate};

/// Speech is this loud while it is ducked: -12 dB.
const DUCKED: f32 = 0.251;

/// How long a change of volume takes, in frames: 40 ms are no click and no drama.
const RAMP_FRAMES: usize = 2;

/// The edge of a pause: 5 ms are enough against a click.
const EDGES_PER_FRAME: usize = 4;

/// A gain that moves evenly to where it should be.
#[derive(Clone, Copy, Debug)]
struct Ramp {
    now: f32,
    target: f32,
    /// How much it may change per sample.
    step: f32,
}

impl Ramp {
    const fn at(gain: f32) -> Self {
        Self { now: gain, target: gain, step: 0.0 }
    }

    /// Moves to another gain within so many samples.
    fn move_to(&mut self, target: f32, samples: usize) {
        self.step = (target - self.now).abs() / samples.max(1) as f32;
        self.target = target;
    }

    const fn next(&mut self) -> f32 {
        let step = self.step;
        self.now = if self.now < self.target {
            (self.now + step).min(self.target)
        } else {
            (self.now - step).max(self.target)
        };
        self.now
    }
}

/// Everything that sounds beside the speech in the queue.
pub(super) struct Mixer {
    rate: SampleRate,
    /// Of the speech: ducked or not.
    duck: Ramp,
    /// Of the speech at the edges of pauses and cross-fades.
    edge: Ramp,
    /// What was cut off and still fades, newest last.
    tail: Vec<f32>,
    background: Option<Arc<[i16]>>,
    /// A background that is on its way out, too.
    place: usize,
    level: Ramp,
    noise: Option<ComfortNoise>,
}

impl Mixer {
    pub(super) const fn new(rate: SampleRate) -> Self {
        Self {
            rate,
            duck: Ramp::at(1.0),
            edge: Ramp::at(1.0),
            tail: Vec::new(),
            background: None,
            place: 0,
            level: Ramp::at(0.0),
            noise: None,
        }
    }

    const fn ramp_samples(&self) -> usize {
        self.rate.frame_samples() * RAMP_FRAMES
    }

    const fn edge_samples(&self) -> usize {
        self.rate.frame_samples() / EDGES_PER_FRAME
    }

    /// How many samples of what is cut off are wanted, for a pause and for a cross-fade.
    pub(super) const fn tail_lengths(&self) -> (usize, usize) {
        (self.edge_samples(), self.ramp_samples())
    }

    pub(super) fn duck(&mut self, ducked: bool) {
        self.duck.move_to(if ducked { DUCKED } else { 1.0 }, self.ramp_samples());
    }

    /// Speech stops here; the samples it would have gone on with fade out. They may still get a change of volume.
    pub(super) fn cut(&mut self, ahead: &[i16]) {
        let (count, gain) = (ahead.len().max(1) as f32, self.duck.now * self.edge.now);
        let faded =
            ahead.iter().enumerate().map(|(n, sample)| f32::from(*sample) * gain * (1.0 - n as f32 / count));
        for (n, sample) in faded.enumerate() {
            match self.tail.get_mut(n) {
                Some(earlier) => *earlier += sample,
                None => self.tail.push(sample),
            }
        }
    }

    /// The speech that comes next fades in: within 5 ms after a pause, within what is left of the tail after a cut.
    pub(super) fn fade_in(&mut self) {
        self.edge.now = 0.0;
        self.edge.move_to(1.0, self.tail.len().max(self.edge_samples()));
    }

    /// What sounds under everything from now on, over and over; `None` fades it out.
    pub(super) fn set_background(&mut self, samples: Option<Arc<[i16]>>) {
        match samples.filter(|samples| !samples.is_empty()) {
            Some(samples) => {
                self.background = Some(samples);
                self.place = 0;
                self.level.move_to(1.0, self.ramp_samples());
            }
            None => self.level.move_to(0.0, self.ramp_samples()),
        }
    }

    pub(super) fn set_comfort_noise(&mut self, noise: Option<ComfortNoise>) {
        self.noise = noise;
    }

    /// The volume of speech.
    pub(super) fn shape(&mut self, frame: Frame) -> Frame {
        if self.duck.now == 1.0 && self.duck.target == 1.0 && self.edge.now == 1.0 && self.edge.target == 1.0
        {
            return frame;
        }
        let mut out = [0; SampleRate::Hz16000.frame_samples()];
        for (to, from) in out.iter_mut().zip(frame.samples()) {
            *to = rounded(f32::from(*from) * self.duck.next() * self.edge.next()) as i16;
        }
        Frame::from_samples(frame.rate(), &out)
    }

    /// Adds what sounds beside it. Noise is only for frames without speech.
    pub(super) fn finish(&mut self, frame: Frame, speech: bool) -> Frame {
        let noise = self.noise.as_mut().filter(|_| !speech);
        if self.tail.is_empty() && self.background.is_none() {
            let Some(noise) = noise else { return frame };
            // What most frames of most calls are: only the noise, and the caller speaks or waits.
            let mut out = [0; SampleRate::Hz16000.frame_samples()];
            let out = &mut out[..frame.samples().len()];
            out.copy_from_slice(frame.samples());
            noise.add_to(out);
            return Frame::from_samples(frame.rate(), out);
        }
        let mut sum = [0.0f32; SampleRate::Hz16000.frame_samples()];
        let count = frame.samples().len();
        for (to, from) in sum.iter_mut().zip(frame.samples()) {
            *to = f32::from(*from);
        }
        let fading = self.tail.len().min(count);
        for (to, from) in sum.iter_mut().zip(self.tail.drain(..fading)) {
            *to += from;
        }
        self.add_background(&mut sum[..count]);
        // A float cast saturates: too loud is clipped, never wrapped.
        let mut out = sum.map(|sample| rounded(sample) as i16);
        if let Some(noise) = self.noise.as_mut().filter(|_| !speech) {
            noise.add_to(&mut out[..count]);
        }
        Frame::from_samples(frame.rate(), &out[..count])
    }

    fn add_background(&mut self, sum: &mut [f32]) {
        let Some(samples) = &self.background else { return };
        for to in sum {
            *to += f32::from(samples[self.place]) * self.level.next();
            self.place = (self.place + 1) % samples.len();
        }
        if self.level.now == 0.0 && self.level.target == 0.0 {
            self.background = None;
        }
    }
}
