//! ai.onnx.ml: what classical learning does before, instead of and behind networks. Maps are no tensors: DictVectorizer,
//! which reads them, is not there.

mod columns;
mod coupling;
mod encode;
mod linear;
mod scores;
mod svm;
mod trees;
mod zip;

use crate::frontend::onnx::node::{Build, NodeCx};
use crate::frontend::onnx::tensor;
use sinter_ir::{DType, Diag, Expr, Result, Tensor, ValueId};

/// Operators.
pub const OPS: &[(&str, Build)] = &[
    ("ai.onnx.ml:ArrayFeatureExtractor", columns::extract),
    ("ai.onnx.ml:Binarizer", columns::binarizer),
    ("ai.onnx.ml:FeatureVectorizer", columns::join),
    ("ai.onnx.ml:Imputer", columns::imputer),
    ("ai.onnx.ml:Normalizer", columns::normalizer),
    ("ai.onnx.ml:Scaler", columns::scaler),
    ("ai.onnx.ml:CategoryMapper", encode::categories),
    ("ai.onnx.ml:OneHotEncoder", encode::one_hot),
    ("ai.onnx.ml:LinearClassifier", linear::classifier),
    ("ai.onnx.ml:LinearRegressor", linear::regressor),
    ("ai.onnx.ml:SVMClassifier", svm::classifier),
    ("ai.onnx.ml:SVMRegressor", svm::regressor),
    ("ai.onnx.ml:TreeEnsemble", trees::ensemble),
    ("ai.onnx.ml:TreeEnsembleClassifier", trees::classifier),
    ("ai.onnx.ml:TreeEnsembleRegressor", trees::regressor),
    ("ai.onnx.ml:ZipMap", zip::map),
];

/// Numbers of a list attribute, or of the tensor attribute that later versions have beside it; empty without both.
fn numbers(cx: &NodeCx, name: &str) -> Result<Vec<f64>> {
    if let Some(t) = cx.attr(&format!("{name}_as_tensor")).and_then(|a| a.t.as_ref()) {
        return tensor::read_inline(t)?.to_f64();
    }
    let Some(a) = cx.attr(name) else { return Ok(vec![]) };
    match &a.t {
        Some(t) => tensor::read_inline(t)?.to_f64(),
        None if !a.floats.is_empty() => Ok(a.floats.iter().map(|&v| f64::from(v)).collect()),
        None => Ok(a.ints.iter().map(|&v| v as f64).collect()),
    }
}

/// Whole numbers of a list or tensor attribute, each of them below `end` and not negative.
fn places(cx: &NodeCx, name: &str, end: usize) -> Result<Vec<usize>> {
    let list = match cx.attr(name) {
        None => vec![],
        Some(a) => match &a.t {
            Some(t) => tensor::read_inline(t)?.to_i64()?,
            None => a.ints.clone(),
        },
    };
    let place = |v: &i64| usize::try_from(*v).ok().filter(|&v| v < end);
    let all: Option<Vec<usize>> = list.iter().map(place).collect();
    all.ok_or_else(|| {
        Diag::input(format!("attribute `{name}`: every number must be from 0 to {}", end.max(1) - 1))
    })
}

/// Operand 0 in f32, or in f64 where it is that.
fn real(cx: &mut NodeCx) -> Result<ValueId> {
    let x = cx.input(0)?;
    let to = if cx.dtype(x) == DType::F64 { DType::F64 } else { DType::F32 };
    cx.cast(x, to)
}

/// Operand 0 as rows of features `[rows, features]`, see [`real`].
fn rows(cx: &mut NodeCx) -> Result<ValueId> {
    let x = real(cx)?;
    match cx.dims(x).as_slice() {
        [_, _] => Ok(x),
        [n] => cx.reshape(x, vec![1.into(), n.clone()]),
        _ => Err(Diag::input(format!("rows of features are needed, got {}", cx.ty(x)))),
    }
}

/// Number of features of rows.
fn features(cx: &NodeCx, x: ValueId) -> Result<usize> {
    let n = cx.dims(x).last().and_then(Expr::as_const).and_then(|n| usize::try_from(n).ok());
    n.ok_or_else(|| {
        Diag::unsupported(format!("the number of features must be known, got {}", cx.ty(x)))
            .help("fix it with --dim INPUT.1=N")
    })
}

/// A matrix constant of the type of another value.
fn matrix(cx: &mut NodeCx, like: ValueId, shape: Vec<usize>, values: &[f64], what: &str) -> Result<ValueId> {
    if sinter_ir::tensor::numel(&shape)? != values.len() {
        return Err(Diag::input(format!("{} {what} where {shape:?} are needed", values.len())));
    }
    cx.constant(Tensor::from_f64(cx.dtype(like), shape, values)?)
}
