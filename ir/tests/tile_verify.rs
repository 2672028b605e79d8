//! The kernel verifier accepts what the builder makes and names every kind of defect.

use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::verify::verify;
use sinter_ir::tile::{
    Access, Addr, BinOp, Bound, CmpOp, CvtOp, Elem, Inst, Kernel, LoopKind, Reg, Scalar, Stmt, UnOp,
};
use sinter_ir::{Expr, Sym};

fn build(f: impl FnOnce(&mut KernelBuilder)) -> Kernel {
    let mut b = KernelBuilder::new("k");
    f(&mut b);
    b.finish()
}

/// The kernel has exactly one problem, and its text contains `what`.
fn refused(what: &str, f: impl FnOnce(&mut KernelBuilder)) {
    let found = verify(&build(f));
    let texts: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 1, "{what}: {texts:?}");
    assert!(texts[0].contains(what), "{what}: {texts:?}");
}

#[test]
fn a_sound_kernel_passes() {
    let n: Expr = Sym(0).into();
    let k = build(|b| {
        let x = b.buf("x", Access::Read, n.clone() * 4.into());
        let y = b.buf("y", Access::Write, n.clone() * 4.into());
        b.parallel(&n, |b, i| {
            let v = b.load(Elem::F32, 1, x, Addr::reg(i), None);
            let zero = b.zero(b.ty(v));
            let c = b.cmp(CmpOp::Lt, v, zero);
            let r = b.reg(Elem::F32, 1);
            b.if_(c, |b| b.copy_to(r, zero), |b| b.copy_to(r, v));
            b.store(y, Addr::reg(i), r, None);
        });
    });
    assert_eq!(verify(&k), vec![]);
}

#[test]
fn types_are_checked() {
    refused("r1 is i32, expected i64", |b| {
        let x = b.i64(1);
        let y = b.int(Elem::I32, 1, 1);
        b.add(x, y);
    });
    refused("Sqrt on i32", |b| {
        let x = b.int(Elem::I32, 4, 1);
        b.un(UnOp::Sqrt, x);
    });
    refused("MinS on f32", |b| {
        let x = b.float(Elem::F32, 1, 1.0);
        b.bin(BinOp::MinS, x, x);
    });
    refused("Lt on b1", |b| {
        let x = b.bool(1, true);
        b.cmp(CmpOp::Lt, x, x);
    });
    refused("SExt cannot make i32 of i32", |b| {
        let x = b.int(Elem::I32, 1, 1);
        b.cvt(CvtOp::SExt, Elem::I32, x);
    });
    refused("Bits cannot make f64 of i32", |b| {
        let x = b.int(Elem::I32, 1, 1);
        b.cvt(CvtOp::Bits, Elem::F64, x);
    });
    refused("does not fit r0", |b| {
        let r = b.reg(Elem::I8, 1);
        b.set(r, Inst::Const(Scalar::Int(256)));
    });
    refused("not a power of two", |b| {
        let x = b.float(Elem::F32, 6, 1.0);
        b.fold(BinOp::Add, x);
    });
    refused("lane 4 of r0", |b| {
        let x = b.float(Elem::F32, 4, 1.0);
        let d = b.reg(Elem::F32, 1);
        b.set(d, Inst::Lane(x, 4));
    });
    refused("condition r0 is b1x2 in a select of f32x4", |b| {
        let c = b.bool(2, true);
        let x = b.float(Elem::F32, 4, 1.0);
        b.select(c, x, x);
    });
    refused("r9 does not exist", |b| {
        let r = b.i64(0);
        b.set(r, Inst::Copy(Reg(9)));
    });
}

#[test]
fn memory_use_is_checked() {
    refused("buffer b0 `x` is declared read", |b| {
        let x = b.buf("x", Access::Read, 4.into());
        let v = b.int(Elem::I32, 1, 0);
        b.store(x, Addr::at(0), v, None);
    });
    refused("buffer b0 `y` is declared write", |b| {
        let y = b.buf("y", Access::Write, 4.into());
        b.load(Elem::I32, 1, y, Addr::at(0), None);
    });
    refused("truth values have no memory form", |b| {
        let y = b.buf("y", Access::Write, 4.into());
        let v = b.bool(1, true);
        b.store(y, Addr::at(0), v, None);
    });
    refused("r0 is i32, expected i64", |b| {
        let x = b.buf("x", Access::Read, 4.into());
        let i = b.int(Elem::I32, 1, 0);
        b.load(Elem::I32, 1, x, Addr::reg(i), None);
    });
}

#[test]
fn straight_code_reads_only_what_was_assigned() {
    refused("r0 may be read before it is assigned", |b| {
        let r = b.reg(Elem::I64, 1);
        b.un(UnOp::Neg, r);
        b.set(r, Inst::Const(Scalar::Int(0)));
    });
}

#[test]
fn branches_and_loops_do_not_assign_for_sure() {
    let unset = "may be read before it is assigned";
    refused(unset, |b| {
        let r = b.reg(Elem::I64, 1);
        let c = b.bool(1, true);
        b.if_(c, |b| b.set(r, Inst::Const(Scalar::Int(0))), |_| {});
        b.un(UnOp::Neg, r);
    });
    refused(unset, |b| {
        let r = b.reg(Elem::I64, 1);
        b.range(&Sym(0).into(), |b, _| b.set(r, Inst::Const(Scalar::Int(0))));
        b.un(UnOp::Neg, r);
    });
    refused(unset, |b| {
        let mut var = Reg(0);
        b.range(&4.into(), |_, i| var = i);
        b.un(UnOp::Neg, var);
    });
    let k = build(|b| {
        let (r, s) = (b.reg(Elem::I64, 1), b.reg(Elem::I64, 1));
        b.range(&4.into(), |b, _| b.set(r, Inst::Const(Scalar::Int(0))));
        let c = b.bool(1, true);
        b.if_(c, |b| b.copy_to(s, r), |b| b.set(s, Inst::Const(Scalar::Int(1))));
        b.un(UnOp::Neg, s);
    });
    assert_eq!(verify(&k), vec![]);
}

#[test]
fn loops_own_their_variables_and_parallel_loops_stand_alone() {
    refused("is the variable of a loop around", |b| {
        b.range(&4.into(), |b, i| b.set(i, Inst::Const(Scalar::Int(9))));
    });
    refused("an unrolled loop needs constant bounds", |b| {
        let n = b.i64(4);
        b.for_(Bound::Const(0), Bound::Reg(n), 1, LoopKind::Unrolled, |_, _| {});
    });
    refused("loop step 0 is not positive", |b| {
        b.for_(Bound::Const(0), Bound::Const(4), 0, LoopKind::Serial, |_, _| {});
    });
    refused("a parallel loop inside another statement", |b| {
        b.range(&2.into(), |b, _| b.for_(Bound::Const(0), Bound::Const(4), 1, LoopKind::Parallel, |_, _| {}));
    });
    refused("has a parallel loop but no parallel bound", |b| {
        b.for_(Bound::Const(0), Bound::Const(4), 1, LoopKind::Parallel, |_, _| {});
    });
    refused("would run once per thread", |b| {
        b.parallel(&4.into(), |_, _| {});
        b.i64(1);
    });
    refused("must not write", |b| {
        let y = b.buf("y", Access::Write, 8.into());
        let v = b.i64(1);
        b.store(y, Addr::at(0), v, None);
        b.parallel(&4.into(), |_, _| {});
    });
    refused("a symbol is set inside a parallel loop", |b| {
        b.parallel(&4.into(), |b, i| b.set_sym(Sym(0), i));
    });
    let mut k = build(|b| b.parallel(&4.into(), |_, _| {}));
    k.parallel = Some(5.into());
    assert!(verify(&k)[0].message.contains("does not end at the stated bound"));
}

#[test]
fn oversized_expressions_are_refused() {
    let big = (0..600u32).fold(Expr::from(0), |e, i| e + Sym(i).into());
    assert!(big.is_too_big());
    refused("symbolic integer is too large", |b| {
        b.dim(&big);
    });
    refused("size of buffer b0 `x` is too large", |b| {
        b.buf("x", Access::Read, big.clone());
    });
}

#[test]
fn nesting_is_bounded() {
    let mut body = vec![];
    for _ in 0..200 {
        body = vec![Stmt::If { cond: Reg(0), then: body, els: vec![] }];
    }
    let mut k = build(|b| {
        b.bool(1, true);
    });
    k.body.extend(body);
    assert!(verify(&k)[0].message.contains("nesting deeper"));
}
