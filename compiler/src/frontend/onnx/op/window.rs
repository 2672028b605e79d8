//! Window functions and SwiGLU-like gates.

use crate::frontend::onnx::node::{Build, NodeCx};
use crate::frontend::onnx::scope::Item;
use crate::frontend::onnx::tensor;
use sinter_ir::op;
use sinter_ir::op::unary::UnaryKind as U;
use sinter_ir::{DType, Diag, Result};

/// Operators.
pub const OPS: &[(&str, Build)] = &[
    ("HannWindow", |cx| window(cx, &[0.5, -0.5])),
    ("HammingWindow", |cx| window(cx, &[25.0 / 46.0, -21.0 / 46.0])),
    ("BlackmanWindow", |cx| window(cx, &[0.42, -0.5, 0.08])),
];

/// `Σ a_k cos(2 pi k n / N)`, N one less for symmetric windows.
fn window(cx: &mut NodeCx, a: &[f64]) -> Result<Vec<Item>> {
    let size = cx.input(0)?;
    let size = cx.cast(size, DType::I64)?;
    let range = match cx.declared(0).as_deref() {
        Some([Some(d)]) => (*d, *d),
        _ => (0, 1 << 16),
    };
    let n = cx.int_value(size, range)?;
    let to = tensor::dtype(cx.int("output_datatype", 1) as i32)?;
    if !to.is_float() {
        return Err(Diag::unsupported(format!("a window of {to}")));
    }
    let last = if cx.flag("periodic", true) { n.clone() } else { n.clone() - 1.into() };
    let wide = DType::F64;
    let i = cx.emit(op::Iota { dtype: DType::I64, dims: vec![n], axis: 0 }, &[])?;
    let i = cx.cast(i, wide)?;
    let last = cx.dim_scalar(last, wide)?;
    let t = cx.div(i, last)?;
    let t = cx.mul_num(t, std::f64::consts::TAU)?;
    let mut sum = None;
    for (k, &c) in a.iter().enumerate() {
        let angle = cx.mul_num(t, k as f64)?;
        let cos = cx.unary(U::Cos, angle)?;
        let part = cx.mul_num(cos, c)?;
        sum = Some(match sum {
            None => part,
            Some(s) => cx.sum(s, part)?,
        });
    }
    let y = sum.ok_or_else(|| Diag::bug("a window without terms"))?;
    let y = cx.cast(y, to)?;
    cx.one(y)
}
