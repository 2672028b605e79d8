//! Control flow in control flow, with captures across several levels.

use crate::build::{BOOL, F32, I64, f32s, graph, i64s, int, model, node, subgraph, value};
use crate::run;
use sinter::frontend::onnx::proto::{GraphProto, NodeProto, TensorProto};
use sinter_ir::Tensor;

fn body(outputs: &[(&str, i32, &[i64])], nodes: Vec<NodeProto>) -> GraphProto {
    let outs = outputs.iter().map(|(n, t, d)| value(n, *t, d)).collect();
    graph(vec![], outs, vec![], nodes)
}

fn if_(cond: &str, out: &str, then: GraphProto, els: GraphProto) -> NodeProto {
    node("If", &[cond], &[out], vec![subgraph("then_branch", then), subgraph("else_branch", els)])
}

fn truth(name: &str) -> TensorProto {
    TensorProto { name: name.into(), data_type: BOOL, raw_data: vec![1u8].into(), ..TensorProto::default() }
}

fn f(values: &[f32]) -> Tensor {
    Tensor::f32s(vec![values.len()], values).unwrap()
}

/// Outer values are used two levels down, under a name that an inner graph also defines elsewhere.
#[test]
fn an_if_in_an_if_sees_everything_outside() {
    let same = [("r", F32, &[3][..])];
    let deep = |op: &str| body(&same, vec![node(op, &["x", "outer"], &["r"], vec![])]);
    let inner_then =
        body(&same, vec![node("Neg", &["x"], &["mid"], vec![]), if_("small", "r", deep("Add"), deep("Mul"))]);
    let inner_else = body(&same, vec![node("Sub", &["outer", "x"], &["r"], vec![])]);
    let nodes = vec![
        node("ReduceSum", &["x"], &["sum"], vec![int("keepdims", 0)]),
        node("Greater", &["sum", "zero"], &["positive"], vec![]),
        node("Less", &["sum", "ten"], &["small"], vec![]),
        node("Mul", &["x", "x"], &["outer"], vec![]),
        if_("positive", "y", inner_then, inner_else),
    ];
    let held = vec![f32s("zero", &[], &[0.0]), f32s("ten", &[], &[10.0])];
    let m = model(graph(vec![value("x", F32, &[3])], vec![value("y", F32, &[3])], held, nodes));
    let at = |v: &[f32]| run(&m, &[f(v)])[0].to_f32().unwrap();
    assert_eq!(at(&[1.0, 2.0, 3.0]), [2.0, 6.0, 12.0]);
    assert_eq!(at(&[5.0, 6.0, 7.0]), [125.0, 216.0, 343.0]);
    assert_eq!(at(&[-1.0, -2.0, 0.0]), [2.0, 6.0, 0.0]);
}

/// A loop in a loop: `acc += i * j + x` with `i` of the outer loop captured by the inner one.
#[test]
fn a_loop_in_a_loop_sees_the_outer_iteration() {
    let inner = graph(
        vec![value("j", I64, &[]), value("jc", BOOL, &[]), value("a", F32, &[2])],
        vec![value("jc_out", BOOL, &[]), value("a_out", F32, &[2])],
        vec![],
        vec![
            node("Identity", &["jc"], &["jc_out"], vec![]),
            node("Mul", &["i", "j"], &["ij"], vec![]),
            node("Cast", &["ij"], &["ijf"], vec![int("to", 1)]),
            node("Add", &["ijf", "x"], &["term"], vec![]),
            node("Add", &["a", "term"], &["a_out"], vec![]),
        ],
    );
    let outer = graph(
        vec![value("i", I64, &[]), value("ic", BOOL, &[]), value("acc", F32, &[2])],
        vec![value("ic_out", BOOL, &[]), value("acc_out", F32, &[2]), value("seen", F32, &[2])],
        vec![],
        vec![
            node("Identity", &["ic"], &["ic_out"], vec![]),
            node("Loop", &["m", "yes", "acc"], &["acc_out"], vec![subgraph("body", inner)]),
            node("Identity", &["acc_out"], &["seen"], vec![]),
        ],
    );
    let nodes = vec![node("Loop", &["n", "yes", "zero"], &["y", "trace"], vec![subgraph("body", outer)])];
    let held = vec![truth("yes"), f32s("zero", &[2], &[0.0; 2]), i64s("n", &[], &[3]), i64s("m", &[], &[4])];
    let outs = vec![value("y", F32, &[2]), value("trace", F32, &[3, 2])];
    let out = run(&model(graph(vec![value("x", F32, &[2])], outs, held, nodes)), &[f(&[0.5, -1.0])]);
    // 4 x per outer step, and i * (0 + 1 + 2 + 3).
    assert_eq!(out[0].to_f32().unwrap(), [12.0 * 0.5 + 18.0, -12.0 + 18.0]);
    assert_eq!(out[1].to_f32().unwrap(), [2.0, -4.0, 10.0, -2.0, 24.0, 6.0]);
}

/// The loop stops by its condition, decided in an If inside that captures a carried value and an outer one.
#[test]
fn an_if_in_a_loop_decides_when_to_stop() {
    let branch = |op: &str| {
        let n = node(op, &["v", "limit"], &["go"], vec![]);
        graph(vec![], vec![value("go", BOOL, &[])], vec![], vec![n])
    };
    let loop_body = graph(
        vec![value("i", I64, &[]), value("c", BOOL, &[]), value("v", F32, &[])],
        vec![value("c_out", BOOL, &[]), value("v_out", F32, &[])],
        vec![],
        vec![
            if_("up", "c_out", branch("Less"), branch("Greater")),
            node("Add", &["v", "step"], &["v_out"], vec![]),
        ],
    );
    let nodes = vec![
        node("Greater", &["step", "zero"], &["up"], vec![]),
        node("Loop", &["n", "yes", "zero"], &["y"], vec![subgraph("body", loop_body)]),
    ];
    let held = vec![truth("yes"), f32s("zero", &[], &[0.0]), i64s("n", &[], &[100])];
    let ins = vec![value("step", F32, &[]), value("limit", F32, &[])];
    let m = model(graph(ins, vec![value("y", F32, &[])], held, nodes));
    let at = |s: f32, l: f32| {
        let scalar = |v: f32| Tensor::f32s(vec![], &[v]).unwrap();
        run(&m, &[scalar(s), scalar(l)])[0].scalar_f64().unwrap()
    };
    assert_eq!(at(2.0, 5.0), 8.0);
    assert_eq!(at(-1.0, -2.0), -3.0);
}

/// A Scan over two inputs, one backwards, whose body captures an outer value and holds an If.
#[test]
fn a_scan_with_an_if_inside() {
    let branch = |op: &str| {
        let n = node(op, &["a", "scale"], &["r"], vec![]);
        graph(vec![], vec![value("r", F32, &[2])], vec![], vec![n])
    };
    let body = graph(
        vec![value("s", F32, &[2]), value("a", F32, &[2]), value("b", F32, &[])],
        vec![value("s_out", F32, &[2]), value("o", F32, &[2])],
        vec![],
        vec![
            node("Greater", &["b", "zero"], &["pos"], vec![]),
            if_("pos", "t", branch("Mul"), branch("Sub")),
            node("Add", &["s", "t"], &["s_out"], vec![]),
            node("Identity", &["s_out"], &["o"], vec![]),
        ],
    );
    let mut directions = int("scan_input_directions", 0);
    directions.ints = vec![0, 1];
    let attrs = vec![subgraph("body", body), int("num_scan_inputs", 2), directions];
    let nodes = vec![node("Scan", &["init", "x", "w"], &["final", "all"], attrs)];
    let held =
        vec![f32s("zero", &[], &[0.0]), f32s("init", &[2], &[0.0; 2]), f32s("scale", &[2], &[10.0, 100.0])];
    let ins = vec![value("x", F32, &[3, 2]), value("w", F32, &[3])];
    let outs = vec![value("final", F32, &[2]), value("all", F32, &[3, 2])];
    let x = Tensor::f32s(vec![3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
    // Backwards: positive, negative, positive.
    let out = run(&model(graph(ins, outs, held, nodes)), &[x, f(&[1.0, -1.0, 2.0])]);
    assert_eq!(out[1].to_f32().unwrap(), [10.0, 200.0, 3.0, 104.0, 53.0, 704.0]);
    assert_eq!(out[0].to_f32().unwrap(), [53.0, 704.0]);
}

/// Constants and weights inside regions, and an initialiser that hides an outer name.
#[test]
fn inner_initialisers_hide_outer_names() {
    let inner = |v: f32| {
        let n = node("Add", &["x", "k"], &["r"], vec![]);
        graph(vec![], vec![value("r", F32, &[2])], vec![f32s("k", &[], &[v])], vec![n])
    };
    let nodes = vec![
        node("ReduceMax", &["x"], &["top"], vec![int("keepdims", 0)]),
        node("Greater", &["top", "k"], &["c"], vec![]),
        if_("c", "y", inner(1.0), inner(2.0)),
    ];
    let held = vec![f32s("k", &[], &[0.0])];
    let m = model(graph(vec![value("x", F32, &[2])], vec![value("y", F32, &[2])], held, nodes));
    assert_eq!(run(&m, &[f(&[1.0, 2.0])])[0].to_f32().unwrap(), [2.0, 3.0]);
    assert_eq!(run(&m, &[f(&[-1.0, -2.0])])[0].to_f32().unwrap(), [1.0, 0.0]);
}

/// Rows that a loop collects in a sequence: joined in both ways, counted, and one of them picked.
#[test]
fn a_loop_carries_a_sequence() {
    let inner = graph(
        vec![value("i", I64, &[]), value("c", BOOL, &[]), value("s", F32, &[])],
        vec![value("c_out", BOOL, &[]), value("s_out", F32, &[])],
        vec![],
        vec![
            node("Identity", &["c"], &["c_out"], vec![]),
            node("Gather", &["x", "i"], &["row"], vec![]),
            node("Neg", &["row"], &["item"], vec![]),
            node("SequenceInsert", &["s", "item"], &["s_out"], vec![]),
        ],
    );
    let nodes = vec![
        node("SequenceEmpty", &[], &["none"], vec![]),
        node("Loop", &["n", "yes", "none"], &["all"], vec![subgraph("body", inner)]),
        node("ConcatFromSequence", &["all"], &["long"], vec![int("axis", 0)]),
        node("ConcatFromSequence", &["all"], &["wide"], vec![int("axis", 1), int("new_axis", 1)]),
        node("SequenceLength", &["all"], &["count"], vec![]),
        node("SequenceAt", &["all", "last"], &["end"], vec![]),
    ];
    let outs = vec![
        value("long", F32, &[-1]),
        value("wide", F32, &[2, -1]),
        value("count", I64, &[]),
        value("end", F32, &[2]),
    ];
    let ins = vec![value("x", F32, &[3, 2]), value("n", I64, &[])];
    let m = model(graph(ins, outs, vec![truth("yes"), i64s("last", &[], &[-1])], nodes));
    let x = Tensor::f32s(vec![3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
    let out = run(&m, &[x.clone(), Tensor::i64(3)]);
    assert_eq!(out[0].to_f32().unwrap(), [-1.0, -2.0, -3.0, -4.0, -5.0, -6.0]);
    assert_eq!(
        (out[1].shape(), out[1].to_f32().unwrap()),
        (&[2, 3][..], vec![-1.0, -3.0, -5.0, -2.0, -4.0, -6.0])
    );
    assert_eq!(out[2].to_i64().unwrap(), [3]);
    assert_eq!(out[3].to_f32().unwrap(), [-5.0, -6.0]);
    assert_eq!(run(&m, &[x, Tensor::i64(1)])[0].to_f32().unwrap(), [-1.0, -2.0]);
}

/// `x[i:i + 1]` with a number from the model's input is one row.
#[test]
fn a_slice_of_one_element_has_a_known_size() {
    let nodes = vec![
        node("Add", &["i", "one"], &["next"], vec![]),
        node("Slice", &["at", "i", "next"], &["begin"], vec![]),
        node("Add", &["begin", "one"], &["end"], vec![]),
        node("Slice", &["x", "begin", "end"], &["y"], vec![]),
    ];
    let ins = vec![value("x", F32, &[4]), value("at", I64, &[3]), value("i", I64, &[1])];
    let m = model(graph(ins, vec![value("y", F32, &[1])], vec![i64s("one", &[1], &[1])], nodes));
    let at = |i: i64| run(&m, &[f(&[5.0, 6.0, 7.0, 8.0]), Tensor::i64s(&[3, 0, 2]), Tensor::i64s(&[i])]);
    assert_eq!(at(0)[0].to_f32().unwrap(), [8.0]);
    assert_eq!(at(2)[0].to_f32().unwrap(), [7.0]);
}

/// Scales that hang on values: the result has the dims that they give. As an input they are to be fixed.
#[test]
fn scales_of_a_resize_may_come_at_run_time() {
    let nodes = vec![
        node("Concat", &["ones", "s"], &["scales"], vec![int("axis", 0)]),
        node("Resize", &["x", "", "scales"], &["y"], vec![]),
    ];
    let ins = vec![value("x", F32, &[1, 1, 2, 2]), value("s", F32, &[2])];
    let outs = || vec![value("y", F32, &[1, 1, -1, -1])];
    let m = model(graph(ins, outs(), vec![f32s("ones", &[2], &[1.0; 2])], nodes));
    let x = Tensor::f32s(vec![1, 1, 2, 2], &[1.0, 2.0, 3.0, 4.0]).unwrap();
    let out = run(&m, &[x, f(&[1.0, 2.0])]);
    let want = vec![1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0];
    assert_eq!((out[0].shape(), out[0].to_f32().unwrap()), (&[1, 1, 2, 4][..], want));
    let ins = vec![value("x", F32, &[1, 1, 2, 2]), value("s", F32, &[4])];
    let m = model(graph(ins, outs(), vec![], vec![node("Resize", &["x", "", "s"], &["y"], vec![])]));
    let refused = crate::import(&m).err().unwrap();
    assert!(
        refused[0].message.contains("scales that are an input, known only at run time"),
        "{}",
        refused[0]
    );
}

/// 20 * 1.7 is 34 in f32, whether the 20 is known or not.
#[test]
fn scaled_dims_are_those_of_f32() {
    let held = vec![f32s("s", &[2], &[1.0, 1.7])];
    let nodes = vec![node("Resize", &["x", "", "s"], &["y"], vec![])];
    let m = model(graph(vec![value("x", F32, &[1, -1])], vec![value("y", F32, &[1, -1])], held, nodes));
    let at = |n: usize| run(&m, &[Tensor::f32s(vec![1, n], &vec![1.0; n]).unwrap()])[0].shape()[1];
    assert_eq!([10, 20, 21, 30].map(at), [17, 34, 35, 51]);
}

/// A value that grows by a row per round has room for as many rounds as there can be.
#[test]
fn a_loop_carries_a_value_that_grows() {
    let inner = graph(
        vec![value("i", I64, &[]), value("c", BOOL, &[]), value("a", F32, &[-1, 2])],
        vec![value("c_out", BOOL, &[]), value("a_out", F32, &[-1, 2])],
        vec![],
        vec![
            node("Identity", &["c"], &["c_out"], vec![]),
            node("Gather", &["x", "i"], &["row"], vec![]),
            node("Unsqueeze", &["row", "zero"], &["rows"], vec![]),
            node("Concat", &["a", "rows"], &["a_out"], vec![int("axis", 0)]),
        ],
    );
    let nodes = vec![node("Loop", &["n", "yes", "x"], &["y"], vec![subgraph("body", inner)])];
    let held = vec![truth("yes"), i64s("zero", &[1], &[0])];
    let ins = vec![value("x", F32, &[2, 2]), value("n", I64, &[])];
    let m = model(graph(ins, vec![value("y", F32, &[4, 2])], held, nodes));
    let x = Tensor::f32s(vec![2, 2], &[1.0, 2.0, 3.0, 4.0]).unwrap();
    let out = run(&m, &[x, Tensor::i64(2)]);
    assert_eq!(out[0].to_f32().unwrap(), [1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 3.0, 4.0]);
}
