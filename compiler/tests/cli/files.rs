//! Tensors in files of every kind, and what is wrong with them.

use super::build::{self, F32, encode, f32s, graph, model, node, value};
use super::{abs_model, ok, output, refused, scratch};
use prost::Message;
use sinter::data::npy;
use sinter_ir::Tensor;

const DATA: [f32; 6] = [-1.5, 2.0, 0.25, -0.125, 1e-3, -7e5];

#[test]
fn every_kind_of_file_gives_the_same() {
    let dir = scratch("kinds");
    let model = abs_model(&dir, &[2, -1]);
    std::fs::write(dir.join("x.npy"), npy::write(&Tensor::f32s(vec![2, 3], &DATA).unwrap())).unwrap();
    std::fs::write(dir.join("x.pb"), build::f32s("x", &[2, 3], &DATA).encode_to_vec()).unwrap();
    std::fs::write(dir.join("x.json"), serde_json::json!([DATA[..3], DATA[3..]]).to_string()).unwrap();
    std::fs::write(dir.join("x.bin"), DATA.map(f32::to_le_bytes).concat()).unwrap();
    let want: Vec<f64> = DATA.iter().map(|v| f64::from(v.abs())).collect();
    for file in ["x.npy", "x.pb", "x.json", "x.bin", "x=x.npy"] {
        let (shape, got) = output(&ok(&dir, &["run", model, file, "--json"]), "y");
        assert_eq!((shape, &got), (vec![2, 3], &want), "{file}");
    }
    // Saved outputs are the printed ones, and inputs again.
    ok(&dir, &["run", model, "x.npy", "-o", "saved"]);
    let saved = npy::read(&std::fs::read(dir.join("saved/output_0.npy")).unwrap()).unwrap();
    assert_eq!((saved.shape(), saved.to_f64().unwrap()), (&[2, 3][..], want.clone()));
    assert_eq!(output(&ok(&dir, &["run", model, "saved/output_0.npy", "--json"]), "y").1, want);
    // The text form names type and shape.
    assert!(ok(&dir, &["run", model, "x.npy"]).starts_with("y: f32[2, 3] 1.5 2 0.25 0.125"));
}

/// A first dim that is open is one sample by default; a model compiled on the fly takes as many as are given.
#[test]
fn open_dims_hold_what_is_given() {
    let dir = scratch("open");
    let model = abs_model(&dir, &[-1, 2]);
    std::fs::write(dir.join("x.npy"), npy::write(&Tensor::f32s(vec![3, 2], &DATA).unwrap())).unwrap();
    assert_eq!(output(&ok(&dir, &["run", model, "x.npy", "--json"]), "y").0, [3, 2]);
    refused(&dir, &["run", model, "x.npy", "--dim", "x.0=1..2"], &["[3, 2]", "1..2"]);
}

/// What JSON has no numbers for is printed as the words that are read.
#[test]
fn infinities_and_nan_in_json() {
    let dir = scratch("infinities");
    let (x, y) = (value("x", F32, &[3]), value("y", F32, &[3]));
    let g = graph(vec![x], vec![y], vec![], vec![node("Neg", &["x"], &["y"], vec![])]);
    std::fs::write(dir.join("neg.onnx"), encode(&model(g))).unwrap();
    std::fs::write(dir.join("x.json"), r#"["inf", "-inf", "nan"]"#).unwrap();
    let text = ok(&dir, &["run", "neg.onnx", "x.json", "--json"]);
    let v: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(v["y"]["data"], serde_json::json!(["-inf", "inf", "nan"]));
}

#[test]
fn inputs_by_place_and_by_name() {
    let dir = scratch("names");
    let two = || vec![value("a", F32, &[2]), value("b", F32, &[2])];
    let g = graph(two(), vec![value("y", F32, &[2])], vec![], vec![node("Sub", &["a", "b"], &["y"], vec![])]);
    std::fs::write(dir.join("sub.onnx"), encode(&model(g))).unwrap();
    std::fs::write(dir.join("p.json"), "[5, 7]").unwrap();
    std::fs::write(dir.join("q.json"), "[1, 10]").unwrap();
    let run = |files: &[&str]| output(&ok(&dir, &[&["run", "sub.onnx", "--json"], files].concat()), "y").1;
    assert_eq!(run(&["p.json", "q.json"]), [4.0, -3.0]);
    assert_eq!(run(&["b=p.json", "a=q.json"]), [-4.0, 3.0]);
    refused(&dir, &["run", "sub.onnx", "p.json"], &["input b", "missing", "--random"]);
    refused(&dir, &["run", "sub.onnx", "p.json", "q.json", "q.json"], &["too many inputs", "2"]);
    refused(&dir, &["run", "sub.onnx", "a=p.json", "a=q.json"], &["q.json"]);
}

#[test]
fn files_that_do_not_fit() {
    let dir = scratch("misfits");
    let model = abs_model(&dir, &[2, 3]);
    let write = |name: &str, bytes: &[u8]| std::fs::write(dir.join(name), bytes).unwrap();
    write("wide.npy", &npy::write(&Tensor::f32s(vec![2, 4], &[0.0; 8]).unwrap()));
    write("ints.npy", &npy::write(&Tensor::i64s(&[1, 2])));
    write("ragged.json", b"[[1, 2, 3], [4, 5]]");
    write("words.json", b"[[\"one\"]]");
    write("short.bin", &[0; 20]);
    write("text.npy", b"not an array");
    write("text.pb", b"not a tensor");
    let bad = |file: &str, says: &[&str]| refused(&dir, &["run", model, file], says);
    bad("wide.npy", &["x", "[2, 4]", "f32[2, 3]"]);
    bad("ints.npy", &["x", "i64[2]", "f32[2, 3]"]);
    bad("ragged.json", &["ragged.json", "different lengths"]);
    bad("words.json", &["words.json", "not a number"]);
    bad("short.bin", &["short.bin", "24 bytes"]);
    bad("text.npy", &["text.npy", "not a usable .npy file"]);
    bad("text.pb", &["text.pb", "TensorProto"]);
    bad("none.npy", &["none.npy"]);
    refused(&dir, &["run", "none.onnx", "short.bin"], &["none.onnx"]);
    // Raw data tells one open dim, not two.
    let open = abs_model(&dir, &[-1, -1, -1]);
    refused(&dir, &["run", open, "short.bin"], &["several dims are open", "--shape"]);
    let shaped = ["run", open, "short.bin", "--json", "--shape", "x=1x5x1"];
    assert_eq!(output(&ok(&dir, &shaped), "y").0, [1, 5, 1]);
    refused(&dir, &["run", open, "short.bin", "--shape", "x=5"], &["--shape x=5"]);
    refused(&dir, &["run", open, "short.bin", "--shape", "z=1x5x1"], &["--shape z=1x5x1", "no input"]);
}

/// Bits by what a model loses are for language models: of others, `auto` is bytes.
#[test]
fn networks_have_a_default_of_few_bits() {
    let dir = scratch("auto");
    let weights = f32s("w", &[64, 64], &(0..64 * 64).map(|i| (i as f32).sin()).collect::<Vec<_>>());
    let g = graph(
        vec![value("x", F32, &[8, 64])],
        vec![value("y", F32, &[8, 64])],
        vec![weights],
        vec![node("MatMul", &["x", "w"], &["y"], vec![])],
    );
    std::fs::write(dir.join("product.onnx"), encode(&model(g))).unwrap();
    let x: Vec<f32> = (0..8 * 64).map(|i| (i as f32).cos()).collect();
    std::fs::write(dir.join("x.npy"), npy::write(&Tensor::f32s(vec![8, 64], &x).unwrap())).unwrap();
    let weights = |recipe: &str| {
        ok(&dir, &["compile", "product.onnx", "--quantize", recipe, "--calibrate", "x.npy", "-o", recipe]);
        std::fs::read(dir.join(recipe).join("native/product.weights")).unwrap()
    };
    let (auto, bytes) = (weights("auto"), weights("int8"));
    assert!(auto == bytes && auto.len() < 64 * 64 * 4);
    refused(&dir, &["compile", "product.onnx", "--quantize", "auto", "-o", "out"], &["--calibrate"]);
}
