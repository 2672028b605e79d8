//! `sinter bench`.

use super::{abs_model, common, ok, refused, scratch, sinter};
use serde_json::Value;
use std::path::Path;

fn json(dir: &Path, arguments: &[&str]) -> Value {
    serde_json::from_str(&ok(dir, arguments)).unwrap()
}

#[test]
fn times_are_in_order() {
    let dir = scratch("bench");
    let model = abs_model(&dir, &[-1, 64]);
    let v = json(&dir, &["bench", model, "--rounds", "2", "--json"]);
    assert_eq!((&v["schema"], &v["threads"], &v["rounds"]), (&1.into(), &1.into(), &2.into()));
    let ours = &v["entries"][0];
    let time = |key: &str| ours["latency"][key].as_f64().unwrap();
    assert_eq!(ours["name"], "sinter");
    assert!(0.0 < time("min") && time("min") <= time("median") && time("median") <= time("p90"), "{v}");
    assert!(time("runs") >= 2.0);
    assert!(v["against_fastest"].is_null());
    assert_eq!(v["inputs"][0], "x f32[1, 64]", "open dims are as small as they may be");
}

#[test]
fn inputs_fix_the_shapes() {
    let dir = scratch("bench_inputs");
    let model = abs_model(&dir, &[-1]);
    std::fs::write(dir.join("x.json"), "[1, -2, 3]").unwrap();
    let v = json(&dir, &["bench", model, "--inputs", ".", "--rounds", "1", "--json"]);
    assert_eq!(v["inputs"][0], "x f32[3]");
    let missing = ["bench", model, "--inputs", "nothing_here", "--rounds", "1"];
    refused(&dir, &missing, &["neither input_0 nor x"]);
}

#[test]
fn a_bundle_needs_the_model_for_the_others() {
    let dir = scratch("bench_bundle");
    let model = abs_model(&dir, &[8]);
    ok(&dir, &["compile", model, "-o", "out"]);
    assert!(ok(&dir, &["bench", "out/native", "--rounds", "1"]).contains("median"));
    refused(&dir, &["bench", "out/native", "--against", "tract"], &["--reference"]);
    refused(&dir, &["bench", model, "--against", "abacus"], &["abacus", "onnxruntime"]);
}

#[test]
fn who_is_absent_is_named_and_counted() {
    let dir = scratch("bench_absent");
    let model = abs_model(&dir, &[8]);
    let more = ["--python", "/nowhere/python", "--rounds", "1"];
    let text = ok(&dir, &[&["bench", model, "--against", "onnxruntime,ncnn"], &more[..]].concat());
    assert!(text.contains("n/a: cannot start /nowhere/python"), "{text}");
    assert!(text.contains("2 of 2 could not take part"), "{text}");
}

#[test]
fn onnx_runtime_agrees() {
    let dir = scratch("bench_peer");
    let model = abs_model(&dir, &[4, 8]);
    let (code, text, error) =
        sinter(&dir, &["bench", model, "--against", "onnxruntime", "--rounds", "2", "--json"]);
    assert_eq!(code, 0, "{error}");
    let v: Value = serde_json::from_str(&text).unwrap();
    let peer = &v["entries"][1];
    if let Some(why) = peer["unavailable"].as_str() {
        return common::skip(&format!("ONNX Runtime: {why}"));
    }
    assert_eq!(peer["difference"].as_f64(), Some(0.0), "{v}");
    let ratio =
        peer["latency"]["median"].as_f64().unwrap() / v["entries"][0]["latency"]["median"].as_f64().unwrap();
    assert!((peer["ratio"].as_f64().unwrap() / ratio - 1.0).abs() < 1e-9);
    assert_eq!(v["against_fastest"], peer["ratio"]);
}

/// Tags of a page, which must nest, with elements that have no end tag left out.
fn tags(html: &str) -> Vec<String> {
    let (mut open, mut seen) = (Vec::new(), Vec::new());
    for part in html.split('<').skip(1) {
        let (tag, text) = part.split_once('>').expect("a tag that never ends");
        assert!(!text.contains('>'), "a bare > in {text}");
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap().to_owned();
        if tag.starts_with('!') || tag.ends_with('/') {
            continue;
        }
        if tag.starts_with('/') {
            assert_eq!(open.pop().as_ref(), Some(&name), "the end of {name}");
        } else {
            seen.push(name.clone());
            open.push(name);
        }
    }
    assert_eq!(open, Vec::<String>::new(), "tags without end");
    seen
}

#[test]
fn kernels_are_measured_and_drawn() {
    let dir = scratch("bench_profile");
    let g = super::graph(
        vec![super::value("x", super::F32, &[64, 64])],
        vec![super::value("y", super::F32, &[64, 64])],
        vec![],
        vec![
            super::node("MatMul", &["x", "x"], &["p"], vec![]),
            super::node("Softmax", &["p"], &["y"], vec![]),
        ],
    );
    std::fs::write(dir.join("m.onnx"), super::encode(&super::model(g))).unwrap();
    let v = json(&dir, &["bench", "m.onnx", "--rounds", "3", "--profile", "p.html", "--json"]);
    let p = &v["profile"];
    let kernels = p["kernels"].as_array().unwrap();
    let product = kernels.iter().find(|k| k["ops"].as_str().unwrap().contains("MatMul")).unwrap();
    let number = |k: &Value, key: &str| k[key].as_f64().unwrap();
    // What it takes at its rate is what it is: a product of 64 x 64 matrices.
    let operations = number(product, "operations_per_second") * number(product, "seconds");
    assert!((operations / (2.0 * 64.0 * 64.0 * 64.0) - 1.0).abs() < 1e-6, "{product}");
    assert!(kernels.iter().all(|k| number(k, "seconds") > 0.0 && number(k, "calls") >= 1.0));
    let shares: f64 = kernels.iter().map(|k| number(k, "share")).sum();
    assert!((shares - 1.0).abs() < 1e-6, "{shares}");
    assert!(number(&p["peaks"], "fma") > 1e9 && number(p, "floor") > 0.0, "{p}");
    let html = std::fs::read_to_string(dir.join("p.html")).unwrap();
    let tags = tags(&html);
    assert_eq!(tags.iter().filter(|t| *t == "svg").count(), 2);
    assert!(!html.contains("<script") && !html.contains("http"), "a page that needs others");
    assert!(html.contains(product["kernel"].as_str().unwrap()));
}

#[test]
fn bundles_hold_no_stopwatch() {
    let dir = scratch("bench_plain");
    let model = abs_model(&dir, &[8]);
    ok(&dir, &["compile", model, "-o", "out"]);
    refused(&dir, &["bench", "out/native", "--rounds", "1", "--profile", "p.html"], &["name the model file"]);
    let archive = std::fs::read(dir.join("out/native/libabs.a")).unwrap();
    let rdtsc = [0x0f, 0xae, 0xe8, 0x0f, 0x31];
    assert!(!archive.windows(rdtsc.len()).any(|w| w == rdtsc));
}
