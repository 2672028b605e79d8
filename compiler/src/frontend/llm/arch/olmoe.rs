//! OLMoE: experts in every layer, normalisation over all queries and all keys.

use super::{llama, qwen3_moe};
use crate::frontend::llm::blocks::attention::QkNorm;
use crate::frontend::llm::config::Config;
use crate::frontend::llm::decoder::{Decoder, Ffn};
use crate::frontend::llm::net::Sizes;
use sinter_ir::{Diag, Result};

/// OLMoE.
pub fn describe(c: &Config, sizes: &Sizes) -> Result<Decoder> {
    if c.get("clip_qkv").is_some() {
        return Err(Diag::unsupported("OLMoE with clip_qkv"));
    }
    let mut d = llama::plain(c, sizes)?;
    let norm = d.norm;
    let experts = qwen3_moe::experts(c, c.size(&["intermediate_size"])?, c.flag("norm_topk_prob", false)?)?;
    d.layers.iter_mut().for_each(|l| l.ffn = Ffn::Experts(Box::new(experts.clone())));
    d.each_attention(|_, a| {
        a.qk_norm = Some((QkNorm::Whole(norm), "self_attn".into()));
        Ok(())
    })
}
