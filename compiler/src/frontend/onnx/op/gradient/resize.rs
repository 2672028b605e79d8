//! Derivative of resizing, which is linear along each axis: the matrix of an axis comes from resizing its unit
//! vectors, and the adjoint is a product with it.

use super::{Adjoints, Step};
use crate::frontend::onnx::node::NodeCx;
use sinter_ir::eval::EvalCx;
use sinter_ir::op::resize::Coordinate;
use sinter_ir::op::{MatMul, OpSpec, Resize};
use sinter_ir::{DType, Diag, Expr, Result, Tensor, ValueId};

/// Largest matrix of an axis, in elements.
const MAX_MATRIX: usize = 1 << 22;

/// Along one axis after the other.
pub fn resize(cx: &mut NodeCx, s: &Step, op: &Resize, dy: ValueId) -> Adjoints {
    let dims = cx.dims(s.x(0)?);
    if op.coordinate == Coordinate::TfCropAndResize {
        return Err(Diag::unsupported("Resize with tf_crop_and_resize"));
    }
    let mut g = dy;
    for axis in 0..dims.len() {
        let same = cx.symbols().known_eq(&dims[axis], &op.dims[axis]);
        if same && op.scales[axis].is_none_or(|v| v == 1.0) {
            continue;
        }
        let matrix = matrix(op, axis, &dims[axis], cx.dtype(dy))?;
        let matrix = cx.constant(matrix)?;
        // The axis last, one row of many: [.., 1, out] x [out, in].
        let rank = dims.len();
        let last: Vec<usize> = (0..rank).filter(|&i| i != axis).chain([axis]).collect();
        let moved = cx.transpose(g, last.clone())?;
        let row = cx.unsqueeze(moved, &[rank - 1])?;
        let product = cx.emit(MatMul::default(), &[row, matrix])?;
        let back = cx.squeeze(product, &[rank - 1])?;
        g = cx.transpose(back, super::movement::inverse(&last))?;
    }
    Ok(vec![Some(g)])
}

/// `[out, in]`: row o holds how much each element of the axis counts in result o.
fn matrix(op: &Resize, axis: usize, n: &Expr, dtype: DType) -> Result<Tensor> {
    let sizes = n.as_const().zip(op.dims[axis].as_const());
    let sizes = sizes.and_then(|(n, m)| Some((usize::try_from(n).ok()?, usize::try_from(m).ok()?)));
    let (n, m) = sizes.ok_or_else(|| Diag::unsupported("Resize of a dim known only at run time"))?;
    if n.saturating_mul(m) > MAX_MATRIX {
        return Err(Diag::unsupported(format!("Resize of {n} elements to {m}")));
    }
    let one_axis = Resize {
        dims: vec![n.into(), m.into()],
        scales: vec![None, op.scales[axis]],
        roi: vec![],
        ..op.clone()
    };
    let mut units = vec![0.0; n * n];
    units.iter_mut().step_by(n + 1).for_each(|v| *v = 1.0);
    let units = Tensor::from_f64(DType::F64, vec![n, n], &units)?;
    let resized = one_axis.eval(&mut EvalCx::default(), &[units])?;
    let columns = resized.first().ok_or_else(|| Diag::bug("Resize without result"))?.to_f64()?;
    let rows: Vec<f64> = (0..m * n).map(|i| columns[i % n * m + i / n]).collect();
    Tensor::from_f64(dtype, vec![m, n], &rows)
}
