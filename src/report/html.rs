//! The figures as one page that needs nothing else: a few numbers in large, plots, and everything as a table.
//! Knows HTML. Light or dark as the reader's system is, and fit for paper.

use super::{
    Figures,
    plot::{Bar, Series, area, bars, escape},
    table::{Unit, sections},
};
use std::fmt::Write as _;

const STYLE: &str = include_str!("report.css");

/// The page. `when` words a period, `short` a moment below a plot.
pub fn page(
    periods: &[&Figures],
    when: &dyn Fn(&Figures) -> String,
    short: &dyn Fn(i64, &Figures) -> String,
) -> String {
    let Some(figures) = periods.first() else { return String::new() };
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>Tandem report</title>\
         <style>{STYLE}</style></head><body><main><header><h1>Calls</h1><p>{}</p>",
        escape(&when(figures))
    );
    if let Some(other) = periods.get(1) {
        let _ = write!(
            html,
            "<p class=\"against\"><i class=\"p0\"></i> this period \u{a0} <i class=\"p1\"></i> {}</p>",
            escape(&when(other))
        );
    }
    html.push_str("</header>");
    cards(&mut html, periods);
    figure(
        &mut html,
        "Ports in use",
        "the most in each minute as an area, the mean as a line",
        &ports(figures, short),
    );
    figure(
        &mut html,
        "Response gap by load",
        "p99 in milliseconds, by how full the server was when the call began",
        &latency(periods),
    );
    figure(&mut html, "Calls by hour of the day", "", &hours(periods));
    figure(&mut html, "How calls ended", "", &causes(periods));
    tables(&mut html, periods);
    html + "</main></body></html>\n"
}

fn figure(html: &mut String, title: &str, note: &str, svg: &str) {
    let _ = write!(html, "<section class=\"plot\"><h2>{title}</h2><p>{note}</p>{svg}</section>");
}

fn cards(html: &mut String, periods: &[&Figures]) {
    let shown = [
        "offered",
        "answer rate (ASR)",
        "completed of answered",
        "handle time, mean (AHT)",
        "utilisation, mean",
        "in use, max",
        "turns saved by a fallback",
    ];
    html.push_str("<section class=\"cards\">");
    let sections = sections(periods);
    let lines = || sections.iter().flat_map(|section| &section.lines);
    let cost = lines().find(|line| line.name.starts_with("per call,"));
    for line in shown.iter().filter_map(|name| lines().find(|line| line.name == *name)).chain(cost) {
        let value = line.unit.text(line.values.first().copied().flatten());
        let change = line.change().map_or(String::new(), |(by, text)| {
            let class = match line.more_is_better {
                Some(better) if by.abs() > 1e-9 => {
                    if (by > 0.0) == better {
                        "good"
                    } else {
                        "bad"
                    }
                }
                Some(_) | None => "same",
            };
            format!("<span class=\"{class}\">{}</span>", escape(&text))
        });
        let _ =
            write!(html, "<div><b>{}</b>{change}<small>{}</small></div>", escape(&value), escape(&line.name));
    }
    html.push_str("</section>");
}

fn ports(figures: &Figures, short: &dyn Fn(i64, &Figures) -> String) -> String {
    let steps: Vec<(u32, f64)> =
        figures.concurrency.minutes.iter().map(|minute| (minute.max, minute.mean)).collect();
    let cap = figures.capacity.map(f64::from).unwrap_or(0.0);
    // Thresholds far above everything that happened would only squeeze it.
    let near = |value: &f64| cap > 0.0 && *value <= f64::from(figures.concurrency.max) * 2.5;
    let lines: Vec<_> = [(0.7, "70 %", "warn"), (0.85, "85 %", "alert"), (1.0, "all ports", "cap")]
        .into_iter()
        .map(|(share, name, class)| (cap * share, name.to_owned(), class))
        .filter(|(value, ..)| near(value))
        .collect();
    let span = figures.until_us - figures.since_us;
    let labels: Vec<String> =
        (0..=4).map(|part| short(figures.since_us + span / 4 * part, figures)).collect();
    area("Ports in use over time", &Series { steps: &steps, lines: &lines, labels: &labels })
}

fn latency(periods: &[&Figures]) -> String {
    let bands = call::port_slots::LoadBand::ALL.iter().enumerate().map(|(place, band)| {
        let of = |figures: &&Figures| figures.latency.get(place).and_then(|band| band.p99_ms);
        let turns = |figures: &&Figures| figures.latency.get(place).map_or(0, |band| band.turns);
        let text = |figures: &&Figures| match (of(figures), turns(figures)) {
            (Some(ms), _) => format!("{ms:.0}"),
            (None, 0) => String::new(),
            (None, turns) => format!("{turns} turns"),
        };
        Bar {
            name: format!("{} %", band.name()),
            values: periods.iter().map(of).collect(),
            texts: periods.iter().map(text).collect(),
        }
    });
    bars("p99 of the response gap by load band", &bands.collect::<Vec<_>>())
}

fn hours(periods: &[&Figures]) -> String {
    let hours = (0..24).map(|hour| {
        let count = |figures: &&Figures| figures.hours.get(hour).copied().unwrap_or(0);
        let text = |count: usize| if count == 0 { String::new() } else { count.to_string() };
        // Two numbers do not fit above two bars of this width.
        let texts =
            if periods.len() > 1 { Vec::new() } else { periods.iter().map(count).map(text).collect() };
        Bar { name: hour.to_string(), values: periods.iter().map(|f| Some(count(f) as f64)).collect(), texts }
    });
    bars("Calls by hour of the day", &hours.collect::<Vec<_>>())
}

fn causes(periods: &[&Figures]) -> String {
    let Some(figures) = periods.first() else { return String::new() };
    let mut causes: Vec<_> = figures.causes.iter().collect();
    causes.sort_by(|one, other| other.1.cmp(one.1).then(one.0.cmp(other.0)));
    let most = causes.first().map_or(1, |cause| *cause.1).max(1);
    let rows = causes.into_iter().map(|(cause, count)| {
        let share = 100.0 * *count as f64 / most as f64;
        let of_all = 100.0 * *count as f64 / figures.offered.max(1) as f64;
        format!(
            "<tr><th>{}</th><td class=\"bar\"><i style=\"width:{share:.1}%\"></i></td><td>{count}</td><td>{of_all:.1} %</td></tr>",
            escape(&cause.replace('_', " "))
        )
    });
    format!("<table class=\"causes\">{}</table>", rows.collect::<String>())
}

fn tables(html: &mut String, periods: &[&Figures]) {
    html.push_str("<section class=\"tables\">");
    for section in sections(periods).iter().filter(|section| !section.lines.is_empty()) {
        let _ = write!(html, "<div><h2>{}</h2><table>", section.title);
        for line in &section.lines {
            let _ = write!(html, "<tr><th>{}</th>", escape(&line.name));
            for value in &line.values {
                let _ = write!(html, "<td>{}</td>", escape(&Unit::text(line.unit, *value)));
            }
            if periods.len() > 1 {
                let change = line.change().map_or(String::new(), |(_, text)| text);
                let _ = write!(html, "<td class=\"change\">{}</td>", escape(&change));
            }
            html.push_str("</tr>");
        }
        html.push_str("</table></div>");
    }
    html.push_str("</section>");
}
