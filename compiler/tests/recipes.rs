//! Every architecture of language models through the recipes of `--quantize` and `--prune`: a model that answers, or a
//! refusal that says why.
//!
//! A run of the suite takes some recipes with every architecture and every recipe with some; all pairs are made where
//! `ALL_RECIPES` is set.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod common;
#[path = "common/random_llm.rs"]
mod random_llm;

use sinter::calibrate::Calibration;
use sinter::cli::language::model_of;
use sinter::driver::{self, Request};
use sinter::frontend::llm::arch::ARCHITECTURES;
use sinter::frontend::llm::cache::KvCache;
use sinter::frontend::onnx::ImportOptions;
use sinter_ir::{Diag, Fault};
use sinter_llm::eval;
use sinter_llm::files::Opening;
use sinter_passes::compress::Wanted;
use sinter_passes::prune;
use std::path::{Path, PathBuf};

const VOCABULARY: usize = 96;
const WINDOW: usize = 24;

/// What is done: pruning, and codes.
const RECIPES: [(&str, &str); 14] = [
    ("none", "w4"),
    ("none", "hqq-w3-g64-a16"),
    ("none", "awq-w3-a16-kv8"),
    ("none", "gptq-w5-e6-g64"),
    ("none", "awq-gptq-w4-g16-kv4"),
    ("none", "smooth-w8a8"),
    ("none", "rotate-gptq-w4a8-kv8"),
    ("none", "spin-w4a4-token-kv4"),
    ("none", "gptq-mxfp4"),
    ("none", "auto"),
    ("none", "rotate-gptq-auto-a16"),
    ("sparsegpt-2:4", "gptq-w4"),
    ("ffn-30+wanda-50", "none"),
    ("heads-25+layers-1", "w8"),
];
/// Recipes that an architecture meets in a run of the suite.
const MET: usize = 1;

/// A configuration that gives all architectures what they want.
fn config(name: &str) -> serde_json::Value {
    let mut all = serde_json::json!({
        "model_type": name, "hidden_size": 64, "n_embd": 64, "num_hidden_layers": 3, "num_layers": 3, "n_layer": 3,
        "num_attention_heads": 4, "num_heads": 4, "n_head": 4, "num_key_value_heads": 2, "head_dim": 16,
        "intermediate_size": 160, "vocab_size": VOCABULARY, "max_position_embeddings": 64, "n_positions": 64,
        "rms_norm_eps": 1e-5, "attention_layers": ["global", "local", "global"], "window_size": 6,
        "residual_multiplier": 0.3, "embedding_multiplier": 3.0, "logits_scaling": 2.0, "attention_multiplier": 0.2,
        "partial_rotary_factor": 0.5, "rotary_pct": 0.5, "query_pre_attn_scalar": 8, "sliding_window": 16,
        "num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 48,
        "state_size": 16, "conv_kernel": 4, "expand": 2, "n_groups": 2, "chunk_size": 8,
    });
    let latent = serde_json::json!({
        "q_lora_rank": 24, "kv_lora_rank": 32, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16,
        "num_key_value_heads": 4, "n_routed_experts": 4, "n_shared_experts": 1, "first_k_dense_replace": 1,
        "n_group": 2, "topk_group": 1, "topk_method": "group_limited_greedy", "routed_scaling_factor": 2.0,
    });
    let more = match name {
        "deepseek_v2" | "deepseek_v3" => latent,
        "mamba2" => serde_json::json!({ "num_heads": 8, "head_dim": 16 }),
        "gemma3" => serde_json::json!({ "text_config": config("gemma3_text") }),
        _ => serde_json::json!({}),
    };
    let (all_fields, more) = (all.as_object_mut().unwrap(), more.as_object().unwrap().clone());
    all_fields.extend(more);
    all
}

/// Gives a model a tokenizer of words `w0`, `w1`, ...
fn words(dir: &Path, vocabulary: usize) {
    let vocab: serde_json::Map<String, serde_json::Value> =
        (0..vocabulary).map(|i| (format!("w{i}"), i.into())).collect();
    let tokenizer = serde_json::json!({
        "version": "1.0", "added_tokens": [], "decoder": { "type": "Fuse" }, "pre_tokenizer": { "type": "WhitespaceSplit" },
        "model": { "type": "WordLevel", "vocab": vocab, "unk_token": "w0" },
    });
    std::fs::write(dir.join("tokenizer.json"), tokenizer.to_string()).unwrap();
}

fn model(name: &str) -> PathBuf {
    let embedding = match name {
        "gpt_neox" => "gpt_neox.embed_in.weight",
        "gpt2" | "gpt_neo" => "transformer.wte.weight",
        "mamba" | "mamba2" | "falcon_mamba" => "backbone.embeddings.weight",
        "gemma3" => "model.language_model.embed_tokens.weight",
        _ => "model.embed_tokens.weight",
    };
    let dir = random_llm::made("recipes", name, &config(name), embedding);
    words(&dir, VOCABULARY);
    dir
}

fn compiled(model: &Path, text: &Path, (prune, recipe): (&str, &str)) -> Result<driver::Bundle, Vec<Diag>> {
    let (recipe, kv_cache) = KvCache::of_recipe(recipe).unwrap();
    let (stored, compress) = Wanted::parse(recipe).unwrap().parts();
    let how = Calibration {
        text: text.to_owned(),
        window: WINDOW,
        windows: 8,
        threads: 1,
        ..Calibration::default()
    };
    let request = Request {
        model: model.to_owned(),
        import: ImportOptions { all_logits: true, stored, kv_cache, ..ImportOptions::default() },
        targets: vec!["native".into()],
        prune: prune::Recipe::parse(prune).unwrap(),
        compress,
        calibrate: Some(how),
        ..Request::default()
    };
    Ok(driver::compile(&request, &|_| {})?.bundles.remove(0))
}

/// Words that follow each other by chance, some more often than others.
fn text() -> (PathBuf, Vec<u32>) {
    let mut random = sinter_passes::compress::hadamard::Random::new(3);
    let ids: Vec<u32> =
        (0..WINDOW * 12).map(|_| (random.unit().powi(2) * VOCABULARY as f64) as u32).collect();
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("recipes.txt");
    std::fs::write(&path, ids.iter().map(|i| format!("w{i} ")).collect::<String>()).unwrap();
    (path, ids)
}

#[test]
fn architectures_are_compressed_or_say_why_not() {
    let (path, tokens) = text();
    let all = std::env::var_os("ALL_RECIPES").is_some();
    let (mut made, mut refused) = (0, 0);
    for (a, arch) in ARCHITECTURES.iter().enumerate() {
        let name = arch.model_type;
        let dir = model(name);
        let open =
            |b: &driver::Bundle| model_of(b, Opening { threads: 1, capacity: Some(WINDOW) }).unwrap().0;
        let mut float = open(&compiled(&dir, &path, ("none", "none-kv16")).unwrap());
        for (r, recipe) in RECIPES.iter().enumerate() {
            // One that cannot be rotated has bits to choose all the same.
            let own = (name, recipe.1) == ("olmo2", "auto");
            if !all && !own && (r + RECIPES.len() - a * MET % RECIPES.len()) % RECIPES.len() >= MET {
                continue;
            }
            match common::no_panic(|| Ok(compiled(&dir, &path, *recipe))) {
                Ok(Ok(b)) => {
                    let d = eval::compare(&mut open(&b), &mut float, &tokens, WINDOW, 2, &mut |_| {});
                    let (p, _, d) = d.unwrap();
                    println!("{name} {recipe:?}: KL {:.4}", d.mean());
                    // Random weights have nothing to spare: what pruning loses says nothing.
                    let lost = recipe.0 != "none" || d.mean() < 2.0;
                    assert!(p.value().is_finite() && lost, "{name} {recipe:?}: {}", d.mean());
                    made += 1;
                }
                Ok(Err(said)) => {
                    println!("{name} {recipe:?}: {}", said[0]);
                    let clear = |d: &Diag| matches!(d.fault, Fault::Input | Fault::Unsupported);
                    assert!(said.iter().all(clear) && recipe.1 != "auto", "{name} {recipe:?}: {said:?}");
                    refused += 1;
                }
                Err(panic) => panic!("{name} {recipe:?}: {panic}"),
            }
        }
    }
    println!("{made} made, {refused} refused");
    assert!(made > refused);
}
