//! `Recurrent`: RNN, GRU or LSTM over a sequence (ONNX layout 0).

use super::OpSpec;
use crate::eval::EvalCx;
use crate::{DType, Diag, Expr, Result, Symbols, Tensor, TensorType};
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
    #[serde(with = "super::json_float")]
    pub alpha: f32,
    /// Second parameter where it has one.
    #[serde(with = "super::json_float")]
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
    #[serde(with = "super::json_float")]
    pub clip: Option<f32>,
    /// Gru variant.
    pub linear_before_reset: bool,
    /// Lstm: couples input and forget gates.
    pub input_forget: bool,
}

impl OpSpec for Recurrent {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let gates = self.gates();
        let ranks: &[usize] =
            if self.kind == CellKind::Lstm { &[3, 3, 3, 2, 1, 3, 3, 2] } else { &[3, 3, 3, 2, 1, 3] };
        if !x.iter().map(|t| t.rank()).eq(ranks.iter().copied())
            || !x[0].dtype.is_float()
            || x.iter().enumerate().any(|(i, t)| t.dtype != if i == 4 { DType::I32 } else { x[0].dtype })
        {
            let got: Vec<String> = x.iter().map(|t| s.show_type(t)).collect();
            return Err(Diag::input(format!("{:?} does not take {}", self.kind, got.join(", "))));
        }
        let directions = if self.direction == Direction::Bidirectional { 2 } else { 1 };
        if self.activations.len() != directions * self.functions() {
            return Err(Diag::input(format!(
                "{:?}: {} activations given",
                self.kind,
                self.activations.len()
            )));
        }
        let (t, b, h) = (x[0].dims[0].clone(), x[0].dims[1].clone(), x[2].dims[2].clone());
        let d = Expr::from(directions);
        let (gates_h, state) = (h.clone() * gates.into(), [&d, &b, &h].map(Expr::clone).to_vec());
        let wanted = [
            ("input weights", vec![d.clone(), gates_h.clone(), x[0].dims[2].clone()]),
            ("state weights", vec![d.clone(), gates_h.clone(), h.clone()]),
            ("biases", vec![d.clone(), gates_h * 2.into()]),
            ("lengths", vec![b.clone()]),
            ("initial state", state.clone()),
            ("initial cell", state),
            ("peepholes", vec![d.clone(), h.clone() * 3.into()]),
        ];
        for ((what, dims), t) in wanted.iter().zip(&x[1..]) {
            for (want, have) in dims.iter().zip(&t.dims) {
                s.require_eq(have, want, &format!("recurrent {what}"))?;
            }
        }
        let state = TensorType::new(x[0].dtype, vec![d.clone(), b.clone(), h.clone()]);
        let mut types = vec![TensorType::new(x[0].dtype, vec![t, d, b, h]), state.clone()];
        if self.kind == CellKind::Lstm {
            types.push(state);
        }
        Ok(types)
    }
    fn eval(&self, _: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let (t, b, width) = (x[0].shape()[0], x[0].shape()[1], x[0].shape()[2]);
        let (d, h) = (x[2].shape()[0], x[2].shape()[2]);
        let g = self.gates();
        let v = x.iter().map(Tensor::to_f32).collect::<Result<Vec<_>>>()?;
        let lens = x[4].to_i64()?;
        let mut y = vec![0f32; t * d * b * h];
        let mut last_h = v[5].clone();
        let mut last_c = v.get(6).cloned().unwrap_or_default();
        for dir in 0..d {
            let backwards = self.direction == Direction::Reverse || dir == 1;
            let w = &v[1][dir * g * h * width..][..g * h * width];
            let r = &v[2][dir * g * h * h..][..g * h * h];
            let bias = &v[3][dir * 2 * g * h..][..2 * g * h];
            let acts = &self.activations[dir * self.functions()..][..self.functions()];
            let peep = v.get(7).map(|p| &p[dir * 3 * h..][..3 * h]);
            for row in 0..b {
                let len = usize::try_from(lens[row]).unwrap_or(0).min(t);
                let state = (dir * b + row) * h;
                for step in 0..len {
                    let time = if backwards { len - 1 - step } else { step };
                    let input = &v[0][(time * b + row) * width..][..width];
                    let cell = Cell { h, input, w, r, bias, acts, peep };
                    let hs = last_h[state..state + h].to_vec();
                    let out = match self.kind {
                        CellKind::Rnn => self.rnn(&cell, &hs),
                        CellKind::Gru => self.gru(&cell, &hs),
                        CellKind::Lstm => self.lstm(&cell, &hs, &mut last_c[state..state + h]),
                    };
                    last_h[state..state + h].copy_from_slice(&out);
                    y[((time * d + dir) * b + row) * h..][..h].copy_from_slice(&out);
                }
            }
        }
        let dtype = x[0].dtype();
        let state = vec![d, b, h];
        let mut outs = vec![
            Tensor::from_f32(dtype, vec![t, d, b, h], &y)?,
            Tensor::from_f32(dtype, state.clone(), &last_h)?,
        ];
        if self.kind == CellKind::Lstm {
            outs.push(Tensor::from_f32(dtype, state, &last_c)?);
        }
        Ok(outs)
    }
}

/// One direction's weights and one step's input.
struct Cell<'a> {
    h: usize,
    input: &'a [f32],
    w: &'a [f32],
    r: &'a [f32],
    bias: &'a [f32],
    acts: &'a [Activation],
    peep: Option<&'a [f32]>,
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

impl Cell<'_> {
    /// Input part of gate `g`, unit `j`, with its bias.
    fn wx(&self, g: usize, j: usize) -> f32 {
        let n = self.input.len();
        dot(self.input, &self.w[(g * self.h + j) * n..][..n]) + self.bias[g * self.h + j]
    }
    /// State part of gate `g`, unit `j`, with its bias.
    fn rh(&self, gates: usize, g: usize, j: usize, state: &[f32]) -> f32 {
        dot(state, &self.r[(g * self.h + j) * self.h..][..self.h]) + self.bias[(gates + g) * self.h + j]
    }
}

impl Recurrent {
    /// Gates per unit.
    pub fn gates(&self) -> usize {
        match self.kind {
            CellKind::Rnn => 1,
            CellKind::Gru => 3,
            CellKind::Lstm => 4,
        }
    }
    /// Activation functions per direction.
    pub fn functions(&self) -> usize {
        match self.kind {
            CellKind::Rnn => 1,
            CellKind::Gru => 2,
            CellKind::Lstm => 3,
        }
    }
    fn clip(&self, v: f32) -> f32 {
        self.clip.map_or(v, |c| v.clamp(-c, c))
    }
    fn rnn(&self, c: &Cell, hs: &[f32]) -> Vec<f32> {
        (0..c.h).map(|j| c.acts[0].apply(self.clip(c.wx(0, j) + c.rh(1, 0, j, hs)))).collect()
    }
    fn gru(&self, c: &Cell, hs: &[f32]) -> Vec<f32> {
        let gate = |g: usize, j: usize| c.acts[0].apply(self.clip(c.wx(g, j) + c.rh(3, g, j, hs)));
        let z: Vec<f32> = (0..c.h).map(|j| gate(0, j)).collect();
        let r: Vec<f32> = (0..c.h).map(|j| gate(1, j)).collect();
        let reset: Vec<f32> = r.iter().zip(hs).map(|(r, h)| r * h).collect();
        (0..c.h)
            .map(|j| {
                let state =
                    if self.linear_before_reset { r[j] * c.rh(3, 2, j, hs) } else { c.rh(3, 2, j, &reset) };
                let n = c.acts[1].apply(self.clip(c.wx(2, j) + state));
                (1.0 - z[j]) * n + z[j] * hs[j]
            })
            .collect()
    }
    fn lstm(&self, c: &Cell, hs: &[f32], cell: &mut [f32]) -> Vec<f32> {
        let sum = |g: usize, j: usize| c.wx(g, j) + c.rh(4, g, j, hs);
        let peep = |k: usize, j: usize, v: f32| c.peep.map_or(0.0, |p| p[k * c.h + j] * v);
        (0..c.h)
            .map(|j| {
                let old = cell[j];
                let i = c.acts[0].apply(self.clip(sum(0, j) + peep(0, j, old)));
                let f = match self.input_forget {
                    true => 1.0 - i,
                    false => c.acts[0].apply(self.clip(sum(2, j) + peep(2, j, old))),
                };
                let g = c.acts[1].apply(self.clip(sum(3, j)));
                cell[j] = f * old + i * g;
                let o = c.acts[0].apply(self.clip(sum(1, j) + peep(1, j, cell[j])));
                o * c.acts[2].apply(cell[j])
            })
            .collect()
    }
}

impl Activation {
    /// The function's value.
    pub fn apply(&self, v: f32) -> f32 {
        let (a, b) = (self.alpha, self.beta);
        match self.kind {
            ActivationKind::Affine => a * v + b,
            ActivationKind::Relu => v.max(0.0),
            ActivationKind::LeakyRelu => {
                if v < 0.0 {
                    a * v
                } else {
                    v
                }
            }
            ActivationKind::ThresholdedRelu => {
                if v > a {
                    v
                } else {
                    0.0
                }
            }
            ActivationKind::Tanh => v.tanh(),
            ActivationKind::ScaledTanh => a * (b * v).tanh(),
            ActivationKind::Sigmoid => 1.0 / (1.0 + (-v).exp()),
            ActivationKind::HardSigmoid => (a * v + b).clamp(0.0, 1.0),
            ActivationKind::Elu => {
                if v < 0.0 {
                    a * (v.exp() - 1.0)
                } else {
                    v
                }
            }
            ActivationKind::Softsign => v / (1.0 + v.abs()),
            ActivationKind::Softplus => (1.0 + v.exp()).ln(),
        }
    }
}
