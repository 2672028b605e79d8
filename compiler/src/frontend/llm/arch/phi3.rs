//! Phi-3: Llama with queries, keys and values in one matrix, and gate and up in one.

use super::llama;
use crate::frontend::llm::blocks::attention::Projections;
use crate::frontend::llm::blocks::mlp::Form;
use crate::frontend::llm::config::Config;
use crate::frontend::llm::decoder::{Decoder, Ffn};
use crate::frontend::llm::net::Sizes;
use sinter_ir::Result;

/// Phi-3.
pub fn describe(c: &Config, sizes: &Sizes) -> Result<Decoder> {
    let mut d = llama::plain(c, sizes)?;
    for layer in &mut d.layers {
        if let Ffn::Mlp(m) = &mut layer.ffn {
            m.form = Form::Fused { name: "mlp".into() };
        }
    }
    d.each_attention(|i, a| {
        a.projections = Projections::Fused { name: "self_attn.qkv_proj".into(), conv1d: false };
        a.window = llama::window(c, i)?;
        Ok(())
    })
}
