//! The interpreter does what TileIR's documentation says, and stays inside its buffers.

use sinter_ir::diag::Fault;
use sinter_ir::tile::build::{KernelBuilder, code};
use sinter_ir::tile::interp::{Options, Space, View, base, run, run_in};
use sinter_ir::tile::{Access, Addr, BinOp, Buf, CmpOp, CvtOp, Elem, Inst, Kernel, Reg, UnOp};
use sinter_ir::{Expr, Result, Sym};

/// Runs a kernel that stores its results, 8 bytes each, into one buffer.
fn results(n: usize, f: impl FnOnce(&mut KernelBuilder, Buf)) -> Vec<i64> {
    let mut b = KernelBuilder::new("results");
    let out = b.buf("out", Access::Write, (8 * n).into());
    f(&mut b, out);
    let mut bytes = vec![0u8; 8 * n];
    assert_eq!(run(&b.finish(), &mut [&mut bytes], &mut [], 0, 1), Ok(0));
    bytes.as_chunks().0.iter().map(|c| i64::from_le_bytes(*c)).collect()
}

fn put(b: &mut KernelBuilder, out: Buf, at: i64, v: Reg) {
    let v = match b.ty(v).elem {
        Elem::I64 => v,
        Elem::F64 => b.cvt(CvtOp::Bits, Elem::I64, v),
        Elem::F32 => {
            let bits = b.cvt(CvtOp::Bits, Elem::I32, v);
            b.cvt(CvtOp::ZExt, Elem::I64, bits)
        }
        _ => b.cvt(CvtOp::SExt, Elem::I64, v),
    };
    b.store(out, Addr::at(at), v, None);
}

/// One binary operation on constants of a narrow type.
fn int_op(op: BinOp, e: Elem, x: i64, y: i64) -> i64 {
    results(1, |b, out| {
        let (x, y) = (b.int(e, 1, x), b.int(e, 1, y));
        let r = b.bin(op, x, y);
        put(b, out, 0, r);
    })[0]
}

#[test]
fn integers_wrap_and_division_never_traps() {
    assert_eq!(int_op(BinOp::Add, Elem::I8, 127, 1), -128);
    assert_eq!(int_op(BinOp::Mul, Elem::I16, 300, 300), 90000 - 65536);
    assert_eq!(int_op(BinOp::DivS, Elem::I32, 7, 0), 0);
    assert_eq!(int_op(BinOp::DivU, Elem::I32, 7, 0), 0);
    assert_eq!(int_op(BinOp::RemS, Elem::I8, -7, 0), 0);
    assert_eq!(int_op(BinOp::RemU, Elem::I8, -7, 0), 0);
    assert_eq!(int_op(BinOp::DivS, Elem::I8, -128, -1), -128);
    assert_eq!(int_op(BinOp::RemS, Elem::I64, i64::MIN, -1), 0);
    assert_eq!(int_op(BinOp::DivS, Elem::I16, -7, 2), -3);
    assert_eq!(int_op(BinOp::RemS, Elem::I16, -7, 2), -1);
    assert_eq!(int_op(BinOp::DivU, Elem::I8, -1, 2), 127);
    assert_eq!(int_op(BinOp::MinU, Elem::I8, -1, 2), 2);
    assert_eq!(int_op(BinOp::MinS, Elem::I8, -1, 2), -1);
}

#[test]
fn shifts_take_the_amount_modulo_the_width() {
    assert_eq!(int_op(BinOp::Shl, Elem::I8, 1, 9), 2);
    assert_eq!(int_op(BinOp::ShrS, Elem::I16, -8, 17), -4);
    assert_eq!(int_op(BinOp::ShrU, Elem::I32, -1, 60), 15);
    assert_eq!(int_op(BinOp::Shl, Elem::I64, 1, 64), 1);
}

#[test]
fn float_extremes() {
    let f = |op, x: f64, y: f64| {
        let bits = results(1, |b, out| {
            let (x, y) = (b.float(Elem::F64, 1, x), b.float(Elem::F64, 1, y));
            let r = b.bin(op, x, y);
            put(b, out, 0, r);
        })[0];
        f64::from_bits(bits as u64)
    };
    assert!(f(BinOp::Min, f64::NAN, 1.0).is_nan() && f(BinOp::Max, 1.0, f64::NAN).is_nan());
    assert!(f(BinOp::Min, 0.0, -0.0).is_sign_negative() && f(BinOp::Max, -0.0, 0.0).is_sign_positive());
    assert_eq!(f(BinOp::Fmod, -7.5, 2.0), -1.5);
    assert_eq!(f(BinOp::Pow, -2.0, 3.0), -8.0);
    assert_eq!(f(BinOp::Scale, 1.5, 3.9), 12.0);
    assert_eq!(f(BinOp::Scale, -1.0, -1074.0), -5e-324);
    // Just above half of the smallest number: rounding twice would lose it.
    assert_eq!(f(BinOp::Scale, 1.0 + f64::EPSILON, -1075.0), 5e-324);
    assert_eq!(f(BinOp::Scale, 5e-324, 2097.0), 2f64.powi(1023));
    assert_eq!(f(BinOp::Scale, 3.0, f64::INFINITY), f64::INFINITY);
    assert_eq!(f(BinOp::Scale, 3.0, f64::NEG_INFINITY), 0.0);
    assert!(f(BinOp::Scale, f64::NAN, 1.0).is_nan() && f(BinOp::Scale, 1.0, f64::NAN).is_nan());
}

#[test]
fn conversions_saturate_and_extend() {
    let to_int = |v: f64, op, to| {
        results(1, |b, out| {
            let x = b.float(Elem::F32, 1, v);
            let r = b.cvt(op, to, x);
            put(b, out, 0, r);
        })[0]
    };
    assert_eq!(to_int(f64::NAN, CvtOp::FToS, Elem::I32), 0);
    assert_eq!(to_int(1e30, CvtOp::FToS, Elem::I32), i64::from(i32::MAX));
    assert_eq!(to_int(-1e30, CvtOp::FToS, Elem::I64), i64::MIN);
    assert_eq!(to_int(-1.0, CvtOp::FToU, Elem::I64), 0);
    assert_eq!(to_int(-2.9, CvtOp::FToS, Elem::I32), -2);
    let got = results(4, |b, out| {
        let t = b.bool(1, true);
        for (i, op) in [CvtOp::SExt, CvtOp::ZExt].into_iter().enumerate() {
            let v = b.cvt(op, Elem::I64, t);
            put(b, out, i as i64, v);
        }
        let x = b.int(Elem::I32, 1, -2);
        let u = b.cvt(CvtOp::UToF, Elem::F64, x);
        put(b, out, 2, u);
        let n = b.cvt(CvtOp::Narrow, Elem::I8, x);
        let n = b.cvt(CvtOp::ZExt, Elem::I64, n);
        put(b, out, 3, n);
    });
    assert_eq!(got, [-1, 1, 4294967294f64.to_bits() as i64, 254]);
}

#[test]
fn folds_pair_halves() {
    // ((a0+a2) + (a1+a3)): with these values any other order gives another sum.
    let lanes = [1e8f32, 1.0, -1e8, 2.5];
    let mut b = KernelBuilder::new("fold");
    let x = b.buf("x", Access::Read, 16.into());
    let y = b.buf("y", Access::Write, 4.into());
    let v = b.load(Elem::F32, 4, x, Addr::at(0), None);
    let s = b.fold(BinOp::Add, v);
    b.store(y, Addr::at(0), s, None);
    let mut input: Vec<u8> = lanes.iter().flat_map(|v| v.to_le_bytes()).collect();
    let mut out = [0u8; 4];
    assert_eq!(run(&b.finish(), &mut [&mut input, &mut out], &mut [], 0, 1), Ok(0));
    assert_eq!(f32::from_le_bytes(out), (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]));
}

#[test]
fn dot4_mixes_signs() {
    let got = results(2, |b, out| {
        let acc = b.int(Elem::I32, 2, 10);
        let a = b.int(Elem::I8, 8, 200);
        let w = b.int(Elem::I8, 8, -3);
        let r = b.reg(Elem::I32, 2);
        b.set(r, Inst::Dot4 { acc, a, b: w, a_signed: false, b_signed: true, within: None });
        for i in 0..2u16 {
            let lane = b.reg(Elem::I32, 1);
            b.set(lane, Inst::Lane(r, i));
            put(b, out, i64::from(i), lane);
        }
    });
    assert_eq!(got, [10 - 4 * 600; 2]);
}

/// Two products of 200 and -3 are -1200.
#[test]
fn a_broken_promise_of_dot4_is_a_fault() {
    let with = |most| {
        let mut b = KernelBuilder::new("within");
        let y = b.buf("y", Access::Write, 4.into());
        let (acc, a, w) = (b.int(Elem::I32, 1, 0), b.int(Elem::I8, 4, 200), b.int(Elem::I8, 4, -3));
        let r = b.reg(Elem::I32, 1);
        b.set(r, Inst::Dot4 { acc, a, b: w, a_signed: false, b_signed: true, within: Some(most) });
        b.store(y, Addr::at(0), r, None);
        run(&b.finish(), &mut [&mut [0u8; 4]], &mut [], 0, 1)
    };
    assert_eq!(with(1200), Ok(0));
    let d = with(1199).unwrap_err();
    assert!(d.message.contains("not within 1199"), "{d:?}");
}

#[test]
fn tails_neither_read_nor_write_beyond() {
    let mut b = KernelBuilder::new("tail");
    let x = b.buf("x", Access::Read, 12.into());
    let y = b.buf("y", Access::ReadWrite, 32.into());
    let n = b.i64(3);
    let v = b.load(Elem::I32, 8, x, Addr::at(0), Some(n));
    b.store(y, Addr::at(0), v, None);
    let m = b.i64(1);
    let ones = b.int(Elem::I32, 8, 1);
    b.store(y, Addr::at(1), ones, Some(m));
    // No lane takes part: the address may be anywhere.
    let none = b.i64(-5);
    b.store(y, Addr::at(1 << 40), ones, Some(none));
    let mut input: Vec<u8> = [7i32, 8, 9].iter().flat_map(|v| v.to_le_bytes()).collect();
    let mut out = [255u8; 32];
    assert_eq!(run(&b.finish(), &mut [&mut input, &mut out], &mut [], 0, 1), Ok(0));
    let got: Vec<i32> = out.as_chunks().0.iter().map(|c| i32::from_le_bytes(*c)).collect();
    assert_eq!(got, [7, 1, 9, 0, 0, 0, 0, 0]);
}

fn gather(indices: &[i32]) -> Result<i32> {
    let mut b = KernelBuilder::new("gather");
    let ix = b.buf("ix", Access::Read, 16.into());
    let x = b.buf("table", Access::Read, 16.into());
    let y = b.buf("y", Access::Write, 16.into());
    let index = b.load(Elem::I32, 4, ix, Addr::at(0), None);
    let v = b.reg(Elem::I32, 4);
    b.set(v, Inst::LoadGather { buf: x, at: Addr::at(1), index, tail: None });
    b.store(y, Addr::at(0), v, None);
    let mut ix: Vec<u8> = indices.iter().flat_map(|v| v.to_le_bytes()).collect();
    let mut x: Vec<u8> = [10i32, 11, 12, 13].iter().flat_map(|v| v.to_le_bytes()).collect();
    let mut y = [0u8; 16];
    let r = run(&b.finish(), &mut [&mut ix, &mut x, &mut y], &mut [], 0, 1);
    if r.is_ok() {
        let got: Vec<i32> = y.as_chunks().0.iter().map(|c| i32::from_le_bytes(*c)).collect();
        assert_eq!(got, indices.iter().map(|i| 11 + i).collect::<Vec<_>>());
    }
    r
}

#[test]
fn accesses_are_checked_with_kernel_and_address() {
    assert_eq!(gather(&[2, -1, 0, 1]), Ok(0));
    let e = gather(&[2, -2, 0, 1]).unwrap_err();
    assert_eq!(e.fault, Fault::Bug);
    assert!(e.message.contains("kernel gather") && e.message.contains("`table`: bytes -4..0 of 16"), "{e}");
    assert!(gather(&[3, 0, 0, 0]).is_err());
}

/// Addresses lead to any memory there is, in a buffer of the kernel or not, and nowhere else.
#[test]
fn addresses_reach_other_spaces() {
    let mut b = KernelBuilder::new("addresses");
    let x = b.buf("x", Access::Read, 8.into());
    let y = b.buf("y", Access::Write, 2.into());
    let given = b.load(Elem::I64, 1, x, Addr::at(0), None);
    let far = b.load_at(Elem::I8, given);
    b.store(y, Addr::at(0), far, None);
    let own = b.address(x);
    let near = b.load_at(Elem::I8, own);
    b.store(y, Addr::at(1), near, None);
    let k = b.finish();
    let at = |pointer: u64| {
        let (x, mut y, text) = (pointer.to_le_bytes(), [0u8; 2], *b"text");
        let views = [View { space: 0, offset: 0, len: 8 }, View { space: 1, offset: 0, len: 2 }];
        let mut spaces = [Space::Read(&x), Space::Write(&mut y), Space::Read(&text)];
        run_in(&k, &mut spaces, &views, &mut [], 0..1, Options::default()).map(|_| y)
    };
    assert_eq!(at(base(2) + 3), Ok([b't', 3]));
    for wrong in [base(2) + 4, base(3), 0, u64::MAX] {
        assert!(at(wrong).unwrap_err().message.contains("where nothing is"), "{wrong:#x}");
    }
}

#[test]
fn declared_sizes_bind_even_in_larger_memory() {
    let n: Expr = Sym(0).into();
    let mut b = KernelBuilder::new("declared");
    let y = b.buf("y", Access::Write, n.clone() * 8.into());
    let v = b.i64(1);
    b.store(y, Addr::at(2), v, None);
    let k = b.finish();
    let mut memory = [0u8; 64];
    assert!(run(&k, &mut [&mut memory], &mut [2], 0, 1).is_err());
    assert_eq!(run(&k, &mut [&mut memory], &mut [3], 0, 1), Ok(0));
    // Neither may the declaration promise more than there is.
    assert!(run(&k, &mut [&mut memory[..16]], &mut [3], 0, 1).is_err());
}

#[test]
fn buffers_may_share_an_arena_and_constants_stay_constant() {
    let k = increment();
    let mut arena: Vec<u8> = [1i64, 2].iter().flat_map(|v| v.to_le_bytes()).collect();
    let window = View { space: 0, offset: 8, len: 8 };
    let r = run_in(&k, &mut [Space::Write(&mut arena)], &[window, window], &mut [], 0..1, Options::default());
    assert_eq!(r, Ok(0));
    assert_eq!(arena[..8], 1i64.to_le_bytes());
    assert_eq!(arena[8..], 3i64.to_le_bytes());
    let r = run_in(&k, &mut [Space::Read(&arena)], &[window, window], &mut [], 0..1, Options::default());
    assert!(r.unwrap_err().message.contains("constant memory"));
}

fn increment() -> Kernel {
    let mut b = KernelBuilder::new("increment");
    let x = b.buf("x", Access::Read, 8.into());
    let y = b.buf("y", Access::Write, 8.into());
    let v = b.load(Elem::I64, 1, x, Addr::at(0), None);
    let one = b.i64(1);
    let v = b.add(v, one);
    b.store(y, Addr::at(0), v, None);
    b.finish()
}

#[test]
fn parallel_ranges_symbols_and_codes() {
    let n: Expr = Sym(0).into();
    let mut b = KernelBuilder::new("parallel");
    let y = b.buf("y", Access::Write, 32.into());
    let bad = b.dim(&(n.clone() - 5.into()));
    let zero = b.i64(0);
    let bad = b.cmp(CmpOp::Ge, bad, zero);
    b.fail_if(bad, code::INDEX);
    b.parallel(&n, |b, i| {
        let one = b.i64(1);
        b.store(y, Addr::reg(i), one, None);
    });
    let k = b.finish();
    let mut out = [0u8; 32];
    assert_eq!(run(&k, &mut [&mut out], &mut [4], 1, 3), Ok(0));
    assert_eq!(out.chunks(8).map(|c| c[0]).collect::<Vec<_>>(), [0, 1, 1, 0]);
    assert_eq!(run(&k, &mut [&mut out], &mut [6], 0, 6), Ok(code::INDEX));

    let mut b = KernelBuilder::new("set");
    let y = b.buf("y", Access::Write, n * 8.into());
    let v = b.i64(7);
    b.set_sym(Sym(0), v);
    // The size depends on the symbol that this kernel sets: the old value must not be used.
    b.store(y, Addr::at(0), v, None);
    let mut syms = [0i64];
    assert_eq!(run(&b.finish(), &mut [&mut out], &mut syms, 0, 1), Ok(0));
    assert_eq!(syms, [7]);
}

#[test]
fn loops_that_never_end_are_stopped() {
    let mut b = KernelBuilder::new("forever");
    b.while_(|b| b.bool(1, true), |_| {});
    let options = Options { steps: 10_000, ..Options::default() };
    let e = run_in(&b.finish(), &mut [], &[], &mut [], 0..1, options).unwrap_err();
    assert_eq!(e.fault, Fault::Limit);
    let mut b = KernelBuilder::new("long");
    b.range(&i64::MAX.into(), |_, _| {});
    assert!(run_in(&b.finish(), &mut [], &[], &mut [], 0..1, options).is_err());
}

#[test]
fn dims_divide_like_machine_code() {
    for (text, syms, want) in [
        ("div(s0, s1)", [7, 0], 0),
        ("mod(s0, s1)", [7, 0], 0),
        ("div(s0, s1)", [-7, 2], -4),
        ("mod(s0, s1)", [-7, 2], 1),
        ("sel(s0 - 4, s1, 3*s0)", [3, 9], 9),
        ("min(s0, s1)*max(s0, s1) + 1", [3, -9], -26),
    ] {
        let e: Expr = text.parse().unwrap();
        let mut b = KernelBuilder::new("dim");
        let y = b.buf("y", Access::Write, 8.into());
        let v = b.dim(&e);
        b.store(y, Addr::at(0), v, None);
        let mut out = [0u8; 8];
        assert_eq!(run(&b.finish(), &mut [&mut out], &mut syms.clone(), 0, 1), Ok(0));
        assert_eq!(i64::from_le_bytes(out), want, "{text}");
    }
}

#[test]
fn neg_abs_and_not_keep_their_width() {
    let got = results(4, |b, out| {
        let x = b.int(Elem::I8, 1, -128);
        for (i, op) in [UnOp::Neg, UnOp::Abs, UnOp::Not].into_iter().enumerate() {
            let v = b.un(op, x);
            put(b, out, i as i64, v);
        }
        let z = b.float(Elem::F32, 1, 0.0);
        let z = b.un(UnOp::Neg, z);
        put(b, out, 3, z);
    });
    assert_eq!(got, [-128, -128, 127, 0x8000_0000]);
}
