//! Expanded math functions against correctly rounded references, run by the TileIR interpreter with fused and
//! with separate multiply-adds, over bit patterns of every exponent and dense ranges.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::interp::{Options, Space, View, run_in};
use sinter_ir::tile::verify::verify;
use sinter_ir::tile::{Access, Addr, BinOp, Bound, Elem, Kernel, LoopKind, Reg, Ty, UnOp};
use sinter_passes::math::{Primitives, coarse, expand};

/// A kernel that applies `f` to `n` elements of every input buffer, `lanes` at a time, expanded.
fn kernel(
    n: usize,
    lanes: u16,
    inputs: &[Elem],
    out: Elem,
    have: Primitives,
    f: impl Fn(&mut KernelBuilder, &[Reg]) -> Reg,
) -> Kernel {
    let mut b = KernelBuilder::new("math");
    let bytes = |e: Elem| (n * e.bytes() as usize).into();
    let from: Vec<_> = inputs.iter().map(|&e| (e, b.buf("x", Access::Read, bytes(e)))).collect();
    let to = b.buf("y", Access::Write, bytes(out));
    b.for_(Bound::Const(0), Bound::Const(n as i64), lanes.into(), LoopKind::Serial, |b, i| {
        let left = b.i64(n as i64);
        let left = b.sub(left, i);
        let x: Vec<Reg> = from.iter().map(|&(e, x)| b.load(e, lanes, x, Addr::reg(i), Some(left))).collect();
        let y = f(b, &x);
        b.store(to, Addr::reg(i), y, Some(left));
    });
    let k = expand(b.finish(), have);
    assert_eq!(verify(&k), vec![]);
    let text = format!("{:?}", k.body);
    for name in FUNCTIONS {
        assert!(!text.contains(&format!("({name}, Reg(")), "{name} is left");
    }
    k
}

const FUNCTIONS: &[&str] = &[
    "Exp",
    "Log",
    "Sin",
    "Cos",
    "Tan",
    "Asin",
    "Acos",
    "Atan",
    "Sinh",
    "Cosh",
    "Tanh",
    "Asinh",
    "Acosh",
    "Atanh",
    "Erf",
    "Sigmoid",
    "Pow",
    "Fmod",
    "F16ToF32",
    "F32ToF16",
    "Bf16ToF32",
    "F32ToBf16",
    "F32ToBf16Flush",
];

/// Runs a kernel over raw inputs.
fn execute(k: &Kernel, inputs: &[&[u8]], out_bytes: usize, fused: bool) -> Vec<u8> {
    let mut out = vec![0u8; out_bytes];
    let mut spaces: Vec<Space> = inputs.iter().map(|b| Space::Read(b)).collect();
    spaces.push(Space::Write(&mut out));
    let views: Vec<View> =
        spaces.iter().enumerate().map(|(i, s)| View { space: i, offset: 0, len: s.bytes().len() }).collect();
    let options = Options { fused, ..Options::default() };
    assert_eq!(run_in(k, &mut spaces, &views, &mut [], 0..1, options), Ok(0));
    out
}

/// How kernels are expanded and run.
#[derive(Debug, Clone, Copy)]
struct Mode {
    fused: bool,
    have: Primitives,
}

impl From<bool> for Mode {
    fn from(fused: bool) -> Self {
        Self { fused, have: Primitives::default() }
    }
}

fn modes() -> [Mode; 3] {
    let have = Primitives { scale: true, half: true, ..Primitives::default() };
    [false.into(), true.into(), Mode { fused: true, have }]
}

fn run_f32(
    x: &[&[f32]],
    lanes: u16,
    mode: impl Into<Mode>,
    f: impl Fn(&mut KernelBuilder, &[Reg]) -> Reg,
) -> Vec<f32> {
    let (n, mode) = (x[0].len(), mode.into());
    let k = kernel(n, lanes, &vec![Elem::F32; x.len()], Elem::F32, mode.have, f);
    let bytes: Vec<Vec<u8>> = x.iter().map(|x| x.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let refs: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
    execute(&k, &refs, 4 * n, mode.fused).as_chunks().0.iter().map(|c| f32::from_le_bytes(*c)).collect()
}

fn run_f64(x: &[&[f64]], mode: impl Into<Mode>, f: impl Fn(&mut KernelBuilder, &[Reg]) -> Reg) -> Vec<f64> {
    let (n, mode) = (x[0].len(), mode.into());
    let k = kernel(n, 4, &vec![Elem::F64; x.len()], Elem::F64, mode.have, f);
    let bytes: Vec<Vec<u8>> = x.iter().map(|x| x.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let refs: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
    execute(&k, &refs, 8 * n, mode.fused).as_chunks().0.iter().map(|c| f64::from_le_bytes(*c)).collect()
}

/// Distance in units of the last place of `want` (given with more precision), infinite for a wrong kind of value.
fn ulps32(got: f32, want: f64) -> f64 {
    let rounded = want as f32;
    if rounded.is_nan() || got.is_nan() {
        return if rounded.is_nan() && got.is_nan() { 0.0 } else { f64::INFINITY };
    }
    if rounded == 0.0 && got == 0.0 {
        return if rounded.is_sign_negative() == got.is_sign_negative() { 0.0 } else { f64::INFINITY };
    }
    if rounded.is_infinite() || got.is_infinite() {
        // One step beyond the largest number counts as one unit.
        let max = f64::from(f32::MAX);
        let step = 2f64.powi(104);
        let of = |v: f64| if v.is_infinite() { (max + step).copysign(v) } else { v };
        return (of(f64::from(got)) - of(f64::from(rounded))).abs() / step;
    }
    let exp = (want.abs().max(f64::from(f32::MIN_POSITIVE))).log2().floor() as i32;
    (f64::from(got) - want).abs() / 2f64.powi(exp.max(-126) - 23)
}

fn relative64(got: f64, want: f64) -> f64 {
    if want.is_nan() || got.is_nan() {
        return if want.is_nan() && got.is_nan() { 0.0 } else { f64::INFINITY };
    }
    if want == got {
        return if want != 0.0 || want.is_sign_negative() == got.is_sign_negative() {
            0.0
        } else {
            f64::INFINITY
        };
    }
    // In the subnormal range the last place is what counts.
    (got - want).abs() / want.abs().max(f64::MIN_POSITIVE)
}

/// Bit patterns of all signs and exponents, and the places where functions change their minds.
fn patterns32() -> Vec<f32> {
    let mut v: Vec<f32> = (0..1u64 << 32).step_by(9973).map(|b| f32::from_bits(b as u32)).collect();
    for x in SPECIALS {
        let bits = x.to_bits();
        v.extend([bits.wrapping_sub(1), bits, bits.wrapping_add(1)].map(f32::from_bits));
        v.push(-x);
    }
    v
}

const SPECIALS: &[f32] = &[
    0.0,
    1.0,
    0.5,
    2.0,
    f32::INFINITY,
    f32::NAN,
    f32::MIN_POSITIVE,
    1e-45,
    f32::MAX,
    88.72284,
    88.72283,
    89.0,
    -86.0,
    -87.33655,
    -103.97208,
    -103.27893,
    -104.0,
    0.625,
    9.0,
    3.925,
    4.0,
    0.41421357,
    2.4142135,
    0.70710677,
    std::f32::consts::SQRT_2,
    1.5707964,
    std::f32::consts::PI,
    std::f32::consts::FRAC_PI_4,
    6.2831855,
    16777216.0,
    8388608.0,
    1e6,
    0.3465736,
];

fn patterns64() -> Vec<f64> {
    let mut v: Vec<f64> = patterns32().into_iter().step_by(5).map(f64::from).collect();
    v.extend((0..1u128 << 64).step_by(214_748_364_800_003).map(|b| f64::from_bits(b as u64)));
    v.extend(SPECIALS.iter().map(|&x| f64::from(x)));
    v.extend([
        5e-324,
        f64::MIN_POSITIVE,
        f64::MAX,
        709.782712893384,
        709.79,
        -745.13,
        -745.2,
        -708.5,
        -1e-320,
        1e-320,
    ]);
    v
}

fn range(lo: f64, hi: f64, n: usize) -> impl Iterator<Item = f64> {
    (0..=n).map(move |i| lo + (hi - lo) * i as f64 / n as f64)
}

/// Largest error of an f32 function over all patterns and a dense range, and where.
fn check32(op: UnOp, bound: f64, dense: (f64, f64), domain: impl Fn(f64) -> bool, want: impl Fn(f64) -> f64) {
    let mut x = patterns32();
    x.extend(range(dense.0, dense.1, 100_000).map(|v| v as f32));
    x.retain(|&v| domain(f64::from(v)));
    for mode in modes() {
        let y = run_f32(&[&x], 8, mode, |b, x| b.un(op, x[0]));
        let (mut worst, mut at) = (0.0, 0);
        for (i, (&x, &y)) in x.iter().zip(&y).enumerate() {
            let e = ulps32(y, want(f64::from(x)));
            if e > worst {
                (worst, at) = (e, i);
            }
        }
        eprintln!("{op:?} f32 {mode:?}: {worst:.3} ulp at {:e}", x[at]);
        assert!(
            worst <= bound,
            "{op:?} {mode:?}: {worst} ulp at {:e} ({:#x}): {:e} instead of {:e}",
            x[at],
            x[at].to_bits(),
            y[at],
            want(f64::from(x[at]))
        );
    }
}

fn check64(op: UnOp, bound: f64, dense: (f64, f64), domain: impl Fn(f64) -> bool, want: impl Fn(f64) -> f64) {
    let mut x = patterns64();
    x.extend(range(dense.0, dense.1, 50_000));
    x.retain(|&v| domain(v));
    for mode in modes() {
        let y = run_f64(&[&x], mode, |b, x| b.un(op, x[0]));
        let (mut worst, mut at) = (0.0, 0);
        for (i, (&x, &y)) in x.iter().zip(&y).enumerate() {
            let e = relative64(y, want(x));
            if e > worst {
                (worst, at) = (e, i);
            }
        }
        eprintln!("{op:?} f64 {mode:?}: {worst:.3e} at {:e}", x[at]);
        assert!(
            worst <= bound,
            "{op:?} {mode:?}: {worst:e} at {:e}: {:e} instead of {:e}",
            x[at],
            y[at],
            want(x[at])
        );
    }
}

fn all(_: f64) -> bool {
    true
}

fn sigmoid(x: f64) -> f64 {
    if x < 0.0 { x.exp() / (1.0 + x.exp()) } else { 1.0 / (1.0 + (-x).exp()) }
}

/// 2/sqrt(pi) e^(-x^2) sum 2^n x^(2n+1) / (2n+1)!! near 0, a continued fraction beyond.
fn erf(x: f64) -> f64 {
    let a = x.abs();
    if a.is_nan() {
        return x;
    }
    if a < 2.5 {
        let (mut t, mut s) = (a, a);
        for n in 1..120 {
            t *= 2.0 * a * a / f64::from(2 * n + 1);
            s += t;
        }
        return (s * (-a * a).exp() * std::f64::consts::FRAC_2_SQRT_PI).copysign(x);
    }
    let f = (1..=200).rev().fold(0.0, |f, k| f64::from(k) / 2.0 / (a + f));
    (1.0 - (-a * a).exp() / std::f64::consts::PI.sqrt() / (a + f)).copysign(x)
}

#[test]
fn exponentials_f32() {
    check32(UnOp::Exp, 1.5, (-104.5, 89.5), all, f64::exp);
    check32(UnOp::Sigmoid, 4.0, (-105.0, 30.0), all, sigmoid);
    check32(UnOp::Log, 1.5, (0.0, 10.0), all, f64::ln);
}

#[test]
fn exponentials_f64() {
    check64(UnOp::Exp, 1e-14, (-746.0, 711.0), all, f64::exp);
    check64(UnOp::Sigmoid, 1e-14, (-746.0, 40.0), all, sigmoid);
    check64(UnOp::Log, 1e-14, (0.0, 10.0), all, f64::ln);
}

#[test]
fn hyperbolic_and_erf() {
    check32(UnOp::Tanh, 4.0, (-10.0, 10.0), all, f64::tanh);
    check32(UnOp::Erf, 4.0, (-5.0, 5.0), all, erf);
    check32(UnOp::Sinh, 1.0, (-90.0, 90.0), all, f64::sinh);
    check32(UnOp::Cosh, 1.0, (-90.0, 90.0), all, f64::cosh);
    check64(UnOp::Tanh, 1e-14, (-20.0, 20.0), all, f64::tanh);
    check64(UnOp::Erf, 1e-14, (-7.0, 7.0), all, erf);
    check64(UnOp::Sinh, 1e-14, (-5.0, 5.0), all, f64::sinh);
    check64(UnOp::Cosh, 1e-14, (-5.0, 5.0), all, f64::cosh);
}

#[test]
fn coarse_functions() {
    let relative = |x: &[f32], bound: f64, want: fn(f64) -> f64, f: fn(&mut KernelBuilder, Reg) -> Reg| {
        for mode in modes() {
            for (&x, y) in x.iter().zip(run_f32(&[x], 16, mode, |b, x| f(b, x[0]))) {
                let want = want(x.into());
                let off = (f64::from(y) - want).abs();
                assert!(
                    off <= bound * want.abs() || (want.is_nan() && y.is_nan()),
                    "{x:e}: {y:e}, not {want:e}"
                );
            }
        }
    };
    let mut x: Vec<f32> = range(-6.0, 6.0, 20_001).map(|v| v as f32).collect();
    x.extend([0.0, -0.0, 1e-20, -1e-20, f32::INFINITY, f32::NEG_INFINITY, f32::NAN]);
    relative(&x, 2f64.powi(-12), erf, coarse::erf);
    let mut x: Vec<f32> = range(-87.0, 0.0, 20_001).map(|v| v as f32).collect();
    x.extend([-1e-20, -0.0, f32::NAN]);
    relative(&x, 2f64.powi(-13), f64::exp, coarse::exp_not_positive);
    let small = run_f32(&[&[-88.0, -200.0, -3.4e38, f32::NEG_INFINITY]], 4, true, |b, x| {
        coarse::exp_not_positive(b, x[0])
    });
    assert!(small.iter().all(|y| (0.0..1e-37).contains(y)), "{small:?}");
}

#[test]
fn trigonometric() {
    let limited = |x: f64| x.abs() <= 1e6 || !x.is_finite();
    check32(UnOp::Sin, 1.0, (-100.0, 100.0), limited, f64::sin);
    check32(UnOp::Cos, 1.0, (-100.0, 100.0), limited, f64::cos);
    check32(UnOp::Tan, 1.0, (-100.0, 100.0), limited, f64::tan);
    check64(UnOp::Sin, 1e-13, (-100.0, 100.0), limited, f64::sin);
    check64(UnOp::Cos, 1e-13, (-100.0, 100.0), limited, f64::cos);
    check64(UnOp::Tan, 1e-13, (-100.0, 100.0), limited, f64::tan);
}

#[test]
fn inverse_functions() {
    check32(UnOp::Asin, 1.0, (-1.0, 1.0), all, f64::asin);
    check32(UnOp::Acos, 1.0, (-1.0, 1.0), all, f64::acos);
    check32(UnOp::Atan, 1.0, (-10.0, 10.0), all, f64::atan);
    check32(UnOp::Asinh, 1.0, (-10.0, 10.0), all, asinh);
    check32(UnOp::Acosh, 1.0, (1.0, 10.0), all, acosh);
    check32(UnOp::Atanh, 1.0, (-1.0, 1.0), all, atanh);
    check64(UnOp::Asin, 1e-14, (-1.0, 1.0), all, f64::asin);
    check64(UnOp::Acos, 1e-14, (-1.0, 1.0), all, f64::acos);
    check64(UnOp::Atan, 1e-14, (-10.0, 10.0), all, f64::atan);
    check64(UnOp::Asinh, 1e-14, (-10.0, 10.0), all, asinh);
    check64(UnOp::Acosh, 1e-14, (1.0, 10.0), all, acosh);
    check64(UnOp::Atanh, 1e-14, (-1.0, 1.0), all, atanh);
}

// The standard library's versions lose digits near 0 and 1 and overflow early.
fn asinh(x: f64) -> f64 {
    let a = x.abs();
    if a > 1e150 {
        return (a.ln() + std::f64::consts::LN_2).copysign(x);
    }
    (a + a * a / ((a * a + 1.0).sqrt() + 1.0)).ln_1p().copysign(x)
}

fn acosh(x: f64) -> f64 {
    if x > 1e150 {
        return x.ln() + std::f64::consts::LN_2;
    }
    let t = x - 1.0;
    if x < 1.0 { f64::NAN } else { (t + (t * (x + 1.0)).sqrt()).ln_1p() }
}

fn atanh(x: f64) -> f64 {
    (0.5 * (2.0 * x.abs() / (1.0 - x.abs())).ln_1p()).copysign(x)
}

/// All pairs of interesting operands, and a grid.
fn pairs() -> (Vec<f64>, Vec<f64>) {
    let one = [
        0.0,
        1.0,
        2.0,
        3.0,
        0.5,
        1.5,
        7.0,
        10.0,
        33.0,
        1e-3,
        1e3,
        0.999,
        1.001,
        1e10,
        1e-10,
        1e30,
        1e-30,
        1e-40,
        4097.0,
        16777215.0,
        1e38,
        f64::INFINITY,
        f64::NAN,
    ];
    let all: Vec<f64> = one.iter().flat_map(|&v| [v, -v]).collect();
    let (mut x, mut y) = (vec![], vec![]);
    for &a in &all {
        for &b in &all {
            x.push(a);
            y.push(b);
        }
    }
    for a in range(0.01, 20.0, 200) {
        for b in range(-30.0, 30.0, 200) {
            x.push(a);
            y.push(b);
        }
    }
    (x, y)
}

#[test]
fn powers() {
    let (x, y) = pairs();
    for fused in [false, true] {
        let got = run_f64(&[&x, &y], fused, |b, x| b.bin(BinOp::Pow, x[0], x[1]));
        for ((&x, &y), &r) in x.iter().zip(&y).zip(&got) {
            let e = relative64(r, x.powf(y));
            assert!(e <= 2e-14, "pow({x:e}, {y:e}) = {r:e}, not {:e}: {e:e}", x.powf(y));
        }
        let (xs, ys): (Vec<f32>, Vec<f32>) = x.iter().zip(&y).map(|(&x, &y)| (x as f32, y as f32)).unzip();
        let got = run_f32(&[&xs, &ys], 4, fused, |b, x| b.bin(BinOp::Pow, x[0], x[1]));
        for ((&x, &y), &r) in xs.iter().zip(&ys).zip(&got) {
            let want = f64::from(x).powf(f64::from(y));
            assert!(ulps32(r, want) <= 1.0, "pow({x:e}, {y:e}) = {r:e}, not {want:e}");
        }
    }
}

#[test]
fn remainders_are_exact() {
    let (mut x, mut y) = pairs();
    for (a, b) in
        [(1e300, 3.7), (f64::MAX, 5e-324), (1e-310, 3e-320), (5.5, 1e-308), (1e18, 7.0), (-1e200, 1e-200)]
    {
        x.push(a);
        y.push(b);
    }
    let got = run_f64(&[&x, &y], false, |b, x| b.bin(BinOp::Fmod, x[0], x[1]));
    for ((&x, &y), &r) in x.iter().zip(&y).zip(&got) {
        assert_eq!(relative64(r, x % y), 0.0, "fmod({x:e}, {y:e}) = {r:e}, not {:e}", x % y);
    }
    let (xs, ys): (Vec<f32>, Vec<f32>) = x.iter().zip(&y).map(|(&x, &y)| (x as f32, y as f32)).unzip();
    let got = run_f32(&[&xs, &ys], 4, false, |b, x| b.bin(BinOp::Fmod, x[0], x[1]));
    for ((&x, &y), &r) in xs.iter().zip(&ys).zip(&got) {
        assert_eq!(ulps32(r, f64::from(x % y)), 0.0, "fmod({x:e}, {y:e}) = {r:e}, not {:e}", x % y);
    }
}

#[test]
fn sixteen_bit_floats_convert_exactly() {
    let all: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    for (op, want) in [
        (UnOp::F16ToF32, (|b| half::f16::from_bits(b).to_f32()) as fn(u16) -> f32),
        (UnOp::Bf16ToF32, |b| half::bf16::from_bits(b).to_f32()),
    ] {
        let k = kernel(1 << 16, 8, &[Elem::I16], Elem::F32, Primitives::default(), |b, x| b.un(op, x[0]));
        let out = execute(&k, &[&all], 4 << 16, false);
        for (b, got) in (0..=u16::MAX).zip(out.as_chunks().0) {
            let (got, want) = (f32::from_le_bytes(*got), want(b));
            assert!(
                got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan()),
                "{op:?} {b:#x}: {got:e} {want:e}"
            );
        }
    }
    // Every value in between two neighbours, and exactly half way.
    let mut x = patterns32();
    for b in 0..=u16::MAX {
        let (f, g) = (half::f16::from_bits(b).to_f32(), half::bf16::from_bits(b).to_f32());
        x.extend([
            f,
            f * (1.0 + 2f32.powi(-11)),
            f + 2f32.powi(-25),
            g,
            f32::from_bits(g.to_bits() | 0x8000),
        ]);
    }
    let bytes: Vec<u8> = x.iter().flat_map(|v| v.to_le_bytes()).collect();
    for (op, want, is_nan) in [
        (
            UnOp::F32ToF16,
            (|v| half::f16::from_f32(v).to_bits()) as fn(f32) -> u16,
            (|b| half::f16::from_bits(b).is_nan()) as fn(u16) -> bool,
        ),
        (UnOp::F32ToBf16, |v| half::bf16::from_f32(v).to_bits(), |b| half::bf16::from_bits(b).is_nan()),
        (
            UnOp::F32ToBf16Flush,
            |v| half::bf16::from_f32(if v.is_subnormal() { 0f32.copysign(v) } else { v }).to_bits(),
            |b| half::bf16::from_bits(b).is_nan(),
        ),
    ] {
        let k = kernel(x.len(), 8, &[Elem::F32], Elem::I16, Primitives::default(), |b, x| b.un(op, x[0]));
        let out = execute(&k, &[&bytes], 2 * x.len(), false);
        for (&x, got) in x.iter().zip(out.as_chunks().0) {
            let (got, want) = (u16::from_le_bytes(*got), want(x));
            assert!(
                got == want || (is_nan(got) && is_nan(want)),
                "{op:?} {x:e} ({:#x}): {got:#x}, not {want:#x}",
                x.to_bits()
            );
        }
    }
}

#[test]
fn any_number_of_lanes() {
    let x: Vec<f32> = range(-3.0, 3.0, 100).map(|v| v as f32).collect();
    for op in [UnOp::Exp, UnOp::Tanh, UnOp::Erf, UnOp::Sigmoid, UnOp::Sin, UnOp::Atan, UnOp::Sinh] {
        let one = run_f32(&[&x], 1, false, |b, x| b.un(op, x[0]));
        for lanes in [2, 3, 16] {
            assert_eq!(run_f32(&[&x], lanes, false, |b, x| b.un(op, x[0])), one, "{op:?} {lanes}");
        }
    }
}

#[test]
fn functions_inside_branches_and_loops_are_found() {
    let mut b = KernelBuilder::new("nested");
    let y = b.buf("y", Access::Write, 4.into());
    let r = b.zero(Ty { elem: Elem::F32, lanes: 1 });
    let yes = b.bool(1, true);
    b.if_(
        yes,
        |b| {
            b.range(&2.into(), |b, _| {
                let e = b.un(UnOp::Exp, r);
                b.copy_to(r, e);
            });
        },
        |_| {},
    );
    b.store(y, Addr::at(0), r, None);
    let k = expand(b.finish(), Primitives::default());
    assert_eq!(verify(&k), vec![]);
    let out = execute(&k, &[], 4, false);
    assert!((f32::from_le_bytes(out.try_into().unwrap()) - std::f32::consts::E).abs() < 1e-6);
}
