//! Constant weights in the order in which kernels read them, whatever the number of rows of activations.
//!
//! `rt` vectors of weight rows are a strip; a strip is one stream: for each block of terms the scales of all its rows,
//! their offsets, and the codes in chunks. A code is cut into planes of 8, 4, 2 or 1 bits, its lowest bits first; a chunk
//! is so many terms that every plane has whole words of 32 bits per row. In a word of a plane of 4 bits the low halves of
//! the bytes are the first four terms, the high halves the next four; narrower planes have more such fields. A field of
//! every plane, shifted to its place and joined, is an operand of `Dot4` against four bytes of activations. Codes are
//! unsigned, but for those of 8 bits where dot products want a sign: `code - middle` is what they were.

use super::View;
use crate::lower::body::Body;
use bytes::Bytes;
use half::f16;
use sinter_ir::op::quantized_matmul::{Activations, Offset};
use sinter_ir::target::TargetDesc;
use sinter_ir::{DType, Diag, Result, Tensor};

/// Widest strip, in vectors.
const MOST_VECTORS: usize = 4;
/// Fewest lanes: what lies in front of the codes has whole words.
const LEAST_LANES: u16 = 4;

/// Bits that codes may have.
const WIDTHS: [usize; 6] = [2, 3, 4, 5, 6, 8];

/// Some bits of every code.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plane {
    /// Their number.
    pub bits: usize,
    /// The lowest of them.
    pub at: usize,
    /// Words per row of a chunk in front of this plane's.
    pub word: usize,
}

impl Plane {
    /// Fields of a byte: operands per word.
    pub fn fields(&self) -> usize {
        8 / self.bits
    }
    /// Bits of a word in front of those of term `i` of a chunk.
    pub fn shift(&self, i: usize) -> u32 {
        (8 * (i % 4) + self.bits * (i / 4 % self.fields())) as u32
    }
    /// The bits of this plane in a code.
    pub fn mask(&self) -> u8 {
        (((1u16 << self.bits) - 1) << self.at) as u8
    }
}

/// Order and types of packed weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Layout {
    /// Bits per code: one of [`WIDTHS`].
    pub bits: usize,
    /// What is subtracted from stored codes, so that the rest has few bits.
    low: u8,
    /// Whether codes are factors with a sign.
    pub signed: bool,
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
        let (low, least) = Codes::of(codes, &op.table)?.range(codes.len());
        let mut middle = match op.table.is_empty() {
            true => op.middle - lowest - i64::from(low),
            false => 128 - i64::from(low),
        };
        if op.offset == Offset::Zero && offset.flatten().is_some_and(|z| z.dtype() == DType::U8) {
            middle += 128;
        }
        let offset = match op.offset {
            Offset::None => None,
            Offset::Zero => Some(DType::I8),
            Offset::Minimum => offset.flatten().map(narrowest).transpose()?,
        };
        let scale_type = narrowest(scale)?;
        let lanes = target.lanes(32).max(LEAST_LANES);
        let rt = view.n.div_ceil(lanes.into()).next_power_of_two().min(MOST_VECTORS);
        let signed = view.in_bytes() && !target.mixed_dots();
        let layout = |bits| Self {
            bits,
            low,
            signed,
            lanes,
            rt,
            middle: middle - if signed && bits == 8 { 128 } else { 0 },
            scale: scale_type,
            offset,
            n: view.n,
            k: view.k,
            block: view.block,
        };
        let fits = |l: &Self| {
            let per = l.terms();
            let blocks = view.blocks() == 1 || view.block.is_multiple_of(per);
            blocks && (op.activations != Activations::Float || view.k.is_multiple_of(per))
        };
        Ok(WIDTHS.into_iter().filter(|w| *w >= least).map(layout).find(fits))
    }
    /// What codes are cut into.
    pub fn planes(&self) -> impl Iterator<Item = Plane> + use<> {
        let widths: &[usize] = match self.bits {
            2 => &[2],
            3 => &[2, 1],
            4 => &[4],
            5 => &[4, 1],
            6 => &[4, 2],
            _ => &[8],
        };
        // The last plane is the narrowest: it has one word.
        let terms = 32 / widths.last().unwrap_or(&8);
        widths.iter().scan((0, 0), move |(at, word), &bits| {
            let plane = Plane { bits, at: *at, word: *word };
            (*at, *word) = (*at + bits, *word + terms * bits / 32);
            Some(plane)
        })
    }
    /// Whether codes are stored with a sign: 128 less than they are.
    pub fn flipped(&self) -> bool {
        self.signed && self.bits == 8
    }
    /// Whether sums of a block are in 16 bits till it ends, and one register each: bytes below 128 are multiplied where
    /// that has no sum of its own.
    pub fn partial(&self, target: &TargetDesc, view: &View) -> bool {
        view.in_bytes() && target.halves() && self.bits < 8
    }
    /// Terms per chunk.
    pub fn terms(&self) -> usize {
        self.planes().map(|p| 32 / p.bits).max().unwrap_or(4)
    }
    /// Words of a chunk.
    pub fn chunk_words(&self) -> usize {
        self.terms() * self.bits / 32 * self.width()
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
    /// Words of scales and offsets in front of the codes of a block.
    pub fn header(&self) -> usize {
        self.width() * (self.scale.bits() + self.offset.map_or(0, DType::bits)) / 32
    }
    /// Words of a block of so many terms.
    pub fn block_words(&self, terms: usize) -> usize {
        self.header() + self.chunks(terms) * self.chunk_words()
    }
    /// Words per row of a chunk that a plane has.
    fn words_of(&self, p: Plane) -> usize {
        self.terms() * p.bits / 32
    }
    /// Words of a strip.
    pub fn strip_words(&self) -> usize {
        let (whole, rest) = self.blocks();
        whole * self.block_words(self.block) + if rest > 0 { self.block_words(rest) } else { 0 }
    }

    /// The weights in this order.
    pub fn pack(&self, body: &Body, view: &View) -> Result<Bytes> {
        let Parts { code, scale, offset } = Parts::of(body, view)?;
        let flip = if self.flipped() { 0x80 } else { 0 };
        let size = [self.strips(), self.strip_words(), 4].iter().try_fold(1usize, |p, &d| p.checked_mul(d));
        let size = size.filter(|&b| b <= sinter_ir::tensor::MAX_TENSOR_BYTES);
        let mut out = Vec::with_capacity(size.ok_or_else(|| Diag::limit("packed weights are too large"))?);
        let blocks = self.k.div_ceil(self.block);
        for strip in 0..self.strips() {
            let rows = strip * self.width()..(strip + 1) * self.width();
            for t in 0..blocks {
                let of = |values: &[f32], j: usize| if j < self.n { values[j * blocks + t] } else { 0.0 };
                rows.clone().for_each(|j| put(&mut out, self.scale, of(&scale, j)));
                if let (Some(dtype), Some(values)) = (self.offset, &offset) {
                    rows.clone().for_each(|j| put(&mut out, dtype, of(values, j)));
                }
                let end = self.k.min((t + 1) * self.block);
                let at = |j: usize, k: usize| match j < self.n && k < end {
                    true => code.at(j * self.k + k) - self.low,
                    false => 0,
                };
                for k in (t * self.block..end).step_by(self.terms()) {
                    for (p, word) in self.planes().flat_map(|p| (0..self.words_of(p)).map(move |w| (p, w))) {
                        let first = k + 4 * word * p.fields();
                        let field = |j, k: usize, f| (at(j, k + 4 * f) & p.mask()) >> p.at << (p.bits * f);
                        let byte = |j, k: usize| (0..p.fields()).fold(0, |b, f| b | field(j, k, f)) ^ flip;
                        rows.clone().for_each(|j| out.extend([0, 1, 2, 3].map(|i| byte(j, first + i))));
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
                    let v = (c - i64::from(self.low) - self.middle) as f32;
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
    /// What may be subtracted, and bits of what is left.
    fn range(&self, len: usize) -> (u8, usize) {
        let mut seen = [false; 256];
        (0..len).for_each(|i| seen[usize::from(self.at(i))] = true);
        let low = seen.iter().position(|s| *s).unwrap_or(0) as u8;
        let high = seen.iter().rposition(|s| *s).unwrap_or(0) as u8;
        let bits = |v: u8| (8 - v.leading_zeros()) as usize;
        // A start of sums costs something: only for fewer bits.
        if bits(high - low) < bits(high) { (low, bits(high - low)) } else { (0, bits(high)) }
    }
    fn stored(&self, i: usize) -> usize {
        let bit = i * self.bits;
        usize::from(self.bytes[bit / 8] >> (bit % 8)) & (self.values.len() - 1)
    }
    fn at(&self, i: usize) -> u8 {
        self.values[self.stored(i)]
    }
}
