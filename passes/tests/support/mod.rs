//! Random small modules and comparison of tensors, shared by the tests.
#![allow(dead_code, clippy::unwrap_used)]

use sinter_ir::graph::{Origin, SymKind};
use sinter_ir::op::binary::BinaryKind as B;
use sinter_ir::op::compare::CompareKind;
use sinter_ir::op::pad::PadMode;
use sinter_ir::op::pool::PoolKind;
use sinter_ir::op::reduce::ReduceKind;
use sinter_ir::op::unary::UnaryKind as U;
use sinter_ir::op::*;
use sinter_ir::{DType, Expr, Graph, Module, Op, Symbols, Tensor, TensorType, ValueId};

mod rng;
pub use rng::Rng;

impl Rng {
    /// Multiples of 1/4 in [-4, 4): sums and products of a few stay exact.
    pub fn value(&mut self) -> f64 {
        (self.below(32) as f64 - 16.0) / 4.0
    }
    pub fn tensor(&mut self, dtype: DType, shape: Vec<usize>) -> Tensor {
        let n = shape.iter().product();
        let v: Vec<f64> = (0..n)
            .map(|_| if dtype.is_float() { self.value() } else { self.below(5) as f64 - 2.0 })
            .collect();
        Tensor::from_f64(dtype, shape, &v).unwrap()
    }
}

/// A module under construction with the values that later nodes may use.
pub struct Gen {
    pub rng: Rng,
    pub symbols: Symbols,
    pub graph: Graph,
    pool: Vec<ValueId>,
}

/// A random module and inputs for it; `nodes` operations are tried.
pub fn module(seed: u64, nodes: usize) -> (Module, Vec<Tensor>) {
    let mut rng = Rng::new(seed);
    let mut symbols = Symbols::default();
    let mut graph = Graph::default();
    let mut inputs = Vec::new();
    let mut pool = Vec::new();
    let symbolic = rng.below(3) == 0;
    for i in 0..1 + rng.below(3) {
        let shape: Vec<usize> = (0..1 + rng.below(4)).map(|_| 1 + rng.below(4)).collect();
        let mut dims: Vec<Expr> = shape.iter().map(|&d| d.into()).collect();
        if symbolic {
            dims[0] = symbols.fresh(format!("n{i}"), 1, 6, SymKind::Input).into();
        }
        let name = format!("x{i}");
        pool.push(graph.add_input(TensorType::new(DType::F32, dims), Some(name.into())));
        inputs.push(rng.tensor(DType::F32, shape));
    }
    let mut g = Gen { rng, symbols, graph, pool };
    for i in 0..nodes {
        g.step(i, true);
    }
    let mut outputs: Vec<ValueId> = g.pool.iter().rev().take(1 + g.rng.below(3)).copied().collect();
    outputs.dedup();
    for (i, &v) in outputs.iter().enumerate() {
        if g.graph.value(v).name.is_none() {
            g.graph.set_name(v, format!("y{i}").into());
        }
    }
    g.graph.outputs = outputs;
    (Module { name: "test".into(), symbols: g.symbols, graph: g.graph, ..Module::default() }, inputs)
}

impl Gen {
    fn try_add(&mut self, op: impl Into<Op>, inputs: &[ValueId], origin: &Origin) -> Option<ValueId> {
        // Only nodes that need no run-time check: the inputs are not chosen to pass any.
        let op = op.into();
        let types: Vec<&TensorType> = inputs.iter().map(|&v| self.graph.ty(v)).collect();
        let mut symbols = self.symbols.clone();
        op.infer(&mut symbols, &types).ok().filter(|_| symbols == self.symbols)?;
        let v = self.graph.add(&mut self.symbols, op, inputs, origin).ok()?;
        self.pool.extend(&v);
        v.first().copied()
    }
    fn constant(&mut self, shape: Vec<usize>) -> ValueId {
        let mut tensor = self.rng.tensor(DType::F32, shape);
        if self.rng.below(3) == 0 {
            let v = self.rng.pick(&[0.0, 1.0, 2.0, -1.0, 0.5, 4.0]);
            tensor = Tensor::from_f64(DType::F32, tensor.shape().to_vec(), &vec![v; tensor.len()]).unwrap();
        }
        self.graph.add1(&mut self.symbols, Constant { tensor }.into(), &[], &vec![]).unwrap()
    }
    /// One random operation on values of the pool; nothing when its operands do not fit.
    fn step(&mut self, i: usize, regions: bool) -> Option<ValueId> {
        let origin: Origin = vec![format!("node{i}").into()];
        if self.rng.below(12) == 0 {
            let c = self.constant(vec![2, 3]);
            self.pool.push(c);
        }
        let x = self.pool[self.pool.len() - 1 - self.rng.below(self.pool.len().min(6))];
        let ty = self.graph.ty(x).clone();
        let rank = ty.rank();
        let axis = self.rng.below(rank);
        let known = |d: &Expr| d.as_const().unwrap_or(1) as usize;
        if ty.dtype != DType::F32 {
            return self.try_add(Cast { to: DType::F32, saturate: true }, &[x], &origin);
        }
        if ty.numel().as_const().is_some_and(|n| n > 2000) {
            return None;
        }
        match self.rng.below(if regions { 24 } else { 20 }) {
            0..=2 => {
                let kind = self.rng.pick(&[
                    U::Neg,
                    U::Abs,
                    U::Tanh,
                    U::Sigmoid,
                    U::Ceil,
                    U::Floor,
                    U::Round,
                    U::Sign,
                    U::Erf,
                ]);
                self.try_add(Unary { kind }, &[x], &origin)
            }
            3..=6 => {
                let kind = self.rng.pick(&[B::Add, B::Sub, B::Mul, B::Div, B::Min, B::Max, B::Pow]);
                let shape =
                    ty.dims.iter().map(|d| if self.rng.below(2) == 0 { 1 } else { known(d) }).collect();
                let c = match kind {
                    B::Pow | B::Div => {
                        let tensor = Tensor::f32s(vec![], &[self.rng.pick(&[1.0, 2.0, 4.0, 3.0])]).unwrap();
                        self.graph.add1(&mut self.symbols, Constant { tensor }.into(), &[], &origin).unwrap()
                    }
                    _ => self.constant(shape),
                };
                self.try_add(Binary { kind }, &[x, c], &origin)
            }
            7 | 8 => {
                let kind = self.rng.pick(&[B::Add, B::Sub, B::Mul, B::Max]);
                let y = self.rng.below(self.pool.len());
                let y = self.pool[y];
                self.try_add(Binary { kind }, &[x, y], &origin)
            }
            9 => {
                let mut perm: Vec<usize> = (0..rank).collect();
                perm.rotate_left(axis);
                self.try_add(Transpose { perm }, &[x], &origin)
            }
            10 => {
                let n = ty.numel();
                let dims = match self.rng.below(3) {
                    0 => vec![n],
                    1 => [vec![1.into()], ty.dims.clone()].concat(),
                    _ => [vec![ty.dims[0].clone()], vec![sinter_ir::expr::product(&ty.dims[1..])]].concat(),
                };
                self.try_add(Reshape { dims }, &[x], &origin)
            }
            11 => {
                let n = known(&ty.dims[axis]);
                let mut op = Slice {
                    starts: vec![0.into(); rank],
                    sizes: ty.dims.clone(),
                    steps: vec![1.into(); rank],
                };
                let start = self.rng.below(n);
                op.starts[axis] = start.into();
                op.sizes[axis] = (1 + self.rng.below(n - start)).into();
                if ty.dims[axis].as_const().is_none() {
                    op.starts[axis] = 0.into();
                    op.sizes[axis] = 1.into();
                }
                self.try_add(op, &[x], &origin)
            }
            12 => {
                let zero = self.constant(vec![]);
                let mut op = Pad {
                    mode: PadMode::Constant,
                    before: vec![0.into(); rank],
                    after: vec![0.into(); rank],
                };
                op.before[axis] = self.rng.below(2).into();
                op.after[axis] = self.rng.below(2).into();
                self.try_add(op, &[x, zero], &origin)
            }
            13 => self.try_add(Concat { axis }, &[x, x], &origin),
            14 => {
                let kind = self.rng.pick(&[ReduceKind::Sum, ReduceKind::Max, ReduceKind::Mean]);
                self.try_add(Reduce { kind, axes: vec![axis], keepdims: true }, &[x], &origin)
            }
            15 => self.try_add(Softmax { axis, log: false }, &[x], &origin),
            16 => {
                let w = self.constant(vec![known(&ty.dims[rank - 1]), 3]);
                let y = self.try_add(MatMul::default(), &[x, w], &origin)?;
                let c = self.constant(vec![3]);
                let kind = self.rng.pick(&[B::Add, B::Mul]);
                self.try_add(Binary { kind }, &[y, c], &origin)
            }
            17 => self.conv(x, &ty, &origin),
            18 => {
                let c = self.constant(vec![]);
                let m = self.try_add(Compare { kind: CompareKind::Gt }, &[x, c], &origin)?;
                self.try_add(Select {}, &[m, x, c], &origin)
            }
            19 => {
                let dims = [vec![2.into()], ty.dims.clone()].concat();
                let b = self.try_add(Broadcast { dims }, &[x], &origin)?;
                self.try_add(Binary { kind: B::Add }, &[b, b], &origin)
            }
            20 => {
                let index = Tensor::i64s(&[0, 0, -1][self.rng.below(3)..]);
                let index = self
                    .graph
                    .add1(&mut self.symbols, Constant { tensor: index }.into(), &[], &origin)
                    .unwrap();
                self.try_add(Gather { axis }, &[x, index], &origin)
            }
            21 => self.try_add(Cast { to: DType::I32, saturate: true }, &[x], &origin),
            22 => self.branch(x, &origin),
            _ => self.repeat(x, &origin),
        }
    }
    fn conv(&mut self, x: ValueId, ty: &TensorType, origin: &Origin) -> Option<ValueId> {
        let &[_, c, h] = ty.const_dims()?.as_slice() else { return None };
        let k = 1 + self.rng.below(h.min(3));
        let w = self.constant(vec![2, c, k]);
        let pads = vec![self.rng.below(2).into()];
        let op = Conv {
            strides: vec![1],
            dilations: vec![1],
            pads_before: pads.clone(),
            pads_after: pads,
            group: 1,
            channels_last: false,
            zero: None,
            largest: None,
            wide: false,
        };
        let y = self.try_add(op, &[x, w], origin)?;
        let scale = self.constant(vec![2, 1]);
        let y = self.try_add(Binary { kind: B::Mul }, &[y, scale], origin)?;
        let bias = self.constant(vec![2, 1]);
        let y = self.try_add(Binary { kind: B::Add }, &[y, bias], origin)?;
        let pool = Pool {
            kind: self.rng.pick(&[PoolKind::Max, PoolKind::Average]),
            kernel: vec![1.into()],
            strides: vec![1],
            dilations: vec![1],
            pads_before: vec![0.into()],
            pads_after: vec![0.into()],
            ceil_mode: false,
            count_include_pad: false,
            indices: false,
            column_major: false,
            channels_last: false,
        };
        self.try_add(pool, &[y], origin)
    }
    /// A region with the given inputs and a few random nodes, ending in a value of the first input's type.
    fn region(&mut self, inputs: &[TensorType], nodes: usize) -> (Graph, Vec<ValueId>) {
        let outer = std::mem::take(&mut self.graph);
        let outer_pool = std::mem::take(&mut self.pool);
        let ins: Vec<ValueId> = inputs.iter().map(|t| self.graph.add_input(t.clone(), None)).collect();
        self.pool = ins
            .iter()
            .copied()
            .filter(|&v| self.graph.ty(v).dtype == DType::F32 && self.graph.ty(v).rank() > 0)
            .collect();
        for i in 0..nodes {
            self.step(i, false);
        }
        let of_type = |g: &Graph, v: &ValueId| inputs.iter().any(|t| t == g.ty(*v));
        let good: Vec<ValueId> = self.pool.iter().copied().filter(|v| of_type(&self.graph, v)).collect();
        self.pool = outer_pool;
        (std::mem::replace(&mut self.graph, outer), good)
    }
    fn branch(&mut self, x: ValueId, origin: &Origin) -> Option<ValueId> {
        let ty = self.graph.ty(x).clone();
        let cond = if self.rng.below(2) == 0 {
            let tensor = Tensor::from_i64(DType::Bool, vec![], &[self.rng.below(2) as i64]).unwrap();
            self.graph.add1(&mut self.symbols, Constant { tensor }.into(), &[], origin).unwrap()
        } else {
            let all = (0..ty.rank()).collect();
            let m =
                self.try_add(Reduce { kind: ReduceKind::Max, axes: all, keepdims: false }, &[x], origin)?;
            let one = self.constant(vec![]);
            self.pool.pop();

            self.graph
                .add1(&mut self.symbols, Compare { kind: CompareKind::Gt }.into(), &[m, one], origin)
                .ok()?
        };
        let body = |s: &mut Self| {
            let (mut g, good) = s.region(std::slice::from_ref(&ty), 3);
            g.outputs = vec![*good.last().unwrap(), g.inputs[0]];
            g
        };
        let op = If {
            then_body: body(self),
            else_body: body(self),
            types: vec![ty.clone(), ty.clone()],
            defs: vec![],
        };
        self.try_add(op, &[cond, x], origin)
    }
    fn repeat(&mut self, x: ValueId, origin: &Origin) -> Option<ValueId> {
        let ty = self.graph.ty(x).clone();
        let count = self.symbols.fresh("count", 0, 5, SymKind::Run);
        let scalar = |d| TensorType::new(d, vec![]);
        // Two carried values that may swap, one capture.
        let types = [scalar(DType::I64), ty.clone(), ty.clone(), ty];
        let (mut body, good) = self.region(&types, 4);
        let tensor = Tensor::from_i64(DType::Bool, vec![], &[1]).unwrap();
        let go =
            body.add1(&mut self.symbols, Constant { tensor: tensor.clone() }.into(), &[], origin).unwrap();
        let last = *good.last().unwrap();
        body.outputs =
            vec![go, self.rng.pick(&[last, body.inputs[2]]), self.rng.pick(&[body.inputs[1], last]), last];
        let trip = Tensor::i64(self.rng.below(4) as i64);
        let trip = self.graph.add1(&mut self.symbols, Constant { tensor: trip }.into(), &[], origin).unwrap();
        let go = self.graph.add1(&mut self.symbols, Constant { tensor }.into(), &[], origin).unwrap();
        let op = Loop { body, carried: 2, scanned: 1, count, shape_syms: vec![] };
        self.try_add(op, &[trip, go, x, x, x], origin)
    }
}

/// Panics unless the tensors agree up to rounding; NaN equals NaN.
pub fn assert_close(a: &[Tensor], b: &[Tensor], what: &str) {
    assert_near(a, b, 1e-4, what);
}

/// The same with another tolerance.
pub fn assert_near(a: &[Tensor], b: &[Tensor], tolerance: f64, what: &str) {
    assert_eq!(a.len(), b.len(), "{what}: number of outputs");
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert_eq!((a.dtype(), a.shape()), (b.dtype(), b.shape()), "{what}: type of output {i}");
        for (j, (x, y)) in a.to_f64().unwrap().into_iter().zip(b.to_f64().unwrap()).enumerate() {
            let near = || (x - y).abs() <= tolerance * (1.0 + x.abs().max(y.abs()));
            let same = x == y || x.is_nan() && y.is_nan() || near();
            assert!(same, "{what}: output {i} element {j}: {x} became {y}");
        }
    }
}
