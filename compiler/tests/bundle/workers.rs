//! Bundles for browsers on several threads, and chat templates, in Node.js.

use crate::link::{compare, compile_for, numbers, write_inputs};
use crate::{Model, common, has, run, scratch};
use serde_json::json;
use std::process::Command;

/// The same results as stored, run after run, with work for the workers; they end when they are told to.
#[test]
fn workers_share_runs() {
    let Some(model) = Model::find("dnsmos-p808-v8").filter(|_| has("node")) else { return };
    let dir = scratch("workers");
    let b = compile_for(&model, &dir, "browser-wasm-threads");
    let files = write_inputs(&model, &dir);
    let given: Vec<_> =
        files.iter().zip(&model.inputs).map(|(f, t)| json!({"file": f, "dims": t.shape()})).collect();
    let mut jobs = vec![];
    for threads in [1, 3] {
        let prefix = dir.join(format!("output-{threads}"));
        let out = run(Command::new("node")
            .arg(common::root().join("compiler/tests/bundle/workers.mjs"))
            .arg(b.dir.join(format!("{}.js", b.manifest.name)))
            .arg(&prefix)
            .args([threads.to_string(), json!(given).to_string()]));
        let lines: Vec<&str> = out.lines().collect();
        compare(&model, &b.manifest, &prefix, &numbers(lines[0]));
        jobs.push(numbers(lines[1])[0]);
    }
    assert!(jobs[0] == 0 && jobs[1] > 10, "{jobs:?}");
}

/// Seconds since 1970 of the day on which the stored texts were made.
const NOW: &str = "1795262400";

#[test]
fn chat_templates_in_javascript() {
    if !has("node") {
        return;
    }
    // The two files lie side by side in bundles, as modules.
    let dir = scratch("templates");
    std::fs::write(dir.join("package.json"), r#"{"type": "module"}"#).unwrap();
    for file in ["template.js", "template-values.js"] {
        std::fs::copy(common::root().join("compiler/src/web").join(file), dir.join(file)).unwrap();
    }
    let out = run(Command::new("node")
        .arg(common::root().join("compiler/tests/bundle/templates.mjs"))
        .args([dir.join("template.js"), common::root().join("testdata/llm/templates.json")])
        .arg(NOW));
    let counts = numbers(out.trim());
    assert!(counts[0] >= 15 && counts[1] == 1, "{counts:?}");
}
