//! Layouts: the order in which a value's elements are stored.

use crate::lower::pull::groups;
use sinter_ir::op::{Reshape, Transpose};
use sinter_ir::{Expr, Op, Result, Tensor, TensorType};

/// An order other than the model's own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Layout {
    /// Stored axis `i` is the model's axis `perm[i]`.
    Axes(Vec<usize>),
    /// The positions along one axis are mixed: seen as `dims`, these are stored in the order `perm`.
    Mixed { axis: usize, dims: Vec<Expr>, perm: Vec<usize> },
}

/// `Axes(perm)`, or nothing when that is the model's own order.
pub(super) fn axes(perm: Vec<usize>) -> Option<Layout> {
    (!perm.is_sorted()).then_some(Layout::Axes(perm))
}

/// `r` with `a[r[i]] == b[i]`.
pub(super) fn relative(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    b.iter().map(|x| a.iter().position(|y| y == x)).collect()
}

/// A list in stored order.
pub(super) fn pick<T: Clone>(list: &[T], perm: &[usize]) -> Option<Vec<T>> {
    perm.iter().map(|&p| list.get(p).cloned()).collect()
}

/// The layout of a reshape's result when its operand is stored in the order `perm`; `None`: no layout keeps the
/// reshape free. `Some(None)` is the model's own order.
pub(super) fn through_reshape(from: &[Expr], to: &[Expr], perm: &[usize]) -> Option<Option<Layout>> {
    let (a, b) = (long(from), long(to));
    let of = |list: &[usize], dims: &[Expr]| list.iter().map(|&i| dims[i].clone()).collect::<Vec<_>>();
    let mut blocks = groups(&of(&a, from), &of(&b, to));
    blocks.reverse();
    let mut order: Vec<usize> = perm.iter().copied().filter(|i| a.contains(i)).collect();
    let mut stored = Vec::with_capacity(b.len());
    let mut mixed = None;
    while let Some(&first) = order.first() {
        let block = blocks.iter().find(|(x, _)| a[x.clone()].contains(&first))?;
        let (own, result) = (&a[block.0.clone()], &b[block.1.clone()]);
        if own.len() > order.len() {
            return None;
        }
        let rest = order.split_off(own.len());
        if order != own {
            let ([axis], Some(perm), None) = (result, relative(own, &order), &mixed) else { return None };
            mixed = Some(Layout::Mixed { axis: *axis, dims: of(own, from), perm });
        }
        stored.extend_from_slice(result);
        order = rest;
    }
    match mixed {
        Some(_) if !stored.is_sorted() => None,
        Some(m) => Some(Some(m)),
        None => Some(axes(with_ones(&stored, to.len()))),
    }
}

/// Axes that are not 1.
fn long(dims: &[Expr]) -> Vec<usize> {
    (0..dims.len()).filter(|&i| !dims[i].is(1)).collect()
}

/// The stored order of long axes with all others put behind their neighbours in front.
fn with_ones(stored: &[usize], rank: usize) -> Vec<usize> {
    if stored.is_sorted() {
        return (0..rank).collect();
    }
    let mut out = stored.to_vec();
    for i in 0..rank {
        if !out.contains(&i) {
            let at = i.checked_sub(1).and_then(|p| out.iter().position(|&x| x == p));
            out.insert(at.map_or(0, |p| p + 1), i);
        }
    }
    out
}

/// Dims of a value as stored.
pub(super) fn stored_dims(dims: &[Expr], layout: Option<&Layout>) -> Option<Vec<Expr>> {
    match layout {
        Some(Layout::Axes(perm)) => pick(dims, perm),
        _ => Some(dims.to_vec()),
    }
}

/// The operations that bring a value from one layout into another.
pub(super) fn convert(ty: &TensorType, from: Option<&Layout>, to: Option<&Layout>) -> Option<Vec<Op>> {
    let own: Vec<usize> = (0..ty.rank()).collect();
    let order = |l: Option<&Layout>| match l {
        None => Some(own.clone()),
        Some(Layout::Axes(p)) => Some(p.clone()),
        Some(Layout::Mixed { .. }) => None,
    };
    if from == to {
        return Some(vec![]);
    }
    if let (Some(a), Some(b)) = (order(from), order(to)) {
        let dims = pick(&ty.dims, &a)?;
        return Some(vec![transpose(&dims, relative(&a, &b)?)?]);
    }
    // Split the axis, exchange its parts, merge them again.
    let (axis, dims, perm, mix) = match (from, to) {
        (None, Some(Layout::Mixed { axis, dims, perm })) => (*axis, dims, perm, true),
        (Some(Layout::Mixed { axis, dims, perm }), None) => (*axis, dims, perm, false),
        _ => return None,
    };
    let parts = if mix { dims.clone() } else { pick(dims, perm)? };
    let inner = if mix { perm.clone() } else { relative(perm, &(0..perm.len()).collect::<Vec<_>>())? };
    let split = [&ty.dims[..axis], &parts, &ty.dims[axis + 1..]].concat();
    let behind = axis + parts.len()..split.len();
    let all: Vec<usize> = (0..axis).chain(inner.iter().map(|p| p + axis)).chain(behind).collect();
    let exchange = transpose(&split, all)?;
    Some(vec![Reshape { dims: split }.into(), exchange, Reshape { dims: ty.dims.clone() }.into()])
}

/// A transpose of a value with these dims; a reshape where only axes of 1 move.
pub(super) fn transpose(dims: &[Expr], perm: Vec<usize>) -> Option<Op> {
    let moves: Vec<usize> = perm.iter().copied().filter(|&p| !dims[p].is(1)).collect();
    if moves.is_sorted() {
        return Some(Reshape { dims: pick(dims, &perm)? }.into());
    }
    Some(Transpose { perm }.into())
}

/// Whether a conversion moves no element.
pub(super) fn is_free(ty: &TensorType, layout: &Layout) -> bool {
    convert(ty, None, Some(layout)).is_some_and(|ops| ops.iter().all(|op| matches!(op, Op::Reshape(_))))
}

/// A constant in another layout.
pub(super) fn relaid(t: &Tensor, layout: &Layout) -> Result<Option<Tensor>> {
    let Some(ops) = convert(&TensorType::of(t), None, Some(layout)) else { return Ok(None) };
    let mut t = t.load()?;
    for op in ops {
        t = match op.eval(&mut Default::default(), &[t])?.into_iter().next() {
            Some(t) => t,
            None => return Ok(None),
        };
    }
    Ok(Some(t))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn e(d: &[i64]) -> Vec<Expr> {
        d.iter().map(|&v| v.into()).collect()
    }

    #[test]
    fn reshapes_keep_whole_blocks_together() {
        let last = [0, 2, 3, 1];
        let through = |from: &[i64], to: &[i64], perm: &[usize]| through_reshape(&e(from), &e(to), perm);
        // Rows and columns merge: channels stay behind them.
        assert_eq!(through(&[2, 8, 3, 5], &[2, 8, 15], &last), Some(axes(vec![0, 2, 1])));
        // Channels split.
        assert_eq!(through(&[2, 8, 3, 5], &[2, 2, 4, 3, 5], &last), Some(axes(vec![0, 3, 4, 1, 2])));
        // Axes of 1 do not matter.
        assert_eq!(through(&[2, 8, 1, 1], &[2, 8], &last), Some(None));
        assert_eq!(through(&[2, 8, 1, 5], &[2, 8, 5], &last), Some(axes(vec![0, 2, 1])));
        // Everything behind the images becomes one axis, in another order.
        let mixed = Layout::Mixed { axis: 1, dims: e(&[8, 3, 5]), perm: vec![1, 2, 0] };
        assert_eq!(through(&[2, 8, 3, 5], &[2, 120], &last), Some(Some(mixed)));
        // Channels and rows merge, but columns lie between them.
        assert_eq!(through(&[2, 8, 3, 5], &[2, 24, 5], &[0, 2, 3, 1]), None);
        assert_eq!(through(&[2, 8, 3, 5], &[16, 15], &last), None);
    }

    #[test]
    fn conversions_are_inverse() {
        let x = Tensor::i64s(&(0..2 * 8 * 3).collect::<Vec<i64>>()).reshaped(vec![2, 24]).unwrap();
        let mixed = Layout::Mixed { axis: 1, dims: e(&[4, 2, 3]), perm: vec![1, 2, 0] };
        let ty = TensorType::of(&x);
        let run = |t: &Tensor, ops: Vec<Op>| {
            let eval = |t: Tensor, op: Op| op.eval(&mut Default::default(), &[t]).unwrap().remove(0);
            ops.into_iter().fold(t.clone(), eval)
        };
        let there = run(&x, convert(&ty, None, Some(&mixed)).unwrap());
        assert_ne!(there, x);
        assert_eq!(relaid(&x, &mixed).unwrap().unwrap(), there);
        assert_eq!(run(&there, convert(&ty, Some(&mixed), None).unwrap()), x);
        assert!(is_free(&TensorType::new(ty.dtype, e(&[2, 8, 1, 1])), &Layout::Axes(vec![0, 2, 3, 1])));
        assert!(!is_free(&TensorType::new(ty.dtype, e(&[2, 8, 1, 2])), &Layout::Axes(vec![0, 2, 3, 1])));
    }
}
