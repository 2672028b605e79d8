//! Fusion: groups nodes into [`sinter_ir::op::Group`]s, each lowered to one kernel.
//!
//! First attention is recognised ([`attention`]). Then every root (contraction, pooling, ..) takes the element-wise nodes behind it as its epilogue, and reductions
//! over the same rows come together with all between and behind them ([`rows`]); then, from the outputs backwards, element-wise and movement nodes join the group of their
//! users where that saves memory traffic without repeating heavy work. [`cluster`] keeps the groups acyclic,
//! [`policy`] decides what pays, [`build`] makes the new graph.

pub(crate) mod attention;
mod build;
mod cluster;
mod epilogue;
mod lanes;
pub(crate) mod policy;
mod pull;
mod rows;

use crate::rebuild::map_regions;
use crate::report::PassReport;
use cluster::Clusters;
use sinter_ir::{Graph, Module, Op, Result, Symbols};

/// Runs the pass on the main graph and on the regions of `If` and `Loop`.
pub fn run(module: &mut Module, report: &mut PassReport) -> Result<()> {
    module.graph = graph(&module.graph, &mut module.symbols, report, true)?;
    Ok(())
}

fn graph(g: &Graph, symbols: &mut Symbols, report: &mut PassReport, main: bool) -> Result<Graph> {
    let mut clusters = Clusters::new(g);
    attention::grow(&mut clusters, symbols);
    epilogue::grow(&mut clusters, symbols);
    pull::grow(&mut clusters, symbols);
    build::build(&clusters, symbols, report, main, &mut |op: &Op, symbols, report| {
        map_regions(op, &mut |r| graph(r, symbols, report, false))
    })
}
