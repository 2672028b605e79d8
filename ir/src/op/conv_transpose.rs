//! `ConvTranspose`: N-D transposed convolution, channels first.

use super::OpSpec;
use crate::eval::EvalCx;
#[allow(unused_imports)]
use crate::{DType, Diag, Expr, Graph, Result, Sym, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// N-D transposed convolution, channels first.
/// 
/// Inputs: `[x: [n, c, spatial..], w: [c, o/group, kernel..]]`. `y[o] = (x-1)*stride + dilation*(kernel-1) + 1 - before - after`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConvTranspose {
    /// Per spatial axis.
    pub strides: Vec<usize>,
    /// Per spatial axis.
    pub dilations: Vec<usize>,
    /// Elements cut in front; may be negative.
    pub pads_before: Vec<Expr>,
    /// Elements cut behind; negative adds zeros (output_padding).
    pub pads_after: Vec<Expr>,
    /// Groups.
    pub group: usize,
}

impl OpSpec for ConvTranspose {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let _ = (s, x);
        Err(Diag::bug("ConvTranspose: shape rule not written"))
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let _ = (cx, x);
        Err(Diag::bug("ConvTranspose: evaluator not written"))
    }
    fn map_exprs(&mut self, f: &mut dyn FnMut(&mut Expr)) {
        self.pads_before.iter_mut().for_each(&mut *f);
        self.pads_after.iter_mut().for_each(&mut *f);
    }
}
