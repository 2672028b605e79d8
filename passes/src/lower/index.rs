//! Element indices as affine forms of registers, so that constants fold and vector accesses are recognised.

use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Addr, BinOp, Elem, Inst, Reg, Scalar};
use sinter_ir::{Expr, Result};

/// An index along one axis: `offset + Σ reg * scale + lane * step`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Idx {
    /// Variable part.
    pub terms: Vec<(Reg, i64)>,
    /// Constant part.
    pub offset: i64,
    /// Change per vector lane.
    pub step: i64,
}

impl Idx {
    /// A constant.
    pub fn at(offset: i64) -> Self {
        Self { offset, ..Self::default() }
    }
    /// A register.
    pub fn reg(r: Reg) -> Self {
        Self { terms: vec![(r, 1)], ..Self::default() }
    }
    /// A register that advances by one per lane.
    pub fn lanes(r: Reg) -> Self {
        Self { step: 1, ..Self::reg(r) }
    }
    /// Sum.
    pub fn plus(&self, o: &Idx) -> Self {
        let mut out = self.clone();
        for &(r, s) in &o.terms {
            match out.terms.iter_mut().find(|t| t.0 == r) {
                Some(t) => t.1 += s,
                None => out.terms.push((r, s)),
            }
        }
        out.terms.retain(|t| t.1 != 0);
        out.terms.sort();
        out.offset += o.offset;
        out.step += o.step;
        out
    }
    /// Product with a constant.
    pub fn times(&self, c: i64) -> Self {
        if c == 0 {
            return Self::default();
        }
        Self {
            terms: self.terms.iter().map(|&(r, s)| (r, s * c)).collect(),
            offset: self.offset * c,
            step: self.step * c,
        }
    }
    /// Half of it, known to be whole.
    pub fn half(&self, b: &mut KernelBuilder) -> Self {
        let even = self.offset % 2 == 0 && self.terms.iter().all(|t| t.1 % 2 == 0);
        if !even {
            let (whole, one) = (self.materialise(b), int(b, 1));
            return Self { step: self.step / 2, ..Self::reg(b.bin(BinOp::ShrU, whole, one)) };
        }
        Self {
            terms: self.terms.iter().map(|&(r, s)| (r, s / 2)).collect(),
            offset: self.offset / 2,
            step: self.step / 2,
        }
    }
    /// The constant value, when it is one for all lanes.
    pub fn as_const(&self) -> Option<i64> {
        (self.terms.is_empty() && self.step == 0).then_some(self.offset)
    }
    /// The index of the first lane in a register.
    pub fn materialise(&self, b: &mut KernelBuilder) -> Reg {
        if let (&[(r, 1)], 0) = (self.terms.as_slice(), self.offset) {
            return r;
        }
        let mut sum: Option<Reg> = None;
        for &(r, s) in &self.terms {
            let x = if s == 1 {
                r
            } else {
                let c = int(b, s);
                b.mul(r, c)
            };
            sum = Some(sum.map_or(x, |a| b.add(a, x)));
        }
        match (sum, self.offset) {
            (None, c) => int(b, c),
            (Some(x), 0) => x,
            (Some(x), c) => {
                let c = int(b, c);
                b.add(x, c)
            }
        }
    }
    /// Product with a symbolic integer.
    pub fn times_expr(&self, b: &mut KernelBuilder, e: &Expr) -> Result<Self> {
        if let Some(c) = e.as_const() {
            return Ok(self.times(c));
        }
        if self.as_const() == Some(0) {
            return Ok(Self::default());
        }
        if self.step != 0 {
            return Err(super::pull::not_vector());
        }
        let (x, d) = (self.materialise(b), dim(b, e));
        Ok(Self::reg(b.mul(x, d)))
    }
    /// Sum with a symbolic integer.
    pub fn plus_expr(&self, b: &mut KernelBuilder, e: &Expr) -> Self {
        match e.as_const() {
            Some(c) => Self { offset: self.offset + c, ..self.clone() },
            None => self.plus(&Self::reg(dim(b, e))),
        }
    }
    /// As an address in elements.
    pub fn addr(&self) -> Addr {
        Addr { terms: self.terms.clone(), offset: self.offset }
    }
}

/// Integer constant, hoisted.
pub fn int(b: &mut KernelBuilder, v: i64) -> Reg {
    b.hoist(Elem::I64, 1, Inst::Const(Scalar::Int(v)))
}

/// Symbolic integer, hoisted.
pub fn dim(b: &mut KernelBuilder, e: &Expr) -> Reg {
    match e.as_const() {
        Some(c) => int(b, c),
        None => b.hoist(Elem::I64, 1, Inst::Dim(e.clone())),
    }
}

/// Row-major linear index.
pub fn linear(b: &mut KernelBuilder, idx: &[Idx], dims: &[Expr]) -> Result<Idx> {
    let mut sum = Idx::default();
    let mut stride = Expr::from(1);
    for (i, d) in idx.iter().zip(dims).rev() {
        if !d.is(1) {
            sum = sum.plus(&i.times_expr(b, &stride)?);
        }
        stride = stride * d.clone();
    }
    Ok(sum)
}

/// Coordinates of a linear index, which must not vary by lane.
pub fn unravel(b: &mut KernelBuilder, at: &Idx, dims: &[Expr]) -> Result<Vec<Idx>> {
    if at.step != 0 {
        return Err(super::pull::not_vector());
    }
    let mut out = vec![Idx::default(); dims.len()];
    let open: Vec<usize> = (0..dims.len()).filter(|&i| !dims[i].is(1)).collect();
    let Some((&first, rest)) = open.split_first() else { return Ok(out) };
    let mut left = at.clone();
    for &i in rest.iter().rev() {
        if let Some(c) = left.as_const()
            && let Some(d) = dims[i].as_const().filter(|d| *d > 0)
        {
            out[i] = Idx::at(c.rem_euclid(d));
            left = Idx::at(c.div_euclid(d));
            continue;
        }
        let (x, d) = (left.materialise(b), dim(b, &dims[i]));
        // Indices are never negative: unsigned division is cheaper.
        let q = b.bin(BinOp::DivU, x, d);
        let back = b.mul(q, d);
        out[i] = Idx::reg(b.sub(x, back));
        left = Idx::reg(q);
    }
    out[first] = left;
    Ok(out)
}
