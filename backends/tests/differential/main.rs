//! Emitted kernels do what the interpreter does: random kernels over every construct and type, on every target that
//! this machine can run.
//!
//! `SINTER_SEEDS=first..end` runs others than the usual seeds, `SINTER_TARGET=name` one target only.

#![allow(unsafe_code, clippy::unwrap_used, clippy::disallowed_methods)]

mod coverage;
#[path = "../../../runtime/std/tests/emulated/mod.rs"]
mod emulated;
mod r#gen;
mod host;
mod insts;
mod matrix;
mod node;
mod rng;
mod source;
mod steps;

use host::{Case, EMULATOR_ABORTED, Native, Outcome, interpret};
use rng::Rng;
use sinter_backends::{c, sources, targets, wasm};
use sinter_ir::target::TargetDesc;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Addr, CmpOp, CvtOp, Elem, Kernel, verify};
use sinter_ir::{Expr, Sym};
use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, OnceLock};

/// Kernels that are compiled together.
const BATCH: u64 = 16;

/// Targets whose instructions this machine has, and one with everything that the emitters know.
fn runnable() -> Vec<&'static TargetDesc> {
    static ALL: OnceLock<Vec<TargetDesc>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let mut all = targets().to_vec();
        all.extend(sources().iter().cloned());
        if let Some(v4) = targets().iter().find(|t| t.has("avx512f")) {
            let mut most = v4.clone();
            most.name = "x86-64-v4 and more".into();
            most.features.extend(["avx512bf16", "avx512vbmi", "avx512vnni", "f16c"].map(String::from));
            most.features.sort();
            all.push(most);
        }
        all
    });
    let runs = |t: &TargetDesc| match () {
        () if c::is(t) => source::has_compiler(),
        // Threads change what is around kernels: tests of bundles run them.
        () if wasm::is(t) => !t.has("atomics") && node::there(),
        () if is_here(t) => has_all(t),
        () => has_emulator(t),
    };
    let only = std::env::var("SINTER_TARGET").ok();
    all.iter().filter(|t| only.as_ref().is_none_or(|o| *o == t.name) && runs(t)).collect()
}

fn is_here(t: &TargetDesc) -> bool {
    t.triple.starts_with(std::env::consts::ARCH) && t.triple.contains("linux")
}

/// Whether a target of another architecture can be emulated; says so once when not.
fn has_emulator(t: &TargetDesc) -> bool {
    static KNOWN: Mutex<BTreeMap<String, bool>> = Mutex::new(BTreeMap::new());
    *KNOWN.lock().unwrap().entry(t.name.clone()).or_insert_with(|| {
        let missing = emulated::start(&t.triple, &t.features).err();
        if let Some(why) = &missing {
            println!("SKIP: {}: {why}", t.name);
            eprintln!("SKIP: {}: {why}", t.name);
        }
        missing.is_none()
    })
}

#[cfg(target_arch = "x86_64")]
fn has_all(t: &TargetDesc) -> bool {
    t.features.iter().all(|f| match f.as_str() {
        "avx" | "avx2" | "bmi1" | "bmi2" | "fma" | "lzcnt" => std::is_x86_feature_detected!("avx2"),
        "avx512f" | "avx512bw" | "avx512dq" | "avx512vl" => std::is_x86_feature_detected!("avx512vl"),
        "avx512vbmi" => std::is_x86_feature_detected!("avx512vbmi"),
        "avx512vnni" => std::is_x86_feature_detected!("avx512vnni"),
        "avx512bf16" => std::is_x86_feature_detected!("avx512bf16"),
        "f16c" => std::is_x86_feature_detected!("f16c"),
        _ => std::is_x86_feature_detected!("sse4.2"),
    })
}

#[cfg(not(target_arch = "x86_64"))]
fn has_all(_: &TargetDesc) -> bool {
    true
}

fn seeds(usual: Range<u64>) -> Range<u64> {
    let given = std::env::var("SINTER_SEEDS").ok();
    let parsed = given.as_deref().and_then(|t| {
        let (a, b) = t.split_once("..")?;
        Some(a.parse().ok()?..b.parse().ok()?)
    });
    parsed.unwrap_or(usual)
}

/// What differs, with the bytes around it.
fn difference(k: &Kernel, t: &TargetDesc, got: &Outcome, want: &Outcome) -> String {
    let mut out = format!(
        "{} on {}: code {} want {}, syms {:?} want {:?}\n",
        k.name, t.name, got.code, want.code, got.syms, want.syms
    );
    for (i, (g, w)) in got.bufs.iter().zip(&want.bufs).enumerate() {
        if let Some(at) = g.iter().zip(w).position(|(a, b)| a != b) {
            let row = at / 16 * 16..at / 16 * 16 + 16;
            out +=
                &format!("written buffer {i} at byte {at}: {:02x?} want {:02x?}\n", &g[row.clone()], &w[row]);
        }
    }
    out
}

/// Compiles kernels together; where that panics, one by one, so that the culprit is named.
fn compile(kernels: &[Kernel], t: &TargetDesc, threads: usize) -> Native {
    catch_unwind(AssertUnwindSafe(|| Native::new(kernels, t, threads))).unwrap_or_else(|_| {
        for k in kernels {
            let alone = catch_unwind(AssertUnwindSafe(|| Native::new(std::slice::from_ref(k), t, threads)));
            assert!(alone.is_ok(), "code generation for {} panics on {}", k.name, t.name);
        }
        panic!("code generation panics only for all kernels together");
    })
}

/// Runs all on one target; gives the number that ran to their end.
fn check(kernels: &[Kernel], cases: &[Case], t: &TargetDesc, threads: usize) -> usize {
    for k in kernels {
        assert_eq!(verify::verify(k), vec![], "{}", k.name);
    }
    let fused = t.has("fma");
    let mut native = compile(kernels, t, threads);
    let mut finished = 0;
    for (i, (k, case)) in kernels.iter().zip(cases).enumerate() {
        let (got, want) = (native.run(i, case), interpret(k, case, fused));
        if got.code == EMULATOR_ABORTED {
            continue;
        }
        assert!(got == want, "{}{k:#?}", difference(k, t, &got, &want));
        finished += usize::from(want.code == 0);
    }
    finished
}

fn random_kernels(seeds: Range<u64>) {
    let targets = runnable();
    assert!(!targets.is_empty(), "no target runs here");
    let (mut finished, mut first) = (0, seeds.start);
    while first < seeds.end {
        let batch = first..(first + BATCH).min(seeds.end);
        first = batch.end;
        let kernels: Vec<Kernel> = batch.clone().map(|s| r#gen::kernel(s, 4 + s as usize % 40)).collect();
        let cases: Vec<Case> = batch.clone().map(case).collect();
        // A single seed is looked at everywhere.
        let one = batch.end - batch.start == 1;
        let turn = (batch.start / BATCH) as usize % targets.len();
        for t in targets.iter().enumerate().filter(|(i, _)| one || *i == turn).map(|(_, t)| t) {
            finished += check(&kernels, &cases, t, 1);
        }
    }
    assert!(finished as u64 * 4 > seeds.end - seeds.start, "only {finished} kernels ran to their end");
}

fn case(seed: u64) -> Case {
    let mut rng = Rng(seed ^ 0xabcd);
    let bufs = (0..3).map(|_| r#gen::bytes(&mut rng)).collect();
    Case { bufs, syms: vec![rng.within(-9, 9), rng.within(0, 3), rng.within(0, 31)] }
}

// Two halves, so that they run at the same time.
#[test]
fn random_kernels_one() {
    random_kernels(seeds(0..1008));
}

#[test]
fn random_kernels_two() {
    if std::env::var_os("SINTER_SEEDS").is_none() {
        random_kernels(1008..2016);
    }
}

/// Many more values than registers.
#[test]
fn large_kernels() {
    for first in (5000..5032).step_by(16) {
        let kernels: Vec<Kernel> = (first..first + 16).map(|s| r#gen::kernel(s, 250)).collect();
        let cases: Vec<Case> = (first..first + 16).map(case).collect();
        for t in runnable().into_iter().filter(|t| t.has("avx2") || t.has("neon") || wasm::is(t)) {
            check(&kernels, &cases, t, 1);
        }
    }
}

#[test]
fn parallel_kernels_on_threads() {
    for threads in 1..=3 {
        let seeds = 100 * threads as u64..100 * threads as u64 + 32;
        let kernels: Vec<Kernel> = seeds
            .clone()
            .map(|s| {
                let n = if s % 2 == 0 { Expr::from((s % 32) as i64) } else { Expr::from(Sym(2)) };
                r#gen::parallel(s, 1 + s as usize % 12, &n)
            })
            .collect();
        let cases: Vec<Case> = seeds.map(case).collect();
        for t in runnable() {
            check(&kernels, &cases, t, threads);
        }
    }
}

/// Cranelift folds such loads into an instruction that faults on them; see `in_register` in the emitter.
#[test]
fn comparisons_of_unaligned_vectors() {
    let kernels: Vec<Kernel> = [CmpOp::Lt, CmpOp::Gt]
        .into_iter()
        .map(|op| {
            let mut b = KernelBuilder::new(format!("unaligned {op:?}"));
            let (input, output, _) = r#gen::buffers(&mut b);
            let (x, y) = (
                b.load(Elem::F32, 4, input, Addr::at(1), None),
                b.load(Elem::F32, 4, input, Addr::at(6), None),
            );
            let less = b.cmp(op, x, y);
            let less = b.cvt(CvtOp::SExt, Elem::I32, less);
            b.store(output, Addr::at(3), less, None);
            b.finish()
        })
        .collect();
    for t in runnable() {
        check(&kernels, &[case(1), case(2)], t, 1);
    }
}
