//! Kernels that serve several shapes: products of other sizes, convolutions of images of other sizes, with open dims.
#![allow(clippy::unwrap_used)]

mod kernels;

use kernels::{Rng, target};
use sinter_ir::graph::SymKind;
use sinter_ir::graph::text::{Elide, NoConsts};
use sinter_ir::op::binary::BinaryKind;
use sinter_ir::op::{Binary, Constant, Conv, MatMul};
use sinter_ir::program::interp::{self, Outcome};
use sinter_ir::program::{Program, Step, verify};
use sinter_ir::{DType, Expr, Graph, Module, Op, Symbols, Tensor, TensorType, ValueId};
use sinter_passes::pipeline::{self, LowerOptions, PipelineOptions};

struct Net {
    rng: Rng,
    symbols: Symbols,
    graph: Graph,
}

impl Net {
    fn new() -> Self {
        Self { rng: Rng::new(5), symbols: Symbols::default(), graph: Graph::default() }
    }
    fn add(&mut self, op: impl Into<Op>, x: &[ValueId]) -> ValueId {
        self.graph.add1(&mut self.symbols, op.into(), x, &vec![]).unwrap()
    }
    fn weight(&mut self, shape: &[usize]) -> ValueId {
        let tensor = self.rng.tensor(DType::F32, shape.to_vec());
        self.add(Constant { tensor }, &[])
    }
    fn module(mut self, y: ValueId) -> Module {
        self.graph.set_name(y, "y".into());
        self.graph.outputs = vec![y];
        Module { name: "shapes".into(), symbols: self.symbols, graph: self.graph, ..Module::default() }
    }
}

fn compile(module: &Module, share_shapes: bool) -> Program {
    let lower = LowerOptions { share_shapes, ..LowerOptions::default() };
    let mut options = PipelineOptions { lower, ..PipelineOptions::default() };
    let compiled = pipeline::run(module.clone(), &mut options, &target()).unwrap();
    let fired = compiled.report.rules.contains_key("assemble/shared-shapes");
    assert_eq!(fired, share_shapes, "{:?}", compiled.report.rules);
    compiled.program.unwrap()
}

/// Compiles with and without shared kernels; gives the shared program and compares what both compute, bit for bit.
fn check(module: &Module, inputs: &[Vec<Tensor>]) -> Program {
    let (own, shared) = (compile(module, false), compile(module, true));
    assert!(shared.kernels.len() < own.kernels.len(), "{} of {}", shared.kernels.len(), own.kernels.len());
    // The text holds what calls say of their buffers.
    let printed = shared.to_text(&mut Elide);
    let again = Program::from_text(&printed, &NoConsts).unwrap();
    assert_eq!(again.to_text(&mut Elide), printed);
    assert_eq!(verify::verify(&again), []);
    for x in inputs {
        let run = |p: &Program| -> Outcome { interp::run(p, x, interp::Options::default()).unwrap() };
        let (a, b) = (run(&own), run(&shared));
        assert_eq!((a.code, b.code), (0, 0));
        assert_eq!(a.outputs, b.outputs);
    }
    shared
}

#[test]
fn products_of_several_sizes() {
    let mut n = Net::new();
    let rows: Expr = n.symbols.fresh("rows", 0, 40, SymKind::Input).into();
    let ty = TensorType::new(DType::F32, vec![rows, 24.into()]);
    let mut y = n.graph.add_input(ty, Some("x".into()));
    for (from, to) in [(24, 40), (40, 56), (56, 40), (40, 24)] {
        let (w, b) = (n.weight(&[from, to]), n.weight(&[to]));
        y = n.add(MatMul::default(), &[y, w]);
        y = n.add(Binary { kind: BinaryKind::Add }, &[y, b]);
    }
    let module = n.module(y);
    let mut rng = Rng::new(9);
    let inputs: Vec<_> = [0, 1, 7, 40].map(|m| vec![rng.tensor(DType::F32, vec![m, 24])]).into();
    let p = check(&module, &inputs);
    let sized = p.steps.iter().filter(|s| matches!(s, Step::Call { sizes, .. } if !sizes.is_empty())).count();
    assert!(sized >= 3, "{sized}");
}

#[test]
fn convolutions_of_open_images() {
    let mut n = Net::new();
    let [h, w] = ["h", "w"].map(|name| Expr::from(n.symbols.fresh(name, 4, 24, SymKind::Input)));
    let ty = TensorType::new(DType::F32, vec![1.into(), 8.into(), h, w]);
    let mut y = n.graph.add_input(ty, Some("x".into()));
    for (from, to) in [(8usize, 16usize), (16, 24), (24, 24), (24, 40)] {
        for (kernel, stride, group, to) in [(3usize, 2usize, from, from), (1, 1, 1, to)] {
            let weight = n.weight(&[to, from / group, kernel, kernel]);
            let op = Conv {
                strides: vec![stride; 2],
                dilations: vec![1; 2],
                pads_before: vec![(kernel / 2).into(); 2],
                pads_after: vec![(kernel / 2).into(); 2],
                group,
                channels_last: false,
                zero: None,
                largest: None,
                wide: false,
            };
            y = n.add(op, &[y, weight]);
        }
    }
    let module = n.module(y);
    let mut rng = Rng::new(3);
    let inputs: Vec<_> = [[4, 4], [5, 24], [16, 9], [24, 23]]
        .map(|[h, w]| vec![rng.tensor(DType::F32, vec![1, 8, h, w])])
        .into();
    check(&module, &inputs);
}
