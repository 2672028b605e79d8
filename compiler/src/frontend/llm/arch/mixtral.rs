//! Mixtral: Mistral with experts.

use super::{llama, mistral};
use crate::frontend::llm::blocks::experts::{Experts, Scoring};
use crate::frontend::llm::config::Config;
use crate::frontend::llm::decoder::{Decoder, Ffn};
use crate::frontend::llm::net::Sizes;
use sinter_ir::Result;

/// Mixtral.
pub fn describe(c: &Config, sizes: &Sizes) -> Result<Decoder> {
    let mut d = mistral::describe(c, sizes)?;
    let experts = Experts {
        all: c.size(&["num_local_experts"])?,
        chosen: c.size(&["num_experts_per_tok"])?,
        inner: c.size(&["intermediate_size"])?,
        act: llama::act(c)?,
        router: "block_sparse_moe.gate".into(),
        scoring: Scoring::Softmax,
        bias: None,
        groups: None,
        normalise: true,
        scale: 1.0,
        name: "block_sparse_moe.experts".into(),
        parts: ["w1", "w3", "w2"],
        shared: None,
    };
    d.layers.iter_mut().for_each(|l| l.ffn = Ffn::Experts(Box::new(experts.clone())));
    Ok(d)
}
