//! Bits for every group of products, by what the model loses and what may be spent.

use super::answers::Lost;
use super::methods::matrix;
use super::{Calibration, prepared::Prepared, sensitivity};
use crate::report::size;
use sinter_ir::{Diag, Result};
use sinter_passes::compress::mixed::{self, Candidate, Limit};
use sinter_passes::compress::recipe::Method;
use sinter_passes::compress::{Calibrated, Layer, LayerStat, Recipe, Scheme, rtn};

/// Windows of text and most tokens of each that groups are probed with.
const WINDOWS: usize = 2;
const TOKENS: usize = 256;
/// Windows whose moments tell the errors of candidates.
const SEEN: usize = 8;
/// Windows by which the loss of a whole choice is seen.
const CHECKED: usize = 8;
/// How often a choice is compiled to see what it weighs, or run to see what it loses.
const TRIALS: usize = 3;
/// Schemes among all products: each has kernels of its own, and a bundle's code is to stay small.
const KINDS: usize = 3;
/// Part of what may be lost that is not worth another run.
const NEAR: f64 = 0.9;

/// What mixed recipes may spend.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Budget {
    /// Bytes of the bundle's weights.
    pub size: Option<u64>,
    /// Bytes of memory of a run: weights, arena, inputs, outputs, states of the largest capacity.
    pub ram: Option<u64>,
    /// Divergence from the float model.
    pub kl: Option<f64>,
    /// What perplexity may grow by, as a part of it.
    pub perplexity: Option<f64>,
}

impl Budget {
    /// What a loss is of what may be lost.
    fn part(&self, lost: &Lost) -> f64 {
        let parts = [(self.kl, lost.divergence()), (self.perplexity, lost.perplexity())];
        parts.iter().filter_map(|(most, is)| most.map(|most| is / most)).fold(0.0, f64::max)
    }
    /// Where to begin: where a model's answers are the text's, perplexity grows by e to the divergence.
    fn loss(&self) -> Option<f64> {
        [self.kl, self.perplexity.map(f64::ln_1p)].into_iter().flatten().reduce(f64::min)
    }
    /// The same with as much more room as a loss needs, in the words of the command line.
    fn relaxed(&self, lost: &Lost) -> String {
        let kl = self.kl.map(|_| format!("--max-kl {:.4}", lost.divergence() * 1.01));
        let grown = lost.perplexity() * 101.0;
        let perplexity = self.perplexity.map(|_| format!("--max-ppl-increase {grown:.2}"));
        [kl, perplexity].into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

/// What a bundle takes.
#[derive(Debug, Clone, Copy)]
pub struct Weight {
    /// Bytes of its weights.
    pub weights: u64,
    /// Bytes of memory besides, for a run.
    pub rest: u64,
}

/// What a bundle with codes for its products takes.
pub type Weigh<'a> = dyn Fn(&Calibrated) -> Result<Weight, Vec<Diag>> + 'a;

/// A model whose groups are to be given bits.
struct Mixing<'a> {
    model: &'a Prepared,
    budget: Budget,
    threads: usize,
    weigh: &'a Weigh<'a>,
    step: &'a dyn Fn(&str),
}

/// The scheme of every tap, by piece. `model` gives the logits of all tokens; `weigh` compiles it with codes.
pub(super) fn schemes(
    model: &Prepared,
    recipe: &Recipe,
    how: &Calibration,
    weigh: &Weigh,
    step: &dyn Fn(&str),
) -> Result<Vec<Vec<Scheme>>, Vec<Diag>> {
    let mut runner = model.runner.fewer(WINDOWS, TOKENS).map_err(|d| vec![d])?;
    let mut seen = model.runner.fewer(SEEN, model.window).map_err(|d| vec![d])?;
    let runners = (&mut seen, &mut runner);
    let groups = sensitivity::candidates(&model.pieces, runners, &recipe.candidates(), how.threads, step)?;
    let budget = how.budget;
    let m = Mixing { model, budget, threads: how.threads, weigh, step };
    let usual = groups.iter().flatten().filter(|c| c.scheme == recipe.weights).map(|c| c.bytes).sum();
    let chosen = match (budget.size.or(budget.ram), budget.loss()) {
        (None, None) => choose(&groups, Limit::Bytes(usual)).unwrap_or_default(),
        (None, Some(loss)) => m.lossy(&groups, loss)?,
        (Some(_), loss) => {
            let chosen = m.sized(&groups)?;
            if let Some(loss) = loss {
                m.both(&groups, &chosen, loss)?;
            }
            chosen
        }
    };
    let loss: f64 = chosen.iter().map(|c| c.loss).sum();
    step(&format!("chose {} bytes for products, expected divergence {loss:.4}", bytes(&chosen)));
    Ok(m.by_piece(&chosen).iter().map(|p| p.iter().map(|c| c.scheme).collect()).collect())
}

impl Mixing<'_> {
    /// The best choice whose bundle fits. How much of a bundle is not for candidates to say, nor how far their codes
    /// fill up strips: what a choice weighs is seen by rounding to it.
    fn sized(&self, groups: &[Vec<Candidate>]) -> Result<Vec<Candidate>, Vec<Diag>> {
        let fewest = choose(groups, Limit::Bytes(0)).err().map_or(0, |least| least.bytes);
        let mut best = choose(groups, Limit::Bytes(fewest)).unwrap_or_default();
        let least = self.weighed(&best)?;
        self.fits(least)?;
        let room = |w: Weight| {
            let ram = self.budget.ram.map(|ram| ram.saturating_sub(w.rest));
            self.budget.size.into_iter().chain(ram).min().unwrap_or(u64::MAX)
        };
        let mut spend = fewest + (room(least) - least.weights);
        for _ in 0..TRIALS {
            let Ok(chosen) = choose(groups, Limit::Bytes(spend)) else { break };
            let weight = self.weighed(&chosen)?;
            let room = room(weight);
            if weight.weights > room {
                spend = spend.saturating_sub(weight.weights - room);
                continue;
            }
            let left = room - weight.weights;
            if bytes(&chosen) >= bytes(&best) {
                best = chosen;
            }
            // Half a percent is not worth another compilation.
            if left < room / 200 {
                break;
            }
            spend += left;
        }
        Ok(best)
    }
    /// Whether the fewest bits fit; else what is nearest to the budget that would do.
    fn fits(&self, least: Weight) -> Result<(), Vec<Diag>> {
        let total = least.weights + least.rest;
        let over = |most: Option<u64>, is: u64| most.filter(|most| is > *most);
        let what = match (over(self.budget.size, least.weights), over(self.budget.ram, total)) {
            (Some(most), _) => {
                format!("--max-size {most}: with the fewest bits the weights take {}", least.weights)
            }
            (None, Some(most)) => format!(
                "--max-ram {most}: with the fewest bits a run takes {total} bytes, {} of them weights",
                least.weights
            ),
            (None, None) => return Ok(()),
        };
        let size = self.budget.size.map(|s| format!("--max-size {}", s.max(least.weights)));
        let ram = self.budget.ram.map(|r| format!("--max-ram {}", r.max(total)));
        let words: Vec<String> = size.into_iter().chain(ram).collect();
        let mut help = format!("the least that does: {}", words.join(" "));
        if self.budget.ram.is_some_and(|r| r < total && r >= least.weights) {
            help += "; or fewer positions (--dim capacity=N), or caches of few bits (--kv-cache int8)";
        }
        Err(vec![Diag::limit(what).help(help)])
    }
    /// The smallest choice that loses no more than it may, as measured on the text with weights that err as by their method.
    fn lossy(&self, groups: &[Vec<Candidate>], loss: f64) -> Result<Vec<Candidate>, Vec<Diag>> {
        let mut best: Option<Vec<Candidate>> = None;
        let mut most = loss;
        for _ in 0..TRIALS {
            let Ok(chosen) = choose(groups, Limit::Loss(most)) else { break };
            let part = self.budget.part(&self.lost(&chosen)?);
            if part <= 1.0 && best.as_ref().is_none_or(|b| bytes(&chosen) < bytes(b)) {
                best = Some(chosen);
            }
            if (NEAR..=1.0).contains(&part) {
                break;
            }
            most *= (NEAR.sqrt() / part.max(0.1)).clamp(0.1, 4.0);
        }
        if let Some(best) = best {
            return Ok(best);
        }
        let finest = finest(groups);
        let lost = self.lost(&finest)?;
        if self.budget.part(&lost) <= 1.0 {
            return Ok(finest);
        }
        let what = format!(
            "with the most bits the divergence on the text is {:.5}, and perplexity grows by {:.3} %",
            lost.divergence(),
            lost.perplexity() * 100.0
        );
        let help = format!("the least that does: {}; or floats: --quantize none", self.budget.relaxed(&lost));
        Err(vec![Diag::limit(what).help(help)])
    }
    /// Whether what fits loses no more than it may; else the budgets that would do, the nearest first.
    fn both(&self, groups: &[Vec<Candidate>], chosen: &[Candidate], loss: f64) -> Result<(), Vec<Diag>> {
        let lost = self.lost(chosen)?;
        let part = self.budget.part(&lost);
        if part <= 1.0 {
            return Ok(());
        }
        let what = format!(
            "what fits has a divergence of {:.4} on the text, and perplexity grows by {:.2} %",
            lost.divergence(),
            lost.perplexity() * 100.0
        );
        let quality = self.budget.relaxed(&lost);
        let help = match self.lossy(groups, loss) {
            Ok(fine) => {
                let weight = self.weighed(&fine)?;
                let weights = self.budget.size.map(|s| (s, weight.weights, "--max-size"));
                let ram = self.budget.ram.map(|r| (r, weight.weights + weight.rest, "--max-ram"));
                let all: Vec<(u64, u64, &str)> = weights.into_iter().chain(ram).collect();
                let words = all.iter().map(|(is, need, word)| format!("{word} {}", need.max(is)));
                let room = words.collect::<Vec<_>>().join(" ");
                let grows =
                    all.iter().map(|(is, need, _)| *need as f64 / (*is).max(1) as f64).fold(1.0, f64::max);
                let (room, quality) = (
                    format!(
                        "{room} ({:.1} % more: weights of {})",
                        (grows - 1.0) * 100.0,
                        size(weight.weights)
                    ),
                    format!("{quality} ({:.0} % more)", (part - 1.0) * 100.0),
                );
                let ordered = if grows <= part { [room, quality] } else { [quality, room] };
                let [first, second] = ordered;
                format!("the cheapest that does: {first}; or {second}")
            }
            Err(_) => format!("the least that does: {quality}"),
        };
        Err(vec![Diag::limit(what).help(help)])
    }
    fn lost(&self, chosen: &[Candidate]) -> Result<Lost, Vec<Diag>> {
        let mut runner = self.model.runner.fewer(CHECKED, self.model.window).map_err(|d| vec![d])?;
        let chosen = self.by_piece(chosen);
        sensitivity::together(&self.model.pieces, &mut runner, &chosen, self.threads, self.step)
    }
    fn weighed(&self, chosen: &[Candidate]) -> Result<Weight, Vec<Diag>> {
        (self.step)("weighing a choice of bits");
        (self.weigh)(&self.rounded(chosen).map_err(|d| vec![d])?)
    }
    fn by_piece(&self, chosen: &[Candidate]) -> Vec<Vec<Candidate>> {
        let mut chosen = chosen.iter().copied();
        self.model.pieces.iter().map(|p| chosen.by_ref().take(p.taps.len()).collect()).collect()
    }
    /// Products rounded to nearest, as large as by any method.
    fn rounded(&self, chosen: &[Candidate]) -> Result<Calibrated> {
        let mut out = Calibrated::default();
        let taps = self.model.pieces.iter().flat_map(|p| &p.taps);
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
}

/// The choice of every group that loses least.
fn finest(groups: &[Vec<Candidate>]) -> Vec<Candidate> {
    groups.iter().filter_map(|g| g.iter().min_by(|a, b| a.loss.total_cmp(&b.loss)).copied()).collect()
}

/// The best choice within a limit.
fn choose(groups: &[Vec<Candidate>], limit: Limit) -> Result<Vec<Candidate>, mixed::Least> {
    mixed::choose_few(groups, limit, KINDS)
}

fn bytes(chosen: &[Candidate]) -> u64 {
    chosen.iter().map(|c| c.bytes).sum()
}
