//! Conversions between stored elements and the evaluator's f64 / i64 view, for every element type.

use crate::{DType, Diag, Result, Tensor};
use half::{bf16, f16};

/// How an 8-bit (or smaller) float format encodes values.
struct MiniFloat {
    exp_bits: u32,
    man_bits: u32,
    bias: i32,
    /// Has an infinity (IEEE-like top exponent).
    inf: bool,
    /// `FNUZ`: negative zero is the only NaN.
    nuz: bool,
    /// Has a NaN at all.
    nan: bool,
}

fn mini(dtype: DType) -> Option<MiniFloat> {
    let m =
        |exp_bits, man_bits, bias, inf, nuz, nan| Some(MiniFloat { exp_bits, man_bits, bias, inf, nuz, nan });
    match dtype {
        DType::F8E4M3FN => m(4, 3, 7, false, false, true),
        DType::F8E4M3FNUZ => m(4, 3, 8, false, true, true),
        DType::F8E5M2 => m(5, 2, 15, true, false, true),
        DType::F8E5M2FNUZ => m(5, 2, 16, false, true, true),
        DType::F4E2M1 => m(2, 1, 1, false, false, false),
        _ => None,
    }
}

impl MiniFloat {
    fn decode(&self, bits: u8) -> f64 {
        let (e, m) = (self.exp_bits, self.man_bits);
        let sign = if bits >> (e + m) & 1 == 1 { -1.0 } else { 1.0 };
        let exp = i32::from(bits >> m & ((1 << e) - 1) as u8);
        let man = f64::from(bits & ((1 << m) - 1) as u8);
        let top = (1 << e) - 1;
        if self.nuz {
            if bits == 1 << (e + m) {
                return f64::NAN;
            }
        } else if self.inf && exp == top {
            return if man == 0.0 { sign * f64::INFINITY } else { f64::NAN };
        } else if self.nan && exp == top && bits & ((1 << m) - 1) as u8 == ((1 << m) - 1) as u8 {
            return f64::NAN;
        }
        let scale = f64::from(1u32 << m);
        let magnitude = if exp == 0 {
            man / scale * 2f64.powi(1 - self.bias)
        } else {
            (1.0 + man / scale) * 2f64.powi(exp - self.bias)
        };
        sign * magnitude
    }
    fn max_code(&self) -> u8 {
        let all = ((1u32 << (self.exp_bits + self.man_bits)) - 1) as u8;
        if self.inf {
            all - (1 << self.man_bits)
        } else if self.nan && !self.nuz {
            all - 1
        } else {
            all
        }
    }
    /// Nearest even; beyond the largest finite value: clamps when saturating, else infinity or NaN.
    fn encode(&self, v: f64, saturate: bool) -> u8 {
        let sign_bit = 1u8 << (self.exp_bits + self.man_bits);
        let sign = if v.is_sign_negative() { sign_bit } else { 0 };
        let max = self.max_code();
        let nan = if self.nuz { sign_bit } else { sign | (sign_bit - 1) };
        if v.is_nan() {
            // Without a NaN the value becomes negative zero (ml_dtypes).
            return if self.nan { nan } else { sign_bit };
        }
        let over = |sign: u8| match (saturate || !self.nan, self.inf) {
            (true, _) => sign | max,
            (false, true) => sign | (max + 1),
            (false, false) => nan,
        };
        let a = v.abs();
        if a.is_infinite() {
            return over(sign);
        }
        // Codes of non-negative values are ordered like the values.
        let exp = if a == 0.0 { 1 - self.bias } else { (a.log2().floor() as i32).max(1 - self.bias) };
        let exp = if a < 2f64.powi(exp) && exp > 1 - self.bias { exp - 1 } else { exp };
        let unit = 2f64.powi(exp - self.man_bits as i32);
        let q = (a / unit).round_ties_even();
        let code = if q == 0.0 {
            0
        } else {
            let base = ((exp + self.bias - 1) as f64) * f64::from(1u32 << self.man_bits);
            (base + q) as u32
        };
        if code > u32::from(max) {
            return over(sign);
        }
        if self.nuz && code == 0 {
            return 0;
        }
        sign | code as u8
    }
}

fn decode_e8m0(b: u8) -> f64 {
    if b == 255 { f64::NAN } else { 2f64.powi(i32::from(b) - 127) }
}

/// Power of two by rounding up, as ONNX's default for float8e8m0.
fn encode_e8m0(v: f64, saturate: bool) -> u8 {
    if v.is_nan() || (v.is_infinite() && !saturate) {
        return 255;
    }
    if v.is_infinite() {
        return 254;
    }
    let a = v.abs();
    if a < 2f64.powi(-127) {
        return 0;
    }
    let floor = a.log2().floor();
    let e = if a > 2f64.powf(floor) { floor + 1.0 } else { floor } + 127.0;
    if e > 254.0 { if saturate { 254 } else { 255 } } else { e.max(0.0) as u8 }
}

fn sub_byte(bytes: &[u8], bits: usize, i: usize) -> u8 {
    let per = 8 / bits;
    bytes[i / per] >> (i % per * bits) & ((1u16 << bits) - 1) as u8
}

fn sign_extend(v: u8, bits: usize) -> i64 {
    let shift = 64 - bits;
    (i64::from(v) << shift) >> shift
}

/// Appends elements of a dtype to packed storage.
struct Packer {
    out: Vec<u8>,
    bits: usize,
    n: usize,
}

impl Packer {
    fn new(dtype: DType, n: usize) -> Self {
        Self { out: Vec::with_capacity(dtype.bytes_for(n).unwrap_or(0)), bits: dtype.bits(), n: 0 }
    }
    fn push_small(&mut self, v: u8) {
        let per = 8 / self.bits;
        let v = v & ((1u16 << self.bits) - 1) as u8;
        match self.out.last_mut() {
            Some(last) if !self.n.is_multiple_of(per) => *last |= v << (self.n % per * self.bits),
            _ => self.out.push(v),
        }
        self.n += 1;
    }
}

macro_rules! le {
    ($bytes:expr, $t:ty) => {
        $bytes.chunks_exact(size_of::<$t>()).map(|c| {
            let mut b = [0u8; size_of::<$t>()];
            b.copy_from_slice(c);
            <$t>::from_le_bytes(b)
        })
    };
}

impl Tensor {
    /// All elements as f64 (bool as 0/1; 64-bit integers may round). Complex and strings are refused.
    pub fn to_f64(&self) -> Result<Vec<f64>> {
        use DType::*;
        let b = self.bytes();
        let n = self.len();
        Ok(match self.dtype() {
            F32 => le!(b, f32).map(f64::from).collect(),
            F64 => le!(b, f64).collect(),
            F16 => le!(b, u16).map(|v| f16::from_bits(v).to_f64()).collect(),
            BF16 => le!(b, u16).map(|v| bf16::from_bits(v).to_f64()).collect(),
            F8E8M0 => b.iter().map(|&v| decode_e8m0(v)).collect(),
            F4E2M1 => mini(F4E2M1)
                .map(|m| (0..n).map(|i| m.decode(sub_byte(b, 4, i))).collect())
                .unwrap_or_default(),
            d if mini(d).is_some() => {
                mini(d).map(|m| b.iter().map(|&v| m.decode(v)).collect()).unwrap_or_default()
            }
            U64 => le!(b, u64).map(|v| v as f64).collect(),
            C64 | C128 | Str => {
                return Err(Diag::unsupported(format!("{} elements as real numbers", self.dtype())));
            }
            _ => self.to_i64()?.into_iter().map(|v| v as f64).collect(),
        })
    }
    /// All elements as f32.
    pub fn to_f32(&self) -> Result<Vec<f32>> {
        match self.dtype() {
            DType::F32 => Ok(le!(self.bytes(), f32).collect()),
            _ => Ok(self.to_f64()?.into_iter().map(|v| v as f32).collect()),
        }
    }
    /// All elements of an integer or bool tensor as i64 (u64 keeps its bits). Floats are refused.
    pub fn to_i64(&self) -> Result<Vec<i64>> {
        use DType::*;
        let b = self.bytes();
        let n = self.len();
        Ok(match self.dtype() {
            I64 => le!(b, i64).collect(),
            U64 => le!(b, u64).map(|v| v as i64).collect(),
            I32 => le!(b, i32).map(i64::from).collect(),
            U32 => le!(b, u32).map(i64::from).collect(),
            I16 => le!(b, i16).map(i64::from).collect(),
            U16 => le!(b, u16).map(i64::from).collect(),
            I8 => b.iter().map(|&v| i64::from(v as i8)).collect(),
            U8 => b.iter().map(|&v| i64::from(v)).collect(),
            Bool => b.iter().map(|&v| i64::from(v != 0)).collect(),
            I4 | I2 => {
                let bits = self.dtype().bits();
                (0..n).map(|i| sign_extend(sub_byte(b, bits, i), bits)).collect()
            }
            U4 | U2 => (0..n).map(|i| i64::from(sub_byte(b, self.dtype().bits(), i))).collect(),
            d => return Err(Diag::bug(format!("{d} elements read as integers"))),
        })
    }
    /// From f64 values: floats round to nearest even (8-bit floats clamp to the largest finite value), integers
    /// truncate and wrap, bool is `!= 0`.
    pub fn from_f64(dtype: DType, shape: Vec<usize>, values: &[f64]) -> Result<Self> {
        Self::from_f64_sat(dtype, shape, values, true)
    }
    /// [`Self::from_f64`] with a choice of what 8-bit floats do on overflow.
    pub fn from_f64_sat(dtype: DType, shape: Vec<usize>, values: &[f64], saturate: bool) -> Result<Self> {
        use DType::*;
        let mut p = Packer::new(dtype, values.len());
        match dtype {
            F32 => values.iter().for_each(|&v| p.out.extend((v as f32).to_le_bytes())),
            F64 => values.iter().for_each(|v| p.out.extend(v.to_le_bytes())),
            // Through f32, as all arithmetic on these types is done there.
            F16 => values.iter().for_each(|&v| p.out.extend(f16::from_f64(v).to_bits().to_le_bytes())),
            BF16 => values.iter().for_each(|&v| p.out.extend(bf16::from_f64(v).to_bits().to_le_bytes())),
            F8E8M0 => p.out.extend(values.iter().map(|&v| encode_e8m0(v, saturate))),
            F4E2M1 => {
                if let Some(m) = mini(F4E2M1) {
                    values.iter().for_each(|&v| p.push_small(m.encode(v, saturate)));
                }
            }
            C64 | C128 | Str => return Err(Diag::unsupported(format!("real numbers as {dtype}"))),
            d => match mini(d) {
                Some(m) => p.out.extend(values.iter().map(|&v| m.encode(v, saturate))),
                None => {
                    let ints: Vec<i64> = if d == Bool {
                        values.iter().map(|&v| i64::from(v != 0.0)).collect()
                    } else if d == U64 {
                        values.iter().map(|&v| if v < 0.0 { v as i64 } else { v as u64 as i64 }).collect()
                    } else {
                        values.iter().map(|&v| v as i64).collect()
                    };
                    return Self::from_i64(d, shape, &ints);
                }
            },
        }
        Self::from_bytes(dtype, shape, p.out)
    }
    /// From integers: wraps into integer types, bool is `!= 0`; floats round.
    pub fn from_i64(dtype: DType, shape: Vec<usize>, values: &[i64]) -> Result<Self> {
        use DType::*;
        let mut p = Packer::new(dtype, values.len());
        match dtype {
            I64 | U64 => values.iter().for_each(|v| p.out.extend(v.to_le_bytes())),
            I32 | U32 => values.iter().for_each(|&v| p.out.extend((v as i32).to_le_bytes())),
            I16 | U16 => values.iter().for_each(|&v| p.out.extend((v as i16).to_le_bytes())),
            I8 | U8 => p.out.extend(values.iter().map(|&v| v as u8)),
            Bool => p.out.extend(values.iter().map(|&v| u8::from(v != 0))),
            I4 | U4 | I2 | U2 => values.iter().for_each(|&v| p.push_small(v as u8)),
            d => {
                let f: Vec<f64> = values.iter().map(|&v| v as f64).collect();
                return Self::from_f64(d, shape, &f);
            }
        }
        Self::from_bytes(dtype, shape, p.out)
    }
    /// From f32 values, rounded or truncated as in [`Self::from_f64`].
    pub fn from_f32(dtype: DType, shape: Vec<usize>, values: &[f32]) -> Result<Self> {
        if dtype == DType::F32 {
            return Self::f32s(shape, values);
        }
        let f: Vec<f64> = values.iter().map(|&v| f64::from(v)).collect();
        Self::from_f64(dtype, shape, &f)
    }
    /// The single element of a one-element tensor as f64.
    pub fn scalar_f64(&self) -> Result<f64> {
        match self.to_f64()?.as_slice() {
            [v] => Ok(*v),
            _ => Err(Diag::input(format!("a scalar is needed, got {}{:?}", self.dtype(), self.shape()))),
        }
    }
    /// The single element of a one-element integer tensor.
    pub fn scalar_i64(&self) -> Result<i64> {
        match self.to_i64()?.as_slice() {
            [v] => Ok(*v),
            _ => Err(Diag::input(format!("a scalar is needed, got {}{:?}", self.dtype(), self.shape()))),
        }
    }
}

/// Row-major strides in elements.
pub fn strides(shape: &[usize]) -> Vec<usize> {
    let mut s = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        s[i - 1] = s[i] * shape[i];
    }
    s
}

/// Calls `f` with the linear offset of every index of `shape` in row-major order, under given strides.
pub fn for_each_offset(shape: &[usize], strides: &[isize], start: isize, f: &mut dyn FnMut(isize)) {
    match shape.split_first() {
        None => f(start),
        // Nothing inside: the dims in front may still be large.
        Some((_, rest)) if rest.contains(&0) => {}
        Some((&n, rest)) => {
            for i in 0..n {
                for_each_offset(rest, &strides[1..], start + i as isize * strides[0], f);
            }
        }
    }
}

/// Row-major offsets, for every element of `shape`, into a tensor of shape `from` broadcast to it.
pub fn broadcast_offsets(from: &[usize], shape: &[usize]) -> Vec<usize> {
    let own = strides(from);
    let lead = shape.len() - from.len();
    let steps: Vec<isize> = (0..shape.len())
        .map(|i| if i < lead || from[i - lead] == 1 { 0 } else { own[i - lead] as isize })
        .collect();
    let mut out = Vec::with_capacity(shape.iter().product());
    for_each_offset(shape, &steps, 0, &mut |o| out.push(o as usize));
    out
}

/// Numpy broadcast of concrete shapes.
pub fn broadcast_shape(a: &[usize], b: &[usize]) -> Result<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |s: &[usize], i: usize| (i + s.len()).checked_sub(rank).map_or(1, |j| s[j]);
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (x, y) if x == y => Ok(x),
            (1, y) => Ok(y),
            (x, 1) => Ok(x),
            _ => Err(Diag::input(format!("shapes {a:?} and {b:?} do not broadcast"))),
        })
        .collect()
}

impl Tensor {
    /// Elements picked by linear index, under a new shape. Works for every element type.
    pub fn pick(&self, shape: Vec<usize>, indices: &[usize]) -> Result<Tensor> {
        if self.dtype() == DType::Str {
            return Tensor::from_strings(shape, indices.iter().map(|&i| self.strings()[i].clone()).collect());
        }
        crate::tensor::storage_bytes(self.dtype(), &shape)?;
        let (b, bits) = (self.bytes(), self.dtype().bits());
        let mut p = Packer::new(self.dtype(), indices.len());
        match bits / 8 {
            0 => indices.iter().for_each(|&i| p.push_small(sub_byte(b, bits, i))),
            1 => p.out.extend(indices.iter().map(|&i| b[i])),
            4 => indices.iter().for_each(|&i| p.out.extend_from_slice(&b[i * 4..i * 4 + 4])),
            w => indices.iter().for_each(|&i| p.out.extend_from_slice(&b[i * w..i * w + w])),
        }
        Tensor::from_bytes(self.dtype(), shape, p.out)
    }
    /// Elements picked from several tensors of one dtype: `(tensor, index)`.
    pub fn pick_many(from: &[&Tensor], shape: Vec<usize>, indices: &[(usize, usize)]) -> Result<Tensor> {
        let dtype = from.first().map(|t| t.dtype()).ok_or_else(|| Diag::bug("pick_many of nothing"))?;
        if dtype == DType::Str {
            let s = indices.iter().map(|&(t, i)| from[t].strings()[i].clone()).collect();
            return Tensor::from_strings(shape, s);
        }
        crate::tensor::storage_bytes(dtype, &shape)?;
        let bits = dtype.bits();
        let mut p = Packer::new(dtype, indices.len());
        for &(t, i) in indices {
            let b = from[t].bytes();
            match bits / 8 {
                0 => p.push_small(sub_byte(b, bits, i)),
                w => p.out.extend_from_slice(&b[i * w..i * w + w]),
            }
        }
        Tensor::from_bytes(dtype, shape, p.out)
    }
}

/// `v` normalised into an axis of `n`: negative counts from the end.
pub fn index(v: i64, n: usize) -> Result<usize> {
    let w = if v < 0 { v + n as i64 } else { v };
    usize::try_from(w)
        .ok()
        .filter(|&w| w < n)
        .ok_or_else(|| Diag::input(format!("index {v} is outside an axis of {n}")))
}
