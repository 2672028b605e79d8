//! Constant weights in the order in which kernels read them, whatever the number of rows of activations.
//!
//! A vector of weight rows is one stream: the scales of all its blocks, their offsets, then the codes in chunks. `rt`
//! neighbouring vectors are a strip; the first vectors of all strips lie together, then the second ones, and so on, so
//! that whoever goes through the strips reads `rt` streams from end to end: one alone does not keep memory busy.
//! A chunk is a word of 32 bits per row: four bytes, or eight codes of 4 bits, the first four in the low halves of the
//! bytes, the next four in the high ones. Either half is an operand of `Dot4` against four bytes of activations. Codes
//! are unsigned: `code - middle` is what they were.

use super::View;
use crate::lower::body::Body;
use crate::lower::contract::arith::scaled;
use bytes::Bytes;
use half::f16;
use sinter_ir::op::quantized_matmul::{Activations, Offset};
use sinter_ir::target::TargetDesc;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{BinOp, Reg};
use sinter_ir::{DType, Diag, Result, Tensor};

/// Widest strip, in vectors.
const MOST_VECTORS: usize = 4;
/// Fewest lanes: what lies in front of the codes has whole words.
const LEAST_LANES: u16 = 4;

/// Order and types of packed weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Layout {
    /// Bits per code: 4 or 8.
    pub bits: usize,
    /// Rows per vector.
    pub lanes: u16,
    /// Vectors per strip: 1, 2 or 4.
    pub rt: usize,
    /// What is subtracted from codes.
    pub middle: i64,
    /// F16 or F32.
    pub scale: DType,
    /// I8 for zero points, F16 or F32 for minima.
    pub offset: Option<DType>,
    /// Rows of weights.
    pub n: usize,
    /// Terms per row.
    pub k: usize,
    /// Terms that share a scale.
    pub block: usize,
}

impl Layout {
    /// The layout for weights that are known and whose blocks are made of chunks.
    pub fn of(target: &TargetDesc, body: &Body, view: &View) -> Result<Option<Self>> {
        let op = view.op;
        let constant = |v| body.const_of(v);
        let (Some(codes), Some(scale)) = (constant(view.codes), constant(view.scale)) else {
            return Ok(None);
        };
        let offset = view.offset.map(constant);
        if matches!(offset, Some(None)) || view.n == 0 || view.k == 0 {
            return Ok(None);
        }
        let whole = op.table.iter().all(|v| v.fract() == 0.0 && v.abs() <= 127.0);
        if !whole {
            return Ok(None);
        }
        let lowest = codes.dtype().int_range().map_or(0, |(lo, _)| lo as i64);
        let (bits, mut middle) = match op.table.is_empty() {
            true if codes.dtype().bits() <= 4 => (4, op.middle - lowest),
            true => (8, op.middle - lowest),
            false => (8, 128),
        };
        if op.offset == Offset::Zero && offset.flatten().is_some_and(|z| z.dtype() == DType::U8) {
            middle += 128;
        }
        let offset = match op.offset {
            Offset::None => None,
            Offset::Zero => Some(DType::I8),
            Offset::Minimum => offset.flatten().map(narrowest).transpose()?,
        };
        let lanes = target.lanes(32).max(LEAST_LANES);
        let rt = view.n.div_ceil(lanes.into()).next_power_of_two().min(MOST_VECTORS);
        let layout = Self {
            bits,
            lanes,
            rt,
            middle,
            scale: narrowest(scale)?,
            offset,
            n: view.n,
            k: view.k,
            block: view.block,
        };
        let per = layout.terms();
        let fits = view.blocks() == 1 || view.block.is_multiple_of(per);
        let in_place = op.activations != Activations::Float || view.k.is_multiple_of(per);
        Ok((fits && in_place).then_some(layout))
    }
    /// Terms per chunk.
    pub fn terms(&self) -> usize {
        32 / self.bits
    }
    /// Rows per strip.
    pub fn width(&self) -> usize {
        self.rt * usize::from(self.lanes)
    }
    /// Strips.
    pub fn strips(&self) -> usize {
        self.n.div_ceil(self.width())
    }
    /// Whole blocks, and the terms of a last one that is shorter.
    pub fn blocks(&self) -> (usize, usize) {
        (self.k / self.block, self.k % self.block)
    }
    /// Chunks of so many terms.
    pub fn chunks(&self, terms: usize) -> usize {
        terms.div_ceil(self.terms())
    }
    /// Words of scales and offsets in front of the codes of a vector: codes begin where a vector of words would.
    pub fn header(&self) -> usize {
        let per = usize::from(self.lanes) * (self.scale.bits() + self.offset.map_or(0, DType::bits));
        (self.k.div_ceil(self.block) * per).div_ceil(32).next_multiple_of(self.lanes.into())
    }
    /// Words of a vector of rows.
    pub fn stream(&self) -> usize {
        let (whole, rest) = self.blocks();
        self.header() + (whole * self.chunks(self.block) + self.chunks(rest)) * usize::from(self.lanes)
    }
    /// Words from a vector of a strip to the next one of the strip.
    pub fn apart(&self) -> usize {
        self.strips() * self.stream()
    }
    /// Word at which panel `number` begins, where panels are `nv` vectors of a strip.
    pub fn start(&self, b: &mut KernelBuilder, number: Reg, nv: usize) -> Reg {
        let (per, stream) = ((self.rt / nv) as i64, self.stream() as i64);
        if per == 1 {
            return scaled(b, number, stream);
        }
        let (shift, mask) = (b.i64(per.trailing_zeros().into()), b.i64(per - 1));
        let strip = b.bin(BinOp::ShrU, number, shift);
        let within = b.bin(BinOp::And, number, mask);
        let skip = scaled(b, within, (nv * self.apart()) as i64);
        let start = scaled(b, strip, stream);
        b.add(start, skip)
    }

    /// The weights in this order.
    pub fn pack(&self, body: &Body, view: &View) -> Result<Bytes> {
        let Parts { code, scale, offset } = Parts::of(body, view)?;
        let size = [self.rt, self.apart(), 4].iter().try_fold(1usize, |p, &d| p.checked_mul(d));
        let size = size.filter(|&b| b <= sinter_ir::tensor::MAX_TENSOR_BYTES);
        let mut out = Vec::with_capacity(size.ok_or_else(|| Diag::limit("packed weights are too large"))?);
        let (blocks, lanes) = (self.k.div_ceil(self.block), usize::from(self.lanes));
        for (v, strip) in (0..self.rt).flat_map(|v| (0..self.strips()).map(move |s| (v, s))) {
            let first = (strip * self.rt + v) * lanes;
            let (rows, start) = (first..first + lanes, out.len());
            for (t, j) in (0..blocks).flat_map(|t| rows.clone().map(move |j| (t, j))) {
                put(&mut out, self.scale, if j < self.n { scale[j * blocks + t] } else { 0.0 });
            }
            if let (Some(dtype), Some(values)) = (self.offset, &offset) {
                for (t, j) in (0..blocks).flat_map(|t| rows.clone().map(move |j| (t, j))) {
                    put(&mut out, dtype, if j < self.n { values[j * blocks + t] } else { 0.0 });
                }
            }
            out.resize(start + 4 * self.header(), 0);
            for t in 0..blocks {
                let end = self.k.min((t + 1) * self.block);
                for k in (t * self.block..end).step_by(self.terms()) {
                    for j in rows.clone() {
                        let at = |k: usize| if j < self.n && k < end { code.at(j * self.k + k) } else { 0 };
                        let byte = |i: usize| match self.bits {
                            4 => at(k + i) | at(k + 4 + i) << 4,
                            _ => at(k + i),
                        };
                        out.extend([byte(0), byte(1), byte(2), byte(3)]);
                    }
                }
            }
        }
        Ok(out.into())
    }
    /// The largest weight of every row, 0 for rows that only fill up strips.
    pub fn largest(&self, body: &Body, view: &View) -> Result<Vec<f32>> {
        let Parts { code, scale, offset } = Parts::of(body, view)?;
        let blocks = self.k.div_ceil(self.block);
        let row = |j: usize| {
            (0..blocks).fold(0f32, |most, t| {
                let (at, end) = (j * blocks + t, self.k.min((t + 1) * self.block));
                let codes = (t * self.block..end).map(|k| i64::from(code.at(j * self.k + k)));
                let (lo, hi) = codes.fold((255, 0), |(lo, hi), c| (c.min(lo), c.max(hi)));
                let moved = offset.as_ref().map_or(0.0, |o| o[at]);
                [lo, hi].into_iter().fold(most, |most, c| {
                    let v = (c - self.middle) as f32;
                    let w = match view.op.offset {
                        Offset::Zero => scale[at] * (v - moved),
                        _ => scale[at] * v + moved,
                    };
                    most.max(w.abs())
                })
            })
        };
        Ok((0..self.strips() * self.width()).map(|j| if j < self.n { row(j) } else { 0.0 }).collect())
    }
}

/// Weights taken apart.
struct Parts<'a> {
    code: Codes<'a>,
    scale: Vec<f32>,
    /// Zero points as signed bytes, or minima.
    offset: Option<Vec<f32>>,
}

impl<'a> Parts<'a> {
    fn of(body: &'a Body, view: &View<'a>) -> Result<Self> {
        let constant = |v| body.const_of(v).ok_or_else(|| Diag::bug("packed weights are constants"));
        let (codes, scale) = (constant(view.codes)?, constant(view.scale)?.to_f32()?);
        let offset = view.offset.map(constant).transpose()?;
        let unsigned = offset.is_some_and(|z| z.dtype() == DType::U8) && view.op.offset == Offset::Zero;
        let shift = if unsigned { 128.0 } else { 0.0 };
        let offset = offset.map(Tensor::to_f32).transpose()?;
        let offset = offset.map(|o| o.into_iter().map(|v| v - shift).collect());
        Ok(Self { code: Codes::of(codes, &view.op.table)?, scale, offset })
    }
}

/// F16 where it holds all values, else F32.
fn narrowest(t: &Tensor) -> Result<DType> {
    let same = |v: &f32| f16::from_f32(*v).to_f32().to_bits() == v.to_bits();
    Ok(if t.to_f32()?.iter().all(same) { DType::F16 } else { DType::F32 })
}

fn put(out: &mut Vec<u8>, dtype: DType, v: f32) {
    match dtype {
        DType::I8 => out.push(v as i8 as u8),
        DType::F16 => out.extend(f16::from_f32(v).to_le_bytes()),
        _ => out.extend(v.to_le_bytes()),
    }
}

/// Codes as unsigned numbers.
struct Codes<'a> {
    bytes: &'a [u8],
    bits: usize,
    /// Of every stored code.
    values: Vec<u8>,
}

impl<'a> Codes<'a> {
    fn of(t: &'a Tensor, table: &[f32]) -> Result<Self> {
        let (bits, signed) = (t.dtype().bits(), t.dtype().is_signed_int());
        let flip = if signed { 1u8 << (bits - 1) } else { 0 };
        let values = (0..=(255u8 >> (8 - bits))).map(|c| match table.is_empty() {
            true => c ^ flip,
            // Codes without an entry do not occur.
            false => table.get(usize::from(c)).map_or(0, |v| (v + 128.0) as u8),
        });
        let values: Vec<u8> = values.collect();
        let out = Self { bytes: t.bytes(), bits, values };
        if !table.is_empty()
            && table.len() < out.values.len()
            && (0..t.len()).any(|i| out.stored(i) >= table.len())
        {
            return Err(Diag::input(format!("codes beyond a table of {}", table.len())));
        }
        Ok(out)
    }
    fn stored(&self, i: usize) -> usize {
        let bit = i * self.bits;
        usize::from(self.bytes[bit / 8] >> (bit % 8)) & (self.values.len() - 1)
    }
    fn at(&self, i: usize) -> u8 {
        self.values[self.stored(i)]
    }
}
