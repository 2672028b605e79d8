//! C types of integer registers: small chips pay for 64 bits, and most of TileIR's I64 values do not need them.
//!
//! Two proofs. Where only the low bits of a value reach anything (addresses, which pointers cut off; sums and products
//! that become addresses), the register is a `uintptr_t`. Where all values that a register is ever given lie within 32
//! bits, it is a `uint32_t` read as signed. The others stay as wide as TileIR says.

use sinter_ir::Expr;
use sinter_ir::tile::{BinOp, Bound, CvtOp, Elem, Inst, Kernel, Reg, Scalar, Stmt, UnOp};

/// How a scalar I64 register is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// `uint64_t`.
    Full,
    /// `uint32_t`: the value, sign-extended.
    Word,
    /// `uintptr_t`: the low bits of the value; nothing else of it is looked at.
    Address,
}

/// Values from the first to the second; empty before anything is known.
type Interval = Option<(i64, i64)>;

const ALL: (i64, i64) = (i64::MIN, i64::MAX);
/// Rounds over a kernel before what still grows counts as unbounded.
const ROUNDS: usize = 4;

/// Widths of all registers; only those of scalar I64 registers mean anything.
pub fn widths(k: &Kernel, range: &dyn Fn(&Expr) -> (i64, i64)) -> Vec<Width> {
    let mut values = Values { k, range, of: vec![None; k.regs.len()], changed: true, widen: false };
    for round in 0.. {
        if !values.changed {
            break;
        }
        values.changed = false;
        values.widen = round >= ROUNDS;
        values.block(&k.body);
    }
    let mut whole = vec![false; k.regs.len()];
    // Whether a register's high bits count depends on registers made of it: until nothing new is found.
    while mark(k, &k.body, &mut whole) {}
    let fits = |v: Interval| v.is_none_or(|(lo, hi)| word(lo) && word(hi));
    let width = |(v, whole): (&Interval, &bool)| match (*whole, fits(*v)) {
        (false, _) => Width::Address,
        (true, true) => Width::Word,
        (true, false) => Width::Full,
    };
    values.of.iter().zip(&whole).map(width).collect()
}

/// Whether a value fits 32 bits with its sign.
fn word(v: i64) -> bool {
    i32::try_from(v).is_ok()
}

struct Values<'a> {
    k: &'a Kernel,
    range: &'a dyn Fn(&Expr) -> (i64, i64),
    of: Vec<Interval>,
    changed: bool,
    widen: bool,
}

impl Values<'_> {
    fn at(&self, r: Reg) -> Interval {
        self.of.get(r.0 as usize).copied().flatten()
    }
    fn give(&mut self, r: Reg, v: Interval) {
        let (Some(v), Some(old)) = (v, self.of.get(r.0 as usize).copied()) else { return };
        let all = old.map_or(v, |o| (o.0.min(v.0), o.1.max(v.1)));
        if old != Some(all) {
            let all = if self.widen { ALL } else { all };
            self.changed = true;
            self.of[r.0 as usize] = Some(all);
        }
    }
    fn bound(&self, b: &Bound) -> Interval {
        match b {
            Bound::Const(c) => Some((*c, *c)),
            Bound::Reg(r) => self.at(*r),
        }
    }
    fn block(&mut self, body: &[Stmt]) {
        for s in body {
            match s {
                Stmt::Let { dst, inst } if is_index(self.k, *dst) => {
                    let v = self.value(inst);
                    self.give(*dst, v);
                }
                Stmt::For { var, lo, hi, step, .. } => {
                    if let (Some(lo), Some(hi)) = (self.bound(lo), self.bound(hi)) {
                        // The counter passes the last value before the loop ends.
                        let last = hi.1.saturating_add(*step);
                        self.give(*var, Some((lo.0, last.max(lo.0))));
                    }
                }
                _ => {}
            }
            s.blocks().into_iter().for_each(|b| self.block(b));
        }
    }
    /// What an instruction can give; nothing yet where an operand has no value yet.
    fn value(&self, i: &Inst) -> Interval {
        let of = |r: &Reg| self.at(*r);
        match i {
            Inst::Const(Scalar::Int(v)) => Some((*v, *v)),
            Inst::Copy(a) | Inst::Splat(a) | Inst::Fold(_, a) | Inst::Lane(a, _) if is_index(self.k, *a) => {
                of(a)
            }
            Inst::Dim(e) => Some((self.range)(e)),
            Inst::Bin(op, a, b) => Some(binary(*op, of(a)?, of(b)?)),
            Inst::MulAdd(a, b, c) => Some(binary(BinOp::Add, binary(BinOp::Mul, of(a)?, of(b)?), of(c)?)),
            Inst::Select(_, a, b) => {
                let (a, b) = (of(a)?, of(b)?);
                Some((a.0.min(b.0), a.1.max(b.1)))
            }
            Inst::Cvt(op, a) => Some(match (op, self.k.ty(*a).elem) {
                (CvtOp::SExt, e) if e.bits() < 64 => (-1 << (e.bits() - 1), (1 << (e.bits() - 1)) - 1),
                (CvtOp::ZExt, e) if e.bits() < 64 => (0, (1 << e.bits()) - 1),
                _ => ALL,
            }),
            _ => Some(ALL),
        }
    }
}

/// Bounds of a result; everything where it may wrap.
fn binary(op: BinOp, a: (i64, i64), b: (i64, i64)) -> (i64, i64) {
    let corners = |f: fn(i64, i64) -> Option<i64>| {
        let all = [f(a.0, b.0), f(a.0, b.1), f(a.1, b.0), f(a.1, b.1)];
        let all: Option<Vec<i64>> = all.into_iter().collect();
        let least = all.as_ref().and_then(|v| v.iter().copied().min());
        least.zip(all.and_then(|v| v.into_iter().max())).unwrap_or(ALL)
    };
    let positive = a.0 >= 0 && b.0 >= 0;
    match op {
        BinOp::Add => corners(i64::checked_add),
        BinOp::Sub => (|| Some((a.0.checked_sub(b.1)?, a.1.checked_sub(b.0)?)))().unwrap_or(ALL),
        BinOp::Mul => corners(i64::checked_mul),
        BinOp::MinS => (a.0.min(b.0), a.1.min(b.1)),
        BinOp::MaxS => (a.0.max(b.0), a.1.max(b.1)),
        BinOp::DivS | BinOp::DivU if positive => (0, a.1),
        BinOp::RemS | BinOp::RemU if positive => (0, a.1.min(b.1)),
        BinOp::MinU if positive => (a.0.min(b.0), a.1.min(b.1)),
        BinOp::MaxU if positive => (a.0.max(b.0), a.1.max(b.1)),
        BinOp::ShrS | BinOp::ShrU if positive => (0, a.1),
        BinOp::And if positive => (0, a.1.min(b.1)),
        _ => ALL,
    }
}

/// Whether a register is a scalar I64: what sizes, counters and addresses are made in.
pub fn is_index(k: &Kernel, r: Reg) -> bool {
    let ty = k.ty(r);
    ty.elem == Elem::I64 && ty.lanes == 1
}

/// Whether low bits of the result depend on low bits of the operands alone.
pub fn low_bits_suffice(i: &Inst) -> bool {
    use BinOp::*;
    match i {
        Inst::Copy(_) | Inst::MulAdd(..) | Inst::Select(..) | Inst::Un(UnOp::Neg | UnOp::Not, _) => true,
        Inst::Bin(op, ..) => matches!(op, Add | Sub | Mul | And | Or | Xor),
        _ => false,
    }
}

/// Marks registers whose high bits count; says whether any is new.
fn mark(k: &Kernel, body: &[Stmt], whole: &mut Vec<bool>) -> bool {
    let mut new = false;
    for s in body {
        let low = |r: Reg, whole: &[bool]| is_index(k, r) && !whole[r.0 as usize];
        let mut reads = vec![];
        match s {
            Stmt::Let { dst, inst } => match inst {
                Inst::Select(c, ..) if low(*dst, whole) => reads.push(*c),
                i if low(*dst, whole) && low_bits_suffice(i) => {}
                Inst::Cvt(CvtOp::Narrow, a) if is_index(k, *a) => {}
                Inst::Load { at: _, tail, .. } => reads.extend(*tail),
                Inst::LoadGather { at: _, index, tail, .. } => {
                    reads.extend(tail.iter().chain((k.ty(*index).lanes > 1).then_some(index)));
                }
                i => i.reads(&mut |r| reads.push(r)),
            },
            Stmt::Store { value, tail, .. } => reads.extend([*value].into_iter().chain(*tail)),
            Stmt::For { var, lo, hi, .. } => {
                // The counter itself is compared.
                reads.push(*var);
                for b in [lo, hi] {
                    reads.extend(match b {
                        Bound::Reg(r) => Some(*r),
                        Bound::Const(_) => None,
                    });
                }
            }
            Stmt::While { cond, .. } | Stmt::If { cond, .. } | Stmt::FailIf { cond, .. } => reads.push(*cond),
            Stmt::SetSym { value, .. } => reads.push(*value),
        }
        for r in reads {
            new |= !std::mem::replace(&mut whole[r.0 as usize], true);
        }
        for b in s.blocks() {
            new |= mark(k, b, whole);
        }
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;
    use sinter_ir::tile::build::KernelBuilder;
    use sinter_ir::tile::{Access, Addr, CmpOp};

    #[test]
    fn counters_are_words_and_pointers_addresses() {
        let mut b = KernelBuilder::new("k");
        let data = b.buf("data", Access::Read, Expr::from(4000));
        let pointer = b.reg(Elem::I64, 1);
        b.set(pointer, Inst::Const(Scalar::Int(0)));
        let step = b.i64(3);
        let mut counter = Reg(0);
        let (mut sum, mut wide) = (Reg(0), Reg(0));
        b.for_(Bound::Const(0), Bound::Const(1000), 1, sinter_ir::tile::LoopKind::Serial, |b, i| {
            counter = i;
            // Grows without a bound, and only addresses are made of it.
            let next = b.add(pointer, step);
            b.copy_to(pointer, next);
            let v = b.load(Elem::I64, 1, data, Addr::reg(pointer), None);
            // Bits of these reach a comparison.
            sum = b.add(v, i);
            let large = b.cmp(CmpOp::Gt, sum, step);
            b.fail_if(large, 5);
            wide = b.mul(i, i);
            let large = b.cmp(CmpOp::Gt, wide, step);
            b.fail_if(large, 5);
        });
        let widths = widths(&b.finish(), &|e| e.range(&|_| (0, 0)));
        let of = |r: Reg| widths[r.0 as usize];
        assert_eq!([of(counter), of(pointer), of(step)], [Width::Word, Width::Address, Width::Word]);
        assert_eq!([of(sum), of(wide)], [Width::Full, Width::Word]);
    }

    #[test]
    fn products_that_may_exceed_words_are_whole() {
        let mut b = KernelBuilder::new("k");
        let (a, c) = (b.i64(1 << 20), b.i64(1 << 11));
        let product = b.mul(a, c);
        let smaller = b.bin(BinOp::RemS, product, a);
        let at = b.cmp(CmpOp::Gt, smaller, product);
        b.fail_if(at, 5);
        let widths = widths(&b.finish(), &|e| e.range(&|_| (0, 0)));
        assert_eq!((widths[product.0 as usize], widths[smaller.0 as usize]), (Width::Full, Width::Word));
    }
}
