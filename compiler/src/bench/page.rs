//! A profile as one HTML file: no scripts, no network.

use super::profile::{KernelTime, Profile, SiteTime};
use super::stats::show;
use super::{Bench, Entry};
use crate::report::{escape, size};
use std::fmt::Write;

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem;color:#1b2330}\
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:.25rem .6rem;border-bottom:1px solid #dde3ea;vertical-align:top}\
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}\
.layers{color:#5a6675;font-size:.85em;overflow-wrap:anywhere}svg{width:100%;height:auto;background:#f6f8fa}\
text{font:11px system-ui,sans-serif}";

const WIDTH: f64 = 1000.0;

/// The page of a measurement.
pub fn page(b: &Bench, p: &Profile) -> String {
    let mut o = String::new();
    let title = escape(&format!("{} for {}, {} thread(s)", b.model, b.target, b.threads));
    let _ = write!(
        o,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"/>\
         <meta name=\"viewport\" content=\"width=device-width\"/><title>{title}</title><style>{STYLE}</style></head>\
         <body><h1>{title}</h1>"
    );
    latencies(&mut o, &b.entries);
    let _ = write!(
        o,
        "<p>Kernels take {}; the machine's limits would allow {} ({:.1} %).</p>",
        show(p.seconds),
        show(p.floor),
        p.floor / p.seconds.max(1e-12) * 100.0
    );
    o.push_str(
        "<h2>Time</h2><p>Above, kernels by the time they take; below, the program from left to right. \
                Green: near the machine's limits, red: far from them.</p>",
    );
    flame(&mut o, p);
    o.push_str(
        "<h2>Roofline</h2><p>Operations per byte that must be touched, and operations per second; \
                the area of a circle is the kernel's time.</p>",
    );
    roofline(&mut o, p);
    o.push_str(
        "<h2>Kernels</h2><table><tr><th>Kernel and layers</th><th class=\"n\">Calls</th><th class=\"n\">Time</th>\
         <th class=\"n\">Share</th><th class=\"n\">GOP/s</th><th class=\"n\">GB/s</th><th class=\"n\">Of the limit</th></tr>",
    );
    p.kernels.iter().for_each(|k| row(&mut o, k));
    o.push_str("</table><h2>Limits</h2><table>");
    limits(&mut o, p);
    o.push_str("</table></body></html>\n");
    o
}

fn latencies(o: &mut String, entries: &[Entry]) {
    o.push_str(
        "<table><tr><th></th><th class=\"n\">Fastest</th><th class=\"n\">Median</th><th class=\"n\">Nine of ten</th></tr>",
    );
    for e in entries {
        let _ = write!(o, "<tr><td>{} {}</td>", escape(&e.name), escape(&e.version));
        let _ = match (e.latency, &e.unavailable) {
            (Some(l), _) => write!(
                o,
                "<td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
                show(l.min),
                show(l.median),
                show(l.p90)
            ),
            (None, why) => {
                write!(o, "<td colspan=\"3\">n/a: {}</td></tr>", escape(why.as_deref().unwrap_or_default()))
            }
        };
    }
    o.push_str("</table>");
}

/// From red to green.
fn colour(of_peak: f64) -> String {
    format!("hsl({:.0} 60% 68%)", of_peak.clamp(0.0, 1.0) * 120.0)
}

fn bar(o: &mut String, at: (f64, f64), width: f64, colour: &str, name: &str, tip: &str) {
    let (x, y) = at;
    let _ = write!(
        o,
        "<g><title>{}</title><rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{width:.2}\" height=\"26\" fill=\"{colour}\" \
         stroke=\"#fff\" stroke-width=\".5\"/>",
        escape(tip)
    );
    let fits = (width / 6.5) as usize;
    if fits > 3 {
        let text: String = name.chars().take(fits).collect();
        let _ = write!(o, "<text x=\"{:.2}\" y=\"{:.2}\">{}</text>", x + 2.0, y + 17.0, escape(&text));
    }
    o.push_str("</g>");
}

fn flame(o: &mut String, p: &Profile) {
    let _ = write!(o, "<svg viewBox=\"0 0 {WIDTH} 96\" role=\"img\" aria-label=\"time of kernels\">");
    let scale = WIDTH / p.seconds.max(1e-12);
    bar(o, (0.0, 0.0), WIDTH, "#c9d4e0", &format!("run {}", show(p.seconds)), "all kernels");
    let mut x = 0.0;
    for k in &p.kernels {
        let tip = format!(
            "{}: {}, {} calls, {:.1} % of {}",
            k.kernel,
            show(k.seconds),
            k.calls,
            k.of_peak * 100.0,
            k.bound
        );
        bar(o, (x, 28.0), k.seconds * scale, &colour(k.of_peak), &k.kernel, &tip);
        x += k.seconds * scale;
    }
    x = 0.0;
    for s in &p.sites {
        let of_peak = s.floor / s.seconds.max(1e-12);
        let tip = format!(
            "{}: {} in {}, {:.1} % of {}",
            s.label,
            show(s.seconds),
            s.kernel,
            of_peak * 100.0,
            s.bound
        );
        bar(o, (x, 68.0), s.seconds * scale, &colour(of_peak), &s.label, &tip);
        x += s.seconds * scale;
    }
    o.push_str("</svg>");
}

fn roofline(o: &mut String, p: &Profile) {
    let height = 380.0;
    let seen: Vec<&SiteTime> =
        p.sites.iter().filter(|s| s.operations > 0.0 && s.bytes > 0.0 && s.seconds > 0.0).collect();
    let top = [p.peaks.fma, p.peaks.bf16, p.peaks.dot8].into_iter().flatten().fold(1e9, f64::max) * 2.0;
    // Four decades of operations per byte from 1/100, five of operations per second.
    let x = |intensity: f64| ((intensity.log10() + 2.0) / 5.0).clamp(0.0, 1.0) * WIDTH;
    let y = |rate: f64| ((top.log10() - rate.log10()) / 5.0).clamp(0.0, 1.0) * height;
    let _ = write!(o, "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"roofline\">");
    for (name, rate) in [("FMA", p.peaks.fma), ("bf16", p.peaks.bf16), ("dot8", p.peaks.dot8)] {
        let Some(rate) = rate else { continue };
        let at = y(rate);
        let _ = write!(
            o,
            "<path d=\"M0 {at:.2}H{WIDTH}\" stroke=\"#456\"/><text x=\"4\" y=\"{:.2}\">{name} {:.0} GOP/s</text>",
            at - 3.0,
            rate / 1e9
        );
    }
    for l in &p.peaks.read {
        let (a, b) = (0.01, (top / l.rate).max(0.01));
        let _ = write!(
            o,
            "<path d=\"M{:.2} {:.2}L{:.2} {:.2}\" stroke=\"#89a\" fill=\"none\"/>\
             <text x=\"{:.2}\" y=\"{:.2}\">{} {:.0} GB/s</text>",
            x(a),
            y(a * l.rate),
            x(b),
            y(b * l.rate),
            x(0.02),
            y(0.02 * l.rate) - 3.0,
            l.name,
            l.rate / 1e9
        );
    }
    for s in seen {
        let _ = write!(
            o,
            "<circle cx=\"{:.2}\" cy=\"{:.2}\" r=\"{:.2}\" fill=\"{}\" fill-opacity=\".7\" stroke=\"#345\" \
             stroke-width=\".4\"><title>{}: {}, {:.1} GOP/s</title></circle>",
            x(s.operations / s.bytes),
            y(s.operations / s.seconds),
            2.0 + 20.0 * (s.seconds / p.seconds.max(1e-12)).sqrt(),
            colour(s.floor / s.seconds),
            escape(&s.label),
            escape(&s.kernel),
            s.operations / s.seconds / 1e9
        );
    }
    o.push_str("</svg>");
}

fn row(o: &mut String, k: &KernelTime) {
    let _ = write!(
        o,
        "<tr><td>{}<div class=\"layers\">{}</div></td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
         <td class=\"n\">{:.1} %</td><td class=\"n\">{:.2}</td><td class=\"n\">{:.2}</td><td class=\"n\">{:.1} % of {}</td></tr>",
        escape(&k.kernel),
        escape(&k.layers.join(" · ")),
        k.calls,
        show(k.seconds),
        k.share * 100.0,
        k.operations_per_second / 1e9,
        k.bytes_per_second / 1e9,
        k.of_peak * 100.0,
        escape(&k.bound)
    );
}

fn limits(o: &mut String, p: &Profile) {
    let ops = [
        ("f32 multiply-add", p.peaks.fma),
        ("products of bytes", p.peaks.dot8),
        ("products of bf16", p.peaks.bf16),
    ];
    for (name, rate) in ops {
        let text = rate
            .map_or("the processor has no such instruction".to_owned(), |r| format!("{:.1} GOP/s", r / 1e9));
        let _ = write!(o, "<tr><td>{name}</td><td class=\"n\">{text}</td></tr>");
    }
    for l in &p.peaks.read {
        let (name, bytes, rate) = (l.name, size(l.bytes), l.rate / 1e9);
        let _ = write!(
            o,
            "<tr><td>reading {bytes} again and again ({name})</td><td class=\"n\">{rate:.1} GB/s</td></tr>"
        );
    }
}
