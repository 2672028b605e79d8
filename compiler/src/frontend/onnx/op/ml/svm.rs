//! Support vector machines.

use super::coupling::couple;
use super::scores::{Post, Second, above, best, labels, plus};
use super::{features, matrix, numbers, rows};
use crate::frontend::onnx::node::NodeCx;
use crate::frontend::onnx::scope::Item;
use sinter_ir::op::MatMul;
use sinter_ir::op::binary::BinaryKind as B;
use sinter_ir::op::compare::CompareKind as C;
use sinter_ir::op::reduce::ReduceKind as R;
use sinter_ir::op::unary::UnaryKind as U;
use sinter_ir::{DType, Diag, Result, ValueId};

type Out = Result<Vec<Item>>;

/// Most classes whose pairs vote.
const MAX_CLASSES: usize = 256;

/// How alike rows `[rows, features]` and vectors, `count` of them in `values`, are: `[rows, count]`.
fn kernel(cx: &mut NodeCx, x: ValueId, values: &[f64], count: usize) -> Result<ValueId> {
    let n = features(cx, x)?;
    let params = numbers(cx, "kernel_params")?;
    let param = |i: usize| params.get(i).copied().unwrap_or(0.0);
    let v = matrix(cx, x, vec![count, n], values, "numbers in vectors")?;
    let turned = cx.transpose(v, vec![1, 0])?;
    let dot = cx.emit(MatMul::default(), &[x, turned])?;
    match cx.text("kernel_type", "LINEAR").as_str() {
        "LINEAR" => Ok(dot),
        "RBF" => {
            // |x - v|^2 as differences: the expanded form loses what is small.
            let (x, v) = (cx.unsqueeze(x, &[1])?, cx.unsqueeze(v, &[0])?);
            let d = cx.sub(x, v)?;
            let d = cx.mul(d, d)?;
            let d = cx.reduce(R::Sum, d, &[2], false)?;
            let d = cx.mul_num(d, -param(0))?;
            cx.unary(U::Exp, d)
        }
        kind @ ("POLY" | "SIGMOID") => {
            let y = cx.mul_num(dot, param(0))?;
            let y = cx.add_num(y, param(1))?;
            if kind == "SIGMOID" {
                return cx.unary(U::Tanh, y);
            }
            let degree = cx.scalar_like(y, param(2))?;
            cx.binary(B::Pow, y, degree)
        }
        k => Err(Diag::input(format!("kernel_type `{k}`"))),
    }
}

/// `SVMRegressor`.
pub fn regressor(cx: &mut NodeCx) -> Out {
    let x = rows(cx)?;
    let count = usize::try_from(cx.int("n_supports", 0)).unwrap_or(0);
    let (weights, rho) = (numbers(cx, "coefficients")?, numbers(cx, "rho")?);
    let y = if count > 0 {
        let vectors = numbers(cx, "support_vectors")?;
        let alike = kernel(cx, x, &vectors, count)?;
        let w = matrix(cx, x, vec![count, 1], &weights, "coefficients")?;
        cx.emit(MatMul::default(), &[alike, w])?
    } else {
        kernel(cx, x, &weights, 1)?
    };
    let y = cx.add_num(y, rho.first().copied().unwrap_or(0.0))?;
    let y = cx.cast(y, DType::F32)?;
    let y = if cx.flag("one_class", false) {
        let zero = cx.scalar_like(y, 0.0)?;
        let inside = cx.compare(C::Gt, y, zero)?;
        let (yes, no) = (cx.scalar_like(y, 1.0)?, cx.scalar_like(y, -1.0)?);
        cx.select(inside, yes, no)?
    } else {
        Post::of(cx)?.apply(cx, y)?
    };
    cx.one(y)
}

/// `SVMClassifier`: one product per class, or votes of all pairs of classes.
pub fn classifier(cx: &mut NodeCx) -> Out {
    let x = rows(cx)?;
    let (names, post) = (labels(cx, "classlabels")?, Post::of(cx)?);
    let sizes = super::places(cx, "vectors_per_class", usize::MAX)?;
    let (weights, rho) = (numbers(cx, "coefficients")?, numbers(cx, "rho")?);
    if sizes.is_empty() {
        let classes = names.len();
        let y = kernel(cx, x, &weights, classes)?;
        let y = cx.add_num(y, rho.first().copied().unwrap_or(0.0))?;
        let y = cx.cast(y, DType::F32)?;
        let label = best(cx, y, names)?;
        let y = post.apply(cx, y)?;
        return cx.many(&[label, y]);
    }
    let (classes, count) = (sizes.len(), sizes.iter().fold(0usize, |a, b| a.saturating_add(*b)));
    if classes < 2 || names.len() != classes {
        return Err(Diag::input(format!("{} labels for {classes} classes of vectors", names.len())));
    }
    if classes > MAX_CLASSES {
        return Err(Diag::limit(format!("votes of all pairs of {classes} classes, at most {MAX_CLASSES}")));
    }
    let pairs = pairs_of(classes);
    if weights.len() != count.saturating_mul(classes - 1) || rho.len() != pairs.len() {
        return Err(Diag::input(format!(
            "{} coefficients and {} rho for {classes} classes with {count} vectors",
            weights.len(),
            rho.len()
        )));
    }
    let starts: Vec<usize> = sizes.iter().scan(0, |at, n| Some(std::mem::replace(at, *at + n))).collect();
    let vectors = numbers(cx, "support_vectors")?;
    let alike = kernel(cx, x, &vectors, count)?;
    // One column per pair: what its two classes' vectors say.
    let mut table = vec![0.0; count * pairs.len()];
    for (p, &(i, j)) in pairs.iter().enumerate() {
        for (own, other) in [(i, j - 1), (j, i)] {
            for v in starts[own]..starts[own] + sizes[own] {
                table[v * pairs.len() + p] = weights[other * count + v];
            }
        }
    }
    let table = matrix(cx, x, vec![count, pairs.len()], &table, "coefficients")?;
    let y = cx.emit(MatMul::default(), &[alike, table])?;
    let y = plus(cx, y, "rho")?;
    let y = cx.cast(y, DType::F32)?;
    let (a, b) = (numbers(cx, "prob_a")?, numbers(cx, "prob_b")?);
    let likely = if a.is_empty() { None } else { Some(probabilities(cx, y, classes, &a, &b)?) };
    if classes == 2 {
        // The first class is the one with a positive score.
        let turned = names.pick(vec![2], &[1, 0])?;
        let label = above(cx, y, 0.0, turned)?;
        let y = match likely {
            Some(p) => post.apply(cx, p)?,
            None => Second::Opposite.apply(cx, y, post)?,
        };
        return cx.many(&[label, y]);
    }
    let zero = cx.scalar_like(y, 0.0)?;
    let first = cx.compare(C::Gt, y, zero)?;
    let first = cx.cast(first, DType::F32)?;
    // A vote for one class of a pair is none for the other.
    let (mut more, mut base) = (vec![0.0; pairs.len() * classes], vec![0.0; classes]);
    for (p, &(i, j)) in pairs.iter().enumerate() {
        more[p * classes + i] = 1.0;
        more[p * classes + j] = -1.0;
        base[j] += 1.0;
    }
    let more = matrix(cx, first, vec![pairs.len(), classes], &more, "votes")?;
    let votes = cx.emit(MatMul::default(), &[first, more])?;
    let base = matrix(cx, first, vec![classes], &base, "votes")?;
    let votes = cx.sum(votes, base)?;
    let label = best(cx, votes, names)?;
    let y = post.apply(cx, likely.unwrap_or(y))?;
    cx.many(&[label, y])
}

/// All pairs of classes, the smaller one first.
fn pairs_of(classes: usize) -> Vec<(usize, usize)> {
    (0..classes).flat_map(|i| (i + 1..classes).map(move |j| (i, j))).collect()
}

/// Probabilities `[rows, classes]` of scores of all pairs, by Platt's sigmoids `1 / (1 + exp(a s + b))`.
fn probabilities(cx: &mut NodeCx, scores: ValueId, classes: usize, a: &[f64], b: &[f64]) -> Result<ValueId> {
    let pairs = classes * (classes - 1) / 2;
    let (a, b) =
        (matrix(cx, scores, vec![pairs], a, "prob_a")?, matrix(cx, scores, vec![pairs], b, "prob_b")?);
    let s = cx.mul(scores, a)?;
    let s = cx.sum(s, b)?;
    let s = cx.unary(U::Neg, s)?;
    let p = cx.unary(U::Sigmoid, s)?;
    let (lo, hi) = (cx.scalar_like(p, 1e-7)?, cx.scalar_like(p, 1.0 - 1e-7)?);
    let p = cx.binary(B::Max, p, lo)?;
    let p = cx.binary(B::Min, p, hi)?;
    let mut table = vec![vec![p; classes]; classes];
    for (at, (i, j)) in pairs_of(classes).into_iter().enumerate() {
        let own = cx.slice_axis(p, 1, at.into(), 1.into())?;
        let other = cx.unary(U::Neg, own)?;
        table[i][j] = own;
        table[j][i] = cx.add_num(other, 1.0)?;
    }
    couple(cx, &table)
}
