//! How good a call sounds in either direction: the E-model on loss and delay (ITU-T G.107), kept over the call.
//! Does not know packets: it takes the figures of the receiver and of RTCP.

use std::time::{Duration, Instant};

use crate::{Codec, FRAME, ReceiverStatistics, RtcpSession};

/// The transmission rating of a perfect narrow-band line with everything at its default (G.107 table 3).
const PERFECT: f32 = 93.2;

/// Delay beyond which talkers begin to interrupt each other.
const NOTICED: f32 = 177.3;

/// How a codec bears loss: its impairment without any, and how robust it is (Ie and Bpl of G.113 appendix I).
const fn robustness(codec: Codec) -> (f32, f32) {
    match codec {
        // With concealment after G.711 appendix I; without any Bpl would be 4.3.
        Codec::Pcmu | Codec::Pcma => (0.0, 25.1),
        // An estimate: G.113 knows G.722 on the wide-band scale only. On this narrow-band one it is no worse than
        // G.711 without loss, and a hole upsets its adaptive predictors for a while longer.
        Codec::G722 => (0.0, 20.0),
        // An estimate, G.113 has none: without loss like G.711; single losses come back from the copy in the next packet.
        Codec::Opus(_) => (0.0, 30.0),
    }
}

/// The rating R, 0 to 100, of a stream of which this part (0 to 1) is missing, this long after it was said.
pub fn rating(codec: Codec, missing: f32, delay: Duration) -> f32 {
    let (impairment, robustness) = robustness(codec);
    let percent = missing.clamp(0.0, 1.0) * 100.0;
    let by_loss = impairment + (95.0 - impairment) * percent / (percent + robustness);
    let delay = delay.as_secs_f32() * 1_000.0;
    let by_delay = 0.024 * delay + 0.11 * (delay - NOTICED).max(0.0);
    (PERFECT - by_loss - by_delay).clamp(0.0, 100.0)
}

/// The mean opinion score, 1 to 4.5, that listeners give to a rating (G.107 annex B).
pub fn mean_opinion_score(rating: f32) -> f32 {
    let r = rating.clamp(0.0, 100.0);
    (1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6).clamp(1.0, 4.5)
}

/// One direction over one interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DirectionQuality {
    /// Mean opinion score, 1 to 4.5.
    pub mos: f32,
    /// Part of the packets that never came, 0 to 1.
    pub lost: f32,
    /// Part that could not be played: lost or late, and not recovered.
    pub missing: f32,
    /// Interarrival jitter (RFC 3550 section 6.4.1).
    pub jitter: Duration,
    /// From mouth to ear as far as it is known: packetization, half the round trip, the buffer.
    pub delay: Duration,
}

/// Both directions over one interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quality {
    /// What we hear; `None` if nothing was expected.
    pub incoming: Option<DirectionQuality>,
    /// What the other side hears; `None` without a new report from it.
    pub outgoing: Option<DirectionQuality>,
    /// There and back, if it is known.
    pub rtt: Option<Duration>,
}

/// A score over the whole call.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    /// The worst interval's; `None` before the first.
    pub minimum: Option<f32>,
    sum: f64,
    intervals: u32,
}

impl Score {
    fn add(&mut self, mos: f32) {
        self.minimum = Some(self.minimum.map_or(mos, |least| least.min(mos)));
        self.sum += f64::from(mos);
        self.intervals += 1;
    }

    /// The mean of all intervals; `None` before the first.
    pub fn average(&self) -> Option<f32> {
        (self.intervals > 0).then(|| (self.sum / f64::from(self.intervals)) as f32)
    }
}

/// Measures interval after interval of one leg; the RTCP interval is a good one.
#[derive(Clone, Debug)]
pub struct QualityMeter {
    codec: Codec,
    before: Before,
    last_report: Option<Instant>,
    incoming: Score,
    outgoing: Score,
}

/// The counters at the end of the last interval.
#[derive(Clone, Copy, Debug, Default)]
struct Before {
    expected: u64,
    lost: u64,
    late: u64,
    recovered: u64,
}

impl QualityMeter {
    /// A call of this codec about to begin.
    pub fn new(codec: Codec) -> Self {
        let (incoming, outgoing) = (Score::default(), Score::default());
        Self { codec, before: Before::default(), last_report: None, incoming, outgoing }
    }

    /// Another codec from now on.
    pub const fn set_codec(&mut self, codec: Codec) {
        self.codec = codec;
    }

    /// The interval since the last call of this function.
    pub fn measure(&mut self, statistics: &ReceiverStatistics, rtcp: &RtcpSession) -> Quality {
        let rtt = rtcp.rtt();
        let on_the_way = FRAME + rtt.unwrap_or(Duration::ZERO) / 2;
        let incoming = self.heard(statistics, on_the_way);
        let remote = rtcp.remote().filter(|report| self.last_report != Some(report.received));
        let outgoing = remote.map(|report| {
            self.last_report = Some(report.received);
            // The other side's buffer is not known: one that fits its jitter is assumed.
            let delay = on_the_way + FRAME + 2 * report.jitter;
            let (lost, jitter) = (report.fraction_lost, report.jitter);
            let mos = mean_opinion_score(rating(self.codec, lost, delay));
            self.outgoing.add(mos);
            DirectionQuality { mos, lost, missing: lost, jitter, delay }
        });
        Quality { incoming, outgoing, rtt }
    }

    fn heard(&mut self, statistics: &ReceiverStatistics, on_the_way: Duration) -> Option<DirectionQuality> {
        let now = Before {
            expected: statistics.expected,
            lost: statistics.lost,
            late: statistics.late + statistics.overflowed,
            recovered: statistics.recovered,
        };
        let before = std::mem::replace(&mut self.before, now);
        let expected = now.expected.saturating_sub(before.expected);
        if expected == 0 {
            return None;
        }
        // A packet that came later than the interval makes the difference negative: it is no loss of this one.
        let lost = now.lost.saturating_sub(before.lost);
        let unplayed = (lost + now.late.saturating_sub(before.late))
            .saturating_sub(now.recovered.saturating_sub(before.recovered));
        let share = |count: u64| (count as f32 / expected as f32).min(1.0);
        let delay = on_the_way + statistics.buffered;
        let mos = mean_opinion_score(rating(self.codec, share(unplayed), delay));
        self.incoming.add(mos);
        let (lost, missing, jitter) = (share(lost), share(unplayed), statistics.jitter);
        Some(DirectionQuality { mos, lost, missing, jitter, delay })
    }

    /// What we have heard over the whole call.
    pub const fn incoming(&self) -> Score {
        self.incoming
    }

    /// What the other side has heard.
    pub const fn outgoing(&self) -> Score {
        self.outgoing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SenderCounts;

    #[test]
    fn the_scores_of_g_711_are_those_of_the_standard() {
        for (percent, expected) in [(0.0, 4.41), (1.0, 4.33), (3.0, 4.13), (5.0, 3.92), (10.0, 3.41)] {
            let mos = mean_opinion_score(rating(Codec::Pcma, percent / 100.0, Duration::ZERO));
            assert!((mos - expected).abs() < 0.011, "{percent} %: {mos}");
        }
        assert!((rating(Codec::Pcmu, 0.01, Duration::ZERO) - 89.6).abs() < 0.05);
        assert_eq!(mean_opinion_score(0.0), 1.0);
    }

    #[test]
    fn delay_hurts_little_until_talkers_collide() {
        let rated = |ms| rating(Codec::Pcmu, 0.0, Duration::from_millis(ms));
        assert!(rated(0) - rated(150) < 4.0);
        assert!(rated(150) - rated(400) > 25.0);
        assert_eq!(rating(Codec::Pcmu, 1.0, Duration::from_secs(60)), 0.0);
    }

    #[test]
    fn what_is_lost_late_or_recovered_makes_the_score_of_its_interval_only() {
        let mut meter = QualityMeter::new(Codec::Opus(crate::SampleRate::Hz16000));
        let rtcp = RtcpSession::new(1, "x");
        let clean = ReceiverStatistics { expected: 250, ..ReceiverStatistics::default() };
        let good = meter.measure(&clean, &rtcp).incoming.expect("packets came");
        assert!(good.mos > 4.35 && good.missing == 0.0);
        let bad = ReceiverStatistics { expected: 500, lost: 50, late: 10, recovered: 35, ..clean };
        let worse = meter.measure(&bad, &rtcp).incoming.expect("packets came");
        assert_eq!((worse.lost, worse.missing), (0.2, 0.1));
        let again = ReceiverStatistics { expected: 750, ..bad };
        assert_eq!(meter.measure(&again, &rtcp).incoming.map(|quality| quality.missing), Some(0.0));
        assert_eq!(meter.measure(&again, &rtcp).incoming, None, "nothing was expected");
        let score = meter.incoming();
        assert_eq!(score.minimum, Some(worse.mos));
        assert!(score.average().is_some_and(|mean| mean > worse.mos && mean < good.mos));
        assert_eq!(meter.outgoing().average(), None, "nobody reported");
    }

    #[test]
    #[allow(clippy::disallowed_methods)]
    fn a_report_of_the_other_side_is_one_interval_of_what_it_hears() {
        let start = Instant::now();
        let (mut ours, mut theirs) = (RtcpSession::new(1, "we"), RtcpSession::new(2, "they"));
        let sent = SenderCounts { packets: 250, octets: 40_000, timestamp: 0 };
        let nothing = ReceiverStatistics::default();
        let report = ours.report(start, 7 << 32, &nothing, sent);
        theirs.incoming(start + Duration::from_millis(50), &report);
        let heard = ReceiverStatistics {
            ssrc: Some(1),
            expected: 100,
            received: 90,
            jitter_units: 80,
            ..ReceiverStatistics::default()
        };
        let answer = theirs.report(start + Duration::from_millis(150), 9 << 32, &heard, sent);
        ours.incoming(start + Duration::from_millis(200), &answer);
        let mut meter = QualityMeter::new(Codec::Pcmu);
        let quality = meter.measure(&nothing, &ours);
        let rtt = quality.rtt.expect("two reports").as_millis();
        assert!((99..=101).contains(&rtt), "{rtt}");
        let outgoing = quality.outgoing.expect("a report");
        assert!((outgoing.lost - 0.1).abs() < 0.01 && outgoing.jitter == Duration::from_millis(10));
        assert!((3.2..3.45).contains(&outgoing.mos), "{}", outgoing.mos);
        assert_eq!(meter.measure(&nothing, &ours).outgoing, None, "the same report counts once");
    }
}
