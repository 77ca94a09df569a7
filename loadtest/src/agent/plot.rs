//! Small pictures as SVG: lines, areas, dots and bars over two axes.
//! Knows points and ticks. What they mean is written by whoever asks for a picture.

use std::fmt::Write as _;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 250.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 38.0;
/// More points than this are thinned out: a picture has no more columns.
const MOST_POINTS: usize = 600;
const MOST_DOTS: usize = 4_000;

/// One direction of a picture.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    label: String,
    from: f64,
    to: f64,
    /// Where something is written, and what.
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From zero to at least this value, with round ticks.
    pub(crate) fn up_to(label: &str, most: f64) -> Self {
        Self::between(label, 0.0, if most > 0.0 { most } else { 1.0 })
    }

    /// Between two values, with round ticks.
    pub(crate) fn between(label: &str, from: f64, to: f64) -> Self {
        let step = round_step((to - from).max(1e-9) / 5.0);
        let first = (from / step).floor();
        let count = ((to / step).ceil() - first) as usize;
        let ticks: Vec<(f64, String)> =
            (0..=count.min(20)).map(|n| (first + n as f64) * step).map(|at| (at, number(at))).collect();
        Self {
            label: label.to_owned(),
            from: first * step,
            to: ticks.last().map_or(to, |(at, _)| *at),
            ticks,
        }
    }

    /// With ticks of the caller's own.
    pub(crate) fn with_ticks(label: &str, from: f64, to: f64, ticks: Vec<(f64, String)>) -> Self {
        Self { label: label.to_owned(), from, to, ticks }
    }

    /// Where a value stands, 0 to 1.
    fn place(&self, value: f64) -> f64 {
        ((value - self.from) / (self.to - self.from).max(1e-12)).clamp(0.0, 1.0)
    }
}

/// The round number that is not below: 1, 2 or 5 of some power of ten.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    steps.into_iter().find(|step| *step >= least * 0.999).unwrap_or(10.0 * power)
}

fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 1e6 => format!("{}M", trimmed(value / 1e6)),
        v if v >= 1e4 => format!("{}k", trimmed(value / 1e3)),
        _ => trimmed(value),
    }
}

fn trimmed(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// How points are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    Line,
    /// A line with what is below it.
    Area,
    Dots,
    /// Bars of this share of a step.
    Bars,
}

/// Points of one kind.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    /// Which of the colours, from 1.
    pub(crate) colour: usize,
    pub(crate) mark: Mark,
    /// The smallest x first.
    pub(crate) points: Vec<(f64, f64)>,
}

/// The picture.
pub(crate) fn picture(x: &Axis, y: &Axis, series: &[Series]) -> String {
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">");
    grid(x, y, &mut svg);
    series.iter().for_each(|one| draw(x, y, one, &mut svg));
    if series.iter().all(|one| one.points.is_empty()) {
        let (x, y) = (WIDTH / 2.0, HEIGHT / 2.0);
        let _ = write!(svg, "<text class=\"none\" x=\"{x}\" y=\"{y}\">nothing was measured</text>");
    }
    svg.push_str("</svg>");
    if series.len() > 1 {
        svg.push_str("<div class=\"legend\">");
        for one in series {
            let _ = write!(svg, "<span><i class=\"b{}\"></i>{}</span>", one.colour, escape(&one.name));
        }
        svg.push_str("</div>");
    }
    svg
}

fn at_x(x: &Axis, value: f64) -> f64 {
    LEFT + x.place(value) * (WIDTH - LEFT - RIGHT)
}

fn at_y(y: &Axis, value: f64) -> f64 {
    HEIGHT - BOTTOM - y.place(value) * (HEIGHT - TOP - BOTTOM)
}

fn grid(x: &Axis, y: &Axis, svg: &mut String) {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for (value, text) in &y.ticks {
        let at = at_y(y, *value);
        let _ = write!(
            svg,
            "<line class=\"g\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text class=\"ty\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            LEFT - 7.0,
            at + 3.5,
            escape(text)
        );
    }
    for (value, text) in &x.ticks {
        let at = at_x(x, *value);
        let _ = write!(
            svg,
            "<text class=\"tx\" x=\"{at:.1}\" y=\"{:.1}\">{}</text>",
            bottom + 15.0,
            escape(text)
        );
    }
    let middle = (LEFT + right) / 2.0;
    let _ = write!(
        svg,
        "<text class=\"l\" x=\"{middle}\" y=\"{:.1}\">{}</text><text class=\"l\" transform=\"translate(12 {:.1}) rotate(-90)\">{}</text>",
        HEIGHT - 5.0,
        escape(&x.label),
        (TOP + bottom) / 2.0,
        escape(&y.label)
    );
}

fn draw(x: &Axis, y: &Axis, series: &Series, svg: &mut String) {
    let Series { colour, mark, name, .. } = series;
    let place = |(px, py): &(f64, f64)| (at_x(x, *px), at_y(y, *py));
    match mark {
        Mark::Line | Mark::Area => {
            let points = thinned(&series.points);
            let path: Vec<String> =
                points.iter().map(place).map(|(px, py)| format!("{px:.1},{py:.1}")).collect();
            let (Some(first), Some(last)) = (points.first(), points.last()) else { return };
            let path = path.join(" ");
            if *mark == Mark::Area {
                let (from, to, base) = (at_x(x, first.0), at_x(x, last.0), HEIGHT - BOTTOM);
                let _ = write!(
                    svg,
                    "<polygon class=\"a{colour}\" points=\"{from:.1},{base} {path} {to:.1},{base}\"/>"
                );
            }
            let _ = write!(
                svg,
                "<polyline class=\"s{colour}\" points=\"{path}\"><title>{}</title></polyline>",
                escape(name)
            );
        }
        Mark::Dots => {
            let step = series.points.len().div_ceil(MOST_DOTS).max(1);
            for (px, py) in series.points.iter().step_by(step).map(place) {
                let _ = write!(svg, "<circle class=\"d{colour}\" cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"2\"/>");
            }
        }
        Mark::Bars => {
            let steps = series.points.windows(2).map(|pair| pair[1].0 - pair[0].0);
            let step = steps.fold(f64::INFINITY, f64::min);
            let step = if step.is_finite() { step } else { (x.to - x.from) / 20.0 };
            for (value, count) in &series.points {
                let (from, to) = (at_x(x, value + step * 0.05), at_x(x, value + step * 0.95));
                let top = at_y(y, *count);
                let (width, height) = ((to - from).max(0.8), HEIGHT - BOTTOM - top);
                let _ = write!(
                    svg,
                    "<rect class=\"b{colour}\" x=\"{from:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
                );
            }
        }
    }
}

/// Of many neighbours the highest: a peak stays to be seen.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let size = points.len().div_ceil(MOST_POINTS).max(1);
    let highest = |part: &[(f64, f64)]| part.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
    points.chunks(size).filter_map(highest).collect()
}

/// Text that cannot become markup.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_cover_what_is_shown() {
        let ticks = |most| Axis::up_to("", most).ticks.into_iter().map(|(_, text)| text).collect::<Vec<_>>();
        assert_eq!(ticks(50.0), ["0", "10", "20", "30", "40", "50"]);
        assert_eq!(ticks(1_240.0), ["0", "500", "1000", "1500"]);
        assert_eq!(ticks(0.3), ["0", "0.1", "0.2", "0.3"]);
        assert_eq!(ticks(0.0).len(), 6);
        assert_eq!(ticks(45_000.0).last().map(String::as_str), Some("50k"));
    }

    #[test]
    fn a_peak_among_many_points_stays_to_be_seen() {
        let mut points: Vec<(f64, f64)> = (0..30_000).map(|n| (f64::from(n), 1.0)).collect();
        points[12_345].1 = 99.0;
        let thinned = thinned(&points);
        assert!(thinned.len() <= MOST_POINTS && thinned.iter().any(|(_, y)| *y == 99.0));
    }

    #[test]
    fn nothing_in_a_picture_can_become_markup() {
        let points = vec![(0.0, 0.0), (1.0, 1.0)];
        let name = "<script>".to_owned();
        let series = [
            Series { name: name.clone(), colour: 1, mark: Mark::Area, points },
            Series { name, colour: 2, mark: Mark::Dots, points: vec![(f64::MAX, 3.0)] },
        ];
        let svg = picture(&Axis::up_to("a<b", 1.0), &Axis::up_to("", 1.0), &series);
        assert!(!svg.contains("<script>") && svg.contains("&lt;script&gt;") && svg.contains("a&lt;b"));
        assert!(svg.contains("<polyline") && svg.contains("<circle"));
    }
}
