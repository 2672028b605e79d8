//! `Pool`: pooling over spatial axes, channels first.

use super::OpSpec;
use crate::eval::EvalCx;
#[allow(unused_imports)]
use crate::{DType, Diag, Expr, Graph, Result, Sym, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// Pooling reductions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum PoolKind {
    Max,
    Average,
}

/// pooling over spatial axes, channels first.
/// 
/// Inputs: `[x: [n, c, spatial..]]`. Results: `[y]`, and for Max with `indices` also i64 flat indices into x.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// Which reduction.
    pub kind: PoolKind,
    /// Window per spatial axis.
    pub kernel: Vec<Expr>,
    /// Per spatial axis.
    pub strides: Vec<usize>,
    /// Per spatial axis.
    pub dilations: Vec<usize>,
    /// Padding in front.
    pub pads_before: Vec<Expr>,
    /// Padding behind.
    pub pads_after: Vec<Expr>,
    /// Result dims round up.
    pub ceil_mode: bool,
    /// Average counts padding.
    pub count_include_pad: bool,
    /// Max also gives indices.
    pub indices: bool,
    /// Indices count spatial dims column-major (storage_order 1).
    pub column_major: bool,
}

impl OpSpec for Pool {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let _ = (s, x);
        Err(Diag::bug("Pool: shape rule not written"))
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let _ = (cx, x);
        Err(Diag::bug("Pool: evaluator not written"))
    }
    fn map_exprs(&mut self, f: &mut dyn FnMut(&mut Expr)) {
        self.kernel.iter_mut().for_each(&mut *f);
        self.pads_before.iter_mut().for_each(&mut *f);
        self.pads_after.iter_mut().for_each(&mut *f);
    }
}
