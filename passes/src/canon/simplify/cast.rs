//! Casts that change nothing or cancel, and identities.

use super::{Rule, Site, exact};
use sinter_ir::op::Cast;
use sinter_ir::{DType, Op, Result, ValueId};

pub(super) const RULES: &[Rule] = &[
    exact("identity", &["Identity"], |s| Ok(Some(s.inputs[0]))),
    exact("cast-same", &["Cast"], same),
    exact("cast-pair", &["Cast"], pair),
    exact("bitcast-same", &["Bitcast"], bitcast),
];

fn same(s: &mut Site) -> Result<Option<ValueId>> {
    let Op::Cast(c) = s.op else { return Ok(None) };
    Ok((s.ty(0).dtype == c.to).then_some(s.inputs[0]))
}

fn bitcast(s: &mut Site) -> Result<Option<ValueId>> {
    let Op::Bitcast(c) = s.op else { return Ok(None) };
    Ok((s.ty(0).dtype == c.to).then_some(s.inputs[0]))
}

/// A lossless widening before a cast does nothing to the result.
fn pair(s: &mut Site) -> Result<Option<ValueId>> {
    let (Op::Cast(outer), Some(node)) = (s.op, s.def(0)) else { return Ok(None) };
    let Op::Cast(inner) = &node.op else { return Ok(None) };
    let x = node.inputs[0];
    let (from, mid, to) = (s.type_of(x).dtype, inner.to, outer.to);
    if !lossless(from, mid) || !same_result(from, mid, to) {
        return Ok(None);
    }
    if from == to {
        return Ok(Some(x));
    }
    s.emit(Cast { to, saturate: outer.saturate }, &[x]).map(Some)
}

/// Whether every value of `a` is a value of `b`.
fn lossless(a: DType, b: DType) -> bool {
    use DType::*;
    let float_digits = |d| match d {
        F16 => Some((11, 5)),
        BF16 => Some((8, 8)),
        F32 => Some((24, 8)),
        F64 => Some((53, 11)),
        _ => None,
    };
    match (a.int_range(), b.int_range(), float_digits(a), float_digits(b)) {
        (Some((al, ah)), Some((bl, bh)), ..) => bl <= al && ah <= bh,
        (Some((al, ah)), None, _, Some((digits, exp))) => {
            let limit = 1i128 << digits;
            exp >= 8 && -limit <= al && ah <= limit
        }
        (_, _, Some((ad, ae)), Some((bd, be))) => ad <= bd && ae <= be,
        _ => a == Bool && (b.is_int() || float_digits(b).is_some()),
    }
}

/// Whether casting `from` directly to `to` is what going through the wider `mid` gives. Conversions between
/// kinds (integer to float and back) differ in rounding, wrapping and saturation, so only the same kind or a
/// full round trip counts.
fn same_result(from: DType, mid: DType, to: DType) -> bool {
    let kind = |d: DType| (d.is_int(), d.is_float());
    from == to || kind(from) == kind(mid) && from != DType::Bool
}
