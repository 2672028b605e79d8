//! Broken tokenizers, templates, vocabularies, configurations and manifests: each ends in a result or an error.
//!
//! `MUTATIONS=n` runs that many of each kind, `MUTATION=kind#number` a single one.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod common;

use common::Rng;
use serde_json::{Value, json};
use sinter_llm::bundle::Manifest;
use sinter_llm::gguf::{TokenKind, Vocabulary};
use sinter_llm::template::{ChatTemplate, Context, Message};
use sinter_llm::{LanguageModel, Tokenizer};
use std::panic::catch_unwind;

/// Values that somebody may have put in the place of another one.
fn odd(rng: &mut Rng) -> Value {
    let list = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1e300),
        json!(4_294_967_296u64),
        json!(u64::MAX),
        json!(""),
        json!(" "),
        json!("<unk>"),
        json!("\u{10ffff}"),
        json!("(?:("),
        json!("x".repeat(5000)),
        json!([]),
        json!({}),
        json!([null]),
        json!([["a", "b"]]),
        json!({"type": "Sequence"}),
        json!({"type": "BPE"}),
        json!({"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": false}),
        json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
        json!({"type": "NFKC"}),
        json!({"type": "Unigram", "vocab": [["a", -1.0]], "unk_id": 7, "byte_fallback": true}),
        json!({"type": "WordLevel", "vocab": {}, "unk_token": "x"}),
    ];
    list[rng.below(list.len())].clone()
}

/// Changes one value somewhere.
fn change(v: &mut Value, rng: &mut Rng) {
    let inside = match v {
        Value::Array(list) if !list.is_empty() => {
            let i = rng.below(list.len());
            match rng.below(8) {
                0 => return drop(list.remove(i)),
                1 => return list.push(list[i].clone()),
                _ => list.get_mut(i),
            }
        }
        Value::Object(map) if !map.is_empty() => {
            let key = map.keys().nth(rng.below(map.len())).unwrap().clone();
            match rng.below(10) {
                0 => return drop(map.remove(&key)),
                1 => {
                    let moved = map.remove(&key).unwrap();
                    return drop(map.insert(format!("{key}x"), moved));
                }
                _ => map.get_mut(&key),
            }
        }
        _ => None,
    };
    match inside {
        Some(part) if rng.below(4) > 0 => change(part, rng),
        Some(part) => *part = odd(rng),
        None => *v = odd(rng),
    }
}

/// Changes bytes without looking at what they mean.
fn damage(bytes: &mut Vec<u8>, rng: &mut Rng) {
    for _ in 0..1 + rng.below(4) {
        if bytes.is_empty() {
            return;
        }
        let at = rng.below(bytes.len());
        match rng.below(6) {
            0 => bytes.truncate(at),
            1 => drop(bytes.remove(at)),
            2 => bytes.insert(at, rng.bits() as u8),
            3 => bytes[at] = b"{}[]\",:0-%|"[rng.below(11)],
            4 => {
                let end = bytes.len().min(at + 1 + rng.below(40));
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            _ => bytes[at] ^= 1 << rng.below(8),
        }
    }
}

fn broken(seed: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    match serde_json::from_slice::<Value>(seed) {
        Ok(mut v) if rng.below(4) > 0 => {
            for _ in 0..1 + rng.below(3) {
                change(&mut v, rng);
            }
            bytes = serde_json::to_vec(&v).unwrap();
        }
        _ => damage(&mut bytes, rng),
    }
    bytes
}

/// Loads a tokenizer and uses it if it is one.
fn tokenizer(bytes: &[u8]) -> bool {
    let Ok(t) = Tokenizer::from_json(bytes) else { return false };
    for text in ["", " a  b\n", "<s>x</s>", "é😀\u{0}"] {
        if let Ok(ids) = t.encode(text, true) {
            let mut stream = t.stream(false);
            ids.iter().for_each(|id| drop(stream.push(t.piece(*id)).to_vec()));
            t.decode(&ids, true);
        }
    }
    true
}

fn template(bytes: &[u8]) -> bool {
    let Ok(source) = std::str::from_utf8(bytes) else { return false };
    let Ok(t) = ChatTemplate::new(source) else { return false };
    let context = Context { add_generation_prompt: true, now: Some(0), ..Context::default() };
    t.render(&[Message::new("user", "a"), Message::new("assistant", "b")], &context).is_ok()
}

fn config(bytes: &[u8]) -> bool {
    let mut m = LanguageModel::default();
    let read = m.read_config("config.json", bytes).is_ok();
    m.read_tokenizer_config(bytes).is_ok() && read
}

fn vocabulary(bytes: &[u8]) -> bool {
    // Text of its fields, broken: what a GGUF file may say.
    let Ok(v) = serde_json::from_slice::<Value>(bytes) else { return false };
    let texts = |k: &str| {
        v[k].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let id = |k: &str| v[k].as_u64().and_then(|n| u32::try_from(n).ok());
    let kinds =
        [TokenKind::Normal, TokenKind::Unknown, TokenKind::Control, TokenKind::UserDefined, TokenKind::Byte];
    let numbers =
        |k: &str| v[k].as_array().into_iter().flatten().filter_map(Value::as_f64).collect::<Vec<f64>>();
    let vocabulary = Vocabulary {
        model: v["model"].as_str().unwrap_or("llama").to_owned(),
        tokens: texts("tokens"),
        merges: texts("merges"),
        scores: numbers("scores").iter().map(|s| *s as f32).collect(),
        kinds: numbers("kinds").iter().map(|k| kinds[(*k as usize) % 5]).collect(),
        bos: id("bos"),
        eos: id("eos"),
        unknown: id("unknown"),
        add_bos: v["add_bos"].as_bool(),
        ..Vocabulary::default()
    };
    let mut m = LanguageModel::default();
    vocabulary.describe(&mut m);
    vocabulary.tokenizer_json().is_ok_and(|j| tokenizer(&j))
}

fn manifest(bytes: &[u8]) -> bool {
    Manifest::read(bytes).is_ok_and(|m| m.language_model().is_ok() && m.capacity(None).is_ok())
}

type Reader = fn(&[u8]) -> bool;

fn seeds() -> Vec<(&'static str, Vec<u8>, Reader)> {
    let spm = common::expected("spm.json");
    let mut small = json!({"model": "llama", "bos": 1, "eos": 2, "unknown": 0, "add_bos": true});
    for key in ["tokens", "scores", "kinds"] {
        small[key] = spm[key].as_array().unwrap().iter().take(290).cloned().collect();
    }
    let gpt2 = json!({"model": "gpt2", "tokens": ["a", "b", "ab", "Ġ", "<s>"], "kinds": [0, 0, 0, 0, 2], "merges": ["a b"], "bos": 4, "add_bos": true});
    let config = json!({"bos_token_id": 1, "eos_token_id": [2, 3], "temperature": 0.6, "top_k": 40, "do_sample": true,
        "chat_template": [{"name": "default", "template": "x"}], "bos_token": {"content": "<s>"}});
    let port = |name: &str, dtype: &str, range: Value| json!({"name": name, "dtype": dtype, "range": range});
    let manifest = json!({"schema": 1, "name": "m", "capacity": {"min": 1, "max": 100, "name": "capacity"},
        "inputs": [port("tokens", "i32", json!([[1, 8]])), port("position", "i64", json!([[1, 1]]))],
        "outputs": [port("logits", "f32", json!([[1, 1], [9, 9]]))],
        "language_model": {"architecture": "a", "vocab": 9, "context": 64, "eos": [2]}});
    let bytes = |v: &Value| serde_json::to_vec(v).unwrap();
    let mut out: Vec<(&'static str, Vec<u8>, Reader)> = vec![
        ("spm", bytes(&small), vocabulary),
        ("gpt2", bytes(&gpt2), vocabulary),
        ("config", bytes(&config), self::config),
        ("manifest", bytes(&manifest), self::manifest),
    ];
    for case in common::expected("templates.json").as_array().unwrap().iter().step_by(3) {
        out.push(("template", case["source"].as_str().unwrap().into(), template));
    }
    if let Some(file) = common::shared("models/stories260k-hf/tokenizer.json") {
        out.push(("stories260k", common::read(&file), tokenizer));
    }
    out
}

#[test]
fn broken_files_end_in_errors() {
    let most = std::env::var("MUTATIONS").ok().map_or(400, |n| n.parse().unwrap());
    let only = std::env::var("MUTATION").ok();
    let only = only.as_deref().and_then(|t| t.split_once('#'));
    let mut bad = vec![];
    for (name, seed, read) in seeds() {
        assert!(read(&seed) || name == "template", "{name} is broken to begin with");
        let (mut good, range) = (
            0,
            match only {
                Some((n, i)) if n == name => i.parse().unwrap()..i.parse::<u64>().unwrap() + 1,
                Some(_) => 0..0,
                None => 0..most,
            },
        );
        let total = range.end - range.start;
        for i in range {
            let bytes = broken(&seed, &mut Rng::new(i));
            match catch_unwind(|| read(&bytes)) {
                Ok(ok) => good += u64::from(ok),
                Err(_) => bad.push(format!("{name}#{i}")),
            }
        }
        println!("{name}: {good} of {total} broken copies are still good");
    }
    assert!(bad.is_empty(), "panics: {bad:?}");
}
