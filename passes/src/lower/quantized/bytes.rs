//! What products need of their activations beside the numbers themselves: codes of a byte with their scales, and sums
//! over the blocks of the weights.

use super::View;
use super::layout::Layout;
use crate::lower::access::{constant, whole};
use crate::lower::body::{Body, Params};
use crate::lower::contract::arith::{add_const, scaled};
use crate::lower::{Arg, LowerCx, Lowered, parallel_if};
use sinter_ir::op::quantized_matmul::{Activations, Offset};
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Access, Addr, BinOp, Bound, Buf, CmpOp, CvtOp, Elem, Inst, LoopKind, Reg, Ty, UnOp};
use sinter_ir::{DType, Expr, Result, TensorType};

/// Activations as a product reads them, in scratch memory.
#[derive(Debug, Clone, Copy)]
pub struct Coded {
    /// Whether there are codes, i8, and scales, f32.
    pub exact: bool,
    /// Codes from one row to the next: those of whole chunks of weights, the last ones zeros.
    pub pitch: usize,
    /// Scales per row.
    pub scales: usize,
    /// Activations that a sum is of.
    pub block: usize,
    /// Sums per row.
    pub blocks: usize,
    /// Multiple of the sums, i32 or f32, that sums of products start from; 0: there are none.
    pub start: i64,
    /// Multiple of the sums, f32, that goes with offsets; 0: there are none.
    pub sums: i64,
    /// Whether the latter are multiplied with the scale of their block.
    pub scaled: bool,
    /// Scales and sums per row that there is room for beyond those: what holds activations in another way where there are
    /// many rows takes the same memory. It always starts sums somewhere.
    pub room: usize,
}

/// The buffers of [`Coded`] in a kernel.
#[derive(Debug, Clone, Copy, Default)]
#[allow(missing_docs)]
pub struct Bufs {
    pub codes: Option<Buf>,
    pub scales: Option<Buf>,
    pub starts: Option<Buf>,
    pub sums: Option<Buf>,
}

impl Coded {
    /// For weights in the layout, or as they are.
    pub fn of(view: &View, layout: Option<&Layout>) -> Self {
        let (exact, per_block) = (view.in_bytes(), view.op.activations == Activations::Blocks);
        let blocks = view.blocks();
        let sums = match view.op.offset {
            // Zero points of packed weights are subtracted.
            Offset::Zero if layout.is_some() => -1,
            Offset::Minimum if exact || layout.is_some() => 1,
            _ => 0,
        };
        Self {
            exact,
            pitch: view.k.next_multiple_of(layout.map_or(8, |l| l.terms().max(8))),
            scales: if per_block { blocks } else { 1 },
            block: view.block,
            blocks,
            start: layout.map_or(0, |l| -l.middle),
            sums,
            scaled: per_block && view.op.offset == Offset::Minimum,
            room: 0,
        }
    }
    /// With room for `many` instead.
    pub fn or(self, many: &Self) -> Self {
        Self { room: many.blocks, ..self }
    }
    /// For weights that are bytes counted from `middle`, with one scale per row: a scale per `block` activations.
    pub fn segments(view: &View, middle: i64, block: usize) -> Self {
        let (pitch, blocks) = (view.k.next_multiple_of(8), view.k.div_ceil(block));
        Self {
            exact: true,
            pitch,
            scales: blocks,
            block,
            blocks,
            start: -middle,
            sums: 0,
            scaled: false,
            room: 0,
        }
    }
    /// Whether there is anything.
    pub fn any(&self) -> bool {
        !self.parts().is_empty()
    }
    fn starts(&self) -> bool {
        self.start != 0 || self.room > 0
    }
    /// Elements per row and types of the buffers.
    fn parts(&self) -> Vec<(usize, DType)> {
        let sum = if self.exact { DType::I32 } else { DType::F32 };
        let all = [
            (self.exact, self.pitch, DType::I8),
            (self.exact, self.scales.max(self.room), DType::F32),
            (self.starts(), self.blocks.max(self.room), sum),
            (self.sums != 0, self.blocks, DType::F32),
        ];
        all.into_iter().filter(|p| p.0).map(|(_, n, t)| (n, t)).collect()
    }
    /// Bytes of the buffers for `m` rows.
    pub fn scratch(&self, m: &Expr) -> Vec<Expr> {
        self.parts().iter().map(|(n, t)| m.clone() * Expr::from(n * t.bits() / 8)).collect()
    }
    /// Declares the buffers, which are the first of the node's scratch memory.
    pub fn bufs(&self, b: &mut KernelBuilder, params: &mut Params, m: &Expr, access: Access) -> Bufs {
        let mut all = self.parts().into_iter().enumerate().map(|(i, (count, dtype))| {
            let ty = TensorType::new(dtype, vec![m.clone() * count.into()]);
            params.buf(b, Arg::Scratch(i), access, &ty)
        });
        let mut next = |there: bool| if there { all.next() } else { None };
        Bufs {
            codes: next(self.exact),
            scales: next(self.exact),
            starts: next(self.starts()),
            sums: next(self.sums != 0),
        }
    }
}

/// The kernel that fills the buffers, which whoever reads them declares. `many`: the same for so many rows and more, with
/// buffers that need no more room.
pub fn lower(
    cx: &LowerCx,
    body: &Body,
    view: &View,
    coded: Coded,
    many: Option<(Coded, i64)>,
) -> Result<Lowered> {
    let per = if coded.scales == 1 { view.k } else { coded.block };
    let bits =
        view.op.nibbles.map_or("bytes".to_owned(), |clip| format!("nibbles{}", (clip * 1000.0) as u32));
    let name = format!("{bits}_{}x{per}x{}_{}_{}", view.k, coded.block, coded.start, coded.sums);
    let mut b = KernelBuilder::new(name);
    let mut params = Params::default();
    let a = params.value(&mut b, body, view.a)?;
    let bufs = coded.bufs(&mut b, &mut params, &view.m, Access::Write);
    let lanes = cx.target.lanes(32);
    let row = Row { view, coded, a, bufs, lanes };
    let work = cx.symbols.max(&view.m).max(0) as u64 * view.k as u64 * 2;
    parallel_if(&mut b, work, &view.m, |b, i| match many {
        None => row.emit(b, i),
        Some((coded, from)) => {
            let (m, from) = (b.dim(&view.m), b.i64(from));
            let few = b.cmp(CmpOp::Lt, m, from);
            b.if_(few, |b| row.emit(b, i), |b| Row { view, coded, a, bufs, lanes }.emit(b, i));
        }
    });
    Ok(params.finish(b))
}

struct Row<'a> {
    view: &'a View<'a>,
    coded: Coded,
    a: Buf,
    bufs: Bufs,
    lanes: u16,
}

/// Where a row begins in the buffers.
struct Place {
    a: Reg,
    codes: Reg,
    scales: Reg,
    sums: Reg,
}

/// The scale of some activations, and its inverse in every lane.
#[derive(Clone, Copy)]
struct Scale {
    down: Reg,
    up: Reg,
    /// Lowest and highest code, both plus [`WHOLE`], where not all bytes are codes.
    ends: Option<[Reg; 2]>,
}

/// Vectors of a block that are written one after the other.
const FEW: i64 = 8;

/// Adding this makes floats of less than 2^22 whole, half to even, with their low bits last.
const WHOLE: f32 = 12_582_912.0;

impl Row<'_> {
    fn emit(&self, b: &mut KernelBuilder, i: Reg) {
        let k = self.view.k as i64;
        let at = Place {
            a: scaled(b, i, k),
            codes: scaled(b, i, self.coded.pitch as i64),
            scales: scaled(b, i, self.coded.scales as i64),
            sums: scaled(b, i, self.coded.blocks as i64),
        };
        if self.coded.exact && self.coded.scales == 1 {
            let (lo, hi) = (b.i64(0), b.i64(k));
            let scale = self.scale(b, &at, lo, (lo, hi));
            self.each_block(b, |b, t, ends| self.block(b, &at, t, ends, scale));
        } else {
            self.each_block(b, |b, t, ends| {
                let scale = self.scale(b, &at, t, ends);
                self.block(b, &at, t, ends, scale);
            });
        }
        if let Some(codes) = self.bufs.codes {
            let zero = b.int(Elem::I8, 1, 0);
            for rest in k..self.coded.pitch as i64 {
                b.store(codes, Addr::reg(at.codes).offset(rest), zero, None);
            }
        }
    }

    /// Number and ends of every block.
    fn each_block(&self, b: &mut KernelBuilder, f: impl FnOnce(&mut KernelBuilder, Reg, (Reg, Reg))) {
        let (k, block) = (self.view.k as i64, self.coded.block as i64);
        let blocks = Bound::Const(self.coded.blocks as i64);
        b.for_(Bound::Const(0), blocks, 1, LoopKind::Serial, |b, t| {
            let lo = scaled(b, t, block);
            let mut hi = add_const(b, lo, block);
            if k % block != 0 {
                let end = b.i64(k);
                hi = b.bin(BinOp::MinS, hi, end);
            }
            f(b, t, (lo, hi));
        });
    }

    /// Stores the scale of some activations, where there are any.
    fn scale(&self, b: &mut KernelBuilder, at: &Place, number: Reg, ends: (Reg, Reg)) -> Option<Scale> {
        let scales = self.bufs.scales?;
        if let Some(clip) = self.view.op.nibbles {
            let scale = self.nibbles(b, at, ends, clip);
            b.store(scales, Addr::reg(at.scales).plus(number, 1), scale.down, None);
            return Some(scale);
        }
        // Of numbers without a sign the largest has the largest bits, and what is no number has larger ones.
        let most = b.zero(Ty { elem: Elem::I32, lanes: self.lanes });
        let size = whole(b, Elem::I32, self.lanes, i64::from(i32::MAX));
        self.vectors(b, ends, |b, i, tail| {
            let v = b.load(Elem::F32, self.lanes, self.a, Addr::reg(at.a).plus(i, 1), tail);
            let v = b.cvt(CvtOp::Bits, Elem::I32, v);
            let v = b.bin(BinOp::And, v, size);
            b.set(most, Inst::Bin(BinOp::MaxS, most, v));
        });
        let most = b.fold(BinOp::MaxS, most);
        let most = b.cvt(CvtOp::Bits, Elem::F32, most);
        let (top, zero) = (constant(b, Elem::F32, 1, 127.0), constant(b, Elem::F32, 1, 0.0));
        let down = b.bin(BinOp::Div, most, top);
        b.store(scales, Addr::reg(at.scales).plus(number, 1), down, None);
        let up = b.bin(BinOp::Div, top, most);
        let none = b.cmp(CmpOp::Eq, most, zero);
        let up = b.select(none, zero, up);
        Some(Scale { down, up: b.splat(up, self.lanes), ends: None })
    }

    /// The scale of 16 codes for a part of the range.
    fn nibbles(&self, b: &mut KernelBuilder, at: &Place, ends: (Reg, Reg), clip: f32) -> Scale {
        let vector = Ty { elem: Elem::F32, lanes: self.lanes };
        let (low, high) = (b.zero(vector), b.zero(vector));
        self.vectors(b, ends, |b, i, tail| {
            let v = b.load(Elem::F32, self.lanes, self.a, Addr::reg(at.a).plus(i, 1), tail);
            b.set(low, Inst::Bin(BinOp::Min, low, v));
            b.set(high, Inst::Bin(BinOp::Max, high, v));
        });
        let number = |b: &mut KernelBuilder, v: f32| constant(b, Elem::F32, 1, v.into());
        let (clip, top, zero, add) = (number(b, clip), number(b, 15.0), number(b, 0.0), number(b, WHOLE));
        let (low, high) = (b.fold(BinOp::Min, low), b.fold(BinOp::Max, high));
        let (low, high) = (b.mul(low, clip), b.mul(high, clip));
        let range = b.sub(high, low);
        let down = b.bin(BinOp::Div, range, top);
        let up = b.bin(BinOp::Div, top, range);
        let none = b.cmp(CmpOp::Eq, range, zero);
        let up = b.select(none, zero, up);
        // Whole numbers are symmetric round zero: so are their roundings.
        let first = b.mul(low, up);
        let first = b.add(first, add);
        let last = b.add(first, top);
        let ends = [b.splat(first, self.lanes), b.splat(last, self.lanes)];
        Scale { down, up: b.splat(up, self.lanes), ends: Some(ends) }
    }

    /// Stores the codes of a block and what is made of their sum.
    fn block(&self, b: &mut KernelBuilder, at: &Place, number: Reg, ends: (Reg, Reg), scale: Option<Scale>) {
        let elem = if scale.is_some() { Elem::I32 } else { Elem::F32 };
        let sum = b.zero(Ty { elem, lanes: self.lanes });
        self.vectors(b, ends, |b, i, tail| {
            let mut v = b.load(Elem::F32, self.lanes, self.a, Addr::reg(at.a).plus(i, 1), tail);
            if let (Some(s), Some(codes)) = (scale, self.bufs.codes) {
                let add = constant(b, Elem::F32, self.lanes, WHOLE.into());
                let bias = whole(b, Elem::I32, self.lanes, WHOLE.to_bits().into());
                let x = b.mul(v, s.up);
                let mut x = b.add(x, add);
                if let Some([first, last]) = s.ends {
                    x = b.bin(BinOp::Max, x, first);
                    x = b.bin(BinOp::Min, x, last);
                }
                let x = b.cvt(CvtOp::Bits, Elem::I32, x);
                v = b.sub(x, bias);
                let raw = b.cvt(CvtOp::Narrow, Elem::I8, v);
                b.store(codes, Addr::reg(at.codes).plus(i, 1), raw, tail);
            }
            b.set(sum, Inst::Bin(BinOp::Add, sum, v));
        });
        let sum = b.fold(BinOp::Add, sum);
        let place = Addr::reg(at.sums).plus(number, 1);
        if let Some(starts) = self.bufs.starts {
            let by = match scale {
                Some(_) => b.int(elem, 1, self.coded.start),
                None => b.float(elem, 1, self.coded.start as f64),
            };
            let start = b.mul(sum, by);
            b.store(starts, place.clone(), start, None);
        }
        if let Some(sums) = self.bufs.sums {
            let mut s = if scale.is_some() { b.cvt(CvtOp::SToF, Elem::F32, sum) } else { sum };
            if self.coded.sums < 0 {
                s = b.un(UnOp::Neg, s);
            }
            if let Some(scale) = scale.filter(|_| self.coded.scaled) {
                s = b.mul(s, scale.down);
            }
            b.store(sums, place, s, None);
        }
    }

    /// Whole vectors, then the rest.
    fn vectors(
        &self,
        b: &mut KernelBuilder,
        (lo, hi): (Reg, Reg),
        mut f: impl FnMut(&mut KernelBuilder, Reg, Option<Reg>),
    ) {
        let lanes = i64::from(self.lanes);
        let (k, block) = (self.view.k as i64, self.coded.block as i64);
        // Of a few vectors no loop is made; a scale of a whole row is of more.
        if self.coded.scales == self.coded.blocks
            && k % block == 0
            && block % lanes == 0
            && block <= FEW * lanes
        {
            return (0..block / lanes).for_each(|v| {
                let at = add_const(b, lo, v * lanes);
                f(b, at, None);
            });
        }
        let len = b.sub(hi, lo);
        let mask = b.i64(-lanes);
        let even = b.bin(BinOp::And, len, mask);
        let even = b.add(lo, even);
        b.for_(Bound::Reg(lo), Bound::Reg(even), lanes, LoopKind::Serial, |b, i| f(b, i, None));
        let exact = block % lanes == 0 && k % lanes == 0;
        if lanes > 1 && !exact {
            let rest = b.sub(hi, even);
            let some = b.cmp(CmpOp::Lt, even, hi);
            b.if_(some, |b| f(b, even, Some(rest)), |_| {});
        }
    }
}
