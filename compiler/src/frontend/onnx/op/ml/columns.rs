//! Features column by column.

use super::{numbers, real};
use crate::frontend::onnx::node::NodeCx;
use crate::frontend::onnx::scope::Item;
use sinter_ir::expr::product;
use sinter_ir::op::Gather;
use sinter_ir::op::binary::BinaryKind as B;
use sinter_ir::op::compare::CompareKind as C;
use sinter_ir::op::reduce::ReduceKind as R;
use sinter_ir::op::unary::UnaryKind as U;
use sinter_ir::{DType, Diag, Expr, Result, Tensor, ValueId};

type Out = Result<Vec<Item>>;

/// Columns by their numbers.
pub fn extract(cx: &mut NodeCx) -> Out {
    let (mut x, at) = (cx.input(0)?, cx.input(1)?);
    if cx.rank(x) == 1 {
        x = cx.unsqueeze(x, &[0])?;
    }
    let axis = cx.last_axis(x)?;
    let count = cx.ty(at).numel();
    let at = cx.reshape(at, vec![count])?;
    let y = cx.emit(Gather { axis }, &[x, at])?;
    cx.one(y)
}

/// 1 above a threshold.
pub fn binarizer(cx: &mut NodeCx) -> Out {
    let x = cx.input(0)?;
    let limit = cx.scalar_like(x, f64::from(cx.float("threshold", 0.0)))?;
    let above = cx.compare(C::Gt, x, limit)?;
    let y = cx.cast(above, cx.dtype(x))?;
    cx.one(y)
}

/// A list with one number for all columns, or one for each, of the type of `x`.
fn per_column(cx: &mut NodeCx, x: ValueId, name: &str, values: &[f64]) -> Result<ValueId> {
    let last = cx.last_axis(x)?;
    let columns = cx.dims(x)[last].clone();
    if values.len() != 1 && columns.as_const().is_some_and(|n| n != values.len() as i64) {
        return Err(Diag::input(format!("attribute `{name}` has {} numbers for {}", values.len(), cx.ty(x))));
    }
    cx.constant(Tensor::from_f64(cx.dtype(x), vec![values.len()], values)?)
}

/// `(x - offset) * scale`.
pub fn scaler(cx: &mut NodeCx) -> Out {
    let mut y = real(cx)?;
    for (name, kind) in [("offset", B::Sub), ("scale", B::Mul)] {
        let values = numbers(cx, name)?;
        if !values.is_empty() {
            let c = per_column(cx, y, name, &values)?;
            y = cx.binary(kind, y, c)?;
        }
    }
    let y = cx.cast(y, DType::F32)?;
    cx.one(y)
}

/// Values of one kind, NaN by default, replaced.
pub fn imputer(cx: &mut NodeCx) -> Out {
    let x = cx.input(0)?;
    let (list, gone) = if cx.dtype(x).is_float() {
        ("imputed_value_floats", f64::from(cx.float("replaced_value_float", 0.0)))
    } else {
        ("imputed_value_int64s", cx.int("replaced_value_int64", 0) as f64)
    };
    let values = numbers(cx, list)?;
    if values.is_empty() {
        return Err(Diag::input(format!("attribute `{list}` is empty")));
    }
    let new = per_column(cx, x, list, &values)?;
    let missing = if gone.is_nan() {
        cx.unary(U::IsNan, x)?
    } else {
        let gone = cx.scalar_like(x, gone)?;
        cx.compare(C::Eq, x, gone)?
    };
    let y = cx.select(missing, new, x)?;
    cx.one(y)
}

/// Rows divided by their norm, unless that is 0.
pub fn normalizer(cx: &mut NodeCx) -> Out {
    let x = real(cx)?;
    let axes = [cx.last_axis(x)?];
    let norm = match cx.text("norm", "MAX").as_str() {
        "MAX" => cx.reduce(R::Max, x, &axes, true)?,
        "L1" => {
            let a = cx.unary(U::Abs, x)?;
            cx.reduce(R::Sum, a, &axes, true)?
        }
        "L2" => {
            let s = cx.mul(x, x)?;
            let s = cx.reduce(R::Sum, s, &axes, true)?;
            cx.unary(U::Sqrt, s)?
        }
        n => return Err(Diag::input(format!("norm `{n}`"))),
    };
    let (zero, one) = (cx.scalar_like(x, 0.0)?, cx.scalar_like(x, 1.0)?);
    let none = cx.compare(C::Eq, norm, zero)?;
    let norm = cx.select(none, one, norm)?;
    let y = cx.div(x, norm)?;
    let y = cx.cast(y, DType::F32)?;
    cx.one(y)
}

/// All operands beside each other.
pub fn join(cx: &mut NodeCx) -> Out {
    let sizes = cx.int_list("inputdimensions").unwrap_or_default();
    let mut parts = vec![];
    for i in 0..cx.arity() {
        let x = cx.input(i)?;
        let x = cx.cast(x, DType::F32)?;
        let dims = cx.dims(x);
        let (n, columns) =
            if dims.len() < 2 { (1.into(), product(&dims)) } else { (dims[0].clone(), product(&dims[1..])) };
        if let Some(&size) = sizes.get(i)
            && columns != Expr::from(size)
        {
            return Err(Diag::unsupported(format!("inputdimensions: {size} features of {}", cx.ty(x))));
        }
        parts.push(cx.reshape(x, vec![n, columns])?);
    }
    if parts.is_empty() {
        return Err(Diag::input("no operands"));
    }
    let y = cx.concat(&parts, 1)?;
    cx.one(y)
}
