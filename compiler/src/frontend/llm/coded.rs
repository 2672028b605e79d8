//! Products with matrices that are stored in codes, and rows of them, without another rounding.

use super::codes::{Format, Part};
use super::deferred::Form;
use super::net::Net;
use sinter_ir::op::binary::BinaryKind as B;
use sinter_ir::op::quantized_matmul::Offset;
use sinter_ir::op::{self, Gather};
use sinter_ir::{DType, Diag, Expr, Result, Tensor, TensorType, ValueId};

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
    /// Rows `ids` of a matrix in codes, as f32; `None`: it is not, or its rows are not whole blocks.
    pub(super) fn coded_rows(&mut self, name: &str, dims: &[i64], ids: ValueId) -> Result<Option<ValueId>> {
        let Some(f) = self.coded(name, dims) else { return Ok(None) };
        if f.order || f.block == 0 || f.terms() % f.block != 0 {
            return Ok(None);
        }
        let outer = self.dims(ids);
        let of = |last: &[usize]| -> Vec<Expr> {
            outer.iter().cloned().chain(last.iter().map(|&d| d.into())).collect()
        };
        let rows = |net: &mut Self, part: Part| -> Result<ValueId> {
            let all = net.part(name, &f, part)?;
            net.add(Gather { axis: 0 }, &[all, ids])
        };
        let codes = rows(self, Part::Codes)?;
        let mut v = match f.table.is_empty() {
            true => self.cast(codes, DType::F32)?,
            false => {
                let table = self.constant(Tensor::f32s(vec![f.table.len()], &f.table)?)?;
                let codes = self.cast(codes, DType::I32)?;
                self.add(Gather { axis: 0 }, &[table, codes])?
            }
        };
        v = self.add(op::Reshape { dims: of(&[f.blocks(), f.block]) }, &[v])?;
        if f.middle != 0 {
            let middle = self.number(f.middle as f32)?;
            v = self.minus(v, middle)?;
        }
        let of_blocks = |net: &mut Self, part: Part| -> Result<ValueId> {
            let t = rows(net, part)?;
            let t = net.cast(t, DType::F32)?;
            net.reshape(t, of(&[f.blocks(), 1]))
        };
        let scale = of_blocks(self, Part::Scale)?;
        v = match f.offset {
            None => self.times(v, scale)?,
            Some((Offset::Zero, _)) => {
                let zero = of_blocks(self, Part::Offset)?;
                let v = self.binary(B::Sub, v, zero)?;
                self.times(v, scale)?
            }
            Some(_) => {
                let v = self.times(v, scale)?;
                let minimum = of_blocks(self, Part::Offset)?;
                self.plus(v, minimum)?
            }
        };
        let (dims, width) = (of(&[f.terms()]), f.terms());
        if width == 0 {
            return Err(Diag::input(format!("tensor {name} has empty rows")));
        }
        self.reshape(v, dims).map(Some)
    }
}
