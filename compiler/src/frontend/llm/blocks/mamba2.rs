//! Mamba-2: heads with one decay each; vectors that lead into and out of the state are shared by groups of heads.

use super::mamba::{causal_conv, decay, softplus};
use super::norm::Norm;
use crate::frontend::llm::net::{Net, Turn};
use sinter_ir::op::binary::BinaryKind as B;
use sinter_ir::op::reduce::ReduceKind as R;
use sinter_ir::op::unary::UnaryKind as U;
use sinter_ir::{DType, Diag, Expr, Result, ValueId};

/// A block; names are those of Mamba-2 below `mixer`.
#[derive(Debug, Clone)]
pub struct Mamba2 {
    /// Heads.
    pub heads: i64,
    /// Channels of a head.
    pub size: i64,
    /// Groups, a divisor of `heads`.
    pub groups: i64,
    /// State elements of a channel.
    pub state: i64,
    /// Inputs of the convolution.
    pub taps: i64,
    /// Whether the first and last matrix have biases.
    pub bias: bool,
    /// Whether the convolution has one.
    pub conv_bias: bool,
    /// Bounds of step sizes.
    pub limit: Option<(f32, f32)>,
    /// Normalisation of each group behind the gate.
    pub norm: Norm,
}

impl Mamba2 {
    /// Applies it to `x[tokens, width]`; `at` is the layer's name.
    pub fn apply(&self, net: &mut Net, x: ValueId, at: &str, width: i64) -> Result<ValueId> {
        if self.groups < 1 || self.heads % self.groups != 0 {
            return Err(Diag::input(format!("{} heads in {} groups", self.heads, self.groups)));
        }
        let at = format!("{at}.mixer");
        let (h, p, g, s) = (self.heads, self.size, self.groups, self.state);
        let (inner, tokens) = (h * p, net.tokens.clone());
        let mixed = inner + 2 * g * s;
        let all = net.linear(x, &format!("{at}.in_proj"), (width, inner + mixed + h), self.bias)?;
        let gate = net.slice(all, 1, 0.into(), inner.into())?;
        let conv = net.slice(all, 1, inner.into(), mixed.into())?;
        let dt = net.slice(all, 1, (inner + mixed).into(), h.into())?;
        let conv = causal_conv(net, conv, &at, mixed, self.taps, self.conv_bias)?;
        let heads: Vec<Expr> = vec![tokens.clone(), g.into(), (h / g).into(), p.into()];
        let u = net.slice(conv, 1, 0.into(), inner.into())?;
        let u = net.reshape(u, heads.clone())?;
        let mut vector = |from: i64| {
            let v = net.slice(conv, 1, from.into(), (g * s).into())?;
            net.reshape(v, vec![tokens.clone(), g.into(), 1.into(), 1.into(), s.into()])
        };
        let (b, c) = (vector(inner)?, vector(inner + g * s)?);
        let shift = net.weight(&format!("{at}.dt_bias"), &[h])?;
        let dt = net.plus(dt, shift)?;
        let mut dt = softplus(net, dt)?;
        if let Some((low, high)) = self.limit {
            let low = net.number(low)?;
            dt = net.binary(B::Max, dt, low)?;
            if high.is_finite() {
                let high = net.number(high)?;
                dt = net.binary(B::Min, dt, high)?;
            }
        }
        let a = decay(net, &format!("{at}.A_log"), &[h])?;
        let e = net.times(dt, a)?;
        let e = net.unary(U::Exp, e)?;
        let by_head = vec![tokens.clone(), g.into(), (h / g).into(), 1.into(), 1.into()];
        let e = net.reshape(e, by_head.clone())?;
        let dt = net.reshape(dt, by_head)?;
        let column = net.reshape(u, [heads.as_slice(), &[1.into()]].concat())?;
        let du = net.times(dt, column)?;
        let state = {
            let dims = vec![g.into(), (h / g).into(), p.into(), s.into()];
            net.state(&format!("{at}.recurrent"), DType::F32, dims)
        };
        let before = net.read(state);
        let most = net.sizes.chunk;
        let made = net.repeat(tokens.clone(), most, &[before], &[e, du, b, c], |net, t, carried, held| {
            let (&[h], &[e, du, b, c]) = (carried, held) else { return Err(Diag::bug("captures")) };
            let [e, du, b, c] = [net.row(e, t)?, net.row(du, t)?, net.row(b, t)?, net.row(c, t)?];
            let kept = net.times(e, h)?;
            let new = net.times(du, b)?;
            let h = net.plus(kept, new)?;
            let y = net.times(h, c)?;
            let y = net.reduce(R::Sum, y, 3, false)?;
            Ok(Turn { carried: vec![h], scanned: vec![y] })
        })?;
        let &[after, y] = made.as_slice() else { return Err(Diag::bug("results of a recurrence")) };
        net.write(state, after, 0, 0.into())?;
        let d = net.weight(&format!("{at}.D"), &[h])?;
        let d = net.reshape(d, vec![g.into(), (h / g).into(), 1.into()])?;
        let skip = net.times(u, d)?;
        let y = net.plus(y, skip)?;
        let y = net.reshape(y, vec![tokens.clone(), inner.into()])?;
        let gate = super::mlp::Act::Silu.apply(net, gate)?;
        let y = net.times(y, gate)?;
        let y = net.reshape(y, vec![tokens.clone(), g.into(), (inner / g).into()])?;
        let y = self.norm.unit(net, y)?;
        let y = net.reshape(y, vec![tokens, inner.into()])?;
        let w = net.weight(&format!("{at}.norm.weight"), &[inner])?;
        let y = net.times(y, w)?;
        net.linear(y, &format!("{at}.out_proj"), (inner, width), self.bias)
    }
}
