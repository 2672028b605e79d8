//! Recurrent layers against the evaluator.
#![allow(clippy::unwrap_used)]

mod kernels;

use kernels::{Case, Rng};
use sinter_ir::op::Recurrent;
use sinter_ir::op::recurrent::{Activation, ActivationKind, CellKind, Direction};
use sinter_ir::{DType, Tensor};

const KINDS: [ActivationKind; 11] = [
    ActivationKind::Affine,
    ActivationKind::Relu,
    ActivationKind::LeakyRelu,
    ActivationKind::ThresholdedRelu,
    ActivationKind::Tanh,
    ActivationKind::ScaledTanh,
    ActivationKind::Sigmoid,
    ActivationKind::HardSigmoid,
    ActivationKind::Elu,
    ActivationKind::Softsign,
    ActivationKind::Softplus,
];

fn random(rng: &mut Rng, kind: CellKind, dtype: DType) -> Case {
    let steps = rng.dim(1, 6);
    of_steps(rng, kind, dtype, steps)
}

fn of_steps(rng: &mut Rng, kind: CellKind, dtype: DType, t: usize) -> Case {
    let direction = rng.pick(&[Direction::Forward, Direction::Reverse, Direction::Bidirectional]);
    let d = if direction == Direction::Bidirectional { 2 } else { 1 };
    let plain = rng.flip();
    let mut op = Recurrent {
        kind,
        direction,
        activations: vec![],
        clip: (rng.below(4) == 0).then_some(0.4),
        linear_before_reset: rng.flip(),
        input_forget: rng.below(4) == 0,
    };
    let standard = match kind {
        CellKind::Rnn => vec![ActivationKind::Tanh],
        CellKind::Gru => vec![ActivationKind::Sigmoid, ActivationKind::Tanh],
        CellKind::Lstm => vec![ActivationKind::Sigmoid, ActivationKind::Tanh, ActivationKind::Tanh],
    };
    for i in 0..d * op.functions() {
        let kind = if plain { standard[i % standard.len()] } else { rng.pick(&KINDS) };
        op.activations.push(Activation { kind, alpha: 0.3, beta: 0.6 });
    }
    let g = op.gates();
    let (b, i, h) = (rng.dim(1, 3), rng.dim(1, 9), rng.dim(1, 41));
    let scaled = |rng: &mut Rng, shape: Vec<usize>, by: f64| {
        let t = rng.tensor(DType::F64, shape.clone());
        let v: Vec<f64> = t.to_f64().unwrap().iter().map(|x| x * by).collect();
        Tensor::from_f64(dtype, shape, &v).unwrap()
    };
    let lens: Vec<i64> = (0..b).map(|_| if rng.flip() { t as i64 } else { rng.dim(0, t) as i64 }).collect();
    let mut inputs = vec![
        scaled(rng, vec![t, b, i], 1.0),
        scaled(rng, vec![d, g * h, i], 0.5),
        scaled(rng, vec![d, g * h, h], 0.2),
        scaled(rng, vec![d, 2 * g * h], 0.5),
        Tensor::from_i64(DType::I32, vec![b], &lens).unwrap(),
        scaled(rng, vec![d, b, h], 1.0),
    ];
    if kind == CellKind::Lstm {
        inputs.push(scaled(rng, vec![d, b, h], 1.0));
        let by = if rng.flip() { 0.5 } else { 0.0 };
        inputs.push(scaled(rng, vec![d, 3 * h], by));
    }
    let mut c = Case::new(op, inputs);
    let fixed = rng.below(4) > 0;
    for i in [1, 2, 3] {
        c.fixed[i] = fixed || rng.flip();
    }
    if kind == CellKind::Lstm {
        c.fixed[7] = rng.flip();
    }
    if t > 1 && rng.flip() {
        c.free(&[(0, 0)]);
    }
    if rng.below(3) == 0 {
        let states: &[(usize, usize)] = if kind == CellKind::Lstm {
            &[(0, 1), (4, 0), (5, 1), (6, 1)]
        } else {
            &[(0, 1), (4, 0), (5, 1)]
        };
        c.free(states);
    }
    c.tolerance = 2e-4;
    c.target.vector_bits = rng.pick(&[128, 256, 512]);
    c.target.vector_registers = if c.target.vector_bits == 512 { 32 } else { 16 };
    c
}

/// What streams call again and again: one kernel, unless the weights have to be packed first or the input part of a
/// gate has to stay apart.
#[test]
fn single_steps() {
    let mut rng = Rng::new(5);
    for n in 0..90 {
        let kind = [CellKind::Rnn, CellKind::Gru, CellKind::Lstm][n % 3];
        let mut c = of_steps(&mut rng, kind, DType::F32, 1);
        (1..4).for_each(|i| c.fixed[i] = true);
        let sinter_ir::Op::Recurrent(op) = &c.op else { unreachable!() };
        let late = kind == CellKind::Gru && op.linear_before_reset;
        assert_eq!(c.check().calls.len(), if late { 2 } else { 1 });
    }
}

#[test]
fn rnn() {
    let mut rng = Rng::new(1);
    (0..40).for_each(|_| drop(random(&mut rng, CellKind::Rnn, DType::F32).check()));
}

#[test]
fn gru() {
    let mut rng = Rng::new(2);
    (0..60).for_each(|_| drop(random(&mut rng, CellKind::Gru, DType::F32).check()));
}

#[test]
fn lstm() {
    let mut rng = Rng::new(3);
    (0..60).for_each(|_| drop(random(&mut rng, CellKind::Lstm, DType::F32).check()));
}

#[test]
fn half_precision() {
    let mut rng = Rng::new(4);
    for kind in [CellKind::Rnn, CellKind::Gru, CellKind::Lstm] {
        (0..6).for_each(|_| drop(random(&mut rng, kind, DType::F16).check()));
    }
}
