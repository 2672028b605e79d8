//! Random programs: control flow, symbols and their checks, as machine code and in the interpreter.

use crate::rng::Rng;
use crate::{r#gen, is_here, node, runnable};
use bytes::Bytes;
use sinter_backends::{emit, legalise, wasm};
use sinter_ir::graph::SymKind;
use sinter_ir::program::{Loc, Port, Program, Step, interp};
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Access, Addr, BinOp, CmpOp, CvtOp, Elem, Kernel};
use sinter_ir::{DType, Expr, Sym, Tensor};
use sinter_runtime::{Aligned, Bundle, Error, Image, Outputs};

/// Symbols: two of the inputs, then those of the run.
const INPUT_SYMS: u32 = 2;
const SYMS: u32 = 7;
/// Set by a kernel.
const BY_KERNEL: Sym = Sym(6);
/// i64 cells in the arena, then truth bytes.
const CELLS: u64 = 16;
const AT: u64 = 64;
const TRUTHS: u64 = 8;

/// A kernel on cells: two read, one written.
fn on_cells(name: &str, out: i64, f: impl FnOnce(&mut KernelBuilder, [sinter_ir::tile::Buf; 3])) -> Kernel {
    let mut b = KernelBuilder::new(name);
    let bufs = [("a", Access::Read), ("b", Access::Read), ("out", Access::Write)]
        .map(|(name, access)| b.buf(name, access, Expr::from(if name == "out" { out } else { 8 })));
    f(&mut b, bufs);
    b.finish()
}

fn kernels() -> Vec<Kernel> {
    let cell = |b: &mut KernelBuilder, buf| b.load(Elem::I64, 1, buf, Addr::default(), None);
    let mix = on_cells("mix", 8, |b, [x, y, out]| {
        let (x, y, three, mask) = (cell(b, x), cell(b, y), b.i64(3), b.i64(63));
        let v = b.mul_add(x, three, y);
        let v = b.bin(BinOp::And, v, mask);
        b.store(out, Addr::default(), v, None);
    });
    let less = on_cells("less", 1, |b, [x, y, out]| {
        let (x, y) = (cell(b, x), cell(b, y));
        let c = b.cmp(CmpOp::Lt, x, y);
        let c = b.cvt(CvtOp::ZExt, Elem::I8, c);
        b.store(out, Addr::default(), c, None);
    });
    let fail = on_cells("fail", 0, |b, [x, _, _]| {
        let (x, bad) = (cell(b, x), b.i64(7));
        let c = b.cmp(CmpOp::Eq, x, bad);
        b.fail_if(c, 5);
    });
    let define = on_cells("define", 0, |b, [x, _, _]| {
        let (x, mask) = (cell(b, x), b.i64(31));
        let v = b.bin(BinOp::And, x, mask);
        b.set_sym(BY_KERNEL, v);
    });
    let spread = on_cells("spread", 64, |b, [x, _, out]| {
        let n = Expr::from(Sym(0)).min_of(&8.into());
        b.parallel(&n, |b, i| {
            let x = cell(b, x);
            let v = b.add(x, i);
            b.store(out, Addr::reg(i), v, None);
        });
    });
    vec![mix, less, fail, define, spread]
}

struct Steps {
    rng: Rng,
    depth: usize,
    left: usize,
}

impl Steps {
    fn cell(&mut self) -> Loc {
        Loc::Arena(AT + 8 * self.rng.below(CELLS as usize) as u64)
    }
    fn source(&mut self) -> Loc {
        match self.rng.below(5) {
            0 => Loc::Weights(64 * self.rng.below(2) as u64),
            1 => Loc::Input(1),
            _ => self.cell(),
        }
    }
    fn truth(&mut self) -> Loc {
        if self.rng.once_in(5) {
            return Loc::Input(2);
        }
        Loc::Arena(AT + 8 * CELLS + self.rng.below(TRUTHS as usize) as u64)
    }
    /// A symbol that steps may set.
    fn sym(&mut self) -> Sym {
        Sym(INPUT_SYMS + self.rng.below((SYMS - INPUT_SYMS) as usize) as u32)
    }
    /// Small values, mostly within the symbols' ranges.
    fn value(&mut self) -> Expr {
        let e = r#gen::expr(&mut self.rng, 2);
        if self.rng.once_in(12) { e } else { e.modulo(&12.into()).max_of(&0.into()) }
    }
    fn block(&mut self) -> Vec<Step> {
        self.depth += 1;
        let n = 1 + self.rng.below(4);
        let out = (0..n).map(|_| self.step()).collect();
        self.depth -= 1;
        out
    }
    fn step(&mut self) -> Step {
        self.left = self.left.saturating_sub(1);
        match self.rng.below(if self.depth < 4 { 16 } else { 12 }) {
            0..=2 => self.call(0, Self::cell),
            3 | 4 => self.call(1, Self::truth_cell),
            5 if !self.rng.once_in(4) => self.call(2, Self::cell),
            5 => self.call(3, Self::cell),
            6 => {
                // Its iterations must not read what others write.
                let (fixed, out) = (Loc::Weights(0), self.rng.below(CELLS as usize - 8) as u64);
                let args = vec![fixed, fixed, Loc::Arena(AT + 8 * out)];
                Step::Call { kernel: 4, args, sizes: vec![], label: "spread".into() }
            }
            7 | 8 => self.copy(),
            9 => Step::SetSym { sym: self.sym(), value: self.value() },
            10 => {
                let dtype = if self.rng.once_in(2) { DType::I64 } else { DType::I32 };
                let index = self.rng.below(2) as u64;
                Step::ReadSym { sym: self.sym(), from: self.source(), index, dtype }
            }
            11 => {
                let a = self.value();
                let b = if self.rng.once_in(6) { self.value() } else { a.clone() };
                Step::Require { a, b, why: "test".into() }
            }
            12 | 13 => {
                let cond = self.truth();
                let then = self.block();
                let els = if self.rng.once_in(2) { self.block() } else { vec![] };
                Step::If { cond, then, els }
            }
            _ => {
                let trip = (!self.rng.once_in(4)).then(|| self.source());
                let cond = self.rng.once_in(2).then(|| self.truth());
                Step::Loop { trip, cond, iter: self.cell(), count: self.sym(), body: self.block() }
            }
        }
    }
    fn truth_cell(&mut self) -> Loc {
        Loc::Arena(AT + 8 * CELLS + self.rng.below(TRUTHS as usize) as u64)
    }
    fn call(&mut self, kernel: u32, out: impl FnOnce(&mut Self) -> Loc) -> Step {
        let args = vec![self.source(), self.source(), out(self)];
        Step::Call { kernel, args, sizes: vec![], label: format!("call of {kernel}") }
    }
    /// Up to 19 bytes, so that words and single bytes are copied.
    fn copy(&mut self) -> Step {
        let (i, j) = (self.rng.below(6) as u64, 8 + self.rng.below(5) as u64);
        let src = match self.rng.below(3) {
            0 => Loc::Weights(0),
            1 => Loc::Input(1),
            _ => Loc::Arena(AT + 8 * j),
        };
        let bytes = match self.rng.below(3) {
            0 => self.rng.within(0, 19).into(),
            _ => self.value().max_of(&0.into()).min_of(&19.into()),
        };
        Step::Copy { dst: Loc::Arena(AT + 8 * i), src, bytes }
    }
}

fn program(seed: u64) -> Program {
    let mut p = Program { name: "p".into(), ..Program::default() };
    let syms: Vec<Expr> = (0..SYMS)
        .map(|i| {
            let (max, kind) = if i < INPUT_SYMS { (9, SymKind::Input) } else { (14, SymKind::Run) };
            p.symbols.fresh(format!("s{i}"), 0, max, kind).into()
        })
        .collect();
    let port =
        |name: &str, dtype, dims: Vec<Expr>, max_bytes| Port { name: name.into(), dtype, dims, max_bytes };
    let both = syms[0].clone() + syms[1].clone();
    p.inputs = vec![
        port("free", DType::U8, vec![syms[0].clone(), syms[1].clone(), both], 2000),
        port("numbers", DType::I64, vec![4.into()], 32),
        port("flag", DType::Bool, vec![1.into()], 1),
    ];
    let mut dims = vec![Expr::from(0)];
    dims.extend(syms.iter().cloned());
    let cells = 8 * CELLS + TRUTHS;
    p.outputs =
        vec![port("shape", DType::U8, dims, 0), port("cells", DType::U8, vec![(cells as i64).into()], cells)];
    let mut g = Steps { rng: Rng(seed), depth: 0, left: 4 + seed as usize % 30 };
    let words = |g: &mut Steps| (0..4).flat_map(|_| g.rng.within(-1, 16).to_le_bytes()).collect::<Vec<u8>>();
    p.weights = vec![(0, Bytes::from(words(&mut g))), (64, Bytes::from(words(&mut g)))];
    // Everything has a value before the random part.
    for i in 0..CELLS {
        let src = if i % 2 == 0 { Loc::Weights(0) } else { Loc::Input(1) };
        p.steps.push(Step::Copy { dst: Loc::Arena(AT + 8 * i), src, bytes: 8.into() });
    }
    let truths = Loc::Arena(AT + 8 * CELLS);
    p.steps.push(Step::Copy { dst: truths, src: Loc::Input(1), bytes: Expr::from(TRUTHS as i64) });
    for s in INPUT_SYMS..SYMS {
        p.steps.push(Step::SetSym { sym: Sym(s), value: i64::from(s).into() });
    }
    while g.left > 0 {
        p.steps.push(g.step());
    }
    p.steps.push(Step::Copy { dst: Loc::Output(1), src: Loc::Arena(AT), bytes: Expr::from(cells as i64) });
    p.arena_bytes = (AT + cells).next_multiple_of(64);
    p.kernels = kernels();
    p
}

/// Inputs, mostly of sizes that the program accepts.
fn inputs(seed: u64) -> Vec<Tensor> {
    let mut rng = Rng(seed ^ 0x77);
    let (a, b) = (rng.within(0, 9) as usize, rng.within(0, 9) as usize);
    let (a, c) = match rng.below(12) {
        0 => (a + 9, a + 9 + b),
        1 => (a, a + b + 1),
        _ => (a, a + b),
    };
    let numbers: Vec<u8> = (0..4).flat_map(|_| rng.within(-1, 16).to_le_bytes()).collect();
    vec![
        Tensor::from_bytes(DType::U8, vec![a, b, c], vec![0; a * b * c]).unwrap(),
        Tensor::from_bytes(DType::I64, vec![4], numbers).unwrap(),
        Tensor::from_bytes(DType::Bool, vec![1], vec![u8::from(rng.once_in(2))]).unwrap(),
    ]
}

#[test]
fn random_programs() {
    let targets: Vec<_> = runnable().into_iter().filter(|t| is_here(t) || wasm::is(t)).collect();
    if targets.is_empty() {
        // One target was asked for that programs of these steps cannot be run on here.
        return;
    }
    let mut codes = std::collections::BTreeMap::new();
    for seed in 0..400 {
        let p = program(seed);
        let t = targets[seed as usize % targets.len()];
        assert!(legalise(&p, t).is_empty(), "seed {seed}");
        let module = wasm::is(t).then(|| node::Module::load(&p));
        let mut bundle = module.is_none().then(|| {
            let e = emit(&p, t).unwrap();
            let weights = Image::Heap(Aligned::copy_of(&e.weights).unwrap());
            Bundle::load("p", &e.archive, weights, 1 + seed as usize % 2).unwrap()
        });
        for round in 0..4 {
            let inputs = inputs(seed * 4 + round);
            let want = interp::run(&p, &inputs, interp::Options::default());
            let want = want.unwrap_or_else(|d| panic!("seed {seed}: {d}\n{:#?}", p.steps));
            let slices: Vec<&[u8]> = inputs.iter().map(Tensor::bytes).collect();
            let dims: Vec<i64> = inputs.iter().flat_map(|t| t.shape().iter().map(|&d| d as i64)).collect();
            let sizes: Vec<usize> = p.outputs.iter().map(|o| o.max_bytes as usize).collect();
            let rank = p.outputs.iter().map(|o| o.dims.len()).sum();
            let got = match (&mut bundle, &module) {
                // SAFETY: tensors hold what their shapes say, sizes are the program's own.
                (Some(bundle), _) => unsafe { bundle.run(&slices, &dims, &sizes, rank) },
                (None, Some(module)) => match module.run(&slices, &dims, rank) {
                    (0, bytes, dims) => Ok(Outputs { bytes, dims }),
                    (code, ..) => Err(Error::Code(code)),
                },
                (None, None) => unreachable!("one of them was made"),
            };
            *codes.entry(want.code).or_insert(0) += 1;
            match got {
                Ok(out) => {
                    assert_eq!(want.code, 0, "seed {seed}.{round}: {:#?}", p.steps);
                    let shape: Vec<i64> = want.outputs[0].shape().iter().map(|&d| d as i64).collect();
                    assert_eq!(out.dims[..shape.len()], shape, "seed {seed}.{round}: {:#?}", p.steps);
                    let same = out.bytes[1] == want.outputs[1].bytes();
                    assert!(same, "seed {seed}.{round}: cells differ: {:#?}", p.steps);
                }
                Err(Error::Code(c)) => assert_eq!(c, want.code, "seed {seed}.{round}: {:#?}", p.steps),
                Err(other) => panic!("seed {seed}.{round}: {other}"),
            }
        }
    }
    // Success, and each check that a run can stop at.
    for code in [0, 1, 2, 5, 7, 8] {
        assert!(codes.get(&code).is_some_and(|&n| n >= 10), "code {code} is rare: {codes:?}");
    }
}
