//! Plots as inline SVG: an area over time, and bars. They take their colours from the page.
//! Knows points and sizes; what they show is the page's business.

use std::fmt::Write as _;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 230.0;
const LEFT: f64 = 44.0;
const BOTTOM: f64 = 26.0;
const TOP: f64 = 10.0;
/// Points of one line: more than the page has pixels for only makes it slow.
const POINTS: usize = 430;

/// A number of ports over time.
pub(super) struct Series<'a> {
    /// Maximum and mean of each step.
    pub(super) steps: &'a [(u32, f64)],
    /// Where the scale's thresholds are: value, name and class.
    pub(super) lines: &'a [(f64, String, &'static str)],
    /// What stands below, from left to right.
    pub(super) labels: &'a [String],
}

/// One bar.
pub(super) struct Bar {
    pub(super) name: String,
    /// Heights, one for each period; absent where there is nothing to show.
    pub(super) values: Vec<Option<f64>>,
    /// What stands above each.
    pub(super) texts: Vec<String>,
}

fn begin(title: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\"><title>{0}</title>",
        escape(title)
    )
}

/// The maximum as an area, the mean as a line over it.
pub(super) fn area(title: &str, series: &Series<'_>) -> String {
    let mut svg = begin(title);
    let highest = series.lines.iter().map(|line| line.0);
    let top = series.steps.iter().map(|step| f64::from(step.0)).chain(highest).fold(1.0, f64::max);
    let top = nice(top);
    let y = |value: f64| TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - value / top);
    grid(&mut svg, top, &y);
    let each = series.steps.len().div_ceil(POINTS).max(1);
    let steps: Vec<(u32, f64)> = series.steps.chunks(each).map(together).collect();
    let x = |place: usize| LEFT + (WIDTH - LEFT - 8.0) * place as f64 / steps.len().max(1) as f64;
    let (mut outline, mut mean) = (format!("M{LEFT:.1},{:.1}", y(0.0)), String::new());
    for (place, (max, average)) in steps.iter().enumerate() {
        let (from, to) = (x(place), x(place + 1));
        let _ = write!(outline, "L{from:.1},{0:.1}L{to:.1},{0:.1}", y(f64::from(*max)));
        let _ = write!(
            mean,
            "{}{:.1},{:.1}",
            if place == 0 { "M" } else { "L" },
            f64::midpoint(from, to),
            y(*average)
        );
    }
    let _ = write!(outline, "L{:.1},{:.1}Z", x(steps.len()), y(0.0));
    let _ = write!(svg, "<path class=\"max\" d=\"{outline}\"/><path class=\"mean\" d=\"{mean}\"/>");
    for (value, name, class) in series.lines {
        let at = y(*value);
        let right = WIDTH - 8.0;
        let _ = write!(
            svg,
            "<line class=\"{class}\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text class=\"{class}\" x=\"{right}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            at - 4.0,
            escape(name)
        );
    }
    let between = (WIDTH - LEFT - 8.0) / series.labels.len().saturating_sub(1).max(1) as f64;
    for (place, label) in series.labels.iter().enumerate() {
        let anchor = match place {
            0 => "start",
            last if last + 1 == series.labels.len() => "end",
            _ => "middle",
        };
        let at = LEFT + between * place as f64;
        let _ = write!(
            svg,
            "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
            HEIGHT - 8.0,
            escape(label)
        );
    }
    svg + "</svg>"
}

/// Upright bars, those of several periods side by side.
pub(super) fn bars(title: &str, bars: &[Bar]) -> String {
    let mut svg = begin(title);
    let values = bars.iter().flat_map(|bar| bar.values.iter().flatten());
    let top = nice(values.fold(0.0_f64, |most, value| most.max(*value)).max(1e-9));
    let y = |value: f64| TOP + 12.0 + (HEIGHT - TOP - 12.0 - BOTTOM) * (1.0 - value / top);
    grid(&mut svg, top, &y);
    let room = (WIDTH - LEFT - 8.0) / bars.len().max(1) as f64;
    for (place, bar) in bars.iter().enumerate() {
        let left = LEFT + room * place as f64 + room * 0.12;
        let width = room * 0.76 / bar.values.len().max(1) as f64;
        for (period, value) in bar.values.iter().enumerate() {
            let at = left + width * period as f64;
            if let Some(value) = value {
                let height = (y(0.0) - y(*value)).max(0.0);
                let _ = write!(
                    svg,
                    "<rect class=\"p{period}\" x=\"{at:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\" rx=\"2\"/>",
                    y(*value),
                    (width - 2.0).max(1.0)
                );
            }
            let text = bar.texts.get(period).map_or("", String::as_str);
            let _ = write!(
                svg,
                "<text class=\"value\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                at + width / 2.0 - 1.0,
                y(value.unwrap_or(0.0)) - 4.0,
                escape(text)
            );
        }
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            LEFT + room * (place as f64 + 0.5),
            HEIGHT - 8.0,
            escape(&bar.name)
        );
    }
    svg + "</svg>"
}

fn grid(svg: &mut String, top: f64, y: &dyn Fn(f64) -> f64) {
    for part in 0..=4 {
        let value = top * f64::from(part) / 4.0;
        let at = y(value);
        let text = if top >= 4.0 { format!("{value:.0}") } else { format!("{value:.2}") };
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
            WIDTH - 8.0,
            LEFT - 6.0,
            at + 4.0
        );
    }
}

/// The maximum of maxima and the mean of means.
fn together(steps: &[(u32, f64)]) -> (u32, f64) {
    let max = steps.iter().map(|step| step.0).max().unwrap_or(0);
    (max, steps.iter().map(|step| step.1).sum::<f64>() / steps.len().max(1) as f64)
}

/// The end of a scale whose quarters are easy to read.
fn nice(most: f64) -> f64 {
    let power = 10_f64.powf(most.log10().floor());
    let steps = [1.0, 1.2, 1.6, 2.0, 2.4, 3.2, 4.0, 6.0, 8.0, 10.0];
    let end = steps.iter().map(|step| step * power).find(|end| *end >= most).unwrap_or(10.0 * power);
    if most > 1.0 { (end / 4.0).ceil() * 4.0 } else { end }
}

/// Text that is safe inside HTML.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_ends_where_its_quarters_are_whole() {
        for (most, end) in
            [(1.0, 1.0), (3.0, 4.0), (47.0, 60.0), (240.0, 240.0), (250.0, 320.0), (0.03, 0.032)]
        {
            assert!((nice(most) - end).abs() < 1e-9, "{most}: {}", nice(most));
        }
    }

    #[test]
    fn what_comes_from_outside_stays_text() {
        assert_eq!(escape("<b a=\"&\">"), "&lt;b a=&quot;&amp;&quot;&gt;");
        let bar = Bar { name: "<script>".into(), values: vec![Some(1.0)], texts: vec!["1".into()] };
        assert!(!bars("t", &[bar]).contains("<script>"));
    }
}
