//! Multi-head latent attention: keys and values of all heads come from one short vector per position, which is all that
//! is cached. The matrices that would expand it are applied to queries and results instead.

use super::attention::{Attention, Projections};
use super::norm::Norm;
use super::rope::Rope;
use crate::frontend::llm::net::Net;
use crate::frontend::llm::weights::wide;
use sinter_ir::{DType, Diag, Result, Tensor, ValueId};

/// A latent attention block; names are those of DeepSeek below `self_attn`.
#[derive(Debug, Clone)]
pub struct Latent {
    /// Heads.
    pub heads: i64,
    /// Width of the vector between the two query matrices; `None`: there is one.
    pub query: Option<i64>,
    /// Width of the cached vector.
    pub latent: i64,
    /// Elements of a head that do not turn.
    pub still: i64,
    /// Elements of a head's value.
    pub value: i64,
    /// Turns the other elements, which all heads share on the key's side.
    pub rope: Rope,
    /// Factor of scores.
    pub scale: f32,
    /// Normalisation of both vectors.
    pub norm: Norm,
    /// Whether the matrices that make them, and the last one, have biases.
    pub bias: bool,
}

impl Latent {
    /// Applies it to `x[tokens, width]`; `at` is the layer's name.
    pub fn apply(&self, net: &mut Net, x: ValueId, at: &str, width: i64) -> Result<ValueId> {
        let at = format!("{at}.self_attn");
        let (turned, latent) = (self.rope.turned(), self.latent);
        let (tokens, heads) = (net.tokens.clone(), self.heads);
        let all = heads * (self.still + turned);
        let q = match self.query {
            None => net.linear(x, &format!("{at}.q_proj"), (width, all), false)?,
            Some(n) => {
                let q = net.linear(x, &format!("{at}.q_a_proj"), (width, n), self.bias)?;
                let q = self.norm.apply(net, q, &format!("{at}.q_a_layernorm"), n)?;
                net.linear(q, &format!("{at}.q_b_proj"), (n, all), false)?
            }
        };
        let q = net.reshape(q, vec![tokens.clone(), heads.into(), (self.still + turned).into()])?;
        let moving = net.slice(q, 2, self.still.into(), turned.into())?;
        let moving = self.rope.apply(net, moving)?;
        let still = net.slice(q, 2, 0.into(), self.still.into())?;

        let kv = net.linear(x, &format!("{at}.kv_a_proj_with_mqa"), (width, latent + turned), self.bias)?;
        let short = net.slice(kv, 1, 0.into(), latent.into())?;
        let short = self.norm.apply(net, short, &format!("{at}.kv_a_layernorm"), latent)?;
        let key = net.slice(kv, 1, latent.into(), turned.into())?;
        let key = net.reshape(key, vec![tokens.clone(), 1.into(), turned.into()])?;
        let key = self.rope.apply(net, key)?;
        let short = net.reshape(short, vec![tokens.clone(), 1.into(), latent.into()])?;
        let row = net.concat(&[short, key], 2)?;
        let row = net.transpose(row, &[1, 0, 2])?;
        let dims = vec![1.into(), net.capacity.clone(), (latent + turned).into()];
        let state = net.state(&format!("{at}.latent"), DType::F32, dims);
        let past = net.past.clone();
        let cache = net.write(state, row, 1, past.clone())?;
        let keys = net.slice(cache, 1, 0.into(), past + tokens.clone())?;
        let values = net.slice(keys, 2, 0.into(), latent.into())?;

        let [expand_key, expand_value] = self.expand(net, &at)?;
        // Heads first: a matrix of its own for each.
        let still = net.transpose(still, &[1, 0, 2])?;
        let still = net.matmul(still, expand_key)?;
        let still = net.transpose(still, &[1, 0, 2])?;
        let q = net.concat(&[still, moving], 2)?;
        let y = self.core().attend(net, q, keys, values, latent)?;
        let y = net.reshape(y, vec![tokens.clone(), heads.into(), latent.into()])?;
        let y = net.transpose(y, &[1, 0, 2])?;
        let y = net.matmul(y, expand_value)?;
        let y = net.transpose(y, &[1, 0, 2])?;
        let y = net.reshape(y, vec![tokens, (heads * self.value).into()])?;
        net.linear(y, &format!("{at}.o_proj"), (heads * self.value, width), self.bias)
    }

    /// Attention of all heads over one.
    fn core(&self) -> Attention {
        Attention {
            heads: self.heads,
            kv_heads: 1,
            size: self.latent + self.rope.turned(),
            projections: Projections::Apart { name: String::new(), bias: false },
            out: String::new(),
            out_bias: false,
            out_conv1d: false,
            scale: self.scale,
            softcap: None,
            window: None,
            rope: None,
            qk_norm: None,
        }
    }

    /// `kv_b_proj [heads * (still + value), latent]` as `[heads, still, latent]` and `[heads, latent, value]`.
    fn expand(&self, net: &mut Net, at: &str) -> Result<[ValueId; 2]> {
        let (h, s, v, l) = (self.heads, self.still, self.value, self.latent);
        let name = format!("{at}.kv_b_proj.weight");
        let Some(t) = net.tensor(&name, &[h * (s + v), l])? else {
            return Ok([net.hole(&[h, s, l]), net.hole(&[h, l, v])]);
        };
        let data = wide(t)?.to_f32()?;
        let [h, s, v, l] = [h, s, v, l].map(|n| n as usize);
        let (mut keys, mut values) = (Vec::with_capacity(h * s * l), vec![0f32; h * l * v]);
        for (head, rows) in data.chunks_exact((s + v) * l).enumerate() {
            let (k, rest) = rows.split_at(s * l);
            keys.extend_from_slice(k);
            for (i, row) in rest.chunks_exact(l).enumerate() {
                row.iter().enumerate().for_each(|(j, x)| values[(head * l + j) * v + i] = *x);
            }
        }
        if keys.len() != h * s * l {
            return Err(Diag::bug("kv_b_proj was not split"));
        }
        let keys = net.constant(Tensor::f32s(vec![h, s, l], &keys)?)?;
        let values = net.constant(Tensor::f32s(vec![h, l, v], &values)?)?;
        Ok([keys, values])
    }
}
