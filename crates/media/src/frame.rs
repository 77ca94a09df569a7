//! The unit of audio in the product: 20 ms of linear samples.
//! Knows nothing of codecs or packets.

use std::{sync::Arc, time::Duration};

/// One packetization interval: every frame in the product is this long.
pub const FRAME: Duration = Duration::from_millis(20);

/// How many samples a second a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SampleRate {
    /// Telephone band: G.711.
    Hz8000,
    /// Wide band: G.722 and what most recognisers prefer.
    Hz16000,
}

impl SampleRate {
    /// Samples per second.
    pub const fn hz(self) -> u32 {
        match self {
            Self::Hz8000 => 8_000,
            Self::Hz16000 => 16_000,
        }
    }

    /// Samples in one [`FRAME`].
    pub const fn frame_samples(self) -> usize {
        match self {
            Self::Hz8000 => 160,
            Self::Hz16000 => 320,
        }
    }
}

const MAX_SAMPLES: usize = SampleRate::Hz16000.frame_samples();

/// What digital silence is reported as, in dB below full scale.
const FLOOR_DBFS: f32 = -120.0;

/// 20 ms of 16-bit linear mono audio that nobody changes any more: passing it on, or keeping it, moves a pointer. It goes
/// through a dozen hands within its 20 ms, and most of them only look at it.
#[derive(Clone)]
pub struct Frame {
    /// As many as the rate says; `None` for digital silence, which takes no memory.
    samples: Option<Arc<[i16]>>,
    rate: SampleRate,
}

static SILENCE: [i16; MAX_SAMPLES] = [0; MAX_SAMPLES];

impl Frame {
    /// A frame of digital silence.
    pub const fn silence(rate: SampleRate) -> Self {
        Self { samples: None, rate }
    }

    /// A frame of `samples`, cut or padded with silence to 20 ms.
    pub fn from_samples(rate: SampleRate, samples: &[i16]) -> Self {
        let length = rate.frame_samples();
        let samples = match samples.get(..length) {
            Some(whole) => Arc::from(whole),
            None => {
                let mut padded = [0; MAX_SAMPLES];
                padded[..samples.len()].copy_from_slice(samples);
                Arc::from(&padded[..length])
            }
        };
        Self { samples: Some(samples), rate }
    }

    /// The samples: 160 at 8 kHz, 320 at 16 kHz.
    pub fn samples(&self) -> &[i16] {
        self.samples.as_deref().unwrap_or(&SILENCE[..self.rate.frame_samples()])
    }

    /// The sample rate.
    pub const fn rate(&self) -> SampleRate {
        self.rate
    }

    /// Root-mean-square level in dB relative to a full-scale square wave: 0 at most, -120 for silence.
    pub fn level_dbfs(&self) -> f32 {
        let Some(samples) = self.samples.as_deref() else { return FLOOR_DBFS };
        // Whole numbers: they add up in any order, so that the compiler may take many at a time.
        let square = |sample: &i16| i32::from(*sample).pow(2).cast_unsigned();
        let energy: u64 = samples.iter().map(|sample| u64::from(square(sample))).sum();
        let rms = (energy as f64 / samples.len() as f64).sqrt() / 32_768.0;
        if rms > 0.0 { (20.0 * rms.log10() as f32).max(FLOOR_DBFS) } else { FLOOR_DBFS }
    }
}

impl PartialEq for Frame {
    /// Whether both sound the same: silence is silence, however it is kept.
    fn eq(&self, other: &Self) -> bool {
        self.rate == other.rate && self.samples() == other.samples()
    }
}

impl Eq for Frame {}

impl std::fmt::Debug for Frame {
    /// Says the shape and level only: samples are the caller's voice.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frame({} Hz, {:.0} dBFS)", self.rate.hz(), self.level_dbfs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_input_is_padded_and_long_input_is_cut() {
        let short = Frame::from_samples(SampleRate::Hz8000, &[1, 2]);
        assert_eq!((short.samples().len(), short.samples()[1], short.samples()[2]), (160, 2, 0));
        let long = Frame::from_samples(SampleRate::Hz8000, &[7; 400]);
        assert_eq!(long.samples(), [7; 160]);
    }

    #[test]
    fn silence_is_silence_however_it_came_about() {
        for rate in [SampleRate::Hz8000, SampleRate::Hz16000] {
            let (silence, zeros) = (Frame::silence(rate), Frame::from_samples(rate, &[0; 320]));
            assert_eq!(silence, zeros);
            assert_eq!(silence.samples().len(), rate.frame_samples());
            assert_eq!(silence.level_dbfs(), zeros.level_dbfs());
            assert_ne!(silence, Frame::from_samples(rate, &[1]));
        }
        assert_ne!(Frame::silence(SampleRate::Hz8000), Frame::silence(SampleRate::Hz16000));
    }

    #[test]
    fn levels_span_full_scale_to_silence() {
        assert_eq!(Frame::silence(SampleRate::Hz8000).level_dbfs(), -120.0);
        let full = Frame::from_samples(SampleRate::Hz16000, &[i16::MIN; 320]);
        assert!(full.level_dbfs().abs() < 0.01);
    }
}
