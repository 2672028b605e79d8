//! `simplify`: local rewrites of single nodes, tried as each node is rebuilt.
//!
//! A rule sees one operation whose operands are already simplified and may build its replacement through
//! [`Site::emit`], which simplifies what it builds. So one forward sweep reaches a fixed point. Rules are
//! listed in [`RULES`] and documented in `RULES.md`; the report counts every firing by name.

mod arith;
mod cast;
mod concat;
mod contraction;
mod gather;
mod movement;
mod repeat;
mod reshape;
mod slice;
mod window;

use crate::rebuild::{Rebuild, map_regions};
use crate::report::PassReport;
use sinter_ir::graph::Origin;
use sinter_ir::op::Constant;
use sinter_ir::{Diag, Expr, Graph, Module, Node, Op, Result, Symbols, Tensor, TensorType, ValueId};

/// What a rule does to numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Same numbers (the sign of a zero and the bits of a NaN may differ).
    Exact,
    /// Another order or grouping of rounded operations.
    Reassociating,
    /// A different formula, close for ordinary values.
    Approximating,
}

/// What a rule does: the replacement of the node's only result, if it applies.
pub type Apply = fn(&mut Site) -> Result<Option<ValueId>>;

/// A named rewrite.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Name in reports and `RULES.md`.
    pub name: &'static str,
    /// Effect on numbers.
    pub class: Class,
    /// Ops it looks at.
    pub ops: &'static [&'static str],
    /// The rewrite.
    pub apply: Apply,
}

pub(crate) const fn exact(name: &'static str, ops: &'static [&'static str], apply: Apply) -> Rule {
    Rule { name, class: Class::Exact, ops, apply }
}

pub(crate) const fn reassociating(name: &'static str, ops: &'static [&'static str], apply: Apply) -> Rule {
    Rule { name, class: Class::Reassociating, ops, apply }
}

pub(crate) const fn approximating(name: &'static str, ops: &'static [&'static str], apply: Apply) -> Rule {
    Rule { name, class: Class::Approximating, ops, apply }
}

/// All rules by family, in the order they are tried.
pub const RULES: &[&[Rule]] = &[
    cast::RULES,
    movement::RULES,
    reshape::RULES,
    slice::RULES,
    concat::RULES,
    gather::RULES,
    arith::RULES,
    window::RULES,
    contraction::RULES,
    repeat::RULES,
];

/// Chains of rewrites of one node are cut here: rules are directional, so real chains are short.
const MAX_DEPTH: usize = 32;

/// One operation under rewriting.
pub struct Site<'s, 'a> {
    rb: &'s mut Rebuild<'a>,
    /// The operation.
    pub op: &'s Op,
    /// Its operands, in the new graph.
    pub inputs: &'s [ValueId],
    /// Source nodes.
    pub origin: &'s Origin,
    uses: &'s Uses,
    depth: usize,
}

/// How often the old graph uses what a new value stands for.
#[derive(Debug, Default)]
struct Uses(std::collections::BTreeMap<ValueId, usize>);

impl Site<'_, '_> {
    /// Type of an operand.
    pub fn ty(&self, i: usize) -> &TensorType {
        self.rb.graph.ty(self.inputs[i])
    }
    /// Type of any value.
    pub fn type_of(&self, v: ValueId) -> &TensorType {
        self.rb.graph.ty(v)
    }
    /// The node that makes an operand.
    pub fn def(&self, i: usize) -> Option<&Node> {
        self.rb.graph.def(self.inputs[i])
    }
    /// The node that makes any value.
    pub fn def_of(&self, v: ValueId) -> Option<&Node> {
        self.rb.graph.def(v)
    }
    /// The tensor when a value is a constant.
    pub fn tensor(&self, v: ValueId) -> Option<&Tensor> {
        self.rb.graph.as_const(v)
    }
    /// The number that every element of a constant is.
    pub fn splat(&self, v: ValueId) -> Option<f64> {
        splat(self.tensor(v)?)
    }
    /// Whether the old graph uses the value at most once: rewriting its producer duplicates no work.
    pub fn used_once(&self, v: ValueId) -> bool {
        self.uses.0.get(&v).copied().unwrap_or(1) <= 1
    }
    /// Whether two symbolic integers are known to be equal.
    pub fn same(&self, a: &Expr, b: &Expr) -> bool {
        self.rb.symbols.known_eq(a, b)
    }
    /// Whether two lists of dims are known to be equal.
    pub fn same_dims(&self, a: &[Expr], b: &[Expr]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| self.same(a, b))
    }
    /// Smallest and largest value of a symbolic integer.
    pub fn range(&self, e: &Expr) -> (i64, i64) {
        self.rb.symbols.range(e)
    }
    /// Adds a constant.
    pub fn constant(&mut self, tensor: Tensor) -> Result<ValueId> {
        self.rb.add1(Constant { tensor }, &[], self.origin)
    }
    /// Adds a node with one result and simplifies it.
    pub fn emit(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> Result<ValueId> {
        let op = op.into();
        let origin = self.origin.clone();
        match simplify(self.rb, &op, inputs, &origin, self.uses, self.depth + 1)? {
            Some(v) => Ok(v),
            None => self.rb.add1(op, inputs, &origin),
        }
    }
    /// Adds a node that also stands for another one's source nodes.
    pub fn emit_with(&mut self, op: impl Into<Op>, inputs: &[ValueId], from: ValueId) -> Result<ValueId> {
        let mut origin = self.rb.graph.def(from).map(|n| n.origin.clone()).unwrap_or_default();
        origin.extend(self.origin.iter().filter(|o| !origin.contains(o)).cloned().collect::<Vec<_>>());
        self.rb.add1(op, inputs, &origin)
    }
}

/// The number that every element of a constant is.
pub(crate) fn splat(t: &Tensor) -> Option<f64> {
    let bytes = t.dtype().bits() / 8;
    let data = t.bytes();
    if t.is_empty() || bytes == 0 || !(t.dtype().is_float() || t.dtype().is_int()) {
        return None;
    }
    let first = data.get(..bytes)?;
    if data.chunks(bytes).any(|c| c != first) {
        return None;
    }
    let one = Tensor::from_bytes(t.dtype(), vec![], first.to_vec()).ok()?;
    let value = one.scalar_f64().ok()?;
    // A 64-bit integer that a double cannot hold is not representable here.
    (t.dtype().bits() < 64 || t.dtype().is_float() || value.abs() < (1u64 << 53) as f64).then_some(value)
}

/// Runs the pass with all rules.
pub fn run(module: &mut Module, report: &mut PassReport) -> Result<()> {
    module.graph = graph(&module.graph, &mut module.symbols, report, true)?;
    Ok(())
}

fn graph(g: &Graph, symbols: &mut Symbols, report: &mut PassReport, main: bool) -> Result<Graph> {
    let mut counts = vec![0usize; g.value_count()];
    g.iter().flat_map(|(_, n)| &n.inputs).chain(&g.outputs).for_each(|v| counts[v.0 as usize] += 1);
    let mut uses = Uses::default();
    let mut rb = Rebuild::new(g, symbols, report);
    for &v in &g.inputs {
        uses.0.insert(rb.get(v)?, counts[v.0 as usize]);
    }
    for (_, node) in g.iter() {
        let op = map_regions(&node.op, &mut |r| graph(r, rb.symbols, rb.report, false))?;
        let inputs = rb.operands(node)?;
        let new = match simplify(&mut rb, &op, &inputs, &node.origin, &uses, 0)? {
            Some(v) => vec![v],
            None => rb.add(op, &inputs, &node.origin)?,
        };
        for (&old, &new) in node.outputs.iter().zip(&new) {
            *uses.0.entry(new).or_default() += counts[old.0 as usize];
        }
        rb.bind_all(node, &new)?;
    }
    rb.finish(main)
}

/// The replacement of an operation by the first rule that applies.
fn simplify(
    rb: &mut Rebuild,
    op: &Op,
    inputs: &[ValueId],
    origin: &Origin,
    uses: &Uses,
    depth: usize,
) -> Result<Option<ValueId>> {
    if depth > MAX_DEPTH || matches!(op, Op::Constant(_)) {
        return Ok(None);
    }
    let name = op.name();
    for rule in RULES.iter().copied().flatten().filter(|r| r.ops.contains(&name)) {
        let found = (rule.apply)(&mut Site { rb, op, inputs, origin, uses, depth })?;
        let Some(v) = found else { continue };
        let types: Vec<&TensorType> = inputs.iter().map(|&v| rb.graph.ty(v)).collect();
        let want = op.infer(rb.symbols, &types)?;
        let have = rb.graph.ty(v);
        let [want] = want.as_slice() else {
            return Err(Diag::bug(format!("rule {} on an op with several results", rule.name)));
        };
        let fits = want.dtype == have.dtype
            && want.rank() == have.rank()
            && want.dims.iter().zip(&have.dims).all(|(a, b)| rb.symbols.known_eq(a, b));
        debug_assert!(fits, "rule {} turned {want} into {have}", rule.name);
        if fits {
            rb.report.fired(rule.name);
            return Ok(Some(v));
        }
    }
    Ok(None)
}
