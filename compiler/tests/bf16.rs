//! `--precision bf16` on whole networks: machine code gives bit for bit what the program says, and both are as near the
//! network in f32 as bf16 allows.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod common;

use common::{open, skip};
use sinter_ir::op::binary::BinaryKind;
use sinter_ir::op::reduce::ReduceKind;
use sinter_ir::op::unary::UnaryKind;
use sinter_ir::op::{Binary, Concat, Constant, Conv, MatMul, Reduce, Reshape, Softmax, Transpose, Unary};
use sinter_ir::program::{Program, interp};
use sinter_ir::target::TargetDesc;
use sinter_ir::{DType, Expr, Graph, Module, Op, Symbols, Tensor, TensorType, ValueId, eval};
use sinter_passes::lower::Precision;
use sinter_passes::pipeline::{self, PipelineOptions};

/// Numbers in [-1, 1).
fn random(seed: usize, shape: &[usize], scale: f32) -> Tensor {
    let mut state = seed as u64 * 0x9e37_79b9 + 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        scale * ((state >> 40) as f32 / (1u64 << 23) as f32 - 1.0)
    };
    let v: Vec<f32> = (0..shape.iter().product()).map(|_| next()).collect();
    Tensor::f32s(shape.to_vec(), &v).unwrap()
}

/// A network under construction.
#[derive(Default)]
struct Net {
    g: Graph,
    symbols: Symbols,
    constants: usize,
}

impl Net {
    fn input(&mut self, dims: &[usize]) -> ValueId {
        let dims = dims.iter().map(|&d| Expr::from(d)).collect();
        self.g.add_input(TensorType::new(DType::F32, dims), Some("x".into()))
    }
    fn add(&mut self, op: impl Into<Op>, x: &[ValueId]) -> ValueId {
        self.g.add1(&mut self.symbols, op.into(), x, &vec![]).unwrap()
    }
    fn constant(&mut self, shape: &[usize], scale: f32) -> ValueId {
        self.constants += 1;
        let tensor = random(self.constants, shape, scale);
        self.add(Constant { tensor }, &[])
    }
    fn binary(&mut self, kind: BinaryKind, a: ValueId, b: ValueId) -> ValueId {
        self.add(Binary { kind }, &[a, b])
    }
    fn number(&mut self, kind: BinaryKind, a: ValueId, v: f32) -> ValueId {
        let b = self.add(Constant { tensor: Tensor::f32s(vec![], &[v]).unwrap() }, &[]);
        self.binary(kind, a, b)
    }
    fn dense(&mut self, x: ValueId, from: usize, to: usize) -> ValueId {
        let (w, bias) = (self.constant(&[from, to], (3.0 / from as f32).sqrt()), self.constant(&[to], 0.1));
        let y = self.add(MatMul::default(), &[x, w]);
        self.binary(BinaryKind::Add, y, bias)
    }
    fn norm(&mut self, x: ValueId) -> ValueId {
        let mean =
            |s: &mut Self, x| s.add(Reduce { kind: ReduceKind::Mean, axes: vec![2], keepdims: true }, &[x]);
        let m = mean(self, x);
        let d = self.binary(BinaryKind::Sub, x, m);
        let square = self.binary(BinaryKind::Mul, d, d);
        let v = mean(self, square);
        let v = self.number(BinaryKind::Add, v, 1e-5);
        let s = self.add(Unary { kind: UnaryKind::Sqrt }, &[v]);
        self.binary(BinaryKind::Div, d, s)
    }
    fn gelu(&mut self, x: ValueId) -> ValueId {
        let z = self.number(BinaryKind::Mul, x, std::f32::consts::FRAC_1_SQRT_2);
        let e = self.add(Unary { kind: UnaryKind::Erf }, &[z]);
        let e = self.number(BinaryKind::Add, e, 1.0);
        let y = self.binary(BinaryKind::Mul, x, e);
        self.number(BinaryKind::Mul, y, 0.5)
    }
    fn conv(&mut self, x: ValueId, [c, o, k, stride]: [usize; 4]) -> ValueId {
        let pads = vec![Expr::from(k / 2); 2];
        let w = self.constant(&[o, c, k, k], (3.0 / (c * k * k) as f32).sqrt());
        let op = Conv {
            strides: vec![stride; 2],
            dilations: vec![1; 2],
            pads_before: pads.clone(),
            pads_after: pads,
            group: 1,
            channels_last: false,
            zero: None,
            largest: None,
            wide: false,
        };
        let bias = self.constant(&[o, 1, 1], 0.1);
        let y = self.add(op, &[x, w]);
        self.binary(BinaryKind::Add, y, bias)
    }
    fn finish(mut self, y: ValueId) -> Module {
        self.g.set_name(y, "y".into());
        self.g.outputs = vec![y];
        Module { name: "net".into(), symbols: self.symbols, graph: self.g, ..Module::default() }
    }
}

/// A block of a transformer on rows of 32.
fn transformer(rows: usize) -> Module {
    let mut n = Net::default();
    let x = n.input(&[1, rows, 32]);
    let h = n.norm(x);
    let heads = |n: &mut Net, perm: [usize; 4]| {
        let y = n.dense(h, 32, 32);
        let y = n.add(Reshape { dims: [1, rows, 2, 16].map(Expr::from).to_vec() }, &[y]);
        n.add(Transpose { perm: perm.to_vec() }, &[y])
    };
    let (q, k, v) = (heads(&mut n, [0, 2, 1, 3]), heads(&mut n, [0, 2, 3, 1]), heads(&mut n, [0, 2, 1, 3]));
    let s = n.add(MatMul::default(), &[q, k]);
    let s = n.number(BinaryKind::Mul, s, 0.25);
    let p = n.add(Softmax { axis: 3, log: false }, &[s]);
    let y = n.add(MatMul::default(), &[p, v]);
    let y = n.add(Transpose { perm: vec![0, 2, 1, 3] }, &[y]);
    let y = n.add(Reshape { dims: [1, rows, 32].map(Expr::from).to_vec() }, &[y]);
    let y = n.dense(y, 32, 32);
    let x = n.binary(BinaryKind::Add, x, y);
    let h = n.norm(x);
    let h = n.dense(h, 32, 64);
    let h = n.gelu(h);
    let h = n.dense(h, 64, 32);
    let y = n.binary(BinaryKind::Add, x, h);
    n.finish(y)
}

/// A residual network of images `size` wide, with a concatenation.
fn residual(size: usize) -> Module {
    let mut n = Net::default();
    let relu = |n: &mut Net, x| n.number(BinaryKind::Max, x, 0.0);
    let x = n.input(&[1, 3, size, size]);
    let x = n.conv(x, [3, 32, 5, 2]);
    let mut x = relu(&mut n, x);
    for _ in 0..2 {
        let y = n.conv(x, [32, 16, 1, 1]);
        let y = relu(&mut n, y);
        let y = n.conv(y, [16, 32, 3, 1]);
        let y = n.binary(BinaryKind::Add, x, y);
        x = relu(&mut n, y);
    }
    let a = n.conv(x, [32, 24, 3, 2]);
    let b = n.conv(x, [32, 8, 1, 2]);
    let both = n.add(Concat { axis: 1 }, &[a, b]);
    let y = n.conv(both, [32, 20, 1, 1]);
    n.finish(y)
}

fn compile(m: &Module, target: &TargetDesc) -> Program {
    let mut options = PipelineOptions::default();
    options.lower.precision = Precision::Bf16;
    pipeline::run(m.clone(), &mut options, target).unwrap().program.unwrap()
}

/// Largest difference in parts of the largest value.
fn difference(a: &Tensor, b: &Tensor) -> f64 {
    let (a, b) = (a.to_f64().unwrap(), b.to_f64().unwrap());
    let most = b.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    a.iter().zip(&b).fold(0.0f64, |m, (x, y)| m.max((x - y).abs())) / most
}

fn check(m: &Module, x: Tensor) {
    let p = compile(m, sinter_backends::target("zen4").unwrap());
    // What makes a value rounds it.
    let alone: Vec<&str> =
        p.kernels.iter().map(|k| k.name.as_str()).filter(|n| n.contains("map_cast")).collect();
    assert!(alone.is_empty(), "kernels that only round: {alone:?}");
    let inputs = [x];
    let want = &eval::module(m, &inputs).unwrap()[0];
    let got = interp::run(&p, &inputs, interp::Options::default()).unwrap().outputs.remove(0);
    let off = difference(&got, want);
    assert!((1e-6..0.015).contains(&off), "{off}");
    let native = sinter::driver::native().unwrap();
    if !native.pairs() {
        return skip("no products of bf16 here");
    }
    let (mut session, _) = open(native, &p).unwrap();
    assert_eq!(session.run(&inputs).unwrap().remove(0).bytes(), got.bytes(), "machine code");
}

/// Products of small matrices of bf16 in an emulator.
fn check_on_arm(m: &Module, x: Tensor) {
    let target = sinter_backends::target("aarch64-v8.6").unwrap();
    let p = compile(m, target);
    assert!(p.kernels.iter().any(|k| k.name.contains("_mat4")), "no products of matrices");
    let inputs = [x];
    let want = &eval::module(m, &inputs).unwrap()[0];
    let got = interp::run(&p, &inputs, interp::Options::default()).unwrap().outputs.remove(0);
    let off = difference(&got, want);
    assert!((1e-6..0.015).contains(&off), "{off}");
    if let Err(why) = common::emulator::start(&target.triple, &target.features) {
        return skip(&why);
    }
    let emulated = common::run_emulated(&mut None, target, &p, &inputs).unwrap().0;
    assert_eq!(emulated[0].bytes(), got.bytes(), "machine code");
}

#[test]
fn networks_on_arm() {
    for rows in [8, 21] {
        check_on_arm(&transformer(rows), random(100, &[1, rows, 32], 1.0));
    }
}

#[test]
fn transformers() {
    for rows in [8, 21, 48] {
        check(&transformer(rows), random(100, &[1, rows, 32], 1.0));
    }
}

#[test]
fn residual_networks() {
    // Activations that are stored twice, and larger ones that are stored rounded only.
    for size in [24, 136] {
        check(&residual(size), random(200, &[1, 3, size, size], 1.0));
    }
}
