//! Resize, GridSample and RoiAlign against the evaluator.
#![allow(clippy::unwrap_used)]

mod kernels;

use kernels::{Case, Rng};
use sinter_ir::DType::{self, *};
use sinter_ir::op::grid_sample::GridPadding;
use sinter_ir::op::resize::{Coordinate as C, NearestMode as N, ResizeMode as M};
use sinter_ir::op::*;
use sinter_ir::tile::build::code;
use sinter_ir::{Expr, Tensor};

const FLOATS: [DType; 6] = [F32, F32, F32, F64, F16, BF16];

fn free(rng: &mut Rng, c: &mut Case) {
    for axis in 0..c.types[0].dims.len() {
        if rng.below(3) == 0 {
            c.free(&[(0, axis)]);
        }
    }
}

/// A resize of a random image to random dims; scales agree with the dims or are left out.
fn resize(rng: &mut Rng, dtype: DType, mode: M, antialias: bool) -> Case {
    let rank = rng.dim(1, 4);
    let still = rng.below(rank + 1);
    let most = [40, 40, 21, 9, 6][rank];
    let x: Vec<usize> = (0..rank).map(|_| rng.dim(1, most)).collect();
    let (mut dims, mut scales) = (vec![], vec![]);
    for (i, &n) in x.iter().enumerate() {
        // Whole factors are repeated elements.
        let m = match rng.below(3) {
            _ if i < still => n,
            0 => n * rng.dim(2, 6),
            _ => rng.dim(1, most),
        };
        // As an importer does from given scales: the dim is the floor of the product.
        let scale = (rng.flip() && i >= still).then(|| (m as f32 + rng.pick(&[0.0, 0.25])) / n as f32);
        dims.push(m);
        scales.push(scale);
    }
    let coordinate = rng.pick(&[
        C::HalfPixel,
        C::HalfPixel,
        C::HalfPixelSymmetric,
        C::PytorchHalfPixel,
        C::AlignCorners,
        C::Asymmetric,
        C::TfCropAndResize,
        C::TfHalfPixelForNn,
    ]);
    let roi =
        match coordinate {
            C::TfCropAndResize => (0..2 * rank)
                .map(|i| {
                    if i < rank { rng.below(5) as f32 / 8.0 - 0.125 } else { 0.5 + rng.below(6) as f32 / 8.0 }
                })
                .collect(),
            _ => vec![],
        };
    let mut x = rng.tensor(dtype, x);
    if dtype.is_float() && rng.below(6) == 0 {
        // A pixel that is no number shows only where it counts.
        let mut v = x.to_f64().unwrap();
        let at = rng.below(v.len());
        v[at] = f64::NAN;
        x = Tensor::from_f64(dtype, x.shape().to_vec(), &v).unwrap();
    }
    let mut c = Case::new(Identity {}, vec![x]);
    free(rng, &mut c);
    let dims = dims
        .into_iter()
        .enumerate()
        .map(|(i, m)| match c.inputs[0].shape()[i] == m && i < still {
            true => c.types[0].dims[i].clone(),
            false if rng.below(3) == 0 => c.symbol(m as i64, 240).into(),
            false => Expr::from(m),
        })
        .collect();
    c.op = Resize {
        dims,
        scales,
        roi,
        mode,
        coordinate,
        nearest: rng.pick(&[N::RoundPreferFloor, N::RoundPreferCeil, N::Floor, N::Ceil]),
        cubic_a: rng.pick(&[-0.75, -0.5]),
        exclude_outside: mode == M::Cubic && rng.flip(),
        extrapolation: rng.pick(&[0.0, 1.5, -2.0]),
        antialias,
    }
    .into();
    // A sum that ends next to a whole number may be truncated to either side of it.
    c.slack = i64::from(mode != M::Nearest);
    c.target.vector_bits = rng.pick(&[32, 128, 512]);
    c
}

#[test]
fn resized_images() {
    let mut rng = Rng::new(1);
    for _ in 0..500 {
        let dtype = if rng.below(4) == 0 { rng.pick(&[U8, I8, I32]) } else { rng.pick(&FLOATS) };
        let mode = rng.pick(&[M::Nearest, M::Linear, M::Cubic]);
        resize(&mut rng, dtype, mode, false).check();
    }
}

/// As networks double feature maps: exact factors, dims open or not.
#[test]
fn repeated_pixels() {
    let mut rng = Rng::new(7);
    for round in 0..120 {
        let (h, w, times) =
            (rng.dim(1, 9), rng.dim(1, 9), rng.pick(&[[2, 2], [2, 3], [1, 2], [4, 1], [8, 5]]));
        let last = round % 5 == 0;
        let dims = if last { vec![1, h, w, 3] } else { vec![2, 3, h, w] };
        let axes = if last { [1, 2] } else { [2, 3] };
        let mut c = Case::new(Identity {}, vec![rng.tensor(F32, dims)]);
        free(&mut rng, &mut c);
        let (mut dims, mut scales) = (c.types[0].dims.clone(), vec![Some(1.0); 4]);
        for (axis, times) in axes.into_iter().zip(times) {
            dims[axis] = dims[axis].clone() * times.into();
            scales[axis] = Some(times as f32);
        }
        let op = Resize {
            dims,
            scales,
            roi: vec![],
            mode: M::Nearest,
            coordinate: rng.pick(&[C::Asymmetric, C::HalfPixel, C::PytorchHalfPixel, C::AlignCorners]),
            nearest: rng.pick(&[N::Floor, N::RoundPreferFloor, N::RoundPreferCeil, N::Ceil]),
            cubic_a: -0.75,
            exclude_outside: false,
            extrapolation: 0.0,
            antialias: false,
        };
        c.op = op.into();
        c.check();
    }
}

#[test]
fn shrunk_images_without_aliases() {
    let mut rng = Rng::new(2);
    for _ in 0..300 {
        let dtype = if rng.below(5) == 0 { rng.pick(&[U8, I32]) } else { rng.pick(&FLOATS) };
        let mode = rng.pick(&[M::Linear, M::Cubic]);
        resize(&mut rng, dtype, mode, true).check();
    }
}

fn grid(rng: &mut Rng, dtype: DType, dims: &[usize]) -> Tensor {
    let n = dims.iter().product();
    let v: Vec<f64> = (0..n)
        .map(|_| match rng.below(24) {
            // Corners, their neighbourhood, and far away; quarters hit pixels and the middles between them.
            0 => rng.pick(&[-1.0, 1.0, 0.0]),
            1 => rng.below(64) as f64 - 32.0,
            2..=6 => rng.below(17) as f64 / 4.0 - 2.0,
            _ => rng.below(4096) as f64 / 1500.0 - 1.37,
        })
        .collect();
    Tensor::from_f64(dtype, dims.to_vec(), &v).unwrap()
}

fn grid_sample(rng: &mut Rng, rank: usize, mode: M) -> Case {
    let most = [0, 30, 12, 5][rank];
    let lead = [rng.dim(1, 3), rng.dim(1, 5)];
    let image: Vec<usize> = (0..rank).map(|_| rng.dim(1, most)).collect();
    let points: Vec<usize> =
        (0..rank).map(|_| if rng.below(20) == 0 { 0 } else { rng.dim(1, most) }).collect();
    let dtype = rng.pick(&FLOATS);
    let x = rng.tensor(dtype, [&lead[..], &image].concat());
    let dtype = rng.pick(&[F32, F32, F64]);
    let g = grid(rng, dtype, &[&lead[..1], &points, &[rank]].concat());
    let op = GridSample {
        mode,
        padding: rng.pick(&[GridPadding::Zeros, GridPadding::Border, GridPadding::Reflection]),
        align_corners: rng.flip(),
    };
    let mut c = Case::new(op, vec![x, g]);
    if rng.below(3) == 0 {
        c.free(&[(0, 0), (1, 0)]);
    }
    for axis in 1..rank + 2 {
        if rng.below(4) == 0 {
            c.free(&[(0, axis)]);
        }
        if axis <= rank && rng.below(4) == 0 {
            c.free(&[(1, axis)]);
        }
    }
    c.target.cores = rng.pick(&[1, 3]);
    c
}

#[test]
fn images_at_the_points_of_a_grid() {
    let mut rng = Rng::new(3);
    for round in 0..400 {
        let rank = [2, 2, 1, 3][round % 4];
        let mode = rng.pick(&[M::Nearest, M::Linear, M::Linear, M::Cubic]);
        grid_sample(&mut rng, rank, mode).check();
    }
}

/// Points that are no numbers and pixels that are not read must not spread.
#[test]
fn grids_with_odd_points() {
    let mut rng = Rng::new(4);
    for _ in 0..120 {
        let mode = rng.pick(&[M::Nearest, M::Linear, M::Cubic]);
        let mut c = grid_sample(&mut rng, 2, mode);
        let odd = |rng: &mut Rng, t: &Tensor| {
            let mut v = t.to_f64().unwrap();
            if !v.is_empty() {
                let at = rng.below(v.len());
                v[at] = rng.pick(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY]);
            }
            Tensor::from_f64(t.dtype(), t.shape().to_vec(), &v).unwrap()
        };
        c.inputs[1] = odd(&mut rng, &c.inputs[1]);
        if rng.flip() {
            c.inputs[0] = odd(&mut rng, &c.inputs[0]);
        }
        c.check();
    }
}

fn regions(rng: &mut Rng, dtype: DType, count: usize, reach: f64) -> Tensor {
    let mut v = vec![];
    for _ in 0..count {
        let mut at = || rng.below(1000) as f64 / 800.0 * reach - 0.1 * reach;
        let (a, b, c, d) = (at(), at(), at(), at());
        // Now and then a region whose end comes before its start.
        let ends = if rng.below(8) == 0 { [a, b, c, d] } else { [a.min(c), b.min(d), a.max(c), b.max(d)] };
        v.extend(ends);
    }
    Tensor::from_f64(dtype, vec![count, 4], &v).unwrap()
}

#[test]
fn regions_of_images() {
    let mut rng = Rng::new(5);
    for _ in 0..250 {
        let (n, c, h, w) = (rng.dim(1, 3), rng.dim(1, 5), rng.dim(1, 17), rng.dim(1, 17));
        let count = rng.below(6);
        let dtype = rng.pick(&FLOATS);
        let x = rng.tensor(dtype, vec![n, c, h, w]);
        let scale = rng.pick(&[1.0, 0.5, 0.25]);
        let rois = regions(&mut rng, dtype, count, 20.0 / f64::from(scale));
        let of: Vec<i64> = (0..count).map(|_| rng.below(n) as i64).collect();
        let op = RoiAlign {
            max: rng.flip(),
            half_pixel: rng.flip(),
            height: rng.dim(1, 5),
            width: rng.dim(1, 5),
            sampling_ratio: rng.pick(&[0, 0, 1, 2, 3]),
            spatial_scale: scale,
        };
        let mut c = Case::new(op, vec![x, rois, Tensor::i64s(&of)]);
        free(&mut rng, &mut c);
        if rng.flip() {
            c.free(&[(1, 0), (2, 0)]);
        }
        c.target.cores = rng.pick(&[1, 2]);
        c.check();
    }
}

#[test]
fn regions_of_images_that_do_not_exist_end_the_kernel() {
    let mut rng = Rng::new(6);
    let x = rng.tensor(F32, vec![2, 1, 4, 4]);
    let rois = regions(&mut rng, F32, 1, 4.0);
    for bad in [2, -3, i64::MAX] {
        let op = RoiAlign {
            max: false,
            half_pixel: true,
            height: 2,
            width: 2,
            sampling_ratio: 1,
            spatial_scale: 1.0,
        };
        let mut c = Case::new(op, vec![x.clone(), rois.clone(), Tensor::i64s(&[bad])]);
        c.code = code::INDEX;
        c.check();
    }
}

/// Results that would come from no pixels at all.
#[test]
fn images_without_pixels_end_the_kernel() {
    let empty = Tensor::from_f64(F32, vec![1, 1, 0, 3], &[]).unwrap();
    let points = Tensor::from_f64(F32, vec![1, 1, 1, 2], &[0.0, 0.0]).unwrap();
    let region = Tensor::from_f64(F32, vec![1, 4], &[0.0, 0.0, 1.0, 1.0]).unwrap();
    for mode in [M::Nearest, M::Linear, M::Cubic] {
        for padding in [GridPadding::Zeros, GridPadding::Border, GridPadding::Reflection] {
            let op = GridSample { mode, padding, align_corners: true };
            check_empty(Case::new(op, vec![empty.clone(), points.clone()]));
        }
        for antialias in [false, true] {
            let op = Resize {
                dims: vec![1.into(), 1.into(), 2.into(), 2.into()],
                scales: vec![None; 4],
                roi: vec![],
                mode,
                coordinate: C::HalfPixel,
                nearest: N::Floor,
                cubic_a: -0.75,
                exclude_outside: false,
                extrapolation: 0.0,
                antialias,
            };
            check_empty(Case::new(op, vec![empty.clone()]));
        }
    }
    let op =
        RoiAlign { max: true, half_pixel: true, height: 1, width: 1, sampling_ratio: 1, spatial_scale: 1.0 };
    check_empty(Case::new(op, vec![empty, region, Tensor::i64s(&[0])]));
}

fn check_empty(mut c: Case) {
    c.free(&[(0, 2)]);
    c.code = code::INDEX;
    c.check();
}
