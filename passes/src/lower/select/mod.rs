//! Ops that choose elements: TopK, NonZero, Unique, NonMaxSuppression.

mod heap;
mod non_max_suppression;
mod non_zero;
mod top_k;
mod unique;

pub use non_max_suppression::lower as non_max_suppression;
pub use non_zero::lower as non_zero;
pub use top_k::lower as top_k;
pub use unique::lower as unique;

use super::body::Params;
use super::{Arg, KernelCall, LowerCx, Lowered, index};
use sinter_ir::tile::build::{KernelBuilder, code};
use sinter_ir::tile::{Access, Buf, CmpOp, Reg};
use sinter_ir::{DType, Diag, Expr, Result, Sym, TensorType};

/// Scratch memory of i64 elements.
fn words(l: &mut Lowered, b: &mut KernelBuilder, p: &mut Params, count: &Expr) -> Buf {
    l.scratch.push(count.clone() * 8.into());
    p.buf(
        b,
        Arg::Scratch(l.scratch.len() - 1),
        Access::ReadWrite,
        &TensorType::new(DType::I64, vec![count.clone()]),
    )
}

/// Adds the finished kernel.
fn finish(mut l: Lowered, b: KernelBuilder, p: Params) -> Lowered {
    let (args, packed) = p.into_parts();
    l.packed = packed;
    l.calls.push(KernelCall { kernel: b.finish(), args });
    l
}

/// Refuses types without addressable elements.
fn addressable(dtype: DType, op: &str) -> Result<()> {
    if dtype.bits() < 8 {
        return Err(Diag::unsupported(format!("{op} of {dtype}"))
            .help("cast the operand to a wider type in the model"));
    }
    Ok(())
}

/// Ends the kernel before it writes entry `last` of a result that is planned for fewer entries than `most`: models
/// may declare sizes that turn out too small.
fn guard(cx: &LowerCx, b: &mut KernelBuilder, count: Sym, most: &Expr, last: Reg) {
    let planned = cx.symbols.range(&count.into()).1;
    if cx.symbols.range(most).1 > planned {
        let planned = index::int(b, planned);
        let beyond = b.cmp(CmpOp::Ge, last, planned);
        b.fail_if(beyond, code::RANGE);
    }
}
