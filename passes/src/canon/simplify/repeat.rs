//! Grouped-query attention: a matrix product with operands that repeat for several heads computes these heads
//! together, so the repeated operand is never stored.

use super::{Rule, Site, exact};
use sinter_ir::op::{Broadcast, Reshape, Transpose};
use sinter_ir::{Expr, Op, Result, ValueId};

pub(super) const RULES: &[Rule] = &[
    exact("transpose-before-broadcast", &["Transpose"], before_broadcast),
    exact("transpose-before-reshape", &["Transpose"], before_reshape),
    exact("matmul-of-repeated-heads", &["MatMul"], matmul),
];

/// `transpose(broadcast x) -> broadcast(transpose x)`: the smaller tensor moves.
fn before_broadcast(s: &mut Site) -> Result<Option<ValueId>> {
    let (Op::Transpose(t), Some(node)) = (s.op, s.def(0)) else { return Ok(None) };
    let Op::Broadcast(b) = &node.op else { return Ok(None) };
    let (x, dims) = (node.inputs[0], t.perm.iter().map(|&p| b.dims[p].clone()).collect());
    let own = s.type_of(x).dims.clone();
    let lead = t.perm.len() - own.len();
    let full = std::iter::repeat_n(Expr::from(1), lead).chain(own).collect();
    let x = s.emit(Reshape { dims: full }, &[x])?;
    let x = s.emit(t.clone(), &[x])?;
    s.emit(Broadcast { dims }, &[x]).map(Some)
}

/// A swap of the last two axes moves in front of a reshape of the axes before them.
fn before_reshape(s: &mut Site) -> Result<Option<ValueId>> {
    let (Op::Transpose(t), Some(node)) = (s.op, s.def(0)) else { return Ok(None) };
    let x = node.inputs.first().copied();
    let (Op::Reshape(r), Some(x)) = (&node.op, x.filter(|_| s.used_once(s.inputs[0]))) else {
        return Ok(None);
    };
    let (n, from) = (r.dims.len(), s.type_of(x).dims.clone());
    let swap = n > 2 && t.perm[..n - 2].iter().enumerate().all(|(i, &p)| i == p) && t.perm[n - 2] == n - 1;
    let repeat = matches!(s.def_of(x).map(|d| &d.op), Some(Op::Broadcast(_)));
    if !swap || !repeat || from.len() < 3 || !s.same_dims(&from[from.len() - 2..], &r.dims[n - 2..]) {
        return Ok(None);
    }
    let dims = t.perm.iter().map(|&p| r.dims[p].clone()).collect();
    let m = from.len();
    let perm = (0..m - 2).chain([m - 1, m - 2]).collect();
    let y = s.emit(Transpose { perm }, &[x])?;
    s.emit(Reshape { dims }, &[y]).map(Some)
}

/// `a: [.., g*r, m, k] @ repeat(x: [.., g, k, n])` is `[.., g, r*m, k] @ x`, under other dims.
fn matmul(s: &mut Site) -> Result<Option<ValueId>> {
    let Some(reshape) = s.def(1) else { return Ok(None) };
    let Op::Reshape(r) = &reshape.op else { return Ok(None) };
    let Some(node) = s.def_of(reshape.inputs[0]) else { return Ok(None) };
    let Op::Broadcast(b) = &node.op else { return Ok(None) };
    let (x, to, heads) = (node.inputs[0], b.dims.clone(), r.dims.clone());
    let (a, n) = (s.ty(0).dims.clone(), heads.len());
    if n < 3 || a.len() != n || to.len() != n + 1 {
        return Ok(None);
    }
    let j = n - 3;
    let (groups, repeats) = (to[j].clone(), to[j + 1].clone());
    let merges = s.same_dims(&to[..j], &heads[..j])
        && s.same_dims(&to[j + 2..], &heads[j + 1..])
        && s.same(&(groups.clone() * repeats.clone()), &heads[j])
        && s.same(&a[j], &heads[j]);
    // Only the repeated axis may grow in the broadcast.
    let mut once = to.clone();
    once[j + 1] = 1.into();
    let own = s.type_of(x).dims.clone();
    let full: Vec<Expr> =
        std::iter::repeat_n(Expr::from(1), (n + 1).saturating_sub(own.len())).chain(own).collect();
    if !merges || !s.same_dims(&full, &once) {
        return Ok(None);
    }
    let joined = [&a[..j], &[groups.clone(), repeats * a[n - 2].clone(), a[n - 1].clone()]].concat();
    let left = s.emit(Reshape { dims: joined }, &s.inputs[..1])?;
    let right = s.emit(Reshape { dims: [&to[..j], &[groups], &to[j + 2..]].concat() }, &[x])?;
    let types = [s.ty(0).clone(), s.ty(1).clone()];
    let Some(result) = s.op.infer(s.rb.symbols, &types.each_ref())?.pop() else { return Ok(None) };
    let y = s.emit(s.op.clone(), &[left, right])?;
    s.emit(Reshape { dims: result.dims }, &[y]).map(Some)
}
