//! A load's report to look at: one HTML file that needs nothing from anywhere.
//! Knows the run and how it is shown. Measures nothing.

use super::{
    limits::Verdict,
    outcome::CallOutcome,
    plot::{Axis, Mark, Series, escape, picture},
    run::{METRICS, Metric, Run, Statistic},
    summary::{WORST, counts, failures, histogram, own_late_ms, short},
};
use crate::{machine::Facts, spread::Spread};
use std::{collections::BTreeMap, fmt::Write as _};

const STYLE: &str = include_str!("report.css");

/// The report.
pub(crate) fn page(run: &Run, verdicts: &[Verdict], facts: &Facts) -> String {
    let mut html = String::with_capacity(100_000);
    let _ = write!(
        html,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>Load on {}</title><style>{STYLE}</style></head><body><main>",
        escape(&run.uri)
    );
    head(run, verdicts, facts, &mut html);
    tiles(run, &mut html);
    limits(verdicts, &mut html);
    html.push_str("<section class=\"charts\">");
    charts(run, &mut html);
    html.push_str("</section>");
    figures(run, &mut html);
    scenarios(run, &mut html);
    truth(run, &mut html);
    failed(run, &mut html);
    worst(run, &mut html);
    foot(run, facts, &mut html);
    html.push_str("</main></body></html>\n");
    html
}

fn head(run: &Run, verdicts: &[Verdict], facts: &Facts, html: &mut String) {
    let (class, word) = match (verdicts, verdicts.iter().filter(|verdict| !verdict.met).count()) {
        ([], _) if run.calls.iter().any(|call| call.failure.is_some()) => ("bad", "calls failed".to_owned()),
        ([], _) => ("good", "every call went well".to_owned()),
        (_, 0) => ("good", "within all limits".to_owned()),
        (_, exceeded) => ("bad", format!("{exceeded} of {} limits exceeded", verdicts.len())),
    };
    let _ = write!(
        html,
        "<header><div><h1>Load on <code>{}</code></h1><p>{} · {:.0} s · seed {} · {} cores of {}, Linux {}</p></div>\
         <span class=\"badge {class}\">{word}</span></header>",
        escape(&run.uri),
        escape(&run.began),
        run.seconds,
        run.seed,
        facts.cores,
        escape(&facts.cpu),
        escape(&facts.kernel),
    );
}

fn metric(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}

fn statistic(run: &Run, name: &str, statistic: Statistic) -> Option<f64> {
    run.statistic(metric(name)?, statistic)
}

/// The figures that are looked at first.
fn tiles(run: &Run, html: &mut String) {
    let p = Statistic::Share;
    let figure = |name, which, unit: &str| {
        statistic(run, name, which)
            .map_or("–".to_owned(), |value| format!("{}<small>{unit}</small>", short(value)))
    };
    let failed = run.calls.iter().filter(|call| call.failure.is_some()).count();
    let tiles = [
        ("calls", run.calls.len().to_string(), format!("{} at once, {failed} failed", run.most_up())),
        (
            "response gap",
            figure("gap", p(0.5), "ms"),
            format!("p95 {} ms", text(statistic(run, "gap", p(0.95)))),
        ),
        (
            "barge-in to silence",
            figure("barge_in", p(0.5), "ms"),
            format!("p95 {} ms", text(statistic(run, "barge_in", p(0.95)))),
        ),
        (
            "answer to greeting",
            figure("greeting", p(0.5), "ms"),
            format!("set-up {} ms", text(statistic(run, "setup", p(0.5)))),
        ),
        (
            "between packets, p99.9",
            figure("packet", p(0.999), "ms"),
            format!("at most {} ms", text(statistic(run, "packet", Statistic::Max))),
        ),
        (
            "packets lost",
            figure("lost", Statistic::Mean, "%"),
            format!("late {} %", text(statistic(run, "late", Statistic::Mean))),
        ),
    ];
    html.push_str("<section class=\"tiles\">");
    for (name, value, below) in tiles {
        let _ = write!(html, "<div><h2>{name}</h2><b>{value}</b><p>{below}</p></div>");
    }
    html.push_str("</section>");
}

fn text(value: Option<f64>) -> String {
    value.map_or("–".to_owned(), short)
}

fn limits(verdicts: &[Verdict], html: &mut String) {
    if verdicts.is_empty() {
        return;
    }
    html.push_str("<section class=\"limits\">");
    for verdict in verdicts {
        let class = if verdict.met { "good" } else { "bad" };
        let measured = verdict
            .measured
            .map_or("nothing measured".to_owned(), |v| format!("{} {}", short(v), verdict.unit));
        let _ =
            write!(html, "<span class=\"badge {class}\">{} <i>{measured}</i></span>", escape(&verdict.limit));
    }
    html.push_str("</section>");
}

fn charts(run: &Run, html: &mut String) {
    chart(html, "Latency by percentile", "on a logarithmic scale", &percentiles(run));
    chart(
        html,
        "Response gap of every turn",
        "end of the caller's speech to the first voiced packet",
        &gaps(run),
    );
    chart(html, "Calls", "up at the same time", &concurrency(run));
    chart(html, "Between packets", "how often, on a logarithmic scale", &packets(run));
    if run.series.iter().any(|second| second.cpu_percent.is_some()) {
        chart(
            html,
            "Processor time of the server",
            "per cent of one core",
            &usage(run, "%", |second| second.cpu_percent, 4),
        );
        chart(html, "Memory of the server", "resident, MB", &usage(run, "MB", |second| second.rss_mb, 2));
    }
}

fn chart(html: &mut String, title: &str, below: &str, picture: &str) {
    let _ = write!(html, "<figure><figcaption><b>{title}</b> {below}</figcaption>{picture}</figure>");
}

/// Anything shorter stands at the bottom of a logarithmic scale.
const LEAST_MS: f64 = 1.0;

/// As many nines as there are values to tell them.
fn percentiles(run: &Run) -> String {
    let names = ["gap", "barge_in", "greeting", "setup"];
    let shares: Vec<f64> = (0..=90).map(|n| 1.0 - 10_f64.powf(-f64::from(n) / 30.0)).collect();
    let nines = |share: f64| -(1.0 - share).log10();
    let mut series = Vec::new();
    for (colour, name) in names.into_iter().enumerate() {
        let Some(metric) = metric(name) else { continue };
        let Some(spread) = run.spread(metric).filter(|spread| spread.len() > 0) else { continue };
        let told =
            shares.iter().filter(|share| **share < 0.5 || (1.0 - **share) * spread.len() as f64 >= 1.0);
        let points = told.map(|share| (nines(*share), spread.at(*share).max(LEAST_MS).log10())).collect();
        let label = format!("{name} ({})", spread.len());
        series.push(Series { name: label, colour: colour + 1, mark: Mark::Line, points });
    }
    let most = series.iter().flat_map(|one| &one.points).map(|(_, ms)| *ms).fold(0.0, f64::max).ceil();
    let powers =
        (0..=most.max(1.0) as u32).map(|power| (f64::from(power), 10_u64.pow(power).to_string())).collect();
    let y = Axis::with_ticks("ms", 0.0, most.max(1.0), powers);
    let ticks = [(0.0, "p0"), (0.5, "p50"), (0.75, "p75"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9")];
    let ticks = ticks.into_iter().map(|(share, name)| (nines(share), name.to_owned())).collect();
    picture(&Axis::with_ticks("", 0.0, 3.0, ticks), &y, &series)
}

fn gaps(run: &Run) -> String {
    let mut by_scenario = BTreeMap::<&str, Vec<(f64, f64)>>::new();
    for call in &run.calls {
        let points = by_scenario.entry(&call.scenario_name).or_default();
        points
            .extend(call.answers.iter().map(|answer| (call.at_s + answer.asked_ms / 1_000.0, answer.gap_ms)));
    }
    let most = by_scenario.values().flatten().map(|(_, ms)| *ms).fold(0.0, f64::max);
    let dots = by_scenario.into_iter().filter(|(_, points)| !points.is_empty()).enumerate();
    let series: Vec<Series> = dots
        .map(|(n, (name, points))| Series {
            name: name.to_owned(),
            colour: n % 6 + 1,
            mark: Mark::Dots,
            points,
        })
        .collect();
    picture(&Axis::up_to("s", run.seconds), &Axis::up_to("ms", most), &series)
}

fn concurrency(run: &Run) -> String {
    let points: Vec<(f64, f64)> = run.series.iter().map(|second| (second.at_s, second.up as f64)).collect();
    let most = points.iter().map(|(_, up)| *up).fold(0.0, f64::max);
    let series = [Series { name: "up".to_owned(), colour: 1, mark: Mark::Area, points }];
    picture(&Axis::up_to("s", run.seconds), &Axis::up_to("calls", most), &series)
}

fn usage(run: &Run, unit: &str, value: fn(&super::Second) -> Option<f64>, colour: usize) -> String {
    let points: Vec<(f64, f64)> =
        run.series.iter().filter_map(|second| Some((second.at_s, value(second)?))).collect();
    let most = points.iter().map(|(_, used)| *used).fold(0.0, f64::max);
    let series = [Series { name: unit.to_owned(), colour, mark: Mark::Area, points }];
    picture(&Axis::up_to("s", run.seconds), &Axis::up_to(unit, most), &series)
}

/// The tail is what matters: counts stand on a logarithmic scale, and what is beyond stands in the last bar.
fn packets(run: &Run) -> String {
    const SHOWN_MS: f64 = 60.0;
    let mut points: Vec<(f64, f64)> = Vec::new();
    let (mut beyond, mut most) = (0, 1_u64);
    for (ms, count) in histogram(run) {
        most = most.max(count);
        if ms >= SHOWN_MS {
            beyond += count;
        } else {
            points.push((ms, (count as f64).log10() + 0.1));
        }
    }
    if beyond > 0 {
        points.push((SHOWN_MS - 0.5, (beyond as f64).log10() + 0.1));
    }
    let powers = (most as f64).log10().ceil().max(1.0) as u32;
    let ticks = (0..=powers).map(|power| (f64::from(power) + 0.1, 10_u64.pow(power).to_string())).collect();
    let x: Vec<(f64, String)> = (0..=6).map(|n| (f64::from(n) * 10.0, (n * 10).to_string())).collect();
    let x = Axis::with_ticks(&format!("ms ({beyond} beyond {SHOWN_MS:.0})"), 0.0, SHOWN_MS, x);
    let y = Axis::with_ticks("packets", 0.0, f64::from(powers) + 0.1, ticks);
    picture(&x, &y, &[Series { name: "packets".to_owned(), colour: 3, mark: Mark::Bars, points }])
}

fn figures(run: &Run, html: &mut String) {
    html.push_str("<section><h2>Figures</h2><table><tr><th></th>");
    Statistic::ALL.iter().for_each(|(name, _)| {
        let _ = write!(html, "<th class=\"n\">{name}</th>");
    });
    html.push_str("<th>unit</th><th></th></tr>");
    for metric in METRICS.iter().filter(|metric| metric.is_spread()) {
        let statistics = run.statistics(metric);
        if statistics.is_empty() {
            continue;
        }
        let _ = write!(html, "<tr><th>{}</th>", metric.name);
        statistics.iter().for_each(|(_, value)| {
            let _ = write!(html, "<td class=\"n\">{}</td>", short(*value));
        });
        let _ = write!(html, "<td>{}</td><td class=\"about\">{}</td></tr>", metric.unit, metric.about);
    }
    html.push_str("</table><table class=\"counts\">");
    for metric in METRICS.iter().filter(|metric| !metric.is_spread()) {
        if let Some(number) = run.number(metric) {
            let (unit, about) = (metric.unit, metric.about);
            let _ = write!(
                html,
                "<tr><th>{}</th><td class=\"n\">{}</td><td>{unit}</td><td class=\"about\">{about}</td></tr>",
                metric.name,
                short(number)
            );
        }
    }
    html.push_str("</table></section>");
}

fn scenarios(run: &Run, html: &mut String) {
    let mut by_name = BTreeMap::<&str, Vec<&CallOutcome>>::new();
    run.calls.iter().for_each(|call| by_name.entry(&call.scenario_name).or_default().push(call));
    html.push_str(
        "<section><h2>Scenarios</h2><table><tr><th></th><th class=\"n\">calls</th><th class=\"n\">failed</th>\
         <th class=\"n\">turns</th><th class=\"n\">gap p50</th><th class=\"n\">gap p95</th>\
         <th class=\"n\">barge-in p95</th><th class=\"n\">lost</th><th class=\"n\">MOS</th><th>codecs</th></tr>",
    );
    for (name, calls) in by_name {
        let spread = |values: Vec<f64>| values.into_iter().collect::<Spread>();
        let gaps =
            spread(calls.iter().flat_map(|call| call.answers.iter().map(|answer| answer.gap_ms)).collect());
        let barge_ins = spread(calls.iter().flat_map(|call| call.barge_ins_ms.iter().copied()).collect());
        let media = || calls.iter().filter_map(|call| call.media.as_ref());
        let lost = spread(media().map(|media| media.lost_percent).collect());
        let mos = spread(media().filter_map(|media| media.mos.map(f64::from)).collect());
        let codecs: std::collections::BTreeSet<&str> = media().map(|media| media.codec.as_str()).collect();
        let codecs: Vec<&str> = codecs.into_iter().collect();
        let failed = calls.iter().filter(|call| call.failure.is_some()).count();
        let _ = write!(
            html,
            "<tr><th>{}</th><td class=\"n\">{}</td><td class=\"n\">{failed}</td>",
            escape(name),
            calls.len()
        );
        let numbers = [
            gaps.len().to_string(),
            some(&gaps, gaps.at(0.5), " ms"),
            some(&gaps, gaps.at(0.95), " ms"),
            some(&barge_ins, barge_ins.at(0.95), " ms"),
            some(&lost, lost.mean(), " %"),
            some(&mos, mos.mean(), ""),
        ];
        numbers.iter().for_each(|number| {
            let _ = write!(html, "<td class=\"n\">{number}</td>");
        });
        let _ = write!(html, "<td>{}</td></tr>", escape(&codecs.join(", ")));
    }
    html.push_str("</table></section>");
}

fn some(spread: &Spread, value: f64, unit: &str) -> String {
    if spread.len() == 0 { "–".to_owned() } else { format!("{}{unit}", short(value)) }
}

fn truth(run: &Run, html: &mut String) {
    let Some(truth) = &run.truth else { return };
    let size: Spread = truth.differences_ms.iter().map(|ms| ms.abs()).collect();
    let _ = write!(
        html,
        "<section><h2>Trace against truth</h2><p>The server's traces of {} calls, beside the callers' own clock: {} \
         turns compared, the clocks differ by <b>{} ms</b> at p50 and <b>{} ms</b> at p99. {} turns do not add up. \
         {} answers were heard only, {} turns traced only, {} calls left no complete trace.</p>",
        truth.calls,
        size.len(),
        short(size.at(0.5)),
        short(size.at(0.99)),
        truth.sum_violations.len(),
        truth.only_heard,
        truth.only_traced,
        truth.without_trace,
    );
    let lines: Vec<String> = truth
        .sum_violations
        .iter()
        .chain(&truth.warnings)
        .take(10)
        .map(|line| format!("<li>{}</li>", escape(line)))
        .collect();
    let _ = write!(html, "<ul>{}</ul></section>", lines.concat());
}

fn failed(run: &Run, html: &mut String) {
    let failures = failures(run);
    if failures.is_empty() {
        return;
    }
    html.push_str("<section><h2>What went wrong</h2><table>");
    for (reason, count) in failures.iter().take(20) {
        let _ = write!(html, "<tr><td class=\"n\">{count} ×</td><td>{}</td></tr>", escape(reason));
    }
    html.push_str("</table></section>");
}

fn worst(run: &Run, html: &mut String) {
    html.push_str(
        "<section><h2>The worst calls</h2><table><tr><th class=\"n\">call</th><th class=\"n\">began</th>\
         <th>scenario</th><th class=\"n\">longest gap</th><th class=\"n\">longest between packets</th>\
         <th class=\"n\">lost</th><th>what</th><th>look it up</th></tr>",
    );
    for call in run.worst(WORST) {
        let what = call.failure.as_deref().or(call.one_way).unwrap_or(match call.unanswered {
            0 => "",
            _ => "not answered",
        });
        let lost =
            call.media.as_ref().map_or("–".to_owned(), |media| format!("{} %", short(media.lost_percent)));
        let id = call.call_id.as_deref().map_or("–".to_owned(), |id| format!("tandem trace {id}"));
        let _ = write!(
            html,
            "<tr><td class=\"n\">{}</td><td class=\"n\">{:.1} s</td><td>{}</td><td class=\"n\">{} ms</td>\
             <td class=\"n\">{} ms</td><td class=\"n\">{lost}</td><td>{}</td><td><code>{}</code></td></tr>",
            call.number,
            call.at_s,
            escape(&call.scenario_name),
            short(call.worst_gap_ms()),
            short(call.packet_max_ms),
            escape(what),
            escape(&id)
        );
    }
    html.push_str("</table></section>");
}

fn foot(run: &Run, facts: &Facts, html: &mut String) {
    let counts: Vec<String> = counts(run).iter().map(|(name, count)| format!("{count} {name}")).collect();
    let late = own_late_ms(run).map_or(String::new(), |(p99, max)| {
        format!(
            " The callers themselves were late by {} ms at p99 and {} ms at most.",
            short(p99),
            short(max)
        )
    });
    let _ = write!(
        html,
        "<footer><p>{}.{late} Load average before the report: {}.</p><p><code>loadtest {}</code></p></footer>",
        counts.join(", "),
        facts.load,
        escape(&run.command)
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{limits::Limit, run::tests::fixture, truth::Truth};

    fn report(verdicts: &[Verdict]) -> String {
        let mut run = fixture();
        run.truth = Some(Truth { calls: 4, differences_ms: vec![3.0, -8.0], ..Truth::default() });
        page(&run, verdicts, &Facts { cores: 2, cpu: "Test".into(), kernel: "6".into(), load: 0.5 })
    }

    #[test]
    fn the_report_has_the_numbers_and_needs_nothing_from_anywhere() {
        let verdict =
            "gap.p95<=1s".parse::<Limit>().unwrap_or_else(|error| panic!("{error}")).judge(&fixture());
        let html = report(&[verdict]);
        for part in [
            "<b>1000<small>ms</small></b>",
            "p95 1900 ms",
            "1 of 1 limits exceeded",
            "gap.p95&lt;=1s <i>1900 ms</i>",
            "tandem trace call-4@load",
            "refused with 503",
            "<b>8 ms</b> at p99",
            "loadtest agent &lt;now&gt;",
        ] {
            assert!(html.contains(part), "no `{part}`");
        }
        assert_eq!(html.matches("<svg").count(), 6, "one picture for each figure");
        for foreign in ["<script", "http://", "https://", "@import", "url("] {
            assert!(!html.contains(foreign), "the report reaches out: {foreign}");
        }
    }

    #[test]
    fn without_limits_the_calls_themselves_are_judged() {
        assert!(report(&[]).contains("calls failed"));
    }
}
