//! Products with quantised weights.
//!
//! Constant weights are packed ([`layout`]) and read once as one stream, whatever the number of rows ([`tile`],
//! [`product`]), or made bytes of, a panel at a time, where many rows pay for that ([`rounded`]). What products need of activations (codes of bytes, scales, sums over blocks) is made by a kernel of its
//! own ([`bytes`]) in scratch memory.

mod bytes;
mod layout;
mod nest;
mod panel;
mod plain;
mod product;
mod rounded;
mod rows;
mod streams;
mod tile;

pub use rows::lower as rows;

use super::body::Body;
use super::{LowerCx, Lowered};
use sinter_ir::expr::product;
use sinter_ir::op::QuantizedMatMul;
use sinter_ir::op::quantized_matmul::Activations;
use sinter_ir::{Diag, Expr, Result, ValueId};

/// A product: its operands and sizes.
#[derive(Debug, Clone)]
pub(crate) struct View<'a> {
    /// Attributes.
    pub op: &'a QuantizedMatMul,
    /// Activations.
    pub a: ValueId,
    /// Codes of the weights.
    pub codes: ValueId,
    /// Scales of the weights.
    pub scale: ValueId,
    /// Zero points or minima.
    pub offset: Option<ValueId>,
    /// Rows of activations.
    pub m: Expr,
    /// Axes that the rows span.
    pub row_axes: usize,
    /// Terms per sum.
    pub k: usize,
    /// Columns of the result.
    pub n: usize,
    /// Weights that share a scale; not more than `k`.
    pub block: usize,
}

impl<'a> View<'a> {
    /// The same of rows that are looked up: indices are in the place of activations.
    fn rows(body: &Body, op: &'a QuantizedMatMul) -> Result<Self> {
        let mut view = Self::new(body, op)?;
        let dims = &body.ty(view.a).dims;
        (view.m, view.row_axes) = (product(dims), dims.len());
        Ok(view)
    }
    fn new(body: &Body, op: &'a QuantizedMatMul) -> Result<Self> {
        let x = &body.root_node()?.inputs;
        let (&[a, codes, scale], offset) = (x.first_chunk().ok_or_else(|| Diag::bug("operands"))?, x.get(3));
        let rows = body.ty(a).dims.len().saturating_sub(1);
        let weights = body.ty(codes).const_dims();
        let Some(&[n, k]) = weights.as_deref() else {
            return Err(Diag::unsupported(format!("quantised weights with open dims: {}", body.ty(codes))));
        };
        let m = product(&body.ty(a).dims[..rows]);
        let block = op.block.min(k.max(1));
        Ok(Self { op, a, codes, scale, offset: offset.copied(), m, row_axes: rows, k, n, block })
    }
    /// Blocks per row of weights.
    pub fn blocks(&self) -> usize {
        self.k.div_ceil(self.block)
    }
    /// Whether activations are bytes.
    pub fn in_bytes(&self) -> bool {
        self.op.activations != Activations::Float
    }
}

/// Lowers a product with its epilogue.
pub fn lower(cx: &LowerCx, body: &Body, op: &QuantizedMatMul) -> Result<Lowered> {
    let coarse = op.activations == Activations::Coarse;
    let exact = QuantizedMatMul {
        activations: if coarse { Activations::Blocks } else { op.activations },
        ..op.clone()
    };
    let view = View::new(body, &exact)?;
    let Some(layout) = layout::Layout::of(cx.target, body, &view)? else {
        return plain::lower(cx, body, &view);
    };
    product::lower(cx, body, &view, layout, coarse && rounded::pays(cx.target, &view, &layout))
}
