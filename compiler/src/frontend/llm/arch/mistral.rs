//! Mistral: Llama with a sliding window.

use super::llama;
use crate::frontend::llm::config::Config;
use crate::frontend::llm::decoder::Decoder;
use crate::frontend::llm::net::Sizes;
use sinter_ir::Result;

/// Mistral.
pub fn describe(c: &Config, sizes: &Sizes) -> Result<Decoder> {
    llama::plain(c, sizes)?.each_attention(|i, a| {
        a.window = llama::window(c, i)?;
        Ok(())
    })
}
