//! A model in pieces that run one after the other, each giving the moments of what its products read.
//!
//! The cuts are where one value is all that is known of the text: between the blocks of a language model, and between
//! attention and what follows. A piece has the weights as inputs, so that equal blocks are the same module, and weights
//! may be exchanged for rounded ones. What depends neither on a product nor on
//! looked-up rows (positions, masks) is made again in every piece.

use super::apply::table;
use super::products::{Product, products};
use sinter_ir::graph::Origin;
use sinter_ir::op::reduce::{Reduce, ReduceKind};
use sinter_ir::op::unary::{Unary, UnaryKind};
use sinter_ir::op::{MatMul, Reshape, Transpose};
use sinter_ir::{DType, Diag, Graph, Module, Op, Result, State, Sym, SymKind, Symbols, Tensor, ValueId};
use std::collections::{BTreeMap, BTreeSet};

/// Elements from which on a constant is an input of a piece.
const LARGE: usize = 64;

/// What an input of a piece is.
#[derive(Debug, Clone, PartialEq)]
pub enum Feed {
    /// The value that the piece before gave.
    Carried,
    /// An input of the model, by its position among those that are no states.
    Given(usize),
    /// A state of the model.
    State,
    /// A constant, in the type of the input.
    Constant(Tensor, DType),
    /// Weights of a product, `[k, n]` as f32.
    Weights(String, Tensor),
}

/// Products that read the same value.
#[derive(Debug, Clone, PartialEq)]
pub struct Tap {
    /// Elements of a row of it.
    pub k: usize,
    /// The products.
    pub products: Vec<Product>,
}

/// A piece of a model.
#[derive(Debug, Clone)]
pub struct Segment {
    /// Outputs: the value for the next piece where there is one, for every tap the sum of `x^T x`, that of `|x|`
    /// and `x`, and states.
    pub module: Module,
    /// What gives the value for the next piece alone, or behind the last one the model's result, and its inputs.
    pub plain: Option<(Module, Vec<Feed>)>,
    /// What inputs are.
    pub feeds: Vec<Feed>,
    /// What is measured.
    pub taps: Vec<Tap>,
}

impl Segment {
    /// Whether a piece follows, for which this one gives a value.
    pub fn goes_on(&self) -> bool {
        self.module.graph.outputs.len() > 3 * self.taps.len() + self.module.states.len()
    }
}

/// Cuts a model; pieces without products are left out.
pub fn segments(module: &Module) -> Result<Vec<Segment>> {
    let g = &module.graph;
    let all = products(g);
    let cuts = cuts(g, &all);
    let mut out = vec![];
    let mut before = None;
    for (i, part) in cuts.iter().enumerate() {
        let next = if i + 1 < cuts.len() { part.1 } else { None };
        let mut taps: Vec<Tap> = vec![];
        for p in part.0.iter().filter_map(|i| all.get(*i)) {
            match taps.iter_mut().find(|t| t.products.iter().any(|q| q.x == p.x)) {
                Some(t) => t.products.push(p.clone()),
                None => taps.push(Tap { k: p.k, products: vec![p.clone()] }),
            }
        }
        let (with, feeds) = Piece::build(module, before, next, &taps)?;
        let result = next.or(g.outputs.first().copied());
        let plain = result.map(|_| Piece::build(module, before, result, &[])).transpose()?;
        out.push(Segment { module: with, plain, feeds, taps });
        before = next;
    }
    Ok(out)
}

/// The pieces of a model by the names of the weights of their products, and the value that is all that is known behind
/// each, where there is one.
pub fn borders(module: &Module) -> Vec<(Vec<String>, Option<ValueId>)> {
    let all = products(&module.graph);
    let cuts = cuts(&module.graph, &all);
    let names = |c: &Cut| c.0.iter().filter_map(|i| all.get(*i)).map(|p| p.name.clone()).collect();
    let last = cuts.len().saturating_sub(1);
    cuts.iter().enumerate().map(|(i, c)| (names(c), c.1.filter(|_| i < last))).collect()
}

/// Products of every piece, and the value behind it.
type Cut = (Vec<usize>, Option<ValueId>);

fn cuts(g: &Graph, all: &[Product]) -> Vec<Cut> {
    let mut last = vec![0usize; g.value_count()];
    for (at, (_, n)) in g.iter().enumerate() {
        n.inputs.iter().for_each(|v| last[v.0 as usize] = at);
    }
    if let Some(v) = g.outputs.first() {
        last[v.0 as usize] = usize::MAX;
    }
    // Values that products or looked-up rows took part in, and those of them that are still needed.
    let (mut made, mut live) = (BTreeSet::<ValueId>::new(), BTreeSet::<ValueId>::new());
    let mut cuts: Vec<Cut> = vec![(vec![], None)];
    for (at, (id, n)) in g.iter().enumerate() {
        let product = all.iter().position(|p| p.node == id);
        if let (Some(p), Some(cut)) = (product, cuts.last_mut()) {
            cut.0.push(p);
        }
        if product.is_some() || table(g, n).is_some() || n.inputs.iter().any(|v| made.contains(v)) {
            made.extend(&n.outputs);
            live.extend(n.outputs.iter().filter(|v| last[v.0 as usize] > at));
        }
        live.retain(|v| last[v.0 as usize] > at);
        if let (1, Some(v), Some(cut)) = (live.len(), live.first(), cuts.last_mut())
            && !cut.0.is_empty()
        {
            cut.1 = Some(*v);
            cuts.push((vec![], None));
        }
    }
    cuts.retain(|c| !c.0.is_empty());
    cuts
}

/// A piece under construction.
struct Piece<'a> {
    module: &'a Module,
    before: Option<ValueId>,
    /// Values that are needed.
    wanted: BTreeSet<ValueId>,
    symbols: Symbols,
    graph: Graph,
    map: BTreeMap<ValueId, ValueId>,
    feeds: Vec<Feed>,
}

impl<'a> Piece<'a> {
    fn build(
        module: &'a Module,
        before: Option<ValueId>,
        next: Option<ValueId>,
        taps: &[Tap],
    ) -> Result<(Module, Vec<Feed>)> {
        let symbols = Symbols { constraints: vec![], ..module.symbols.clone() };
        let (graph, map) = (Graph::default(), BTreeMap::new());
        let mut p = Self { module, before, wanted: BTreeSet::new(), symbols, graph, map, feeds: vec![] };
        let read = taps.iter().filter_map(|t| t.products.first()).map(|p| p.x);
        let mut ends: Vec<ValueId> = next.into_iter().chain(read).collect();
        // States that are read must be written, and symbols defined, where they are used.
        loop {
            let known = p.wanted.len();
            ends.drain(..).for_each(|v| p.want(v));
            ends.extend(p.states().map(|s| module.graph.outputs[s.output as usize]));
            ends.extend(p.undefined());
            if p.wanted.len() == known {
                break;
            }
        }
        p.copy()?;
        let mut outputs: Vec<ValueId> = next.map(|v| p.get(v)).transpose()?.into_iter().collect();
        for t in taps {
            outputs.extend(p.tap(t)?);
        }
        let mut states = vec![];
        for s in p.states().cloned().collect::<Vec<State>>() {
            let (input, output) =
                (module.graph.inputs[s.input as usize], module.graph.outputs[s.output as usize]);
            let input = p.get(input)?;
            let input = p.graph.inputs.iter().position(|v| *v == input).unwrap_or_default() as u32;
            states.push(State { input, output: outputs.len() as u32 });
            outputs.push(p.get(output)?);
        }
        for (i, v) in outputs.iter().enumerate() {
            p.graph.set_name(*v, format!("out{i}").into());
        }
        p.graph.outputs = outputs;
        let module =
            Module { name: "piece".into(), symbols: p.symbols, graph: p.graph, states, ..Module::default() };
        Ok((module, p.feeds))
    }
    fn get(&self, v: ValueId) -> Result<ValueId> {
        self.map.get(&v).copied().ok_or_else(|| Diag::bug("a piece lacks a value"))
    }
    /// States of the model that this piece reads.
    fn states(&self) -> impl Iterator<Item = &'a State> {
        let g = &self.module.graph;
        self.module
            .states
            .iter()
            .filter(|s| self.wanted.contains(&g.inputs[s.input as usize]))
            .collect::<Vec<_>>()
            .into_iter()
    }
    /// Marks a value and what it is made from.
    fn want(&mut self, v: ValueId) {
        let mut rest = vec![v];
        while let Some(v) = rest.pop() {
            if self.wanted.insert(v)
                && self.before != Some(v)
                && let Some(n) = self.module.graph.def(v)
            {
                rest.extend(&n.inputs);
                rest.extend(&n.outputs);
            }
        }
    }
    /// Inputs of nodes that define symbols which nodes of the piece use.
    fn undefined(&self) -> Vec<ValueId> {
        let g = &self.module.graph;
        let mut used: BTreeSet<Sym> = BTreeSet::new();
        for v in &self.wanted {
            used.extend(g.ty(*v).dims.iter().flat_map(|d| d.syms()));
            if let Some(n) = g.def(*v).filter(|_| self.before != Some(*v)) {
                n.op.clone().map_exprs(&mut |e| used.extend(e.syms()));
            }
        }
        let run = |s: &Sym| self.symbols.info(*s).is_some_and(|i| i.kind == SymKind::Run);
        used.retain(run);
        let defines = |op: &Op| op.defines().iter().any(|s| used.contains(s));
        g.iter().filter(|(_, n)| defines(&n.op)).flat_map(|(_, n)| n.inputs.clone()).collect()
    }
    /// Whether a node belongs to the piece.
    fn has(&self, n: &sinter_ir::Node) -> bool {
        match n.outputs.is_empty() {
            // Nodes that only define symbols.
            true => n.inputs.iter().all(|v| self.wanted.contains(v)),
            false => n.outputs.iter().any(|v| self.wanted.contains(v) && self.before != Some(*v)),
        }
    }
    fn copy(&mut self) -> Result<()> {
        let g = &self.module.graph;
        if let Some(v) = self.before {
            self.input(v, g.ty(v).dtype, Feed::Carried);
        }
        let mut given = 0;
        for (i, v) in g.inputs.iter().enumerate() {
            let state = self.module.states.iter().any(|s| s.input as usize == i);
            if self.wanted.contains(v) {
                self.input(*v, g.ty(*v).dtype, if state { Feed::State } else { Feed::Given(given) });
            }
            given += usize::from(!state);
        }
        for (_, n) in g.iter().filter(|(_, n)| self.has(n)).collect::<Vec<_>>() {
            if let (Op::Constant(c), &[v]) = (&n.op, n.outputs.as_slice())
                && c.tensor.len() >= LARGE
                && c.tensor.dtype().is_float()
            {
                self.constant(v, &c.tensor);
                continue;
            }
            let inputs: Vec<ValueId> = n.inputs.iter().map(|v| self.get(*v)).collect::<Result<_>>()?;
            let made = self.graph.add(&mut self.symbols, n.op.clone(), &inputs, &Origin::new())?;
            self.map.extend(n.outputs.iter().copied().zip(made));
        }
        Ok(())
    }
    fn input(&mut self, v: ValueId, dtype: DType, feed: Feed) {
        let ty = sinter_ir::TensorType { dtype, ..self.module.graph.ty(v).clone() };
        let name = format!("in{}", self.feeds.len());
        let new = self.graph.add_input(ty, Some(name.into()));
        self.map.insert(v, new);
        self.feeds.push(feed);
    }
    fn constant(&mut self, v: ValueId, t: &Tensor) {
        let g = &self.module.graph;
        let mut uses = g.iter().filter(|(_, n)| n.inputs.contains(&v)).map(|(_, n)| n);
        let weights = uses.all(|n| matches!(n.op, Op::MatMul(_)) && n.inputs.first() != Some(&v));
        match g.value(v).name.as_ref().filter(|_| weights) {
            Some(name) => self.input(v, DType::F32, Feed::Weights(name.to_string(), t.clone())),
            None => self.input(v, t.dtype(), Feed::Constant(t.clone(), t.dtype())),
        }
    }
    /// Sums over the rows of what products read, `x^T x` and `|x|`, and the rows.
    fn tap(&mut self, t: &Tap) -> Result<[ValueId; 3]> {
        let first = t.products.first().ok_or_else(|| Diag::bug("a tap of nothing"))?;
        let x = self.get(first.x)?;
        let dims = self.graph.ty(x).dims.clone();
        let rows = sinter_ir::expr::product(dims.get(..dims.len().saturating_sub(1)).unwrap_or(&[]));
        let mut add = |op: Op, x: &[ValueId]| self.graph.add1(&mut self.symbols, op, x, &Origin::new());
        let flat = add(Reshape { dims: vec![rows, t.k.into()] }.into(), &[x])?;
        let turned = add(Transpose { perm: vec![1, 0] }.into(), &[flat])?;
        let gram = add(MatMul::default().into(), &[turned, flat])?;
        let size = add(Unary { kind: UnaryKind::Abs }.into(), &[flat])?;
        let size = add(Reduce { kind: ReduceKind::Sum, axes: vec![0], keepdims: false }.into(), &[size])?;
        Ok([gram, size, flat])
    }
}
