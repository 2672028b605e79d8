//! TopK, NonZero, Unique and NonMaxSuppression against the evaluator.
#![allow(clippy::unwrap_used)]

mod kernels;

use kernels::{Case, Rng};
use sinter_ir::DType::{self, *};
use sinter_ir::Tensor;
use sinter_ir::op::*;
use sinter_ir::tile::build::code;

const TYPES: [DType; 14] = [F32, F32, F32, F64, F16, BF16, I64, I32, U8, I8, U32, U64, I16, F8E4M3FN];

fn shape(rng: &mut Rng, rank: usize) -> Vec<usize> {
    let most = [67, 67, 33, 12, 6][rank.min(4)];
    (0..rank)
        .map(|_| match rng.below(12) {
            0 => 0,
            1 | 2 => 1,
            _ => rng.dim(1, most),
        })
        .collect()
}

/// Few different values, so that ties are frequent; among floats zeros of both signs and values that are no
/// numbers (those of 8 bits lose their sign in registers).
fn tensor(rng: &mut Rng, dtype: DType, shape: Vec<usize>) -> Tensor {
    let n = shape.iter().product();
    let (spread, special) = (rng.pick(&[1, 2, 3, 17]), rng.below(4) == 0);
    let low = if dtype.is_unsigned_int() || rng.flip() { 0.0 } else { -(spread as f64) / 2.0 };
    let v: Vec<f64> = (0..n)
        .map(|_| match rng.below(8) {
            0 if special && dtype.is_float() && dtype.bits() > 8 => rng.pick(&[f64::NAN, -0.0, -f64::NAN]),
            1 if special && dtype.is_float() && dtype.bits() > 8 => {
                rng.pick(&[f64::INFINITY, -f64::INFINITY])
            }
            _ => low + rng.below(spread) as f64,
        })
        .collect();
    Tensor::from_f64(dtype, shape, &v).unwrap()
}

/// Makes some dims of the first operand symbolic.
fn free(rng: &mut Rng, c: &mut Case) {
    for axis in 0..c.types[0].dims.len() {
        if rng.below(3) == 0 {
            c.free(&[(0, axis)]);
        }
    }
}

#[test]
fn largest_and_smallest() {
    let mut rng = Rng::new(1);
    for _ in 0..400 {
        let rank = rng.dim(1, 4);
        let dims = shape(&mut rng, rank);
        let axis = rng.below(rank);
        let k = match rng.below(4) {
            0 => dims[axis],
            1 => dims[axis].min(1),
            _ => rng.dim(0, dims[axis]),
        };
        let dtype = rng.pick(&TYPES);
        let x = tensor(&mut rng, dtype, dims);
        let mut c = Case::new(Identity {}, vec![x]);
        free(&mut rng, &mut c);
        let k = if rng.flip() { k.into() } else { c.symbol(k as i64, 70).into() };
        c.op = TopK { k, axis, largest: rng.flip(), sorted: true }.into();
        c.target.cores = rng.pick(&[1, 2, 8]);
        c.exact = true;
        c.check();
    }
}

#[test]
fn largest_of_integers_that_no_float_holds() {
    for dtype in [I64, U64] {
        let mut v: Vec<i64> = (-40..40).map(|i| (1 << 60) + i * 3).collect();
        v.extend([i64::MAX, i64::MIN, i64::MAX - 1, -1, 0]);
        for largest in [true, false] {
            let x = Tensor::from_i64(dtype, vec![v.len()], &v).unwrap();
            Case::new(TopK { k: 60.into(), axis: 0, largest, sorted: true }, vec![x]).check();
        }
    }
}

#[test]
fn more_than_there_are_ends_the_kernel() {
    let mut c = Case::new(Identity {}, vec![Tensor::from_f64(F32, vec![4], &[1.0; 4]).unwrap()]);
    let k = c.symbol(5, 9).into();
    c.op = TopK { k, axis: 0, largest: true, sorted: true }.into();
    c.code = code::INDEX;
    c.check();
}

#[test]
fn coordinates_of_what_is_not_zero() {
    let mut rng = Rng::new(2);
    for _ in 0..250 {
        let rank = rng.dim(0, 4);
        let dims = shape(&mut rng, rank);
        let dtype = if rng.below(4) == 0 { Bool } else { rng.pick(&TYPES) };
        let x = match dtype {
            Bool => {
                let v: Vec<i64> = (0..dims.iter().product()).map(|_| i64::from(rng.flip())).collect();
                Tensor::from_i64(Bool, dims, &v).unwrap()
            }
            _ => tensor(&mut rng, dtype, dims),
        };
        let most = x.len() as i64;
        let mut c = Case::new(Identity {}, vec![x]);
        free(&mut rng, &mut c);
        c.op = NonZero { count: c.symbol(0, most) }.into();
        c.check();
    }
}

#[test]
fn unique_entries() {
    let mut rng = Rng::new(3);
    for _ in 0..300 {
        let rank = rng.dim(0, 3);
        let mut dims = shape(&mut rng, rank);
        let axis = (rank > 0 && rng.flip()).then(|| rng.below(rank));
        if axis.is_some() {
            // Slices of few elements repeat.
            dims.iter_mut().enumerate().filter(|(i, _)| Some(*i) != axis).for_each(|(_, d)| *d = (*d).min(3));
        }
        let dtype = rng.pick(&TYPES);
        let x = tensor(&mut rng, dtype, dims);
        let most = axis.map_or(x.len(), |a| x.shape()[a]) as i64;
        let mut c = Case::new(Identity {}, vec![x]);
        free(&mut rng, &mut c);
        c.op = Unique { axis, sorted: rng.flip(), count: c.symbol(0, most) }.into();
        c.exact = true;
        c.check();
    }
}

fn boxes(rng: &mut Rng) -> (Tensor, Tensor) {
    let (n, b, c) = (rng.dim(1, 3), rng.pick(&[0, 1, 2, 7, 20, 64]), rng.dim(1, 3));
    // Corners on a small grid: equal boxes, empty boxes and overlaps of exactly one half are frequent.
    let v: Vec<f64> = (0..n * b * 4).map(|_| rng.below(6) as f64 / 2.0).collect();
    let s: Vec<f64> = (0..n * b * c).map(|_| rng.below(12) as f64 / 8.0 - 0.25).collect();
    (Tensor::from_f64(F32, vec![n, b, 4], &v).unwrap(), Tensor::from_f64(F32, vec![n, c, b], &s).unwrap())
}

fn nms(rng: &mut Rng, (boxes, scores): (Tensor, Tensor), per_class: i64) -> Case {
    let number = |v: f64| Tensor::from_f64(F32, vec![], &[v]).unwrap();
    let iou = number(rng.pick(&[0.0, 0.3, 0.5, 1.0]));
    let threshold = number(rng.pick(&[0.0, 0.25, 2.0]));
    let most = scores.len() as i64;
    let max_out = boxes.shape()[1].into();
    let mut c = Case::new(Identity {}, vec![boxes, scores, Tensor::i64(per_class), iou, threshold]);
    let count = c.symbol(0, most);
    c.op =
        NonMaxSuppression { center_point_box: rng.flip(), max_out, has_score_threshold: rng.flip(), count }
            .into();
    c
}

#[test]
fn boxes_that_stand_alone() {
    let mut rng = Rng::new(4);
    for round in 0..200 {
        let mut given = boxes(&mut rng);
        if round % 5 == 0 && !given.1.is_empty() {
            let mut v = given.1.to_f64().unwrap();
            let at = rng.below(v.len());
            v[at] = rng.pick(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY]);
            given.1 = Tensor::from_f64(F32, given.1.shape().to_vec(), &v).unwrap();
        }
        let per_class = rng.pick(&[i64::MAX, 0, 1, 3, 100, -1]);
        let mut c = nms(&mut rng, given, per_class);
        for same in [[(0, 0), (1, 0)], [(0, 1), (1, 2)], [(1, 1), (1, 1)]] {
            if rng.below(3) == 0 {
                c.free(&same);
            }
        }
        c.check();
    }
}

/// A result that a model declares too small: nothing is written behind it.
#[test]
fn results_never_outgrow_their_plan() {
    let mut rng = Rng::new(5);
    let x = Tensor::from_f64(F32, vec![9], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]).unwrap();
    let far: Vec<f64> = (0..36).map(|i| f64::from(i / 4 * 10 + (i % 4) / 2)).collect();
    let far = Tensor::from_f64(F32, vec![1, 9, 4], &far).unwrap();
    let scores = Tensor::from_bytes(F32, vec![1, 1, 9], x.bytes().to_vec()).unwrap();
    let mut apart = nms(&mut rng, (far, scores), 9);
    if let sinter_ir::Op::NonMaxSuppression(op) = &mut apart.op {
        (op.center_point_box, op.has_score_threshold) = (false, false);
    }
    let of = |op: fn(sinter_ir::Sym) -> sinter_ir::Op| {
        let mut c = Case::new(Identity {}, vec![x.clone()]);
        let count = c.symbol(0, 9);
        c.op = op(count);
        c
    };
    let all = [
        apart,
        of(|count| NonZero { count }.into()),
        of(|count| Unique { axis: None, sorted: true, count }.into()),
        of(|count| Unique { axis: Some(0), sorted: false, count }.into()),
    ];
    for mut c in all {
        c.check();
        c.symbols.table[0].max = 8;
        c.code = code::RANGE;
        c.check();
    }
}
