//! An encoder layer through all passes: how many kernels it takes, and that they compute what the graph says.
#![allow(clippy::unwrap_used)]

mod kernels;

use kernels::{Rng, target};
use sinter_ir::eval::{self, EvalCx};
use sinter_ir::graph::Origin;
use sinter_ir::op::binary::BinaryKind as B;
use sinter_ir::op::reduce::ReduceKind as R;
use sinter_ir::op::unary::UnaryKind as U;
use sinter_ir::op::*;
use sinter_ir::program::interp::{self, Outcome};
use sinter_ir::program::{Program, Step};
use sinter_ir::{DType, Expr, Graph, Module, Op, Symbols, Tensor, TensorType, ValueId};
use sinter_passes::pipeline::{self, PipelineOptions};

/// A module under construction, with random weights.
struct Net {
    rng: Rng,
    symbols: Symbols,
    graph: Graph,
}

impl Net {
    fn add(&mut self, op: impl Into<Op>, x: &[ValueId]) -> ValueId {
        let origin: Origin = vec![format!("n{}", self.graph.node_count()).into()];
        self.graph.add1(&mut self.symbols, op.into(), x, &origin).unwrap()
    }
    fn bin(&mut self, kind: B, x: ValueId, y: ValueId) -> ValueId {
        self.add(Binary { kind }, &[x, y])
    }
    fn weight(&mut self, shape: &[usize], size: f64) -> ValueId {
        let t = self.rng.tensor(DType::F32, shape.to_vec());
        let v: Vec<f64> = t.to_f64().unwrap().iter().map(|x| x * size).collect();
        let tensor = Tensor::from_f64(DType::F32, shape.to_vec(), &v).unwrap();
        self.add(Constant { tensor }, &[])
    }
    fn number(&mut self, v: f32) -> ValueId {
        self.add(Constant { tensor: Tensor::f32s(vec![], &[v]).unwrap() }, &[])
    }
    fn dense(&mut self, x: ValueId, from: usize, to: usize) -> ValueId {
        let (w, b) = (self.weight(&[from, to], 1.0 / (from as f64).sqrt()), self.weight(&[to], 0.1));
        let y = self.add(MatMul::default(), &[x, w]);
        self.bin(B::Add, y, b)
    }
    fn norm(&mut self, x: ValueId, width: usize) -> ValueId {
        let axes = vec![self.graph.ty(x).rank() - 1];
        let mean =
            |n: &mut Self, x| n.add(Reduce { kind: R::Mean, axes: axes.clone(), keepdims: true }, &[x]);
        let m = mean(self, x);
        let d = self.bin(B::Sub, x, m);
        let sq = self.bin(B::Mul, d, d);
        let var = mean(self, sq);
        let eps = self.number(1e-5);
        let var = self.bin(B::Add, var, eps);
        let dev = self.add(Unary { kind: U::Sqrt }, &[var]);
        let y = self.bin(B::Div, d, dev);
        let (scale, shift) = (self.weight(&[width], 1.0), self.weight(&[width], 0.1));
        let y = self.bin(B::Mul, y, scale);
        self.bin(B::Add, y, shift)
    }
    fn heads(&mut self, x: ValueId, (rows, heads, width): (usize, usize, usize), perm: &[usize]) -> ValueId {
        let dims: Vec<Expr> = [1, rows, heads, width].map(Expr::from).to_vec();
        let x = self.add(Reshape { dims }, &[x]);
        self.add(Transpose { perm: perm.to_vec() }, &[x])
    }
    fn layer(&mut self, x: ValueId, mask: ValueId, (rows, heads, width): (usize, usize, usize)) -> ValueId {
        let hidden = heads * width;
        let [q, k, v] = [0; 3].map(|_| self.dense(x, hidden, hidden));
        let size = (rows, heads, width);
        let q = self.heads(q, size, &[0, 2, 1, 3]);
        let k = self.heads(k, size, &[0, 2, 3, 1]);
        let v = self.heads(v, size, &[0, 2, 1, 3]);
        let scores = self.add(MatMul::default(), &[q, k]);
        let scale = self.number((width as f32).sqrt());
        let scores = self.bin(B::Div, scores, scale);
        let scores = self.bin(B::Add, scores, mask);
        let p = self.add(Softmax { axis: 3, log: false }, &[scores]);
        let y = self.add(MatMul::default(), &[p, v]);
        let y = self.add(Transpose { perm: vec![0, 2, 1, 3] }, &[y]);
        let y = self.add(Reshape { dims: [1, rows, hidden].map(Expr::from).to_vec() }, &[y]);
        let y = self.dense(y, hidden, hidden);
        let x = self.bin(B::Add, x, y);
        let x = self.norm(x, hidden);
        let h = self.dense(x, hidden, 4 * hidden);
        let root = self.number(std::f32::consts::SQRT_2);
        let e = self.bin(B::Div, h, root);
        let e = self.add(Unary { kind: U::Erf }, &[e]);
        let (one, half) = (self.number(1.0), self.number(0.5));
        let e = self.bin(B::Add, e, one);
        let h = self.bin(B::Mul, h, e);
        let h = self.bin(B::Mul, h, half);
        let h = self.dense(h, 4 * hidden, hidden);
        let x = self.bin(B::Add, x, h);
        self.norm(x, hidden)
    }
}

fn compile(module: &Module, bits: u32) -> Program {
    let mut t = target();
    (t.vector_bits, t.vector_registers) = (bits, if bits == 512 { 32 } else { 16 });
    pipeline::run(module.clone(), &mut PipelineOptions::default(), &t).unwrap().program.unwrap()
}

fn calls(steps: &[Step]) -> usize {
    steps.iter().filter(|s| matches!(s, Step::Call { .. })).count()
}

#[test]
fn layers_of_an_encoder() {
    // The second one is a layer of MiniLM.
    for (rows, heads, width, bits) in [(17, 3, 5, 128), (128, 12, 32, 512), (33, 2, 16, 256)] {
        let (symbols, graph) = (Symbols::default(), Graph::default());
        let mut n = Net { rng: Rng::new(7), symbols, graph };
        let f = |dims: &[usize]| TensorType::new(DType::F32, dims.iter().map(|&d| d.into()).collect());
        let x = n.graph.add_input(f(&[1, rows, heads * width]), Some("x".into()));
        let mask = n.graph.add_input(f(&[1, 1, 1, rows]), Some("mask".into()));
        let y = n.layer(x, mask, (rows, heads, width));
        n.graph.set_name(y, "y".into());
        n.graph.outputs = vec![y];
        let module =
            Module { name: "encoder".into(), symbols: n.symbols, graph: n.graph, ..Module::default() };
        let hide: Vec<f64> = (0..rows).map(|i| if i + 3 > rows { -1e4 } else { 0.0 }).collect();
        let inputs = [
            n.rng.tensor(DType::F32, vec![1, rows, heads * width]),
            Tensor::from_f64(DType::F32, vec![1, 1, 1, rows], &hide).unwrap(),
        ];
        let want = eval::graph(&module.graph, &mut EvalCx::default(), &inputs).unwrap();
        let p = compile(&module, bits);
        // Q, K, V, attention, four products with what is behind them, two norms.
        let names: Vec<&str> = p.kernels.iter().map(|k| k.name.as_str()).collect();
        assert!(calls(&p.steps) <= 9, "{} kernels run: {names:?}", calls(&p.steps));
        let Outcome { code, outputs, .. } = interp::run(&p, &inputs, interp::Options::default()).unwrap();
        assert_eq!(code, 0);
        let (got, want) = (outputs[0].to_f64().unwrap(), want[0].to_f64().unwrap());
        for (i, (g, w)) in got.iter().zip(&want).enumerate() {
            assert!((g - w).abs() <= 1e-4 * (1.0 + w.abs()), "{rows} rows: element {i}: {g} for {w}");
        }
    }
}
