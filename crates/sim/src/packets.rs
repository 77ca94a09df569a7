//! How the caller's phone puts its sound into packets: their length, pauses that are not sent, and a stream that begins
//! anew as behind a media server. Knows RTP. Knows nothing of the network or of what is said.

use media::{Codec, Frame, RtpPacket};
use std::time::Duration;

/// What a phone does with its packets.
#[derive(Clone, Debug)]
pub struct Packets {
    /// Sound in one of them, in steps of 10 ms. Other lengths than 20 ms are for G.711 and G.722 only: their code can be
    /// cut anywhere.
    pub length: Duration,
    /// Pauses are described (RFC 3389) and then not sent.
    pub pauses: bool,
    /// From then on after the answer the stream has another SSRC, with other numbers.
    pub begins_anew: Option<Duration>,
}

impl Default for Packets {
    /// As most phones do.
    fn default() -> Self {
        Self { length: media::FRAME, pauses: false, begins_anew: None }
    }
}

/// Turns the packets of a plain sender into those of this phone.
pub(crate) struct Packetizer {
    packets: Packets,
    /// Distance of the SSRC and the timestamps from the sender's, and our own next sequence number.
    ssrc: u32,
    timestamp_offset: u32,
    sequence: u16,
    /// Code that has not left, and the timestamp of its first byte.
    waiting: Vec<u8>,
    from: u32,
    /// Payload type and SSRC of the sender's audio.
    audio: (u8, u32),
    /// Quiet frames in a row.
    quiet: u32,
    marker: bool,
}

/// Frames that a pause must last before it is one.
const PAUSE: u32 = 10;

/// What is quieter is a pause.
const QUIET_DBFS: f32 = -60.0;

/// The static payload type of comfort noise, and the level it tells: -65 dBov.
const COMFORT_NOISE: (u8, u8) = (13, 65);

/// Bytes of G.711 and G.722 in 10 ms, and ticks of their clocks.
const TEN_MS: usize = 80;

impl Packetizer {
    pub(crate) fn new(packets: Packets, first_sequence: u16) -> Self {
        Self {
            packets,
            ssrc: 0,
            sequence: first_sequence,
            timestamp_offset: 0,
            waiting: Vec::new(),
            from: 0,
            audio: (0, 0),
            quiet: 0,
            marker: false,
        }
    }

    /// What leaves of a sender's packet with this frame in it, so long `after` the answer, and how much later than now.
    pub(crate) fn take(
        &mut self,
        after: Duration,
        codec: Codec,
        payload_type: u8,
        frame: &Frame,
        datagram: &[u8],
    ) -> Vec<(Duration, Vec<u8>)> {
        if self.packets.begins_anew.take_if(|at| *at <= after).is_some() {
            (self.ssrc, self.timestamp_offset) = (0x0100_0000, 0x4000_0000);
            self.sequence = self.sequence.wrapping_add(20_000);
            self.waiting.clear();
        }
        let Ok(packet) = RtpPacket::parse(datagram) else { return Vec::new() };
        if packet.payload_type != payload_type {
            let mut out = self.flush();
            out.push(self.write(&packet));
            return now(out);
        }
        if self.packets.pauses {
            self.quiet = if frame.level_dbfs() < QUIET_DBFS { self.quiet + 1 } else { 0 };
            if self.quiet >= PAUSE {
                return now(self.rest(&packet));
            }
        }
        let plain = self.packets.length == media::FRAME || matches!(codec, Codec::Opus(_));
        if plain {
            let marker = packet.marker || std::mem::take(&mut self.marker);
            return now(vec![self.write(&RtpPacket { marker, ..packet })]);
        }
        self.repack(&packet)
    }

    /// A pause: its description once, and nothing more.
    fn rest(&mut self, packet: &RtpPacket<'_>) -> Vec<Vec<u8>> {
        self.marker = true;
        if self.quiet > PAUSE {
            return Vec::new();
        }
        let mut out = self.flush();
        let (payload_type, level) = COMFORT_NOISE;
        out.push(self.write(&RtpPacket { payload_type, marker: false, payload: &[level], ..*packet }));
        out
    }

    /// Packets of the phone's length, each when its last 10 ms have been recorded.
    fn repack(&mut self, packet: &RtpPacket<'_>) -> Vec<(Duration, Vec<u8>)> {
        if self.audio.0 != packet.payload_type {
            // Another codec from here on.
            self.waiting.clear();
        }
        if self.waiting.is_empty() {
            self.from = packet.timestamp;
        }
        self.audio = (packet.payload_type, packet.ssrc);
        let length = self.packets.length.as_millis() as usize / 10 * TEN_MS;
        let mut out = Vec::new();
        for (n, ten_ms) in packet.payload.chunks(TEN_MS).enumerate() {
            self.waiting.extend_from_slice(ten_ms);
            if self.waiting.len() >= length {
                let payload = std::mem::take(&mut self.waiting);
                let (timestamp, marker) = (self.from, std::mem::take(&mut self.marker));
                self.from = timestamp.wrapping_add(length as u32);
                let whole = RtpPacket { timestamp, marker, payload: &payload, ..*packet };
                out.push((Duration::from_millis(10) * n as u32, self.write(&whole)));
            }
        }
        out
    }

    /// What waits leaves at once: something else comes between.
    fn flush(&mut self) -> Vec<Vec<u8>> {
        let payload = std::mem::take(&mut self.waiting);
        if payload.is_empty() {
            return Vec::new();
        }
        let ((payload_type, ssrc), timestamp) = (self.audio, self.from);
        let packet =
            RtpPacket { marker: false, payload_type, sequence: 0, timestamp, ssrc, payload: &payload };
        vec![self.write(&packet)]
    }

    fn write(&mut self, packet: &RtpPacket<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        RtpPacket {
            sequence: self.sequence,
            timestamp: packet.timestamp.wrapping_add(self.timestamp_offset),
            ssrc: packet.ssrc.wrapping_add(self.ssrc),
            ..*packet
        }
        .write(&mut out);
        self.sequence = self.sequence.wrapping_add(1);
        out
    }
}

fn now(datagrams: Vec<Vec<u8>>) -> Vec<(Duration, Vec<u8>)> {
    datagrams.into_iter().map(|datagram| (Duration::ZERO, datagram)).collect()
}
