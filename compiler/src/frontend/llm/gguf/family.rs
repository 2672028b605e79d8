//! What a GGUF architecture is called elsewhere, and how its tensors differ from those of Hugging Face checkpoints.

use super::reader::File;
use serde_json::Value;
use sinter_ir::{Diag, Result};

/// An architecture of GGUF files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// `general.architecture`.
    pub name: &'static str,
    /// `model_type` of the configuration.
    pub model_type: &'static str,
    /// Rows of queries and keys are in the order for pairs of neighbours.
    pub permuted: bool,
    /// Normalisations have 1 added to their weights.
    pub plus_one: bool,
    /// Names below a layer: Hugging Face, GGUF.
    pub layer: &'static [(&'static str, &'static str)],
    /// Prefix of layers in Hugging Face checkpoints.
    pub prefix: &'static str,
}

const ATTENTION: [(&str, &str); 6] = [
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
];

const MLP: [(&str, &str); 3] =
    [("mlp.gate_proj", "ffn_gate"), ("mlp.up_proj", "ffn_up"), ("mlp.down_proj", "ffn_down")];

const EXPERTS: [(&str, &str); 4] = [
    ("mlp.gate", "ffn_gate_inp"),
    ("mlp.experts.gate_proj", "ffn_gate_exps"),
    ("mlp.experts.up_proj", "ffn_up_exps"),
    ("mlp.experts.down_proj", "ffn_down_exps"),
];

const PRE: [(&str, &str); 2] = [("input_layernorm", "attn_norm"), ("post_attention_layernorm", "ffn_norm")];

const LLAMA: &[(&str, &str)] = &[
    ATTENTION[0],
    ATTENTION[1],
    ATTENTION[2],
    ATTENTION[3],
    ATTENTION[4],
    ATTENTION[5],
    MLP[0],
    MLP[1],
    MLP[2],
    EXPERTS[0],
    EXPERTS[1],
    EXPERTS[2],
    EXPERTS[3],
    PRE[0],
    PRE[1],
    ("block_sparse_moe.gate", "ffn_gate_inp"),
    ("block_sparse_moe.experts.w1", "ffn_gate_exps"),
    ("block_sparse_moe.experts.w3", "ffn_up_exps"),
    ("block_sparse_moe.experts.w2", "ffn_down_exps"),
    ("self_attn.qkv_proj", "attn_qkv"),
    ("mlp.gate_up_proj", "ffn_up"),
];

const AROUND: &[(&str, &str)] = &[
    ATTENTION[0],
    ATTENTION[1],
    ATTENTION[2],
    ATTENTION[3],
    ATTENTION[4],
    ATTENTION[5],
    MLP[0],
    MLP[1],
    MLP[2],
    PRE[0],
    ("post_attention_layernorm", "post_attention_norm"),
    ("pre_feedforward_layernorm", "ffn_norm"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
];

const GPT2: &[(&str, &str)] = &[
    ("ln_1", "attn_norm"),
    ("ln_2", "ffn_norm"),
    ("attn.c_attn", "attn_qkv"),
    ("attn.c_proj", "attn_output"),
    ("mlp.c_fc", "ffn_up"),
    ("mlp.c_proj", "ffn_down"),
];

/// Names of what is not in a layer: Hugging Face, GGUF.
pub const OUTSIDE: &[(&str, &str)] = &[
    ("model.embed_tokens", "token_embd"),
    ("model.norm", "output_norm"),
    ("lm_head", "output"),
    ("transformer.wte", "token_embd"),
    ("transformer.wpe", "position_embd"),
    ("transformer.ln_f", "output_norm"),
];

const fn family(
    name: &'static str,
    model_type: &'static str,
    layer: &'static [(&'static str, &'static str)],
) -> Family {
    Family { name, model_type, permuted: false, plus_one: false, layer, prefix: "model.layers." }
}

const FAMILIES: &[Family] = &[
    Family { permuted: true, ..family("llama", "llama", LLAMA) },
    Family { permuted: true, ..family("granite", "granite", LLAMA) },
    Family { permuted: true, ..family("smollm3", "smollm3", LLAMA) },
    Family { plus_one: true, ..family("gemma2", "gemma2", AROUND) },
    Family { plus_one: true, ..family("gemma3", "gemma3_text", AROUND) },
    Family { prefix: "transformer.h.", ..family("gpt2", "gpt2", GPT2) },
    family("olmo2", "olmo2", AROUND),
    family("olmoe", "olmoe", LLAMA),
    family("phi3", "phi3", LLAMA),
    family("qwen2", "qwen2", LLAMA),
    family("qwen3", "qwen3", LLAMA),
    family("qwen3moe", "qwen3_moe", LLAMA),
];

/// The family of a file.
pub fn find(file: &File) -> Result<&'static Family> {
    let name = file.metadata.get("general.architecture").and_then(Value::as_str).unwrap_or_default();
    FAMILIES.iter().find(|f| f.name == name).ok_or_else(|| {
        let known: Vec<&str> = FAMILIES.iter().map(|f| f.name).collect();
        Diag::unsupported(format!("GGUF files of the architecture `{name}`"))
            .help(format!("known architectures: {}", known.join(", ")))
    })
}

impl Family {
    /// The name of a tensor in the file.
    pub fn rename(&self, name: &str) -> Option<String> {
        let (stem, kind) = name.rsplit_once('.')?;
        let of =
            |table: &[(&str, &str)], stem: &str| table.iter().find(|n| n.0 == stem).map(|n| n.1.to_owned());
        let stem = match stem.strip_prefix(self.prefix) {
            Some(rest) => {
                let (layer, part) = rest.split_once('.')?;
                format!("blk.{layer}.{}", of(self.layer, part)?)
            }
            None => of(OUTSIDE, stem)?,
        };
        Some(format!("{stem}.{kind}"))
    }
}
