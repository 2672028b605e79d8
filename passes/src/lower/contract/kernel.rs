//! A [`Gemm`] as a kernel: parameters, scratch and the way to the epilogue.

use super::gemm::{Gemm, Place};
use super::slots;
use crate::lower::body::Body;
use crate::lower::out::{Index, Out};
use crate::lower::pull::vector_or_scalar;
use crate::lower::{Arg, LowerCx, Lowered};
use bytes::Bytes;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Access, Buf, Elem, Reg};
use sinter_ir::{DType, Expr, Result, TensorType, ValueId};

/// Where an operand comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A value as it is.
    Value(ValueId),
    /// Elements in another order.
    Packed(Bytes, DType),
    /// What another kernel of the same node makes: so many bytes, the first of the scratch memory.
    Made(Expr),
}

/// Which axes of the result batch coordinates, rows and columns stand for.
#[derive(Debug, Clone)]
pub struct Shape {
    /// The last batch coordinate counts groups of this many rows, on the same axis as the rows.
    pub grouped: Option<Expr>,
    /// Axes that the rows span.
    pub rows: usize,
    /// Axes that the columns span.
    pub cols: usize,
}

impl Shape {
    /// Hands a finished vector on.
    pub fn put(&self, b: &mut KernelBuilder, at: Place, value: Reg, out: &mut Out) -> Result<()> {
        let mut batch = at.batch.to_vec();
        let mut row = at.row;
        if let Some(per) = &self.grouped
            && let Some(g) = batch.pop()
        {
            let per = b.dim(per);
            let first = b.mul(g, per);
            row = b.add(first, row);
        }
        let mut index: Vec<Index> = batch.into_iter().map(|at| Index { at, axes: 1 }).collect();
        index.push(Index { at: row, axes: self.rows });
        index.push(Index { at: at.col, axes: self.cols });
        out.put(b, &index, value, at.tail)
    }
}

/// A kernel of a root under construction.
pub struct Kernel<'a> {
    /// Code.
    pub b: KernelBuilder,
    /// The epilogue, and the parameters.
    pub out: Out<'a>,
    cx: &'a LowerCx<'a>,
    scratch: Vec<Expr>,
}

impl<'a> Kernel<'a> {
    /// A kernel for the root of a body.
    pub fn new(cx: &'a LowerCx<'a>, body: &'a Body, name: &str, scalar: bool) -> Result<Self> {
        Ok(Self { b: KernelBuilder::new(name), out: Out::new(cx, body, scalar)?, cx, scratch: vec![] })
    }
    /// Declares an operand.
    pub fn source(&mut self, s: Source) -> Result<Buf> {
        match s {
            Source::Value(v) => self.out.end.puller.params.value(&mut self.b, self.out.end.puller.body, v),
            Source::Made(bytes) => {
                let ty = TensorType::new(DType::I8, vec![bytes.clone()]);
                self.hold(vec![bytes]);
                let params = &mut self.out.end.puller.params;
                Ok(params.buf(&mut self.b, Arg::Scratch(0), Access::Read, &ty))
            }
            Source::Packed(bytes, dtype) => Ok(self.out.end.puller.params.pack(&mut self.b, bytes, dtype)),
        }
    }
    /// Declares scratch memory for a number of elements.
    pub fn scratch(&mut self, count: &Expr, elem: Elem) -> Buf {
        let bytes = count.clone() * i64::from(elem.bytes()).into();
        let ty = TensorType::new(DType::I8, vec![bytes.clone()]);
        self.scratch.push(bytes);
        self.out.end.puller.params.buf(
            &mut self.b,
            Arg::Scratch(self.scratch.len() - 1),
            Access::ReadWrite,
            &ty,
        )
    }
    /// Takes over scratch memory that another kernel of the same node fills; in front of all other.
    pub fn hold(&mut self, bytes: Vec<Expr>) {
        self.scratch.splice(0..0, bytes);
    }
    /// Slots for a number of trips.
    pub fn slots(&self, trips: &Expr) -> i64 {
        slots::count(self.cx.target, trips)
    }
    /// Room for one tile per slot where the nest needs it; `open`: panels have an open number of columns.
    pub fn spill(&mut self, gemm: &Gemm, slots: i64, open: bool) -> Option<Buf> {
        (open || gemm.spills()).then(|| self.scratch(&(gemm.spill_elems() * slots).into(), gemm.a.1.acc))
    }
    /// The finished kernel as the whole lowering.
    pub fn finish(self) -> Lowered {
        let mut lowered = self.out.end.puller.params.finish(self.b);
        lowered.scratch = self.scratch;
        lowered
    }
}

/// Builds a kernel whose results come as vectors; where the epilogue has no vector form, one by one.
pub fn build<'a>(
    cx: &'a LowerCx<'a>,
    body: &'a Body,
    name: &str,
    mut f: impl FnMut(&mut Kernel<'a>) -> Result<()>,
) -> Result<Lowered> {
    vector_or_scalar(2, |lanes| {
        let mut k = Kernel::new(cx, body, name, lanes == 1)?;
        f(&mut k)?;
        Ok(k.finish())
    })
}

/// Lowers a plain nest; `from` are its A and B, `start` what sums start with.
pub fn lower(
    cx: &LowerCx,
    body: &Body,
    name: &str,
    gemm: &Gemm,
    from: &[Source; 2],
    start: Option<Bytes>,
    shape: &Shape,
) -> Result<Lowered> {
    build(cx, body, name, |k| {
        let mut gemm = gemm.clone();
        let [a, b] = from.clone();
        (gemm.a.2, gemm.b.2) = (k.source(a)?, k.source(b)?);
        gemm.start = start.clone().map(|s| k.source(Source::Packed(s, DType::I32))).transpose()?;
        gemm.finish = k.out.finish();
        let work = gemm.vector_ops();
        gemm.split(slots::wanted(cx.target, work.as_ref()));
        let slots = slots::for_work(cx.target, &gemm.trips(), work.as_ref());
        let spill = k.spill(&gemm, slots, false);
        let Kernel { b, out, .. } = k;
        gemm.emit(b, slots, spill, &mut |b, at, v| shape.put(b, at, v, out))
    })
}

/// Kernel name from family, type and dims.
pub fn name(family: &str, dtype: DType, dims: &[Expr]) -> String {
    let dims: Vec<String> =
        dims.iter().map(|d| d.as_const().map_or("n".to_owned(), |c| c.to_string())).collect();
    format!("{family}_{dtype}_{}", dims.join("x"))
}
