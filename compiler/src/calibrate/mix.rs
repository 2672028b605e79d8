//! Bits for every group of products, by what the model loses and what may be spent.

use super::methods::matrix;
use super::{Calibration, Prepared, sensitivity};
use sinter_ir::{Diag, Result};
use sinter_passes::compress::mixed::{Candidate, Limit, choose};
use sinter_passes::compress::recipe::Method;
use sinter_passes::compress::{Calibrated, Layer, LayerStat, Recipe, Scheme, rtn};

/// Windows of text and most tokens of each that groups are probed with.
const WINDOWS: usize = 2;
const TOKENS: usize = 256;

/// How often a choice is compiled to see what it weighs.
const TRIALS: usize = 3;

/// Bytes of the weights of a bundle with codes for its products.
pub type Weigh<'a> = dyn Fn(&Calibrated) -> Result<u64, Vec<Diag>> + 'a;

/// The scheme of every tap, by piece. `model` gives the logits of all tokens; `weigh` compiles it with codes.
pub(super) fn schemes(
    model: &Prepared,
    recipe: &Recipe,
    how: &Calibration,
    weigh: &Weigh,
    step: &dyn Fn(&str),
) -> Result<Vec<Vec<Scheme>>, Vec<Diag>> {
    let one = |d: Diag| vec![d];
    let pieces = &model.pieces;
    let mut runner = model.runner.fewer(WINDOWS, TOKENS).map_err(one)?;
    let all = recipe.candidates();
    let groups = sensitivity::candidates(pieces, &mut runner, &all, how.threads, step)?;
    let usual = groups.iter().flatten().filter(|c| c.scheme == recipe.weights).map(|c| c.bytes).sum();
    let chosen = match (how.max_size, how.max_kl) {
        (Some(size), _) => sized(model, &groups, size, weigh, step)?,
        (None, Some(kl)) => choose(&groups, Limit::Loss(kl)).map_err(|least| {
            let what = format!(
                "--max-kl {kl}: with the most bits the divergence is expected to be {:.4}",
                least.loss
            );
            let help = format!("--max-kl {:.4}, or floats: --quantize none", least.loss * 1.01);
            one(Diag::limit(what).help(help))
        })?,
        (None, None) => choose(&groups, Limit::Bytes(usual)).unwrap_or_default(),
    };
    let loss: f64 = chosen.iter().map(|c| c.loss).sum();
    step(&format!("chose {} bytes for products, expected divergence {loss:.4}", bytes(&chosen)));
    Ok(by_piece(model, &chosen))
}

/// The best choice whose bundle fits. How much of a bundle is not for candidates to say, nor how far their codes fill
/// up strips: what a choice weighs is seen by rounding to it.
fn sized(
    model: &Prepared,
    groups: &[Vec<Candidate>],
    size: u64,
    weigh: &Weigh,
    step: &dyn Fn(&str),
) -> Result<Vec<Candidate>, Vec<Diag>> {
    let fewest = choose(groups, Limit::Bytes(0)).err().map_or(0, |least| least.bytes);
    let mut best = choose(groups, Limit::Bytes(fewest)).unwrap_or_default();
    let weight = |chosen: &[Candidate]| {
        step("weighing a choice of bits");
        weigh(&rounded(model, chosen).map_err(|d| vec![d])?)
    };
    let total = weight(&best)?;
    if total > size {
        let what = format!("--max-size {size}: with the fewest bits the weights take {total} bytes");
        let help = format!("--max-size {total}, or larger groups of weights with one scale (auto-g128)");
        return Err(vec![Diag::limit(what).help(help)]);
    }
    let mut room = fewest + (size - total);
    for _ in 0..TRIALS {
        let Ok(chosen) = choose(groups, Limit::Bytes(room)) else { break };
        let total = weight(&chosen)?;
        if total > size {
            room = room.saturating_sub(total - size);
            continue;
        }
        let left = size - total;
        if bytes(&chosen) >= bytes(&best) {
            best = chosen;
        }
        // Half a percent is not worth another compilation.
        if left < size / 200 {
            break;
        }
        room += left;
    }
    Ok(best)
}

fn bytes(chosen: &[Candidate]) -> u64 {
    chosen.iter().map(|c| c.bytes).sum()
}

fn by_piece(model: &Prepared, chosen: &[Candidate]) -> Vec<Vec<Scheme>> {
    let mut schemes = chosen.iter().map(|c| c.scheme);
    model.pieces.iter().map(|p| schemes.by_ref().take(p.taps.len()).collect()).collect()
}

/// Products rounded to nearest, as large as by any method.
fn rounded(model: &Prepared, chosen: &[Candidate]) -> Result<Calibrated> {
    let mut out = Calibrated::default();
    let taps = model.pieces.iter().flat_map(|p| &p.taps);
    for (tap, c) in taps.zip(chosen) {
        for p in &tap.products {
            let w = matrix(p)?;
            let codes = rtn::quantise(&w, &Scheme { method: Method::Rtn, ..c.scheme })?;
            let stat = LayerStat::new(&p.name, &c.scheme, &w, &codes);
            out.layers.insert(p.name.clone(), Layer { codes, inverse: None, stat });
        }
    }
    Ok(out)
}
