//! Gradients against central differences in the evaluator, and native code against the evaluator.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod common;

use common::model::{int, int_tensor, ints, module, names, node, port, text};
use sinter::frontend::onnx::proto::{GraphProto, NodeProto, TensorProto};
use sinter_ir::{DType, Diag, Module, Tensor};

const F32: i32 = 1;
const F64: i32 = 11;

/// A graph under test: float inputs, integer constants, nodes; `y` is its result.
#[derive(Clone, Default)]
struct Net {
    inputs: Vec<(String, Vec<usize>)>,
    constants: Vec<TensorProto>,
    nodes: Vec<NodeProto>,
    y: String,
}

fn gradient(y: &str, xs: &[&str], values: &[&str], outputs: &str) -> NodeProto {
    let n = names(text(node("Gradient", values, outputs), "y", y), "xs", xs);
    NodeProto { domain: "ai.onnx.preview.training".into(), ..n }
}

fn import(net: &Net, extra: &[NodeProto], outputs: &[&str], ty: i32) -> Result<Module, Vec<Diag>> {
    let graph = GraphProto {
        node: net.nodes.iter().chain(extra).cloned().collect(),
        initializer: net.constants.clone(),
        input: net.inputs.iter().map(|(n, d)| port(n, ty, Some(d))).collect(),
        output: outputs.iter().map(|o| port(o, ty, None)).collect(),
        ..Default::default()
    };
    module(graph, 17)
}

/// Numbers in -2..2 from a seed, away from 0 and from each other: no kink of an op is hit by a small step.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
    fn tensor(&mut self, dims: &[usize]) -> Tensor {
        let n: usize = dims.iter().product();
        let v: Vec<f64> = (0..n)
            .map(|_| {
                let v = (self.next() % 4001) as f64 / 1000.0 - 2.0;
                if v.abs() < 0.05 { v + 0.1 } else { v }
            })
            .collect();
        Tensor::from_f64(DType::F64, dims.to_vec(), &v).unwrap()
    }
}

fn sum(t: &Tensor) -> f64 {
    t.to_f64().unwrap().iter().sum()
}

/// The weighting of y's elements: its sine has a different slope everywhere.
fn weigh(net: &Net) -> NodeProto {
    node("Sin", &[&net.y], "weighed")
}

fn check(what: &str, net: &Net, seed: u64) {
    let names: Vec<&str> = net.inputs.iter().map(|(n, _)| n.as_str()).collect();
    let slopes: Vec<String> = names.iter().map(|n| format!("d_{n}")).collect();
    let outputs: Vec<&str> = slopes.iter().map(String::as_str).collect();
    let extra = [weigh(net), gradient("weighed", &names, &names, &slopes.join(","))];
    let module = import(net, &extra, &outputs, F64).unwrap_or_else(|d| panic!("{what}: {d:?}"));
    let forward = import(net, &extra[..1], &["weighed"], F64).unwrap();
    let mut numbers = Numbers(seed);
    let inputs: Vec<Tensor> = net.inputs.iter().map(|(_, d)| numbers.tensor(d)).collect();
    let got = sinter_ir::eval::module(&module, &inputs).unwrap_or_else(|d| panic!("{what}: {d}"));
    for (i, (g, x)) in got.iter().zip(&inputs).enumerate() {
        assert_eq!(g.shape(), x.shape(), "{what}: shape of d_{}", names[i]);
        let (g, v) = (g.to_f64().unwrap(), x.to_f64().unwrap());
        for k in 0..v.len() {
            let at = |step: f64| {
                let mut moved = v.clone();
                moved[k] += step;
                let mut inputs = inputs.clone();
                inputs[i] = Tensor::from_f64(DType::F64, x.shape().to_vec(), &moved).unwrap();
                sum(&sinter_ir::eval::module(&forward, &inputs).unwrap()[0])
            };
            let h = 1e-5;
            let want = (at(h) - at(-h)) / (2.0 * h);
            assert!(
                (g[k] - want).abs() <= 1e-6 + 1e-5 * want.abs(),
                "{what}: d_{}[{k}] is {}, differences say {want}",
                names[i],
                g[k]
            );
        }
    }
    native(what, net, &extra, &outputs, &inputs);
}

/// The same gradient in f32: machine code against the evaluator.
fn native(what: &str, net: &Net, extra: &[NodeProto], outputs: &[&str], inputs: &[Tensor]) {
    let module = import(net, extra, outputs, F32).unwrap();
    let inputs: Vec<Tensor> = inputs
        .iter()
        .map(|t| Tensor::from_f64(DType::F32, t.shape().to_vec(), &t.to_f64().unwrap()).unwrap())
        .collect();
    let want = sinter_ir::eval::module(&module, &inputs).unwrap();
    let got = common::native(module, &inputs).unwrap_or_else(|e| panic!("{what}: {e}"));
    for (i, (g, w)) in got.iter().zip(&want).enumerate() {
        common::compare(g, w, 1e-3, 1e-4).unwrap_or_else(|e| panic!("{what}: {}: {e}", outputs[i]));
    }
}

fn net(inputs: &[(&str, &[usize])], constants: &[TensorProto], nodes: Vec<NodeProto>) -> Net {
    Net {
        inputs: inputs.iter().map(|(n, d)| ((*n).to_owned(), d.to_vec())).collect(),
        constants: constants.to_vec(),
        y: nodes.last().unwrap().output[0].clone(),
        nodes,
    }
}

#[test]
fn functions_of_one_operand() {
    let plain = [
        "Neg",
        "Abs",
        "Exp",
        "Sin",
        "Cos",
        "Tan",
        "Atan",
        "Sinh",
        "Cosh",
        "Tanh",
        "Asinh",
        "Erf",
        "Sigmoid",
        "Reciprocal",
        "Floor",
        "Relu",
        "Softplus",
        "Softsign",
        "Elu",
        "HardSigmoid",
    ];
    for op in plain {
        check(op, &net(&[("x", &[2, 3])], &[], vec![node(op, &["x"], "y")]), 7);
    }
    // Operands of the others are brought into their domain first: (0, 1), and above 1.
    for op in ["Sqrt", "Log", "Asin", "Acos", "Atanh"] {
        let n = vec![node("Sigmoid", &["x"], "s"), node(op, &["s"], "y")];
        check(op, &net(&[("x", &[5])], &[], n), 8);
    }
    let n = vec![node("Cosh", &["x"], "s"), node("Acosh", &["s"], "y")];
    check("Acosh", &net(&[("x", &[5])], &[], n), 9);
}

#[test]
fn functions_of_two_operands_broadcast() {
    let shapes: [(&[usize], &[usize]); 4] =
        [(&[2, 3], &[2, 3]), (&[2, 3], &[3]), (&[1], &[4, 2]), (&[2, 1, 3], &[4, 1])];
    for op in ["Add", "Sub", "Mul", "Div", "Max", "Min"] {
        for (a, b) in shapes {
            check(op, &net(&[("a", a), ("b", b)], &[], vec![node(op, &["a", "b"], "y")]), 11);
        }
    }
    let n = vec![node("Exp", &["a"], "e"), node("Pow", &["e", "b"], "y")];
    check("Pow", &net(&[("a", &[2, 3]), ("b", &[3])], &[], n), 12);
    let n = vec![int(node("Mod", &["a", "b"], "y"), "fmod", 1)];
    check("Mod", &net(&[("a", &[2, 3]), ("b", &[3])], &[], n), 13);
    let n = vec![node("Greater", &["a", "b"], "c"), node("Where", &["c", "a", "b"], "y")];
    check("Where", &net(&[("a", &[2, 3]), ("b", &[2, 1])], &[], n), 14);
}

#[test]
fn movement() {
    let x: (&str, &[usize]) = ("x", &[2, 3, 4]);
    let shape = int_tensor("k", &[2], &[4, 6]);
    check("Reshape", &net(&[x], &[shape], vec![node("Reshape", &["x", "k"], "y")]), 21);
    let n = vec![ints(node("Transpose", &["x"], "y"), "perm", &[2, 0, 1])];
    check("Transpose", &net(&[x], &[], n), 22);
    let k = int_tensor("k", &[4], &[2, 2, 3, 4]);
    check("Expand", &net(&[("x", &[2, 1, 4])], &[k], vec![node("Expand", &["x", "k"], "y")]), 23);
    for (starts, ends, steps) in
        [([0, 1], [2, 3], [1, 1]), ([0, 0], [3, 4], [2, 3]), ([-1, 3], [-9, -9], [-1, -2])]
    {
        let k = [
            int_tensor("s", &[2], &starts),
            int_tensor("e", &[2], &ends),
            int_tensor("a", &[2], &[1, 2]),
            int_tensor("t", &[2], &steps),
        ];
        check("Slice", &net(&[x], &k, vec![node("Slice", &["x", "s", "e", "a", "t"], "y")]), 24);
    }
    let n = vec![int(node("Concat", &["x", "z", "x"], "y"), "axis", 1)];
    check("Concat", &net(&[x, ("z", &[2, 1, 4])], &[], n), 25);
    let k = int_tensor("k", &[4], &[1, 0, 0, 2]);
    for mode in ["constant", "reflect", "edge", "wrap"] {
        let n = vec![text(node("Pad", &["x", "k"], "y"), "mode", mode)];
        check(mode, &net(&[("x", &[3, 4])], std::slice::from_ref(&k), n), 26);
    }
    let n = vec![node("Pad", &["x", "k", "v"], "y")];
    check("Pad by a variable", &net(&[("x", &[3, 4]), ("v", &[])], &[k], n), 27);
    let k = int_tensor("k", &[3], &[1, 3, 2]);
    let n = vec![node("ReverseSequence", &["x", "k"], "y")];
    check("ReverseSequence", &net(&[("x", &[4, 3])], &[k], n), 28);
}

#[test]
fn indices() {
    let x: (&str, &[usize]) = ("x", &[3, 4]);
    let k = int_tensor("k", &[2, 2], &[2, 0, -1, 2]);
    for axis in [0, 1] {
        let n = vec![int(node("Gather", &["x", "k"], "y"), "axis", axis)];
        check("Gather", &net(&[x], std::slice::from_ref(&k), n), 31);
    }
    let n = vec![int(node("GatherElements", &["x", "k"], "y"), "axis", 1)];
    check("GatherElements", &net(&[x], std::slice::from_ref(&k), n), 32);
    let tuples = int_tensor("k", &[2, 2], &[2, 0, 1, 2]);
    check("GatherND", &net(&[x], &[tuples], vec![node("GatherND", &["x", "k"], "y")]), 33);
    let tuples = int_tensor("k", &[3, 2, 1], &[2, 0, 1, 2, 0, 0]);
    let n = vec![int(node("GatherND", &["x", "k"], "y"), "batch_dims", 1)];
    check("GatherND in batches", &net(&[x], &[tuples], n), 34);
    let distinct = int_tensor("k", &[2, 2], &[2, 0, 1, 3]);
    for reduction in ["none", "add"] {
        let n = text(node("ScatterElements", &["x", "k", "u"], "y"), "reduction", reduction);
        let n = vec![int(n, "axis", 1)];
        check("ScatterElements", &net(&[x, ("u", &[2, 2])], std::slice::from_ref(&distinct), n), 35);
        let rows = int_tensor("k", &[2, 1], &[2, 0]);
        let n = vec![text(node("ScatterND", &["x", "k", "u"], "y"), "reduction", reduction)];
        check("ScatterND", &net(&[x, ("u", &[2, 4])], &[rows], n), 36);
    }
    let n = vec![int(node("TopK", &["x", "k"], "y,i"), "axis", 1)];
    check("TopK", &net(&[x], &[int_tensor("k", &[1], &[2])], n), 37);
}

#[test]
fn reductions() {
    let x: (&str, &[usize]) = ("x", &[2, 3, 4]);
    let ops =
        ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL2", "ReduceLogSumExp"];
    for op in ops {
        for keep in [0, 1] {
            let axes = int_tensor("k", &[2], &[0, 2]);
            let (n, k) = match op {
                "ReduceSum" => (node(op, &["x", "k"], "y"), vec![axes]),
                _ => (ints(node(op, &["x"], "y"), "axes", &[0, 2]), vec![]),
            };
            check(op, &net(&[x], &k, vec![int(n, "keepdims", keep)]), 41);
        }
    }
    for op in ["Softmax", "LogSoftmax"] {
        check(op, &net(&[x], &[], vec![int(node(op, &["x"], "y"), "axis", 1)]), 42);
    }
    for (exclusive, reverse) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
        let n = int(int(node("CumSum", &["x", "k"], "y"), "exclusive", exclusive), "reverse", reverse);
        check("CumSum", &net(&[x], &[int_tensor("k", &[], &[1])], vec![n]), 43);
    }
    let n = vec![int(node("LayerNormalization", &["x", "s", "b"], "y"), "axis", -1)];
    check("LayerNormalization", &net(&[x, ("s", &[4]), ("b", &[4])], &[], n), 44);
}

/// The product of the others does not divide by an element that is 0.
#[test]
fn product_with_zeros() {
    let n = net(
        &[("x", &[2, 3])],
        &[],
        vec![int(ints(node("ReduceProd", &["x"], "y"), "axes", &[1]), "keepdims", 0)],
    );
    let m = import(&n, &[gradient("y", &["x"], &["x"], "d")], &["d"], F64).unwrap();
    let x = Tensor::from_f64(DType::F64, vec![2, 3], &[2.0, 0.0, 3.0, 0.0, 0.0, 5.0]).unwrap();
    let d = sinter_ir::eval::module(&m, &[x]).unwrap();
    assert_eq!(d[0].to_f64().unwrap(), [0.0, 6.0, 0.0, 0.0, 0.0, 0.0]);
}

#[test]
fn matrix_products() {
    let shapes: [(&[usize], &[usize]); 5] = [
        (&[2, 3], &[3, 4]),
        (&[2, 2, 3], &[3, 4]),
        (&[1, 2, 3], &[5, 3, 2]),
        (&[3], &[3, 2]),
        (&[2, 3], &[3]),
    ];
    for (a, b) in shapes {
        check("MatMul", &net(&[("a", a), ("b", b)], &[], vec![node("MatMul", &["a", "b"], "y")]), 51);
    }
    let n = int(int(node("Gemm", &["a", "b", "c"], "y"), "transA", 1), "transB", 1);
    check("Gemm", &net(&[("a", &[3, 2]), ("b", &[4, 3]), ("c", &[4])], &[], vec![n]), 52);
}

/// Strides that leave elements over, dilation, padding, groups, one and two spatial axes.
#[test]
fn convolutions() {
    type Case = (&'static [usize], &'static [usize], i64, i64, [i64; 2], i64);
    let cases: [Case; 6] = [
        (&[2, 3, 7], &[4, 3, 3], 1, 1, [1, 1], 1),
        (&[1, 2, 8], &[2, 2, 3], 2, 1, [0, 0], 1),
        (&[2, 4, 9], &[6, 2, 2], 3, 2, [2, 1], 2),
        (&[1, 3, 6], &[3, 1, 3], 1, 1, [1, 1], 3),
        (&[1, 2, 5, 6], &[3, 2, 3, 2], 2, 1, [1, 0], 1),
        (&[2, 2, 6, 5], &[2, 1, 2, 2], 1, 2, [1, 1], 2),
    ];
    for (x, w, stride, dilation, pads, group) in cases {
        let space = x.len() - 2;
        let attributes = |n: NodeProto| {
            let n = ints(n, "strides", &vec![stride; space]);
            let n = ints(n, "dilations", &vec![dilation; space]);
            let n = ints(n, "pads", &[vec![pads[0]; space], vec![pads[1]; space]].concat());
            int(n, "group", group)
        };
        let n = vec![attributes(node("Conv", &["x", "w", "b"], "y"))];
        check("Conv", &net(&[("x", x), ("w", w), ("b", &w[..1])], &[], n), 61);
        // Transposed: weights map the channels that the convolution gives back to those it takes.
        let mut from = x.to_vec();
        from[1] = w[0];
        let n = vec![attributes(node("ConvTranspose", &["x", "w"], "y"))];
        check("ConvTranspose", &net(&[("x", &from), ("w", w)], &[], n), 62);
    }
    let n = ints(ints(node("ConvTranspose", &["x", "w"], "y"), "strides", &[2]), "output_padding", &[1]);
    check("ConvTranspose", &net(&[("x", &[1, 2, 4]), ("w", &[2, 3, 3])], &[], vec![n]), 63);
}

#[test]
fn pooling() {
    for op in ["MaxPool", "AveragePool"] {
        for (pads, ceil, include) in [(0, 0, 0), (1, 0, 0), (1, 0, 1), (0, 1, 0), (1, 1, 1)] {
            let n = ints(ints(node(op, &["x"], "y"), "kernel_shape", &[3, 2]), "strides", &[2, 2]);
            let n = int(ints(n, "pads", &[pads, 0, pads, 0]), "ceil_mode", ceil);
            let n = if op == "MaxPool" { n } else { int(n, "count_include_pad", include) };
            check(op, &net(&[("x", &[2, 2, 6, 5])], &[], vec![n]), 71);
        }
    }
    check(
        "GlobalAveragePool",
        &net(&[("x", &[2, 2, 3, 3])], &[], vec![node("GlobalAveragePool", &["x"], "y")]),
        72,
    );
}

#[test]
fn resizing() {
    let sizes = [int_tensor("k", &[4], &[1, 2, 6, 3])];
    for mode in ["nearest", "linear", "cubic"] {
        for coordinate in ["half_pixel", "align_corners", "asymmetric"] {
            let n = text(node("Resize", &["x", "", "", "k"], "y"), "mode", mode);
            let n = text(n, "coordinate_transformation_mode", coordinate);
            check(mode, &net(&[("x", &[1, 2, 4, 5])], &sizes, vec![n]), 81);
        }
    }
    let n = text(node("Resize", &["x", "", "", "k"], "y"), "mode", "linear");
    check("antialias", &net(&[("x", &[1, 2, 9, 7])], &sizes, vec![int(n, "antialias", 1)]), 82);
}

/// Chains and diamonds of random ops over values of a few shapes.
#[test]
fn random_graphs() {
    for seed in 1..=40u64 {
        let mut numbers = Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut pool: Vec<(String, [usize; 2])> =
            vec![("a".into(), [2, 3]), ("b".into(), [2, 3]), ("c".into(), [3, 2])];
        let mut nodes = vec![];
        let mut constants = vec![int_tensor("flip", &[2], &[1, 0])];
        for step in 0..8 {
            let name = format!("v{step}");
            let (x, shape) = pool[numbers.below(pool.len())].clone();
            let same: Vec<&String> = pool.iter().filter(|(_, s)| *s == shape).map(|(n, _)| n).collect();
            let z = same[numbers.below(same.len())].clone();
            let turned = [shape[1], shape[0]];
            let (n, shape) = match numbers.below(12) {
                0 => (node("Add", &[&x, &z], &name), shape),
                1 => (node("Mul", &[&x, &z], &name), shape),
                2 => (node("Sub", &[&x, &z], &name), shape),
                3 => (node("Tanh", &[&x], &name), shape),
                4 => (node("Sigmoid", &[&x], &name), shape),
                5 => (int(node("Softmax", &[&x], &name), "axis", 1), shape),
                6 => (ints(node("Transpose", &[&x], &name), "perm", &[1, 0]), turned),
                7 => {
                    let to = format!("shape{step}");
                    constants.push(int_tensor(&to, &[2], &turned.map(|d| d as i64)));
                    (node("Reshape", &[&x, &to], &name), turned)
                }
                8 => (int(node("Gather", &[&x, "flip"], &name), "axis", 0), [2, shape[1]]),
                9 => {
                    let mean = format!("mean{step}");
                    nodes.push(ints(node("ReduceMean", &[&x], &mean), "axes", &[1]));
                    (node("Sub", &[&x, &mean], &name), shape)
                }
                10 => (int(node("Concat", &[&x, &z], &name), "axis", 0), [2 * shape[0], shape[1]]),
                _ => (node("Max", &[&x, &z], &name), shape),
            };
            nodes.push(n);
            pool.push((name, shape));
        }
        let inputs: [(&str, &[usize]); 3] = [("a", &[2, 3]), ("b", &[2, 3]), ("c", &[3, 2])];
        check(&format!("graph {seed}"), &net(&inputs, &constants, nodes), seed);
    }
}

/// d/dx of (dy/dx) for y = x^3: 6x; the operand of the outer Gradient need not be x itself.
#[test]
fn gradients_of_gradients_and_other_values() {
    let cube = vec![node("Mul", &["x", "x"], "s"), node("Mul", &["s", "x"], "y")];
    let n = net(&[("x", &[3]), ("other", &[3])], &[], cube);
    let extra = [
        gradient("y", &["x"], &["x"], "first"),
        gradient("first", &["x"], &["x"], "second"),
        gradient("first", &["x"], &["other"], "elsewhere"),
    ];
    let m = import(&n, &extra, &["second", "elsewhere"], F64).unwrap();
    let x = |v: &[f64]| Tensor::from_f64(DType::F64, vec![3], v).unwrap();
    let got = sinter_ir::eval::module(&m, &[x(&[1.0, -2.0, 0.5]), x(&[4.0, 5.0, 6.0])]).unwrap();
    assert_eq!(got[0].to_f64().unwrap(), [6.0, -12.0, 3.0]);
    assert_eq!(got[1].to_f64().unwrap(), [24.0, 30.0, 36.0]);
}

/// Constants are differentiated by like inputs, also those that only constants depend on.
#[test]
fn constant_operands_keep_their_slope() {
    let mut n = net(&[("x", &[2])], &[], vec![node("Mul", &["w", "w"], "s"), node("Mul", &["s", "x"], "y")]);
    n.constants.push(TensorProto {
        name: "w".into(),
        data_type: F64,
        dims: vec![],
        double_data: vec![3.0],
        ..Default::default()
    });
    let m = import(&n, &[gradient("y", &["w"], &["w"], "d")], &["d"], F64).unwrap();
    let x = Tensor::from_f64(DType::F64, vec![2], &[1.0, 4.0]).unwrap();
    assert_eq!(sinter_ir::eval::module(&m, &[x]).unwrap()[0].to_f64().unwrap(), [30.0]);
}

/// Tensors named in zs are held fixed, and what lies behind them as well.
#[test]
fn fixed_tensors_pass_nothing() {
    let n = net(&[("x", &[2])], &[], vec![node("Mul", &["x", "x"], "s"), node("Mul", &["s", "x"], "y")]);
    let held = names(gradient("y", &["x"], &["x", "s"], "d"), "zs", &["s"]);
    let m = import(&n, &[held], &["d"], F64).unwrap();
    let x = Tensor::from_f64(DType::F64, vec![2], &[3.0, 4.0]).unwrap();
    assert_eq!(sinter_ir::eval::module(&m, &[x]).unwrap()[0].to_f64().unwrap(), [9.0, 16.0]);
}

/// Everything without a derivative is named in one error.
#[test]
fn what_has_no_derivative_is_named() {
    let nodes = vec![
        int(node("CumSum", &["x", "k"], "c"), "axis", 0),
        text(node("ScatterElements", &["c", "i", "x"], "s"), "reduction", "mul"),
        text(node("ScatterElements", &["s", "i", "x"], "y"), "reduction", "max"),
    ];
    let k = [int_tensor("k", &[], &[0]), int_tensor("i", &[2], &[0, 1])];
    let n = net(&[("x", &[2])], &k, nodes);
    let e = import(&n, &[gradient("y", &["x"], &["x"], "d")], &["d"], F64).unwrap_err();
    let text = e[0].to_string();
    assert!(text.contains("ScatterElements Max (node make_y (ScatterElements))"), "{text}");
    assert!(text.contains("ScatterElements Mul (node make_s (ScatterElements))"), "{text}");
}
