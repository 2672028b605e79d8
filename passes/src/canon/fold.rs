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
/// Work bound of a node: the evaluator is slow, so contractions beyond this many multiplications stay.
const WORK: u64 = 1 << 26;
/// The same for products of matrices, where it is less slow: seconds.
const PRODUCTS: u64 = 1 << 30;
/// Multiplications that all nodes together may need.
const ALL_WORK: u64 = 1 << 33;

/// What folding has found, and what it may still do.
struct State {
    found: Substitution,
    work: u64,
}

/// Runs the pass until no symbol becomes known any more.
pub fn run(module: &mut Module, report: &mut PassReport) -> Result<()> {
    let mut state = State { found: Substitution::new(), work: ALL_WORK };
    loop {
        module.graph = graph(&module.graph, &mut module.symbols, report, &mut state, true)?;
        if state.found.is_empty() {
            return Ok(());
        }
        super::substitute::apply(module, &std::mem::take(&mut state.found), report)?;
    }
}

fn graph(
    g: &Graph,
    symbols: &mut Symbols,
    report: &mut PassReport,
    state: &mut State,
    main: bool,
) -> Result<Graph> {
    let mut rb = Rebuild::new(g, symbols, report);
    for (_, node) in g.iter() {
        rewrite(&mut rb, node, state)?;
    }
    rb.finish(main)
}

fn rewrite(rb: &mut Rebuild, node: &Node, state: &mut State) -> Result<()> {
    let inputs = rb.operands(node)?;
    if let Op::If(op) = &node.op
        && let Some(cond) = inputs.first().and_then(|&v| rb.graph.as_const(v)).and_then(truth)
    {
        let results = inline_branch(rb, op, cond, &inputs[1..], state)?;
        return rb.bind_all(node, &results);
    }
    if let Some(results) = fold(rb, node, &inputs, state)? {
        rb.report.fired(&format!("fold/{}", node.op.name()));
        for (&old, tensor) in node.outputs.iter().zip(results) {
            let new = rb.add1(Constant { tensor }, &[], &node.origin)?;
            rb.bind(old, new);
        }
        return Ok(());
    }
    let op = map_regions(&node.op, &mut |r| graph(r, rb.symbols, rb.report, state, false))?;
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
    state: &mut State,
) -> Result<Vec<ValueId>> {
    rb.report.fired("fold/if");
    let body = if cond { &op.then_body } else { &op.else_body };
    for d in &op.defs {
        state.found.insert(d.sym, if cond { d.then_value.clone() } else { d.else_value.clone() });
    }
    let mut inner = Rebuild::empty(body, rb.symbols, rb.report);
    inner.graph = std::mem::take(&mut rb.graph);
    body.inputs.iter().zip(captures).for_each(|(&v, &c)| inner.bind(v, c));
    let result = (|| {
        for (_, node) in body.iter() {
            rewrite(&mut inner, node, state)?;
        }
        body.outputs.iter().map(|&v| inner.get(v)).collect()
    })();
    let graph = std::mem::take(&mut inner.graph);
    rb.graph = graph;
    result
}

/// The results when the node can be computed now. An evaluation error leaves the node for run time: it may
/// be in a branch that is never taken.
fn fold(rb: &Rebuild, node: &Node, inputs: &[ValueId], state: &mut State) -> Result<Option<Vec<Tensor>>> {
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
    if defined.is_empty() {
        let Some(left) = state.work.checked_sub(affordable(rb, node, &args).unwrap_or(u64::MAX)) else {
            return Ok(None);
        };
        state.work = left;
    }
    let mut cx = EvalCx::default();
    let Ok(results) = node.op.eval(&mut cx, &args) else { return Ok(None) };
    let in_range = |s: &Sym| {
        let (value, info) = (cx.syms.get(s).copied()?, rb.symbols.info(*s)?);
        (info.min <= value && value <= info.max).then_some((*s, value))
    };
    let Some(values) = defined.iter().map(in_range).collect::<Option<Vec<_>>>() else { return Ok(None) };
    state.found.extend(values.into_iter().map(|(s, v)| (s, Expr::from(v))));
    Ok(Some(results))
}

/// Multiplications that computing a node takes, if it is worth it: small results of bounded work.
fn affordable(rb: &Rebuild, node: &Node, args: &[Tensor]) -> Option<u64> {
    let mut out_bytes = 0usize;
    let mut out_len = 0usize;
    for &v in &node.outputs {
        let ty: &TensorType = rb.old.ty(v);
        let len = ty.const_dims().and_then(|d| sinter_ir::tensor::extent(&d))?;
        out_len = out_len.saturating_add(len);
        out_bytes = out_bytes.saturating_add(ty.dtype.bytes_for(len).unwrap_or(usize::MAX));
    }
    let in_bytes: usize = args.iter().map(|a| a.bytes().len()).sum();
    let small = out_bytes <= in_bytes.saturating_add(GROWTH);
    let outs = out_len as u64;
    let size = |i: usize, axes: &[usize]| -> u64 {
        let shape = args.get(i).map(Tensor::shape).unwrap_or_default();
        axes.iter().map(|&a| shape.get(a).copied().unwrap_or(1) as u64).fold(1, u64::saturating_mul)
    };
    let axes = |i: usize| (1..args.get(i).map_or(1, Tensor::rank)).collect::<Vec<_>>();
    let (work, most, fits) = match &node.op {
        Op::Broadcast(_) | Op::Iota(_) => (0, 0, out_len <= SMALL),
        Op::Pool(p) => {
            let taps = p.kernel.iter().map(|k| k.as_const().unwrap_or(i64::MAX).unsigned_abs());
            (taps.fold(outs, u64::saturating_mul), WORK, true)
        }
        Op::RoiAlign(r) => {
            let samples = (r.sampling_ratio as u64).saturating_mul(r.sampling_ratio as u64);
            (samples.saturating_mul(outs), WORK, r.sampling_ratio > 0)
        }
        Op::MatMul(_) => {
            let depth = args.first().map_or(0, |a| a.rank().saturating_sub(1));
            (size(0, &[depth]).saturating_mul(outs), PRODUCTS, small)
        }
        Op::Conv(_) => (size(1, &axes(1)).saturating_mul(outs), WORK, true),
        Op::QuantizedMatMul(_) | Op::ConvTranspose(_) | Op::Recurrent(_) => {
            let extents = args.iter().filter_map(|a| sinter_ir::tensor::extent(a.shape()));
            ((extents.max().unwrap_or(0) as u64).saturating_mul(outs), WORK, true)
        }
        _ => (0, 0, small),
    };
    (fits && work <= most).then_some(work)
}
