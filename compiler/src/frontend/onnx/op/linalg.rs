//! Determinants, inverses and distances of small matrices.

use crate::frontend::onnx::node::{Build, NodeCx};
use crate::frontend::onnx::scope::Item;
use sinter_ir::op;
use sinter_ir::op::binary::BinaryKind as B;
use sinter_ir::op::compare::CompareKind as C;
use sinter_ir::op::reduce::ReduceKind as R;
use sinter_ir::op::unary::UnaryKind as U;
use sinter_ir::{DType, Diag, Expr, Result, ValueId};

type Out = Result<Vec<Item>>;

/// Operators.
pub const OPS: &[(&str, Build)] = &[
    ("Det", |cx| {
        let x = cx.input(0)?;
        let d = cx.dims(x);
        let (m, _) = matrices(cx, x)?;
        let (_, det) = eliminate(cx, m)?;
        let y = cx.reshape(det, d[..d.len() - 2].to_vec())?;
        cx.one(y)
    }),
    ("com.microsoft:Inverse", |cx| {
        let x = cx.input(0)?;
        let (d, t) = (cx.dims(x), cx.dtype(x));
        let (m, n) = matrices(cx, x)?;
        // [A | 1] becomes [1 | A^-1].
        let grid = vec![n.into(), n.into()];
        let i = cx.emit(op::Iota { dtype: DType::I64, dims: grid.clone(), axis: 0 }, &[])?;
        let j = cx.emit(op::Iota { dtype: DType::I64, dims: grid, axis: 1 }, &[])?;
        let unit = cx.compare(C::Eq, i, j)?;
        let unit = cx.cast(unit, cx.dtype(m))?;
        let unit = cx.broadcast(unit, cx.dims(m))?;
        let both = cx.concat(&[m, unit], 2)?;
        let (reduced, _) = eliminate(cx, both)?;
        let y = cx.slice_axis(reduced, 2, n.into(), n.into())?;
        let y = cx.cast(y, t)?;
        let y = cx.reshape(y, d)?;
        cx.one(y)
    }),
    ("com.microsoft:CDist", distances),
];

/// Largest matrix: elimination is unrolled.
const MAX_SIZE: i64 = 32;

/// Square matrices as one batch `[b, n, n]` of f32 or wider, and their size.
fn matrices(cx: &mut NodeCx, x: ValueId) -> Result<(ValueId, i64)> {
    let d = cx.dims(x);
    let rank = d.len();
    let n = d.last().and_then(Expr::as_const).filter(|_| rank >= 2 && d[rank - 1] == d[rank - 2]);
    let n = n.ok_or_else(|| {
        Diag::unsupported(format!("square matrices of known size are needed, got {}", cx.ty(x)))
    })?;
    if n > MAX_SIZE {
        return Err(Diag::limit(format!("matrices of {n} rows, at most {MAX_SIZE} are supported")));
    }
    let wide = if cx.dtype(x) == DType::F64 { DType::F64 } else { DType::F32 };
    let x = cx.cast(x, wide)?;
    let batch = sinter_ir::expr::product(&d[..rank - 2]);
    Ok((cx.reshape(x, vec![batch, n.into(), n.into()])?, n))
}

/// Gauss-Jordan elimination with partial pivoting of `[b, n, m]`: the reduced rows and the determinants
/// `[b, 1, 1]` of the left squares.
fn eliminate(cx: &mut NodeCx, a: ValueId) -> Result<(ValueId, ValueId)> {
    let d = cx.dims(a);
    let n = d[1].as_const().unwrap_or(0);
    let row =
        cx.emit(op::Iota { dtype: DType::I64, dims: vec![1.into(), n.into(), 1.into()], axis: 1 }, &[])?;
    let t = cx.dtype(a);
    let (zero, one) = (cx.scalar(t, 0.0)?, cx.scalar(t, 1.0)?);
    let mut a = a;
    let mut det = cx.broadcast(one, vec![d[0].clone(), 1.into(), 1.into()])?;
    for k in 0..n {
        let at = cx.constant(sinter_ir::Tensor::i64(k))?;
        let column = cx.slice_axis(a, 2, k.into(), 1.into())?;
        let size = cx.unary(U::Abs, column)?;
        // Rows above are done: they cannot be pivots.
        let open = cx.compare(C::Ge, row, at)?;
        let low = cx.scalar(t, -1.0)?;
        let size = cx.select(open, size, low)?;
        let best = cx.emit(op::ArgReduce { largest: true, axis: 1, keepdims: true, last: false }, &[size])?;
        let is_best = cx.compare(C::Eq, row, best)?;
        let picked = cx.select(is_best, a, zero)?;
        let pivot_row = cx.reduce(R::Sum, picked, &[1], true)?;
        let own_row = cx.slice_axis(a, 1, k.into(), 1.into())?;
        // Swap the two rows; a swap turns the sign.
        let is_own = cx.compare(C::Eq, row, at)?;
        a = cx.select(is_best, own_row, a)?;
        a = cx.select(is_own, pivot_row, a)?;
        let stays = cx.compare(C::Eq, best, at)?;
        let minus = cx.unary(U::Neg, det)?;
        det = cx.select(stays, det, minus)?;
        let pivot = cx.slice_axis(pivot_row, 2, k.into(), 1.into())?;
        det = cx.mul(det, pivot)?;
        // A zero pivot means a zero determinant whatever follows: keep it finite.
        let none = cx.compare(C::Eq, pivot, zero)?;
        let divisor = cx.select(none, one, pivot)?;
        let scaled = cx.div(pivot_row, divisor)?;
        let factors = cx.slice_axis(a, 2, k.into(), 1.into())?;
        let change = cx.binary(B::Mul, factors, scaled)?;
        let reduced = cx.sub(a, change)?;
        a = cx.select(is_own, scaled, reduced)?;
    }
    Ok((a, det))
}

/// Distances of all rows of A to all rows of B, as differences: the expanded square loses digits.
fn distances(cx: &mut NodeCx) -> Out {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    if cx.rank(a) != 2 || cx.rank(b) != 2 {
        return Err(Diag::input(format!("CDist of {} and {}", cx.ty(a), cx.ty(b))));
    }
    let square = match cx.text("metric", "sqeuclidean").as_str() {
        "sqeuclidean" => true,
        "euclidean" => false,
        m => return Err(Diag::unsupported(format!("CDist metric `{m}`"))),
    };
    let (rows, cols) = (cx.unsqueeze(a, &[1])?, cx.unsqueeze(b, &[0])?);
    let d = cx.sub(rows, cols)?;
    let d = cx.mul(d, d)?;
    let mut y = cx.reduce(R::Sum, d, &[2], false)?;
    if !square {
        y = cx.unary(U::Sqrt, y)?;
    }
    cx.one(y)
}
