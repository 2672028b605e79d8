//! Convolution of every channel by itself.

use super::Layer;
use crate::lower::Lowered;
use crate::lower::contract::gemm::{add_const, unravel};
use crate::lower::contract::kernel::{Kernel, Source, build};
use crate::lower::index::Idx;
use crate::lower::out::Index;
use crate::lower::window::{Window, for_each_tap, for_each_window};
use sinter_ir::expr::product;
use sinter_ir::tile::{BinOp, Inst, Ty};
use sinter_ir::{Expr, Result};

/// Lowers a convolution with one input channel per group.
pub fn lower(layer: &Layer) -> Result<Lowered> {
    let num = layer.num;
    let lanes = layer.cx.target.lanes(num.acc.bits());
    let axes = layer.axes();
    let taps: Vec<Expr> = layer.wt.dims[2..].to_vec();
    let planes = [layer.xt.dims[0].clone(), layer.wt.dims[0].clone()];
    build(layer.cx, layer.body, &layer.name("dwconv"), |k| {
        let w = k.source(Source::Value(layer.w))?;
        let x = k.source(Source::Value(layer.x))?;
        let Kernel { b, out, .. } = k;
        let lanes = if out.is_scalar() { 1 } else { lanes };
        let mut done = Ok(());
        b.parallel(&product(&planes), |b, p| {
            let at = unravel(b, p, &planes);
            let (image, weights) =
                (b.dim(&(layer.xt.dims[1].clone() * layer.plane())), b.dim(&product(&taps)));
            let image = b.mul(at[0], image);
            let per = b.dim(&layer.per_group());
            let channel = b.bin(BinOp::DivU, at[1], per);
            let plane = b.dim(&layer.plane());
            let channel = b.mul(channel, plane);
            let x0 = Idx::reg(b.add(image, channel));
            let w0 = Idx::reg(b.mul(at[1], weights));
            done = for_each_window(b, &axes, lanes, &mut |b, win: &Window| {
                let acc: Vec<_> =
                    (0..win.vectors).map(|_| b.zero(Ty { elem: num.acc, lanes: win.lanes })).collect();
                for_each_tap(b, &axes, win.spans, (x0.clone(), w0.clone()), &mut |b, t| {
                    let weight = layer.weights.load(b, 1, w, t.tap.addr(), None);
                    let weight = b.splat(weight, win.lanes);
                    for (v, &a) in acc.iter().enumerate() {
                        let value =
                            num.load(b, win.lanes, x, t.input.addr().offset(v as i64 * win.pitch), None);
                        b.set(a, Inst::MulAdd(weight, value, a));
                    }
                });
                for (v, &a) in acc.iter().enumerate() {
                    let mut index: Vec<Index> =
                        at.iter().chain(win.at).map(|&at| Index { at, axes: 1 }).collect();
                    if let Some(last) = index.last_mut() {
                        last.at = add_const(b, last.at, (v * usize::from(win.lanes)) as i64);
                    }
                    out.put(b, &index, a, None)?;
                }
                Ok(())
            });
        });
        done
    })
}
