//! Much of everything: long chains, wide nodes, many constants, files of nothing but structure.

use crate::build::{F32, encode, f32s, graph, int, model, node, value};
use crate::{compile, refused};
use sinter::frontend::onnx::proto::NodeProto;
use sinter_ir::Fault::Limit;

const N: usize = 10_000;

fn chain(op: &str, n: usize) -> Vec<NodeProto> {
    let name = |i: usize| if i == n { "y".to_owned() } else { format!("t{i}") };
    (0..n)
        .map(|i| {
            let from = if i == 0 { "x".to_owned() } else { name(i) };
            node(op, &[&from], &[&name(i + 1)], vec![])
        })
        .collect()
}

fn compiles(nodes: Vec<NodeProto>) {
    let g = graph(vec![value("x", F32, &[4, 4])], vec![value("y", F32, &[4, 4])], vec![], nodes);
    compile(encode(&model(g))).unwrap();
}

#[test]
fn long_chains() {
    compiles(chain("Neg", N));
    compiles(chain("Transpose", N));
    // A kernel each: slower.
    compiles(chain("Softmax", N / 20));
    compiles(chain("Sin", N / 10));
}

#[test]
fn chains_in_reverse_order() {
    let mut nodes = chain("Abs", N);
    nodes.reverse();
    compiles(nodes);
}

#[test]
fn wide_nodes() {
    let parts: Vec<String> = (0..N).map(|_| "x".to_owned()).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let concat = node("Concat", &parts, &["y"], vec![int("axis", 0)]);
    let sum = node("Sum", &parts, &["z"], vec![]);
    let outputs = vec![value("y", F32, &[]), value("z", F32, &[])];
    let g = graph(vec![value("x", F32, &[1])], outputs, vec![], vec![concat, sum]);
    compile(encode(&model(g))).unwrap();
}

#[test]
fn doubling_values() {
    // Every value is used twice: what walks paths instead of values never ends.
    let nodes = (0..60)
        .map(|i| {
            let from = if i == 0 { "x".into() } else { format!("t{i}") };
            let to = if i == 59 { "y".into() } else { format!("t{}", i + 1) };
            node("Add", &[&from, &from], &[&to], vec![])
        })
        .collect();
    compiles(nodes);
}

#[test]
fn many_constants() {
    let n = N / 50;
    let held = (0..n).map(|i| f32s(&format!("w{i}"), &[1], &[i as f32])).collect();
    let name = |i: usize| if i == n { "y".to_owned() } else { format!("t{i}") };
    let nodes = (0..n)
        .map(|i| {
            let from = if i == 0 { "x".to_owned() } else { name(i) };
            node("Add", &[&from, &format!("w{i}")], &[&name(i + 1)], vec![])
        })
        .collect();
    let g = graph(vec![value("x", F32, &[4])], vec![value("y", F32, &[4])], held, nodes);
    compile(encode(&model(g))).unwrap();
}

/// A message of `count` empty messages in a field, in a graph.
fn empties(field: u8, count: usize) -> Vec<u8> {
    let graph = [field << 3 | 2, 0].repeat(count);
    let mut len = vec![];
    let mut n = graph.len();
    while n >= 128 {
        len.push((n % 128) as u8 | 128);
        n /= 128;
    }
    len.push(n as u8);
    [&[8, 9, 7 << 3 | 2], len.as_slice(), &graph].concat()
}

#[test]
fn files_of_empty_messages() {
    // Two bytes each in the file, hundreds in memory: nodes, constants, inputs, sparse constants.
    for field in [1, 5, 11, 15] {
        refused(empties(field, 4 << 20), Limit, "structure");
    }
    // Few of them are only strange.
    compile(empties(1, 1 << 10)).unwrap();
}
