//! A model in pieces computes what the whole does, and its taps show what products read.

#![allow(clippy::unwrap_used)]

use sinter_ir::op::binary::{Binary, BinaryKind};
use sinter_ir::op::unary::{Unary, UnaryKind};
use sinter_ir::op::{Constant, Gather, MatMul};
use sinter_ir::{Graph, Module, Op, Symbols, Tensor, TensorType, ValueId, eval};
use sinter_passes::compress::products::products;
use sinter_passes::compress::segments::{Feed, Segment, segments};
use sinter_passes::compress::stats::Statistics;

const WORDS: usize = 70;
const WIDTH: usize = 64;
const TOKENS: usize = 5;

fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let mut s = seed;
    let mut next = || {
        s = s.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (s >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..n).map(|_| 0.4 * (next() + next())).collect()
}

#[derive(Default)]
struct Builder {
    g: Graph,
    s: Symbols,
    seed: u64,
}

impl Builder {
    fn add(&mut self, op: impl Into<Op>, x: &[ValueId]) -> ValueId {
        self.g.add1(&mut self.s, op.into(), x, &vec!["a layer".into()]).unwrap()
    }
    fn constant(&mut self, shape: &[usize], name: &str) -> ValueId {
        self.seed += 1;
        let tensor = Tensor::f32s(shape.to_vec(), &numbers(shape.iter().product(), self.seed)).unwrap();
        let v = self.add(Constant { tensor }, &[]);
        self.g.set_name(v, name.into());
        v
    }
    fn times(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.add(Binary { kind: BinaryKind::Mul }, &[a, b])
    }
    fn product(&mut self, x: ValueId, name: &str) -> ValueId {
        let w = self.constant(&[WIDTH, WIDTH], name);
        self.add(MatMul::default(), &[x, w])
    }
    /// `x + down(tanh(gate(x g)) up(x g))`.
    fn layer(&mut self, x: ValueId, i: usize) -> ValueId {
        let gamma = self.constant(&[WIDTH], &format!("{i}.norm"));
        let n = self.times(x, gamma);
        let gate = self.product(n, &format!("{i}.gate"));
        let up = self.product(n, &format!("{i}.up"));
        let gate = self.add(Unary { kind: UnaryKind::Tanh }, &[gate]);
        let h = self.times(gate, up);
        let y = self.product(h, &format!("{i}.down"));
        self.add(Binary { kind: BinaryKind::Add }, &[x, y])
    }
}

fn model() -> Module {
    let mut b = Builder::default();
    let ids = b.g.add_input(TensorType::new(sinter_ir::DType::I64, vec![TOKENS.into()]), Some("ids".into()));
    let table = b.constant(&[WORDS, WIDTH], "embed");
    let mut x = b.add(Gather { axis: 0 }, &[table, ids]);
    for i in 0..4 {
        x = b.layer(x, i);
    }
    let logits = b.product(x, "head");
    b.g.outputs = vec![logits];
    Module { name: "toy".into(), symbols: b.s, graph: b.g, ..Module::default() }
}

fn ids() -> Tensor {
    Tensor::i64s(&[3, 69, 0, 3, 41])
}

/// Values of the whole model.
fn whole(m: &Module, values: &[ValueId]) -> Vec<Tensor> {
    let mut m = m.clone();
    m.graph.outputs = values.to_vec();
    eval::module(&m, &[ids()]).unwrap()
}

fn feed(feeds: &[Feed], carried: Option<&Tensor>) -> Vec<Tensor> {
    let one = |f: &Feed| match f {
        Feed::Carried => carried.unwrap().clone(),
        Feed::Given(0) => ids(),
        Feed::Constant(t, _) | Feed::Weights(_, t) => t.clone(),
        other => panic!("{other:?}"),
    };
    feeds.iter().map(one).collect()
}

fn close(a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
    assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-5 * (1.0 + b.abs())));
}

#[test]
fn products_know_what_is_before_them_and_ends_are_left_out() {
    let all = products(&model().graph);
    let names: Vec<(&str, Option<&str>)> = all.iter().map(|p| (&*p.name, p.before.as_deref())).collect();
    assert_eq!(names.len(), 12);
    assert_eq!(names[..3], [("0.gate", None), ("0.up", None), ("0.down", Some("0.up"))]);
}

#[test]
fn pieces_one_after_the_other_are_the_model() {
    let m = model();
    let pieces: Vec<Segment> = segments(&m).unwrap();
    assert_eq!(pieces.len(), 4);
    // Layers that are made alike are one module.
    assert!(pieces[1].module == pieces[2].module && pieces[0].module != pieces[1].module);
    assert!(pieces[1].plain.as_ref().unwrap().0 == pieces[2].plain.as_ref().unwrap().0);
    let mut carried = None;
    for piece in &pieces {
        assert_eq!(piece.module.verify(), []);
        let out = eval::module(&piece.module, &feed(&piece.feeds, carried.as_ref())).unwrap();
        let next = usize::from(piece.goes_on());
        assert_eq!(out.len(), next + 6);
        for (t, out) in piece.taps.iter().zip(out[next..].chunks(3)) {
            let x = whole(&m, &[t.products[0].x])[0].to_f32().unwrap();
            let want = Statistics::of_rows(WIDTH, &x).unwrap();
            let mean =
                |t: &Tensor| -> Vec<f32> { t.to_f32().unwrap().iter().map(|v| v / TOKENS as f32).collect() };
            close(&mean(&out[0]), &want.gram);
            close(&mean(&out[1]), &want.magnitude);
        }
        let names: Vec<usize> = piece.taps.iter().map(|t| t.products.len()).collect();
        assert_eq!(names, [2, 1]);
        if let Some((plain, feeds)) = &piece.plain {
            let alone = eval::module(plain, &feed(feeds, carried.as_ref())).unwrap();
            match piece.goes_on() {
                true => assert_eq!(alone[0], out[0]),
                false => assert_eq!(alone[0], whole(&m, &m.graph.outputs)[0]),
            }
            carried = Some(out[0].clone());
        }
    }
}
