//! Names, nested graphs under construction and their captures.

use super::contents::Contents;
use sinter_ir::op::{Constant, FromDims};
use sinter_ir::{Diag, Graph, Op, Origin, Result, Symbols, ValueId};
use std::collections::BTreeMap;

/// What a name stands for.
#[derive(Debug, Clone)]
pub enum Item {
    /// A tensor of the graph with this nesting level.
    Tensor(usize, ValueId),
    /// A list of tensors, known at import.
    Seq(Vec<Item>),
    /// A list of tensors of one shape, as one tensor with a new first axis: how many they are is not known at import.
    Stack(usize, ValueId),
    /// An empty optional.
    None,
    /// The result of a node that could not be imported: users are skipped without further complaint.
    Poison,
}

/// A graph under construction.
#[derive(Debug, Default)]
pub struct Level {
    /// The graph.
    pub graph: Graph,
    /// Symbolic contents of small tensors.
    pub contents: BTreeMap<ValueId, Contents>,
    /// Values of the level below that this one uses: outer value to own input.
    pub captures: Vec<(ValueId, ValueId)>,
    /// Values captured from outside the region that began here; in a region: its explicit inputs come first.
    pub explicit_inputs: usize,
}

/// Names visible at one point; a function hides everything outside it.
#[derive(Debug, Default)]
struct Frame {
    names: BTreeMap<String, Item>,
    opaque: bool,
}

/// All levels and frames.
#[derive(Debug, Default)]
pub struct Scope {
    /// Nested graphs, innermost last.
    pub levels: Vec<Level>,
    frames: Vec<Frame>,
}

impl Scope {
    /// Enters a nested graph (region).
    pub fn push_level(&mut self) {
        self.levels.push(Level::default());
        self.push_frame(false);
    }
    /// Leaves a nested graph.
    pub fn pop_level(&mut self) -> Result<Level> {
        self.frames.pop();
        self.levels.pop().ok_or_else(|| Diag::bug("scope underflow"))
    }
    /// Enters a name space in the same graph; `opaque` ones see nothing outside.
    pub fn push_frame(&mut self, opaque: bool) {
        self.frames.push(Frame { names: BTreeMap::new(), opaque });
    }
    /// Leaves a name space.
    pub fn pop_frame(&mut self) {
        self.frames.pop();
    }
    /// Nesting level of the graph being built.
    pub fn depth(&self) -> usize {
        self.levels.len() - 1
    }
    /// Binds a name in the innermost name space; false when it was bound there before.
    pub fn bind(&mut self, name: &str, item: Item) -> bool {
        match self.frames.last_mut() {
            Some(f) => f.names.insert(name.to_owned(), item).is_none(),
            None => false,
        }
    }
    /// Finds a name from the inside out.
    pub fn find(&self, name: &str) -> Option<Item> {
        for f in self.frames.iter().rev() {
            if let Some(item) = f.names.get(name) {
                return Some(item.clone());
            }
            if f.opaque {
                return None;
            }
        }
        None
    }
    /// The innermost graph.
    pub fn top(&mut self) -> &mut Level {
        let i = self.levels.len() - 1;
        &mut self.levels[i]
    }
    /// A value made visible in the innermost graph: constants and symbolic contents are repeated there, anything
    /// else becomes a capture of every level in between.
    pub fn reach(&mut self, symbols: &mut Symbols, level: usize, v: ValueId) -> Result<ValueId> {
        let mut v = v;
        for inner in level + 1..self.levels.len() {
            v = self.capture(symbols, inner, v)?;
        }
        Ok(v)
    }
    fn capture(&mut self, symbols: &mut Symbols, inner: usize, v: ValueId) -> Result<ValueId> {
        if let Some((_, own)) = self.levels[inner].captures.iter().find(|(o, _)| *o == v) {
            return Ok(*own);
        }
        let outer = &self.levels[inner - 1];
        let (ty, name) = (outer.graph.ty(v).clone(), outer.graph.value(v).name.clone());
        let contents = outer.contents.get(&v).cloned();
        let repeated: Option<Op> = match outer.graph.def(v).map(|n| &n.op) {
            Some(Op::Constant(c)) => Some(Constant { tensor: c.tensor.clone() }.into()),
            Some(Op::FromDims(f)) => Some(FromDims::clone(f).into()),
            _ => None,
        };
        let level = &mut self.levels[inner];
        let own = match repeated {
            Some(op) => level.graph.add1(symbols, op, &[], &Origin::new())?,
            None => {
                let own = level.graph.add_input(ty, name);
                level.captures.push((v, own));
                own
            }
        };
        if let Some(c) = contents {
            level.contents.insert(own, c);
        }
        Ok(own)
    }
}
