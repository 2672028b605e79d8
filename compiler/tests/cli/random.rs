//! `--random`: the same seed is the same data.

use super::{abs_model, build, ok, output, scratch};

#[test]
fn seeds() {
    let dir = scratch("random");
    let model = abs_model(&dir, &[-1, 50]);
    let run =
        |seed: &str, more: &[&str]| ok(&dir, &[&["run", model, "--json", "--random", seed], more].concat());
    let shape = ["--shape", "x=1x50"];
    let first = run("1", &shape);
    assert_eq!(run("1", &shape), first);
    assert_ne!(run("2", &shape), first);
    let (_, v) = output(&first, "y");
    assert!(v.iter().all(|&v| (0.0..=1.0).contains(&v)));
    assert!(v.iter().any(|&v| v > 0.7) && v.iter().any(|&v| v < 0.3), "{v:?}");
    // An open dim is at its smallest, or what --shape says.
    assert_eq!(output(&run("1", &[]), "y").0, [1, 50]);
    assert_eq!(ok(&dir, &["compile", model, "--dim", "x.0=1..4", "-o", "out"]).lines().count(), 2);
    let wide = ["run", "out/native", "--json", "--random", "1", "--shape", "x=4x50"];
    let (shape, v) = output(&ok(&dir, &wide), "y");
    assert_eq!((shape, v.len()), (vec![4, 50], 200));
    let beyond = ["run", "out/native", "--random", "1", "--shape", "x=5x50"];
    super::refused(&dir, &beyond, &["x", "[5, 50]", "1..4"]);
}

#[test]
fn given_inputs_stay() {
    let dir = scratch("random-rest");
    let two = vec![build::value("a", build::F32, &[3]), build::value("b", build::F32, &[3])];
    let sum = build::node("Add", &["a", "b"], &["y"], vec![]);
    let g = build::graph(two, vec![build::value("y", build::F32, &[3])], vec![], vec![sum]);
    std::fs::write(dir.join("add.onnx"), build::encode(&build::model(g))).unwrap();
    std::fs::write(dir.join("b.json"), "[1000, 2000, 3000]").unwrap();
    let (_, v) = output(&ok(&dir, &["run", "add.onnx", "b=b.json", "--random", "3", "--json"]), "y");
    let parts: Vec<f64> = v.iter().zip([1000.0, 2000.0, 3000.0]).map(|(v, b)| v - b).collect();
    assert!(parts.iter().all(|p| p.abs() <= 1.0), "{parts:?}");
    assert!(parts.iter().any(|p| p.abs() > 1e-3), "{parts:?}");
}
