//! Every codec through the whole path, sender to receiver, over links that lose, swap and delay: tones stay tones.
//! The link is made up; nothing here opens a socket or reads a clock but for a start.
#![allow(missing_docs)]

use std::time::{Duration, Instant};

use media::tone::{self, Chance};
use media::{
    Codec, Digit, FRAME, Frame, Heard, HeardSource, JitterConfig, Receiver, ReceiverConfig,
    ReceiverStatistics, RtpPacket, SampleRate, Sender, SenderConfig,
};

const CODECS: [Codec; 5] = [
    Codec::Pcmu,
    Codec::Pcma,
    Codec::G722,
    Codec::Opus(SampleRate::Hz8000),
    Codec::Opus(SampleRate::Hz16000),
];

#[derive(Clone, Copy)]
struct Link {
    codec: Codec,
    seed: u64,
    seconds: u32,
    loss: f32,
    jitter_ms: u64,
    swaps: f32,
    duplicates: f32,
    skew_ppm: i64,
}

struct Run {
    heard: Vec<Heard>,
    digits: String,
    statistics: ReceiverStatistics,
}

impl Link {
    fn perfect(codec: Codec, seed: u64) -> Self {
        Self { codec, seed, seconds: 10, loss: 0.0, jitter_ms: 0, swaps: 0.0, duplicates: 0.0, skew_ppm: 0 }
    }

    fn sender(&self) -> Sender {
        Sender::new(SenderConfig {
            codec: self.codec,
            payload_type: 100,
            telephone_event: Some(101),
            ssrc: 5,
            sequence: 65_500,
            timestamp: u32::MAX - 20_000,
        })
    }

    fn receiver(&self) -> Receiver {
        Receiver::new(ReceiverConfig {
            codec: self.codec,
            payload_type: 100,
            telephone_event: Some(101),
            comfort_noise: None,
            jitter: JitterConfig::default(),
        })
    }

    /// What is heard of these samples, at the codec's rate.
    fn run(&self, samples: &[i16]) -> Run {
        let mut sender = self.sender();
        let rate = self.codec.rate();
        let frames = samples.chunks(rate.frame_samples());
        self.carry(frames.map(|frame| sender.packet(&Frame::from_samples(rate, frame), false)).collect())
    }

    /// What is heard of packets sent every 20 ms.
    fn carry(&self, packets: Vec<Vec<u8>>) -> Run {
        let mut chance = Chance::new(self.seed);
        let mut arrivals = Vec::new();
        for (n, packet) in packets.into_iter().enumerate() {
            let sent = n as i64 * 20_000 * (1_000_000 - self.skew_ppm) / 1_000_000 + 30_000;
            let swap = if chance.happens(self.swaps) { 21_000 } else { 0 };
            let at = Duration::from_micros(sent as u64 + chance.below(self.jitter_ms * 1_000) + swap);
            if chance.happens(self.duplicates) {
                arrivals.push((at + Duration::from_millis(chance.below(30)), packet.clone()));
            }
            if !chance.happens(self.loss) {
                arrivals.push((at, packet));
            }
        }
        arrivals.sort_by_key(|(at, _)| *at);
        self.play(&arrivals)
    }

    fn play(&self, arrivals: &[(Duration, Vec<u8>)]) -> Run {
        #[allow(clippy::disallowed_methods)]
        let start = Instant::now();
        let phase = Duration::from_micros(Chance::new(!self.seed).below(20_000));
        let (mut receiver, mut arrivals) = (self.receiver(), arrivals.iter().peekable());
        let (mut heard, mut digits) = (Vec::new(), String::new());
        for n in 0..self.seconds * 50 {
            let now = start + phase + FRAME * n;
            while let Some((at, datagram)) = arrivals.next_if(|(at, _)| start + *at <= now) {
                digits.extend(receiver.receive(start + *at, datagram).map(|Digit(key)| key));
            }
            heard.push(receiver.pop(now));
        }
        Run { heard, digits, statistics: receiver.statistics() }
    }
}

impl Run {
    /// All samples from this frame on, without the last half second.
    fn samples(&self, from: usize) -> Vec<i16> {
        let end = self.heard.len() - 25;
        self.heard[from..end].iter().flat_map(|heard| heard.frame.samples().to_vec()).collect()
    }
}

/// Level of a sine of this frequency in frames of 20 ms, and of everything else, in dBFS: the medians.
fn tone_and_rest(samples: &[i16], hz: u32, frequency: f64) -> (f64, f64) {
    let mut levels: Vec<(f64, f64)> = samples
        .chunks_exact(hz as usize / 50)
        .map(|frame| {
            let (mut sine, mut cosine, mut energy) = (0.0, 0.0, 0.0);
            for (n, sample) in frame.iter().enumerate() {
                let angle = std::f64::consts::TAU * frequency * n as f64 / f64::from(hz);
                sine += f64::from(*sample) * angle.sin();
                cosine += f64::from(*sample) * angle.cos();
                energy += f64::from(*sample).powi(2);
            }
            let count = frame.len() as f64;
            let tone = 2.0 * (sine * sine + cosine * cosine) / count / count;
            let dbfs = |power: f64| 10.0 * (power.max(1e-3) / 32_768f64.powi(2)).log10();
            (dbfs(tone), dbfs(energy / count - tone))
        })
        .collect();
    let middle = levels.len() / 2;
    levels.sort_by(|a, b| a.0.total_cmp(&b.0));
    let tone = levels[middle].0;
    levels.sort_by(|a, b| a.1.total_cmp(&b.1));
    (tone, levels[middle].1)
}

#[test]
fn a_tone_keeps_its_level_and_frequency_through_every_codec() {
    for codec in CODECS {
        let hz = codec.rate().hz();
        let link = Link::perfect(codec, 1);
        let run = link.run(&tone::sine(hz, 400.0, -15.0, hz as usize * 10));
        assert!(run.heard.iter().all(|heard| heard.frame.rate() == codec.rate()));
        let (level, rest) = tone_and_rest(&run.samples(10), hz, 400.0);
        assert!((level + 15.0).abs() < 1.0, "{codec:?}: {level:.1}");
        assert!(rest < -35.0, "{codec:?}: {rest:.1}");
        assert_eq!((run.statistics.concealed, run.statistics.lost), (0, 0), "{codec:?}");
    }
}

#[test]
fn wide_band_is_heard_above_4_khz() {
    for codec in [Codec::G722, Codec::Opus(SampleRate::Hz16000)] {
        let run = Link::perfect(codec, 1).run(&tone::sine(16_000, 5_000.0, -20.0, 160_000));
        let (level, _) = tone_and_rest(&run.samples(10), 16_000, 5_000.0);
        assert!((level + 20.0).abs() < 3.0, "{codec:?}: {level:.1}");
    }
}

#[test]
fn packets_out_of_order_are_decoded_in_order() {
    for codec in CODECS {
        let hz = codec.rate().hz();
        let link = Link { swaps: 0.2, duplicates: 0.1, seconds: 20, ..Link::perfect(codec, 3) };
        let run = link.run(&tone::sine(hz, 400.0, -15.0, hz as usize * 20));
        let (level, rest) = tone_and_rest(&run.samples(250), hz, 400.0);
        assert!((level + 15.0).abs() < 1.0 && rest < -33.0, "{codec:?}: {level:.1} {rest:.1}");
        assert!(run.statistics.reordered > 50, "{:?}", run.statistics);
    }
}

#[test]
fn no_codec_leaves_a_gap_on_any_link() {
    for seed in 0..60 {
        let mut chance = Chance::new(seed);
        let link = Link {
            loss: chance.unit() * 0.05,
            jitter_ms: chance.below(40),
            swaps: chance.unit() * 0.05,
            duplicates: chance.unit() * 0.05,
            skew_ppm: chance.below(1_001) as i64 - 500,
            ..Link::perfect(CODECS[seed as usize % 5], seed)
        };
        let hz = link.codec.rate().hz();
        let run = link.run(&tone::sine(hz, 200.0, -12.0, hz as usize * 10));
        assert_eq!(run.heard.len(), 500);
        // Three lost in a row fade out; fewer never fall silent.
        let holes = run.heard[10..480].windows(3).filter(|w| w.iter().all(|h| h.frame.level_dbfs() < -40.0));
        assert_eq!(holes.count(), 0, "seed {seed} {:?}: {:?}", link.codec, run.statistics);
        let silent = run.heard[10..480].iter().filter(|h| h.source == HeardSource::Silence).count();
        assert!(silent <= 3, "seed {seed} {:?}: {silent} {:?}", link.codec, run.statistics);
    }
}

#[test]
fn what_opus_lost_is_found_in_the_next_packet() {
    let codec = Codec::Opus(SampleRate::Hz16000);
    for seed in 0..10 {
        let link = Link { loss: 0.05, seconds: 30, ..Link::perfect(codec, seed) };
        let run = link.run(&tone::speech(16_000, seed, -20.0, 16_000 * 30));
        let statistics = run.statistics;
        // The copy is in time once the delay has grown, which takes the first seconds.
        assert!(statistics.lost > 40, "seed {seed}: {statistics:?}");
        assert!(statistics.recovered * 10 >= statistics.lost * 7, "seed {seed}: {statistics:?}");
        assert!(run.statistics.buffered < Duration::from_millis(60), "seed {seed}: {statistics:?}");
    }
}

#[test]
fn opus_that_pauses_is_no_loss() -> opus::Result<()> {
    let mut encoder = opus::Encoder::new(16_000, opus::Channels::Mono, opus::Application::Voip)?;
    encoder.set_dtx(true)?;
    let mut audio = tone::speech(16_000, 1, -20.0, 16_000 * 4);
    audio.extend(tone::noise(2, -70.0, 16_000 * 8));
    audio.extend(tone::speech(16_000, 3, -20.0, 16_000 * 4));
    let link = Link { seconds: 16, ..Link::perfect(Codec::Opus(SampleRate::Hz16000), 1) };
    let (mut arrivals, mut sequence, mut paused) = (Vec::new(), 0u16, 0);
    for (n, frame) in audio.chunks_exact(320).enumerate() {
        let payload = encoder.encode_vec(frame, 400)?;
        if payload.len() <= 2 && encoder.get_in_dtx()? && paused > 0 {
            paused += 1;
            continue;
        }
        paused = u32::from(payload.len() <= 2);
        let mut datagram = Vec::new();
        let (marker, payload_type, timestamp, ssrc) = (false, 100, n as u32 * 960, 5);
        RtpPacket { marker, payload_type, sequence, timestamp, ssrc, payload: &payload }.write(&mut datagram);
        sequence += 1;
        arrivals.push((Duration::from_millis(30 + 20 * n as u64), datagram));
    }
    assert!(arrivals.len() < 650, "{} packets: it did pause", arrivals.len());
    let run = link.play(&arrivals);
    assert_eq!((run.statistics.lost, run.statistics.concealed), (0, 0));
    let silent = run.heard.iter().filter(|heard| heard.source == HeardSource::Silence).count();
    assert!(silent > 150, "{silent}");
    let again = run.samples(12 * 50 + 25);
    let level = Frame::from_samples(SampleRate::Hz16000, &again[again.len() / 2..]).level_dbfs();
    assert!(level > -45.0, "speech is heard after the pause: {level}");
    Ok(())
}

#[test]
fn packets_of_10_to_60_ms_are_one_audio_in_every_codec() -> opus::Result<()> {
    let wave = tone::sine(16_000, 400.0, -15.0, 160_000);
    for ms in [10, 20, 40, 60] {
        let mut encoder = opus::Encoder::new(16_000, opus::Channels::Mono, opus::Application::Voip)?;
        let mut packets = Vec::new();
        for (n, chunk) in wave.chunks_exact(16 * ms).enumerate() {
            let payload = encoder.encode_vec(chunk, 1_000)?;
            let mut datagram = Vec::new();
            let (marker, payload_type, sequence, timestamp) = (false, 100, n as u16, (n * 48 * ms) as u32);
            RtpPacket { marker, payload_type, sequence, timestamp, ssrc: 5, payload: &payload }
                .write(&mut datagram);
            packets.push((Duration::from_millis(((n + 1) * ms) as u64), datagram));
        }
        let run = Link::perfect(Codec::Opus(SampleRate::Hz16000), 1).play(&packets);
        let (level, rest) = tone_and_rest(&run.samples(15), 16_000, 400.0);
        assert!((level + 15.0).abs() < 1.0 && rest < -35.0, "{ms} ms: {level:.1} {rest:.1}");
        assert_eq!(run.statistics.concealed, 0, "{ms} ms");
    }
    Ok(())
}

#[test]
fn keys_are_heard_beside_every_codec_at_its_clock() {
    for codec in CODECS {
        let link = Link { loss: 0.1, seconds: 12, ..Link::perfect(codec, 7) };
        let mut sender = link.sender();
        for (key, ms) in [('1', 40), ('1', 80), ('#', 3_000), ('D', 60)] {
            sender.press(Digit(key), Duration::from_millis(ms));
        }
        let silence = Frame::silence(codec.rate());
        let run = link.carry((0..550).map(|_| sender.packet(&silence, false)).collect());
        assert_eq!(run.digits, "11#D", "{codec:?}");
    }
}

#[test]
fn another_codec_in_the_middle_keeps_the_rate_of_the_frames() {
    #[allow(clippy::disallowed_methods)]
    let start = Instant::now();
    let mut receiver = Link::perfect(Codec::Pcmu, 1).receiver();
    let mut sender = Link::perfect(Codec::Pcmu, 1).sender();
    let wave = tone::sine(16_000, 400.0, -15.0, 16_000 * 4 * CODECS.len());
    let mut heard = Vec::new();
    for (n, frame) in wave.chunks_exact(320).enumerate() {
        let now = start + FRAME * n as u32;
        if n % 200 == 0 {
            let codec = CODECS[n / 200];
            sender.renegotiate(codec, 100, None);
            receiver.renegotiate(ReceiverConfig {
                codec,
                payload_type: 100,
                telephone_event: None,
                comfort_noise: None,
                jitter: JitterConfig::default(),
            });
        }
        receiver.receive(now, &sender.packet(&Frame::from_samples(SampleRate::Hz16000, frame), false));
        heard.push(receiver.pop(now + Duration::from_millis(5)));
    }
    assert!(heard.iter().all(|heard| heard.frame.rate() == receiver.rate()));
    for (n, stretch) in heard.chunks_exact(200).enumerate() {
        let samples: Vec<i16> =
            stretch[10..].iter().flat_map(|heard| heard.frame.samples().to_vec()).collect();
        let (level, rest) = tone_and_rest(&samples, 8_000, 400.0);
        assert!((level + 15.0).abs() < 1.0 && rest < -35.0, "{:?}: {level:.1} {rest:.1}", CODECS[n]);
    }
    assert_eq!(receiver.statistics().lost, 0);
}
