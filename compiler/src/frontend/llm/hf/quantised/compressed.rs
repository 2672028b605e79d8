//! compressed-tensors: `weight_packed` in words along the inputs, `weight` in bytes, or pairs of 4-bit floats, with
//! `weight_scale[out, groups]` and, where they are asymmetric, `weight_zero_point`. Codes count from the lowest one.

use super::bits::{self, code_type, words};
use super::{Method, SCALES, block, expect, matrix_dims, stored, unknown};
use crate::frontend::llm::codes::{Format, Part};
use crate::frontend::llm::config::Config;
use crate::frontend::llm::hf::Shards;
use sinter_ir::op::quantized_matmul::Offset;
use sinter_ir::{DType, Diag, Result, Tensor};

/// Formats that are read.
const FORMATS: [&str; 7] = [
    "pack-quantized",
    "int-quantized",
    "naive-quantized",
    "float-quantized",
    "mxfp4-pack-quantized",
    "nvfp4-pack-quantized",
    "mixed-precision",
];

/// Twice the values of 4-bit floats.
const FP4: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// What the configuration says.
#[derive(Debug)]
pub struct Compressed {
    bits: Option<i64>,
    group: Option<i64>,
}

/// How a matrix lies in its tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Whole numbers of so many bits in words of 32.
    Words(usize),
    /// Whole numbers in bytes.
    Bytes,
    /// Pairs of 4-bit floats in bytes.
    Pairs,
}

impl Compressed {
    pub fn new(c: &Config) -> Result<Self> {
        let mut formats = vec![c.text("format", "")?];
        let (mut bits, mut group) = (None, None);
        let groups = c.part("config_groups").and_then(|g| g.entries());
        for g in groups.unwrap_or_default() {
            formats.push(g.text("format", "")?);
            let Some(w) = g.part("weights") else { continue };
            bits = w.opt_size("num_bits")?;
            group = w.get("group_size").and_then(serde_json::Value::as_i64);
        }
        if let Some(f) = formats.iter().find(|f| !f.is_empty() && !FORMATS.contains(&f.as_str())) {
            return Err(unknown(format!("compressed-tensors in the format `{f}`")));
        }
        let sparse = c.part("sparsity_config").map(|s| s.text("format", "dense")).transpose()?;
        if let Some(f) = sparse.filter(|f| f != "dense") {
            return Err(unknown(format!("compressed-tensors with the sparsity format `{f}`")));
        }
        if c.part("transform_config").is_some_and(|t| t.part("config_groups").is_some()) {
            return Err(unknown("compressed-tensors with transforms"));
        }
        Ok(Self { bits, group })
    }

    fn kind(&self, t: &Shards, stem: &str) -> Result<Option<(Kind, [usize; 2])>> {
        let is = |kind: &str, dtype: DType| {
            t.stored(&format!("{stem}.{kind}")).is_some_and(|t| t.is_ok_and(|t| t.dtype() == dtype))
        };
        if is("weight", DType::I8) {
            return matrix_dims(t, stem, "weight", DType::I8).map(|d| Some((Kind::Bytes, d)));
        }
        if !t.has(&format!("{stem}.weight_packed")) {
            return Ok(None);
        }
        if is("weight_packed", DType::U8) {
            let [n, pairs] = matrix_dims(t, stem, "weight_packed", DType::U8)?;
            return Ok(Some((Kind::Pairs, [n, 2 * pairs])));
        }
        let [n, per_row] = matrix_dims(t, stem, "weight_packed", DType::I32)?;
        if !t.has(&format!("{stem}.weight_shape")) {
            let bits = usize::try_from(self.bits.unwrap_or(4)).unwrap_or(0);
            let kind = checked(bits)?;
            return Ok(Some((kind, [n, per_row * (32 / bits)])));
        }
        let shape = expect(t, stem, "weight_shape", &[DType::I64, DType::I32], &[2])?.to_i64()?;
        let k = shape.get(1).and_then(|k| usize::try_from(*k).ok()).filter(|k| *k > 0);
        let fits = |bits: &usize| k.is_some_and(|k| k.div_ceil(32 / bits) == per_row);
        let said = self.bits.and_then(|b| usize::try_from(b).ok()).filter(|b| (2..=8).contains(b));
        let bits = said.into_iter().chain([4, 8, 3, 2]).find(fits);
        let (Some(k), Some(bits)) = (k, bits) else {
            let what = format!("tensor {stem}.weight_packed has {per_row} words for rows of {shape:?}");
            return Err(Diag::input(what));
        };
        Ok(Some((checked(bits)?, [n, k])))
    }
}

fn checked(bits: usize) -> Result<Kind> {
    match bits {
        2 | 3 | 4 | 8 => Ok(Kind::Words(bits)),
        other => Err(unknown(format!("compressed-tensors with {other} bits"))),
    }
}

/// Scales of rows as a matrix: one for all rows stands in every row.
fn by_rows(t: &Tensor, n: usize) -> Result<Tensor> {
    match *t.shape() {
        [] | [1] | [1, 1] if n > 1 => Tensor::from_bytes(t.dtype(), vec![n, 1], t.bytes().repeat(n)),
        [] | [1] => Tensor::from_bytes(t.dtype(), vec![1, 1], t.shared_bytes()),
        [rows] if rows == n => Tensor::from_bytes(t.dtype(), vec![n, 1], t.shared_bytes()),
        _ => Ok(t.clone()),
    }
}

impl Method for Compressed {
    fn format(&self, t: &Shards, stem: &str) -> Result<Option<Format>> {
        let Some((kind, [n, k])) = self.kind(t, stem)? else { return Ok(None) };
        let scale = by_rows(&stored(t, stem, "weight_scale")?, n)?;
        let groups = match *scale.shape() {
            [rows, groups] if rows == n && groups > 0 => groups,
            _ => {
                let what = format!("tensor {stem}.weight_scale is {:?} for {n} rows", scale.shape());
                return Err(Diag::input(what));
            }
        };
        let types = if kind == Kind::Pairs { &[DType::U8, DType::F8E4M3FN] } else { SCALES };
        if !types.contains(&scale.dtype()) {
            let what = format!("tensor {stem}.weight_scale of type {}", scale.dtype());
            return Err(Diag::unsupported(what));
        }
        let asymmetric = t.has(&format!("{stem}.weight_zero_point"));
        let (codes, middle, zero) = match kind {
            Kind::Words(bits) => (code_type(bits), 1 << (bits - 1), code_type(bits.max(4))),
            Kind::Bytes => (DType::I8, 0, DType::I8),
            Kind::Pairs => (DType::U4, 0, DType::U4),
        };
        let mut f = Format {
            dims: vec![n, k],
            codes,
            block: block(k, groups, self.group)?,
            middle: if asymmetric { 0 } else { middle },
            table: if kind == Kind::Pairs { FP4.map(f32::from).to_vec() } else { vec![] },
            scale: if kind == Kind::Pairs { DType::F32 } else { scale.dtype() },
            offset: asymmetric.then_some((Offset::Zero, zero)),
            order: false,
        };
        if asymmetric {
            zero_points(t, stem, &f, kind)?;
        }
        f.order = order(t, stem, &f)?.is_some();
        Ok(Some(f))
    }

    fn part(&self, t: &Shards, stem: &str, f: &Format, part: Part) -> Result<Tensor> {
        let Some((kind, dims)) = self.kind(t, stem)? else {
            return Err(Diag::bug(format!("{stem} has no parts")));
        };
        let [n, k] = dims;
        let order = if f.order { order(t, stem, f)? } else { None };
        match part {
            Part::Codes => {
                let places = order.as_deref().map(bits::places);
                match kind {
                    Kind::Words(bits) => {
                        let w = words(&stored(t, stem, "weight_packed")?);
                        let per = 32 / bits;
                        let row = k.div_ceil(per);
                        bits::matrix(f.codes, dims, places.as_deref(), |j, i| {
                            let word = w.get(j * row + i / per).copied().unwrap_or(0);
                            (word >> (i % per * bits)) as u8 & ((1u32 << bits) - 1) as u8
                        })
                    }
                    Kind::Bytes => {
                        let w = stored(t, stem, "weight")?;
                        let bytes = w.bytes();
                        let code = |j: usize, i: usize| bytes.get(j * k + i).copied().unwrap_or(0);
                        bits::matrix(f.codes, dims, places.as_deref(), code)
                    }
                    Kind::Pairs => {
                        let packed = stored(t, stem, "weight_packed")?.shared_bytes();
                        Tensor::from_bytes(DType::U4, vec![n, k], packed)
                    }
                }
            }
            Part::Scale if kind == Kind::Pairs => small_scales(t, stem, n),
            Part::Scale => by_rows(&stored(t, stem, "weight_scale")?, n),
            Part::Offset => zero_points(t, stem, f, kind),
            Part::Order => Ok(bits::order_part(&order.unwrap_or_else(|| (0..k).collect()))),
        }
    }
}

/// The order of terms, where groups are not of neighbours.
fn order(t: &Shards, stem: &str, f: &Format) -> Result<Option<Vec<usize>>> {
    if !t.has(&format!("{stem}.weight_g_idx")) {
        return Ok(None);
    }
    let of = expect(t, stem, "weight_g_idx", &[DType::I32, DType::I64], &[f.terms()])?;
    // All -1: it was never set.
    if of.to_i64()?.iter().all(|g| *g == -1) {
        return Ok(None);
    }
    bits::order(&of, f.block)
}

/// Zero points `[n, blocks]`: packed along the outputs like codes, or plain signed bytes.
fn zero_points(t: &Shards, stem: &str, f: &Format, kind: Kind) -> Result<Tensor> {
    let (n, groups) = (f.dims.first().copied().unwrap_or(0), f.blocks());
    let (dtype, dims) = f.part(Part::Offset);
    let found = by_rows(&stored(t, stem, "weight_zero_point")?, n)?;
    if found.dtype() == DType::I8 && found.shape() == dims {
        let Kind::Words(bits) = kind else { return Ok(found) };
        let bytes = found.bytes();
        let moved = |j: usize, g: usize| {
            bytes.get(j * groups + g).copied().unwrap_or(0).wrapping_add(1 << (bits - 1))
        };
        return bits::matrix(dtype, [n, groups], None, moved);
    }
    let Kind::Words(bits) = kind else {
        let what = format!("tensor {stem}.weight_zero_point is {}{:?}", found.dtype(), found.shape());
        return Err(Diag::input(format!("{what}, i8{dims:?} is needed")));
    };
    let per = 32 / bits;
    let packed = expect(t, stem, "weight_zero_point", &[DType::I32], &[n.div_ceil(per), groups])?;
    let w = words(&packed);
    bits::matrix(dtype, [n, groups], None, |j, g| {
        let word = w.get(j / per * groups + g).copied().unwrap_or(0);
        (word >> (j % per * bits)) as u8 & ((1u32 << bits) - 1) as u8
    })
}

/// Scales of 4-bit floats: powers of two, or floats of 8 bits over one number for the whole matrix. Halved, because the
/// table is doubled.
fn small_scales(t: &Shards, stem: &str, n: usize) -> Result<Tensor> {
    let scale = by_rows(&stored(t, stem, "weight_scale")?, n)?;
    let values: Vec<f32> = if scale.dtype() == DType::U8 {
        scale.bytes().iter().map(|e| f32::exp2(f32::from(*e) - 128.0)).collect()
    } else {
        let all = stored(t, stem, "weight_global_scale")?.to_f32()?;
        let &[all] = all.as_slice() else {
            return Err(Diag::input(format!("tensor {stem}.weight_global_scale is not one number")));
        };
        scale.to_f32()?.iter().map(|s| s / all / 2.0).collect()
    };
    Tensor::f32s(scale.shape().to_vec(), &values)
}
