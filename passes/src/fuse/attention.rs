//! Attention: two products with a softmax in between become one group, with the scale and masks in front of the
//! softmax and a transpose of the result.

use super::cluster::{Cluster, Clusters};
use super::policy;
use sinter_ir::{DType, Expr, Graph, NodeId, Op, Symbols, ValueId};
use std::collections::{BTreeMap, BTreeSet};

/// Widest queries, keys and values: a block of them should stay in the first-level cache.
const MOST_WIDE: i64 = 512;
/// Most keys: the scores of a block of rows should stay in the second-level cache.
const MOST_KEYS: i64 = 16 << 10;
/// Fewest queries: packing the keys costs as much as a few rows of products.
const FEWEST_ROWS: i64 = 4;

/// Makes the groups.
pub(super) fn grow(cl: &mut Clusters, symbols: &Symbols) {
    for &n in cl.g.order() {
        if let Some((set, last)) = around(cl, symbols, n) {
            let c = cl.start(last, true);
            set.into_iter().for_each(|n| cl.join(c, n));
        }
    }
}

/// Operands of products that attentions multiply as pairs of bf16, where the widths of queries and keys allow it.
pub(crate) fn pairs(g: &Graph, symbols: &Symbols) -> BTreeMap<NodeId, Vec<usize>> {
    let cl = Clusters::new(g);
    let mut out = BTreeMap::new();
    for &n in g.order() {
        let Some((set, second)) = around(&cl, symbols, n) else { continue };
        let product = |m: &&NodeId| matches!(g.node(**m).op, Op::MatMul(_)) && **m != second;
        let Some(&first) = set.iter().find(product) else { continue };
        if g.ty(g.node(first).inputs[0]).dims.last().is_some_and(|d| d.modulo(&2.into()).is(0)) {
            out.insert(first, vec![0, 1]);
            out.insert(second, vec![1]);
        }
    }
    out
}

/// The group round a softmax, and its second product.
fn around(cl: &Clusters, symbols: &Symbols, n: NodeId) -> Option<(BTreeSet<NodeId>, NodeId)> {
    let node = cl.g.node(n);
    let Op::Softmax(op) = &node.op else { return None };
    let (x, y) = (*node.inputs.first()?, *node.outputs.first()?);
    let dims = &cl.g.ty(x).dims;
    let [batch @ .., rows, keys] = dims.as_slice() else { return None };
    if op.log || op.axis + 1 != dims.len() {
        return None;
    }
    let user = only_user(cl, y)?;
    let (second, out) = (cl.g.node(user), *cl.g.node(user).outputs.first()?);
    if !matches!(second.op, Op::MatMul(_)) || second.inputs.first() != Some(&y) || second.inputs[1] == y {
        return None;
    }
    let mut set = BTreeSet::from([n, user]);
    let first = cl.g.node(scores(cl, symbols, x, dims, &mut set, 0)?);
    let width = |v: ValueId| cl.g.ty(v).dims.last().and_then(Expr::as_const);
    let fits = |v: ValueId| width(v).is_some_and(|w| (1..=MOST_WIDE).contains(&w));
    let full = &cl.g.ty(out).dims;
    let same = full.len() == dims.len() && full.iter().zip(batch).all(|(a, b)| symbols.known_eq(a, b));
    let float = |v: &ValueId| matches!(cl.g.ty(*v).dtype, DType::F32 | DType::BF16);
    let floats = first.inputs.iter().chain(&second.inputs).all(float) && cl.g.ty(x).dtype == DType::F32;
    let computed = [first.inputs[1], second.inputs[1]].iter().all(|v| cl.g.constant(*v).is_none());
    let large = rows.as_const().is_none_or(|r| r >= FEWEST_ROWS) && symbols.max(keys) <= MOST_KEYS;
    if !(same && floats && computed && large && fits(first.inputs[0]) && fits(out)) {
        return None;
    }
    // The result may be rounded, and heads go back behind the rows while it is stored.
    let mut stored = out;
    if let Some(t) = only_user(cl, out)
        && matches!(cl.g.node(t).op, Op::Cast(_))
        && cl.g.ty(cl.g.node(t).outputs[0]).dtype == DType::BF16
    {
        set.insert(t);
        stored = cl.g.node(t).outputs[0];
    }
    if let Some(t) = only_user(cl, stored)
        && let Op::Transpose(p) = &cl.g.node(t).op
        && p.perm.last().is_some_and(|&a| a + 1 == dims.len())
    {
        set.insert(t);
    }
    let free = set.iter().all(|m| cl.home[m.0 as usize].is_none());
    (free && cl.is_convex(&set)).then_some((set, user))
}

/// The only node that uses a value, if nothing else does.
fn only_user(cl: &Clusters, v: ValueId) -> Option<NodeId> {
    match cl.users[v.0 as usize].as_slice() {
        &[u] if !cl.is_output[v.0 as usize] => Some(u),
        _ => None,
    }
}

/// Follows element-wise nodes back to the first product, and adds all of them.
fn scores(
    cl: &Clusters,
    symbols: &Symbols,
    v: ValueId,
    dims: &[Expr],
    set: &mut BTreeSet<NodeId>,
    depth: usize,
) -> Option<NodeId> {
    let (n, _) = cl.g.value(v).def?;
    let node = cl.g.node(n);
    let own = &cl.g.ty(v).dims;
    let same = own.len() == dims.len() && own.iter().zip(dims).all(|(a, b)| symbols.known_eq(a, b));
    only_user(cl, v)?;
    if !same || depth > 8 {
        return None;
    }
    if matches!(node.op, Op::MatMul(_)) {
        set.insert(n);
        return Some(n);
    }
    let vectors = node.inputs.iter().all(|x| crate::lower::access::vectorises(cl.g.ty(*x).dtype));
    if !node.op.is_pointwise() || !vectors || policy::cost(&node.op) > 16 {
        return None;
    }
    let found = node.inputs.iter().find_map(|&x| scores(cl, symbols, x, dims, set, depth + 1))?;
    set.insert(n);
    Some(found)
}

/// Whether a cluster is such a group.
pub(super) fn is_one(cl: &Clusters, cluster: &Cluster) -> bool {
    let softmax = |n: &NodeId| matches!(cl.g.node(*n).op, Op::Softmax(_));
    cluster.root.is_some_and(|r| matches!(cl.g.node(r).op, Op::MatMul(_)))
        && cluster.members.iter().any(softmax)
}

/// Whether a node may be computed while operands of the group are packed, or for every score: the code between the
/// products must keep its vectors.
pub(super) fn pulls(cl: &Clusters, symbols: &Symbols, cluster: &Cluster, n: NodeId) -> bool {
    let op = &cl.g.node(n).op;
    if !op.is_pointwise()
        && !matches!(op, Op::Transpose(_) | Op::Broadcast(_) | Op::Reshape(_) | Op::Slice(_))
    {
        return false;
    }
    let mut with = cluster.members.clone();
    with.insert(n);
    let of = |f: &dyn Fn(&Op) -> bool| with.iter().copied().find(|m| f(&cl.g.node(*m).op));
    let first =
        with.iter().copied().find(|m| matches!(cl.g.node(*m).op, Op::MatMul(_)) && cluster.root != Some(*m));
    match (first, of(&|o| matches!(o, Op::Softmax(_)))) {
        (Some(first), Some(s)) => super::lanes::behind(cl, symbols, &with, first, cl.g.node(s).inputs[0]),
        _ => false,
    }
}
