//! Folders with language models of random weights, made from what the importer says is missing.

use sinter::frontend::llm;
use sinter::frontend::onnx::ImportOptions;
use sinter_passes::compress::hadamard::Random;
use std::path::{Path, PathBuf};

/// A folder with a model of random weights for a configuration; `embedding` is the name of its first tensor,
/// `[vocab_size, hidden_size]`.
pub fn made(set: &str, name: &str, config: &serde_json::Value, embedding: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(set).join(name);
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
    let size = |keys: [&str; 2]| keys.iter().find_map(|k| config[k].as_u64()).unwrap() as usize;
    let dims = vec![size(["vocab_size", "vocab"]), size(["hidden_size", "n_embd"])];
    let mut tensors = vec![(embedding.to_owned(), dims)];
    loop {
        write(&dir, &tensors);
        let Err(missing) = llm::import(&dir, &ImportOptions::default()) else { return dir };
        for d in missing {
            let said = d.message.strip_prefix("tensor ").and_then(|m| m.strip_suffix(" is missing"));
            let (name, dims) = said.and_then(|m| m.split_once(' ')).unwrap_or_else(|| panic!("{name}: {d}"));
            tensors.push((name.to_owned(), serde_json::from_str(dims).unwrap()));
        }
    }
}

fn write(dir: &Path, tensors: &[(String, Vec<usize>)]) {
    let mut random = Random::new(7);
    let (mut head, mut data) = (serde_json::Map::new(), vec![]);
    for (name, dims) in tensors {
        let start = data.len();
        // Factors of norms lie round 1.
        let middle = if dims.len() == 1 && name.ends_with("weight") { 1.0 } else { 0.0 };
        for _ in 0..dims.iter().product::<usize>() {
            data.extend((middle + 0.6 * (random.unit() as f32 - 0.5)).to_le_bytes());
        }
        let entry = serde_json::json!({ "dtype": "F32", "shape": dims, "data_offsets": [start, data.len()] });
        head.insert(name.clone(), entry);
    }
    let head = serde_json::Value::from(head).to_string().into_bytes();
    let file = [(head.len() as u64).to_le_bytes().as_slice(), &head, &data].concat();
    std::fs::write(dir.join("model.safetensors"), file).unwrap();
}
