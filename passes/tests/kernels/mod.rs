//! Lowers single nodes, runs their kernels in the interpreter and compares with the evaluator.
#![allow(dead_code, clippy::unwrap_used)]

use sinter_ir::eval::EvalCx;
use sinter_ir::graph::SymKind;
use sinter_ir::target::TargetDesc;
use sinter_ir::tile::{Kernel, interp, verify};
use sinter_ir::{DType, Expr, Op, Sym, Symbols, Tensor, TensorType};
use sinter_passes::lower::{Arg, LowerCx, Lowered, NodeView, Precision, lower};
use std::collections::BTreeMap;

pub mod group;
#[path = "../support/rng.rs"]
mod rng;
pub use rng::Rng;

impl Rng {
    pub fn dim(&mut self, lo: usize, hi: usize) -> usize {
        lo + self.below(hi - lo + 1)
    }
    pub fn flip(&mut self) -> bool {
        self.below(2) == 0
    }
    /// Floats in [-1, 1), integers small enough not to overflow by accident.
    pub fn tensor(&mut self, dtype: DType, shape: Vec<usize>) -> Tensor {
        let n = shape.iter().product();
        let unsigned = dtype.is_unsigned_int() || dtype == DType::Bool;
        let mut v = || match dtype.is_float() {
            true => (self.below(2048) as f64 - 1024.0) / 1024.0,
            false if unsigned => self.below(17) as f64,
            false => self.below(17) as f64 - 8.0,
        };
        let values: Vec<f64> = (0..n).map(|_| v()).collect();
        Tensor::from_f64(dtype, shape, &values).unwrap()
    }
}

/// A target with the vectors of the portable emitter.
pub fn target() -> TargetDesc {
    TargetDesc {
        name: "test".into(),
        summary: String::new(),
        triple: "x86_64-unknown-linux-gnu".into(),
        features: vec![],
        vector_bits: 128,
        vector_registers: 16,
        cores: 1,
        cache_bytes: vec![32 << 10, 1 << 20],
        page_bytes: 4096,
        compiler_flags: vec![],
        peaks: None,
        memory: Default::default(),
        cost: Default::default(),
        verified: "native".into(),
    }
}

/// A node to lower with concrete operands.
pub struct Case {
    pub op: Op,
    pub inputs: Vec<Tensor>,
    /// Types of the operands; their dims may be symbols.
    pub types: Vec<TensorType>,
    /// Which operands are known at compile time.
    pub fixed: Vec<bool>,
    pub symbols: Symbols,
    pub values: BTreeMap<Sym, i64>,
    pub tolerance: f64,
    /// By how much integer results may differ: floats that round the other way.
    pub slack: i64,
    /// Compares floats by their bits (NaN equals NaN).
    pub exact: bool,
    /// The code that the kernels must end with.
    pub code: i32,
    pub target: TargetDesc,
    pub exact_convolutions: bool,
    pub precision: Precision,
}

impl Case {
    pub fn new(op: impl Into<Op>, inputs: Vec<Tensor>) -> Self {
        let types = inputs.iter().map(TensorType::of).collect();
        let fixed = vec![false; inputs.len()];
        let (symbols, values) = (Symbols::default(), BTreeMap::new());
        Self {
            op: op.into(),
            inputs,
            types,
            fixed,
            symbols,
            values,
            tolerance: 1e-4,
            slack: 0,
            exact: false,
            code: 0,
            target: target(),
            exact_convolutions: false,
            precision: Precision::F32,
        }
    }
    /// Makes an operand a constant.
    pub fn fix(mut self, i: usize) -> Self {
        self.fixed[i] = true;
        self
    }
    /// Picks vectors of 128, 256 or 512 bits and the number of registers and cores.
    pub fn on_any_target(&mut self, rng: &mut Rng) {
        let (bits, registers) = rng.pick(&[(128, 16), (128, 32), (256, 16), (512, 32)]);
        (self.target.vector_bits, self.target.vector_registers) = (bits, registers);
        self.target.cores = rng.pick(&[1, 4]);
        // Small caches cut even small problems into blocks.
        self.target.cache_bytes = rng.pick(&[[32 << 10, 1 << 20], [256, 1 << 10]]).to_vec();
    }
    /// Makes a dim of an operand symbolic; equal dims of `same` share the symbol.
    pub fn free(&mut self, at: &[(usize, usize)]) -> Expr {
        let value = self.inputs[at[0].0].shape()[at[0].1] as i64;
        let sym = self.symbols.fresh(format!("n{}", self.symbols.table.len()), 0, 96, SymKind::Input);
        self.values.insert(sym, value);
        for &(i, axis) in at {
            self.types[i].dims[axis] = sym.into();
        }
        sym.into()
    }
    /// A symbol with a value that no operand has as a dim.
    pub fn symbol(&mut self, value: i64, max: i64) -> Sym {
        let sym = self.symbols.fresh(format!("n{}", self.symbols.table.len()), 0, max, SymKind::Run);
        self.values.insert(sym, value);
        sym
    }

    /// Lowers, runs and compares.
    pub fn check(&self) -> Lowered {
        let mut symbols = self.symbols.clone();
        let types: Vec<&TensorType> = self.types.iter().collect();
        let outs = self.op.infer(&mut symbols, &types).unwrap_or_else(|e| panic!("{e}"));
        let defined = self.op.defines();
        let syms = self.values.iter().map(|(s, v)| (*s, *v)).filter(|(s, _)| !defined.contains(s)).collect();
        let mut cx = EvalCx { syms, ..EvalCx::default() };
        let want = match self.op.eval(&mut cx, &self.inputs) {
            Err(_) if self.code != 0 => vec![],
            other => other.unwrap_or_else(|e| panic!("{e}")),
        };
        let consts = self.inputs.iter().zip(&self.fixed).map(|(t, f)| f.then_some(t)).collect();
        let view = NodeView { op: &self.op, inputs: types, consts, outputs: outs.iter().collect() };
        let low = LowerCx {
            target: &self.target,
            symbols: &symbols,
            choices: &Default::default(),
            texts: None,
            exact_convolutions: self.exact_convolutions,
            precision: self.precision,
        };
        let lowered = lower(&low, &view).unwrap_or_else(|e| panic!("{}: {e}", self.describe()));
        let got = self.run(&symbols, &outs, &lowered);
        if self.code != 0 {
            return lowered;
        }
        for s in &defined {
            assert_eq!(got.1[s.0 as usize], cx.syms[s], "{}: symbol", self.describe());
        }
        for (i, (got, want)) in got.0.iter().zip(&want).enumerate() {
            self.compare(i, got, want);
        }
        lowered
    }

    fn describe(&self) -> String {
        let shapes: Vec<String> = self
            .inputs
            .iter()
            .zip(&self.fixed)
            .map(|(t, f)| format!("{}{:?}{}", t.dtype(), t.shape(), if *f { " fixed" } else { "" }))
            .collect();
        let op = match &self.op {
            Op::Group(g) => g.body.iter().map(|(_, n)| n.op.name()).collect::<Vec<_>>().join(" "),
            op => format!("{op:?}"),
        };
        format!("{op} of {}", shapes.join(", "))
    }

    fn run(&self, symbols: &Symbols, outs: &[TensorType], l: &Lowered) -> (Vec<Vec<u8>>, Vec<i64>) {
        let mut syms = vec![0; symbols.table.len()];
        let defined = self.op.defines();
        for (s, v) in self.values.iter().filter(|(s, _)| !defined.contains(s)) {
            syms[s.0 as usize] = *v;
        }
        let value = |e: &Expr, syms: &[i64]| e.eval(&|s| syms.get(s.0 as usize).copied()).unwrap_or(0).max(0);
        let mut memory: Vec<(Arg, Vec<u8>)> = vec![];
        memory.extend(self.inputs.iter().enumerate().map(|(i, t)| (Arg::Input(i), t.bytes().to_vec())));
        // Results are planned for the largest dims.
        let at_most = |t: &TensorType| {
            let (now, most) = (value(&t.numel(), &syms), symbols.range(&t.numel()).1);
            (now.max(most.min(1 << 20)) as usize * t.dtype.bits()).div_ceil(8)
        };
        memory.extend(outs.iter().enumerate().map(|(i, t)| (Arg::Output(i), vec![0xa5; at_most(t)])));
        memory.extend(
            l.scratch
                .iter()
                .enumerate()
                .map(|(i, e)| (Arg::Scratch(i), vec![0x5a; value(e, &syms) as usize])),
        );
        memory.extend(l.packed.iter().enumerate().map(|(i, p)| (Arg::Packed(i), p.to_vec())));
        let mut failed = 0;
        for call in &l.calls {
            // As written and as cleaned up: both must be sound; the cleaned one is what bundles run.
            let tidy = sinter_passes::tidy::run(call.kernel.clone());
            for k in [&call.kernel, &tidy] {
                let problems = verify::verify(k);
                assert!(problems.is_empty(), "{}: {problems:?}\n{k:?}", self.describe());
            }
            let k: &Kernel = &tidy;
            let mut own: Vec<Vec<u8>> = call.args.iter().map(|a| take(&mut memory, *a)).collect();
            let mut bufs: Vec<&mut [u8]> = own.iter_mut().map(Vec::as_mut_slice).collect();
            let n = k.parallel.as_ref().map_or(1, |e| value(e, &syms));
            // Any split of the parallel loop must do.
            for (lo, hi) in [(n / 3, n), (0, n / 3)] {
                if k.parallel.is_none() && lo > 0 || (k.parallel.is_none() && hi == 0) {
                    continue;
                }
                let code = interp::run(k, &mut bufs, &mut syms, lo, hi)
                    .unwrap_or_else(|e| panic!("{}: {e}", self.describe()));
                failed |= code;
            }
            for (a, data) in call.args.iter().zip(own) {
                memory.push((*a, data));
            }
            if failed != 0 {
                break;
            }
        }
        assert_eq!(failed, self.code, "{}", self.describe());
        ((0..outs.len()).map(|i| take(&mut memory, Arg::Output(i))).collect(), syms)
    }

    fn compare(&self, i: usize, got: &[u8], want: &Tensor) {
        let n = want.bytes().len();
        assert!(got.len() >= n, "{}: result {i} has {} bytes, {n} needed", self.describe(), got.len());
        let got = Tensor::from_bytes(want.dtype(), want.shape().to_vec(), got[..n].to_vec()).unwrap();
        if matches!(want.dtype(), DType::C64 | DType::C128) {
            assert_eq!(got, *want, "{}: result {i}", self.describe());
            return;
        }
        if !want.dtype().is_float() {
            let (g, w) = (got.to_i64().unwrap(), want.to_i64().unwrap());
            let bad = g.iter().zip(&w).position(|(a, b)| a.abs_diff(*b) > self.slack as u64);
            assert!(
                bad.is_none(),
                "{}: result {i}{:?} at {bad:?}: {:?} for {:?}",
                self.describe(),
                want.shape(),
                bad.map(|p| g[p]),
                bad.map(|p| w[p])
            );
            return;
        }
        let (g, w) = (got.to_f64().unwrap(), want.to_f64().unwrap());
        if self.exact {
            let same = |a: &f64, b: &f64| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
            let bad = g.iter().zip(&w).position(|(a, b)| !same(a, b));
            let value =
                bad.map(|p| (g[p], w[p], self.inputs[0].to_f64().ok().and_then(|x| x.get(p).copied())));
            assert!(
                bad.is_none(),
                "{}: result {i}{:?} at {bad:?}: got, wanted, operand: {value:?}",
                self.describe(),
                want.shape()
            );
            return;
        }
        let scale = match want.dtype() {
            DType::F16 => 8e-3,
            DType::BF16 => 6e-2,
            _ => self.tolerance,
        };
        let close =
            |a: f64, b: f64| a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= scale * (1.0 + b.abs());
        let bad = g.iter().zip(&w).position(|(a, b)| !close(*a, *b));
        assert!(
            bad.is_none(),
            "{}: result {i}{:?} at {bad:?}: {:?} for {:?}",
            self.describe(),
            want.shape(),
            bad.map(|p| g[p]),
            bad.map(|p| w[p])
        );
    }
}

fn take(memory: &mut Vec<(Arg, Vec<u8>)>, a: Arg) -> Vec<u8> {
    let i = memory
        .iter()
        .position(|(x, _)| *x == a)
        .unwrap_or_else(|| panic!("{a:?} is used twice or does not exist"));
    memory.swap_remove(i).1
}

/// Number of statements and instructions of a kernel.
pub fn size(k: &Kernel) -> usize {
    use sinter_ir::tile::Stmt;
    fn count(b: &[Stmt]) -> usize {
        b.iter()
            .map(|s| match s {
                Stmt::For { body, .. } => 1 + count(body),
                Stmt::While { test, body, .. } => 1 + count(test) + count(body),
                Stmt::If { then, els, .. } => 1 + count(then) + count(els),
                _ => 1,
            })
            .sum()
    }
    count(&k.body)
}
