//! Small steps that everything else is made of: operands, instructions, constants.

use super::codes::{V, X};
use crate::x86::mir::{Base, Class, Mem, Opnd, VReg};
use crate::x86::select::{Part, Pending, Select};
use iced_x86::Code;
use sinter_ir::tile::{Reg, Scalar, Ty};

/// The last operand of an instruction.
#[derive(Debug, Clone, Copy)]
pub enum Src {
    /// In a register.
    Reg(VReg),
    /// In memory.
    Mem(Mem),
    /// One element in memory, for every lane; only with AVX-512 and elements of 32 or 64 bits.
    Bcast(Mem),
}

impl From<VReg> for Src {
    fn from(r: VReg) -> Self {
        Src::Reg(r)
    }
}

impl Src {
    /// As an operand of that many bytes.
    pub fn opnd(self, bytes: u8) -> Opnd {
        match self {
            Src::Reg(r) => Opnd::Use(r, bytes),
            Src::Mem(m) => Opnd::Mem(m),
            Src::Bcast(m) => Opnd::Bcast(m),
        }
    }
    /// Lies in memory.
    pub fn is_memory(self) -> bool {
        !matches!(self, Src::Reg(_))
    }
}

/// Selection of vectors: [`Select`] with methods of its own.
pub struct Vx<'a, 'k>(pub &'a mut Select<'k>);

impl<'k> std::ops::Deref for Vx<'_, 'k> {
    type Target = Select<'k>;
    fn deref(&self) -> &Select<'k> {
        self.0
    }
}

impl<'k> std::ops::DerefMut for Vx<'_, 'k> {
    fn deref_mut(&mut self) -> &mut Select<'k> {
        self.0
    }
}

impl Vx<'_, '_> {
    /// A fresh vector register.
    pub fn vec(&mut self) -> VReg {
        self.temp(Class::Vec)
    }
    /// A fresh integer register.
    pub fn gpr(&mut self) -> VReg {
        self.temp(Class::Gpr)
    }
    /// A fresh mask register.
    pub fn mask(&mut self) -> VReg {
        self.temp(Class::Mask)
    }
    /// An instruction at a width.
    pub fn v(&mut self, op: V, n: u8, opnds: &[Opnd]) {
        debug_assert!(matches!(n, 16 | 32 | 64), "{op:?} of {n} bytes");
        let code = op.code(self.isa, n);
        self.f.op(code, opnds);
    }
    /// `d = op(a)`.
    pub fn v1(&mut self, op: V, n: u8, d: VReg, a: impl Into<Src>) {
        self.v(op, n, &[Opnd::Def(d, n), a.into().opnd(n)]);
    }
    /// `d = op(a, imm)`.
    pub fn v1i(&mut self, op: V, n: u8, d: VReg, a: impl Into<Src>, imm: i64) {
        self.v(op, n, &[Opnd::Def(d, n), a.into().opnd(n), Opnd::Imm(imm)]);
    }
    /// `d = op(a, b)`.
    pub fn v2(&mut self, op: V, n: u8, d: VReg, a: VReg, b: impl Into<Src>) {
        self.v(op, n, &[Opnd::Def(d, n), Opnd::Use(a, n), b.into().opnd(n)]);
    }
    /// `d = op(a, b, imm)`.
    pub fn v2i(&mut self, op: V, n: u8, d: VReg, a: VReg, b: impl Into<Src>, imm: i64) {
        self.v(op, n, &[Opnd::Def(d, n), Opnd::Use(a, n), b.into().opnd(n), Opnd::Imm(imm)]);
    }
    /// `op(a)` in a fresh register.
    pub fn new1(&mut self, op: V, n: u8, a: impl Into<Src>) -> VReg {
        let d = self.vec();
        self.v1(op, n, d, a);
        d
    }
    /// `op(a, imm)` in a fresh register.
    pub fn new1i(&mut self, op: V, n: u8, a: impl Into<Src>, imm: i64) -> VReg {
        let d = self.vec();
        self.v1i(op, n, d, a, imm);
        d
    }
    /// `op(a, b)` in a fresh register.
    pub fn new2(&mut self, op: V, n: u8, a: VReg, b: impl Into<Src>) -> VReg {
        let d = self.vec();
        self.v2(op, n, d, a, b);
        d
    }
    /// `d = blend(no, yes)` by a vector mask of full lanes; AVX2.
    pub fn blend(&mut self, n: u8, d: VReg, mask: VReg, yes: impl Into<Src>, no: VReg) {
        self.v(V::Blendvb, n, &[Opnd::Def(d, n), Opnd::Use(no, n), yes.into().opnd(n), Opnd::Use(mask, n)]);
    }
    /// An instruction on an xmm register; operands as they are.
    pub fn x(&mut self, op: X, opnds: &[Opnd]) {
        let code = op.code(self.isa);
        self.f.op(code, opnds);
    }
    /// A plain instruction.
    pub fn op(&mut self, code: Code, opnds: &[Opnd]) {
        self.f.op(code, opnds);
    }
    /// All bits zero. The operands are not read, so none of them is a use.
    pub fn zero(&mut self, n: u8, d: VReg) {
        self.v(V::Xor, n, &[Opnd::Def(d, n), Opnd::Def(d, n), Opnd::Def(d, n)]);
    }
    /// All bits one.
    pub fn ones(&mut self, n: u8, d: VReg) {
        let same = Opnd::Def(d, n);
        if self.isa.avx512 {
            self.v(V::Ternlogd, n, &[same, same, same, Opnd::Imm(0xff)]);
        } else {
            self.v(V::Eqd, n, &[same, same, same]);
        }
    }
    /// A fresh zero.
    pub fn new_zero(&mut self, n: u8) -> VReg {
        let d = self.vec();
        self.zero(n, d);
        d
    }
    /// A 32-bit constant in every lane, for `n` bytes.
    pub fn c32(&mut self, v: u32, n: u8) -> Src {
        self.splat_const(&v.to_le_bytes(), n)
    }
    /// A 64-bit constant in every lane, for `n` bytes.
    pub fn c64(&mut self, v: u64, n: u8) -> Src {
        self.splat_const(&v.to_le_bytes(), n)
    }
    /// A constant of `width` bytes in every lane, for operations on lanes of that width.
    pub fn c(&mut self, width: u32, v: u64, n: u8) -> Src {
        match width {
            1 => self.pattern(&[v as u8], n),
            2 => self.pattern(&(v as u16).to_le_bytes(), n),
            4 => self.c32(v as u32, n),
            _ => self.c64(v, n),
        }
    }
    fn splat_const(&mut self, bytes: &[u8], n: u8) -> Src {
        if self.isa.avx512 {
            return Src::Bcast(self.f.pool(bytes, bytes.len()).into());
        }
        self.pattern(bytes, n)
    }
    /// A repeated pattern of bytes, whole in memory.
    pub fn pattern(&mut self, bytes: &[u8], n: u8) -> Src {
        let all: Vec<u8> = bytes.iter().copied().cycle().take(n.into()).collect();
        Src::Mem(self.f.pool(&all, n.into()).into())
    }
    /// A memory operand in a register; `width` is that of the element that `Bcast` repeats.
    pub fn in_reg(&mut self, s: Src, width: u32, n: u8) -> VReg {
        let d = match s {
            Src::Reg(r) => return r,
            _ => self.vec(),
        };
        match s {
            Src::Reg(_) => {}
            Src::Mem(m) => self.v1(V::Movdqu, n, d, Src::Mem(m)),
            Src::Bcast(m) => self.broadcast(width, n, d, Src::Mem(m)),
        }
        d
    }
    /// A constant in a register.
    pub fn c_reg(&mut self, width: u32, v: u64, n: u8) -> VReg {
        let c = self.c(width, v, n);
        self.in_reg(c, width, n)
    }
    /// The lowest element in every lane.
    pub fn broadcast(&mut self, width: u32, n: u8, d: VReg, a: Src) {
        let op = match width {
            1 => V::Broadcastb,
            2 => V::Broadcastw,
            4 => V::Broadcastd,
            _ => V::Broadcastq,
        };
        self.v(op, n, &[Opnd::Def(d, n), a.opnd(16)]);
    }
    /// A copy.
    pub fn mov(&mut self, d: VReg, a: VReg, n: u8) {
        if d != a {
            self.f.copy(d, a, n);
        }
    }
    /// A 64-bit integer.
    pub fn int(&mut self, v: i64) -> VReg {
        self.0.int(v, true)
    }
    /// The integer that every lane of a register holds wherever it is read.
    pub fn int_const(&self, r: Reg) -> Option<i64> {
        match self.const_of(r)? {
            Scalar::Int(v) => Some(v),
            _ => None,
        }
    }
    /// The float that every lane of a register holds wherever it is read.
    pub fn float_const(&self, r: Reg) -> Option<f64> {
        match self.const_of(r)? {
            Scalar::F32(v) => Some(v.into()),
            Scalar::F64(v) => Some(v),
            _ => None,
        }
    }
    /// Whether this is probably the last use of a value.
    pub fn dies(&self, r: Reg) -> bool {
        self.reads(r) == 1 && self.const_of(r).is_none()
    }
    /// Address with neither index nor displacement.
    pub fn lea(&mut self, m: Mem) -> VReg {
        if let Mem { base: Base::Reg(r), index: None, disp: 0 } = m {
            return r;
        }
        let d = self.gpr();
        self.op(Code::Lea_r64_m, &[Opnd::Def(d, 8), Opnd::Mem(m)]);
        d
    }
    /// A register's parts as operands: memory where a pending load can be one.
    pub fn operand(&mut self, r: Reg) -> Vec<Src> {
        let ty = self.ty(r);
        match self.take_pending(r) {
            Some(Pending::Load(m)) => {
                let parts = self.layout(ty);
                parts.iter().map(|p| self.part_in_memory(ty, p, m.plus(p.at(ty.elem)))).collect()
            }
            Some(Pending::Splat(m)) => {
                let parts = self.layout(ty);
                let width = ty.elem.bytes();
                if self.isa.avx512 && width >= 4 {
                    return vec![Src::Bcast(m); parts.len()];
                }
                let d = self.vec();
                self.broadcast(width, parts.first().map_or(16, |p| p.bytes), d, Src::Mem(m));
                vec![Src::Reg(d); parts.len()]
            }
            None => self.parts(r).into_iter().map(Src::Reg).collect(),
        }
    }
    /// A part that lies in memory, loaded where it does not fill its register.
    fn part_in_memory(&mut self, ty: Ty, p: &Part, m: Mem) -> Src {
        let bytes = u32::from(p.lanes) * ty.elem.bytes();
        if bytes == u32::from(p.bytes) {
            return Src::Mem(m);
        }
        let d = self.vec();
        self.load_low(d, m, bytes);
        Src::Reg(d)
    }
}
