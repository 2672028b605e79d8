//! Granite: Llama with factors at embeddings, scores, sums and logits.

use super::llama;
use crate::frontend::llm::config::Config;
use crate::frontend::llm::decoder::Decoder;
use crate::frontend::llm::net::Sizes;
use sinter_ir::Result;

/// Granite.
pub fn describe(c: &Config, sizes: &Sizes) -> Result<Decoder> {
    let scale = c.float_or("attention_multiplier", 1.0)? as f32;
    let mut d = llama::plain(c, sizes)?.each_attention(|_, a| {
        a.scale = scale;
        Ok(())
    })?;
    d.embed_scale = c.float_or("embedding_multiplier", 1.0)? as f32;
    d.residual_scale = c.float_or("residual_multiplier", 1.0)? as f32;
    d.logit_scale = 1.0 / c.float_or("logits_scaling", 1.0)? as f32;
    Ok(d)
}
