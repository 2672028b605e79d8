//! Quantised products too deep for a filetest.

#![allow(clippy::unwrap_used)]

use sinter_ir::graph::Origin;
use sinter_ir::op::{Constant, Dequantize, MatMul};
use sinter_ir::{DType, Graph, Module, Op, Symbols, Tensor, TensorType, eval};
use sinter_passes::canon::integers;
use sinter_passes::report::PassReport;

/// The product of `depth` bytes of 255 with weights of 127, before and after the pass, and whether the pass fired.
fn product(depth: usize) -> (Tensor, Tensor, bool) {
    let (mut symbols, mut g) = (Symbols::default(), Graph::default());
    let x = g.add_input(TensorType::new(DType::U8, vec![1.into(), depth.into()]), None);
    let mut add =
        |g: &mut Graph, op: Op, inputs: &[_]| g.add1(&mut symbols, op, inputs, &Origin::new()).unwrap();
    let bytes = |dtype, shape, v: u8, n| Tensor::from_bytes(dtype, shape, vec![v; n]).unwrap();
    let scale = add(&mut g, Constant { tensor: Tensor::f32s(vec![], &[1.0]).unwrap() }.into(), &[]);
    let dequantize = || Op::from(Dequantize { axis: 0, block: 0, to: DType::F32 });
    let zero = add(&mut g, Constant { tensor: bytes(DType::U8, vec![], 0, 1) }.into(), &[]);
    let data = add(&mut g, dequantize(), &[x, scale, zero]);
    let weights = Constant { tensor: bytes(DType::I8, vec![depth, 1], 127, depth) };
    let weights = add(&mut g, weights.into(), &[]);
    let zero = add(&mut g, Constant { tensor: bytes(DType::I8, vec![], 0, 1) }.into(), &[]);
    let weights = add(&mut g, dequantize(), &[weights, scale, zero]);
    g.outputs = vec![add(&mut g, MatMul {}.into(), &[data, weights])];
    let mut module = Module { name: "deep".into(), graph: g, symbols, ..Module::default() };
    let input = [bytes(DType::U8, vec![1, depth], 255, depth)];
    let before = eval::module(&module, &input).unwrap().remove(0);
    let mut report = PassReport::default();
    integers::run(&mut module, &mut report).unwrap();
    (before, eval::module(&module, &input).unwrap().remove(0), !report.rules.is_empty())
}

#[test]
fn sums_that_would_wrap_stay_in_floats() {
    for (depth, fires) in [(500, true), (60_000, true), (70_000, false)] {
        let (before, after, fired) = product(depth);
        assert_eq!(fired, fires, "{depth}");
        let exact = (depth * 255 * 127) as f64;
        for y in [before, after] {
            assert!((y.to_f64().unwrap()[0] / exact - 1.0).abs() < 1e-3, "{depth}: {y:?}");
        }
    }
}
