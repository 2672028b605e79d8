//! Image files as tensors.

use super::InputSpec;
use image::imageops::FilterType;
use sinter_ir::{DType, Diag, Result, Tensor};

/// How pixel values become tensor elements: `(v - mean) / std`, v in 0..=255.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalise {
    /// Per RGB channel.
    pub mean: [f32; 3],
    /// Per RGB channel.
    pub std: [f32; 3],
}

impl Default for Normalise {
    /// 0..=255 to 0..=1.
    fn default() -> Self {
        Self { mean: [0.0; 3], std: [255.0; 3] }
    }
}

impl Normalise {
    /// From what `--mean` and `--std` say: nothing, one number or three.
    pub fn of(mean: &[f32], std: &[f32]) -> Result<Self> {
        let three = |v: &[f32], name: &str, default: [f32; 3]| match v {
            [] => Ok(default),
            [x] => Ok([*x; 3]),
            [x, y, z] => Ok([*x, *y, *z]),
            _ => Err(Diag::input(format!("--{name} takes one number or three"))),
        };
        let d = Self::default();
        let std = three(std, "std", d.std)?;
        if std.contains(&0.0) {
            return Err(Diag::input("--std must not be 0"));
        }
        Ok(Self { mean: three(mean, "mean", d.mean)?, std })
    }
}

/// Largest width or height decoded.
const MAX_SIDE: u32 = 16384;

/// Reads a PNG or JPEG into a `[1, c, h, w]` or `[1, h, w, c]` input (batch dim optional, c is 1 or 3). Fixed
/// sizes are reached by bilinear scaling, symbolic ones take the picture's own size within the range.
pub fn read(bytes: &[u8], spec: &InputSpec, norm: &Normalise) -> Result<Tensor> {
    let layout = Layout::of(spec).ok_or_else(|| {
        Diag::input(format!("input `{}` {} is not plainly an image", spec.name, spec.show()))
            .help("convert the picture to .npy in the input's shape, or fix the dims with --shape")
    })?;
    let bad = |e: image::ImageError| Diag::input(format!("cannot read the image: {e}"));
    let mut reader = image::ImageReader::new(std::io::Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|e| Diag::input(format!("cannot read the image: {e}")))?;
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    reader.limits(limits);
    let picture = reader.decode().map_err(bad)?;
    let (hr, wr) = (spec.dims[layout.h], spec.dims[layout.w]);
    let h = (picture.height() as usize).clamp(hr.0, hr.1);
    let w = (picture.width() as usize).clamp(wr.0, wr.1);
    let side = |n: usize| u32::try_from(n).ok().filter(|&n| n <= MAX_SIDE);
    let (Some(hh), Some(ww)) = (side(h), side(w)) else {
        return Err(Diag::limit(format!("image of {w}x{h} pixels")));
    };
    let picture = picture.resize_exact(ww, hh, FilterType::Triangle);
    let channels = spec.dims[layout.c].0;
    let raw = if channels == 1 { picture.to_luma8().into_raw() } else { picture.to_rgb8().into_raw() };
    let mut shape = vec![1; spec.dims.len()];
    (shape[layout.c], shape[layout.h], shape[layout.w]) = (channels, h, w);
    let raw_pixels = spec.dtype == DType::U8;
    let value = |y: usize, x: usize, c: usize| {
        let v = f32::from(raw[(y * w + x) * channels + c]);
        f64::from(if raw_pixels { v } else { (v - norm.mean[c]) / norm.std[c] })
    };
    let mut out = Vec::with_capacity(h * w * channels);
    if layout.c < layout.h {
        (0..channels).for_each(|c| (0..h * w).for_each(|p| out.push(value(p / w, p % w, c))));
    } else {
        (0..h * w).for_each(|p| (0..channels).for_each(|c| out.push(value(p / w, p % w, c))));
    }
    Tensor::from_f64(spec.dtype, shape, &out)
}

struct Layout {
    c: usize,
    h: usize,
    w: usize,
}

impl Layout {
    fn of(spec: &InputSpec) -> Option<Self> {
        let lead = spec.dims.len().checked_sub(3).filter(|&l| l <= 1)?;
        if !spec.dims[..lead].iter().all(|d| d.0 <= 1 && d.1 >= 1) {
            return None;
        }
        let is_channels = |i: usize| matches!(spec.dims[lead + i], (1, 1) | (3, 3));
        let wide = |i: usize| spec.dims[lead + i].1 > 4;
        let first = is_channels(0) && wide(1) && wide(2);
        let last = is_channels(2) && wide(0) && wide(1);
        match (first, last) {
            (true, false) => Some(Self { c: lead, h: lead + 1, w: lead + 2 }),
            (false, true) => Some(Self { c: lead + 2, h: lead, w: lead + 1 }),
            _ => None,
        }
    }
}
