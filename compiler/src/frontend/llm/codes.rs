//! Matrices that are stored as small codes, in the words of [`QuantizedMatMul`].

use sinter_ir::op::quantized_matmul::{Activations, Offset};
use sinter_ir::op::{QuantizedMatMul, QuantizedRows};
use sinter_ir::{DType, Diag, Result, Tensor};

/// How a matrix is stored: rows of codes, one row per output, with scales of blocks.
#[derive(Debug, Clone, PartialEq)]
pub struct Format {
    /// Outputs and terms, in front of them the number of experts where there are several.
    pub dims: Vec<usize>,
    /// Type of the codes.
    pub codes: DType,
    /// Weights of a row that share a scale.
    pub block: usize,
    /// What codes count from.
    pub middle: i64,
    /// What codes stand for; empty: themselves.
    pub table: Vec<f32>,
    /// Type of the scales.
    pub scale: DType,
    /// What is added to a block, and its type.
    pub offset: Option<(Offset, DType)>,
    /// Whether terms come in another order than activations.
    pub order: bool,
}

/// One of the tensors that a matrix in codes consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Codes, `[n, k]`.
    Codes,
    /// Scales, `[n, blocks]`.
    Scale,
    /// Zero points or minima, `[n, blocks]`.
    Offset,
    /// For every term the activation that belongs to it, `[k]`, i64.
    Order,
}

impl Format {
    /// Terms of a row.
    pub fn terms(&self) -> usize {
        self.dims.last().copied().unwrap_or(0)
    }
    /// Blocks of a row.
    pub fn blocks(&self) -> usize {
        self.terms().div_ceil(self.block.max(1))
    }
    /// Type and dims of a part.
    pub fn part(&self, part: Part) -> (DType, Vec<usize>) {
        let of_blocks = || {
            let mut dims = self.dims.clone();
            dims.pop();
            dims.push(self.blocks());
            dims
        };
        match part {
            Part::Codes => (self.codes, self.dims.clone()),
            Part::Scale => (self.scale, of_blocks()),
            Part::Offset => (self.offset.map_or(self.scale, |o| o.1), of_blocks()),
            Part::Order => (DType::I64, vec![self.terms()]),
        }
    }
    /// The product with such a matrix. Bytes of activations have scales of their own for every block of weights; a row
    /// of one block has one.
    pub fn product(&self, activations: Activations) -> QuantizedMatMul {
        let activations = match activations {
            Activations::Blocks if self.blocks() <= 1 => Activations::Rows,
            other => other,
        };
        QuantizedMatMul {
            block: self.block,
            activations,
            offset: self.offset.map_or(Offset::None, |o| o.0),
            middle: self.middle,
            table: self.table.clone(),
            nibbles: None,
        }
    }
    /// Rows of such a matrix.
    pub fn rows(&self) -> QuantizedRows {
        let offset = self.offset.map_or(Offset::None, |o| o.0);
        QuantizedRows { block: self.block, offset, middle: self.middle, table: self.table.clone() }
    }
    /// The weights of parts as floats, terms in the order of activations.
    pub fn floats(&self, part: impl Fn(Part) -> Result<Tensor>) -> Result<Tensor> {
        let (k, blocks, op) = (self.terms(), self.blocks(), self.product(Activations::Float));
        sinter_ir::tensor::storage_bytes(DType::F32, &self.dims)?;
        let (codes, scale) = (part(Part::Codes)?.to_i64()?, part(Part::Scale)?.to_f32()?);
        let offset = match self.offset {
            Some((how, _)) => Some((how, part(Part::Offset)?.to_f32()?)),
            None => None,
        };
        let order = if self.order { Some(part(Part::Order)?.to_i64()?) } else { None };
        let lost = || Diag::bug("parts of other sizes than the matrix has");
        let mut values = vec![0f32; codes.len()];
        for (i, &code) in codes.iter().enumerate() {
            let (row, term) = (i / k, i % k);
            let at = row * blocks + term / self.block;
            let (v, scale) = (op.value(code)?, *scale.get(at).ok_or_else(lost)?);
            let value = match &offset {
                None => scale * v,
                Some((how, all)) => match (how, *all.get(at).ok_or_else(lost)?) {
                    (Offset::Zero, zero) => scale * (v - zero),
                    (_, minimum) => scale * v + minimum,
                },
            };
            let to = order.as_ref().map_or(Some(&(term as i64)), |o| o.get(term)).copied();
            let to = to.and_then(|t| usize::try_from(t).ok()).filter(|t| *t < k).ok_or_else(lost)?;
            *values.get_mut(row * k + to).ok_or_else(lost)? = value;
        }
        Tensor::f32s(self.dims.clone(), &values)
    }
}

/// Codes of a byte each in the storage of a type of 2, 4 or 8 bits, the first in the low bits.
pub fn packed(codes: &[u8], dtype: DType) -> Vec<u8> {
    let bits = dtype.bits();
    if bits >= 8 {
        return codes.to_vec();
    }
    let mask = (1u8 << bits) - 1;
    let byte = |c: &[u8]| c.iter().rev().fold(0u8, |b, c| b << bits | c & mask);
    codes.chunks(8 / bits).map(byte).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn floats_of_every_offset_in_the_order_of_activations() {
        let part = |p: Part| {
            Ok(match p {
                Part::Codes => {
                    Tensor::from_bytes(DType::U4, vec![2, 4], packed(&[1, 2, 3, 4, 5, 6, 7, 8], DType::U4))?
                }
                Part::Scale => Tensor::f32s(vec![2, 2], &[1.0, 2.0, 0.5, -1.0])?,
                Part::Offset => Tensor::from_i64(DType::I8, vec![2, 2], &[1, 0, 0, 8])?,
                Part::Order => Tensor::i64s(&[3, 0, 1, 2]),
            })
        };
        let f = Format {
            dims: vec![2, 4],
            codes: DType::U4,
            block: 2,
            middle: 0,
            table: vec![],
            scale: DType::F32,
            offset: None,
            order: false,
        };
        assert_eq!(f.floats(part).unwrap().to_f32().unwrap(), [1.0, 2.0, 6.0, 8.0, 2.5, 3.0, -7.0, -8.0]);
        let zero = Format { offset: Some((Offset::Zero, DType::I8)), ..f.clone() };
        assert_eq!(zero.floats(part).unwrap().to_f32().unwrap(), [0.0, 1.0, 6.0, 8.0, 2.5, 3.0, 1.0, 0.0]);
        let minimum = Format { offset: Some((Offset::Minimum, DType::I8)), order: true, ..f.clone() };
        let got = minimum.floats(part).unwrap().to_f32().unwrap();
        assert_eq!(got, [3.0, 6.0, 8.0, 2.0, 3.0, 1.0, 0.0, 2.5]);
        assert_eq!(f.part(Part::Scale), (DType::F32, vec![2, 2]));
        assert_eq!(f.product(Activations::Blocks).activations, Activations::Blocks);
        assert_eq!(Format { block: 4, ..f }.product(Activations::Blocks).activations, Activations::Rows);
        assert_eq!(packed(&[1, 2, 3, 3, 2], DType::U2), [0b1111_1001, 0b10]);
    }
}
