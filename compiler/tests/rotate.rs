//! Rotated language models: without rounding they are the same function, with it fewer bits do.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod common;
#[path = "common/random_llm.rs"]
mod random_llm;

use sinter::calibrate::{self, Calibration};
use sinter::frontend::llm;
use sinter::frontend::llm::cache::KvCache;
use sinter::frontend::onnx::ImportOptions;
use sinter_ir::{DType, Diag, Module, Tensor, eval};
use sinter_passes::compress::Recipe;
use sinter_passes::compress::hadamard::{Random, orthogonal};
use sinter_passes::compress::rotation::{Rotation, Rotations};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn models() -> Option<PathBuf> {
    let dir = common::shared()?.join("models");
    dir.is_dir().then_some(dir)
}

fn import(dir: &Path, rotations: Option<Rotations>) -> Result<(Module, i64), Vec<Diag>> {
    let options = ImportOptions {
        all_logits: true,
        kv_cache: Some(KvCache::Floats(DType::F32)),
        rotations,
        ..ImportOptions::default()
    };
    let m = llm::import(dir, &options)?;
    let vocabulary = m.module.graph.ty(m.module.graph.outputs[0]).dims[1].as_const().unwrap();
    assert_eq!(m.module.verify(), [], "{}", dir.display());
    Ok((m.module, vocabulary))
}

/// Logits of some tokens, none of which is told.
fn logits(m: &Module, vocabulary: i64) -> Vec<f32> {
    const TOKENS: usize = 9;
    let mut random = Random::new(8);
    let ids: Vec<u8> =
        (0..TOKENS).flat_map(|_| ((random.unit() * vocabulary as f64) as i32).to_le_bytes()).collect();
    let ids = Tensor::from_bytes(DType::I32, vec![TOKENS], ids).unwrap();
    let state = |s: &sinter_ir::State| {
        let ty = m.graph.ty(m.graph.inputs[s.input as usize]);
        let dims = ty.dims.iter().map(|d| d.eval(&|_| Some(16)).unwrap() as usize).collect();
        Tensor::zeros(ty.dtype, dims).unwrap()
    };
    let all: Vec<Tensor> = [ids, Tensor::i64s(&[0])].into_iter().chain(m.states.iter().map(state)).collect();
    eval::module(m, &all).unwrap()[0].to_f32().unwrap()
}

/// A width's rotation that has no structure.
fn dense(dir: &Path) -> Rotations {
    let config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir.join("config.json")).unwrap()).unwrap();
    let n = config.get("hidden_size").or(config.get("n_embd")).unwrap().as_u64().unwrap() as usize;
    let stream = Rotation::Dense(n, orthogonal(n, &mut Random::new(2)).values);
    Rotations { stream: Some(Arc::new(stream)), keys: true, ..Rotations::default() }
}

/// The largest difference that rotations make, relative to the largest logit.
fn difference(dir: &Path) -> Result<f32, Vec<Diag>> {
    let (plain, vocabulary) = import(dir, None)?;
    let want = logits(&plain, vocabulary);
    let most = want.iter().fold(0f32, |m, v| m.max(v.abs()));
    let still = Arc::new(Rotation::None);
    let folded = Rotations { stream: Some(still.clone()), values: vec![still], ..Rotations::default() };
    let mut worst = 0f32;
    let grouped = Rotations { group: 16, ..Rotations::default() };
    for r in [folded, Rotations::default(), grouped, dense(dir)] {
        let got = logits(&import(dir, Some(r))?.0, vocabulary);
        assert_eq!(got.len(), want.len());
        worst = got.iter().zip(&want).fold(worst, |m, (a, b)| m.max((a - b).abs() / most));
    }
    Ok(worst)
}

#[test]
fn rotations_change_nothing_or_are_refused() {
    let Some(dir) = models() else { return common::skip("there is no folder of shared models") };
    let tiny = dir.join("tiny-random");
    for name in [tiny.join("llama"), tiny.join("qwen2"), tiny.join("gpt2"), dir.join("stories260k-hf")] {
        let off = difference(&name).unwrap_or_else(|d| panic!("{}: {d:?}", name.display()));
        println!("{}: {off:e}", name.display());
        assert!(off < 1e-4, "{}: {off}", name.display());
    }
    for (name, why) in [("mixtral-moe", "experts"), ("mamba", "only attention")] {
        let said = import(&tiny.join(name), Some(Rotations::default())).unwrap_err();
        assert!(said.iter().any(|d| d.message.contains(why)), "{said:?}");
    }
}

/// Every kind of norm, projection and feed-forward block.
#[test]
fn architectures_are_rotated_or_say_why_not() {
    let all = serde_json::json!({
        "hidden_size": 32, "num_hidden_layers": 2, "num_layers": 2, "num_attention_heads": 4, "num_heads": 4,
        "num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 48, "vocab_size": 50,
        "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "attention_layers": ["global", "local"],
        "residual_multiplier": 0.3, "embedding_multiplier": 3.0, "logits_scaling": 2.0,
        "partial_rotary_factor": 0.5, "rotary_pct": 0.5, "query_pre_attn_scalar": 8, "sliding_window": 16,
    });
    let rotated = ["qwen3", "phi3", "granite", "smollm3", "mistral", "gpt_neox", "gpt_neo"];
    for name in rotated.into_iter().chain(["gemma2", "olmo2"]) {
        let mut config = all.clone();
        config["model_type"] = name.into();
        let embedding = match name {
            "gpt_neox" => "gpt_neox.embed_in.weight",
            "gpt_neo" => "transformer.wte.weight",
            _ => "model.embed_tokens.weight",
        };
        let dir = random_llm::made("rotate", name, &config, embedding);
        match difference(&dir) {
            Ok(off) => {
                println!("{name}: {off:e}");
                assert!(rotated.contains(&name) && off < 1e-4, "{name}: {off}");
            }
            Err(d) => {
                assert!(!rotated.contains(&name), "{name}: {d:?}");
                assert!(d[0].message.contains("before it is added"), "{d:?}");
            }
        }
    }
}

/// What is learned on a text keeps the function, too.
#[test]
fn learned_rotations_are_rotations() {
    let Some(shared) = common::shared() else { return common::skip("there is no folder of shared models") };
    let (dir, text) = (shared.join("models/stories260k-hf"), shared.join("text/calibration_en.txt"));
    if !dir.is_dir() || !text.is_file() {
        return common::skip("no model or no text");
    }
    let how = Calibration { text, window: 64, windows: 4, threads: 1, ..Calibration::default() };
    let recipe = Recipe::parse("spin-w4a4").unwrap().unwrap();
    let learned = calibrate::learn(&dir, &ImportOptions::default(), &recipe, &how, &|_| {}).unwrap();
    // Values of every layer have a rotation of their own.
    assert!(learned.values.len() == 5 && learned.values.windows(2).all(|w| w[0] != w[1]));
    let (plain, vocabulary) = import(&dir, None).unwrap();
    let (want, got) =
        (logits(&plain, vocabulary), logits(&import(&dir, Some(learned)).unwrap().0, vocabulary));
    let most = want.iter().fold(0f32, |m, v| m.max(v.abs()));
    assert!(got.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-4 * most));
}
