//! Places of a graph's values: which share a buffer, which are written straight into a result.

use super::{Assembler, inplace};
use crate::plan::views::{alias_root, concat_offsets, is_alias, root, slice_offset};
use crate::plan::{BufId, Home, Place, order};
use sinter_ir::{Diag, Graph, Node, NodeId, Op, Result, TensorType, ValueId};
use std::collections::{BTreeMap, BTreeSet};

/// Places by value and the order of nodes they are valid for.
#[derive(Debug)]
pub(super) struct Storage {
    /// Nodes in the order to run.
    pub order: Vec<NodeId>,
    /// `None` for constants, which get theirs when something reads them from memory.
    places: Vec<Option<Place>>,
    /// Last position that uses a value's bytes; `usize::MAX` for outputs.
    last: Vec<usize>,
    /// Buffers made for this graph's values, with the last position that uses them.
    own: BTreeMap<BufId, usize>,
}

impl Storage {
    /// Gives every non-constant value of `g` a place. `wanted` are the places in which outputs should be
    /// computed directly; the first output of a buffer gets its wish, the caller copies the others.
    pub fn assign(
        asm: &mut Assembler,
        g: &Graph,
        inputs: &[Place],
        wanted: &[Option<Place>],
    ) -> Result<Self> {
        if inputs.len() != g.inputs.len() || wanted.len() != g.outputs.len() {
            return Err(Diag::bug("assemble: operands of a region do not fit"));
        }
        let overwriting = overwriting(asm, g, inputs);
        let order = order::choose(g, &asm.symbols, &|v| root(g, v), &overwriting)?;
        let mut last = vec![0usize; g.value_count()];
        for (i, n) in order.iter().enumerate() {
            g.node(*n).inputs.iter().for_each(|&v| last[root(g, v).0 as usize] = i);
        }
        g.outputs.iter().for_each(|&v| last[root(g, v).0 as usize] = usize::MAX);
        let mut s = Self { order, places: vec![None; g.value_count()], last, own: BTreeMap::new() };
        g.inputs.iter().zip(inputs).for_each(|(v, p)| s.places[v.0 as usize] = Some(*p));
        for (&v, place) in g.outputs.iter().zip(wanted) {
            let r = alias_root(g, v);
            if s.is_computed(g, r) && s.places[r.0 as usize].is_none() && fits(asm, g, r, *place) {
                s.places[r.0 as usize] = *place;
            }
        }
        s.join_concats(asm, g)?;
        for i in 0..s.order.len() {
            s.results(asm, g, i)?;
        }
        Ok(s)
    }

    fn is_computed(&self, g: &Graph, v: ValueId) -> bool {
        g.def(v).is_some_and(|n| !matches!(n.op, Op::Constant(_)) && !is_alias(n))
    }

    fn fresh(&mut self, asm: &mut Assembler, g: &Graph, v: ValueId) -> Result<Place> {
        let value = g.value(v);
        let made_by = || g.def(v).map_or_else(|| "value".to_owned(), super::emit::label);
        let name = value.name.as_deref().map_or_else(made_by, str::to_owned);
        let place = asm.arena(name, asm.max_bytes(&value.ty)?);
        self.own.insert(place.buf, self.last[v.0 as usize]);
        Ok(place)
    }

    /// Lets the parts of contiguous concatenations be computed right where the result needs them.
    fn join_concats(&mut self, asm: &mut Assembler, g: &Graph) -> Result<()> {
        for i in (0..self.order.len()).rev() {
            let node = g.node(self.order[i]);
            let Op::Concat(op) = &node.op else { continue };
            let types: Vec<&TensorType> = node.inputs.iter().map(|&v| g.ty(v)).collect();
            let (Some(offsets), y) = (concat_offsets(op, &types), node.outputs[0]) else { continue };
            let roots: Vec<ValueId> = node.inputs.iter().map(|&v| alias_root(g, v)).collect();
            let free = |s: &Self, r: ValueId| s.is_computed(g, r) && s.places[r.0 as usize].is_none();
            if !roots.iter().any(|&r| free(self, r)) {
                continue;
            }
            let dst = match self.places[y.0 as usize] {
                Some(p) => p,
                None => self.fresh(asm, g, y)?,
            };
            // Places in the caller's buffers have no offset.
            if asm.buffers.get(dst.buf).home != Home::Arena {
                continue;
            }
            self.places[y.0 as usize] = Some(dst);
            for (&r, at) in roots.iter().zip(offsets) {
                if free(self, r) && !grows(g, r) {
                    self.places[r.0 as usize] = Some(Place { buf: dst.buf, offset: dst.offset + at });
                    let last = self.last[r.0 as usize];
                    self.own.entry(dst.buf).and_modify(|l| *l = (*l).max(last));
                }
            }
        }
        Ok(())
    }

    /// Places of the results of the node at position `i`.
    fn results(&mut self, asm: &mut Assembler, g: &Graph, i: usize) -> Result<()> {
        let node = g.node(self.order[i]);
        if let (Some(p), [y]) = (self.view(asm, g, node), node.outputs.as_slice()) {
            self.places[y.0 as usize] = Some(p);
            return Ok(());
        }
        for (j, &v) in node.outputs.iter().enumerate() {
            if is_alias(node) || self.places[v.0 as usize].is_some() {
                continue;
            }
            let kept = self.keeps(asm, g, node);
            let taken = kept.map_or_else(|| self.takes_over(asm, g, i, j), |p| Ok(Some(p)))?;
            let place = match taken {
                Some(p) => p,
                None => self.fresh(asm, g, v)?,
            };
            if asm.buffers.get(place.buf).home == Home::Arena {
                self.own.insert(place.buf, self.last[v.0 as usize]);
            }
            self.places[v.0 as usize] = Some(place);
        }
        Ok(())
    }

    /// The state that a node writes into.
    fn keeps(&self, asm: &Assembler, g: &Graph, node: &Node) -> Option<Place> {
        let x = node.inputs.first().filter(|_| node.op.overwrites())?;
        let place = self.places[alias_root(g, *x).0 as usize]?;
        matches!(asm.buffers.get(place.buf).home, Home::State(_)).then_some(place)
    }

    /// The place of a result that is a view of the operand; `None` also when the operand is a constant.
    fn view(&self, asm: &Assembler, g: &Graph, node: &Node) -> Option<Place> {
        let x = *node.inputs.first()?;
        let p = self.places[x.0 as usize]?;
        match &node.op {
            _ if is_alias(node) => Some(p),
            Op::Slice(s) if asm.buffers.get(p.buf).home == Home::Arena => {
                if self.places[node.outputs[0].0 as usize].is_some() {
                    return None;
                }
                slice_offset(s, g.ty(x)).map(|at| Place { buf: p.buf, offset: p.offset + at })
            }
            _ => None,
        }
    }

    /// The buffer of an operand that dies at position `i` and that result `j` may overwrite.
    fn takes_over(&self, asm: &Assembler, g: &Graph, i: usize, j: usize) -> Result<Option<Place>> {
        let node = g.node(self.order[i]);
        let want = asm.max_bytes(g.ty(node.outputs[j]))?;
        let operands: Vec<usize> = match &node.op {
            Op::Loop(l) if j < l.carried => {
                let same = node.inputs.iter().filter(|v| **v == node.inputs[2 + j]).count();
                if same == 1 { vec![2 + j] } else { vec![] }
            }
            Op::Loop(_) | Op::If(_) => vec![],
            op if op.overwrites() => vec![0],
            _ => (0..node.inputs.len()).filter(|&k| inplace::same_index(&asm.symbols, g, node, k)).collect(),
        };
        for k in operands {
            let Some(p) = self.places[node.inputs[k].0 as usize] else { continue };
            let dies = self.own.get(&p.buf).is_some_and(|&l| l == i);
            let alone = node
                .inputs
                .iter()
                .enumerate()
                .all(|(m, v)| m == k || self.places[v.0 as usize].is_none_or(|q| q.buf != p.buf));
            if dies && alone && p.offset == 0 && asm.buffers.get(p.buf).bytes == want {
                return Ok(Some(p));
            }
        }
        Ok(None)
    }

    /// Place of a value; a constant goes to the weights section.
    pub fn place(&self, asm: &mut Assembler, g: &Graph, v: ValueId) -> Result<Place> {
        if let Some(p) = self.places[v.0 as usize] {
            return Ok(p);
        }
        let r = alias_root(g, v);
        let t = g.constant(r).ok_or_else(|| Diag::bug("assemble: a value has no place"))?;
        let name = g.value(r).name.as_deref().unwrap_or("constant");
        asm.constant(t, name)
    }

    /// Whether a node needs no kernel: its result is a view of its operand.
    pub fn is_view(&self, g: &Graph, node: &Node) -> bool {
        let Op::Slice(s) = &node.op else { return is_alias(node) };
        let place = |v: ValueId| self.places[v.0 as usize];
        match (slice_offset(s, g.ty(node.inputs[0])), place(node.inputs[0]), place(node.outputs[0])) {
            (Some(at), Some(x), Some(y)) => y == Place { buf: x.buf, offset: x.offset + at },
            _ => false,
        }
    }

    /// For a concatenation of which some parts are in place already: the places of all parts.
    pub fn joined(&self, g: &Graph, node: &Node) -> Option<Vec<Place>> {
        let Op::Concat(op) = &node.op else { return None };
        let dst = self.places[node.outputs[0].0 as usize]?;
        let types: Vec<&TensorType> = node.inputs.iter().map(|&v| g.ty(v)).collect();
        let places: Vec<Place> = concat_offsets(op, &types)?
            .into_iter()
            .map(|at| Place { buf: dst.buf, offset: dst.offset + at })
            .collect();
        let there = node.inputs.iter().zip(&places).any(|(v, p)| self.places[v.0 as usize] == Some(*p));
        there.then_some(places)
    }
}

/// Nodes of the main graph that write into states.
fn overwriting(asm: &Assembler, g: &Graph, inputs: &[Place]) -> BTreeSet<NodeId> {
    let mut held = vec![false; g.value_count()];
    for (v, p) in g.inputs.iter().zip(inputs) {
        held[v.0 as usize] = matches!(asm.buffers.get(p.buf).home, Home::State(_));
    }
    let mut writers = BTreeSet::new();
    for (id, node) in g.iter() {
        let writes = node.op.overwrites();
        if (writes || is_alias(node)) && node.inputs.first().is_some_and(|x| held[x.0 as usize]) {
            node.outputs.iter().for_each(|y| held[y.0 as usize] = true);
            writers.extend(writes.then_some(id));
        }
    }
    writers
}

/// A carried value that changes its size may at times be larger than at the end.
fn grows(g: &Graph, v: ValueId) -> bool {
    matches!(g.def(v).map(|n| &n.op), Some(Op::Loop(l)) if !l.shape_syms.is_empty())
}

fn fits(asm: &Assembler, g: &Graph, v: ValueId, place: Option<Place>) -> bool {
    place.is_some_and(|p| !(grows(g, v) && matches!(asm.buffers.get(p.buf).home, Home::Output(_))))
}
