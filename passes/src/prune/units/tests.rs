//! What goes, goes everywhere, and what is left computes what the whole did with zeros in their place.

use super::shrink::{Removed, shrink};
use super::*;
use crate::compress::samples;
use crate::compress::stats::Statistics;
use crate::prune::recipe::Unit;
use crate::report::PassReport;
use sinter_ir::op::binary::{Binary, BinaryKind};
use sinter_ir::op::reduce::{Reduce, ReduceKind};
use sinter_ir::op::unary::{Unary, UnaryKind};
use sinter_ir::op::{Append, CachedAttention, Concat, Constant, Conv, MatMul, Reshape, Softmax, WriteSlice};
use sinter_ir::{DType, Graph, Module, Op, State, Symbols, Tensor, TensorType, ValueId, eval};

/// A graph under construction; every constant has numbers of its own.
struct Build {
    g: Graph,
    s: Symbols,
    seed: usize,
}

impl Build {
    fn new() -> Self {
        Self { g: Graph::default(), s: Symbols::default(), seed: 0 }
    }
    fn input(&mut self, name: &str, dims: &[usize]) -> ValueId {
        let ty = TensorType::new(DType::F32, dims.iter().map(|d| (*d).into()).collect());
        self.g.add_input(ty, Some(name.into()))
    }
    fn op(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> ValueId {
        self.g.add1(&mut self.s, op.into(), inputs, &vec!["node".into()]).unwrap()
    }
    fn weights(&mut self, name: &str, dims: &[usize]) -> ValueId {
        self.seed += 7;
        let n: usize = dims.iter().product();
        let v: Vec<f32> = (0..n).map(|i| (((i + self.seed) * 37 % 101) as f32 - 50.0) / 50.0).collect();
        let c = self.op(Constant { tensor: Tensor::f32s(dims.to_vec(), &v).unwrap() }, &[]);
        self.g.set_name(c, name.into());
        c
    }
    fn product(&mut self, x: ValueId, name: &str, k: usize, n: usize) -> ValueId {
        let w = self.weights(name, &[k, n]);
        self.op(MatMul::default(), &[x, w])
    }
    fn conv(&mut self, x: ValueId, name: &str, dims: [usize; 2], group: usize) -> ValueId {
        let w = self.weights(name, &[dims[1], dims[0] / group, 3, 3]);
        let (one, pad) = (vec![1, 1], vec![1.into(), 1.into()]);
        let op = Conv {
            strides: one.clone(),
            dilations: one,
            pads_before: pad.clone(),
            pads_after: pad,
            group,
            channels_last: false,
            zero: None,
            largest: None,
            wide: false,
        };
        self.op(op, &[x, w])
    }
    fn binary(&mut self, kind: BinaryKind, a: ValueId, b: ValueId) -> ValueId {
        self.op(Binary { kind }, &[a, b])
    }
    fn unary(&mut self, kind: UnaryKind, x: ValueId) -> ValueId {
        self.op(Unary { kind }, &[x])
    }
    fn finish(mut self, outputs: &[ValueId], states: Vec<State>) -> Module {
        self.g.outputs = outputs.to_vec();
        Module { name: "toy".into(), symbols: self.s, graph: self.g, states, ..Module::default() }
    }
}

fn all(m: &Module) -> Vec<Family> {
    families(m, &Labels::of(m))
}

fn family(m: &Module, name: &str) -> Family {
    all(m).into_iter().find(|f| f.sides.iter().any(|s| s.name == name)).unwrap()
}

/// The module with zeros where units would be read.
fn zeroed(m: &Module, f: &Family, gone: &[usize]) -> Module {
    let mut out = m.clone();
    let mut report = PassReport::default();
    let mut p = crate::prune::Pruned::default();
    for s in f.readers() {
        let t = m.graph.constant(s.value).unwrap();
        let mut v = t.to_f32().unwrap();
        let inner: usize = t.shape()[s.axis + 1..].iter().product();
        for (i, part) in v.chunks_mut(inner).enumerate() {
            if gone.iter().any(|u| s.indices[*u].contains(&(i % t.shape()[s.axis]))) {
                part.fill(0.0);
            }
        }
        p.weights.insert(s.name.clone(), Tensor::f32s(t.shape().to_vec(), &v).unwrap());
    }
    crate::prune::apply(&mut out, &p, &mut report).unwrap();
    out
}

/// Takes some units out and compares with zeros in their place.
fn check(m: &Module, f: &Family, gone: &[usize], inputs: impl Fn(&Module) -> Vec<Tensor>) -> Module {
    let mut p = crate::prune::Pruned::default();
    f.remove(&m.graph, &crate::prune::Step::Units(f.unit, 30), gone, &mut p);
    let (mut small, mut report) = (m.clone(), PassReport::default());
    crate::prune::apply(&mut small, &p, &mut report).unwrap();
    assert_eq!(small.verify(), []);
    assert_eq!(report.count("prune/units"), 1);
    let want = eval::module(&zeroed(m, f, gone), &inputs(m)).unwrap();
    let got = eval::module(&small, &inputs(&small)).unwrap();
    let states: Vec<usize> = m.states.iter().map(|s| s.output as usize).collect();
    for (i, (got, want)) in got.iter().zip(&want).enumerate().filter(|(i, _)| !states.contains(i)) {
        let (got, want) = (got.to_f32().unwrap(), want.to_f32().unwrap());
        let off = got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        assert!(got.len() == want.len() && off < 1e-4, "output {i}: off by {off}");
    }
    small
}

fn numbers(m: &Module) -> Vec<Tensor> {
    let of = |v: &ValueId| {
        let dims = m.graph.ty(*v).const_dims().unwrap();
        let n: usize = dims.iter().product();
        let values: Vec<f32> = (0..n).map(|i| ((i * 29 % 31) as f32 - 15.0) / 15.0).collect();
        Tensor::f32s(dims, &values).unwrap()
    };
    m.graph.inputs.iter().map(of).collect()
}

#[test]
fn channels_of_a_gated_feed_forward_part() {
    let mut b = Build::new();
    let x = b.input("x", &[4, 8]);
    let gate = b.product(x, "gate", 8, 6);
    let up = b.product(x, "up", 8, 6);
    let bias = b.weights("bias", &[6]);
    let up = b.binary(BinaryKind::Add, up, bias);
    let open = b.unary(UnaryKind::Sigmoid, gate);
    let h = b.binary(BinaryKind::Mul, open, up);
    let y = b.product(h, "down", 6, 8);
    let y = b.binary(BinaryKind::Add, x, y);
    let m = b.finish(&[y], vec![]);
    let f = family(&m, "down");
    assert_eq!((f.unit, f.len, f.pinned.as_deref()), (Unit::Ffn, 6, None));
    let names: Vec<&str> = f.sides.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["gate", "up", "down"]);
    let small = check(&m, &f, &[1, 4], numbers);
    let f = family(&small, "down");
    assert_eq!(f.len, 4);
    // What goes on through the residual stream stays.
    let out = all(&m).into_iter().find(|f| f.sides.iter().any(|s| s.name == "down" && s.axis == 1)).unwrap();
    assert!(out.pinned.is_some());
    let r = Removed { name: "down".into(), axis: 1, indices: vec![0] };
    let told = shrink(&mut m.clone(), &[r], &mut PassReport::default()).unwrap_err();
    assert!(told.message.contains("cannot go"), "{told}");
}

#[test]
fn heads_that_share_keys_go_together_with_their_cache() {
    let mut b = Build::new();
    let (n, heads, kv, size, slots) = (3, 6, 3, 4, 16);
    let x = b.input("x", &[n, 8]);
    let keys = b.input("keys", &[kv, slots / 16, size, 16]);
    let values = b.input("values", &[kv, slots, size]);
    let cut =
        |b: &mut Build, x, h: usize| b.op(Reshape { dims: vec![n.into(), h.into(), size.into()] }, &[x]);
    let q = b.product(x, "q", 8, heads * size);
    let q = cut(&mut b, q, heads);
    let k = b.product(x, "k", 8, kv * size);
    let k = cut(&mut b, k, kv);
    let v = b.product(x, "v", 8, kv * size);
    let v = cut(&mut b, v, kv);
    let k = b.op(Append { at: 0.into(), block: 16, ring: false, sinks: 0 }, &[keys, k]);
    let v = b.op(Append { at: 0.into(), block: 1, ring: false, sinks: 0 }, &[values, v]);
    let attention = CachedAttention {
        past: 0.into(),
        block: 16,
        scale: 0.5,
        softcap: None,
        window: None,
        ring: false,
        narrow: false,
        pages: None,
    };
    let y = b.op(attention, &[q, k, v]);
    let y = b.op(Reshape { dims: vec![n.into(), (heads * size).into()] }, &[y]);
    let y = b.product(y, "o", heads * size, 8);
    let states = vec![State { input: 1, output: 1 }, State { input: 2, output: 2 }];
    let m = b.finish(&[y, k, v], states);
    let f = family(&m, "q");
    assert_eq!((f.unit, f.len, f.pinned.as_deref()), (Unit::Heads, 3, None));
    assert_eq!(f.sides.iter().find(|s| s.name == "o").unwrap().indices[1], (8..16).collect::<Vec<_>>());
    let small = check(&m, &f, &[1], numbers);
    let dims = |i: usize| small.graph.ty(small.graph.inputs[i]).const_dims().unwrap();
    assert_eq!((dims(1), dims(2)), (vec![2, 1, 4, 16], vec![2, 16, 4]));
}

/// Convolutions with all that keeps channels apart, or joins them.
fn network() -> Module {
    let mut b = Build::new();
    let x = b.input("x", &[1, 3, 6, 6]);
    let a = b.conv(x, "a", [3, 6], 1);
    let bias = b.weights("bias", &[6, 1, 1]);
    let a = b.binary(BinaryKind::Add, a, bias);
    let a = b.unary(UnaryKind::Sigmoid, a);
    let each = b.conv(a, "each", [6, 6], 6);
    let p = b.conv(each, "b", [6, 6], 1);
    let sum = b.binary(BinaryKind::Add, p, a);
    let other = b.conv(x, "other", [3, 4], 1);
    let joined = b.op(Concat { axis: 1 }, &[other, sum]);
    let y = b.conv(joined, "c", [10, 4], 1);
    let mean = Reduce { kind: ReduceKind::Mean, axes: vec![2, 3], keepdims: true };
    let y = b.op(mean, &[y]);
    let y = b.op(Reshape { dims: vec![1.into(), 4.into()] }, &[y]);
    let y = b.product(y, "classes", 4, 5);
    b.finish(&[y], vec![])
}

#[test]
fn channels_of_convolutions_through_sums_concatenations_and_depthwise_filters() {
    let m = network();
    let f = family(&m, "a");
    // The sum makes channels of both one; the concatenation puts them behind others.
    let sides: Vec<(&str, usize)> = f.sides.iter().map(|s| (s.name.as_str(), s.axis)).collect();
    assert_eq!(sides, [("a", 0), ("b", 0), ("b", 1), ("c", 1)]);
    assert_eq!((f.unit, f.len, f.pinned.as_deref()), (Unit::Channels, 6, None));
    assert_eq!(f.sides[3].indices[0], [4]);
    let small = check(&m, &f, &[0, 3, 5], numbers);
    let dims = |name: &str| {
        let (_, n) = small
            .graph
            .iter()
            .find(|(_, n)| n.outputs.iter().any(|v| small.graph.value(*v).name.as_deref() == Some(name)))
            .unwrap();
        small.graph.ty(n.outputs[0]).const_dims().unwrap()
    };
    assert_eq!((dims("a"), dims("each"), dims("b")), (vec![3, 3, 3, 3], vec![3, 1, 3, 3], vec![3, 3, 3, 3]));
    assert_eq!((dims("bias"), dims("c")), (vec![3, 1, 1], vec![4, 7, 3, 3]));
    check(&m, &family(&m, "other"), &[1], numbers);
    check(&m, &family(&m, "classes"), &[0, 2], numbers);
    // Strength is by weights alone: a channel without any is the weakest.
    let f = family(&m, "other");
    let scores = choose::strengths(&m.graph, &f).unwrap();
    assert!(scores.len() == 4 && scores.iter().all(|s| *s > 0.0));
}

#[test]
fn what_is_not_understood_says_why() {
    let mut b = Build::new();
    let x = b.input("x", &[4, 8]);
    let h = b.product(x, "first", 8, 6);
    let p = b.op(Softmax { axis: 1, log: false }, &[h]);
    let y = b.product(p, "second", 6, 8);
    let m = b.finish(&[y], vec![]);
    assert!(family(&m, "first").pinned.unwrap().contains("Softmax"));
    let second = all(&m).into_iter().find(|f| f.sides.iter().any(|s| s.name == "second" && s.axis == 1));
    assert!(second.unwrap().pinned.unwrap().contains("result of the model"));
    // A constant that something else reads whole keeps all it has.
    let mut b = Build::new();
    let x = b.input("x", &[4, 6]);
    let shared = b.weights("shared", &[6]);
    let x2 = b.binary(BinaryKind::Add, x, shared);
    let h = b.product(x2, "first", 6, 6);
    let h = b.binary(BinaryKind::Mul, h, shared);
    let y = b.product(h, "second", 6, 8);
    let m = b.finish(&[y], vec![]);
    assert!(family(&m, "first").pinned.unwrap().contains("share"));
    // Nothing that overwrites a part of something is followed.
    let mut b = Build::new();
    let (x, cache) = (b.input("x", &[4, 6]), b.input("cache", &[9, 6]));
    let h = b.product(x, "first", 6, 6);
    let y = b.op(WriteSlice { axis: 0, at: 0.into() }, &[cache, h]);
    let y = b.product(y, "second", 6, 8);
    assert!(family(&b.finish(&[y], vec![]), "first").pinned.is_some());
}

#[test]
fn what_stays_makes_up_for_what_goes() {
    let (n, k) = (6, 40);
    let w = samples::weights(n, k).to_f32().unwrap();
    let stats = Statistics::of_rows(k, &samples::inputs(3, 300, k)).unwrap();
    let gone = [1, 7, 8, 20, 33];
    let refit = choose::Refit::new(&stats, &gone).unwrap();
    let new = refit.rows(&w);
    let mut masked = w.clone();
    for row in masked.chunks_mut(k) {
        gone.iter().for_each(|i| row[*i] = 0.0);
    }
    assert!(new.chunks(k).all(|row| gone.iter().all(|i| row[*i] == 0.0)));
    let (with, without) = (stats.difference(&w, &new).noise, stats.difference(&w, &masked).noise);
    assert!(with < 0.7 * without, "{with} {without}");
    // Nothing gone, nothing moved; some rows alone are the same.
    assert_eq!(choose::Refit::new(&stats, &[]).unwrap().rows(&w), w);
    assert_eq!(refit.rows(&w[k..2 * k]), new[k..2 * k]);
    // A channel that another one repeats is not missed.
    let mut x = samples::inputs(4, 300, k);
    x.chunks_mut(k).for_each(|r| r[5] = r[30]);
    let stats = Statistics::of_rows(k, &x).unwrap();
    let new = choose::Refit::new(&stats, &[5]).unwrap().rows(&w);
    let d = stats.difference(&w, &new);
    assert!(d.noise < 2e-3 * stats.energy(&w), "{d:?}");
}

#[test]
fn energies_are_those_of_outputs_and_the_weakest_go() {
    let k = 6;
    let w = samples::weights(3, k).to_f32().unwrap();
    let x = samples::inputs(5, 50, k);
    let stats = Statistics::of_rows(k, &x).unwrap();
    let units = vec![vec![0, 1], vec![2, 3], vec![4, 5]];
    let got = choose::energies(&w, &stats, &units);
    for (unit, got) in units.iter().zip(&got) {
        let part = |x: &[f32], w: &[f32]| unit.iter().map(|i| f64::from(x[*i] * w[*i])).sum::<f64>();
        let want: f64 =
            x.chunks(k).flat_map(|x| w.chunks(k).map(move |w| (x, w))).map(|(x, w)| part(x, w).powi(2)).sum();
        assert!((got - want / 50.0).abs() < 1e-4 * want, "{got} {want}");
    }
    assert_eq!(choose::weakest(&[3.0, 1e-30, 2.0, 1.0], 2), [1, 3]);
    assert_eq!(choose::keep(1536, 30, Unit::Ffn), 1024);
    assert_eq!(choose::keep(3, 25, Unit::Heads), 2);
    assert_eq!(choose::keep(1, 50, Unit::Heads), 1);
    assert_eq!(choose::keep(64, 50, Unit::Channels), 32);
}
