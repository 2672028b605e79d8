//! Which values could be stored in another order: from the convolutions on, through everything that can follow.

use super::carry::{Carried, Need, Port, across, carry};
use super::perm::{Layout, axes};
use sinter_ir::op::{Conv, Identity, Pool, channels};
use sinter_ir::{Graph, Node, NodeId, Op, ValueId};
use std::collections::{BTreeMap, VecDeque};

/// What could be done.
#[derive(Debug)]
pub(super) struct Options {
    /// By value: its other order.
    pub layout: Vec<Option<Layout>>,
    /// By node: what it becomes when its operands and result take their other orders.
    pub carried: Vec<Option<Carried>>,
    /// By node: a transpose between two layouts, both of which it takes and gives in any order.
    pub loose: Vec<bool>,
}

/// A convolution or pooling of channels-last data.
fn seed(g: &Graph, node: &Node) -> Option<Carried> {
    let last = |v: ValueId| Layout::Axes(channels::to_last(g.ty(v).rank()));
    let y = *node.outputs.first()?;
    let (rule, op, more): (_, Op, _) = match &node.op {
        Op::Conv(c) if !c.channels_last && g.constant(node.inputs[1]).is_some() => {
            ("layout/conv", Conv { channels_last: true, ..c.clone() }.into(), 1)
        }
        Op::Pool(p) if !p.channels_last && !p.indices => {
            ("layout/pool", Pool { channels_last: true, ..p.clone() }.into(), 0)
        }
        _ => return None,
    };
    let needs = [vec![Need::In(last(node.inputs[0]))], vec![Need::Own; more]].concat();
    Some(Carried { rule, op, needs, gives: Some(last(y)) })
}

impl Options {
    /// Finds everything that can follow.
    pub fn find(g: &Graph) -> Self {
        let mut s = Self {
            layout: vec![None; g.value_count()],
            carried: vec![None; g.node_count()],
            loose: vec![false; g.node_count()],
        };
        let mut users = g.uses();
        users.iter_mut().for_each(|u| u.dedup());
        let mut fresh = VecDeque::new();
        for (id, node) in g.iter() {
            if let Some(c) = seed(g, node) {
                s.take(g, id, c, &mut fresh);
            }
        }
        // Transposes last: both sides may have an order by then.
        let mut transposes = VecDeque::new();
        loop {
            if let Some(v) = fresh.pop_front() {
                s.visit(g, &users, v, &mut fresh, &mut transposes);
            } else if let Some(n) = transposes.pop_front() {
                s.transpose(g, n, &mut fresh);
            } else {
                return s;
            }
        }
    }

    /// Accepts what a node becomes, if the values' orders allow.
    fn take(&mut self, g: &Graph, id: NodeId, c: Carried, fresh: &mut VecDeque<ValueId>) {
        let node = g.node(id);
        let Some(&y) = node.outputs.first() else { return };
        let operands = node.inputs.iter().zip(&c.needs).filter_map(|(&v, n)| match n {
            Need::In(l) if g.constant(v).is_none() => Some((v, l.clone())),
            _ => None,
        });
        let mut all: BTreeMap<ValueId, Layout> = BTreeMap::new();
        for (v, l) in operands.chain(c.gives.clone().map(|l| (y, l))) {
            // A value read twice has one order, the one that it may have already.
            let other = all.get(&v).or(self.layout[v.0 as usize].as_ref());
            if other.is_some_and(|m| *m != l) {
                return;
            }
            all.insert(v, l);
        }
        self.carried[id.0 as usize] = Some(c);
        for (v, l) in all {
            if self.layout[v.0 as usize].replace(l).is_none() {
                fresh.push_back(v);
            }
        }
    }

    /// Asks the neighbours of a value that has just got another order.
    fn visit(
        &mut self,
        g: &Graph,
        users: &[Vec<NodeId>],
        v: ValueId,
        fresh: &mut VecDeque<ValueId>,
        transposes: &mut VecDeque<NodeId>,
    ) {
        let Some(layout) = self.layout[v.0 as usize].clone() else { return };
        let made = g.value(v).def.map(|(n, _)| (n, Port::Result));
        let operand =
            |n: NodeId| g.node(n).inputs.iter().position(|&x| x == v).map(|i| (n, Port::Operand(i)));
        let read = users[v.0 as usize].iter().filter_map(|&n| operand(n));
        for (n, port) in made.into_iter().chain(read) {
            if self.carried[n.0 as usize].is_some() {
                continue;
            }
            if matches!(g.node(n).op, Op::Transpose(_)) {
                transposes.push_back(n);
            } else if let Some(c) = carry(g, g.node(n), port, &layout) {
                self.take(g, n, c, fresh);
            }
        }
    }

    fn transpose(&mut self, g: &Graph, id: NodeId, fresh: &mut VecDeque<ValueId>) {
        let node = g.node(id);
        let (Op::Transpose(t), [x], [y]) = (&node.op, &node.inputs[..], &node.outputs[..]) else { return };
        if self.carried[id.0 as usize].is_some() || self.loose[id.0 as usize] {
            return;
        }
        let order = |v: &ValueId| match &self.layout[v.0 as usize] {
            Some(Layout::Axes(p)) => Some(p.clone()),
            _ => None,
        };
        let (from, to) = (order(x), order(y));
        let other = match (&from, &to) {
            (Some(p), _) => across(&t.perm, p, Port::Operand(0)).map(|q| (p.clone(), q)),
            (None, Some(q)) => across(&t.perm, q, Port::Result).map(|p| (p, q.clone())),
            _ => None,
        };
        let Some((p, q)) = other else { return };
        if to.is_some_and(|to| to != q) {
            self.loose[id.0 as usize] = true;
            return;
        }
        let needs = vec![axes(p).map_or(Need::Own, Need::In)];
        let c = Carried { rule: "layout/transpose", op: Identity {}.into(), needs, gives: axes(q) };
        self.take(g, id, c, fresh);
    }
}
