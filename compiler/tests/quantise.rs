//! Static quantisation of a small network from samples to a session, and what is said of wrong ones.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod common;

use sinter::data::npy;
use sinter::quantise::samples::{Data, Samples};
use sinter::quantise::{self, Done, Job};
use sinter_ir::graph::{Origin, SymKind};
use sinter_ir::op::binary::{Binary, BinaryKind};
use sinter_ir::op::pool::{Pool, PoolKind};
use sinter_ir::op::reduce::{Reduce, ReduceKind};
use sinter_ir::op::resize::{Coordinate, NearestMode, Resize, ResizeMode};
use sinter_ir::op::{Concat, Constant, Conv, ConvTranspose, MatMul, Reshape};
use sinter_ir::{DType, Diag, Expr, Module, Op, Tensor, TensorType, ValueId, eval};
use sinter_passes::pipeline::{self, PipelineOptions};
use sinter_passes::quantise::StaticRecipe;
use std::path::{Path, PathBuf};

/// Numbers of a bell-like shape that are the same everywhere.
fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    (0..n).map(|_| (0..4).map(|_| next()).sum()).collect()
}

/// A network under construction.
#[derive(Default)]
struct Net(Module, u64);

impl Net {
    fn add(&mut self, op: impl Into<Op>, x: &[ValueId], name: &str) -> ValueId {
        let origin: Origin = vec![name.into()];
        self.0.graph.add1(&mut self.0.symbols, op.into(), x, &origin).unwrap()
    }
    fn constant(&mut self, shape: Vec<usize>, values: &[f32]) -> ValueId {
        let tensor = Tensor::f32s(shape, values).unwrap();
        self.add(Constant { tensor }, &[], "weights")
    }
    fn binary(&mut self, kind: BinaryKind, a: ValueId, b: ValueId) -> ValueId {
        self.add(Binary { kind }, &[a, b], "arithmetic")
    }
    fn with(&mut self, kind: BinaryKind, a: ValueId, b: f32) -> ValueId {
        let b = self.constant(vec![], &[b]);
        self.binary(kind, a, b)
    }
    /// A convolution with a bias that keeps height and width.
    fn conv(&mut self, x: ValueId, sizes: (usize, usize, usize, usize), name: &str) -> ValueId {
        self.uneven(x, sizes, name, &|_| 1.0)
    }
    /// The same with output channels of different sizes; biases do not grow with them.
    fn uneven(
        &mut self,
        x: ValueId,
        (i, o, k, group): (usize, usize, usize, usize),
        name: &str,
        size: &dyn Fn(usize) -> f32,
    ) -> ValueId {
        self.1 += 1;
        let terms = i / group * k * k;
        let scaled = |(at, v): (usize, &f32)| v * 2.0 / (terms as f32).sqrt() * size(at / terms);
        let w: Vec<f32> = numbers(o * terms, self.1).iter().enumerate().map(scaled).collect();
        let w = self.constant(vec![o, i / group, k, k], &w);
        let pads = || vec![Expr::from(k / 2); 2];
        let op = Conv {
            strides: vec![1, 1],
            dilations: vec![1, 1],
            pads_before: pads(),
            pads_after: pads(),
            group,
            channels_last: false,
            zero: None,
            largest: None,
            wide: false,
        };
        let y = self.add(op, &[x, w], name);
        let b = numbers(o, self.1 + 100);
        let b: Vec<f32> = b.iter().enumerate().map(|(at, v)| v * size(at).min(1.0)).collect();
        let b = self.constant(vec![1, o, 1, 1], &b);
        self.binary(BinaryKind::Add, y, b)
    }
    fn swish(&mut self, x: ValueId) -> ValueId {
        let y = self.with(BinaryKind::Add, x, 3.0);
        let y = self.with(BinaryKind::Max, y, 0.0);
        let y = self.with(BinaryKind::Min, y, 6.0);
        let y = self.binary(BinaryKind::Mul, x, y);
        self.with(BinaryKind::Div, y, 6.0)
    }
}

/// Convolutions of all kinds, a branch, a concatenation, a pooling and a classifier; the batch is open.
fn network() -> Module {
    let mut n = Net::default();
    n.0.name = "net".into();
    let batch = n.0.symbols.fresh("batch", 1, 2, SymKind::Input);
    let dims = vec![batch.into(), 3.into(), 16.into(), 16.into()];
    let x = n.0.graph.add_input(TensorType::new(DType::F32, dims), Some("x".into()));
    let y = n.conv(x, (3, 8, 3, 1), "first");
    let y = n.with(BinaryKind::Max, y, 0.0);
    let d = n.conv(y, (8, 8, 3, 8), "depthwise");
    let d = n.swish(d);
    let d = n.conv(d, (8, 8, 1, 1), "project");
    let s = n.binary(BinaryKind::Add, y, d);
    let two = || vec![Expr::from(2); 2];
    let none = || vec![Expr::from(0); 2];
    let pool = Pool {
        kind: PoolKind::Max,
        kernel: two(),
        strides: vec![2, 2],
        dilations: vec![1, 1],
        pads_before: none(),
        pads_after: none(),
        ceil_mode: false,
        count_include_pad: false,
        indices: false,
        column_major: false,
        channels_last: false,
    };
    let p = n.add(pool, &[s], "pool");
    let a = n.conv(p, (8, 8, 1, 1), "left");
    let a = n.with(BinaryKind::Max, a, 0.0);
    let c = n.add(Concat { axis: 1 }, &[p, a], "join");
    let c = n.conv(c, (16, 16, 3, 1), "last");
    let c = n.with(BinaryKind::Max, c, 0.0);
    let m = n.add(Reduce { kind: ReduceKind::Mean, axes: vec![2, 3], keepdims: false }, &[c], "mean");
    let m = n.add(Reshape { dims: vec![batch.into(), 16.into()] }, &[m], "flat");
    let w = n.constant(vec![16, 5], &numbers(80, 50));
    let y = n.add(MatMul::default(), &[m, w], "classes");
    n.0.graph.set_name(y, "logits".into());
    n.0.graph.outputs = vec![y];
    n.0
}

fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("quantise").join(name);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// Writes samples along the first axis of one array.
fn samples(name: &str, count: usize, change: impl FnOnce(&mut [f32])) -> String {
    let mut v = numbers(count * 3 * 256, 7);
    change(&mut v);
    let path = scratch(name).join("x.npy");
    std::fs::write(&path, npy::write(&Tensor::f32s(vec![count, 3, 16, 16], &v).unwrap())).unwrap();
    path.to_string_lossy().into_owned()
}

fn job(recipe: &str, path: &str) -> Job {
    let data = Data { paths: vec![path.to_owned()], ..Data::default() };
    Job { recipe: StaticRecipe::parse(recipe).unwrap().unwrap(), data, least: 0.0, threads: 1 }
}

fn done(recipe: &str, path: &str) -> Done {
    quantise::run(&network(), &job(recipe, path), &|_| {}).unwrap()
}

fn said(r: Result<Done, Vec<Diag>>) -> String {
    r.unwrap_err().remove(0).message
}

#[test]
fn all_layers_compute_on_bytes_and_come_close() {
    let path = samples("close", 16, |_| {});
    for recipe in ["int8", "int8-minmax", "int8-percentile", "int8-entropy"] {
        let done = done(recipe, &path);
        assert_eq!(done.samples, 16);
        let cosine = done.outputs[0].cosine();
        assert!(cosine > if recipe == "int8-entropy" { 0.98 } else { 0.999 }, "{recipe}: {cosine}");
        assert!(done.outputs[0].rows.unwrap().0 == 16, "{recipe}");
        for l in &done.layers {
            assert!(!l.float && l.weights.decibels() > 38.0, "{recipe}: {}", l.name);
            assert!(l.own.decibels() > 15.0 && l.accumulated.decibels() > 12.0, "{recipe}: {}", l.name);
        }
        let target = sinter::driver::native().unwrap();
        let compiled = pipeline::run(done.module, &mut PipelineOptions::default(), target).unwrap();
        let integers =
            ["integers/exact-f32", "integers/i32"].iter().map(|r| compiled.report.count(r)).sum::<u64>();
        assert_eq!(integers, done.layers.len() as u64, "{recipe}: {:?}", compiled.report.rules);
        if target.dots() {
            assert_eq!(compiled.report.count("dots/bytes"), integers, "{recipe}");
        }
        // What is left in floats between kernels is the pooled mean and what comes behind it.
        let floats = |b: &sinter_ir::program::Program| {
            b.kernels.iter().filter(|k| k.name.contains("quantize")).count()
        };
        assert!(floats(&compiled.program.unwrap()) <= 2, "{recipe}");
    }
}

/// Sums of 16 bits: what layers read ends at 127, and machine code says the same as the evaluator.
#[test]
fn narrow_sums_are_exact() {
    let path = samples("narrow", 16, |_| {});
    let of = |recipe: &str| {
        let done = done(recipe, &path);
        let tops: Vec<_> = done
            .module
            .graph
            .iter()
            .filter_map(|(_, n)| if let Op::Quantize(q) = &n.op { Some(q.top) } else { None })
            .collect();
        (done, tops)
    };
    let (narrow, tops) = of("int8-narrow");
    // All but what is averaged: no layer reads it.
    assert_eq!(tops.iter().map(|t| t.unwrap_or(255)).filter(|t| *t != 127).collect::<Vec<_>>(), [255]);
    assert!(tops.len() > 4);
    let cosine = narrow.outputs[0].cosine();
    assert!(cosine > 0.997, "{cosine}");
    assert!(narrow.stats().iter().all(|l| l.scheme == "int8-narrow"));
    let (wide, tops) = of("int8-wide");
    assert!(tops.iter().all(Option::is_none) && wide.outputs[0].cosine() > cosine);
    let data = Data { paths: vec![path], ..Data::default() };
    let samples = Samples::new(&network(), &data).unwrap();
    let mut session = common::session(narrow.module.clone()).unwrap();
    for i in 0..samples.len() {
        let x = samples.get(i).unwrap();
        let want = eval::module(&narrow.module, &x).unwrap()[0].to_f64().unwrap();
        let found = session.run(&x).unwrap()[0].to_f64().unwrap();
        let size = want.iter().fold(0f64, |m, v| m.max(v.abs()));
        // A code that lies between two may be the other one.
        assert!(want.iter().zip(&found).all(|(a, b)| (a - b).abs() < 0.03 * size), "{want:?} {found:?}");
    }
}

/// On AVX2, products and windows of one channel are summed in 16 bits.
#[test]
fn narrow_sums_are_used() {
    let mut n = Net::default();
    n.0.name = "separable".into();
    let dims = [1, 3, 16, 16].into_iter().map(Expr::from).collect();
    let x = n.0.graph.add_input(TensorType::new(DType::F32, dims), Some("x".into()));
    let y = n.conv(x, (3, 32, 1, 1), "expand");
    let y = n.with(BinaryKind::Max, y, 0.0);
    let y = n.conv(y, (32, 32, 3, 32), "depthwise");
    let y = n.with(BinaryKind::Max, y, 0.0);
    n.0.graph.outputs = vec![n.conv(y, (32, 16, 1, 1), "project")];
    let path = samples("separable", 8, |_| {});
    let target = sinter::driver::target("x86-64-v3").unwrap();
    let sums = |recipe: &str| {
        let done = quantise::run(&n.0, &job(recipe, &path), &|_| {}).unwrap();
        let compiled = pipeline::run(done.module, &mut PipelineOptions::default(), target).unwrap();
        let text = compiled.program.unwrap().dump_text();
        let pairs = text.lines().filter(|l| l.contains("dot4us") && l.contains(" within 16383")).count();
        let windows = text.lines().filter(|l| l.contains("i16x16 = const 0")).count();
        (pairs > 0, windows > 0)
    };
    assert_eq!(sums("int8-narrow"), (true, true));
    assert_eq!(sums("int8-wide"), (false, false));
}

/// Where 7 bits are too few, layers that lose most get all of them before any stays in floats.
#[test]
fn narrow_layers_widen_first() {
    let path = samples("widen", 16, |_| {});
    let cosine = |recipe: &str| done(recipe, &path).outputs[0].cosine();
    let (narrow, wide) = (cosine("int8-narrow"), cosine("int8-wide"));
    let least = (narrow + wide) / 2.0;
    let done = quantise::run(&network(), &Job { least, ..job("int8-narrow", &path) }, &|_| {}).unwrap();
    assert!(done.layers.iter().all(|l| !l.float), "{:?}", done.warnings);
    assert!(done.outputs[0].cosine() >= least);
}

#[test]
fn the_same_bytes_with_any_number_of_threads() {
    let path = samples("threads", 9, |_| {});
    let with =
        |threads| quantise::run(&network(), &Job { threads, ..job("int8", &path) }, &|_| {}).unwrap().module;
    assert_eq!(with(1), with(3));
}

#[test]
fn corrected_biases_leave_no_mean_error() {
    let mut n = Net::default();
    n.0.name = "one".into();
    let dims = [1, 3, 16, 16].into_iter().map(Expr::from).collect();
    let x = n.0.graph.add_input(TensorType::new(DType::F32, dims), Some("x".into()));
    let y = n.conv(x, (3, 8, 3, 1), "conv");
    n.0.graph.outputs = vec![y];
    // Data that is not centred, as behind a rectifier, moves results by what weights were rounded.
    let path = samples("bias", 12, |v| v.iter_mut().for_each(|v| *v = v.abs() + 0.2));
    let off = |recipe: &str| {
        let module = quantise::run(&n.0, &job(recipe, &path), &|_| {}).unwrap().module;
        let (mut a, mut b) = (common::session(n.0.clone()).unwrap(), common::session(module).unwrap());
        let data = Data { paths: vec![path.clone()], ..Data::default() };
        let samples = Samples::new(&n.0, &data).unwrap();
        let (mut sums, mut squares) = ([0f64; 8], 0f64);
        for i in 0..samples.len() {
            let x = samples.get(i).unwrap();
            let (a, b) = (a.run(&x).unwrap(), b.run(&x).unwrap());
            let (a, b) = (a[0].to_f64().unwrap(), b[0].to_f64().unwrap());
            for (i, (a, b)) in a.iter().zip(&b).enumerate() {
                sums[i / 256] += a - b;
                squares += a * a;
            }
        }
        let count = (samples.len() * 256) as f64;
        let deviation = (squares / count / 8.0).sqrt();
        sums.iter().map(|s| (s / count).abs() / deviation).fold(0.0, f64::max)
    };
    let (with, without) = (off("int8"), off("int8-nobias"));
    assert!(with < 2e-4 && without > 5.0 * with, "{with} {without}");
}

#[test]
fn channels_of_depthwise_layers_are_evened_out() {
    let mut n = Net::default();
    n.0.name = "uneven".into();
    let dims = [1, 3, 16, 16].into_iter().map(Expr::from).collect();
    let x = n.0.graph.add_input(TensorType::new(DType::F32, dims), Some("x".into()));
    let y = n.uneven(x, (3, 8, 1, 1), "before", &|c| 0.5f32.powi(c as i32));
    let y = n.with(BinaryKind::Max, y, 0.0);
    let y = n.uneven(y, (8, 8, 3, 8), "depthwise", &|c| 2f32.powi(c as i32));
    n.0.graph.outputs = vec![y];
    let path = samples("uneven", 8, |_| {});
    let decibels = |recipe: &str| {
        let done = quantise::run(&n.0, &job(recipe, &path), &|_| {}).unwrap();
        done.outputs[0].all.decibels()
    };
    let (with, without) = (decibels("int8"), decibels("int8-noequalise"));
    assert!(with > 30.0 && with > without + 10.0, "{with} {without}");
}

#[test]
fn upsampling_moves_bytes() {
    let mut n = Net::default();
    n.0.name = "up".into();
    let dims = [1, 3, 16, 16].into_iter().map(Expr::from).collect();
    let x = n.0.graph.add_input(TensorType::new(DType::F32, dims), Some("x".into()));
    let y = n.conv(x, (3, 8, 3, 1), "first");
    let w = n.constant(vec![8, 8, 2, 2], &numbers(256, 31));
    let none = || vec![Expr::from(0); 2];
    let up = ConvTranspose {
        strides: vec![2, 2],
        dilations: vec![1, 1],
        pads_before: none(),
        pads_after: none(),
        group: 1,
        channels_last: false,
    };
    let y = n.add(up, &[y, w], "up");
    let b = n.constant(vec![1, 8, 1, 1], &numbers(8, 32));
    let y = n.binary(BinaryKind::Add, y, b);
    let y = n.with(BinaryKind::Max, y, 0.0);
    let twice = Resize {
        dims: [1, 8, 64, 64].map(Expr::from).to_vec(),
        scales: vec![None, None, Some(2.0), Some(2.0)],
        roi: vec![],
        mode: ResizeMode::Nearest,
        coordinate: Coordinate::Asymmetric,
        nearest: NearestMode::Floor,
        cubic_a: -0.75,
        exclude_outside: false,
        extrapolation: 0.0,
        antialias: false,
    };
    let y = n.add(twice, &[y], "twice");
    let y = n.conv(y, (8, 4, 1, 1), "last");
    n.0.graph.outputs = vec![y];
    let done = quantise::run(&n.0, &job("int8", &samples("up", 8, |_| {})), &|_| {}).unwrap();
    assert!(done.outputs[0].cosine() > 0.999, "{}", done.outputs[0].cosine());
    assert_eq!(done.layers.iter().filter(|l| !l.float).count(), 3);
    let g = &done.module.graph;
    assert!(!g.iter().any(|(_, n)| matches!(n.op, Op::ConvTranspose(_))));
    let bytes = |n: &sinter_ir::Node| g.ty(n.inputs[0]).dtype == DType::U8;
    assert!(g.iter().filter(|(_, n)| matches!(n.op, Op::Resize(_))).all(|(_, n)| bytes(n)));
}

#[test]
fn layers_stay_floats_where_outputs_would_be_too_far_off() {
    let path = samples("floor", 8, |_| {});
    let of = |least: f64| quantise::run(&network(), &Job { least, ..job("int8", &path) }, &|_| {}).unwrap();
    let whole = done("int8", &path);
    assert!(whole.warnings.is_empty(), "{:?}", whole.warnings);
    let better = of(1.0 - (1.0 - whole.outputs[0].cosine()) * 0.85);
    let floats = better.layers.iter().filter(|l| l.float).count();
    assert!(floats > 0 && floats < better.layers.len(), "{floats}");
    assert!(better.outputs[0].cosine() > whole.outputs[0].cosine());
    assert!(better.warnings[0].contains("stay floats"), "{:?}", better.warnings);
    let worst = |d: &Done| {
        let own = d.layers.iter().map(|l| (l.own.decibels(), l.float));
        own.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap()
    };
    assert!(worst(&better).1, "the layer that loses most goes first");
    let never = of(1.5);
    assert!(never.warnings[0].contains("below 1.5"), "{:?}", never.warnings);
}

#[test]
fn what_is_wrong_with_samples_and_models_is_said() {
    let run = |path: &str| quantise::run(&network(), &job("int8", path), &|_| {});
    let few = run(&samples("few", 3, |_| {})).unwrap();
    assert!(few.warnings[0].contains("3 samples of calibration are few"), "{:?}", few.warnings);
    let path = samples("nan", 3, |v| v[3 * 256 + 5] = f32::NAN);
    let message = said(run(&path));
    assert!(message.contains("sample 1") && message.contains("not finite"), "{message}");
    let path = scratch("shape").join("x.npy");
    std::fs::write(&path, npy::write(&Tensor::f32s(vec![4, 3, 16, 15], &numbers(2880, 1)).unwrap())).unwrap();
    let message = said(run(&path.to_string_lossy()));
    assert!(message.contains("f32[4, 3, 16, 15] does not fit input `x`"), "{message}");
    let empty = scratch("empty");
    assert!(said(run(&empty.to_string_lossy())).contains("there are none"));
    assert!(said(run("no/such/file.npy")).contains("no/such/file.npy"));
    let again = quantise::run(&few.module, &job("int8", &samples("few", 3, |_| {})), &|_| {});
    assert!(said(again).contains("quantised already"));
    let mut none = Net::default();
    let x = none.0.graph.add_input(TensorType::new(DType::F32, vec![4.into()]), Some("x".into()));
    let y = none.with(BinaryKind::Add, x, 1.0);
    none.0.graph.outputs = vec![y];
    let path = scratch("none").join("x.npy");
    std::fs::write(&path, npy::write(&Tensor::f32s(vec![4], &[0.0; 4]).unwrap())).unwrap();
    let message = said(quantise::run(&none.0, &job("int8", &path.to_string_lossy()), &|_| {}));
    assert!(message.contains("no convolution"), "{message}");
}

#[test]
fn samples_lie_in_arrays_folders_and_files_by_input() {
    let mut n = Net::default();
    for name in ["a", "b"] {
        let x = n.0.graph.add_input(TensorType::new(DType::F32, vec![1.into(), 2.into()]), Some(name.into()));
        n.0.graph.outputs.push(x);
    }
    let dir = scratch("places");
    let put = |name: &str, shape: Vec<usize>, v: &[f32]| {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, npy::write(&Tensor::f32s(shape, v).unwrap())).unwrap();
        path.to_string_lossy().into_owned()
    };
    put("one/s0/input_0.npy", vec![1, 2], &[1.0, 2.0]);
    put("one/s0/b.npy", vec![1, 2], &[3.0, 4.0]);
    put("one/s1/input_0.npy", vec![1, 2], &[5.0, 6.0]);
    put("one/s1/b.npy", vec![1, 2], &[7.0, 8.0]);
    let (a, b) = (put("a.npy", vec![3, 2], &[0.5; 6]), put("b.npy", vec![3, 1, 2], &[0.25; 6]));
    let whole = dir.join("one").to_string_lossy().into_owned();
    let data = |paths: &[String]| Data { paths: paths.to_vec(), ..Data::default() };
    let (a, b) = (format!("a={a}"), format!("b={b}"));
    let all = data(&[whole, a.clone(), b]);
    let all = Samples::new(&n.0, &all).unwrap();
    assert_eq!(all.len(), 5);
    let get = |i: usize| all.get(i).unwrap().iter().map(|t| t.to_f32().unwrap()).collect::<Vec<_>>();
    assert_eq!(get(1), [[5.0, 6.0], [7.0, 8.0]]);
    assert_eq!(get(4), [[0.5, 0.5], [0.25, 0.25]]);
    assert_eq!(all.sum().unwrap().len(), 64);
    let lonely = data(&[a]);
    let message = Samples::new(&n.0, &lonely).err().unwrap().message;
    assert!(message.contains("a 3, b 0"), "{message}");
}
