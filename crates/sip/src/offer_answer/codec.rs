//! The audio codecs that a description can name, each as SDP writes it (RFC 3551, RFC 7587, RFC 4733).
//! Knows names and numbers. Which of them can be played is for whoever fills the list to know.

/// A codec as our description names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodecSpec {
    /// Encoding name; compared without regard to case.
    pub name: &'static str,
    /// The payload type in our offers; in answers the offer's number is used.
    pub payload_type: u8,
    /// The RTP clock in Hz, as `a=rtpmap` has it: 8000 also for G.722 (RFC 3551 section 4.5.2).
    pub clock: u32,
    /// Channels in `a=rtpmap`: 2 for Opus whatever is sent (RFC 7587 section 4.1).
    pub channels: u8,
    /// Our `a=fmtp` parameters.
    pub fmtp: Option<&'static str>,
}

impl CodecSpec {
    /// G.711 µ-law.
    pub const PCMU: Self = Self::plain("PCMU", 0);
    /// G.711 A-law.
    pub const PCMA: Self = Self::plain("PCMA", 8);
    /// G.722 at 64 kbit/s: 16 kHz audio on an 8 kHz RTP clock.
    pub const G722: Self = Self::plain("G722", 9);
    /// Opus for speech: mono both ways, with forward error correction.
    pub const OPUS: Self = Self {
        name: "opus",
        payload_type: 107,
        clock: 48_000,
        channels: 2,
        fmtp: Some("useinbandfec=1;stereo=0;sprop-stereo=0"),
    };
    /// All of them.
    pub const ALL: [Self; 4] = [Self::OPUS, Self::G722, Self::PCMU, Self::PCMA];

    /// The codec of that name, in any case.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.name.eq_ignore_ascii_case(name))
    }

    const fn plain(name: &'static str, payload_type: u8) -> Self {
        Self { name, payload_type, clock: 8_000, channels: 1, fmtp: None }
    }
}
