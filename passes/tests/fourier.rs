//! Convolutions with windowed cosines and sines against the fast transforms that they become.
#![allow(clippy::unwrap_used)]

mod support;

use sinter_ir::graph::{Origin, SymKind};
use sinter_ir::op::{Constant, Conv};
use sinter_ir::{DType, Expr, Graph, Module, Op, Symbols, Tensor, TensorType, eval};
use sinter_passes::canon::fourier;
use sinter_passes::report::PassReport;
use std::f64::consts::TAU;
use support::Rng;

/// A short-time Fourier transform as exporters write it.
struct Stft {
    taps: usize,
    length: usize,
    hop: usize,
    pads: (usize, usize),
    /// Axes of the signal besides batch and channel, and which of them has samples.
    axes: (usize, usize),
    /// Whether real and imaginary parts are convolutions of their own.
    apart: bool,
    /// Whether the number of samples is a symbol.
    open: bool,
}

impl Stft {
    fn rows(&self, f: fn(f64) -> f64) -> Vec<f64> {
        let window = |n: usize| 0.54 - 0.46 * (TAU * n as f64 / (self.taps - 1) as f64).cos();
        let angle = |k: usize, n: usize| TAU * (k * n % self.length) as f64 / self.length as f64;
        (0..=self.length / 2).flat_map(|k| (0..self.taps).map(move |n| window(n) * f(angle(k, n)))).collect()
    }
    /// The module, and inputs for it.
    fn module(&self, rng: &mut Rng) -> (Module, Vec<Tensor>) {
        let (mut symbols, mut g) = (Symbols::default(), Graph::default());
        let samples = self.taps + 9 * self.hop + rng.below(self.hop);
        let dim = match self.open {
            true => symbols.fresh("samples", self.taps as i64, 4096, SymKind::Input).into(),
            false => Expr::from(samples),
        };
        let (rank, axis) = self.axes;
        let place =
            |v: usize, rest: usize| (0..rank).map(|a| if a == axis { v } else { rest }).collect::<Vec<_>>();
        let mut dims: Vec<Expr> = [2, 1].into_iter().chain(place(0, 1)).map(Expr::from).collect();
        dims[2 + axis] = dim;
        let x = g.add_input(TensorType::new(DType::F32, dims), None);
        let pads = |p| place(p, 0).into_iter().map(Expr::from).collect();
        let conv = Conv {
            strides: place(self.hop, 1),
            dilations: vec![1; rank],
            pads_before: pads(self.pads.0),
            pads_after: pads(self.pads.1),
            group: 1,
            channels_last: false,
            zero: None,
            largest: None,
            wide: false,
        };
        let (re, im) = (self.rows(f64::cos), self.rows(|a| -a.sin()));
        let all = if self.apart { vec![re, im] } else { vec![[re, im].concat()] };
        for w in all {
            let shape = [vec![w.len() / self.taps, 1], place(self.taps, 1)].concat();
            let tensor = Tensor::from_f64(DType::F32, shape, &w).unwrap();
            let w = g.add1(&mut symbols, Constant { tensor }.into(), &[], &Origin::new()).unwrap();
            let y = g.add1(&mut symbols, Op::Conv(conv.clone()), &[x, w], &Origin::new()).unwrap();
            g.outputs.push(y);
        }
        let shape = [vec![2, 1], place(samples, 1)].concat();
        (
            Module { name: "stft".into(), graph: g, symbols, ..Module::default() },
            vec![rng.tensor(DType::F32, shape)],
        )
    }
    fn check(&self) {
        let (mut module, inputs) = self.module(&mut Rng::new(self.taps as u64));
        let before = eval::module(&module, &inputs).unwrap();
        let mut report = PassReport::default();
        fourier::run(&mut module, &mut report).unwrap();
        assert_eq!(report.rules.get("fourier/spectrum"), Some(&1));
        assert!(module.verify().is_empty(), "{:?}", module.verify());
        assert!(!module.graph.iter().any(|(_, n)| matches!(n.op, Op::Conv(_))));
        for (a, b) in before.iter().zip(eval::module(&module, &inputs).unwrap()) {
            assert_eq!(a.shape(), b.shape());
            let (a, b) = (a.to_f64().unwrap(), b.to_f64().unwrap());
            let largest = a.iter().fold(0.0f64, |m, v| m.max(v.abs()));
            let worst = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(worst < 2e-6 * largest, "{worst} of {largest}");
        }
    }
}

#[test]
fn spectra_stay_what_they_were() {
    let plain =
        Stft { taps: 256, length: 256, hop: 128, pads: (0, 0), axes: (1, 0), apart: false, open: false };
    plain.check();
    Stft { apart: true, hop: 100, ..plain }.check();
    Stft { taps: 160, hop: 64, axes: (2, 1), pads: (40, 7), ..plain }.check();
    Stft { taps: 200, length: 200, hop: 80, axes: (2, 0), apart: true, ..plain }.check();
    Stft { taps: 135, length: 135, hop: 37, pads: (3, 0), ..plain }.check();
    Stft { open: true, hop: 96, ..plain }.check();
    Stft { open: true, hop: 96, pads: (128, 128), apart: true, ..plain }.check();
}

#[test]
fn other_convolutions_stay() {
    let stft =
        Stft { taps: 256, length: 256, hop: 128, pads: (0, 0), axes: (1, 0), apart: true, open: false };
    let (mut module, _) = stft.module(&mut Rng::new(1));
    // Sines without cosines: there is no row that says what the window is.
    module.graph.outputs.remove(0);
    let mut report = PassReport::default();
    sinter_passes::canon::dce::run(&mut module, &mut report).unwrap();
    fourier::run(&mut module, &mut report).unwrap();
    assert!(!report.rules.contains_key("fourier/spectrum"));
}
