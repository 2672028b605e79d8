//! Replaces symbols by expressions throughout a module and re-infers every type.

use crate::rebuild::{Rebuild, map_regions};
use crate::report::PassReport;
use crate::symbols::{self, Substitution};
use sinter_ir::{Graph, Module, Result, Symbols};

/// Applies a substitution. Values may mention other replaced symbols; those are resolved first.
pub fn apply(module: &mut Module, map: &Substitution, report: &mut PassReport) -> Result<()> {
    let map = resolve(map);
    symbols::subst_constraints(&mut module.symbols.constraints, &map);
    module.graph = graph(&module.graph, &mut module.symbols, report, &map, true)?;
    Ok(())
}

/// Substitutes the map into its own values, at most once per entry so that a cycle cannot hang.
fn resolve(map: &Substitution) -> Substitution {
    let mut out = map.clone();
    for _ in 0..map.len() {
        let before = out.clone();
        out.values_mut().for_each(|e| symbols::subst(e, &before));
        if out == before {
            break;
        }
    }
    out
}

fn graph(
    g: &Graph,
    symbols: &mut Symbols,
    report: &mut PassReport,
    map: &Substitution,
    main: bool,
) -> Result<Graph> {
    let mut rb = Rebuild::empty(g, symbols, report);
    for &v in &g.inputs {
        let new = rb.graph.add_input(symbols::subst_type(g.ty(v), map), g.value(v).name.clone());
        rb.bind(v, new);
    }
    for (_, node) in g.iter() {
        let mut op = map_regions(&node.op, &mut |r| graph(r, rb.symbols, rb.report, map, false))?;
        symbols::subst_op(&mut op, map);
        rb.copy_as(node, op)?;
    }
    rb.finish(main)
}
