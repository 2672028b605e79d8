//! Places of a graph's values: which share a buffer, which are written straight into a result.

use super::Assembler;
use crate::plan::{Home, Place};
use sinter_ir::{Diag, Graph, Node, Op, Result, ValueId};

/// Places by value; `None` for constants, which get theirs when something reads them from memory.
#[derive(Debug)]
pub struct Storage {
    places: Vec<Option<Place>>,
}

/// Whether a node's result is its operand's bytes: no code is needed.
pub fn is_alias(node: &Node) -> bool {
    matches!(node.op, Op::Reshape(_) | Op::Identity(_) | Op::Bitcast(_))
}

/// The value whose buffer holds `v`, through aliases.
pub fn root(g: &Graph, mut v: ValueId) -> ValueId {
    while let Some(node) = g.def(v).filter(|n| is_alias(n)) {
        v = node.inputs[0];
    }
    v
}

impl Storage {
    /// Gives every non-constant value of `g` a place. `wanted` are the places in which outputs should be
    /// computed directly; the first output of a buffer gets its wish, the caller copies the others.
    pub fn assign(asm: &mut Assembler, g: &Graph, inputs: &[Place], wanted: &[Option<Place>]) -> Result<Self> {
        let mut places = vec![None; g.value_count()];
        if inputs.len() != g.inputs.len() || wanted.len() != g.outputs.len() {
            return Err(Diag::bug("assemble: operands of a region do not fit"));
        }
        g.inputs.iter().zip(inputs).for_each(|(v, p)| places[v.0 as usize] = Some(*p));
        for (&v, place) in g.outputs.iter().zip(wanted) {
            let r = root(g, v);
            let computed = g.def(r).is_some_and(|n| !matches!(n.op, Op::Constant(_)));
            if computed && places[r.0 as usize].is_none() && Self::fits(asm, g, r, *place) {
                places[r.0 as usize] = *place;
            }
        }
        for (id, node) in g.iter() {
            if matches!(node.op, Op::Constant(_)) {
                continue;
            }
            for (i, &v) in node.outputs.iter().enumerate() {
                if is_alias(node) {
                    places[v.0 as usize] = places[root(g, v).0 as usize];
                } else if places[v.0 as usize].is_none() {
                    let value = g.value(v);
                    let name = value.name.as_deref().map_or_else(|| format!("{}.{}.{i}", node.op.name(), id.0), str::to_owned);
                    let bytes = asm.max_bytes(&value.ty)?;
                    places[v.0 as usize] = Some(asm.arena(name, bytes));
                }
            }
        }
        Ok(Self { places })
    }

    /// A carried value that changes its size may at times be larger than the caller's output buffer.
    fn fits(asm: &Assembler, g: &Graph, v: ValueId, place: Option<Place>) -> bool {
        let Some(place) = place else { return false };
        let growing = matches!(g.def(v).map(|n| &n.op), Some(Op::Loop(l)) if !l.shape_syms.is_empty());
        !(growing && matches!(asm.buffers.get(place.buf).home, Home::Output(_)))
    }

    /// Place of a value; a constant goes to the weights section.
    pub fn place(&self, asm: &mut Assembler, g: &Graph, v: ValueId) -> Result<Place> {
        if let Some(p) = self.places[v.0 as usize] {
            return Ok(p);
        }
        let r = root(g, v);
        let t = g.as_const(r).ok_or_else(|| Diag::bug("assemble: a value has no place"))?;
        let name = g.value(r).name.as_deref().unwrap_or("constant");
        Ok(asm.weight(&t.shared_bytes(), name))
    }
}
