//! `algebra`: equality saturation (egg) on bounded acyclic regions of element-wise and movement ops.
//!
//! A region is a connected set of such nodes with the same number of other ops behind them, so no path leaves
//! it and comes back. Rules run under iteration and node limits only: a time limit would make the output depend
//! on the machine's load. The cheapest equal term by memory traffic is kept.

pub mod lang;
mod origins;
pub mod rules;

use crate::rebuild::{Rebuild, map_regions};
use crate::report::PassReport;
use egg::{CostFunction, EGraph, Extractor, Id, Runner};
use lang::{Head, Leaf, Term, Types};
use sinter_ir::graph::Origin;
use sinter_ir::{Graph, Module, Node, NodeId, Op, Result, Symbols, ValueId};
use std::collections::{BTreeMap, BTreeSet};

/// Largest number of nodes in a region; the rest of a larger one forms further regions.
const MAX_REGION: usize = 64;
const ITERATIONS: usize = 8;
const ENODES: usize = 4000;

/// Runs the pass.
pub fn run(module: &mut Module, report: &mut PassReport) -> Result<()> {
    let rewrites = rules::rewrites();
    module.graph = graph(&module.graph, &mut module.symbols, report, &rewrites, true)?;
    Ok(())
}

type Rewrites = [egg::Rewrite<Term, Types>];

fn eligible(op: &Op) -> bool {
    matches!(
        op,
        Op::Unary(_)
            | Op::Binary(_)
            | Op::Compare(_)
            | Op::Select(_)
            | Op::Transpose(_)
            | Op::Reshape(_)
            | Op::Cast(_)
    )
}

/// Nodes of each region in order. Node ids of a rebuilt graph are in topological order.
fn find_regions(g: &Graph) -> Vec<Vec<NodeId>> {
    let mut depth = vec![0u32; g.node_count()];
    let mut region: Vec<Option<usize>> = vec![None; g.node_count()];
    let mut all: Vec<Vec<NodeId>> = Vec::new();
    for (id, node) in g.iter() {
        let own = eligible(&node.op);
        let computed = |d: &NodeId| !matches!(g.node(*d).op, Op::Constant(_));
        let defs = || node.inputs.iter().filter_map(|v| g.value(*v).def).map(|(d, _)| d).filter(computed);
        // Entering or leaving a region counts, so both kinds of crossing separate depths.
        depth[id.0 as usize] = defs()
            .map(|d| depth[d.0 as usize] + u32::from(eligible(&g.node(d).op) != own))
            .max()
            .unwrap_or(0);
        if !own {
            continue;
        }
        let near = defs().filter(|d| eligible(&g.node(*d).op) && depth[d.0 as usize] == depth[id.0 as usize]);
        let joined: BTreeSet<usize> = near.filter_map(|d| region[d.0 as usize]).collect();
        let size: usize = joined.iter().map(|&r| all[r].len()).sum();
        let target = match joined.first() {
            Some(&first) if size < MAX_REGION => {
                for &r in joined.iter().skip(1) {
                    let moved = std::mem::take(&mut all[r]);
                    moved.iter().for_each(|n| region[n.0 as usize] = Some(first));
                    all[first].extend(moved);
                }
                first
            }
            _ => {
                all.push(Vec::new());
                all.len() - 1
            }
        };
        region[id.0 as usize] = Some(target);
        all[target].push(id);
    }
    all.retain(|r| !r.is_empty());
    all.iter_mut().for_each(|r| r.sort());
    all
}

fn graph(
    g: &Graph,
    symbols: &mut Symbols,
    report: &mut PassReport,
    rewrites: &Rewrites,
    main: bool,
) -> Result<Graph> {
    let mut better: BTreeMap<NodeId, Region> = BTreeMap::new();
    let mut skipped = BTreeSet::new();
    for nodes in find_regions(g) {
        if let Some(r) = Region::optimise(g, symbols, &nodes, rewrites, report) {
            skipped.extend(nodes.iter().copied());
            for &n in r.results.keys() {
                better.insert(n, r.clone());
            }
        }
    }
    let mut built: BTreeMap<(NodeId, Id), ValueId> = BTreeMap::new();
    let mut rb = Rebuild::new(g, symbols, report);
    for (id, node) in g.iter() {
        if let Some(r) = better.get(&id) {
            let v = r.build(&mut rb, r.results[&id], &node.origin, &mut built)?;
            rb.bind(node.outputs[0], v);
        } else if !skipped.contains(&id) {
            let op =
                map_regions(&node.op, &mut |inner| graph(inner, rb.symbols, rb.report, rewrites, false))?;
            rb.copy_as(node, op)?;
        }
    }
    rb.finish(main)
}

/// A saturated region with a cheaper form.
#[derive(Clone)]
struct Region {
    /// Identifies the region.
    key: NodeId,
    /// Class of the result of each node that something outside reads.
    results: BTreeMap<NodeId, Id>,
    /// Chosen op and operands by class.
    chosen: BTreeMap<Id, (Op, Vec<Id>)>,
    leaves: BTreeMap<Id, ValueId>,
    origins: BTreeMap<Id, Origin>,
}

impl Region {
    fn optimise(
        g: &Graph,
        symbols: &Symbols,
        nodes: &[NodeId],
        rewrites: &Rewrites,
        report: &mut PassReport,
    ) -> Option<Self> {
        let mut egraph = EGraph::new(Types { symbols: symbols.clone(), ..Types::default() });
        let mut classes: BTreeMap<ValueId, Id> = BTreeMap::new();
        let mut leaf_values: Vec<(Id, ValueId)> = Vec::new();
        let mut named: Vec<(Id, NodeId)> = Vec::new();
        let (mut original, mut distinct) = (BTreeMap::<Id, f64>::new(), BTreeMap::<Id, f64>::new());
        for &n in nodes {
            let node = g.node(n);
            let mut args = Vec::with_capacity(node.inputs.len());
            for &v in &node.inputs {
                let id = *classes.entry(v).or_insert_with(|| {
                    let id = add_leaf(&mut egraph, g, v);
                    leaf_values.push((id, v));
                    original.insert(id, 0.0);
                    id
                });
                args.push(id);
            }
            let (term, own) = add_node(&mut egraph, node, &args)?;
            let cost = Traffic { egraph: &egraph }.own(&egraph[term], own);
            let total = cost + args.iter().map(|a| original.get(a).copied().unwrap_or(0.0)).sum::<f64>();
            original.entry(term).or_insert(total);
            distinct.insert(term, cost);
            classes.insert(node.outputs[0], term);
            named.push((term, n));
        }
        let inside: BTreeSet<NodeId> = nodes.iter().copied().collect();
        let uses = g.uses();
        let escapes =
            |v: ValueId| g.outputs.contains(&v) || uses[v.0 as usize].iter().any(|u| !inside.contains(u));
        let runner = Runner::<Term, Types>::new(Types::default())
            .with_egraph(egraph)
            .with_iter_limit(ITERATIONS)
            .with_node_limit(ENODES)
            .with_time_limit(std::time::Duration::MAX)
            .run(rewrites);
        let egraph = &runner.egraph;
        let extractor = Extractor::new(egraph, Traffic { egraph });
        let mut results = BTreeMap::new();
        let (mut before, mut after) = (0.0, 0.0);
        for &(term, n) in named.iter().filter(|(_, n)| escapes(g.node(*n).outputs[0])) {
            let id = egraph.find(term);
            before += original.get(&term).copied().unwrap_or(0.0);
            after += extractor.find_best_cost(id);
            results.insert(n, id);
        }
        // Extraction compares sums over trees; a real gain is far above their rounding.
        if after >= before * 0.9999 - 1e-9 {
            return None;
        }
        let shared_before: f64 = distinct.values().sum();
        let mut region = Self {
            key: nodes[0],
            results,
            chosen: BTreeMap::new(),
            leaves: leaf_values.into_iter().map(|(id, v)| (egraph.find(id), v)).collect(),
            origins: BTreeMap::new(),
        };
        let mut shared_after = 0.0;
        let mut work: Vec<Id> = region.results.values().copied().collect();
        while let Some(id) = work.pop() {
            if region.chosen.contains_key(&id) || region.leaves.contains_key(&id) {
                continue;
            }
            let best = extractor.find_best_node(id);
            shared_after += Traffic { egraph }.own(&egraph[id], best.head);
            let (op, args) = lang::op_of(egraph, best)?;
            let args: Vec<Id> = args.into_iter().map(|a| egraph.find(a)).collect();
            work.extend(&args);
            region.chosen.insert(id, (op, args));
        }
        // A cheaper tree may undo sharing: every term counted once must be cheaper as well.
        if shared_after >= shared_before * 0.9999 - 1e-9 {
            return None;
        }
        let named: Vec<(Id, NodeId)> = named.into_iter().map(|(term, n)| (egraph.find(term), n)).collect();
        region.origins = origins::by_class(g, &named, &|id| region.chosen.contains_key(&id));
        for it in &runner.iterations {
            for (name, &count) in &it.applied {
                let name = format!("algebra/{}", name.as_str().split('#').next().unwrap_or_default());
                (0..count).for_each(|_| report.fired(&name));
            }
        }
        report.fired("algebra/region");
        Some(region)
    }

    /// Adds the chosen term of a class to the new graph; shared terms once per region. New terms stand for the same
    /// source nodes as the term above.
    fn build(
        &self,
        rb: &mut Rebuild,
        id: Id,
        above: &Origin,
        built: &mut BTreeMap<(NodeId, Id), ValueId>,
    ) -> Result<ValueId> {
        if let Some(&v) = self.leaves.get(&id) {
            return rb.get(v);
        }
        if let Some(&v) = built.get(&(self.key, id)) {
            return Ok(v);
        }
        let Some((op, args)) = self.chosen.get(&id) else {
            return Err(sinter_ir::Diag::bug("algebra: a term was not extracted"));
        };
        let origin = self.origins.get(&id).unwrap_or(above);
        let inputs = args.iter().map(|&a| self.build(rb, a, origin, built)).collect::<Result<Vec<_>>>()?;
        let v = rb.add1(op.clone(), &inputs, origin)?;
        built.insert((self.key, id), v);
        Ok(v)
    }
}

fn add_leaf(egraph: &mut EGraph<Term, Types>, g: &Graph, v: ValueId) -> Id {
    let constant = g.as_const(v).map(super::simplify::splat);
    egraph.analysis.leaves.push(Leaf { value: v, ty: g.ty(v).clone(), constant });
    let index = egraph.analysis.leaves.len() as u32 - 1;
    egraph.add(Term { head: Head::Leaf(index), args: vec![] })
}

fn add_node(egraph: &mut EGraph<Term, Types>, node: &Node, args: &[Id]) -> Option<(Id, Head)> {
    let head = match &node.op {
        Op::Unary(o) => Head::Unary(o.kind),
        Op::Binary(o) => Head::Binary(o.kind),
        Op::Compare(o) => Head::Compare(o.kind),
        Op::Select(_) => Head::Select,
        Op::Transpose(_) => Head::Transpose,
        Op::Reshape(_) => Head::Reshape,
        Op::Cast(_) => Head::Cast,
        _ => return None,
    };
    let id = match head {
        Head::Transpose | Head::Reshape | Head::Cast => lang::attr_term(egraph, node.op.clone(), args[0]),
        _ => egraph.add(Term { head, args: args.to_vec() }),
    };
    // A term whose type the rules cannot state (it needs a run-time check) keeps its region as it is.
    egraph[id].data.ty.as_ref()?;
    Some((id, head))
}

/// Memory traffic of a term as if each op went through memory, with arithmetic as a small extra.
struct Traffic<'a> {
    egraph: &'a EGraph<Term, Types>,
}

impl Traffic<'_> {
    fn own(&self, class: &egg::EClass<Term, lang::Info>, head: Head) -> f64 {
        let Some(ty) = &class.data.ty else { return 0.1 };
        if class.data.constant {
            return 0.1;
        }
        let elements = self.egraph.analysis.symbols.max(&ty.numel()) as f64;
        let bytes = elements * ty.dtype.bits() as f64 / 8.0;
        let arithmetic = match head {
            Head::Unary(kind) => crate::fuse::policy::cost(&sinter_ir::op::Unary { kind }.into()),
            Head::Binary(kind) => crate::fuse::policy::cost(&sinter_ir::op::Binary { kind }.into()),
            _ => 1,
        };
        1.0 + match head {
            Head::Leaf(_) | Head::Attr(_) => -1.0,
            // No data moves, but it can keep kernels apart.
            Head::Reshape => 0.1 * bytes,
            // Strided access on one side.
            Head::Transpose => 4.0 * bytes,
            _ => bytes + elements * arithmetic as f64 * 0.25,
        }
    }
}

impl CostFunction<Term> for Traffic<'_> {
    type Cost = f64;
    fn cost<C: FnMut(Id) -> f64>(&mut self, term: &Term, mut costs: C) -> f64 {
        let own = match self.egraph.lookup(term.clone()) {
            Some(id) => self.own(&self.egraph[id], term.head),
            None => 0.1,
        };
        term.args.iter().fold(own, |sum, &a| sum + costs(a))
    }
}
