//! Does to a module what a step says.

use super::units::shrink::shrink;
use super::{Pruned, layers};
use crate::rebuild::Rebuild;
use crate::report::PassReport;
use sinter_ir::op::Constant;
use sinter_ir::{Module, Op, Result, Tensor};

/// Puts pruned weights in the place of a module's, then takes out units and layers.
pub fn apply(module: &mut Module, p: &Pruned, report: &mut PassReport) -> Result<()> {
    replace(module, p, report)?;
    shrink(module, &p.units, report)?;
    layers::drop(module, &p.layers, report)?;
    report.pruned.extend(p.stats.iter().cloned());
    Ok(())
}

/// Exchanges constants by their names.
fn replace(module: &mut Module, p: &Pruned, report: &mut PassReport) -> Result<()> {
    if p.weights.is_empty() {
        return Ok(());
    }
    let g = std::mem::take(&mut module.graph);
    let mut rb = Rebuild::new(&g, &mut module.symbols, report);
    for (_, node) in g.iter() {
        let name = node.outputs.first().and_then(|v| g.value(*v).name.as_deref());
        let new = match &node.op {
            Op::Constant(c) => {
                name.and_then(|n| p.weights.get(n)).filter(|t| t.shape() == c.tensor.shape()).zip(Some(c))
            }
            _ => None,
        };
        match new {
            Some((t, c)) => {
                let t = match t.dtype() == c.tensor.dtype() {
                    true => t.clone(),
                    false => Tensor::from_f32(c.tensor.dtype(), t.shape().to_vec(), &t.load()?.to_f32()?)?,
                };
                rb.copy_as(node, Constant { tensor: t }.into())?;
                rb.report.fired("prune/weights");
            }
            None => {
                rb.copy(node)?;
            }
        }
    }
    module.graph = rb.finish(true)?;
    Ok(())
}
