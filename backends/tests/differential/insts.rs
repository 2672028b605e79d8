//! Random right-hand sides.

use crate::r#gen::{FLOATS, Gen, INTS, NUMBERS, expr};
use sinter_ir::tile::{BinOp, CmpOp, CvtOp, Elem, Inst, Reg, Ty, UnOp};

/// Integers and truth values.
const BITS: [Elem; 5] = [Elem::B1, Elem::I8, Elem::I16, Elem::I32, Elem::I64];
const ELEMS: [Elem; 7] = [Elem::B1, Elem::I8, Elem::I16, Elem::I32, Elem::I64, Elem::F32, Elem::F64];

impl Gen {
    /// Assigns a new register by any instruction.
    pub fn random_inst(&mut self) -> Reg {
        use BinOp::*;
        let lanes = self.lanes();
        let of = |elem| Ty { elem, lanes };
        // The last two need vectors.
        match self.rng.below(if self.scalar { 12 } else { 14 }) {
            0 => {
                let (op, e) = match self.rng.below(4) {
                    0 => (self.rng.pick(&[UnOp::Neg, UnOp::Abs]), self.rng.pick(&NUMBERS)),
                    1 => (UnOp::Not, self.rng.pick(&BITS)),
                    _ => (
                        self.rng.pick(&[UnOp::Ceil, UnOp::Floor, UnOp::Trunc, UnOp::Nearest, UnOp::Sqrt]),
                        self.rng.pick(&FLOATS),
                    ),
                };
                let x = self.value(of(e));
                self.b.un(op, x)
            }
            1..=3 => {
                let (op, e) = match self.rng.below(4) {
                    0 => (self.rng.pick(&[Add, Sub, Mul]), self.rng.pick(&NUMBERS)),
                    1 => (self.rng.pick(&[Div, Min, Max]), self.rng.pick(&FLOATS)),
                    2 => (self.rng.pick(&[And, Or, Xor]), self.rng.pick(&BITS)),
                    _ => (
                        self.rng.pick(&[DivS, DivU, RemS, RemU, MinS, MaxS, MinU, MaxU, Shl, ShrS, ShrU]),
                        self.rng.pick(&INTS),
                    ),
                };
                let (x, y) = (self.value(of(e)), self.value(of(e)));
                self.b.bin(op, x, y)
            }
            4 => {
                let e = self.rng.pick(&NUMBERS);
                let (x, y) = (self.value(of(e)), self.value(of(e)));
                let mut ops = vec![CmpOp::Eq, CmpOp::Ne, CmpOp::Lt, CmpOp::Le, CmpOp::Gt, CmpOp::Ge];
                if !e.is_float() {
                    ops.extend([CmpOp::LtU, CmpOp::LeU, CmpOp::GtU, CmpOp::GeU]);
                }
                let op = self.rng.pick(&ops);
                self.b.cmp(op, x, y)
            }
            5 => {
                let ty = self.ty();
                let n = if self.rng.once_in(3) { 1 } else { ty.lanes };
                let c = self.value(Ty { elem: Elem::B1, lanes: n });
                let (x, y) = (self.value(ty), self.value(ty));
                self.b.select(c, x, y)
            }
            6 => {
                let e = self.rng.pick(&NUMBERS);
                let (x, y, z) = (self.value(of(e)), self.value(of(e)), self.value(of(e)));
                self.b.mul_add(x, y, z)
            }
            7 => {
                if self.rng.once_in(2) {
                    let e = expr(&mut self.rng, 3);
                    let dst = self.b.reg(Elem::I64, 1);
                    self.b.set(dst, Inst::Dim(e));
                    return dst;
                }
                let dst = self.b.reg(self.rng.pick(&INTS), lanes);
                self.b.set(dst, Inst::LaneIndex);
                dst
            }
            8 | 9 => self.convert(lanes),
            10 => {
                let ty = self.ty();
                let x = self.value(Ty { lanes: 1, ..ty });
                let dst = self.b.reg(ty.elem, ty.lanes);
                self.b.set(dst, Inst::Splat(x));
                dst
            }
            11 => {
                let ty = self.ty();
                let x = self.value(ty);
                let dst = self.b.reg(ty.elem, 1);
                let i = self.rng.below(ty.lanes as usize) as u16;
                self.b.set(dst, Inst::Lane(x, i));
                dst
            }
            12 => {
                let n = self.rng.pick(&[1, 2, 4, 8]);
                let acc = self.value(Ty { elem: Elem::I32, lanes: n });
                let [a, b] = [(); 2].map(|()| {
                    let words = self.rng.once_in(2);
                    let (elem, lanes) = if words { (Elem::I32, n) } else { (Elem::I8, 4 * n) };
                    self.value(Ty { elem, lanes })
                });
                let dst = self.b.reg(Elem::I32, n);
                let (a_signed, b_signed) = (self.rng.once_in(2), self.rng.once_in(2));
                self.b.set(dst, Inst::Dot4 { acc, a, b, a_signed, b_signed, within: None });
                dst
            }
            _ => {
                let (ops, e): (&[BinOp], Elem) = match self.rng.below(4) {
                    0 => (&[Add, Mul], self.rng.pick(&NUMBERS)),
                    1 => (&[Min, Max], self.rng.pick(&FLOATS)),
                    2 => (&[And, Or], self.rng.pick(&BITS)),
                    _ => (&[MinS, MaxS, MinU, MaxU], self.rng.pick(&INTS)),
                };
                let lanes = self.rng.pick(&[2, 4, 8, 16, 32]);
                let x = self.value(Ty { elem: e, lanes });
                let op = self.rng.pick(ops);
                self.b.fold(op, x)
            }
        }
    }
    fn convert(&mut self, lanes: u16) -> Reg {
        let (op, from, to) = loop {
            let (from, to) = (self.rng.pick(&ELEMS), self.rng.pick(&NUMBERS));
            let op = self.rng.pick(&[
                CvtOp::SExt,
                CvtOp::ZExt,
                CvtOp::Narrow,
                CvtOp::SToF,
                CvtOp::UToF,
                CvtOp::FToS,
                CvtOp::FToU,
                CvtOp::FToF,
                CvtOp::Bits,
            ]);
            let int = |e: Elem| !e.is_float() && e != Elem::B1;
            let ok = match op {
                CvtOp::SExt | CvtOp::ZExt => !from.is_float() && int(to) && from.bits() < to.bits(),
                CvtOp::Narrow => int(from) && int(to) && from.bits() > to.bits(),
                CvtOp::SToF | CvtOp::UToF => int(from) && to.is_float(),
                CvtOp::FToS | CvtOp::FToU => from.is_float() && matches!(to, Elem::I32 | Elem::I64),
                CvtOp::FToF => from.is_float() && to.is_float() && from != to,
                CvtOp::Bits => from.bits() == to.bits() && from.is_float() != to.is_float(),
            };
            if ok {
                break (op, from, to);
            }
        };
        let x = self.value(Ty { elem: from, lanes });
        self.b.cvt(op, to, x)
    }
}
