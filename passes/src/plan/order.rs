//! The order of a graph's nodes: a few deterministic schedules are simulated and the one with the lowest peak
//! memory is kept. The graph's own order wins ties.

use crate::symbols;
use sinter_ir::{Diag, Graph, NodeId, Op, Result, Sym, Symbols, ValueId};
use std::collections::{BTreeMap, BTreeSet};

/// What scheduling needs to know of a graph.
struct Problem {
    nodes: Vec<NodeId>,
    /// By position: nodes that must run before, and those that wait for it.
    before: Vec<BTreeSet<usize>>,
    after: Vec<Vec<usize>>,
    /// By position: buffers that it reads and buffers that it makes, with sizes.
    reads: Vec<Vec<usize>>,
    makes: Vec<Vec<usize>>,
    bytes: Vec<u64>,
    /// By buffer: number of reading nodes; outputs of the graph count once more and so never die.
    readers: Vec<usize>,
}

/// Chooses an order. `root` maps a value to the value whose buffer holds it; the first operands of the nodes
/// `overwriting` are overwritten, so that everything else that reads them comes before.
pub fn choose(
    g: &Graph,
    symbols: &Symbols,
    root: &dyn Fn(ValueId) -> ValueId,
    overwriting: &BTreeSet<NodeId>,
) -> Result<Vec<NodeId>> {
    let mut p = Problem::new(g, symbols, root);
    p.overwrite(g, overwriting)?;
    let n = p.nodes.len();
    let candidates: Vec<Vec<usize>> = vec![(0..n).collect(), p.greedy(), p.depth_first()];
    let best = candidates.into_iter().min_by_key(|c| p.peak(c)).unwrap_or_default();
    Ok(best.into_iter().map(|i| p.nodes[i]).collect())
}

impl Problem {
    fn new(g: &Graph, table: &Symbols, root: &dyn Fn(ValueId) -> ValueId) -> Self {
        let nodes: Vec<NodeId> =
            g.iter().filter(|(_, n)| !matches!(n.op, Op::Constant(_))).map(|(id, _)| id).collect();
        let mut position = BTreeMap::new();
        nodes.iter().enumerate().for_each(|(i, n)| position.extend([(*n, i)]));
        let mut bytes = vec![0u64; g.value_count()];
        let mut defined: BTreeMap<Sym, usize> = BTreeMap::new();
        let (mut before, mut reads, mut makes) = (Vec::new(), Vec::new(), Vec::new());
        let mut readers = vec![0usize; g.value_count()];
        for (i, id) in nodes.iter().enumerate() {
            let node = g.node(*id);
            let mut deps: BTreeSet<usize> = node
                .inputs
                .iter()
                .filter_map(|v| g.value(*v).def)
                .filter_map(|(d, _)| position.get(&d))
                .copied()
                .collect();
            // A symbol is defined by a node; whatever mentions it comes later.
            let mut used = BTreeSet::new();
            symbols::in_op(&node.op, &mut used);
            node.inputs.iter().chain(&node.outputs).for_each(|&v| symbols::in_type(g.ty(v), &mut used));
            deps.extend(used.iter().filter_map(|s| defined.get(s)).filter(|d| **d != i));
            node.op.defines().into_iter().for_each(|s| defined.extend([(s, i)]));
            let read: BTreeSet<usize> = node
                .inputs
                .iter()
                .map(|&v| root(v))
                .filter(|v| g.constant(*v).is_none())
                .map(|v| v.0 as usize)
                .collect();
            read.iter().for_each(|&b| readers[b] += 1);
            let made: Vec<usize> =
                node.outputs.iter().filter(|v| root(**v) == **v).map(|v| v.0 as usize).collect();
            for &v in &made {
                let ty = g.ty(ValueId(v as u32));
                bytes[v] = (table.max(&ty.numel()) as u64).saturating_mul(ty.dtype.bits() as u64) / 8;
            }
            before.push(deps);
            reads.push(read.into_iter().collect());
            makes.push(made);
        }
        for &v in &g.outputs {
            readers[root(v).0 as usize] += 1;
        }
        let mut after = vec![Vec::new(); nodes.len()];
        before.iter().enumerate().for_each(|(i, d)| d.iter().for_each(|&d| after[d].push(i)));
        Self { nodes, before, after, reads, makes, bytes, readers }
    }

    /// Lets the readers of what a node overwrites run before it.
    fn overwrite(&mut self, g: &Graph, overwriting: &BTreeSet<NodeId>) -> Result<()> {
        for (w, id) in self.nodes.iter().enumerate().filter(|(_, n)| overwriting.contains(n)) {
            let Some(&x) = g.node(*id).inputs.first() else { continue };
            let mut held = vec![false; g.value_count()];
            held[x.0 as usize] = true;
            for (i, n) in self.nodes.iter().enumerate() {
                let node = g.node(*n);
                if i == w || !node.inputs.iter().any(|v| held[v.0 as usize]) {
                    continue;
                }
                if super::views::is_alias(node) {
                    node.outputs.iter().for_each(|v| held[v.0 as usize] = true);
                }
                if self.before[w].insert(i) {
                    self.after[i].push(w);
                }
            }
        }
        // The graph's own order must do, now that more has to come before.
        let n = self.nodes.len();
        let order = self.greedy();
        if order.len() < n {
            return Err(Diag::bug("a state is read after it is overwritten"));
        }
        if (0..n).any(|i| self.before[i].iter().any(|&d| d >= i)) {
            self.renumber(&order);
        }
        Ok(())
    }

    /// Numbers positions anew.
    fn renumber(&mut self, order: &[usize]) {
        let mut new = vec![0; order.len()];
        order.iter().enumerate().for_each(|(to, &from)| new[from] = to);
        fn pick<T: Clone>(of: &[T], order: &[usize]) -> Vec<T> {
            order.iter().map(|&i| of[i].clone()).collect()
        }
        self.nodes = pick(&self.nodes, order);
        self.reads = pick(&self.reads, order);
        self.makes = pick(&self.makes, order);
        self.before =
            pick(&self.before, order).into_iter().map(|d| d.into_iter().map(|i| new[i]).collect()).collect();
        self.after =
            pick(&self.after, order).into_iter().map(|d| d.into_iter().map(|i| new[i]).collect()).collect();
    }

    /// Largest sum of live buffers under an order.
    fn peak(&self, order: &[usize]) -> u64 {
        let mut left = self.readers.clone();
        let (mut live, mut peak) = (0u64, 0u64);
        for &i in order {
            live = live.saturating_add(self.makes[i].iter().map(|&b| self.bytes[b]).sum());
            peak = peak.max(live);
            for &b in &self.reads[i] {
                left[b] = left[b].saturating_sub(1);
                if left[b] == 0 {
                    live = live.saturating_sub(self.bytes[b]);
                }
            }
            live = live.saturating_sub(
                self.makes[i].iter().filter(|&&b| left[b] == 0).map(|&b| self.bytes[b]).sum(),
            );
        }
        peak
    }

    /// Always the ready node that adds the least memory; the earliest of equals.
    fn greedy(&self) -> Vec<usize> {
        let mut left = self.readers.clone();
        let mut waiting: Vec<usize> = self.before.iter().map(BTreeSet::len).collect();
        let mut ready: BTreeSet<usize> = (0..self.nodes.len()).filter(|&i| waiting[i] == 0).collect();
        let mut order = Vec::with_capacity(self.nodes.len());
        while !ready.is_empty() {
            let grows = |i: &usize| {
                let made: i128 = self.makes[*i].iter().map(|&b| i128::from(self.bytes[b])).sum();
                let freed: i128 = self.reads[*i]
                    .iter()
                    .filter(|&&b| left[b] == 1)
                    .map(|&b| i128::from(self.bytes[b]))
                    .sum();
                (made - freed, *i)
            };
            let Some(i) = ready.iter().copied().min_by_key(grows) else { break };
            ready.remove(&i);
            order.push(i);
            self.reads[i].iter().for_each(|&b| left[b] = left[b].saturating_sub(1));
            for &a in &self.after[i] {
                waiting[a] -= 1;
                if waiting[a] == 0 {
                    ready.insert(a);
                }
            }
        }
        order
    }

    /// Operands right before their users, the one that needs most memory first.
    fn depth_first(&self) -> Vec<usize> {
        let n = self.nodes.len();
        let weight = |i: &usize| self.makes[*i].iter().map(|&b| self.bytes[b]).sum::<u64>();
        let mut done = vec![false; n];
        let mut order = Vec::with_capacity(n);
        for target in 0..n {
            if !self.after[target].is_empty() {
                continue;
            }
            let mut stack = vec![(target, false)];
            while let Some((i, ready)) = stack.pop() {
                if done[i] {
                    continue;
                }
                if ready {
                    done[i] = true;
                    order.push(i);
                    continue;
                }
                stack.push((i, true));
                let mut deps: Vec<usize> = self.before[i].iter().copied().filter(|d| !done[*d]).collect();
                deps.sort_by_key(|d| (weight(d), std::cmp::Reverse(*d)));
                stack.extend(deps.into_iter().map(|d| (d, false)));
            }
        }
        order
    }
}
