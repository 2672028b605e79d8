//! Attributes of the wrong type, missing ones, values that mean nothing.

use crate::build::{BOOL, F32, float, graph, int, model, node, subgraph, value};
use crate::refused_model;
use sinter::frontend::onnx::proto::{AttributeProto, GraphProto};
use sinter_ir::Fault::{Input, Unsupported};

fn text(name: &str, s: &str) -> AttributeProto {
    AttributeProto { name: name.into(), s: s.as_bytes().into(), r#type: 3, ..AttributeProto::default() }
}

fn ints(name: &str, v: &[i64]) -> AttributeProto {
    AttributeProto { name: name.into(), ints: v.into(), r#type: 7, ..AttributeProto::default() }
}

fn fails(op: &str, attributes: Vec<AttributeProto>, why: &str) {
    let n = node(op, &["x"], &["y"], attributes);
    let g = graph(vec![value("x", F32, &[1, 2, 8, 8])], vec![value("y", F32, &[])], vec![], vec![n]);
    refused_model(&model(g), Input, why);
}

#[test]
fn of_the_wrong_type() {
    fails("Softmax", vec![float("axis", 1.0)], "attribute `axis` is FLOAT, INT is needed");
    fails("LeakyRelu", vec![text("alpha", "0.1")], "attribute `alpha` is STRING, FLOAT is needed");
    fails("Transpose", vec![int("perm", 3)], "attribute `perm` is INT, INTS is needed");
    fails("MaxPool", vec![text("kernel_shape", "2x2")], "attribute `kernel_shape` is STRING, INTS is needed");
    fails(
        "MaxPool",
        vec![ints("kernel_shape", &[2, 2]), int("auto_pad", 1)],
        "`auto_pad` is INT, STRING is needed",
    );
    fails("Cast", vec![subgraph("to", GraphProto::default())], "attribute `to` is GRAPH, INT is needed");
    let odd = AttributeProto { name: "axis".into(), r#type: 77, ..AttributeProto::default() };
    fails("Softmax", vec![odd], "attribute `axis` is of an unknown type");
}

#[test]
fn with_impossible_values() {
    fails("Softmax", vec![int("axis", 9)], "axis 9 is outside rank 4");
    fails("Softmax", vec![int("axis", i64::MIN)], "is outside rank 4");
    fails("Transpose", vec![ints("perm", &[0, 1, 1, 2])], "not a permutation");
    fails("Transpose", vec![ints("perm", &[0])], "not a permutation");
    fails("MaxPool", vec![ints("kernel_shape", &[2])], "2 values of at least 1 are needed");
    fails("MaxPool", vec![ints("kernel_shape", &[2, 2]), text("auto_pad", "MOSTLY")], "auto_pad `MOSTLY`");
    fails("DepthToSpace", vec![int("blocksize", -2)], "attribute `blocksize` is -2");
    fails("Split", vec![int("axis", 3), int("num_outputs", -1)], "num_outputs");
    fails("Cast", vec![int("to", 0)], "element type is undefined");
    fails("Gelu", vec![text("approximate", "roughly")], "roughly");
}

#[test]
fn that_are_missing() {
    fails("Constant", vec![], "no value");
    let n = node("If", &["c"], &["y"], vec![int("then_branch", 1)]);
    let g = graph(vec![value("c", BOOL, &[])], vec![value("y", F32, &[])], vec![], vec![n]);
    refused_model(&model(g), Input, "attribute `then_branch` (a graph) is missing");
}

#[test]
fn of_operators_that_do_not_exist() {
    let n = node("com.example:Magic", &["x"], &["y"], vec![]);
    let g = graph(vec![value("x", F32, &[4])], vec![value("y", F32, &[4])], vec![], vec![n]);
    refused_model(&model(g), Unsupported, "operator com.example.Magic");
}
