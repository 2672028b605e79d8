//! OLMo 2: Llama with normalisations behind both parts, and over all queries and all keys.

use super::llama;
use crate::frontend::llm::blocks::attention::QkNorm;
use crate::frontend::llm::config::Config;
use crate::frontend::llm::decoder::{Decoder, Order};
use crate::frontend::llm::net::Sizes;
use sinter_ir::Result;

/// OLMo 2.
pub fn describe(c: &Config, sizes: &Sizes) -> Result<Decoder> {
    let mut d = llama::plain(c, sizes)?;
    let norm = d.norm;
    let order =
        Order::Post { mixer: "post_attention_layernorm".into(), ffn: "post_feedforward_layernorm".into() };
    d.layers.iter_mut().for_each(|l| l.order = order.clone());
    d.each_attention(|_, a| {
        a.qk_norm = Some((QkNorm::Whole(norm), "self_attn".into()));
        Ok(())
    })
}
