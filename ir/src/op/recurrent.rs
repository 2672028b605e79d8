//! `Recurrent`: RNN, GRU or LSTM over a sequence (ONNX layout 0).

use super::OpSpec;
use crate::eval::EvalCx;
#[allow(unused_imports)]
use crate::{DType, Diag, Expr, Graph, Result, Sym, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// Cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum CellKind {
    Rnn,
    Gru,
    Lstm,
}

/// Directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Direction {
    Forward,
    Reverse,
    Bidirectional,
}

/// Activation with its parameters.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Activation {
    /// Function.
    pub kind: ActivationKind,
    /// First parameter where it has one.
    pub alpha: f32,
    /// Second parameter where it has one.
    pub beta: f32,
}

/// Activation functions of ONNX RNNs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum ActivationKind {
    Affine,
    Relu,
    LeakyRelu,
    ThresholdedRelu,
    Tanh,
    ScaledTanh,
    Sigmoid,
    HardSigmoid,
    Elu,
    Softsign,
    Softplus,
}

/// RNN, GRU or LSTM over a sequence (ONNX layout 0).
/// 
/// Inputs: `[x: [t,b,i], w: [d,g*h,i], r: [d,g*h,h], bias: [d,2*g*h], lens: i32 [b], h0: [d,b,h]]` and for Lstm `c0: [d,b,h], peephole: [d,3*h]`.
/// Results: `[y: [t,d,b,h], h: [d,b,h]]` and for Lstm `c: [d,b,h]`. Gate orders: Lstm iofc, Gru zrh.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recurrent {
    /// Cell.
    pub kind: CellKind,
    /// Direction.
    pub direction: Direction,
    /// Per direction: f; f,g; f,g,h.
    pub activations: Vec<Activation>,
    /// Clip of gate inputs.
    pub clip: Option<f32>,
    /// Gru variant.
    pub linear_before_reset: bool,
    /// Lstm: couples input and forget gates.
    pub input_forget: bool,
}

impl OpSpec for Recurrent {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let _ = (s, x);
        Err(Diag::bug("Recurrent: shape rule not written"))
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let _ = (cx, x);
        Err(Diag::bug("Recurrent: evaluator not written"))
    }
}
