//! Gemma 2: normalisations on both sides of every part, every other layer with a window, bent scores and logits.

use super::llama;
use crate::frontend::llm::blocks::norm::{Kind, Norm};
use crate::frontend::llm::config::Config;
use crate::frontend::llm::decoder::{Decoder, Order};
use crate::frontend::llm::net::Sizes;
use sinter_ir::Result;

/// Gemma 2.
pub fn describe(c: &Config, sizes: &Sizes) -> Result<Decoder> {
    let cap = c.opt_float("attn_logit_softcapping")?.map(|v| v as f32);
    let mut d = base(c, sizes)?.each_attention(|i, a| {
        a.softcap = cap;
        // Without a list the even layers have the window.
        a.window = if c.get("layer_types").is_none() && i % 2 == 1 { None } else { llama::window(c, i)? };
        Ok(())
    })?;
    d.logit_cap = c.opt_float("final_logit_softcapping")?.map(|v| v as f32);
    Ok(d)
}

/// What Gemma 2 and 3 share.
pub fn base(c: &Config, sizes: &Sizes) -> Result<Decoder> {
    let mut d = llama::plain(c, sizes)?;
    d.norm = Norm { kind: Kind::RmsPlusOne, ..d.norm };
    d.embed_scale = (d.width as f32).sqrt();
    d.tied = c.flag("tie_word_embeddings", true)?;
    let names = [
        "input_layernorm",
        "post_attention_layernorm",
        "pre_feedforward_layernorm",
        "post_feedforward_layernorm",
    ];
    let names = names.map(str::to_owned);
    d.layers.iter_mut().for_each(|l| l.order = Order::Around { names: names.clone() });
    let scalar = c.float_or("query_pre_attn_scalar", 256.0)?;
    d.each_attention(|_, a| {
        a.scale = (scalar.powf(-0.5)) as f32;
        Ok(())
    })
}
