//! Programs of one operation with constant operands, for measuring its kernels.

use sinter_ir::op::Constant;
use sinter_ir::program::Program;
use sinter_ir::target::TargetDesc;
use sinter_ir::{Graph, Module, Op, Symbols, Tensor, TensorType};
use sinter_passes::lower::Precision;
use sinter_passes::pipeline::{self, PipelineOptions};

/// `op(x, constants...)` compiled for a target, and the bytes of its result as i32 or f32.
#[allow(dead_code)]
pub fn compile(op: Op, x: TensorType, constants: &[Tensor], target: &TargetDesc) -> (Program, usize) {
    compile_as(op, x, constants, target, Precision::F32)
}

/// The same with a precision of its own.
pub fn compile_as(
    op: Op,
    x: TensorType,
    constants: &[Tensor],
    target: &TargetDesc,
    precision: Precision,
) -> (Program, usize) {
    let (mut graph, mut symbols) = (Graph::default(), Symbols::default());
    let mut inputs = vec![graph.add_input(x, Some("x".into()))];
    for t in constants {
        let op = Constant { tensor: t.clone() }.into();
        inputs.push(graph.add1(&mut symbols, op, &[], &vec![]).unwrap());
    }
    let y = graph.add1(&mut symbols, op, &inputs, &vec!["single".into()]).unwrap();
    graph.set_name(y, "y".into());
    graph.outputs = vec![y];
    let bytes = graph.ty(y).numel().as_const().unwrap() as usize * 4;
    let module = Module { name: "bench".into(), symbols, graph, ..Module::default() };
    let mut options = PipelineOptions::default();
    options.lower.precision = precision;
    let compiled = pipeline::run(module, &mut options, target);
    (compiled.unwrap_or_else(|d| panic!("{d:?}")).program.unwrap(), bytes)
}
