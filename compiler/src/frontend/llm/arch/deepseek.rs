//! DeepSeek: latent attention, a few dense layers, then experts in groups beside a shared block.

use super::llama;
use crate::frontend::llm::blocks::experts::{Experts, Groups, Scoring, shared};
use crate::frontend::llm::blocks::latent::Latent;
use crate::frontend::llm::blocks::norm::Norm;
use crate::frontend::llm::blocks::rope::Pairs;
use crate::frontend::llm::config::Config;
use crate::frontend::llm::decoder::{Decoder, Ffn, Mixer};
use crate::frontend::llm::net::Sizes;
use sinter_ir::{Diag, Result};

/// DeepSeek-V2.
pub fn v2(c: &Config, sizes: &Sizes) -> Result<Decoder> {
    let by = match c.text("topk_method", "greedy")?.as_str() {
        "greedy" => None,
        "group_limited_greedy" => Some(1),
        other => return Err(Diag::unsupported(format!("experts chosen by `{other}`"))),
    };
    let mut experts = experts(c, by)?;
    experts.scoring = Scoring::Softmax;
    experts.normalise = c.flag("norm_topk_prob", false)?;
    describe(c, sizes, experts, true)
}

/// DeepSeek-V3.
pub fn v3(c: &Config, sizes: &Sizes) -> Result<Decoder> {
    let mut experts = experts(c, Some(2))?;
    experts.bias = Some("mlp.gate.e_score_correction_bias".into());
    experts.normalise = c.flag("norm_topk_prob", true)?;
    describe(c, sizes, experts, c.flag("rope_interleave", true)?)
}

fn experts(c: &Config, by: Option<i64>) -> Result<Experts> {
    let inner = c.size(&["moe_intermediate_size"])?;
    let act = llama::act(c)?;
    let groups = match by {
        Some(by) => Some(Groups { all: c.size(&["n_group"])?, kept: c.size(&["topk_group"])?, by }),
        None => None,
    };
    let beside = c.count_or("n_shared_experts", 0)?;
    Ok(Experts {
        all: c.size(&["n_routed_experts"])?,
        chosen: c.size(&["num_experts_per_tok"])?,
        inner,
        act,
        router: "mlp.gate".into(),
        scoring: Scoring::Sigmoid,
        bias: None,
        groups: groups.filter(|g| g.all > 1),
        normalise: true,
        scale: c.float_or("routed_scaling_factor", 1.0)? as f32,
        name: "mlp.experts".into(),
        parts: ["gate_proj", "up_proj", "down_proj"],
        shared: (beside > 0).then(|| (shared("mlp.shared_experts", inner * beside, act), None)),
    })
}

fn describe(c: &Config, sizes: &Sizes, experts: Experts, neighbours: bool) -> Result<Decoder> {
    let mut d = llama::plain(c, sizes)?;
    let (still, turned) = (c.size(&["qk_nope_head_dim"])?, c.size(&["qk_rope_head_dim"])?);
    let mut rope = llama::rope(c, sizes, turned, None, 10_000.0)?;
    if neighbours {
        rope.pairs = Pairs::Neighbours;
    }
    let mut scale = ((still + turned) as f64).powf(-0.5);
    let scaling = c.part("rope_parameters").or_else(|| c.part("rope_scaling"));
    if let Some(s) = scaling.filter(|s| s.get("mscale_all_dim").is_some()) {
        let (f, all) = (s.float_or("factor", 1.0)?, s.float_or("mscale_all_dim", 0.0)?);
        if f > 1.0 && all != 0.0 {
            scale *= (0.1 * all * f.ln() + 1.0).powi(2);
        }
    }
    let latent = Latent {
        heads: c.size(&["num_attention_heads"])?,
        query: c.opt_size("q_lora_rank")?,
        latent: c.size(&["kv_lora_rank"])?,
        still,
        value: c.size(&["v_head_dim"])?,
        rope,
        scale: scale as f32,
        norm: Norm::rms(1e-6),
        bias: c.flag("attention_bias", false)?,
    };
    let dense = c.count_or("first_k_dense_replace", 0)?;
    for (i, layer) in (0..).zip(&mut d.layers) {
        layer.mixer = Mixer::Latent(latent.clone());
        if i >= dense {
            layer.ffn = Ffn::Experts(Box::new(experts.clone()));
        }
    }
    Ok(d)
}
