//! Rotations in the graph of a model.

use super::middle;
use crate::frontend::llm::net::Net;
use sinter_ir::op::reduce::ReduceKind;
use sinter_ir::{Expr, Result, Tensor, ValueId};
use sinter_passes::compress::hadamard::{Small, Transform};
use sinter_passes::compress::products::ROTATION;
use sinter_passes::compress::rotation::Rotation;

impl Net {
    /// Embeddings become the stream of a rotated model.
    pub fn into_stream(&mut self, x: ValueId) -> Result<ValueId> {
        let Some(t) = self.turned.clone() else { return Ok(x) };
        let x = match t.centred {
            true => {
                let axis = self.dims(x).len().saturating_sub(1);
                let mean = self.reduce(ReduceKind::Mean, x, axis, true)?;
                self.minus(x, mean)?
            }
            false => x,
        };
        self.rotated(x, &t.stream)
    }
    /// The stream of a rotated model as it was.
    pub fn out_of_stream(&mut self, x: ValueId) -> Result<ValueId> {
        let Some(t) = self.turned.clone() else { return Ok(x) };
        let width = self.last(x);
        match &*t.stream {
            Rotation::Fast(f) => self.undone(x, f),
            other => self.rotated(x, &other.inverse(width)),
        }
    }
    /// What the last matrix of a feed-forward block reads.
    pub fn middle(&mut self, x: ValueId) -> Result<ValueId> {
        let Some(turned) = &self.turned else { return Ok(x) };
        let t = middle(self.last(x), turned.group);
        self.transformed(x, &t.factors)
    }
    /// Queries or keys, `[tokens, heads, size]`.
    pub fn head(&mut self, x: ValueId) -> Result<ValueId> {
        match self.turned.as_ref().is_some_and(|t| t.keys) {
            true => {
                let t = middle(self.last(x), 0);
                self.transformed(x, &t.factors)
            }
            false => Ok(x),
        }
    }
    fn last(&self, x: ValueId) -> usize {
        let n = self.dims(x).last().and_then(Expr::as_const);
        n.and_then(|n| usize::try_from(n).ok()).unwrap_or(0)
    }
    fn rotated(&mut self, x: ValueId, r: &Rotation) -> Result<ValueId> {
        match r {
            Rotation::None => Ok(x),
            Rotation::Fast(t) => {
                let x = self.signed(x, t)?;
                self.transformed(x, &t.factors)
            }
            Rotation::Dense(n, values) => {
                let r = self.constant(Tensor::f32s(vec![*n, *n], values)?)?;
                self.graph.set_name(r, ROTATION.into());
                self.matmul(x, r)
            }
        }
    }
    fn undone(&mut self, x: ValueId, t: &Transform) -> Result<ValueId> {
        let turned: Vec<Small> = t.factors.iter().map(Small::turned).collect();
        let x = self.transformed(x, &turned)?;
        self.signed(x, t)
    }
    fn signed(&mut self, x: ValueId, t: &Transform) -> Result<ValueId> {
        if t.signs.is_empty() {
            return Ok(x);
        }
        let signs = self.vector(&t.signs)?;
        self.times(x, signs)
    }
    /// The last axis by the Kronecker product of small matrices, one axis after the other.
    fn transformed(&mut self, x: ValueId, factors: &[Small]) -> Result<ValueId> {
        let dims = self.dims(x);
        let rows = sinter_ir::expr::product(dims.get(..dims.len().saturating_sub(1)).unwrap_or(&[]));
        let (mut outer, mut inner) = (1, self.last(x));
        let mut y = x;
        for f in factors {
            inner /= f.n.max(1);
            let batch = rows.clone() * Expr::from(outer);
            outer *= f.n;
            if f.values.is_empty() {
                continue;
            }
            let of = |m: &Small| Tensor::f32s(vec![m.n, m.n], &m.values);
            y = match inner {
                1 => {
                    let m = self.constant(of(f)?)?;
                    let y = self.reshape(y, vec![batch, f.n.into()])?;
                    self.matmul(y, m)?
                }
                _ => {
                    let m = self.constant(of(&f.turned())?)?;
                    let y = self.reshape(y, vec![batch, f.n.into(), inner.into()])?;
                    self.matmul(m, y)?
                }
            };
        }
        if y == x { Ok(x) } else { self.reshape(y, dims) }
    }
}
