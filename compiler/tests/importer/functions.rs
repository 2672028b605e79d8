//! Model-local functions.

use crate::build::{
    F32, f32s, float, function, graph, i64s, int, model, node, opset, reference, subgraph, value,
};
use crate::{import, run};
use sinter::frontend::onnx::proto::{FunctionProto, GraphProto, ModelProto};
use sinter_ir::{Fault, Tensor};

fn with(g: GraphProto, functions: Vec<FunctionProto>) -> ModelProto {
    let mut m = model(g);
    m.opset_import.push(opset("local", 1));
    m.functions = functions;
    m
}

fn x() -> Tensor {
    Tensor::f32s(vec![4], &[-2.0, -0.5, 0.5, 2.0]).unwrap()
}

fn one(nodes: Vec<sinter::frontend::onnx::proto::NodeProto>) -> GraphProto {
    graph(vec![value("x", F32, &[4])], vec![value("y", F32, &[4])], vec![], nodes)
}

fn floats(t: &Tensor) -> Vec<f32> {
    t.to_f32().unwrap()
}

/// `LeakyRelu(x, alpha = slope) + bias`, `slope` an attribute with or without default.
fn leaky(default: Option<f32>) -> FunctionProto {
    let body = vec![
        node("LeakyRelu", &["v"], &["t"], vec![reference("alpha", "slope", float("", 0.0))]),
        node("Add", &["t", "bias"], &["out"], vec![]),
    ];
    let mut f = function("Leaky", &["v", "bias"], &["out"], body);
    match default {
        Some(v) => f.attribute_proto = vec![float("slope", v)],
        None => f.attribute = vec!["slope".into()],
    }
    f
}

#[test]
fn attributes_come_from_the_call_or_the_default() {
    let call = |attrs| {
        let mut g = one(vec![node("local:Leaky", &["x", "b"], &["y"], attrs)]);
        g.initializer = vec![f32s("b", &[1], &[1.0])];
        g
    };
    let y = run(&with(call(vec![float("slope", 0.5)]), vec![leaky(None)]), &[x()]);
    assert_eq!(floats(&y[0]), [0.0, 0.75, 1.5, 3.0]);
    let y = run(&with(call(vec![]), vec![leaky(Some(0.25))]), &[x()]);
    assert_eq!(floats(&y[0]), [0.5, 0.875, 1.5, 3.0]);
    let y = run(&with(call(vec![float("slope", 0.5)]), vec![leaky(Some(0.25))]), &[x()]);
    assert_eq!(floats(&y[0]), [0.0, 0.75, 1.5, 3.0]);
    // Without either, the operator's own default holds.
    let y = run(&with(call(vec![]), vec![leaky(None)]), &[x()]);
    assert_eq!(floats(&y[0])[0], 1.0 - 2.0 * 0.01);
}

#[test]
fn functions_call_functions_and_pass_attributes_on() {
    let twice = function(
        "Twice",
        &["v", "bias"],
        &["out"],
        vec![
            node("local:Leaky", &["v", "bias"], &["t"], vec![reference("slope", "s", float("", 0.0))]),
            node("local:Leaky", &["t", "bias"], &["out"], vec![reference("slope", "s", float("", 0.0))]),
        ],
    );
    let mut g = one(vec![node("local:Twice", &["x", "b"], &["y"], vec![float("s", 0.5)])]);
    g.initializer = vec![f32s("b", &[1], &[-1.0])];
    let y = run(&with(g, vec![twice, leaky(None)]), &[x()]);
    assert_eq!(floats(&y[0]), [-2.0, -1.625, -1.25, 0.0]);
}

#[test]
fn names_inside_and_outside_do_not_mix() {
    // `t` inside is not `t` outside, and the body does not see `hidden`.
    let f = function("F", &["t"], &["x"], vec![node("Neg", &["t"], &["x"], vec![])]);
    let g = one(vec![node("Exp", &["x"], &["t"], vec![]), node("local:F", &["t"], &["y"], vec![])]);
    let y = run(&with(g, vec![f]), &[x()]);
    assert!((floats(&y[0])[3] + 2f32.exp()).abs() < 1e-5);
    let f = function("F", &["t"], &["o"], vec![node("Add", &["t", "hidden"], &["o"], vec![])]);
    let g = one(vec![node("Exp", &["x"], &["hidden"], vec![]), node("local:F", &["x"], &["y"], vec![])]);
    let e = import(&with(g, vec![f])).unwrap_err();
    assert!(e.iter().any(|d| d.message.contains("`hidden`")), "{e:?}");
}

#[test]
fn absent_operands_stay_absent() {
    let body = vec![node("Clip", &["v", "lo", "hi"], &["out"], vec![])];
    let f = function("Limit", &["v", "lo", "hi"], &["out"], body);
    let mut g = one(vec![node("local:Limit", &["x", "", "top"], &["y"], vec![])]);
    g.initializer = vec![f32s("top", &[], &[1.0])];
    assert_eq!(floats(&run(&with(g, vec![f.clone()]), &[x()])[0]), [-2.0, -0.5, 0.5, 1.0]);
    let g = one(vec![node("local:Limit", &["x"], &["y"], vec![])]);
    assert_eq!(floats(&run(&with(g, vec![f]), &[x()])[0]), [-2.0, -0.5, 0.5, 2.0]);
}

#[test]
fn attributes_reach_subgraphs_of_functions() {
    let branch = |op: &str| {
        let n = node(op, &["v"], &["r"], vec![reference("alpha", "slope", float("", 0.0))]);
        graph(vec![], vec![value("r", F32, &[4])], vec![], vec![n])
    };
    let body = vec![
        node("ReduceSum", &["v"], &["sum"], vec![int("keepdims", 0)]),
        node("Greater", &["sum", "zero"], &["cond"], vec![]),
        node(
            "If",
            &["cond"],
            &["out"],
            vec![subgraph("then_branch", branch("Elu")), subgraph("else_branch", branch("LeakyRelu"))],
        ),
    ];
    let f = function("Choose", &["v", "zero"], &["out"], body);
    let mut g = one(vec![node("local:Choose", &["x", "z"], &["y"], vec![float("slope", 0.5)])]);
    g.initializer = vec![f32s("z", &[], &[0.0])];
    let m = with(g, vec![f]);
    let up = Tensor::f32s(vec![4], &[-1.0, 3.0, 0.0, 1.0]).unwrap();
    assert!((floats(&run(&m, &[up])[0])[0] - 0.5 * ((-1f32).exp() - 1.0)).abs() < 1e-6);
    let down = Tensor::f32s(vec![4], &[-4.0, 1.0, 0.0, 1.0]).unwrap();
    assert_eq!(floats(&run(&m, &[down])[0])[0], -2.0);
}

#[test]
fn a_function_reads_its_own_opset() {
    // Before 13 the axes of Squeeze are an attribute.
    let mut f = function(
        "Old",
        &["v"],
        &["out"],
        vec![node(
            "Squeeze",
            &["v"],
            &["out"],
            vec![{
                let mut a = int("axes", 0);
                a.ints = vec![0];
                a
            }],
        )],
    );
    f.opset_import = vec![opset("", 11)];
    let nodes =
        vec![node("local:Old", &["x"], &["s"], vec![]), node("Unsqueeze", &["s", "ax"], &["y"], vec![])];
    let mut g = graph(vec![value("x", F32, &[1, 4])], vec![value("y", F32, &[4, 1])], vec![], nodes);
    g.initializer = vec![i64s("ax", &[1], &[1])];
    let y = run(&with(g, vec![f]), &[x().reshaped(vec![1, 4]).unwrap()]);
    assert_eq!(y[0].shape(), [4, 1]);
}

#[test]
fn recursion_is_an_error_and_not_a_crash() {
    let f = function("Self", &["v"], &["out"], vec![node("local:Self", &["v"], &["out"], vec![])]);
    let e = import(&with(one(vec![node("local:Self", &["x"], &["y"], vec![])]), vec![f])).unwrap_err();
    assert!(e.iter().any(|d| d.fault == Fault::Input && d.message.contains("calls itself")), "{e:?}");
}
