//! Groups of reductions over the same rows: normalisations, softmax, statistics, against the evaluator.
#![allow(clippy::unwrap_used)]

mod kernels;

use kernels::group::Body;
use kernels::{Rng, size};
use sinter_ir::op::binary::BinaryKind as B;
use sinter_ir::op::reduce::ReduceKind as R;
use sinter_ir::op::unary::UnaryKind as U;
use sinter_ir::op::*;
use sinter_ir::{DType, Expr, ValueId};

/// Rows of random dims, some of them symbols.
struct Rows {
    g: Body,
    rng: Rng,
    shape: Vec<usize>,
    dims: Vec<Expr>,
    axes: Vec<usize>,
}

impl Rows {
    fn new(mut rng: Rng) -> Self {
        let rank = rng.dim(1, 4);
        let most = [70, 70, 30, 12, 7][rank];
        let shape: Vec<usize> =
            (0..rank).map(|_| if rng.below(6) == 0 { 1 } else { rng.dim(1, most) }).collect();
        let mut axes: Vec<usize> = (0..rank).filter(|_| rng.flip()).collect();
        if axes.is_empty() {
            axes.push(rng.below(rank));
        }
        let mut g = Body::default();
        let dims = shape.iter().map(|&d| if rng.below(4) == 0 { g.dim(d, 96) } else { d.into() }).collect();
        Self { g, rng, shape, dims, axes }
    }
    fn input(&mut self) -> ValueId {
        let t = self.rng.tensor(DType::F32, self.shape.clone());
        self.g.input_of(t, &self.dims)
    }
    /// An operand that has only some of the axes, or none in front of one.
    fn part(&mut self) -> ValueId {
        let keep: Vec<bool> = self.shape.iter().map(|_| self.rng.flip()).collect();
        let lead = self.rng.below(self.shape.len());
        let shape = self.shape.iter().zip(&keep).map(|(d, k)| if *k { *d } else { 1 }).skip(lead).collect();
        let one = Expr::from(1);
        let dims: Vec<Expr> =
            self.dims.iter().zip(&keep).map(|(d, k)| if *k { d } else { &one }.clone()).skip(lead).collect();
        let t = self.rng.tensor(DType::F32, shape);
        self.g.input_of(t, &dims)
    }
    fn sum(&mut self, kind: R, x: ValueId) -> ValueId {
        if self.rng.below(3) > 0 {
            return self.g.reduce(kind, x, &self.axes);
        }
        // As exporters write it: without the axes, which come back as a reshape.
        let y = self.g.add(Reduce { kind, axes: self.axes.clone(), keepdims: false }, &[x]);
        let dim = |(i, d): (usize, &Expr)| if self.axes.contains(&i) { 1.into() } else { d.clone() };
        let dims = self.dims.iter().enumerate().map(dim).collect();
        self.g.add(Reshape { dims }, &[y])
    }
    /// Something per element in front of or behind the reductions; dear ones are kept from pass to pass.
    fn step(&mut self, x: ValueId) -> ValueId {
        match self.rng.below(5) {
            0 => self.g.un(U::Sigmoid, x),
            1 => {
                let p = self.part();
                self.g.bin(B::Add, x, p)
            }
            2 => {
                let p = self.part();
                self.g.bin(B::Mul, p, x)
            }
            3 => {
                let other = self.input();
                self.g.bin(B::Add, x, other)
            }
            _ => {
                let e = self.g.un(U::Erf, x);
                self.g.bin(B::Mul, x, e)
            }
        }
    }
    fn standardise(&mut self, x: ValueId) -> (ValueId, ValueId) {
        let mean = self.sum(R::Mean, x);
        let d = self.g.bin(B::Sub, x, mean);
        let sq = self.g.bin(B::Mul, d, d);
        let var = self.sum(R::Mean, sq);
        let eps = self.g.number(0.125, DType::F32);
        let var = self.g.bin(B::Add, var, eps);
        let dev = self.g.un(U::Sqrt, var);
        let inv = self.g.un(U::Recip, dev);
        (self.g.bin(B::Mul, d, inv), mean)
    }
    fn softmax(&mut self, x: ValueId) -> ValueId {
        if let &[axis] = self.axes.as_slice()
            && self.rng.flip()
        {
            return self.g.add(Softmax { axis, log: self.rng.flip() }, &[x]);
        }
        let max = self.sum(R::Max, x);
        let d = self.g.bin(B::Sub, x, max);
        let e = self.g.un(U::Exp, d);
        let sum = self.sum(R::Sum, e);
        self.g.bin(B::Div, e, sum)
    }
    /// Mean and variance from two sums of one pass.
    fn moments(&mut self, x: ValueId) -> Vec<ValueId> {
        let m = self.sum(R::Mean, x);
        let sq = self.g.bin(B::Mul, x, x);
        let m2 = self.sum(R::Mean, sq);
        let mm = self.g.bin(B::Mul, m, m);
        let var = self.g.bin(B::Sub, m2, mm);
        let y = self.g.bin(B::Sub, x, var);
        if self.rng.flip() { vec![y, m, m2] } else { vec![m, y] }
    }
    fn unit(&mut self, x: ValueId) -> ValueId {
        let sq = self.g.bin(B::Mul, x, x);
        let sum = self.sum(R::Sum, sq);
        let eps = self.g.number(0.5, DType::F32);
        let sum = self.g.bin(B::Max, sum, eps);
        let root = self.g.un(U::Sqrt, sum);
        self.g.bin(B::Div, x, root)
    }
}

#[test]
fn rows_of_any_axes() {
    for seed in 0..600 {
        let mut r = Rows::new(Rng::new(seed));
        let mut x = r.input();
        for _ in 0..r.rng.below(3) {
            x = r.step(x);
        }
        let mut outs = match seed % 5 {
            0 => {
                let (y, mean) = r.standardise(x);
                if r.rng.below(3) == 0 { vec![y, mean] } else { vec![y] }
            }
            1 => vec![r.softmax(x)],
            2 => r.moments(x),
            3 => vec![r.unit(x)],
            _ => {
                let y = r.softmax(x);
                let z = r.step(y);
                vec![r.sum(R::Sum, z)]
            }
        };
        if seed % 5 < 2 {
            for _ in 0..r.rng.below(3) {
                outs[0] = r.step(outs[0]);
            }
        }
        if r.rng.below(4) == 0 {
            // What the rows are made of is needed elsewhere, too.
            outs.push(x);
        }
        let bits = r.rng.pick(&[32, 128, 256, 512]);
        let mut c = r.g.case(&outs);
        c.target.vector_bits = bits;
        c.target.cores = 1 + seed as u32 % 3;
        let l = c.check();
        assert_eq!(l.calls.len(), 1);
        assert!(size(&l.calls[0].kernel) < 1500, "seed {seed}: {} statements", size(&l.calls[0].kernel));
    }
}

/// A gelu in front of a layer norm is computed once: its results are kept for the other passes.
#[test]
fn dear_values_are_computed_once() {
    let count = |c: &kernels::Case| {
        let l = c.check();
        let text = format!("{:?}", l.calls[0].kernel);
        (text.matches("Un(Erf").count(), l.scratch.len())
    };
    for (len, erfs, scratch) in [(48, 1, 1), (1 << 18, 3, 0)] {
        let mut g = Body::default();
        let x = g.input(Rng::new(1).tensor(DType::F32, vec![2, len]));
        let e = g.un(U::Erf, x);
        let x = g.bin(B::Mul, x, e);
        let mean = g.reduce(R::Mean, x, &[1]);
        let d = g.bin(B::Sub, x, mean);
        let sq = g.bin(B::Mul, d, d);
        let var = g.reduce(R::Mean, sq, &[1]);
        let y = g.bin(B::Div, d, var);
        let mut c = g.case(&[y]);
        c.target.vector_bits = 512;
        assert_eq!(count(&c), (erfs, scratch), "rows of {len}");
    }
}
