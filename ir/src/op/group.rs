//! `Group`: kernel group made by fusion: evaluates its body. A group is lowered to one kernel.

use super::OpSpec;
use crate::eval::EvalCx;
use crate::{Diag, Graph, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// kernel group made by fusion: evaluates its body. A group is lowered to one kernel.
///
/// Inputs: the body's inputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Closed graph.
    #[serde(skip)]
    pub body: Graph,
}

impl OpSpec for Group {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        check_operands(s, &self.body, x, "group")?;
        Ok(self.body.outputs.iter().map(|&v| self.body.ty(v).clone()).collect())
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        crate::eval::graph(&self.body, cx, x)
    }
}

/// Checks that operands fit the inputs of a region.
pub(super) fn check_operands(s: &mut Symbols, body: &Graph, x: &[&TensorType], what: &str) -> Result<()> {
    if x.len() != body.inputs.len() {
        return Err(Diag::bug(format!(
            "{what}: {} operands for {} region inputs",
            x.len(),
            body.inputs.len()
        )));
    }
    for (&v, t) in body.inputs.iter().zip(x) {
        let want = body.ty(v);
        if want.dtype != t.dtype || want.rank() != t.rank() {
            return Err(Diag::input(format!("{what}: {t} given where {want} is needed")));
        }
        for (a, b) in want.dims.iter().zip(&t.dims) {
            s.require_eq(a, b, what)?;
        }
    }
    Ok(())
}
