//! Everything that keeps a module from becoming machine code, at once.
//!
//! [`crate::assemble`] stops at the first node that cannot be lowered; this walks all of them, in all regions.
//! Weights may be missing: inputs that stand for them count as known at compile time, and so does everything
//! that depends on nothing else.

use crate::assemble;
use crate::lower::choices::Choices;
use crate::lower::{self, LowerCx, NodeView};
use sinter_ir::target::TargetDesc;
use sinter_ir::tile::Kernel;
use sinter_ir::{Diag, Graph, Module, Node, Op, Sym, Symbols, Tensor, ValueId};
use std::collections::BTreeSet;

/// Zeros that stand for a missing constant are made up to this size.
const MAX_STAND_IN: u64 = 64 << 20;

/// What a walk found.
#[derive(Debug, Clone, Default)]
pub struct Checked {
    /// Nodes that cannot be lowered.
    pub problems: Vec<Diag>,
    /// Kernels of all others.
    pub kernels: Vec<Kernel>,
}

struct Walk<'a> {
    cx: LowerCx<'a>,
    out: Checked,
}

/// Lowers every node of a fused module on its own. The last `unread` inputs stand for weights.
pub fn run(module: &Module, target: &TargetDesc, unread: usize) -> Checked {
    let inputs = &module.graph.inputs;
    let known = inputs.iter().skip(inputs.len().saturating_sub(unread)).copied().collect();
    let choices = Choices::default();
    let cx = LowerCx {
        target,
        choices: &choices,
        symbols: &module.symbols,
        // Only its existence matters to what can be lowered.
        texts: Some(lower::text::TextSpace { used: Sym(0), bytes: 1 }),
        exact_convolutions: false,
        precision: lower::Precision::F32,
    };
    let mut walk = Walk { cx, out: Checked::default() };
    walk.region(&module.graph, known);
    walk.out
}

/// Types of a node's operands, for messages.
fn operands(symbols: &Symbols, g: &Graph, node: &Node) -> Vec<String> {
    node.inputs.iter().map(|&v| symbols.show_type(g.ty(v))).collect()
}

impl Walk<'_> {
    fn region(&mut self, g: &Graph, mut known: BTreeSet<ValueId>) {
        for (_, node) in g.iter() {
            let fixed = |v: &ValueId| known.contains(v) || g.constant(*v).is_some();
            let inner = |body: &Graph, args: &[ValueId]| -> BTreeSet<ValueId> {
                body.inputs.iter().zip(args).filter(|(_, v)| fixed(v)).map(|(i, _)| *i).collect()
            };
            match &node.op {
                Op::If(op) => {
                    let args = node.inputs.get(1..).unwrap_or_default();
                    let (then, els) = (inner(&op.then_body, args), inner(&op.else_body, args));
                    self.region(&op.then_body, then);
                    self.region(&op.else_body, els);
                }
                Op::Loop(op) => {
                    // Carried values change: only captures stay what they are.
                    let captures = op.body.inputs.iter().skip(1 + op.carried).copied();
                    let args = node.inputs.iter().skip(2 + op.carried);
                    let inner = captures.zip(args).filter(|(_, v)| fixed(v)).map(|(i, _)| i).collect();
                    self.region(&op.body, inner);
                    for &v in op.body.outputs.iter().skip(1 + op.carried) {
                        if let Err(d) = assemble::can_collect(op.body.ty(v).dtype) {
                            self.report(d, g, node);
                        }
                    }
                }
                Op::Constant(_) | Op::FromDims(_) | Op::ReadSyms(_) => {}
                _ if !node.inputs.is_empty() && node.inputs.iter().all(fixed) => {
                    known.extend(node.outputs.iter().copied());
                }
                _ => self.node(g, node, &known),
            }
        }
    }

    fn node(&mut self, g: &Graph, node: &Node, known: &BTreeSet<ValueId>) {
        let mut view = NodeView {
            op: &node.op,
            inputs: node.inputs.iter().map(|&v| g.ty(v)).collect(),
            consts: node.inputs.iter().map(|&v| g.as_const(v)).collect(),
            outputs: node.outputs.iter().map(|&v| g.ty(v)).collect(),
        };
        let stand_ins: Vec<Option<Tensor>> =
            node.inputs.iter().map(|v| if known.contains(v) { stand_in(g, *v) } else { None }).collect();
        let mut lowered = lower::lower(&self.cx, &view);
        if lowered.is_err() && stand_ins.iter().any(Option::is_some) {
            // It may only be that the weights must be known, which they will be.
            for (c, t) in view.consts.iter_mut().zip(&stand_ins) {
                *c = c.or(t.as_ref());
            }
            lowered = lower::lower(&self.cx, &view);
        }
        match lowered {
            Ok(l) => self.out.kernels.extend(l.calls.into_iter().map(|c| c.kernel)),
            Err(d) => self.report(d, g, node),
        }
    }

    fn report(&mut self, d: Diag, g: &Graph, node: &Node) {
        let d = d.at(assemble::label(node));
        let operands = operands(self.cx.symbols, g, node);
        self.out.problems.push(if d.operands.is_empty() { Diag { operands, ..d } } else { d });
    }
}

/// Zeros in place of a constant whose data was not read.
fn stand_in(g: &Graph, v: ValueId) -> Option<Tensor> {
    let ty = g.ty(v);
    let shape = ty.const_dims()?;
    let bytes = ty.dtype.bytes_for(sinter_ir::tensor::numel(&shape).ok()?)?;
    if bytes as u64 > MAX_STAND_IN {
        return None;
    }
    Tensor::zeros(ty.dtype, shape).ok()
}
