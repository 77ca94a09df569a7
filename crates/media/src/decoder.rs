//! One incoming stream's decoder: payloads in, samples out, and what to play for a payload that is missing.
//! Does not know order or time: the jitter buffer says what comes next and what never will.

use crate::conceal::Concealment;
use crate::g722::G722Decoder;
use crate::{Codec, Resampler, SampleRate, g711};

/// The longest Opus packet: 120 ms at 16 kHz.
const MAX_OPUS: usize = 1_920;

/// Opus makes up audio in multiples of 2.5 ms.
const OPUS_STEPS_PER_SECOND: usize = 400;

/// Decodes one stream, at the codec's rate or another.
pub struct Decoder {
    codec: Codec,
    rate: SampleRate,
    coder: Coder,
    resampler: Option<Resampler>,
    /// At the codec's rate, before resampling.
    raw: Vec<i16>,
    concealment: Concealment,
}

enum Coder {
    Law(&'static [i16; 256]),
    G722(Box<G722Decoder>),
    /// `None` only if there is no memory for it: then every packet is a lost one.
    Opus(Option<Box<opus::Decoder>>),
}

impl Decoder {
    /// A stream about to begin, decoded at its codec's rate.
    pub fn new(codec: Codec) -> Self {
        Self::with_rate(codec, codec.rate())
    }

    /// A stream whose samples shall have this rate. Opus is decoded at it; the others are converted if need be.
    pub fn with_rate(codec: Codec, rate: SampleRate) -> Self {
        let codec = match codec {
            Codec::Opus(_) => Codec::Opus(rate),
            Codec::Pcmu | Codec::Pcma | Codec::G722 => codec,
        };
        let coder = match codec {
            Codec::Pcmu => Coder::Law(&g711::ULAW),
            Codec::Pcma => Coder::Law(&g711::ALAW),
            Codec::G722 => Coder::G722(Box::new(G722Decoder::new())),
            Codec::Opus(rate) => {
                Coder::Opus(opus::Decoder::new(rate.hz(), opus::Channels::Mono).ok().map(Box::new))
            }
        };
        let converts = codec.rate() != rate;
        let resampler = converts.then(|| Resampler::new(codec.rate().hz(), rate.hz()));
        Self { codec, rate, coder, resampler, raw: Vec::new(), concealment: Concealment::new(rate) }
    }

    /// The codec of this stream.
    pub const fn codec(&self) -> Codec {
        self.codec
    }

    /// How many samples, at the rate of this decoder, a payload holds; `None` if it cannot be decoded.
    pub fn samples_in(&self, payload: &[u8]) -> Option<usize> {
        samples_in(self.codec, self.rate, payload)
    }

    /// Appends the samples of the next payload: as many as [`Decoder::samples_in`] says. False if it could not
    /// be decoded; then nothing is appended.
    pub fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> bool {
        let Some(count) = self.samples_in(payload) else { return false };
        if let (Coder::Law(table), None) = (&self.coder, &self.resampler) {
            let start = out.len();
            out.extend(payload.iter().map(|code| table[usize::from(*code)]));
            self.concealment.remember(&out[start..]);
            return true;
        }
        self.raw.clear();
        match &mut self.coder {
            Coder::Law(table) => self.raw.extend(payload.iter().map(|code| table[usize::from(*code)])),
            Coder::G722(decoder) => decoder.decode(payload, &mut self.raw),
            Coder::Opus(decoder) => {
                self.raw.resize(MAX_OPUS, 0);
                let decoded =
                    decoder.as_mut().and_then(|opus| opus.decode(payload, &mut self.raw, false).ok());
                let Some(decoded) = decoded else { return false };
                self.raw.truncate(decoded);
            }
        }
        let start = out.len();
        match &mut self.resampler {
            Some(resampler) => resampler.push(&self.raw, out),
            None => out.extend_from_slice(&self.raw),
        }
        // Halving an odd number of samples now and then gives one more or less; time must not notice.
        out.resize(start + count, 0);
        self.concealment.remember(&out[start..]);
        true
    }

    /// Appends `count` samples in place of a lost payload, decoded from the coarse copy in the one behind it.
    /// False if there is none; then nothing is appended.
    pub(crate) fn recover(&mut self, following: &[u8], count: usize, out: &mut Vec<i16>) -> bool {
        let steps = self.rate.hz() as usize / OPUS_STEPS_PER_SECOND;
        let Coder::Opus(Some(decoder)) = &mut self.coder else { return false };
        if count == 0 || !count.is_multiple_of(steps) || count > MAX_OPUS {
            return false;
        }
        self.raw.clear();
        self.raw.resize(count, 0);
        if decoder.decode(following, &mut self.raw, true).ok() != Some(count) {
            return false;
        }
        out.extend_from_slice(&self.raw);
        self.concealment.remember(&self.raw);
        true
    }

    /// Appends `count` samples of what nobody said in place of a lost payload: it fades out within 60 ms. False
    /// if it was silence from the first sample on.
    pub fn conceal(&mut self, count: usize, out: &mut Vec<i16>) -> bool {
        let start = out.len();
        out.resize(start + count, 0);
        let hole = &mut out[start..];
        match &mut self.coder {
            Coder::Opus(Some(decoder)) if self.concealment.is_fading() => {
                let step = self.rate.hz() as usize / OPUS_STEPS_PER_SECOND;
                let asked = count.div_ceil(step) * step;
                self.raw.clear();
                self.raw.resize(asked.min(MAX_OPUS), 0);
                let made_up = decoder.decode(&[], &mut self.raw, false).unwrap_or(0).min(count);
                hole[..made_up].copy_from_slice(&self.raw[..made_up]);
                self.concealment.fade(hole);
                true
            }
            Coder::Opus(_) | Coder::Law(_) | Coder::G722(_) => self.concealment.fill(hole),
        }
    }

    /// Appends `count` samples of the noise that the decoder remembers from the other side's pauses; silence if it
    /// does not remember any.
    pub(crate) fn idle(&mut self, count: usize, out: &mut Vec<i16>) {
        let start = out.len();
        out.resize(start + count, 0);
        let step = self.rate.hz() as usize / OPUS_STEPS_PER_SECOND;
        if let Coder::Opus(Some(decoder)) = &mut self.coder {
            self.raw.clear();
            self.raw.resize((count.div_ceil(step) * step).min(MAX_OPUS), 0);
            let made_up = decoder.decode(&[], &mut self.raw, false).unwrap_or(0).min(count);
            out[start..start + made_up].copy_from_slice(&self.raw[..made_up]);
        }
    }

    /// What is missing next is missing on purpose.
    pub(crate) const fn rest(&mut self) {
        self.concealment.end();
    }

    /// The last decoded audio, oldest first: 40 ms of it.
    pub(crate) fn memory(&self) -> &[i16] {
        self.concealment.memory()
    }
}

/// How many samples at `rate` a payload of `codec` holds.
pub(crate) fn samples_in(codec: Codec, rate: SampleRate, payload: &[u8]) -> Option<usize> {
    let samples = codec.samples_in(payload)?;
    Some((samples * rate.hz() as usize / codec.rate().hz() as usize).max(1))
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Decoder({:?} at {} Hz)", self.codec, self.rate.hz())
    }
}
