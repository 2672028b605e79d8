//! `QuantizedMatMul`: matrix product with weights in blocks of small codes.

use super::OpSpec;
use crate::eval::EvalCx;
use crate::{DType, Diag, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// matrix product with weights in blocks of small codes, one row of weights per column of the result.
///
/// Inputs: `[a: f32[.., m, k], codes: [n, k], scale: [n, blocks]]` and, as [`QuantizedMatMul::offset`] says,
/// `zero: [n, blocks]` or `minimum: [n, blocks]`; `blocks = ceil(k / block)`, the last block may be short. Codes are
/// integers of at most 8 bits, scales and minima f16, bf16 or f32, zero points integers of at most 8 bits.
///
/// A code stands for `v = code - middle`, or for `table[code]` where there is a table. A weight is `scale * v`,
/// `scale * (v - zero)` or `scale * v + minimum`. The result is `y[i, j] = Σ_k a[i, k] * weight[j, k]`, f32, summed in
/// an order and with roundings that are left open, where activations are floats. Else they are rounded to bytes with
/// one scale for each row or for each block of a row:
///
/// ```text
/// largest = max |a|,  s = largest / 127,  c = round_half_even(a * (127 / largest))    (c = 0 where largest is 0)
/// dot = Σ_k c[k] * (v[k] - zero), sum = Σ_k c[k]        exact integers, one of each per block
/// y = s * Σ_blocks (scale * dot + minimum * sum)         per row
/// y =     Σ_blocks s * (scale * dot + minimum * sum)     per block
/// ```
///
/// in f32, one block after the other; products and sums may be rounded together. Rows with infinities or NaN give no
/// finite results. Where activations are [`Activations::Coarse`], weights may be rounded too. With [`QuantizedMatMul::nibbles`], codes are 16 neighbouring whole numbers, 0 among them:
///
/// ```text
/// low = nibbles * min(0, a), high = nibbles * max(0, a),  s = (high - low) / 15,  up = 15 / (high - low)
/// first = -round_half_even(-low * up),  c = clamp(round_half_even(a * up), first, first + 15)    (c = 0 where s is 0)
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuantizedMatMul {
    /// Weights of a row that share a scale.
    pub block: usize,
    /// What activations are in the product.
    pub activations: Activations,
    /// What is added to the weights of a block.
    pub offset: Offset,
    /// Subtracted from every code; 0 with a table.
    pub middle: i64,
    /// What the codes stand for; empty: themselves. Whole numbers in -127..=127 where activations are bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "super::json_float")]
    pub table: Vec<f32>,
    /// Rounded activations take 4 bits: what the range that their codes span is multiplied by. They are computed with as
    /// bytes: no processor that is known here multiplies nibbles faster.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "super::json_float")]
    pub nibbles: Option<f32>,
}

/// What activations are in a product with quantised weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activations {
    /// As they are.
    Float,
    /// Bytes with one scale per row.
    Rows,
    /// Bytes with one scale per block of a row.
    Blocks,
    /// The same, or a little worse where that is faster: scales may be those of 128 neighbours, and weights may be
    /// rounded to bytes with one scale for each of their rows, which makes 127 of its largest weight.
    Coarse,
}

impl Activations {
    /// Whether they are bytes with one scale per block, or may be.
    pub fn per_block(self) -> bool {
        matches!(self, Activations::Blocks | Activations::Coarse)
    }
}

/// What is added to the weights of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Offset {
    /// Nothing.
    None,
    /// An operand of whole numbers, subtracted before scaling.
    Zero,
    /// An operand of floats, added after scaling.
    Minimum,
}

/// Blocks up to which sums of products of bytes fit 32 bits.
const MOST_EXACT: usize = 1 << 15;

impl QuantizedMatMul {
    /// Blocks in a row of `k` weights.
    pub fn blocks(&self, k: usize) -> usize {
        k.div_ceil(self.block.max(1))
    }
    /// What a code stands for.
    pub fn value(&self, code: i64) -> Result<f32> {
        if self.table.is_empty() {
            return Ok((code - self.middle) as f32);
        }
        let v = usize::try_from(code).ok().and_then(|i| self.table.get(i));
        v.copied().ok_or_else(|| Diag::input(format!("code {code} in a table of {}", self.table.len())))
    }

    fn check(&self, s: &Symbols, x: &[&TensorType]) -> Result<()> {
        let bad = |why: &str| {
            let types: Vec<String> = x.iter().map(|t| s.show_type(t)).collect();
            Err(Diag::input(format!("QuantizedMatMul of {}: {why}", types.join(", "))))
        };
        let bytes = |t: &TensorType| t.dtype.is_int() && t.dtype.bits() <= 8;
        let floats = |t: &TensorType| matches!(t.dtype, DType::F16 | DType::BF16 | DType::F32);
        let wanted = if self.offset == Offset::None { 3 } else { 4 };
        if x.len() != wanted {
            return bad(&format!("{wanted} operands are needed"));
        }
        if x[0].dtype != DType::F32 || x[0].rank() < 2 {
            return bad("activations are f32 matrices");
        }
        if !bytes(x[1]) || !floats(x[2]) || x[1..].iter().any(|t| t.rank() != 2) {
            return bad("weights are matrices of codes of at most 8 bits with a matrix of float scales");
        }
        if x.get(3).is_some_and(|t| !(if self.offset == Offset::Zero { bytes(t) } else { floats(t) })) {
            return bad("zero points are whole numbers of at most 8 bits, minima floats");
        }
        let exact = self.activations != Activations::Float;
        if self.block == 0 || exact && self.block > MOST_EXACT {
            return bad("the block is empty or too long");
        }
        if self.table.is_empty() && self.middle.abs() > 255 || !self.table.is_empty() && self.middle != 0 {
            return bad("codes have a middle within their range or a table");
        }
        let largest = x[1].dtype.int_range().map_or(0, |(_, hi)| hi);
        if self.table.len() > 256
            || self.table.len() as i128 > largest + 1
            || !self.table.is_empty() && x[1].dtype.is_signed_int()
        {
            return bad("a table has at most one entry per unsigned code");
        }
        if exact && self.table.iter().any(|v| v.fract() != 0.0 || v.abs() > 127.0 || v.is_nan()) {
            return bad("tables for bytes hold whole numbers in -127..=127");
        }
        if exact && !self.table.is_empty() && self.offset == Offset::Zero {
            return bad("tables have no zero points");
        }
        if self.nibbles.is_some_and(|c| !(exact && c > 0.0 && c <= 1.0)) {
            return bad("activations of 4 bits are rounded, in a part of their range");
        }
        Ok(())
    }
}

impl OpSpec for QuantizedMatMul {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        self.check(s, x)?;
        let (a, codes) = (x[0], x[1]);
        let r = a.rank();
        let why = "the terms of a QuantizedMatMul";
        s.require_eq(&a.dims[r - 1], &codes.dims[1], why)?;
        let blocks = codes.dims[1].ceil_div(&self.block.into());
        for t in &x[2..] {
            s.require_eq(&t.dims[0], &codes.dims[0], "the rows of quantised weights")?;
            s.require_eq(&t.dims[1], &blocks, "the blocks of quantised weights")?;
        }
        let mut dims = a.dims[..r - 1].to_vec();
        dims.push(codes.dims[0].clone());
        Ok(vec![TensorType::new(DType::F32, dims)])
    }

    fn eval(&self, _: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let types: Vec<TensorType> = x.iter().map(TensorType::of).collect();
        self.check(&Symbols::default(), &types.iter().collect::<Vec<_>>())?;
        let (&[n, k], Some((&terms, rows))) = (x[1].shape(), x[0].shape().split_last()) else {
            return Err(Diag::bug("ranks were checked"));
        };
        let blocks = self.blocks(k);
        if terms != k || x[2..].iter().any(|t| t.shape() != [n, blocks]) {
            return Err(Diag::input("operands of a QuantizedMatMul that do not fit"));
        }
        let codes = x[1].to_i64()?;
        let values = codes.into_iter().map(|c| self.value(c)).collect::<Result<Vec<f32>>>()?;
        let weights =
            Weights { values, scale: x[2].to_f32()?, offset: x.get(3).map(Tensor::to_f32).transpose()? };
        let shape = [rows, &[n]].concat();
        crate::tensor::storage_bytes(DType::F32, &shape)?;
        let mut y = Vec::with_capacity(shape.iter().product());
        if k == 0 {
            return Ok(vec![Tensor::zeros(DType::F32, shape)?]);
        }
        for row in x[0].to_f32()?.chunks(k) {
            let per = match self.activations {
                a if a.per_block() => self.block,
                _ => k,
            };
            let round = |a: &[f32]| self.nibbles.map_or_else(|| bytes(a), |clip| nibbles(a, clip));
            let (c, s): (Vec<f32>, Vec<f32>) = match self.activations {
                Activations::Float => (row.to_vec(), vec![1.0]),
                _ => {
                    let parts: Vec<(Vec<f32>, f32)> = row.chunks(per).map(round).collect();
                    (parts.iter().flat_map(|p| p.0.clone()).collect(), parts.iter().map(|p| p.1).collect())
                }
            };
            for j in 0..n {
                y.push(self.element(&weights, j, &c, &s));
            }
        }
        Ok(vec![Tensor::f32s(shape, &y)?])
    }
}

struct Weights {
    values: Vec<f32>,
    scale: Vec<f32>,
    offset: Option<Vec<f32>>,
}

/// Activations that share a scale as whole numbers, and the scale.
fn bytes(a: &[f32]) -> (Vec<f32>, f32) {
    // NaN stays: it makes the result NaN.
    let largest = a.iter().fold(0f32, |m, v| if v.is_nan() || v.abs() > m { v.abs() } else { m });
    let up = if largest == 0.0 { 0.0 } else { 127.0 / largest };
    // As codes: NaN has none.
    let code = |v: &f32| f32::from((v * up).round_ties_even() as i8);
    (a.iter().map(code).collect(), largest / 127.0)
}

/// The same in 16 codes.
fn nibbles(a: &[f32], clip: f32) -> (Vec<f32>, f32) {
    let pick = |better: fn(&f32, &f32) -> bool| {
        a.iter().fold(0f32, |m, v| if v.is_nan() || better(v, &m) { *v } else { m }) * clip
    };
    let range = pick(|v, m| v > m) - pick(|v, m| v < m);
    let up = if range == 0.0 { 0.0 } else { 15.0 / range };
    let first = -(-pick(|v, m| v < m) * up).round_ties_even();
    let code = |v: &f32| f32::from((v * up).round_ties_even().max(first).min(first + 15.0) as i8);
    (a.iter().map(code).collect(), range / 15.0)
}

impl QuantizedMatMul {
    /// One element of the result: row `j` of the weights with activations `c` and their scales.
    fn element(&self, w: &Weights, j: usize, c: &[f32], s: &[f32]) -> f32 {
        let (k, blocks) = (c.len(), self.blocks(c.len()));
        let row = &w.values[j * k..][..k];
        let mut y = 0f32;
        for (i, (c, v)) in c.chunks(self.block).zip(row.chunks(self.block)).enumerate() {
            let at = j * blocks + i;
            let offset = w.offset.as_ref().map_or(0.0, |o| o[at]);
            let (zero, minimum) = if self.offset == Offset::Zero { (offset, 0.0) } else { (0.0, offset) };
            let part = if self.activations == Activations::Float {
                c.iter().zip(v).fold(0.0, |sum, (c, v)| c.mul_add(w.scale[at] * (v - zero) + minimum, sum))
            } else {
                // Whole numbers: f64 holds them and their sums exactly.
                let dot: f64 = c.iter().zip(v).map(|(c, v)| f64::from(*c) * f64::from(v - zero)).sum();
                let sum: f64 = c.iter().map(|c| f64::from(*c)).sum();
                w.scale[at].mul_add(dot as f32, minimum * sum as f32)
            };
            y += if self.activations.per_block() { s[i] * part } else { part };
        }
        if self.activations == Activations::Rows { s[0] * y } else { y }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Expr;
    use crate::op::Op;

    fn op(block: usize, activations: Activations, offset: Offset) -> QuantizedMatMul {
        QuantizedMatMul { block, activations, offset, middle: 0, table: vec![], nibbles: None }
    }

    fn run(op: &QuantizedMatMul, x: &[Tensor]) -> Result<Vec<f32>> {
        let types: Vec<TensorType> = x.iter().map(TensorType::of).collect();
        let ty = op.infer(&mut Symbols::default(), &types.iter().collect::<Vec<_>>())?;
        let y = op.eval(&mut Default::default(), x)?.remove(0);
        assert_eq!(ty, [TensorType::of(&y)]);
        y.to_f32()
    }

    /// Two rows of activations; three rows of five weights in blocks of 2, 2 and 1.
    fn case(dtype: DType) -> Vec<Tensor> {
        let codes = [0, 1, 2, 3, 4, 15, 14, 13, 12, 11, 7, 8, 9, 7, 8];
        vec![
            Tensor::f32s(vec![2, 5], &[1.0, -2.0, 3.0, 0.5, 4.0, 0.0, 0.0, 0.0, 0.0, -127.0]).unwrap(),
            Tensor::from_i64(dtype, vec![3, 5], &codes).unwrap(),
            Tensor::f32s(vec![3, 3], &[1.0, 2.0, 0.5, -1.0, 0.25, 1.0, 1.0, 1.0, 3.0]).unwrap(),
        ]
    }

    #[test]
    fn floats_with_a_middle() {
        let o = QuantizedMatMul { middle: 8, ..op(2, Activations::Float, Offset::None) };
        let y = run(&o, &case(DType::U4)).unwrap();
        // -8 + 14, then 2 * (3 * -6 + 0.5 * -5), then 0.5 * 4 * -4.
        assert_eq!(y[0], 6.0 - 41.0 - 8.0);
        // -(7 - 12), then 0.25 * (15 + 2), then 4 * 3.
        assert_eq!(y[1], 5.0 + 4.25 + 12.0);
        assert_eq!(y[3], 254.0);
    }

    #[test]
    fn zero_points_and_minima_move_blocks() {
        let mut x = case(DType::U8);
        x.push(Tensor::from_i64(DType::U8, vec![3, 3], &[8; 9]).unwrap());
        let want =
            run(&QuantizedMatMul { middle: 8, ..op(2, Activations::Float, Offset::None) }, &x[..3]).unwrap();
        assert_eq!(run(&op(2, Activations::Float, Offset::Zero), &x).unwrap(), want);
        let scale = x[2].to_f32().unwrap();
        x[3] = Tensor::f32s(vec![3, 3], &scale.iter().map(|s| s * -8.0).collect::<Vec<_>>()).unwrap();
        assert_eq!(run(&op(2, Activations::Float, Offset::Minimum), &x).unwrap(), want);
    }

    #[test]
    fn bytes_of_activations_are_exact_where_they_fit() {
        // The second row is -127 in bytes of scale 1; the first is rounded.
        let mut x = case(DType::U4);
        for activations in [Activations::Rows, Activations::Blocks] {
            let y = run(&op(2, activations, Offset::None), &x).unwrap();
            assert_eq!(y[3..], [-127.0 * 2.0, -127.0 * 11.0, -127.0 * 24.0]);
        }
        x[0] = Tensor::f32s(vec![1, 5], &[127.0, 1.5, -0.5, 0.5, 2.5]).unwrap();
        let y = run(&op(5, Activations::Rows, Offset::None), &[&x[..2], &[ones(3)]].concat()).unwrap();
        // 1.5 and 2.5 go to 2, halves to 0.
        assert_eq!(y, [2.0 + 8.0, 127.0 * 15.0 + 28.0 + 22.0, 127.0 * 7.0 + 16.0 + 16.0]);
    }

    #[test]
    fn nibbles_of_activations() {
        let mut x = case(DType::U4);
        x[0] = Tensor::f32s(vec![1, 5], &[-5.0, 10.0, 0.4, 2.5, -1.5]).unwrap();
        let o = QuantizedMatMul { nibbles: Some(1.0), ..op(5, Activations::Rows, Offset::None) };
        let y = run(&o, &[&x[..2], &[ones(3)]].concat()).unwrap();
        // A step is 1: halves go to even numbers.
        assert_eq!(y[0], 10.0 + 2.0 * 3.0 - 2.0 * 4.0);
        let half = QuantizedMatMul { nibbles: Some(0.5), ..o.clone() };
        x[0] = Tensor::f32s(vec![1, 5], &[-5.0, 10.0, 0.5, 1.0, -1.5]).unwrap();
        // A step is 0.5, codes go from -5 to 10: 5 and -2.5 at the ends.
        let y = run(&half, &[&x[..2], &[ones(3)]].concat()).unwrap();
        assert_eq!(y[0], 5.0 + 2.0 * 0.5 + 3.0 - 4.0 * 1.5);
        x[0] = Tensor::f32s(vec![2, 5], &[0.0, 0.0, 0.0, 0.0, 0.0, 1.0, f32::NAN, 0.0, 0.0, 0.0]).unwrap();
        let y = run(&o, &[&x[..2], &[ones(3)]].concat()).unwrap();
        assert!(y[..3] == [0.0; 3] && y[3..].iter().all(|v| v.is_nan()));
    }

    fn ones(n: usize) -> Tensor {
        Tensor::f32s(vec![n, 1], &vec![1.0; n]).unwrap()
    }

    #[test]
    fn tables_and_signed_codes() {
        let mut x = case(DType::U4);
        let table: Vec<f32> = (0..16).map(|i| (i - 8) as f32).collect();
        let want = run(&QuantizedMatMul { middle: 8, ..op(2, Activations::Rows, Offset::None) }, &x).unwrap();
        let by_table = QuantizedMatMul { table, ..op(2, Activations::Rows, Offset::None) };
        assert_eq!(run(&by_table, &x).unwrap(), want);
        let codes: Vec<i64> = x[1].to_i64().unwrap().iter().map(|c| c - 8).collect();
        x[1] = Tensor::from_i64(DType::I4, vec![3, 5], &codes).unwrap();
        assert_eq!(run(&op(2, Activations::Rows, Offset::None), &x).unwrap(), want);
        let short = QuantizedMatMul { table: vec![1.0; 9], ..by_table };
        assert!(run(&short, &case(DType::U4)).unwrap_err().message.contains("table of 9"));
    }

    #[test]
    fn nothing_and_not_a_number() {
        let mut x = case(DType::U4);
        x[0] = Tensor::f32s(vec![2, 5], &[0.0, 0.0, 0.0, 0.0, 0.0, 1.0, f32::NAN, 0.0, 0.0, 0.0]).unwrap();
        let y = run(&op(2, Activations::Rows, Offset::None), &x).unwrap();
        assert_eq!(y[..3], [0.0; 3]);
        assert!(y[3..].iter().all(|v| v.is_nan()));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let refused = |o: &QuantizedMatMul, x: &[Tensor], why: &str| {
            let e = run(o, x).unwrap_err().message;
            assert!(e.contains(why), "{e}");
        };
        let (x, plain) = (case(DType::U4), op(2, Activations::Rows, Offset::None));
        refused(&plain, &x[..2], "3 operands");
        refused(&op(2, Activations::Rows, Offset::Zero), &x, "4 operands");
        refused(&op(4, Activations::Rows, Offset::None), &x, "blocks");
        refused(&QuantizedMatMul { table: vec![0.5], ..plain.clone() }, &x, "whole numbers");
        refused(&QuantizedMatMul { nibbles: Some(0.0), ..plain.clone() }, &x, "a part of their range");
        refused(&op(0, Activations::Float, Offset::None), &x, "block is empty");
        refused(&plain, &[x[1].clone(), x[1].clone(), x[2].clone()], "f32 matrices");
        refused(&op(2, Activations::Float, Offset::Minimum), &[&x[..], &x[1..2]].concat(), "minima floats");
    }

    #[test]
    fn open_rows_and_text_form() {
        let mut s = Symbols::default();
        let m: Expr = s.fresh("m", 1, 9, crate::graph::SymKind::Input).into();
        let types: Vec<TensorType> = case(DType::U4).iter().map(TensorType::of).collect();
        let a = TensorType::new(DType::F32, vec![1.into(), m.clone(), 5.into()]);
        let o = op(2, Activations::Blocks, Offset::None);
        let y = o.infer(&mut s, &[&a, &types[1], &types[2]]).unwrap();
        assert_eq!(y[0].dims, [1.into(), m, 3.into()]);
        let op = Op::from(o);
        assert_eq!(Op::from_attributes("QuantizedMatMul", op.attributes()).unwrap(), op);
    }
}
