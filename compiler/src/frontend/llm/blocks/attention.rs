//! Attention over caches of keys and values.

use super::norm::Norm;
use super::rope::Rope;
use crate::frontend::llm::net::Net;
use sinter_ir::op::binary::BinaryKind as B;
use sinter_ir::op::compare::{Compare, CompareKind};
use sinter_ir::op::unary::UnaryKind as U;
use sinter_ir::op::{self, Iota};
use sinter_ir::{DType, Diag, Expr, Result, Tensor, ValueId};

/// Queries, keys and values from a layer's input, by names below the layer.
#[derive(Debug, Clone)]
pub enum Projections {
    /// `q_proj`, `k_proj`, `v_proj` below a name.
    Apart {
        /// Where.
        name: String,
        /// Whether they have biases.
        bias: bool,
    },
    /// One matrix: all queries, then all keys, then all values.
    Fused {
        /// Name.
        name: String,
        /// Whether it has a bias and is stored as `[in, out]`.
        conv1d: bool,
    },
    /// One matrix with a bias: query, key and value of every head side by side.
    Heads {
        /// Name.
        name: String,
    },
}

/// Normalisation of queries and keys before they turn; its weights are `q_norm` and `k_norm` beside the projections.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum QkNorm {
    /// Each head by itself.
    Heads(Norm),
    /// All heads together.
    Whole(Norm),
}

/// An attention block.
#[derive(Debug, Clone)]
pub struct Attention {
    /// Query heads.
    pub heads: i64,
    /// Heads of keys and values, a divisor of `heads`.
    pub kv_heads: i64,
    /// Elements of a head.
    pub size: i64,
    /// Queries, keys, values.
    pub projections: Projections,
    /// Name of the matrix behind it.
    pub out: String,
    /// How that is stored.
    pub out_bias: bool,
    /// Stored as `[in, out]`.
    pub out_conv1d: bool,
    /// Factor of scores.
    pub scale: f32,
    /// Scores are bent to stay below this.
    pub softcap: Option<f32>,
    /// Positions that are seen, the own one included.
    pub window: Option<i64>,
    /// How heads turn with the position.
    pub rope: Option<Rope>,
    /// Normalisation of queries and keys, and the name beside which its weights are.
    pub qk_norm: Option<(QkNorm, String)>,
}

impl Attention {
    /// Applies it to `x[tokens, width]`; `at` is the layer's name.
    pub fn apply(&self, net: &mut Net, x: ValueId, at: &str, width: i64) -> Result<ValueId> {
        if self.kv_heads < 1 || self.heads % self.kv_heads != 0 {
            let what = format!("{} heads share {} heads of keys", self.heads, self.kv_heads);
            return Err(Diag::input(what));
        }
        let [q, k, v] = self.project(net, x, at, width)?;
        let [q, k, v] = [
            self.finish(net, q, self.heads, at, Some("q_norm"))?,
            self.finish(net, k, self.kv_heads, at, Some("k_norm"))?,
            self.finish(net, v, self.kv_heads, at, None)?,
        ];
        let (q, k) = (net.head(q)?, net.head(k)?);
        let y = self.cached(net, [q, k, v], at)?;
        let (name, own) = (format!("{at}.{}", self.out), self.heads * self.size);
        match self.out_conv1d {
            true => net.conv1d(y, &name, (own, width)),
            false => net.linear(y, &name, (own, width), self.out_bias),
        }
    }

    fn project(&self, net: &mut Net, x: ValueId, at: &str, width: i64) -> Result<[ValueId; 3]> {
        let (q, kv) = (self.heads * self.size, self.kv_heads * self.size);
        match &self.projections {
            Projections::Apart { name, bias } => {
                let mut one = |what, n| net.linear(x, &format!("{at}.{name}.{what}"), (width, n), *bias);
                Ok([one("q_proj", q)?, one("k_proj", kv)?, one("v_proj", kv)?])
            }
            Projections::Fused { name, conv1d } => {
                let (name, all) = (format!("{at}.{name}"), q + 2 * kv);
                let y = match conv1d {
                    true => net.conv1d(x, &name, (width, all))?,
                    false => net.linear(x, &name, (width, all), false)?,
                };
                let mut part = |from: i64, n: i64| net.slice(y, 1, from.into(), n.into());
                Ok([part(0, q)?, part(q, kv)?, part(q + kv, kv)?])
            }
            Projections::Heads { name } => {
                let y = net.linear(x, &format!("{at}.{name}"), (width, 3 * q), true)?;
                let dims = vec![net.tokens.clone(), self.heads.into(), (3 * self.size).into()];
                let y = net.reshape(y, dims)?;
                let mut part = |i: i64| net.slice(y, 2, (i * self.size).into(), self.size.into());
                Ok([part(0)?, part(1)?, part(2)?])
            }
        }
    }

    /// By heads `[tokens, heads, size]`; queries and keys (those with a norm's name) normalised and turned.
    fn finish(&self, net: &mut Net, x: ValueId, heads: i64, at: &str, norm: Option<&str>) -> Result<ValueId> {
        let split = vec![net.tokens.clone(), heads.into(), self.size.into()];
        let Some(norm) = norm else { return net.reshape(x, split) };
        let weights = |beside: &str| format!("{at}.{beside}.{norm}");
        let x = match &self.qk_norm {
            Some((QkNorm::Whole(n), beside)) => n.apply(net, x, &weights(beside), heads * self.size)?,
            _ => x,
        };
        let x = net.reshape(x, split)?;
        let x = match &self.qk_norm {
            Some((QkNorm::Heads(n), beside)) => n.apply(net, x, &weights(beside), self.size)?,
            _ => x,
        };
        match &self.rope {
            Some(r) => r.apply(net, x),
            None => Ok(x),
        }
    }

    /// Queries `[tokens, heads, size]` over keys `[kv_heads, seen, size]` and values `[kv_heads, seen, out]`:
    /// `[tokens, heads * out]`.
    pub fn attend(&self, net: &mut Net, q: ValueId, k: ValueId, v: ValueId, out: i64) -> Result<ValueId> {
        let (tokens, group) = (net.tokens.clone(), self.heads / self.kv_heads);
        let size = net.dims(q).pop().unwrap_or_default();
        let rows = tokens.clone() * group.into();
        let seen = net.past.clone() + tokens.clone();
        let q = net.scaled(q, self.scale)?;
        let q = net.transpose(q, &[1, 0, 2])?;
        let q = net.reshape(q, vec![self.kv_heads.into(), rows.clone(), size])?;
        let k = net.transpose(k, &[0, 2, 1])?;
        let mut scores = net.matmul(q, k)?;
        if let Some(cap) = self.softcap {
            let s = net.scaled(scores, 1.0 / cap)?;
            let s = net.unary(U::Tanh, s)?;
            scores = net.scaled(s, cap)?;
        }
        let by_token = vec![self.kv_heads.into(), group.into(), tokens.clone(), seen.clone()];
        let scores = net.reshape(scores, by_token)?;
        let mask = mask(net, self.window)?;
        let none = net.constant(Tensor::f32s(vec![], &[f32::NEG_INFINITY])?)?;
        let scores = net.add(op::Select {}, &[mask, scores, none])?;
        let p = net.add(op::Softmax { axis: 3, log: false }, &[scores])?;
        let p = net.reshape(p, vec![self.kv_heads.into(), rows, seen])?;
        let y = net.matmul(p, v)?;
        let y = net.reshape(y, vec![self.heads.into(), tokens.clone(), out.into()])?;
        let y = net.transpose(y, &[1, 0, 2])?;
        net.reshape(y, vec![tokens, (self.heads * out).into()])
    }
}

/// Which positions a token sees: `[tokens, seen]`.
fn mask(net: &mut Net, window: Option<i64>) -> Result<ValueId> {
    // A window that no sequence outgrows is none.
    let window = window.filter(|w| *w < net.sizes.context);
    let made = net.once(format!("mask {window:?}"), |net| {
        let seen = net.past.clone() + net.tokens.clone();
        let column =
            |net: &mut Net, dims: Vec<Expr>, axis| net.add(Iota { dtype: DType::I64, dims, axis }, &[]);
        let at = column(net, vec![1.into(), seen], 1)?;
        let tokens = net.tokens.clone();
        let own = column(net, vec![tokens, 1.into()], 0)?;
        let past = net.past.clone();
        let past = net.add(op::FromDims { values: vec![past], scalar: true }, &[])?;
        let own = net.plus(own, past)?;
        let mut mask = net.add(Compare { kind: CompareKind::Le }, &[at, own])?;
        if let Some(w) = window {
            let w = net.constant(Tensor::i64(w))?;
            let first = net.minus(own, w)?;
            let near = net.add(Compare { kind: CompareKind::Gt }, &[at, first])?;
            mask = net.binary(B::And, mask, near)?;
        }
        Ok(vec![mask])
    })?;
    made.first().copied().ok_or_else(|| Diag::bug("a mask"))
}
