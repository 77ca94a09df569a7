//! Everything that a load measured, and its figures by name.
//! Knows numbers. How they are shown and what they should be is not decided here.

use super::{outcome::CallOutcome, truth::Truth, watch::Second};
use crate::spread::Spread;
use hdrhistogram::Histogram;

/// The longest time between two packets that is told apart from longer ones, in microseconds.
const LONGEST_US: u64 = 600_000_000;

/// What came of a load.
pub(crate) struct Run {
    pub(crate) uri: String,
    pub(crate) command: String,
    pub(crate) seed: u64,
    pub(crate) began: String,
    pub(crate) seconds: f64,
    pub(crate) calls: Vec<CallOutcome>,
    /// Between packets, in microseconds.
    pub(crate) packets: Histogram<u64>,
    /// How late the load itself was, in microseconds.
    pub(crate) own_late: Histogram<u64>,
    pub(crate) series: Vec<Second>,
    pub(crate) held_back: u64,
    pub(crate) truth: Option<Truth>,
}

/// A histogram of microseconds, exact to a thousandth.
pub(crate) fn histogram() -> Histogram<u64> {
    // The bounds are constants that the library takes.
    Histogram::new_with_bounds(1, LONGEST_US, 3).unwrap_or_else(|_| unreachable!("sound bounds"))
}

/// A figure that a limit can name.
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) about: &'static str,
    values: Values,
}

/// Where it comes from.
enum Values {
    /// A distribution.
    Many(fn(&Run) -> Spread),
    /// Microseconds between packets, and how a value of it counts.
    Packets,
    /// One number.
    One(fn(&Run) -> f64),
}

impl Metric {
    pub(crate) fn is_spread(&self) -> bool {
        !matches!(self.values, Values::One(_))
    }
}

/// All of them, in the order of reports.
pub(crate) const METRICS: [Metric; 18] = [
    many("ring", "ms", "INVITE to the first provisional response", |run| run.each(|call| call.ring_ms)),
    many("setup", "ms", "INVITE to 200", |run| run.each(|call| call.setup_ms)),
    many("greeting", "ms", "200 to the first voiced packet", |run| run.each(|call| call.greeting_ms)),
    many("gap", "ms", "end of the caller's speech to the first voiced packet of the answer", |run| {
        run.calls.iter().flat_map(|call| call.answers.iter().map(|answer| answer.gap_ms)).collect()
    }),
    many(
        "barge_in",
        "ms",
        "the caller's first packet over the agent's voice to its last voiced packet",
        |run| run.calls.iter().flat_map(|call| call.barge_ins_ms.iter().copied()).collect(),
    ),
    Metric { name: "packet", unit: "ms", about: "between two packets of a call", values: Values::Packets },
    many("lost", "%", "packets of the server that never came, per call", |run| {
        run.each(|call| call.media.as_ref().map(|media| media.lost_percent))
    }),
    many("late", "%", "packets of the server too late to be played, per call", |run| {
        run.each(|call| call.media.as_ref().map(|media| media.late_percent))
    }),
    many("rtt", "ms", "there and back, from RTCP", |run| {
        run.each(|call| call.media.as_ref().and_then(|media| media.rtt_ms))
    }),
    many("mos", "", "mean opinion score of what callers hear, per call", |run| {
        run.each(|call| call.media.as_ref().and_then(|media| media.mos.map(f64::from)))
    }),
    many("cpu", "% of a core", "the server's processor time, second by second", |run| {
        run.series.iter().filter_map(|second| second.cpu_percent).collect()
    }),
    many("rss", "MB", "the server's resident memory, second by second", |run| {
        run.series.iter().filter_map(|second| second.rss_mb).collect()
    }),
    many("truth", "ms", "the caller's response gap less that of the server's trace, per turn", |run| {
        run.truth.iter().flat_map(|truth| truth.differences_ms.iter().copied()).collect()
    }),
    one("failed", "%", "calls that were not taken or did not go as their script says", |run| {
        let failed = run.calls.iter().filter(|call| call.failure.is_some()).count();
        failed as f64 * 100.0 / run.calls.len().max(1) as f64
    }),
    one("unanswered", "utterances", "what callers said without getting an answer", |run| {
        run.calls.iter().map(|call| f64::from(call.unanswered)).sum()
    }),
    one("one_way", "calls", "calls with audio in one direction only", |run| {
        run.calls.iter().filter(|call| call.one_way.is_some()).count() as f64
    }),
    one("on_hold", "packets", "packets that came although the agent was on hold", |run| {
        run.calls.iter().map(|call| call.on_hold as f64).sum()
    }),
    one("sum_rule", "turns", "turns of the server's traces whose stages do not add up to the whole", |run| {
        run.truth.as_ref().map_or(f64::NAN, |truth| truth.sum_violations.len() as f64)
    }),
];

const fn many(
    name: &'static str,
    unit: &'static str,
    about: &'static str,
    values: fn(&Run) -> Spread,
) -> Metric {
    Metric { name, unit, about, values: Values::Many(values) }
}

const fn one(name: &'static str, unit: &'static str, about: &'static str, value: fn(&Run) -> f64) -> Metric {
    Metric { name, unit, about, values: Values::One(value) }
}

/// What of a distribution is meant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Statistic {
    /// The smallest value that is not exceeded by this share of all.
    Share(f64),
    Mean,
    Min,
    Max,
    /// How many values there are.
    Count,
}

impl Statistic {
    /// Those of reports and limits.
    pub(crate) const ALL: [(&'static str, Self); 9] = [
        ("p50", Self::Share(0.5)),
        ("p90", Self::Share(0.9)),
        ("p95", Self::Share(0.95)),
        ("p99", Self::Share(0.99)),
        ("p99.9", Self::Share(0.999)),
        ("max", Self::Max),
        ("mean", Self::Mean),
        ("min", Self::Min),
        ("n", Self::Count),
    ];
}

impl Run {
    fn each(&self, value: impl Fn(&CallOutcome) -> Option<f64>) -> Spread {
        self.calls.iter().filter_map(value).collect()
    }

    /// The distribution of a metric; `None` for single numbers and for packets.
    pub(crate) fn spread(&self, metric: &Metric) -> Option<Spread> {
        match metric.values {
            Values::Many(values) => Some(values(self)),
            Values::Packets | Values::One(_) => None,
        }
    }

    /// The single number of a metric, if it was measured.
    pub(crate) fn number(&self, metric: &Metric) -> Option<f64> {
        match metric.values {
            Values::One(value) => Some(value(self)).filter(|value| !value.is_nan()),
            Values::Many(_) | Values::Packets => None,
        }
    }

    /// One statistic of a distribution; `None` when nothing was measured.
    pub(crate) fn statistic(&self, metric: &Metric, statistic: Statistic) -> Option<f64> {
        match metric.values {
            Values::Many(values) => of_spread(&values(self), statistic),
            Values::Packets => of_histogram(&self.packets, statistic),
            Values::One(_) => None,
        }
    }

    /// All statistics of a distribution, in the order of [`Statistic::ALL`]; empty when nothing was measured.
    pub(crate) fn statistics(&self, metric: &Metric) -> Vec<(&'static str, f64)> {
        let of = |statistic| match (&metric.values, self.spread(metric)) {
            (Values::Packets, _) => of_histogram(&self.packets, statistic),
            (_, Some(spread)) => of_spread(&spread, statistic),
            (_, None) => None,
        };
        Statistic::ALL.iter().filter_map(|(name, statistic)| Some((*name, of(*statistic)?))).collect()
    }

    /// Calls that went worst: failed ones, then those with the longest wait for an answer.
    pub(crate) fn worst(&self, most: usize) -> Vec<&CallOutcome> {
        let mut calls: Vec<&CallOutcome> = self.calls.iter().collect();
        let badness = |call: &CallOutcome| {
            let broken =
                u8::from(call.failure.is_some() || call.one_way.is_some()) + u8::from(call.unanswered > 0);
            (broken, call.worst_gap_ms() + call.packet_max_ms)
        };
        calls.sort_by(|a, b| badness(b).partial_cmp(&badness(a)).unwrap_or(std::cmp::Ordering::Equal));
        calls.truncate(most);
        calls
    }

    /// The most calls at the same time.
    pub(crate) fn most_up(&self) -> u64 {
        self.series.iter().map(|second| second.up).max().unwrap_or_default()
    }
}

fn of_spread(spread: &Spread, statistic: Statistic) -> Option<f64> {
    if spread.len() == 0 {
        return None;
    }
    Some(match statistic {
        Statistic::Share(share) => spread.at(share),
        Statistic::Mean => spread.mean(),
        Statistic::Min => spread.min(),
        Statistic::Max => spread.max(),
        Statistic::Count => spread.len() as f64,
    })
}

fn of_histogram(histogram: &Histogram<u64>, statistic: Statistic) -> Option<f64> {
    if histogram.is_empty() {
        return None;
    }
    let ms = |us: u64| us as f64 / 1_000.0;
    Some(match statistic {
        Statistic::Share(share) => ms(histogram.value_at_quantile(share)),
        Statistic::Mean => histogram.mean() / 1_000.0,
        Statistic::Min => ms(histogram.min()),
        Statistic::Max => ms(histogram.max()),
        Statistic::Count => histogram.len() as f64,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::agent::outcome::Answer;

    /// Four calls whose figures can be reckoned by hand: gaps of 100 to 2,000 ms in steps of 100, one call refused.
    pub(crate) fn fixture() -> Run {
        let gap = |n: u32| Answer { asked_ms: 4_000.0, gap_ms: f64::from(n) * 100.0 };
        let call = |number: u64, from: u32| CallOutcome {
            number,
            scenario_name: "asks".to_owned(),
            call_id: Some(format!("call-{number}@load")),
            setup_ms: Some(10.0 * number as f64),
            answers: (from..from + 5).map(gap).collect(),
            ..CallOutcome::default()
        };
        let mut calls = vec![call(1, 1), call(2, 6), call(3, 11), call(4, 16)];
        calls.push(CallOutcome {
            number: 5,
            failure: Some("refused with 503".to_owned()),
            ..CallOutcome::default()
        });
        let mut packets = histogram();
        for us in (19_001..=20_000).chain([60_000]) {
            packets.record(us).expect("within bounds");
        }
        let second = |s: u64, up: u64| Second {
            at_s: s as f64,
            up,
            cpu_percent: Some(up as f64),
            ..Second::default()
        };
        Run {
            uri: "sip:load@127.0.0.1".to_owned(),
            command: "loadtest agent <now>".to_owned(),
            seed: 7,
            began: "2026-01-02T03:04:05Z".to_owned(),
            seconds: 12.5,
            calls,
            packets,
            own_late: histogram(),
            series: vec![second(1, 2), second(2, 4), second(3, 3)],
            held_back: 1,
            truth: None,
        }
    }

    pub(crate) fn metric(name: &str) -> &'static Metric {
        METRICS.iter().find(|metric| metric.name == name).expect("there is one")
    }

    #[test]
    fn figures_are_those_reckoned_by_hand() {
        let run = fixture();
        let gap = |statistic| run.statistic(metric("gap"), statistic);
        assert_eq!(gap(Statistic::Share(0.5)), Some(1_000.0));
        assert_eq!(gap(Statistic::Share(0.95)), Some(1_900.0));
        assert_eq!((gap(Statistic::Mean), gap(Statistic::Count)), (Some(1_050.0), Some(20.0)));
        assert_eq!((gap(Statistic::Min), gap(Statistic::Max)), (Some(100.0), Some(2_000.0)));
        assert_eq!(run.statistic(metric("setup"), Statistic::Share(0.5)), Some(20.0));
        assert_eq!(run.number(metric("failed")), Some(20.0));
        assert_eq!(run.statistic(metric("cpu"), Statistic::Max), Some(4.0));
        assert_eq!(run.most_up(), 4);
    }

    #[test]
    fn packets_are_exact_to_a_thousandth() {
        let run = fixture();
        let packet = |statistic| run.statistic(metric("packet"), statistic).expect("measured");
        assert!((packet(Statistic::Share(0.5)) - 19.5).abs() < 0.02);
        assert!((packet(Statistic::Share(0.999)) - 20.0).abs() < 0.02);
        assert!((packet(Statistic::Max) - 60.0).abs() < 0.06);
    }

    #[test]
    fn what_was_not_measured_has_no_figure() {
        let run = fixture();
        assert_eq!(run.statistic(metric("barge_in"), Statistic::Share(0.5)), None);
        assert_eq!(run.number(metric("sum_rule")), None);
        assert!(run.statistics(metric("mos")).is_empty());
    }

    #[test]
    fn the_worst_calls_come_first() {
        let run = fixture();
        let worst: Vec<u64> = run.worst(3).iter().map(|call| call.number).collect();
        assert_eq!(worst, [5, 4, 3]);
    }
}
