//! Modules whose weights become codes compute nearly the same, and say what it cost.

#![allow(clippy::unwrap_used)]

mod kernels;

use bytes::Bytes;
use sinter_ir::op::{self, Constant, Gather, MatMul};
use sinter_ir::tensor::Source;
use sinter_ir::{DType, Graph, Module, Result, Symbols, Tensor, TensorType, eval};
use sinter_passes::compress::{self, Recipe};
use sinter_passes::pipeline::{self, PipelineOptions};
use sinter_passes::plan::weights::Store;
use sinter_passes::report::PassReport;
use std::sync::Arc;

const WORDS: usize = 96;
const WIDTH: usize = 64;

/// A matrix that is read when it is needed, as it is or transposed.
#[derive(Debug)]
struct Late(Tensor, bool);

impl Source for Late {
    fn read(&self) -> Result<Bytes> {
        let turned = op::Op::from(op::Transpose { perm: vec![1, 0] });
        let t = if self.1 {
            turned.eval(&mut Default::default(), std::slice::from_ref(&self.0))?.remove(0)
        } else {
            self.0.clone()
        };
        Ok(t.shared_bytes())
    }
    fn turned(&self) -> Option<Tensor> {
        let shape = self.0.shape().to_vec();
        self.1.then(|| Tensor::deferred(DType::F32, shape, Arc::new(Self(self.0.clone(), false))).unwrap())
    }
    fn key(&self) -> Option<String> {
        Some(format!("table {}", self.1))
    }
}

fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let mut s = seed;
    let mut next = || {
        s = s.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (s >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..n).map(|_| next() + next()).collect()
}

/// `logits = tanh(embed[ids] W) embed^T`, the embedding tied to the head, all weights deferred or none.
fn model(deferred: bool) -> Module {
    let (mut g, mut s) = (Graph::default(), Symbols::default());
    let ids = g.add_input(TensorType::new(DType::I64, vec![5.into()]), Some("ids".into()));
    let table = Tensor::f32s(vec![WORDS, WIDTH], &numbers(WORDS * WIDTH, 1)).unwrap();
    let middle = Tensor::f32s(vec![WIDTH, WIDTH], &numbers(WIDTH * WIDTH, 2)).unwrap();
    let plain = match deferred {
        true => {
            Tensor::deferred(DType::F32, vec![WORDS, WIDTH], Arc::new(Late(table.clone(), false))).unwrap()
        }
        false => table.clone(),
    };
    // Whoever asks for the transposed matrix gets the one that rows are looked up in.
    let head = Tensor::deferred(DType::F32, vec![WIDTH, WORDS], Arc::new(Late(plain.load().unwrap(), true)))
        .unwrap();
    let head = if deferred { head } else { head.load().unwrap() };
    let mut constant = |g: &mut Graph, tensor, name: &str| {
        let v = g.add1(&mut s, Constant { tensor }.into(), &[], &vec![]).unwrap();
        g.set_name(v, name.into());
        v
    };
    let (e, w, h) = (
        constant(&mut g, plain, "embed"),
        constant(&mut g, middle, "middle"),
        constant(&mut g, head, "head"),
    );
    let x = g.add1(&mut s, Gather { axis: 0 }.into(), &[e, ids], &vec![]).unwrap();
    let x = g.add1(&mut s, MatMul::default().into(), &[x, w], &vec![]).unwrap();
    let tanh = op::unary::Unary { kind: op::unary::UnaryKind::Tanh };
    let x = g.add1(&mut s, tanh.into(), &[x], &vec![]).unwrap();
    let y = g.add1(&mut s, MatMul::default().into(), &[x, h], &vec![]).unwrap();
    g.outputs = vec![y];
    Module { name: "toy".into(), symbols: s, graph: g, ..Module::default() }
}

fn logits(m: &Module) -> Vec<f32> {
    eval::module(m, &[Tensor::i64s(&[0, 95, 7, 7, 31])]).unwrap()[0].to_f32().unwrap()
}

/// Relative to the largest value.
fn distance(got: &[f32], want: &[f32]) -> f32 {
    let largest = want.iter().fold(0f32, |m, v| m.max(v.abs()));
    got.iter().zip(want).map(|(g, w)| (g - w).abs()).fold(0f32, f32::max) / largest
}

fn compressed(recipe: &str, deferred: bool, store: Option<&mut dyn Store>) -> (Module, PassReport) {
    let (mut m, mut report) = (model(deferred), PassReport::default());
    let recipe = Recipe::parse(recipe).unwrap().unwrap();
    compress::run(&mut m, recipe, None, store, &mut report).unwrap();
    assert_eq!(m.verify(), []);
    (m, report)
}

#[test]
fn more_bits_and_finer_groups_come_closer() {
    let want = logits(&model(false));
    for (recipe, most) in
        [("w8", 0.02), ("w8a16gall", 0.02), ("w4a16", 0.2), ("w4g64-asym", 0.2), ("w4-mse", 0.2)]
    {
        let (m, report) = compressed(recipe, false, None);
        let off = distance(&logits(&m), &want);
        assert!(off > 0.0 && off < most, "{recipe}: {off}");
        assert_eq!(
            (report.count("compress/product"), report.count("compress/embedding")),
            (2, 1),
            "{recipe}"
        );
        // Bytes of a tensor before and after; only four bits save three quarters and more.
        for l in &report.compressed {
            assert!(l.bytes * 3 < l.bytes_before && l.sqnr_db > 15.0, "{l:?}");
        }
    }
}

/// What a file would hold.
#[derive(Default)]
struct Memory(Vec<u8>);

impl Store for Memory {
    fn append(&mut self, at: u64, data: &[u8]) -> Result<()> {
        self.0.resize(at as usize, 0);
        self.0.extend_from_slice(data);
        Ok(())
    }
    fn holds(&mut self, _: u64, _: &[u8]) -> Result<bool> {
        Ok(false)
    }
    fn bytes(&mut self) -> Result<Bytes> {
        Ok(self.0.clone().into())
    }
}

#[test]
fn where_weights_and_codes_are_changes_nothing() {
    let mut store = Memory::default();
    let (m, report) = compressed("w4", true, Some(&mut store));
    let (plain, _) = compressed("w4", false, None);
    assert_eq!(logits(&m), logits(&plain));
    // The tied table is there once: its rows and the middle.
    assert_eq!(report.compressed.len(), 2);
    assert_eq!(store.0.len(), WORDS * WIDTH + WIDTH * WIDTH / 2);
}

/// A matrix that rows are looked up in and that products take is packed once, whatever its format.
#[test]
fn tied_embeddings_lie_in_the_program_once() {
    let mut target = kernels::target();
    (target.vector_bits, target.vector_registers) = (512, 32);
    target.features = vec!["avx512vnni".into()];
    for recipe in ["w8", "w4", "w8a16", "w8g64", "w8gall"] {
        let mut options = PipelineOptions { compress: Recipe::parse(recipe).unwrap(), ..Default::default() };
        let program = pipeline::run(model(false), &mut options, &target).unwrap().program.unwrap();
        let sizes: Vec<usize> = program.weights.iter().map(|(_, data)| data.len()).collect();
        let large = sizes.iter().filter(|len| **len >= WORDS * WIDTH).count();
        assert_eq!(large, 1, "{recipe}: {sizes:?}");
    }
}
