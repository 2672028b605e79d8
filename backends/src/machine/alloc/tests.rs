//! Allocation under pressure, in loops, through holes; and spills that keep the meaning.

use super::allocate;
use super::live::intervals;
use crate::x86::mir::{Base, Class, Func, Item, Mem, Opnd, VReg};
use iced_x86::Code;
use std::collections::BTreeSet;

fn load(f: &mut Func, base: VReg, i: i64) -> VReg {
    let v = f.vreg(Class::Vec);
    let from = Mem::reg(base).plus(64 * i);
    f.op(Code::EVEX_Vmovups_zmm_k1z_zmmm512, &[Opnd::Def(v, 64), Opnd::Mem(from)]);
    v
}

fn fma(f: &mut Func, acc: VReg, x: VReg, y: VReg) {
    let code = Code::EVEX_Vfmadd231ps_zmm_k1z_zmm_zmmm512b32_er;
    f.op(code, &[Opnd::UseDef(acc, 64), Opnd::Use(x, 64), Opnd::Use(y, 64)]);
}

fn store(f: &mut Func, base: VReg, i: i64, v: VReg) {
    let to = Mem::reg(base).plus(64 * i);
    f.op(Code::EVEX_Vmovups_zmmm512_k1z_zmm, &[Opnd::Mem(to), Opnd::Use(v, 64)]);
}

/// A tile of `n` accumulators and `m` operands in a loop.
fn tile(n: i64, m: i64) -> Func {
    let mut f = Func::default();
    let rdi = f.fixed(iced_x86::Register::RDI);
    let base = f.vreg(Class::Gpr);
    f.copy(base, rdi, 8);
    let accs: Vec<VReg> = (0..n).map(|i| load(&mut f, base, i)).collect();
    let head = f.label();
    f.loop_begin(head);
    let xs: Vec<VReg> = (0..m).map(|i| load(&mut f, base, 100 + i)).collect();
    for (i, a) in accs.iter().enumerate() {
        fma(&mut f, *a, xs[i % xs.len()], xs[(i + 1) % xs.len()]);
    }
    f.op(Code::Add_rm64_imm8, &[Opnd::UseDef(base, 8), Opnd::Imm(64)]);
    f.branch(crate::x86::mir::Cond::L, head);
    f.loop_end();
    accs.iter().enumerate().for_each(|(i, a)| store(&mut f, base, i as i64, *a));
    f
}

fn spills(f: &Func) -> usize {
    let frame = |o: &Opnd| matches!(o, Opnd::Mem(m) if matches!(m.base, Base::Frame(_)));
    f.items.iter().filter(|i| matches!(i, Item::Op(op) if op.opnds.iter().any(frame))).count()
}

/// No two registers that are live together share a machine register.
fn check(mut f: Func, wide: bool) -> (Func, usize) {
    let regs = allocate(&mut f, wide).unwrap();
    let live = intervals(&f);
    for (i, a) in live.iter().enumerate() {
        for (j, b) in live.iter().enumerate().skip(i + 1) {
            assert!(regs[i].is_none() || regs[i] != regs[j] || !a.overlaps(b), "v{i} and v{j}");
        }
    }
    let n = spills(&f);
    (f, n)
}

#[test]
fn a_full_tile_stays_in_registers() {
    assert_eq!(check(tile(28, 4), true).1, 0);
    assert_eq!(check(tile(24, 8), true).1, 0);
    assert_eq!(check(tile(12, 4), false).1, 0);
}

#[test]
fn what_does_not_fit_is_spilled_and_no_more() {
    // 36 accumulators, two operands and one register for what is in the frame: seven of 39 do not fit. Each of those is
    // stored and loaded once before, in and after the loop.
    let (f, n) = check(tile(36, 2), true);
    assert!((7..=7 * 4).contains(&n), "{n} accesses of the frame");
    assert!(f.slots.len() <= 7, "{} slots", f.slots.len());
}

#[test]
fn loops_keep_their_registers() {
    // Values that live across a loop without being used in it give way.
    let mut f = Func::default();
    let rdi = f.fixed(iced_x86::Register::RDI);
    let base = f.vreg(Class::Gpr);
    f.copy(base, rdi, 8);
    let idle: Vec<VReg> = (0..8).map(|i| load(&mut f, base, 200 + i)).collect();
    let busy: Vec<VReg> = (0..30).map(|i| load(&mut f, base, i)).collect();
    let head = f.label();
    f.loop_begin(head);
    for w in busy.windows(2) {
        fma(&mut f, w[0], w[1], w[1]);
    }
    f.op(Code::Add_rm64_imm8, &[Opnd::UseDef(base, 8), Opnd::Imm(64)]);
    f.branch(crate::x86::mir::Cond::L, head);
    f.loop_end();
    busy.iter().chain(&idle).enumerate().for_each(|(i, a)| store(&mut f, base, i as i64, *a));
    let (f, n) = check(f, true);
    assert!(n > 0);
    let mut inside = false;
    for item in &f.items {
        match item {
            Item::LoopBegin => inside = true,
            Item::LoopEnd => inside = false,
            Item::Op(op) if inside => {
                let frame =
                    op.opnds.iter().any(|o| matches!(o, Opnd::Mem(m) if matches!(m.base, Base::Frame(_))));
                assert!(!frame, "{op:?}");
            }
            _ => {}
        }
    }
}

#[test]
fn holes_are_used() {
    // Forty short lives, two at a time, under thirty long ones.
    let mut f = Func::default();
    let rdi = f.fixed(iced_x86::Register::RDI);
    let base = f.vreg(Class::Gpr);
    f.copy(base, rdi, 8);
    let accs: Vec<VReg> = (0..30).map(|i| load(&mut f, base, i)).collect();
    let (x, y) = (f.vreg(Class::Vec), f.vreg(Class::Vec));
    for i in 0..20 {
        // The same two registers, written again and again.
        for v in [x, y] {
            let from = Mem::reg(base).plus(i);
            f.op(Code::EVEX_Vmovups_zmm_k1z_zmmm512, &[Opnd::Def(v, 64), Opnd::Mem(from)]);
        }
        fma(&mut f, accs[i as usize], x, y);
        let (p, q) = (load(&mut f, base, i), load(&mut f, base, i + 1));
        fma(&mut f, accs[i as usize + 1], p, q);
    }
    accs.iter().enumerate().for_each(|(i, a)| store(&mut f, base, i as i64, *a));
    assert_eq!(check(f, true).1, 0);
}

#[test]
fn constants_are_made_again() {
    let mut f = Func::default();
    let rdi = f.fixed(iced_x86::Register::RDI);
    let base = f.vreg(Class::Gpr);
    f.copy(base, rdi, 8);
    let pool = f.pool(&[1; 64], 64);
    let c = f.vreg(Class::Vec);
    f.op(Code::EVEX_Vmovups_zmm_k1z_zmmm512, &[Opnd::Def(c, 64), Opnd::Mem(pool.into())]);
    let accs: Vec<VReg> = (0..32).map(|i| load(&mut f, base, i)).collect();
    accs.iter().for_each(|a| fma(&mut f, *a, accs[0], *a));
    accs.iter().for_each(|a| fma(&mut f, *a, *a, c));
    accs.iter().enumerate().for_each(|(i, a)| store(&mut f, base, i as i64, *a));
    let (f, n) = check(f, true);
    assert_eq!(n, 0, "the frame is not needed");
    assert!(f.slots.is_empty());
}

#[test]
fn copies_vanish() {
    let mut f = Func::default();
    let rdi = f.fixed(iced_x86::Register::RDI);
    let a = f.vreg(Class::Gpr);
    f.copy(a, rdi, 8);
    for _ in 0..4 {
        let t = f.vreg(Class::Gpr);
        f.copy(t, a, 8);
        f.op(Code::Add_rm64_imm8, &[Opnd::UseDef(t, 8), Opnd::Imm(1)]);
        f.copy(a, t, 8);
    }
    let to = Mem::reg(a);
    f.op(Code::Mov_rm64_r64, &[Opnd::Mem(to), Opnd::Use(a, 8)]);
    let (f, _) = check(f, true);
    let copies: BTreeSet<usize> =
        (0..f.items.len()).filter(|i| matches!(f.items[*i], Item::Move { .. })).collect();
    assert_eq!(copies.len(), 1, "only that of the parameter is left");
}
