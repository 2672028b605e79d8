//! Every local rule of `simplify`: a small graph on which it fires, equal in meaning before and after.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod support;

use sinter_ir::graph::Origin;
use sinter_ir::op::binary::BinaryKind as B;
use sinter_ir::op::pad::PadMode;
use sinter_ir::op::pool::PoolKind;
use sinter_ir::op::reduce::ReduceKind;
use sinter_ir::op::unary::UnaryKind as U;
use sinter_ir::op::*;
use sinter_ir::{DType, Graph, Module, Op, Symbols, Tensor, TensorType, ValueId, eval};
use sinter_passes::canon::simplify::{self, RULES};
use sinter_passes::report::PassReport;
use support::Rng;

struct G {
    rng: Rng,
    symbols: Symbols,
    graph: Graph,
    inputs: Vec<Tensor>,
}

impl G {
    fn add(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> ValueId {
        self.graph.add1(&mut self.symbols, op.into(), inputs, &Origin::new()).unwrap()
    }
    fn input(&mut self, dtype: DType, shape: &[usize]) -> ValueId {
        let t = self.rng.tensor(dtype, shape.to_vec());
        let v = self.graph.add_input(TensorType::of(&t), Some(format!("x{}", self.inputs.len()).into()));
        self.inputs.push(t);
        v
    }
    fn x(&mut self, shape: &[usize]) -> ValueId {
        self.input(DType::F32, shape)
    }
    fn k(&mut self, shape: &[usize]) -> ValueId {
        let tensor = self.rng.tensor(DType::F32, shape.to_vec());
        self.add(Constant { tensor }, &[])
    }
    fn splat(&mut self, v: f32, shape: &[usize]) -> ValueId {
        let tensor = Tensor::f32s(shape.to_vec(), &vec![v; shape.iter().product()]).unwrap();
        self.add(Constant { tensor }, &[])
    }
    fn bin(&mut self, kind: B, a: ValueId, b: ValueId) -> ValueId {
        self.add(Binary { kind }, &[a, b])
    }
    fn un(&mut self, kind: U, a: ValueId) -> ValueId {
        self.add(Unary { kind }, &[a])
    }
    fn cast(&mut self, to: DType, a: ValueId) -> ValueId {
        self.add(Cast { to, saturate: true }, &[a])
    }
    fn reshape(&mut self, a: ValueId, dims: &[usize]) -> ValueId {
        self.add(Reshape { dims: exprs(dims) }, &[a])
    }
    fn broadcast(&mut self, a: ValueId, dims: &[usize]) -> ValueId {
        self.add(Broadcast { dims: exprs(dims) }, &[a])
    }
    fn transpose(&mut self, a: ValueId, perm: &[usize]) -> ValueId {
        self.add(Transpose { perm: perm.to_vec() }, &[a])
    }
    fn slice(&mut self, a: ValueId, starts: &[usize], sizes: &[usize], steps: &[i64]) -> ValueId {
        let steps = steps.iter().map(|&s| s.into()).collect();
        self.add(Slice { starts: exprs(starts), sizes: exprs(sizes), steps }, &[a])
    }
    fn pad(&mut self, a: ValueId, value: f32, before: &[usize], after: &[usize]) -> ValueId {
        let v = self.splat(value, &[]);
        self.add(Pad { mode: PadMode::Constant, before: exprs(before), after: exprs(after) }, &[a, v])
    }
    fn conv(&mut self, a: ValueId, w: &[usize], group: usize) -> ValueId {
        let w = self.k(w);
        let one = vec![1.into(), 1.into()];
        let op = Conv {
            strides: vec![1; 2],
            dilations: vec![1; 2],
            pads_before: one.clone(),
            pads_after: one,
            group,
            channels_last: false,
            zero: None,
            largest: None,
            wide: false,
        };
        self.add(op, &[a, w])
    }
    fn pool(&mut self, a: ValueId, kind: PoolKind) -> ValueId {
        let op = Pool {
            kind,
            kernel: vec![3.into(), 3.into()],
            strides: vec![2, 2],
            dilations: vec![1, 1],
            pads_before: vec![0.into(), 0.into()],
            pads_after: vec![0.into(), 0.into()],
            ceil_mode: false,
            count_include_pad: false,
            indices: false,
            column_major: false,
            channels_last: false,
        };
        self.add(op, &[a])
    }
}

fn exprs(v: &[usize]) -> Vec<sinter_ir::Expr> {
    v.iter().map(|&d| d.into()).collect()
}

type Case = (&'static str, fn(&mut G) -> ValueId);

const CASES: &[Case] = &[
    ("identity", |g| {
        let x = g.x(&[2]);
        let y = g.un(U::Neg, x);
        let y = g.add(Identity {}, &[y]);
        g.un(U::Exp, y)
    }),
    ("cast-same", |g| {
        let x = g.x(&[2]);
        let y = g.un(U::Neg, x);
        g.cast(DType::F32, y)
    }),
    ("cast-pair", |g| {
        let x = g.input(DType::I8, &[5]);
        let y = g.cast(DType::I32, x);
        g.cast(DType::I16, y)
    }),
    ("cast-pair", |g| {
        let x = g.input(DType::I16, &[5]);
        let y = g.cast(DType::F32, x);
        let y = g.cast(DType::I16, y);
        g.un(U::Neg, y)
    }),
    ("bitcast-same", |g| {
        let x = g.x(&[2]);
        let y = g.un(U::Neg, x);
        g.add(Bitcast { to: DType::F32 }, &[y])
    }),
    ("transpose-identity", |g| {
        let x = g.x(&[2, 3]);
        let y = g.un(U::Neg, x);
        g.transpose(y, &[0, 1])
    }),
    ("transpose-pair", |g| {
        let x = g.x(&[2, 3, 4]);
        let y = g.transpose(x, &[1, 2, 0]);
        g.transpose(y, &[1, 0, 2])
    }),
    ("transpose-of-ones", |g| {
        let x = g.x(&[2, 1, 4]);
        g.transpose(x, &[1, 0, 2])
    }),
    ("reshape-same", |g| {
        let x = g.x(&[2, 3]);
        let y = g.un(U::Neg, x);
        g.reshape(y, &[2, 3])
    }),
    ("reshape-pair", |g| {
        let x = g.x(&[2, 3]);
        let y = g.reshape(x, &[6]);
        g.reshape(y, &[3, 2])
    }),
    ("unary-before-reshape", |g| {
        let x = g.x(&[2, 3]);
        let y = g.add(Softmax { axis: 1, log: false }, &[x]);
        let y = g.reshape(y, &[6]);
        g.cast(DType::F64, y)
    }),
    ("constant-before-reshape", |g| {
        let x = g.x(&[2, 1, 3, 4]);
        let y = g.add(Softmax { axis: 1, log: false }, &[x]);
        let y = g.reshape(y, &[2, 3, 1, 4]);
        let k = g.k(&[3, 1, 1]);
        g.bin(B::Sub, k, y)
    }),
    ("constant-before-reshape", |g| {
        let x = g.x(&[6, 4]);
        let y = g.add(Softmax { axis: 1, log: false }, &[x]);
        let y = g.reshape(y, &[2, 3, 4]);
        let k = g.k(&[4]);
        g.bin(B::Mul, y, k)
    }),
    ("broadcast-same", |g| {
        let x = g.x(&[2, 3]);
        let y = g.un(U::Neg, x);
        g.broadcast(y, &[2, 3])
    }),
    ("broadcast-pair", |g| {
        let x = g.x(&[3]);
        let y = g.broadcast(x, &[2, 3]);
        g.broadcast(y, &[4, 2, 3])
    }),
    ("broadcast-implied", |g| {
        let (x, y) = (g.x(&[1, 3]), g.x(&[2, 3]));
        let b = g.broadcast(x, &[2, 3]);
        g.bin(B::Add, b, y)
    }),
    ("reduce-nothing", |g| {
        let x = g.x(&[2, 1, 3]);
        g.add(Reduce { kind: ReduceKind::Sum, axes: vec![1], keepdims: false }, &[x])
    }),
    ("slice-all", |g| {
        let x = g.x(&[2, 3]);
        let y = g.un(U::Neg, x);
        g.slice(y, &[0, 0], &[2, 3], &[1, 1])
    }),
    ("slice-pair", |g| {
        let x = g.x(&[9, 3]);
        let y = g.slice(x, &[8, 0], &[5, 2], &[-2, 1]);
        g.slice(y, &[1, 1], &[2, 1], &[2, 1])
    }),
    ("slice-of-concat", |g| {
        let (x, y) = (g.x(&[2, 3]), g.x(&[4, 3]));
        let c = g.add(Concat { axis: 0 }, &[x, y]);
        g.slice(c, &[3, 1], &[2, 2], &[1, 1])
    }),
    ("concat-one", |g| {
        let (x, y) = (g.x(&[2, 3]), g.x(&[2, 0]));
        let z = g.un(U::Neg, x);
        g.add(Concat { axis: 1 }, &[z, y])
    }),
    ("concat-nested", |g| {
        let (x, y) = (g.x(&[2, 3]), g.x(&[2, 1]));
        let c = g.add(Concat { axis: 1 }, &[x, y]);
        g.add(Concat { axis: 1 }, &[y, c, x])
    }),
    ("cast-of-concat", |g| {
        let (x, y) = (g.x(&[2, 3]), g.x(&[2, 4]));
        let c = g.add(Concat { axis: 1 }, &[x, y]);
        g.cast(DType::F16, c)
    }),
    ("concat-of-slices", |g| {
        let x = g.x(&[2, 8]);
        let a = g.slice(x, &[0, 1], &[2, 2], &[1, 1]);
        let b = g.slice(x, &[0, 3], &[2, 4], &[1, 1]);
        g.add(Concat { axis: 1 }, &[a, b])
    }),
    ("gather-to-slice", |g| {
        let x = g.x(&[2, 7]);
        let i = g.add(Constant { tensor: Tensor::i64s(&[-1, -3, -5]) }, &[]);
        g.add(Gather { axis: 1 }, &[x, i])
    }),
    ("neutral-operand", |g| {
        let x = g.x(&[2, 3]);
        let (one, zero) = (g.splat(1.0, &[3]), g.splat(0.0, &[]));
        let y = g.bin(B::Mul, one, x);
        let y = g.un(U::Neg, y);
        let y = g.bin(B::Sub, y, zero);
        g.bin(B::Pow, y, one)
    }),
    ("whole-power", |g| {
        let x = g.x(&[2, 3]);
        let powers = [2.0, 3.0, 4.0, -1.0, -2.0].map(|n| {
            let n = g.splat(n, &[1]);
            g.bin(B::Pow, x, n)
        });
        g.add(Concat { axis: 0 }, &powers)
    }),
    ("power-of-half", |g| {
        let x = g.x(&[2, 3]);
        let x = g.un(U::Abs, x);
        let (half, less) = (g.splat(0.5, &[]), g.splat(-0.5, &[]));
        let (y, z) = (g.bin(B::Pow, x, half), g.bin(B::Pow, x, less));
        g.add(Concat { axis: 0 }, &[y, z])
    }),
    ("div-by-power-of-two", |g| {
        let x = g.x(&[2, 2]);
        let tensor = Tensor::f32s(vec![2], &[-4.0, 0.125]).unwrap();
        let c = g.add(Constant { tensor }, &[]);
        g.bin(B::Div, x, c)
    }),
    ("erf-of-quotient", |g| {
        let (x, c) = (g.x(&[2, 3]), g.splat(std::f32::consts::SQRT_2, &[]));
        let y = g.bin(B::Div, x, c);
        g.add(Unary { kind: U::Erf }, &[y])
    }),
    ("sub-constant", |g| {
        let (x, c) = (g.x(&[2, 3]), g.k(&[3]));
        g.bin(B::Sub, x, c)
    }),
    ("clamp-twice", |g| {
        let (x, a, b) = (g.x(&[9]), g.splat(-1.0, &[]), g.splat(0.5, &[]));
        let y = g.bin(B::Max, x, a);
        g.bin(B::Max, y, b)
    }),
    ("unary-twice", |g| {
        let x = g.x(&[9]);
        let y = g.un(U::Neg, x);
        let y = g.un(U::Neg, y);
        let y = g.un(U::Floor, y);
        g.un(U::Round, y)
    }),
    ("abs-of-neg", |g| {
        let x = g.x(&[9]);
        let y = g.un(U::Neg, x);
        g.un(U::Abs, y)
    }),
    ("select-known", |g| {
        let (x, y) = (g.x(&[3]), g.x(&[2, 3]));
        let tensor = Tensor::from_i64(DType::Bool, vec![2, 1], &[1, 1]).unwrap();
        let c = g.add(Constant { tensor }, &[]);
        g.add(Select {}, &[c, x, y])
    }),
    ("select-same", |g| {
        let (c, x) = (g.input(DType::Bool, &[2, 1]), g.x(&[3]));
        g.add(Select {}, &[c, x, x])
    }),
    ("taps-in-padding", |g| {
        let (x, w) = (g.x(&[1, 2, 5, 7]), g.k(&[3, 2, 3, 5]));
        let conv = Conv {
            strides: vec![1, 2],
            dilations: vec![6, 4],
            pads_before: vec![6.into(), 8.into()],
            pads_after: vec![6.into(), 9.into()],
            group: 1,
            channels_last: false,
            zero: None,
            largest: None,
            wide: false,
        };
        g.add(conv, &[x, w])
    }),
    ("transpose-before-broadcast", |g| {
        let x = g.x(&[3, 1]);
        let b = g.broadcast(x, &[2, 3, 4]);
        g.transpose(b, &[2, 0, 1])
    }),
    ("transpose-before-reshape", |g| {
        let x = g.x(&[2, 1, 3, 4]);
        let b = g.broadcast(x, &[2, 5, 3, 4]);
        let r = g.reshape(b, &[10, 3, 4]);
        g.transpose(r, &[0, 2, 1])
    }),
    ("matmul-of-repeated-heads", |g| {
        let (a, x) = (g.x(&[2, 6, 5, 4]), g.x(&[2, 3, 1, 7, 4]));
        let b = g.broadcast(x, &[2, 3, 2, 7, 4]);
        let r = g.reshape(b, &[2, 6, 7, 4]);
        let t = g.transpose(r, &[0, 1, 3, 2]);
        g.add(MatMul::default(), &[a, t])
    }),
    ("pad-nothing", |g| {
        let x = g.x(&[2, 3]);
        let y = g.un(U::Neg, x);
        g.pad(y, 1.0, &[0, 0], &[0, 0])
    }),
    ("pad-into-conv", |g| {
        let x = g.x(&[1, 2, 5, 4]);
        let p = g.pad(x, 0.0, &[0, 0, 1, 0], &[0, 0, 2, 1]);
        g.conv(p, &[3, 2, 3, 3], 1)
    }),
    ("pad-into-pool", |g| {
        let x = g.x(&[1, 2, 5, 4]);
        let p = g.pad(x, 0.0, &[0, 0, 1, 0], &[0, 0, 2, 1]);
        g.pool(p, PoolKind::Average)
    }),
    ("pad-into-pool", |g| {
        let x = g.x(&[1, 2, 5, 4]);
        let p = g.pad(x, f32::NEG_INFINITY, &[0, 0, 1, 0], &[0, 0, 2, 1]);
        g.pool(p, PoolKind::Max)
    }),
    ("add-constants", |g| {
        let x = g.x(&[1, 2, 5, 4]);
        let y = g.conv(x, &[3, 2, 3, 3], 1);
        let (a, b) = (g.k(&[3, 1, 1]), g.k(&[1, 3, 1, 1]));
        let y = g.bin(B::Add, y, a);
        g.bin(B::Add, b, y)
    }),
    ("scale-of-offset", |g| {
        let x = g.x(&[1, 2, 5, 4]);
        let y = g.conv(x, &[3, 2, 3, 3], 1);
        let (a, b) = (g.k(&[3, 1, 1]), g.k(&[1, 3, 1, 1]));
        let y = g.bin(B::Add, y, a);
        g.bin(B::Mul, b, y)
    }),
    ("quotient-of-sums", |g| {
        let (a, b, c) = (g.x(&[3, 4]), g.x(&[4, 5]), g.splat(5.656, &[]));
        let y = g.add(MatMul::default(), &[a, b]);
        g.bin(B::Div, y, c)
    }),
    ("scale-into-weights", |g| {
        let x = g.x(&[2, 4, 5]);
        let w = g.k(&[5, 3]);
        let y = g.add(MatMul::default(), &[x, w]);
        let c = g.k(&[3]);
        g.bin(B::Mul, y, c)
    }),
    ("input-scale-into-weights", |g| {
        let x = g.x(&[1, 4, 5, 5]);
        let c = g.k(&[4, 1, 1]);
        let y = g.bin(B::Mul, x, c);
        g.conv(y, &[4, 1, 3, 3], 4)
    }),
    ("input-scale-into-weights", |g| {
        let (x, c, w) = (g.x(&[2, 4, 5]), g.k(&[5]), g.k(&[5, 3]));
        let y = g.bin(B::Mul, x, c);
        g.add(MatMul::default(), &[y, w])
    }),
];

#[test]
fn every_rule_fires_and_keeps_the_meaning() {
    for rule in RULES.iter().copied().flatten() {
        assert!(CASES.iter().any(|(name, _)| *name == rule.name), "no case for {}", rule.name);
    }
    for (i, (name, build)) in CASES.iter().enumerate() {
        for seed in 0..4 {
            let mut g = G {
                rng: Rng::new(seed),
                symbols: Symbols::default(),
                graph: Graph::default(),
                inputs: vec![],
            };
            let y = build(&mut g);
            g.graph.outputs = vec![y];
            let before =
                Module { name: "test".into(), symbols: g.symbols, graph: g.graph, ..Module::default() };
            let (mut after, mut report) = (before.clone(), PassReport::default());
            simplify::run(&mut after, &mut report).unwrap();
            assert!(report.count(name) > 0, "case {i}: {name} did not fire: {:?}", report.rules);
            let want = eval::module(&before, &g.inputs).unwrap();
            support::assert_close(&want, &eval::module(&after, &g.inputs).unwrap(), name);
        }
    }
}
