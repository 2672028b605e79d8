//! The com.microsoft attention operators with projections, packed operands and integer masks.

use super::attention::{Core, Masks, core, merge_heads, split_heads};
use super::matmul;
use crate::frontend::onnx::node::{Build, NodeCx};
use crate::frontend::onnx::scope::Item;
use sinter_ir::op;
use sinter_ir::op::compare::CompareKind as C;
use sinter_ir::{DType, Diag, Expr, Result, ValueId};

type Out = Result<Vec<Item>>;

/// Operators.
pub const OPS: &[(&str, Build)] = &[
    ("com.microsoft:Attention", projected),
    ("com.microsoft:QAttention", quantised),
    ("com.microsoft:MultiHeadAttention", multi_head),
];

/// Queries, keys and values `[batch, heads, seq, size]` and what else a node gives.
struct Parts {
    q: ValueId,
    k: ValueId,
    v: ValueId,
    /// Integer mask: lengths, or 0 where a key is hidden.
    mask: Option<ValueId>,
    /// Added to the scores.
    bias: Option<ValueId>,
    /// Keys and values of earlier calls.
    past: Option<(ValueId, ValueId)>,
}

/// Attention over past and new keys: the result `[batch, seq, hidden]`, all keys and all values.
fn attend(cx: &mut NodeCx, p: Parts) -> Result<[ValueId; 3]> {
    let (mut k, mut v) = (p.k, p.v);
    let mut masks = Masks { causal: cx.flag("unidirectional", false), ..Masks::default() };
    if let Some((pk, pv)) = p.past {
        let n = cx.dims_at_least(pk, 4)?[2].clone();
        masks.offset = Some(cx.dim_scalar(n, DType::I64)?);
        (k, v) = (cx.concat(&[pk, k], 2)?, cx.concat(&[pv, v], 2)?);
    }
    let t = cx.dims_at_least(k, 4)?[2].clone();
    masks.bias = p.bias;
    if let Some(mask) = p.mask {
        let hidden = hidden_keys(cx, mask, &t, p.q)?;
        masks.bias = Some(match masks.bias {
            Some(b) => cx.sum(b, hidden)?,
            None => hidden,
        });
    }
    let scale = cx.attr("scale").map(|a| a.f).filter(|s| *s != 0.0);
    let a = Core { q: p.q, k, v, masks, scale, softcap: 0.0, precision: None, mode: 0 };
    let (y, _) = core(cx, a)?;
    Ok([merge_heads(cx, y)?, k, v])
}

/// A mask of integers as what is added to the scores: a large negative number (not minus infinity: rows with all
/// keys hidden are as without mask), laid out to broadcast over `[batch, heads, queries, keys]`.
fn hidden_keys(cx: &mut NodeCx, mask: ValueId, keys: &Expr, q: ValueId) -> Result<ValueId> {
    let low = f64::from(cx.float("mask_filter_value", -10_000.0));
    let mask = cx.cast(mask, DType::I64)?;
    let d = cx.dims(mask);
    let seen = match d.as_slice() {
        [n] => {
            let batch = cx.dims_at_least(q, 4)?[0].clone();
            let j = cx.emit(op::Iota { dtype: DType::I64, dims: vec![keys.clone()], axis: 0 }, &[])?;
            let column = |cx: &mut NodeCx, from: Expr| -> Result<ValueId> {
                let part = cx.slice_axis(mask, 0, from, batch.clone())?;
                cx.reshape(part, vec![batch.clone(), 1.into(), 1.into(), 1.into()])
            };
            if *n == batch {
                let end = column(cx, 0.into())?;
                cx.compare(C::Lt, j, end)?
            } else if *n == batch.clone() * 2.into() {
                // Ends, then starts: padding on either side.
                let (end, start) = (column(cx, 0.into())?, column(cx, batch.clone())?);
                let (a, b) = (cx.compare(C::Lt, j, end)?, cx.compare(C::Ge, j, start)?);
                cx.binary(op::binary::BinaryKind::And, a, b)?
            } else {
                return Err(Diag::unsupported(format!("a mask {} for cumulated lengths", cx.ty(mask))));
            }
        }
        [..] if d.len() == 2 || d.len() == 3 => {
            let m = cx.unsqueeze(mask, if d.len() == 2 { &[1, 2] } else { &[1] })?;
            let zero = cx.scalar_like(m, 0.0)?;
            cx.compare(C::Ne, m, zero)?
        }
        _ => return Err(Diag::unsupported(format!("an attention mask {}", cx.ty(mask)))),
    };
    let t = cx.dtype(q);
    let (none, low) = (cx.scalar(t, 0.0)?, cx.scalar(t, low)?);
    cx.select(seen, none, low)
}

/// Parts of the last axis, as heads.
fn split_columns(cx: &mut NodeCx, x: ValueId, sizes: &[Expr], heads: i64) -> Result<Vec<ValueId>> {
    let axis = cx.last_axis(x)?;
    let mut at = Expr::from(0);
    let mut parts = Vec::new();
    for s in sizes {
        let part = cx.slice_axis(x, axis, at.clone(), s.clone())?;
        parts.push(if axis == 0 { part } else { split_heads(cx, part, heads)? });
        at = at + s.clone();
    }
    Ok(parts)
}

/// Widths of queries, keys and values in the projected row.
fn widths(cx: &NodeCx, row: &Expr) -> Result<[Expr; 3]> {
    match cx.int_list("qkv_hidden_sizes").as_deref() {
        None | Some([]) => Ok([0; 3].map(|_| row.div(&3.into()))),
        Some(&[q, k, v]) if q > 0 && k > 0 && v > 0 => Ok([q, k, v].map(Expr::from)),
        Some(other) => Err(Diag::input(format!("qkv_hidden_sizes {other:?}"))),
    }
}

/// Splits a projected row, attends, and stacks the keys and values as `present`.
fn attend_row(cx: &mut NodeCx, row: ValueId, mask: usize, past: usize, bias: Option<usize>) -> Out {
    if cx.flag("do_rotary", false) || cx.flag("past_present_share_buffer", false) {
        return Err(Diag::unsupported("Attention with do_rotary or past_present_share_buffer"));
    }
    let heads = cx.int("num_heads", 0);
    let sizes = widths(cx, &cx.dims_at_least(row, 3)?[2].clone())?;
    let parts = split_columns(cx, row, &sizes, heads)?;
    let past = match cx.opt(past)? {
        Some(p) => {
            let mut half = |i: i64| -> Result<ValueId> {
                let h = cx.slice_axis(p, 0, i.into(), 1.into())?;
                cx.squeeze(h, &[0])
            };
            Some((half(0)?, half(1)?))
        }
        None => None,
    };
    let bias = match bias {
        Some(i) => cx.opt(i)?,
        None => None,
    };
    let p = Parts { q: parts[0], k: parts[1], v: parts[2], mask: cx.opt(mask)?, bias, past };
    let [y, k, v] = attend(cx, p)?;
    if !cx.wants(1) {
        return cx.one(y);
    }
    let (k, v) = (cx.unsqueeze(k, &[0])?, cx.unsqueeze(v, &[0])?);
    let present = cx.concat(&[k, v], 0)?;
    cx.many(&[y, present])
}

fn projected(cx: &mut NodeCx) -> Out {
    let (x, w) = (cx.input(0)?, cx.input(1)?);
    let mut row = matmul::product(cx, x, w)?;
    if let Some(b) = cx.opt(2)? {
        row = cx.sum(row, b)?;
    }
    attend_row(cx, row, 3, 4, Some(5))
}

/// Exact integer projection, then floats.
fn quantised(cx: &mut NodeCx) -> Out {
    let centred = |cx: &mut NodeCx, i: usize, z: usize| -> Result<ValueId> {
        let x = cx.input(i)?;
        let x = cx.cast(x, DType::I32)?;
        match cx.opt(z)? {
            Some(z) => {
                let z = cx.cast(z, DType::I32)?;
                cx.sub(x, z)
            }
            None => Ok(x),
        }
    };
    let (a, b) = (centred(cx, 0, 6)?, centred(cx, 1, 7)?);
    let acc = matmul::product(cx, a, b)?;
    let (bias, sa, sb) = (cx.input(2)?, cx.input(3)?, cx.input(4)?);
    let acc = cx.cast(acc, cx.dtype(sa))?;
    let s = cx.mul(sa, sb)?;
    let row = cx.mul(acc, s)?;
    let row = cx.sum(row, bias)?;
    attend_row(cx, row, 5, 8, None)
}

/// Slot `i` of the packed axis 3 of `[batch, seq, heads, slots, size]`, as `[batch, heads, seq, size]`.
fn slot(cx: &mut NodeCx, x: ValueId, i: i64) -> Result<ValueId> {
    let y = cx.slice_axis(x, 3, i.into(), 1.into())?;
    let y = cx.squeeze(y, &[3])?;
    cx.transpose(y, vec![0, 2, 1, 3])
}

fn multi_head(cx: &mut NodeCx) -> Out {
    let heads = cx.int("num_heads", 0);
    let query = cx.input(0)?;
    let (mut q, mut k, mut v) = match (cx.opt(1)?, cx.opt(2)?) {
        (None, _) if cx.rank(query) == 5 => (slot(cx, query, 0)?, slot(cx, query, 1)?, slot(cx, query, 2)?),
        (Some(kv), None) if cx.rank(kv) == 5 => {
            (split_heads(cx, query, heads)?, slot(cx, kv, 0)?, slot(cx, kv, 1)?)
        }
        // Of rank 4 they come from a cache, in heads already.
        (Some(k), Some(v)) => {
            (split_heads(cx, query, heads)?, split_heads(cx, k, heads)?, split_heads(cx, v, heads)?)
        }
        _ => return Err(Diag::input(format!("MultiHeadAttention with queries {}", cx.ty(query)))),
    };
    if let Some(b) = cx.opt(3)? {
        let mut sizes = Vec::new();
        for x in [q, k, v] {
            let d = cx.dims_at_least(x, 4)?;
            sizes.push(d[1].clone() * d[3].clone());
        }
        let parts = split_columns(cx, b, &sizes, heads)?;
        let mut add = |x: ValueId, part: ValueId| -> Result<ValueId> {
            let d = cx.dims(x);
            let part = cx.reshape(part, vec![d[1].clone(), 1.into(), d[3].clone()])?;
            cx.sum(x, part)
        };
        (q, k, v) = (add(q, parts[0])?, add(k, parts[1])?, add(v, parts[2])?);
    }
    if cx.opt(8)?.is_some() || cx.opt(9)?.is_some() {
        return Err(Diag::unsupported("MultiHeadAttention with a shared cache buffer or beams"));
    }
    let past = cx.opt(6)?.zip(cx.opt(7)?);
    let p = Parts { q, k, v, mask: cx.opt(4)?, bias: cx.opt(5)?, past };
    let [y, k, v] = attend(cx, p)?;
    cx.many(&[y, k, v])
}
