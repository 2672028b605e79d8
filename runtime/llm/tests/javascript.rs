//! The tokenizer that bundles for browsers bring, against what the Python packages give.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod common;

use sinter_llm::gguf::Vocabulary;
use std::path::Path;
use std::process::Command;

/// Tells every text that becomes other tokens, or whose tokens become another text.
const SCRIPT: &str = r#"
import fs from "node:fs";
const [script, file, cases] = process.argv.slice(1);
const { Tokenizer } = await import("file://" + script);
const t = new Tokenizer(JSON.parse(fs.readFileSync(file)));
const strip = t.steps.find((s) => s.type === "Strip");
let checked = 0;
for (const c of JSON.parse(fs.readFileSync(cases))) {
    const ids = t.encode(c.text, { begin: false }), whole = t.encode(c.text);
    let text = Buffer.concat(whole.map((i) => t.bytes[i])).toString();
    if (strip && text.startsWith(strip.content)) text = text.slice(1);
    for (const [got, want] of [[ids, c.ids], [whole, c.whole], [text, c.decoded]]) {
        if (JSON.stringify(got) !== JSON.stringify(want)) {
            throw new Error(`${JSON.stringify(c.text)}: ${JSON.stringify(got)}, expected ${JSON.stringify(want)}`);
        }
    }
    checked++;
}
for (const [type, part] of [["Unigram", "model"], ["Nmt", "normalizer"], ["BertPreTokenizer", "pre_tokenizer"]]) {
    const other = JSON.parse(fs.readFileSync(file));
    other[part] = { ...(part === "model" ? other.model : {}), type };
    let refused = "";
    try { new Tokenizer(other); } catch (e) { refused = e.message; }
    if (!refused.includes(type)) throw new Error(`${type} is taken: ${refused}`);
}
console.log(checked);
"#;

/// Compares a tokenizer with stored cases.
fn compare(tokenizer: &[u8], cases: &str) {
    if !Command::new("node").arg("--version").output().is_ok_and(|o| o.status.success()) {
        println!("SKIP: no Node.js: the tokenizer of bundles for browsers is not run");
        return;
    }
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tokenizer-of-{cases}"));
    std::fs::write(&file, tokenizer).unwrap();
    let out = Command::new("node")
        .args(["--input-type=module", "-e", SCRIPT])
        .arg(common::root().join("compiler/src/web/tokenizer.js"))
        .arg(&file)
        .arg(common::root().join("testdata/llm").join(cases))
        .output()
        .unwrap();
    assert!(out.status.success(), "{cases}: {}", String::from_utf8_lossy(&out.stderr));
    let checked: usize = String::from_utf8(out.stdout).unwrap().trim().parse().unwrap();
    assert!(checked >= 10, "{cases}: {checked} texts");
}

#[test]
fn byte_fallback() {
    if let Some(file) = common::shared("models/stories260k-hf/tokenizer.json") {
        compare(&common::read(&file), "stories260k.json");
    }
}

#[test]
fn bytes_and_patterns() {
    if let Some(file) = common::smollm2() {
        compare(&Vocabulary::read(&file).unwrap().tokenizer_json().unwrap(), "smollm2.json");
    }
}
