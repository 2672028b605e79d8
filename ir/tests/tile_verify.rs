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
    let big = (0..3000u32).fold(Expr::from(0), |e, i| e + Sym(i).into());
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

#[test]
fn accesses_that_must_leave_their_buffer_are_found() {
    let kernel = |bytes: i64, body: &str| -> Vec<String> {
        let text =
            format!("kernel \"k\" {{\n  buf b0 \"x\" readwrite {bytes}\n  r0: i64 = const 3\n{body}\n}}");
        let k: Kernel = text.parse().unwrap_or_else(|d| panic!("{d}\n{text}"));
        verify(&k).iter().map(|d| d.message.clone()).collect()
    };
    // The last access is at element 2*3 - 3 + 2*5 + 1 = 14 and four lanes wide: bytes ..18*4.
    let nest = "for r1: i64 = 0..3 step 2 serial {\nfor r2: i64 = 5..6 step 9 unrolled {\n\
                r3: i64 = muladd r1, r0, r2\nr4: f32x4 = load b0[r3 + r0*-1 + r2 + 1]\n}\n}";
    assert_eq!(kernel(4 * 18, nest), Vec::<String>::new());
    let found = kernel(4 * 18 - 1, nest);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains("statement 1.0.1: load outside buffer b0 `x`: bytes 32..72 of 71"),
        "{found:?}"
    );
    assert!(
        kernel(8, "store b0[r0*-1 + 2], r0")[0].contains("store outside buffer b0 `x`: bytes -8..0 of 8")
    );
    // Nothing is said where a run may not come, may not go on, or the address is not known.
    for quiet in [
        "r1: b1 = const true\nif r1 {\nstore b0[9], r0\n}",
        "r1: b1 = const true\nfailif r1 5\nstore b0[9], r0",
        "for r1: i64 = 0..3 step 1 serial {\nstore b0[r1], r1\nr2: b1 = eq r1, r1\nfailif r2 5\n}",
        "for r1: i64 = 4..4 step 1 serial {\nstore b0[9], r0\n}",
        "for r1: i64 = 0..2 step 1 serial {\nstore b0[r0 + -3], r0\nr0 = add r0, r1\n}",
        "r1: i64 = load b0[0]\nstore b0[r1 + 9], r1",
        "store b0[9], r0 tail r0",
        "r1: i64 = dim s0\nfor r2: i64 = 0..r1 step 1 serial {\nstore b0[r2], r0\n}",
    ] {
        assert_eq!(kernel(8, quiet), Vec::<String>::new(), "{quiet}");
    }
    // A register that changes from round to round still counts where it was set in the same round.
    let again = "for r1: i64 = 0..2 step 1 serial {\nr0 = add r1, r1\nstore b0[r0], r0\n}";
    assert_eq!(kernel(24, again), Vec::<String>::new());
    assert!(kernel(16, again)[0].contains("bytes 0..24 of 16"));
}
