//! Qwen3 with experts in most layers.

use super::{llama, qwen3};
use crate::frontend::llm::blocks::experts::{Experts, Scoring};
use crate::frontend::llm::config::Config;
use crate::frontend::llm::decoder::{Decoder, Ffn};
use crate::frontend::llm::net::Sizes;
use sinter_ir::Result;

/// Qwen3 with experts.
pub fn describe(c: &Config, sizes: &Sizes) -> Result<Decoder> {
    let mut d = qwen3::describe(c, sizes)?;
    let experts = experts(c, c.size(&["moe_intermediate_size"])?, c.flag("norm_topk_prob", false)?)?;
    let step = c.size_or("decoder_sparse_step", 1)?;
    let dense = c.opt_numbers("mlp_only_layers")?.unwrap_or_default();
    for (i, layer) in (0..).zip(&mut d.layers) {
        if (i + 1) % step == 0 && !dense.contains(&i) {
            layer.ffn = Ffn::Experts(Box::new(experts.clone()));
        }
    }
    Ok(d)
}

/// Experts under the names that Qwen and OLMoE use.
pub fn experts(c: &Config, inner: i64, normalise: bool) -> Result<Experts> {
    Ok(Experts {
        all: c.size(&["num_experts", "num_local_experts"])?,
        chosen: c.size(&["num_experts_per_tok"])?,
        inner,
        act: llama::act(c)?,
        router: "mlp.gate".into(),
        scoring: Scoring::Softmax,
        bias: None,
        groups: None,
        normalise,
        scale: 1.0,
        name: "mlp.experts".into(),
        parts: ["gate_proj", "up_proj", "down_proj"],
        shared: None,
    })
}
