//! Products with quantised weights that are only known while running, or whose blocks fit no faster kernel: one
//! element at a time.

use super::View;
use super::bytes::{self, Bufs, Coded};
use crate::lower::access;
use crate::lower::body::{Body, Params};
use crate::lower::contract::arith::{add_const, scaled};
use crate::lower::index::Idx;
use crate::lower::out::{Index, Out};
use crate::lower::{LowerCx, Lowered};
use ::bytes::Bytes;
use sinter_ir::op::quantized_matmul::{Activations, Offset};
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Access, Addr, BinOp, Bound, Buf, CvtOp, Elem, Inst, LoopKind, Reg};
use sinter_ir::{DType, Result, ValueId};

/// Lowers the product with its epilogue.
pub fn lower(cx: &LowerCx, body: &Body, view: &View) -> Result<Lowered> {
    let coded = Coded::of(view, None);
    let mut first = if coded.any() { bytes::lower(cx, body, view, coded, None)? } else { Lowered::default() };
    let mut b = KernelBuilder::new(format!("quantized_plain_{}x{}x{}", view.n, view.k, view.block));
    let mut out = Out::new(cx, body, true)?;
    let params = &mut out.end.puller.params;
    let a = if coded.exact { None } else { Some(params.value(&mut b, body, view.a)?) };
    let weights = Weights::new(&mut b, params, body, view)?;
    let bufs = coded.bufs(&mut b, params, &view.m, Access::Read);
    let element = Element { view, a, weights, coded, bufs };
    let mut done = Ok(());
    b.parallel(&view.m, |b, i| {
        b.for_(Bound::Const(0), Bound::Const(view.n as i64), 1, LoopKind::Serial, |b, j| {
            let index = [Index { at: i, axes: view.row_axes }, Index { at: j, axes: 1 }];
            done = element.emit(b, i, j).and_then(|y| out.put(b, &index, y, None));
        });
    });
    done?;
    let mut product = out.end.puller.params.finish(b);
    product.scratch = coded.scratch(&view.m);
    first.append(product);
    Ok(first)
}

/// The table with an entry for every code that can be read.
fn table(view: &View) -> Bytes {
    let mut t = view.op.table.clone();
    t.resize(256, 0.0);
    t.into_iter().flat_map(f32::to_le_bytes).collect()
}

struct Element<'a> {
    view: &'a View<'a>,
    a: Option<Buf>,
    weights: Weights<'a>,
    coded: Coded,
    bufs: Bufs,
}

impl Element<'_> {
    fn emit(&self, b: &mut KernelBuilder, i: Reg, j: Reg) -> Result<Reg> {
        let y = b.float(Elem::F32, 1, 0.0);
        let mut done = Ok(());
        b.for_(Bound::Const(0), Bound::Const(self.view.blocks() as i64), 1, LoopKind::Serial, |b, t| {
            done = self.block(b, (i, j, t)).map(|part| b.set(y, Inst::Bin(BinOp::Add, y, part)));
        });
        done?;
        Ok(match self.bufs.scales {
            Some(scales) if self.view.op.activations == Activations::Rows => {
                let s = b.load(Elem::F32, 1, scales, Addr::reg(i), None);
                b.mul(y, s)
            }
            _ => y,
        })
    }

    /// What a block adds to the sum.
    fn block(&self, b: &mut KernelBuilder, (i, j, t): (Reg, Reg, Reg)) -> Result<Reg> {
        let (k, block) = (self.view.k as i64, self.view.block as i64);
        let (scale, zero, minimum) = self.weights.of_block(b, j, t)?;
        let lo = scaled(b, t, block);
        let (hi, end) = (add_const(b, lo, block), b.i64(k));
        let hi = b.bin(BinOp::MinS, hi, end);
        let exact = self.coded.exact;
        let dot = if exact { b.int(Elem::I32, 1, 0) } else { b.float(Elem::F32, 1, 0.0) };
        let mut done = Ok(());
        b.for_(Bound::Reg(lo), Bound::Reg(hi), 1, LoopKind::Serial, |b, p| {
            done = self.weights.value(b, j, p).map(|mut v| {
                if let Some(z) = zero {
                    v = b.sub(v, z);
                }
                if exact {
                    v = b.cvt(CvtOp::FToS, Elem::I32, v);
                } else {
                    v = b.mul(v, scale);
                    v = minimum.map_or(v, |m| b.add(v, m));
                }
                let a = self.activation(b, i, p);
                b.set(dot, Inst::MulAdd(a, v, dot));
            });
        });
        done?;
        if !exact {
            return Ok(dot);
        }
        let dot = b.cvt(CvtOp::SToF, Elem::F32, dot);
        let mut part = b.mul(dot, scale);
        let own = scaled(b, i, self.coded.blocks as i64);
        let own = Addr::reg(own).plus(t, 1);
        if let (Activations::Blocks, Some(scales)) = (self.view.op.activations, self.bufs.scales) {
            let s = b.load(Elem::F32, 1, scales, own.clone(), None);
            part = b.mul(part, s);
        }
        if let (Some(m), Some(sums)) = (minimum, self.bufs.sums) {
            let sum = b.load(Elem::F32, 1, sums, own, None);
            part = b.mul_add(m, sum, part);
        }
        Ok(part)
    }

    fn activation(&self, b: &mut KernelBuilder, i: Reg, p: Reg) -> Reg {
        let Some(codes) = self.bufs.codes else {
            let at = scaled(b, i, self.view.k as i64);
            return b.load(
                Elem::F32,
                1,
                self.a.unwrap_or(self.weights.codes),
                Addr::reg(at).plus(p, 1),
                None,
            );
        };
        let at = scaled(b, i, self.coded.pitch as i64);
        let c = b.load(Elem::I8, 1, codes, Addr::reg(at).plus(p, 1), None);
        b.cvt(CvtOp::SExt, Elem::I32, c)
    }
}

/// Weights where they are, an element at a time.
pub struct Weights<'a> {
    body: &'a Body,
    view: &'a View<'a>,
    codes: Buf,
    scale: Buf,
    offset: Option<Buf>,
    table: Option<Buf>,
}

impl<'a> Weights<'a> {
    /// Declares their buffers.
    pub fn new(b: &mut KernelBuilder, params: &mut Params, body: &'a Body, view: &'a View) -> Result<Self> {
        let mut value = |b: &mut KernelBuilder, v| params.value(b, body, v);
        let (codes, scale) = (value(b, view.codes)?, value(b, view.scale)?);
        let offset = view.offset.map(|v| value(b, v)).transpose()?;
        let table = (!view.op.table.is_empty()).then(|| params.pack(b, table(view), DType::F32));
        Ok(Self { body, view, codes, scale, offset, table })
    }

    /// Weight `p` of row `j`.
    pub fn at(&self, b: &mut KernelBuilder, j: Reg, p: Reg) -> Result<Reg> {
        let block = b.i64(self.view.block as i64);
        let t = b.bin(BinOp::DivU, p, block);
        let (scale, zero, minimum) = self.of_block(b, j, t)?;
        let mut v = self.value(b, j, p)?;
        if let Some(z) = zero {
            v = b.sub(v, z);
        }
        Ok(match minimum {
            Some(m) => b.mul_add(v, scale, m),
            None => b.mul(v, scale),
        })
    }

    /// Scale, zero point and minimum of block `t` of row `j`.
    fn of_block(&self, b: &mut KernelBuilder, j: Reg, t: Reg) -> Result<(Reg, Option<Reg>, Option<Reg>)> {
        let own = scaled(b, j, self.view.blocks() as i64);
        let own = b.add(own, t);
        let scale = self.float(b, self.view.scale, self.scale, own)?;
        let offset = match (self.offset, self.view.offset) {
            (Some(buf), Some(v)) => Some(self.float(b, v, buf, own)?),
            _ => None,
        };
        Ok(match self.view.op.offset {
            Offset::Zero => (scale, offset, None),
            _ => (scale, None, offset),
        })
    }

    /// What the code of a weight stands for, as a float.
    fn value(&self, b: &mut KernelBuilder, j: Reg, p: Reg) -> Result<Reg> {
        let row = scaled(b, j, self.view.k as i64);
        let at = Idx::reg(row).plus(&Idx::reg(p));
        let code = access::load(b, self.body.ty(self.view.codes).dtype, self.codes, &at, 1, None)?;
        if let Some(table) = self.table {
            let code = b.cvt(CvtOp::ZExt, Elem::I64, code);
            return Ok(b.load(Elem::F32, 1, table, Addr::reg(code), None));
        }
        let middle = access::whole(b, Elem::I32, 1, self.view.op.middle);
        let v = b.sub(code, middle);
        Ok(b.cvt(CvtOp::SToF, Elem::F32, v))
    }

    /// An element of scales, zero points or minima as a float.
    fn float(&self, b: &mut KernelBuilder, v: ValueId, buf: Buf, at: Reg) -> Result<Reg> {
        let dtype = self.body.ty(v).dtype;
        let x = access::load(b, dtype, buf, &Idx::reg(at), 1, None)?;
        Ok(if dtype.is_float() { x } else { b.cvt(CvtOp::SToF, Elem::F32, x) })
    }
}
