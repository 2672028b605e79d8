//! Mamba: a short convolution and a recurrence over a state of its own for every channel.

use super::norm::Norm;
use crate::frontend::llm::net::{Net, Turn};
use crate::frontend::llm::weights::{transposed, wide};
use sinter_ir::op::binary::BinaryKind as B;
use sinter_ir::op::reduce::ReduceKind as R;
use sinter_ir::op::unary::UnaryKind as U;
use sinter_ir::{DType, Diag, Result, Tensor, ValueId};

/// Inputs of the convolution at most.
const MAX_TAPS: i64 = 16;

/// A block; names are those of Mamba below `mixer`.
#[derive(Debug, Clone)]
pub struct Mamba {
    /// Channels.
    pub inner: i64,
    /// State elements of a channel.
    pub state: i64,
    /// Inputs of the convolution.
    pub taps: i64,
    /// Width of the vector that step sizes come from.
    pub rank: i64,
    /// Whether the first and last matrix have biases.
    pub bias: bool,
    /// Whether the convolution has one.
    pub conv_bias: bool,
    /// Normalisation without weights of step sizes and both state vectors (Falcon-Mamba).
    pub inner_norm: Option<Norm>,
}

impl Mamba {
    /// Applies it to `x[tokens, width]`; `at` is the layer's name.
    pub fn apply(&self, net: &mut Net, x: ValueId, at: &str, width: i64) -> Result<ValueId> {
        let at = format!("{at}.mixer");
        let (n, s, tokens) = (self.inner, self.state, net.tokens.clone());
        let both = net.linear(x, &format!("{at}.in_proj"), (width, 2 * n), self.bias)?;
        let u = net.slice(both, 1, 0.into(), n.into())?;
        let gate = net.slice(both, 1, n.into(), n.into())?;
        let u = causal_conv(net, u, &at, n, self.taps, self.conv_bias)?;
        let parts = net.linear(u, &format!("{at}.x_proj"), (n, self.rank + 2 * s), false)?;
        let part = |net: &mut Net, from: i64, len: i64| {
            let p = net.slice(parts, 1, from.into(), len.into())?;
            match &self.inner_norm {
                Some(norm) => norm.unit(net, p),
                None => Ok(p),
            }
        };
        let dt = part(net, 0, self.rank)?;
        let b = part(net, self.rank, s)?;
        let c = part(net, self.rank + s, s)?;
        let dt = net.linear(dt, &format!("{at}.dt_proj"), (self.rank, n), true)?;
        let dt = softplus(net, dt)?;
        let a = decay(net, &format!("{at}.A_log"), &[n, s])?;
        let state = {
            let dims = vec![n.into(), s.into()];
            net.state(&format!("{at}.recurrent"), DType::F32, dims)
        };
        let before = net.read(state);
        let du = net.times(dt, u)?;
        let most = net.sizes.chunk;
        let made =
            net.repeat(tokens.clone(), most, &[before], &[dt, du, b, c, a], |net, t, carried, held| {
                let (&[h], &[dt, du, b, c, a]) = (carried, held) else { return Err(Diag::bug("captures")) };
                let column = |net: &mut Net, x| {
                    let r = net.row(x, t)?;
                    net.reshape(r, vec![n.into(), 1.into()])
                };
                let (dt, du) = (column(net, dt)?, column(net, du)?);
                let (b, c) = (net.row(b, t)?, net.row(c, t)?);
                let e = net.times(dt, a)?;
                let e = net.unary(U::Exp, e)?;
                let kept = net.times(e, h)?;
                let new = net.times(du, b)?;
                let h = net.plus(kept, new)?;
                let y = net.times(h, c)?;
                let y = net.reduce(R::Sum, y, 1, false)?;
                Ok(Turn { carried: vec![h], scanned: vec![y] })
            })?;
        let &[after, y] = made.as_slice() else { return Err(Diag::bug("results of a recurrence")) };
        net.write(state, after, 0, 0.into())?;
        let y = net.reshape(y, vec![tokens, n.into()])?;
        let d = net.weight(&format!("{at}.D"), &[n])?;
        let skip = net.times(u, d)?;
        let y = net.plus(y, skip)?;
        let gate = super::mlp::Act::Silu.apply(net, gate)?;
        let y = net.times(y, gate)?;
        net.linear(y, &format!("{at}.out_proj"), (n, width), self.bias)
    }
}

/// `-exp(A_log)`.
pub fn decay(net: &mut Net, name: &str, dims: &[i64]) -> Result<ValueId> {
    net.weight_with(name, dims, |t| {
        let t = wide(t)?;
        let a: Vec<f32> = t.to_f32()?.into_iter().map(|a| -a.exp()).collect();
        Tensor::f32s(t.shape().to_vec(), &a)
    })
}

/// `log(1 + exp(x))`, for large `x` without overflow.
pub fn softplus(net: &mut Net, x: ValueId) -> Result<ValueId> {
    let size = net.unary(U::Abs, x)?;
    let minus = net.unary(U::Neg, size)?;
    let e = net.unary(U::Exp, minus)?;
    let one = net.number(1.0)?;
    let sum = net.plus(e, one)?;
    let log = net.unary(U::Log, sum)?;
    let zero = net.number(0.0)?;
    let positive = net.binary(B::Max, x, zero)?;
    net.plus(positive, log)
}

/// The convolution of every channel with its own past, and SiLU. The last inputs are a state.
pub fn causal_conv(
    net: &mut Net,
    x: ValueId,
    at: &str,
    channels: i64,
    taps: i64,
    bias: bool,
) -> Result<ValueId> {
    let tokens = net.tokens.clone();
    if !(2..=MAX_TAPS).contains(&taps) {
        return Err(Diag::unsupported(format!("a convolution of {taps} inputs")));
    }
    let state = net.state(&format!("{at}.conv"), DType::F32, vec![(taps - 1).into(), channels.into()]);
    let before = net.read(state);
    let all = net.concat(&[before, x], 0)?;
    let last = net.slice(all, 0, tokens.clone(), (taps - 1).into())?;
    let w = net.weight_with(&format!("{at}.conv1d.weight"), &[channels, 1, taps], |t| {
        transposed(&wide(t)?.reshaped(vec![channels as usize, taps as usize])?)
    })?;
    // What is missing has the dims of the file.
    let w = net.reshape(w, vec![taps.into(), channels.into()])?;
    let mut sum: Option<ValueId> = None;
    for i in 0..taps {
        let part = net.slice(all, 0, i.into(), tokens.clone())?;
        let tap = net.slice(w, 0, i.into(), 1.into())?;
        let product = net.times(part, tap)?;
        sum = Some(match sum {
            None => product,
            Some(s) => net.plus(s, product)?,
        });
    }
    let mut y = sum.ok_or_else(|| Diag::input("a convolution without taps"))?;
    if bias {
        let b = net.weight(&format!("{at}.conv1d.bias"), &[channels])?;
        y = net.plus(y, b)?;
    }
    net.write(state, last, 0, 0.into())?;
    super::mlp::Act::Silu.apply(net, y)
}
