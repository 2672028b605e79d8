//! Products with quantised weights against the evaluator.
#![allow(clippy::unwrap_used)]

mod kernels;

use kernels::{Case, Rng};
use sinter_ir::op::quantized_matmul::{Activations, Offset};
use sinter_ir::op::{QuantizedMatMul, QuantizedRows};
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

/// Targets whose dot products want bytes without a sign, or with one, or that have none, and such that read several strips.
fn on_any_target(c: &mut Case, rng: &mut Rng) {
    c.on_any_target(rng);
    c.target.cost.streams = rng.pick(&[1, 2, 3]);
    if let Some(only) = rng.pick(&[None, Some("dotprod"), Some("avx2")]) {
        c.target.features = vec![only.into()];
    }
}

#[test]
fn weights_that_are_not_known() {
    let mut rng = Rng::new(1);
    for _ in 0..60 {
        let size = [rng.dim(1, 5), rng.dim(1, 20), rng.dim(1, 40)];
        let block = rng.dim(1, 40);
        let mut c = product(&mut rng, size, block);
        on_any_target(&mut c, &mut rng);
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
        on_any_target(&mut c, &mut rng);
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
            on_any_target(&mut c, &mut rng);
            let l = c.check();
            let last = &l.calls.last().unwrap().kernel.name;
            assert_eq!(last.contains("plain"), !fits(&c.op), "{last}: {:?}", c.op);
        }
    }
}

/// Products that may be rounded more, of numbers of which bytes hold all: nothing may be lost.
#[test]
fn rounding_keeps_what_fits_bytes() {
    let mut rng = Rng::new(5);
    for i in 0..48 {
        let m = rng.pick(&[1, 2, 7, 15, 16, 17, 31, 40, 67, 96]);
        let sizes: [[usize; 3]; 6] =
            [[48, 64, 32], [64, 96, 32], [70, 40, 64], [33, 136, 8], [20, 36, 36], [50, 320, 32]];
        let [n, k, block] = rng.pick(&sizes);
        let offset = rng.pick(&OFFSETS);
        let blocks = k.div_ceil(block);
        // In multiples of a step, the largest weight of a row is 127 in its first block, the others are smaller.
        let mut codes: Vec<i64> = (0..n * k).map(|_| rng.below(16) as i64).collect();
        let mut scale = Vec::with_capacity(n * blocks);
        for row in codes.chunks_mut(k) {
            row.iter_mut().take(block).for_each(|c| *c = 7 + *c % 3);
            row[0] = 9;
            let step = rng.pick(&[0.25, -0.5, 1.0 / 64.0]);
            let steps = (0..blocks).map(|t| if t == 0 { 127.0 } else { rng.below(31) as f32 - 15.0 });
            scale.extend(steps.collect::<Vec<f32>>().iter().map(|s| s * step));
        }
        let minima: Vec<f32> = scale.iter().map(|s| -8.0 * s).collect();
        let middle = if offset == Offset::None { 8 } else { 0 };
        let op = QuantizedMatMul {
            block,
            activations: Activations::Coarse,
            offset,
            middle,
            table: vec![],
            nibbles: None,
        };
        let grid = vec![n, blocks];
        // Whole numbers whose largest is 127, wherever scales are taken.
        let whole = |i: usize| {
            if [block, 128].iter().any(|s| (i % k).is_multiple_of(*s)) {
                127
            } else {
                rng.below(255) as i64 - 127
            }
        };
        let a: Vec<f32> = (0..m * k).map(whole).map(|v| v as f32).collect();
        let mut x = vec![
            Tensor::f32s(vec![m, k], &a).unwrap(),
            Tensor::from_i64(DType::U4, vec![n, k], &codes).unwrap(),
            Tensor::from_f32(DType::F16, grid.clone(), &scale).unwrap(),
        ];
        match offset {
            Offset::None => {}
            Offset::Zero => x.push(Tensor::from_i64(DType::U4, grid, &vec![8; n * blocks]).unwrap()),
            Offset::Minimum => x.push(Tensor::from_f32(DType::F16, grid, &minima).unwrap()),
        }
        let mut c = Case::new(op, x);
        c.tolerance = 1e-4;
        c.fixed[1..].fill(true);
        let open = i % 2 == 0;
        if open {
            c.free(&[(0, 0)]);
        }
        c.on_any_target(&mut rng);
        c.target.features.push("avx512vnni".into());
        let rounded = c.check().calls.iter().any(|k| k.kernel.name.contains("rounded"));
        // Codes of the first block alone take fewer bits.
        assert_eq!(rounded, k > block && (open || m >= 16), "{m} rows, open: {open}");
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
        on_any_target(&mut c, &mut rng);
        c.check();
    }
}

/// Rows that are looked up, of weights that are known and of others.
#[test]
fn rows_of_every_format() {
    let mut rng = Rng::new(6);
    for i in 0..80 {
        let sizes: [[usize; 3]; 8] = [
            [48, 64, 32],
            [70, 40, 8],
            [33, 136, 64],
            [1, 20, 20],
            [9, 7, 3],
            [50, 33, 33],
            [200, 24, 24],
            [5, 1, 1],
        ];
        let [n, k, block] = rng.pick(&sizes);
        let c = product(&mut rng, [1, n, k], block);
        let Op::QuantizedMatMul(q) = &c.op else { panic!() };
        let QuantizedMatMul { block, offset, middle, table, .. } = q.clone();
        let ids: Vec<i64> = (0..rng.dim(1, 7)).map(|_| rng.below(2 * n) as i64 - n as i64).collect();
        let shape = if rng.flip() { vec![ids.len()] } else { vec![1, ids.len()] };
        let mut x = c.inputs.clone();
        x[0] = Tensor::from_i64(rng.pick(&[DType::I32, DType::I64]), shape, &ids).unwrap();
        let mut c = Case::new(QuantizedRows { block, offset, middle, table }, x);
        c.tolerance = 1e-6;
        c.fixed[1..].fill(i % 4 > 0);
        if rng.flip() && c.inputs[0].rank() == 1 {
            c.free(&[(0, 0)]);
        }
        // Where products want codes with a sign, they lie so here too.
        on_any_target(&mut c, &mut rng);
        c.check();
    }
}
