//! Kernels as text: exact round trips, errors with lines, no panics.

use sinter_ir::diag::Fault;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::verify::verify;
use sinter_ir::tile::{
    Access, Addr, BinOp, Bound, CmpOp, CvtOp, Elem, Inst, Kernel, LoopKind, Reg, Scalar, Stmt, UnOp,
};
use sinter_ir::{Expr, Sym};

/// A kernel with every kind of statement and right-hand side; not meant to run.
fn everything() -> Kernel {
    let n: Expr = Sym(0).into();
    let mut b = KernelBuilder::new("every \"thing\"\n{");
    let x = b.buf("x", Access::Read, (n.clone() * 4.into()).ceil_div(&3.into()));
    let y = b.buf("y", Access::ReadWrite, n.max_of(&7.into()));
    b.reg(Elem::F64, 3);
    let (i, j) = (b.i64(-5), b.dim(&n));
    let f = b.float(Elem::F32, 8, -0.1);
    for v in [0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 5e-324, f64::MAX] {
        b.float(Elem::F64, 1, v);
        b.float(Elem::F32, 1, v);
    }
    let payload = b.reg(Elem::F32, 1);
    b.set(payload, Inst::Const(Scalar::F32(f32::from_bits(0xffc1_2345))));
    let t = b.bool(8, true);
    let one = b.bool(1, false);
    b.copy_to(f, f);
    b.select(t, f, f);
    b.mul_add(f, f, f);
    let pairs = b.int(Elem::I32, 8, 0x3f80_4000);
    b.set(f, Inst::Dot2 { acc: f, a: pairs, b: pairs });
    let (acc, bytes) = (b.int(Elem::I32, 2, i64::MIN), b.int(Elem::I8, 8, i64::MAX));
    for (a_signed, b_signed) in [(true, true), (true, false), (false, true), (false, false)] {
        b.set(acc, Inst::Dot4 { acc, a: bytes, b: bytes, a_signed, b_signed, within: None });
        b.set(acc, Inst::Dot4 { acc, a: bytes, b: acc, a_signed, b_signed, within: Some(16383) });
    }
    for high in [false, true] {
        b.set(pairs, Inst::Mat8 { acc: pairs, a: pairs, b: pairs, a_signed: high });
        b.set(pairs, Inst::Halves { a: pairs, b: pairs, high });
        b.set(f, Inst::Mat4 { acc: f, a: pairs, b: pairs });
        b.set(f, Inst::Halves { a: f, b: f, high });
    }
    b.load(Elem::F32, 8, x, Addr::reg(i).plus(j, -3).offset(-9), Some(i));
    b.load(Elem::F32, 8, x, Addr { terms: vec![(i, 0), (i, i64::MIN)], offset: i64::MAX }, None);
    let g = b.reg(Elem::I32, 2);
    b.set(g, Inst::LoadGather { buf: x, at: Addr::at(0), index: acc, tail: None });
    b.set(g, Inst::LoadGather { buf: x, at: Addr::at(1), index: acc, tail: Some(j) });
    b.set(g, Inst::LaneIndex);
    let at = b.address(x);
    let byte = b.load_at(Elem::I8, at);
    b.copy_to(byte, byte);
    b.fold(BinOp::MaxS, g);
    let lane = b.reg(Elem::I32, 1);
    b.set(lane, Inst::Lane(g, 1));
    b.splat(lane, 2);
    b.cvt(CvtOp::SExt, Elem::I64, lane);
    b.store(y, Addr::reg(j).offset(4), f, Some(j));
    b.set_sym(Sym(3), i);
    b.fail_if(one, -7);
    b.while_(|b| b.cmp(CmpOp::LtU, i, j), |b| b.if_(one, |_| {}, |b| b.set(i, Inst::Copy(j))));
    b.if_(one, |b| b.if_(one, |_| {}, |_| {}), |_| {});
    b.for_(Bound::Const(-3), Bound::Reg(j), 2, LoopKind::Serial, |b, k| {
        b.for_(Bound::Reg(k), Bound::Const(9), 1, LoopKind::Unrolled, |b, _| {
            b.store(y, Addr::at(0), k, None)
        });
    });
    b.reg(Elem::B1, 16);
    b.parallel(&(n * 2.into()), |b, i| b.store(y, Addr::reg(i), i, None));
    b.finish()
}

fn round_trip(k: &Kernel) {
    let text = k.dump_text();
    let back: Kernel = text.parse().unwrap_or_else(|d| panic!("{d}\n{text}"));
    assert_eq!(back, *k, "{text}");
    assert_eq!(back.dump_text(), text);
}

#[test]
fn everything_reads_back_as_it_was() {
    round_trip(&everything());
    round_trip(&KernelBuilder::new("").finish());
}

#[test]
fn every_operation_has_its_own_word() {
    // All operations are needed once: debug names are what the compiler knows of them.
    use BinOp::*;
    let binary = [
        Add, Sub, Mul, Div, DivS, DivU, RemS, RemU, Min, Max, MinS, MaxS, MinU, MaxU, And, Or, Xor, Shl,
        ShrS, ShrU, Pow, Fmod, Scale,
    ];
    use UnOp as U;
    let unary = [
        U::Neg,
        U::Abs,
        U::Not,
        U::Ceil,
        U::Floor,
        U::Trunc,
        U::Nearest,
        U::Sqrt,
        U::Exp,
        U::Log,
        U::Sin,
        U::Cos,
        U::Tan,
        U::Asin,
        U::Acos,
        U::Atan,
        U::Sinh,
        U::Cosh,
        U::Tanh,
        U::Asinh,
        U::Acosh,
        U::Atanh,
        U::Erf,
        U::Sigmoid,
        U::F16ToF32,
        U::F32ToF16,
        U::Bf16ToF32,
        U::F32ToBf16,
        U::F32ToBf16Flush,
    ];
    use CmpOp as C;
    let compare = [C::Eq, C::Ne, C::Lt, C::Le, C::Gt, C::Ge, C::LtU, C::LeU, C::GtU, C::GeU];
    use CvtOp as V;
    let convert = [V::SExt, V::ZExt, V::Narrow, V::SToF, V::UToF, V::FToS, V::FToU, V::FToF, V::Bits];
    let r = Reg(0);
    let all = (unary.map(|o| Inst::Un(o, r)).into_iter())
        .chain(binary.map(|o| Inst::Bin(o, r, r)))
        .chain(binary.map(|o| Inst::Fold(o, r)))
        .chain(compare.map(|o| Inst::Cmp(o, r, r)))
        .chain(convert.map(|o| Inst::Cvt(o, r)));
    let mut b = KernelBuilder::new("words");
    b.reg(Elem::F32, 1);
    all.for_each(|i| b.set(r, i));
    let k = b.finish();
    round_trip(&k);
    assert!(!k.dump_text().contains('?'), "an operation without a word");
}

#[test]
fn errors_name_the_line() {
    for (text, line, what) in [
        ("", 1, "expected `kernel`"),
        ("kernel \"a\" {\n  buf b1 \"x\" read 4\n}", 2, "numbered in order"),
        ("kernel \"a\" {\n  buf b0 \"x\" all 4\n}", 2, "unknown access `all`"),
        ("kernel \"a\" {\n  buf b0 \"x\" read s0 +\n}", 2, "bad expression"),
        ("kernel \"a\" {\n  r0: f31 = const 1\n}", 2, "unknown register type `f31`"),
        ("kernel \"a\" {\n  r0: f32x65536 = laneindex\n}", 2, "unknown register type"),
        ("kernel \"a\" {\n  r0: i8 = const 1\n  r0: i8 = const 1\n}", 3, "r0 has two types"),
        ("kernel \"a\" {\n  r0: i64 = frob r0\n}", 2, "unknown operation `frob`"),
        ("kernel \"a\" {\n  r4294967296 = copy r0\n}", 2, "expected `r` and a number"),
        ("kernel \"a\" {\n  r1: i64 = laneindex\n}", 3, "r0 has no type"),
        ("kernel \"a\" {\n  store b0[r0*], r1\n}", 2, "expected a number"),
        ("kernel \"a\" {\n  for r0: i64 = 0..4 step 1 sideways {\n}\n}", 2, "unknown kind of loop"),
        ("kernel \"a\" {\n  if r0 {\n", 3, ""),
        ("kernel \"a\" {\n}\n}", 3, "expected the end"),
    ] {
        let d = text.parse::<Kernel>().expect_err(text);
        assert_eq!(d.fault, Fault::Input, "{text}: {d}");
        assert!(d.message.starts_with(&format!("line {line}: ")) && d.message.contains(what), "{text}: {d}");
    }
}

#[test]
fn nesting_that_would_exhaust_the_stack_is_refused() {
    let text = format!("kernel \"deep\" {{ reg r0: b1\n{}", "if r0 {\n".repeat(100_000));
    assert!(text.parse::<Kernel>().expect_err("deep").message.contains("nesting deeper"));
    let text = format!("kernel \"deep\" {{ r0: i64 = dim {}", "(".repeat(100_000)) + "\n}";
    assert!(text.parse::<Kernel>().expect_err("deep").message.contains("nested too deeply"));
}

/// Every mutation of a good text is refused or gives a kernel that itself survives a round trip and the verifier.
#[test]
fn mutated_texts_never_panic() {
    let text = everything().dump_text();
    let mut state = 1u64;
    let mut below = |n: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % n.max(1)
    };
    let (mut accepted, mut refused) = (0, 0);
    let pieces: Vec<&str> = text.split_inclusive([' ', '\n', '[', ']']).collect();
    for _ in 0..20_000 {
        let mut p = pieces.clone();
        let (i, j) = (below(p.len()), below(p.len()));
        match below(4) {
            0 => p.swap(i, j),
            1 => p[i] = p[j],
            2 => p.truncate(i),
            _ => {
                p.remove(i);
            }
        }
        let mut t = p.concat();
        if below(2) == 0 {
            let at = below(t.len());
            if t.is_char_boundary(at) && t.is_char_boundary(at + 1) {
                let with = ["\u{e9}", "-", "9", "r", "\"", "{", "}", "99999999999999999999", ""][below(9)];
                t.replace_range(at..at + 1, with);
            }
        }
        match t.parse::<Kernel>() {
            Ok(k) => {
                accepted += 1;
                round_trip(&k);
                verify(&k);
            }
            Err(_) => refused += 1,
        }
    }
    assert!(accepted > 100 && refused > 1000, "{accepted} accepted, {refused} refused");
}

#[test]
fn nested_statements_keep_their_order() {
    let k: Kernel =
        "kernel \"k\" { r0: b1 = const true while { r0 = const false } holds r0 { failif r0 1 if r0 { } \
                     else { failif r0 2 } } failif r0 3 }"
            .parse()
            .expect("one line");
    assert_eq!(k.body.len(), 3);
    let Stmt::While { test, body, .. } = &k.body[1] else { panic!("{k:?}") };
    assert_eq!((test.len(), body.len()), (1, 2));
    assert_eq!(
        body[1],
        Stmt::If { cond: Reg(0), then: vec![], els: vec![Stmt::FailIf { cond: Reg(0), code: 2 }] }
    );
    round_trip(&k);
}
