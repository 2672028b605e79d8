//! Einsum: pairs of operands become batched matrix products.

use crate::frontend::onnx::node::{Build, NodeCx};
use crate::frontend::onnx::scope::Item;
use sinter_ir::expr::product;
use sinter_ir::op;
use sinter_ir::op::compare::CompareKind as C;
use sinter_ir::op::reduce::ReduceKind as R;
use sinter_ir::{DType, Diag, Expr, Result, ValueId};

/// Operators.
pub const OPS: &[(&str, Build)] = &[("Einsum", einsum)];

/// A value with a label per axis; `.0`, `.1`, ... are the axes of an ellipsis.
struct Term {
    value: ValueId,
    labels: Vec<String>,
}

fn labels(text: &str, rank: usize) -> Result<Vec<String>> {
    let bad = || Diag::input(format!("Einsum term `{text}` for rank {rank}"));
    let plain = text.chars().filter(|c| c.is_ascii_alphabetic()).count();
    let mut out = vec![];
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("...") {
            let n = rank.checked_sub(plain).ok_or_else(bad)?;
            out.extend((0..n).map(|i| format!(".{}", n - 1 - i)));
            rest = after;
        } else if c.is_ascii_alphabetic() {
            out.push(c.to_string());
            rest = &rest[1..];
        } else {
            return Err(bad());
        }
    }
    if out.len() == rank { Ok(out) } else { Err(bad()) }
}

fn einsum(cx: &mut NodeCx) -> Result<Vec<Item>> {
    let equation: String = cx.text("equation", "").chars().filter(|c| !c.is_whitespace()).collect();
    let (left, right) = match equation.split_once("->") {
        Some((l, r)) => (l.to_owned(), Some(r.to_owned())),
        None => (equation.clone(), None),
    };
    let texts: Vec<&str> = left.split(',').collect();
    if texts.len() != cx.arity() || texts.len() > 26 {
        return Err(Diag::input(format!("Einsum `{equation}` with {} operands", cx.arity())));
    }
    let mut terms = vec![];
    for (i, t) in texts.iter().enumerate() {
        let value = cx.input(i)?;
        let labels = labels(t, cx.rank(value))?;
        terms.push(diagonal(cx, Term { value, labels })?);
    }
    let mut all: Vec<String> = terms.iter().flat_map(|t| t.labels.clone()).collect();
    let ellipsis: Vec<String> = {
        let mut e: Vec<String> = all.iter().filter(|l| l.starts_with('.')).cloned().collect();
        e.sort_by(|a, b| b.cmp(a));
        e.dedup();
        e
    };
    let want: Vec<String> = match right {
        Some(r) => {
            let plain = r.chars().filter(|c| c.is_ascii_alphabetic()).count();
            let dots = if r.contains("...") { ellipsis.len() } else { 0 };
            labels(&r, plain + dots)?
        }
        None => {
            // Implicit: labels that occur once, sorted, behind the ellipsis.
            let count = |l: &String| texts.iter().map(|t| t.matches(l.as_str()).count()).sum::<usize>();
            let mut once: Vec<String> =
                all.iter().filter(|l| !l.starts_with('.') && count(l) == 1).cloned().collect();
            once.sort();
            [ellipsis, once].concat()
        }
    };
    all.clear();
    let mut rest = terms.into_iter();
    let mut acc = rest.next().ok_or_else(|| Diag::input("Einsum without operands"))?;
    let later: Vec<Term> = rest.collect();
    for (i, t) in later.iter().enumerate() {
        let needed: Vec<&String> = want.iter().chain(later[i + 1..].iter().flat_map(|t| &t.labels)).collect();
        acc = pair(cx, acc, t, &needed)?;
    }
    let extra: Vec<usize> = (0..acc.labels.len()).filter(|&i| !want.contains(&acc.labels[i])).collect();
    if !extra.is_empty() {
        acc.value = cx.reduce(R::Sum, acc.value, &extra, false)?;
        acc.labels.retain(|l| want.contains(l));
    }
    let y = arrange(cx, &acc, &want)?;
    cx.one(y)
}

/// Repeated labels in one term: only the diagonal counts.
fn diagonal(cx: &mut NodeCx, t: Term) -> Result<Term> {
    let mut t = t;
    while let Some((i, j)) = (0..t.labels.len())
        .find_map(|i| Some((i, (i + 1..t.labels.len()).find(|&j| t.labels[j] == t.labels[i])?)))
    {
        let dims = cx.dims(t.value);
        let on = |cx: &mut NodeCx, axis: usize| {
            cx.emit(op::Iota { dtype: DType::I64, dims: vec![dims[axis].clone()], axis: 0 }, &[])
                .and_then(|v| cx.along(v, axis, dims.len()))
        };
        let (a, b) = (on(cx, i)?, on(cx, j)?);
        let same = cx.compare(C::Eq, a, b)?;
        let zero = cx.scalar_like(t.value, 0.0)?;
        let only = cx.select(same, t.value, zero)?;
        t.value = cx.reduce(R::Sum, only, &[j], false)?;
        t.labels.remove(j);
    }
    Ok(t)
}

/// The term's axes in the order of `want`; labels that it lacks become 1.
fn arrange(cx: &mut NodeCx, t: &Term, want: &[String]) -> Result<ValueId> {
    let present: Vec<&String> = want.iter().filter(|l| t.labels.contains(l)).collect();
    let perm = present.iter().map(|l| t.labels.iter().position(|x| x == *l).unwrap_or(0)).collect();
    let v = cx.transpose(t.value, perm)?;
    let missing: Vec<usize> = (0..want.len()).filter(|&i| !t.labels.contains(&want[i])).collect();
    if missing.is_empty() { Ok(v) } else { cx.unsqueeze(v, &missing) }
}

/// Product of two terms, summed over the labels that nothing needs any more.
fn pair(cx: &mut NodeCx, a: Term, b: &Term, needed: &[&String]) -> Result<Term> {
    let (mut batch, mut rows, mut cols, mut sums) = (vec![], vec![], vec![], vec![]);
    for l in &a.labels {
        match (b.labels.contains(l), needed.contains(&l)) {
            (true, true) => batch.push(l.clone()),
            (true, false) => sums.push(l.clone()),
            (false, _) => rows.push(l.clone()),
        }
    }
    cols.extend(b.labels.iter().filter(|l| !a.labels.contains(l)).cloned());
    let left = arrange(cx, &a, &[batch.clone(), rows.clone(), sums.clone()].concat())?;
    let right = arrange(cx, b, &[batch.clone(), sums.clone(), cols.clone()].concat())?;
    let (ld, rd) = (cx.dims(left), cx.dims(right));
    let (nb, nr, ns) = (batch.len(), rows.len(), sums.len());
    let widest = |x: &Expr, y: &Expr| if x.is(1) { y.clone() } else { x.clone() };
    let bd: Vec<Expr> = ld[..nb].iter().zip(&rd[..nb]).map(|(x, y)| widest(x, y)).collect();
    let shape = |own: &[Expr], m: Expr, n: Expr| [own, &[m, n]].concat();
    let l = cx.reshape(left, shape(&ld[..nb], product(&ld[nb..nb + nr]), product(&ld[nb + nr..])))?;
    let r = cx.reshape(right, shape(&rd[..nb], product(&rd[nb..nb + ns]), product(&rd[nb + ns..])))?;
    let y = cx.emit(op::MatMul::default(), &[l, r])?;
    let dims = [bd.as_slice(), &ld[nb..nb + nr], &rd[nb + ns..]].concat();
    let value = cx.reshape(y, dims)?;
    Ok(Term { value, labels: [batch, rows, cols].concat() })
}
