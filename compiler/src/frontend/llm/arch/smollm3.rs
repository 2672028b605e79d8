//! SmolLM3: Llama in which every fourth layer does without rotary positions.

use super::{llama, qwen2};
use crate::frontend::llm::config::Config;
use crate::frontend::llm::decoder::Decoder;
use crate::frontend::llm::net::Sizes;
use sinter_ir::Result;

/// SmolLM3.
pub fn describe(c: &Config, sizes: &Sizes) -> Result<Decoder> {
    let every = c.size_or("no_rope_layer_interval", 4)?;
    let turns = c.opt_numbers("no_rope_layers")?;
    let mut d = llama::plain(c, sizes)?.each_attention(|i, a| {
        let listed = turns.as_ref().and_then(|t| t.get(usize::try_from(i).ok()?)).map(|t| *t != 0);
        if !listed.unwrap_or((i + 1) % every != 0) {
            a.rope = None;
        }
        a.window = qwen2::window(c, i)?;
        Ok(())
    })?;
    d.tied = c.flag("tie_word_embeddings", true)?;
    Ok(d)
}
