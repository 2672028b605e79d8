//! Assignments and stores of scalars.

use super::compare::Test;
use super::int::view;
use super::{Pending, Select};
use crate::machine::expr::{Memo, compute};
use crate::x86::mir::{Class, Cond, Mem, Opnd, VReg};
use iced_x86::Code;
use sinter_ir::tile::{Addr, BinOp, Buf, Elem, Inst, Reg, Scalar, UnOp};

/// Whether an assignment of scalars can be emitted; the reason where not.
pub fn supports(inst: &Inst) -> Result<(), String> {
    use UnOp::*;
    match inst {
        Inst::Un(Neg | Abs | Not | Ceil | Floor | Trunc | Nearest | Sqrt, _) => Ok(()),
        Inst::Un(op, _) => Err(format!("{op:?} of a scalar")),
        Inst::Bin(op @ (BinOp::Pow | BinOp::Fmod), ..) => Err(format!("{op:?} of scalars")),
        _ => Ok(()),
    }
}

impl Select<'_> {
    /// An assignment in which everything has one lane.
    pub(super) fn scalar(&mut self, dst: Reg, inst: &Inst) {
        let e = self.ty(dst).elem;
        let to = self.dst(dst)[0];
        let float = e.is_float();
        let value = match inst {
            Inst::Const(c) => return self.const_scalar(to, *c, e),
            Inst::Copy(a) | Inst::Splat(a) | Inst::Fold(_, a) | Inst::Lane(a, _) => self.one(*a),
            Inst::Dim(x) => match self.dims.get(x) {
                Some(v) => *v,
                None => compute(self, x, &mut Memo::new()),
            },
            Inst::Un(op, a) if float => self.float_un(*op, e, *a),
            Inst::Un(op, a) => self.int_un(*op, e, *a),
            Inst::Bin(op, a, b) if float => self.float_bin(*op, e, *a, *b),
            Inst::Bin(op, a, b) => self.int_bin(*op, e, *a, *b),
            Inst::Cmp(op, a, b) => self.compare(*op, *a, *b),
            Inst::Select(..) if self.facts.patterns.greater.contains_key(&dst) => {
                let (x, y) = self.facts.patterns.greater[&dst];
                self.float_greater(x, y)
            }
            Inst::Select(c, a, b) if float => self.float_select(*c, *a, *b),
            Inst::Select(c, a, b) => self.int_select(*c, *a, *b, view(e)),
            Inst::MulAdd(a, b, c) if float => self.float_mul_add(e, *a, *b, *c),
            Inst::MulAdd(a, b, c) => {
                let p = self.int_bin(BinOp::Mul, e, *a, *b);
                let z = self.one(*c);
                let t = self.fresh(p, view(e));
                self.alu(BinOp::Add, t, view(e), z);
                t
            }
            Inst::Cvt(op, a) => self.convert_scalar(*op, self.ty(*a).elem, e, *a),
            Inst::Load { buf, at, tail } => {
                let m = self.address(*buf, at, e);
                return self.load_if(to, e, m, *tail);
            }
            Inst::LoadGather { buf, at, index, tail } => {
                let m = self.gather_address(*buf, at, *index, e);
                return self.load_if(to, e, m, *tail);
            }
            Inst::Address(buf) => self.base(*buf),
            Inst::LoadAt(a) => {
                let at = self.one(*a);
                return self.load_plain(to, e, Mem::reg(at));
            }
            // Lane numbers of one lane, and what cannot be without vectors.
            Inst::LaneIndex
            | Inst::Dot2 { .. }
            | Inst::Dot4 { .. }
            | Inst::Mat8 { .. }
            | Inst::Mat4 { .. }
            | Inst::Halves { .. } => self.int(0, false),
        };
        self.f.copy(to, value, if float { 16 } else { view(e) });
    }
    /// Writes a constant.
    fn const_scalar(&mut self, to: VReg, c: Scalar, e: Elem) {
        let m = match c {
            Scalar::F32(v) => self.constant(&v.to_bits().to_le_bytes()),
            Scalar::F64(v) => self.constant(&v.to_bits().to_le_bytes()),
            Scalar::B1(v) => return self.set_int(to, i64::from(v), 4),
            Scalar::Int(v) => return self.set_int(to, v, view(e)),
        };
        self.load_float(to, e, m);
    }
    /// Writes an integer.
    fn set_int(&mut self, to: VReg, v: i64, bytes: u8) {
        let t = self.int(v, bytes == 8);
        self.f.copy(to, t, bytes);
    }
    /// Address of the one element of a gather.
    fn gather_address(&mut self, buf: Buf, at: &Addr, index: Reg, e: Elem) -> Mem {
        let m = self.address(buf, at, e);
        let mut x = self.one(index);
        if self.ty(index).elem == Elem::I32 {
            let t = self.temp(Class::Gpr);
            self.f.op(Code::Movsxd_r64_rm32, &[Opnd::Def(t, 8), Opnd::Use(x, 4)]);
            x = t;
        }
        let scale = e.bytes() as u8;
        if m.index.is_none() {
            return Mem { index: Some((x, scale)), ..m };
        }
        let t = self.temp(Class::Gpr);
        self.f.op(Code::Lea_r64_m, &[Opnd::Def(t, 8), Opnd::Mem(m)]);
        Mem { index: Some((x, scale)), ..Mem::reg(t) }
    }
    /// One element from memory.
    fn load_plain(&mut self, to: VReg, e: Elem, from: Mem) {
        let (code, bytes) = match e {
            Elem::B1 | Elem::I8 => (Code::Movzx_r32_rm8, 4),
            Elem::I16 => (Code::Movzx_r32_rm16, 4),
            Elem::I32 => (Code::Mov_r32_rm32, 4),
            Elem::I64 => (Code::Mov_r64_rm64, 8),
            Elem::F32 | Elem::F64 => return self.load_float(to, e, from),
        };
        self.f.op(code, &[Opnd::Def(to, bytes), Opnd::Mem(from)]);
    }
    /// One element from memory when the tail takes it in, else zero.
    fn load_if(&mut self, to: VReg, e: Elem, from: Mem, tail: Option<Reg>) {
        let Some(tail) = tail else { return self.load_plain(to, e, from) };
        let n = self.one(tail);
        let t = self.temp(if e.is_float() { Class::Vec } else { Class::Gpr });
        let zero = if e.is_float() { self.zero_float() } else { self.int(0, false) };
        let bytes = if e.is_float() { 16 } else { 8 };
        self.f.copy(t, zero, bytes);
        let skip = self.f.label();
        self.compare_imm(n, 8, 0);
        self.f.branch(Cond::LE, skip);
        self.load_plain(t, e, from);
        self.f.bind(skip);
        self.f.copy(to, t, bytes);
    }
    /// A load that was put off.
    pub(super) fn load_scalar(&mut self, r: Reg, from: Mem) {
        let to = self.dst(r)[0];
        self.load_plain(to, self.ty(r).elem, from);
    }
    /// Takes a scalar that is a load as memory.
    pub(super) fn take_load(&mut self, r: Reg) -> Option<Mem> {
        match self.take_pending(r)? {
            Pending::Load(m) => Some(m),
            p => {
                self.pending.insert(r, p);
                None
            }
        }
    }
    /// A store of one lane.
    pub(super) fn store_scalar(&mut self, buf: Buf, at: &Addr, value: Reg, tail: Option<Reg>) {
        let e = self.ty(value).elem;
        let v = self.one(value);
        // In front of the branch: others will use its parts.
        let m = self.address(buf, at, e);
        let skip = tail.map(|t| {
            let n = self.one(t);
            let skip = self.f.label();
            self.compare_imm(n, 8, 0);
            self.f.branch(Cond::LE, skip);
            skip
        });
        match e {
            Elem::F32 | Elem::F64 => self.store_float(v, e, m),
            Elem::B1 | Elem::I8 => self.f.op(Code::Mov_rm8_r8, &[Opnd::Mem(m), Opnd::Use(v, 1)]),
            Elem::I16 => self.f.op(Code::Mov_rm16_r16, &[Opnd::Mem(m), Opnd::Use(v, 2)]),
            Elem::I32 => self.f.op(Code::Mov_rm32_r32, &[Opnd::Mem(m), Opnd::Use(v, 4)]),
            Elem::I64 => self.f.op(Code::Mov_rm64_r64, &[Opnd::Mem(m), Opnd::Use(v, 8)]),
        }
        if let Some(l) = skip {
            self.f.bind(l);
        }
    }
    /// `cond ? a : b` on integers.
    fn int_select(&mut self, cond: Reg, a: Reg, b: Reg, bytes: u8) -> VReg {
        let (x, y) = (self.one(a), self.one(b));
        let test = self.test(cond);
        let t = self.temp(Class::Gpr);
        let (first, moves, other) = match test {
            Test::One(c) => (y, vec![c], x),
            Test::Or(c, d) => (y, vec![c, d], x),
            Test::And(c, d) => (x, vec![c.opposite(), d.opposite()], y),
        };
        self.f.copy(t, first, bytes);
        for c in moves {
            self.f.op(c.cmov(bytes), &[Opnd::UseDef(t, bytes), Opnd::Use(other, bytes)]);
        }
        t
    }
}
