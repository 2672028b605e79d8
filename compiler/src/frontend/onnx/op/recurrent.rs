//! RNN, GRU, LSTM.

use crate::frontend::onnx::node::{Build, NodeCx};
use crate::frontend::onnx::scope::Item;
use sinter_ir::op;
use sinter_ir::op::recurrent::{Activation, ActivationKind as A, CellKind, Direction};
use sinter_ir::{DType, Diag, Expr, Result, ValueId};

/// Operators.
pub const OPS: &[(&str, Build)] = &[
    ("RNN", |cx| layer(cx, CellKind::Rnn)),
    ("GRU", |cx| layer(cx, CellKind::Gru)),
    ("LSTM", |cx| layer(cx, CellKind::Lstm)),
];

/// Name, function, default alpha and beta.
const ACTIVATIONS: &[(&str, A, f32, f32)] = &[
    ("relu", A::Relu, 0.0, 0.0),
    ("tanh", A::Tanh, 0.0, 0.0),
    ("sigmoid", A::Sigmoid, 0.0, 0.0),
    ("affine", A::Affine, 1.0, 0.0),
    ("leakyrelu", A::LeakyRelu, 0.01, 0.0),
    ("thresholdedrelu", A::ThresholdedRelu, 1.0, 0.0),
    ("scaledtanh", A::ScaledTanh, 1.0, 1.0),
    ("hardsigmoid", A::HardSigmoid, 0.2, 0.5),
    ("elu", A::Elu, 1.0, 0.0),
    ("softsign", A::Softsign, 0.0, 0.0),
    ("softplus", A::Softplus, 0.0, 0.0),
];

/// Functions that take an alpha or a beta from the attribute lists, in the order of use.
fn takes(kind: A) -> (bool, bool) {
    match kind {
        A::Affine | A::ScaledTanh | A::HardSigmoid => (true, true),
        A::LeakyRelu | A::ThresholdedRelu | A::Elu => (true, false),
        _ => (false, false),
    }
}

fn activations(cx: &NodeCx, kind: CellKind, directions: usize) -> Result<Vec<Activation>> {
    let defaults: &[&str] = match kind {
        CellKind::Rnn => &["tanh"],
        CellKind::Gru => &["sigmoid", "tanh"],
        CellKind::Lstm => &["sigmoid", "tanh", "tanh"],
    };
    let names: Vec<String> = match cx.attr("activations") {
        Some(a) if !a.strings.is_empty() => {
            a.strings.iter().map(|s| String::from_utf8_lossy(s).to_ascii_lowercase()).collect()
        }
        _ => (0..directions).flat_map(|_| defaults.iter().map(|s| (*s).to_owned())).collect(),
    };
    let list = |name: &str| cx.float_list(name).unwrap_or_default().into_iter();
    let (mut alphas, mut betas) = (list("activation_alpha"), list("activation_beta"));
    names
        .iter()
        .map(|n| {
            let known = ACTIVATIONS.iter().find(|a| a.0 == n);
            let &(_, kind, alpha, beta) =
                known.ok_or_else(|| Diag::unsupported(format!("activation `{n}`")))?;
            let (a, b) = takes(kind);
            let alpha = if a { alphas.next().unwrap_or(alpha) } else { alpha };
            let beta = if b { betas.next().unwrap_or(beta) } else { beta };
            Ok(Activation { kind, alpha, beta })
        })
        .collect()
}

fn layer(cx: &mut NodeCx, kind: CellKind) -> Result<Vec<Item>> {
    let (w, r) = (cx.input(1)?, cx.input(2)?);
    recurrent(cx, kind, w, r)
}

/// A layer with the node's attributes and operands but for the weights.
pub fn recurrent(cx: &mut NodeCx, kind: CellKind, w: ValueId, r: ValueId) -> Result<Vec<Item>> {
    let direction = match cx.text("direction", "forward").as_str() {
        "forward" => Direction::Forward,
        "reverse" => Direction::Reverse,
        "bidirectional" => Direction::Bidirectional,
        d => return Err(Diag::input(format!("direction `{d}`"))),
    };
    let directions = if direction == Direction::Bidirectional { 2 } else { 1 };
    let batch_first = cx.flag("layout", false);
    let mut x = cx.input(0)?;
    if [x, w, r].iter().any(|&v| cx.rank(v) != 3) {
        return Err(Diag::input("X, W and R must have rank 3"));
    }
    if batch_first {
        x = cx.transpose(x, vec![1, 0, 2])?;
    }
    let t = cx.dtype(x);
    let (steps, batch) = (cx.dims(x)[0].clone(), cx.dims(x)[1].clone());
    let h = cx.dims(r)[2].clone();
    let d = Expr::from(directions);
    let rows = cx.dims(w)[1].clone() * 2.into();
    let bias = match cx.opt(3)? {
        Some(b) => b,
        None => cx.full(t, vec![d.clone(), rows], 0.0)?,
    };
    let lens = match cx.opt(4)? {
        Some(l) => cx.cast(l, DType::I32)?,
        None => {
            let n = cx.dim_scalar(steps, DType::I32)?;
            cx.broadcast(n, vec![batch.clone()])?
        }
    };
    let state = |cx: &mut NodeCx, i: usize| -> Result<ValueId> {
        match cx.opt(i)? {
            Some(s) if batch_first => cx.transpose(s, vec![1, 0, 2]),
            Some(s) => Ok(s),
            None => cx.full(t, vec![d.clone(), batch.clone(), h.clone()], 0.0),
        }
    };
    let mut operands = vec![x, w, r, bias, lens, state(cx, 5)?];
    if kind == CellKind::Lstm {
        operands.push(state(cx, 6)?);
        operands.push(match cx.opt(7)? {
            Some(p) => p,
            None => cx.full(t, vec![d.clone(), h.clone() * 3.into()], 0.0)?,
        });
    }
    let clip = cx.opt_float("clip");
    let op = op::Recurrent {
        kind,
        direction,
        activations: activations(cx, kind, directions)?,
        clip,
        linear_before_reset: cx.flag("linear_before_reset", false),
        input_forget: cx.flag("input_forget", false),
    };
    let mut out = cx.add(op.into(), &operands)?;
    if batch_first {
        out[0] = cx.transpose(out[0], vec![2, 0, 1, 3])?;
        for s in &mut out[1..] {
            *s = cx.transpose(*s, vec![1, 0, 2])?;
        }
    }
    cx.many(&out)
}
