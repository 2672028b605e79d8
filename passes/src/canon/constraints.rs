//! `constraints`: symbols that a constraint fixes are replaced by what they equal, so that fewer shapes differ
//! and fewer checks remain (`total == past + seq` makes `total` go).
//!
//! Safe cases only. The replacement must not be larger than the symbol may be, because buffers are planned for
//! the largest values. A symbol read from a tensor keeps its definition and its check; only its uses change.
//! Symbols that an op's result size defines (NonZero, Loop, ..) stay: the op writes that many elements.

use super::substitute;
use crate::rebuild::regions;
use crate::report::PassReport;
use crate::symbols::Substitution;
use sinter_ir::graph::{Constraint, SymKind};
use sinter_ir::{Expr, Graph, Module, Op, Result, Sym, Symbols};
use std::collections::BTreeSet;

/// Runs the pass. Each round removes one symbol, so it ends.
pub fn run(module: &mut Module, report: &mut PassReport) -> Result<()> {
    let mut read = BTreeSet::new();
    read_syms(&module.graph, &mut read);
    let mut done = BTreeSet::new();
    while let Some((sym, value, check)) = find(&module.symbols, &module.graph, &read, &done) {
        done.insert(sym);
        narrow(&mut module.symbols, sym, &value);
        substitute::apply(module, &Substitution::from([(sym, value)]), report)?;
        module.symbols.constraints.extend(check);
        report.fired("constraints/symbol");
    }
    let symbols = &mut module.symbols;
    let before = symbols.constraints.len();
    let keep = |c: &Constraint| !(c.a.clone() - c.b.clone()).is(0);
    symbols.constraints.retain(keep);
    (symbols.constraints.len()..before).for_each(|_| report.fired("constraints/trivial"));
    Ok(())
}

/// Symbols that `ReadSyms` defines.
fn read_syms(g: &Graph, out: &mut BTreeSet<Sym>) {
    for (_, n) in g.iter() {
        if let Op::ReadSyms(r) = &n.op {
            out.extend(&r.syms);
        }
        regions(&n.op).into_iter().for_each(|r| read_syms(r, out));
    }
}

/// A symbol, its value, and the check that must stay.
type Found = (Sym, Expr, Option<Constraint>);

fn find(symbols: &Symbols, g: &Graph, read: &BTreeSet<Sym>, done: &BTreeSet<Sym>) -> Option<Found> {
    let bound: BTreeSet<Sym> =
        g.inputs.iter().flat_map(|&v| &g.ty(v).dims).filter_map(Expr::as_sym).collect();
    let is_input = |s: Sym| symbols.info(s).is_some_and(|i| i.kind == SymKind::Input);
    for c in &symbols.constraints {
        // Of two symbols, the one with the larger range goes.
        let mut sides = [(&c.a, &c.b), (&c.b, &c.a)];
        sides.sort_by_key(|(s, _)| std::cmp::Reverse(symbols.range(s).1));
        for (side, value) in sides {
            let Some(sym) = side.as_sym().filter(|s| !done.contains(s)) else { continue };
            let syms = value.syms();
            let (lo, hi) = symbols.range(value);
            let from_inputs = syms.iter().all(|s| is_input(*s) && bound.contains(s));
            if syms.contains(&sym) || !from_inputs || lo < 0 || hi > symbols.range(side).1 {
                continue;
            }
            if is_input(sym) {
                return Some((sym, value.clone(), None));
            }
            if read.contains(&sym) {
                return Some((sym, value.clone(), Some(c.clone())));
            }
        }
    }
    None
}

/// When a symbol stands for another, that one must keep to both ranges.
fn narrow(symbols: &mut Symbols, sym: Sym, value: &Expr) {
    let (Some(info), Some(other)) = (symbols.info(sym).cloned(), value.as_sym()) else { return };
    if let Some(o) = symbols.table.get_mut(other.0 as usize)
        && info.min <= o.max
        && info.kind == SymKind::Input
    {
        o.min = o.min.max(info.min);
        o.max = o.max.min(info.max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sinter_ir::graph::Origin;
    use sinter_ir::op::Binary;
    use sinter_ir::op::binary::BinaryKind;
    use sinter_ir::{DType, Tensor, TensorType, eval};

    /// `x: [a] + y: [b]` needs `a == b`: one symbol stays, inputs of different lengths are still refused.
    #[test]
    fn equal_input_dims_become_one_symbol() {
        let mut m = Module::default();
        let a = m.symbols.fresh("a", 1, 8, SymKind::Input);
        let b = m.symbols.fresh("b", 2, 16, SymKind::Input);
        let ty = |s: Sym| TensorType::new(DType::F32, vec![s.into()]);
        let x = m.graph.add_input(ty(a), None);
        let y = m.graph.add_input(ty(b), None);
        let op = Binary { kind: BinaryKind::Add };
        let z = m.graph.add1(&mut m.symbols, op.into(), &[x, y], &Origin::new()).unwrap();
        m.graph.outputs = vec![z];
        assert_eq!(m.symbols.constraints.len(), 1);
        run(&mut m, &mut PassReport::default()).unwrap();
        assert!(m.symbols.constraints.is_empty());
        assert_eq!(m.graph.ty(m.graph.inputs[1]).dims, vec![Expr::from(a)]);
        assert_eq!((m.symbols.table[0].min, m.symbols.table[0].max), (2, 8));
        let t = |n: usize| Tensor::f32s(vec![n], &vec![1.0; n]).unwrap();
        assert!(eval::module(&m, &[t(3), t(3)]).is_ok());
        assert!(eval::module(&m, &[t(3), t(4)]).is_err());
        assert!(eval::module(&m, &[t(1), t(1)]).is_err());
    }

    /// `total == past + seq` removes `total` only when it can hold the sum.
    #[test]
    fn sums_replace_symbols_that_can_hold_them() {
        for (max, left) in [(64, 0), (16, 1)] {
            let mut m = Module::default();
            let syms = [("past", 8), ("seq", 16), ("total", max)]
                .map(|(name, max)| m.symbols.fresh(name, 1, max, SymKind::Input));
            for s in syms {
                m.graph.add_input(TensorType::new(DType::F32, vec![s.into()]), None);
            }
            let sum = Expr::from(syms[0]) + syms[1].into();
            m.symbols.require_eq(&syms[2].into(), &sum, "test").unwrap();
            run(&mut m, &mut PassReport::default()).unwrap();
            assert_eq!(m.symbols.constraints.len(), left);
        }
    }
}
