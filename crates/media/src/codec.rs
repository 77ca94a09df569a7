//! Which G.711 law a leg speaks, by its RTP payload type and its SDP name.
//! Does not know how it was negotiated.

use crate::{Frame, SampleRate, g711};

/// The audio codecs of a telephone leg. Both carry 8,000 samples a second in one byte each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// G.711 µ-law (North America, Japan).
    Pcmu,
    /// G.711 A-law (everywhere else).
    Pcma,
}

impl Codec {
    /// The static payload type (RFC 3551 section 6).
    pub const fn payload_type(self) -> u8 {
        match self {
            Self::Pcmu => 0,
            Self::Pcma => 8,
        }
    }

    /// The encoding name in SDP (RFC 3551 section 6).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
        }
    }

    /// The codec with this encoding name, compared without regard to case as SDP requires.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Pcmu, Self::Pcma].into_iter().find(|codec| codec.name().eq_ignore_ascii_case(name))
    }

    /// The rate of the samples it carries.
    pub const fn rate(self) -> SampleRate {
        SampleRate::Hz8000
    }

    /// Appends the 160 code words of a frame. A 16 kHz frame is halved by averaging neighbours, which is
    /// for a caller that forgot its [`crate::Resampler`], not for quality.
    pub fn encode(self, frame: &Frame, out: &mut Vec<u8>) {
        match self {
            Self::Pcmu => append(frame, g711::encode_ulaw, out),
            Self::Pcma => append(frame, g711::encode_alaw, out),
        }
    }

    /// Appends one sample for every code word.
    pub fn decode(self, payload: &[u8], out: &mut Vec<i16>) {
        let table = match self {
            Self::Pcmu => &g711::ULAW,
            Self::Pcma => &g711::ALAW,
        };
        out.extend(payload.iter().map(|code| table[usize::from(*code)]));
    }
}

/// Generic so that the law is inlined into the loop.
fn append(frame: &Frame, law: impl Fn(i16) -> u8, out: &mut Vec<u8>) {
    match frame.rate() {
        SampleRate::Hz8000 => out.extend(frame.samples().iter().map(|sample| law(*sample))),
        SampleRate::Hz16000 => out.extend(
            frame
                .samples()
                .chunks_exact(2)
                .map(|pair| law(((i32::from(pair[0]) + i32::from(pair[1])) / 2) as i16)),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_words_survive_decoding_and_encoding() {
        for codec in [Codec::Pcmu, Codec::Pcma] {
            let words: Vec<u8> = (0..160).map(|n| (n * 8 / 5) as u8).collect();
            let mut samples = Vec::new();
            codec.decode(&words, &mut samples);
            let mut again = Vec::new();
            codec.encode(&Frame::from_samples(SampleRate::Hz8000, &samples), &mut again);
            // 0x7f is negative zero in µ-law: it has the same value as 0xff.
            let same = |a: u8, b: u8| a == b || (codec == Codec::Pcmu && a == 0x7f && b == 0xff);
            assert!(words.iter().zip(&again).all(|(a, b)| same(*a, *b)), "{codec:?}");
        }
    }

    #[test]
    fn a_wide_band_frame_still_makes_one_packet() {
        let mut out = Vec::new();
        Codec::Pcma.encode(&Frame::silence(SampleRate::Hz16000), &mut out);
        assert_eq!(out, [0xd5; 160]);
    }

    #[test]
    fn names_are_found_in_any_case() {
        assert_eq!(Codec::from_name("pcma"), Some(Codec::Pcma));
        assert_eq!(Codec::from_name("G722"), None);
    }
}
