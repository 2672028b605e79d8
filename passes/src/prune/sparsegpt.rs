//! SparseGPT: columns are pruned one after the other, and what is lost goes to the columns that are still to come.
//!
//! The machinery is that of GPTQ ([`Factor`], in the columns' own order) with zero in the place of the nearest code. What a
//! zero costs is `w^2 / U_ii^2`. Zeros are chosen block by block of [`LAZY`] columns, for all rows together; of a few
//! neighbours where the first of them is reached, by the weights as they are then.

use super::mask::{Among, Pattern, lowest, zeros};
use crate::compress::gptq::{Factor, LAZY, spread};
use sinter_ir::{Diag, Result};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Rows that are worked on together.
const TILE: usize = 16;

/// Does something for `0..n`, on any number of threads.
pub type Each<'a> = &'a dyn Fn(usize, &(dyn Fn(usize) + Sync)) -> Result<()>;

/// One after the other.
pub fn in_turn(n: usize, f: &(dyn Fn(usize) + Sync)) -> Result<()> {
    (0..n).for_each(f);
    Ok(())
}

/// Weights `[n, k]` with zeros in a pattern, and the others moved to make up for them.
pub fn prune(weights: &[f32], f: &Factor, pattern: Pattern, each: Each<'_>) -> Result<Vec<f32>> {
    let k = f.k();
    if f.is_sorted() || !weights.len().is_multiple_of(k.max(1)) {
        return Err(Diag::bug("SparseGPT goes through the columns in their order"));
    }
    if weights.iter().any(|w| !w.is_finite()) {
        return Err(Diag::input("weights that are not finite"));
    }
    let tiles: Vec<Mutex<Tile>> =
        weights.chunks(TILE * k.max(1)).map(|w| Mutex::new(Tile::new(f, w))).collect();
    let lock = |t: &Mutex<Tile>, f: &mut dyn FnMut(&mut Tile)| {
        f(&mut t.lock().unwrap_or_else(PoisonError::into_inner));
    };
    let rows = weights.len() / k.max(1);
    for from in (0..k).step_by(LAZY) {
        let block = from..(from + LAZY).min(k);
        let mut marks = vec![];
        if !matches!(pattern, Pattern::Few { .. }) {
            let mut scores = Vec::with_capacity(rows * block.len());
            tiles.iter().for_each(|t| lock(t, &mut |t| t.scores(f, block.clone(), &mut scores)));
            marks = zeros(&scores, block.len(), pattern, Among::Matrix);
        }
        let part = TILE * block.len();
        each(tiles.len(), &|i| {
            let marks = marks.get(i * part..).unwrap_or(&[]);
            let run = &mut |t: &mut Tile| t.run(f, block.clone(), marks, pattern);
            if let Some(t) = tiles.get(i) {
                lock(t, run);
            }
        })?;
    }
    let done = tiles.into_iter().flat_map(|t| t.into_inner().unwrap_or_else(PoisonError::into_inner).w);
    Ok(done.collect())
}

/// Some rows while they are pruned.
struct Tile {
    w: Vec<f32>,
    errors: Vec<f32>,
}

impl Tile {
    fn new(f: &Factor, w: &[f32]) -> Self {
        let k = f.k().max(1);
        let mut w = w.to_vec();
        // Weights of channels that no text reached are the first to go.
        w.chunks_mut(k)
            .flat_map(|row| row.iter_mut().zip(f.dead()))
            .filter(|w| *w.1)
            .for_each(|w| *w.0 = 0.0);
        let errors = vec![0.0; w.len() / k * LAZY];
        Self { w, errors }
    }
    /// What zeros would cost in some columns.
    fn scores(&self, f: &Factor, block: Range<usize>, out: &mut Vec<f32>) {
        for row in self.w.chunks(f.k().max(1)) {
            out.extend(block.clone().map(|i| cost(f, row, i)));
        }
    }
    fn run(&mut self, f: &Factor, block: Range<usize>, marks: &[bool], pattern: Pattern) {
        let k = f.k().max(1);
        let width = block.len();
        for (r, (row, errors)) in self.w.chunks_mut(k).zip(self.errors.chunks_mut(LAZY)).enumerate() {
            let mut few = [false; 32];
            for i in block.clone() {
                let mut zero = marks.get(r * width + i - block.start).copied().unwrap_or(false);
                if let Pattern::Few { zeros, of } = pattern {
                    if i.is_multiple_of(of) {
                        let costs: Vec<f32> = (i..(i + of).min(k)).map(|j| cost(f, row, j)).collect();
                        few = [false; 32];
                        if costs.len() == of {
                            lowest(&costs, zeros).into_iter().for_each(|j| few[j] = true);
                        }
                    }
                    zero = few[i % of];
                }
                let u = f.row(i);
                let e = if zero { row[i] / u[i] } else { 0.0 };
                errors[i - block.start] = e;
                if zero {
                    row[i] = 0.0;
                    let later = i + 1..block.end;
                    row[later.clone()].iter_mut().zip(&u[later]).for_each(|(w, u)| *w -= e * u);
                }
            }
        }
        spread(f, &mut self.w, block, &self.errors, LAZY);
    }
}

/// What the weight of a column costs where it becomes zero.
fn cost(f: &Factor, row: &[f32], i: usize) -> f32 {
    let w = row[i] / f.row(i)[i];
    w * w
}
