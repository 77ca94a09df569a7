//! What a load measured, as a table for people and as JSON for machines.
//! Knows names and numbers.

use super::{
    limits::Verdict,
    run::{METRICS, Metric, Run},
};
use crate::machine::Facts;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// Calls that are named as the worst.
pub(crate) const WORST: usize = 10;
/// Statistics of the table.
const SHOWN: [&str; 6] = ["p50", "p95", "p99", "p99.9", "max", "n"];

/// The time of day, for reports.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A number as people read it.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 99.95 || v.fract() == 0.0 => format!("{value:.0}"),
        v if v >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Counts of the run, each with its name.
pub(crate) fn counts(run: &Run) -> Vec<(&'static str, u64)> {
    let calls = &run.calls;
    let count = |of: fn(&super::CallOutcome) -> bool| calls.iter().filter(|call| of(call)).count() as u64;
    vec![
        ("calls", calls.len() as u64),
        ("answered", count(|call| call.setup_ms.is_some())),
        ("failed", count(|call| call.failure.is_some())),
        ("at the same time, at most", run.most_up()),
        ("held back", run.held_back),
        ("turns", calls.iter().map(|call| call.answers.len() as u64).sum()),
        ("packets", calls.iter().map(|call| call.received).sum()),
    ]
}

/// Failures by their reason, the most frequent first.
pub(crate) fn failures(run: &Run) -> Vec<(&str, usize)> {
    let mut reasons = std::collections::BTreeMap::<&str, usize>::new();
    for reason in run.calls.iter().filter_map(|call| call.failure.as_deref().or(call.one_way)) {
        *reasons.entry(reason).or_default() += 1;
    }
    let mut reasons: Vec<_> = reasons.into_iter().collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    reasons
}

/// The table.
pub(crate) fn table(run: &Run, verdicts: &[Verdict]) -> String {
    let mut text = String::new();
    let counts: Vec<String> = counts(run).iter().map(|(name, count)| format!("{count} {name}")).collect();
    let _ = writeln!(text, "{} in {:.0} s", counts.join(", "), run.seconds);
    let _ = write!(text, "\n{:12}", "");
    SHOWN.iter().for_each(|name| {
        let _ = write!(text, "{name:>10}");
    });
    text.push('\n');
    for metric in METRICS.iter().filter(|metric| metric.is_spread()) {
        let statistics = run.statistics(metric);
        if statistics.is_empty() {
            continue;
        }
        let _ = write!(text, "{:12}", metric.name);
        for name in SHOWN {
            let value = statistics.iter().find(|(of, _)| *of == name).map_or(0.0, |(_, value)| *value);
            let _ = write!(text, "{:>10}", short(value));
        }
        let _ = writeln!(text, "  {:2}  {}", metric.unit, metric.about);
    }
    for metric in METRICS.iter().filter(|metric| !metric.is_spread()) {
        if let Some(number) = run.number(metric) {
            let _ = writeln!(text, "{:12}{:>10}  {}", metric.name, short(number), metric.about);
        }
    }
    own_lateness(run, &mut text);
    add_truth(run, &mut text);
    for (reason, count) in failures(run).iter().take(10) {
        let _ = writeln!(text, "{count} × {reason}");
    }
    for call in run.worst(3).iter().filter(|call| call.failure.is_some() || call.worst_gap_ms() > 0.0) {
        let id = call.call_id.as_deref().unwrap_or("-");
        let why = call.failure.clone().unwrap_or_else(|| format!("waited {:.0} ms", call.worst_gap_ms()));
        let _ = writeln!(text, "worst: tandem trace {id}  ({why})");
    }
    for verdict in verdicts {
        let met = if verdict.met { "  ok    " } else { "  FAILED" };
        let measured = verdict
            .measured
            .map_or("nothing was measured".to_owned(), |v| format!("{} {}", short(v), verdict.unit));
        let _ = writeln!(text, "{met} {}  ({measured})", verdict.limit);
    }
    text
}

/// A load that is late itself measures itself.
fn own_lateness(run: &Run, text: &mut String) {
    if let Some((p99, max)) = own_late_ms(run) {
        let note = if p99 > 5.0 { ": this machine is too busy to be believed" } else { "" };
        let _ = writeln!(
            text,
            "the callers themselves were late by {} ms at p99, {} ms at most{note}",
            short(p99),
            short(max)
        );
    }
}

/// How late the load itself was: p99 and the most.
pub(crate) fn own_late_ms(run: &Run) -> Option<(f64, f64)> {
    let ms = |us: u64| us as f64 / 1_000.0;
    let late = &run.own_late;
    (!late.is_empty()).then(|| (ms(late.value_at_quantile(0.99)), ms(late.max())))
}

fn add_truth(run: &Run, text: &mut String) {
    let Some(truth) = &run.truth else { return };
    let _ = writeln!(
        text,
        "trace against truth: {} turns of {} calls compared; {} heard only, {} traced only; {} calls without a trace",
        truth.differences_ms.len(),
        truth.calls,
        truth.only_heard,
        truth.only_traced,
        truth.without_trace,
    );
    let size: crate::spread::Spread = truth.differences_ms.iter().map(|ms| ms.abs()).collect();
    if size.len() > 0 {
        let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|share| short(size.at(share)));
        let _ = writeln!(
            text,
            "  the clocks differ by p50 {p50}, p95 {p95}, p99 {p99}, at most {} ms",
            short(size.max())
        );
    }
    let _ = writeln!(text, "  {} turns whose stages do not add up to the whole", truth.sum_violations.len());
    let lines = truth.sum_violations.iter().chain(&truth.warnings).chain(&truth.why).take(5);
    lines.for_each(|line| {
        let _ = writeln!(text, "    {line}");
    });
}

/// Everything, for machines.
pub(crate) fn json(run: &Run, verdicts: &[Verdict], facts: &Facts) -> Value {
    let figure = |metric: &Metric| {
        let values: Map<String, Value> = match run.number(metric) {
            Some(number) => Map::from_iter([("value".to_owned(), number.into())]),
            None => run
                .statistics(metric)
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.into()))
                .collect(),
        };
        let entry = json!({ "unit": metric.unit, "about": metric.about, "values": values });
        (metric.name.to_owned(), entry)
    };
    let counts: Map<String, Value> =
        counts(run).into_iter().map(|(name, count)| (name.replace([' ', ','], "_"), count.into())).collect();
    let (late_p99, late_max) = own_late_ms(run).unwrap_or_default();
    json!({
        "uri": run.uri,
        "command": run.command,
        "began": run.began,
        "seconds": run.seconds,
        "seed": run.seed,
        "machine": { "cores": facts.cores, "cpu": facts.cpu, "kernel": facts.kernel },
        "counts": counts,
        "figures": METRICS.iter().map(figure).collect::<Map<_, _>>(),
        "callers_late_ms": { "p99": late_p99, "max": late_max },
        "limits": verdicts,
        "truth": run.truth,
        "seconds_series": run.series,
        "packet_histogram": histogram(run),
        "calls": run.calls,
    })
}

/// Times between packets in steps of half a millisecond, and how often each was met.
pub(crate) fn histogram(run: &Run) -> Vec<(f64, u64)> {
    let mut steps: Vec<(f64, u64)> = Vec::new();
    for value in run.packets.iter_recorded() {
        let ms = (value.value_iterated_to() as f64 / 500.0).floor() / 2.0;
        match steps.last_mut().filter(|(last, _)| *last == ms) {
            Some((_, count)) => *count += value.count_at_value(),
            None => steps.push((ms, value.count_at_value())),
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{limits::Limit, run::tests::fixture};

    fn facts() -> Facts {
        Facts { cores: 2, cpu: "Test".into(), kernel: "6".into(), load: 0.5 }
    }

    #[test]
    fn the_table_has_the_figures_the_failures_and_the_limits() {
        let run = fixture();
        let limits: Vec<Verdict> = ["gap.p95<=1s", "failed<=20%"]
            .iter()
            .map(|text| text.parse::<Limit>().unwrap_or_else(|error| panic!("{error}")).judge(&run))
            .collect();
        let table = table(&run, &limits);
        let row = table.lines().find(|line| line.starts_with("gap ")).expect("a row");
        let words: Vec<&str> = row.split_whitespace().take(7).collect();
        assert_eq!(words, ["gap", "1000", "1900", "2000", "2000", "2000", "20"]);
        for part in [
            "5 calls",
            "1 × refused with 503",
            "FAILED gap.p95<=1s  (1900 ms)",
            "ok     failed<=20%",
            "call-4@load",
        ] {
            assert!(table.contains(part), "no `{part}` in:\n{table}");
        }
        assert!(!table.contains("barge_in"), "what was not measured has no row");
    }

    #[test]
    fn the_json_has_every_call_and_every_figure() {
        let json = json(&fixture(), &[], &facts());
        assert_eq!(json["figures"]["gap"]["values"]["p95"], json!(1_900.0));
        assert_eq!(json["figures"]["failed"]["values"]["value"], json!(20.0));
        assert_eq!(json["calls"].as_array().map(Vec::len), Some(5));
        assert_eq!(json["calls"][3]["answers"][4]["gap_ms"], json!(2_000.0));
        assert_eq!((&json["counts"]["held_back"], &json["seconds_series"][1]["up"]), (&json!(1), &json!(4)));
    }

    #[test]
    fn the_histogram_counts_every_packet_once() {
        let steps = histogram(&fixture());
        assert_eq!(steps.iter().map(|(_, count)| count).sum::<u64>(), 1_001);
        assert!(steps.iter().all(|(ms, _)| (18.5..=20.0).contains(ms) || *ms == 60.0), "{steps:?}");
    }
}
