//! Products with quantised weights compiled for this machine, timed against what it can read and multiply.
//!
//! `cargo bench -p sinter --bench gemv [-- FILTER] [--check] [--threads N]`: one line per product. Of few rows, cold: so
//! many products with weights of their own run in turn that none finds its weights in a cache. GB/s count the weights as
//! packed, scales included; in turns with them a loop of loads reads as many bytes from memory (`reads`), and `%` is the
//! median of the ratios of neighbours, because what others do to the memory changes from one moment to the next. `warm`
//! are the GB/s of one product alone, again and again. Products of many rows, best of several rounds, are compared with
//! the peak of the instruction that multiplies bytes.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, unsafe_code)]

use sinter::bench::peaks::{Reader, operations};
use sinter_backends::peaks::Peak;
use sinter_ir::op::quantized_matmul::{Activations, Offset};
use sinter_ir::op::{Constant, QuantizedMatMul};
use sinter_ir::target::TargetDesc;
use sinter_ir::{DType, Graph, Module, Op, Symbols, Tensor, TensorType};
use sinter_passes::pipeline::{self, PipelineOptions};
use sinter_runtime::{Bundle, Image};
use std::time::Instant;

/// Bytes of weights that no cache holds.
const COLD: usize = 192 << 20;

#[derive(Clone, Copy)]
struct Case {
    /// Rows of activations.
    m: usize,
    n: usize,
    k: usize,
    block: usize,
    dtype: DType,
    activations: Activations,
    offset: Offset,
}

impl Case {
    fn name(&self) -> String {
        let Case { m, n, k, block, dtype, activations, offset } = self;
        let offset =
            if *offset == Offset::None { String::new() } else { format!(" {offset:?}").to_lowercase() };
        format!("{m} x {n}x{k} {dtype} g{block}{offset} {}", format!("{activations:?}").to_lowercase())
    }
    fn op(&self) -> QuantizedMatMul {
        let middle = if self.offset == Offset::None { 1 << (self.dtype.bits() - 1) } else { 0 };
        QuantizedMatMul {
            block: self.block,
            activations: self.activations,
            offset: self.offset,
            middle,
            table: vec![],
            nibbles: None,
        }
    }
    /// Bytes of weights as packed.
    fn bytes(&self) -> usize {
        let offset = match self.offset {
            Offset::None => 0,
            Offset::Zero => 1,
            Offset::Minimum => 2,
        };
        self.n * (self.k * self.dtype.bits() / 8 + self.k.div_ceil(self.block) * (2 + offset))
    }
    /// Weights number `i`: they differ in their scales.
    fn weights(&self, i: usize) -> Vec<Tensor> {
        let blocks = self.k.div_ceil(self.block);
        let bytes = self.dtype.bytes_for(self.n * self.k).unwrap();
        let codes: Vec<u8> = (0..bytes as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 19) as u8).collect();
        let small = |s: usize| -> Vec<f32> {
            (0..self.n * blocks).map(|j| ((j * 7 + s * 13) % 1021 + 1) as f32 / 16384.0).collect()
        };
        let grid = vec![self.n, blocks];
        let mut out = vec![
            Tensor::from_bytes(self.dtype, vec![self.n, self.k], codes).unwrap(),
            Tensor::from_f32(DType::F16, grid.clone(), &small(i)).unwrap(),
        ];
        match self.offset {
            Offset::None => {}
            Offset::Zero => {
                let zeros: Vec<i64> = (0..self.n * blocks).map(|j| (j % 16) as i64).collect();
                out.push(Tensor::from_i64(self.dtype, grid, &zeros).unwrap());
            }
            Offset::Minimum => out.push(Tensor::from_f32(DType::F16, grid, &small(i + 9)).unwrap()),
        }
        out
    }
    fn activations(&self) -> Tensor {
        let v: Vec<f32> =
            (0..self.m * self.k).map(|i| ((i * 37 + i / 11) % 101) as f32 / 50.0 - 1.0).collect();
        Tensor::f32s(vec![self.m, self.k], &v).unwrap()
    }
}

fn cases() -> Vec<Case> {
    use Activations::{Blocks, Float, Rows};
    let plain =
        |m, n, k, block| Case { m, n, k, block, dtype: DType::U4, activations: Rows, offset: Offset::None };
    let gemv = |n, k, block| plain(1, n, k, block);
    vec![
        gemv(2048, 8192, 32),
        gemv(2048, 8192, 128),
        gemv(576, 1536, 32),
        gemv(576, 1536, 128),
        gemv(1536, 576, 32),
        gemv(576, 576, 64),
        Case { activations: Blocks, ..gemv(2048, 8192, 32) },
        Case { offset: Offset::Zero, ..gemv(2048, 8192, 32) },
        Case { offset: Offset::Minimum, activations: Blocks, ..gemv(2048, 8192, 32) },
        Case { activations: Float, ..gemv(2048, 8192, 32) },
        Case { dtype: DType::U8, ..gemv(2048, 8192, 32) },
        Case { dtype: DType::U8, ..gemv(2048, 8192, 8192) },
        Case { dtype: DType::U8, activations: Float, ..gemv(2048, 8192, 128) },
        plain(4, 2048, 8192, 32),
        plain(512, 576, 1536, 32),
        plain(512, 576, 1536, 128),
        plain(512, 1536, 576, 64),
        plain(512, 1024, 1024, 32),
        plain(512, 1024, 1024, 128),
        Case { activations: Blocks, ..plain(512, 1024, 1024, 32) },
        Case { offset: Offset::Zero, ..plain(512, 1024, 1024, 128) },
        Case { activations: Float, ..plain(512, 1024, 1024, 128) },
        Case { dtype: DType::U8, ..plain(512, 1024, 1024, 1024) },
    ]
}

/// `copies` products of the same activations.
fn compile(case: &Case, copies: usize, target: &TargetDesc, threads: usize) -> (Bundle, u64) {
    let (mut graph, mut symbols) = (Graph::default(), Symbols::default());
    let x = graph.add_input(TensorType::of(&case.activations()), Some("x".into()));
    let mut weights = case.weights(0);
    for i in 0..copies {
        if i > 0 {
            weights[1] = case.weights(i).remove(1);
        }
        let mut inputs = vec![x];
        for t in &weights {
            let op = Constant { tensor: t.clone() }.into();
            inputs.push(graph.add1(&mut symbols, op, &[], &vec![]).unwrap());
        }
        let y = graph.add1(&mut symbols, case.op().into(), &inputs, &vec![]).unwrap();
        graph.set_name(y, format!("y{i}").into());
        graph.outputs.push(y);
    }
    let module = Module { name: "bench".into(), symbols, graph, ..Module::default() };
    let compiled = pipeline::run(module, &mut PipelineOptions::default(), target);
    let program = compiled.unwrap_or_else(|d| panic!("{}: {d:?}", case.name())).program.unwrap();
    for k in &program.kernels {
        if let Some(why) = sinter_backends::refuses(k, target) {
            println!("{}: kernel {} left to the portable emitter: {why}", case.name(), k.name);
        }
    }
    let emitted = sinter_backends::emit(&program, target).unwrap();
    let own = |k: &str| k.contains("quantized_") || k.contains("bytes_");
    let code = emitted.code.iter().filter(|(k, _)| own(k)).map(|(_, v)| *v).sum();
    let weights = Image::Heap(sinter_runtime::Aligned::copy_of(&emitted.weights).unwrap());
    (Bundle::load("bench", &emitted.archive, weights, threads).unwrap(), code)
}

/// Seconds per call: the best of a few batches of calls.
fn time(rounds: usize, mut f: impl FnMut()) -> f64 {
    let start = Instant::now();
    f();
    let once = start.elapsed().as_secs_f64();
    let calls = (5e-3 / once).clamp(1.0, 1e5) as usize;
    (0..rounds).fold(f64::MAX, |best, _| {
        let start = Instant::now();
        (0..calls).for_each(|_| f());
        best.min(start.elapsed().as_secs_f64() / calls as f64)
    })
}

/// Largest difference from the evaluator, relative to the largest result.
fn difference(case: &Case, got: &[u8]) -> f64 {
    let inputs = [vec![case.activations()], case.weights(0)].concat();
    let want = Op::from(case.op()).eval(&mut Default::default(), &inputs).unwrap().remove(0);
    let got = Tensor::from_bytes(DType::F32, want.shape().to_vec(), got.to_vec()).unwrap();
    let (got, want) = (got.to_f64().unwrap(), want.to_f64().unwrap());
    let most = want.iter().fold(0f64, |m, v| m.max(v.abs()));
    got.iter().zip(&want).fold(0f64, |d, (a, b)| d.max((a - b).abs())) / most
}

/// What was measured of a case.
struct Measured {
    /// Per product.
    seconds: f64,
    /// Bytes per second of the loop that only reads, and how much of that rate the products reach.
    reads: f64,
    share: f64,
    /// Bytes of code.
    code: u64,
    /// The first result.
    first: Vec<u8>,
}

/// Turns of products and of the loop that reads.
const TURNS: usize = 25;

fn measure(case: &Case, copies: usize, target: &TargetDesc, threads: usize) -> Measured {
    let (mut bundle, code) = compile(case, copies, target, threads);
    let (x, y) = (case.activations(), case.m * case.n * 4);
    let dims = [case.m as i64, case.k as i64];
    // SAFETY: the input has the bytes of the shape that was compiled, and the outputs their own.
    let bound = unsafe { bundle.bind(None, &[x.bytes()], &dims, &vec![y; copies], 2 + 2 * copies) };
    let mut bound = bound.unwrap();
    let reader = if copies > 1 { Reader::new(COLD, threads).unwrap() } else { None };
    let [seconds, reads, share] = match &reader {
        None => [time(15, || bound.run().unwrap()) / copies as f64, f64::NAN, f64::NAN],
        Some(reader) => {
            let turn = |_| {
                let before = reader.rate();
                let start = Instant::now();
                bound.run().unwrap();
                let own = start.elapsed().as_secs_f64() / copies as f64;
                let read = (before + reader.rate()) / 2.0;
                [own, read, case.bytes() as f64 / own / read]
            };
            let turns: Vec<[f64; 3]> = (0..TURNS).map(turn).collect();
            [0, 1, 2].map(|i| median(turns.iter().map(|t| t[i]).collect()))
        }
    };
    Measured { seconds, reads, share, code, first: bound.into_outputs().bytes.swap_remove(0) }
}

fn median(mut v: Vec<f64>) -> f64 {
    v.sort_by(f64::total_cmp);
    v[v.len() / 2]
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let check = words.iter().any(|w| w == "--check");
    let at = words.iter().position(|w| w == "--threads");
    let threads: usize = at.and_then(|i| words.get(i + 1)).map_or(1, |n| n.parse().unwrap());
    let value = at.map(|i| i + 1);
    let filter: Vec<&String> = words
        .iter()
        .enumerate()
        .filter(|(i, w)| !w.starts_with("--") && Some(*i) != value)
        .map(|(_, w)| w)
        .collect();
    let target = sinter::driver::native().unwrap().clone();
    println!("{}, {threads} threads", target.name);
    println!(
        "{:36} {:>9} {:>8} {:>8} {:>6} {:>8} {:>9} {:>6} {:>6}",
        "", "us", "GB/s", "reads", "%", "warm", "GOP/s", "%", "code"
    );
    for case in cases().iter().filter(|c| filter.iter().all(|f| c.name().contains(f.as_str()))) {
        let copies = if case.m < 8 { COLD.div_ceil(case.bytes()) } else { 1 };
        let warm = measure(case, 1, &target, threads);
        let dots = |peak| operations(peak, threads).unwrap();
        let peak = dots(Peak::Dot8).or(dots(Peak::Fma)).unwrap_or(f64::NAN);
        let cold = if copies > 1 { &measure(case, copies, &target, threads) } else { &warm };
        let work = 2.0 * (case.m * case.n * case.k) as f64 / cold.seconds;
        let off = match check {
            true => format!(" off by {:.1e}", difference(case, &cold.first)),
            false => String::new(),
        };
        println!(
            "{:36} {:9.1} {:8.1} {:8.1} {:6.1} {:8.1} {:9.1} {:6.1} {:6}{off}",
            case.name(),
            cold.seconds * 1e6,
            case.bytes() as f64 / cold.seconds / 1e9,
            cold.reads / 1e9,
            100.0 * cold.share,
            case.bytes() as f64 / warm.seconds / 1e9,
            work / 1e9,
            100.0 * work / peak,
            cold.code
        );
    }
}
