//! Single contractions compiled for this machine, timed against its multiply-add peak.
//!
//! `cargo bench -p sinter --bench contraction [-- FILTER] [--check]`: one line per shape, best of several rounds on
//! one thread. The peak is measured in the same rounds.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, unsafe_code)]

use sinter_ir::op::{Constant, Conv, MatMul};
use sinter_ir::target::TargetDesc;
use sinter_ir::{DType, Expr, Graph, Module, Op, Symbols, Tensor, TensorType};
use sinter_passes::pipeline::{self, PipelineOptions};
use sinter_runtime::{Bound, Bundle, Image};
use std::time::Instant;

/// A contraction of one input with constant weights.
struct Case {
    name: String,
    op: Op,
    x: Vec<usize>,
    w: Vec<usize>,
    /// Multiply-adds.
    terms: f64,
}

fn matmul(m: usize, k: usize, n: usize) -> Case {
    let terms = (m * k * n) as f64;
    Case { name: format!("matmul {m}x{k}x{n}"), op: MatMul {}.into(), x: vec![m, k], w: vec![k, n], terms }
}

/// Square images and kernels, channels last, padded to keep the size at stride 1.
fn conv(size: usize, c: usize, o: usize, kernel: usize, stride: usize, group: usize) -> Case {
    let pad = Expr::from(kernel / 2);
    let op = Conv {
        strides: vec![stride; 2],
        dilations: vec![1; 2],
        pads_before: vec![pad.clone(), pad.clone()],
        pads_after: vec![pad.clone(), pad],
        group,
        channels_last: true,
    };
    let out = (size + 2 * (kernel / 2) - kernel) / stride + 1;
    let terms = (out * out * kernel * kernel * c / group * o) as f64;
    let grouped = if group > 1 { format!(" g{group}") } else { String::new() };
    Case {
        name: format!("conv {size}x{size}x{c} {kernel}x{kernel}/{stride} {o}{grouped}"),
        op: op.into(),
        x: vec![1, size, size, c],
        w: vec![o, c / group, kernel, kernel],
        terms,
    }
}

fn cases() -> Vec<Case> {
    vec![
        matmul(384, 1536, 128),
        matmul(1024, 1024, 1024),
        matmul(64, 576, 3136),
        matmul(3136, 576, 64),
        matmul(128, 384, 1536),
        matmul(128, 1536, 384),
        matmul(128, 384, 384),
        matmul(16, 384, 1536),
        matmul(1, 2048, 1000),
        conv(224, 3, 64, 7, 2, 1),
        conv(56, 64, 64, 1, 1, 1),
        conv(56, 64, 64, 3, 1, 1),
        conv(56, 64, 256, 1, 1, 1),
        conv(56, 256, 512, 1, 2, 1),
        conv(28, 128, 128, 3, 1, 1),
        conv(28, 512, 128, 1, 1, 1),
        conv(14, 256, 256, 3, 1, 1),
        conv(14, 1024, 256, 1, 1, 1),
        conv(7, 512, 512, 3, 1, 1),
        conv(7, 2048, 512, 1, 1, 1),
        conv(40, 96, 192, 3, 2, 1),
        conv(112, 32, 32, 3, 1, 32),
        conv(56, 144, 144, 3, 1, 144),
        conv(28, 192, 192, 5, 1, 192),
    ]
}

/// Values that repeat slowly: small, of both signs.
fn ramp(shape: &[usize]) -> Tensor {
    let n: usize = shape.iter().product();
    let v: Vec<f32> = (0..n).map(|i| ((i * 37 + i / 11) % 101) as f32 / 50.0 - 1.0).collect();
    Tensor::f32s(shape.to_vec(), &v).unwrap()
}

/// The strongest target that this machine can run.
fn target() -> TargetDesc {
    sinter::driver::native().unwrap().clone()
}

fn compile(case: &Case, target: &TargetDesc) -> (Bundle, usize, u64) {
    let (mut graph, mut symbols) = (Graph::default(), Symbols::default());
    let dims = case.x.iter().map(|&d| d.into()).collect();
    let x = graph.add_input(TensorType::new(DType::F32, dims), Some("x".into()));
    let w = graph.add1(&mut symbols, Constant { tensor: ramp(&case.w) }.into(), &[], &vec![]).unwrap();
    let y = graph.add1(&mut symbols, case.op.clone(), &[x, w], &vec!["contraction".into()]).unwrap();
    graph.set_name(y, "y".into());
    graph.outputs = vec![y];
    let bytes = graph.ty(y).numel().as_const().unwrap() as usize * 4;
    let module = Module { name: "bench".into(), symbols, graph, states: vec![] };
    let compiled = pipeline::run(module, &mut PipelineOptions::default(), target);
    let program = compiled.unwrap_or_else(|d| panic!("{}: {d:?}", case.name)).program.unwrap();
    for k in &program.kernels {
        if let Some(why) = sinter_backends::x86::refuses(k, target) {
            println!("{}: kernel {} left to the portable emitter: {why}", case.name, k.name);
        }
    }
    let emitted = sinter_backends::emit(&program, target).unwrap();
    let code = emitted
        .code
        .iter()
        .filter(|(k, _)| k.contains('_') && !k.starts_with("bench"))
        .map(|(_, v)| *v)
        .sum();
    let weights = Image::Heap(sinter_runtime::Aligned::copy_of(&emitted.weights).unwrap());
    (Bundle::load("bench", &emitted.archive, weights, 1).unwrap(), bytes, code)
}

/// Seconds per call: the best of a few batches of calls.
fn time(rounds: usize, mut f: impl FnMut()) -> f64 {
    let start = Instant::now();
    f();
    let once = start.elapsed().as_secs_f64();
    let calls = (2e-3 / once).clamp(1.0, 1e5) as usize;
    (0..rounds).fold(f64::MAX, |best, _| {
        let start = Instant::now();
        (0..calls).for_each(|_| f());
        best.min(start.elapsed().as_secs_f64() / calls as f64)
    })
}

/// Multiply-adds per second of independent vector multiply-adds.
#[cfg(target_arch = "x86_64")]
fn peak() -> f64 {
    use std::arch::x86_64::*;
    const N: usize = 10_000;
    #[target_feature(enable = "avx512f")]
    fn wide() -> f32 {
        let (x, y) = (_mm512_set1_ps(0.999), _mm512_set1_ps(1e-6));
        let mut a = [_mm512_set1_ps(1.0); 24];
        for _ in 0..N {
            a.iter_mut().for_each(|a| *a = _mm512_fmadd_ps(*a, x, y));
        }
        a.into_iter().map(|v| _mm512_reduce_add_ps(v)).sum()
    }
    #[target_feature(enable = "avx2,fma")]
    fn narrow() -> f32 {
        let (x, y) = (_mm256_set1_ps(0.999), _mm256_set1_ps(1e-6));
        let mut a = [_mm256_set1_ps(1.0); 12];
        for _ in 0..N {
            a.iter_mut().for_each(|a| *a = _mm256_fmadd_ps(*a, x, y));
        }
        a.into_iter().map(|v| _mm256_cvtss_f32(v)).sum()
    }
    let (lanes, f): (usize, fn() -> f32) = if is_x86_feature_detected!("avx512f") {
        // SAFETY: the features were found.
        (24 * 16, || unsafe { wide() })
    } else if is_x86_feature_detected!("fma") {
        // SAFETY: the features were found; FMA comes with AVX2.
        (12 * 8, || unsafe { narrow() })
    } else {
        return f64::NAN;
    };
    (lanes * N) as f64 / time(5, || _ = std::hint::black_box(f()))
}

#[cfg(not(target_arch = "x86_64"))]
fn peak() -> f64 {
    f64::NAN
}

/// Largest difference from the evaluator, relative to the largest result.
fn difference(case: &Case, x: &Tensor, got: &[u8]) -> f64 {
    let want = case.op.eval(&mut Default::default(), &[x.clone(), ramp(&case.w)]).unwrap().remove(0);
    let got = Tensor::from_bytes(DType::F32, want.shape().to_vec(), got.to_vec()).unwrap();
    let (got, want) = (got.to_f64().unwrap(), want.to_f64().unwrap());
    let most = want.iter().fold(0f64, |m, v| m.max(v.abs()));
    got.iter().zip(&want).fold(0f64, |d, (a, b)| d.max((a - b).abs())) / most
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let check = words.iter().any(|w| w == "--check");
    let filter: Vec<&String> = words.iter().filter(|w| !w.starts_with("--")).collect();
    let target = target();
    println!("{}: {} bits, {} registers", target.name, target.vector_bits, target.vector_registers);
    println!("{:34} {:>10} {:>9} {:>9} {:>6} {:>6}", "", "us", "GFLOP/s", "peak", "%", "code");
    for case in cases().iter().filter(|c| filter.iter().all(|f| c.name.contains(f.as_str()))) {
        let (mut bundle, bytes, code) = compile(case, &target);
        let x = ramp(&case.x);
        let dims: Vec<i64> = case.x.iter().map(|&d| d as i64).collect();
        // SAFETY: the input has the bytes of the shape that was compiled, and the output its own.
        let mut bound: Bound = unsafe { bundle.bind(None, &[x.bytes()], &dims, &[bytes], 4) }.unwrap();
        let (mut seconds, mut best) = (f64::MAX, 0f64);
        for _ in 0..4 {
            seconds = seconds.min(time(5, || bound.run().unwrap()));
            best = best.max(peak());
        }
        let rate = case.terms / seconds;
        let off = if check {
            format!(" off by {:.1e}", difference(case, &x, &bound.into_outputs().bytes[0]))
        } else {
            String::new()
        };
        println!(
            "{:34} {:10.1} {:9.1} {:9.1} {:6.1} {:6}{off}",
            case.name,
            seconds * 1e6,
            2e-9 * rate,
            2e-9 * best,
            100.0 * rate / best,
            code
        );
    }
}
