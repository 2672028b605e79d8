//! Qwen2: Llama with biases at queries, keys and values.

use super::llama;
use crate::frontend::llm::blocks::attention::Projections;
use crate::frontend::llm::config::Config;
use crate::frontend::llm::decoder::Decoder;
use crate::frontend::llm::net::Sizes;
use sinter_ir::Result;

/// Qwen2.
pub fn describe(c: &Config, sizes: &Sizes) -> Result<Decoder> {
    llama::plain(c, sizes)?.each_attention(|i, a| {
        a.projections = Projections::Apart { name: "self_attn".into(), bias: true };
        a.window = window(c, i)?;
        Ok(())
    })
}

/// Windows of the layers from `max_window_layers` on, where they are switched on.
pub fn window(c: &Config, layer: i64) -> Result<Option<i64>> {
    let on = c.flag("use_sliding_window", false)?;
    let late = c.get("layer_types").is_some() || layer >= c.count_or("max_window_layers", 28)?;
    if on && late { llama::window(c, layer) } else { Ok(None) }
}
