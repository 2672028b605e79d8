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
mod streams;
mod tile;

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
    fn new(body: &Body, op: &'a QuantizedMatMul) -> Result<Self> {
        let x = &body.root_node()?.inputs;
        let (&[a, codes, scale], offset) = (x.first_chunk().ok_or_else(|| Diag::bug("operands"))?, x.get(3));
        let rows = body.ty(a).dims.len() - 1;
        let weights = body.ty(codes).const_dims();
        let Some(&[n, k]) = weights.as_deref() else {
            return Err(Diag::unsupported(format!("quantised weights with open dims: {}", body.ty(codes))));
        };
        let m = product(&body.ty(a).dims[..rows]);
        let block = op.block.min(k.max(1));
        Ok(Self { op, a, codes, scale, offset: offset.copied(), m, row_axes: rows, k, n, block })
    }
    /// The same product of another number of rows.
    fn with_rows(&self, f: impl FnOnce(&Expr) -> Expr) -> Self {
        Self { m: f(&self.m), ..self.clone() }
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
    if !coarse || !rounded::pays(cx.target, &view, &layout) {
        return product::lower(cx, body, &view, layout);
    }
    // Where the number of rows is open, both kernels are there and one of them has nothing to do.
    let many = view.with_rows(|m| Expr::select_ge0(&(m.clone() - rounded::MANY.into()), m, &0.into()));
    let mut all = rounded::lower(cx, body, &many, layout)?;
    if view.m.as_const().is_none() {
        let few = view.with_rows(|m| Expr::select_ge0(&(m.clone() - rounded::MANY.into()), &0.into(), m));
        all.append(product::lower(cx, body, &few, layout)?);
    }
    Ok(all)
}
