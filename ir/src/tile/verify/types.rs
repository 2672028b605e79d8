//! Types of instructions.

use super::Verifier;
use crate::tile::{Access, Addr, BinOp, CmpOp, CvtOp, Elem, Inst, Reg, Scalar, Ty, UnOp};

/// Type of absolute addresses.
const ADDRESS: Ty = Ty { elem: Elem::I64, lanes: 1 };

/// What an operation works on.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Float,
    Int,
    /// Integers and truth values.
    Bits,
    /// Floats and integers.
    Number,
}

impl Kind {
    fn has(self, e: Elem) -> bool {
        match self {
            Kind::Float => e.is_float(),
            Kind::Int => is_int(e),
            Kind::Bits => !e.is_float(),
            Kind::Number => e != Elem::B1,
        }
    }
}

fn is_int(e: Elem) -> bool {
    !e.is_float() && e != Elem::B1
}

/// Operands of an operation that keeps its type; `None` for conversions.
fn un_kind(op: UnOp) -> Option<Kind> {
    use UnOp::*;
    Some(match op {
        Neg | Abs => Kind::Number,
        Not => Kind::Bits,
        F16ToF32 | F32ToF16 | Bf16ToF32 | F32ToBf16 | F32ToBf16Flush => return None,
        _ => Kind::Float,
    })
}

fn bin_kind(op: BinOp) -> Kind {
    use BinOp::*;
    match op {
        Add | Sub | Mul => Kind::Number,
        Div | Min | Max | Pow | Fmod | Scale => Kind::Float,
        And | Or | Xor => Kind::Bits,
        DivS | DivU | RemS | RemU | MinS | MaxS | MinU | MaxU | Shl | ShrS | ShrU => Kind::Int,
    }
}

fn cvt_ok(op: CvtOp, from: Elem, to: Elem) -> bool {
    match op {
        CvtOp::SExt | CvtOp::ZExt => !from.is_float() && is_int(to) && from.bits() < to.bits(),
        CvtOp::Narrow => is_int(from) && is_int(to) && from.bits() > to.bits(),
        CvtOp::SToF | CvtOp::UToF => is_int(from) && to.is_float(),
        CvtOp::FToS | CvtOp::FToU => from.is_float() && matches!(to, Elem::I32 | Elem::I64),
        CvtOp::FToF => from.is_float() && to.is_float() && from != to,
        CvtOp::Bits => from.bits() == to.bits() && from.is_float() != to.is_float(),
    }
}

impl Verifier<'_> {
    /// Checks one assignment.
    pub(super) fn inst(&mut self, dst: Reg, inst: &Inst) {
        let Some(ty) = self.ty(dst) else { return };
        let lanes = ty.lanes;
        match inst {
            Inst::Const(s) => {
                let ok = match s {
                    Scalar::B1(_) => ty.elem == Elem::B1,
                    Scalar::Int(v) => is_int(ty.elem) && fits(*v, ty.elem),
                    Scalar::F32(_) => ty.elem == Elem::F32,
                    Scalar::F64(_) => ty.elem == Elem::F64,
                };
                if !ok {
                    self.err(format_args!("constant {s:?} does not fit r{} of type {ty}", dst.0));
                }
            }
            Inst::Copy(a) => self.expect(*a, ty),
            Inst::Dim(e) => {
                self.expect(dst, Ty { elem: Elem::I64, lanes: 1 });
                if e.is_too_big() {
                    self.err("a symbolic integer is too large an expression");
                }
            }
            Inst::Un(op, a) => self.unary(*op, ty, *a),
            Inst::Bin(op, a, b) => {
                self.kind(format_args!("{op:?}"), bin_kind(*op), ty);
                self.expect(*a, ty);
                self.expect(*b, ty);
            }
            Inst::Cmp(op, a, b) => self.compare(*op, ty, *a, *b),
            Inst::Select(c, a, b) => {
                if let Some(t) = self.ty(*c)
                    && (t.elem != Elem::B1 || (t.lanes != lanes && t.lanes != 1))
                {
                    self.err(format_args!("condition r{} is {t} in a select of {ty}", c.0));
                }
                self.expect(*a, ty);
                self.expect(*b, ty);
            }
            Inst::MulAdd(a, b, c) => {
                self.kind("MulAdd", Kind::Number, ty);
                [a, b, c].into_iter().for_each(|r| self.expect(*r, ty));
            }
            Inst::Dot2 { acc, a, b } => {
                let elem = if ty.elem == Elem::I32 { Elem::I32 } else { Elem::F32 };
                self.expect(dst, Ty { elem, lanes });
                self.expect(*acc, ty);
                [a, b].into_iter().for_each(|r| self.expect(*r, Ty { elem: Elem::I32, lanes }));
            }
            Inst::Dot4 { acc, a, b, .. } => {
                self.expect(dst, Ty { elem: Elem::I32, lanes });
                self.expect(*acc, ty);
                for r in [a, b] {
                    let words = self.ty(*r).is_some_and(|t| t.elem == Elem::I32);
                    let bytes = Ty { elem: Elem::I8, lanes: lanes.saturating_mul(4) };
                    self.expect(*r, if words { ty } else { bytes });
                }
            }
            Inst::Mat8 { acc, a, b, .. } => {
                self.quads(ty, &[Elem::I32]);
                [acc, a, b].into_iter().for_each(|r| self.expect(*r, ty));
            }
            Inst::Mat4 { acc, a, b } => {
                self.quads(ty, &[Elem::F32]);
                self.expect(*acc, ty);
                [a, b].into_iter().for_each(|r| self.expect(*r, Ty { elem: Elem::I32, lanes }));
            }
            Inst::Halves { a, b, .. } => {
                self.quads(ty, &[Elem::I32, Elem::F32]);
                [a, b].into_iter().for_each(|r| self.expect(*r, ty));
            }
            Inst::Cvt(op, a) => {
                if let Some(from) = self.ty(*a)
                    && (from.lanes != lanes || !cvt_ok(*op, from.elem, ty.elem))
                {
                    self.err(format_args!("{op:?} cannot make {ty} of {from}"));
                }
            }
            Inst::Load { buf, at, tail } => {
                self.memory(dst, ty);
                self.access(*buf, at, *tail, &[Access::Read, Access::ReadWrite]);
            }
            Inst::LoadGather { buf, at, index, tail } => {
                self.memory(dst, ty);
                self.access(*buf, at, *tail, &[Access::Read, Access::ReadWrite]);
                if let Some(t) = self.ty(*index)
                    && (t.lanes != lanes || !matches!(t.elem, Elem::I32 | Elem::I64))
                {
                    self.err(format_args!("index r{} is {t} in a gather of {ty}", index.0));
                }
            }
            Inst::Address(buf) => {
                self.expect(dst, ADDRESS);
                self.access(*buf, &Addr::default(), None, &[Access::Read, Access::Write, Access::ReadWrite]);
            }
            Inst::LoadAt(a) => {
                self.memory(dst, ty);
                self.expect(dst, Ty { lanes: 1, ..ty });
                self.expect(*a, ADDRESS);
            }
            Inst::Splat(a) => self.expect(*a, Ty { lanes: 1, ..ty }),
            Inst::Lane(a, i) => {
                self.expect(dst, Ty { lanes: 1, ..ty });
                if let Some(t) = self.ty(*a)
                    && (t.elem != ty.elem || *i >= t.lanes)
                {
                    self.err(format_args!("lane {i} of r{} of type {t} is not {ty}", a.0));
                }
            }
            Inst::LaneIndex => self.kind("LaneIndex", Kind::Int, ty),
            Inst::Fold(op, a) => self.fold(*op, dst, ty, *a),
        }
    }
    fn kind(&mut self, what: impl std::fmt::Display, kind: Kind, ty: Ty) {
        if !kind.has(ty.elem) {
            self.err(format_args!("{what} on {ty}"));
        }
    }
    /// Matrices of two by two.
    fn quads(&mut self, ty: Ty, elems: &[Elem]) {
        if !elems.contains(&ty.elem) || !ty.lanes.is_multiple_of(4) {
            self.err(format_args!("{ty} is no row of matrices of four lanes"));
        }
    }
    fn memory(&mut self, dst: Reg, ty: Ty) {
        if ty.elem == Elem::B1 {
            self.err(format_args!("r{} is loaded, but truth values have no memory form", dst.0));
        }
    }
    fn unary(&mut self, op: UnOp, ty: Ty, a: Reg) {
        let (from, to) = match op {
            UnOp::F16ToF32 | UnOp::Bf16ToF32 => (Elem::I16, Elem::F32),
            UnOp::F32ToF16 | UnOp::F32ToBf16 | UnOp::F32ToBf16Flush => (Elem::F32, Elem::I16),
            _ => (ty.elem, ty.elem),
        };
        self.expect(a, Ty { elem: from, ..ty });
        if ty.elem != to {
            self.err(format_args!("{op:?} gives {to:?}, not {ty}"));
        }
        if let Some(kind) = un_kind(op) {
            self.kind(format_args!("{op:?}"), kind, ty);
        }
    }
    fn compare(&mut self, op: CmpOp, ty: Ty, a: Reg, b: Reg) {
        let Some(t) = self.ty(a) else { return };
        self.expect(b, t);
        if ty != (Ty { elem: Elem::B1, lanes: t.lanes }) {
            self.err(format_args!("a comparison of {t} does not give {ty}"));
        }
        let unsigned = matches!(op, CmpOp::LtU | CmpOp::LeU | CmpOp::GtU | CmpOp::GeU);
        let ordered = !matches!(op, CmpOp::Eq | CmpOp::Ne);
        if (unsigned && t.elem.is_float()) || (ordered && t.elem == Elem::B1) {
            self.err(format_args!("{op:?} on {t}"));
        }
    }
    fn fold(&mut self, op: BinOp, dst: Reg, ty: Ty, a: Reg) {
        use BinOp::*;
        self.expect(dst, Ty { lanes: 1, ..ty });
        if !matches!(op, Add | Mul | Min | Max | MinS | MaxS | MinU | MaxU | And | Or) {
            self.err(format_args!("{op:?} cannot fold lanes"));
        }
        self.kind(format_args!("{op:?}"), bin_kind(op), ty);
        if let Some(t) = self.ty(a) {
            if t.elem != ty.elem {
                self.err(format_args!("a fold of {t} does not give {ty}"));
            }
            if !t.lanes.is_power_of_two() {
                self.err(format_args!("a fold halves the lanes, {} is not a power of two", t.lanes));
            }
        }
    }
}

/// Constants may be written signed or unsigned.
fn fits(v: i64, e: Elem) -> bool {
    let bits = e.bits();
    bits == 64 || (-(1i64 << (bits - 1))..1i64 << bits).contains(&v)
}
