//! Products with quantised weights against the evaluator.
#![allow(clippy::unwrap_used)]

mod kernels;

use kernels::{Case, Rng};
use sinter_ir::op::QuantizedMatMul;
use sinter_ir::op::quantized_matmul::{Activations, Offset};
use sinter_ir::{DType, Op, Tensor};

const ACTIVATIONS: [Activations; 3] = [Activations::Float, Activations::Rows, Activations::Blocks];
const OFFSETS: [Offset; 3] = [Offset::None, Offset::Zero, Offset::Minimum];

/// A random product of `m` rows with weights of any type.
fn product(rng: &mut Rng, [m, n, k]: [usize; 3], block: usize) -> Case {
    use DType::*;
    let dtype = rng.pick(&[U4, U4, I4, U8, I8, U2, I2]);
    let (activations, mut offset) = (rng.pick(&ACTIVATIONS), rng.pick(&OFFSETS));
    let (lo, hi) = dtype.int_range().unwrap();
    let span = (hi - lo + 1) as usize;
    // Codes use some of the bits of their type.
    let used = span >> rng.below(dtype.bits() - 1);
    let first = lo as i64 + rng.below(span - used + 1) as i64;
    let mut codes = |n: usize| -> Vec<i64> { (0..n).map(|_| rng.below(used) as i64 + first).collect() };
    let blocks = k.div_ceil(block);
    let (values, zeros) = (codes(n * k), codes(n * blocks));
    let mut middle = 0;
    let mut table = vec![];
    if dtype.is_unsigned_int() && dtype.bits() <= 4 && rng.below(3) == 0 {
        let whole = activations != Activations::Float;
        let mut entry =
            || if whole { rng.below(255) as f32 - 127.0 } else { rng.below(2048) as f32 / 1024.0 - 1.0 };
        table = (0..span).map(|_| entry()).collect();
        offset = if offset == Offset::Zero { Offset::None } else { offset };
    } else if dtype.is_unsigned_int() && rng.flip() {
        middle = span as i64 / 2;
    }
    let floats = rng.pick(&[F16, F32, BF16]);
    let lead = if rng.flip() { vec![m] } else { vec![1, m] };
    let mut x = vec![
        rng.tensor(F32, [lead.as_slice(), &[k]].concat()),
        Tensor::from_i64(dtype, vec![n, k], &values).unwrap(),
        rng.tensor(floats, vec![n, blocks]),
    ];
    match offset {
        Offset::None => {}
        Offset::Zero => x.push(Tensor::from_i64(dtype, vec![n, blocks], &zeros).unwrap()),
        Offset::Minimum => x.push(rng.tensor(floats, vec![n, blocks])),
    }
    let four = activations != Activations::Float && rng.below(3) == 0;
    let nibbles = four.then(|| rng.pick(&[1.0, 0.9]));
    let mut c = Case::new(QuantizedMatMul { block, activations, offset, middle, table, nibbles }, x);
    // Sums of many products of both signs: errors go with the size of the terms.
    c.tolerance = 3e-3;
    c
}

#[test]
fn weights_that_are_not_known() {
    let mut rng = Rng::new(1);
    for _ in 0..60 {
        let size = [rng.dim(1, 5), rng.dim(1, 20), rng.dim(1, 40)];
        let block = rng.dim(1, 40);
        let mut c = product(&mut rng, size, block);
        c.on_any_target(&mut rng);
        c.check();
    }
}

#[test]
fn constant_weights() {
    let mut rng = Rng::new(2);
    for _ in 0..200 {
        let size = [rng.dim(1, 67), rng.dim(1, 90), rng.dim(1, 200)];
        let block = rng.pick(&[16, 32, 64, 128, 24, 5]);
        let mut c = product(&mut rng, size, block);
        c.fixed[1..].fill(true);
        c.on_any_target(&mut rng);
        c.check();
    }
}

#[test]
fn tiles_of_every_height_and_ragged_columns() {
    let mut rng = Rng::new(4);
    for m in (1..=14).chain([23, 67]) {
        for [n, k, block] in [[48, 64, 32], [64, 96, 32], [70, 40, 64], [130, 136, 128]] {
            let mut c = product(&mut rng, [m, n, k], block);
            c.fixed[1..].fill(true);
            c.on_any_target(&mut rng);
            let l = c.check();
            let last = &l.calls.last().unwrap().kernel.name;
            assert_eq!(last.contains("plain"), !fits(&c.op), "{last}: {:?}", c.op);
        }
    }
}

/// Whether there is a packed layout: what codes stand for must be whole.
fn fits(op: &Op) -> bool {
    let Op::QuantizedMatMul(q) = op else { return false };
    q.table.iter().all(|v| v.fract() == 0.0)
}

#[test]
fn open_numbers_of_rows() {
    let mut rng = Rng::new(3);
    for i in 0..60 {
        // A single row has code of its own.
        let m = if i % 3 == 0 { 1 } else { rng.dim(2, 40) };
        let size = [m, rng.dim(1, 150), rng.dim(1, 100)];
        let block = rng.pick(&[32, 64]);
        let mut c = product(&mut rng, size, block);
        c.fixed[1..].fill(true);
        let axis = c.inputs[0].rank() - 2;
        c.free(&[(0, axis)]);
        c.on_any_target(&mut rng);
        c.check();
    }
}
