//! If and Loop as regions.

use super::sequence::stacked;
use super::shape::run_symbol;
use crate::frontend::onnx::node::{Build, DEFAULT_RUN_MAX, NodeCx};
use crate::frontend::onnx::proto::GraphProto;
use crate::frontend::onnx::scope::{Item, Level};
use sinter_ir::op;
use sinter_ir::op::if_::BranchSym;
use sinter_ir::op::loop_::CarriedSym;
use sinter_ir::{DType, Diag, Expr, Graph, Result, Sym, Tensor, TensorType, ValueId};

type Out = Result<Vec<Item>>;

/// Operators.
pub const OPS: &[(&str, Build)] = &[("If", branch), ("Loop", repeat)];

fn branch(cx: &mut NodeCx) -> Out {
    let cond = cx.input(0)?;
    let (then_g, else_g) = (cx.graph("then_branch")?, cx.graph("else_branch")?);
    if let Some(c) = cx.const_of(cond) {
        return cx.im.inline(if c.to_i64()?.first() == Some(&1) { then_g } else { else_g });
    }
    let mark = cx.im.mark();
    let (a, a_out) = cx.im.region(then_g, &[], &[])?;
    let (b, b_out) = cx.im.region(else_g, &[], &[])?;
    if let Some(taken) = squeezing(&a, &b) {
        // Exporters write squeeze(x) of an open dim as "squeeze if it is 1, else as it is". What follows fits one
        // of the two only: the squeezed one is taken, and its condition is demanded when this code runs.
        cx.im.rewind(mark);
        cx.expect_value(cond, i64::from(taken))?;
        cx.warn(format!("the branches differ in rank; taken as {taken}, checked at run time"));
        return cx.im.inline(if taken { then_g } else { else_g });
    }
    let plain = |items: &[Item]| items.iter().all(|i| matches!(i, Item::Tensor(..)));
    if !plain(&a_out) || !plain(&b_out) {
        return Err(Diag::unsupported(
            "If with sequences or optionals as results and a condition known only at run time",
        ));
    }
    let (mut types, mut defs) = (vec![], vec![]);
    for (i, (&x, &y)) in a.graph.outputs.iter().zip(&b.graph.outputs).enumerate() {
        let (tx, ty) = (a.graph.ty(x).clone(), b.graph.ty(y).clone());
        if tx.dtype != ty.dtype || tx.rank() != ty.rank() {
            return Err(Diag::unsupported(format!(
                "If result {i} is {tx} in one branch and {ty} in the other"
            )));
        }
        let mut dims = vec![];
        for (dx, dy) in tx.dims.iter().zip(&ty.dims) {
            if dx == dy {
                dims.push(dx.clone());
                continue;
            }
            let (rx, ry) = (cx.symbols().range(dx), cx.symbols().range(dy));
            let sym = run_symbol(cx, "dim", rx.0.min(ry.0).max(0), rx.1.max(ry.1));
            defs.push(BranchSym { sym, then_value: dx.clone(), else_value: dy.clone() });
            dims.push(sym.into());
        }
        types.push(TensorType::new(tx.dtype, dims));
    }
    let mut captures: Vec<ValueId> = a.captures.iter().chain(&b.captures).map(|c| c.0).collect();
    captures.sort_unstable();
    captures.dedup();
    let then_body = with_captures(cx, a, &captures);
    let else_body = with_captures(cx, b, &captures);
    let cond = cx.reshape(cond, vec![])?;
    let operands = [&[cond], captures.as_slice()].concat();
    let out = cx.add(op::If { then_body, else_body, types, defs }.into(), &operands)?;
    cx.many(&out)
}

/// Which branch has results of lower rank, when ranks differ and one branch is never above the other.
fn squeezing(a: &Level, b: &Level) -> Option<bool> {
    let ranks = |l: &Level| l.graph.outputs.iter().map(|&v| l.graph.ty(v).rank()).collect::<Vec<_>>();
    let (ra, rb) = (ranks(a), ranks(b));
    if ra.len() != rb.len() || ra == rb {
        return None;
    }
    if ra.iter().zip(&rb).all(|(x, y)| x <= y) {
        return Some(true);
    }
    ra.iter().zip(&rb).all(|(x, y)| x >= y).then_some(false)
}

/// Gives a region an input for every capture, in that order, after its explicit inputs.
pub fn with_captures(cx: &NodeCx, level: Level, captures: &[ValueId]) -> Graph {
    let mut g = level.graph;
    let mut inputs = g.inputs[..level.explicit_inputs].to_vec();
    for &outer in captures {
        let own = level.captures.iter().find(|c| c.0 == outer).map(|c| c.1);
        inputs.push(own.unwrap_or_else(|| g.add_input(cx.ty(outer).clone(), None)));
    }
    g.inputs = inputs;
    g
}

/// Operands of a loop in core form.
struct LoopParts<'g> {
    body: &'g GraphProto,
    trip: ValueId,
    cond: ValueId,
    carried: Vec<ValueId>,
    /// Which of them are stacks, and grow.
    stacks: Vec<bool>,
    /// Largest number of iterations.
    max: i64,
}

fn repeat(cx: &mut NodeCx) -> Out {
    let body = cx.graph("body")?;
    let (trip, max) = match cx.opt(0)? {
        Some(t) => {
            let t = cx.cast(t, DType::I64)?;
            let t = cx.reshape(t, vec![])?;
            let known = cx.known_ints(t).and_then(|e| e.first().cloned());
            let max = known.map(|e| cx.symbols().max(&e));
            (t, max)
        }
        None => (cx.constant(Tensor::i64(i64::MAX))?, None),
    };
    let items = (2..cx.arity()).map(|i| cx.item(i)).collect::<Result<Vec<_>>>()?;
    let stacks: Vec<bool> = items.iter().map(|i| matches!(i, Some(Item::Seq(_) | Item::Stack(..)))).collect();
    let carried = (0..items.len()).map(|i| entry(cx, body, &items, i)).collect::<Result<Vec<_>>>()?;
    // A declared length of a scanned result bounds the iterations.
    let declared =
        (carried.len()..cx.node.output.len()).find_map(|i| cx.declared(i)?.first().copied().flatten());
    let max = match (max.filter(|&m| m < i64::MAX >> 8), declared) {
        (Some(m), _) => m,
        (None, Some(d)) => d,
        (None, None) => DEFAULT_RUN_MAX,
    };
    let cond = match cx.opt(1)? {
        Some(c) => cx.reshape(c, vec![])?,
        None => cx.constant(Tensor::from_i64(DType::Bool, vec![], &[1])?)?,
    };
    emit_loop(cx, LoopParts { body, trip, cond, carried, stacks, max })
}

/// A carried value as it enters: a tensor, or a stack. Of what an empty sequence is one the body tells.
fn entry(cx: &mut NodeCx, body: &GraphProto, items: &[Option<Item>], i: usize) -> Result<ValueId> {
    match &items[i] {
        Some(Item::Seq(list)) if list.is_empty() => {}
        Some(item @ (Item::Seq(_) | Item::Stack(..))) => return stacked(cx, item.clone()),
        _ => return cx.input(2 + i),
    }
    let mut inputs =
        vec![Some(TensorType::new(DType::I64, vec![])), Some(TensorType::new(DType::Bool, vec![]))];
    for (k, item) in items.iter().enumerate() {
        inputs.push(match item {
            Some(Item::Seq(_) | Item::Stack(..)) => None,
            _ => {
                let v = cx.input(2 + k)?;
                Some(cx.ty(v).clone())
            }
        });
    }
    let known = cx.symbols().table.len();
    let (level, outs) = cx.im.probe(body, &inputs)?;
    let depth = cx.im.scope.depth() + 1;
    let first = match outs.get(1 + i) {
        Some(Item::Seq(list)) => list.first(),
        _ => None,
    };
    let Some(Item::Tensor(at, v)) = first else {
        return Err(Diag::unsupported("a Loop that carries a sequence and puts nothing into it"));
    };
    let ty =
        if *at == depth { level.graph.ty(*v).clone() } else { cx.im.scope.levels[*at].graph.ty(*v).clone() };
    if ty.dims.iter().flat_map(Expr::syms).any(|s| s.0 as usize >= known) {
        return Err(Diag::unsupported("a sequence of tensors whose sizes are known only at run time"));
    }
    let mut dims = ty.dims;
    dims.insert(0, 0.into());
    cx.full(ty.dtype, dims, 0.0)
}

/// Imports the body with carried shapes as they enter; where the body changes a dim, once more with that dim as a
/// symbol of its own.
fn emit_loop(cx: &mut NodeCx, parts: LoopParts) -> Out {
    let n = parts.carried.len();
    if parts.body.input.len() != 2 + n || parts.body.output.len() <= n {
        return Err(Diag::input(format!(
            "the body has {} inputs and {} outputs for {n} carried values",
            parts.body.input.len(),
            parts.body.output.len()
        )));
    }
    let count = run_symbol(cx, "iterations", 0, parts.max);
    let entry: Vec<TensorType> = parts.carried.iter().map(|&v| cx.ty(v).clone()).collect();
    let mut open: Vec<(usize, usize)> = vec![];
    for _ in 0..4 {
        let mark = cx.im.mark();
        let mut syms: Vec<(Sym, usize, usize)> = vec![];
        let mut types = vec![TensorType::new(DType::I64, vec![]), TensorType::new(DType::Bool, vec![])];
        for (i, t) in entry.iter().enumerate() {
            let mut t = t.clone();
            for (k, d) in t.dims.iter_mut().enumerate().filter(|(k, _)| open.contains(&(i, *k))) {
                let hint = cx.declared(i).and_then(|h| h.get(k).copied().flatten());
                let begin = cx.symbols().max(d);
                let max = match parts.stacks[i] && k == 0 {
                    true => begin.saturating_add(parts.max),
                    false => hint.unwrap_or(DEFAULT_RUN_MAX).max(begin),
                };
                let s = run_symbol(cx, "carried", 0, max);
                syms.push((s, i, k));
                *d = s.into();
            }
            types.push(t);
        }
        let stacks: Vec<bool> = [false; 2].iter().chain(&parts.stacks).copied().collect();
        let (level, outs) = cx.im.region(parts.body, &types, &stacks)?;
        let fits = |(k, item): (usize, &Item)| match item {
            Item::Tensor(..) => stacks.get(k + 1) != Some(&true),
            Item::Stack(..) => stacks.get(k + 1) == Some(&true),
            _ => false,
        };
        if !outs.iter().enumerate().all(fits) {
            return Err(Diag::unsupported(
                "a Loop whose results are optionals, or sequences that do not go on from those that it carries",
            ));
        }
        let next: Vec<TensorType> =
            level.graph.outputs[1..1 + n].iter().map(|&v| level.graph.ty(v).clone()).collect();
        let changed: Vec<(usize, usize)> = (0..n)
            .flat_map(|i| (0..types[2 + i].rank().min(next[i].rank())).map(move |k| (i, k)))
            .filter(|&(i, k)| !open.contains(&(i, k)) && next[i].dims[k] != types[2 + i].dims[k])
            .collect();
        if !changed.is_empty() {
            cx.im.rewind(mark);
            open.extend(changed);
            continue;
        }
        for i in 0..n {
            if next[i].dtype != entry[i].dtype || next[i].rank() != entry[i].rank() {
                return Err(Diag::unsupported(format!(
                    "carried value {i} changes from {} to {}",
                    entry[i], next[i]
                )));
            }
        }
        let shape_syms = syms
            .iter()
            .map(|&(sym, i, k)| CarriedSym {
                sym,
                init: entry[i].dims[k].clone(),
                next: next[i].dims[k].clone(),
            })
            .collect();
        let captures: Vec<ValueId> = level.captures.iter().map(|c| c.0).collect();
        let mut body = with_captures(cx, level, &captures);
        // The condition is not an input of the core op: inside the body it is true.
        let inside = body.inputs.remove(1);
        drop_condition(&mut body, inside)?;
        let scanned = body.outputs.len() - 1 - n;
        let operands = [&[parts.trip, parts.cond], parts.carried.as_slice(), &captures].concat();
        let op = op::Loop { body, carried: n, scanned, count, shape_syms };
        let out = cx.add(op.into(), &operands)?;
        let mut items = cx.many(&out)?;
        for (item, _) in items.iter_mut().zip(&parts.stacks).filter(|(_, s)| **s) {
            if let Item::Tensor(level, v) = *item {
                *item = Item::Stack(level, v);
            }
        }
        return Ok(items);
    }
    Err(Diag::unsupported("a Loop whose carried shapes do not settle"))
}

/// Replaces the body's condition input by the constant true, in front of everything else.
fn drop_condition(body: &mut Graph, inside: ValueId) -> Result<()> {
    let used = body.iter().any(|(_, n)| n.inputs.contains(&inside)) || body.outputs.contains(&inside);
    if !used {
        return Ok(());
    }
    let tensor = Tensor::from_i64(DType::Bool, vec![], &[1])?;
    let mut patch = sinter_ir::graph::patch::Patch::new(body);
    let mut symbols = sinter_ir::Symbols::default();
    let yes = patch.add1(&mut symbols, op::Constant { tensor }.into(), &[], &vec![])?;
    patch.replace(inside, yes);
    patch.apply(body)
}

/// A value after `trips` rounds of the same. The body gets the value so far; others reach it as items.
pub fn times(
    cx: &mut NodeCx,
    trips: i64,
    start: ValueId,
    body: &mut dyn FnMut(&mut NodeCx, ValueId) -> Result<ValueId>,
) -> Result<ValueId> {
    let count = run_symbol(cx, "iterations", 0, trips);
    let ty = cx.ty(start).clone();
    cx.im.enter()?;
    cx.im.scope.push_level();
    cx.im.scope.top().graph.add_input(TensorType::new(DType::I64, vec![]), None);
    let own = cx.im.scope.top().graph.add_input(ty.clone(), None);
    cx.im.scope.top().explicit_inputs = 2;
    let next = body(cx, own).and_then(|v| {
        let yes = cx.constant(Tensor::from_i64(DType::Bool, vec![], &[1])?)?;
        cx.im.scope.top().graph.outputs = vec![yes, v];
        Ok(cx.ty(v).clone())
    });
    let level = cx.im.scope.pop_level()?;
    cx.im.leave();
    if next? != ty {
        return Err(Diag::bug("a value that changes its type from round to round"));
    }
    let captures: Vec<ValueId> = level.captures.iter().map(|c| c.0).collect();
    let body = with_captures(cx, level, &captures);
    let trip = cx.constant(Tensor::i64(trips))?;
    let cond = cx.constant(Tensor::from_i64(DType::Bool, vec![], &[1])?)?;
    let operands = [&[trip, cond, start], captures.as_slice()].concat();
    let op = op::Loop { body, carried: 1, scanned: 0, count, shape_syms: vec![] };
    cx.emit(op, &operands)
}
