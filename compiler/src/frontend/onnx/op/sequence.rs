//! Sequences and optionals: lists known at import, or stacks of tensors of one shape.

use crate::frontend::onnx::node::{Build, NodeCx};
use crate::frontend::onnx::scope::Item;
use sinter_ir::op::Gather;
use sinter_ir::{DType, Diag, Expr, Result, Tensor, ValueId};

type Out = Result<Vec<Item>>;

/// Operators.
pub const OPS: &[(&str, Build)] = &[
    ("SequenceEmpty", |_| Ok(vec![Item::Seq(vec![])])),
    ("SequenceConstruct", |cx| {
        let items = (0..cx.arity()).map(|i| cx.input(i).map(|v| cx.wrap(v))).collect::<Result<_>>()?;
        Ok(vec![Item::Seq(items)])
    }),
    ("SequenceAt", |cx| {
        let at = cx.input(1)?;
        if cx.const_ints(at).is_none() || matches!(cx.item(0)?, Some(Item::Stack(..))) {
            let item = cx.item(0)?.unwrap_or(Item::None);
            let s = stacked(cx, item)?;
            let at = cx.reshape(at, vec![])?;
            let y = cx.emit(Gather { axis: 0 }, &[s, at])?;
            return cx.one(y);
        }
        let items = list(cx, 0)?;
        let i = position(cx, 1, items.len())?;
        Ok(vec![items.get(i).cloned().ok_or_else(|| Diag::input("the index is outside the sequence"))?])
    }),
    ("SequenceInsert", |cx| {
        let v = cx.input(1)?;
        if let Some(item @ Item::Stack(..)) = cx.item(0)? {
            let (s, one) = (stacked(cx, item)?, cx.unsqueeze(v, &[0])?);
            let first = match cx.opt(2)? {
                None => false,
                Some(at) if cx.const_ints(at).as_deref() == Some(&[0]) => true,
                Some(_) => {
                    return Err(Diag::unsupported("an insertion into a sequence elsewhere than at its ends"));
                }
            };
            let y = if first { cx.concat(&[one, s], 0)? } else { cx.concat(&[s, one], 0)? };
            return Ok(vec![Item::Stack(cx.im.scope.depth(), y)]);
        }
        let mut items = list(cx, 0)?;
        let at = if cx.opt(2)?.is_some() { position(cx, 2, items.len())? } else { items.len() };
        if at > items.len() {
            return Err(Diag::input("the index is outside the sequence"));
        }
        items.insert(at, cx.wrap(v));
        Ok(vec![Item::Seq(items)])
    }),
    ("SequenceErase", |cx| {
        let mut items = list(cx, 0)?;
        let at =
            if cx.opt(1)?.is_some() { position(cx, 1, items.len())? } else { items.len().wrapping_sub(1) };
        if at >= items.len() {
            return Err(Diag::input("the index is outside the sequence"));
        }
        items.remove(at);
        Ok(vec![Item::Seq(items)])
    }),
    ("SequenceLength", |cx| {
        if let Some(item @ Item::Stack(..)) = cx.item(0)? {
            let s = stacked(cx, item)?;
            let n = cx.dim_scalar(cx.dims(s)[0].clone(), DType::I64)?;
            return cx.one(n);
        }
        let n = list(cx, 0)?.len();
        let v = cx.constant(Tensor::i64(n as i64))?;
        cx.one(v)
    }),
    ("SequenceMap", map),
    ("SplitToSequence", split),
    ("ConcatFromSequence", concat),
    ("Optional", |cx| Ok(vec![cx.item(0)?.unwrap_or(Item::None)])),
    ("OptionalGetElement", |cx| match cx.item(0)? {
        None | Some(Item::None) => Err(Diag::input("the optional is empty")),
        Some(i) => Ok(vec![i]),
    }),
    ("OptionalHasElement", |cx| {
        let has = !matches!(cx.item(0)?, None | Some(Item::None));
        let v = cx.constant(Tensor::from_i64(DType::Bool, vec![], &[i64::from(has)])?)?;
        cx.one(v)
    }),
];

/// The body once per element; operands that are no sequences are the same every time.
fn map(cx: &mut NodeCx) -> Out {
    let body = cx.graph("body")?;
    let n = list(cx, 0)?.len();
    let mut results = vec![vec![]; body.output.len()];
    for k in 0..n {
        let mut args = vec![];
        for i in 0..cx.arity() {
            args.push(match cx.item(i)? {
                Some(Item::Seq(items)) => items
                    .get(k)
                    .cloned()
                    .ok_or_else(|| Diag::input("the sequences have different lengths"))?,
                Some(other) => other,
                None => return Err(Diag::input(format!("operand {i} is missing"))),
            });
        }
        if args.len() != body.input.len() {
            return Err(Diag::input(format!("{} operands for a body of {}", args.len(), body.input.len())));
        }
        let out = cx.im.inline_with(body, &args)?;
        results.iter_mut().zip(out).for_each(|(r, item)| r.push(item));
    }
    Ok(results.into_iter().map(Item::Seq).collect())
}

/// Elements of a list at most.
const MAX_LIST: i64 = 4096;

/// A sequence as one tensor with a new first axis.
pub fn stacked(cx: &mut NodeCx, item: Item) -> Result<ValueId> {
    match item {
        Item::Stack(level, v) => cx.tensor(Item::Tensor(level, v)),
        Item::Seq(items) if !items.is_empty() => {
            let mut parts = vec![];
            for item in items {
                let v = cx.tensor(item)?;
                parts.push(cx.unsqueeze(v, &[0])?);
            }
            let same = parts.iter().all(|&p| cx.ty(p) == cx.ty(parts[0]));
            if !same {
                return Err(Diag::unsupported(
                    "a sequence of tensors of different types, indexed or extended at run time",
                ));
            }
            cx.concat(&parts, 0)
        }
        _ => Err(Diag::unsupported("a sequence about whose elements nothing is known")),
    }
}

fn list(cx: &mut NodeCx, i: usize) -> Result<Vec<Item>> {
    match cx.item(i)? {
        Some(Item::Seq(s)) => Ok(s),
        Some(item @ Item::Stack(..)) => {
            let s = stacked(cx, item)?;
            let n = cx.dims(s)[0].as_const().filter(|&n| n <= MAX_LIST);
            let n =
                n.ok_or_else(|| Diag::unsupported("a sequence whose length is not known at compile time"))?;
            let one = |k: i64| {
                let part = cx.slice_axis(s, 0, k.into(), 1.into())?;
                let part = cx.squeeze(part, &[0])?;
                Ok(cx.wrap(part))
            };
            (0..n).map(one).collect()
        }
        _ => Err(Diag::unsupported("a sequence whose length is not known at compile time")),
    }
}

fn position(cx: &mut NodeCx, i: usize, n: usize) -> Result<usize> {
    let v = cx.input(i)?;
    match cx.const_ints(v).as_deref() {
        Some([p]) => {
            let p = if *p < 0 { p + n as i64 } else { *p };
            usize::try_from(p).map_err(|_| Diag::input("the index is outside the sequence"))
        }
        _ => Err(Diag::unsupported("a sequence index that is known only at run time")),
    }
}

fn split(cx: &mut NodeCx) -> Out {
    let x = cx.input(0)?;
    let axis = cx.axis(cx.int("axis", 0), cx.rank(x))?;
    let whole = cx.dims(x)[axis].clone();
    let sizes: Vec<Expr> = match cx.opt(1)? {
        Some(s) if cx.rank(s) == 1 => {
            let v =
                cx.const_ints(s).ok_or_else(|| Diag::unsupported("split lengths known only at run time"))?;
            v.into_iter().map(Expr::from).collect()
        }
        given => {
            let each = match given {
                Some(s) => match cx.const_ints(s).as_deref() {
                    Some([v]) if *v > 0 => *v,
                    _ => return Err(Diag::unsupported("split lengths known only at run time")),
                },
                None => 1,
            };
            let Some(n) = whole.as_const().filter(|n| n / each <= MAX_LIST) else {
                if each != 1 {
                    return Err(Diag::unsupported("splitting an open dim into a sequence"));
                }
                let keep = cx.opt(1)?.is_some() || cx.flag("keepdims", true);
                let mut perm: Vec<usize> = (0..cx.rank(x)).filter(|&a| a != axis).collect();
                perm.insert(0, axis);
                let mut s = cx.transpose(x, perm)?;
                if keep {
                    s = cx.unsqueeze(s, &[axis + 1])?;
                }
                return Ok(vec![Item::Stack(cx.im.scope.depth(), s)]);
            };
            (0..n)
                .step_by(usize::try_from(each).unwrap_or(usize::MAX))
                .map(|at| each.min(n - at).into())
                .collect()
        }
    };
    let keep = cx.opt(1)?.is_some() || cx.flag("keepdims", true);
    let mut at = Expr::from(0);
    let mut items = Vec::new();
    for size in sizes {
        let mut part = cx.slice_axis(x, axis, at.clone(), size.clone())?;
        if !keep {
            part = cx.squeeze(part, &[axis])?;
        }
        items.push(cx.wrap(part));
        at = at + size;
    }
    Ok(vec![Item::Seq(items)])
}

fn concat(cx: &mut NodeCx) -> Out {
    if let Some(item @ Item::Stack(..)) = cx.item(0)? {
        let s = stacked(cx, item)?;
        let new = cx.flag("new_axis", false);
        let rank = cx.rank(s) - usize::from(!new);
        let axis = cx.axis(cx.int("axis", 0), rank)?;
        // The first axis goes in front of the one along which parts follow each other.
        let mut perm: Vec<usize> = (1..cx.rank(s)).collect();
        perm.insert(axis, 0);
        let mut y = cx.transpose(s, perm)?;
        if !new {
            let mut dims = cx.dims(y);
            let n = dims.remove(axis);
            dims[axis] = dims[axis].clone() * n;
            y = cx.reshape(y, dims)?;
        }
        return cx.one(y);
    }
    let items = list(cx, 0)?;
    let mut parts = items.into_iter().map(|i| cx.tensor(i)).collect::<Result<Vec<_>>>()?;
    let first = *parts.first().ok_or_else(|| Diag::input("an empty sequence"))?;
    let new = cx.flag("new_axis", false);
    let axis = cx.axis(cx.int("axis", 0), cx.rank(first) + usize::from(new))?;
    if new {
        for p in &mut parts {
            *p = cx.unsqueeze(*p, &[axis])?;
        }
    }
    let y = cx.concat(&parts, axis)?;
    cx.one(y)
}
