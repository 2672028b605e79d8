//! Memory planning: steps over virtual buffers, their lifetimes, and the packing of arena offsets.
//!
//! [`crate::assemble`] emits [`VStep`]s over [`Place`]s; this module finds when each buffer is live
//! ([`life`]), packs the arena ([`pack`]) and rewrites the steps to final locations.

pub mod life;
pub mod order;
pub mod pack;
pub(crate) mod views;
pub mod weights;

use sinter_ir::program::Loc;
use sinter_ir::{DType, Expr, Sym};

/// A virtual buffer: index into [`Buffers`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BufId(pub u32);

/// Where a virtual buffer will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    /// In the arena, offset to be planned.
    Arena,
    /// In the weights section.
    Weights,
    /// The caller's input buffer: never written.
    Input(u32),
    /// The caller's output buffer.
    Output(u32),
    /// The caller's memory from run to run.
    State(u32),
}

/// A virtual buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VBuf {
    /// Value it holds, for reports.
    pub name: String,
    /// Bytes at the largest dims.
    pub bytes: u64,
    /// Where it will be.
    pub home: Home,
}

/// All virtual buffers.
#[derive(Debug, Clone, Default)]
pub struct Buffers {
    /// By [`BufId`].
    pub all: Vec<VBuf>,
}

impl Buffers {
    /// Adds a buffer.
    pub fn add(&mut self, name: impl Into<String>, bytes: u64, home: Home) -> BufId {
        self.all.push(VBuf { name: name.into(), bytes, home });
        BufId(self.all.len() as u32 - 1)
    }
    /// Makes a buffer of the arena hold so many bytes behind a place: its size in other words may have a larger bound.
    pub fn hold(&mut self, at: Place, bytes: i64) {
        if let Some(b) = self.all.get_mut(at.buf.0 as usize).filter(|b| b.home == Home::Arena) {
            b.bytes = b.bytes.max(at.offset.saturating_add(bytes.max(0).unsigned_abs()));
        }
    }
    /// A buffer by id.
    pub fn get(&self, b: BufId) -> &VBuf {
        &self.all[b.0 as usize]
    }
}

/// A byte position in a virtual buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Buffer.
    pub buf: BufId,
    /// Byte offset.
    pub offset: u64,
}

impl Place {
    /// The start of a buffer.
    pub fn start(buf: BufId) -> Self {
        Self { buf, offset: 0 }
    }
}

/// A step over virtual buffers; the same as [`sinter_ir::program::Step`] otherwise.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum VStep {
    Call {
        kernel: u32,
        args: Vec<Place>,
        sizes: Vec<Expr>,
        label: String,
    },
    Copy {
        dst: Place,
        src: Place,
        bytes: Expr,
    },
    SetSym {
        sym: Sym,
        value: Expr,
    },
    ReadSym {
        sym: Sym,
        from: Place,
        index: u64,
        dtype: DType,
    },
    Require {
        a: Expr,
        b: Expr,
        why: String,
    },
    If {
        cond: Place,
        then: Vec<VStep>,
        els: Vec<VStep>,
    },
    /// Buffers below `first_inner` exist outside the body: they live through all iterations.
    Loop {
        trip: Option<Place>,
        cond: Option<Place>,
        iter: Place,
        count: Sym,
        first_inner: u32,
        body: Vec<VStep>,
    },
}

impl VStep {
    /// Buffers that this step itself touches, not those of nested steps.
    pub fn touches(&self) -> Vec<BufId> {
        let places: Vec<Place> = match self {
            VStep::Call { args, .. } => args.clone(),
            VStep::Copy { dst, src, .. } => vec![*dst, *src],
            VStep::ReadSym { from, .. } => vec![*from],
            VStep::If { cond, .. } => vec![*cond],
            VStep::Loop { trip, cond, iter, .. } => {
                [*trip, *cond, Some(*iter)].into_iter().flatten().collect()
            }
            VStep::SetSym { .. } | VStep::Require { .. } => vec![],
        };
        places.into_iter().map(|p| p.buf).collect()
    }
}

/// Final location of a place, given the offsets of arena and weights buffers.
pub fn locate(buffers: &Buffers, offsets: &[u64], p: Place) -> Loc {
    let base = offsets.get(p.buf.0 as usize).copied().unwrap_or(0);
    match buffers.get(p.buf).home {
        Home::Arena => Loc::Arena(base + p.offset),
        Home::Weights => Loc::Weights(base + p.offset),
        Home::Input(i) => Loc::Input(i),
        Home::Output(i) => Loc::Output(i),
        Home::State(i) => Loc::State(i),
    }
}
