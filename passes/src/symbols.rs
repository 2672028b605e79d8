//! Symbols used by ops and graphs, and module-wide substitution of symbols.

use crate::rebuild::regions;
use sinter_ir::graph::Constraint;
use sinter_ir::{Expr, Graph, Op, Sym, TensorType};
use std::collections::{BTreeMap, BTreeSet};

/// Symbols in the dims of a type.
pub fn in_type(ty: &TensorType, out: &mut BTreeSet<Sym>) {
    ty.dims.iter().for_each(|d| out.extend(d.syms()));
}

/// Symbols in the attributes of an op, regions and their types included.
pub fn in_op(op: &Op, out: &mut BTreeSet<Sym>) {
    match op {
        Op::Constant(_) => return,
        Op::If(o) => {
            o.types.iter().for_each(|t| in_type(t, out));
            o.defs
                .iter()
                .for_each(|d| out.extend(d.then_value.syms().into_iter().chain(d.else_value.syms())));
        }
        Op::Loop(o) => {
            o.shape_syms.iter().for_each(|c| out.extend(c.init.syms().into_iter().chain(c.next.syms())));
        }
        Op::Group(_) => {}
        other => {
            other.clone().map_exprs(&mut |e| out.extend(e.syms()));
            return;
        }
    }
    regions(op).into_iter().for_each(|g| in_graph(g, out));
}

/// Symbols anywhere in a graph.
pub fn in_graph(g: &Graph, out: &mut BTreeSet<Sym>) {
    g.inputs.iter().for_each(|&v| in_type(g.ty(v), out));
    for (_, n) in g.iter() {
        in_op(&n.op, out);
        n.outputs.iter().for_each(|&v| in_type(g.ty(v), out));
    }
}

/// Symbols that a graph defines while running, regions included.
pub fn defined_in(g: &Graph, out: &mut BTreeSet<Sym>) {
    for (_, n) in g.iter() {
        out.extend(n.op.defines());
        regions(&n.op).into_iter().for_each(|r| defined_in(r, out));
    }
}

/// Values that replace symbols.
pub type Substitution = BTreeMap<Sym, Expr>;

/// Substitutes in one expression.
pub fn subst(e: &Expr, map: &Substitution) -> Expr {
    match e.syms().iter().any(|s| map.contains_key(s)) {
        true => e.subst(&|s| map.get(&s).cloned()),
        false => e.clone(),
    }
}

/// Rewrites the expressions of a type.
pub fn map_type(ty: &TensorType, f: &mut dyn FnMut(&Expr) -> Expr) -> TensorType {
    TensorType::new(ty.dtype, ty.dims.iter().map(f).collect())
}

/// Rewrites the expressions among the attributes of an op, not inside its regions.
pub fn map_op(op: &mut Op, f: &mut dyn FnMut(&Expr) -> Expr) {
    match op {
        Op::If(o) => {
            o.types.iter_mut().for_each(|t| *t = map_type(t, f));
            for d in &mut o.defs {
                d.then_value = f(&d.then_value);
                d.else_value = f(&d.else_value);
            }
        }
        Op::Loop(o) => {
            for c in &mut o.shape_syms {
                c.init = f(&c.init);
                c.next = f(&c.next);
            }
        }
        other => other.map_exprs(&mut |e| *e = f(e)),
    }
}

/// Drops definitions of symbols that are replaced.
pub fn drop_definitions(op: &mut Op, map: &Substitution) {
    match op {
        Op::If(o) => o.defs.retain(|d| !map.contains_key(&d.sym)),
        Op::Loop(o) => o.shape_syms.retain(|c| !map.contains_key(&c.sym)),
        _ => {}
    }
}

/// Rewrites constraints; those that became trivial go.
pub fn map_constraints(constraints: &mut Vec<Constraint>, f: &mut dyn FnMut(&Expr) -> Expr) {
    for c in constraints.iter_mut() {
        c.a = f(&c.a);
        c.b = f(&c.b);
    }
    constraints.retain(|c| c.a != c.b);
}
