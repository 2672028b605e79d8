//! Matrix products.

use crate::frontend::onnx::node::{Build, NodeCx};
use crate::frontend::onnx::scope::Item;
use sinter_ir::op;
use sinter_ir::op::quantized_matmul::{Activations, Offset};
use sinter_ir::op::unary::UnaryKind as U;
use sinter_ir::{DType, Diag, Expr, Result, TensorType, ValueId};

type Out = Result<Vec<Item>>;

/// Operators.
pub const OPS: &[(&str, Build)] = &[
    ("MatMul", |cx| {
        let (a, b) = (cx.input(0)?, cx.input(1)?);
        let y = product(cx, a, b)?;
        cx.one(y)
    }),
    ("Gemm", |cx| {
        let y = gemm(cx)?;
        cx.one(y)
    }),
    ("com.microsoft:FusedMatMul", fused),
    ("com.microsoft:TransposeMatMul", fused),
    ("com.microsoft:MatMulNBits", nbits),
    ("MatMulInteger", |cx| {
        let (a, b) = (centred(cx, 0, 2)?, centred(cx, 1, 3)?);
        let y = product(cx, a, b)?;
        cx.one(y)
    }),
];

/// numpy matmul: vectors get a dim that is removed again.
pub fn product(cx: &mut NodeCx, a: ValueId, b: ValueId) -> Result<ValueId> {
    let (ra, rb) = (cx.rank(a), cx.rank(b));
    if ra == 0 || rb == 0 {
        return Err(Diag::input("MatMul of a scalar"));
    }
    let a = if ra == 1 { cx.unsqueeze(a, &[0])? } else { a };
    let b = if rb == 1 { cx.unsqueeze(b, &[1])? } else { b };
    let y = cx.emit(op::MatMul::default(), &[a, b])?;
    let rank = cx.rank(y);
    let mut drop = vec![];
    if ra == 1 {
        drop.push(rank - 2);
    }
    if rb == 1 {
        drop.push(rank - 1);
    }
    if drop.is_empty() { Ok(y) } else { cx.squeeze(y, &drop) }
}

/// Swaps the last two dims.
pub fn swapped(cx: &mut NodeCx, x: ValueId) -> Result<ValueId> {
    let rank = cx.rank(x);
    let mut perm: Vec<usize> = (0..rank).collect();
    if rank >= 2 {
        perm.swap(rank - 2, rank - 1);
    }
    cx.transpose(x, perm)
}

/// `alpha A B + beta C` with the node's attributes.
pub fn gemm(cx: &mut NodeCx) -> Result<ValueId> {
    let (mut a, mut b) = (cx.input(0)?, cx.input(1)?);
    if cx.flag("transA", false) {
        a = swapped(cx, a)?;
    }
    if cx.flag("transB", false) {
        b = swapped(cx, b)?;
    }
    let (alpha, beta) = (cx.float("alpha", 1.0), cx.float("beta", 1.0));
    let mut y = cx.emit(op::MatMul::default(), &[a, b])?;
    if alpha != 1.0 {
        y = cx.mul_num(y, f64::from(alpha))?;
    }
    if let Some(mut c) = cx.opt(2)? {
        if beta != 1.0 {
            c = cx.mul_num(c, f64::from(beta))?;
        }
        y = cx.sum(y, c)?;
    }
    Ok(y)
}

/// Moves the first axis behind the other batch axes.
fn batch_behind(cx: &mut NodeCx, x: ValueId, flag: &str) -> Result<ValueId> {
    let rank = cx.rank(x);
    if !cx.flag(flag, false) || rank < 3 {
        return Ok(x);
    }
    cx.transpose(x, (1..rank - 1).chain([0, rank - 1]).collect())
}

fn fused(cx: &mut NodeCx) -> Out {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    let (mut a, mut b) = (batch_behind(cx, a, "transBatchA")?, batch_behind(cx, b, "transBatchB")?);
    if cx.flag("transA", false) {
        a = swapped(cx, a)?;
    }
    if cx.flag("transB", false) {
        b = swapped(cx, b)?;
    }
    let mut y = product(cx, a, b)?;
    let alpha = cx.float("alpha", 1.0);
    if alpha != 1.0 {
        y = cx.mul_num(y, f64::from(alpha))?;
    }
    cx.one(y)
}

/// Operand `i` as i32 with zero point operand `z` subtracted; a 1-D zero point runs along the rows of A and the
/// columns of B.
fn centred(cx: &mut NodeCx, i: usize, z: usize) -> Result<ValueId> {
    let x = cx.input(i)?;
    let x = cx.cast(x, DType::I32)?;
    match cx.opt(z)? {
        None => Ok(x),
        Some(zero) => {
            let mut zero = cx.cast(zero, DType::I32)?;
            if i == 0 && cx.rank(zero) == 1 && !cx.ty(zero).numel().is(1) {
                zero = cx.unsqueeze(zero, &[1])?;
            }
            cx.sub(x, zero)
        }
    }
}

/// Weights `[n, blocks, block * bits / 8]` packed low bits first, scales `[n, blocks]`, zero points packed per row
/// (default 2^(bits-1)) or as floats.
fn nbits(cx: &mut NodeCx) -> Out {
    let bits = cx.int("bits", 4);
    let (n, k, block) = (cx.int("N", 0), cx.int("K", 0), cx.int("block_size", 0));
    let dtype = match bits {
        2 => DType::U2,
        4 => DType::U4,
        8 => DType::U8,
        b => return Err(Diag::unsupported(format!("MatMulNBits with {b} bits"))),
    };
    if n <= 0
        || k <= 0
        || block < 16
        || block & (block - 1) != 0
        || n.checked_mul(k).is_none_or(|v| v > 1 << 40)
    {
        return Err(Diag::input(format!("MatMulNBits with N = {n}, K = {k}, block_size = {block}")));
    }
    let (n, k, block) = (n as usize, k as usize, block as usize);
    let blocks = k.div_ceil(block);
    let b = cx.input(1)?;
    if cx.opt(4)?.is_some() {
        return Err(Diag::unsupported("MatMulNBits with g_idx"));
    }
    let codes = packed(cx, b, dtype, [n, blocks * block, k], "the weights of MatMulNBits")?;
    let scales = cx.input(2)?;
    let grid = vec![Expr::from(n), Expr::from(blocks)];
    let scales = cx.reshape(scales, grid.clone())?;
    let mut weights = vec![codes, scales];
    let mut middle = 0;
    let offset = match cx.opt(3)? {
        Some(z) if cx.dtype(z).is_float() => {
            // (q - z) s = q s - z s
            let (z, s) = (cx.reshape(z, grid)?, cx.cast(scales, DType::F32)?);
            let z = cx.cast(z, DType::F32)?;
            let moved = cx.mul(z, s)?;
            weights.push(cx.unary(U::Neg, moved)?);
            Offset::Minimum
        }
        Some(z) => {
            let row = (blocks * bits as usize).div_ceil(8) * 8 / bits as usize;
            weights.push(packed(cx, z, dtype, [n, row, blocks], "the zero points of MatMulNBits")?);
            Offset::Zero
        }
        None => {
            middle = 1 << (bits - 1);
            Offset::None
        }
    };
    // Level 4 says that activations may be rounded to bytes, which other runtimes do too, block by block.
    let activations = if cx.int("accuracy_level", 0) == 4 { Activations::Blocks } else { Activations::Float };
    let op = op::QuantizedMatMul { block, activations, offset, middle, table: vec![], nibbles: None };
    let y = quantized(cx, op, &weights)?;
    let y = match cx.opt(5)? {
        Some(bias) => cx.sum(y, bias)?,
        None => y,
    };
    cx.one(y)
}

/// Operand 0 times quantised weights, in its own type and rank.
fn quantized(cx: &mut NodeCx, op: op::QuantizedMatMul, weights: &[ValueId]) -> Result<ValueId> {
    let a = cx.input(0)?;
    let (dtype, rank) = (cx.dtype(a), cx.rank(a));
    let wide = cx.cast(a, DType::F32)?;
    let wide = if rank == 1 { cx.unsqueeze(wide, &[0])? } else { wide };
    let y = cx.emit(op, &[&[wide], weights].concat())?;
    let y = if rank == 1 { cx.squeeze(y, &[0])? } else { y };
    cx.cast(y, dtype)
}

/// Packed bytes as `n` rows of codes, of which the first `used` of every `row` count.
pub fn packed(cx: &mut NodeCx, v: ValueId, dtype: DType, dims: [usize; 3], what: &str) -> Result<ValueId> {
    let [n, row, used] = dims;
    let bits = cx.ty(v).numel() * Expr::from(cx.dtype(v).bits());
    let want = n.checked_mul(row).and_then(|c| c.checked_mul(dtype.bits())).map(Expr::from);
    if used > row || want.is_none_or(|w| w != bits) {
        let ty = cx.ty(v).to_string();
        return Err(Diag::input(format!("{what} are {ty}: {n} rows of {row} {dtype} are needed")));
    }
    if cx.im.is_unread(v) {
        return cx.im.unread_result(TensorType::new(dtype, vec![n.into(), used.into()]));
    }
    let bytes = cx.need_const(v, what)?.shared_bytes();
    let mut all = sinter_ir::Tensor::from_bytes(dtype, vec![n, row], bytes)?;
    if row != used {
        let idx: Vec<usize> = (0..n).flat_map(|r| (0..used).map(move |c| r * row + c)).collect();
        all = all.pick(vec![n, used], &idx)?;
    }
    cx.constant(all)
}
