//! `layout`: in which order the elements of every value are stored.
//!
//! Convolutions and poolings run best with channels last. [`spread`] finds what else could follow: element-wise ops,
//! concatenations, reductions, reshapes ([`carry`]), with constants re-laid at compile time. [`choose`] then decides
//! over the whole graph, by what convolutions gain and the transposes that stay cost ([`cost`]), with a smallest cut
//! ([`cut`]). [`rewrite`] builds the graph. Inputs, outputs and the borders of regions keep the model's order.

pub mod bf16;
pub mod bf16_data;
mod carry;
mod choose;
mod cost;
mod cut;
mod perm;
mod rewrite;
mod spread;

use crate::report::{LayoutStat, PassReport};
use choose::Choice;
pub(crate) use cost::Sizes;
use sinter_ir::{Graph, Module, Result, Symbols};
use spread::Options;

/// Names of all rewrites of this pass.
pub const RULES: &[&str] = &[
    "layout/conv",
    "layout/pool",
    "layout/pointwise",
    "layout/quantize",
    "layout/broadcast",
    "layout/concat",
    "layout/pad",
    "layout/slice",
    "layout/rows",
    "layout/resize",
    "layout/reduce",
    "layout/gather",
    "layout/reshape",
    "layout/matmul-rows",
    "layout/transpose",
    "layout/constant",
];

/// Runs the pass on the main graph and on the regions of `If` and `Loop`.
pub fn run(module: &mut Module, report: &mut PassReport) -> Result<()> {
    with(module, report, choose::choose)
}

/// Stores everything that can be in its other order, whatever it costs: what the rewrites are tested with.
pub fn run_everywhere(module: &mut Module, report: &mut PassReport) -> Result<()> {
    with(module, report, |g, _, options| Choice::everything(g, options))
}

type Choose = fn(&Graph, &Sizes, &Options) -> Choice;

fn with(module: &mut Module, report: &mut PassReport, choose: Choose) -> Result<()> {
    let sizes = Sizes::new(&module.symbols);
    let count = |m: &Module| rewrite::transposes(m, &|g, v| sizes.bytes(g.ty(v)));
    let (transposes_before, _) = count(module);
    module.graph = graph(&module.graph, &mut module.symbols, report, (choose, true))?;
    let (transposes, bytes) = count(module);
    report.layout = LayoutStat { transposes_before, transposes, bytes };
    Ok(())
}

fn graph(
    g: &Graph,
    symbols: &mut Symbols,
    report: &mut PassReport,
    (choose, main): (Choose, bool),
) -> Result<Graph> {
    let options = Options::find(g);
    let choice = choose(g, &Sizes::new(symbols), &options);
    rewrite::rewrite(g, (&options, &choice), symbols, report, main, &mut |r, symbols, report| {
        graph(r, symbols, report, (choose, false))
    })
}
