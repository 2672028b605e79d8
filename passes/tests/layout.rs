//! Every rewrite of the layout pass: random convolutional graphs mean the same before and after.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod support;

use sinter_ir::graph::{Origin, SymKind};
use sinter_ir::op::binary::BinaryKind as B;
use sinter_ir::op::pad::PadMode;
use sinter_ir::op::pool::PoolKind;
use sinter_ir::op::reduce::ReduceKind;
use sinter_ir::op::resize::{Coordinate, NearestMode, ResizeMode};
use sinter_ir::op::unary::UnaryKind as U;
use sinter_ir::op::*;
use sinter_ir::{DType, Expr, Graph, Module, Op, Symbols, Tensor, TensorType, ValueId, eval};
use sinter_passes::layout;
use sinter_passes::report::PassReport;
use support::Rng;

/// A graph under construction on images.
struct Net {
    rng: Rng,
    symbols: Symbols,
    graph: Graph,
    /// Values of rank 3 and 4 in f32.
    images: Vec<ValueId>,
    results: Vec<ValueId>,
}

impl Net {
    /// A node, where its operands fit without any check at run time.
    fn add(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> Option<ValueId> {
        let op = op.into();
        let types: Vec<TensorType> = inputs.iter().map(|&v| self.graph.ty(v).clone()).collect();
        let mut symbols = self.symbols.clone();
        let out = op.infer(&mut symbols, &types.iter().collect::<Vec<_>>()).ok()?;
        let fits = symbols == self.symbols && out.iter().all(|t| self.small(t));
        fits.then(|| self.graph.add1(&mut self.symbols, op, inputs, &Origin::new()).unwrap())
    }
    fn small(&self, t: &TensorType) -> bool {
        let (lo, hi) = self.symbols.range(&t.numel());
        lo > 0 && hi < 6000 && t.dims.iter().all(|d| self.symbols.range(d).0 > 0)
    }
    fn constant(&mut self, shape: Vec<usize>) -> ValueId {
        let tensor = self.rng.tensor(DType::F32, shape);
        self.add(Constant { tensor }, &[]).unwrap()
    }
    fn dims(&self, v: ValueId) -> Vec<Expr> {
        self.graph.ty(v).dims.clone()
    }
    fn known(d: &Expr) -> usize {
        d.as_const().unwrap_or(1) as usize
    }
    fn conv(&mut self, x: ValueId) -> Option<ValueId> {
        let dims = self.dims(x);
        let (c, r) = (Self::known(&dims[1]), dims.len() - 2);
        let (group, o) = match self.rng.below(3) {
            0 => (c, c),
            1 if c % 2 == 0 => (2, 4),
            _ => (1, 1 + self.rng.below(6)),
        };
        let k: Vec<usize> = (0..r).map(|_| 1 + self.rng.below(3)).collect();
        let w = self.constant([vec![o, c / group], k.clone()].concat());
        let pads: Vec<Expr> = k.iter().map(|k| (k / 2).into()).collect();
        let op = Conv {
            strides: vec![1 + self.rng.below(2); r],
            dilations: vec![1; r],
            pads_before: pads.clone(),
            pads_after: pads,
            group,
            channels_last: false,
            zero: None,
            largest: None,
            wide: false,
        };
        self.add(op, &[x, w])
    }
    fn pool(&mut self, x: ValueId) -> Option<ValueId> {
        let r = self.graph.ty(x).rank() - 2;
        let op = Pool {
            kind: self.rng.pick(&[PoolKind::Max, PoolKind::Average]),
            kernel: vec![2.into(); r],
            strides: vec![1 + self.rng.below(2); r],
            dilations: vec![1; r],
            pads_before: vec![1.into(); r],
            pads_after: vec![0.into(); r],
            ceil_mode: false,
            count_include_pad: self.rng.below(2) == 0,
            indices: false,
            column_major: false,
            channels_last: false,
        };
        self.add(op, &[x])
    }
    /// With a constant of full or lower rank, with another image, or with a few numbers computed from it.
    fn binary(&mut self, x: ValueId) -> Option<ValueId> {
        let kind = self.rng.pick(&[B::Add, B::Mul, B::Max, B::Sub]);
        let dims = self.dims(x);
        let y = match self.rng.below(4) {
            0 => {
                let skip = self.rng.below(dims.len());
                let shape =
                    dims[skip..].iter().map(|d| if self.rng.below(2) == 0 { 1 } else { Self::known(d) });
                let shape = shape.collect();
                self.constant(shape)
            }
            1 => {
                let axes = (2..dims.len()).collect();
                let m = self.add(Reduce { kind: ReduceKind::Max, axes, keepdims: true }, &[x])?;
                self.add(Unary { kind: U::Neg }, &[m])?
            }
            2 => {
                // A vector along the last axis, computed at run time.
                let n = dims.len() - 1;
                let axes = (0..n).collect();
                self.add(Reduce { kind: ReduceKind::Max, axes, keepdims: false }, &[x])?
            }
            _ => {
                let i = self.rng.below(self.images.len());
                self.images[i]
            }
        };
        let operands = if self.rng.below(2) == 0 { [x, y] } else { [y, x] };
        self.add(Binary { kind }, &operands)
    }
    fn resize(&mut self, x: ValueId) -> Option<ValueId> {
        let mut dims = self.dims(x);
        let last = dims.len() - 1;
        dims[last] = dims[last].clone() * 2.into();
        let r = dims.len();
        let op = Resize {
            dims,
            scales: vec![None; r],
            roi: vec![],
            mode: self.rng.pick(&[ResizeMode::Nearest, ResizeMode::Linear]),
            coordinate: Coordinate::Asymmetric,
            nearest: NearestMode::Floor,
            cubic_a: -0.75,
            exclude_outside: false,
            extrapolation: 0.0,
            antialias: false,
        };
        self.add(op, &[x])
    }
    /// Channels become rows and columns.
    fn depth_to_space(&mut self, x: ValueId) -> Option<ValueId> {
        let d = self.dims(x);
        let [n, c, h, w] = &d[..] else { return None };
        let c4 = Self::known(c).checked_div(4).filter(|q| q * 4 == Self::known(c) && *q > 0)?;
        let split = vec![n.clone(), c4.into(), 2.into(), 2.into(), h.clone(), w.clone()];
        let y = self.add(Reshape { dims: split }, &[x])?;
        let y = self.add(Transpose { perm: vec![0, 1, 4, 2, 5, 3] }, &[y])?;
        let merged = vec![n.clone(), c4.into(), h.clone() * 2.into(), w.clone() * 2.into()];
        self.add(Reshape { dims: merged }, &[y])
    }
    /// Ends a branch in something that is not an image.
    fn head(&mut self, x: ValueId) -> Option<ValueId> {
        let d = self.dims(x);
        let r = d.len();
        match self.rng.below(4) {
            0 => {
                let size = sinter_ir::expr::product(&d[1..]);
                let k = size.as_const()? as usize;
                let y = self.add(Reshape { dims: vec![d[0].clone(), size] }, &[x])?;
                let c = self.constant(vec![k]);
                let y = self.add(Binary { kind: B::Mul }, &[y, c])?;
                let w = self.constant(vec![k, 3]);
                self.add(MatMul::default(), &[y, w])
            }
            1 => {
                let keepdims = self.rng.below(2) == 0;
                let y = self.add(ArgReduce { largest: true, axis: 1, keepdims, last: false }, &[x])?;
                self.add(Cast { to: DType::F32, saturate: true }, &[y])
            }
            2 => {
                // Rows of a sequence: positions first, channels behind them.
                let size = sinter_ir::expr::product(&d[2..]);
                let y = self.add(Reshape { dims: vec![d[0].clone(), d[1].clone(), size] }, &[x])?;
                let y = self.add(Transpose { perm: vec![0, 2, 1] }, &[y])?;
                let w = self.constant(vec![Self::known(&d[1]), 3]);
                self.add(MatMul::default(), &[y, w])
            }
            _ => {
                let axes = (2..r).collect();
                self.add(Reduce { kind: ReduceKind::Sum, axes, keepdims: false }, &[x])
            }
        }
    }
    fn quantized(&mut self, x: ValueId) -> Option<ValueId> {
        let c = Self::known(&self.dims(x)[1]);
        let n = if self.rng.below(2) == 0 { vec![c] } else { vec![] };
        let tensor = Tensor::f32s(n.clone(), &vec![0.5; n.iter().product()]).unwrap();
        let scale = self.add(Constant { tensor }, &[])?;
        let zero = self.add(Constant { tensor: Tensor::zeros(DType::I8, n).unwrap() }, &[])?;
        let q = self.add(Quantize { axis: 1, block: 0, top: None }, &[x, scale, zero])?;
        self.add(Dequantize { axis: 1, block: 0, to: DType::F32 }, &[q, scale, zero])
    }
    fn step(&mut self) -> Option<ValueId> {
        let x = self.images[self.images.len() - 1 - self.rng.below(self.images.len().min(3))];
        let d = self.dims(x);
        let r = d.len();
        let axis = self.rng.below(r);
        match self.rng.below(17) {
            0..=3 => self.conv(x),
            4 => self.pool(x),
            5 | 6 => self.binary(x),
            7 => {
                let kind = self.rng.pick(&[U::Neg, U::Abs, U::Floor]);
                self.add(Unary { kind }, &[x])
            }
            8 => self.add(Concat { axis }, &[x, x]),
            9 => {
                let mut op = Pad { mode: PadMode::Edge, before: vec![0.into(); r], after: vec![0.into(); r] };
                op.before[axis] = 1.into();
                let zero = self.constant(vec![]);
                self.add(op, &[x, zero])
            }
            10 => {
                let n = Self::known(&d[axis]);
                let mut op = Slice { starts: vec![0.into(); r], sizes: d, steps: vec![1.into(); r] };
                op.starts[axis] = (n / 2).into();
                op.sizes[axis] = (n - n / 2).into();
                self.add(op, &[x])
            }
            11 => self.add(Softmax { axis, log: true }, &[x]).map(|y| {
                // Multiples of 1/4 again.
                let y = self.add(Unary { kind: U::Floor }, &[y]).unwrap();
                self.add(Cumulate { product: false, axis, exclusive: true, reverse: false }, &[y]).unwrap()
            }),
            12 => self.resize(x),
            13 => self.quantized(x),
            14 => self.depth_to_space(x),
            15 => {
                let index = self.add(Constant { tensor: Tensor::i64s(&[0, -1, 0]) }, &[])?;
                let y = self.add(Gather { axis }, &[x, index])?;
                let dims = self.dims(y);
                self.add(Broadcast { dims }, &[y])
            }
            _ => {
                let y = self.head(x)?;
                self.results.push(y);
                None
            }
        }
    }
}

fn net(seed: u64) -> (Module, Vec<Tensor>) {
    let mut rng = Rng::new(seed);
    let (mut symbols, mut graph) = (Symbols::default(), Graph::default());
    let mut shape = vec![1 + rng.below(2), 1 + rng.below(5), 2 + rng.below(5)];
    if rng.below(4) > 0 {
        shape.push(1 + rng.below(5));
    }
    let mut dims: Vec<Expr> = shape.iter().map(|&d| d.into()).collect();
    if rng.below(3) == 0 {
        dims[2] = symbols.fresh("rows", 2, 7, SymKind::Input).into();
    }
    let x = graph.add_input(TensorType::new(DType::F32, dims), Some("x".into()));
    let data = rng.tensor(DType::F32, shape);
    let mut n = Net { rng, symbols, graph, images: vec![x], results: vec![] };
    for _ in 0..4 + seed % 20 {
        if let Some(y) = n.step() {
            n.images.push(y);
        }
    }
    n.results.extend(n.images.last());
    n.results.dedup();
    for (i, &v) in n.results.iter().enumerate() {
        if n.graph.value(v).name.is_none() {
            n.graph.set_name(v, format!("y{i}").into());
        }
    }
    n.graph.outputs = n.results;
    (Module { name: "net".into(), symbols: n.symbols, graph: n.graph, ..Module::default() }, vec![data])
}

/// Like numbers exactly, apart from products that add up in another order.
fn assert_same(a: &[Tensor], b: &[Tensor], exact: bool, what: &str) {
    support::assert_close(a, b, what);
    for (a, b) in a.iter().zip(b).filter(|_| exact) {
        let same = |(x, y): (f64, f64)| x == y || x.is_nan() && y.is_nan();
        let (x, y) = (a.to_f64().unwrap(), b.to_f64().unwrap());
        assert!(x.into_iter().zip(y).all(same), "{what}: not exactly the same");
    }
}

#[test]
fn random_nets_keep_their_meaning() {
    let mut fired = PassReport::default();
    let mut checked = 0;
    for seed in 0..1500 {
        let (before, inputs) = net(seed);
        let Ok(want) = eval::module(&before, &inputs) else { continue };
        checked += 1;
        for pass in [layout::run, layout::run_everywhere] {
            let (mut after, mut report) = (before.clone(), PassReport::default());
            let what = format!("seed {seed}");
            pass(&mut after, &mut report).unwrap_or_else(|d| panic!("{what}: {d}"));
            assert_eq!(after.verify(), [], "{what}");
            let got = eval::module(&after, &inputs).unwrap_or_else(|d| panic!("{what}: {d}"));
            assert_same(&want, &got, report.count("layout/matmul-rows") == 0, &what);
            report.rules.into_iter().for_each(|(rule, n)| *fired.rules.entry(rule).or_default() += n);
        }
    }
    assert!(checked > 1200, "only {checked} nets could be evaluated");
    for rule in layout::RULES {
        assert!(fired.count(rule) > 0, "{rule} never fired: {:?}", fired.rules);
    }
    let known = |r: &&String| !layout::RULES.contains(&r.as_str());
    assert_eq!(fired.rules.keys().find(known), None, "a rule that is not listed");
}

#[test]
fn every_rule_is_documented() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/RULES.md")).unwrap();
    for rule in layout::RULES {
        let name = rule.strip_prefix("layout/").unwrap();
        assert!(text.contains(name), "{rule} is not in RULES.md");
    }
}
