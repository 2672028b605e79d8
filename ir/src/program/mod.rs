//! Program IR: what a bundle's `run` does: kernel calls, control flow and symbol definitions over a planned
//! arena. The last level before machine code; executed by [`interp`] as the oracle of the emitters.

pub mod interp;
pub mod text;
pub mod verify;

use crate::graph::Symbols;
use crate::tile::Kernel;
use crate::{DType, Expr, Sym};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A place in memory, fixed at compile time. Offsets are bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Loc {
    Arena(u64),
    Weights(u64),
    Input(u32),
    Output(u32),
    State(u32),
}

impl std::fmt::Display for Loc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Loc::Arena(o) => write!(f, "arena+{o}"),
            Loc::Weights(o) => write!(f, "weights+{o}"),
            Loc::Input(i) => write!(f, "input{i}"),
            Loc::Output(i) => write!(f, "output{i}"),
            Loc::State(i) => write!(f, "state{i}"),
        }
    }
}

/// A model input or output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Name in the user's model.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Dims in terms of the symbols.
    pub dims: Vec<Expr>,
    /// Bytes at the largest dims.
    pub max_bytes: u64,
}

/// One step of `run`.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Step {
    /// Calls `kernels[kernel]` with one location per buffer. Parallel kernels run over their whole range. `sizes` are the
    /// bytes of the buffers where a kernel serves several shapes; empty: what the kernel says.
    Call { kernel: u32, args: Vec<Loc>, sizes: Vec<Expr>, label: String },
    /// Copies bytes; the ranges do not overlap.
    Copy { dst: Loc, src: Loc, bytes: Expr },
    /// Defines a symbol, checked against its range.
    SetSym { sym: Sym, value: Expr },
    /// Defines a symbol from an I32 or I64 element, checked against its range.
    ReadSym { sym: Sym, from: Loc, index: u64, dtype: DType },
    /// Fails with the constraint error unless the two are equal.
    Require { a: Expr, b: Expr, why: String },
    /// Branches on a bool byte.
    If { cond: Loc, then: Vec<Step>, els: Vec<Step> },
    /// `for i in 0..*trip while *cond`: writes i to `iter` (i64) before each run of `body`. A missing trip is
    /// unbounded, a missing cond is true; `cond` is read again after each run. Sets `count` to the number of
    /// iterations begun so far before each run (0 in the first) and to the total at the end; exceeding the
    /// symbol's range fails.
    Loop { trip: Option<Loc>, cond: Option<Loc>, iter: Loc, count: Sym, body: Vec<Step> },
}

/// Everything that a bundle executes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Program {
    /// Model name: C symbol prefix, a valid C identifier.
    pub name: String,
    /// Symbols: run-time array of i64, indexed by [`Sym`]. Input symbols are bound from `inputs` dims.
    pub symbols: Symbols,
    /// Kernels, each once however often called.
    pub kernels: Vec<Kernel>,
    /// Model inputs.
    pub inputs: Vec<Port>,
    /// Model outputs.
    pub outputs: Vec<Port>,
    /// The caller's memory that is read and changed in place, one after the other in one block. Their dims depend on
    /// one symbol at most, which no input dim mentions: the capacity, see [`Program::capacity`].
    pub states: Vec<Port>,
    /// Steps of `run`.
    pub steps: Vec<Step>,
    /// Arena bytes, a multiple of 64.
    pub arena_bytes: u64,
    /// Largest sum of live buffers at any step: the lower bound of `arena_bytes`.
    pub live_bytes: u64,
    /// Packed constants in final layout: `(offset, bytes)`, sorted, 64-byte aligned, not overlapping.
    pub weights: Vec<(u64, Bytes)>,
    /// Where arena buffers live, for the report.
    pub timeline: Vec<BufferLife>,
}

/// Life of one arena buffer in the plan. Steps are numbered in pre-order, the branches of an `If` one after the
/// other; the end of a `Loop` has a number of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BufferLife {
    /// Value it holds.
    pub name: String,
    /// Byte offset in the arena.
    pub offset: u64,
    /// Bytes at the largest dims.
    pub bytes: u64,
    /// First step that touches it.
    pub first: u32,
    /// Last step that touches it.
    pub last: u32,
}

impl Port {
    /// Storage bytes in terms of the symbols.
    pub fn bytes(&self) -> Expr {
        (crate::expr::product(&self.dims) * Expr::from(self.dtype.bits())).ceil_div(&8.into())
    }
}

impl BufferLife {
    /// Offset of the first byte behind it.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.bytes)
    }
}

impl Program {
    /// The symbol that the sizes of states depend on, given by the caller with the states.
    pub fn capacity(&self) -> Option<Sym> {
        self.states.iter().flat_map(|s| &s.dims).flat_map(Expr::syms).next()
    }
    /// Where every state begins in the caller's block, in terms of the capacity, and the bytes of the whole block.
    /// States begin at multiples of 64.
    pub fn state_offsets(&self) -> (Vec<Expr>, Expr) {
        let mut at = Expr::from(0);
        let mut offsets = Vec::with_capacity(self.states.len());
        for s in &self.states {
            offsets.push(at.clone());
            at = at + s.bytes().ceil_div(&64.into()) * 64.into();
        }
        (offsets, at)
    }
    /// Bytes of the weights section.
    pub fn weights_bytes(&self) -> u64 {
        self.weights.last().map_or(0, |(o, b)| o + b.len() as u64)
    }
}
