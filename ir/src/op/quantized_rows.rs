//! `QuantizedRows`: rows of a matrix in blocks of small codes.

use super::quantized_matmul::{Activations, Offset};
use super::{OpSpec, QuantizedMatMul};
use crate::eval::EvalCx;
use crate::numeric::index;
use crate::{DType, Diag, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// rows of a matrix in blocks of small codes, as floats.
///
/// Inputs: `[indices: i32|i64, codes: [n, k], scale: [n, blocks]]` and an offset, all but the first as those of
/// [`QuantizedMatMul`], which also says what codes stand for. The result is `y[i.., k] = weight[indices[i..], k]`, f32.
/// Negative indices count from the end; outside is a run-time error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuantizedRows {
    /// Weights of a row that share a scale.
    pub block: usize,
    /// What is added to the weights of a block.
    pub offset: Offset,
    /// Subtracted from every code; 0 with a table.
    pub middle: i64,
    /// What the codes stand for; empty: themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "super::json_float")]
    pub table: Vec<f32>,
}

impl QuantizedRows {
    /// The product with the same matrix.
    pub fn product(&self, activations: Activations) -> QuantizedMatMul {
        let Self { block, offset, middle, table } = self.clone();
        QuantizedMatMul { block, activations, offset, middle, table, nibbles: None }
    }
}

impl OpSpec for QuantizedRows {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let bad = || {
            let types: Vec<String> = x.iter().map(|t| s.show_type(t)).collect();
            Diag::input(format!("QuantizedRows of {}", types.join(", ")))
        };
        let [indices, codes, ..] = x else { return Err(bad()) };
        if !matches!(indices.dtype, DType::I32 | DType::I64) || codes.rank() != 2 {
            return Err(bad());
        }
        let row = TensorType::new(DType::F32, vec![1.into(), codes.dims[1].clone()]);
        let operands: Vec<&TensorType> = [&row].into_iter().chain(x[1..].iter().copied()).collect();
        self.product(Activations::Float).infer(s, &operands)?;
        let dims = [indices.dims.as_slice(), &codes.dims[1..]].concat();
        Ok(vec![TensorType::new(DType::F32, dims)])
    }

    fn eval(&self, _: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let types: Vec<TensorType> = x.iter().map(TensorType::of).collect();
        self.infer(&mut Symbols::default(), &types.iter().collect::<Vec<_>>())?;
        let (&[n, k], indices) = (x[1].shape(), x[0].to_i64()?) else {
            return Err(Diag::bug("ranks were checked"));
        };
        let product = self.product(Activations::Float);
        let (codes, scale) = (x[1].to_i64()?, x[2].to_f32()?);
        let offset = x.get(3).map(Tensor::to_f32).transpose()?;
        let mut y = Vec::with_capacity(indices.len().saturating_mul(k));
        for i in indices {
            let row = index(i, n)?;
            for p in 0..k {
                let at = row * product.blocks(k) + p / self.block;
                let v = product.value(codes[row * k + p])?;
                y.push(match (&offset, self.offset) {
                    (Some(o), Offset::Zero) => scale[at] * (v - o[at]),
                    (Some(o), Offset::Minimum) => scale[at].mul_add(v, o[at]),
                    _ => scale[at] * v,
                });
            }
        }
        let shape = [x[0].shape(), &[k]].concat();
        Ok(vec![Tensor::f32s(shape, &y)?])
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn op(offset: Offset, middle: i64) -> QuantizedRows {
        QuantizedRows { block: 2, offset, middle, table: vec![] }
    }

    fn run(op: &QuantizedRows, more: Option<Tensor>) -> Result<Vec<f32>> {
        let mut x = vec![
            Tensor::i64s(&[1, -2, -1]),
            Tensor::from_i64(DType::U4, vec![2, 3], &[0, 1, 2, 13, 14, 15]).unwrap(),
            Tensor::f32s(vec![2, 2], &[1.0, 2.0, 0.5, -1.0]).unwrap(),
        ];
        x.extend(more);
        op.eval(&mut EvalCx::default(), &x)?[0].to_f32()
    }

    #[test]
    fn rows_from_either_end() {
        let second = [2.5, 3.0, -7.0];
        let want = [second.as_slice(), &[-8.0, -7.0, -12.0], &second].concat();
        assert_eq!(run(&op(Offset::None, 8), None).unwrap(), want);
        let zero = Tensor::from_i64(DType::I8, vec![2, 2], &[8; 4]).unwrap();
        assert_eq!(run(&op(Offset::Zero, 0), Some(zero)).unwrap(), want);
        let minimum = Tensor::f32s(vec![2, 2], &[-8.0, -16.0, -4.0, 8.0]).unwrap();
        assert_eq!(run(&op(Offset::Minimum, 0), Some(minimum)).unwrap(), want);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(run(&op(Offset::Zero, 0), None).unwrap_err().message.contains("4 operands"));
        let mut s = Symbols::default();
        let ty = |d: DType, dims: &[i64]| TensorType::new(d, dims.iter().map(|&d| d.into()).collect());
        let types = [ty(DType::F32, &[2]), ty(DType::U4, &[2, 4]), ty(DType::F16, &[2, 2])];
        let refused = op(Offset::None, 0).infer(&mut s, &types.iter().collect::<Vec<_>>());
        assert!(refused.unwrap_err().message.contains("QuantizedRows"));
        let types = [ty(DType::I32, &[5, 2]), ty(DType::U4, &[2, 4]), ty(DType::F16, &[2, 2])];
        let y = op(Offset::None, 0).infer(&mut s, &types.iter().collect::<Vec<_>>()).unwrap();
        assert_eq!(y, [ty(DType::F32, &[5, 2, 4])]);
    }
}
