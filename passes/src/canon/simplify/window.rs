//! Pads that do nothing, or that become the padding of a convolution or pooling.

use super::{Rule, Site, exact};
use sinter_ir::op::pad::PadMode;
use sinter_ir::op::pool::PoolKind;
use sinter_ir::{Expr, Op, Result, ValueId};

pub(super) const RULES: &[Rule] = &[
    exact("pad-nothing", &["Pad"], nothing),
    exact("pad-into-conv", &["Conv"], into_conv),
    exact("pad-into-pool", &["Pool"], into_pool),
    exact("taps-in-padding", &["Conv"], taps_in_padding),
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

/// Taps of an axis that some window reads inside the data: the first and how many.
fn live_taps(
    size: i64,
    points: i64,
    taps: i64,
    (step, apart): (i64, i64),
    before: i64,
) -> Option<(i64, i64)> {
    // Tap t of window o reads o * step + t * apart - before.
    let live = |t: &i64| {
        let first = t * apart - before;
        let skip = (-first).max(0).unsigned_abs().div_ceil(step.unsigned_abs()) as i64;
        skip < points && first + skip * step < size
    };
    let first = (0..taps).find(live)?;
    let last = (first..taps).rev().find(live)?;
    Some((first, last + 1 - first))
}

/// Wide dilated windows over small images: taps that only ever read padding go.
fn taps_in_padding(s: &mut Site) -> Result<Option<ValueId>> {
    let Op::Conv(c) = s.op else { return Ok(None) };
    let x = s.ty(0);
    let Some(w) = s.tensor(s.inputs[1]).filter(|w| !c.channels_last && !w.is_empty()) else {
        return Ok(None);
    };
    let (mut new, mut starts, mut sizes) = (c.clone(), vec![0; 2], w.shape()[..2].to_vec());
    for (i, &taps) in w.shape()[2..].iter().enumerate() {
        let size = x.dims.get(2 + i).and_then(Expr::as_const);
        let (before, after) = (c.pads_before[i].as_const(), c.pads_after[i].as_const());
        let (Some(size), Some(before), Some(after)) = (size, before, after) else { return Ok(None) };
        let (step, apart) = (c.strides[i] as i64, c.dilations[i] as i64);
        let points = (size + before + after - (taps as i64 - 1) * apart - 1).div_euclid(step) + 1;
        let Some((first, live)) = live_taps(size, points, taps as i64, (step, apart), before) else {
            return Ok(None);
        };
        let behind = taps as i64 - first - live;
        let pads = (before - first * apart, after - behind * apart);
        if pads.0 < 0 || pads.1 < 0 {
            return Ok(None);
        }
        (new.pads_before[i], new.pads_after[i]) = (pads.0.into(), pads.1.into());
        starts.push(first as usize);
        sizes.push(live as usize);
    }
    if sizes == w.shape() {
        return Ok(None);
    }
    let count: usize = sizes.iter().product();
    let at = |n: usize| {
        let mut rest = n;
        let place = sizes.iter().zip(&starts).zip(w.shape()).rev().fold(
            (0, 1),
            |(at, pitch), ((&n, &from), &all)| {
                let here = from + rest % n;
                rest /= n;
                (at + here * pitch, pitch * all)
            },
        );
        place.0
    };
    let places: Vec<usize> = (0..count).map(at).collect();
    let w = w.load()?.pick(sizes, &places)?;
    let w = s.constant(w)?;
    s.emit(new, &[s.inputs[0], w]).map(Some)
}
