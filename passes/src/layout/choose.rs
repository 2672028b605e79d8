//! The choice between the model's order and the other one, over the whole graph at once: a smallest cut.
//!
//! A node that takes its other form saves or costs cycles by itself; a value that is needed in the order that it is
//! not made in costs one conversion, however many need it.

use super::carry::Need;
use super::cost::{self, Sizes};
use super::cut::{NO, Network, Var, YES};
use super::perm::{Layout, stored_dims};
use super::spread::Options;
use crate::plan::views::{concat_offsets, slice_offset};
use sinter_ir::{Graph, Node, Op, TensorType, ValueId};

/// What is stored in its other order.
#[derive(Debug)]
pub(super) struct Choice {
    /// By node: takes its other form.
    pub node: Vec<bool>,
    /// By value: made in its other order.
    pub value: Vec<bool>,
}

impl Choice {
    /// Every other order that there is.
    pub fn everything(g: &Graph, options: &Options) -> Self {
        let node: Vec<bool> = options.carried.iter().map(Option::is_some).collect();
        let mut value = vec![false; g.value_count()];
        for (id, n) in g.iter() {
            let gives = options.carried[id.0 as usize].as_ref().is_some_and(|c| c.gives.is_some());
            let loose = options.loose[id.0 as usize];
            n.outputs.iter().for_each(|v| value[v.0 as usize] = gives || loose);
        }
        Self { node, value }
    }
}

/// The cheapest choice; the model's order where it makes no difference.
pub(super) fn choose(g: &Graph, sizes: &Sizes, options: &Options) -> Choice {
    let mut net = Network::new();
    let mut nodes = vec![NO; g.node_count()];
    for (id, node) in g.iter() {
        let Some(c) = &options.carried[id.0 as usize] else { continue };
        let var = net.var();
        nodes[id.0 as usize] = var;
        let gain = gain(g, sizes, node) + copies(g, sizes, &node.op, node, None) as i64
            - copies(g, sizes, &c.op, node, c.gives.as_ref()) as i64;
        net.differ(YES, var, gain.max(0) as u64);
        let extended = node.inputs.iter().zip(&c.needs).filter(|(v, n)| {
            matches!(n, Need::Extended(_)) && g.constant(**v).is_none() && !g.ty(**v).numel().is(1)
        });
        let extra: u64 = extended.map(|(&v, _)| sizes.bytes(g.ty(v))).sum();
        // The one cycle settles ties.
        net.differ(var, NO, 1 + extra + gain.min(0).unsigned_abs());
    }
    let mut values = vec![NO; g.value_count()];
    let mut read: Vec<Vec<Var>> = vec![vec![]; g.value_count()];
    for (id, node) in g.iter() {
        for &v in &node.outputs {
            let gives = options.carried[id.0 as usize].as_ref().is_some_and(|c| c.gives.is_some());
            if gives {
                values[v.0 as usize] = nodes[id.0 as usize];
            } else if options.loose[id.0 as usize] {
                values[v.0 as usize] = net.var();
            }
        }
        for (i, &v) in node.inputs.iter().enumerate() {
            let c = options.carried[id.0 as usize].as_ref();
            if !options.loose[id.0 as usize] {
                let other = c.is_some_and(|c| matches!(c.needs.get(i), Some(Need::In(_))));
                read[v.0 as usize].push(if other { nodes[id.0 as usize] } else { NO });
            }
        }
    }
    g.outputs.iter().for_each(|v| read[v.0 as usize].push(NO));
    for (i, layout) in options.layout.iter().enumerate() {
        let v = ValueId(i as u32);
        if let Some(layout) = layout.as_ref().filter(|_| g.constant(v).is_none()) {
            conversions(&mut net, cost::conversion(sizes, g.ty(v), layout), values[i], &read[i]);
        }
    }
    let labels = net.solve();
    let yes = |list: &[Var]| list.iter().map(|&v| Network::is_yes(&labels, v)).collect();
    Choice { node: yes(&nodes), value: yes(&values) }
}

/// One conversion is paid where any reader's choice differs from the maker's.
fn conversions(net: &mut Network, cost: u64, maker: Var, readers: &[Var]) {
    let (some_yes, all_yes) = (net.var(), net.var());
    for &r in readers {
        net.implies(r, some_yes);
        net.implies(all_yes, r);
    }
    net.differ(some_yes, maker, cost);
    net.differ(maker, all_yes, cost);
}

/// Cycles that a node saves in its other form.
fn gain(g: &Graph, sizes: &Sizes, node: &Node) -> i64 {
    let ty = |v: ValueId| g.ty(v);
    match (&node.op, &node.inputs[..], &node.outputs[..]) {
        (Op::Conv(c), &[x, w], &[y]) => cost::conv(sizes, c, ty(x), ty(w), ty(y)),
        (Op::Pool(p), _, &[y]) => cost::pool(sizes, p, ty(y)),
        (Op::Transpose(t), &[x], _) => cost::conversion(sizes, ty(x), &Layout::Axes(t.perm.clone())) as i64,
        _ => 0,
    }
}

/// Cycles that a concatenation or slice spends on copies in a layout: parts that lie one after the other are made
/// in place.
fn copies(g: &Graph, sizes: &Sizes, op: &Op, node: &Node, layout: Option<&Layout>) -> u64 {
    let stored = |v: ValueId| {
        let ty = g.ty(v);
        TensorType::new(ty.dtype, stored_dims(&ty.dims, layout).unwrap_or_default())
    };
    let parts: Vec<TensorType> = node.inputs.iter().map(|&v| stored(v)).collect();
    let in_place = match (op, &parts[..]) {
        (Op::Concat(c), _) => concat_offsets(c, &parts.iter().collect::<Vec<_>>()).is_some(),
        (Op::Slice(s), [x]) => slice_offset(s, x).is_some(),
        _ => true,
    };
    if in_place { 0 } else { node.outputs.iter().map(|&y| cost::copy(sizes, g.ty(y))).sum() }
}
