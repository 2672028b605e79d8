//! Wrong files of language models are answered with typed errors that name what is wrong, and never with a panic.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod common;

use common::{no_panic, root};
use sinter::frontend::llm::{self, gguf, hf};
use sinter::frontend::onnx::ImportOptions;
use sinter_ir::op::quantized_matmul::Activations;
use sinter_ir::{Diag, Fault, Op};
use std::path::{Path, PathBuf};

fn seed() -> Vec<u8> {
    std::fs::read(root().join("fuzz/seeds/gguf/llama.gguf")).unwrap()
}

fn build(file: Vec<u8>) -> Result<(), Vec<Diag>> {
    let c = gguf::of_bytes(&file.into(), "seed".into()).map_err(|d| vec![d])?;
    llm::build(&c, &ImportOptions::default()).map(drop)
}

#[test]
fn broken_gguf_files_are_answered() {
    assert_eq!(build(seed()), Ok(()));
    let whole = seed();
    let mut refused = 0;
    let mut try_one = |file: Vec<u8>, what: &str| {
        let answer = no_panic(|| Ok(build(file))).unwrap_or_else(|p| panic!("{what}: {p}"));
        if let Err(diags) = answer {
            assert!(!diags.is_empty() && diags.iter().all(|d| d.fault != Fault::Bug), "{what}: {diags:?}");
            refused += 1;
        }
    };
    // Every byte of the header, as another number, and every cut in steps.
    for i in 0..1300 {
        for x in [0x01, 0x40, 0xff] {
            let mut f = whole.clone();
            f[i] ^= x;
            try_one(f, &format!("byte {i} changed by {x:#x}"));
        }
    }
    for n in (0..whole.len()).step_by(17) {
        try_one(whole[..n].to_vec(), &format!("cut at {n}"));
    }
    assert!(refused > 2000, "only {refused} were refused");
}

/// Imports a quantised checkpoint (its configuration, a zero byte, its weights) and reads all its weights.
fn read_all(both: &[u8]) -> Result<(), Vec<Diag>> {
    let end = both.iter().position(|b| *b == 0).unwrap_or(both.len());
    let (config, file) = (both[..end].to_vec(), both.get(end + 1..).unwrap_or_default().to_vec());
    let c = hf::of_bytes(&config.into(), &file.into()).map_err(|d| vec![d])?;
    let stored = Some(Activations::Blocks);
    let (module, _) = llm::build(&c, &ImportOptions { stored, ..ImportOptions::default() })?;
    for (_, node) in module.graph.iter() {
        if let Op::Constant(constant) = &node.op {
            constant.tensor.load().map_err(|d| vec![d])?;
        }
    }
    Ok(())
}

#[test]
fn broken_quantised_checkpoints_are_answered() {
    let (mut tried, mut refused) = (0, 0);
    for entry in std::fs::read_dir(root().join("fuzz/seeds/checkpoint")).unwrap() {
        let path = entry.unwrap().path();
        let whole = std::fs::read(&path).unwrap();
        assert_eq!(read_all(&whole), Ok(()), "{}", path.display());
        let mut try_one = |file: Vec<u8>, what: &str| {
            let answer = no_panic(|| Ok(read_all(&file)));
            let answer = answer.unwrap_or_else(|p| panic!("{}, {what}: {p}", path.display()));
            tried += 1;
            if let Err(diags) = answer {
                let typed = !diags.is_empty() && diags.iter().all(|d| d.fault != Fault::Bug);
                assert!(typed, "{}, {what}: {diags:?}", path.display());
                refused += 1;
            }
        };
        // The configuration and the header in front of the weights.
        for i in (0..3500).step_by(7) {
            for x in [0x01, 0x11] {
                let mut f = whole.clone();
                f[i] ^= x;
                try_one(f, &format!("byte {i} changed by {x:#x}"));
            }
        }
        for n in (0..whole.len()).step_by(997) {
            try_one(whole[..n].to_vec(), &format!("cut at {n}"));
        }
    }
    assert!(tried > 5000 && refused > tried / 2, "{refused} of {tried} were refused");
}

/// A folder with these files.
fn folder(name: &str, files: &[(&str, &[u8])]) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("sinter-language-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    files.iter().for_each(|(n, b)| std::fs::write(dir.join(n), b).unwrap());
    dir
}

fn problems(dir: &Path) -> String {
    let found = llm::import(dir, &ImportOptions::default()).unwrap_err();
    std::fs::remove_dir_all(dir).unwrap();
    assert!(found.iter().all(|d| d.fault != Fault::Bug), "{found:?}");
    found.iter().map(|d| d.to_string() + "\n").collect()
}

const CONFIG: &[u8] =
    br#"{"model_type": "llama", "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1,
    "num_attention_heads": 2, "vocab_size": 4, "tie_word_embeddings": true}"#;

fn safetensors(header: &str, bytes: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; bytes]].concat()
}

#[test]
fn everything_wrong_with_weights_is_told_at_once() {
    let header = r#"{"model.embed_tokens.weight":{"dtype":"F32","shape":[4,8],"data_offsets":[0,128]},
        "model.norm.weight":{"dtype":"F32","shape":[7],"data_offsets":[0,28]},
        "model.layers.0.input_layernorm.weight":{"dtype":"I32","shape":[8],"data_offsets":[0,32]}}"#;
    let text = problems(&folder(
        "missing",
        &[("config.json", CONFIG), ("model.safetensors", &safetensors(header, 128))],
    ));
    for part in [
        "model.norm.weight is [7], [8] is needed",
        "model.layers.0.self_attn.q_proj.weight [8, 8] is missing",
        "model.layers.0.mlp.down_proj.weight [8, 16] is missing",
        "weights of type i32",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
}

#[test]
fn wrong_folders_say_what_to_do() {
    let text = problems(&folder("bare", &[("config.json", CONFIG)]));
    assert!(text.contains("no model.safetensors") && text.contains("save_pretrained"), "{text}");
    let text = problems(&folder(
        "type",
        &[("config.json", br#"{"model_type": "bert"}"#), ("model.safetensors", &safetensors("{}", 0))],
    ));
    assert!(text.contains("`bert`") && text.contains("qwen3"), "{text}");
    let text = problems(&folder("json", &[("config.json", b"{")]));
    assert!(text.contains("config.json is not JSON"), "{text}");
    let index = br#"{"weight_map": {"a": "../../etc/passwd"}}"#;
    let text =
        problems(&folder("index", &[("config.json", CONFIG), ("model.safetensors.index.json", index)]));
    assert!(text.contains("must not leave"), "{text}");
    let quantised = br#"{"model_type": "llama", "quantization_config": {"quant_method": "exl2"}}"#;
    let files: [(&str, &[u8]); 2] =
        [("config.json", quantised), ("model.safetensors", &safetensors("{}", 0))];
    let text = problems(&folder("exl2", &files));
    assert!(text.contains("method `exl2`") && text.contains("compressed-tensors"), "{text}");
}
