//! Results below a byte that are not computed byte by byte: whole bytes go to a temporary buffer, a second kernel
//! packs them. So no kernel has to write a part of a byte, and no two threads share one.

use super::body::Body;
use super::{Arg, KernelCall, LowerCx, Lowered, elementwise};
use sinter_ir::op::Cast;
use sinter_ir::{DType, Diag, Op, Result, TensorType, ValueId};

/// A type of whole bytes that holds every value of a smaller one.
fn wide(dtype: DType) -> Option<DType> {
    match dtype.bits() {
        8.. => None,
        _ if dtype.is_float() => Some(DType::F32),
        _ if dtype.is_signed_int() => Some(DType::I8),
        _ => Some(DType::U8),
    }
}

/// Lowers a body with `f`, giving it only results of whole bytes.
pub fn lower(cx: &LowerCx, body: &Body, f: impl FnOnce(&Body) -> Result<Lowered>) -> Result<Lowered> {
    let outs: Vec<ValueId> = body.graph.outputs.clone();
    if outs.iter().all(|&v| wide(body.ty(v).dtype).is_none()) {
        return f(body);
    }
    let mut body = body.clone();
    let mut symbols = cx.symbols.clone();
    for (i, &v) in outs.iter().enumerate() {
        if let Some(to) = wide(body.ty(v).dtype) {
            body.graph.outputs[i] =
                body.graph.add1(&mut symbols, Cast { to, saturate: true }.into(), &[v], &vec![])?;
        }
    }
    let mut out = f(&body)?;
    for (i, &v) in outs.iter().enumerate() {
        let to = body.ty(v).dtype;
        let Some(via) = wide(to) else { continue };
        let ty = TensorType::new(via, body.ty(v).dims.clone());
        let tmp = Arg::Scratch(out.scratch.len());
        out.scratch.push(ty.numel() * (via.bits() as i64 / 8).into());
        let args = out.calls.iter_mut().flat_map(|c| &mut c.args);
        args.filter(|a| **a == Arg::Output(i)).for_each(|a| *a = tmp);
        out.calls.push(pack(cx, &ty, to, tmp, i)?);
    }
    Ok(out)
}

/// The kernel that packs a temporary buffer into a result.
fn pack(cx: &LowerCx, from: &TensorType, to: DType, tmp: Arg, out: usize) -> Result<KernelCall> {
    let mut call = elementwise::lower(cx, &Body::of(cx, &Op::from(Cast { to, saturate: true }), &[from])?)?
        .calls
        .pop()
        .ok_or_else(|| Diag::bug("no kernel packs"))?;
    for a in &mut call.args {
        *a = if *a == Arg::Input(0) { tmp } else { Arg::Output(out) };
    }
    Ok(call)
}
