//! `Random`: random numbers by a counter-based generator: the same seed and index give the same value everywhere.

use super::OpSpec;
use crate::eval::EvalCx;
use crate::{DType, Diag, Expr, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// random numbers by a counter-based generator: the same seed and index give the same value everywhere.
///
/// Inputs: `[]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Random {
    /// Result dtype.
    pub dtype: DType,
    /// Result dims.
    pub dims: Vec<Expr>,
    /// Normal(a, b) rather than uniform [a, b).
    pub normal: bool,
    /// Mean or low.
    #[serde(with = "super::json_float")]
    pub a: f64,
    /// Standard deviation or high.
    #[serde(with = "super::json_float")]
    pub b: f64,
    /// Seed.
    pub seed: u64,
}

impl OpSpec for Random {
    fn infer(&self, _: &mut Symbols, _: &[&TensorType]) -> Result<Vec<TensorType>> {
        if !self.dtype.is_float() {
            return Err(Diag::input(format!("Random of {}", self.dtype)));
        }
        Ok(vec![TensorType::new(self.dtype, self.dims.clone())])
    }
    fn eval(&self, cx: &mut EvalCx, _: &[Tensor]) -> Result<Vec<Tensor>> {
        let shape = cx.dims(&self.dims)?;
        crate::tensor::storage_bytes(DType::F64, &shape)?;
        let n: usize = shape.iter().product();
        let v: Vec<f64> = (0..n as u64).map(|i| self.value(i)).collect();
        Ok(vec![Tensor::from_f64(self.dtype, shape, &v)?])
    }
    fn map_exprs(&mut self, f: &mut dyn FnMut(&mut Expr)) {
        self.dims.iter_mut().for_each(&mut *f);
    }
}

impl Random {
    /// Element `i`: uniform bits by SplitMix64 of seed and index; normal by the sum of twelve uniforms, so that
    /// kernels need no transcendental function to give the same value.
    pub fn value(&self, i: u64) -> f64 {
        if !self.normal {
            return self.a + (self.b - self.a) * uniform(self.seed, i);
        }
        let sum: f64 = (0..12).map(|k| uniform(self.seed, i.wrapping_mul(12).wrapping_add(k))).sum();
        self.a + self.b * (sum - 6.0)
    }
}

/// 24 uniform bits in [0, 1).
fn uniform(seed: u64, i: u64) -> f64 {
    let z = seed.wrapping_add(i.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 40) as f64 / f64::from(1u32 << 24)
}
