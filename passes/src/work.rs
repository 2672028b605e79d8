//! How much arithmetic a node is, whatever kernels do with it: what rates and lower bounds are computed from.

use crate::lower::KernelCall;
use serde::{Deserialize, Serialize};
use sinter_ir::graph::Symbols;
use sinter_ir::op::pages::SPAN;
use sinter_ir::op::quantized_matmul::Offset;
use sinter_ir::op::{CachedAttention, Op};
use sinter_ir::tile::{Bound, Inst, Kernel, Reg, Stmt};
use sinter_ir::{Expr, Graph, TensorType};
use std::collections::BTreeMap;

/// Arithmetic of one kernel call: its part of what its node needs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Work {
    /// Operations of the node: two for each product of a contraction, else one for each element-wise step.
    pub operations: Expr,
    /// The call does `part` of `parts` of them.
    pub part: u64,
    /// See `part`.
    pub parts: u64,
    /// Bytes that the node must touch, where that is less than all of its operands and results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Expr>,
}

/// Operations of a node.
struct Count {
    /// Products of contractions, two operations each.
    products: Expr,
    /// Everything else.
    others: Expr,
}

impl Count {
    fn none() -> Self {
        Self { products: 0.into(), others: 0.into() }
    }
    fn add(&mut self, o: Count) {
        self.products = self.products.clone() + o.products;
        self.others = self.others.clone() + o.others;
    }
}

/// Work of the calls that one node became.
pub fn of(
    op: &Op,
    inputs: &[&TensorType],
    outputs: &[&TensorType],
    calls: &[KernelCall],
    s: &Symbols,
) -> Vec<Work> {
    let (operations, contracts) = operations(op, inputs, outputs);
    let weights: Vec<u64> = calls.iter().map(|c| weigh(&c.kernel, contracts, s)).collect();
    let parts = weights.iter().fold(0_u64, |a, w| a.saturating_add(*w)).max(1);
    let touched = touched(op, inputs, outputs);
    // Kernels of quantised products have room for panels, of which they may touch none.
    let operands =
        is_quantized(op).then(|| inputs.iter().chain(outputs).fold(0.into(), |n, t| n + self::bytes(t)));
    let most = weights.iter().max().copied().unwrap_or(0);
    let work = |part| {
        let bytes = if part == most { operands.clone() } else { None };
        Work { operations: operations.clone(), part, parts, bytes: bytes.or_else(|| touched.clone()) }
    };
    weights.into_iter().map(work).collect()
}

/// Operations of a node, and whether they are those of contractions: see [`Work`].
pub(crate) fn operations(op: &Op, inputs: &[&TensorType], outputs: &[&TensorType]) -> (Expr, bool) {
    let count = node(op, inputs, outputs);
    let contracts = !count.products.is(0);
    (if contracts { count.products * 2.into() } else { count.others }, contracts)
}

pub(crate) fn bytes(t: &TensorType) -> Expr {
    (t.numel() * Expr::from(t.dtype.bits())).ceil_div(&8.into())
}

/// Whether a node is a product with quantised weights, or one with something behind it.
fn is_quantized(op: &Op) -> bool {
    match op {
        Op::QuantizedMatMul(_) => true,
        Op::Group(g) => g.body.iter().any(|(_, n)| is_quantized(&n.op)),
        _ => false,
    }
}

/// Positions that queries of an attention see, on average.
fn seen(op: &CachedAttention, q: &TensorType) -> Expr {
    let n = q.dims.first().cloned().unwrap_or_default();
    let all = op.past.clone() + (n + 1.into()).div(&2.into());
    op.window.map_or(all.clone(), |w| all.min_of(&w.into()))
}

/// What of caches is touched.
fn touched(op: &Op, x: &[&TensorType], y: &[&TensorType]) -> Option<Expr> {
    match (op, x, y) {
        (Op::Append(_), [_, rows], _) => Some(bytes(rows) * 2.into()),
        (Op::QuantizedRows(op), [indices, codes, scale, ..], [y]) => {
            // As many blocks as there are offsets, where there are any.
            let parts = if op.offset == Offset::None { 1 } else { 2 };
            let bits = codes.dims.get(1)?.clone() * codes.dtype.bits().into()
                + scale.dims.get(1)?.clone() * (parts * scale.dtype.bits()).into();
            Some(bytes(indices) + bytes(y) + (indices.numel() * bits).ceil_div(&8.into()))
        }
        // What leaves the newest positions: as many as come.
        (Op::AppendPages(a), [pages, cache], _) => {
            let row = |t: &TensorType, n: Expr| t.dims.first().cloned().unwrap_or_default() * n;
            let floats = row(cache, a.tokens.clone() * cache.dims.get(2)?.clone());
            let codes = row(pages, a.tokens.clone() * pages.dims.get(2)?.clone());
            Some((floats * cache.dtype.bits().into()).ceil_div(&8.into()) + codes)
        }
        (Op::CachedAttention(a), [q, k, v, codes @ ..], [y]) => {
            let n = q.dims.first()?.clone();
            let mut seen = a.past.clone() + n.clone();
            seen = a.window.map_or(seen.clone(), |w| seen.min_of(&(n + w.into())));
            let mut coded = Expr::from(0);
            if let Some(p) = &a.pages {
                let floats = seen.min_of(&(p.sinks + p.recent + SPAN / 2).into());
                let page =
                    |t: &TensorType| t.dims.first().zip(t.dims.get(2)).map(|(h, n)| h.clone() * n.clone());
                let pages = codes.iter().copied().map(page).collect::<Option<Vec<_>>>()?;
                let behind = seen - floats.clone();
                coded = pages.into_iter().fold(coded, |sum, p| sum + p * behind.clone());
                seen = floats;
            }
            let row = |t: &TensorType, axis: usize| {
                t.dims
                    .first()
                    .zip(t.dims.get(axis))
                    .map(|(h, n)| h.clone() * n.clone() * t.dtype.bits().into())
            };
            let rows = (row(k, 2)? + row(v, 2)?).ceil_div(&8.into());
            Some(bytes(q) + bytes(y) + seen * rows + coded)
        }
        _ => None,
    }
}

fn node(op: &Op, x: &[&TensorType], y: &[&TensorType]) -> Count {
    let out = || y.first().map_or_else(|| 0.into(), |t| t.numel());
    let all_in = || x.first().map_or_else(|| 0.into(), |t| t.numel());
    let dim = |t: usize, axis: usize| x.get(t).and_then(|t| t.dims.get(axis)).cloned().unwrap_or_default();
    let products = |products| Count { products, ..Count::none() };
    let others = |others| Count { others, ..Count::none() };
    match op {
        Op::MatMul(_) | Op::QuantizedMatMul(_) => {
            products(out() * dim(0, x.first().map_or(0, |a| a.rank().saturating_sub(1))))
        }
        // Every result sums over the weights of one output channel.
        Op::Conv(_) => products(out() * weights_per(x, 1)),
        Op::ConvTranspose(_) => products(all_in() * weights_per(x, 1)),
        Op::Recurrent(_) => {
            let gates = |t: usize| x.get(t).map_or_else(|| 0.into(), |t| t.numel());
            products((gates(1) + gates(2)) * dim(0, 0) * dim(0, 1))
        }
        Op::CachedAttention(a) => match x.first() {
            Some(q) => products((q.numel() + out()) * seen(a, q)),
            None => Count::none(),
        },
        Op::Reduce(_) | Op::ArgReduce(_) | Op::Cumulate(_) => others(all_in()),
        Op::Pool(p) => others(p.kernel.iter().fold(out(), |n, k| n * k.clone())),
        // Maximum, difference, function, sum, quotient.
        Op::Softmax(_) => others(out() * 5.into()),
        Op::MulAdd(_) => others(out() * 2.into()),
        Op::Group(g) => graph(&g.body),
        op if op.is_pointwise() => others(out()),
        _ => Count::none(),
    }
}

/// Elements of the weights per entry of their first axes.
fn weights_per(x: &[&TensorType], axes: usize) -> Expr {
    x.get(1).map_or_else(|| 0.into(), |w| sinter_ir::expr::product(w.dims.iter().skip(axes)))
}

fn graph(g: &Graph) -> Count {
    let mut all = Count::none();
    for (_, n) in g.iter() {
        let types = |v: &[sinter_ir::ValueId]| v.iter().map(|&v| g.ty(v)).collect::<Vec<_>>();
        all.add(node(&n.op, &types(&n.inputs), &types(&n.outputs)));
    }
    all
}

/// How much of its node's arithmetic a kernel seems to do: its instructions times the iterations around them.
fn weigh(k: &Kernel, contracts: bool, s: &Symbols) -> u64 {
    let mut scan = Scan { kernel: k, known: BTreeMap::new(), symbols: s, contracts };
    scan.block(&k.body).max(u64::from(!contracts))
}

struct Scan<'a> {
    kernel: &'a Kernel,
    /// Integer registers whose value is known, at the largest dims.
    known: BTreeMap<Reg, i64>,
    symbols: &'a Symbols,
    contracts: bool,
}

impl Scan<'_> {
    fn block(&mut self, body: &[Stmt]) -> u64 {
        body.iter().fold(0_u64, |n, s| n.saturating_add(self.stmt(s)))
    }
    fn stmt(&mut self, s: &Stmt) -> u64 {
        match s {
            Stmt::Let { dst, inst } => {
                let value = match inst {
                    Inst::Const(sinter_ir::tile::Scalar::Int(v)) => Some(*v),
                    Inst::Dim(e) => Some(self.symbols.max(e)),
                    Inst::Copy(r) => self.known.get(r).copied(),
                    _ => None,
                };
                match value {
                    Some(v) => self.known.insert(*dst, v),
                    None => self.known.remove(dst),
                };
                let lanes = u64::from(self.kernel.ty(*dst).lanes);
                match inst {
                    Inst::MulAdd(..) | Inst::Dot2 { .. } | Inst::Dot4 { .. } => lanes,
                    Inst::Mat8 { .. } | Inst::Mat4 { .. } => 2 * lanes,
                    Inst::Un(..) | Inst::Bin(..) if !self.contracts => lanes,
                    _ => 0,
                }
            }
            Stmt::For { lo, hi, step, body, .. } => {
                let trips = match (self.bound(lo), self.bound(hi)) {
                    (Some(lo), Some(hi)) => {
                        u64::try_from((hi - lo).max(0) / (*step).max(1)).unwrap_or(1).max(1)
                    }
                    _ => 1,
                };
                trips.saturating_mul(self.block(body))
            }
            Stmt::If { then, els, .. } => self.block(then).max(self.block(els)),
            Stmt::While { test, body, .. } => self.block(test).saturating_add(self.block(body)),
            _ => 0,
        }
    }
    fn bound(&self, b: &Bound) -> Option<i64> {
        match b {
            Bound::Const(v) => Some(*v),
            Bound::Reg(r) => self.known.get(r).copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sinter_ir::DType;
    use sinter_ir::op::MatMul;

    #[test]
    fn a_product_is_two_operations_for_each_pair() {
        let t = |d: &[i64]| TensorType::new(DType::F32, d.iter().map(|&d| d.into()).collect());
        let (a, b, y) = (t(&[2, 3, 5]), t(&[5, 7]), t(&[2, 3, 7]));
        let count = node(&Op::MatMul(MatMul::default()), &[&a, &b], &[&y]);
        assert!(count.products.is(2 * 3 * 5 * 7) && count.others.is(0));
    }
}
