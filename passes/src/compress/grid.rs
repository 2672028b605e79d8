//! Grids on which weights of a block come to lie, and codes of whole matrices row by row.

use super::{Codes, Error, Scheme, mxfp4};
use half::{bf16, f16};
use sinter_ir::{DType, Diag, Result, Tensor};

/// Factors of the scale that a search tries: from 1 down in steps of a hundredth.
const TRIES: u32 = 50;

/// Scale and zero point of a block, on which codes `low..=top` lie: a weight is `scale * (code - zero) + minimum`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grid {
    /// Distance of neighbours, as it is stored.
    pub scale: f32,
    /// The code of zero.
    pub zero: f32,
    /// What is added, as it is stored; 0 where there are zero points.
    pub minimum: f32,
    /// Lowest code.
    pub low: f32,
    /// Highest code.
    pub top: f32,
    /// Codes are numbers with an exponent ([`mxfp4`]).
    pub float: bool,
}

impl Grid {
    /// The nearest code; that of zero for what is no number.
    pub fn code(&self, w: f32) -> f32 {
        if self.float {
            return mxfp4::code(w / self.scale);
        }
        let c = ((w - self.minimum) / self.scale).round_ties_even() + self.zero;
        if c.is_nan() { self.zero } else { c.clamp(self.low, self.top) }
    }
    /// What a code stands for.
    pub fn value(&self, code: f32) -> f32 {
        if self.float {
            return self.scale * mxfp4::TABLE.get(code as usize).copied().unwrap_or(0.0);
        }
        self.scale * (code - self.zero) + self.minimum
    }
    /// Sum of the squared differences between weights and what stands for them.
    pub fn noise(&self, block: &[f32]) -> f64 {
        let off = |w: &f32| f64::from(*w) - f64::from(self.value(self.code(*w)));
        block.iter().map(|w| off(w) * off(w)).sum()
    }
    /// The grid for the range of a block, shrunk by a factor.
    pub fn of(block: &[f32], s: &Scheme, shrink: f32) -> Self {
        if s.float {
            return mxfp4::grid(block);
        }
        let finite = || block.iter().copied().filter(|w| w.is_finite());
        let half = (1u32 << (s.bits - 1)) as f32;
        let top = 2.0 * half - 1.0;
        let largest = finite().fold(0f32, |m, w| if w.abs() > m.abs() { w } else { m }) * shrink;
        if s.asymmetric {
            let (lo, hi) = finite().fold((0f32, 0f32), |(lo, hi), w| (lo.min(w), hi.max(w)));
            let scale = stored((hi - lo) * shrink / top);
            let zero = (-lo * shrink / scale).round_ties_even().clamp(0.0, top);
            return Self { scale, zero, minimum: 0.0, low: 0.0, top, float: false };
        }
        let (scale, zero, low, top) = match s.bits {
            8 => (stored(largest.abs() / 127.0), 0.0, -127.0, 127.0),
            _ => (stored(largest / -half), half, 0.0, top),
        };
        Self { scale, zero, minimum: 0.0, low, top, float: false }
    }
    /// The grid with the least squared error among those that the scheme lets it try.
    pub fn best(block: &[f32], s: &Scheme) -> Self {
        let first = Self::of(block, s, 1.0);
        let tries = if s.search { TRIES } else { 0 };
        let all = (1..=tries).map(|i| Self::of(block, s, 1.0 - 0.01 * i as f32));
        let start = (if tries > 0 { first.noise(block) } else { 0.0 }, first);
        all.fold(start, |(least, kept), g| {
            let noise = g.noise(block);
            if noise < least { (noise, g) } else { (least, kept) }
        })
        .1
    }
}

/// The scale as it is stored; never zero, infinite or too small to divide by.
pub fn stored(scale: f32) -> f32 {
    const LEAST: f32 = 6.2e-5;
    let s = f16::from_f32(scale.clamp(-65504.0, 65504.0)).to_f32();
    if s.abs() < LEAST { if scale < 0.0 { -LEAST } else { LEAST } } else { s }
}

/// A matrix `[n, k]` of f32, f16 or bf16 as numbers, row by row.
pub struct Rows<'a> {
    weights: &'a Tensor,
    /// Rows.
    pub n: usize,
    /// Weights of a row.
    pub k: usize,
}

impl<'a> Rows<'a> {
    /// Of a matrix in memory.
    pub fn new(weights: &'a Tensor) -> Result<Self> {
        let &[n, k] = weights.shape() else { return Err(Diag::bug("only matrices become codes")) };
        if !matches!(weights.dtype(), DType::F32 | DType::F16 | DType::BF16) || weights.is_deferred() {
            return Err(Diag::bug(format!("codes of {}{:?}", weights.dtype(), weights.shape())));
        }
        Ok(Self { weights, n, k })
    }
    /// Writes a row as f32.
    pub fn read(&self, row: usize, out: &mut [f32]) {
        let dtype = self.weights.dtype();
        let size = self.k * dtype.bits() / 8;
        let bytes = self.weights.bytes().get(row * size..(row + 1) * size).unwrap_or(&[]);
        let half = |b: &[u8; 2]| f16::from_le_bytes(*b).to_f32();
        let brain = |b: &[u8; 2]| bf16::from_le_bytes(*b).to_f32();
        match dtype {
            DType::F16 => out.iter_mut().zip(bytes.as_chunks().0).for_each(|(o, b)| *o = half(b)),
            DType::BF16 => out.iter_mut().zip(bytes.as_chunks().0).for_each(|(o, b)| *o = brain(b)),
            _ => out.iter_mut().zip(bytes.as_chunks().0).for_each(|(o, b)| *o = f32::from_le_bytes(*b)),
        }
    }
}

/// Whole numbers in the storage of a type of 4 or 8 bits.
#[derive(Debug, Default)]
struct Packed {
    bytes: Vec<u8>,
    len: usize,
}

impl Packed {
    fn push(&mut self, code: f32, bits: usize) {
        let byte = code as i32 as u8;
        match self.bytes.last_mut() {
            Some(last) if bits == 4 && self.len % 2 == 1 => *last |= byte << 4,
            _ => self.bytes.push(byte),
        }
        self.len += 1;
    }
}

/// Codes of a matrix under construction, row by row.
#[derive(Debug)]
pub struct Sheet {
    scheme: Scheme,
    dtype: DType,
    k: usize,
    n: usize,
    /// Weights of a row that share a grid.
    pub block: usize,
    /// Blocks have minima instead of zero points.
    minima: bool,
    codes: Packed,
    zeros: Packed,
    scales: Vec<u8>,
    offsets: Vec<u8>,
    error: Error,
}

impl Sheet {
    /// For rows of `k` weights.
    pub fn new(k: usize, scheme: &Scheme) -> Self {
        let dtype = match (scheme.bits, scheme.asymmetric) {
            (8, false) => DType::I8,
            (5..=8, _) => DType::U8,
            _ => DType::U4,
        };
        Self {
            scheme: *scheme,
            dtype,
            k,
            n: 0,
            block: scheme.block(k),
            minima: false,
            codes: Packed::default(),
            zeros: Packed::default(),
            scales: vec![],
            offsets: vec![],
            error: Error::default(),
        }
    }
    /// With room for so many rows: of a large matrix no second copy is made while it grows.
    pub fn with_room(mut self, rows: usize) -> Self {
        self.codes.bytes.reserve_exact((rows * self.k * self.dtype.bits()).div_ceil(8));
        self.scales.reserve_exact(2 * rows * self.k.div_ceil(self.block.max(1)));
        self
    }
    /// Blocks will have minima, not zero points.
    pub fn with_minima(self) -> Self {
        Self { minima: true, ..self }
    }
    /// The next row: its grids, its codes, and the weights that they stand for.
    pub fn row(&mut self, grids: &[Grid], codes: &[f32], weights: &[f32]) {
        let bits = self.dtype.bits();
        for (g, (c, w)) in grids.iter().zip(codes.chunks(self.block).zip(weights.chunks(self.block))) {
            self.scales.extend(f16::from_f32(g.scale).to_le_bytes());
            self.zeros.push(g.zero, bits);
            self.offsets.extend(f16::from_f32(g.minimum).to_le_bytes());
            for (&c, &w) in c.iter().zip(w) {
                self.codes.push(c, bits);
                self.error.count(w, g.value(c));
            }
        }
        self.n += 1;
    }
    /// The matrix.
    pub fn finish(self) -> Result<Codes> {
        let s = &self.scheme;
        let (n, k, blocks) = (self.n, self.k, self.k.div_ceil(self.block));
        let zero = s.asymmetric && !self.minima;
        let zero =
            zero.then(|| Tensor::from_bytes(self.dtype, vec![n, blocks], self.zeros.bytes)).transpose()?;
        let minimum = || Tensor::from_bytes(DType::F16, vec![n, blocks], self.offsets);
        let minimum = self.minima.then(minimum).transpose()?;
        let symmetric = !s.asymmetric && !self.minima && s.bits != 8 && !s.float;
        Ok(Codes {
            codes: Tensor::from_bytes(self.dtype, vec![n, k], self.codes.bytes)?,
            middle: if symmetric { 1 << (s.bits - 1) } else { 0 },
            float: s.float,
            scale: Tensor::from_bytes(DType::F16, vec![n, blocks], self.scales)?,
            zero,
            minimum,
            block: self.block,
            error: self.error,
        })
    }
}
