//! Round to nearest: every block of weights by itself, without data.
//!
//! Symmetric codes of 4 bits use their whole range: the weight that is largest in size becomes the lowest code, whatever
//! its sign, so that scales may be negative. Codes of 8 bits stay in -127..=127. Asymmetric blocks hold 0 exactly.
//! Scales are rounded to f16 first, codes follow from what is stored.

use super::{Codes, Error, Scheme};
use half::{bf16, f16};
use sinter_ir::{DType, Diag, Result, Tensor};

/// Factors of the scale that a search tries: from 1 down in steps of a hundredth.
const TRIES: u32 = 50;

/// Scale and zero point of a block, on which codes `0..=top` lie.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Grid {
    scale: f32,
    zero: f32,
    low: f32,
    top: f32,
}

impl Grid {
    fn code(&self, w: f32) -> f32 {
        // Not a number becomes the zero point.
        let c = (w / self.scale).round_ties_even() + self.zero;
        if c.is_nan() { self.zero } else { c.clamp(self.low, self.top) }
    }
    fn value(&self, code: f32) -> f32 {
        self.scale * (code - self.zero)
    }
    fn noise(&self, block: &[f32]) -> f64 {
        let off = |w: &f32| f64::from(*w) - f64::from(self.value(self.code(*w)));
        block.iter().map(|w| off(w) * off(w)).sum()
    }
}

/// The scale as it is stored; never zero, infinite or too small to divide by.
fn stored(scale: f32) -> f32 {
    const LEAST: f32 = 6.2e-5;
    let s = f16::from_f32(scale.clamp(-65504.0, 65504.0)).to_f32();
    if s.abs() < LEAST { if scale < 0.0 { -LEAST } else { LEAST } } else { s }
}

/// The grid of a block whose range is shrunk by a factor.
fn grid(block: &[f32], s: &Scheme, shrink: f32) -> Grid {
    let finite = || block.iter().copied().filter(|w| w.is_finite());
    let half = (1u32 << (s.bits - 1)) as f32;
    let top = 2.0 * half - 1.0;
    let largest = finite().fold(0f32, |m, w| if w.abs() > m.abs() { w } else { m }) * shrink;
    if s.asymmetric {
        let (lo, hi) = finite().fold((0f32, 0f32), |(lo, hi), w| (lo.min(w), hi.max(w)));
        let scale = stored((hi - lo) * shrink / top);
        let zero = (-lo * shrink / scale).round_ties_even().clamp(0.0, top);
        return Grid { scale, zero, low: 0.0, top };
    }
    match s.bits {
        8 => Grid { scale: stored(largest.abs() / 127.0), zero: 0.0, low: -127.0, top: 127.0 },
        _ => Grid { scale: stored(largest / -half), zero: half, low: 0.0, top },
    }
}

/// The grid with the least squared error among those tried.
fn best(block: &[f32], s: &Scheme) -> Grid {
    let first = grid(block, s, 1.0);
    let tries = if s.search { TRIES } else { 0 };
    let all = (1..=tries).map(|i| grid(block, s, 1.0 - 0.01 * i as f32));
    let start = (if tries > 0 { first.noise(block) } else { 0.0 }, first);
    all.fold(start, |(least, kept), g| {
        let noise = g.noise(block);
        if noise < least { (noise, g) } else { (least, kept) }
    })
    .1
}

/// Element type of codes, and of zero points.
fn code_type(s: &Scheme) -> DType {
    match (s.bits, s.asymmetric) {
        (8, false) => DType::I8,
        (8, true) => DType::U8,
        _ => DType::U4,
    }
}

/// A row of weights as f32.
fn row(dtype: DType, bytes: &[u8], out: &mut [f32]) {
    match dtype {
        DType::F16 => {
            out.iter_mut().zip(bytes.as_chunks().0).for_each(|(o, b)| *o = f16::from_le_bytes(*b).to_f32());
        }
        DType::BF16 => {
            out.iter_mut().zip(bytes.as_chunks().0).for_each(|(o, b)| *o = bf16::from_le_bytes(*b).to_f32());
        }
        _ => out.iter_mut().zip(bytes.as_chunks().0).for_each(|(o, b)| *o = f32::from_le_bytes(*b)),
    }
}

/// Whole numbers in the storage of a type of 4 or 8 bits.
#[derive(Default)]
struct Packed {
    bytes: Vec<u8>,
    len: usize,
}

impl Packed {
    fn push(&mut self, code: f32, bits: u32) {
        let byte = code as i32 as u8;
        match self.bytes.last_mut() {
            Some(last) if bits == 4 && self.len % 2 == 1 => *last |= byte << 4,
            _ => self.bytes.push(byte),
        }
        self.len += 1;
    }
}

/// Codes of a matrix `[n, k]` of f32, f16 or bf16.
pub fn quantise(w: &Tensor, s: &Scheme) -> Result<Codes> {
    let &[n, k] = w.shape() else { return Err(Diag::bug("only matrices become codes")) };
    if !matches!(w.dtype(), DType::F32 | DType::F16 | DType::BF16) || w.is_deferred() {
        return Err(Diag::bug(format!("codes of {}{:?}", w.dtype(), w.shape())));
    }
    let block = if s.group == 0 { k.max(1) } else { s.group.min(k.max(1)) };
    let blocks = k.div_ceil(block);
    let (mut codes, mut zeros, mut scales) = (Packed::default(), Packed::default(), Vec::new());
    codes.bytes.reserve(n * k * s.bits as usize / 8 + 1);
    let mut error = Error::default();
    let mut values = vec![0f32; k];
    let size = w.dtype().bits() / 8;
    for bytes in w.bytes().chunks_exact((k * size).max(1)) {
        row(w.dtype(), bytes, &mut values);
        for part in values.chunks(block) {
            let g = best(part, s);
            scales.extend(f16::from_f32(g.scale).to_le_bytes());
            zeros.push(g.zero, s.bits);
            for &w in part {
                let code = g.code(w);
                codes.push(code, s.bits);
                error.count(w, g.value(code));
            }
        }
    }
    let dtype = code_type(s);
    let zero = s.asymmetric.then(|| Tensor::from_bytes(dtype, vec![n, blocks], zeros.bytes)).transpose()?;
    let middle = if s.asymmetric || s.bits == 8 { 0 } else { 1 << (s.bits - 1) };
    Ok(Codes {
        codes: Tensor::from_bytes(dtype, vec![n, k], codes.bytes)?,
        middle,
        scale: Tensor::from_bytes(DType::F16, vec![n, blocks], scales)?,
        zero,
        block,
        error,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// What the codes stand for, by the formula.
    fn values(c: &Codes) -> Vec<f32> {
        let (codes, scale) = (c.codes.to_i64().unwrap(), c.scale.to_f32().unwrap());
        let zero = c.zero.as_ref().map(|z| z.to_i64().unwrap());
        let (k, blocks) = (c.codes.shape()[1], c.scale.shape()[1]);
        let at = |i: usize| i / k * blocks + i % k / c.block;
        let one = |(i, q): (usize, &i64)| {
            let zero = zero.as_ref().map_or(c.middle, |z| z[at(i)]);
            scale[at(i)] * (q - zero) as f32
        };
        codes.iter().enumerate().map(one).collect()
    }

    /// Numbers that look like weights.
    fn weights(n: usize, k: usize) -> Tensor {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1 << 24) as f32 - 0.5
        };
        let v: Vec<f32> = (0..n * k).map(|_| next() + next() + next() * next()).collect();
        Tensor::f32s(vec![n, k], &v).unwrap()
    }

    fn scheme(bits: u32, group: usize, asymmetric: bool, search: bool) -> Scheme {
        Scheme { bits, group, asymmetric, search }
    }

    #[test]
    fn a_block_by_hand() {
        // The largest in size becomes code 0: the scale is 0.875 / -8 ... exact in f16.
        let w = Tensor::f32s(vec![1, 4], &[0.875, -0.4375, 0.0, 0.21875]).unwrap();
        let c = quantise(&w, &scheme(4, 0, false, false)).unwrap();
        assert_eq!(c.scale.to_f32().unwrap(), [-0.109375]);
        assert_eq!(c.codes.to_i64().unwrap(), [0, 12, 8, 6]);
        assert_eq!(values(&c), w.to_f32().unwrap());
        assert_eq!(c.error.noise, 0.0);
        let w = Tensor::f32s(vec![1, 3], &[1.5, -0.375, 0.75]).unwrap();
        let c = quantise(&w, &scheme(4, 0, true, false)).unwrap();
        assert_eq!(c.zero.as_ref().unwrap().to_i64().unwrap(), [3]);
        assert_eq!(values(&c), w.to_f32().unwrap());
    }

    #[test]
    fn no_weight_is_off_by_more_than_half_a_step() {
        let w = weights(7, 50);
        for s in [
            scheme(4, 32, false, false),
            scheme(4, 16, true, false),
            scheme(8, 0, false, false),
            scheme(8, 32, true, false),
        ] {
            let c = quantise(&w, &s).unwrap();
            let (scale, blocks) = (c.scale.to_f32().unwrap(), c.scale.shape()[1]);
            let got = values(&c);
            let mut noise = 0.0;
            for (i, (g, w)) in got.iter().zip(w.to_f32().unwrap()).enumerate() {
                let step = scale[i / 50 * blocks + i % 50 / c.block].abs();
                // The end of a symmetric range that has one code less is clipped by up to a step.
                let most = if s.bits == 4 && !s.asymmetric { 1.01 } else { 0.51 };
                assert!((g - w).abs() <= most * step, "{s}: {g} for {w}, step {step}");
                noise += f64::from(g - w).powi(2);
            }
            assert!((noise - c.error.noise).abs() <= 1e-6 * noise, "{s}");
        }
    }

    #[test]
    fn searching_small_groups_and_more_bits_are_never_worse() {
        let w = weights(16, 256);
        let db = |s: Scheme| quantise(&w, &s).unwrap().error.decibels();
        let plain = db(scheme(4, 128, false, false));
        assert!(db(scheme(4, 128, false, true)) >= plain);
        assert!(db(scheme(4, 32, false, false)) > plain);
        assert!(db(scheme(8, 128, false, false)) > plain + 20.0);
        assert!(db(scheme(4, 32, true, true)) >= db(scheme(4, 32, true, false)));
    }

    #[test]
    fn odd_sizes_halves_and_what_is_no_number() {
        let w = weights(3, 5);
        let c = quantise(&w, &scheme(4, 32, false, false)).unwrap();
        assert_eq!((c.codes.shape(), c.scale.shape(), c.block), (&[3, 5][..], &[3, 1][..], 5));
        let half = Tensor::from_f32(DType::BF16, vec![3, 5], &w.to_f32().unwrap()).unwrap();
        let c = quantise(&half, &scheme(8, 32, false, false)).unwrap();
        assert!(c.error.decibels() > 35.0);
        let odd = Tensor::f32s(vec![2, 2], &[f32::NAN, f32::INFINITY, 0.0, 0.0]).unwrap();
        let got = values(&quantise(&odd, &scheme(4, 0, false, false)).unwrap());
        assert!(got.iter().all(|v| v.is_finite()) && got[2..] == [0.0, 0.0], "{got:?}");
        assert!(
            quantise(&Tensor::zeros(DType::F32, vec![0, 4]).unwrap(), &scheme(4, 32, true, true)).is_ok()
        );
    }
}
