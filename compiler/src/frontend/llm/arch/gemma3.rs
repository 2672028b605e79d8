//! Gemma 3: as Gemma 2, with normalised queries and keys instead of bent scores, five layers with a window for each
//! without, and rotary positions of their own for both kinds.

use super::{gemma2, llama};
use crate::frontend::llm::blocks::attention::QkNorm;
use crate::frontend::llm::blocks::rope::Rope;
use crate::frontend::llm::config::Config;
use crate::frontend::llm::decoder::Decoder;
use crate::frontend::llm::net::Sizes;
use sinter_ir::{Diag, Result};

/// Gemma 3, text only.
pub fn describe(c: &Config, sizes: &Sizes) -> Result<Decoder> {
    let d = gemma2::base(c, sizes)?;
    let norm = d.norm;
    let every = c.size_or("sliding_window_pattern", 6)?;
    let nested = c.part("rope_parameters").is_some_and(|r| r.part("sliding_attention").is_some());
    let mut d = d.each_attention(|i, a| {
        let global = match c.get("layer_types") {
            Some(_) => llama::window(c, i)?.is_none(),
            None => (i + 1) % every == 0,
        };
        a.qk_norm = Some((QkNorm::Heads(norm), "self_attn".into()));
        a.window = if global { None } else { c.opt_size("sliding_window")? };
        let kind = if global { "full_attention" } else { "sliding_attention" };
        a.rope = Some(match global || nested {
            true => llama::rope(c, sizes, a.size, Some(kind), if global { 1e6 } else { 1e4 })?,
            false => {
                let theta = c.float_or("rope_local_base_freq", 1e4)?;
                Rope::new(theta, None, a.size, sizes.context, sizes.context)?
            }
        });
        Ok(())
    })?;
    d.logit_cap = c.opt_float("final_logit_softcapping")?.map(|v| v as f32);
    Ok(d)
}

/// The text part of a model that also sees.
pub fn multimodal(c: &Config, sizes: &Sizes) -> Result<Decoder> {
    let text = c.part("text_config").ok_or_else(|| Diag::input("config.json: `text_config` is missing"))?;
    let mut d = describe(&text, sizes)?;
    d.names = llama::names("model.language_model.");
    Ok(d)
}
