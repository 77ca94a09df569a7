//! Everything that arrives on one leg's RTP port: order, loss, decoding, keys, and the frame for every 20 ms.
//! Does not know addresses: who may send is decided before.

use std::time::{Duration, Instant};

use crate::digits::{DigitDetector, EventPayload};
use crate::jitter::{Content, JitterBuffer};
use crate::{Codec, Digit, Heard, JitterConfig, RtpPacket, SampleRate, is_rtcp};

/// What was agreed for the incoming stream.
#[derive(Clone, Copy, Debug)]
pub struct ReceiverConfig {
    /// The codec the other side sends.
    pub codec: Codec,
    /// Its payload type in our SDP.
    pub payload_type: u8,
    /// Our payload type for telephone events, if any.
    pub telephone_event: Option<u8>,
    /// Our payload type for comfort noise besides the static 13.
    pub comfort_noise: Option<u8>,
    /// How much delay the buffer may add.
    pub jitter: JitterConfig,
}

/// What has arrived so far, and how well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiverStatistics {
    /// RTP packets of this stream, duplicates and late ones included.
    pub received: u64,
    /// Packets that never came, by the gaps in the sequence.
    pub lost: u64,
    /// Packets that came after their frame had to be made up.
    pub late: u64,
    /// Packets that came twice or more.
    pub duplicates: u64,
    /// Packets that came after one with a higher sequence number.
    pub reordered: u64,
    /// Frames made up for missing audio.
    pub concealed: u64,
    /// Lost packets decoded from the copy in the one behind them.
    pub recovered: u64,
    /// How often time was gained, by repeating a pitch period or by waiting, to let the delay grow.
    pub inserted: u64,
    /// How often a pitch period or a frame of silence was left out to let the delay shrink.
    pub dropped: u64,
    /// Packets dropped because too much was queued.
    pub overflowed: u64,
    /// Jumps of the timestamp that moved the timeline.
    pub resynchronised: u64,
    /// Datagrams that are not RTP, or whose payload cannot be right.
    pub malformed: u64,
    /// Packets of a payload type that was not agreed.
    pub unknown_payload_type: u64,
    /// Interarrival jitter (RFC 3550 section 6.4.1).
    pub jitter: Duration,
    /// The same in timestamp units, as reports carry it.
    pub jitter_units: u32,
    /// Mean time a packet waits in the buffer until its frame is played.
    pub buffered: Duration,
    /// How often another SSRC took the stream over.
    pub ssrc_changes: u64,
    /// When the last packet came.
    pub last_arrival: Option<Instant>,
    /// The stream's SSRC.
    pub ssrc: Option<u32>,
    /// Highest sequence number, extended by the number of its cycles (RFC 3550 section 6.4.1).
    pub highest_sequence: u32,
    /// Packets that the sequence numbers say were sent.
    pub expected: u64,
}

/// The static payload type of comfort noise (RFC 3389 section 4).
const COMFORT_NOISE: u8 = 13;

/// The longest payload that makes sense: 200 ms of G.711 or G.722.
const MAX_PAYLOAD: usize = 1_600;

/// A forward jump of the sequence beyond this is a restart (RFC 3550 appendix A.1).
const MAX_DROPOUT: i64 = 3_000;

/// A backward one beyond this as well.
const MAX_MISORDER: i64 = 100;

/// The receiving side of one leg.
pub struct Receiver {
    config: ReceiverConfig,
    buffer: JitterBuffer,
    digits: DigitDetector,
    stream: Option<Stream>,
    /// First packet of an SSRC that may take the stream over.
    pretender: Option<Pretender>,
    statistics: ReceiverStatistics,
    /// Expected and unique packets of earlier streams.
    earlier: (u64, u64),
}

struct Pretender {
    ssrc: u32,
    sequence: u16,
    arrived: Instant,
    datagram: Vec<u8>,
}

/// How many sequence numbers the second packet of a new SSRC may be ahead of the first.
const PROBATION: u16 = 5;

impl Receiver {
    /// Nothing has arrived yet. Frames will have the codec's rate.
    pub fn new(config: ReceiverConfig) -> Self {
        Self::with_rate(config, config.codec.rate())
    }

    /// Nothing has arrived yet. Frames will have this rate, whatever the codec's is.
    pub fn with_rate(config: ReceiverConfig, rate: SampleRate) -> Self {
        Self {
            config,
            buffer: JitterBuffer::new(config.jitter, config.codec, rate),
            digits: DigitDetector::new(config.codec.clock_hz()),
            stream: None,
            pretender: None,
            statistics: ReceiverStatistics::default(),
            earlier: (0, 0),
        }
    }

    /// One datagram as it came, with its arrival time. Never fails: what is wrong is counted. Returns a key
    /// when it is recognised, each press once.
    pub fn receive(&mut self, now: Instant, datagram: &[u8]) -> Option<Digit> {
        let packet = match RtpPacket::parse(datagram) {
            Ok(packet) if !is_rtcp(datagram) => packet,
            Ok(_) | Err(_) => {
                self.statistics.malformed += 1;
                return None;
            }
        };
        self.statistics.last_arrival = Some(now);
        match &self.stream {
            None => self.begin(&packet),
            Some(stream) if stream.ssrc == packet.ssrc => {}
            Some(_) => return self.foreign(now, &packet, datagram),
        }
        self.accept(now, &packet)
    }

    /// The SSRC of a datagram that could belong to this stream: RTP of a payload type that was agreed on.
    pub fn stream_of(&self, datagram: &[u8]) -> Option<u32> {
        let packet = RtpPacket::parse(datagram).ok().filter(|_| !is_rtcp(datagram))?;
        let agreed = [Some(self.config.payload_type), self.config.telephone_event, self.config.comfort_noise];
        let known = packet.payload_type == COMFORT_NOISE || agreed.contains(&Some(packet.payload_type));
        known.then_some(packet.ssrc)
    }

    /// Another codec, or other payload types, from now on. What the buffer holds is still played; its bounds stay,
    /// and so does the rate of the frames: whoever listens need not change.
    pub fn renegotiate(&mut self, config: ReceiverConfig) {
        self.buffer.set_codec(config.codec);
        self.digits.set_clock(config.codec.clock_hz());
        self.config = ReceiverConfig { jitter: self.config.jitter, ..config };
    }

    /// The rate of all frames.
    pub const fn rate(&self) -> SampleRate {
        self.buffer.rate()
    }

    /// Exactly one frame per call, to be called every 20 ms.
    pub fn pop(&mut self, now: Instant) -> Heard {
        self.buffer.pop(now)
    }

    /// The counters so far.
    pub fn statistics(&self) -> ReceiverStatistics {
        let counts = self.buffer.counts();
        let (mut expected, mut unique) = self.earlier;
        let mut statistics = self.statistics;
        if let Some(stream) = &self.stream {
            expected += stream.expected();
            unique += stream.unique;
            statistics.ssrc = Some(stream.ssrc);
            statistics.highest_sequence = stream.highest as u32;
        }
        let units = self.buffer.jitter_units();
        ReceiverStatistics {
            lost: expected.saturating_sub(unique),
            expected,
            late: counts.late,
            concealed: counts.concealed,
            recovered: counts.recovered,
            inserted: counts.inserted,
            dropped: counts.dropped,
            overflowed: counts.overflowed,
            resynchronised: counts.resynchronised,
            jitter_units: units,
            jitter: self.buffer.jitter(),
            malformed: statistics.malformed + counts.undecodable,
            buffered: self.buffer.delay(),
            ..statistics
        }
    }

    fn begin(&mut self, packet: &RtpPacket<'_>) {
        if let Some(old) = self.stream.replace(Stream::new(packet.ssrc, packet.sequence)) {
            self.earlier.0 += old.expected();
            self.earlier.1 += old.unique;
        }
    }

    /// A packet of another SSRC. Keys count at once, some gateways send them so; audio must come twice in order
    /// before it takes the stream over, so that one stray packet cannot.
    fn foreign(&mut self, now: Instant, packet: &RtpPacket<'_>, datagram: &[u8]) -> Option<Digit> {
        if Some(packet.payload_type) == self.config.telephone_event {
            return self.event(now, packet);
        }
        let first = self.pretender.take().filter(|first| {
            let ahead = packet.sequence.wrapping_sub(first.sequence);
            first.ssrc == packet.ssrc && (1..=PROBATION).contains(&ahead)
        });
        let Some(first) = first else {
            if datagram.len() <= MAX_PAYLOAD {
                let (ssrc, sequence) = (packet.ssrc, packet.sequence);
                self.pretender =
                    Some(Pretender { ssrc, sequence, arrived: now, datagram: datagram.to_vec() });
            }
            return None;
        };
        self.statistics.ssrc_changes += 1;
        self.buffer.new_stream();
        if let Ok(earlier) = RtpPacket::parse(&first.datagram) {
            self.begin(&earlier);
            self.accept(first.arrived, &earlier);
        }
        self.accept(now, packet)
    }

    /// A packet of the current stream.
    fn accept(&mut self, now: Instant, packet: &RtpPacket<'_>) -> Option<Digit> {
        self.statistics.received += 1;
        let stream = self.stream.as_mut()?;
        let sequence = match stream.arrive(packet.sequence) {
            Arrival::Next(sequence) => sequence,
            Arrival::Reordered(sequence) => {
                self.statistics.reordered += 1;
                sequence
            }
            Arrival::Duplicate => {
                self.statistics.duplicates += 1;
                return None;
            }
            Arrival::Astray => return None,
            Arrival::Restart => {
                self.begin(packet);
                let stream = self.stream.as_mut()?;
                stream.unique = 1;
                stream.highest
            }
        };
        self.dispatch(now, sequence, packet)
    }

    fn dispatch(&mut self, now: Instant, sequence: i64, packet: &RtpPacket<'_>) -> Option<Digit> {
        let payload_type = packet.payload_type;
        if payload_type == self.config.payload_type {
            let fits = packet.payload.len() <= MAX_PAYLOAD;
            if !fits || !self.buffer.insert(now, sequence, packet.timestamp, &Content::Audio(packet.payload))
            {
                self.statistics.malformed += 1;
            }
        } else if Some(payload_type) == self.config.telephone_event {
            let digit = self.event(now, packet);
            if digit.is_some() {
                self.buffer.insert(now, sequence, packet.timestamp, &Content::Quiet(None));
            }
            return digit;
        } else if payload_type == COMFORT_NOISE || Some(payload_type) == self.config.comfort_noise {
            self.buffer.insert(now, sequence, packet.timestamp, &Content::Quiet(Some(packet.payload)));
        } else {
            self.statistics.unknown_payload_type += 1;
        }
        None
    }

    fn event(&mut self, now: Instant, packet: &RtpPacket<'_>) -> Option<Digit> {
        let Some(payload) = EventPayload::parse(packet.payload) else {
            self.statistics.malformed += 1;
            return None;
        };
        self.digits.receive(now, packet.ssrc, packet.timestamp, packet.marker, payload)
    }
}

/// The sequence numbers of one SSRC (RFC 3550 appendix A.1, with a window against duplicates).
struct Stream {
    ssrc: u32,
    first: i64,
    /// Highest sequence number, with its cycles above the low 16 bits.
    highest: i64,
    /// Bit n: `highest` - n has arrived.
    window: u128,
    unique: u64,
    /// Where a restarted sequence would go on.
    restart: Option<u16>,
}

enum Arrival {
    Next(i64),
    Reordered(i64),
    Duplicate,
    /// Far from where the sequence is: perhaps the first of a restart.
    Astray,
    /// The second in order after a jump.
    Restart,
}

impl Stream {
    /// A stream about to get its first packet.
    fn new(ssrc: u32, sequence: u16) -> Self {
        let sequence = i64::from(sequence);
        Self { ssrc, first: sequence, highest: sequence, window: 0, unique: 0, restart: None }
    }

    const fn expected(&self) -> u64 {
        (self.highest - self.first + 1) as u64
    }

    fn arrive(&mut self, sequence: u16) -> Arrival {
        let step = i64::from(sequence.wrapping_sub(self.highest as u16) as i16);
        if step >= MAX_DROPOUT || step <= -MAX_MISORDER {
            if self.restart == Some(sequence) {
                return Arrival::Restart;
            }
            self.restart = Some(sequence.wrapping_add(1));
            return Arrival::Astray;
        }
        self.restart = None;
        if step > 0 {
            self.window = self.window.checked_shl(step as u32).unwrap_or(0) | 1;
            self.highest += step;
            self.unique += 1;
            return Arrival::Next(self.highest);
        }
        let bit = 1u128 << -step;
        if self.window & bit != 0 {
            return Arrival::Duplicate;
        }
        self.window |= bit;
        self.unique += 1;
        // A stream that begins out of order has lost nothing.
        self.first = self.first.min(self.highest + step);
        if step == 0 { Arrival::Next(self.highest) } else { Arrival::Reordered(self.highest + step) }
    }
}
