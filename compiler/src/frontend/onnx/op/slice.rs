//! Slice in its attribute (before opset 10) and operand forms.

use crate::frontend::onnx::node::{Build, NodeCx};
use crate::frontend::onnx::scope::Item;
use sinter_ir::op;
use sinter_ir::{Diag, Expr, Result, Symbols};

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
        let (s, n) = window(cx.symbols(), &starts[i], &ends[i], steps[i], &dims[a]);
        at[a] = s;
        sizes[a] = n;
        step[a] = steps[i].into();
    }
    let whole = sizes == dims && at.iter().all(|s| s.is(0)) && step.iter().all(|s| s.is(1));
    let y = if whole { x } else { cx.emit(op::Slice { starts: at, sizes, steps: step }, &[x])? };
    cx.one(y)
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
