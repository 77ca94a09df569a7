//! Numbers and packs what leaves: one RTP packet every 20 ms, sequence without a gap, and pressed keys.
//! Does not know what is said nor when: the call's heartbeat asks for each packet.

use std::collections::VecDeque;
use std::time::Duration;

use crate::digits::EventPayload;
use crate::{Codec, Digit, Encoder, FRAME, Frame, RtpPacket, tone};

/// How the outgoing stream is numbered and what was agreed for it.
#[derive(Clone, Copy, Debug)]
pub struct SenderConfig {
    /// The codec the other side expects.
    pub codec: Codec,
    /// Its payload type in the other side's SDP.
    pub payload_type: u8,
    /// The other side's payload type for telephone events; without it keys are sent as tones.
    pub telephone_event: Option<u8>,
    /// Ours; should be random.
    pub ssrc: u32,
    /// First sequence number; should be random (RFC 3550 section 5.1).
    pub sequence: u16,
    /// First timestamp; should be random.
    pub timestamp: u32,
}

/// What a sender report says about us (RFC 3550 section 6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderCounts {
    /// Packets sent.
    pub packets: u32,
    /// Payload bytes sent, without headers.
    pub octets: u32,
    /// The RTP timestamp that the next packet will carry.
    pub timestamp: u32,
}

/// Room for a packet of 20 ms, but for rare frames of Opus, and for what encryption appends.
const LIKELY_PACKET: usize = 12 + 160 + 16;

/// Keys waiting to be sent. A gather of this length would take seconds; more is refused and counted.
const MAX_PRESSES: usize = 64;

/// The packet that ends an event is sent this often (RFC 4733 section 2.5.1.4).
const END_PACKETS: u32 = 3;

/// Frames of audio between two keys: with the repeated ends 80 ms pass, more than any detector needs.
const PAUSE: u32 = 2;

/// The shortest press that every detector must accept (ITU-T Q.24), and the longest that makes sense.
const PRESS_RANGE: (Duration, Duration) = (Duration::from_millis(40), Duration::from_secs(30));

/// The longest duration an event's packet can say; a longer press goes on in a new segment that begins so many
/// ticks later (RFC 4733 section 2.5.1.3).
const SEGMENT: u32 = u16::MAX as u32;

/// Level of each of the two tones of an in-band key.
const TONE_DBFS: f32 = -13.0;

/// The outgoing stream of one leg.
pub struct Sender {
    config: SenderConfig,
    encoder: Encoder,
    sequence: u16,
    timestamp: u32,
    packets: u32,
    octets: u32,
    presses: VecDeque<Press>,
    pause: u32,
    resume_with_marker: bool,
    refused_presses: u64,
    halves: bool,
    /// Payload type, timestamp and payload of a second half that has yet to leave.
    second_half: Option<(u8, u32, Vec<u8>)>,
}

struct Press {
    digit: Digit,
    /// As two tones in the audio even if events were agreed on.
    in_band: bool,
    /// Frames the key is down.
    frames: u32,
    /// Frames sent so far, repeated ends included.
    sent: u32,
    /// Timestamp of the event's segment, fixed with its first packet.
    started: u32,
    /// Ticks that earlier segments of the event have said.
    said: u32,
}

impl Sender {
    /// A stream that has sent nothing yet.
    pub fn new(config: SenderConfig) -> Self {
        Self {
            config,
            encoder: Encoder::new(config.codec),
            sequence: config.sequence,
            timestamp: config.timestamp,
            packets: 0,
            octets: 0,
            presses: VecDeque::new(),
            pause: 0,
            resume_with_marker: false,
            refused_presses: 0,
            halves: false,
            second_half: None,
        }
    }

    /// The packet for these 20 ms, or for the first half of them: the frame, or the key being pressed. The marker is set
    /// only on the first packet of a talk spurt and of an event. A second half that was not fetched is given up.
    pub fn packet(&mut self, frame: &Frame, talk_spurt_start: bool) -> Vec<u8> {
        self.second_half = None;
        let marker = talk_spurt_start || std::mem::take(&mut self.resume_with_marker);
        let timestamp = self.timestamp;
        self.timestamp = self.timestamp.wrapping_add(self.step());
        if self.pause > 0 {
            self.pause -= 1;
        } else if let Some(mut press) = self.presses.pop_front() {
            return self.press_packet(&mut press, timestamp);
        }
        self.audio(frame, timestamp, marker)
    }

    /// Whether a second half waits.
    pub const fn has_second_half(&self) -> bool {
        self.second_half.is_some()
    }

    /// The packet with the second half of the last frame, to leave 10 ms after the first; `None` if that was whole.
    pub fn second_half(&mut self) -> Option<Vec<u8>> {
        let (payload_type, timestamp, payload) = self.second_half.take()?;
        Some(self.write(false, payload_type, timestamp, &payload))
    }

    /// Gives the second half up: it leaves no gap in the numbers.
    pub fn forget_second_half(&mut self) {
        self.second_half = None;
    }

    /// Time passed without packets, `frames` times 20 ms of it: the process woke late, or the leg is on hold.
    /// The timestamp keeps the time, the sequence shows no loss.
    pub fn skip(&mut self, frames: u32) {
        self.timestamp = self.timestamp.wrapping_add(self.step().wrapping_mul(frames));
    }

    /// Another codec, or other payload types, from the next packet on. Numbering and SSRC stay (RFC 3264 section 8.3.2).
    pub fn renegotiate(&mut self, codec: Codec, payload_type: u8, telephone_event: Option<u8>) {
        if codec != self.config.codec {
            self.encoder = Encoder::new(codec);
        }
        self.config = SenderConfig { codec, payload_type, telephone_event, ..self.config };
    }

    /// Whether the other side takes no more than 10 ms in a packet: from the next frame on audio leaves in halves, see
    /// [`Sender::second_half`].
    pub const fn set_halves(&mut self, halves: bool) {
        self.halves = halves;
    }

    /// Presses a key: the following packets are its event until it is done, then audio goes on. Keys queue.
    /// Without telephone events it is two tones in the audio.
    pub fn press(&mut self, digit: Digit, duration: Duration) {
        self.queue_press(digit, duration, self.config.telephone_event.is_none());
    }

    /// Presses a key as two tones in the audio, whatever was agreed on: for what listens behind the other side.
    pub fn press_in_band(&mut self, digit: Digit, duration: Duration) {
        self.queue_press(digit, duration, true);
    }

    /// A packet that says what the pause from here on sounds like (RFC 3389): see [`crate::comfort_noise::describe`].
    /// `payload_type` is the other side's; call [`Sender::skip`] for every 20 ms of the pause.
    pub fn comfort_noise(&mut self, payload_type: u8, payload: &[u8]) -> Vec<u8> {
        self.resume_with_marker = true;
        self.write(false, payload_type, self.timestamp, payload)
    }

    fn queue_press(&mut self, digit: Digit, duration: Duration, in_band: bool) {
        if digit.event().is_none() || self.presses.len() >= MAX_PRESSES {
            self.refused_presses += 1;
            return;
        }
        let duration = duration.clamp(PRESS_RANGE.0, PRESS_RANGE.1);
        let frames = duration.as_millis().div_ceil(FRAME.as_millis()) as u32;
        self.presses.push_back(Press { digit, in_band, frames, sent: 0, started: 0, said: 0 });
    }

    /// Whether a key is being sent or waits to be.
    pub fn is_pressing(&self) -> bool {
        !self.presses.is_empty()
    }

    /// Keys not sent: not on the keypad, or too many waiting.
    pub const fn refused_presses(&self) -> u64 {
        self.refused_presses
    }

    /// What the next sender report says.
    pub const fn counts(&self) -> SenderCounts {
        SenderCounts { packets: self.packets, octets: self.octets, timestamp: self.timestamp }
    }

    /// Ours.
    pub const fn ssrc(&self) -> u32 {
        self.config.ssrc
    }

    fn audio(&mut self, frame: &Frame, timestamp: u32, marker: bool) -> Vec<u8> {
        let payload_type = self.config.payload_type;
        if self.halves {
            let mut payload = Vec::with_capacity(LIKELY_PACKET);
            let place = self.encoder.encode_halves(frame, &mut payload);
            let later = timestamp.wrapping_add(self.step() / 2);
            self.second_half = Some((payload_type, later, payload.split_off(place)));
            return self.write(marker, payload_type, timestamp, &payload);
        }
        let mut packet = self.write(marker, payload_type, timestamp, &[]);
        let header = packet.len();
        self.encoder.encode(frame, &mut packet);
        self.octets = self.octets.wrapping_add((packet.len() - header) as u32);
        packet
    }

    /// One packet of a key; puts the key back in front unless this was its last.
    fn press_packet(&mut self, press: &mut Press, timestamp: u32) -> Vec<u8> {
        let first = press.sent == 0;
        if first {
            press.started = timestamp;
        }
        press.sent += 1;
        let event = press.digit.event().zip(self.config.telephone_event).filter(|_| !press.in_band);
        let packet = match event {
            Some((event, payload_type)) => self.event_packet(press, event, payload_type, first),
            None => {
                let rate = self.config.codec.rate();
                let offset = (press.sent - 1) as usize * rate.frame_samples();
                let tone = tone::dtmf(rate.hz(), press.digit, TONE_DBFS, offset, rate.frame_samples());
                self.audio(&Frame::from_samples(rate, &tone), timestamp, first)
            }
        };
        let ends = if event.is_some() { END_PACKETS - 1 } else { 0 };
        if press.sent < press.frames + ends {
            self.presses.push_front(Press { ..*press });
        } else {
            self.pause = PAUSE;
            self.resume_with_marker = event.is_some();
        }
        packet
    }

    fn event_packet(&mut self, press: &mut Press, event: u8, payload_type: u8, first: bool) -> Vec<u8> {
        let elapsed = press.sent.min(press.frames) * self.step();
        let (started, rest) = (press.started, elapsed - press.said);
        let full = rest > SEGMENT;
        if full {
            press.started = started.wrapping_add(SEGMENT);
            press.said += SEGMENT;
        }
        let end = press.sent >= press.frames && !full;
        // A press that ends as its segment is full needs one packet more.
        press.frames += u32::from(full && press.sent >= press.frames);
        let payload = EventPayload { event, end, duration: rest.min(SEGMENT) as u16 };
        self.write(first, payload_type, started, &payload.bytes())
    }

    const fn step(&self) -> u32 {
        self.config.codec.ticks_per_frame()
    }

    fn write(&mut self, marker: bool, payload_type: u8, timestamp: u32, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(LIKELY_PACKET);
        RtpPacket {
            marker,
            payload_type,
            sequence: self.sequence,
            timestamp,
            ssrc: self.config.ssrc,
            payload,
        }
        .write(&mut out);
        self.sequence = self.sequence.wrapping_add(1);
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(payload.len() as u32);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SampleRate;

    fn sender(telephone_event: Option<u8>) -> Sender {
        Sender::new(SenderConfig {
            codec: Codec::Pcmu,
            payload_type: 0,
            telephone_event,
            ssrc: 7,
            sequence: 65_534,
            timestamp: u32::MAX - 200,
        })
    }

    /// Marker, payload type, sequence, timestamp of a packet.
    fn shape(datagram: &[u8]) -> (bool, u8, u16, u32) {
        let packet = RtpPacket::parse(datagram).expect("we wrote it");
        (packet.marker, packet.payload_type, packet.sequence, packet.timestamp)
    }

    fn next(sender: &mut Sender) -> Vec<u8> {
        sender.packet(&Frame::silence(SampleRate::Hz8000), false)
    }

    #[test]
    fn numbers_wrap_without_a_gap_and_a_late_wake_moves_only_the_timestamp() {
        let mut sender = sender(None);
        let first = sender.packet(&Frame::silence(SampleRate::Hz8000), true);
        assert_eq!(shape(&first), (true, 0, 65_534, u32::MAX - 200));
        assert_eq!(first.len(), 172);
        assert_eq!(shape(&next(&mut sender)), (false, 0, 65_535, u32::MAX - 40));
        sender.skip(2);
        assert_eq!(shape(&next(&mut sender)), (false, 0, 0, 439));
        assert_eq!(sender.counts(), SenderCounts { packets: 3, octets: 480, timestamp: 599 });
    }

    #[test]
    fn a_pressed_key_is_one_event_with_three_ends_and_then_audio_goes_on() {
        let mut sender = sender(Some(101));
        sender.press(Digit('5'), Duration::from_millis(60));
        let packets: Vec<Vec<u8>> = (0..7).map(|_| next(&mut sender)).collect();
        let started = u32::MAX - 200;
        for (n, packet) in packets[..5].iter().enumerate() {
            assert_eq!(shape(packet), (n == 0, 101, 65_534u16.wrapping_add(n as u16), started));
        }
        let payloads: Vec<&[u8]> = packets[..5].iter().map(|packet| &packet[12..]).collect();
        let end: &[u8] = &[5, 0x8a, 1, 224];
        assert_eq!(payloads, [&[5, 10, 0, 160], &[5, 10, 1, 64], end, end, end]);
        assert_eq!(shape(&packets[5]), (true, 0, 3, started.wrapping_add(800)));
        assert!(!sender.is_pressing());
    }

    #[test]
    fn keys_queue_with_a_pause_between_them_and_the_queue_is_bounded() {
        let mut sender = sender(Some(101));
        for _ in 0..100 {
            sender.press(Digit('1'), Duration::from_millis(40));
        }
        sender.press(Digit('x'), Duration::from_millis(40));
        assert_eq!(sender.refused_presses(), 37);
        let kinds: Vec<u8> = (0..8).map(|_| shape(&next(&mut sender)).1).collect();
        assert_eq!(kinds, [101, 101, 101, 101, 0, 0, 101, 101]);
    }

    #[test]
    fn a_key_held_longer_than_the_duration_can_say_goes_on_in_segments() {
        for (codec, ticks) in [(Codec::G722, 160), (Codec::Opus(SampleRate::Hz16000), 960)] {
            let config = SenderConfig { codec, ..sender(Some(101)).config };
            let mut sender = Sender::new(config);
            sender.press(Digit('7'), Duration::from_secs(9));
            let (mut segments, mut last, mut ends) = (vec![config.timestamp], 0, 0);
            while sender.is_pressing() {
                let datagram = next(&mut sender);
                let packet = RtpPacket::parse(&datagram).expect("we wrote it");
                let payload = EventPayload::parse(packet.payload).expect("an event");
                if segments.last() != Some(&packet.timestamp) {
                    assert_eq!(
                        (last, ends, packet.marker),
                        (u16::MAX, 0, false),
                        "the segment before is full"
                    );
                    segments.push(packet.timestamp);
                }
                last = payload.duration;
                ends += u32::from(payload.end);
            }
            assert_eq!(ends, 3);
            assert!(segments.windows(2).all(|pair| pair[1].wrapping_sub(pair[0]) == SEGMENT));
            let said = (segments.len() as u32 - 1) * SEGMENT + u32::from(last);
            assert_eq!(said, 450 * ticks, "{codec:?}");
        }
    }

    #[test]
    fn a_pause_is_described_once_and_speech_after_it_begins_a_spurt() {
        let mut sender = sender(None);
        let first = sender.comfort_noise(13, &[60]);
        assert_eq!((shape(&first), &first[12..]), ((false, 13, 65_534, u32::MAX - 200), &[60][..]));
        sender.skip(10);
        assert_eq!(shape(&next(&mut sender)), (true, 0, 65_535, 1_399));
    }

    #[test]
    fn a_peer_that_takes_10_ms_gets_two_packets_that_hold_what_one_would() {
        for codec in [Codec::Pcmu, Codec::Pcma, Codec::G722] {
            let config = SenderConfig { codec, ..sender(None).config };
            let (mut whole, mut halves) = (Sender::new(config), Sender::new(config));
            halves.set_halves(true);
            for n in 0..5u16 {
                let voice = tone::sine(codec.rate().hz(), 300.0, -12.0, codec.rate().frame_samples());
                let frame = Frame::from_samples(codec.rate(), &voice);
                let one = whole.packet(&frame, n == 0);
                let (first, second) =
                    (halves.packet(&frame, n == 0), halves.second_half().expect("the rest"));
                assert_eq!([&first[12..], &second[12..]].concat(), one[12..], "{codec:?}");
                let at = (u32::MAX - 200).wrapping_add(u32::from(n) * 160);
                let number = 65_534u16.wrapping_add(2 * n);
                assert_eq!(shape(&first), (n == 0, 0, number, at));
                assert_eq!(shape(&second), (false, 0, number.wrapping_add(1), at.wrapping_add(80)));
                assert!(halves.second_half().is_none());
            }
        }
    }

    #[test]
    fn opus_in_packets_of_10_ms_is_coded_in_such() {
        let rate = SampleRate::Hz16000;
        let codec = Codec::Opus(rate);
        let mut sender = Sender::new(SenderConfig { codec, ..sender(None).config });
        sender.set_halves(true);
        let first = sender.packet(&Frame::from_samples(rate, &tone::sine(16_000, 300.0, -12.0, 320)), true);
        let second = sender.second_half().expect("the rest");
        assert_eq!([&first, &second].map(|packet| codec.samples_in(&packet[12..])), [Some(160), Some(160)]);
    }

    #[test]
    fn a_second_half_whose_time_is_over_leaves_no_gap_in_the_sequence() {
        let mut sender = sender(None);
        sender.set_halves(true);
        let numbers: Vec<u16> = (0..3).map(|_| shape(&next(&mut sender)).2).collect();
        assert_eq!(numbers, [65_534, 65_535, 0]);
    }

    #[test]
    fn without_telephone_events_a_key_is_two_tones() {
        let mut sender = sender(None);
        sender.press(Digit('1'), Duration::from_millis(40));
        let mut samples = Vec::new();
        for _ in 0..2 {
            Codec::Pcmu.decode(&next(&mut sender)[12..], &mut samples);
        }
        let strength = |frequency: f32| {
            let angle = |n: usize| std::f32::consts::TAU * frequency * n as f32 / 8_000.0;
            let product = |wave: fn(f32) -> f32| {
                samples.iter().enumerate().map(|(n, s)| f32::from(*s) * wave(angle(n))).sum::<f32>()
            };
            product(f32::sin).hypot(product(f32::cos))
        };
        let others = [770.0, 852.0, 941.0, 1336.0, 1477.0, 1633.0].map(strength);
        let loudest = others.into_iter().fold(0.0, f32::max);
        assert!(strength(697.0) > 5.0 * loudest && strength(1209.0) > 5.0 * loudest);
        assert_eq!(next(&mut sender)[12..], [0xff; 160]);
    }
}
