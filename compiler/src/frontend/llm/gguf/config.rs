//! A file's metadata in the words of `config.json`.

use super::family::Family;
use super::reader::File;
use serde_json::{Map, Value, json};
use sinter_ir::{Diag, Result};

/// Keys below the architecture's name, and what they are called elsewhere.
const KEYS: &[(&str, &[&str])] = &[
    ("block_count", &["num_hidden_layers", "n_layer"]),
    ("context_length", &["max_position_embeddings", "n_positions"]),
    ("embedding_length", &["hidden_size", "n_embd"]),
    ("feed_forward_length", &["intermediate_size", "n_inner"]),
    ("attention.head_count", &["num_attention_heads", "n_head"]),
    ("attention.head_count_kv", &["num_key_value_heads"]),
    ("attention.key_length", &["head_dim"]),
    ("attention.layer_norm_rms_epsilon", &["rms_norm_eps"]),
    ("attention.layer_norm_epsilon", &["layer_norm_epsilon", "layer_norm_eps"]),
    ("attention.sliding_window", &["sliding_window"]),
    ("attn_logit_softcapping", &["attn_logit_softcapping"]),
    ("final_logit_softcapping", &["final_logit_softcapping"]),
    ("rope.freq_base", &["rope_theta"]),
    ("expert_count", &["num_experts", "num_local_experts"]),
    ("expert_used_count", &["num_experts_per_tok"]),
    ("expert_feed_forward_length", &["moe_intermediate_size"]),
    ("attention.scale", &["attention_multiplier"]),
    ("embedding_scale", &["embedding_multiplier"]),
    ("residual_scale", &["residual_multiplier"]),
    ("logit_scale", &["logits_scaling"]),
];

/// The configuration of a file.
pub fn of(file: &File, family: &Family) -> Result<Value> {
    let get = |key: &str| file.metadata.get(&format!("{}.{key}", family.name));
    let mut c = Map::new();
    for (key, names) in KEYS {
        if let Some(v) = get(key) {
            let v = one(v)
                .ok_or_else(|| Diag::unsupported(format!("GGUF: {key} differs from layer to layer")))?;
            names.iter().for_each(|n| drop(c.insert((*n).to_owned(), v.clone())));
        }
    }
    let mut set = |key: &str, v: Value| drop(c.insert(key.to_owned(), v));
    let experts = get("expert_count").and_then(Value::as_u64).unwrap_or(0) > 0;
    set("model_type", if experts && family.name == "llama" { "mixtral" } else { family.model_type }.into());
    let words = file.metadata.get("tokenizer.ggml.tokens").and_then(Value::as_array).map(Vec::len);
    let rows = file.tensors.get("token_embd.weight").and_then(|t| t.dims.first().copied());
    // The embedding may have more rows than there are tokens.
    if let Some(n) = rows.or(words) {
        set("vocab_size", n.into());
    }
    let has = |name: &str| file.tensors.contains_key(name);
    set("tie_word_embeddings", (!has("output.weight")).into());
    set("attention_bias", has("blk.0.attn_output.bias").into());
    set("mlp_bias", has("blk.0.ffn_down.bias").into());
    set("norm_topk_prob", (family.name != "olmoe").into());
    for (key, name) in [("bos_token_id", "bos_token_id"), ("eos_token_id", "eos_token_id")] {
        if let Some(v) = file.metadata.get(&format!("tokenizer.ggml.{key}")) {
            set(name, v.clone());
        }
    }
    if let Some(r) = rope(file, family)? {
        set("rope_scaling", r);
    }
    gemma(file, family, &mut c);
    Ok(Value::Object(c))
}

/// A value, or the one that all layers share.
fn one(v: &Value) -> Option<Value> {
    match v {
        Value::Array(all) => all.first().filter(|f| all.iter().all(|v| v == *f)).cloned(),
        v => Some(v.clone()),
    }
}

/// Factors of scores that files do not tell, because they follow from the size of the model.
fn gemma(file: &File, family: &Family, c: &mut Map<String, Value>) {
    if !matches!(family.name, "gemma2" | "gemma3") {
        return;
    }
    let number = |k: &str| file.metadata.get(&format!("{}.{k}", family.name)).and_then(Value::as_u64);
    let (width, heads) =
        (number("embedding_length").unwrap_or(0), number("attention.head_count").unwrap_or(1));
    // The models of 27B divide by the width per head, the others by the size of a head.
    let large = number("block_count") == Some(if family.name == "gemma2" { 46 } else { 62 });
    let size = if large { width / heads.max(1) } else { number("attention.key_length").unwrap_or(256) };
    c.insert("query_pre_attn_scalar".into(), size.into());
    c.insert("hidden_activation".into(), "gelu_pytorch_tanh".into());
}

/// Scaling of rotary positions: from metadata, or from tensors with a divisor for each pair.
fn rope(file: &File, family: &Family) -> Result<Option<Value>> {
    let get = |key: &str| file.metadata.get(&format!("{}.rope.{key}", family.name));
    let list = |name: &str| {
        let t = file.tensors.get(name)?;
        Some(t.kind.values(&t.bytes))
    };
    let original = get("scaling.original_context_length");
    if let Some(divisors) = list("rope_freqs.weight") {
        return Ok(Some(json!({
            "rope_type": "longrope", "short_factor": divisors, "long_factor": divisors, "attention_factor": 1.0,
        })));
    }
    if let (Some(short), Some(long)) = (list("rope_factors_short.weight"), list("rope_factors_long.weight")) {
        let mut r = json!({ "rope_type": "longrope", "short_factor": short, "long_factor": long });
        r["original_max_position_embeddings"] = original.cloned().unwrap_or_default();
        r["attention_factor"] = get("scaling.attn_factor").cloned().unwrap_or_default();
        return Ok(Some(r));
    }
    let kind = get("scaling.type").and_then(Value::as_str).unwrap_or("none");
    let mut r = match kind {
        "none" => return Ok(partial(file, family).map(|p| json!({ "partial_rotary_factor": p }))),
        "linear" | "yarn" => json!({ "rope_type": kind }),
        other => return Err(Diag::unsupported(format!("GGUF: rope scaling `{other}`"))),
    };
    r["factor"] = get("scaling.factor").cloned().unwrap_or_default();
    r["original_max_position_embeddings"] = original.cloned().unwrap_or_default();
    r["attention_factor"] = get("scaling.attn_factor").cloned().unwrap_or_default();
    Ok(Some(r))
}

/// The part of each head that turns, where it is not all of it.
fn partial(file: &File, family: &Family) -> Option<f64> {
    let number = |k: &str| file.metadata.get(&format!("{}.{k}", family.name)).and_then(one_number);
    let turned = number("rope.dimension_count")?;
    let size = match number("attention.key_length") {
        Some(n) => n,
        None => number("embedding_length")? / number("attention.head_count")?.max(1),
    };
    (turned < size).then(|| turned as f64 / size as f64)
}

fn one_number(v: &Value) -> Option<u64> {
    one(v).and_then(|v| v.as_u64())
}
