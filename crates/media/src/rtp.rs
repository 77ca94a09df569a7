//! One RTP packet, read in place and written (RFC 3550 section 5.1).
//! Knows nothing of streams: order, loss and time are the receiver's.

use thiserror::Error;

/// A parsed RTP packet. The payload borrows from the datagram; CSRCs, header extension and padding are skipped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RtpPacket<'a> {
    /// First packet of a talk spurt (RFC 3551 section 4.1) or of a telephone event (RFC 4733 section 2.2).
    pub marker: bool,
    /// What the payload is, 0 to 127.
    pub payload_type: u8,
    /// Counts packets, wraps at 65,536.
    pub sequence: u16,
    /// Sampling instant of the first sample, in units of the codec's clock.
    pub timestamp: u32,
    /// Names the stream.
    pub ssrc: u32,
    /// The encoded audio or event.
    pub payload: &'a [u8],
}

/// Why a datagram is not an RTP packet. The sender's fault; worth counting, never worth answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RtpError {
    /// Shorter than the fixed header.
    #[error("{0} bytes are shorter than the fixed header")]
    TooShort(usize),
    /// Not version 2: something else arrived at this port.
    #[error("version {0} is not 2")]
    Version(u8),
    /// The CSRC list or header extension is longer than the datagram.
    #[error("the header is longer than the datagram")]
    Header,
    /// The padding count is zero or longer than what is left.
    #[error("the padding is longer than the payload")]
    Padding,
}

const FIXED_HEADER: usize = 12;

impl<'a> RtpPacket<'a> {
    /// Reads one datagram.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, RtpError> {
        let (header, rest) =
            datagram.split_first_chunk::<FIXED_HEADER>().ok_or(RtpError::TooShort(datagram.len()))?;
        let [first, second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3] = *header;
        if first >> 6 != 2 {
            return Err(RtpError::Version(first >> 6));
        }
        let mut payload = rest.get(usize::from(first & 0x0f) * 4..).ok_or(RtpError::Header)?;
        if first & 0x10 != 0 {
            let (extension, after) = payload.split_first_chunk::<4>().ok_or(RtpError::Header)?;
            let words = usize::from(u16::from_be_bytes([extension[2], extension[3]]));
            payload = after.get(words * 4..).ok_or(RtpError::Header)?;
        }
        if first & 0x20 != 0 {
            let count = payload.last().copied().map_or(0, usize::from);
            let kept = payload.len().checked_sub(count).ok_or(RtpError::Padding)?;
            if count == 0 {
                return Err(RtpError::Padding);
            }
            payload = &payload[..kept];
        }
        Ok(Self {
            marker: second & 0x80 != 0,
            payload_type: second & 0x7f,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
            payload,
        })
    }

    /// Appends the packet: fixed header and payload, no CSRC, extension or padding.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.reserve(FIXED_HEADER + self.payload.len());
        out.push(0x80);
        out.push(u8::from(self.marker) << 7 | self.payload_type & 0x7f);
        out.extend_from_slice(&self.sequence.to_be_bytes());
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        out.extend_from_slice(&self.ssrc.to_be_bytes());
        out.extend_from_slice(self.payload);
    }
}

impl std::fmt::Debug for RtpPacket<'_> {
    /// Says the header only: the payload is somebody's voice.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RtpPacket")
            .field("marker", &self.marker)
            .field("payload_type", &self.payload_type)
            .field("sequence", &self.sequence)
            .field("timestamp", &self.timestamp)
            .field("ssrc", &self.ssrc)
            .field("bytes", &self.payload.len())
            .finish()
    }
}

/// Whether a datagram on a shared port is RTCP: packet types 192 to 223 (RFC 5761 section 4).
pub fn is_rtcp(datagram: &[u8]) -> bool {
    matches!(datagram, [first, 192..=223, ..] if first >> 6 == 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tone::Chance;

    const PACKET: RtpPacket<'_> = RtpPacket {
        marker: true,
        payload_type: 101,
        sequence: 65_535,
        timestamp: 4_000_000_000,
        ssrc: 0xdead_beef,
        payload: &[1, 2, 3],
    };

    fn written(packet: &RtpPacket<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        packet.write(&mut out);
        out
    }

    #[test]
    fn a_written_packet_reads_back() {
        let bytes = written(&PACKET);
        assert_eq!(bytes[..4], [0x80, 0x80 | 101, 0xff, 0xff]);
        assert_eq!(RtpPacket::parse(&bytes), Ok(PACKET));
    }

    #[test]
    fn csrc_extension_and_padding_are_skipped() {
        let mut bytes = written(&RtpPacket { payload: &[], ..PACKET });
        bytes[0] = 0x80 | 0x20 | 0x10 | 2;
        bytes.extend([9; 8]); // two CSRCs
        bytes.extend([0xbe, 0xde, 0, 1, 7, 7, 7, 7]); // extension of one word
        bytes.extend([42, 43, 0, 0, 3]); // two bytes of payload, three of padding
        assert_eq!(RtpPacket::parse(&bytes).map(|packet| packet.payload), Ok(&[42, 43][..]));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let good = written(&PACKET);
        let with_first = |first: u8| {
            let mut bytes = good.clone();
            bytes[0] = first;
            RtpPacket::parse(&bytes).map(|_| ()).err()
        };
        assert_eq!(RtpPacket::parse(&good[..11]), Err(RtpError::TooShort(11)));
        assert_eq!(with_first(0x40), Some(RtpError::Version(1)));
        assert_eq!(with_first(0x81), Some(RtpError::Header));
        assert_eq!(with_first(0x90), Some(RtpError::Header));
        assert_eq!(with_first(0xa0), None, "three bytes of padding leave nothing, which is allowed");
        let mut zero_padding = good.clone();
        zero_padding[0] = 0xa0;
        zero_padding[14] = 0;
        assert_eq!(RtpPacket::parse(&zero_padding), Err(RtpError::Padding));
    }

    #[test]
    fn no_datagram_makes_the_parser_panic() {
        let mut chance = Chance::new(1);
        for _ in 0..50_000 {
            let length = chance.below(64) as usize;
            let mut bytes: Vec<u8> = (0..length).map(|_| chance.below(256) as u8).collect();
            if let Some(first) = bytes.first_mut() {
                *first = 0x80 | *first & 0x3f;
            }
            let _ = RtpPacket::parse(&bytes);
            let _ = is_rtcp(&bytes);
        }
    }

    #[test]
    fn rtcp_is_told_from_rtp_on_one_port() {
        assert!(is_rtcp(&[0x80, 200, 0, 1]));
        assert!(is_rtcp(&[0x81, 206, 0, 1]));
        assert!(!is_rtcp(&written(&PACKET)));
        assert!(!is_rtcp(&[0x00, 200]), "STUN has version bits 0");
        assert!(!is_rtcp(&[]));
    }
}
