//! TfIdfVectorizer: counts n-grams of a vocabulary, with gaps, and weighs the counts.

use crate::frontend::onnx::node::NodeCx;
use crate::frontend::onnx::scope::Item;
use sinter_ir::op::Gather;
use sinter_ir::op::binary::BinaryKind;
use sinter_ir::op::compare::CompareKind;
use sinter_ir::op::reduce::ReduceKind;
use sinter_ir::{DType, Diag, Expr, Result, Tensor, ValueId};

/// n-grams of one length: the items of all of them by position.
struct Grams {
    length: usize,
    items: Vec<Vec<i64>>,
}

/// One row of counts per row of tokens.
pub fn build(cx: &mut NodeCx) -> Result<Vec<Item>> {
    let x = cx.input(0)?;
    let flat = cx.rank(x) == 1;
    let (tokens, pool) = tokens(cx, x)?;
    let tokens = if flat { cx.unsqueeze(tokens, &[0])? } else { tokens };
    if cx.rank(tokens) != 2 {
        return Err(Diag::input(format!("tokens or rows of tokens are needed, got {}", cx.ty(x))));
    }
    let indexes = cx.int_list("ngram_indexes").unwrap_or_default();
    let grams = grams(cx, &pool)?;
    let total: usize = grams.iter().map(|g| g.items[0].len()).sum();
    if total != indexes.len() || total == 0 {
        return Err(Diag::input(format!("{} ngram_indexes for {total} n-grams", indexes.len())));
    }
    let (least, most) = (cx.int("min_gram_length", 1), cx.int("max_gram_length", 1));
    let skips = usize::try_from(cx.int("max_skip_count", 0)).ok().filter(|s| *s <= 1 << 10);
    let skips = skips.ok_or_else(|| Diag::input("max_skip_count is out of range"))?;
    let mut parts = Vec::new();
    for g in &grams {
        let wanted = (least..=most).contains(&(g.length as i64));
        parts.push(count(cx, tokens, g, if wanted { Some(skips) } else { None })?);
    }
    let counts = cx.concat(&parts, 1)?;
    let weighed = weigh(cx, counts)?;
    let y = arrange(cx, weighed, &indexes)?;
    let y = if flat { cx.squeeze(y, &[0])? } else { y };
    cx.one(y)
}

/// Tokens and vocabulary as integers.
fn tokens(cx: &mut NodeCx, x: ValueId) -> Result<(ValueId, Vec<i64>)> {
    if cx.dtype(x) != DType::Str {
        return Ok((cx.cast(x, DType::I64)?, cx.int_list("pool_int64s").unwrap_or_default()));
    }
    let (words, places) = super::dictionary(&super::strings(cx, "pool_strings"));
    Ok((super::find(cx, x, words)?, places.into_iter().map(|p| p as i64).collect()))
}

/// The vocabulary by length of n-grams.
fn grams(cx: &NodeCx, pool: &[i64]) -> Result<Vec<Grams>> {
    let starts = cx.int_list("ngram_counts").unwrap_or_default();
    let mut out = Vec::new();
    for (i, &start) in starts.iter().enumerate() {
        let length = i + 1;
        let end = starts.get(length).copied().unwrap_or(pool.len() as i64);
        let range =
            usize::try_from(start).ok().zip(usize::try_from(end).ok()).and_then(|(s, e)| pool.get(s..e));
        let flat = range.filter(|r| r.len() % length == 0).ok_or_else(|| {
            Diag::input(format!("ngram_counts {starts:?} do not divide a pool of {}", pool.len()))
        })?;
        if !flat.is_empty() {
            let items = (0..length).map(|p| flat.iter().skip(p).step_by(length).copied().collect()).collect();
            out.push(Grams { length, items });
        }
    }
    Ok(out)
}

/// How often each n-gram stands in each row, `[rows, n-grams]`: with every gap up to `skips` between its items.
/// `None`: not at all.
fn count(cx: &mut NodeCx, tokens: ValueId, g: &Grams, skips: Option<usize>) -> Result<ValueId> {
    let dims = cx.dims(tokens);
    let n = g.items[0].len();
    let mut sum = cx.full(DType::F32, vec![dims[0].clone(), n.into()], 0.0)?;
    // A single item has no gaps.
    let gaps = skips.map_or(0, |s| if g.length == 1 { 1 } else { s + 1 });
    for step in 1..=gaps {
        let places = dims[1].clone() - ((g.length - 1) * step).into();
        let places = places.max_of(&Expr::from(0));
        if places.is(0) {
            break;
        }
        let mut hit: Option<ValueId> = None;
        for (p, items) in g.items.iter().enumerate() {
            let start = Expr::from(p * step).min_of(&dims[1]);
            let window = cx.slice_axis(tokens, 1, start, places.clone())?;
            let window = cx.unsqueeze(window, &[2])?;
            let items = cx.constant(Tensor::i64s(items))?;
            let same = cx.compare(CompareKind::Eq, window, items)?;
            hit = Some(match hit {
                Some(h) => cx.binary(BinaryKind::And, h, same)?,
                None => same,
            });
        }
        if let Some(hit) = hit {
            let hit = cx.cast(hit, DType::F32)?;
            let hits = cx.reduce(ReduceKind::Sum, hit, &[1], false)?;
            sum = cx.sum(sum, hits)?;
        }
    }
    Ok(sum)
}

/// Applies the mode and the weights.
fn weigh(cx: &mut NodeCx, counts: ValueId) -> Result<ValueId> {
    let mode = cx.text("mode", "TF");
    let values = match mode.as_str() {
        "TF" => return Ok(counts),
        "TFIDF" => counts,
        "IDF" => {
            let zero = cx.scalar(DType::F32, 0.0)?;
            let any = cx.compare(CompareKind::Gt, counts, zero)?;
            cx.cast(any, DType::F32)?
        }
        other => return Err(Diag::input(format!("mode `{other}`"))),
    };
    match cx.attr("weights") {
        Some(a) => {
            let weights = Tensor::f32s(vec![a.floats.len()], &a.floats)?;
            let weights = cx.constant(weights)?;
            cx.mul(values, weights)
        }
        None => Ok(values),
    }
}

/// Puts columns at their indexes; indexes that no n-gram has are 0.
fn arrange(cx: &mut NodeCx, columns: ValueId, indexes: &[i64]) -> Result<ValueId> {
    let size = indexes.iter().max().map_or(0, |m| m + 1);
    if indexes.iter().any(|i| *i < 0) || size > 1 << 24 {
        return Err(Diag::input("ngram_indexes are out of range"));
    }
    let mut from = vec![indexes.len() as i64; size as usize];
    for (k, &i) in indexes.iter().enumerate() {
        from[i as usize] = k as i64;
    }
    let rows = cx.dims(columns)[0].clone();
    let none = cx.full(DType::F32, vec![rows, 1.into()], 0.0)?;
    let all = cx.concat(&[columns, none], 1)?;
    let from = cx.constant(Tensor::i64s(&from))?;
    cx.emit(Gather { axis: 1 }, &[all, from])
}
