//! `bf16-data`: data of contractions with bf16 weights is rounded once, by the kernel that makes it, and stored as bf16;
//! for targets with products of pairs.
//!
//! The rounding goes in front of transposes, reshapes and the like, so that those move half the bytes. Small values that
//! other nodes need stay in f32 beside it; of large ones all take what is rounded.

use crate::canon::dce;
use crate::fuse::{attention, policy};
use crate::rebuild::{Rebuild, map_regions};
use crate::report::PassReport;
use sinter_ir::op::{Cast, Constant};
use sinter_ir::{DType, Graph, Module, Node, NodeId, Op, Result, Symbols, Tensor, ValueId};
use std::collections::BTreeMap;

/// Runs the pass.
pub fn run(module: &mut Module, report: &mut PassReport) -> Result<()> {
    module.graph = graph(&module.graph, &mut module.symbols, report, true)?;
    dce::run(module, report)
}

/// Bytes up to which data that others need too is stored both ways. Of more, the others take what is rounded.
const BOTH: u64 = 256 << 10;

/// Operands of contractions, by node.
type Pairs = BTreeMap<NodeId, Vec<usize>>;

/// The operands of contractions that are to be bf16: data of constant weights that are, and those of attentions.
fn operands(g: &Graph, symbols: &Symbols) -> Pairs {
    let mut all = attention::pairs(g, symbols);
    for (id, node) in g.iter() {
        let &[x, w] = node.inputs.as_slice() else { continue };
        let weights = g.constant(w).is_some() && g.ty(w).dtype == DType::BF16;
        let takes = matches!(&node.op, Op::MatMul(_) | Op::Conv(_));
        if takes && weights && g.ty(x).dtype == DType::F32 && g.constant(x).is_none() {
            all.insert(id, vec![0]);
        }
    }
    all
}

/// Ops that move elements, and might as well move rounded ones.
fn moves(op: &Op) -> bool {
    matches!(op, Op::Transpose(_) | Op::Reshape(_) | Op::Slice(_) | Op::Identity(_) | Op::Concat(_))
}

fn graph(g: &Graph, symbols: &mut Symbols, report: &mut PassReport, main: bool) -> Result<Graph> {
    let pairs = operands(g, symbols);
    let (rounded_only, shared) = (rounded_only(g, &pairs), shared(g, symbols, &pairs));
    let rb = Rebuild::new(g, symbols, report);
    let mut rounding = Rounding { old: g, rounded_only, narrow: BTreeMap::new(), rb };
    for (id, node) in g.iter() {
        let Some(narrow) = pairs.get(&id) else {
            let rb = &mut rounding.rb;
            let op = map_regions(&node.op, &mut |r| graph(r, rb.symbols, rb.report, false))?;
            rb.copy_as(node, op)?;
            for &v in node.outputs.iter().filter(|v| shared[v.0 as usize]) {
                rounding.share(v)?;
            }
            continue;
        };
        let mut inputs = vec![];
        for (i, &v) in node.inputs.iter().enumerate() {
            inputs.push(if narrow.contains(&i) { rounding.narrow(v)? } else { rounding.rb.get(v)? });
        }
        let wide = narrow.contains(&0);
        let op = match node.op.clone() {
            Op::MatMul(op) => sinter_ir::op::MatMul { wide, ..op }.into(),
            Op::Conv(op) => sinter_ir::op::Conv { wide, ..op }.into(),
            other => other,
        };
        rounding.rb.report.fired("bf16-data/contraction");
        let outputs = rounding.rb.add(op, &inputs, &node.origin)?;
        rounding.rb.bind_all(node, &outputs)?;
    }
    rounding.rb.finish(main)
}

/// Whether a user takes nothing of a value but what is rounded.
fn rounds(g: &Graph, pairs: &Pairs, user: NodeId, v: ValueId) -> bool {
    let Some(narrow) = pairs.get(&user) else { return false };
    g.node(user).inputs.iter().enumerate().all(|(i, &x)| x != v || narrow.contains(&i))
}

/// Per value: whether nothing needs more of it than what is rounded.
fn rounded_only(g: &Graph, pairs: &Pairs) -> Vec<bool> {
    let uses = g.uses();
    let mut only = vec![false; g.value_count()];
    for &n in g.order().iter().rev() {
        for &v in &g.node(n).outputs {
            let fine = |u: &NodeId| {
                let user = g.node(*u);
                let through = moves(&user.op) && user.outputs.iter().all(|o| only[o.0 as usize]);
                through || rounds(g, pairs, *u, v)
            };
            let users = &uses[v.0 as usize];
            only[v.0 as usize] = !g.outputs.contains(&v) && !users.is_empty() && users.iter().all(fine);
        }
    }
    only
}

/// Per value: whether it is stored rounded only, though some need it for something else than contractions. Those
/// compute with it element by element, so that nothing is stored twice.
fn shared(g: &Graph, symbols: &Symbols, pairs: &Pairs) -> Vec<bool> {
    let uses = g.uses();
    let mut out = vec![false; g.value_count()];
    for (_, node) in g.iter().filter(|(_, n)| !moves(&n.op) && !matches!(n.op, Op::Constant(_))) {
        for &v in &node.outputs {
            let users = &uses[v.0 as usize];
            let some = users.iter().any(|&u| rounds(g, pairs, u, v));
            let fine = |u: &NodeId| {
                let op = &g.node(*u).op;
                rounds(g, pairs, *u, v) || op.is_pointwise() || crate::lower::pulls_operands(op)
            };
            let large = g.ty(v).dtype == DType::F32 && policy::bytes(symbols, g, v) > BOTH;
            out[v.0 as usize] = some && large && !g.outputs.contains(&v) && users.iter().all(fine);
        }
    }
    out
}

struct Rounding<'a> {
    old: &'a Graph,
    rounded_only: Vec<bool>,
    /// The new value in bf16 by old value.
    narrow: BTreeMap<ValueId, ValueId>,
    rb: Rebuild<'a>,
}

impl Rounding<'_> {
    /// Lets all users of a value of the old graph take what is rounded.
    fn share(&mut self, v: ValueId) -> Result<()> {
        let narrow = self.narrow(v)?;
        let origin = self.old.def(v).map(|n| n.origin.clone()).unwrap_or_default();
        let wide = self.rb.add1(Cast { to: DType::F32, saturate: true }, &[narrow], &origin)?;
        self.rb.bind(v, wide);
        Ok(())
    }
    /// An f32 value of the old graph, rounded.
    fn narrow(&mut self, v: ValueId) -> Result<ValueId> {
        if let Some(&new) = self.narrow.get(&v) {
            return Ok(new);
        }
        let old = self.old;
        let new = match old.def(v) {
            Some(node) if moves(&node.op) && self.rounded_only[v.0 as usize] => {
                let inputs = node.inputs.iter().map(|&i| self.narrow(i)).collect::<Result<Vec<_>>>()?;
                self.rb.add1(node.op.clone(), &inputs, &node.origin)?
            }
            Some(Node { op: Op::Constant(c), origin, .. }) => {
                let t = c.tensor.load()?;
                let tensor = Tensor::from_f32(DType::BF16, t.shape().to_vec(), &t.to_f32()?)?;
                self.rb.add1(Constant { tensor }, &[], origin)?
            }
            // It was bf16 before it was computed with.
            Some(Node { op: Op::Cast(_), inputs, .. }) if old.ty(inputs[0]).dtype == DType::BF16 => {
                self.rb.get(inputs[0])?
            }
            def => {
                let origin = def.map(|n| n.origin.clone()).unwrap_or_default();
                self.rb.report.fired("bf16-data/rounded");
                let x = self.rb.get(v)?;
                self.rb.add1(Cast { to: DType::BF16, saturate: true }, &[x], &origin)?
            }
        };
        self.narrow.insert(v, new);
        Ok(new)
    }
}
