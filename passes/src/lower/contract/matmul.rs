//! `MatMul` as a [`Gemm`].

use super::gemm::{Cols, Finish, Gemm, Rows, block_bytes};
use super::kernel::{self, Shape, Source, name};
use super::micro::Tile;
use super::num::Num;
use super::pack::panels;
use super::pairs;
use super::sparse::Sparse;
use super::squares;
use super::words::{Data, Words};
use crate::lower::body::Body;
use crate::lower::{LowerCx, Lowered};
use bytes::Bytes;
use sinter_ir::expr::product;
use sinter_ir::tile::{Buf, Elem};
use sinter_ir::{DType, Expr, Op, Result, Tensor};

/// Lowers a matrix product with its epilogue.
pub fn lower(cx: &LowerCx, body: &Body) -> Result<Lowered> {
    let root = body.root_node()?;
    let (x, y) = (root.inputs[0], root.inputs[1]);
    let (a, b) = (body.ty(x), body.ty(y));
    let (zero, largest) = match &root.op {
        Op::MatMul(op) => (op.zero, op.largest),
        _ => (None, None),
    };
    let (ar, br) = (a.rank(), b.rank());
    let (m, mut k, n) = (a.dims[ar - 2].clone(), a.dims[ar - 1].clone(), b.dims[br - 1].clone());
    let paired = body.const_of(y).filter(|w| pairs::wanted(cx, body, x, w, &k));
    let paired = paired.map(|w| pairs::words(w, br - 2)).transpose()?;
    let mut num = Num::of(a.dtype)?.counted_from(zero);
    let mut weights = Num::of_weights(b.dtype, num)?;
    if paired.is_some() {
        (num, weights, k) = (Num::bf16_pairs(), Num::bf16_pairs(), k.div(&2.into()));
    }
    let rank = ar.max(br) - 2;
    let (ab, bb) = (&a.dims[..ar - 2], &b.dims[..br - 2]);
    let placeholder = Buf(0);
    let mut gemm = Gemm {
        batch: (0..rank).map(|i| batch_dim(ab, bb, rank, i)).collect(),
        a_batch: strides(ab, &(m.clone() * k.clone()), rank),
        b_batch: vec![],
        tile: Tile::pick_strided(cx, num, &m, &n, &k),
        a: (Rows::Strided { row: k.clone(), step: 1.into() }, num, placeholder),
        b: (Cols::InPlace { step: n.clone(), len: b.numel() }, weights, placeholder),
        m,
        n,
        k,
        block: block_bytes(cx.target),
        start: None,
        finish: Finish::Registers,
    };
    let mut rows = 1;
    if bb.iter().all(|d| d.is(1)) {
        // One B for all: the batch is more rows.
        gemm.m = product(&gemm.batch) * gemm.m;
        (gemm.batch, gemm.a_batch) = (vec![], vec![]);
        rows = rank + 1;
        gemm.tile = Tile::pick_strided(cx, num, &gemm.m, &gemm.n, &gemm.k);
    }
    let shared = gemm.batch.is_empty();
    let ranks = if shared { 0 } else { rank };
    gemm.b_batch = strides(bb, &(gemm.k.clone() * gemm.n.clone()), ranks);
    let dims = [gemm.batch.as_slice(), &[gemm.m.clone(), a.dims[ar - 1].clone(), gemm.n.clone()]].concat();
    let shape = Shape { grouped: None, rows, cols: 1 };
    // What is zero times an infinite number is not zero: but then neither is the result of use.
    let plain = shared && paired.is_none() && zero.is_none() && a.dtype == DType::F32;
    if let Some(s) = body.const_of(y).filter(|_| plain).and_then(|t| Sparse::of(cx, t, &gemm.m)) {
        return s.lower(cx, body, (&name("matmul_sparse", a.dtype, &dims), x), &gemm, &shape);
    }
    if let Some((w, words)) = body.const_of(y).filter(|_| shared && paired.is_none()).and_then(|w| {
        let words = squares::narrowed(cx, &gemm, a.dtype, w)?;
        Some((w, words))
    }) {
        let n = w.shape()[br - 1];
        let name = name("matmul_mat4", a.dtype, &dims);
        let weights = pairs::words(w, br - 2)?;
        return squares::lower(cx, body, (&name, x), words, (&weights, None), |i, j| i * n + j, &shape);
    }
    let (mut start, mut family) = (None, "matmul");
    let second = match paired.as_ref().or(body.const_of(y)) {
        Some(t) => {
            let axes = (t.rank() - 2, t.rank() - 1);
            let data = Data { dtype: a.dtype, zero, largest, rows: &gemm.m };
            let words = if shared { Words::of(cx, data, t, axes, false)? } else { None };
            match words {
                Some(w) => {
                    gemm.k = gemm.k.div(&4.into());
                    gemm.a.0 = Rows::Strided { row: gemm.k.clone(), step: 1.into() };
                    gemm.a.1 = w.data;
                    gemm.b.1 = Num::plain(DType::I32, Elem::I32);
                    if squares::wanted(cx, &gemm) {
                        let n = t.shape()[t.rank() - 1];
                        let name = name("matmul_mat8", a.dtype, &dims);
                        let from = (&w.weights, w.start(1, squares::COLUMNS));
                        return squares::lower(cx, body, (&name, x), gemm, from, |i, j| i * n + j, &shape);
                    }
                    start = w.start(1, gemm.tile.nr());
                    family = "matmul_dot";
                    Source::Packed(pack(&mut gemm, bb, &w.weights, ranks)?, DType::I32)
                }
                None => Source::Packed(pack(&mut gemm, bb, t, ranks)?, t.dtype()),
            }
        }
        None => Source::Value(y),
    };
    kernel::lower(cx, body, &name(family, a.dtype, &dims), &gemm, &[Source::Value(x), second], start, &shape)
}

/// Packs a constant B.
fn pack(gemm: &mut Gemm, batch: &[Expr], t: &Tensor, rank: usize) -> Result<Bytes> {
    let (r, nr) = (t.rank(), gemm.tile.nr());
    let (k, n) = (t.shape()[r - 2], t.shape()[r - 1]);
    let outer = t.shape()[..r - 2].iter().product();
    let size = Expr::from(n.div_ceil(nr) * nr * k);
    gemm.b_batch = strides(batch, &size, rank);
    gemm.b.0 = Cols::Panels;
    panels(t, (outer, k, n), nr, |o, i, j| Some((o * k + i) * n + j))
}

fn batch_dim(a: &[Expr], b: &[Expr], rank: usize, i: usize) -> Expr {
    let at = |d: &[Expr]| (i + d.len()).checked_sub(rank).map(|j| d[j].clone()).filter(|d| !d.is(1));
    at(a).or_else(|| at(b)).unwrap_or_else(|| 1.into())
}

/// Distance of matrices of `size` elements per batch dim of the result; 0 where the operand has one matrix.
fn strides(batch: &[Expr], size: &Expr, rank: usize) -> Vec<Expr> {
    let stride = |i: usize| match (i + batch.len()).checked_sub(rank) {
        Some(j) if !batch[j].is(1) => product(&batch[j + 1..]) * size.clone(),
        _ => 0.into(),
    };
    (0..rank).map(stride).collect()
}
