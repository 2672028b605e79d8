//! Resize and its predecessor Upsample, grid sampling, region pooling.

use crate::frontend::onnx::node::{Build, NodeCx};
use crate::frontend::onnx::scope::Item;
use sinter_ir::op::compare::CompareKind as C;
use sinter_ir::op::reduce::ReduceKind as R;
use sinter_ir::op::resize::{Coordinate, NearestMode, ResizeMode};
use sinter_ir::op::unary::UnaryKind as U;
use sinter_ir::op::{self, grid_sample::GridPadding};
use sinter_ir::{DType, Diag, Expr, Result, ValueId};

type Out = Result<Vec<Item>>;

/// Operators.
pub const OPS: &[(&str, Build)] =
    &[("Resize", resize), ("Upsample", upsample), ("GridSample", grid_sample), ("RoiAlign", roi_align)];

fn mode(name: &str) -> Result<ResizeMode> {
    Ok(match name {
        "nearest" => ResizeMode::Nearest,
        "linear" | "bilinear" => ResizeMode::Linear,
        "cubic" | "bicubic" => ResizeMode::Cubic,
        m => return Err(Diag::input(format!("mode `{m}`"))),
    })
}

/// Result dim of a scaled axis; exact for fractions with a small denominator, symbolic dims included.
fn scaled(d: &Expr, scale: f32) -> Expr {
    if let Some(n) = d.as_const() {
        return ((n as f32 * scale).floor() as i64).into();
    }
    for den in 1i64..=64 {
        let num = f64::from(scale) * den as f64;
        if num == num.trunc() {
            return (d.clone() * (num as i64).into()).div(&den.into());
        }
    }
    // Any other as a fraction of 32 bits, and up to half a step of f32 more: so far its products are rounded up.
    let bits = (32 - f64::from(scale).log2().ceil() as i32).clamp(0, 52);
    let num = (f64::from(scale) * (1.0 + f64::from(f32::EPSILON) / 3.0) * 2f64.powi(bits)).round();
    (d.clone() * (num as i64).into()).div(&(2f64.powi(bits) as i64).into())
}

/// Scales that do not hang on run-time values.
fn known_scales(cx: &mut NodeCx, s: ValueId) -> Result<Option<Vec<f32>>> {
    if let Some(t) = cx.const_of(s) {
        return t.to_f32().map(Some);
    }
    let contents = cx.contents_of(s);
    Ok(contents.and_then(|c| c.iter().map(|f| f.as_number().map(|v| v as f32)).collect()))
}

/// Largest factor of scales that are known only at run time.
const MOST_AT_RUN_TIME: i64 = 8;

/// Result dims of scales that are known only at run time. Positions are then told by the dims alone, so that products
/// must be whole; axes of samples and channels must stay as they are.
fn sizes_at_run_time(cx: &mut NodeCx, s: ValueId, own: &[Expr], axes: &[usize]) -> Result<Vec<Expr>> {
    if !cx.ty(s).numel().is(axes.len() as i64) {
        return Err(Diag::input(format!("scales {} for {} axes", cx.ty(s), axes.len())));
    }
    if cx.im.scope.levels[cx.im.scope.depth()].graph.def(s).is_none() {
        return Err(Diag::unsupported("scales that are an input, known only at run time")
            .help("give them with --fix INPUT=FILE"));
    }
    let picked: Vec<Expr> = axes.iter().map(|&a| own[a].clone()).collect();
    let dims = cx.dims_tensor(picked.clone())?;
    let (dims, s) = (cx.cast(dims, DType::F32)?, cx.cast(s, DType::F32)?);
    let product = cx.mul(dims, s)?;
    let whole = cx.unary(U::Floor, product)?;
    let rest = cx.sub(product, whole)?;
    let rest = cx.reduce(R::Max, rest, &[0], false)?;
    let limit = cx.scalar(DType::F32, 1e-3)?;
    let fits = cx.compare(C::Le, rest, limit)?;
    cx.expect_value(fits, 1)?;
    let whole = cx.cast(whole, DType::I64)?;
    let most: Vec<i64> =
        picked.iter().map(|d| cx.symbols().max(d).saturating_mul(MOST_AT_RUN_TIME)).collect();
    let mut sizes = cx.ints(whole, &|i| (1, most.get(i).copied().unwrap_or(1).max(1)))?;
    if own.len() >= 3 {
        for ((size, d), _) in sizes.iter_mut().zip(&picked).zip(axes).filter(|(_, a)| **a < 2) {
            cx.expect(&(size.clone() - d.clone()), 0)?;
            *size = d.clone();
        }
    }
    Ok(sizes)
}

/// One usable scale per axis.
fn check_scales(scales: &[f32], axes: usize) -> Result<()> {
    let usable = |v: &f32| *v > 0.0 && *v <= 1e6;
    if scales.len() == axes && scales.iter().all(usable) {
        return Ok(());
    }
    Err(Diag::input(format!("scales {scales:?} for {axes} axes")))
}

fn plain(dims: Vec<Expr>, scales: Vec<Option<f32>>, mode: ResizeMode, coordinate: Coordinate) -> op::Resize {
    op::Resize {
        dims,
        scales,
        roi: vec![],
        mode,
        coordinate,
        nearest: NearestMode::RoundPreferFloor,
        cubic_a: -0.75,
        exclude_outside: false,
        extrapolation: 0.0,
        antialias: false,
    }
}

fn upsample(cx: &mut NodeCx) -> Out {
    let x = cx.input(0)?;
    let own = cx.dims(x);
    let known = match cx.float_list("scales") {
        Some(s) => Some(s),
        None => {
            let s = cx.input(1)?;
            known_scales(cx, s)?
        }
    };
    let (dims, scales) = match known {
        Some(scales) => {
            check_scales(&scales, own.len())?;
            let dims = own.iter().zip(&scales).map(|(d, &s)| scaled(d, s)).collect();
            (dims, scales.into_iter().map(Some).collect())
        }
        None => {
            let (s, all) = (cx.input(1)?, (0..own.len()).collect::<Vec<_>>());
            let dims = sizes_at_run_time(cx, s, &own, &all)?;
            let scales = dims.iter().zip(&own).map(|(d, n)| (d == n).then_some(1.0)).collect();
            (dims, scales)
        }
    };
    let mode = mode(&cx.text("mode", "nearest"))?;
    let op = op::Resize { nearest: NearestMode::Floor, ..plain(dims, scales, mode, Coordinate::Asymmetric) };
    let y = cx.emit(op, &[x])?;
    cx.one(y)
}

fn resize(cx: &mut NodeCx) -> Out {
    let x = cx.input(0)?;
    let own = cx.dims(x);
    let rank = own.len();
    let old = cx.opset < 11;
    let (scales_at, sizes_at) = if old { (1, 9) } else { (2, 3) };
    let axes: Vec<usize> = match cx.int_list("axes") {
        Some(a) => a.iter().map(|&a| cx.axis(a, rank)).collect::<Result<_>>()?,
        None => (0..rank).collect(),
    };
    let (mut dims, mut scales) = (own.clone(), vec![Some(1.0); rank]);
    let scales_in = cx.opt(scales_at)?.filter(|&s| !cx.ty(s).numel().is(0));
    let sizes_in = cx.opt(sizes_at)?.filter(|&s| !cx.ty(s).numel().is(0));
    let declared = cx.declared(0);
    if let Some(s) = sizes_in {
        let range = |i: usize| {
            let d = axes.get(i).and_then(|&a| declared.as_ref()?.get(a).copied().flatten());
            d.map_or((1, 1 << 12), |d| (d, d))
        };
        let policy = cx.text("keep_aspect_ratio_policy", "stretch");
        // The result is declared, not what it was asked to be: with another policy than stretching they differ.
        let mut sizes = if policy == "stretch" {
            cx.ints(s, &range)?
        } else {
            cx.known_ints(s).ok_or_else(|| {
                Diag::unsupported("keep_aspect_ratio_policy with sizes that are known only at run time")
            })?
        };
        if sizes.len() != axes.len() {
            return Err(Diag::input(format!("{} sizes for {} axes", sizes.len(), axes.len())));
        }
        if policy != "stretch" {
            let ratios = axes.iter().zip(&sizes).map(|(&a, s)| {
                let (s, d) = (s.as_const()?, own[a].as_const()?);
                Some(s as f32 / d as f32)
            });
            let ratios = ratios.collect::<Option<Vec<_>>>();
            let ratios = ratios.ok_or_else(|| {
                Diag::unsupported("keep_aspect_ratio_policy with sizes that are known only at run time")
            })?;
            let pick = if policy == "not_larger" { f32::min } else { f32::max };
            let scale = ratios.into_iter().reduce(pick).unwrap_or(1.0);
            sizes = axes
                .iter()
                .map(|&a| ((own[a].as_const().unwrap_or(0) as f32 * scale + 0.5).floor() as i64).into())
                .collect();
            for &a in &axes {
                scales[a] = Some(scale);
            }
        } else {
            axes.iter().for_each(|&a| scales[a] = None);
        }
        for (&a, s) in axes.iter().zip(sizes) {
            if s == own[a] && scales[a].is_none() {
                scales[a] = Some(1.0);
            }
            dims[a] = s;
        }
    } else if let Some(s) = scales_in {
        if let Some(values) = known_scales(cx, s)? {
            check_scales(&values, axes.len())?;
            for (&a, v) in axes.iter().zip(values) {
                dims[a] = scaled(&own[a], v);
                scales[a] = Some(v);
            }
        } else {
            let sizes = sizes_at_run_time(cx, s, &own, &axes)?;
            for (&a, size) in axes.iter().zip(sizes) {
                scales[a] = (size == own[a]).then_some(1.0);
                dims[a] = size;
            }
        }
    } else {
        return Err(Diag::input("neither scales nor sizes"));
    }
    let default = if old { "asymmetric" } else { "half_pixel" };
    let coordinate = match cx.text("coordinate_transformation_mode", default).as_str() {
        "half_pixel" => Coordinate::HalfPixel,
        "half_pixel_symmetric" => Coordinate::HalfPixelSymmetric,
        "pytorch_half_pixel" => Coordinate::PytorchHalfPixel,
        "align_corners" => Coordinate::AlignCorners,
        "asymmetric" => Coordinate::Asymmetric,
        "tf_half_pixel_for_nn" => Coordinate::TfHalfPixelForNn,
        "tf_crop_and_resize" => Coordinate::TfCropAndResize,
        m => return Err(Diag::input(format!("coordinate_transformation_mode `{m}`"))),
    };
    let mut roi = vec![];
    if coordinate == Coordinate::TfCropAndResize {
        let r = cx.input(1)?;
        let given = cx.need_const(r, "roi")?.to_f32()?;
        if given.len() != 2 * axes.len() {
            return Err(Diag::input(format!("roi has {} values for {} axes", given.len(), axes.len())));
        }
        roi = [vec![0.0; rank], vec![1.0; rank]].concat();
        for (i, &a) in axes.iter().enumerate() {
            roi[a] = given[i];
            roi[rank + a] = given[axes.len() + i];
        }
    }
    let nearest = match cx.text("nearest_mode", if old { "floor" } else { "round_prefer_floor" }).as_str() {
        "round_prefer_floor" => NearestMode::RoundPreferFloor,
        "round_prefer_ceil" => NearestMode::RoundPreferCeil,
        "floor" => NearestMode::Floor,
        "ceil" => NearestMode::Ceil,
        m => return Err(Diag::input(format!("nearest_mode `{m}`"))),
    };
    let op = op::Resize {
        roi,
        nearest,
        cubic_a: cx.float("cubic_coeff_a", -0.75),
        exclude_outside: cx.flag("exclude_outside", false),
        extrapolation: cx.float("extrapolation_value", 0.0),
        antialias: cx.flag("antialias", false),
        ..plain(dims, scales, mode(&cx.text("mode", "nearest"))?, coordinate)
    };
    let y = cx.emit(op, &[x])?;
    cx.one(y)
}

fn grid_sample(cx: &mut NodeCx) -> Out {
    let (x, grid) = (cx.input(0)?, cx.input(1)?);
    let padding = match cx.text("padding_mode", "zeros").as_str() {
        "zeros" => GridPadding::Zeros,
        "border" => GridPadding::Border,
        "reflection" => GridPadding::Reflection,
        m => return Err(Diag::input(format!("padding_mode `{m}`"))),
    };
    let mode = mode(&cx.text("mode", "linear"))?;
    let y = cx
        .emit(op::GridSample { mode, padding, align_corners: cx.flag("align_corners", false) }, &[x, grid])?;
    cx.one(y)
}

fn roi_align(cx: &mut NodeCx) -> Out {
    let (x, rois, at) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let size = |cx: &NodeCx, name: &str, default: i64| {
        usize::try_from(cx.int(name, default))
            .map_err(|_| Diag::input(format!("attribute `{name}` is negative")))
    };
    let default = if cx.opset >= 16 { "half_pixel" } else { "output_half_pixel" };
    let op = op::RoiAlign {
        max: cx.text("mode", "avg") == "max",
        half_pixel: cx.text("coordinate_transformation_mode", default) == "half_pixel",
        height: size(cx, "output_height", 1)?,
        width: size(cx, "output_width", 1)?,
        sampling_ratio: size(cx, "sampling_ratio", 0)?,
        spatial_scale: cx.float("spatial_scale", 1.0),
    };
    let at = cx.cast(at, DType::I64)?;
    let y = cx.emit(op, &[x, rois, at])?;
    cx.one(y)
}
