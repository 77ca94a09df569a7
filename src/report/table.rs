//! The figures as a table for a terminal, alone or beside those of another period.
//! Knows words and units. What they mean is said where they are counted.

use super::{Figures, figures::FEW};
use std::fmt::Write as _;

/// The eight heights of a line drawn in text.
const BARS: [char; 8] =
    ['\u{2581}', '\u{2582}', '\u{2583}', '\u{2584}', '\u{2585}', '\u{2586}', '\u{2587}', '\u{2588}'];
/// Characters of that line.
const LINE: usize = 60;

/// How a figure is written, and whether more of it is better.
#[derive(Clone, Copy)]
pub(super) enum Unit {
    Count,
    Percent,
    Seconds,
    Minutes,
    Milliseconds,
    Number,
    Money,
}

/// One figure in each period.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) unit: Unit,
    pub(super) values: Vec<Option<f64>>,
    /// Whether more is better, where that can be said.
    pub(super) more_is_better: Option<bool>,
}

/// Figures under a heading.
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) lines: Vec<Line>,
}

impl Unit {
    pub(super) fn text(self, value: Option<f64>) -> String {
        let Some(value) = value else { return "\u{2013}".to_owned() };
        match self {
            Self::Count => format!("{value:.0}"),
            Self::Percent => format!("{:.1} %", value * 100.0),
            Self::Seconds => format!("{value:.1} s"),
            Self::Minutes => format!("{value:.1} min"),
            Self::Milliseconds => format!("{value:.0} ms"),
            Self::Number => format!("{value:.2}"),
            Self::Money => format!("{value:.4}"),
        }
    }
}

impl Line {
    /// How much the first value differs from the second: in percent of it, or in points of a percentage.
    pub(super) fn change(&self) -> Option<(f64, String)> {
        let (Some(Some(now)), Some(Some(before))) = (self.values.first(), self.values.get(1)) else {
            return None;
        };
        match self.unit {
            Unit::Percent => Some((now - before, format!("{:+.1} pt", (now - before) * 100.0))),
            Unit::Count | Unit::Seconds | Unit::Minutes | Unit::Milliseconds | Unit::Number | Unit::Money => {
                let change = (before.abs() > f64::EPSILON).then(|| (now - before) / before)?;
                Some((change, format!("{:+.1} %", change * 100.0)))
            }
        }
    }
}

/// All figures of all periods, the first of which is meant and the second of which it is compared with.
pub(super) fn sections(periods: &[&Figures]) -> Vec<Section> {
    let line = |name: &str, unit, more_is_better, value: &dyn Fn(&Figures) -> Option<f64>| Line {
        name: name.to_owned(),
        unit,
        values: periods.iter().map(|figures| value(figures)).collect(),
        more_is_better,
    };
    let count = |name: &str, better, value: &dyn Fn(&Figures) -> usize| {
        line(name, Unit::Count, better, &|figures| Some(value(figures) as f64))
    };
    let mut sections = vec![
        Section {
            title: "Calls",
            lines: vec![
                count("offered", None, &|f| f.offered),
                count("answered", None, &|f| f.answered),
                line("answer rate (ASR)", Unit::Percent, Some(true), &|f| f.answer_rate),
                count("blocked (no port or limit)", Some(false), &|f| f.blocked),
                count("failed before the answer", Some(false), &|f| f.failed),
                line("abandoned (within 10 s, or ringing)", Unit::Percent, Some(false), &|f| {
                    f.abandonment_rate
                }),
                line("completed of answered", Unit::Percent, Some(true), &|f| f.completion_rate),
                count("dropped by us", Some(false), &|f| f.dropped),
                line("handle time, mean (AHT)", Unit::Seconds, None, &|f| f.handle_seconds),
                line("answered minutes", Unit::Minutes, None, &|f| Some(f.minutes)),
                count("running", None, &|f| f.running),
            ],
        },
        Section {
            title: "Ports",
            lines: vec![
                line("port slots", Unit::Count, None, &|f| f.capacity.map(f64::from)),
                line("utilisation, mean", Unit::Percent, None, &|f| f.utilisation),
                line("in use, max", Unit::Count, None, &|f| Some(f64::from(f.concurrency.max))),
                line("in use, mean", Unit::Number, None, &|f| Some(f.concurrency.mean)),
                line("in use, p95 of seconds", Unit::Count, None, &|f| Some(f64::from(f.concurrency.p95))),
            ],
        },
        Section {
            title: "Conversation",
            lines: vec![
                line("turns", Unit::Count, None, &|f| Some(f.turns as f64)),
                line("interruptions per turn", Unit::Number, None, &|f| f.interruptions_per_turn),
                line("turns saved by a fallback", Unit::Percent, Some(false), &|f| f.fallback_rate),
                line("calls with a fallback", Unit::Percent, Some(false), &|f| f.calls_with_fallback),
                line("tools", Unit::Count, None, &|f| Some(f.tools as f64)),
                line("tools without a result", Unit::Count, Some(false), &|f| Some(f.tools_failed as f64)),
            ],
        },
    ];
    sections.push(latency(periods));
    sections.extend(money(periods));
    sections
}

/// The p99 of each band that has turns in any of the periods.
fn latency(periods: &[&Figures]) -> Section {
    let mut lines = Vec::new();
    for (place, band) in call::port_slots::LoadBand::ALL.iter().enumerate() {
        let of = |figures: &Figures| figures.latency.get(place).cloned();
        if periods.iter().all(|figures| of(figures).is_none_or(|band| band.turns == 0)) {
            continue;
        }
        let values = |value: &dyn Fn(super::BandLatency) -> Option<f64>| {
            periods.iter().map(|figures| of(figures).and_then(value)).collect::<Vec<_>>()
        };
        let name = |what: &str| format!("{what} at {} % load", band.name());
        let better = Some(false);
        let milliseconds = Unit::Milliseconds;
        lines.extend([
            Line {
                name: name("p50"),
                unit: milliseconds,
                values: values(&|b| b.p50_ms),
                more_is_better: better,
            },
            Line {
                name: name("p99"),
                unit: milliseconds,
                values: values(&|b| b.p99_ms),
                more_is_better: better,
            },
            Line {
                name: name("turns"),
                unit: Unit::Count,
                values: values(&|b| Some(b.turns as f64)),
                more_is_better: None,
            },
        ]);
    }
    Section { title: "Response gap by load", lines }
}

fn money(periods: &[&Figures]) -> Option<Section> {
    let currency =
        periods.iter().find_map(|figures| figures.money.first()).map(|money| money.currency.clone())?;
    let of = |figures: &Figures| figures.money.iter().find(|money| money.currency == currency).cloned();
    let line = |name: &str, unit, value: &dyn Fn(super::Money) -> Option<f64>| Line {
        name: name.to_owned(),
        unit,
        values: periods.iter().map(|figures| of(figures).and_then(value)).collect(),
        more_is_better: Some(false),
    };
    let in_currency = |name: &str| format!("{name}, {currency}");
    let part = |part: &'static str| {
        line(&in_currency(part), Unit::Money, &move |money| money.parts.get(part).copied())
    };
    Some(Section {
        title: "Cost",
        lines: vec![
            line(&in_currency("calls"), Unit::Money, &|money| Some(money.calls)),
            line(&in_currency("per call"), Unit::Money, &|money| money.per_call),
            part("stt"),
            part("llm"),
            part("tts"),
            part("telephony"),
            line(&in_currency("reserved ports"), Unit::Money, &|money| money.reserved),
            line(&in_currency("of that idle"), Unit::Money, &|money| money.idle),
            line(&in_currency("per port in use and month"), Unit::Money, &|money| {
                money.per_concurrent_port_month
            }),
            line("calls with an unknown price", Unit::Count, &|money| Some(money.calls_unknown as f64)),
        ],
    })
}

/// The table. `when` words a period.
pub fn table(periods: &[&Figures], when: &dyn Fn(&Figures) -> String) -> String {
    let mut text = String::new();
    for (figures, name) in periods.iter().zip(["", "compared with "]) {
        let _ = writeln!(text, "{name}{}", when(figures));
    }
    let sections = sections(periods);
    let lines = || sections.iter().flat_map(|section| &section.lines);
    let name_width = lines().map(|line| line.name.chars().count()).max().unwrap_or(0);
    let cells = |line: &Line| line.values.iter().map(|value| line.unit.text(*value)).collect::<Vec<_>>();
    let width = lines().flat_map(cells).map(|cell| cell.chars().count()).max().unwrap_or(0);
    for section in sections.iter().filter(|section| !section.lines.is_empty()) {
        let _ = writeln!(text, "\n{}", section.title);
        for line in &section.lines {
            let _ = write!(text, "  {:<name_width$}", line.name);
            for cell in cells(line) {
                let _ = write!(text, "  {cell:>width$}");
            }
            let _ = writeln!(
                text,
                "{}",
                line.change().map_or(String::new(), |(_, change)| format!("  {change:>9}"))
            );
        }
    }
    if let Some(figures) = periods.first() {
        let line = sparkline(figures);
        if !line.is_empty() {
            let _ = writeln!(text, "\nPorts in use, the most in each part of the period\n  {line}");
        }
        let causes = figures.causes.iter().map(|(cause, count)| format!("{cause} {count}"));
        let _ = writeln!(text, "\nEnds: {}", causes.collect::<Vec<_>>().join(", "));
        if figures.latency.iter().any(|band| band.turns > 0 && band.turns < FEW) {
            let _ = writeln!(text, "Percentiles of fewer than {FEW} turns are not shown.");
        }
    }
    text
}

fn sparkline(figures: &Figures) -> String {
    let minutes = &figures.concurrency.minutes;
    let most = figures.concurrency.max.max(1);
    let each = minutes.len().div_ceil(LINE).max(1);
    let bar = |part: &[super::Minute]| {
        let max = part.iter().map(|minute| minute.max).max().unwrap_or(0);
        if max == 0 { ' ' } else { BARS[((max * 8).div_ceil(most) as usize - 1).min(7)] }
    };
    minutes.chunks(each).map(bar).collect()
}
