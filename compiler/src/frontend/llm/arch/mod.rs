//! Architectures: one short description each, made from the blocks that all share.

mod deepseek;
mod gemma2;
mod gemma3;
mod gpt2;
mod gpt_neo;
mod gpt_neox;
mod granite;
mod llama;
mod mamba;
mod mamba2;
mod mistral;
mod mixtral;
mod olmo2;
mod olmoe;
mod phi3;
mod qwen2;
mod qwen3;
mod qwen3_moe;
mod smollm3;

use super::config::Config;
use super::decoder::Decoder;
use super::net::Sizes;
use sinter_ir::{Diag, Result};

/// A family of models.
pub struct Architecture {
    /// `model_type` in config.json.
    pub model_type: &'static str,
    /// Models of the family, for the table of architectures.
    pub models: &'static str,
    /// From a configuration.
    pub describe: fn(&Config, &Sizes) -> Result<Decoder>,
}

const fn arch(
    model_type: &'static str,
    describe: fn(&Config, &Sizes) -> Result<Decoder>,
    models: &'static str,
) -> Architecture {
    Architecture { model_type, models, describe }
}

/// All architectures, by `model_type`.
pub const ARCHITECTURES: &[Architecture] = &[
    arch("deepseek_v2", deepseek::v2, "DeepSeek-V2"),
    arch("deepseek_v3", deepseek::v3, "DeepSeek-V3, R1"),
    arch("falcon_mamba", mamba::falcon, "Falcon-Mamba"),
    arch("gemma2", gemma2::describe, "Gemma 2"),
    arch("gemma3", gemma3::multimodal, "Gemma 3, its text part"),
    arch("gemma3_text", gemma3::describe, "Gemma 3 (270M, 1B)"),
    arch("gpt2", gpt2::describe, "GPT-2, DistilGPT-2"),
    arch("gpt_neo", gpt_neo::describe, "GPT-Neo, TinyStories"),
    arch("gpt_neox", gpt_neox::describe, "GPT-NeoX, Pythia"),
    arch("granite", granite::describe, "Granite 3"),
    arch("llama", llama::describe, "Llama 2, 3, SmolLM, SmolLM2, TinyLlama"),
    arch("mamba", mamba::describe, "Mamba"),
    arch("mamba2", mamba2::describe, "Mamba-2, Codestral Mamba"),
    arch("mistral", mistral::describe, "Mistral, Ministral, Nemo"),
    arch("mixtral", mixtral::describe, "Mixtral"),
    arch("olmo2", olmo2::describe, "OLMo 2"),
    arch("olmoe", olmoe::describe, "OLMoE"),
    arch("phi3", phi3::describe, "Phi-3, Phi-4, Phi-4-mini"),
    arch("qwen2", qwen2::describe, "Qwen2, Qwen2.5"),
    arch("qwen3", qwen3::describe, "Qwen3"),
    arch("qwen3_moe", qwen3_moe::describe, "Qwen3 with experts"),
    arch("smollm3", smollm3::describe, "SmolLM3"),
];

/// The architecture that a configuration names.
pub fn find(c: &Config) -> Result<&'static Architecture> {
    let model_type = c.text("model_type", "")?;
    ARCHITECTURES.iter().find(|a| a.model_type == model_type).ok_or_else(|| {
        let known: Vec<&str> = ARCHITECTURES.iter().map(|a| a.model_type).collect();
        Diag::unsupported(format!("language models of the type `{model_type}`"))
            .help(format!("known types: {}", known.join(", ")))
    })
}
