//! Normalisation of vectors along the last axis.

use crate::frontend::llm::net::Net;
use sinter_ir::op::binary::BinaryKind as B;
use sinter_ir::op::reduce::ReduceKind as R;
use sinter_ir::op::unary::UnaryKind as U;
use sinter_ir::{Result, ValueId};

/// Formulas.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// `x / rms(x) * w`.
    Rms,
    /// `x / rms(x) * (1 + w)`.
    RmsPlusOne,
    /// `(x - mean) / deviation * w + b`.
    Layer,
    /// `x / rms(x)`, without weights.
    Unit,
}

/// A normalisation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Norm {
    /// Formula.
    pub kind: Kind,
    /// Keeps the divisor from zero.
    pub eps: f32,
}

impl Norm {
    /// Root mean square.
    pub fn rms(eps: f64) -> Self {
        Self { kind: Kind::Rms, eps: eps as f32 }
    }
    /// Applies it with the weights `NAME.weight` (and `NAME.bias`) of the last axis' size.
    pub fn apply(&self, net: &mut Net, x: ValueId, name: &str, width: i64) -> Result<ValueId> {
        if self.kind == Kind::Unit {
            return self.unit(net, x);
        }
        let w = net.weight_with(&format!("{name}.weight"), &[width], |t| {
            let t = crate::frontend::llm::weights::wide(t)?;
            if self.kind != Kind::RmsPlusOne {
                return Ok(t);
            }
            let plus: Vec<f32> = t.to_f32()?.into_iter().map(|w| w + 1.0).collect();
            sinter_ir::Tensor::f32s(t.shape().to_vec(), &plus)
        })?;
        let x = match self.kind {
            Kind::Layer => centred(net, x)?,
            _ => x,
        };
        let y = self.unit(net, x)?;
        let y = net.times(y, w)?;
        match self.kind {
            Kind::Layer => {
                let b = net.weight(&format!("{name}.bias"), &[width])?;
                net.plus(y, b)
            }
            _ => Ok(y),
        }
    }
    /// `x / rms(x)`.
    pub fn unit(&self, net: &mut Net, x: ValueId) -> Result<ValueId> {
        let axis = net.dims(x).len().saturating_sub(1);
        let square = net.times(x, x)?;
        let mean = net.reduce(R::Mean, square, axis, true)?;
        let eps = net.number(self.eps)?;
        let mean = net.plus(mean, eps)?;
        let root = net.unary(U::Sqrt, mean)?;
        net.binary(B::Div, x, root)
    }
}

fn centred(net: &mut Net, x: ValueId) -> Result<ValueId> {
    let axis = net.dims(x).len().saturating_sub(1);
    let mean = net.reduce(R::Mean, x, axis, true)?;
    net.minus(x, mean)
}
