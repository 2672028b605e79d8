//! The products of a graph whose weights are worth codes.

use super::apply::{fits, table};
use sinter_ir::op::binary::{Binary, BinaryKind};
use sinter_ir::{DType, Graph, NodeId, Op, Tensor, ValueId};
use std::collections::BTreeMap;

/// Name of constants that rotate: they keep their floats.
pub const ROTATION: &str = "rotation";

/// Whether the weights of a product may become codes.
pub(super) fn weights(g: &Graph, w: ValueId) -> Option<&Tensor> {
    g.constant(w).filter(|t| fits(t) && g.value(w).name.as_deref() != Some(ROTATION))
}

/// A product of activations with constant weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Product {
    /// The node.
    pub node: NodeId,
    /// Activations.
    pub x: ValueId,
    /// Weights, `[k, n]`.
    pub w: ValueId,
    /// The result.
    pub y: ValueId,
    /// The user's name of the weights; one among all products.
    pub name: String,
    /// The weights.
    pub weights: Tensor,
    /// Terms of its sums.
    pub k: usize,
    /// The product whose rows may take factors of this one's inputs: inputs are its result times something.
    pub before: Option<String>,
}

/// Products between a model's ends, in order: those with tables of rows that are looked up, and the one that gives the
/// result, are left out, and so are weights that have no name of their own.
pub fn products(g: &Graph) -> Vec<Product> {
    let tables: Vec<Tensor> = g.iter().filter_map(|(_, n)| table(g, n)).collect();
    let last = g.outputs.first().copied();
    let mut all = vec![];
    for (node, n) in g.iter() {
        let (Op::MatMul(_), &[x, w], &[y]) = (&n.op, n.inputs.as_slice(), n.outputs.as_slice()) else {
            continue;
        };
        let Some(t) = self::weights(g, w) else { continue };
        let turned = t.turned();
        let end = last == Some(y) || turned.as_ref().is_some_and(|t| tables.contains(t));
        let (Some(name), &[k, _]) = (&g.value(w).name, t.shape()) else { continue };
        if !end && g.ty(x).dtype == DType::F32 && g.ty(x).rank() >= 2 {
            all.push(Product { node, x, w, y, name: name.to_string(), weights: t.clone(), k, before: None });
        }
    }
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for p in &all {
        *seen.entry(&p.name).or_default() += 1;
    }
    let twice: Vec<String> = seen.into_iter().filter(|s| s.1 > 1).map(|s| s.0.to_owned()).collect();
    all.retain(|p| !twice.contains(&p.name));
    let before: Vec<Option<String>> = all.iter().map(|p| producer(g, &all, p)).collect();
    all.iter_mut().zip(before).for_each(|(p, b)| p.before = b);
    all
}

/// The product whose result, times something, is read by `p` and nothing else.
fn producer(g: &Graph, all: &[Product], p: &Product) -> Option<String> {
    let uses = |v: ValueId| {
        let ends = g.outputs.iter().filter(|o| **o == v).count();
        g.iter().flat_map(|(_, n)| &n.inputs).filter(|i| **i == v).count() + ends
    };
    let n = g.def(p.x).filter(|n| matches!(n.op, Op::Binary(Binary { kind: BinaryKind::Mul })))?;
    // Factors of channels go along only where both have the same channels.
    let same = |v: &ValueId| g.ty(*v).dims == g.ty(p.x).dims;
    // The later operand: of a gate and what it lets through, the latter, where both are products.
    let found = n.inputs.iter().rev().filter(|v| same(v)).find_map(|v| all.iter().find(|q| q.y == *v))?;
    (uses(p.x) == 1 && uses(found.y) == 1).then(|| found.name.clone())
}
