//! Charts as SVG that takes its colours from the page.
//!
//! Why: plotters, which the plan named, writes fixed colours and sizes into every element; a page
//! that is read in light, in dark and on paper needs classes instead, and these are two hundred
//! lines.
//! Differs: no script and no font of its own. Each series has a dash pattern and a mark of its own,
//! so that nothing hangs on colour.

use std::fmt::Write as _;

/// Text inside elements and attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() && c != '\n' => {}
            c => out.push(c),
        }
    }
    out
}

/// One curve.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) label: String,
    /// Colour, dash and mark, from 0; the same number looks the same in every chart.
    pub(crate) style: usize,
    pub(crate) points: Vec<(f64, f64)>,
    /// Whether each point gets a mark; long curves do without.
    pub(crate) marked: bool,
}

/// A chart of curves. Values are logarithmic upwards: latencies span six decades.
pub(crate) struct LineChart<'a> {
    pub(crate) title: &'a str,
    pub(crate) lines: &'a [Line],
    pub(crate) x_ticks: Vec<(f64, String)>,
    pub(crate) value_name: fn(f64) -> String,
    pub(crate) log: bool,
}

const WIDTH: f64 = 720.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 10.0;
const PLOT: f64 = 250.0;
const STYLES: usize = 8;

impl LineChart<'_> {
    /// The element; a sentence if there is nothing to draw.
    pub(crate) fn svg(&self) -> String {
        let usable =
            |p: &&(f64, f64)| p.0.is_finite() && p.1.is_finite() && (!self.log || p.1 > 0.0);
        let points: Vec<(f64, f64)> =
            self.lines.iter().flat_map(|l| &l.points).filter(usable).copied().collect();
        if points.is_empty() {
            return format!("<p class=\"empty\">{}: nothing was recorded.</p>", escape(self.title));
        }
        let place = |v: f64| if self.log { v.log10() } else { v };
        let (x_low, x_high) = bounds(points.iter().map(|p| p.0));
        let (mut y_low, mut y_high) = bounds(points.iter().map(|p| place(p.1)));
        if !self.log {
            // A rate that moves by a tenth should look so: the axis begins at 0.
            y_low = y_low.min(0.0);
        } else if y_high - y_low < 0.5 {
            (y_low, y_high) = (y_low - 0.25, y_high + 0.25);
        }
        let x = |v: f64| LEFT + (v - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT);
        let y = |v: f64| TOP + PLOT - (place(v) - y_low) / (y_high - y_low) * PLOT;
        let mut out = open(self.title, TOP + PLOT + 30.0 + legend_height(self.lines.len()));
        for (value, name) in y_ticks(y_low, y_high, self.log, self.value_name) {
            let at = y(value);
            let _ = write!(
                out,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/><text class=\"tick end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                at + 4.0,
                escape(&name)
            );
        }
        let mut free_from = 0.0;
        for (value, name) in self.x_ticks.iter().filter(|(v, _)| (x_low..=x_high).contains(v)) {
            let at = x(*value);
            let _ = write!(
                out,
                "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"/>",
                TOP + PLOT
            );
            let half = name.chars().count() as f64 * 3.5;
            let middle = at.clamp(half, WIDTH - half);
            if middle - half >= free_from {
                free_from = middle + half + 8.0;
                let _ = write!(
                    out,
                    "<text class=\"tick mid\" x=\"{middle:.1}\" y=\"{:.1}\">{}</text>",
                    TOP + PLOT + 18.0,
                    escape(name)
                );
            }
        }
        for line in self.lines {
            let places: Vec<(f64, f64)> =
                line.points.iter().filter(usable).map(|p| (x(p.0), y(p.1))).collect();
            let text: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            let style = line.style % STYLES;
            let _ =
                write!(out, "<polyline class=\"line s{style}\" points=\"{}\"/>", text.join(" "));
            if line.marked || places.len() == 1 {
                places.iter().for_each(|&(x, y)| out.push_str(&mark(style, x, y)));
            }
        }
        legend(
            &mut out,
            self.lines.iter().map(|l| (l.label.as_str(), l.style % STYLES)),
            TOP + PLOT + 34.0,
        );
        out.push_str("</svg>");
        out
    }
}

/// One bar, from 0 to its value, with an interval if one is known.
#[derive(Debug, Clone)]
pub(crate) struct Bar {
    pub(crate) label: String,
    pub(crate) style: usize,
    pub(crate) value: f64,
    pub(crate) interval: Option<(f64, f64)>,
    /// What stands behind the bar.
    pub(crate) note: String,
}

/// Horizontal bars, one below the other.
pub(crate) fn bars(title: &str, bars: &[Bar]) -> String {
    let usable: Vec<&Bar> = bars.iter().filter(|b| b.value.is_finite() && b.value >= 0.0).collect();
    if usable.is_empty() {
        return format!("<p class=\"empty\">{}: nothing was recorded.</p>", escape(title));
    }
    let reach = |b: &&Bar| b.interval.map_or(b.value, |i| i.1.max(b.value));
    let highest = usable.iter().map(reach).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let (left, right) = (210.0, 150.0);
    let scale = (WIDTH - left - right) / highest;
    let mut out = open(title, usable.len() as f64 * 26.0 + 8.0);
    for (i, bar) in usable.iter().enumerate() {
        let top = 6.0 + i as f64 * 26.0;
        let style = bar.style % STYLES;
        let label = crate::format::fit(&bar.label, 30);
        let _ = write!(
            out,
            "<text class=\"tick end\" x=\"{:.1}\" y=\"{:.1}\">{}</text><rect class=\"bar f{style}\" x=\"{left}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"18\"/>",
            left - 8.0,
            top + 13.0,
            escape(&label),
            (bar.value * scale).max(1.0)
        );
        if let Some((low, high)) = bar.interval {
            let (a, b, middle) = (left + low.max(0.0) * scale, left + high * scale, top + 9.0);
            let _ = write!(
                out,
                "<path class=\"whisker\" d=\"M{a:.1} {middle:.1}H{b:.1}M{a:.1} {:.1}V{:.1}M{b:.1} {:.1}V{:.1}\"/>",
                middle - 5.0,
                middle + 5.0,
                middle - 5.0,
                middle + 5.0
            );
        }
        let end = left + reach(bar) * scale + 8.0;
        let _ = write!(
            out,
            "<text class=\"tick\" x=\"{end:.1}\" y=\"{:.1}\">{}</text>",
            top + 13.0,
            escape(&bar.note)
        );
    }
    out.push_str("</svg>");
    out
}

fn open(title: &str, height: f64) -> String {
    let title = escape(title);
    format!(
        "<p class=\"caption\">{title}</p><svg class=\"chart\" viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"{title}\"><title>{title}</title>"
    )
}

fn legend_height(entries: usize) -> f64 {
    entries.div_ceil(2) as f64 * 18.0 + 8.0
}

fn legend<'a>(out: &mut String, entries: impl Iterator<Item = (&'a str, usize)>, top: f64) {
    for (i, (label, style)) in entries.enumerate() {
        let (x, y) = (LEFT + (i % 2) as f64 * 320.0, top + (i / 2) as f64 * 18.0 + 8.0);
        let _ = write!(
            out,
            "<line class=\"line s{style}\" x1=\"{x}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>",
            x + 34.0
        );
        out.push_str(&mark(style, x + 17.0, y));
        let label = crate::format::fit(label, 38);
        let _ = write!(
            out,
            "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            x + 42.0,
            y + 4.0,
            escape(&label)
        );
    }
}

/// A shape for each style, told apart without colour.
fn mark(style: usize, x: f64, y: f64) -> String {
    let d = match style % 4 {
        0 => format!("M{:.1} {y:.1}a3 3 0 1 0 6 0a3 3 0 1 0 -6 0", x - 3.0),
        1 => format!("M{:.1} {:.1}h6v6h-6z", x - 3.0, y - 3.0),
        2 => format!("M{x:.1} {:.1}l4 7h-8z", y - 4.0),
        _ => format!("M{x:.1} {:.1}l4 4l-4 4l-4 -4z", y - 4.0),
    };
    format!("<path class=\"f{style}\" d=\"{d}\"/>")
}

fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    if low < high { (low, high) } else { (low - 0.5, low + 0.5) }
}

/// Round values with their names: decades (and halves of few), or about five equal steps.
fn y_ticks(low: f64, high: f64, log: bool, name: fn(f64) -> String) -> Vec<(f64, String)> {
    let mut ticks = Vec::new();
    if log {
        let factors: &[f64] = if high - low < 2.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        for decade in low.floor() as i32..=high.ceil() as i32 {
            for factor in factors {
                let value = factor * 10_f64.powi(decade);
                if (low..=high).contains(&value.log10()) {
                    ticks.push((value, name(value)));
                }
            }
        }
    } else {
        let rough = (high - low) / 5.0;
        let decade = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .iter()
            .map(|f| f * decade)
            .find(|s| *s >= rough)
            .unwrap_or(decade);
        let first = (low / step).ceil() as i64;
        ticks.extend(
            (first..)
                .map(|i| i as f64 * step)
                .take_while(|v| *v <= high)
                .take(12)
                .map(|v| (v, name(v))),
        );
    }
    ticks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::ns;

    fn line(points: Vec<(f64, f64)>) -> Line {
        Line { label: "<script>alert(1)</script>".into(), style: 9, points, marked: true }
    }

    fn chart(lines: &[Line], log: bool) -> String {
        LineChart { title: "a & b", lines, x_ticks: vec![(0.0, "min".into())], value_name: ns, log }
            .svg()
    }

    #[test]
    fn odd_points_draw_nothing_wrong() {
        for points in [
            vec![],
            vec![(1.0, 5.0)],
            vec![(0.0, -1.0), (f64::NAN, 3.0)],
            vec![(0.0, 2.0), (1.0, 2.0)],
        ] {
            for log in [true, false] {
                let svg = chart(&[line(points.clone())], log);
                assert!(
                    !svg.contains("NaN") && !svg.contains("inf") && !svg.contains("<script"),
                    "{svg}"
                );
            }
        }
        assert!(chart(&[], true).contains("nothing was recorded"));
        assert!(bars("t", &[]).contains("nothing was recorded"));
    }

    #[test]
    fn higher_values_are_drawn_higher_and_bars_are_in_proportion() {
        let svg = chart(&[line(vec![(0.0, 100.0), (1.0, 100_000.0)])], true);
        let points = svg.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!(points, "70.0,260.0 708.0,10.0");
        let bar = |value: f64| Bar {
            label: "a".into(),
            style: 0,
            value,
            interval: None,
            note: String::new(),
        };
        let svg = bars("t", &[bar(50.0), bar(100.0)]);
        assert!(svg.contains("width=\"180.0\"") && svg.contains("width=\"360.0\""), "{svg}");
    }
}
