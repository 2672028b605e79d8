//! Recipes side by side: a table, and a page with pictures of it.

use super::html::{escape, size};
use super::plot::{self, Point};
use serde::Serialize;
use sinter_passes::compress::LayerStat;
use std::fmt::Write;

/// A line of the table.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Row {
    /// What it is called.
    #[serde(skip)]
    pub name: String,
    /// What was done to weights.
    pub recipe: String,
    /// What was taken away before.
    pub prune: String,
    /// Bytes of all weights.
    pub weights_bytes: u64,
    /// Bits per weight of the matrices that became codes, scales counted.
    pub bits: f64,
    /// e to the mean of -ln p.
    pub perplexity: f64,
    /// Divergence from the model with float weights.
    pub kl: f64,
    /// Its standard error.
    pub kl_error: f64,
    /// The largest of a token.
    pub kl_worst: f64,
    /// Part of the tokens where both find the same one most probable.
    pub agreement: f64,
    /// Seconds from the checkpoint to the bundle.
    pub seconds: f64,
    /// What became of every matrix.
    #[serde(skip)]
    pub layers: Vec<LayerStat>,
    /// Tokens per second of reading 512 and of generating 128.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed: Option<[f64; 2]>,
}

/// The first two lines of a table.
pub fn head(speed: bool) -> String {
    let (more, lines) = if speed { (" pp512 | tg128 |", "---|---|") } else { ("", "") };
    format!(
        "| recipe | weights | bits per weight | perplexity | KL | worst KL | same token |{more} made in |\n|---|---|---|---|---|---|---|{lines}---|"
    )
}

impl Row {
    /// The line; of the float model itself what it is compared with.
    pub fn line(&self, speed: bool) -> String {
        let speeds = match self.speed {
            Some([read, generate]) => format!(" {read:.0} | {generate:.0} |"),
            None if speed => " | |".into(),
            None => String::new(),
        };
        let (name, bytes, perplexity) = (&self.name, size(self.weights_bytes), self.perplexity);
        if self.recipe.is_empty() {
            return format!("| {name} | {bytes} | | {perplexity:.3} | | | |{speeds} |");
        }
        format!(
            "| {name} | {bytes} | {:.2} | {perplexity:.3} | {:.4} +- {:.4} | {:.2} | {:.2} % |{speeds} {:.0} s |",
            self.bits,
            self.kl,
            self.kl_error,
            self.kl_worst,
            self.agreement * 100.0,
            self.seconds
        )
    }
}

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:64rem;padding:0 1rem;color:#1b2330}\
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse;width:100%}\
th,td{text-align:right;padding:.25rem .6rem;border-bottom:1px solid #dde3ea;font-variant-numeric:tabular-nums}\
th:first-child,td:first-child{text-align:left}svg{width:100%;height:auto;background:#f6f8fa}";

/// A page: the table, loss by size with speeds, loss by speed, and the errors of layers. The first row is the float model.
pub fn page(model: &str, window: usize, rows: &[Row]) -> String {
    let mut o = String::new();
    let title = escape(&format!("Recipes for {model}"));
    let _ = write!(
        o,
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style><h1>{title}</h1>\
         <p>Windows of {window} tokens. KL: mean divergence of the next token's distribution from the model with float weights. pp512, tg128: tokens per second of reading 512 and of generating 128.</p>\
         <table><tr><th>Recipe<th>Weights<th>Bits per weight<th>Perplexity<th>KL<th>Worst KL<th>Same token, %<th>pp512<th>tg128"
    );
    for r in rows {
        let _ = write!(o, "<tr><td>{}<td>{}", escape(&r.name), size(r.weights_bytes));
        let _ = match r.recipe.is_empty() {
            true => write!(o, "<td><td>{:.3}<td><td><td>", r.perplexity),
            false => write!(
                o,
                "<td>{:.2}<td>{:.3}<td>{:.4} &plusmn; {:.4}<td>{:.2}<td>{:.2}",
                r.bits,
                r.perplexity,
                r.kl,
                r.kl_error,
                r.kl_worst,
                r.agreement * 100.0
            ),
        };
        let [read, generate] = r.speed.map_or_else(Default::default, |s| s.map(|v| format!("{v:.0}")));
        let _ = write!(o, "<td>{read}<td>{generate}");
    }
    o.push_str("</table>");
    let made: Vec<&Row> = rows.iter().filter(|r| !r.recipe.is_empty()).collect();
    let point =
        |r: &&Row, x: f64| Point { name: r.name.clone(), at: (x, r.kl), speed: r.speed.map(|s| s[1]) };
    let sizes: Vec<Point> = made.iter().map(|r| point(r, r.weights_bytes as f64 / 1e6)).collect();
    o.push_str("<h2>Size and loss</h2><p>The line joins recipes that no other one beats in both. Large circles generate fast.</p>");
    o += &plot::pareto("loss by size", ("weights, MB", "KL"), &sizes);
    let timed = made.iter().filter_map(|r| Some(point(r, 1e3 / r.speed?[1].max(1e-9))));
    let timed: Vec<Point> = timed.collect();
    if !timed.is_empty() {
        o.push_str("<h2>Speed and loss</h2>");
        o += &plot::pareto("loss by time per token", ("milliseconds per generated token", "KL"), &timed);
    }
    let errors = made.iter().map(|r| {
        let of = |l: &LayerStat| l.output_db.unwrap_or(l.sqnr_db);
        (r.name.clone(), r.layers.iter().map(of).collect::<Vec<f64>>())
    });
    let errors: Vec<_> = errors.filter(|e| !e.1.is_empty()).collect();
    if !errors.is_empty() {
        o.push_str("<h2>Errors of layers</h2><p>Signal to noise of what products give on the text of the calibration, or of weights where there was none; matrices in the order of the model.</p>");
        o += &plot::curves("errors of layers", ("matrix", "signal to noise, dB"), &errors);
    }
    o.push_str("</html>\n");
    o
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_and_a_page() {
        let none = Row { name: "none".into(), weights_bytes: 20_000_000, perplexity: 8.0, ..Row::default() };
        let layers = vec![LayerStat { sqnr_db: 20.0, ..LayerStat::default() }; 2];
        let (name, recipe) = ("w4".to_owned(), "w4".to_owned());
        let w4 = Row { name, recipe, kl: 0.5, layers, speed: Some([100.0, 20.0]), ..none.clone() };
        let lines = [head(true), none.line(true), w4.line(true)].join("\n");
        let cells: Vec<usize> = lines.lines().map(|l| l.matches('|').count()).collect();
        assert_eq!(cells, [11; 4], "{lines}");
        assert_eq!(
            [head(false), none.line(false)].join("\n").lines().map(|l| l.matches('|').count()).max(),
            Some(9)
        );
        let page = page("m<", 512, &[none, w4]);
        assert!(page.contains("m&lt;") && page.matches("<svg").count() == 3 && page.contains("<polyline"));
    }
}
