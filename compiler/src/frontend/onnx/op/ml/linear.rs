//! Linear models.

use super::scores::{Post, Second, above, best, labels, plus};
use super::{features, matrix, numbers, rows};
use crate::frontend::onnx::node::NodeCx;
use crate::frontend::onnx::scope::Item;
use sinter_ir::op::MatMul;
use sinter_ir::{DType, Diag, Result, Tensor, ValueId};

type Out = Result<Vec<Item>>;

/// Rows times the node's coefficients `[targets, features]`, and intercepts.
fn products(cx: &mut NodeCx) -> Result<(ValueId, usize)> {
    let x = rows(cx)?;
    let (n, c) = (features(cx, x)?, numbers(cx, "coefficients")?);
    let targets = c.len() / n.max(1);
    let w = matrix(cx, x, vec![targets, n], &c, "coefficients")?;
    let w = cx.transpose(w, vec![1, 0])?;
    let y = cx.emit(MatMul::default(), &[x, w])?;
    let y = plus(cx, y, "intercepts")?;
    let y = cx.cast(y, DType::F32)?;
    Ok((y, targets))
}

/// Sums per target.
pub fn regressor(cx: &mut NodeCx) -> Out {
    let (y, _) = products(cx)?;
    let y = Post::of(cx)?.apply(cx, y)?;
    cx.one(y)
}

/// Labels and scores.
pub fn classifier(cx: &mut NodeCx) -> Out {
    let (mut scores, classes) = products(cx)?;
    let (names, post) = (labels(cx, "classlabels")?, Post::of(cx)?);
    if classes == 1 {
        // One row of coefficients tells two classes apart.
        let two = names.len() == 2;
        let names = if two { names } else { Tensor::i64s(&[0, 1]) };
        let label = above(cx, scores, 0.0, names)?;
        let scores = if two { Second::Rest.apply(cx, scores, post)? } else { post.apply(cx, scores)? };
        return cx.many(&[label, scores]);
    }
    if names.len() != classes {
        return Err(Diag::input(format!("{} labels for {classes} classes", names.len())));
    }
    let label = best(cx, scores, names)?;
    scores = post.apply(cx, scores)?;
    cx.many(&[label, scores])
}
