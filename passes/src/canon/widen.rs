//! `widen`: 16-bit floats are computed in f32 between the model's inputs, weights and outputs.
//!
//! No target computes in f16 or bf16 faster than it converts, so rounding every intermediate value would cost time
//! and digits. Weights of contractions keep their size: contractions take 16-bit weights with f32 data.

use crate::rebuild::{Rebuild, map_regions};
use crate::report::PassReport;
use sinter_ir::op::Cast;
use sinter_ir::{DType, Graph, Module, Node, Op, Result, Symbols, ValueId};

/// Runs the pass.
pub fn run(module: &mut Module, report: &mut PassReport) -> Result<()> {
    module.graph = graph(&module.graph, &mut module.symbols, report, true)?;
    Ok(())
}

fn narrow(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16)
}

/// Ops whose results are in the type of their operands and are rounded to it.
fn computes(op: &Op) -> bool {
    matches!(
        op,
        Op::Unary(_)
            | Op::Binary(_)
            | Op::Compare(_)
            | Op::MulAdd(_)
            | Op::Softmax(_)
            | Op::Reduce(_)
            | Op::Cumulate(_)
            | Op::Pool(_)
            | Op::MatMul(_)
            | Op::Conv(_)
            | Op::ConvTranspose(_)
            | Op::Recurrent(_)
            | Op::Resize(_)
            | Op::GridSample(_)
    )
}

/// Ops that only move values: they take them as they are.
fn moves(op: &Op) -> bool {
    matches!(
        op,
        Op::Identity(_)
            | Op::Transpose(_)
            | Op::Reshape(_)
            | Op::Broadcast(_)
            | Op::Slice(_)
            | Op::Concat(_)
            | Op::Pad(_)
            | Op::Select(_)
    )
}

/// The operand that may stay narrow when it is a constant.
fn weights(op: &Op) -> Option<usize> {
    matches!(op, Op::MatMul(_) | Op::Conv(_)).then_some(1)
}

struct Widen<'a> {
    rb: Rebuild<'a>,
    /// Per old value: the new one in f32.
    wide: Vec<Option<ValueId>>,
    /// Per old value: whether the new one in the old type exists.
    bound: Vec<bool>,
}

fn graph(g: &Graph, symbols: &mut Symbols, report: &mut PassReport, main: bool) -> Result<Graph> {
    let n = g.value_count();
    let mut w = Widen { rb: Rebuild::new(g, symbols, report), wide: vec![None; n], bound: vec![false; n] };
    for v in &g.inputs {
        w.bound[v.0 as usize] = true;
    }
    for (_, node) in g.iter() {
        w.node(g, node)?;
    }
    for &v in &g.outputs {
        w.narrowed(g, v)?;
    }
    w.rb.finish(main)
}

impl Widen<'_> {
    fn node(&mut self, g: &Graph, node: &Node) -> Result<()> {
        let arithmetic = computes(&node.op) && node.inputs.iter().any(|&v| narrow(g.ty(v).dtype));
        let follows = moves(&node.op) && node.inputs.iter().any(|v| self.wide[v.0 as usize].is_some());
        if !arithmetic && !follows {
            node.inputs.iter().try_for_each(|&v| self.narrowed(g, v).map(drop))?;
            let rb = &mut self.rb;
            let op = map_regions(&node.op, &mut |r| graph(r, rb.symbols, rb.report, false))?;
            rb.copy_as(node, op)?;
            node.outputs.iter().for_each(|v| self.bound[v.0 as usize] = true);
            return Ok(());
        }
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for (i, &v) in node.inputs.iter().enumerate() {
            let weight = weights(&node.op) == Some(i) && g.constant(v).is_some();
            inputs.push(if weight { self.narrowed(g, v)? } else { self.widened(g, v)? });
        }
        self.rb.report.fired("widen/node");
        let new = self.rb.add(node.op.clone(), &inputs, &node.origin)?;
        for (&old, &new) in node.outputs.iter().zip(&new) {
            if self.rb.graph.ty(new).dtype == g.ty(old).dtype {
                self.rb.bind(old, new);
                self.bound[old.0 as usize] = true;
            } else {
                self.wide[old.0 as usize] = Some(new);
            }
        }
        Ok(())
    }
    /// The value in f32, when it is a narrow float.
    fn widened(&mut self, g: &Graph, v: ValueId) -> Result<ValueId> {
        if !narrow(g.ty(v).dtype) {
            return self.rb.get(v);
        }
        if let Some(wide) = self.wide[v.0 as usize] {
            return Ok(wide);
        }
        let from = self.rb.get(v)?;
        let wide = self.cast(g, v, from, DType::F32)?;
        self.wide[v.0 as usize] = Some(wide);
        Ok(wide)
    }
    /// The value in its own type.
    fn narrowed(&mut self, g: &Graph, v: ValueId) -> Result<ValueId> {
        if let (false, Some(wide)) = (self.bound[v.0 as usize], self.wide[v.0 as usize]) {
            let new = self.cast(g, v, wide, g.ty(v).dtype)?;
            self.rb.bind(v, new);
            self.bound[v.0 as usize] = true;
        }
        self.rb.get(v)
    }
    fn cast(&mut self, g: &Graph, v: ValueId, from: ValueId, to: DType) -> Result<ValueId> {
        let origin = g.value(v).def.map(|(d, _)| g.node(d).origin.clone()).unwrap_or_default();
        self.rb.add1(Cast { to, saturate: true }, &[from], &origin)
    }
}
