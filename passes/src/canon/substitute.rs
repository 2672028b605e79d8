//! Rewrites the symbolic integers of a whole module and re-infers every type.

use crate::rebuild::{Rebuild, map_regions};
use crate::report::PassReport;
use crate::symbols::{self, Substitution};
use sinter_ir::{Expr, Graph, Module, Op, Result, Symbols};

/// Replaces symbols by expressions. Values may mention other replaced symbols; those are resolved first.
pub fn apply(module: &mut Module, map: &Substitution, report: &mut PassReport) -> Result<()> {
    let map = resolve(map);
    rewrite(module, &mut |e| symbols::subst(e, &map), &mut |op| symbols::drop_definitions(op, &map), report)
}

/// Rewrites every expression; the results must have the same values.
pub fn map(module: &mut Module, f: &mut dyn FnMut(&Expr) -> Expr, report: &mut PassReport) -> Result<()> {
    rewrite(module, f, &mut |_| {}, report)
}

type Exprs<'a> = &'a mut dyn FnMut(&Expr) -> Expr;
type Ops<'a> = &'a mut dyn FnMut(&mut Op);

fn rewrite(module: &mut Module, f: Exprs, ops: Ops, report: &mut PassReport) -> Result<()> {
    symbols::map_constraints(&mut module.symbols.constraints, f);
    module.graph = graph(&module.graph, &mut module.symbols, report, f, ops, true)?;
    Ok(())
}

/// Substitutes the map into its own values, at most once per entry so that a cycle cannot hang.
fn resolve(map: &Substitution) -> Substitution {
    let mut out = map.clone();
    for _ in 0..map.len() {
        let before = out.clone();
        out.values_mut().for_each(|e| *e = symbols::subst(e, &before));
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
    f: Exprs,
    ops: Ops,
    main: bool,
) -> Result<Graph> {
    let mut rb = Rebuild::empty(g, symbols, report);
    for &v in &g.inputs {
        let new = rb.graph.add_input(symbols::map_type(g.ty(v), f), g.value(v).name.clone());
        rb.bind(v, new);
    }
    for (_, node) in g.iter() {
        let mut op = map_regions(&node.op, &mut |r| graph(r, rb.symbols, rb.report, f, ops, false))?;
        ops(&mut op);
        symbols::map_op(&mut op, f);
        rb.copy_as(node, op)?;
    }
    rb.finish(main)
}
