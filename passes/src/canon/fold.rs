//! `fold`: computes nodes whose operands are constants with the reference evaluator, takes the known branch of
//! an `If`, and turns symbols read from constants into numbers.

use crate::rebuild::{Rebuild, map_regions};
use crate::report::PassReport;
use crate::symbols::{self, Substitution};
use sinter_ir::eval::EvalCx;
use sinter_ir::op::{Constant, If};
use sinter_ir::{Expr, Graph, Module, Node, Op, Result, Sym, Symbols, Tensor, TensorType, ValueId};
use std::collections::BTreeSet;

/// A result may exceed the bytes of its operands by this much.
const GROWTH: usize = 1 << 20;
/// Ops that only repeat or generate data are folded up to this many elements.
const SMALL: usize = 64;
/// Work bound: the evaluator is slow, so contractions beyond this many multiplications stay.
const WORK: u64 = 1 << 26;

/// Runs the pass until no symbol becomes known any more.
pub fn run(module: &mut Module, report: &mut PassReport) -> Result<()> {
    loop {
        let mut found = Substitution::new();
        module.graph = graph(&module.graph, &mut module.symbols, report, &mut found, true)?;
        if found.is_empty() {
            return Ok(());
        }
        super::substitute::apply(module, &found, report)?;
    }
}

fn graph(
    g: &Graph,
    symbols: &mut Symbols,
    report: &mut PassReport,
    found: &mut Substitution,
    main: bool,
) -> Result<Graph> {
    let mut rb = Rebuild::new(g, symbols, report);
    for (_, node) in g.iter() {
        rewrite(&mut rb, node, found)?;
    }
    rb.finish(main)
}

fn rewrite(rb: &mut Rebuild, node: &Node, found: &mut Substitution) -> Result<()> {
    let inputs = rb.operands(node)?;
    if let Op::If(op) = &node.op
        && let Some(cond) = inputs.first().and_then(|&v| rb.graph.as_const(v)).and_then(truth)
    {
        let results = inline_branch(rb, op, cond, &inputs[1..], found)?;
        return rb.bind_all(node, &results);
    }
    if let Some(results) = fold(rb, node, &inputs, found)? {
        rb.report.fired(&format!("fold/{}", node.op.name()));
        for (&old, tensor) in node.outputs.iter().zip(results) {
            let new = rb.add1(Constant { tensor }, &[], &node.origin)?;
            rb.bind(old, new);
        }
        return Ok(());
    }
    let op = map_regions(&node.op, &mut |r| graph(r, rb.symbols, rb.report, found, false))?;
    rb.copy_as(node, op).map(|_| ())
}

fn truth(t: &Tensor) -> Option<bool> {
    t.bytes().first().map(|b| *b != 0)
}

/// Copies the taken region's nodes in place of the `If`; its branch symbols become their values.
fn inline_branch(
    rb: &mut Rebuild,
    op: &If,
    cond: bool,
    captures: &[ValueId],
    found: &mut Substitution,
) -> Result<Vec<ValueId>> {
    rb.report.fired("fold/if");
    let body = if cond { &op.then_body } else { &op.else_body };
    for d in &op.defs {
        found.insert(d.sym, if cond { d.then_value.clone() } else { d.else_value.clone() });
    }
    let mut inner = Rebuild::empty(body, rb.symbols, rb.report);
    inner.graph = std::mem::take(&mut rb.graph);
    body.inputs.iter().zip(captures).for_each(|(&v, &c)| inner.bind(v, c));
    let result = (|| {
        for (_, node) in body.iter() {
            rewrite(&mut inner, node, found)?;
        }
        body.outputs.iter().map(|&v| inner.get(v)).collect()
    })();
    let graph = std::mem::take(&mut inner.graph);
    rb.graph = graph;
    result
}

/// The results when the node can be computed now. An evaluation error leaves the node for run time: it may
/// be in a branch that is never taken.
fn fold(
    rb: &Rebuild,
    node: &Node,
    inputs: &[ValueId],
    found: &mut Substitution,
) -> Result<Option<Vec<Tensor>>> {
    if matches!(node.op, Op::Constant(_) | Op::If(_) | Op::Loop(_) | Op::Random(_)) {
        return Ok(None);
    }
    let Some(args) = inputs.iter().map(|&v| rb.graph.as_const(v).cloned()).collect::<Option<Vec<_>>>() else {
        return Ok(None);
    };
    let mut used = BTreeSet::new();
    symbols::in_op(&node.op, &mut used);
    let defined: BTreeSet<Sym> = node.op.defines().into_iter().collect();
    if !used.is_empty() {
        return Ok(None);
    }
    if defined.is_empty() && !affordable(rb, node, &args) {
        return Ok(None);
    }
    let mut cx = EvalCx::default();
    let Ok(results) = node.op.eval(&mut cx, &args) else { return Ok(None) };
    let in_range = |s: &Sym| {
        let (value, info) = (cx.syms.get(s).copied()?, rb.symbols.info(*s)?);
        (info.min <= value && value <= info.max).then_some((*s, value))
    };
    let Some(values) = defined.iter().map(in_range).collect::<Option<Vec<_>>>() else { return Ok(None) };
    found.extend(values.into_iter().map(|(s, v)| (s, Expr::from(v))));
    Ok(Some(results))
}

fn affordable(rb: &Rebuild, node: &Node, args: &[Tensor]) -> bool {
    let mut out_bytes = 0usize;
    let mut out_len = 0usize;
    for &v in &node.outputs {
        let ty: &TensorType = rb.old.ty(v);
        let Some(len) = ty.const_dims().and_then(|d| sinter_ir::tensor::extent(&d)) else { return false };
        out_len = out_len.saturating_add(len);
        out_bytes = out_bytes.saturating_add(ty.dtype.bytes_for(len).unwrap_or(usize::MAX));
    }
    let in_bytes: usize = args.iter().map(|a| a.bytes().len()).sum();
    let extents = args.iter().filter_map(|a| sinter_ir::tensor::extent(a.shape()));
    let work = extents.max().unwrap_or(0).saturating_mul(out_len) as u64;
    match &node.op {
        Op::Broadcast(_) | Op::Iota(_) => out_len <= SMALL,
        Op::Pool(p) => {
            let taps = p.kernel.iter().map(|k| k.as_const().unwrap_or(i64::MAX).unsigned_abs());
            taps.fold(out_len as u64, u64::saturating_mul) <= WORK
        }
        Op::RoiAlign(r) => {
            let samples = (r.sampling_ratio as u64).saturating_mul(r.sampling_ratio as u64);
            r.sampling_ratio > 0 && samples.saturating_mul(out_len as u64) <= WORK
        }
        Op::MatMul(_) | Op::QuantizedMatMul(_) | Op::Conv(_) | Op::ConvTranspose(_) | Op::Recurrent(_) => {
            work <= WORK
        }
        _ => out_bytes <= in_bytes.saturating_add(GROWTH),
    }
}
