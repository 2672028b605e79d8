//! Small ONNX models made in tests.

use prost::Message;
use sinter::frontend::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, tensor_shape_proto, type_proto,
};
use sinter::frontend::onnx::{ImportOptions, import_bytes};
use sinter_ir::{Diag, Module};

/// A node; results are separated by commas.
pub fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: op.into(),
        name: format!("make_{output}"),
        input: inputs.iter().map(|s| (*s).to_owned()).collect(),
        output: output.split(',').map(str::to_owned).collect(),
        ..Default::default()
    }
}

/// Adds an attribute.
pub fn with(mut n: NodeProto, name: &str, set: impl FnOnce(&mut AttributeProto)) -> NodeProto {
    let mut a = AttributeProto { name: name.into(), ..Default::default() };
    set(&mut a);
    n.attribute.push(a);
    n
}

/// Adds a list of integers.
pub fn ints(n: NodeProto, name: &str, v: &[i64]) -> NodeProto {
    with(n, name, |a| a.ints = v.to_vec())
}

/// Adds an integer.
pub fn int(n: NodeProto, name: &str, v: i64) -> NodeProto {
    with(n, name, |a| a.i = v)
}

/// Adds a text.
pub fn text(n: NodeProto, name: &str, v: &str) -> NodeProto {
    with(n, name, |a| a.s = v.as_bytes().to_vec())
}

/// Adds a list of texts.
pub fn names(n: NodeProto, name: &str, v: &[&str]) -> NodeProto {
    with(n, name, |a| a.strings = v.iter().map(|s| s.as_bytes().to_vec()).collect())
}

/// An i64 initializer.
pub fn int_tensor(name: &str, dims: &[i64], v: &[i64]) -> TensorProto {
    TensorProto {
        name: name.into(),
        data_type: 7,
        dims: dims.to_vec(),
        int64_data: v.to_vec(),
        ..Default::default()
    }
}

/// An input or output.
pub fn port(name: &str, ty: i32, dims: Option<&[usize]>) -> ValueInfoProto {
    let dim = |&d: &usize| tensor_shape_proto::Dimension {
        value: Some(tensor_shape_proto::dimension::Value::DimValue(d as i64)),
        ..Default::default()
    };
    let shape = dims.map(|d| TensorShapeProto { dim: d.iter().map(dim).collect() });
    let tensor = type_proto::Tensor { elem_type: ty, shape };
    let value = Some(type_proto::Value::TensorType(tensor));
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto { value, ..Default::default() }),
        ..Default::default()
    }
}

/// A serialised model with a version of the default operators.
pub fn encode(graph: GraphProto, opset: i64) -> Vec<u8> {
    let import = |domain: &str, version| OperatorSetIdProto { domain: domain.into(), version };
    let opset_import =
        vec![import("", opset), import("ai.onnx.ml", 4), import("ai.onnx.preview.training", 1)];
    let model = ModelProto { ir_version: 9, opset_import, graph: Some(graph), ..Default::default() };
    model.encode_to_vec()
}

/// Imports a graph.
pub fn module(graph: GraphProto, opset: i64) -> Result<Module, Vec<Diag>> {
    let bytes = encode(graph, opset);
    import_bytes(bytes.into(), None, "net", &ImportOptions::default()).map(|i| i.module)
}

/// A string initializer.
pub fn text_tensor(name: &str, dims: &[i64], v: &[&str]) -> TensorProto {
    TensorProto {
        name: name.into(),
        data_type: 8,
        dims: dims.to_vec(),
        string_data: v.iter().map(|s| s.as_bytes().to_vec()).collect(),
        ..Default::default()
    }
}
