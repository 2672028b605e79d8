//! Random networks computed in parts against the same as a whole: to the last bit.
#![allow(clippy::unwrap_used)]

mod support;

use sinter_ir::graph::Origin;
use sinter_ir::op::binary::BinaryKind;
use sinter_ir::op::pool::PoolKind;
use sinter_ir::op::reduce::ReduceKind;
use sinter_ir::op::unary::UnaryKind;
use sinter_ir::op::{Binary, Concat, Constant, Conv, Pool, Reduce, Unary};
use sinter_ir::{DType, Module, Op, Tensor, TensorType, ValueId, eval};
use sinter_passes::patches::{self, choices};
use sinter_passes::report::PassReport;
use support::Rng;

struct Net {
    rng: Rng,
    m: Module,
}

impl Net {
    fn add(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> ValueId {
        self.m.graph.add1(&mut self.m.symbols, op.into(), inputs, &Origin::new()).unwrap()
    }
    /// From one number to another.
    fn dim(&mut self, lo: usize, hi: usize) -> usize {
        lo + self.rng.below(hi + 1 - lo)
    }
    fn dims(&self, v: ValueId) -> Vec<usize> {
        self.m.graph.ty(v).const_dims().unwrap()
    }
    fn conv(&mut self, x: ValueId, keep: bool) -> ValueId {
        let d = self.dims(x);
        let (taps, o) = (if keep { 3 } else { self.dim(1, 3) }, if keep { d[1] } else { self.dim(1, 4) });
        let (stride, dilation) = if keep { (1, 1) } else { (self.dim(1, 2), self.dim(1, 2)) };
        let span = (taps - 1) * dilation + 1;
        let (before, after) = if keep { (1, 1) } else { (self.rng.below(span), self.rng.below(span)) };
        if d[2] + before + after < span {
            return x;
        }
        let w = self.rng.tensor(DType::F32, vec![o, d[1], taps, 1]);
        let w = self.add(Constant { tensor: w }, &[]);
        let op = Conv {
            strides: vec![stride, 1],
            dilations: vec![dilation, 1],
            pads_before: vec![before.into(), 0.into()],
            pads_after: vec![after.into(), 0.into()],
            group: 1,
            channels_last: false,
            zero: None,
            largest: None,
            wide: false,
        };
        self.add(op, &[x, w])
    }
    fn layer(&mut self, x: ValueId) -> ValueId {
        match self.rng.below(6) {
            0 => self.add(Unary { kind: UnaryKind::Abs }, &[x]),
            1 => {
                let y = self.conv(x, true);
                self.add(Binary { kind: BinaryKind::Add }, &[y, x])
            }
            2 => {
                let y = self.conv(x, true);
                self.add(Concat { axis: 1 }, &[x, y])
            }
            3 if self.dims(x)[2] > 3 => {
                let op = Pool {
                    kind: if self.rng.below(2) == 0 { PoolKind::Max } else { PoolKind::Average },
                    kernel: vec![2.into(), 1.into()],
                    strides: vec![2, 1],
                    dilations: vec![1, 1],
                    pads_before: vec![self.rng.below(2).into(), 0.into()],
                    pads_after: vec![1.into(), 0.into()],
                    ceil_mode: false,
                    count_include_pad: self.rng.below(2) == 0,
                    indices: false,
                    column_major: false,
                    channels_last: false,
                };
                self.add(op, &[x])
            }
            _ => self.conv(x, false),
        }
    }
}

/// A few layers over an image, then a sum.
fn network(seed: u64) -> Net {
    let mut net = Net { rng: Rng::new(seed), m: Module::default() };
    let dims = [1, net.dim(1, 3), net.dim(6, 30), 2].map(|d: usize| d.into()).to_vec();
    let mut x = net.m.graph.add_input(TensorType::new(DType::F32, dims), Some("x".into()));
    for _ in 0..net.dim(2, 7) {
        x = net.layer(x);
    }
    let y = net.add(Reduce { kind: ReduceKind::Sum, axes: vec![2, 3], keepdims: false }, &[x]);
    net.m.graph.outputs.push(y);
    net
}

fn run(m: &Module, x: &Tensor) -> Vec<Tensor> {
    let inputs = std::slice::from_ref(x);
    let mut cx = eval::bind_inputs(m, inputs).unwrap();
    eval::graph(&m.graph, &mut cx, inputs).unwrap()
}

#[test]
fn in_parts_as_a_whole() {
    let (mut tried, mut edges) = (0, 0);
    for seed in 0..150 {
        let mut net = network(seed);
        let shape = net.dims(net.m.graph.inputs[0]);
        let x = net.rng.tensor(DType::F32, shape);
        let want = run(&net.m, &x);
        for room in [200, 600, 1500, 4000] {
            let all = choices(&net.m.graph, room);
            // The cheapest, the smallest, any.
            let some = [all.first(), all.iter().min_by_key(|c| c.bytes), all.get(all.len() / 2)];
            for choice in some.into_iter().flatten() {
                let (mut m, mut report) = (net.m.clone(), PassReport::default());
                patches::run(&mut m, choice, &mut report).unwrap();
                assert_eq!(m.verify(), [], "seed {seed}: {choice:?}");
                assert_eq!(run(&m, &x), want, "seed {seed}: {choice:?}");
                let stat = report.patches.unwrap();
                assert_eq!((stat.parts as u64, stat.parts), (report.rules["patches/part"], choice.parts));
                tried += 1;
                edges += usize::from(choice.again > 0.0);
            }
        }
    }
    assert!(tried > 200 && edges > 100, "{tried} splits, {edges} with rows computed again");
}

/// The model of memory: what is the cheapest comes first among what fits, and parts are smaller than the whole.
#[test]
fn the_cheapest_that_fits_comes_first() {
    let mut net = Net { rng: Rng::new(1), m: Module::default() };
    let dims = [1usize, 1, 64, 4].map(|d| d.into()).to_vec();
    let x = net.m.graph.add_input(TensorType::new(DType::F32, dims), Some("x".into()));
    let w = |net: &mut Net, o: usize, c: usize| {
        let t = net.rng.tensor(DType::F32, vec![o, c, 3, 1]);
        net.add(Constant { tensor: t }, &[])
    };
    let op = |stride| Conv {
        strides: vec![stride, 1],
        dilations: vec![1, 1],
        pads_before: vec![1.into(), 0.into()],
        pads_after: vec![1.into(), 0.into()],
        group: 1,
        channels_last: false,
        zero: None,
        largest: None,
        wide: false,
    };
    let first = w(&mut net, 16, 1);
    let wide = net.add(op(1), &[x, first]);
    let second = w(&mut net, 2, 16);
    let narrow = net.add(op(2), &[wide, second]);
    let y = net.add(Reduce { kind: ReduceKind::Sum, axes: vec![2, 3], keepdims: false }, &[narrow]);
    net.m.graph.outputs.push(y);
    // As a whole: 16 KB between the convolutions, 1 KB of input, 1 KB behind.
    assert_eq!(choices(&net.m.graph, 20_000), []);
    let all = choices(&net.m.graph, 8_000);
    let (best, fitting) = (&all[0], all.iter().filter(|c| c.bytes <= 8_000).count());
    assert!(fitting > 3 && best.bytes <= 8_000 && (best.from, best.to) == (x, narrow), "{all:?}");
    assert!(all[..fitting].windows(2).all(|w| w[0].again <= w[1].again), "{all:?}");
    // Two rows of each neighbour less one are computed twice, 16 of 18 of the work.
    assert!(best.again > 0.0 && best.again < 0.3, "{best:?}");
}
