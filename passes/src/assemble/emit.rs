//! Steps of one region, in node order.

use super::Assembler;
use super::scope::Scope;
use super::storage::Storage;
use crate::lower::{self, Arg, NodeView};
use crate::plan::{Place, VStep};
use crate::report::KernelStat;
use crate::work;
use sinter_ir::{Diag, Fault, Graph, Node, Op, Result, Tensor, ValueId};

/// The user's name of a node for labels and messages.
pub(crate) fn label(node: &Node) -> String {
    match node.origin.as_slice() {
        [] => node.op.name().to_owned(),
        [one] => one.to_string(),
        [first, .., last] => format!("{first} .. {last}"),
    }
}

/// Core ops of a node, e.g. `Conv+Binary`.
fn ops(node: &Node) -> String {
    match &node.op {
        Op::Group(g) => {
            let names =
                g.body.iter().filter(|(_, n)| !matches!(n.op, Op::Constant(_))).map(|(_, n)| n.op.name());
            names.collect::<Vec<_>>().join("+")
        }
        op => op.name().to_owned(),
    }
}

impl Assembler<'_> {
    /// Emits a region and returns where its outputs are. Outputs with a wanted place are there.
    pub(super) fn region(
        &mut self,
        g: &Graph,
        inputs: &[Place],
        wanted: &[Option<Place>],
        scope: &mut Scope,
        steps: &mut Vec<VStep>,
    ) -> Result<Vec<Place>> {
        let storage = Storage::assign(self, g, inputs, wanted)?;
        for &id in &storage.order {
            let node = g.node(id);
            if !storage.is_view(g, node) {
                self.node(g, node, &storage, scope, steps).map_err(|d| match d.fault {
                    // A full disk is not the node's fault.
                    Fault::Output => d,
                    _ => d.at(label(node)),
                })?;
            }
        }
        let mut places = Vec::with_capacity(wanted.len());
        for (&v, want) in g.outputs.iter().zip(wanted) {
            let have = storage.place(self, g, v)?;
            if let Some(dst) = *want
                && dst != have
            {
                steps.push(VStep::Copy { dst, src: have, bytes: Self::bytes(g.ty(v)) });
            }
            places.push(want.unwrap_or(have));
        }
        Ok(places)
    }

    fn node(
        &mut self,
        g: &Graph,
        node: &Node,
        storage: &Storage,
        scope: &mut Scope,
        steps: &mut Vec<VStep>,
    ) -> Result<()> {
        match &node.op {
            Op::If(op) => self.if_(op, g, node, storage, scope, steps)?,
            Op::Loop(op) => self.loop_(op, g, node, storage, scope, steps)?,
            Op::ReadSyms(op) => {
                let v = *node.inputs.first().ok_or_else(|| Diag::bug("ReadSyms without operand"))?;
                let from = storage.place(self, g, v)?;
                let dtype = g.ty(v).dtype;
                for (i, &sym) in op.syms.iter().enumerate() {
                    steps.push(VStep::ReadSym { sym, from, index: i as u64, dtype });
                }
            }
            op if op.defines().is_empty() => {
                node.outputs.iter().for_each(|&v| scope.sizes(&self.symbols, g.ty(v), steps));
                self.prepare(g, node, storage, steps)?;
                match storage.joined(g, node) {
                    Some(parts) => self.copy_parts(g, node, storage, &parts, steps)?,
                    None => self.kernels(g, node, storage, steps)?,
                }
            }
            _ => self.kernels(g, node, storage, steps)?,
        }
        let symbols = std::mem::take(&mut self.symbols);
        scope.define(&symbols, &node.op.defines(), steps);
        self.symbols = symbols;
        Ok(())
    }

    /// What a slice is written into lies where the result will be.
    fn prepare(&mut self, g: &Graph, node: &Node, storage: &Storage, steps: &mut Vec<VStep>) -> Result<()> {
        if let (true, [x, ..], [y]) = (node.op.overwrites(), node.inputs.as_slice(), node.outputs.as_slice())
        {
            let (src, dst) = (storage.place(self, g, *x)?, storage.place(self, g, *y)?);
            if src != dst {
                steps.push(VStep::Copy { dst, src, bytes: Self::bytes(g.ty(*x)) });
            }
        }
        Ok(())
    }

    /// Copies the parts of a concatenation that were not computed in place.
    fn copy_parts(
        &mut self,
        g: &Graph,
        node: &Node,
        storage: &Storage,
        parts: &[Place],
        steps: &mut Vec<VStep>,
    ) -> Result<()> {
        for (&v, &dst) in node.inputs.iter().zip(parts) {
            let src = storage.place(self, g, v)?;
            if src != dst {
                steps.push(VStep::Copy { dst, src, bytes: Self::bytes(g.ty(v)) });
            }
        }
        Ok(())
    }

    /// Lowers one node and emits its calls.
    fn kernels(&mut self, g: &Graph, node: &Node, storage: &Storage, steps: &mut Vec<VStep>) -> Result<()> {
        // What is not in memory is there while this node is lowered.
        let load = |&v: &ValueId| g.constant(v).map(Tensor::load).transpose();
        let consts = node.inputs.iter().map(load).collect::<Result<Vec<_>>>()?;
        let view = NodeView {
            op: &node.op,
            inputs: node.inputs.iter().map(|&v| g.ty(v)).collect(),
            consts: consts.iter().map(Option::as_ref).collect(),
            outputs: node.outputs.iter().map(|&v| g.ty(v)).collect(),
        };
        let machine = self.prices.machine(self.target, g, node);
        let lowered = lower::lower(&self.lower_cx(&machine), &view)?;
        let choices = self.choices.recent();
        let name = label(node);
        let mut scratch = Vec::with_capacity(lowered.scratch.len());
        for (i, bytes) in lowered.scratch.iter().enumerate() {
            let max = self.symbols.max(bytes) as u64;
            scratch.push(self.arena(format!("{name} scratch {i}"), max));
        }
        let packed = lowered.packed.iter().map(|p| self.weight(p, &name)).collect::<Result<Vec<Place>>>()?;
        let missing =
            || Diag::bug(format!("lowering of {} names an argument that it does not have", node.op.name()));
        let works = work::of(&node.op, &view.inputs, &view.outputs, &lowered.calls, &self.symbols);
        for (call, work) in lowered.calls.into_iter().zip(works) {
            let mut args = Vec::with_capacity(call.args.len());
            for arg in &call.args {
                args.push(match *arg {
                    Arg::Input(i) => storage.place(self, g, *node.inputs.get(i).ok_or_else(missing)?)?,
                    Arg::Output(i) => storage.place(self, g, *node.outputs.get(i).ok_or_else(missing)?)?,
                    Arg::Scratch(i) => *scratch.get(i).ok_or_else(missing)?,
                    Arg::Packed(i) => *packed.get(i).ok_or_else(missing)?,
                    Arg::Texts => Place::start(self.texts.ok_or_else(missing)?.1),
                });
            }
            if args.len() != call.kernel.bufs.len() {
                return Err(Diag::bug(format!(
                    "kernel {} takes {} buffers, the call has {}",
                    call.kernel.name,
                    call.kernel.bufs.len(),
                    args.len()
                )));
            }
            for (&at, buf) in args.iter().zip(&call.kernel.bufs) {
                self.buffers.hold(at, self.symbols.max(&buf.bytes));
            }
            let kernel = self.kernels.add(call.kernel, self.report);
            self.report.kernels.push(KernelStat {
                kernel: self.kernels.name(kernel).to_owned(),
                ops: ops(node),
                origin: node.origin.iter().map(|o| o.to_string()).collect(),
                work,
                choices: choices.clone(),
            });
            steps.push(VStep::Call { kernel, args, sizes: vec![], label: name.clone() });
        }
        Ok(())
    }
}
