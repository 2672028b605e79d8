//! Pictures as SVG.

use super::html::escape;
use std::fmt::Write;

/// Size of a picture, and its margins: left, top, right, bottom.
const SIZE: (f64, f64) = (1000.0, 460.0);
const MARGIN: (f64, f64, f64, f64) = (70.0, 20.0, 40.0, 50.0);
/// Marks along an axis, at most about this many.
const MARKS: f64 = 6.0;

/// An axis: what it shows, its range, and whether it goes by powers.
struct Axis<'a> {
    label: &'a str,
    from: f64,
    to: f64,
    log: bool,
}

impl<'a> Axis<'a> {
    fn of(label: &'a str, values: impl Iterator<Item = f64>, log: bool) -> Self {
        let place = |v: f64| if log { v.max(1e-9).log10() } else { v };
        let (from, to) = values.map(place).fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(v), b.max(v)));
        let (from, to) = if from <= to { (from, to) } else { (0.0, 1.0) };
        let room = ((to - from) * 0.06).max(1e-6 + to.abs() * 1e-3);
        Self { label, from: from - room, to: to + room, log }
    }
    /// From 0 to 1.
    fn at(&self, v: f64) -> f64 {
        let v = if self.log { v.max(1e-9).log10() } else { v };
        (v - self.from) / (self.to - self.from)
    }
    fn marks(&self) -> Vec<f64> {
        let rough = (self.to - self.from) / MARKS;
        let ten = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * ten).find(|s| *s >= rough).unwrap_or(rough);
        let first = (self.from / step).ceil();
        let marks = (0..).map(|i| (first + f64::from(i)) * step).take_while(|v| *v <= self.to);
        marks.map(|v| if self.log { 10f64.powf(v) } else { v }).collect()
    }
}

fn number(v: f64) -> String {
    match v.abs() {
        a if a == 0.0 || a >= 100.0 => format!("{v:.0}"),
        a if a >= 1.0 => format!("{v:.1}"),
        _ => format!("{v:.2e}"),
    }
}

/// Where a point lies in the picture.
fn place(x: &Axis, y: &Axis, (vx, vy): (f64, f64)) -> (f64, f64) {
    let (left, top, right, bottom) = MARGIN;
    (left + x.at(vx) * (SIZE.0 - left - right), SIZE.1 - bottom - y.at(vy) * (SIZE.1 - top - bottom))
}

fn frame(o: &mut String, what: &str, x: &Axis, y: &Axis) {
    let (w, h) = SIZE;
    let _ =
        write!(o, "<svg viewBox=\"0 0 {w} {h}\" role=img aria-label=\"{}\" font-size=\"13\">", escape(what));
    for v in x.marks() {
        let (px, _) = place(x, y, (v, 1.0));
        let _ = write!(
            o,
            "<path d=\"M{px:.1} 20V410\" stroke=\"#dde3ea\"/><text x=\"{px:.1}\" y=\"428\" text-anchor=\"middle\">{}</text>",
            number(v)
        );
    }
    for v in y.marks() {
        let (_, py) = place(x, y, (1.0, v));
        let _ = write!(
            o,
            "<path d=\"M70 {py:.1}H960\" stroke=\"#dde3ea\"/><text x=\"64\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            py + 4.0,
            number(v)
        );
    }
    let _ = write!(
        o,
        "<text x=\"515\" y=\"450\" text-anchor=\"middle\">{}</text><text x=\"16\" y=\"215\" text-anchor=\"middle\" transform=\"rotate(-90 16 215)\">{}</text>",
        escape(x.label),
        escape(y.label)
    );
}

/// A point of a picture.
#[derive(Debug, Clone)]
pub struct Point {
    /// What it is.
    pub name: String,
    /// Cost, and loss: less is better of both.
    pub at: (f64, f64),
    /// Speed: shown as size, where it is known.
    pub speed: Option<f64>,
}

/// Points that no other one beats in both.
pub fn front(points: &[Point]) -> Vec<&Point> {
    let mut all: Vec<&Point> = points.iter().collect();
    all.sort_by(|a, b| a.at.0.total_cmp(&b.at.0).then(a.at.1.total_cmp(&b.at.1)));
    let mut best = f64::INFINITY;
    all.retain(|p| {
        p.at.1 < best && {
            best = p.at.1;
            true
        }
    });
    all
}

/// Points by cost and loss (by powers of ten), a line through those that no other one beats.
pub fn pareto(what: &str, (cost, loss): (&str, &str), points: &[Point]) -> String {
    let x = Axis::of(cost, points.iter().map(|p| p.at.0), false);
    let y = Axis::of(loss, points.iter().map(|p| p.at.1), true);
    let mut o = String::new();
    frame(&mut o, what, &x, &y);
    let line: Vec<String> = front(points)
        .iter()
        .map(|p| place(&x, &y, p.at))
        .map(|(px, py)| format!("{px:.1},{py:.1}"))
        .collect();
    let _ = write!(
        o,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"#2c6fbb\" stroke-width=\"2\"/>",
        line.join(" ")
    );
    let fastest = points.iter().filter_map(|p| p.speed).fold(0f64, f64::max);
    for p in points {
        let (px, py) = place(&x, &y, p.at);
        let radius = p.speed.map_or(5.0, |s| 3.0 + 9.0 * (s / fastest.max(1e-9)).sqrt());
        let (anchor, beside) =
            if px > SIZE.0 * 0.75 { ("end", -radius - 3.0) } else { ("start", radius + 3.0) };
        let told = p.speed.map_or(String::new(), |s| format!(", {s:.0} tokens/s"));
        let _ = write!(
            o,
            "<circle cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"{radius:.1}\" fill=\"#2c6fbb\" fill-opacity=\".45\"><title>{0}{told}</title></circle><text x=\"{1:.1}\" y=\"{2:.1}\" text-anchor=\"{anchor}\">{0}</text>",
            escape(&p.name),
            px + beside,
            py + 4.0
        );
    }
    o.push_str("</svg>");
    o
}

/// Numbers of a list, a curve per name, the first at the left.
pub fn curves(what: &str, (list, value): (&str, &str), curves: &[(String, Vec<f64>)]) -> String {
    let longest = curves.iter().map(|c| c.1.len()).max().unwrap_or(0);
    let x = Axis::of(list, [0.0, longest.saturating_sub(1) as f64].into_iter(), false);
    let y = Axis::of(value, curves.iter().flat_map(|c| c.1.iter().copied()), false);
    let mut o = String::new();
    frame(&mut o, what, &x, &y);
    for (i, (name, values)) in curves.iter().enumerate() {
        let hue = i * 67 % 360;
        let points: Vec<String> = (0..)
            .zip(values)
            .map(|(i, v)| place(&x, &y, (f64::from(i), *v)))
            .map(|(px, py)| format!("{px:.1},{py:.1}"))
            .collect();
        let _ = write!(
            o,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"hsl({hue} 60% 42%)\" stroke-width=\"1.5\"><title>{1}</title></polyline><text x=\"80\" y=\"{2}\" fill=\"hsl({hue} 60% 35%)\">{1}</text>",
            points.join(" "),
            escape(name),
            36 + 16 * i
        );
    }
    o.push_str("</svg>");
    o
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(name: &str, x: f64, y: f64) -> Point {
        Point { name: name.into(), at: (x, y), speed: Some(x) }
    }

    #[test]
    fn the_front_is_what_nothing_beats() {
        let all = [point("a", 3.0, 0.1), point("b", 1.0, 0.9), point("c", 2.0, 1.0), point("d", 1.0, 0.95)];
        let names: Vec<&str> = front(&all).iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["b", "a"]);
    }

    #[test]
    fn pictures_name_what_they_show_and_stay_inside() {
        let svg =
            pareto("size and loss", ("MB", "KL"), &[point("w4<", 90.0, 0.3), point("w8", 150.0, 0.003)]);
        assert!(
            svg.contains("w4&lt;") && svg.contains("size and loss") && svg.matches("<circle").count() == 2
        );
        let svg = svg
            + &curves(
                "errors",
                ("layer", "dB"),
                &[("gptq".into(), vec![20.0, 21.5, 19.0]), ("one".into(), vec![7.0])],
            );
        assert!(svg.matches("<polyline").count() == 3 && !svg.contains("NaN") && !svg.contains("inf"));
        for part in svg.split("cx=\"").skip(1) {
            let x: f64 = part.split('"').next().and_then(|v| v.parse().ok()).unwrap_or(-1.0);
            assert!((0.0..=SIZE.0).contains(&x), "{x}");
        }
        // A single point, or none, has axes too.
        assert!(
            !pareto("", ("", ""), &[point("x", 0.0, 0.0)]).contains("NaN")
                && !pareto("", ("", ""), &[]).contains("NaN")
        );
    }

    #[test]
    fn marks_are_round() {
        let axis = Axis { label: "", from: 0.0, to: 10.0, log: false };
        assert_eq!(axis.marks(), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        let axis = Axis { label: "", from: -3.0, to: 0.0, log: true };
        assert!(axis.marks().iter().any(|v| (v - 0.01).abs() < 1e-12));
    }
}
