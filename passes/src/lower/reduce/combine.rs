//! What a reduction collects: start values, steps, horizontal sums, ends.

use crate::lower::access;
use crate::lower::index::dim;
use crate::lower::pull::elementwise::arithmetic;
use crate::lower::pull::{Puller, not_vector};
use sinter_ir::expr::product;
use sinter_ir::op::Reduce;
use sinter_ir::op::binary::BinaryKind as B;
use sinter_ir::op::reduce::ReduceKind as R;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{BinOp, CvtOp, Elem, Reg};
use sinter_ir::{DType, Expr, Result, ValueId};

/// A reduction of a group.
#[derive(Debug, Clone, Copy)]
pub struct Sum<'a> {
    /// Attributes.
    pub op: &'a Reduce,
    /// Operand.
    pub x: ValueId,
    /// Result.
    pub y: ValueId,
    /// Type of the operand and result.
    own: DType,
    /// Type in which elements are collected.
    dtype: DType,
}

impl<'a> Sum<'a> {
    /// A reduction of values of a type.
    pub fn new(op: &'a Reduce, own: DType, x: ValueId, y: ValueId) -> Self {
        // The sum behind a mean may be larger than its elements.
        let dtype = if op.kind == R::Mean && own.is_int() && own != DType::U64 { DType::I64 } else { own };
        Self { op, x, y, own, dtype }
    }
    /// The neutral element.
    pub fn neutral(&self, b: &mut KernelBuilder, lanes: u16) -> Result<Reg> {
        if lanes > 1 && self.dtype != self.own {
            return Err(not_vector());
        }
        let elem = access::compute(self.dtype)?;
        let (lo, hi) = self.dtype.int_range().unwrap_or((0, 1));
        Ok(match (self.op.kind, elem.is_float()) {
            (R::Sum | R::Mean, _) => access::constant(b, elem, lanes, 0.0),
            (R::Prod, _) => access::constant(b, elem, lanes, 1.0),
            (R::Max, true) => access::constant(b, elem, lanes, f64::NEG_INFINITY),
            (R::Min, true) => access::constant(b, elem, lanes, f64::INFINITY),
            (R::Max, _) if elem == Elem::B1 => access::constant(b, elem, lanes, 0.0),
            (R::Min, _) if elem == Elem::B1 => access::constant(b, elem, lanes, 1.0),
            (R::Max, _) => access::whole(b, elem, lanes, lo as i64),
            (R::Min, _) => access::whole(b, elem, lanes, hi as u64 as i64),
        })
    }
    /// An accumulator with the neutral element.
    pub fn start(&self, b: &mut KernelBuilder, lanes: u16) -> Result<Reg> {
        let v = self.neutral(b, lanes)?;
        let acc = b.reg(b.ty(v).elem, lanes);
        b.copy_to(acc, v);
        Ok(acc)
    }
    /// Adds an element, or those lanes of a vector that `inside` selects.
    pub fn step(
        &self,
        b: &mut KernelBuilder,
        p: &mut Puller,
        (acc, v): (Reg, Reg),
        inside: Option<Reg>,
    ) -> Result<()> {
        let lanes = b.ty(acc).lanes;
        let v = p.convert(b, self.own, self.dtype, v, true)?;
        let mut v = b.splat(v, lanes);
        if let Some(m) = inside {
            let none = self.neutral(b, lanes)?;
            v = b.select(m, v, none);
        }
        let sum = self.combine(b, acc, v)?;
        b.copy_to(acc, sum);
        Ok(())
    }
    /// Joins two accumulators.
    pub fn combine(&self, b: &mut KernelBuilder, x: Reg, y: Reg) -> Result<Reg> {
        let kind = match self.op.kind {
            R::Sum | R::Mean => B::Add,
            R::Prod => B::Mul,
            R::Max => B::Max,
            R::Min => B::Min,
        };
        let lanes = b.ty(x).lanes;
        arithmetic(b, kind, self.dtype, x, y, lanes)
    }
    /// Joins the lanes of an accumulator.
    pub fn fold(&self, b: &mut KernelBuilder, acc: Reg) -> Reg {
        let (float, unsigned) = (b.ty(acc).elem.is_float(), self.dtype.is_unsigned_int());
        let truth = b.ty(acc).elem == Elem::B1;
        let op = match self.op.kind {
            R::Sum | R::Mean => BinOp::Add,
            R::Prod => BinOp::Mul,
            R::Max if truth => BinOp::Or,
            R::Min if truth => BinOp::And,
            R::Max if float => BinOp::Max,
            R::Min if float => BinOp::Min,
            R::Max if unsigned => BinOp::MaxU,
            R::Min if unsigned => BinOp::MinU,
            R::Max => BinOp::MaxS,
            R::Min => BinOp::MinS,
        };
        b.fold(op, acc)
    }
    /// Division of a mean over elements of `dims`, and back to the operand's type.
    pub fn finish(&self, b: &mut KernelBuilder, p: &mut Puller, v: Reg, dims: &[Expr]) -> Result<Reg> {
        if self.op.kind != R::Mean {
            return Ok(access::result(b, self.own, v));
        }
        let lanes = b.ty(v).lanes;
        let count = product(self.op.axes.iter().map(|&a| &dims[a]));
        let n = dim(b, &count);
        let n = match b.ty(v).elem {
            t if t.is_float() => b.cvt(CvtOp::SToF, t, n),
            _ => n,
        };
        let n = b.splat(n, lanes);
        let mean = arithmetic(b, B::Div, self.dtype, v, n, lanes)?;
        let mean = p.convert(b, self.dtype, self.own, mean, true)?;
        Ok(access::result(b, self.own, mean))
    }
}
