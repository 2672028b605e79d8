//! `Lookup`: a function of a byte, by a table of all its values.

use super::OpSpec;
use super::args;
use crate::eval::EvalCx;
use crate::{DType, Diag, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// a function of a byte, by a table of all its values.
///
/// Inputs: `[x: u8|i8]`. The bits of an element of x, as a number from 0 to 255, are the place of its result's bits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lookup {
    /// Result dtype: u8 or i8.
    pub to: DType,
    /// 256 bytes.
    pub table: Vec<u8>,
}

impl OpSpec for Lookup {
    fn infer(&self, _: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let [x] = args(x)?;
        let byte = |t: DType| matches!(t, DType::U8 | DType::I8);
        if !byte(x.dtype) || !byte(self.to) || self.table.len() != 256 {
            let n = self.table.len();
            return Err(Diag::input(format!("Lookup of {x} in {n} elements of {}", self.to))
                .help("operand and result are u8 or i8, the table has 256 bytes"));
        }
        Ok(vec![TensorType::new(self.to, x.dims.clone())])
    }
    fn eval(&self, _: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [x] = args(x)?;
        let place = |b: &u8| self.table.get(usize::from(*b)).copied();
        let y: Option<Vec<u8>> = x.bytes().iter().map(place).collect();
        let y = y.ok_or_else(|| Diag::input("a table of fewer than 256 bytes"))?;
        Ok(vec![Tensor::from_bytes(self.to, x.shape().to_vec(), y)?])
    }
}
