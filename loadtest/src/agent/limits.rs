//! What a load must not exceed: `gap.p95<=800ms`, `failed<=1%`.
//! Knows names and comparisons. Where the figures come from is the run's business.

use super::run::{METRICS, Metric, Run, Statistic};
use serde::Serialize;
use std::str::FromStr;

/// One stated limit.
#[derive(Clone)]
pub(crate) struct Limit {
    text: String,
    metric: &'static Metric,
    statistic: Option<Statistic>,
    comparison: Comparison,
    value: f64,
}

#[derive(Clone, Copy)]
enum Comparison {
    AtMost,
    Below,
    AtLeast,
    Above,
}

/// The longer ones first: `<` is the beginning of `<=`.
const COMPARISONS: [(&str, Comparison); 4] = [
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("<", Comparison::Below),
    (">", Comparison::Above),
];

/// How a limit came out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Verdict {
    /// As it was written.
    pub(crate) limit: String,
    /// What was measured; nothing at all is not within any limit.
    pub(crate) measured: Option<f64>,
    pub(crate) unit: &'static str,
    pub(crate) met: bool,
}

impl Limit {
    pub(crate) fn judge(&self, run: &Run) -> Verdict {
        let measured = match self.statistic {
            Some(statistic) => run.statistic(self.metric, statistic),
            None => run.number(self.metric),
        };
        let within = |measured: f64| match self.comparison {
            Comparison::AtMost => measured <= self.value,
            Comparison::Below => measured < self.value,
            Comparison::AtLeast => measured >= self.value,
            Comparison::Above => measured > self.value,
        };
        let unit = if self.statistic == Some(Statistic::Count) { "" } else { self.metric.unit };
        Verdict { limit: self.text.clone(), measured, unit, met: measured.is_some_and(within) }
    }
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = COMPARISONS.iter().find_map(|(sign, comparison)| {
            text.split_once(sign).map(|(name, value)| (name.trim(), *comparison, value.trim()))
        });
        let (name, comparison, value) =
            found.ok_or_else(|| format!("`{text}` has no comparison: write for example gap.p95<=800ms"))?;
        let (name, statistic) = name.split_once('.').map_or((name, None), |(name, s)| (name, Some(s)));
        let metric = METRICS.iter().find(|metric| metric.name == name);
        let metric =
            metric.ok_or_else(|| format!("`{text}`: there is no `{name}`; there are:\n{}", list()))?;
        Ok(Self {
            text: text.to_owned(),
            metric,
            statistic: statistic_of(metric, statistic).map_err(|why| format!("`{text}`: {why}"))?,
            comparison,
            value: number(value, metric.unit).map_err(|why| format!("`{text}`: {why}"))?,
        })
    }
}

fn statistic_of(metric: &Metric, name: Option<&str>) -> Result<Option<Statistic>, String> {
    let names = || Statistic::ALL.map(|(name, _)| name).join(", ");
    match (metric.is_spread(), name) {
        (false, None) => Ok(None),
        (false, Some(name)) => Err(format!("{} is one number and has no {name}", metric.name)),
        (true, None) => Err(format!("{} needs one of {}: {}.p95", metric.name, names(), metric.name)),
        (true, Some(wanted)) => {
            let known = Statistic::ALL.iter().find(|(name, _)| *name == wanted);
            known
                .map(|(_, statistic)| Some(*statistic))
                .ok_or_else(|| format!("`{wanted}` is none of {}", names()))
        }
    }
}

/// Seconds may be written for milliseconds; a number alone has the metric's unit.
fn number(text: &str, unit: &str) -> Result<f64, String> {
    let digits = text.find(|c: char| c.is_ascii_alphabetic() || c == '%').unwrap_or(text.len());
    let (number, written) = (text[..digits].trim(), text[digits..].trim());
    let value: f64 = number.parse().map_err(|_| format!("`{text}` is no number"))?;
    let factor = match (written, unit) {
        ("", _) => 1.0,
        ("s", "ms") => 1_000.0,
        ("GB", "MB") => 1_000.0,
        ("%", "% of a core") => 1.0,
        (written, unit) if written == unit => 1.0,
        (written, unit) => return Err(format!("`{written}` is no unit here; it is measured in {unit}")),
    };
    Ok(value * factor)
}

/// Everything that can be limited, one a line.
pub(crate) fn list() -> String {
    let line = |metric: &Metric| {
        let name = if metric.is_spread() { format!("{}.p95", metric.name) } else { metric.name.to_owned() };
        format!("  {name:14} {:12} {}", metric.unit, metric.about)
    };
    let statistics = Statistic::ALL.map(|(name, _)| name).join(", ");
    format!(
        "{}\n  and in place of p95: {statistics}",
        METRICS.iter().map(line).collect::<Vec<_>>().join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::run::tests::fixture;

    fn judge(text: &str) -> Verdict {
        text.parse::<Limit>().unwrap_or_else(|error| panic!("{error}")).judge(&fixture())
    }

    #[test]
    fn limits_are_compared_with_what_was_measured() {
        for (text, met) in [
            ("gap.p95<=1900ms", true),
            ("gap.p95 <= 1.8s", false),
            ("gap.p95<1900", false),
            ("gap.n>=20", true),
            ("gap.max > 2000ms", false),
            ("failed<=20%", true),
            ("failed<20%", false),
            ("one_way<=0", true),
            ("cpu.max<=4%", true),
        ] {
            assert_eq!(judge(text).met, met, "{text}: {:?}", judge(text));
        }
        assert_eq!(judge("gap.p95<=1s").measured, Some(1_900.0));
    }

    #[test]
    fn what_was_never_measured_is_within_no_limit() {
        assert_eq!((judge("barge_in.p95<=1s").met, judge("barge_in.p95<=1s").measured), (false, None));
        assert!(!judge("sum_rule<=0").met);
    }

    #[test]
    fn a_limit_that_cannot_be_meant_is_refused_with_what_can() {
        let refused = |text: &str| text.parse::<Limit>().err().unwrap_or_else(|| panic!("{text} was taken"));
        assert!(refused("gpa.p95<=800ms").contains("gap.p95") && refused("gpa.p95<=1").contains("failed"));
        assert!(refused("gap<=800ms").contains("gap.p95"));
        assert!(refused("gap.p97<=800ms").contains("p99.9"));
        assert!(refused("failed.p95<=1%").contains("one number"));
        assert!(refused("gap.p95=800ms").contains("comparison"));
        assert!(refused("gap.p95<=800MB").contains("measured in ms"));
        assert!(refused("gap.p95<=x").contains("no number"));
    }
}
