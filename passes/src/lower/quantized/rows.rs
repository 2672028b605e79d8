//! Rows of quantised weights as floats: an embedding.
//!
//! They are read from the layout that products want, so that a matrix which is both an embedding and the last product's
//! lies in the bundle once: equal bytes are.

use super::View;
use super::layout::{Layout, Plane};
use super::plain;
use crate::lower::access;
use crate::lower::body::{Body, Params};
use crate::lower::contract::arith::{add_const, scaled};
use crate::lower::index::Idx;
use crate::lower::pull::checked;
use crate::lower::{Arg, LowerCx, Lowered, parallel_if};
use sinter_ir::op::QuantizedRows;
use sinter_ir::op::quantized_matmul::{Activations, Offset};
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Access, Addr, BinOp, Bound, Buf, CvtOp, Elem, LoopKind, Reg, UnOp};
use sinter_ir::{DType, Diag, Result};

/// Lowers QuantizedRows.
pub fn lower(cx: &LowerCx, body: &Body, op: &QuantizedRows) -> Result<Lowered> {
    let product = op.product(Activations::Blocks);
    let view = View::rows(body, &product)?;
    let layout = Layout::of(cx.target, body, &view)?;
    let mut b = KernelBuilder::new(format!("quantized_rows_{}x{}x{}", view.n, view.k, view.block));
    let mut params = Params::default();
    let root = body.root_node()?.outputs.first().ok_or_else(|| Diag::bug("rows without a result"))?;
    let indices = params.value(&mut b, body, view.a)?;
    let out = params.buf(&mut b, Arg::Output(0), Access::Write, body.ty(*root));
    let ids = body.ty(view.a).dtype;
    let work = cx.symbols.max(&view.m).max(0) as u64 * view.k as u64;
    let mut done = Ok(());
    let mut each_row =
        |b: &mut KernelBuilder, f: &mut dyn FnMut(&mut KernelBuilder, Reg, Reg) -> Result<()>| {
            parallel_if(b, work, &view.m, |b, i| {
                done = access::load(b, ids, indices, &Idx::reg(i), 1, None).and_then(|id| {
                    let id = if b.ty(id).elem == Elem::I64 { id } else { b.cvt(CvtOp::SExt, Elem::I64, id) };
                    let row = checked(b, id, &view.n.into());
                    let to = scaled(b, i, view.k as i64);
                    f(b, row, to)
                });
            });
        };
    match layout {
        Some(layout) => {
            let packed = params.pack(&mut b, layout.pack(body, &view)?, DType::I8);
            // A word of any plane has the codes of so many neighbours.
            let together = layout.planes().map(|p| 4 * p.fields()).min().unwrap_or(4);
            let lanes = usize::from(cx.target.lanes(32)).min(together).max(1);
            let of_plane = |p: Plane| (0..layout.terms()).flat_map(move |i| p.shift(i).to_le_bytes());
            let shifts: Vec<u8> = layout.planes().flat_map(of_plane).collect();
            let shifts = params.pack(&mut b, shifts.into(), DType::I32);
            let rows = Rows { layout, offset: op.offset, packed, shifts, out, lanes };
            each_row(&mut b, &mut |b, row, to| {
                rows.emit(b, row, to);
                Ok(())
            });
        }
        None => {
            let weight = plain::Weights::new(&mut b, &mut params, body, &view)?;
            each_row(&mut b, &mut |b, row, to| {
                let mut done = Ok(());
                b.for_(Bound::Const(0), Bound::Const(view.k as i64), 1, LoopKind::Serial, |b, p| {
                    done = weight.at(b, row, p).map(|v| b.store(out, Addr::reg(to).plus(p, 1), v, None));
                });
                done
            });
        }
    }
    done?;
    Ok(params.finish(b))
}

struct Rows {
    layout: Layout,
    offset: Offset,
    packed: Buf,
    /// For every plane and term of a chunk, the bits in front of it.
    shifts: Buf,
    out: Buf,
    /// Codes that are taken apart at once: those of a chunk, or less.
    lanes: usize,
}

/// What is the same for the weights of a block, in every lane.
struct Block {
    scale: Reg,
    middle: Reg,
    minimum: Option<Reg>,
}

impl Rows {
    fn emit(&self, b: &mut KernelBuilder, row: Reg, to: Reg) {
        let l = &self.layout;
        let width = l.width() as i64;
        let (shift, mask) = (b.i64(width.trailing_zeros().into()), b.i64(width - 1));
        let (strip, lane) = (b.bin(BinOp::ShrU, row, shift), b.bin(BinOp::And, row, mask));
        let start = scaled(b, strip, l.strip_words() as i64);
        let (whole, rest) = l.blocks();
        b.for_(Bound::Const(0), Bound::Const(whole as i64), 1, LoopKind::Serial, |b, t| {
            let skip = scaled(b, t, l.block_words(l.block) as i64);
            let words = b.add(start, skip);
            let done = scaled(b, t, l.block as i64);
            let to = b.add(to, done);
            self.block(b, words, lane, to, l.block);
        });
        if rest > 0 {
            let words = add_const(b, start, (whole * l.block_words(l.block)) as i64);
            let to = add_const(b, to, (whole * l.block) as i64);
            self.block(b, words, lane, to, rest);
        }
    }

    fn block(&self, b: &mut KernelBuilder, words: Reg, lane: Reg, to: Reg, terms: usize) {
        let (l, lanes) = (&self.layout, self.lanes as u16);
        let scale = self.float(b, l.scale, words, lane, 0);
        let offset = l.offset.map(|t| self.float(b, t, words, lane, l.width() * l.scale.bits() / t.bits()));
        let mut middle = b.float(Elem::F32, 1, (l.middle + if l.flipped() { 128 } else { 0 }) as f64);
        let mut minimum = None;
        match (self.offset, offset) {
            (Offset::Zero, Some(zero)) => middle = b.add(middle, zero),
            (Offset::Minimum, Some(m)) => minimum = Some(b.splat(m, lanes)),
            _ => {}
        }
        let block = Block { scale: b.splat(scale, lanes), middle: b.splat(middle, lanes), minimum };
        let codes = add_const(b, words, l.header() as i64);
        let codes = b.add(codes, lane);
        let (per, words) = (l.terms(), l.chunk_words() as i64);
        let whole = terms / per;
        b.for_(Bound::Const(0), Bound::Const(whole as i64), 1, LoopKind::Serial, |b, q| {
            let (skip, done) = (scaled(b, q, words), scaled(b, q, per as i64));
            let (at, to) = (b.add(codes, skip), b.add(to, done));
            self.chunk(b, at, to, per, &block);
        });
        if !terms.is_multiple_of(per) {
            let at = add_const(b, codes, whole as i64 * words);
            let to = add_const(b, to, (whole * per) as i64);
            self.chunk(b, at, to, terms % per, &block);
        }
    }

    /// The first `count` codes of the chunk at `at`.
    fn chunk(&self, b: &mut KernelBuilder, at: Reg, to: Reg, count: usize, block: &Block) {
        let lanes = self.lanes as u16;
        for first in (0..count).step_by(self.lanes) {
            let mut code = None;
            for (i, p) in self.layout.planes().enumerate() {
                let word = (p.word + first / (4 * p.fields())) * self.layout.width();
                let word = b.load(Elem::I32, 1, self.packed, Addr::reg(at).offset(word as i64), None);
                let word = b.splat(word, lanes);
                let own = Addr::at((i * self.layout.terms() + first) as i64);
                let shifts = b.load(Elem::I32, lanes, self.shifts, own, None);
                let v = b.bin(BinOp::ShrU, word, shifts);
                let mask = access::whole(b, Elem::I32, lanes, (1 << p.bits) - 1);
                let mut v = b.bin(BinOp::And, v, mask);
                if p.at > 0 {
                    let by = access::whole(b, Elem::I32, lanes, p.at as i64);
                    v = b.bin(BinOp::Shl, v, by);
                }
                code = Some(code.map_or(v, |all| b.bin(BinOp::Or, all, v)));
            }
            let Some(mut code) = code else { continue };
            if self.layout.flipped() {
                let sign = access::whole(b, Elem::I32, lanes, 0x80);
                code = b.bin(BinOp::Xor, code, sign);
            }
            let v = b.cvt(CvtOp::SToF, Elem::F32, code);
            let v = b.sub(v, block.middle);
            let v = match block.minimum {
                Some(m) => b.mul_add(v, block.scale, m),
                None => b.mul(v, block.scale),
            };
            let left = count - first;
            let tail = (left < self.lanes).then(|| b.i64(left as i64));
            b.store(self.out, Addr::reg(to).offset(first as i64), v, tail);
        }
    }

    /// A scale, zero point or minimum of the block at `words`, `skip` elements behind its first.
    fn float(&self, b: &mut KernelBuilder, dtype: DType, words: Reg, lane: Reg, skip: usize) -> Reg {
        let at = scaled(b, words, 32 / dtype.bits() as i64);
        let at = Addr::reg(at).plus(lane, 1).offset(skip as i64);
        match dtype {
            DType::F32 => b.load(Elem::F32, 1, self.packed, at, None),
            DType::F16 => {
                let raw = b.load(Elem::I16, 1, self.packed, at, None);
                b.un(UnOp::F16ToF32, raw)
            }
            _ => {
                let raw = b.load(Elem::I8, 1, self.packed, at, None);
                let v = b.cvt(CvtOp::SExt, Elem::I32, raw);
                b.cvt(CvtOp::SToF, Elem::F32, v)
            }
        }
    }
}
