//! Bits for every group of products, by what the model loses and what may be spent.

use super::{Calibration, Prepared, sensitivity};
use sinter_ir::Diag;
use sinter_passes::compress::mixed::{Limit, choose};
use sinter_passes::compress::recipe::Method;
use sinter_passes::compress::{LayerStat, Recipe, Scheme};
use std::collections::BTreeSet;

/// Windows of text and most tokens of each that groups are probed with.
const WINDOWS: usize = 2;
const TOKENS: usize = 256;

/// Bytes of a bundle's weights, and what became of its matrices.
pub type Weighed = (u64, Vec<LayerStat>);

/// The scheme of every tap, by piece. `model` gives the logits of all tokens; `weigh` compiles the model with a recipe.
pub(super) fn schemes(
    model: &Prepared,
    recipe: &Recipe,
    how: &Calibration,
    weigh: &dyn Fn(&Recipe) -> Result<Weighed, Vec<Diag>>,
    step: &dyn Fn(&str),
) -> Result<Vec<Vec<Scheme>>, Vec<Diag>> {
    let one = |d: Diag| vec![d];
    let pieces = &model.pieces;
    let mut runner = model.runner.fewer(WINDOWS, TOKENS).map_err(one)?;
    let all = recipe.candidates();
    let groups = sensitivity::candidates(pieces, &mut runner, &all, how.threads, step)?;
    let usual = groups.iter().flatten().filter(|c| c.scheme == recipe.weights).map(|c| c.bytes).sum();
    let mut rest = 0;
    let limit = match (how.max_size, how.max_kl) {
        (Some(size), _) => {
            step("weighing what has a fixed number of bits");
            let plain = Scheme { method: Method::Rtn, ..recipe.weights };
            let (total, stats) = weigh(&Recipe { weights: plain, mixed: None, ..*recipe })?;
            let products = pieces.iter().flat_map(|p| &p.taps).flat_map(|t| &t.products);
            let products: BTreeSet<&str> = products.map(|p| p.name.as_str()).collect();
            let mixed = stats.iter().filter(|s| products.contains(s.name.as_str())).map(|s| s.bytes);
            rest = total.saturating_sub(mixed.sum());
            Limit::Bytes(size.saturating_sub(rest))
        }
        (None, Some(kl)) => Limit::Loss(kl),
        (None, None) => Limit::Bytes(usual),
    };
    let chosen = choose(&groups, limit).map_err(|least| {
        let bytes = rest + least.bytes;
        one(match limit {
            Limit::Bytes(_) => Diag::limit(format!(
                "--max-size: the weights take {bytes} bytes with the fewest bits, {rest} of them embeddings, norms and \
                 what else stays as it is"
            ))
            .help(format!("--max-size {bytes}, or larger groups of weights with one scale (auto-g128)")),
            Limit::Loss(most) => Diag::limit(format!(
                "--max-kl {most}: with the most bits the divergence is expected to be {:.4}",
                least.loss
            ))
            .help(format!("--max-kl {:.4}, or floats: --quantize none", least.loss * 1.01)),
        })
    })?;
    let loss: f64 = chosen.iter().map(|c| c.loss).sum();
    let bytes: u64 = chosen.iter().map(|c| c.bytes).sum();
    step(&format!("chose {bytes} bytes for products, expected divergence {loss:.4}"));
    let mut chosen = chosen.into_iter().map(|c| c.scheme);
    Ok(pieces.iter().map(|p| chosen.by_ref().take(p.taps.len()).collect()).collect())
}
