//! Which codec a leg speaks, by its RTP payload type and its SDP name, and how its packets measure time.
//! Does not know how it was negotiated, nor what a stream remembers: that is the encoder's and decoder's.

use crate::decoder::Decoder;
use crate::encoder::Encoder;
use crate::{Frame, SampleRate, g711};

/// The audio codecs of a telephone leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// G.711 µ-law (North America, Japan).
    Pcmu,
    /// G.711 A-law (everywhere else).
    Pcma,
    /// G.722 at 64 kbit/s: wide band, with an RTP clock of half its sample rate (RFC 3551 section 4.5.2).
    G722,
    /// Opus (RFC 7587), coded and decoded at this rate whatever the other side's is.
    Opus(SampleRate),
}

/// The longest packet that is taken, in milliseconds of audio.
pub(crate) const LONGEST_PACKET_MS: usize = 200;

impl Codec {
    /// The static payload type (RFC 3551 section 6); for Opus, which has none, the one most often offered.
    pub const fn payload_type(self) -> u8 {
        match self {
            Self::Pcmu => 0,
            Self::Pcma => 8,
            Self::G722 => 9,
            Self::Opus(_) => 111,
        }
    }

    /// The encoding name in SDP (RFC 3551 section 6, RFC 7587 section 7).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
            Self::G722 => "G722",
            Self::Opus(_) => "opus",
        }
    }

    /// The codec with this encoding name, compared without regard to case as SDP requires. Opus is wide band.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Pcmu, Self::Pcma, Self::G722, Self::Opus(SampleRate::Hz16000)]
            .into_iter()
            .find(|codec| codec.name().eq_ignore_ascii_case(name))
    }

    /// The rate of the samples it carries.
    pub const fn rate(self) -> SampleRate {
        match self {
            Self::Pcmu | Self::Pcma => SampleRate::Hz8000,
            Self::G722 => SampleRate::Hz16000,
            Self::Opus(rate) => rate,
        }
    }

    /// Ticks of the RTP timestamp in a second, for the audio and for the telephone events beside it.
    pub const fn clock_hz(self) -> u32 {
        match self {
            Self::Pcmu | Self::Pcma | Self::G722 => 8_000,
            Self::Opus(_) => 48_000,
        }
    }

    /// Ticks of the RTP timestamp in 20 ms.
    pub const fn ticks_per_frame(self) -> u32 {
        self.clock_hz() / 50
    }

    /// How many samples at [`Codec::rate`] a payload holds; `None` if it cannot be one, or is too long.
    pub fn samples_in(self, payload: &[u8]) -> Option<usize> {
        let hz = self.rate().hz();
        let samples = match self {
            Self::Pcmu | Self::Pcma => payload.len(),
            Self::G722 => payload.len() * 2,
            Self::Opus(_) => opus::packet::get_nb_samples(payload, hz).ok()?,
        };
        let longest = hz as usize / 1_000 * LONGEST_PACKET_MS;
        (1..=longest).contains(&samples).then_some(samples)
    }

    /// Whether a packet can hold a second, coarser copy of the one before it.
    pub(crate) const fn has_error_correction(self) -> bool {
        matches!(self, Self::Opus(_))
    }

    /// Appends the code of one frame alone. Right for G.711, which has no memory; a stream of the others needs
    /// one [`Encoder`].
    pub fn encode(self, frame: &Frame, out: &mut Vec<u8>) {
        match (self, frame.rate()) {
            (Self::Pcmu, SampleRate::Hz8000) => append(frame, g711::encode_ulaw, out),
            (Self::Pcma, SampleRate::Hz8000) => append(frame, g711::encode_alaw, out),
            (Self::Pcmu | Self::Pcma, SampleRate::Hz16000) | (Self::G722 | Self::Opus(_), _) => {
                Encoder::new(self).encode(frame, out);
            }
        }
    }

    /// Appends the samples of one payload alone. Right for G.711; a stream of the others needs one [`Decoder`].
    pub fn decode(self, payload: &[u8], out: &mut Vec<i16>) {
        match self {
            Self::Pcmu => out.extend(payload.iter().map(|code| g711::ULAW[usize::from(*code)])),
            Self::Pcma => out.extend(payload.iter().map(|code| g711::ALAW[usize::from(*code)])),
            Self::G722 | Self::Opus(_) => {
                Decoder::new(self).decode(payload, out);
            }
        }
    }
}

/// Generic so that the law is inlined into the loop.
fn append(frame: &Frame, law: impl Fn(i16) -> u8, out: &mut Vec<u8>) {
    out.extend(frame.samples().iter().map(|sample| law(*sample)));
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Codec; 5] = [
        Codec::Pcmu,
        Codec::Pcma,
        Codec::G722,
        Codec::Opus(SampleRate::Hz8000),
        Codec::Opus(SampleRate::Hz16000),
    ];

    #[test]
    fn code_words_survive_decoding_and_encoding() {
        for codec in [Codec::Pcmu, Codec::Pcma] {
            let words: Vec<u8> = (0..160).map(|n| (n * 8 / 5) as u8).collect();
            let mut samples = Vec::new();
            codec.decode(&words, &mut samples);
            let mut again = Vec::new();
            codec.encode(&Frame::from_samples(SampleRate::Hz8000, &samples), &mut again);
            assert_eq!(words, again, "{codec:?}");
        }
    }

    #[test]
    fn a_frame_of_either_rate_makes_one_packet_of_20_ms() {
        for codec in ALL {
            for rate in [SampleRate::Hz8000, SampleRate::Hz16000] {
                let mut out = Vec::new();
                codec.encode(&Frame::silence(rate), &mut out);
                assert_eq!(codec.samples_in(&out), Some(codec.rate().frame_samples()), "{codec:?} {rate:?}");
            }
        }
    }

    #[test]
    fn names_are_found_in_any_case() {
        assert_eq!(Codec::from_name("pcma"), Some(Codec::Pcma));
        assert_eq!(Codec::from_name("g722"), Some(Codec::G722));
        assert_eq!(Codec::from_name("OPUS"), Some(Codec::Opus(SampleRate::Hz16000)));
        assert_eq!(Codec::from_name("G729"), None);
    }

    #[test]
    fn what_is_empty_or_too_long_is_no_payload() {
        for codec in ALL {
            assert_eq!(codec.samples_in(&[]), None, "{codec:?}");
        }
        assert_eq!(Codec::Pcmu.samples_in(&[0; 1_601]), None);
        assert_eq!(Codec::G722.samples_in(&[0; 1_600]), Some(3_200));
        // One byte of Opus is the code of silence; a count of 63 frames of 20 ms is more than the 120 ms allowed.
        assert_eq!(Codec::Opus(SampleRate::Hz16000).samples_in(&[8]), Some(320));
        assert_eq!(Codec::Opus(SampleRate::Hz16000).samples_in(&[11, 63]), None);
    }
}
