//! Feed-forward blocks and their activations.

use crate::frontend::llm::net::Net;
use sinter_ir::op::binary::BinaryKind as B;
use sinter_ir::op::unary::UnaryKind as U;
use sinter_ir::{Diag, Result, ValueId};

/// Activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// `x sigmoid(x)`.
    Silu,
    /// With the error function.
    Gelu,
    /// With tanh.
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
}

impl Act {
    /// By its name in config.json.
    pub fn named(name: &str) -> Result<Self> {
        match name {
            "silu" | "swish" => Ok(Act::Silu),
            "gelu" => Ok(Act::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" | "gelu_accurate" => Ok(Act::GeluTanh),
            "relu" => Ok(Act::Relu),
            other => Err(Diag::unsupported(format!("activation `{other}`"))),
        }
    }
    /// Applies it.
    pub fn apply(self, net: &mut Net, x: ValueId) -> Result<ValueId> {
        match self {
            Act::Silu => {
                let s = net.unary(U::Sigmoid, x)?;
                net.times(x, s)
            }
            Act::Gelu => {
                let s = net.scaled(x, std::f32::consts::FRAC_1_SQRT_2)?;
                let e = net.unary(U::Erf, s)?;
                half(net, x, e)
            }
            Act::GeluTanh => {
                let square = net.times(x, x)?;
                let cube = net.times(square, x)?;
                let cube = net.scaled(cube, 0.044715)?;
                let sum = net.plus(x, cube)?;
                let sum = net.scaled(sum, (2.0 / std::f32::consts::PI).sqrt())?;
                let t = net.unary(U::Tanh, sum)?;
                half(net, x, t)
            }
            Act::Relu => {
                let zero = net.number(0.0)?;
                net.binary(B::Max, x, zero)
            }
        }
    }
}

/// `x (1 + t) / 2`.
fn half(net: &mut Net, x: ValueId, t: ValueId) -> Result<ValueId> {
    let one = net.number(1.0)?;
    let t = net.plus(t, one)?;
    let y = net.times(x, t)?;
    net.scaled(y, 0.5)
}

/// Two or three matrices around an activation.
#[derive(Debug, Clone)]
pub struct Mlp {
    /// Width of the middle.
    pub inner: i64,
    /// Activation.
    pub act: Act,
    /// Which matrices.
    pub form: Form,
}

/// Matrices of an [`Mlp`], by their names below the layer.
#[derive(Debug, Clone)]
pub enum Form {
    /// `down(act(gate(x)) * up(x))`.
    Gated {
        /// Where `gate_proj`, `up_proj` and `down_proj` are.
        name: String,
        /// Whether they have biases.
        bias: bool,
    },
    /// The same with gate and up in one matrix: gates first.
    Fused {
        /// Where `gate_up_proj` and `down_proj` are.
        name: String,
    },
    /// `second(act(first(x)))`, both with biases.
    Plain {
        /// Names.
        first: String,
        /// Names.
        second: String,
        /// Whether matrices are stored as `[in, out]`.
        conv1d: bool,
    },
}

impl Mlp {
    /// Applies it to `x[tokens, width]`; `at` is the layer's name.
    pub fn apply(&self, net: &mut Net, x: ValueId, at: &str, width: i64) -> Result<ValueId> {
        let n = self.inner;
        match &self.form {
            Form::Gated { name, bias } => {
                let name = format!("{at}.{name}");
                let gate = net.linear(x, &format!("{name}.gate_proj"), (width, n), *bias)?;
                let up = net.linear(x, &format!("{name}.up_proj"), (width, n), *bias)?;
                let gate = self.act.apply(net, gate)?;
                let y = net.times(gate, up)?;
                let y = net.middle(y)?;
                net.linear(y, &format!("{name}.down_proj"), (n, width), *bias)
            }
            Form::Fused { name } => {
                let both = net.linear(x, &format!("{at}.{name}.gate_up_proj"), (width, 2 * n), false)?;
                let gate = net.slice(both, 1, 0.into(), n.into())?;
                let up = net.slice(both, 1, n.into(), n.into())?;
                let gate = self.act.apply(net, gate)?;
                let y = net.times(gate, up)?;
                let y = net.middle(y)?;
                net.linear(y, &format!("{at}.{name}.down_proj"), (n, width), false)
            }
            Form::Plain { first, second, conv1d } => {
                let (first, second) = (format!("{at}.{first}"), format!("{at}.{second}"));
                let h = match conv1d {
                    true => net.conv1d(x, &first, (width, n))?,
                    false => net.linear(x, &first, (width, n), true)?,
                };
                let h = self.act.apply(net, h)?;
                let h = net.middle(h)?;
                match conv1d {
                    true => net.conv1d(h, &second, (n, width)),
                    false => net.linear(h, &second, (n, width), true),
                }
            }
        }
    }
}
