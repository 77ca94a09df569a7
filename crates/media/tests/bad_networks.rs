//! What the reference promises of a call over a bad network: bursts, heavy loss, jitter, drift for minutes.
//! The link is made up; nothing here opens a socket or reads a clock but for a start.
#![allow(missing_docs)]

use std::time::{Duration, Instant};

use media::quality::{mean_opinion_score, rating};
use media::tone::{self, Chance};
use media::{
    Codec, FRAME, Frame, Heard, HeardSource, JitterConfig, QualityMeter, Receiver, ReceiverConfig,
    ReceiverStatistics, RtcpSession, SampleRate, Sender, SenderConfig,
};

const SEEDS: u64 = 20;

#[derive(Clone, Copy)]
struct Network {
    seed: u64,
    seconds: u32,
    loss: f32,
    /// Delay beyond the shortest, evenly spread.
    jitter_ms: u64,
    /// So much is lost in one piece, every two seconds.
    burst_ms: u64,
    skew_ppm: i64,
}

impl Network {
    const fn perfect(seed: u64) -> Self {
        Self { seed, seconds: 20, loss: 0.0, jitter_ms: 0, burst_ms: 0, skew_ppm: 0 }
    }

    /// Carries a voice that never pauses.
    fn run(self) -> Run {
        let codec = Codec::Pcma;
        let mut sender = Sender::new(SenderConfig {
            codec,
            payload_type: 8,
            telephone_event: None,
            ssrc: 3,
            sequence: 65_000,
            timestamp: u32::MAX - 100_000,
        });
        let voice = tone::sine(8_000, 150.0, -14.0, 8_000 * 4);
        let mut chance = Chance::new(self.seed);
        let mut arrivals = Vec::new();
        for n in 0..u64::from(self.seconds) * 50 {
            let at = n as usize * 160 % voice.len();
            let packet = sender.packet(&Frame::from_samples(SampleRate::Hz8000, &voice[at..]), false);
            let sent = n as i64 * 20_000 * (1_000_000 - self.skew_ppm) / 1_000_000;
            let arrives = Duration::from_micros(30_000 + sent as u64 + chance.below(self.jitter_ms * 1_000));
            let burst = n * 20 % 2_000 >= 2_000 - self.burst_ms;
            if !burst && !chance.happens(self.loss) {
                arrivals.push((arrives, packet));
            }
        }
        arrivals.sort_by_key(|(at, _)| *at);
        play(codec, self.seconds, &arrivals, Duration::from_micros(chance.below(20_000)))
    }
}

struct Run {
    heard: Vec<Heard>,
    statistics: ReceiverStatistics,
    /// The mean wait in the buffer, second by second.
    waits: Vec<Duration>,
}

fn play(codec: Codec, seconds: u32, arrivals: &[(Duration, Vec<u8>)], phase: Duration) -> Run {
    #[allow(clippy::disallowed_methods)]
    let start = Instant::now();
    let jitter = JitterConfig::default();
    let mut receiver = Receiver::new(ReceiverConfig {
        codec,
        payload_type: codec.payload_type(),
        telephone_event: None,
        comfort_noise: None,
        jitter,
    });
    let (mut heard, mut waits) = (Vec::new(), Vec::new());
    let mut arrivals = arrivals.iter().peekable();
    for n in 0..seconds * 50 {
        let now = start + phase + FRAME * n;
        while let Some((at, datagram)) = arrivals.next_if(|(at, _)| start + *at <= now) {
            receiver.receive(start + *at, datagram);
        }
        heard.push(receiver.pop(now));
        if n % 50 == 49 {
            waits.push(receiver.statistics().buffered);
        }
    }
    Run { heard, waits, statistics: receiver.statistics() }
}

impl Run {
    fn count(&self, source: HeardSource) -> usize {
        self.heard.iter().filter(|heard| heard.source == source).count()
    }
}

#[test]
fn the_delay_fits_the_jitter_within_the_limits_of_a_conversation() {
    for seed in 0..SEEDS {
        for (jitter_ms, most) in [(5, 40), (20, 60), (60, 120), (100, 140)] {
            let run = Network { jitter_ms, ..Network::perfect(seed) }.run();
            let settled = run.waits.iter().skip(5).max();
            let limit = Duration::from_millis(most);
            assert!(
                settled.is_some_and(|wait| *wait <= limit),
                "seed {seed}, {jitter_ms} ms: {:?}",
                run.waits
            );
            // What came in time after the buffer has learned is not thrown away.
            let wasted = run.statistics.late as f32 / run.statistics.received as f32;
            assert!(wasted < 0.03, "seed {seed}, {jitter_ms} ms: {:?}", run.statistics);
        }
    }
}

#[test]
fn a_burst_of_half_a_second_is_over_100_ms_after_its_end() {
    for seed in 0..SEEDS {
        let run = Network { burst_ms: 500, jitter_ms: 10, ..Network::perfect(seed) }.run();
        for burst in 0..9 {
            // Packets are on their way for 30 ms and at most 10 more.
            let end = (burst + 1) * 100 + 2;
            let again = run.heard[end..].iter().position(|heard| heard.source == HeardSource::Played);
            assert!(again.is_some_and(|frames| frames <= 5), "seed {seed}, burst {burst}: {again:?}");
            let after = &run.heard[end + 5..end + 60];
            assert!(
                after.iter().all(|heard| heard.source == HeardSource::Played),
                "seed {seed}, burst {burst}"
            );
        }
        assert_eq!(run.statistics.resynchronised, 0, "seed {seed}");
    }
}

#[test]
fn a_third_lost_is_still_a_voice_and_never_a_gap_in_time() {
    for seed in 0..SEEDS {
        let run = Network { loss: 0.3, jitter_ms: 100, ..Network::perfect(seed) }.run();
        assert_eq!(run.heard.len(), 1_000);
        let received = run.count(HeardSource::Played);
        assert!(received > 550, "seed {seed}: {received}");
        let silent = run.count(HeardSource::Silence);
        assert!(silent < 60, "seed {seed}: {silent} {:?}", run.statistics);
    }
}

#[test]
fn what_is_heard_is_at_most_a_third_of_a_point_worse_than_the_model() {
    for seed in 0..SEEDS {
        for loss in [0.0, 0.01, 0.03, 0.05, 0.1] {
            let run = Network { loss, jitter_ms: 30, seconds: 60, ..Network::perfect(seed) }.run();
            let mut meter = QualityMeter::new(Codec::Pcma);
            let quality = meter.measure(&run.statistics, &RtcpSession::new(1, "x"));
            let heard = quality.incoming.expect("packets came");
            let model = mean_opinion_score(rating(Codec::Pcma, run.lost(), heard.delay));
            assert!(heard.mos > model - 0.3, "seed {seed}, {loss}: {} for {model}", heard.mos);
        }
    }
}

impl Run {
    fn lost(&self) -> f32 {
        self.statistics.lost as f32 / self.statistics.expected as f32
    }
}

#[test]
fn ten_minutes_of_drift_are_as_long_as_ten_minutes() {
    for skew_ppm in [-500, 500] {
        let run = Network { skew_ppm, seconds: 600, ..Network::perfect(7) }.run();
        assert_eq!(run.heard.len(), 30_000);
        let statistics = run.statistics;
        assert_eq!((statistics.late, statistics.overflowed, statistics.resynchronised), (0, 0, 0));
        // Nothing is missing but the very first frames and, at the end, those that a slow sender has not sent yet.
        assert!(run.count(HeardSource::Silence) + statistics.concealed as usize <= 20, "{statistics:?}");
        assert!(statistics.concealed <= if skew_ppm > 0 { 3 } else { 0 }, "{statistics:?}");
        assert!(run.waits.iter().all(|wait| *wait < Duration::from_millis(45)), "{:?}", run.waits);
        // 500 ppm of ten minutes are 300 ms, in steps of 5 to 20.
        let steps = statistics.inserted + statistics.dropped;
        assert!((15..=60).contains(&steps), "{statistics:?}");
    }
}
