//! Loads and stores.
//!
//! Vectors are read 16 bytes at a time even where fewer belong to them: whoever lays out the memory leaves room behind
//! the last buffer. Stores write what belongs to them and nothing else.

use super::body::Val;
use super::kernel::Emit;
use super::module::Helper;
use super::scalar::{self, memory};
use super::shape::{parts, per_part};
use sinter_ir::tile::{Addr, Buf, Elem, Reg};
use wasm_encoder::{BlockType, Instruction as I, ValType};

impl Emit<'_> {
    /// Loads into a register.
    pub fn load(&mut self, dst: Reg, buf: Buf, at: &Addr, tail: Option<Reg>) {
        let ty = self.ty(dst);
        let width = ty.elem.bytes();
        if ty.lanes == 1 {
            if let Some(t) = tail {
                let n = self.clamped(t, 1);
                self.f.ops([I::LocalGet(n), I::If(BlockType::Result(scalar::val_type(ty.elem)))]);
                let offset = self.address(buf, at, width, false);
                self.f.ops([scalar::load(ty.elem, offset), I::Else]);
                self.f.push(scalar::zero(ty.elem));
                self.f.op(I::End);
            } else {
                let offset = self.address(buf, at, width, true);
                self.f.op(scalar::load(ty.elem, offset));
            }
            return self.set(dst);
        }
        let n = parts(ty, ty.elem.bits());
        let Some(t) = tail else {
            let offset = self.address(buf, at, width, true);
            let base = (n > 1).then(|| self.f.keep(ValType::I32));
            for i in 0..n {
                if let Some(b) = base {
                    self.f.get(b);
                }
                let more = offset + 16 * i as u64;
                let left = u32::from(ty.lanes) * width - 16 * i as u32;
                self.f.op(match left {
                    4 => I::V128Load32Zero(memory(more)),
                    8 => I::V128Load64Zero(memory(more)),
                    _ => I::V128Load(memory(more)),
                });
            }
            return self.set(dst);
        };
        let offset = self.address(buf, at, width, false);
        let base = self.f.keep(ValType::I32);
        for i in 0..n {
            let count = self.clamped(t, ty.lanes);
            let mask = self.tail_mask(t, ty.lanes, ty.elem.bits(), i);
            let first = (i * per_part(ty.elem.bits())) as i32;
            // With no lane to load the address may be anywhere.
            self.f.ops([I::LocalGet(count), I::I32Const(first), I::I32GtS]);
            self.f.op(I::If(BlockType::Result(ValType::V128)));
            self.f.ops([I::LocalGet(base), I::V128Load(memory(offset + 16 * i as u64))]);
            self.f.ops([I::LocalGet(mask), I::V128And, I::Else, I::V128Const(0), I::End]);
        }
        self.set(dst);
    }
    /// A tail as an `i32` between 0 and the number of lanes, in a local.
    fn clamped(&mut self, tail: Reg, lanes: u16) -> u32 {
        if let Some(l) = self.known.tail(tail, lanes) {
            return l;
        }
        let most = i64::from(lanes);
        let t = self.val(tail);
        self.f.push(t);
        self.f.i64(most);
        self.f.push(t);
        self.f.ops([I::I64Const(most), I::I64LtS, I::Select]);
        let least = self.f.keep(ValType::I64);
        self.f.ops([I::LocalGet(least), I::I64Const(0), I::LocalGet(least), I::I64Const(0), I::I64GtS]);
        self.f.ops([I::Select, I::I32WrapI64]);
        let l = self.f.keep(ValType::I32);
        self.known.keep_tail(tail, lanes, l);
        l
    }
    /// A mask of the lanes of a part that lie below a tail, in a local.
    fn tail_mask(&mut self, tail: Reg, lanes: u16, bits: u32, part: usize) -> u32 {
        if let Some(l) = self.known.mask(tail, lanes, bits, part) {
            return l;
        }
        let n = self.clamped(tail, lanes);
        self.f.op(I::V128Const(counting(bits, (part * per_part(bits)) as u64)));
        self.f.get(n);
        self.f.ops(match bits {
            8 => vec![I::I8x16Splat, I::I8x16LtS],
            16 => vec![I::I16x8Splat, I::I16x8LtS],
            32 => vec![I::I32x4Splat, I::I32x4LtS],
            _ => vec![I::I64ExtendI32U, I::I64x2Splat, I::I64x2LtS],
        });
        let l = self.f.keep(ValType::V128);
        self.known.keep_mask(tail, lanes, bits, part, l);
        l
    }
    /// Stores a register.
    pub fn store(&mut self, buf: Buf, at: &Addr, value: Reg, tail: Option<Reg>) {
        let ty = self.ty(value);
        let width = ty.elem.bytes();
        let n = tail.map(|t| self.clamped(t, ty.lanes));
        if ty.lanes == 1 {
            if let Some(n) = n {
                self.f.ops([I::LocalGet(n), I::If(BlockType::Empty)]);
            }
            let offset = self.address(buf, at, width, tail.is_none());
            self.push(value);
            self.f.op(scalar::store(ty.elem, offset));
            if n.is_some() {
                self.f.op(I::End);
            }
            return;
        }
        let offset = self.address(buf, at, width, tail.is_none());
        let base = self.f.keep(ValType::I32);
        for (i, v) in self.parts(value).into_iter().enumerate() {
            let first = 16 * i as u32;
            if let Some(n) = n {
                self.f.get(base);
                if offset + u64::from(first) > 0 {
                    self.f.ops([I::I32Const((offset + u64::from(first)) as i32), I::I32Add]);
                }
                self.f.ops([I::LocalGet(v), I::LocalGet(n)]);
                self.scale(width.into());
                if first > 0 {
                    self.f.ops([I::I32Const(first as i32), I::I32Sub]);
                }
                self.f.op(I::Call(Helper::StoreSome as u32));
                continue;
            }
            let left = (u32::from(ty.lanes) * width - first).min(16);
            let mut done = 0;
            for size in [16, 8, 4, 2, 1] {
                if left & size == 0 {
                    continue;
                }
                self.f.ops([I::LocalGet(base), I::LocalGet(v)]);
                let m = memory(offset + u64::from(first + done));
                let lane = (done / size) as u8;
                self.f.op(match size {
                    16 => I::V128Store(m),
                    8 => I::V128Store64Lane { memarg: m, lane },
                    4 => I::V128Store32Lane { memarg: m, lane },
                    2 => I::V128Store16Lane { memarg: m, lane },
                    _ => I::V128Store8Lane { memarg: m, lane },
                });
                done += size;
            }
        }
    }
    /// One element per lane.
    pub fn gather(&mut self, dst: Reg, (buf, at): (Buf, &Addr), index: Reg, tail: Option<Reg>) {
        let ty = self.ty(dst);
        let width = ty.elem.bytes();
        let n = tail.map(|t| self.clamped(t, ty.lanes));
        // The indices take part in the address: without them it may lie anywhere.
        let offset = self.address(buf, at, width, false);
        let mut base = self.f.keep(ValType::I32);
        if offset > 0 {
            self.f.ops([I::LocalGet(base), I::I32Const(offset as i32), I::I32Add]);
            base = self.f.keep(ValType::I32);
        }
        let element = |e: &mut Self, lane: usize| {
            e.f.get(base);
            let x = e.lane(index, lane);
            e.f.push(x);
            if e.ty(index).elem == Elem::I64 {
                e.f.op(I::I32WrapI64);
            }
            e.scale(width.into());
            e.f.op(I::I32Add);
        };
        if ty.lanes == 1 {
            if let Some(n) = n {
                self.f.ops([I::LocalGet(n), I::If(BlockType::Result(scalar::val_type(ty.elem)))]);
            }
            element(self, 0);
            self.f.op(scalar::load(ty.elem, 0));
            if n.is_some() {
                self.f.op(I::Else);
                self.f.push(scalar::zero(ty.elem));
                self.f.op(I::End);
            }
            return self.set(dst);
        }
        let per = per_part(ty.elem.bits());
        for part in 0..parts(ty, ty.elem.bits()) {
            self.f.op(I::V128Const(0));
            let v = self.f.keep(ValType::V128);
            for lane in 0..per.min(ty.lanes as usize - part * per) {
                let number = part * per + lane;
                if let Some(n) = n {
                    self.f.ops([I::LocalGet(n), I::I32Const(number as i32), I::I32GtS]);
                    self.f.op(I::If(BlockType::Empty));
                }
                element(self, number);
                self.f.get(v);
                let (memarg, lane) = (memory(0), lane as u8);
                self.f.op(match width {
                    1 => I::V128Load8Lane { memarg, lane },
                    2 => I::V128Load16Lane { memarg, lane },
                    4 => I::V128Load32Lane { memarg, lane },
                    _ => I::V128Load64Lane { memarg, lane },
                });
                self.f.set(v);
                if n.is_some() {
                    self.f.op(I::End);
                }
            }
            self.f.get(v);
        }
        self.set(dst);
    }
    /// A lane as a value; extracted lanes are in a new local.
    pub fn lane(&mut self, r: Reg, lane: usize) -> Val {
        let ty = self.ty(r);
        if ty.lanes == 1 {
            return self.val(r);
        }
        let bits = self.bits(r);
        let l = self.parts(r)[lane / per_part(bits)];
        self.f.get(l);
        self.extract(ty.elem, bits, lane % per_part(bits));
        Val::Local(self.f.keep(scalar::val_type(ty.elem)))
    }
}

/// Lanes that count up from a number.
pub fn counting(bits: u32, first: u64) -> i128 {
    (0..per_part(bits) as u64).fold(0i128, |v, i| v | i128::from(first + i) << (u64::from(bits) * i))
}
