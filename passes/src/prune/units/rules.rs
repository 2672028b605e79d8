//! How labels go through operations.

use super::labels::Labels;
use sinter_ir::op::{Broadcast, Concat, Conv, Pad, Pool, Reduce, Reshape, Resize, Slice, Softmax, Transpose};
use sinter_ir::{Expr, Graph, Node, Op, ValueId, expr};

/// Labels the results of a node, and constants that it reads. What is not understood pins what it reads.
pub fn node(l: &mut Labels, g: &Graph, n: &Node) {
    let done = match (&n.op, n.inputs.as_slice(), n.outputs.as_slice()) {
        (Op::MatMul(_), &[x, w], &[y]) => product(l, g, x, w, y),
        (Op::Conv(op), &[x, w], &[y]) => conv(l, g, op, [x, w, y]),
        (Op::ConvTranspose(op), &[x, w], &[y]) => {
            op.group == 1 && !op.channels_last && contract(l, g, (x, 1), (w, 0), (w, 1), (y, 1))
        }
        (op, inputs, &[y]) if op.is_pointwise() => pointwise(l, g, inputs, y),
        (Op::Identity(_), &[x], &[y]) => moved(l, x, y, Some),
        (Op::Transpose(Transpose { perm }), &[x], &[y]) => {
            moved(l, x, y, |a| perm.iter().position(|p| *p == a))
        }
        (Op::Reduce(Reduce { axes, keepdims, .. }), &[x], &[y]) => moved(l, x, y, |a| {
            let before = axes.iter().filter(|r| **r < a).count();
            (!axes.contains(&a)).then(|| if *keepdims { a } else { a - before })
        }),
        (Op::Softmax(Softmax { axis, .. }), &[x], &[y]) => moved(l, x, y, |a| (a != *axis).then_some(a)),
        (Op::Pool(Pool { channels_last, .. }), &[x], &[y]) => {
            moved(l, x, y, |a| (a < 2 && !channels_last).then_some(a))
        }
        (Op::Resize(Resize { dims, scales, roi, .. }), &[x], &[y]) => moved(l, x, y, |a| {
            let same = g.ty(x).dims.get(a) == dims.get(a)
                && scales.get(a).is_none_or(|s| s.is_none_or(|s| s == 1.0));
            (same && roi.is_empty()).then_some(a)
        }),
        (Op::Pad(Pad { before, after, .. }), &[x, ..], &[y]) => moved(l, x, y, |a| {
            let none = |p: &[Expr]| p.get(a).is_some_and(|p| p.is(0));
            (none(before) && none(after)).then_some(a)
        }),
        (Op::Broadcast(Broadcast { dims }), &[x], &[y]) => {
            let from = g.ty(x).dims.clone();
            let shift = dims.len().saturating_sub(from.len());
            moved(l, x, y, |a| (from.get(a) == dims.get(a + shift)).then_some(a + shift))
        }
        (Op::Slice(op), &[x], &[y]) => slice(l, g, op, x, y),
        (Op::Reshape(Reshape { dims }), &[x], &[y]) => reshape(l, g, dims, x, y),
        (Op::Concat(Concat { axis }), inputs, &[y]) => concat(l, g, *axis, inputs, y),
        (Op::Append(_), &[cache, rows], &[y]) => append(l, g, cache, rows, y),
        (Op::CachedAttention(_), &[q, k, v], &[y]) => attention(l, q, k, v, y),
        // The rows that are looked up are no units; results of all others have no labels.
        _ => n.inputs.iter().all(|v| l.axis(*v).is_none()),
    };
    if !done {
        let name = n.origin.first().map(|o| format!(" ({o})")).unwrap_or_default();
        let why = format!("{}{name} needs all of them", n.op.name());
        n.inputs.iter().chain(&n.outputs).for_each(|v| l.pin(*v, &why));
    }
}

/// Number of elements along an axis.
fn len(g: &Graph, v: ValueId, axis: usize) -> Option<usize> {
    g.ty(v).dims.get(axis)?.as_const().and_then(|d| usize::try_from(d).ok())
}

/// Labels of an operand go to an axis of the result, where there is one for them.
fn moved(l: &mut Labels, x: ValueId, y: ValueId, to: impl Fn(usize) -> Option<usize>) -> bool {
    match (l.axis(x), l.axes.range((x, 0)..=(x, usize::MAX)).count()) {
        (None, several) => several == 0,
        (Some((a, labels)), _) => to(a).is_some_and(|a| l.set(y, a, &labels)),
    }
}

/// `x` is contracted along an axis with weights; other axes of weights make the result's.
fn contract(
    l: &mut Labels,
    g: &Graph,
    x: (ValueId, usize),
    w_in: (ValueId, usize),
    w_out: (ValueId, usize),
    y: (ValueId, usize),
) -> bool {
    if g.constant(w_in.0).is_none() {
        return false;
    }
    let mut good = true;
    match l.axis(x.0) {
        Some((a, labels)) if a == x.1 => good &= l.set(w_in.0, w_in.1, &labels),
        Some(_) => return false,
        None => {}
    }
    let Some(n) = len(g, w_out.0, w_out.1) else { return false };
    // Weights that are read twice make the same channels twice.
    let fresh = l.axes.get(&w_out).cloned().unwrap_or_else(|| l.fresh(n));
    good && l.set(w_out.0, w_out.1, &fresh) && l.set(y.0, y.1, &fresh)
}

fn product(l: &mut Labels, g: &Graph, x: ValueId, w: ValueId, y: ValueId) -> bool {
    let (rank, out) = (g.ty(x).rank(), g.ty(y).rank());
    if g.constant(w).is_some() && g.ty(w).rank() == 2 {
        return contract(l, g, (x, rank - 1), (w, 0), (w, 1), (y, out - 1));
    }
    // Products of activations: what is done for every head by itself.
    let both = (l.axis(x), l.axis(w));
    let (Some((a, p)), Some((b, q))) = both else { return both.0.is_none() && both.1.is_none() };
    let other = g.ty(w).rank();
    if rank != other || a != b || a + 2 >= rank {
        return false;
    }
    let fits = l.join_all(&p, &q) && l.set(y, a, &p);
    l.mark_heads(&p);
    fits
}

fn conv(l: &mut Labels, g: &Graph, op: &Conv, [x, w, y]: [ValueId; 3]) -> bool {
    if op.channels_last || op.zero.is_some() {
        return false;
    }
    if op.group == 1 {
        return contract(l, g, (x, 1), (w, 1), (w, 0), (y, 1));
    }
    // Each channel by itself: it goes with its filters.
    let Some((1, labels)) = l.axis(x) else { return l.axis(x).is_none() };
    let Some(n) = len(g, w, 0).filter(|n| op.group == labels.len() && n % op.group == 0) else {
        return false;
    };
    if g.constant(w).is_none() {
        return false;
    }
    let each = n / op.group;
    let out: Vec<u32> = labels.iter().flat_map(|l| std::iter::repeat_n(*l, each)).collect();
    l.set(w, 0, &out) && l.set(y, 1, &out)
}

/// Operands are broadcast to the result: what has labels says where, constants lose the same elements.
fn pointwise(l: &mut Labels, g: &Graph, inputs: &[ValueId], y: ValueId) -> bool {
    let rank = g.ty(y).rank();
    let mut at: Option<(usize, Vec<u32>)> = None;
    for v in inputs.iter().filter(|v| g.constant(**v).is_none()) {
        if l.axes.range((*v, 0)..=(*v, usize::MAX)).count() > 1 {
            return false;
        }
        let Some((a, labels)) = l.axis(*v) else { continue };
        let a = a + rank - g.ty(*v).rank();
        match &at {
            Some((b, there)) if *b != a || !l.join_all(there, &labels) => return false,
            Some(_) => {}
            None => at = Some((a, labels)),
        }
    }
    let Some((a, labels)) = at else { return true };
    for v in inputs {
        let own = g.ty(*v).rank();
        let Some(axis) = (a + own).checked_sub(rank) else { continue };
        if g.ty(*v).dims.get(axis).is_none_or(|d| d.is(1)) && labels.len() != 1 {
            continue;
        }
        let known = l.axes.contains_key(&(*v, axis));
        match (known, g.constant(*v).is_some()) {
            (_, true) => {
                if !l.set(*v, axis, &labels) {
                    return false;
                }
            }
            (true, false) => {}
            // Something with these channels of which nothing is known.
            (false, false) => return false,
        }
    }
    l.set(y, a, &labels)
}

fn slice(l: &mut Labels, g: &Graph, op: &Slice, x: ValueId, y: ValueId) -> bool {
    let Some((a, labels)) = l.axis(x) else { return moved(l, x, y, Some) };
    let number = |e: Option<&Expr>| e.and_then(|e| e.as_const()).and_then(|v| usize::try_from(v).ok());
    let (Some(start), Some(size)) = (number(op.starts.get(a)), len(g, y, a)) else { return false };
    let part = labels.get(start..start + size).filter(|_| op.steps.get(a).is_some_and(|s| s.is(1)));
    part.is_some_and(|p| l.set(y, a, p))
}

fn reshape(l: &mut Labels, g: &Graph, dims: &[Expr], x: ValueId, y: ValueId) -> bool {
    let Some((a, labels)) = l.axis(x) else { return moved(l, x, y, Some) };
    let front = expr::product(g.ty(x).dims.get(..a).unwrap_or(&[]));
    let n = labels.len();
    for (o, dim) in dims.iter().enumerate() {
        let Some(d) = dim.as_const().and_then(|d| usize::try_from(d).ok()).filter(|d| *d > 0) else {
            continue;
        };
        if expr::product(dims.get(..o).unwrap_or(&[])) != front || (d == 1 && n > 1) {
            continue;
        }
        if d >= n && d.is_multiple_of(n.max(1)) {
            // The same axis, or one with what comes behind it.
            let each = d / n.max(1);
            let all: Vec<u32> = labels.iter().flat_map(|l| std::iter::repeat_n(*l, each)).collect();
            return l.set(y, o, &all);
        }
        if n.is_multiple_of(d) {
            // Parts of the axis stay together.
            let parts: Vec<&[u32]> = labels.chunks(n / d).collect();
            for part in &parts {
                part.iter().skip(1).for_each(|other| l.join(part[0], *other));
            }
            let heads: Vec<u32> = parts.iter().filter_map(|p| p.first()).copied().collect();
            return l.set(y, o, &heads);
        }
        return false;
    }
    false
}

fn concat(l: &mut Labels, g: &Graph, axis: usize, inputs: &[ValueId], y: ValueId) -> bool {
    let all: Vec<Option<(usize, Vec<u32>)>> = inputs.iter().map(|v| l.axis(*v)).collect();
    let mut axes = all.iter().flatten().map(|a| a.0);
    let Some(at) = axes.next() else { return true };
    if axes.any(|a| a != at) {
        return false;
    }
    if at != axis {
        // Joined along another axis: everywhere the same ones must go.
        let Some((_, first)) = all.first().cloned().flatten() else { return false };
        let fits = all.iter().all(|a| a.as_ref().is_some_and(|a| l.join_all(&first, &a.1)));
        return fits && l.set(y, at, &first);
    }
    let mut out = vec![];
    for (v, labels) in inputs.iter().zip(all) {
        match labels {
            Some((_, labels)) => out.extend(labels),
            None => {
                let Some(n) = len(g, *v, axis) else { return false };
                let fresh = l.fresh(n);
                l.pin_all(&fresh, "nothing is known of a part of a concatenation");
                out.extend(fresh);
            }
        }
    }
    l.set(y, axis, &out)
}

fn append(l: &mut Labels, g: &Graph, cache: ValueId, rows: ValueId, y: ValueId) -> bool {
    let Some((1, labels)) = l.axis(rows) else { return l.axis(rows).is_none() && l.axis(cache).is_none() };
    let input = g.inputs.contains(&cache);
    (input || l.axis(cache).is_some_and(|c| c.0 == 0)) && l.set(cache, 0, &labels) && l.set(y, 0, &labels)
}

fn attention(l: &mut Labels, q: ValueId, k: ValueId, v: ValueId, y: ValueId) -> bool {
    let all = (l.axis(q), l.axis(k), l.axis(v));
    let (Some((1, q)), Some((0, k)), Some((0, v))) = all else { return false };
    if k.is_empty() || q.len() % k.len() != 0 || !l.join_all(&k, &v) {
        return false;
    }
    // Query heads that share a head of keys go with it: their number per head stays.
    let each = q.len() / k.len();
    q.chunks(each).zip(&k).for_each(|(q, k)| q.iter().for_each(|q| l.join(*q, *k)));
    l.mark_heads(&k);
    l.set(y, 1, &q)
}
