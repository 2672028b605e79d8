//! Divisions by constants become multiplications: what is rounded to bytes does not need the last bit, and kernels divide
//! slowly.

use crate::rebuild::Rebuild;
use crate::report::PassReport;
use sinter_ir::op::binary::BinaryKind;
use sinter_ir::op::{Binary, Constant};
use sinter_ir::{DType, Module, Node, Op, Result, Tensor};

/// Runs over the main graph.
pub fn run(module: &mut Module, report: &mut PassReport) -> Result<()> {
    let old = std::mem::take(&mut module.graph);
    let mut rb = Rebuild::new(&old, &mut module.symbols, report);
    for (_, node) in old.iter() {
        let by = match (&node.op, node.inputs.as_slice()) {
            (Op::Binary(Binary { kind: BinaryKind::Div }), &[_, c]) => old.as_const(c).and_then(reciprocals),
            _ => None,
        };
        match by {
            Some(tensor) => {
                let by = rb.add1(Constant { tensor }, &[], &node.origin)?;
                let Node { inputs, outputs, origin, .. } = node;
                let x = rb.get(inputs[0])?;
                let y = rb.add1(Binary { kind: BinaryKind::Mul }, &[x, by], origin)?;
                rb.report.fired("quantise/quotient");
                rb.bind(outputs[0], y);
            }
            None => drop(rb.copy(node)?),
        }
    }
    module.graph = rb.finish(true)?;
    Ok(())
}

/// What to multiply by instead, where every number has a usable reciprocal.
fn reciprocals(t: &Tensor) -> Option<Tensor> {
    let values = t.to_f32().ok().filter(|_| t.dtype() == DType::F32)?;
    let all: Vec<f32> = values.iter().map(|v| 1.0 / v).collect();
    let usable = values.iter().chain(&all).all(|v| v.is_normal());
    usable.then(|| Tensor::f32s(t.shape().to_vec(), &all).ok())?
}
