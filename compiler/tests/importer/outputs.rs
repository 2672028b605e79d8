//! What outputs of bundles are called.

use crate::build::{F32, encode, graph, model, node, value};
use crate::folder;
use sinter::driver::{self, Request};

/// As in the model, though one value is two outputs, one is an input, and passes take nodes away.
#[test]
fn names_are_those_of_the_model() {
    let nodes = vec![
        node("Relu", &["x"], &["a"], vec![]),
        node("Identity", &["a"], &["twice"], vec![]),
        node("Relu", &["a"], &["thrice"], vec![]),
        node("Identity", &["x"], &["same"], vec![]),
    ];
    let outs = ["twice", "a", "same", "thrice"];
    let values = outs.map(|n| value(n, F32, &[2]));
    let path = folder("outputs").join("m.onnx");
    let g = graph(vec![value("x", F32, &[2])], values.to_vec(), vec![], nodes);
    std::fs::write(&path, encode(&model(g))).unwrap();
    let request = Request { model: path, targets: vec!["native".into()], ..Request::default() };
    let made = driver::compile(&request, &|_| ()).unwrap();
    let names: Vec<&str> = made.bundles[0].manifest.outputs.iter().map(|o| o.name.as_str()).collect();
    assert_eq!(names, outs);
}
