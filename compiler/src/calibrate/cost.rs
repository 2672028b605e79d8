//! What calibration takes, and what the same would take for a model of 8 billion weights.

use sinter_passes::compress::segments::Tap;

/// A layer of Llama 3 8B: the width of every value that products read, and the rows of those.
const LAYER_8B: [(f64, &[f64]); 4] = [
    (4096.0, &[4096.0, 1024.0, 1024.0]),
    (4096.0, &[4096.0]),
    (4096.0, &[14336.0, 14336.0]),
    (14336.0, &[4096.0]),
];
const LAYERS_8B: f64 = 32.0;

/// Multiplications.
#[derive(Debug, Clone, Copy, Default)]
struct Work {
    /// Of running products and summing moments, per token.
    running: f64,
    /// Of choosing codes: errors go from every column to all later ones, for every row; and matrices are inverted.
    rounding: f64,
}

impl Work {
    fn add(&mut self, k: f64, rows: impl Iterator<Item = f64>) {
        let rows: f64 = rows.sum();
        self.running += k * (k + rows);
        self.rounding += k * k * (k + rows);
    }
}

/// Seconds and work of the pieces of a model.
#[derive(Debug, Default)]
pub struct Cost {
    work: Work,
    /// Running, and rounding.
    seconds: (f64, f64),
    lines: Vec<String>,
    tokens: f64,
}

impl Cost {
    /// For so many tokens.
    pub fn new(tokens: usize) -> Self {
        Self { tokens: tokens as f64, ..Self::default() }
    }
    /// Adds a piece.
    pub fn piece(&mut self, taps: &[Tap], running: f64, rounding: f64) {
        for t in taps {
            let rows = t.products.iter().map(|p| p.weights.len() as f64 / p.k.max(1) as f64);
            self.work.add(t.k as f64, rows);
        }
        self.seconds.0 += running;
        self.seconds.1 += rounding;
        let names = taps.iter().flat_map(|t| &t.products).map(|p| p.name.as_str());
        let first = names.clone().next().unwrap_or_default();
        let more = names.count().saturating_sub(1);
        self.lines.push(format!("{first} and {more} more: running {running:.2} s, rounding {rounding:.2} s"));
    }
    /// A line per piece, and the whole.
    pub fn lines(&self) -> Vec<String> {
        let mut eight = Work::default();
        LAYER_8B.iter().for_each(|(k, rows)| eight.add(*k, rows.iter().copied()));
        let as_here = |seconds: f64, here: f64, there: f64| seconds * LAYERS_8B * there / here.max(1.0);
        let running = as_here(self.seconds.0, self.work.running, eight.running);
        let rounding = as_here(self.seconds.1, self.work.rounding, eight.rounding);
        let all = format!(
            "running {} tokens {:.1} s, rounding {:.1} s; as fast per multiplication, 8 billion weights (Llama 3 8B) would take {:.0} min + {:.0} min on this machine",
            self.tokens,
            self.seconds.0,
            self.seconds.1,
            running / 60.0,
            rounding / 60.0
        );
        self.lines.iter().cloned().chain([all]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_of_8b_as_work() {
        // A model that is one layer of 8B: 32 times its time.
        let mut c = Cost::new(100);
        LAYER_8B.iter().for_each(|(k, rows)| c.work.add(*k, rows.iter().copied()));
        c.seconds = (60.0, 120.0);
        assert!(c.lines()[0].contains("would take 32 min + 64 min"), "{:?}", c.lines());
    }
}
