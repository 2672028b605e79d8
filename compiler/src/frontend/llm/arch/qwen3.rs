//! Qwen3: Llama with normalised queries and keys.

use super::{llama, qwen2};
use crate::frontend::llm::blocks::attention::QkNorm;
use crate::frontend::llm::config::Config;
use crate::frontend::llm::decoder::Decoder;
use crate::frontend::llm::net::Sizes;
use sinter_ir::Result;

/// Qwen3.
pub fn describe(c: &Config, sizes: &Sizes) -> Result<Decoder> {
    let d = llama::plain(c, sizes)?;
    let norm = d.norm;
    d.each_attention(|i, a| {
        a.qk_norm = Some((QkNorm::Heads(norm), "self_attn".into()));
        a.window = qwen2::window(c, i)?;
        Ok(())
    })
}
