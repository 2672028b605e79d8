//! Graphs that are none: cycles, recursion, names that are missing or made twice, nesting without end.

use crate::build::{BOOL, F32, encode, f32s, function, graph, model, node, opset, subgraph, value};
use crate::{compile, refused, refused_model};
use sinter::frontend::onnx::proto::{AttributeProto, GraphProto, ModelProto, NodeProto};
use sinter_ir::Fault::{Input, Limit};

fn with(nodes: Vec<NodeProto>) -> ModelProto {
    let inputs = vec![value("x", F32, &[4]), value("c", BOOL, &[])];
    model(graph(inputs, vec![value("y", F32, &[4])], vec![], nodes))
}

fn plain(op: &str, inputs: &[&str], output: &str) -> NodeProto {
    node(op, inputs, &[output], vec![])
}

#[test]
fn cycles() {
    refused_model(&with(vec![plain("Add", &["x", "y"], "y")]), Input, "cycle");
    let three =
        vec![plain("Add", &["x", "c3"], "c1"), plain("Relu", &["c1"], "c2"), plain("Neg", &["c2"], "c3")];
    let mut m = with([three, vec![plain("Relu", &["c3"], "y")]].concat());
    refused_model(&m, Input, "cycle");
    // The order of the nodes does not matter.
    m.graph.as_mut().unwrap().node.reverse();
    refused_model(&m, Input, "cycle");
    // Through what a branch sees outside.
    let branch =
        |of: &str| graph(vec![], vec![value("b", F32, &[4])], vec![], vec![plain("Neg", &[of], "b")]);
    let attributes = vec![subgraph("then_branch", branch("x")), subgraph("else_branch", branch("y"))];
    refused_model(&with(vec![node("If", &["c"], &["y"], attributes)]), Input, "cycle");
}

#[test]
fn cycles_that_nothing_needs_do_not_matter() {
    let loose = vec![plain("Neg", &["b"], "a"), plain("Neg", &["a"], "b"), plain("Relu", &["x"], "y")];
    compile(encode(&with(loose))).unwrap();
}

#[test]
fn recursive_functions() {
    let call = |f: &str| plain(&format!("local:{f}"), &["v"], "out");
    let mut m = with(vec![plain("local:A", &["x"], "y")]);
    m.opset_import.push(opset("local", 1));
    m.functions = vec![function("A", &["v"], &["out"], vec![call("A")])];
    refused_model(&m, Input, "function `A` calls itself");
    m.functions = vec![
        function("A", &["v"], &["out"], vec![call("B")]),
        function("B", &["v"], &["out"], vec![call("C")]),
        function("C", &["v"], &["out"], vec![call("A")]),
    ];
    refused_model(&m, Input, "calls itself");
}

#[test]
fn functions_that_grow_without_bound() {
    // Each calls the next one twice: 2^40 nodes from two kilobytes.
    let mut m = with(vec![plain("local:F0", &["x"], "y")]);
    m.opset_import.push(opset("local", 1));
    m.functions = (0..40)
        .map(|i| {
            let next = if i < 39 { format!("local:F{}", i + 1) } else { "Neg".into() };
            let body = vec![plain(&next, &["v"], "t"), plain(&next, &["t"], "out")];
            function(&format!("F{i}"), &["v"], &["out"], body)
        })
        .collect();
    refused_model(&m, Limit, "more than");
}

/// `levels` Ifs in each other, encoded from the inside out: no encoder would follow that deep.
fn nested(levels: usize) -> Vec<u8> {
    let varint = |mut n: usize| {
        let mut out = vec![];
        while n >= 128 {
            out.push((n % 128) as u8 | 128);
            n /= 128;
        }
        out.push(n as u8);
        out
    };
    // Written backwards, so that each level costs its own bytes only.
    let mut back: Vec<u8> = vec![];
    let wrap = |field: u8, before: &[u8], whole: &mut Vec<u8>| {
        whole.extend(before.iter().rev());
        let mut head = vec![field << 3 | 2];
        head.extend(varint(whole.len()));
        whole.extend(head.into_iter().rev());
    };
    let named = |field: u8, text: &str| [&[field << 3 | 2, text.len() as u8], text.as_bytes()].concat();
    let output = {
        use prost::Message;
        let v = value("y", F32, &[4]).encode_to_vec();
        [&[12 << 3 | 2, v.len() as u8][..], &v].concat()
    };
    let relu = {
        use prost::Message;
        let n = plain("Relu", &["x"], "y").encode_to_vec();
        [&[1 << 3 | 2, n.len() as u8][..], &n].concat()
    };
    back.extend([relu, output.clone()].concat().into_iter().rev());
    for _ in 0..levels {
        // Attribute { name, g, type: GRAPH }, node { If }, graph { node, output }.
        wrap(6, &[], &mut back);
        let attribute = [named(1, "then_branch"), vec![0xa0, 1, 5]].concat();
        let head = [named(1, "c"), named(2, "y"), named(4, "If")].concat();
        wrap(5, &attribute, &mut back);
        wrap(1, &head, &mut back);
        back.extend(output.iter().rev());
    }
    wrap(7, &[], &mut back);
    // Format and opset versions.
    back.extend([8, 9, 8u8 << 3 | 2, 2, 16, 18].iter().rev());
    back.reverse();
    back
}

#[test]
fn nesting_without_end() {
    // Deeper than the decoder goes: protobuf itself allows a hundred messages in each other.
    for levels in [100, 10_000, 100_000] {
        refused(nested(levels), Input, "recursion limit");
    }
    // What the decoder can follow is a graph like any other.
    refused(nested(8), Input, "`c` is used but nothing makes it");
}

/// Ifs on a condition that is known only at run time.
fn ladder(levels: usize) -> GraphProto {
    let leaf = |op: &str| graph(vec![], vec![value("y", F32, &[4])], vec![], vec![plain(op, &["x"], "y")]);
    let mut g = leaf("Relu");
    for _ in 0..levels {
        let attributes = vec![subgraph("then_branch", g), subgraph("else_branch", leaf("Neg"))];
        g = graph(vec![], vec![value("y", F32, &[4])], vec![], vec![node("If", &["c"], &["y"], attributes)]);
    }
    g
}

#[test]
fn nesting_that_is_allowed() {
    let mut m = with(vec![]);
    m.graph.as_mut().unwrap().node = ladder(28).node;
    compile(encode(&m)).unwrap();
}

#[test]
fn names() {
    refused_model(
        &with(vec![plain("Relu", &["nowhere"], "y")]),
        Input,
        "`nowhere` is used but nothing makes it",
    );
    refused_model(&with(vec![plain("Relu", &["x"], "z")]), Input, "output `y`");
    refused_model(&with(vec![plain("Add", &["x"], "y")]), Input, "operand 1 is missing");
    refused_model(&with(vec![plain("Relu", &[""], "y")]), Input, "operand 0 is missing");
    let twice = vec![plain("Relu", &["x"], "y"), plain("Neg", &["x"], "y")];
    refused_model(&with(twice), Input, "`y` is made by two nodes");
    refused_model(&with(vec![plain("Relu", &["x"], "x"), plain("Relu", &["x"], "y")]), Input, "cycle");
    let mut m = with(vec![plain("Relu", &["x"], "y")]);
    let g = m.graph.as_mut().unwrap();
    g.input.push(value("x", F32, &[4]));
    refused_model(&m, Input, "`x` is defined twice");
    let mut m = with(vec![plain("Add", &["x", "w"], "y")]);
    m.graph.as_mut().unwrap().initializer = vec![f32s("w", &[4], &[1.0; 4]), f32s("w", &[4], &[2.0; 4])];
    refused_model(&m, Input, "`w` is defined twice");
}

#[test]
fn files_that_are_no_models() {
    refused(vec![], Input, "the file is empty");
    refused(b"PK\x03\x04 not a model".to_vec(), Input, "not an ONNX model");
    refused(vec![0xff; 1 << 16], Input, "not an ONNX model");
    refused(
        encode(&ModelProto { ir_version: 9, opset_import: vec![opset("", 18)], ..ModelProto::default() }),
        Input,
        "no graph",
    );
    let mut m = with(vec![plain("Relu", &["x"], "y")]);
    m.graph.as_mut().unwrap().input[0].r#type = None;
    refused_model(&m, sinter_ir::Fault::Unsupported, "only tensor inputs");
}

#[test]
fn attributes_that_a_function_passes_to_itself() {
    let mut m = with(vec![plain("local:A", &["x"], "y")]);
    m.opset_import.push(opset("local", 1));
    let loose = AttributeProto {
        name: "alpha".into(),
        ref_attr_name: "missing".into(),
        r#type: 1,
        ..AttributeProto::default()
    };
    let body = vec![node("LeakyRelu", &["v"], &["out"], vec![loose])];
    m.functions = vec![function("A", &["v"], &["out"], body)];
    // An attribute that nobody gives is absent.
    compile(encode(&m)).unwrap();
}
