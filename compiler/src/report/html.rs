//! The HTML form of the report.

use super::{Report, plot};
use sinter_passes::compress::LayerStat;
use std::fmt::Write;

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:64rem;padding:0 1rem;color:#1b2330}\
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:.25rem .6rem;border-bottom:1px solid #dde3ea;vertical-align:top}\
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}\
.layers{color:#5a6675;font-size:.85em;overflow-wrap:anywhere}svg{width:100%;height:auto;background:#f6f8fa}";

/// Buffers drawn in the timeline, largest first.
const BUFFERS_DRAWN: usize = 400;

pub(super) fn page(r: &Report) -> String {
    let mut o = String::new();
    let title = escape(&format!("{} for {}", r.name, r.target));
    let _ = write!(
        o,
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style><h1>{title}</h1><table>"
    );
    for (what, bytes) in
        [("Machine code", r.code_bytes), ("Weights", r.weights_bytes), ("Arena", r.arena_bytes)]
    {
        let _ = write!(o, "<tr><td>{what}<td class=n>{}", size(bytes));
    }
    let _ = write!(
        o,
        "<tr><td>Arena lower bound (largest sum of live buffers)<td class=n>{}\
         <tr><td>Gap of the plan to the bound<td class=n>{:.2} %</table>",
        size(r.live_bytes),
        r.arena_gap_percent
    );
    places(&mut o, r);
    levels(&mut o, r);
    if !r.dims.is_empty() {
        o.push_str("<h2>Symbolic dims</h2><table><tr><th>Dim<th class=n>Min<th class=n>Max");
        for d in &r.dims {
            let _ = write!(o, "<tr><td>{}<td class=n>{}<td class=n>{}", escape(&d.name), d.min, d.max);
        }
        o.push_str("</table>");
    }
    o.push_str("<h2>Memory over time</h2><p>Each box is a buffer: steps from left to right, arena offsets upward.</p>");
    timeline(&mut o, r);
    o.push_str("<h2>Kernels</h2><table><tr><th>Kernel and layers<th class=n>Code<th class=n>Calls<th class=n>MOP<th class=n>Touches");
    for k in &r.kernels {
        let _ = write!(
            o,
            "<tr><td>{}<div class=layers>{}</div><td class=n>{}<td class=n>{}<td class=n>{:.3}<td class=n>{}",
            escape(&[k.level.as_str(), &k.name].join(if k.level.is_empty() { "" } else { ": " })),
            escape(&k.layers.join(" · ")),
            size(k.code_bytes),
            k.calls,
            k.operations as f64 / 1e6,
            size(k.touched_bytes)
        );
    }
    o.push_str("</table>");
    pruned(&mut o, r);
    compressed(&mut o, r);
    o.push_str("<h2>Rewrites</h2><table><tr><th>Rule<th class=n>Times");
    for (name, n) in &r.rules {
        let _ = write!(o, "<tr><td>{}<td class=n>{n}", escape(name));
    }
    let l = &r.layout;
    let _ = write!(
        o,
        "</table><p>Transposes: {} in the model, {} after choosing layouts, which write {} at typical sizes.</p>",
        l.transposes_before,
        l.transposes,
        size(l.bytes)
    );
    if !r.warnings.is_empty() {
        o.push_str("<h2>Warnings</h2><ul>");
        for w in &r.warnings {
            let _ = write!(o, "<li>{}", escape(w));
        }
        o.push_str("</ul>");
    }
    o.push_str("</html>\n");
    o
}

fn places(o: &mut String, r: &Report) {
    if r.places.is_empty() {
        return;
    }
    o.push_str("<h2>Memories</h2><table><tr><th>Part<th>Memory<th class=n>Bytes<th class=n>of");
    for p in &r.places {
        let names = [&p.what, &p.memory].map(|n| escape(n));
        let _ = write!(
            o,
            "<tr><td>{}<td>{}<td class=n>{}<td class=n>{}",
            names[0],
            names[1],
            size(p.bytes),
            size(p.of_bytes)
        );
    }
    o.push_str("</table>");
}

fn levels(o: &mut String, r: &Report) {
    if r.levels.is_empty() {
        return;
    }
    o.push_str("<h2>Levels</h2><p>The first that the processor can run is chosen at init.</p><table><tr><th>Level<th class=n>Code<th class=n>Weights<th class=n>of its own<th class=n>Arena");
    for l in &r.levels {
        let _ = write!(o, "<tr><td>{}", escape(&l.target));
        for bytes in [l.code_bytes, l.weights_bytes, l.own_weights_bytes, l.arena_bytes] {
            let _ = write!(o, "<td class=n>{}", size(bytes));
        }
    }
    o.push_str("</table>");
}

/// What became of matrices that lost weights.
fn pruned(o: &mut String, r: &Report) {
    if r.pruned.is_empty() {
        return;
    }
    o.push_str("<h2>Pruned</h2><p>Percent of the weights that are gone or zero. Signal to noise of what is left, and of what products with it give on the text of the calibration.</p><table><tr><th>Weights<th>By<th>Were<th>Are<th class=n>Gone, %<th class=n>Weights, dB<th class=n>Outputs, dB<th class=n>Cosine");
    let dims = |d: &[u64]| d.iter().map(u64::to_string).collect::<Vec<_>>().join(" x ");
    let number = |v: Option<f64>, digits: usize| v.map(|v| format!("{v:.digits$}")).unwrap_or_default();
    for l in &r.pruned {
        let _ = write!(
            o,
            "<tr><td>{}<td>{}<td>{}<td>{}<td class=n>{:.1}<td class=n>{}<td class=n>{}<td class=n>{}",
            escape(&l.name),
            escape(&l.step),
            dims(&l.before),
            dims(&l.after),
            l.zeros,
            number(l.sqnr_db, 1),
            number(l.output_db, 1),
            number(l.cosine, 5)
        );
    }
    o.push_str("</table>");
}

/// What became of weights that are in few bits now.
fn compressed(o: &mut String, r: &Report) {
    if r.compressed.is_empty() {
        return;
    }
    o.push_str("<h2>Weights in few bits</h2><p>Signal to noise of weights, and of what products with them give on the data of the calibration, alone and behind other rounded layers.</p>");
    let own = |l: &LayerStat| l.output_db.unwrap_or(l.sqnr_db);
    let mut errors =
        vec![("outputs, or weights where none were seen".into(), r.compressed.iter().map(own).collect())];
    if r.compressed.iter().all(|l| l.accumulated_db.is_some()) {
        errors.push(("in the model".into(), r.compressed.iter().filter_map(|l| l.accumulated_db).collect()));
    }
    *o += &plot::curves("errors of layers", ("matrix", "signal to noise, dB"), &errors);
    o.push_str("<table><tr><th>Weights<th>As<th class=n>Rows<th class=n>Columns<th class=n>Before<th class=n>Now<th class=n>Weights, dB<th class=n>Outputs, dB<th class=n>Cosine<th class=n>In the model, dB");
    for l in &r.compressed {
        let number = |v: Option<f64>, digits: usize| v.map(|v| format!("{v:.digits$}")).unwrap_or_default();
        let _ = write!(
            o,
            "<tr><td>{}<td>{}<td class=n>{}<td class=n>{}<td class=n>{}<td class=n>{}<td class=n>{:.1}<td class=n>{}<td class=n>{}<td class=n>{}",
            escape(&l.name),
            escape(&l.scheme),
            l.dims[0],
            l.dims[1],
            size(l.bytes_before),
            size(l.bytes),
            l.sqnr_db,
            number(l.output_db, 1),
            number(l.cosine, 5),
            number(l.accumulated_db, 1)
        );
    }
    o.push_str("</table>");
}

fn timeline(o: &mut String, r: &Report) {
    let steps = r.timeline.iter().map(|b| b.last).max().unwrap_or(0) + 1;
    let top = r.arena_bytes.max(1);
    let (w, h) = (1000.0, 320.0);
    let _ = write!(o, "<svg viewBox=\"0 0 {w} {h}\" role=img aria-label=\"arena over time\">");
    let mut largest: Vec<_> = r.timeline.iter().collect();
    largest.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| (a.first, a.offset).cmp(&(b.first, b.offset))));
    for (i, b) in largest.into_iter().take(BUFFERS_DRAWN).enumerate() {
        let x = f64::from(b.first) / f64::from(steps) * w;
        let bw = f64::from(b.last - b.first + 1) / f64::from(steps) * w;
        let bh = b.bytes as f64 / top as f64 * h;
        let y = h - bh - b.offset as f64 / top as f64 * h;
        let hue = (i * 47) % 360;
        let _ = write!(
            o,
            "<rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{bw:.2}\" height=\"{bh:.2}\" fill=\"hsl({hue} 55% 70%)\" \
             stroke=\"#fff\" stroke-width=\".5\"><title>{}: {} at {}, steps {} to {}</title></rect>",
            escape(&b.name),
            size(b.bytes),
            b.offset,
            b.first,
            b.last
        );
    }
    o.push_str("</svg>");
}

/// Bytes for people.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{:.1} KB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

pub(crate) fn escape(s: &str) -> String {
    s.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
