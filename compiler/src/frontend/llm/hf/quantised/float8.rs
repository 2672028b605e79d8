//! Weights in floats of 8 bits with scales of rows, of tiles or of the whole matrix: they become floats of 32 bits.

use super::Method;
use crate::frontend::llm::codes::{Format, Part};
use crate::frontend::llm::hf::Shards;
use sinter_ir::{DType, Diag, Result, Tensor};

/// `quant_method: fp8`.
#[derive(Debug)]
pub struct Float8;

impl Method for Float8 {
    fn format(&self, _: &Shards, _: &str) -> Result<Option<Format>> {
        Ok(None)
    }
    fn part(&self, _: &Shards, stem: &str, _: &Format, _: Part) -> Result<Tensor> {
        Err(Diag::bug(format!("{stem} has no parts")))
    }
}

/// A tensor times its scales; `None`: it is none of such floats.
pub fn scaled(t: &Shards, name: &str) -> Result<Option<Tensor>> {
    let Some(w) = t.stored(name).transpose()? else { return Ok(None) };
    let stem = name.strip_suffix(".weight");
    let (Some(stem), true) = (stem, matches!(w.dtype(), DType::F8E4M3FN | DType::F8E5M2)) else {
        return Ok(None);
    };
    let of = |kind: &str| t.stored(&format!("{stem}.{kind}")).transpose();
    let Some(scale) = of("weight_scale_inv")?.map_or_else(|| of("weight_scale"), |s| Ok(Some(s)))? else {
        return Err(Diag::input(format!("tensor {stem}.weight_scale is missing")));
    };
    let bad = || {
        let (w, s) = (w.shape(), scale.shape());
        Diag::input(format!("tensor {stem}.weight_scale is {s:?}, which is no scale of {w:?}"))
    };
    let &[n, k] = w.shape() else { return Err(bad()) };
    let (rows, columns) = match scale.shape() {
        [] | [1] => (1, 1),
        &[r] => (r, 1),
        &[r, c] => (r, c),
        _ => return Err(bad()),
    };
    // A scale belongs to a tile; tiles at the ends may be cut.
    let tile = |len: usize, parts: usize| {
        let most = len.div_ceil(parts.max(1)).max(1);
        let size = if len.is_multiple_of(parts.max(1)) { most } else { most.next_power_of_two() };
        (parts > 0 && len.div_ceil(size) == parts).then_some(size)
    };
    let (high, wide) = tile(n, rows).zip(tile(k, columns)).ok_or_else(bad)?;
    let (mut values, scales) = (w.to_f32()?, scale.to_f32()?);
    for (i, v) in values.iter_mut().enumerate() {
        *v *= scales.get(i / k / high * columns + i % k / wide).copied().ok_or_else(bad)?;
    }
    Tensor::f32s(vec![n, k], &values).map(Some)
}
