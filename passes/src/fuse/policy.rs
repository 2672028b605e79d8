//! What fusion pays for: kinds of ops and the cost of repeating them.

use sinter_ir::op::binary::BinaryKind as B;
use sinter_ir::op::unary::UnaryKind as U;
use sinter_ir::{DType, Graph, Op, Symbols, TensorType, ValueId};

/// Largest number of nodes in one group.
pub(crate) const MAX_NODES: usize = 48;
/// Largest number of operands of one group.
pub(crate) const MAX_INPUTS: usize = 16;
/// Largest number of results of one group.
pub(crate) const MAX_OUTPUTS: usize = 4;

/// Arithmetic per element that costs as much as writing the element to memory and reading it again.
const TRAFFIC: u64 = 4;

/// How an op takes part in fusion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Needs no code on its own: reshape, identity.
    Alias,
    /// Computed per element, in or out of another kernel.
    Elementwise,
    /// Re-indexes its operands.
    Movement,
    /// Anchors a kernel and takes a prologue and an epilogue.
    Root,
    /// A kernel of its own.
    Opaque,
    /// Never a kernel: constants, control flow, reads of symbols.
    Loose,
}

/// Kind of an op.
pub(crate) fn kind(op: &Op) -> Kind {
    match op {
        Op::Constant(_) | Op::If(_) | Op::Loop(_) | Op::Group(_) | Op::ReadSyms(_) => Kind::Loose,
        Op::Reshape(_) | Op::Identity(_) | Op::Bitcast(_) => Kind::Alias,
        _ if !crate::lower::can_pull(op) => match crate::lower::is_root(op) {
            true => Kind::Root,
            false => Kind::Opaque,
        },
        Op::Quantize(_) | Op::Dequantize(_) => Kind::Elementwise,
        op if op.is_pointwise() => Kind::Elementwise,
        _ => Kind::Movement,
    }
}

/// Arithmetic per element of an op, in units of an addition.
pub(crate) fn cost(op: &Op) -> u64 {
    match op {
        Op::Unary(u) => match u.kind {
            U::Neg | U::Abs | U::Not | U::Ceil | U::Floor | U::Round | U::Trunc | U::Sign => 1,
            U::IsNan | U::IsInf | U::IsInfPos | U::IsInfNeg => 1,
            U::Sqrt | U::Recip => 4,
            _ => 16,
        },
        Op::Binary(b) => match b.kind {
            B::Div | B::Rem | B::Mod => 4,
            B::Pow => 32,
            _ => 1,
        },
        Op::Compare(_) | Op::Select(_) | Op::MulAdd(_) | Op::Cast(_) => 1,
        Op::Dequantize(_) | Op::Lookup(_) => 2,
        Op::Quantize(_) => 6,
        Op::Concat(_) | Op::Pad(_) => 2,
        Op::Gather(_) | Op::GatherElements(_) => 2,
        _ => 0,
    }
}

/// Whether repeating `cost` `times` per element is cheaper than going through memory.
pub(crate) fn cheap(cost: u64, times: u64) -> bool {
    cost.saturating_mul(times.saturating_sub(1)) <= TRAFFIC
}

/// How often a root reads each element of an operand that it computes on the fly; `None`: it reads buffers.
pub(crate) fn root_repeats(op: &Op) -> Option<u64> {
    match op {
        _ if !crate::lower::pulls_operands(op) => None,
        // Maximum, then the exponentials, which are kept.
        Op::Softmax(_) => Some(2),
        _ => Some(1),
    }
}

/// Arithmetic from which groups over rows keep the results of one pass for the next.
pub(crate) const DEAR: u64 = 16;
/// Bytes of a row up to which they do: kept results should stay in the first-level cache, or near.
pub(crate) const MOST_KEPT: i64 = 64 << 10;

/// Elements of a type at the largest dims.
pub(crate) fn elements(symbols: &Symbols, ty: &TensorType) -> u64 {
    symbols.max(&ty.numel()) as u64
}

/// Bytes of a value at the largest dims.
pub(crate) fn bytes(symbols: &Symbols, g: &Graph, v: ValueId) -> u64 {
    let ty = g.ty(v);
    elements(symbols, ty).saturating_mul(ty.dtype.bits() as u64) / 8
}

/// Types that generated element-wise code handles.
pub(crate) fn fusible_type(ty: &TensorType) -> bool {
    !matches!(ty.dtype, DType::C64 | DType::C128 | DType::Str)
}
