//! `bf16`: constant weights of contractions are stored as bf16, where products of bf16 can be had.
//!
//! Runs when layouts are known: the instruction takes two neighbours along the terms of the sums, so convolutions need
//! channels last and an even number of them (or rows and strides of whole words), matrix products an even number of
//! terms. All others keep their digits.

use crate::canon::dce;
use crate::lower::odd_channels as odd;
use crate::rebuild::{Rebuild, map_regions};
use crate::report::PassReport;
use sinter_ir::op::Constant;
use sinter_ir::{DType, Graph, Module, Node, Op, Result, Symbols, Tensor, ValueId};
use std::collections::BTreeMap;

/// Runs the pass.
pub fn run(module: &mut Module, report: &mut PassReport) -> Result<()> {
    module.graph = graph(&module.graph, &mut module.symbols, report, true)?;
    dce::run(module, report)
}

/// The weights of a node that are to be narrow.
fn weights<'a>(g: &'a Graph, node: &Node) -> Option<(ValueId, &'a Tensor)> {
    let w = *node.inputs.get(1)?;
    let t = g.as_const(w).filter(|t| t.dtype() == DType::F32)?;
    let data = g.ty(*node.inputs.first()?);
    let even = match &node.op {
        Op::MatMul(_) => t.rank() >= 2 && t.shape()[t.rank() - 2] % 2 == 0,
        Op::Conv(c) => {
            let pairs = t.shape()[1].is_multiple_of(2) || odd::fits(c, data, t.shape());
            c.channels_last && c.group == 1 && pairs
        }
        _ => false,
    };
    (even && data.dtype == DType::F32).then_some((w, t))
}

fn graph(g: &Graph, symbols: &mut Symbols, report: &mut PassReport, main: bool) -> Result<Graph> {
    let mut rb = Rebuild::new(g, symbols, report);
    let mut narrow: BTreeMap<ValueId, ValueId> = BTreeMap::new();
    for (_, node) in g.iter() {
        let Some((w, t)) = weights(g, node) else {
            let op = map_regions(&node.op, &mut |r| graph(r, rb.symbols, rb.report, false))?;
            rb.copy_as(node, op)?;
            continue;
        };
        let new = match narrow.get(&w) {
            Some(&v) => v,
            None => {
                let tensor = Tensor::from_f32(DType::BF16, t.shape().to_vec(), &t.load()?.to_f32()?)?;
                let v = rb.add1(Constant { tensor }, &[], &node.origin)?;
                narrow.insert(w, v);
                v
            }
        };
        let mut inputs = rb.operands(node)?;
        inputs[1] = new;
        rb.report.fired("bf16/weights");
        let outputs = rb.add(node.op.clone(), &inputs, &node.origin)?;
        rb.bind_all(node, &outputs)?;
    }
    rb.finish(main)
}
