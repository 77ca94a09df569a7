//! What a caller's stream sounds like behind a bad network: promises of the receiver over many seeds.
//! The link below is made up; nothing here opens a socket or reads a clock but for a start.
#![allow(missing_docs)]

use std::time::{Duration, Instant};

use media::tone::Chance;
use media::{
    Codec, Digit, FRAME, Heard, HeardSource, JitterConfig, Receiver, ReceiverConfig, ReceiverStatistics,
    RtpPacket,
};

const EVENT: u8 = 101;

fn config() -> ReceiverConfig {
    ReceiverConfig {
        codec: Codec::Pcmu,
        payload_type: 0,
        telephone_event: Some(EVENT),
        comfort_noise: None,
        jitter: JitterConfig::default(),
    }
}

/// Samples of 10 ms, the unit that says where in the stream a sample is from.
const BLOCK: usize = 80;

/// Code words used to number blocks: 120 of each sign, all different in value.
const BASE: usize = 120;

/// The payload from a block on: negative samples say the block modulo 120, positive ones between them the rest.
fn payload(block: usize, blocks: usize) -> Vec<u8> {
    let pair = |block: usize| [(block % BASE) as u8, 0x80 | (block / BASE % BASE) as u8];
    (block..block + blocks).flat_map(|block| pair(block).repeat(BLOCK / 2)).collect()
}

/// Which block these samples are from, by the first two; `None` if they were made up.
fn block_of(samples: &[i16]) -> Option<usize> {
    let mut values = Vec::new();
    Codec::Pcmu.decode(&(0..=255).collect::<Vec<_>>(), &mut values);
    let code = |codes: &[i16], sample: i16| codes[..BASE].iter().position(|value| *value == sample);
    let (low, high) = (samples[0].min(samples[1]), samples[0].max(samples[1]));
    Some(code(&values[128..], high)? * BASE + code(&values, low)?)
}

#[derive(Clone)]
struct Link {
    seed: u64,
    seconds: u64,
    packet_blocks: usize,
    loss: f32,
    /// Delay beyond the shortest, evenly spread.
    jitter: Duration,
    duplicates: f32,
    /// Packets swapped with the one behind them.
    swaps: f32,
    /// How much faster the sender's clock runs, in parts per million.
    skew_ppm: i64,
    first_sequence: u16,
    first_timestamp: u32,
}

impl Link {
    fn perfect(seed: u64) -> Self {
        Self {
            seed,
            seconds: 10,
            packet_blocks: 2,
            loss: 0.0,
            jitter: Duration::ZERO,
            duplicates: 0.0,
            swaps: 0.0,
            skew_ppm: 0,
            first_sequence: 65_500,
            first_timestamp: u32::MAX - 8_000,
        }
    }

    /// Arrival times since the start, and datagrams, in order of arrival.
    fn arrivals(&self) -> Vec<(Duration, Vec<u8>)> {
        let mut chance = Chance::new(self.seed);
        let count = self.seconds as usize * 100 / self.packet_blocks;
        let mut arrivals = Vec::new();
        for n in 0..count {
            let block = n * self.packet_blocks;
            let mut datagram = Vec::new();
            RtpPacket {
                marker: n == 0,
                payload_type: 0,
                sequence: self.first_sequence.wrapping_add(n as u16),
                timestamp: self.first_timestamp.wrapping_add((block * BLOCK) as u32),
                ssrc: 7,
                payload: &payload(block, self.packet_blocks),
            }
            .write(&mut datagram);
            let sent = block as i64 * 10_000 * (1_000_000 - self.skew_ppm) / 1_000_000;
            let mut delay = (self.jitter.as_micros() as f32 * chance.unit()) as i64;
            if chance.happens(self.swaps) {
                delay += self.packet_blocks as i64 * 10_000 + 1_000;
            }
            let at = Duration::from_micros((30_000 + sent + delay) as u64);
            if chance.happens(self.duplicates) {
                arrivals.push((at + Duration::from_millis(chance.below(40)), datagram.clone()));
            }
            if !chance.happens(self.loss) {
                arrivals.push((at, datagram));
            }
        }
        arrivals.sort_by_key(|(at, _)| *at);
        arrivals
    }

    fn run(&self) -> Run {
        run(&self.arrivals(), self.seconds, Duration::from_micros(Chance::new(!self.seed).below(20_000)))
    }
}

struct Run {
    frames: Vec<(Instant, Heard)>,
    digits: String,
    statistics: ReceiverStatistics,
}

/// Plays arrivals into a receiver and pops a frame every 20 ms from `phase` on.
fn run(arrivals: &[(Duration, Vec<u8>)], seconds: u64, phase: Duration) -> Run {
    #[allow(clippy::disallowed_methods)]
    let start = Instant::now();
    let mut receiver = Receiver::new(config());
    let mut arrivals = arrivals.iter().peekable();
    let (mut frames, mut digits) = (Vec::new(), String::new());
    for n in 0..seconds * 50 + 20 {
        let now = start + phase + FRAME * n as u32;
        while let Some((at, datagram)) = arrivals.next_if(|(at, _)| start + *at <= now) {
            digits.extend(receiver.receive(start + *at, datagram).map(|Digit(key)| key));
        }
        frames.push((now, receiver.pop(now)));
    }
    Run { frames, digits, statistics: receiver.statistics() }
}

impl Run {
    fn count(&self, source: HeardSource) -> usize {
        self.frames.iter().filter(|(_, heard)| heard.source == source).count()
    }

    /// The blocks of which most was played, in the order they were. A correction of the delay may have moved them
    /// by any number of samples.
    fn blocks(&self) -> Vec<usize> {
        let played = self.frames.iter().filter(|(_, heard)| heard.source == HeardSource::Played);
        let samples: Vec<i16> = played.flat_map(|(_, heard)| heard.frame.samples().to_vec()).collect();
        let (mut blocks, mut start) = (Vec::new(), 0);
        for at in 0..samples.len() {
            let steady = samples.get(at + 2).is_some_and(|after| samples[at] == *after);
            if !steady {
                if at + 2 - start > BLOCK / 2 {
                    blocks.extend(block_of(&samples[start..]));
                }
                start = at + 1;
            }
        }
        blocks
    }

    /// Waiting times of played packets in milliseconds, sorted.
    fn delays(&self) -> Vec<f64> {
        let played = self.frames.iter().filter(|(_, heard)| heard.source == HeardSource::Played);
        let mut delays: Vec<f64> =
            played.filter_map(|(now, heard)| Some((*now - heard.arrived?).as_secs_f64() * 1_000.0)).collect();
        delays.sort_by(f64::total_cmp);
        delays
    }

    /// Which of these blocks were not heard. Two frames blended into one to catch up count as heard.
    fn unheard(&self, expected: &[usize]) -> Vec<usize> {
        let heard = self.blocks();
        let unheard: Vec<usize> = expected.iter().copied().filter(|block| !heard.contains(block)).collect();
        if unheard.len() as u64 <= 4 * self.statistics.dropped { Vec::new() } else { unheard }
    }
}

const SEEDS: u64 = 100;

fn milliseconds(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A run of single packets: arrival in milliseconds, sequence, timestamp, SSRC, payload type, payload.
type Written = (u64, u16, u32, u32, u8, Vec<u8>);

fn datagrams(packets: &[Written]) -> Vec<(Duration, Vec<u8>)> {
    let written = |(at, sequence, timestamp, ssrc, payload_type, payload): &Written| {
        let (sequence, timestamp, ssrc, payload_type) = (*sequence, *timestamp, *ssrc, *payload_type);
        let mut out = Vec::new();
        RtpPacket { marker: false, payload_type, sequence, timestamp, ssrc, payload }.write(&mut out);
        (milliseconds(*at), out)
    };
    packets.iter().map(written).collect()
}

/// 20 ms packets of numbered blocks from `first` to `last`, sent every 20 ms from `at`.
fn stretch(at: u64, packets: std::ops::Range<u16>, timestamp: u32, ssrc: u32) -> Vec<Written> {
    let first = packets.start;
    packets
        .map(|n| {
            let step = u32::from(n - first);
            let block = 2 * usize::from(n);
            (at + 20 * u64::from(step), n, timestamp.wrapping_add(160 * step), ssrc, 0, payload(block, 2))
        })
        .collect()
}

/// All blocks of these packets.
fn blocks(packets: std::ops::Range<usize>) -> Vec<usize> {
    (packets.start * 2..packets.end * 2).collect()
}

#[test]
fn a_perfect_stream_is_heard_whole_and_at_once() {
    for seed in 0..SEEDS {
        let run = Link::perfect(seed).run();
        assert_eq!(run.blocks(), blocks(0..500), "seed {seed}");
        let delays = run.delays();
        assert!(delays[0] >= 10.0 && delays[delays.len() - 1] <= 30.0, "seed {seed}: {delays:?}");
    }
}

#[test]
fn up_to_5_ms_of_jitter_costs_at_most_40_ms_and_no_audio() {
    for seed in 0..SEEDS {
        let link = Link { jitter: milliseconds(seed % 6), ..Link::perfect(seed) };
        let run = link.run();
        assert_eq!(run.blocks(), blocks(0..500), "seed {seed}");
        let delays = run.delays();
        assert!(delays[delays.len() - 1] <= 40.0, "seed {seed}: {delays:?}");
        assert!(delays[delays.len() / 2] <= 35.0, "seed {seed}: {delays:?}");
    }
}

#[test]
fn audio_is_never_swapped_or_heard_twice_on_any_link() {
    for seed in 0..SEEDS {
        let mut chance = Chance::new(seed);
        let link = Link {
            packet_blocks: 1 + chance.below(6) as usize,
            loss: chance.unit() * 0.2,
            jitter: milliseconds(chance.below(150)),
            duplicates: chance.unit() * 0.2,
            swaps: chance.unit() * 0.2,
            skew_ppm: chance.below(1_000) as i64 - 500,
            first_sequence: chance.bits() as u16,
            first_timestamp: chance.bits() as u32,
            ..Link::perfect(seed)
        };
        let run = link.run();
        assert!(run.blocks().windows(2).all(|pair| pair[0] < pair[1]), "seed {seed}: {:?}", run.blocks());
        let statistics = run.statistics;
        assert_eq!(statistics.malformed + statistics.unknown_payload_type + statistics.ssrc_changes, 0);
    }
}

#[test]
fn lost_packets_are_counted_and_covered_and_nothing_else_is_missing() {
    for seed in 0..SEEDS {
        let link = Link { loss: 0.03, jitter: milliseconds(30), ..Link::perfect(seed) };
        let run = link.run();
        let arrived = link.arrivals().len();
        let unheard = arrived - run.blocks().len() / 2;
        assert!(unheard <= 5, "seed {seed}: {unheard} packets arrived and were not heard");
        // What was lost at either end leaves no gap to be seen.
        assert!((run.statistics.lost as usize).abs_diff(500 - arrived) <= 3, "seed {seed}");
        assert!(run.count(HeardSource::Concealed) <= 500 - arrived + unheard + 8, "seed {seed}");
    }
}

#[test]
fn any_packetization_is_cut_into_the_same_frames() {
    for packet_blocks in 1..=6 {
        let link = Link { packet_blocks, ..Link::perfect(packet_blocks as u64) };
        let run = link.run();
        let sent = 1_000 / packet_blocks * packet_blocks;
        assert_eq!(run.blocks(), (0..sent).collect::<Vec<_>>(), "{packet_blocks}0 ms");
    }
}

#[test]
fn a_drifting_clock_costs_a_few_periods_and_no_delay() {
    for seed in 0..20 {
        for skew_ppm in [-500, 500] {
            let run = Link { skew_ppm, seconds: 140, ..Link::perfect(seed) }.run();
            let delays = run.delays();
            // The very last frame may hold the rest of a packet whose first half was in the one before.
            assert!(delays[delays.len() - 2] <= 45.0, "seed {seed}, {skew_ppm} ppm");
            // 500 ppm of 140 s are 70 ms: pitch periods of 5 to 20 ms.
            let statistics = run.statistics;
            assert!(statistics.inserted + statistics.dropped <= 14, "seed {seed}: {statistics:?}");
            assert!(run.blocks().len() >= 13_900, "seed {seed}: {}", run.blocks().len());
        }
    }
}

#[test]
fn the_delay_grows_for_a_bad_minute_and_shrinks_in_the_next_silence() {
    let mut chance = Chance::new(1);
    let mut packets = stretch(0, 0..1_000, 0, 7);
    for (n, packet) in packets.iter_mut().enumerate() {
        if (200..500).contains(&n) {
            packet.0 += chance.below(80);
        }
        if n >= 550 {
            packet.5 = vec![0xff; 160];
        }
    }
    packets.sort_by_key(|packet| packet.0);
    let run = run(&datagrams(&packets), 20, milliseconds(7));
    let delay = |range: std::ops::Range<usize>| {
        let waits = run.frames[range].iter().filter_map(|(now, heard)| Some(*now - heard.arrived?));
        let (sum, count) = waits.fold((Duration::ZERO, 0), |(sum, count), wait| (sum + wait, count + 1));
        sum / count
    };
    assert!(delay(400..500) > milliseconds(30), "{:?}", delay(400..500));
    assert!(delay(800..1_000) < milliseconds(32), "{:?}", delay(800..1_000));
    assert!(run.statistics.late <= 8, "{:?}", run.statistics);
}

#[test]
fn a_stall_shorter_than_the_longest_delay_loses_nothing() {
    let mut packets = stretch(0, 0..200, 5, 7);
    for packet in &mut packets[100..105] {
        packet.0 = 2_100;
    }
    let run = run(&datagrams(&packets), 5, milliseconds(7));
    assert_eq!(run.unheard(&blocks(0..200)), []);
    assert_eq!(run.statistics.late, 0);
}

#[test]
fn after_a_long_stall_the_newest_audio_is_heard_without_growing_delay() {
    let mut packets = stretch(0, 0..300, 5, 7);
    for packet in &mut packets[100..150] {
        packet.0 = 3_000;
    }
    let run = run(&datagrams(&packets), 7, milliseconds(7));
    let heard = run.blocks();
    assert!(heard.windows(2).all(|pair| pair[0] < pair[1]));
    assert_eq!(run.unheard(&blocks(150..300)), [], "what came in time again is heard whole");
    let delays = run.delays();
    assert!(delays[delays.len() - 1] <= 160.0, "{delays:?}");
}

#[test]
fn what_came_before_anybody_listened_does_not_become_delay() {
    let arrivals = datagrams(&stretch(0, 0..100, 0, 7));
    let run = run(&arrivals, 4, milliseconds(1_003));
    let delays = run.delays();
    assert!(delays[delays.len() - 1] <= 30.0, "{delays:?}");
    assert!(run.blocks().ends_with(&blocks(50..100)));
}

#[test]
fn concealment_fades_within_60_ms_and_then_is_silence() {
    let run = run(&datagrams(&stretch(0, 0..50, 0, 7)), 2, milliseconds(5));
    let last = run.frames.iter().rposition(|(_, heard)| heard.source == HeardSource::Played).expect("heard");
    let sources: Vec<HeardSource> = run.frames[last + 1..last + 5].iter().map(|(_, h)| h.source).collect();
    let made_up = HeardSource::Concealed;
    assert_eq!(sources, [made_up, made_up, made_up, HeardSource::Silence]);
    let levels: Vec<f32> = run.frames[last..last + 5].iter().map(|(_, h)| h.frame.level_dbfs()).collect();
    assert!(levels.is_sorted_by(|a, b| a > b), "{levels:?}");
    assert_eq!(levels[4], -120.0);
}

#[test]
fn silence_on_purpose_is_silence_and_keeps_the_timeline() {
    // Comfort noise after packet 50, then speech again a second later as its timestamp says.
    let mut packets = stretch(0, 0..50, 0, 7);
    packets.push((1_000, 50, 8_000, 7, 13, vec![70]));
    packets.extend(stretch(2_000, 51..100, 16_000, 7));
    let run = run(&datagrams(&packets), 4, milliseconds(5));
    assert_eq!(run.count(HeardSource::Concealed), 3, "only after the very end");
    assert_eq!(run.blocks(), [blocks(0..50), blocks(51..100)].concat());
    let first =
        |block| run.frames.iter().position(|(_, h)| block_of(&h.frame.samples()[..80]) == Some(block));
    assert_eq!(first(102).expect("heard") - first(98).expect("heard"), 51);
    assert_eq!(run.statistics.lost, 0);
}

#[test]
fn a_gap_in_time_without_a_gap_in_sequence_is_no_loss() {
    let mut packets = stretch(0, 0..50, 0, 7);
    packets.extend(stretch(1_060, 50..100, 8_480, 7));
    let run = run(&datagrams(&packets), 4, milliseconds(5));
    assert_eq!(run.blocks(), blocks(0..100));
    assert_eq!(run.statistics.lost, 0);
}

#[test]
fn a_timestamp_that_jumps_moves_the_timeline_and_loses_nothing() {
    for jump in [500_000u32, 2_000_000_000, u32::MAX - 300_000] {
        let mut packets = stretch(0, 0..50, 0, 7);
        packets.extend(stretch(1_000, 50..100, 8_000u32.wrapping_add(jump), 7));
        let run = run(&datagrams(&packets), 4, milliseconds(5));
        assert_eq!(run.blocks(), blocks(0..100), "{jump}");
        assert_eq!(run.statistics.resynchronised, 1);
    }
}

#[test]
fn a_timestamp_that_stood_still_through_a_pause_is_followed() {
    let mut packets = stretch(0, 0..50, 0, 7);
    packets.extend(stretch(1_500, 50..200, 8_000, 7));
    let run = run(&datagrams(&packets), 6, milliseconds(5));
    assert_eq!(run.unheard(&blocks(62..200)), []);
}

#[test]
fn another_ssrc_takes_over_without_a_loss_but_a_stray_packet_does_not() {
    let mut packets = stretch(0, 0..50, 0, 7);
    packets.push((505, 900, 77, 13, 0, payload(5_000, 2)));
    packets.extend(stretch(1_000, 50..100, 3_000_000, 8));
    packets.sort_by_key(|packet| packet.0);
    let run = run(&datagrams(&packets), 4, milliseconds(5));
    assert_eq!(run.blocks(), blocks(0..100));
    assert_eq!((run.statistics.ssrc_changes, run.statistics.ssrc), (1, Some(8)));
    assert_eq!(run.statistics.lost, 0);
}

#[test]
fn a_restarted_sequence_costs_one_packet() {
    let mut packets = stretch(0, 0..50, 0, 7);
    packets.extend(stretch(1_000, 50..100, 8_000, 7).into_iter().map(|mut packet| {
        packet.1 += 20_000;
        packet
    }));
    let run = run(&datagrams(&packets), 4, milliseconds(5));
    assert_eq!(run.blocks(), [blocks(0..50), blocks(51..100)].concat());
    assert_eq!(run.statistics.lost, 0);
}

#[test]
fn a_flood_is_bounded_and_the_stream_recovers() {
    // A hundred times too much audio, then the stream as it should be.
    let mut packets: Vec<Written> =
        (0..5_000).map(|n| (u64::from(n) / 5, n, u32::from(n) * 160, 7, 0, vec![0x10; 160])).collect();
    packets.extend(stretch(1_001, 5_000..5_200, 800_000, 7));
    let run = run(&datagrams(&packets), 6, milliseconds(5));
    assert_eq!(run.unheard(&blocks(5_000..5_200)), []);
    assert!(run.statistics.overflowed > 4_000);
}

#[test]
fn what_is_not_audio_is_counted_and_ignored() {
    let mut packets = stretch(0, 0..50, 0, 7);
    packets[10].4 = 96;
    packets[20].5 = Vec::new();
    packets[30].5 = vec![0; 1_601];
    packets[40].4 = 200 - 128;
    let mut arrivals = datagrams(&packets);
    arrivals.insert(5, (milliseconds(99), b"garbage".to_vec()));
    arrivals.insert(41, (milliseconds(799), vec![0x81, 201, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0]));
    let run = run(&arrivals, 2, milliseconds(5));
    let statistics = run.statistics;
    assert_eq!((statistics.malformed, statistics.unknown_payload_type), (4, 2));
    assert_eq!(run.blocks().len(), 92);
}

#[test]
fn no_datagram_makes_the_receiver_panic_or_grow() {
    for seed in 0..100 {
        let mut chance = Chance::new(seed);
        let mut arrivals = Vec::new();
        let mut at = Duration::ZERO;
        for n in 0..1_000u16 {
            at += Duration::from_micros(chance.below(40_000));
            let length = chance.below(400) as usize;
            let mut datagram: Vec<u8> = (0..length).map(|_| chance.bits() as u8).collect();
            // Mostly near a plausible stream, so that the random parts get past the first checks.
            if length > 12 && chance.happens(0.9) {
                datagram[0] = 0x80;
                datagram[1] = [0, 0, 0, 13, EVENT][chance.below(5) as usize];
                datagram[2..4].copy_from_slice(&n.wrapping_add(chance.below(8) as u16).to_be_bytes());
                datagram[8..12].copy_from_slice(&[0, 0, 0, chance.below(2) as u8]);
                if chance.happens(0.8) {
                    let timestamp = u32::from(n) * 160 + chance.below(16_000) as u32;
                    datagram[4..8].copy_from_slice(&timestamp.to_be_bytes());
                }
            }
            arrivals.push((at, datagram));
        }
        let run = run(&arrivals, 25, Duration::ZERO);
        assert_eq!(run.frames.len(), 25 * 50 + 20);
        assert!(run.statistics.buffered <= milliseconds(1_500), "seed {seed}: {:?}", run.statistics);
    }
}

/// Event packets of one key: starts at `at` ms, lasts `packets` * 20 ms, and three ends.
fn key(event: u8, at: u64, sequence: u16, packets: u16) -> Vec<Written> {
    let timestamp = at as u32 * 8;
    (0..packets + 2)
        .map(|n| {
            let duration = ((n + 1).min(packets) * 160).to_be_bytes();
            let end = if n + 1 >= packets { 0x80 } else { 0 };
            let payload = vec![event, end | 10, duration[0], duration[1]];
            (at + 20 * u64::from(n), sequence + n, timestamp, 7, EVENT, payload)
        })
        .collect()
}

#[test]
fn each_key_is_recognised_once_whatever_is_lost_or_comes_twice() {
    for seed in 0..SEEDS {
        let mut chance = Chance::new(seed);
        let (mut packets, mut sequence) = (Vec::new(), 0);
        // The same key twice in the middle: only the timestamp tells the presses apart.
        for (n, event) in [1, 5, 5, 11, 0, 12].into_iter().enumerate() {
            let press = key(event, 500 + 200 * n as u64, sequence, 4);
            sequence += press.len() as u16;
            let survivor = chance.below(press.len() as u64) as usize;
            for (m, packet) in press.into_iter().enumerate() {
                if m == survivor || chance.happens(0.5) {
                    packets.push(packet.clone());
                }
                if chance.happens(0.3) && m == survivor {
                    packets.push(packet);
                }
            }
        }
        let run = run(&datagrams(&packets), 3, milliseconds(5));
        assert_eq!(run.digits, "155#0A", "seed {seed}");
    }
}

#[test]
fn a_key_between_words_does_not_break_the_timeline() {
    let mut packets = stretch(0, 0..50, 0, 7);
    packets.extend(key(9, 1_000, 50, 5));
    packets.extend(stretch(1_140, 57..100, 9_120, 7));
    let run = run(&datagrams(&packets), 3, milliseconds(5));
    assert_eq!(run.digits, "9");
    assert_eq!(run.blocks(), [blocks(0..50), blocks(57..100)].concat());
    assert_eq!(run.count(HeardSource::Concealed), 3, "only after the very end");
    assert_eq!(run.statistics.lost, 0);
    let delays = run.delays();
    assert!(delays[delays.len() - 1] <= 30.0);
}

#[test]
fn a_key_that_comes_with_its_own_ssrc_counts_and_the_audio_goes_on() {
    let mut packets = stretch(0, 0..100, 0, 7);
    packets.extend(key(3, 500, 9_000, 5).into_iter().map(|mut packet| {
        packet.3 = 99;
        packet
    }));
    packets.sort_by_key(|packet| packet.0);
    let run = run(&datagrams(&packets), 3, milliseconds(5));
    assert_eq!((run.digits.as_str(), run.blocks()), ("3", blocks(0..100)));
}

#[test]
fn a_key_whose_sender_moves_the_timestamp_or_holds_it_for_ever_is_still_one() {
    let moving = key(8, 500, 0, 20).into_iter().enumerate().map(|(n, mut packet)| {
        packet.2 += 160 * n as u32;
        packet
    });
    let run_of_moving = run(&datagrams(&moving.collect::<Vec<_>>()), 2, milliseconds(5));
    assert_eq!(run_of_moving.digits.len(), 3, "the three ends cannot be told from presses");
    // Held for nine seconds: the duration overflows once and goes on in a second segment.
    let first = key(8, 500, 0, 409).into_iter().take(409).map(|mut packet| {
        packet.5[1] = 10;
        packet
    });
    let mut held: Vec<Written> = first.collect();
    held.push((8_680, 409, 4_000, 7, EVENT, vec![8, 10, 0xff, 0xff]));
    held.push((8_700, 410, 4_000 + 65_535, 7, EVENT, vec![8, 10, 0, 160]));
    held.push((8_720, 411, 4_000 + 65_535, 7, EVENT, vec![8, 0x8a, 1, 64]));
    assert_eq!(run(&datagrams(&held), 10, milliseconds(5)).digits, "8");
}

#[test]
fn only_rtp_of_an_agreed_payload_type_names_a_stream() {
    let receiver = Receiver::new(config());
    let packet =
        |payload_type: u8| [&[0x80, payload_type, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7][..], &[0xff; 160]].concat();
    for agreed in [0, EVENT, 13] {
        assert_eq!(receiver.stream_of(&packet(agreed)), Some(7));
    }
    for other in [packet(8), packet(72), vec![0x80; 4], vec![0; 172], Vec::new()] {
        assert_eq!(receiver.stream_of(&other), None);
    }
}

#[test]
fn what_came_in_mu_law_can_go_on_as_the_very_code_words_it_came_in() {
    for (seed, blocks) in (0..40).map(|seed| (seed, [1, 2, 3, 6][seed as usize % 4])) {
        let mut chance = Chance::new(seed);
        let words: Vec<u8> = (0..100 * BLOCK * 6).map(|_| chance.bits() as u8).collect();
        #[allow(clippy::disallowed_methods)]
        let start = Instant::now();
        let mut receiver = Receiver::new(config());
        let mut again = Vec::new();
        let mut packets = words.chunks(blocks * BLOCK).enumerate().peekable();
        for frame in 0..320u32 {
            let now = start + FRAME * frame;
            while let Some((n, payload)) = packets.next_if(|(n, _)| *n * blocks <= frame as usize * 2) {
                let mut datagram = Vec::new();
                let timestamp = (n * blocks * BLOCK) as u32;
                RtpPacket {
                    marker: n == 0,
                    payload_type: 0,
                    sequence: n as u16,
                    timestamp,
                    ssrc: 7,
                    payload,
                }
                .write(&mut datagram);
                receiver.receive(now, &datagram);
            }
            let heard = receiver.pop(now + FRAME - Duration::from_millis(1));
            if heard.source == HeardSource::Played {
                Codec::Pcmu.encode(&heard.frame, &mut again);
            }
        }
        // Once it runs; nothing was inserted, left out or changed.
        let again = &again[20 * 160..];
        let begin = words.windows(160).position(|part| part == &again[..160]).expect("as it came");
        let common = again.len().min(words.len() - begin);
        assert!(common > 90 * BLOCK * 6, "seed {seed}: {common} words");
        assert!(again[..common] == words[begin..begin + common], "seed {seed}, {blocks} blocks");
    }
}
