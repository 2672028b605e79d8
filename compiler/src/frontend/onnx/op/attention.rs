//! Attention and rotary embedding, standard and com.microsoft.

use super::matmul::swapped;
use crate::frontend::onnx::node::{Build, NodeCx};
use crate::frontend::onnx::scope::Item;
use sinter_ir::op;
use sinter_ir::op::compare::CompareKind as C;
use sinter_ir::op::unary::UnaryKind as U;
use sinter_ir::{DType, Diag, Expr, Result, ValueId};

type Out = Result<Vec<Item>>;

/// Operators.
pub const OPS: &[(&str, Build)] = &[
    ("Attention", attention),
    ("RotaryEmbedding", |cx| rotary(cx, [1, 2, 3])),
    ("com.microsoft:RotaryEmbedding", |cx| rotary(cx, [2, 3, 1])),
    ("com.microsoft:GroupQueryAttention", group_query),
];

/// `[batch, seq, heads * size]` as `[batch, heads, seq, size]`.
pub fn split_heads(cx: &mut NodeCx, x: ValueId, heads: i64) -> Result<ValueId> {
    let d = cx.dims(x);
    if d.len() == 4 {
        return Ok(x);
    }
    if d.len() != 3 || heads <= 0 {
        return Err(Diag::input(format!("{} cannot be split into {heads} heads", cx.ty(x))));
    }
    let y = cx.reshape(x, vec![d[0].clone(), d[1].clone(), heads.into(), d[2].div(&heads.into())])?;
    cx.transpose(y, vec![0, 2, 1, 3])
}

/// The inverse of [`split_heads`].
pub fn merge_heads(cx: &mut NodeCx, y: ValueId) -> Result<ValueId> {
    let y = cx.transpose(y, vec![0, 2, 1, 3])?;
    let d = cx.dims(y);
    cx.reshape(y, vec![d[0].clone(), d[1].clone(), d[2].clone() * d[3].clone()])
}

/// What the scores are masked by.
#[derive(Default)]
pub struct Masks {
    /// Added to the scores (float) or allowing them (bool); broadcast to `[batch, heads, q, kv]`.
    pub bias: Option<ValueId>,
    /// Keys at or beyond this, per batch, are padding: `[batch]`.
    pub lengths: Option<ValueId>,
    /// A query sees keys up to its own place.
    pub causal: bool,
    /// Keys left and right of a query's place that it sees; unbounded without.
    pub window: (Option<i64>, Option<i64>),
    /// Place of the first query among the keys.
    pub offset: Option<ValueId>,
}

/// One attention.
pub struct Core {
    /// `[batch, heads, queries, size]`.
    pub q: ValueId,
    /// `[batch, key heads, keys, size]`.
    pub k: ValueId,
    /// `[batch, key heads, keys, value size]`.
    pub v: ValueId,
    /// Masks.
    pub masks: Masks,
    /// Factor of the scores; default `1 / sqrt(size)`.
    pub scale: Option<f32>,
    /// Scores are squashed to this range when positive.
    pub softcap: f32,
    /// Type of the softmax.
    pub precision: Option<DType>,
    /// Which scores result 3 shows.
    pub mode: i64,
}

/// Scores, masks, softmax and the weighted sum; `q` is `[b, hq, s, d]`, `k`, `v` `[b, hkv, t, d]`.
pub fn core(cx: &mut NodeCx, a: Core) -> Result<(ValueId, ValueId)> {
    let (qd, kd, vd) = (cx.dims_at_least(a.q, 4)?, cx.dims_at_least(a.k, 4)?, cx.dims_at_least(a.v, 4)?);
    let (b, hq, s) = (qd[0].clone(), qd[1].clone(), qd[2].clone());
    let (hkv, t) = (kd[1].clone(), kd[2].clone());
    let group = hq.div(&hkv);
    let dtype = cx.dtype(a.q);
    let q = cx.reshape(a.q, vec![b.clone(), hkv.clone(), group, s.clone(), qd[3].clone()])?;
    let (k, v) = (cx.unsqueeze(a.k, &[2])?, cx.unsqueeze(a.v, &[2])?);
    let scale = match a.scale {
        Some(s) => f64::from(s),
        None => {
            let d = qd[3].as_const().ok_or_else(|| Diag::unsupported("attention with an open head size"))?;
            1.0 / (d as f64).sqrt()
        }
    };
    // Half of the scale on either side keeps narrow floats in range.
    let (q, k) = (cx.mul_num(q, scale.sqrt())?, cx.mul_num(k, scale.sqrt())?);
    let kt = swapped(cx, k)?;
    let scores = cx.emit(op::MatMul::default(), &[q, kt])?;
    let mut scores = cx.reshape(scores, vec![b.clone(), hq.clone(), s.clone(), t.clone()])?;
    let raw = scores;
    if a.softcap > 0.0 {
        let c = f64::from(a.softcap);
        let x = cx.mul_num(scores, 1.0 / c)?;
        let x = cx.unary(U::Tanh, x)?;
        scores = cx.mul_num(x, c)?;
    }
    let capped = scores;
    scores = masked(cx, scores, &a.masks, &s, &t)?;
    let biased = scores;
    let wide = a.precision.unwrap_or(dtype);
    let x = cx.cast(scores, wide)?;
    let p = cx.emit(op::Softmax { axis: 3, log: false }, &[x])?;
    // Rows with every key masked give zeros, not NaN.
    let nan = cx.unary(U::IsNan, p)?;
    let zero = cx.scalar_like(p, 0.0)?;
    let p = cx.select(nan, zero, p)?;
    let p = cx.cast(p, dtype)?;
    let shown = match a.mode {
        0 => raw,
        1 => capped,
        2 => biased,
        _ => p,
    };
    let g = hq.div(&hkv);
    let p = cx.reshape(p, vec![b.clone(), hkv, g, s.clone(), t])?;
    let y = cx.emit(op::MatMul::default(), &[p, v])?;
    let y = cx.reshape(y, vec![b, hq, s, vd[3].clone()])?;
    Ok((y, shown))
}

fn masked(cx: &mut NodeCx, scores: ValueId, m: &Masks, s: &Expr, t: &Expr) -> Result<ValueId> {
    let dtype = cx.dtype(scores);
    let mut y = scores;
    let low = cx.scalar(dtype, f64::NEG_INFINITY)?;
    if let Some(bias) = m.bias {
        let bias = pad_keys(cx, bias, t)?;
        y = if cx.dtype(bias) == DType::Bool {
            cx.select(bias, y, low)?
        } else {
            let bias = cx.cast(bias, dtype)?;
            cx.sum(y, bias)?
        };
    }
    let windowed = m.window.0.is_some() || m.window.1.is_some();
    if m.causal || windowed {
        let shape = vec![s.clone(), t.clone()];
        let i = cx.emit(op::Iota { dtype: DType::I64, dims: shape.clone(), axis: 0 }, &[])?;
        let j = cx.emit(op::Iota { dtype: DType::I64, dims: shape, axis: 1 }, &[])?;
        let place = match m.offset {
            Some(o) => {
                let n = cx.ty(o).numel();
                let o = if n.is(1) {
                    cx.reshape(o, vec![])?
                } else {
                    cx.reshape(o, vec![n, 1.into(), 1.into(), 1.into()])?
                };
                cx.sum(i, o)?
            }
            None => i,
        };
        let ahead = cx.sub(j, place)?;
        let right = if m.causal { Some(0) } else { None }.into_iter().chain(m.window.1).min();
        if let Some(r) = right {
            let r = cx.constant(sinter_ir::Tensor::i64(r))?;
            let ok = cx.compare(C::Le, ahead, r)?;
            y = cx.select(ok, y, low)?;
        }
        if let Some(l) = m.window.0 {
            let l = cx.constant(sinter_ir::Tensor::i64(-l))?;
            let ok = cx.compare(C::Ge, ahead, l)?;
            y = cx.select(ok, y, low)?;
        }
    }
    if let Some(lengths) = m.lengths {
        let j = cx.emit(op::Iota { dtype: DType::I64, dims: vec![t.clone()], axis: 0 }, &[])?;
        let n = cx.ty(lengths).numel();
        let l = cx.cast(lengths, DType::I64)?;
        let l = cx.reshape(l, vec![n, 1.into(), 1.into(), 1.into()])?;
        let ok = cx.compare(C::Lt, j, l)?;
        y = cx.select(ok, y, low)?;
    }
    Ok(y)
}

/// Masks may be shorter than the keys: what is missing is masked.
fn pad_keys(cx: &mut NodeCx, mask: ValueId, t: &Expr) -> Result<ValueId> {
    let d = cx.dims(mask);
    let Some(last) = d.last() else { return Ok(mask) };
    let missing = t.clone() - last.clone();
    if last.is(1) || cx.symbols().range(&missing) == (0, 0) || last == t {
        return Ok(mask);
    }
    let fill = if cx.dtype(mask) == DType::Bool { 0.0 } else { f64::NEG_INFINITY };
    let fill = cx.scalar_like(mask, fill)?;
    let before = vec![Expr::from(0); d.len()];
    let mut after = before.clone();
    after[d.len() - 1] = missing;
    cx.emit(op::Pad { mode: op::pad::PadMode::Constant, before, after }, &[mask, fill])
}

fn attention(cx: &mut NodeCx) -> Out {
    let (q, k, v) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let flat = cx.rank(q) == 3;
    let (hq, hkv) = (cx.int("q_num_heads", 0), cx.int("kv_num_heads", 0));
    let q = split_heads(cx, q, hq)?;
    let (mut k, mut v) = (split_heads(cx, k, hkv)?, split_heads(cx, v, hkv)?);
    let mut masks = Masks {
        bias: cx.opt(3)?,
        lengths: cx.opt(6)?,
        causal: cx.flag("is_causal", false),
        ..Masks::default()
    };
    if let Some(past) = cx.opt(4)? {
        let n = cx.dims_at_least(past, 3)?[2].clone();
        masks.offset = Some(cx.dim_scalar(n, DType::I64)?);
        k = cx.concat(&[past, k], 2)?;
    } else if let Some(lengths) = masks.lengths {
        let s = cx.dims_at_least(q, 3)?[2].clone();
        let s = cx.dim_scalar(s, DType::I64)?;
        let l = cx.cast(lengths, DType::I64)?;
        masks.offset = Some(cx.sub(l, s)?);
    }
    if let Some(past) = cx.opt(5)? {
        v = cx.concat(&[past, v], 2)?;
    }
    let side = |v: i64| (v >= 0).then_some(v);
    masks.window = (side(cx.int("left_window_size", -1)), side(cx.int("right_window_size", -1)));
    let precision = match cx.int("softmax_precision", 0) {
        0 => None,
        c => Some(crate::frontend::onnx::tensor::dtype(c as i32)?),
    };
    let a = Core {
        q,
        k,
        v,
        masks,
        scale: cx.opt_float("scale"),
        softcap: cx.float("softcap", 0.0),
        precision,
        mode: cx.int("qk_matmul_output_mode", 0),
    };
    let (mut y, shown) = core(cx, a)?;
    if flat {
        y = merge_heads(cx, y)?;
    }
    cx.many(&[y, k, v, shown])
}

/// `at`: operand numbers of cos cache, sin cache and positions.
fn rotary(cx: &mut NodeCx, at: [usize; 3]) -> Out {
    if cx.flag("is_packed_batching", false) || cx.float("scale", 1.0) != 1.0 {
        return Err(Diag::unsupported("RotaryEmbedding of packed batches or with a scale"));
    }
    let x = cx.input(0)?;
    let (cos, sin, positions) = (cx.input(at[0])?, cx.input(at[1])?, cx.opt(at[2])?);
    let d = cx.dims(x);
    let four = d.len() == 4;
    let mut heads = cx.int("num_heads", 0);
    let dim = cx.int("rotary_embedding_dim", 0);
    if !four && heads == 0 {
        // com.microsoft: the head size follows from the cache.
        let half = cx.dims(cos).last().and_then(Expr::as_const);
        let total = d.last().and_then(Expr::as_const);
        heads = half.zip(total).filter(|(h, _)| *h > 0).map_or(0, |(h, t)| t / (2 * h));
    }
    let split = split_heads(cx, x, heads)?;
    let y = rotate(cx, split, cos, sin, positions, cx.flag("interleaved", false), dim)?;
    let y = if four { y } else { merge_heads(cx, y)? };
    cx.one(y)
}

/// Rotates the first `dim` (0: all) of each head of `[b, h, s, d]`.
fn rotate(
    cx: &mut NodeCx,
    x: ValueId,
    cos: ValueId,
    sin: ValueId,
    positions: Option<ValueId>,
    interleaved: bool,
    dim: i64,
) -> Result<ValueId> {
    let d = cx.dims_at_least(x, 4)?;
    let whole = d[3].clone();
    let rotated = if dim == 0 { whole.clone() } else { dim.into() };
    let half = rotated.div(&2.into());
    let mut caches = vec![];
    for c in [cos, sin] {
        let mut c = match positions {
            Some(p) => {
                let p = match cx.rank(p) {
                    // One offset for all: positions count up from it.
                    1 => {
                        let i = cx.emit(
                            op::Iota { dtype: DType::I64, dims: vec![1.into(), d[2].clone()], axis: 1 },
                            &[],
                        )?;
                        cx.sum(i, p)?
                    }
                    _ => p,
                };
                cx.emit(op::Gather { axis: 0 }, &[c, p])?
            }
            None => c,
        };
        let last = cx.last_axis(c)?;
        if cx.dims(c)[last] != half {
            c = cx.slice_axis(c, last, 0.into(), half.clone())?;
        }
        // [b, s, half] to [b, 1, s, half].
        caches.push(if cx.rank(c) == 3 { cx.unsqueeze(c, &[1])? } else { c });
    }
    let part = cx.slice_axis(x, 3, 0.into(), rotated.clone())?;
    let (a, b) = if interleaved {
        let pairs =
            cx.reshape(part, vec![d[0].clone(), d[1].clone(), d[2].clone(), half.clone(), 2.into()])?;
        let a = cx.slice_axis(pairs, 4, 0.into(), 1.into())?;
        let b = cx.slice_axis(pairs, 4, 1.into(), 1.into())?;
        (cx.squeeze(a, &[4])?, cx.squeeze(b, &[4])?)
    } else {
        (cx.slice_axis(part, 3, 0.into(), half.clone())?, cx.slice_axis(part, 3, half.clone(), half.clone())?)
    };
    let (ca, sb) = (cx.mul(caches[0], a)?, cx.mul(caches[1], b)?);
    let (sa, cb) = (cx.mul(caches[1], a)?, cx.mul(caches[0], b)?);
    let (real, imag) = (cx.sub(ca, sb)?, cx.sum(sa, cb)?);
    let y = if interleaved {
        let (r, i) = (cx.unsqueeze(real, &[4])?, cx.unsqueeze(imag, &[4])?);
        let y = cx.concat(&[r, i], 4)?;
        cx.reshape(y, vec![d[0].clone(), d[1].clone(), d[2].clone(), rotated.clone()])?
    } else {
        cx.concat(&[real, imag], 3)?
    };
    if rotated == whole {
        return Ok(y);
    }
    let rest = cx.slice_axis(x, 3, rotated.clone(), whole - rotated)?;
    cx.concat(&[y, rest], 3)
}

/// Demands at run time that no sequence of a batch with a cache is shorter than the others: new keys go behind the whole
/// cache. Without a cache, shorter sequences are padded behind, where causal attention does not look.
fn equal_lengths(cx: &mut NodeCx, lengths: ValueId, past: &Expr, new: Expr) -> Result<()> {
    let lengths = cx.cast(lengths, DType::I64)?;
    let last = cx.dim_scalar(past.clone() + new - 1.into(), DType::I64)?;
    let off = cx.sub(lengths, last)?;
    let off = cx.unary(op::unary::UnaryKind::Abs, off)?;
    let axes: Vec<usize> = (0..cx.rank(off)).collect();
    let worst = cx.reduce(op::reduce::ReduceKind::Max, off, &axes, false)?;
    let cached = cx.dim_scalar(past.min_of(&1.into()), DType::I64)?;
    let wrong = cx.mul(worst, cached)?;
    cx.expect_value(wrong, 0)
}

/// com.microsoft GroupQueryAttention: q, k, v (or packed q), past, lengths, rotary caches; the cache grows by
/// concatenation.
fn group_query(cx: &mut NodeCx) -> Out {
    if cx.opt(11)?.is_some() || cx.flag("smooth_softmax", false) {
        return Err(Diag::unsupported("GroupQueryAttention with an attention sink"));
    }
    if cx.opt(12)?.is_some() || cx.opt(13)?.is_some() {
        return Err(Diag::unsupported("GroupQueryAttention with a quantised cache"));
    }
    let (hq, hkv) = (cx.int("num_heads", 0), cx.int("kv_num_heads", 0));
    let q = cx.input(0)?;
    let (q, k, v) = match (cx.opt(1)?, cx.opt(2)?) {
        (Some(k), Some(v)) => (q, k, v),
        _ => {
            let total = cx.dims_at_least(q, 3)?[2].clone();
            let heads = Expr::from(hq) + Expr::from(hkv) * 2.into();
            let size = total.div(&heads);
            let (a, b) = (size.clone() * hq.into(), size * hkv.into());
            (
                cx.slice_axis(q, 2, 0.into(), a.clone())?,
                cx.slice_axis(q, 2, a.clone(), b.clone())?,
                cx.slice_axis(q, 2, a + b.clone(), b)?,
            )
        }
    };
    let mut q = split_heads(cx, q, hq)?;
    let (mut k, mut v) = (split_heads(cx, k, hkv)?, split_heads(cx, v, hkv)?);
    let past = cx.opt(3)?;
    let past_len = match past {
        Some(p) => cx.dims_at_least(p, 3)?[2].clone(),
        None => 0.into(),
    };
    if let (Some(_), Some(lengths)) = (past, cx.opt(5)?) {
        let new = cx.dims_at_least(q, 3)?[2].clone();
        equal_lengths(cx, lengths, &past_len, new)?;
    }
    let offset = cx.dim_scalar(past_len, DType::I64)?;
    if cx.flag("do_rotary", false) {
        let (cos, sin) = (cx.input(7)?, cx.input(8)?);
        let positions = match cx.opt(9)? {
            Some(p) => p,
            None => cx.reshape(offset, vec![1.into()])?,
        };
        let interleaved = cx.flag("rotary_interleaved", false);
        let dim = cx.dims(cos).last().and_then(Expr::as_const).map_or(0, |h| 2 * h);
        q = rotate(cx, q, cos, sin, Some(positions), interleaved, dim)?;
        k = rotate(cx, k, cos, sin, Some(positions), interleaved, dim)?;
    }
    if let (Some(pk), Some(pv)) = (past, cx.opt(4)?) {
        k = cx.concat(&[pk, k], 2)?;
        v = cx.concat(&[pv, v], 2)?;
    }
    let window = cx.int("local_window_size", -1);
    let masks = Masks {
        bias: cx.opt(10)?,
        causal: true,
        window: ((window > 0).then_some(window - 1), None),
        offset: Some(offset),
        ..Masks::default()
    };
    let scale = cx.opt_float("scale").filter(|s| *s != 0.0);
    let a = Core { q, k, v, masks, scale, softcap: cx.float("softcap", 0.0), precision: None, mode: 0 };
    let (y, _) = core(cx, a)?;
    let y = merge_heads(cx, y)?;
    cx.many(&[y, k, v])
}
