//! `dce`: removes nodes, region results, captures and constraints that nothing needs.
//!
//! A node is live when a result is used, when it defines a symbol that something live mentions, or when it demands that a
//! value is what the importer took it for. Symbols are always defined before their uses, so one backward sweep per graph
//! finds everything.

use crate::rebuild::Rebuild;
use crate::report::PassReport;
use crate::symbols;
use sinter_ir::op::{If, Loop};
use sinter_ir::{Diag, Graph, Module, Node, Op, Result, Sym, Symbols};
use std::collections::BTreeSet;

/// Runs the pass on an imported module: constraints of dead nodes go as well.
pub fn run(module: &mut Module, report: &mut PassReport) -> Result<()> {
    sweep(module, report, BTreeSet::new())
}

/// Runs the pass on a module whose constraints are all known to be needed: what they check stays.
pub fn run_final(module: &mut Module, report: &mut PassReport) -> Result<()> {
    let checked =
        module.symbols.constraints.iter().flat_map(|c| c.a.syms().into_iter().chain(c.b.syms())).collect();
    sweep(module, report, checked)
}

fn sweep(module: &mut Module, report: &mut PassReport, mut needed: BTreeSet<Sym>) -> Result<()> {
    let mut defined = BTreeSet::new();
    symbols::defined_in(&module.graph, &mut defined);
    module.graph.inputs.iter().for_each(|&v| symbols::in_type(module.graph.ty(v), &mut needed));
    let mut cx = Cx { symbols: &mut module.symbols, report, needed };
    module.graph = cx.graph(&module.graph, true)?;
    // A constraint on a symbol that no node defines any more has nothing to check.
    let mut left = BTreeSet::new();
    symbols::defined_in(&module.graph, &mut left);
    let gone = |s: &Sym| defined.contains(s) && !left.contains(s);
    module.symbols.constraints.retain(|c| !c.a.syms().iter().chain(&c.b.syms()).any(gone));
    Ok(())
}

/// A live node: its op, and which operands and results stay.
struct Live {
    op: Op,
    inputs: Vec<bool>,
    outputs: Vec<bool>,
}

struct Cx<'a> {
    symbols: &'a mut Symbols,
    report: &'a mut PassReport,
    needed: BTreeSet<Sym>,
}

impl Cx<'_> {
    /// Reads a symbol that may have one value only: a check that the importer put here.
    fn demands(&self, op: &Op) -> bool {
        let fixed = |s: &Sym| self.symbols.info(*s).is_some_and(|i| i.min == i.max);
        matches!(op, Op::ReadSyms(r) if r.syms.iter().any(fixed))
    }
    fn graph(&mut self, g: &Graph, main: bool) -> Result<Graph> {
        let mut used = vec![false; g.value_count()];
        for v in &g.outputs {
            used[v.0 as usize] = true;
            symbols::in_type(g.ty(*v), &mut self.needed);
        }
        let mut live: Vec<Option<Live>> = (0..g.node_count()).map(|_| None).collect();
        for (id, node) in g.iter().rev() {
            let outputs: Vec<bool> = node.outputs.iter().map(|v| used[v.0 as usize]).collect();
            let defines = node.op.defines().iter().any(|s| self.needed.contains(s));
            if !outputs.contains(&true) && !defines && !self.demands(&node.op) {
                self.report.fired("dce/node");
                continue;
            }
            let kept = self.node(node, outputs)?;
            symbols::in_op(&kept.op, &mut self.needed);
            node.outputs.iter().for_each(|&v| symbols::in_type(g.ty(v), &mut self.needed));
            for (v, _) in node.inputs.iter().zip(&kept.inputs).filter(|(_, k)| **k) {
                used[v.0 as usize] = true;
            }
            live[id.0 as usize] = Some(kept);
        }
        let mut rb = Rebuild::new(g, self.symbols, self.report);
        for (id, node) in g.iter() {
            let Some(kept) = live[id.0 as usize].take() else { continue };
            let keep = |flags: &[bool], ids: &[sinter_ir::ValueId]| {
                ids.iter().zip(flags).filter(|(_, k)| **k).map(|(v, _)| *v).collect::<Vec<_>>()
            };
            let inputs = keep(&kept.inputs, &node.inputs)
                .into_iter()
                .map(|v| rb.get(v))
                .collect::<Result<Vec<_>>>()?;
            let new = rb.add(kept.op, &inputs, &node.origin)?;
            keep(&kept.outputs, &node.outputs).into_iter().zip(new).for_each(|(o, n)| rb.bind(o, n));
        }
        rb.finish(main)
    }

    /// Prunes regions; other ops keep every operand and result.
    fn node(&mut self, node: &Node, outputs: Vec<bool>) -> Result<Live> {
        match &node.op {
            Op::If(op) => self.if_(op, node, outputs),
            Op::Loop(op) => self.loop_(op, node, outputs),
            op => Ok(Live {
                op: op.clone(),
                inputs: vec![true; node.inputs.len()],
                outputs: vec![true; node.outputs.len()],
            }),
        }
    }

    fn if_(&mut self, op: &If, node: &Node, outputs: Vec<bool>) -> Result<Live> {
        let mut op = op.clone();
        op.defs.retain(|d| self.needed.contains(&d.sym));
        for d in &op.defs {
            self.needed.extend(d.then_value.syms().into_iter().chain(d.else_value.syms()));
        }
        filter(&mut op.types, &outputs);
        for body in [&mut op.then_body, &mut op.else_body] {
            filter(&mut body.outputs, &outputs);
            *body = self.graph(body, false)?;
        }
        let uses: Vec<Vec<bool>> = [&op.then_body, &op.else_body].map(input_uses).to_vec();
        let keep: Vec<bool> =
            (0..node.inputs.len().saturating_sub(1)).map(|i| uses.iter().any(|u| u[i])).collect();
        for body in [&mut op.then_body, &mut op.else_body] {
            *body = self.drop_inputs(body, &keep)?;
        }
        self.count(&keep, &outputs);
        let inputs = std::iter::once(true).chain(keep).collect();
        Ok(Live { op: op.into(), inputs, outputs })
    }

    fn loop_(&mut self, op: &Loop, node: &Node, used: Vec<bool>) -> Result<Live> {
        let mut op = op.clone();
        op.shape_syms.iter().for_each(|c| self.needed.extend(c.init.syms().into_iter().chain(c.next.syms())));
        let (carried, captures) = (op.carried, node.inputs.len().saturating_sub(2 + op.carried));
        if used.len() != carried + op.scanned {
            return Err(Diag::bug("dce: a loop has a wrong number of results"));
        }
        // A carried value stays when its result is used or when a body that computes the others reads it.
        let mut keep = used.clone();
        let report = self.report.clone();
        let (body, reads) = loop {
            // Only the last attempt counts.
            self.report.clone_from(&report);
            let mut body = op.body.clone();
            let flags: Vec<bool> = std::iter::once(true).chain(keep.iter().copied()).collect();
            filter(&mut body.outputs, &flags);
            let body = self.graph(&body, false)?;
            let reads = input_uses(&body);
            let more: Vec<usize> = (0..carried).filter(|&i| !keep[i] && reads[1 + i]).collect();
            if more.is_empty() {
                break (body, reads);
            }
            more.into_iter().for_each(|i| keep[i] = true);
        };
        let capture_reads = &reads[1 + carried..1 + carried + captures];
        let body_keep: Vec<bool> =
            std::iter::once(&true).chain(&keep[..carried]).chain(capture_reads).copied().collect();
        op.body = self.drop_inputs(&body, &body_keep)?;
        op.carried = keep[..carried].iter().filter(|k| **k).count();
        op.scanned = keep[carried..].iter().filter(|k| **k).count();
        self.count(&body_keep, &keep);
        let inputs = [true, true].into_iter().chain(body_keep.into_iter().skip(1)).collect();
        Ok(Live { op: op.into(), inputs, outputs: keep })
    }

    fn count(&mut self, inputs: &[bool], outputs: &[bool]) {
        inputs.iter().filter(|k| !**k).for_each(|_| self.report.fired("dce/capture"));
        outputs.iter().filter(|k| !**k).for_each(|_| self.report.fired("dce/result"));
    }

    /// The region without the inputs whose flag is false; nothing reads those.
    fn drop_inputs(&mut self, g: &Graph, keep: &[bool]) -> Result<Graph> {
        if keep.iter().all(|k| *k) {
            return Ok(g.clone());
        }
        let mut g = g.clone();
        filter(&mut g.inputs, keep);
        let mut rb = Rebuild::new(&g, self.symbols, self.report);
        for (_, node) in g.iter() {
            rb.copy(node)?;
        }
        rb.finish_region()
    }
}

fn filter<T>(items: &mut Vec<T>, keep: &[bool]) {
    let mut flags = keep.iter();
    items.retain(|_| flags.next().copied().unwrap_or(true));
}

/// For each input of a region, whether a node or an output uses it.
fn input_uses(g: &Graph) -> Vec<bool> {
    let mut used = vec![false; g.value_count()];
    g.iter().flat_map(|(_, n)| &n.inputs).chain(&g.outputs).for_each(|v| used[v.0 as usize] = true);
    g.inputs.iter().map(|v| used[v.0 as usize]).collect()
}
