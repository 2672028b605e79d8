//! Rows of activations as bytes.

use super::View;
use crate::lower::access::{self, constant};
use crate::lower::body::{Body, Params};
use crate::lower::contract::arith::{add_const, scaled};
use crate::lower::{Arg, LowerCx, Lowered, parallel_if};
use sinter_ir::op::quantized_matmul::Activations;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Access, Addr, BinOp, Bound, Buf, CmpOp, CvtOp, Elem, Inst, LoopKind, Reg, Ty, UnOp};
use sinter_ir::{DType, Expr, Result, TensorType};

/// Rows of activations in scratch memory.
#[derive(Debug, Clone, Copy)]
pub struct Coded {
    /// Bytes from one row of codes to the next: a multiple of 8, filled up with zeros.
    pub pitch: usize,
    /// Scales per row.
    pub scales: usize,
    /// Sums per row, one for each block of the weights.
    pub sums: usize,
}

/// The three buffers of [`Coded`] in a kernel.
#[derive(Debug, Clone, Copy)]
pub struct Bufs {
    /// Codes, i8.
    pub codes: Buf,
    /// Scales, f32.
    pub scales: Buf,
    /// Sums, i32.
    pub sums: Buf,
}

impl Coded {
    /// What a product reads.
    pub fn of(view: &View) -> Self {
        let sums = view.blocks();
        let scales = if view.op.activations == Activations::Blocks { sums } else { 1 };
        Self { pitch: view.k.next_multiple_of(8), scales, sums }
    }
    fn parts(&self) -> [(usize, DType); 3] {
        [(self.pitch, DType::I8), (self.scales, DType::F32), (self.sums, DType::I32)]
    }
    /// Bytes of the three buffers for `m` rows.
    pub fn scratch(&self, m: &Expr) -> Vec<Expr> {
        self.parts().iter().map(|(n, t)| m.clone() * Expr::from(n * t.bits() / 8)).collect()
    }
    /// Declares the buffers, which are the first of the node's scratch memory.
    pub fn bufs(&self, b: &mut KernelBuilder, params: &mut Params, m: &Expr, access: Access) -> Bufs {
        let [codes, scales, sums] = [0, 1, 2].map(|i| {
            let (count, dtype) = self.parts()[i];
            let ty = TensorType::new(dtype, vec![m.clone() * count.into()]);
            params.buf(b, Arg::Scratch(i), access, &ty)
        });
        Bufs { codes, scales, sums }
    }
}

/// The kernel that fills the buffers, which whoever reads them declares.
pub fn lower(cx: &LowerCx, body: &Body, view: &View) -> Result<Lowered> {
    let coded = Coded::of(view);
    let name = format!("bytes_{}x{}", view.k, if coded.scales == 1 { view.k } else { view.block });
    let mut b = KernelBuilder::new(format!("{name}_{}", view.block));
    let mut params = Params::default();
    let a = params.value(&mut b, body, view.a)?;
    let bufs = coded.bufs(&mut b, &mut params, &view.m, Access::Write);
    let row = Row { view, coded, a, bufs, lanes: cx.target.lanes(32) };
    let work = cx.symbols.max(&view.m).max(0) as u64 * view.k as u64 * 8;
    parallel_if(&mut b, work, &view.m, |b, i| row.emit(b, i));
    Ok(params.finish(b))
}

struct Row<'a> {
    view: &'a View<'a>,
    coded: Coded,
    a: Buf,
    bufs: Bufs,
    lanes: u16,
}

impl Row<'_> {
    fn emit(&self, b: &mut KernelBuilder, i: Reg) {
        let k = self.view.k as i64;
        let at = Place {
            a: scaled(b, i, k),
            codes: scaled(b, i, self.coded.pitch as i64),
            scales: scaled(b, i, self.coded.scales as i64),
            sums: scaled(b, i, self.coded.sums as i64),
        };
        let blocks = self.coded.sums as i64;
        if self.coded.scales == 1 {
            let (lo, hi) = (b.i64(0), b.i64(k));
            let up = self.scale(b, &at, lo, (lo, hi));
            self.each_block(b, blocks, |b, t, ends| self.codes(b, &at, t, ends, up));
        } else {
            self.each_block(b, blocks, |b, t, ends| {
                let up = self.scale(b, &at, t, ends);
                self.codes(b, &at, t, ends, up);
            });
        }
        let zero = b.int(Elem::I8, 1, 0);
        for rest in k..self.coded.pitch as i64 {
            b.store(self.bufs.codes, Addr::reg(at.codes).offset(rest), zero, None);
        }
    }

    /// Number and ends of every block.
    fn each_block(
        &self,
        b: &mut KernelBuilder,
        blocks: i64,
        f: impl FnOnce(&mut KernelBuilder, Reg, (Reg, Reg)),
    ) {
        let (k, block) = (self.view.k as i64, self.view.block as i64);
        b.for_(Bound::Const(0), Bound::Const(blocks), 1, LoopKind::Serial, |b, t| {
            let lo = scaled(b, t, block);
            let mut hi = add_const(b, lo, block);
            if k % block != 0 {
                let end = b.i64(k);
                hi = b.bin(BinOp::MinS, hi, end);
            }
            f(b, t, (lo, hi));
        });
    }

    /// Stores the scale of some activations; gives its inverse in every lane.
    fn scale(&self, b: &mut KernelBuilder, at: &Place, number: Reg, ends: (Reg, Reg)) -> Reg {
        let most = b.zero(Ty { elem: Elem::F32, lanes: self.lanes });
        self.vectors(b, ends, |b, i, tail| {
            let v = b.load(Elem::F32, self.lanes, self.a, Addr::reg(at.a).plus(i, 1), tail);
            let v = b.un(UnOp::Abs, v);
            b.set(most, Inst::Bin(BinOp::Max, most, v));
        });
        let most = b.fold(BinOp::Max, most);
        let (top, zero) = (constant(b, Elem::F32, 1, 127.0), constant(b, Elem::F32, 1, 0.0));
        let scale = b.bin(BinOp::Div, most, top);
        b.store(self.bufs.scales, Addr::reg(at.scales).plus(number, 1), scale, None);
        let up = b.bin(BinOp::Div, top, most);
        let none = b.cmp(CmpOp::Eq, most, zero);
        let up = b.select(none, zero, up);
        b.splat(up, self.lanes)
    }

    /// Stores the codes of a block and their sum.
    fn codes(&self, b: &mut KernelBuilder, at: &Place, number: Reg, ends: (Reg, Reg), up: Reg) {
        let sum = b.zero(Ty { elem: Elem::I32, lanes: self.lanes });
        self.vectors(b, ends, |b, i, tail| {
            let v = b.load(Elem::F32, self.lanes, self.a, Addr::reg(at.a).plus(i, 1), tail);
            let v = b.mul(v, up);
            let v = b.un(UnOp::Nearest, v);
            let v = b.cvt(CvtOp::FToS, Elem::I32, v);
            b.set(sum, Inst::Bin(BinOp::Add, sum, v));
            let raw = access::narrow(b, DType::I8, v);
            b.store(self.bufs.codes, Addr::reg(at.codes).plus(i, 1), raw, tail);
        });
        let sum = b.fold(BinOp::Add, sum);
        b.store(self.bufs.sums, Addr::reg(at.sums).plus(number, 1), sum, None);
    }

    /// Whole vectors, then the rest.
    fn vectors(
        &self,
        b: &mut KernelBuilder,
        (lo, hi): (Reg, Reg),
        mut f: impl FnMut(&mut KernelBuilder, Reg, Option<Reg>),
    ) {
        let lanes = i64::from(self.lanes);
        let len = b.sub(hi, lo);
        let mask = b.i64(-lanes);
        let even = b.bin(BinOp::And, len, mask);
        let even = b.add(lo, even);
        b.for_(Bound::Reg(lo), Bound::Reg(even), lanes, LoopKind::Serial, |b, i| f(b, i, None));
        let one = self.view.block as i64 % lanes == 0 && self.view.k as i64 % lanes == 0;
        if lanes > 1 && !one {
            let rest = b.sub(hi, even);
            let some = b.cmp(CmpOp::Lt, even, hi);
            b.if_(some, |b| f(b, even, Some(rest)), |_| {});
        }
    }
}

/// Where a row begins in the buffers.
struct Place {
    a: Reg,
    codes: Reg,
    scales: Reg,
    sums: Reg,
}
