//! `check`: all problems at once, no weights read, in time.

use crate::build::{F32, I64, encode, external, f32s, graph, i64s, int, model, node, value};
use crate::folder;
use sinter::check::{self, Checked};
use sinter::frontend::onnx::{self, ImportOptions, proto::ModelProto};
use sinter_ir::Fault;
use std::path::Path;
use std::process::Command;

fn checked(name: &str, m: &ModelProto) -> (Checked, std::path::PathBuf) {
    let path = folder(name).join("m.onnx");
    std::fs::write(&path, encode(m)).unwrap();
    (at(&path), path)
}

fn at(path: &Path) -> Checked {
    check::model(path, &ImportOptions::default(), sinter::driver::target("x86-64-v3").unwrap())
}

/// Three unknown operators (one of them twice), a wrong shape, and one node that imports but has no machine code.
fn broken() -> ModelProto {
    let nodes = vec![
        node("Frobnicate", &["x"], &["a"], vec![]),
        node("my.domain:Twist", &["x", "w"], &["b"], vec![]),
        node("my.domain:Twist", &["x", "w"], &["c"], vec![]),
        node("Relu", &["a"], &["after_a"], vec![]),
        node("MatMul", &["x", "bad"], &["d"], vec![]),
        node("Cast", &["x"], &["strings"], vec![int("to", 14)]),
        node("Exp", &["x"], &["fine"], vec![]),
        node("Add", &["after_a", "fine"], &["y"], vec![]),
    ];
    let outs = ["y", "b", "c", "d", "strings"].map(|n| value(n, F32, &[2, 4]));
    let held = vec![f32s("w", &[4], &[1.0; 4]), f32s("bad", &[3, 2], &[0.0; 6])];
    model(graph(vec![value("x", F32, &[2, 4])], outs.to_vec(), held, nodes))
}

#[test]
fn everything_is_reported_at_once() {
    let (found, _) = checked("broken", &broken());
    let rows = check::reasons(&found.problems);
    let row = |text: &str| {
        rows.iter().find(|r| r.reason.contains(text)).unwrap_or_else(|| panic!("{text}: {rows:#?}"))
    };
    let twist = row("my.domain.Twist");
    assert_eq!((twist.count, twist.fault), (2, Fault::Unsupported));
    assert!(twist.help.as_deref().is_some_and(|h| h.contains("`my.domain`")));
    assert_eq!(twist.nodes[0].name, "make_b");
    assert_eq!(twist.nodes[0].op.as_deref(), Some("Twist"));
    assert_eq!(twist.nodes[0].operands, ["f32[2, 4]", "f32[4]"]);
    assert_eq!(row("Frobnicate").count, 1);
    assert_eq!(row("c64").nodes[0].name, "make_strings", "what has no machine code is found beside the rest");
    let shapes = rows.iter().find(|r| r.nodes.iter().any(|n| n.name == "make_d")).unwrap();
    assert_eq!(shapes.fault, Fault::Input);
    assert_eq!(shapes.nodes[0].operands, ["f32[2, 4]", "f32[3, 2]"]);
    // Consumers of what is missing are not problems of their own.
    assert_eq!(rows.iter().map(|r| r.count).sum::<usize>(), 5, "{rows:#?}");
}

#[test]
fn command_prints_json_and_fails() {
    let (_, path) = checked("json", &broken());
    let run = |args: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_sinter")).arg("check").arg(&path).args(args).output().unwrap()
    };
    let out = run(&["--json", "--target", "x86-64-v3"]);
    let v: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(v["ok"], false);
    assert_eq!(v["problems"][0]["count"], 2);
    assert_eq!(v["problems"][0]["nodes"][1]["name"], "make_c");
    assert_eq!(v["problems"][0]["fault"], "unsupported");
    assert_eq!(out.status.code(), Some(3), "the exit code of what is not supported");
    let text = String::from_utf8(run(&["--target", "x86-64-v3"]).stdout).unwrap();
    assert!(text.contains("5 problems") && text.contains("2 x operator my.domain.Twist"), "{text}");
}

#[test]
fn compiling_reports_everything_that_has_no_code() {
    let nodes = vec![
        node("Cast", &["x"], &["a"], vec![int("to", 14)]),
        node("Exp", &["x"], &["b"], vec![]),
        node("Cast", &["b"], &["c"], vec![int("to", 15)]),
    ];
    let outs = ["a", "c"].map(|n| value(n, F32, &[2]));
    let path = folder("compile").join("m.onnx");
    std::fs::write(&path, encode(&model(graph(vec![value("x", F32, &[2])], outs.to_vec(), vec![], nodes))))
        .unwrap();
    let request = sinter::driver::Request {
        model: path,
        targets: vec!["x86-64-v3".into()],
        ..sinter::driver::Request::default()
    };
    let problems = sinter::driver::compile(&request, &|_| ()).unwrap_err();
    assert_eq!(problems.len(), 2, "{problems:#?}");
}

/// A chain of big layers whose weights are in a file that has the right size and nothing in it.
fn big(layers: usize) -> ModelProto {
    let mut nodes = vec![];
    let mut held = vec![];
    let bytes = 1024 * 1024 * 4;
    for i in 0..layers {
        let offset = (i * bytes).to_string();
        let entries = [("location", "w.bin"), ("offset", offset.as_str())];
        held.push(external(&format!("w{i}"), &[1024, 1024], &entries));
        let (from, to) = (format!("h{i}"), format!("h{}", i + 1));
        nodes.push(node("MatMul", &[&from, &format!("w{i}")], &[&format!("p{i}")], vec![]));
        nodes.push(node("Relu", &[&format!("p{i}")], &[&to], vec![]));
    }
    let out = format!("h{layers}");
    model(graph(vec![value("h0", F32, &[-1, 1024])], vec![value(&out, F32, &[-1, 1024])], held, nodes))
}

#[test]
fn weights_are_measured_and_not_read() {
    const LAYERS: usize = 1000;
    let dir = folder("unread");
    let path = dir.join("m.onnx");
    std::fs::write(&path, encode(&big(LAYERS))).unwrap();
    // 4 GB of holes: reading them would take seconds and gigabytes.
    std::fs::File::create(dir.join("w.bin")).unwrap().set_len((LAYERS as u64) << 22).unwrap();
    let clock = std::time::Instant::now();
    let found = at(&path);
    let seconds = clock.elapsed().as_secs_f64();
    assert!(found.problems.is_empty(), "{:#?}", found.problems);
    // A debug build on a busy machine; release is many times faster.
    assert!(seconds < 10.0, "{seconds} s");
    let survey = onnx::survey(&path, &ImportOptions { skip_weights: true, ..ImportOptions::default() });
    assert_eq!(survey.unread, LAYERS);
    assert_eq!(survey.files, std::slice::from_ref(&path), "the weights file was not opened");
    // What is too short is found all the same.
    std::fs::File::create(dir.join("w.bin")).unwrap().set_len((LAYERS as u64 - 3) << 22).unwrap();
    let found = at(&path);
    assert_eq!(found.problems.len(), 3, "{:#?}", found.problems);
    assert!(found.problems.iter().all(|d| d.fault == Fault::Input));
}

#[test]
fn constants_that_decide_shapes_are_read() {
    let nodes = vec![node("Reshape", &["x", "shape"], &["y"], vec![])];
    let held = vec![i64s("shape", &[2], &[8, -1])];
    let m = model(graph(vec![value("x", F32, &[4, 4])], vec![value("y", F32, &[8, 2])], held, nodes));
    let (found, path) = checked("shapes", &m);
    assert!(found.problems.is_empty(), "{:#?}", found.problems);
    let survey = onnx::survey(&path, &ImportOptions { skip_weights: true, ..ImportOptions::default() });
    let g = survey.module.unwrap().graph;
    assert_eq!(g.ty(g.outputs[0]).const_dims(), Some(vec![8, 2]));
}

#[test]
fn weights_that_code_needs_at_compile_time_are_not_held_against_the_model() {
    // Folded at compile time, and the weights of a layer that must be known.
    let w = vec![0.5; 64 * 32 * 9];
    let nodes = vec![
        node("Neg", &["w"], &["minus"], vec![]),
        node("ConvTranspose", &["x", "minus"], &["y"], vec![]),
        node("ConvTranspose", &["x", "w"], &["z"], vec![]),
    ];
    let outs = ["y", "z"].map(|n| value(n, F32, &[1, 32, 10, 10]));
    let held = vec![f32s("w", &[64, 32, 3, 3], &w)];
    let m = model(graph(vec![value("x", F32, &[1, 64, 8, 8])], outs.to_vec(), held, nodes));
    let (found, path) = checked("transposed", &m);
    assert!(found.problems.is_empty(), "{:#?}", found.problems);
    let survey = onnx::survey(&path, &ImportOptions { skip_weights: true, ..ImportOptions::default() });
    assert_eq!(survey.unread, 1, "the weights are large enough not to be read");
}

#[test]
fn unreadable_files_are_problems() {
    let dir = folder("unreadable");
    for (name, bytes) in [("empty.onnx", &b""[..]), ("text.onnx", b"hello world, this is no model")] {
        std::fs::write(dir.join(name), bytes).unwrap();
        let found = at(&dir.join(name));
        assert_eq!(found.problems.len(), 1, "{name}");
        assert_eq!(found.problems[0].fault, Fault::Input);
    }
    assert_eq!(at(&dir.join("missing.onnx")).problems.len(), 1);
    assert_eq!(at(&dir).problems.len(), 1, "a folder is no model");
}

#[test]
fn real_models_are_clean() {
    let Some(shared) = crate::common::shared() else { return crate::common::skip("real models not found") };
    for case in crate::common::cases(&shared.join("models")) {
        let found = at(&case.model);
        assert!(found.problems.is_empty(), "{}: {:#?}", case.name, found.problems);
    }
}

#[test]
fn open_inputs_are_named() {
    let mut m = model(graph(
        vec![value("x", I64, &[2])],
        vec![value("y", I64, &[2])],
        vec![],
        vec![node("Neg", &["x"], &["y"], vec![])],
    ));
    m.graph.as_mut().unwrap().input[0].r#type = None;
    let (found, _) = checked("untyped", &m);
    assert!(found.problems.iter().any(|d| d.message.contains("input `x`")), "{:#?}", found.problems);
}
