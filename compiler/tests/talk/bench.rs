//! `sinter bench` of language models.

use super::{common, ok, refused, scratch, toy};
use serde_json::Value;
use std::path::{Path, PathBuf};

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&ok(&[arguments, &["--json"]].concat(), "").0).unwrap()
}

fn program(dir: &Path, name: &str, script: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let file = dir.join(name);
    std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    file
}

/// A program that answers like `llama-bench`, a token per millisecond.
fn llama(dir: &Path) -> PathBuf {
    let script = "echo \"[{\\\"build_commit\\\": \\\"abc1\\\", \\\"model_size\\\": 77, \
                  \\\"avg_ns\\\": $((($4 + $6) * 1000000))}]\"";
    program(dir, "llama-bench", script)
}

/// In the place of the interpreter: 80 ms for reading a prompt, 40 for generating, behind one token only.
fn python(dir: &Path) -> PathBuf {
    let script = r#"while read -r job; do
    case "$job" in
    *load*openvino-genai*) echo '{"version": "9.1"}' ;;
    *'"generate":0'*) echo '{"ns": 80000000}' ;;
    *'"generate":10,"tokens":['*,*) echo '{"unavailable": "more than a token"}' ;;
    *'"generate":10,'*) echo '{"ns": 40000000}' ;;
    esac
done"#;
    program(dir, "python", script)
}

const SMALL: &[&str] = &["--prompt-tokens", "40", "--generate-tokens", "10", "--rounds", "2"];

#[test]
fn bundles_next_to_another() {
    let dir = scratch("bench");
    let toy = toy::bundle(&dir, 0);
    let (toy, llama) = (toy.to_str().unwrap(), llama(&dir));
    let model = dir.join("any.gguf");
    std::fs::write(&model, "").unwrap();
    let more = ["--against", "llama.cpp", "--llama-bench", llama.to_str().unwrap(), "--reference"];
    let v = json(&[&["bench", toy], SMALL, &more, &[model.to_str().unwrap()]].concat());
    let (ours, theirs) = (&v["entries"][0], &v["entries"][1]);
    assert_eq!((&v["prompt"], &v["generated"], &v["chunk"]), (&40.into(), &10.into(), &toy::CHUNK.into()));
    assert_eq!((&theirs["version"], &theirs["bytes"]), (&"abc1".into(), &77.into()));
    for phase in ["read", "generate"] {
        let rate = |e: &Value| e[phase]["median"].as_f64().unwrap();
        assert!((rate(theirs) - 1000.0).abs() < 1e-6, "{v}");
        let ratio = theirs[format!("{phase}_ratio")].as_f64().unwrap();
        assert!((ratio * rate(theirs) / rate(ours) - 1.0).abs() < 1e-9, "{v}");
        assert_eq!(ours[phase]["rounds"], 2);
    }
    // One that is not there is named; what does not fit is refused.
    let absent = ["--against", "llama.cpp", "--llama-bench", "/nowhere/llama-bench", "--reference", "x.gguf"];
    let (text, _) = ok(&[&["bench", toy], SMALL, &absent].concat(), "");
    assert!(text.contains("n/a: cannot start /nowhere/llama-bench"), "{text}");
    refused(&[&["bench", toy, "--against", "llama.cpp"], SMALL].concat(), 1, "--reference");
    refused(&["bench", toy, "--against", "tract"], 1, "llama.cpp");
    refused(&["bench", toy, "--prompt-tokens", "4000"], 4, "a cache for 4000 tokens");
}

#[test]
fn a_process_that_keeps_the_model() {
    let dir = scratch("bench_process");
    let toy = toy::bundle(&dir, 0);
    let (toy, python, model) = (toy.to_str().unwrap(), python(&dir), dir.join("any.gguf"));
    std::fs::write(&model, "").unwrap();
    let more = ["--against", "openvino-genai", "--python", python.to_str().unwrap(), "--reference"];
    let arguments = [&["bench", toy], SMALL, &more, &[model.to_str().unwrap()]].concat();
    let theirs = &json(&arguments)["entries"][1];
    assert_eq!((&theirs["name"], &theirs["version"]), (&"openvino-genai".into(), &"9.1".into()));
    let rate = |phase: &str| theirs[phase]["median"].as_f64().unwrap();
    assert!((rate("read") - 500.0).abs() < 1e-6 && (rate("generate") - 250.0).abs() < 1e-6, "{theirs}");
    // Behind a prompt, which this one does not want.
    let (text, _) = ok(&[&arguments[..], &["--depth", "3"]].concat(), "");
    assert!(text.contains("n/a: more than a token"), "{text}");
}

#[test]
fn checkpoints_kernel_by_kernel() {
    let Some(dir) = common::shared() else { return common::skip("there is no folder of shared models") };
    let model = dir.join("models/stories260k-hf");
    let v = json(&[&["bench", model.to_str().unwrap()], SMALL].concat());
    let p = &v["profiles"];
    for phase in ["read", "generate"] {
        let kernels = p[phase]["kernels"].as_array().unwrap();
        assert!(kernels.iter().any(|k| k["ops"].as_str().unwrap().contains("MatMul")), "{v}");
        assert!(p[phase]["floor"].as_f64().unwrap() > 0.0, "{v}");
    }
    // A token needs every weight but most of the embedding once, and little else.
    let weights = v["entries"][0]["bytes"].as_f64().unwrap();
    let per_token = p["bytes_per_token"].as_f64().unwrap();
    assert!(per_token > 0.6 * weights && per_token < 1.5 * weights, "{per_token} of {weights}");
}
