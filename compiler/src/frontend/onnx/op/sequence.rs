//! Sequences and optionals whose lengths are known at import.

use crate::frontend::onnx::node::{Build, NodeCx};
use crate::frontend::onnx::scope::Item;
use sinter_ir::{DType, Diag, Expr, Result, Tensor};

type Out = Result<Vec<Item>>;

/// Operators.
pub const OPS: &[(&str, Build)] = &[
    ("SequenceEmpty", |_| Ok(vec![Item::Seq(vec![])])),
    ("SequenceConstruct", |cx| {
        let items = (0..cx.arity()).map(|i| cx.input(i).map(|v| cx.wrap(v))).collect::<Result<_>>()?;
        Ok(vec![Item::Seq(items)])
    }),
    ("SequenceAt", |cx| {
        let items = list(cx, 0)?;
        let i = position(cx, 1, items.len())?;
        Ok(vec![items.get(i).cloned().ok_or_else(|| Diag::input("the index is outside the sequence"))?])
    }),
    ("SequenceInsert", |cx| {
        let mut items = list(cx, 0)?;
        let v = cx.input(1)?;
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

fn list(cx: &mut NodeCx, i: usize) -> Result<Vec<Item>> {
    match cx.item(i)? {
        Some(Item::Seq(s)) => Ok(s),
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
            let n = whole.as_const().filter(|n| n / each <= 4096);
            let n = n.ok_or_else(|| Diag::unsupported("splitting an open dim into a sequence"))?;
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
