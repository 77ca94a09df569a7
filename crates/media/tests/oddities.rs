//! What phones, gateways and carriers do to RTP and telephone events, as capture files, and what must come of each.
//! The files are made here by hand (see captures/README.md) and open in any analyser; no caller's voice is in them.
#![allow(
    clippy::disallowed_methods,
    reason = "a test needs an instant to begin with, and the files are written here"
)]

use media::{
    Codec, Digit, FRAME, HeardSource, JitterConfig, Receiver, ReceiverConfig, ReceiverStatistics, RtpPacket,
};
use std::time::{Duration, Instant};

/// A capture, how it is made, and what must come out of it. Behind its end three frames are made up, as behind any other.
struct Oddity {
    name: &'static str,
    file: &'static [u8],
    made: fn() -> Vec<Packet>,
    keys: &'static str,
    /// Blocks of 10 ms that must be heard, at least; they are always heard in order.
    blocks: usize,
    told: fn(&ReceiverStatistics) -> bool,
}

macro_rules! oddity {
    ($name:ident, $keys:literal, $blocks:literal, $told:expr) => {
        Oddity {
            name: stringify!($name),
            file: include_bytes!(concat!("captures/", stringify!($name), ".pcap")),
            made: $name,
            keys: $keys,
            blocks: $blocks,
            told: $told,
        }
    };
}

const ODDITIES: [Oddity; 17] = [
    oddity!(lost_end_packets, "5", 150, |s| s.lost == 3),
    oddity!(missing_marker, "7", 150, |s| s.lost == 0),
    oddity!(duplicated_events, "3", 150, |s| s.duplicates == 8),
    oddity!(lost_first_packets, "9", 150, |s| s.lost == 2),
    oddity!(two_events_overlap, "12", 150, |s| s.lost == 0),
    oddity!(event_timestamp_advances, "4", 150, |s| s.lost == 0),
    oddity!(event_timestamp_stands_still, "66", 150, |s| s.lost == 0),
    oddity!(event_in_a_stream_of_its_own, "8", 190, |s| s.ssrc_changes == 0),
    oddity!(audio_beside_an_event, "2", 190, |s| s.lost == 0),
    oddity!(timestamp_jump, "", 190, |s| s.resynchronised == 1 && s.lost == 0),
    oddity!(ssrc_change, "", 190, |s| s.ssrc_changes == 1 && s.lost == 0),
    oddity!(sequence_restart, "", 190, |s| s.lost <= 1),
    oddity!(ptime_10, "", 195, |s| s.lost == 0 && s.concealed <= 3),
    oddity!(ptime_30, "", 195, |s| s.lost == 0),
    oddity!(ptime_60, "", 190, |s| s.lost == 0),
    oddity!(comfort_noise, "", 145, |s| s.lost == 0 && s.concealed <= 3),
    oddity!(late_first_packet, "", 190, |s| s.lost == 0 && s.reordered == 1),
];

/// Arrival in microseconds, and the datagram.
type Packet = (u64, Vec<u8>);

const SSRC: u32 = 0x0bad_cafe;
const EVENT: u8 = 101;

/// Samples of 10 ms, the unit that says where in the stream a sample is from.
const BLOCK: usize = 80;
/// Code words that number blocks: 120 of each sign.
const BASE: usize = 120;

/// Numbered sound: negative samples say the block modulo 120, positive ones between them the rest.
fn sound(block: usize, blocks: usize) -> Vec<u8> {
    let pair = |block: usize| [(block % BASE) as u8, 0x80 | (block / BASE % BASE) as u8];
    (block..block + blocks).flat_map(|block| pair(block).repeat(BLOCK / 2)).collect()
}

/// A phone that is put together packet by packet.
struct Phone {
    at_us: u64,
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
    block: usize,
    packets: Vec<Packet>,
}

impl Phone {
    fn new() -> Self {
        Self { at_us: 0, sequence: 65_500, timestamp: 160_000, ssrc: SSRC, block: 0, packets: Vec::new() }
    }

    fn write(&mut self, at_us: u64, marker: bool, payload_type: u8, timestamp: u32, payload: &[u8]) {
        let mut datagram = Vec::new();
        let (sequence, ssrc) = (self.sequence, self.ssrc);
        RtpPacket { marker, payload_type, sequence, timestamp, ssrc, payload }.write(&mut datagram);
        self.sequence = self.sequence.wrapping_add(1);
        self.packets.push((at_us, datagram));
    }

    /// So many packets of so many blocks of 10 ms.
    fn talk(&mut self, packets: usize, blocks: usize) {
        for _ in 0..packets {
            let payload = sound(self.block, blocks);
            self.write(self.at_us, false, 0, self.timestamp, &payload);
            self.block += blocks;
            self.timestamp = self.timestamp.wrapping_add((blocks * BLOCK) as u32);
            self.at_us += blocks as u64 * 10_000;
        }
    }

    /// One packet of an event that began at `timestamp`, `ticks` long so far. Time goes on by 20 ms if it is to.
    fn event(&mut self, key: u8, marker: bool, timestamp: u32, ticks: u16, end: bool) {
        let [high, low] = ticks.to_be_bytes();
        self.write(self.at_us, marker, EVENT, timestamp, &[key, u8::from(end) << 7 | 10, high, low]);
    }

    fn pass(&mut self, frames: u64) {
        self.at_us += frames * 20_000;
        self.timestamp = self.timestamp.wrapping_add(frames as u32 * 160);
    }

    /// An event of 100 ms as it should be: five packets 20 ms apart, the last of them three times.
    fn press(&mut self, key: u8, marker: bool) {
        let began = self.timestamp;
        for n in 1..=5 {
            self.event(key, marker && n == 1, began, n * 160, n == 5);
            self.pass(1);
        }
        self.event(key, false, began, 800, true);
        self.event(key, false, began, 800, true);
    }

    /// Loses the packets with these places from the end.
    fn lose(&mut self, from_end: &[usize]) {
        let count = self.packets.len();
        let mut place = 0;
        self.packets.retain(|_| {
            place += 1;
            !from_end.contains(&(count - place))
        });
    }
}

/// A second of sound, something odd, a second of sound.
fn around(odd: impl FnOnce(&mut Phone)) -> Vec<Packet> {
    let mut phone = Phone::new();
    phone.talk(50, 2);
    odd(&mut phone);
    phone.talk(50, 2);
    phone.packets
}

fn lost_end_packets() -> Vec<Packet> {
    around(|phone| {
        phone.press(5, true);
        phone.lose(&[0, 1, 2]);
    })
}

fn missing_marker() -> Vec<Packet> {
    around(|phone| phone.press(7, false))
}

fn duplicated_events() -> Vec<Packet> {
    around(|phone| {
        phone.press(3, true);
        let twice: Vec<Packet> =
            phone.packets.split_off(50).into_iter().flat_map(|p| [p.clone(), p]).collect();
        // The last one's copy comes too late to be taken for the event's own.
        phone.packets.extend(twice);
        let (at, last) = phone.packets[phone.packets.len() - 1].clone();
        phone.packets.push((at + 1_000, last));
    })
}

fn lost_first_packets() -> Vec<Packet> {
    around(|phone| {
        phone.press(9, true);
        phone.lose(&[5, 6]);
    })
}

/// The second key begins before the first one's end has been said three times.
fn two_events_overlap() -> Vec<Packet> {
    around(|phone| {
        let first = phone.timestamp;
        for n in 1..=3 {
            phone.event(1, n == 1, first, n * 160, false);
            phone.pass(1);
        }
        let second = phone.timestamp;
        for n in 1..=3 {
            phone.event(1, false, first, 480, true);
            phone.event(2, n == 1, second, n * 160, false);
            phone.pass(1);
        }
        for _ in 0..3 {
            phone.event(2, false, second, 480, true);
        }
    })
}

/// The timestamp moves with every packet of one event, against RFC 4733 section 2.5.1.2.
fn event_timestamp_advances() -> Vec<Packet> {
    around(|phone| {
        for n in 1..=5 {
            let timestamp = phone.timestamp;
            phone.event(4, n == 1, timestamp, n * 160, n == 5);
            phone.pass(1);
        }
    })
}

/// Two presses three seconds apart that say the same timestamp.
fn event_timestamp_stands_still() -> Vec<Packet> {
    let mut phone = Phone::new();
    phone.talk(25, 2);
    for _ in 0..2 {
        for n in 1..=5 {
            phone.event(6, n == 1, 777, n * 160, n == 5);
            phone.pass(1);
        }
        phone.talk(130, 2);
    }
    phone.packets
}

/// A gateway that makes events by itself, beside the audio that it passes on.
fn event_in_a_stream_of_its_own() -> Vec<Packet> {
    let mut gateway = Phone { ssrc: 0x0e0e_0e0e, sequence: 9, timestamp: 5, ..Phone::new() };
    gateway.at_us = 1_000_000;
    gateway.press(8, true);
    let mut packets = around(|_| {});
    packets.extend(gateway.packets);
    packets.sort_by_key(|(at, _)| *at);
    packets
}

/// The tone's sound goes on in the audio while its event is told, each in packets of the same stream.
fn audio_beside_an_event() -> Vec<Packet> {
    around(|phone| {
        let began = phone.timestamp;
        for n in 1..=5 {
            phone.event(2, n == 1, began, n * 160, n == 5);
            phone.talk(1, 2);
        }
    })
}

fn timestamp_jump() -> Vec<Packet> {
    around(|phone| phone.timestamp = phone.timestamp.wrapping_add(3_000_000_000))
}

fn ssrc_change() -> Vec<Packet> {
    around(|phone| (phone.ssrc, phone.sequence, phone.timestamp) = (0xfeed_0001, 12, 99))
}

/// The same SSRC from another number on, as after a transfer behind a media server.
fn sequence_restart() -> Vec<Packet> {
    around(|phone| (phone.sequence, phone.timestamp) = (20_000, 4_000_000))
}

fn packed(packets: usize, blocks: usize) -> Vec<Packet> {
    let mut phone = Phone::new();
    phone.talk(packets, blocks);
    phone.packets
}

fn ptime_10() -> Vec<Packet> {
    packed(200, 1)
}

fn ptime_30() -> Vec<Packet> {
    packed(67, 3)
}

fn ptime_60() -> Vec<Packet> {
    packed(34, 6)
}

/// A pause of half a second is described once (RFC 3389), and nothing is sent until its end.
fn comfort_noise() -> Vec<Packet> {
    let mut phone = Phone::new();
    phone.talk(38, 2);
    let (at, timestamp) = (phone.at_us, phone.timestamp);
    phone.write(at, false, 13, timestamp, &[70]);
    phone.pass(25);
    phone.talk(38, 2);
    phone.packets
}

/// The first packet took another way and comes behind the second.
fn late_first_packet() -> Vec<Packet> {
    let mut packets = packed(100, 2);
    packets[0].0 = 21_000;
    packets.sort_by_key(|(at, _)| *at);
    packets
}

/// As a capture file of raw IPv4 packets, readable by tcpdump, tshark and Wireshark ("decode as" RTP).
fn pcap(packets: &[Packet]) -> Vec<u8> {
    let mut out = Vec::new();
    let word = |out: &mut Vec<u8>, value: u32| out.extend(value.to_le_bytes());
    word(&mut out, 0xa1b2_c3d4);
    out.extend([2, 0, 4, 0]);
    for value in [0, 0, 65_535, 101] {
        word(&mut out, value);
    }
    for (at, datagram) in packets {
        let length = 28 + datagram.len() as u16;
        for value in [(at / 1_000_000) as u32, (at % 1_000_000) as u32, u32::from(length), u32::from(length)]
        {
            word(&mut out, value);
        }
        let [high, low] = length.to_be_bytes();
        // 192.0.2.7:4000 to 192.0.2.1:20000; checksums are left to whoever cares.
        out.extend([0x45, 0, high, low, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 7, 192, 0, 2, 1]);
        let [high, low] = (length - 20).to_be_bytes();
        out.extend([0x0f, 0xa0, 0x4e, 0x20, high, low, 0, 0]);
        out.extend(datagram);
    }
    out
}

/// The UDP payloads of such a file.
fn packets_of(file: &[u8]) -> Vec<Packet> {
    let word = |at: usize| file[at..at + 4].try_into().map(u32::from_le_bytes).expect("four bytes");
    assert_eq!((word(0), word(20)), (0xa1b2_c3d4, 101), "a capture of raw IP");
    let (mut packets, mut at) = (Vec::new(), 24);
    while at < file.len() {
        let length = word(at + 8) as usize;
        let when = u64::from(word(at)) * 1_000_000 + u64::from(word(at + 4));
        packets.push((when, file[at + 16 + 28..at + 16 + length].to_vec()));
        at += 16 + length;
    }
    packets
}

/// What came of a capture: keys, blocks as they were heard, counters.
fn replay(packets: &[Packet], phase_us: u64) -> (String, Vec<usize>, ReceiverStatistics) {
    let start = Instant::now();
    let mut receiver = Receiver::new(ReceiverConfig {
        codec: Codec::Pcmu,
        payload_type: 0,
        telephone_event: Some(EVENT),
        comfort_noise: None,
        jitter: JitterConfig::default(),
    });
    let mut coming = packets.iter().peekable();
    let (mut keys, mut samples) = (String::new(), Vec::new());
    let last = packets.last().map_or(0, |(at, _)| *at);
    for n in 0..(last / 20_000) as u32 + 20 {
        let now = start + Duration::from_micros(phase_us) + FRAME * n;
        while let Some((at, datagram)) = coming.next_if(|(at, _)| start + Duration::from_micros(*at) <= now) {
            let at = start + Duration::from_micros(*at);
            keys.extend(receiver.receive(at, datagram).map(|Digit(key)| key));
        }
        let heard = receiver.pop(now);
        if heard.source == HeardSource::Played {
            samples.extend_from_slice(heard.frame.samples());
        }
    }
    (keys, blocks_in(&samples), receiver.statistics())
}

/// The blocks of which most is there, in the order they are.
fn blocks_in(samples: &[i16]) -> Vec<usize> {
    let mut values = Vec::new();
    Codec::Pcmu.decode(&(0..=255).collect::<Vec<_>>(), &mut values);
    let code = |codes: &[i16], sample: i16| codes[..BASE].iter().position(|value| *value == sample);
    let block = |samples: &[i16]| {
        let (low, high) = (samples[0].min(samples[1]), samples[0].max(samples[1]));
        Some(code(&values[128..], high)? * BASE + code(&values, low)?)
    };
    let (mut blocks, mut start) = (Vec::new(), 0);
    for at in 0..samples.len() {
        if samples.get(at + 2).is_none_or(|after| samples[at] != *after) {
            if at + 2 - start > BLOCK / 2 {
                blocks.extend(block(&samples[start..]));
            }
            start = at + 1;
        }
    }
    blocks
}

#[test]
fn every_oddity_is_heard_as_it_was_meant() {
    for Oddity { name, file, keys, blocks, told, .. } in ODDITIES {
        let packets = packets_of(file);
        // Wherever our heartbeat falls between two packets.
        for phase in [1, 4_000, 9_999, 15_000, 19_999] {
            let (pressed, heard, statistics) = replay(&packets, phase);
            assert_eq!(pressed, keys, "{name}, {phase} µs");
            assert!(heard.windows(2).all(|pair| pair[0] <= pair[1]), "{name}, {phase} µs: {heard:?}");
            let mut different = heard.clone();
            different.dedup();
            assert!(different.len() >= blocks, "{name}, {phase} µs: {} of {blocks} blocks", different.len());
            assert!(told(&statistics), "{name}, {phase} µs: {statistics:?}");
            assert_eq!(statistics.malformed + statistics.unknown_payload_type, 0, "{name}");
        }
    }
}

#[test]
fn the_files_hold_what_is_written_here() {
    for Oddity { name, file, made, .. } in ODDITIES {
        let packets = made();
        assert!(file == pcap(&packets), "{name}: see captures/README.md for how the files are written");
        assert_eq!(packets_of(file), packets);
    }
    let table = include_str!("captures/README.md");
    assert!(ODDITIES.iter().all(|oddity| table.contains(&format!("| `{}` |", oddity.name))));
}

/// `cargo test -p media --test oddities -- --ignored` writes the files anew.
#[test]
#[ignore = "writes files into the tree"]
fn write_the_files() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
    for Oddity { name, made, .. } in ODDITIES {
        std::fs::write(folder.join(format!("{name}.pcap")), pcap(&made()))
            .expect("the folder can be written");
    }
}
