//! Rotations that are learned from what a model makes of a text.

use super::Calibration;
use super::parallel;
use super::prepared::Prepared;
use crate::frontend::llm::weights::transposed;
use crate::frontend::onnx::ImportOptions;
use sinter_ir::op::binary::{Binary, BinaryKind};
use sinter_ir::{Diag, Graph, Op, Result};
use sinter_passes::compress::inputs::Inputs;
use sinter_passes::compress::rotation::{Rotation, Rotations};
use sinter_passes::compress::segments::Tap;
use sinter_passes::compress::stats::Statistics;
use sinter_passes::compress::steps::Goal;
use sinter_passes::compress::{Recipe, spin};
use std::path::Path;
use std::sync::Arc;

/// Rows of activations and of weights of a product that a rotation is learned from.
const LEARNED: usize = 128;
/// Windows of the text that they come from.
const WINDOWS: usize = 4;

/// Learns the rotations of a language model's stream and of every layer's values: by what its products read, norms' weights
/// in their matrices already.
pub fn learn(
    model: &Path,
    import: &ImportOptions,
    recipe: &Recipe,
    how: &Calibration,
    step: &dyn Fn(&str),
) -> Result<Rotations, Vec<Diag>> {
    let one = |d: Diag| vec![d];
    let still = Arc::new(Rotation::None);
    let rotations = Rotations { stream: Some(still.clone()), values: vec![still], ..Rotations::default() };
    let import = ImportOptions { rotations: Some(rotations), ..import.clone() };
    let model = Prepared::new(model, &import, how, &[])?;
    let Prepared { pieces, module, .. } = &model;
    let mut runner = model.runner.fewer(WINDOWS, model.window).map_err(one)?;
    let (mut layers, mut width, mut heads) = (vec![], 0, vec![]);
    for (i, piece) in pieces.iter().enumerate() {
        step(&format!("reading what is to be rotated: piece {} of {}", i + 1, pieces.len()));
        let stats = runner.measure(piece, true, &|_| {})?;
        for (tap, stats) in piece.taps.iter().zip(stats) {
            // What a norm without weights gives is a quotient.
            let from = tap.products.first().and_then(|p| module.graph.def(p.x));
            if from.is_some_and(|n| matches!(n.op, Op::Binary(Binary { kind: BinaryKind::Div }))) {
                width = tap.k;
                layers.push(layer(tap, &stats).map_err(one)?);
            } else if let Some(size) = values(&module.graph, tap) {
                // Heads turn alike: each is a row of its own, of inputs and of weights.
                heads.push((size, layer(tap, &stats).map_err(one)?));
            }
        }
    }
    let goal = Goal { inputs: Inputs::of(recipe), weights: recipe.weights };
    let told = |i: usize| step(&format!("learning a rotation of {width} channels: step {}", i + 1));
    let stream = spin::learn(width, &layers, &goal, &told);
    let count = heads.len();
    let turned = parallel::map(count, how.threads, |i| {
        let Some((size, heads)) = heads.get(i) else { return Err(Diag::bug("no such layer")) };
        Ok(Arc::new(spin::learn(*size, std::slice::from_ref(heads), &goal, &|_| {})))
    });
    Ok(Rotations { stream: Some(Arc::new(stream)), values: turned.map_err(one)?, ..Rotations::default() })
}

/// Elements of a head's values, where what a tap reads is what attention gives.
fn values(g: &Graph, tap: &Tap) -> Option<usize> {
    let mut v = tap.products.first()?.x;
    while let Some(n) = g.def(v) {
        match (&n.op, n.inputs.as_slice()) {
            (Op::CachedAttention(_), _) => {
                return usize::try_from(g.ty(v).dims.last()?.as_const()?).ok();
            }
            (Op::Reshape(_), &[x, ..]) => v = x,
            _ => return None,
        }
    }
    None
}

/// Some of the rows that meet in the products of a tap.
fn layer(tap: &Tap, stats: &Statistics) -> Result<spin::Layer> {
    let some = |rows: &[f32], kept: usize| -> Vec<f32> {
        let step = (rows.len() / tap.k.max(1)).div_ceil(kept.max(1)).max(1);
        rows.chunks_exact(tap.k.max(1)).step_by(step).flatten().copied().collect()
    };
    let mut weights = vec![];
    for p in &tap.products {
        let w = match p.weights.turned() {
            Some(t) => t.load()?,
            None => transposed(&p.weights.load()?)?,
        };
        weights.extend(some(&w.to_f32()?, LEARNED / tap.products.len()));
    }
    Ok(spin::Layer { rows: some(&stats.sample, LEARNED), weights })
}
