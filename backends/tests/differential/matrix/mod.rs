//! Every vector operation on every element type with many numbers of lanes, one kernel each, on numbers that are
//! mostly edges: what the random kernels meet seldom.

use crate::r#gen::{self, BYTES, SYMS};
mod arith;
mod moves;

use crate::host::{Case, Native, interpret};
use crate::rng::Rng;
use crate::{difference, runnable};
use sinter_backends::{refuses, wasm};
use sinter_ir::target::TargetDesc;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Addr, Buf, CmpOp, CvtOp, Elem, Inst, Kernel, Reg, Scalar, verify};

const LANES: [u16; 20] = [2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 17, 20, 31, 32, 33, 40, 48, 63, 64];
/// Kernels that are compiled together.
const BATCH: usize = 24;

/// Where the second and third operands come from.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    /// Loads that nothing else reads.
    Loaded,
    /// Registers.
    Copied,
    /// One loaded number in every lane.
    Splat,
    /// One constant in every lane.
    Const,
}

const FORMS: [Form; 4] = [Form::Loaded, Form::Copied, Form::Splat, Form::Const];

/// A kernel under construction: results go one behind the other.
struct Build {
    b: KernelBuilder,
    input: Buf,
    output: Buf,
    both: Buf,
    at: i64,
    form: Form,
    rng: Rng,
}

impl Build {
    fn new(name: String, form: Form) -> Self {
        let mut b = KernelBuilder::new(name);
        let (input, output, both) = r#gen::buffers(&mut b);
        Self { b, input, output, both, at: 0, form, rng: Rng(7) }
    }
    /// Numbers from a place of the input.
    fn load(&mut self, e: Elem, lanes: u16) -> Reg {
        let room = BYTES as i64 / i64::from(e.bytes()) - i64::from(lanes);
        let at = Addr::at(self.rng.within(0, room));
        self.b.load(e, lanes, self.input, at, None)
    }
    /// An operand in the kernel's form; truth values are comparisons.
    fn operand(&mut self, e: Elem, lanes: u16) -> Reg {
        if e == Elem::B1 {
            let (x, y) = (self.load(Elem::I8, lanes), self.load(Elem::I8, lanes));
            return self.b.cmp(CmpOp::Lt, x, y);
        }
        match self.form {
            Form::Loaded => self.load(e, lanes),
            Form::Copied => {
                let x = self.load(e, lanes);
                let r = self.b.reg(e, lanes);
                self.b.set(r, Inst::Copy(x));
                r
            }
            Form::Splat => {
                let x = self.load(e, 1);
                let r = self.b.reg(e, lanes);
                self.b.set(r, Inst::Splat(x));
                r
            }
            Form::Const => {
                let s = match e {
                    Elem::F32 => Scalar::F32(self.rng.pick(&EDGES) as f32),
                    Elem::F64 => Scalar::F64(self.rng.pick(&EDGES)),
                    e => Scalar::Int(int(&mut self.rng) << (64 - e.bits()) >> (64 - e.bits())),
                };
                let r = self.b.reg(e, lanes);
                self.b.set(r, Inst::Const(s));
                r
            }
        }
    }
    /// Stores a result; NaNs are all the same.
    fn keep(&mut self, r: Reg) {
        let ty = self.b.ty(r);
        let r = if ty.elem == Elem::B1 {
            self.b.cvt(CvtOp::ZExt, Elem::I8, r)
        } else if ty.elem.is_float() {
            let ok = self.b.cmp(CmpOp::Eq, r, r);
            let nan = self.b.float(ty.elem, ty.lanes, f64::NAN);
            self.b.select(ok, r, nan)
        } else {
            r
        };
        let e = self.b.ty(r).elem;
        let at = (self.at as u64).next_multiple_of(e.bytes().into()) as i64;
        self.at = at + i64::from(ty.lanes) * i64::from(e.bytes());
        assert!(self.at as usize <= BYTES, "results of {ty} do not fit");
        self.b.store(self.output, Addr::at(at / i64::from(e.bytes())), r, None);
    }
}

const EDGES: [f64; 14] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -2.5,
    1e-42,
    3.4e38,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::NAN,
    2147483648.0,
    -9.3e18,
    4294967295.0,
];

fn int(rng: &mut Rng) -> i64 {
    match rng.below(3) {
        0 => rng.int(),
        1 => rng.pick(&[
            0,
            1,
            -1,
            127,
            -128,
            255,
            32767,
            -32768,
            i32::MIN.into(),
            i32::MAX.into(),
            i64::MIN,
            i64::MAX,
        ]),
        _ => rng.within(-40, 40),
    }
}

/// A buffer of numbers of one type, few of them different.
fn numbers(e: Elem, seed: u64) -> Vec<u8> {
    let mut rng = Rng(seed);
    let mut out = Vec::new();
    while out.len() < BYTES {
        let v = if rng.once_in(2) { rng.pick(&EDGES) } else { rng.float() };
        match e {
            Elem::F64 => out.extend(v.to_le_bytes()),
            Elem::F32 => out.extend((v as f32).to_le_bytes()),
            e => {
                let v = int(&mut rng);
                // Narrow numbers are edges of their own type.
                let v = if e.bits() < 64 && rng.once_in(2) { v >> (64 - e.bits()) } else { v };
                out.extend(&v.to_le_bytes()[..e.bytes() as usize]);
            }
        }
    }
    out.truncate(BYTES);
    out
}

/// Tails: none, some, all, more.
const TAILS: [i64; 14] = [i64::MIN, -5, 0, 1, 2, 3, 5, 8, 13, 16, 31, 64, 300, 1 << 40];

/// Runs kernels whose input has numbers of a type, on every target that this machine can run.
fn check(kernels: &[(Elem, Kernel)]) {
    check_with("avx2", kernels);
}

/// As `check`, on targets with a feature.
fn check_with(feature: &str, kernels: &[(Elem, Kernel)]) {
    // Every target of our own emitters; those that need more than AVX2 need what WebAssembly does not have.
    check_on(&|t| t.has(feature) || (feature == "avx2" && (t.has("neon") || wasm::is(t))), kernels);
}

/// As `check`, on some targets.
fn check_on(which: &dyn Fn(&TargetDesc) -> bool, kernels: &[(Elem, Kernel)]) {
    let targets = runnable();
    for t in targets.into_iter().filter(|t| which(t)) {
        let fused = t.has("fma");
        for batch in kernels.chunks(BATCH) {
            let only: Vec<Kernel> = batch.iter().map(|(_, k)| k.clone()).collect();
            for k in &only {
                assert_eq!(verify::verify(k), vec![], "{}", k.name);
                // Others take every kernel, one operation after the other.
                let refused = refuses(k, t).filter(|_| t.has("avx2") || t.has("neon"));
                assert_eq!(refused, None, "{} on {}", k.name, t.name);
            }
            let mut native = Native::new(&only, t, 1);
            for (i, (e, k)) in batch.iter().enumerate() {
                let mut both: Vec<u8> = TAILS.iter().flat_map(|v| v.to_le_bytes()).collect();
                both.resize(BYTES, 0x5a);
                let bufs = vec![numbers(*e, i as u64), vec![0xa5; BYTES], both];
                let case = Case { bufs, syms: vec![0; SYMS] };
                let (got, want) = (native.run(i, &case), interpret(k, &case, fused));
                assert!(got == want, "{}{}", difference(k, t, &got, &want), k.dump_text());
            }
        }
    }
}

/// One kernel over all numbers of lanes.
fn kernel(name: String, form: Form, lanes: &[u16], f: &mut dyn FnMut(&mut Build, u16)) -> Kernel {
    let mut b = Build::new(name, form);
    for &n in lanes {
        f(&mut b, n);
    }
    b.b.finish()
}
