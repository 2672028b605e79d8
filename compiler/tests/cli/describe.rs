//! `inspect`, `targets` and `check`: what they say, as text and as JSON.

use super::build::{F32, encode, f32s, graph, model, node, value};
use super::{abs_model, ok, output, scratch, sinter};
use serde_json::Value;

#[test]
fn models_and_bundles_are_described() {
    let dir = scratch("inspect");
    let model = abs_model(&dir, &[-1, 4]);
    let text = ok(&dir, &["inspect", model, "--dim", "x.0=1..9"]);
    for line in ["abs", "  input  x f32[x.0, 4]", "  output y f32[x.0, 4]", "  dim    x.0 1..9"] {
        assert!(text.lines().any(|l| l == line), "`{line}` is not in:\n{text}");
    }
    let v: Value =
        serde_json::from_str(&ok(&dir, &["inspect", model, "--json", "--dim", "x.0=1..9"])).unwrap();
    assert_eq!((&v["name"], v["inputs"].as_array().unwrap().len()), (&"abs".into(), 1));
    assert!(v["ops"].as_object().unwrap().values().any(|n| *n == 1), "{v}");
    ok(&dir, &["compile", model, "--dim", "x.0=1..9", "-o", "out"]);
    let text = ok(&dir, &["inspect", "out/native"]);
    for part in ["abs for ", "  input  x", "  output y", "  dim    x.0 1..9", "  code "] {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
    // The bundle's own words are its manifest.
    let v: Value = serde_json::from_str(&ok(&dir, &["inspect", "out/native", "--json"])).unwrap();
    let file = std::fs::read(dir.join("out/native/manifest.json")).unwrap();
    assert_eq!(v, serde_json::from_slice::<Value>(&file).unwrap());
    assert_eq!(v["inputs"][0]["max_bytes"], 9 * 4 * 4);
    super::refused(&dir, &["inspect", "nothing"], &["nothing"]);
}

#[test]
fn the_folder_of_one_bundle_stands_for_it() {
    let dir = scratch("folder");
    let model = abs_model(&dir, &[4]);
    ok(&dir, &["compile", model, "-o", "out"]);
    assert!(ok(&dir, &["inspect", "out"]).contains("abs for "));
    ok(&dir, &["run", "out", "--random", "1"]);
    ok(&dir, &["compile", model, "-o", "out", "--target", "x86-64-v2"]);
    let (code, _, error) = sinter(&dir, &["run", "out", "--random", "1"]);
    assert_eq!(code, 2);
    assert!(error.contains("out/native, out/x86-64-v2"), "{error}");
}

/// Three products: the second result is live for two steps, the first bar is the shorter one.
#[test]
fn memory_over_time() {
    let dir = scratch("timeline");
    let product = |x: &str, y: &str| node("MatMul", &[x, "w"], &[y], vec![]);
    let nodes = vec![product("x", "a"), product("a", "b"), product("b", "y")];
    let (x, y) = (value("x", F32, &[64, 64]), value("y", F32, &[64, 64]));
    let weights = vec![f32s("w", &[64, 64], &[0.5; 64 * 64])];
    std::fs::write(dir.join("net.onnx"), encode(&model(graph(vec![x], vec![y], weights, nodes)))).unwrap();
    ok(&dir, &["compile", "net.onnx", "-o", "out"]);
    let text = ok(&dir, &["inspect", "out/native"]);
    let (_, bars) = text.split_once("  memory over 3 steps:\n").unwrap_or_else(|| panic!("{text}"));
    let lengths: Vec<usize> = bars.lines().map(|l| l.matches('#').count()).collect();
    // One buffer of 16 KB after the first product, two while the second runs.
    assert_eq!(lengths, [25, 50, 25], "{text}");
}

#[test]
fn targets_are_listed() {
    let dir = scratch("targets");
    let rows: Vec<Value> =
        ok(&dir, &["targets", "--json"]).lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let names: Vec<&str> = rows.iter().map(|r| r["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"x86-64-v2") && names.contains(&"x86-64-v3"), "{names:?}");
    let text = ok(&dir, &["targets"]);
    assert_eq!(text.lines().count(), names.len());
    names.iter().for_each(|n| assert!(text.lines().any(|l| l.split(' ').next() == Some(n)), "{n}: {text}"));
    // Every listed name is accepted.
    let model = abs_model(&dir, &[4]);
    std::fs::write(dir.join("x.json"), "[1, -2, 3, -4]").unwrap();
    let mut run_here = vec![];
    for n in names {
        ok(&dir, &["check", model, "--target", n]);
        ok(&dir, &["compile", model, "--target", n, "-o", "out"]);
        let bundle = format!("out/{n}");
        let (code, text, error) = sinter(&dir, &["run", &bundle, "x.json", "--json"]);
        if code == 0 {
            assert_eq!(output(&text, "y").1, [1.0, 2.0, 3.0, 4.0], "{n}");
            run_here.push(n);
        } else {
            let why = match sinter_backends::target(n).map(|t| &t.triple) {
                Some(t) if t.starts_with("wasm32-") => "runs in browsers",
                Some(t) if !t.starts_with(std::env::consts::ARCH) || t.contains("-windows") => {
                    "the bundle is for"
                }
                _ => "this processor lacks instructions",
            };
            assert!(error.contains(why), "{n}: {error}");
        }
    }
    // The strongest that runs is what `native` means, by a name that gives the same bytes anywhere.
    ok(&dir, &["compile", model, "-o", "out"]);
    let native = super::manifest_target(&dir.join("out/native"));
    assert!(run_here.contains(&native.as_str()), "{native} of {run_here:?}");
    ok(&dir, &["compile", model, "-o", "out", "--target", &native]);
    let code = |folder: &str| std::fs::read(dir.join("out").join(folder).join("libabs.a")).unwrap();
    assert!(code("native") == code(&native));
}

#[test]
fn check_tells_everything_at_once() {
    let dir = scratch("check");
    let good = abs_model(&dir, &[4]);
    assert!(ok(&dir, &["check", good]).contains("is supported (1 nodes)"));
    let v: Value = serde_json::from_str(&ok(&dir, &["check", good, "--json"])).unwrap();
    assert_eq!((v["ok"].as_bool(), v["problems"].as_array().map(Vec::len)), (Some(true), Some(0)));
    let nodes = vec![
        node("Frobnicate", &["x"], &["a"], vec![]),
        node("Frobnicate", &["x"], &["b"], vec![]),
        node("acme:Whirl", &["a", "b"], &["y"], vec![]),
    ];
    let g = graph(vec![value("x", F32, &[4])], vec![value("y", F32, &[4])], vec![], nodes);
    std::fs::write(dir.join("bad.onnx"), encode(&model(g))).unwrap();
    let (code, text, error) = sinter(&dir, &["check", "bad.onnx", "--json"]);
    assert_eq!(code, 3, "{text}{error}");
    let v: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(v["ok"], false);
    let problems = v["problems"].as_array().unwrap();
    let find = |what: &str| problems.iter().find(|p| p["reason"].as_str().unwrap().contains(what)).unwrap();
    let twice = find("Frobnicate");
    assert_eq!((twice["count"].as_u64(), twice["fault"].as_str()), (Some(2), Some("unsupported")), "{twice}");
    let names: Vec<&str> =
        twice["nodes"].as_array().unwrap().iter().map(|n| n["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["make_a", "make_b"]);
    assert_eq!(find("acme.Whirl")["nodes"][0]["op"], "Whirl");
    let (code, text, _) = sinter(&dir, &["check", "bad.onnx"]);
    assert_eq!(code, 3);
    for part in
        ["    2 x operator Frobnicate", "make_b (Frobnicate) of f32[4]", "    1 x operator acme.Whirl"]
    {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
}
