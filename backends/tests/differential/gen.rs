//! Random kernels over every construct and type of TileIR.
//!
//! Results of float operations are made canonical where they are NaN: TileIR does not say which NaN an operation gives,
//! and bits of a NaN may travel through integer operations.

use crate::rng::Rng;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{
    Access, Addr, BinOp, Bound, Buf, CmpOp, CvtOp, Elem, Inst, Kernel, LoopKind, Reg, Scalar, Stmt, Ty,
};
use sinter_ir::{Expr, Sym};

/// Bytes of each buffer.
pub const BYTES: usize = 8192;
/// Symbols.
pub const SYMS: usize = 3;

/// Elements of memory.
pub const NUMBERS: [Elem; 6] = [Elem::I8, Elem::I16, Elem::I32, Elem::I64, Elem::F32, Elem::F64];
pub const INTS: [Elem; 4] = [Elem::I8, Elem::I16, Elem::I32, Elem::I64];
pub const FLOATS: [Elem; 2] = [Elem::F32, Elem::F64];
/// Registers that are stored at the end.
const LAST: usize = 8;
/// The largest of `LANES`.
const MOST_LANES: usize = 32;
const LANES: [u16; 12] = [1, 1, 1, 2, 3, 4, 4, 5, 8, 8, 16, 32];

pub struct Gen {
    pub rng: Rng,
    pub b: KernelBuilder,
    input: Buf,
    output: Buf,
    /// Both read and written.
    both: Buf,
    /// Registers assigned on every path to here.
    live: Vec<Reg>,
    /// Loop variables around: small and not negative.
    vars: Vec<Reg>,
    left: usize,
    depth: usize,
    /// Whether symbols may be set and the kernel may fail.
    serial: bool,
    /// Scalars only: such kernels are compiled with the optimiser.
    pub scalar: bool,
}

/// The buffers of every kernel: read, written, both.
pub fn buffers(b: &mut KernelBuilder) -> (Buf, Buf, Buf) {
    let mut buf = |name, access| b.buf(name, access, BYTES.into());
    (buf("in", Access::Read), buf("out", Access::Write), buf("both", Access::ReadWrite))
}

/// A random kernel of about `size` instructions: buffers are input, output, both.
pub fn kernel(seed: u64, size: usize) -> Kernel {
    let mut b = KernelBuilder::new(format!("random_{seed}"));
    let (input, output, both) = buffers(&mut b);
    let mut g = Gen {
        rng: Rng(seed),
        b,
        input,
        output,
        both,
        live: vec![],
        vars: vec![],
        left: size,
        depth: 0,
        serial: true,
        scalar: seed % 4 == 3,
    };
    while g.left > 0 {
        g.stmt();
    }
    for i in 0..LAST {
        g.store_last(i);
    }
    g.b.finish()
}

/// A kernel with a parallel loop over `n` whose iterations write apart.
pub fn parallel(seed: u64, size: usize, n: &Expr) -> Kernel {
    let mut b = KernelBuilder::new(format!("parallel_{seed}"));
    let (input, output, both) = buffers(&mut b);
    let mut g = Some(Gen {
        rng: Rng(seed),
        b: KernelBuilder::new(""),
        input,
        output,
        both,
        live: vec![],
        vars: vec![],
        left: 0,
        depth: 1,
        serial: false,
        scalar: seed % 4 == 3,
    });
    b.parallel(n, |b, i| {
        let Some(mut g) = g.take() else { return };
        std::mem::swap(&mut g.b, b);
        g.live.push(i);
        g.vars.push(i);
        g.left = size;
        while g.left > 0 {
            g.stmt();
        }
        let ty = g.ty();
        let v = g.value(ty);
        g.store_apart(i, v);
        std::mem::swap(&mut g.b, b);
    });
    b.finish()
}

/// Random bytes, floats among them.
pub fn bytes(rng: &mut Rng) -> Vec<u8> {
    let mut out = Vec::new();
    while out.len() < BYTES {
        match rng.below(4) {
            0 => out.extend(rng.float().to_le_bytes()),
            1 => (0..2).for_each(|_| out.extend((rng.float() as f32).to_le_bytes())),
            2 => out.extend(rng.int().to_le_bytes()),
            _ => out.extend(rng.next().to_le_bytes()),
        }
    }
    out
}

/// A random expression over the symbols.
pub fn expr(rng: &mut Rng, depth: usize) -> Expr {
    let pick = if depth == 0 { rng.below(2) } else { rng.below(9) };
    let sub = |rng: &mut Rng| expr(rng, depth - 1);
    match pick {
        0 => rng.within(-7, 7).into(),
        1 => Sym(rng.below(SYMS) as u32).into(),
        2 => sub(rng) + sub(rng),
        3 => sub(rng) * sub(rng),
        4 => sub(rng).div(&sub(rng)),
        5 => sub(rng).modulo(&sub(rng)),
        6 => sub(rng).min_of(&sub(rng)),
        7 => sub(rng).max_of(&sub(rng)),
        _ => Expr::select_ge0(&sub(rng), &sub(rng), &sub(rng)),
    }
}

impl Gen {
    pub fn lanes(&mut self) -> u16 {
        if self.scalar { 1 } else { self.rng.pick(&LANES) }
    }
    pub fn ty(&mut self) -> Ty {
        let elem = if self.rng.once_in(8) { Elem::B1 } else { self.rng.pick(&NUMBERS) };
        Ty { elem, lanes: self.lanes() }
    }
    /// A live register of a type, or a new one.
    pub fn value(&mut self, ty: Ty) -> Reg {
        let found: Vec<Reg> = self.live.iter().copied().filter(|&r| self.b.ty(r) == ty).collect();
        if !found.is_empty() && !self.rng.once_in(4) {
            return self.rng.pick(&found);
        }
        let r = self.fresh(ty);
        self.live.push(r);
        r
    }
    /// A constant or a load.
    fn fresh(&mut self, ty: Ty) -> Reg {
        let r = self.b.reg(ty.elem, ty.lanes);
        if ty.elem == Elem::B1 {
            if ty.lanes == 1 || self.rng.once_in(3) {
                let s = Scalar::B1(self.rng.once_in(2));
                self.b.set(r, Inst::Const(s));
            } else {
                let wide = Ty { elem: self.rng.pick(&NUMBERS), lanes: ty.lanes };
                let (x, y) = (self.fresh(wide), self.fresh(wide));
                self.b.set(r, Inst::Cmp(CmpOp::Lt, x, y));
            }
        } else if self.rng.once_in(3) {
            let s = match ty.elem {
                Elem::F32 => Scalar::F32(self.rng.float() as f32),
                Elem::F64 => Scalar::F64(self.rng.float()),
                e => Scalar::Int(self.rng.int() << (64 - e.bits()) >> (64 - e.bits())),
            };
            self.b.set(r, Inst::Const(s));
        } else {
            let inst = self.load(ty);
            self.b.set(r, inst);
        }
        r
    }
    fn i64(&mut self) -> Reg {
        self.value(Ty { elem: Elem::I64, lanes: 1 })
    }
    /// `value & mask`, not negative.
    fn masked(&mut self, ty: Ty, mask: i64) -> Reg {
        let x = self.value(ty);
        let m = self.b.int(ty.elem, ty.lanes, mask);
        self.b.bin(BinOp::And, x, m)
    }
    /// An address such that everything up to `lanes + 64` elements from it is inside.
    fn addr(&mut self, e: Elem, lanes: u16) -> Addr {
        let room = (BYTES / e.bytes() as usize) as i64 - i64::from(lanes) - 64;
        let mut at = Addr::at(self.rng.within(0, room / 2));
        let mut left = room / 2;
        for _ in 0..self.rng.below(3) {
            let (r, most) = match self.vars.last() {
                Some(&v) if !self.rng.once_in(3) => (v, 32),
                _ => (self.masked(Ty { elem: Elem::I64, lanes: 1 }, 7), 7),
            };
            let scale = self.rng.pick(&[1, 1, 2, 3, 4, 8, 12]);
            if most * scale < left {
                left -= most * scale;
                at = at.plus(r, scale);
            }
        }
        at
    }
    fn tail(&mut self, lanes: u16) -> Option<Reg> {
        self.rng.once_in(3).then(|| {
            let x = self.i64();
            let m = self.b.i64(if lanes > 4 { 31 } else { 7 });
            let x = self.b.bin(BinOp::And, x, m);
            let off = self.b.i64(-2);
            self.b.add(x, off)
        })
    }
    pub fn load(&mut self, ty: Ty) -> Inst {
        let at = self.addr(ty.elem, ty.lanes);
        let tail = self.tail(ty.lanes);
        let buf = if self.serial && self.rng.once_in(3) { self.both } else { self.input };
        if self.rng.once_in(4) {
            let index = Ty { elem: self.rng.pick(&[Elem::I32, Elem::I64]), lanes: ty.lanes };
            let index = self.masked(index, 63);
            return Inst::LoadGather { buf, at, index, tail };
        }
        Inst::Load { buf, at, tail }
    }
    fn store(&mut self) {
        let ty = Ty { elem: self.rng.pick(&NUMBERS), lanes: self.lanes() };
        let value = self.value(ty);
        let at = self.addr(ty.elem, ty.lanes);
        let tail = self.tail(ty.lanes);
        let buf = self.rng.pick(&[self.output, self.both]);
        self.b.store(buf, at, value, tail);
    }
    /// Stores the `i`-th youngest register to a place of its own, so that what nothing stored is seen as well.
    fn store_last(&mut self, i: usize) {
        if let Some(&r) = self.live.iter().rev().nth(i) {
            let r = if self.b.ty(r).elem == Elem::B1 { self.b.cvt(CvtOp::SExt, Elem::I32, r) } else { r };
            let width = 8 * MOST_LANES / self.b.ty(r).elem.bytes() as usize;
            self.b.store(self.output, Addr::at((i * width) as i64), r, None);
        }
    }
    fn store_apart(&mut self, i: Reg, v: Reg) {
        let v = if self.b.ty(v).elem == Elem::B1 { self.b.cvt(CvtOp::ZExt, Elem::I8, v) } else { v };
        let apart = i64::from(self.b.ty(v).lanes);
        self.b.store(self.output, Addr::default().plus(i, apart), v, None);
    }
    fn stmt(&mut self) {
        match self.rng.below(if self.depth < 3 { 16 } else { 13 }) {
            0..=9 => self.let_(),
            // Iterations of a parallel loop store apart, at their end, and fail alike whatever the order.
            10..=12 if !self.serial => self.let_(),
            10 | 11 => self.store(),
            12 if self.rng.once_in(3) => {
                let v = self.i64();
                let sym = Sym(self.rng.below(SYMS) as u32);
                let small = self.b.i64(0xffff);
                let v = self.b.bin(BinOp::And, v, small);
                self.b.set_sym(sym, v);
            }
            12 => self.fail(),
            13 => self.for_(),
            14 => self.if_(),
            _ => self.while_(),
        }
    }
    /// Fails seldom: a NaN-proof comparison of a masked value.
    fn fail(&mut self) {
        let x = self.masked(Ty { elem: Elem::I64, lanes: 1 }, 63);
        let y = self.b.i64(63);
        let c = self.b.cmp(CmpOp::Eq, x, y);
        let code = self.rng.within(1, 9) as i32;
        self.b.fail_if(c, code);
    }
    fn inside(&mut self, f: impl FnOnce(&mut Self)) {
        let n = self.live.len();
        self.depth += 1;
        f(self);
        for _ in 0..1 + self.rng.below(5) {
            self.stmt();
        }
        // Mutable registers: assigned again on some paths.
        for _ in 0..self.rng.below(3) {
            let old: Vec<Reg> = self.live[..n].iter().copied().filter(|r| !self.vars.contains(r)).collect();
            if !old.is_empty() {
                let r = self.rng.pick(&old);
                let ty = self.b.ty(r);
                let v = self.value(ty);
                self.b.copy_to(r, v);
            }
        }
        self.depth -= 1;
        self.live.truncate(n);
    }
    /// Runs `f` with the builder taken into a closure of the builder.
    fn nested(
        &mut self,
        open: impl FnOnce(&mut KernelBuilder, &mut dyn FnMut(&mut KernelBuilder, Option<Reg>)),
    ) {
        let mut b = std::mem::replace(&mut self.b, KernelBuilder::new(""));
        open(&mut b, &mut |b, var| {
            std::mem::swap(&mut self.b, b);
            self.vars.extend(var);
            self.inside(|g| {
                // The variable dies with the loop's other registers.
                g.live.extend(var);
            });
            if var.is_some() {
                self.vars.pop();
            }
            std::mem::swap(&mut self.b, b);
        });
        self.b = b;
    }
    fn for_(&mut self) {
        let unrolled = self.rng.once_in(3);
        let lo = self.rng.within(0, 3);
        let step = self.rng.within(1, 3);
        let hi = if unrolled || self.rng.once_in(2) {
            Bound::Const(self.rng.within(0, 7))
        } else {
            Bound::Reg(self.masked(Ty { elem: Elem::I64, lanes: 1 }, 7))
        };
        let kind = if unrolled { LoopKind::Unrolled } else { LoopKind::Serial };
        self.nested(|b, f| b.for_(Bound::Const(lo), hi, step, kind, |b, i| f(b, Some(i))));
    }
    fn if_(&mut self) {
        let cond = self.value(Ty { elem: Elem::B1, lanes: 1 });
        let then = { self.capture() };
        let els = if self.rng.once_in(2) { self.capture() } else { vec![] };
        self.b.push(Stmt::If { cond, then, els });
    }
    /// Statements of a random block.
    fn capture(&mut self) -> Vec<Stmt> {
        let mut b = std::mem::replace(&mut self.b, KernelBuilder::new(""));
        let body = b.detached(|b| {
            std::mem::swap(&mut self.b, b);
            self.inside(|_| {});
            std::mem::swap(&mut self.b, b);
        });
        self.b = b;
        body
    }
    fn while_(&mut self) {
        let n = self.rng.within(0, 5);
        let i = self.b.reg(Elem::I64, 1);
        self.b.set(i, Inst::Const(Scalar::Int(0)));
        self.vars.push(i);
        let (cond, most) = (self.b.reg(Elem::B1, 1), self.b.i64(n));
        let test = vec![Stmt::Let { dst: cond, inst: Inst::Cmp(CmpOp::Lt, i, most) }];
        let one = self.b.i64(1);
        let mut body = self.capture();
        body.push(Stmt::Let { dst: i, inst: Inst::Bin(BinOp::Add, i, one) });
        self.b.push(Stmt::While { test, cond, body });
        self.vars.pop();
    }
    /// Stops NaNs from being told apart.
    fn canonical(&mut self, r: Reg) -> Reg {
        let ty = self.b.ty(r);
        if !ty.elem.is_float() {
            return r;
        }
        let ok = self.b.cmp(CmpOp::Eq, r, r);
        let nan = self.b.float(ty.elem, ty.lanes, f64::NAN);
        self.b.select(ok, r, nan)
    }
    fn let_(&mut self) {
        self.left = self.left.saturating_sub(1);
        let r = self.random_inst();
        let r = self.canonical(r);
        self.live.push(r);
    }
}
