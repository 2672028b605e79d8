//! Products with matrices that are stored in codes, and rows of them, without another rounding.

use super::codes::{Format, Part};
use super::deferred::Form;
use super::net::Net;
use sinter_ir::op::Gather;
use sinter_ir::{Diag, Expr, Result, TensorType, ValueId};

impl Net {
    /// How a matrix of these dims is stored, where its codes are to stay and are to be read.
    fn coded(&self, name: &str, dims: &[i64]) -> Option<Format> {
        let f = self.weights.format(name)?;
        let fits = f.dims.iter().map(|&d| i64::try_from(d).ok()).eq(dims.iter().map(|d| Some(*d)));
        (fits && self.sizes.stored.is_some() && !self.sizes.skip_weights).then_some(f)
    }
    /// A part of a matrix.
    fn part(&mut self, name: &str, f: &Format, part: Part) -> Result<ValueId> {
        if let Some(v) = self.late(name, vec![name.to_owned()], Form::Part(part))? {
            return Ok(v);
        }
        let (dtype, dims) = f.part(part);
        Ok(self.hole_of(TensorType::new(dtype, dims.into_iter().map(Expr::from).collect())))
    }
    /// `x W^T` with `W[out, in]` in codes; `None`: it is not.
    pub(super) fn coded_product(&mut self, x: ValueId, name: &str, dims: &[i64]) -> Result<Option<ValueId>> {
        let (Some(f), Some(activations)) = (self.coded(name, dims), self.sizes.stored) else {
            return Ok(None);
        };
        let mut x = x;
        if f.order {
            let order = self.part(name, &f, Part::Order)?;
            let axis = self.dims(x).len().saturating_sub(1);
            x = self.add(Gather { axis }, &[x, order])?;
        }
        let mut operands = vec![x, self.part(name, &f, Part::Codes)?, self.part(name, &f, Part::Scale)?];
        if f.offset.is_some() {
            operands.push(self.part(name, &f, Part::Offset)?);
        }
        self.add(f.product(activations), &operands).map(Some)
    }
    /// Rows `ids` of a matrix in codes, as f32; `None`: it is not, or its terms have an order of their own.
    pub(super) fn coded_rows(&mut self, name: &str, dims: &[i64], ids: ValueId) -> Result<Option<ValueId>> {
        let Some(f) = self.coded(name, dims) else { return Ok(None) };
        if f.order {
            return Ok(None);
        }
        if f.terms() == 0 {
            return Err(Diag::input(format!("tensor {name} has empty rows")));
        }
        let mut operands = vec![ids, self.part(name, &f, Part::Codes)?, self.part(name, &f, Part::Scale)?];
        if f.offset.is_some() {
            operands.push(self.part(name, &f, Part::Offset)?);
        }
        self.add(f.rows(), &operands).map(Some)
    }
}
