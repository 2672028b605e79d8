//! Losses.

use crate::frontend::onnx::node::{Build, NodeCx};
use sinter_ir::expr::product;
use sinter_ir::op;
use sinter_ir::op::compare::CompareKind as C;
use sinter_ir::op::reduce::ReduceKind as R;
use sinter_ir::op::unary::UnaryKind as U;
use sinter_ir::{DType, Diag, Result, Tensor, ValueId};

/// Operators.
pub const OPS: &[(&str, Build)] = &[
    ("NegativeLogLikelihoodLoss", |cx| {
        let x = cx.input(0)?;
        let y = nll(cx, x)?;
        cx.one(y)
    }),
    ("SoftmaxCrossEntropyLoss", |cx| {
        let x = cx.input(0)?;
        let log = cx.emit(op::Softmax { axis: 1, log: true }, &[x])?;
        let y = nll(cx, log)?;
        cx.many(&[y, log])
    }),
];

/// `-weight[t] * x[.., t, ..]` with targets in operand 1, class weights in operand 2; reduced as asked.
fn nll(cx: &mut NodeCx, x: ValueId) -> Result<ValueId> {
    let target = cx.input(1)?;
    let target = cx.cast(target, DType::I64)?;
    let dims = cx.dims_at_least(x, 2)?;
    let dtype = cx.dtype(x);
    let ignore = cx.opt_int("ignore_index");
    let zero = cx.constant(Tensor::i64(0))?;
    let ignored = match ignore {
        Some(i) => {
            let i = cx.constant(Tensor::i64(i))?;
            Some(cx.compare(C::Eq, target, i)?)
        }
        None => None,
    };
    // Ignored targets may lie outside the classes: they read class 0 and weigh nothing.
    let safe = match ignored {
        Some(m) => cx.select(m, zero, target)?,
        None => target,
    };
    let index = cx.unsqueeze(safe, &[1])?;
    let picked = cx.emit(op::GatherElements { axis: 1 }, &[x, index])?;
    let picked = cx.squeeze(picked, &[1])?;
    let mut loss = cx.unary(U::Neg, picked)?;
    let mut weight = match cx.opt(2)? {
        Some(w) => Some(cx.emit(op::Gather { axis: 0 }, &[w, safe])?),
        None => None,
    };
    if let Some(m) = ignored {
        let w = match weight {
            Some(w) => w,
            None => {
                let one = cx.scalar(dtype, 1.0)?;
                let mut d = dims.clone();
                d.remove(1);
                cx.broadcast(one, d)?
            }
        };
        let none = cx.scalar(dtype, 0.0)?;
        weight = Some(cx.select(m, none, w)?);
    }
    if let Some(w) = weight {
        loss = cx.mul(loss, w)?;
    }
    let axes: Vec<usize> = (0..cx.rank(loss)).collect();
    match cx.text("reduction", "mean").as_str() {
        "none" => Ok(loss),
        "sum" => cx.reduce(R::Sum, loss, &axes, false),
        "mean" => {
            let sum = cx.reduce(R::Sum, loss, &axes, false)?;
            let count = match weight {
                Some(w) => cx.reduce(R::Sum, w, &axes, false)?,
                None => {
                    let mut d = dims;
                    d.remove(1);
                    cx.dim_scalar(product(&d), dtype)?
                }
            };
            cx.div(sum, count)
        }
        r => Err(Diag::input(format!("reduction `{r}`"))),
    }
}
