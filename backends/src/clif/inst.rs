//! Right-hand sides: vector forms where there are any, lane by lane otherwise.

use super::kernel::{Emit, scalar, vector};
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32, F32X4, F64, I8, I32, I32X4, I64};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Type, Value};
use sinter_ir::tile::{BinOp, CmpOp, CvtOp, Elem, Inst, Reg, Scalar, Ty, UnOp};

impl Emit<'_, '_> {
    /// Emits an instruction for a destination register.
    pub fn inst(&mut self, dst: Reg, inst: &Inst) -> Vec<Value> {
        let ty = self.ty(dst);
        match inst {
            Inst::Const(s) => self.constant(ty, *s),
            Inst::Copy(a) => self.get(*a),
            Inst::Dim(e) => vec![match self.dims.get(e) {
                Some(&v) => v,
                None => super::expr::emit(&mut self.b, self.syms, e),
            }],
            Inst::Un(op, a) => {
                if let Some(v) = self.map_parts(ty, &[*a], |e, x| e.un_vector(*op, ty.elem, x[0])) {
                    return v;
                }
                self.map_lanes(ty, &[*a], |e, x| e.un_scalar(*op, ty.elem, x[0]))
            }
            Inst::Bin(op @ (BinOp::Shl | BinOp::ShrS | BinOp::ShrU), a, b)
                if self.parts(ty).is_some()
                    && matches!(ty.elem, Elem::I32 | Elem::I16)
                    && self.splats.contains_key(b) =>
            {
                // Vector shifts take one amount for all lanes.
                let by = self.splats.get(b).copied().unwrap_or(0);
                let by = self.b.ins().iconst(I32, by & i64::from(ty.elem.bits() - 1));
                let shift = |e: &mut Self, v| match op {
                    BinOp::Shl => e.b.ins().ishl(v, by),
                    BinOp::ShrS => e.b.ins().sshr(v, by),
                    _ => e.b.ins().ushr(v, by),
                };
                self.get(*a).into_iter().map(|v| shift(self, v)).collect()
            }
            Inst::Bin(op @ (BinOp::DivS | BinOp::RemS), a, b)
                if ty.lanes == 1
                    && matches!(ty.elem, Elem::I32 | Elem::I64)
                    && self.splats.get(b).is_some_and(|by| *by > 0) =>
            {
                let by = self.splats.get(b).copied().unwrap_or(1);
                let x = self.one(*a);
                vec![self.divide_by(*op, ty.elem, x, by)]
            }
            Inst::Bin(op, a, b) => {
                if let Some(v) = self.map_parts(ty, &[*a, *b], |e, x| e.bin_vector(*op, ty.elem, x[0], x[1]))
                {
                    return v;
                }
                self.map_lanes(ty, &[*a, *b], |e, x| e.bin_scalar(*op, ty.elem, x[0], x[1]))
            }
            Inst::Cmp(op, a, b) => self.compare(*op, ty, *a, *b),
            Inst::Select(c, a, b) => self.select(ty, *c, *a, *b),
            Inst::MulAdd(a, b, c) => {
                let f = |e: &mut Self, x: &[Value]| Some(e.mul_add(ty.elem, x[0], x[1], x[2]));
                let vector = ty.elem.is_float() || matches!(ty.elem, Elem::I32 | Elem::I16);
                if let Some(v) = vector.then(|| self.map_parts(ty, &[*a, *b, *c], f)).flatten() {
                    return v;
                }
                self.map_lanes(ty, &[*a, *b, *c], |e, x| e.mul_add(ty.elem, x[0], x[1], x[2]))
            }
            Inst::Dot2 { acc, a, b } => self.map_lanes(ty, &[*acc, *a, *b], |e, x| e.dot2(x[0], x[1], x[2])),
            Inst::Dot4 { acc, a, b, a_signed, b_signed, .. } => {
                self.dot4(ty, *acc, *a, *b, *a_signed, *b_signed)
            }
            // Refused before.
            Inst::Mat8 { acc: a, .. } | Inst::Mat4 { acc: a, .. } | Inst::Halves { a, .. } => self.get(*a),
            Inst::Cvt(op, a) => self.convert(*op, ty, *a),
            Inst::Load { buf, at, tail } => self.load(dst, *buf, at, *tail),
            Inst::LoadGather { buf, at, index, tail } => {
                let (addr, offset) = self.address(*buf, at, ty.elem);
                let wide = self.ty(*index).elem == Elem::I64;
                let index = self.lanes(*index);
                let size = i64::from(ty.elem.bytes());
                self.load_lanes(dst, *tail, &|e, i| {
                    let x = if wide { index[i] } else { e.b.ins().sextend(I64, index[i]) };
                    let x = e.b.ins().imul_imm_s(x, size);
                    (e.b.ins().iadd(addr, x), offset)
                })
            }
            Inst::Address(buf) => vec![self.bases[buf.0 as usize]],
            Inst::LoadAt(a) => {
                let at = self.one(*a);
                let flags = MemFlagsData::new().with_notrap();
                vec![self.b.ins().load(scalar(ty.elem), flags, at, 0)]
            }
            Inst::Splat(a) => {
                let x = self.one(*a);
                match self.parts(ty) {
                    Some(n) if ty.elem != Elem::B1 => vec![self.b.ins().splat(vector(ty.elem), x); n],
                    _ => self.of_lanes(ty, &vec![x; ty.lanes as usize]),
                }
            }
            Inst::Lane(a, i) => {
                let lanes = self.lanes(*a);
                vec![lanes[*i as usize]]
            }
            Inst::LaneIndex => {
                let t = scalar(ty.elem);
                let lanes: Vec<Value> = (0..ty.lanes).map(|i| self.b.ins().iconst(t, i64::from(i))).collect();
                self.of_lanes(ty, &lanes)
            }
            Inst::Fold(op, a) => self.fold(*op, *a),
        }
    }
    /// Zero of a scalar type.
    pub fn zero(&mut self, t: Type) -> Value {
        match t {
            F32 => self.b.ins().f32const(0.0),
            F64 => self.b.ins().f64const(0.0),
            t => self.b.ins().iconst(t, 0),
        }
    }
    fn constant(&mut self, ty: Ty, s: Scalar) -> Vec<Value> {
        if let (Some(n), true) = (self.parts(ty), s.is_zero()) {
            let zero = self.b.func.dfg.constants.insert(vec![0; 16].into());
            return vec![self.b.ins().vconst(vector(ty.elem), zero); n];
        }
        let x = match s {
            Scalar::B1(v) => self.b.ins().iconst(I8, i64::from(v)),
            Scalar::Int(v) => {
                let bits = ty.elem.bits();
                let v = if bits < 64 { v & ((1i64 << bits) - 1) } else { v };
                self.b.ins().iconst(scalar(ty.elem), v)
            }
            Scalar::F32(v) => self.b.ins().f32const(v),
            Scalar::F64(v) => self.b.ins().f64const(v),
        };
        match self.parts(ty) {
            Some(n) if ty.elem != Elem::B1 => vec![self.b.ins().splat(vector(ty.elem), x); n],
            _ => self.of_lanes(ty, &vec![x; ty.lanes as usize]),
        }
    }
    /// Part by part, when all operands have the parts of the result and `f` has a vector form.
    fn map_parts(
        &mut self,
        ty: Ty,
        operands: &[Reg],
        f: impl Fn(&mut Self, &[Value]) -> Option<Value>,
    ) -> Option<Vec<Value>> {
        let n = self.parts(ty)?;
        let values: Vec<Vec<Value>> = operands.iter().map(|&r| self.get(r)).collect();
        if values.iter().any(|v| v.len() != n) {
            return None;
        }
        (0..n).map(|i| f(self, &values.iter().map(|v| v[i]).collect::<Vec<_>>())).collect()
    }
    /// Lane by lane.
    fn map_lanes(
        &mut self,
        ty: Ty,
        operands: &[Reg],
        f: impl Fn(&mut Self, &[Value]) -> Value,
    ) -> Vec<Value> {
        let values: Vec<Vec<Value>> = operands.iter().map(|&r| self.lanes(r)).collect();
        let out: Vec<Value> = (0..ty.lanes as usize)
            .map(|i| f(self, &values.iter().map(|v| v[i.min(v.len() - 1)]).collect::<Vec<_>>()))
            .collect();
        self.of_lanes(ty, &out)
    }

    fn un_vector(&mut self, op: UnOp, e: Elem, x: Value) -> Option<Value> {
        Some(match (op, e.is_float()) {
            (UnOp::Neg, true) => self.b.ins().fneg(x),
            (UnOp::Neg, false) if e != Elem::B1 => self.b.ins().ineg(x),
            (UnOp::Abs, true) => self.b.ins().fabs(x),
            (UnOp::Not, false) => self.b.ins().bnot(x),
            (UnOp::Sqrt, true) => self.b.ins().sqrt(x),
            (UnOp::Ceil, true) => self.b.ins().ceil(x),
            (UnOp::Floor, true) => self.b.ins().floor(x),
            (UnOp::Trunc, true) => self.b.ins().trunc(x),
            (UnOp::Nearest, true) => self.b.ins().nearest(x),
            _ => return None,
        })
    }
    fn un_scalar(&mut self, op: UnOp, e: Elem, x: Value) -> Value {
        match (op, e) {
            (UnOp::Not, Elem::B1) => self.b.ins().bxor_imm_s(x, 1),
            (UnOp::Abs, e) if !e.is_float() => {
                let n = self.b.ins().ineg(x);
                let low = self.b.ins().icmp_imm_s(IntCC::SignedLessThan, x, 0);
                self.b.ins().select(low, n, x)
            }
            _ => self.un_vector(op, e, x).unwrap_or(x),
        }
    }

    fn bin_vector(&mut self, op: BinOp, e: Elem, x: Value, y: Value) -> Option<Value> {
        let b = self.b.ins();
        Some(match (op, e) {
            (BinOp::Add, Elem::F32 | Elem::F64) => b.fadd(x, y),
            (BinOp::Sub, Elem::F32 | Elem::F64) => b.fsub(x, y),
            (BinOp::Mul, Elem::F32 | Elem::F64) => b.fmul(x, y),
            (BinOp::Div, _) => b.fdiv(x, y),
            (BinOp::Min, _) => b.fmin(x, y),
            (BinOp::Max, _) => b.fmax(x, y),
            (BinOp::Add, e) if e != Elem::B1 => b.iadd(x, y),
            (BinOp::Sub, e) if e != Elem::B1 => b.isub(x, y),
            (BinOp::Mul, Elem::I16 | Elem::I32) => b.imul(x, y),
            (BinOp::And, _) => b.band(x, y),
            (BinOp::Or, _) => b.bor(x, y),
            (BinOp::Xor, _) => b.bxor(x, y),
            (BinOp::MinS, Elem::I8 | Elem::I16 | Elem::I32) => b.smin(x, y),
            (BinOp::MaxS, Elem::I8 | Elem::I16 | Elem::I32) => b.smax(x, y),
            (BinOp::MinU, Elem::I8 | Elem::I16 | Elem::I32) => b.umin(x, y),
            (BinOp::MaxU, Elem::I8 | Elem::I16 | Elem::I32) => b.umax(x, y),
            _ => return None,
        })
    }
    fn bin_scalar(&mut self, op: BinOp, e: Elem, x: Value, y: Value) -> Value {
        use BinOp::*;
        match op {
            Add | Sub | Div | Min | Max | And | Or | Xor => self.bin_vector(op, e, x, y).unwrap_or(x),
            Mul if e.is_float() => self.b.ins().fmul(x, y),
            // Narrow integers go through 32 bits: not every operation exists below.
            _ if matches!(e, Elem::I8 | Elem::I16) => {
                let unsigned = matches!(op, DivU | RemU | MinU | MaxU | ShrU);
                let wide = |s: &mut Self, v| {
                    if unsigned { s.b.ins().uextend(I32, v) } else { s.b.ins().sextend(I32, v) }
                };
                let y = if matches!(op, Shl | ShrS | ShrU) {
                    self.b.ins().band_imm_u(y, i64::from(e.bits() - 1))
                } else {
                    y
                };
                let (x, y) = (wide(self, x), wide(self, y));
                let r = self.bin_scalar(op, Elem::I32, x, y);
                self.b.ins().ireduce(scalar(e), r)
            }
            Mul => self.b.ins().imul(x, y),
            MinS => self.b.ins().smin(x, y),
            MaxS => self.b.ins().smax(x, y),
            MinU => self.b.ins().umin(x, y),
            MaxU => self.b.ins().umax(x, y),
            Shl => self.b.ins().ishl(x, y),
            ShrS => self.b.ins().sshr(x, y),
            ShrU => self.b.ins().ushr(x, y),
            DivS | DivU | RemS | RemU => self.divide(op, e, x, y),
            Pow | Fmod | Scale => x,
        }
    }
    /// Division that cannot trap: by zero gives 0, `MIN / -1` gives `MIN`.
    fn divide(&mut self, op: BinOp, e: Elem, x: Value, y: Value) -> Value {
        let t = scalar(e);
        let none = self.b.ins().icmp_imm_s(IntCC::Equal, y, 0);
        let one = self.b.ins().iconst(t, 1);
        let zero = self.b.ins().iconst(t, 0);
        let signed = matches!(op, BinOp::DivS | BinOp::RemS);
        let minus = self.b.ins().icmp_imm_s(IntCC::Equal, y, -1);
        let skip = if signed { self.b.ins().bor(none, minus) } else { none };
        let safe = self.b.ins().select(skip, one, y);
        let (r, by_minus) = match op {
            BinOp::DivS => (self.b.ins().sdiv(x, safe), Some(self.b.ins().ineg(x))),
            BinOp::RemS => (self.b.ins().srem(x, safe), Some(zero)),
            BinOp::DivU => (self.b.ins().udiv(x, safe), None),
            _ => (self.b.ins().urem(x, safe), None),
        };
        let r = by_minus.map_or(r, |m| self.b.ins().select(minus, m, r));
        self.b.ins().select(none, zero, r)
    }
    /// Division by a positive constant: shifts where they do.
    fn divide_by(&mut self, op: BinOp, e: Elem, x: Value, by: i64) -> Value {
        let bits = i64::from(e.bits());
        if by & (by - 1) != 0 {
            let y = self.b.ins().iconst(scalar(e), by);
            return if op == BinOp::DivS { self.b.ins().sdiv(x, y) } else { self.b.ins().srem(x, y) };
        }
        // Negative dividends round towards zero: they get `by - 1` first.
        let sign = self.b.ins().sshr_imm_u(x, bits - 1);
        let bias = self.b.ins().band_imm_s(sign, by - 1);
        let sum = self.b.ins().iadd(x, bias);
        if op == BinOp::DivS {
            return self.b.ins().sshr_imm_u(sum, i64::from(by.trailing_zeros()));
        }
        let low = self.b.ins().band_imm_s(sum, by - 1);
        self.b.ins().isub(low, bias)
    }
    fn mul_add(&mut self, e: Elem, x: Value, y: Value, z: Value) -> Value {
        if !e.is_float() {
            let p = self.b.ins().imul(x, y);
            return self.b.ins().iadd(p, z);
        }
        if self.fma {
            return self.b.ins().fma(x, y, z);
        }
        let p = self.b.ins().fmul(x, y);
        self.b.ins().fadd(p, z)
    }

    fn compare(&mut self, op: CmpOp, ty: Ty, a: Reg, b: Reg) -> Vec<Value> {
        let e = self.ty(a).elem;
        if matches!(e, Elem::F32 | Elem::I32) && self.parts(ty).is_some() {
            let (x, y) = (self.get(a), self.get(b));
            return x
                .into_iter()
                .zip(y)
                .map(|(x, y)| {
                    let (x, y) = (self.in_register(e, x), self.in_register(e, y));
                    self.compare_one(op, e, x, y)
                })
                .collect();
        }
        self.map_lanes(ty, &[a, b], |s, x| s.compare_one(op, e, x[0], x[1]))
    }
    /// Keeps a load from becoming the memory operand of a comparison: Cranelift 0.135 takes cmpps for an instruction
    /// that accepts unaligned memory, which it does only in its VEX form.
    fn in_register(&mut self, e: Elem, v: Value) -> Value {
        if self.vex || e != Elem::F32 {
            return v;
        }
        let bits = self.b.ins().bitcast(I32X4, little(), v);
        self.b.ins().bitcast(F32X4, little(), bits)
    }
    fn compare_one(&mut self, op: CmpOp, e: Elem, x: Value, y: Value) -> Value {
        if e.is_float() {
            let cc = match op {
                CmpOp::Eq => FloatCC::Equal,
                CmpOp::Ne => FloatCC::NotEqual,
                CmpOp::Lt | CmpOp::LtU => FloatCC::LessThan,
                CmpOp::Le | CmpOp::LeU => FloatCC::LessThanOrEqual,
                CmpOp::Gt | CmpOp::GtU => FloatCC::GreaterThan,
                CmpOp::Ge | CmpOp::GeU => FloatCC::GreaterThanOrEqual,
            };
            let r = self.b.ins().fcmp(cc, x, y);
            // Vector comparisons give integer masks of the lane width.
            return r;
        }
        let cc = match op {
            CmpOp::Eq => IntCC::Equal,
            CmpOp::Ne => IntCC::NotEqual,
            CmpOp::Lt => IntCC::SignedLessThan,
            CmpOp::Le => IntCC::SignedLessThanOrEqual,
            CmpOp::Gt => IntCC::SignedGreaterThan,
            CmpOp::Ge => IntCC::SignedGreaterThanOrEqual,
            CmpOp::LtU => IntCC::UnsignedLessThan,
            CmpOp::LeU => IntCC::UnsignedLessThanOrEqual,
            CmpOp::GtU => IntCC::UnsignedGreaterThan,
            CmpOp::GeU => IntCC::UnsignedGreaterThanOrEqual,
        };
        self.b.ins().icmp(cc, x, y)
    }
    fn select(&mut self, ty: Ty, c: Reg, a: Reg, b: Reg) -> Vec<Value> {
        let one = self.ty(c).lanes == 1;
        if one {
            let cond = self.one(c);
            let (x, y) = (self.get(a), self.get(b));
            return x.into_iter().zip(y).map(|(x, y)| self.b.ins().select(cond, x, y)).collect();
        }
        let masked = matches!(ty.elem, Elem::F32 | Elem::I32 | Elem::B1) && self.parts(ty).is_some();
        if masked {
            let (m, x, y) = (self.get(c), self.get(a), self.get(b));
            let as_int = |s: &mut Self, v: Value| match ty.elem {
                Elem::F32 => s.b.ins().bitcast(I32X4, little(), v),
                _ => v,
            };
            return (0..m.len())
                .map(|i| {
                    let (p, q) = (as_int(self, x[i]), as_int(self, y[i]));
                    let r = self.b.ins().bitselect(m[i], p, q);
                    if ty.elem == Elem::F32 { self.b.ins().bitcast(F32X4, little(), r) } else { r }
                })
                .collect();
        }
        self.map_lanes(ty, &[c, a, b], |s, x| s.b.ins().select(x[0], x[1], x[2]))
    }

    fn convert(&mut self, op: CvtOp, ty: Ty, a: Reg) -> Vec<Value> {
        let from = self.ty(a);
        if let Some(v) = self.convert_parts(op, ty, from, a) {
            return v;
        }
        self.map_lanes(ty, &[a], |s, x| s.convert_one(op, from.elem, ty.elem, x[0]))
    }
    fn convert_parts(&mut self, op: CvtOp, ty: Ty, from: Ty, a: Reg) -> Option<Vec<Value>> {
        let n = self.parts(ty)?;
        let x = self.get(a);
        if self.parts(from)? != n {
            return None;
        }
        let f = |s: &mut Self, v: Value| -> Option<Value> {
            Some(match (op, from.elem, ty.elem) {
                (CvtOp::SToF, Elem::I32, Elem::F32) => s.b.ins().fcvt_from_sint(F32X4, v),
                (CvtOp::FToS, Elem::F32, Elem::I32) => s.b.ins().fcvt_to_sint_sat(I32X4, v),
                (CvtOp::Bits, ..) => s.b.ins().bitcast(vector(ty.elem), little(), v),
                (CvtOp::SExt, Elem::B1, Elem::I32) => v,
                (CvtOp::ZExt, Elem::B1, Elem::I32) => s.b.ins().ineg(v),
                _ => return None,
            })
        };
        x.into_iter().map(|v| f(self, v)).collect()
    }
    fn convert_one(&mut self, op: CvtOp, from: Elem, to: Elem, x: Value) -> Value {
        let t = scalar(to);
        let same = scalar(from) == t;
        match op {
            CvtOp::SExt if from == Elem::B1 => {
                let wide = if same { x } else { self.b.ins().uextend(t, x) };
                self.b.ins().ineg(wide)
            }
            CvtOp::SExt | CvtOp::ZExt | CvtOp::Narrow if same => x,
            CvtOp::SExt => self.b.ins().sextend(t, x),
            CvtOp::ZExt => self.b.ins().uextend(t, x),
            CvtOp::Narrow => self.b.ins().ireduce(t, x),
            CvtOp::SToF => {
                let x = if matches!(from, Elem::I8 | Elem::I16) { self.b.ins().sextend(I32, x) } else { x };
                self.b.ins().fcvt_from_sint(t, x)
            }
            CvtOp::UToF => {
                let x = if matches!(from, Elem::I8 | Elem::I16) { self.b.ins().uextend(I32, x) } else { x };
                self.b.ins().fcvt_from_uint(t, x)
            }
            CvtOp::FToS => self.b.ins().fcvt_to_sint_sat(t, x),
            CvtOp::FToU => self.b.ins().fcvt_to_uint_sat(t, x),
            CvtOp::FToF if same => x,
            CvtOp::FToF if to == Elem::F64 => self.b.ins().fpromote(t, x),
            CvtOp::FToF => self.b.ins().fdemote(t, x),
            CvtOp::Bits if same => x,
            CvtOp::Bits => self.b.ins().bitcast(t, MemFlagsData::new(), x),
        }
    }
    /// Bytes of a register: its lanes, or those of its words from the lowest on.
    fn bytes(&mut self, r: Reg) -> Vec<Value> {
        let lanes = self.lanes(r);
        if self.ty(r).elem != Elem::I32 {
            return lanes;
        }
        let mut out = Vec::new();
        for v in lanes {
            for at in [0, 8, 16, 24] {
                let x = self.b.ins().ushr_imm_u(v, at);
                out.push(self.b.ins().ireduce(I8, x));
            }
        }
        out
    }
    fn dot4(&mut self, ty: Ty, acc: Reg, a: Reg, b: Reg, a_signed: bool, b_signed: bool) -> Vec<Value> {
        let (acc, a, b) = (self.lanes(acc), self.bytes(a), self.bytes(b));
        let mut out = Vec::new();
        for (i, mut sum) in acc.into_iter().enumerate() {
            for j in 4 * i..4 * i + 4 {
                let wide = |s: &mut Self, v, signed| {
                    if signed { s.b.ins().sextend(I32, v) } else { s.b.ins().uextend(I32, v) }
                };
                let (x, y) = (wide(self, a[j], a_signed), wide(self, b[j], b_signed));
                let p = self.b.ins().imul(x, y);
                sum = self.b.ins().iadd(sum, p);
            }
            out.push(sum);
        }
        self.of_lanes(ty, &out)
    }
    /// Pairwise halves, as TileIR says.
    fn fold(&mut self, op: BinOp, a: Reg) -> Vec<Value> {
        let e = self.ty(a).elem;
        let mut lanes = self.lanes(a);
        while lanes.len() > 1 {
            let half = lanes.len() / 2;
            lanes = (0..half).map(|i| self.bin_scalar(op, e, lanes[i], lanes[i + half])).collect();
        }
        lanes
    }
}

fn little() -> MemFlagsData {
    MemFlagsData::new().with_endianness(cranelift_codegen::ir::Endianness::Little)
}
