//! One outgoing stream's coder: 20 ms frames in, payloads out, with the memory that the codec has.
//! Does not number or send packets.

use crate::g722::G722Encoder;
use crate::{Codec, Frame, Resampler, SampleRate, g711};

/// Work that Opus puts into a frame, 0 to 10: beyond 5 the cost doubles and a voice gains nothing to be heard.
const COMPLEXITY: i32 = 5;

/// Bits a second for a voice: narrow band, and wide band. In-band error correction needs some of them.
const BIT_RATE: (i32, i32) = (16_000, 24_000);

/// The loss that Opus prepares for, in per cent. At 0 it would leave the error correction out.
const EXPECTED_LOSS: i32 = 5;

/// More than a frame of 20 ms at these bit rates can take.
const MAX_OPUS: usize = 400;

/// Codes one stream.
pub struct Encoder {
    codec: Codec,
    coder: Coder,
    /// For frames of the other rate, from the first one on.
    resampler: Option<Resampler>,
    resampled: Vec<i16>,
}

enum Coder {
    Ulaw,
    Alaw,
    G722(Box<G722Encoder>),
    /// `None` only if there is no memory for it: then payloads are empty.
    Opus(Option<Box<opus::Encoder>>),
}

impl Encoder {
    /// A stream about to begin.
    pub fn new(codec: Codec) -> Self {
        let coder = match codec {
            Codec::Pcmu => Coder::Ulaw,
            Codec::Pcma => Coder::Alaw,
            Codec::G722 => Coder::G722(Box::new(G722Encoder::new())),
            Codec::Opus(rate) => Coder::Opus(opus_encoder(rate).ok().map(Box::new)),
        };
        Self { codec, coder, resampler: None, resampled: Vec::new() }
    }

    /// The codec of this stream.
    pub const fn codec(&self) -> Codec {
        self.codec
    }

    /// Appends the payload of a frame. One of the other rate is converted, which delays it by 2 ms.
    pub fn encode(&mut self, frame: &Frame, out: &mut Vec<u8>) {
        match self.at_rate(frame) {
            Some(()) => self.coder.encode(&self.resampled, out),
            None => self.coder.encode(frame.samples(), out),
        }
    }

    /// Appends the payloads of a frame's two halves, 10 ms each, for a peer that takes no more; returns where the second
    /// begins.
    pub fn encode_halves(&mut self, frame: &Frame, out: &mut Vec<u8>) -> usize {
        let converted = self.at_rate(frame).is_some();
        let samples = if converted { &self.resampled } else { frame.samples() };
        let (first, second) = samples.split_at(samples.len().min(self.codec.rate().frame_samples() / 2));
        self.coder.encode(first, out);
        let place = out.len();
        self.coder.encode(second, out);
        place
    }

    /// Converts a frame of another rate into `resampled`; `None` if it can be coded as it is.
    fn at_rate(&mut self, frame: &Frame) -> Option<()> {
        if frame.rate() == self.codec.rate() {
            self.resampler = None;
            return None;
        }
        let (from, to) = (frame.rate().hz(), self.codec.rate().hz());
        self.resampled.clear();
        self.resampler
            .get_or_insert_with(|| Resampler::new(from, to))
            .push(frame.samples(), &mut self.resampled);
        Some(())
    }
}

impl Coder {
    fn encode(&mut self, samples: &[i16], out: &mut Vec<u8>) {
        match self {
            Self::Ulaw => out.extend(samples.iter().map(|sample| g711::encode_ulaw(*sample))),
            Self::Alaw => out.extend(samples.iter().map(|sample| g711::encode_alaw(*sample))),
            Self::G722(encoder) => encoder.encode(samples, out),
            Self::Opus(Some(encoder)) => {
                let start = out.len();
                out.resize(start + MAX_OPUS, 0);
                let length = encoder.encode(samples, &mut out[start..]).unwrap_or(0);
                out.truncate(start + length);
            }
            Self::Opus(None) => {}
        }
    }
}

fn opus_encoder(rate: SampleRate) -> opus::Result<opus::Encoder> {
    let mut encoder = opus::Encoder::new(rate.hz(), opus::Channels::Mono, opus::Application::Voip)?;
    let bit_rate = match rate {
        SampleRate::Hz8000 => BIT_RATE.0,
        SampleRate::Hz16000 => BIT_RATE.1,
    };
    encoder.set_bitrate(opus::Bitrate::Bits(bit_rate))?;
    encoder.set_complexity(COMPLEXITY)?;
    encoder.set_inband_fec(true)?;
    encoder.set_packet_loss_perc(EXPECTED_LOSS)?;
    encoder.set_signal(opus::Signal::Voice)?;
    Ok(encoder)
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Encoder({:?})", self.codec)
    }
}
