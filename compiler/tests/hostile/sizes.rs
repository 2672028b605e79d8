//! Absurd dims: of inputs, of constants, and those that operators compute.

use crate::build::{F32, I64, encode, f32s, graph, i64s, int, model, node, value};
use crate::{compile, refused_model};
use sinter::frontend::onnx::proto::{AttributeProto, ModelProto, TensorProto};
use sinter_ir::Fault::{Input, Limit};

fn ints(name: &str, v: &[i64]) -> AttributeProto {
    AttributeProto { name: name.into(), ints: v.into(), r#type: 7, ..AttributeProto::default() }
}

/// One operator on `x: f32[dims]` and constants.
fn one(op: &str, dims: &[i64], constants: Vec<TensorProto>, attributes: Vec<AttributeProto>) -> ModelProto {
    let mut inputs = vec!["x"];
    inputs.extend(constants.iter().map(|t| t.name.as_str()));
    let n = node(op, &inputs, &["y"], attributes);
    model(graph(vec![value("x", F32, dims)], vec![value("y", F32, &[])], constants, vec![n]))
}

#[test]
fn inputs() {
    refused_model(&one("Relu", &[1 << 62], vec![], vec![]), Limit, "no usable bound");
    refused_model(&one("Relu", &[i64::MAX], vec![], vec![]), Limit, "no usable bound");
    refused_model(&one("Relu", &[1 << 31, 1 << 31], vec![], vec![]), Limit, "2^40 elements");
    refused_model(&one("Relu", &[1 << 39, 1 << 39, 0], vec![], vec![]), Limit, "2^40 elements");
    refused_model(&one("Relu", &[1; 17], vec![], vec![]), Limit, "rank 17");
    // Exporters write -1 for an open dim.
    compile(encode(&one("Relu", &[-1], vec![], vec![]))).unwrap();
}

#[test]
fn constants_that_are_larger_than_their_data() {
    let add = |t| one("Add", &[4], vec![t], vec![]);
    refused_model(&add(f32s("w", &[1 << 62], &[1.0])), Limit, "tensor `w`");
    refused_model(&add(f32s("w", &[1 << 32, 1 << 32], &[1.0])), Limit, "too many elements");
    refused_model(&add(f32s("w", &[0, 1 << 32, 1 << 32], &[])), Limit, "too many elements");
    refused_model(&add(f32s("w", &[1 << 20], &[1.0])), Input, "needs 4194304 bytes, the data has 4");
    refused_model(&add(f32s("w", &[-4], &[1.0; 4])), Input, "dim -4");
    refused_model(&add(f32s("w", &[2], &[1.0; 4])), Input, "needs 8 bytes, the data has 16");
    let typed = TensorProto { float_data: vec![1.0; 3], raw_data: vec![].into(), ..f32s("w", &[4], &[]) };
    refused_model(&add(typed), Input, "needs 16 bytes, the data has 12");
    let code = TensorProto { data_type: 99, ..f32s("w", &[4], &[1.0; 4]) };
    refused_model(&add(code), sinter_ir::Fault::Unsupported, "element type code 99");
}

#[test]
fn computed_dims() {
    let shape = |v: &[i64]| vec![i64s("s", &[v.len() as i64], v)];
    let far = 1i64 << 62;
    let with = |op: &str, v: &[i64]| one(op, &[4, 4], shape(v), vec![]);
    refused_model(&with("Reshape", &[far, far]), Limit, "no usable bound");
    refused_model(&with("Reshape", &[5, 5]), Input, "can never be equal");
    refused_model(&with("Reshape", &[-1, -1]), Input, "two dims of -1");
    refused_model(&with("Reshape", &[-7]), Input, "");
    refused_model(&with("Expand", &[far, 4, 4]), Limit, "no usable bound");
    refused_model(&with("Tile", &[far, far]), Limit, "no usable bound");
    refused_model(&with("Tile", &[-3, 1]), Input, "negative");
    refused_model(&with("Pad", &[far, 0, far, 0]), Limit, "no usable bound");
    refused_model(&with("Pad", &[i64::MIN, 0, i64::MAX, 0]), Limit, "no usable bound");
    refused_model(&with("Pad", &[-100, 0, 0, 0]), Input, "negative");
    let of_shape = |v: &[i64]| {
        let n = node("ConstantOfShape", &["s"], &["y"], vec![]);
        model(graph(vec![], vec![value("y", F32, &[])], shape(v), vec![n]))
    };
    refused_model(&of_shape(&[far]), Limit, "no usable bound");
    refused_model(&of_shape(&[1 << 30, 1 << 30]), Limit, "2^40 elements");
    refused_model(&of_shape(&[-1]), Input, "negative");
    let range = |a: i64, b: i64, c: i64| {
        let held = vec![i64s("a", &[], &[a]), i64s("b", &[], &[b]), i64s("c", &[], &[c])];
        model(graph(
            vec![],
            vec![value("y", I64, &[])],
            held,
            vec![node("Range", &["a", "b", "c"], &["y"], vec![])],
        ))
    };
    refused_model(&range(0, i64::MAX, 1), Limit, "no usable bound");
    // Away from the limit: nothing at all.
    compile(encode(&range(i64::MIN, i64::MAX, i64::MIN))).unwrap();
}

#[test]
fn windows() {
    let far = 1i64 << 30;
    let pool = |a: Vec<AttributeProto>| one("MaxPool", &[1, 1, 8, 8], vec![], a);
    refused_model(&pool(vec![ints("kernel_shape", &[far, far])]), Input, "negative");
    refused_model(&pool(vec![ints("kernel_shape", &[i64::MAX, 2])]), Input, "kernel_shape");
    refused_model(&pool(vec![ints("kernel_shape", &[0, 0])]), Input, "kernel_shape");
    refused_model(&pool(vec![ints("kernel_shape", &[2, 2]), ints("strides", &[0, 1])]), Input, "strides");
    refused_model(
        &pool(vec![ints("kernel_shape", &[2, 2]), ints("pads", &[i64::MIN, 0, 0, 0])]),
        Input,
        "pads",
    );
    let conv = |dims: &[i64], data: &[f32], a| one("Conv", &[1, 1, 8, 8], vec![f32s("w", dims, data)], a);
    refused_model(&conv(&[1, 1, 0, 3], &[], vec![]), Input, "Conv");
    refused_model(&conv(&[1, 2, 1, 1], &[1.0; 2], vec![]), Input, "channels");
    refused_model(&conv(&[1, 1, 1, 1], &[1.0], vec![int("group", 0)]), Input, "Conv");
    refused_model(&conv(&[1, 1, 1, 1], &[1.0], vec![int("group", i64::MAX)]), Input, "");
    refused_model(&conv(&[1, 1, 2, 2], &[1.0; 4], vec![ints("dilations", &[far, far])]), Input, "negative");
    let up = |a| one("ConvTranspose", &[1, 1, 8, 8], vec![f32s("w", &[1, 1, 2, 2], &[1.0; 4])], a);
    refused_model(&up(vec![ints("strides", &[far, far])]), Limit, "2^40 elements");
    refused_model(&up(vec![ints("output_shape", &[9])]), Input, "output_shape is too short");
}

#[test]
fn scales_that_are_no_numbers() {
    for bad in [f32::NAN, f32::INFINITY, 0.0, -1.0, 1e30] {
        let scales = f32s("scales", &[4], &[1.0, 1.0, bad, 1.0]);
        let n = node("Resize", &["x", "", "scales"], &["y"], vec![]);
        let g =
            graph(vec![value("x", F32, &[1, 1, 8, 8])], vec![value("y", F32, &[])], vec![scales], vec![n]);
        refused_model(&model(g), Input, "scales");
    }
    // A scale is data like any other where it does not decide a size.
    let q = |s: f32| one("QuantizeLinear", &[4], vec![f32s("s", &[], &[s])], vec![]);
    for scale in [f32::NAN, 0.0, f32::INFINITY, -1.0] {
        compile(encode(&q(scale))).unwrap();
    }
}

#[test]
fn dims_of_zero() {
    for op in ["Relu", "Softmax", "Transpose", "Flatten", "Shape", "ReduceSum"] {
        compile(encode(&one(op, &[3, 0], vec![], vec![]))).unwrap_or_else(|d| panic!("{op}: {d:?}"));
    }
    compile(encode(&one("MatMul", &[3, 0], vec![f32s("w", &[0, 5], &[])], vec![]))).unwrap();
    compile(encode(&one("Concat", &[3, 0], vec![f32s("w", &[3, 2], &[1.0; 6])], vec![int("axis", 1)])))
        .unwrap();
    refused_model(
        &one("Gather", &[0, 3], vec![f32s("i", &[1], &[0.5])], vec![int("axis", 7)]),
        Input,
        "axis 7",
    );
}
