//! Single contractions compiled for this machine, timed against its multiply-add peak: of f32, and of bytes.
//!
//! `cargo bench -p sinter --bench contraction [-- FILTER] [--check]`: one line per shape, best of several rounds on
//! one thread. The peak is measured in the same rounds. Shapes with a bar of their own say whether they reach it; the
//! ten largest contractions of the models here have one for their mean.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, unsafe_code)]

mod single;

use sinter::bench::peaks;
use sinter_backends::peaks::Peak;
use sinter_ir::op::{Conv, MatMul};
use sinter_ir::target::TargetDesc;
use sinter_ir::{DType, Expr, Op, Tensor, TensorType};
use sinter_runtime::{Bound, Bundle, Image};
use std::time::Instant;

/// What a shape is measured for.
#[derive(Clone, Copy, PartialEq)]
enum Bar {
    /// To be looked at.
    None,
    /// This share of the peak or more, in percent.
    Own(f64),
    /// One of the largest contractions of the models: their mean counts.
    Largest,
}

/// What the largest contractions of the models should reach on average, in percent.
const LARGEST: f64 = 85.0;

/// A contraction of one input with constant weights.
struct Case {
    name: String,
    op: Op,
    x: Vec<usize>,
    w: Vec<usize>,
    /// Multiply-adds.
    terms: f64,
    /// Element types of data and weights.
    types: [DType; 2],
    bar: Bar,
}

impl Case {
    /// The same of bytes, counted from a zero point, with sums in i32.
    fn of_bytes(mut self) -> Self {
        match &mut self.op {
            Op::MatMul(op) => op.zero = Some(128),
            Op::Conv(op) => op.zero = Some(128),
            _ => {}
        }
        self.types = [DType::U8, DType::I8];
        self.name += " i8";
        self
    }
    fn is_bytes(&self) -> bool {
        self.types[0] == DType::U8
    }
    /// Data and weights: small numbers of both signs, which repeat slowly.
    fn operands(&self) -> [Tensor; 2] {
        let ramp = |shape: &[usize], dtype: DType| {
            let n = shape.iter().product();
            let numbers = (0..n).map(|i| (i * 37 + i / 11) % 101);
            let shape = shape.to_vec();
            match dtype {
                DType::F32 => {
                    Tensor::f32s(shape, &numbers.map(|v| v as f32 / 50.0 - 1.0).collect::<Vec<_>>())
                }
                DType::U8 => {
                    Tensor::from_bytes(dtype, shape, numbers.map(|v| v as u8 + 78).collect::<Vec<_>>())
                }
                _ => Tensor::from_bytes(dtype, shape, numbers.map(|v| v as u8 - 50).collect::<Vec<_>>()),
            }
        };
        [(&self.x, self.types[0]), (&self.w, self.types[1])].map(|(s, t)| ramp(s, t).unwrap())
    }
    fn bar(self, bar: Bar) -> Self {
        Self { bar, ..self }
    }
}

fn matmul(m: usize, k: usize, n: usize) -> Case {
    let terms = (m * k * n) as f64;
    let (x, w) = (vec![m, k], vec![k, n]);
    let (types, bar) = ([DType::F32; 2], Bar::None);
    Case { name: format!("matmul {m}x{k}x{n}"), op: MatMul::default().into(), x, w, terms, types, bar }
}

/// Square images and kernels, channels last, padded to keep the size at stride 1.
fn conv(size: usize, c: usize, o: usize, kernel: usize, stride: usize, group: usize) -> Case {
    conv_of([size; 2], c, o, [kernel; 2], [kernel / 2; 2], stride, group)
}

/// Channels last, with `pads` zeros on either side.
fn conv_of(
    size: [usize; 2],
    c: usize,
    o: usize,
    kernel: [usize; 2],
    pads: [usize; 2],
    stride: usize,
    group: usize,
) -> Case {
    let pads_of = || pads.iter().map(|&p| Expr::from(p)).collect::<Vec<_>>();
    let op = Conv {
        strides: vec![stride; 2],
        dilations: vec![1; 2],
        pads_before: pads_of(),
        pads_after: pads_of(),
        group,
        channels_last: true,
        zero: None,
        largest: None,
        wide: false,
    };
    let out: usize = (0..2).map(|i| (size[i] + 2 * pads[i] - kernel[i]) / stride + 1).product();
    let terms = (out * kernel[0] * kernel[1] * c / group * o) as f64;
    let grouped = if group > 1 { format!(" g{group}") } else { String::new() };
    let ([h, w], [kh, kw]) = (size, kernel);
    Case {
        name: format!("conv {h}x{w}x{c} {kh}x{kw}/{stride} {o}{grouped}"),
        op: op.into(),
        x: vec![1, h, w, c],
        w: vec![o, c / group, kh, kw],
        terms,
        types: [DType::F32; 2],
        bar: Bar::None,
    }
}

/// Bytes: the shapes of the bars, then ResNet-50's and some of MiniLM's.
fn of_bytes() -> Vec<Case> {
    let bars =
        [matmul(384, 1536, 128), matmul(1024, 1024, 1024), matmul(64, 3136, 576), matmul(64, 576, 3136)];
    let others = [
        matmul(128, 384, 384),
        matmul(128, 384, 1536),
        matmul(128, 1536, 384),
        conv(56, 64, 64, 3, 1, 1),
        conv(28, 128, 128, 3, 1, 1),
        conv(14, 256, 256, 3, 1, 1),
        conv(7, 512, 512, 3, 1, 1),
        conv(56, 64, 256, 1, 1, 1),
        conv(28, 512, 128, 1, 1, 1),
        conv(14, 1024, 256, 1, 1, 1),
        conv(7, 2048, 512, 1, 1, 1),
        conv(56, 256, 512, 1, 2, 1),
        conv(224, 3, 64, 7, 2, 1),
        conv(56, 144, 144, 3, 1, 144),
    ];
    let bars = bars.map(|c| c.bar(Bar::Own(95.0)));
    bars.into_iter().chain(others).map(Case::of_bytes).collect()
}

fn cases() -> Vec<Case> {
    let mut all = vec![
        matmul(384, 1536, 128).bar(Bar::Own(95.0)),
        matmul(384, 128, 1536).bar(Bar::Own(95.0)),
        matmul(1024, 1024, 1024).bar(Bar::Own(92.0)),
        matmul(64, 3136, 576).bar(Bar::Own(95.0)),
        matmul(64, 576, 3136).bar(Bar::Own(95.0)),
    ];
    // By multiply-adds: text detection, vision transformers, pitch, file types, speech quality, ResNet-50.
    let largest = [
        conv(160, 96, 24, 3, 1, 1),
        matmul(197, 768, 3072),
        matmul(197, 3072, 768),
        conv_of([172, 264], 8, 8, [3, 39], [1, 19], 1, 1),
        conv_of([512, 1], 256, 512, [5, 1], [0, 0], 1, 1),
        conv_of([450, 60], 32, 32, [3, 3], [1, 1], 1, 1),
        conv(80, 96, 24, 3, 1, 1),
        conv(224, 3, 64, 7, 2, 1),
        matmul(197, 768, 768),
        conv(56, 64, 64, 3, 1, 1),
    ];
    all.extend(largest.map(|c| c.bar(Bar::Largest)));
    all.extend([
        matmul(3136, 576, 64),
        matmul(512, 4096, 4096),
        matmul(128, 384, 1536),
        matmul(128, 1536, 384),
        matmul(128, 384, 384),
        matmul(16, 384, 1536),
        matmul(1, 2048, 1000),
        conv(56, 64, 64, 1, 1, 1),
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
    ]);
    all.extend(of_bytes());
    all
}

/// The strongest target that this machine can run.
fn target() -> TargetDesc {
    sinter::driver::native().unwrap().clone()
}

fn compile(case: &Case, target: &TargetDesc) -> (Bundle, usize, u64) {
    let x = TensorType::new(case.types[0], case.x.iter().map(|&d| d.into()).collect());
    let (program, bytes) = single::compile(case.op.clone(), x, &case.operands()[1..], target);
    for k in &program.kernels {
        if let Some(why) = sinter_backends::refuses(k, target) {
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

/// Multiply-adds per second of one thread at most.
fn peak(bytes: bool) -> f64 {
    let of = if bytes { Peak::Dot8 } else { Peak::Fma };
    peaks::operations(of, 1).unwrap().map_or(f64::NAN, |operations| operations / 2.0)
}

/// Largest difference from the evaluator, relative to the largest result.
fn difference(case: &Case, got: &[u8]) -> f64 {
    let want = case.op.eval(&mut Default::default(), &case.operands()).unwrap().remove(0);
    let got = Tensor::from_bytes(want.dtype(), want.shape().to_vec(), got.to_vec()).unwrap();
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
    let mut largest = vec![];
    for case in cases().iter().filter(|c| filter.iter().all(|f| c.name.contains(f.as_str()))) {
        let (mut bundle, bytes, code) = compile(case, &target);
        let [x, _] = case.operands();
        let dims: Vec<i64> = case.x.iter().map(|&d| d as i64).collect();
        // SAFETY: the input has the bytes of the shape that was compiled, and the output its own.
        let mut bound: Bound = unsafe { bundle.bind(None, &[x.bytes()], &dims, &[bytes], 4) }.unwrap();
        let (mut seconds, mut best) = (f64::MAX, 0f64);
        for _ in 0..4 {
            seconds = seconds.min(time(5, || bound.run().unwrap()));
            best = best.max(peak(case.is_bytes()));
        }
        let rate = case.terms / seconds;
        let off = if check {
            format!(" off by {:.1e}", difference(case, &bound.into_outputs().bytes[0]))
        } else {
            String::new()
        };
        let share = 100.0 * rate / best;
        let bar = match case.bar {
            Bar::None => String::new(),
            Bar::Own(bar) => verdict(share, bar),
            Bar::Largest => " one of the largest".to_owned(),
        };
        if case.bar == Bar::Largest {
            largest.push(share);
        }
        println!(
            "{:34} {:10.1} {:9.1} {:9.1} {share:6.1} {code:6}{bar}{off}",
            case.name,
            seconds * 1e6,
            2e-9 * rate,
            2e-9 * best,
        );
    }
    if !largest.is_empty() {
        let mean = largest.iter().sum::<f64>() / largest.len() as f64;
        let what = format!("mean of the {} largest", largest.len());
        println!("{what:65} {mean:6.1} {:6}{}", "", verdict(mean, LARGEST));
    }
}

/// Whether a share reaches its bar.
fn verdict(share: f64, bar: f64) -> String {
    format!(" {} {bar} %", if share >= bar { "reaches" } else { "below" })
}
