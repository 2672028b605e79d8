//! Pads that do nothing, or that become the padding of a convolution or pooling.

use super::{Rule, Site, exact};
use sinter_ir::op::pad::PadMode;
use sinter_ir::op::pool::PoolKind;
use sinter_ir::{Expr, Op, Result, ValueId};

pub(super) const RULES: &[Rule] = &[
    exact("pad-nothing", &["Pad"], nothing),
    exact("pad-into-conv", &["Conv"], into_conv),
    exact("pad-into-pool", &["Pool"], into_pool),
];

fn nothing(s: &mut Site) -> Result<Option<ValueId>> {
    let Op::Pad(p) = s.op else { return Ok(None) };
    Ok(p.before.iter().chain(&p.after).all(|e| e.is(0)).then_some(s.inputs[0]))
}

/// A pad of spatial axes with one constant value, none of it cropping: `(x, value, before, after)`.
fn spatial_pad(s: &Site) -> Option<(ValueId, f64, Vec<Expr>, Vec<Expr>)> {
    let node = s.def(0)?;
    let Op::Pad(p) = &node.op else { return None };
    let grows = |e: &Expr| s.range(e).0 >= 0;
    let fits = p.mode == PadMode::Constant
        && p.before[..2].iter().chain(&p.after[..2]).all(|e| e.is(0))
        && p.before.iter().chain(&p.after).all(grows);
    let value = s.splat(node.inputs[1])?;
    fits.then(|| (node.inputs[0], value, p.before[2..].to_vec(), p.after[2..].to_vec()))
}

fn sum(a: &[Expr], b: &[Expr]) -> Vec<Expr> {
    a.iter().zip(b).map(|(a, b)| a.clone() + b.clone()).collect()
}

fn into_conv(s: &mut Site) -> Result<Option<ValueId>> {
    let (Op::Conv(c), Some((x, value, before, after))) = (s.op, spatial_pad(s)) else { return Ok(None) };
    if value != c.zero.unwrap_or(0) as f64 || c.channels_last {
        return Ok(None);
    }
    let mut c = c.clone();
    c.pads_before = sum(&c.pads_before, &before);
    c.pads_after = sum(&c.pads_after, &after);
    s.emit(c, &[x, s.inputs[1]]).map(Some)
}

/// Averages count the pad as elements; maxima ignore it, as they would `-inf`.
fn into_pool(s: &mut Site) -> Result<Option<ValueId>> {
    let (Op::Pool(p), Some((x, value, before, after))) = (s.op, spatial_pad(s)) else { return Ok(None) };
    let unpadded = p.pads_before.iter().chain(&p.pads_after).all(|e| e.is(0));
    let fits = match p.kind {
        PoolKind::Average => value == 0.0 && (unpadded || p.count_include_pad),
        PoolKind::Max => value == f64::NEG_INFINITY,
    };
    if !fits || p.indices || p.ceil_mode || p.channels_last {
        return Ok(None);
    }
    let mut p = p.clone();
    p.pads_before = sum(&p.pads_before, &before);
    p.pads_after = sum(&p.pads_after, &after);
    p.count_include_pad |= p.kind == PoolKind::Average;
    s.emit(p, &[x]).map(Some)
}
