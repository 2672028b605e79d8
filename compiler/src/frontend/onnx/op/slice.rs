//! Slice in its attribute (before opset 10) and operand forms.

use crate::frontend::onnx::node::{Build, NodeCx};
use crate::frontend::onnx::scope::Item;
use sinter_ir::op;
use sinter_ir::op::binary::BinaryKind as B;
use sinter_ir::{DType, Diag, Expr, Op, Result, SymKind, Symbols, Tensor, ValueId};

/// Operators.
pub const OPS: &[(&str, Build)] = &[("Slice", slice)];

/// "To the end" in either direction, as exporters write it.
const FAR: i64 = 1 << 30;

fn slice(cx: &mut NodeCx) -> Result<Vec<Item>> {
    let x = cx.input(0)?;
    let dims = cx.dims(x);
    let rank = dims.len();
    let most = dims.iter().map(|d| cx.symbols().max(d)).max().unwrap_or(0);
    let own = |v: Vec<i64>| v.into_iter().map(Expr::from).collect::<Vec<_>>();
    let (starts, ends, axes, steps) = if cx.opset < 10 {
        let starts = cx.int_list("starts").unwrap_or_default();
        let ends = cx.int_list("ends").unwrap_or_default();
        (own(starts), own(ends), cx.int_list("axes"), None)
    } else {
        let (s, e) = (cx.input(1)?, cx.input(2)?);
        let range = |_: usize| (-most - 1, most + 1);
        let (s, e) = (bound(cx, s, most)?, bound(cx, e, most)?);
        let (s, e) = (cx.ints(s, &range)?, cx.ints(e, &range)?);
        let axes = match cx.opt(3)? {
            None => None,
            Some(a) => Some(
                cx.const_ints(a)
                    .ok_or_else(|| Diag::unsupported("Slice axes that are known only at run time"))?,
            ),
        };
        let steps = match cx.opt(4)? {
            None => None,
            Some(v) => Some(
                cx.const_ints(v)
                    .ok_or_else(|| Diag::unsupported("Slice steps that are known only at run time"))?,
            ),
        };
        (s, e, axes, steps)
    };
    let axes: Vec<usize> = match axes {
        Some(a) => a.iter().map(|&a| cx.axis(a, rank)).collect::<Result<_>>()?,
        None => (0..starts.len()).collect(),
    };
    let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] || axes.iter().any(|&a| a >= rank) {
        return Err(Diag::input("Slice: starts, ends, axes and steps differ in length"));
    }
    let (mut at, mut sizes, mut step) = (vec![Expr::from(0); rank], dims.clone(), vec![Expr::from(1); rank]);
    for (i, &a) in axes.iter().enumerate() {
        if steps[i] == 0 {
            return Err(Diag::input("Slice step is 0"));
        }
        let (s, n) = match index(cx, &starts[i], &ends[i], steps[i], &dims[a])? {
            Some(s) => (s, 1.into()),
            None => window(cx.symbols(), &starts[i], &ends[i], steps[i], &dims[a]),
        };
        at[a] = s;
        sizes[a] = n;
        step[a] = steps[i].into();
    }
    let whole = sizes == dims && at.iter().all(|s| s.is(0)) && step.iter().all(|s| s.is(1));
    let y = if whole { x } else { cx.emit(op::Slice { starts: at, sizes, steps: step }, &[x])? };
    cx.one(y)
}

/// A bound that is a choice known only at run time may be "to the end" in a number larger than any dim: brought near
/// those. Others keep their names, by which dims are known to be equal.
fn bound(cx: &mut NodeCx, v: ValueId, most: i64) -> Result<ValueId> {
    if cx.known_ints(v).is_some() || !is_choice(cx, v) {
        return Ok(v);
    }
    let v = cx.cast(v, DType::I64)?;
    let (lo, hi) = (cx.constant(Tensor::i64(-most - 1))?, cx.constant(Tensor::i64(most + 1))?);
    let v = cx.binary(B::Max, v, lo)?;
    cx.binary(B::Min, v, hi)
}

fn is_choice(cx: &NodeCx, v: ValueId) -> bool {
    let graph = &cx.im.scope.levels[cx.im.scope.depth()].graph;
    let mut v = v;
    while let Some(node) = graph.def(v) {
        match &node.op {
            Op::Select(_) => return true,
            Op::Binary(b) => return matches!(b.kind, B::Min | B::Max),
            Op::Cast(_) | Op::Reshape(_) => v = node.inputs[0],
            Op::Concat(_) if node.inputs.len() == 1 => v = node.inputs[0],
            _ => return false,
        }
    }
    false
}

/// Where `i..i + 1` with a number known only at run time is an element, and demands that it is inside: as a range it
/// could be empty, and nothing that follows would fit.
fn index(cx: &mut NodeCx, start: &Expr, end: &Expr, step: i64, dim: &Expr) -> Result<Option<Expr>> {
    let symbols = cx.symbols();
    let run = |e: &Expr| e.syms().iter().any(|s| symbols.table[s.0 as usize].kind == SymKind::Run);
    if step != 1 || !(end.clone() - start.clone()).is(1) || !run(start) || symbols.range(dim).0 < 1 {
        return Ok(None);
    }
    let last = dim.clone() - 1.into();
    let (lo, _) = symbols.range(start);
    let (below, _) = symbols.range(&(last.clone() - start.clone()));
    if lo < 0 || below < 0 {
        let (yes, no) = (Expr::from(1), Expr::from(0));
        let upper = Expr::select_ge0(&(last.clone() - start.clone()), &yes, &no);
        cx.expect(&Expr::select_ge0(start, &upper, &no), 1)?;
    }
    Ok(Some(start.max_of(&0.into()).min_of(&last)))
}

/// First index and count, normalised and clamped as numpy does.
fn window(symbols: &Symbols, start: &Expr, end: &Expr, step: i64, dim: &Expr) -> (Expr, Expr) {
    let zero = Expr::from(0);
    let last = dim.clone() - 1.into();
    let (lo, hi, far_lo) = if step > 0 {
        (zero.clone(), dim.clone(), zero.clone())
    } else {
        (zero.clone(), last.clone(), Expr::from(-1))
    };
    let place = |e: &Expr, lo: &Expr, hi: &Expr| match e.as_const() {
        Some(v) if v >= FAR => hi.clone(),
        Some(v) if v <= -FAR => lo.clone(),
        _ => {
            let (min, max) = symbols.range(e);
            let wrapped = e.clone() + dim.clone();
            let e = if min >= 0 {
                e.clone()
            } else if max < 0 {
                wrapped
            } else {
                Expr::select_ge0(e, e, &wrapped)
            };
            let e = if symbols.range(&(e.clone() - lo.clone())).0 >= 0 { e } else { e.max_of(lo) };
            if symbols.range(&(hi.clone() - e.clone())).0 >= 0 { e } else { e.min_of(hi) }
        }
    };
    let s = place(start, &lo, &hi);
    let e = place(end, &far_lo, if step > 0 { &hi } else { &last });
    let span = if step > 0 { e - s.clone() } else { s.clone() - e };
    let n = span.ceil_div(&step.saturating_abs().into());
    let n = if symbols.range(&n).0 >= 0 { n } else { n.max_of(&zero) };
    (s, n)
}
