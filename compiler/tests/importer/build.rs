//! Small ONNX models, made in memory.

use prost::Message;
use sinter::frontend::onnx::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    StringStringEntryProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, attribute_proto,
    tensor_shape_proto::{Dimension, dimension},
    type_proto,
};

/// Element type codes of the format.
pub const F32: i32 = 1;
pub const I64: i32 = 7;
pub const BOOL: i32 = 9;

pub fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|s| (*s).to_owned()).collect()
}

/// A named and typed value; dims below zero are open.
pub fn value(name: &str, elem_type: i32, dims: &[i64]) -> ValueInfoProto {
    let dim = |&d: &i64| Dimension {
        value: (d >= 0).then_some(dimension::Value::DimValue(d)),
        ..Dimension::default()
    };
    let shape = Some(TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let tensor = type_proto::Tensor { elem_type, shape };
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}

/// A node named after its first result.
pub fn node(op: &str, inputs: &[&str], outputs: &[&str], attributes: Vec<AttributeProto>) -> NodeProto {
    let (domain, op_type) = op.rsplit_once(':').unwrap_or(("", op));
    NodeProto {
        name: format!("make_{}", outputs[0]),
        op_type: op_type.into(),
        domain: domain.into(),
        input: names(inputs),
        output: names(outputs),
        attribute: attributes,
        ..NodeProto::default()
    }
}

pub fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        i,
        r#type: attribute_proto::AttributeType::Int as i32,
        ..AttributeProto::default()
    }
}

pub fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        f,
        r#type: attribute_proto::AttributeType::Float as i32,
        ..AttributeProto::default()
    }
}

pub fn subgraph(name: &str, g: GraphProto) -> AttributeProto {
    let r#type = attribute_proto::AttributeType::Graph as i32;
    AttributeProto { name: name.into(), g: Some(g), r#type, ..AttributeProto::default() }
}

/// An attribute whose value is the function's attribute `from`.
pub fn reference(name: &str, from: &str, like: AttributeProto) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        ref_attr_name: from.into(),
        r#type: like.r#type,
        ..AttributeProto::default()
    }
}

pub fn graph(
    inputs: Vec<ValueInfoProto>,
    outputs: Vec<ValueInfoProto>,
    initializer: Vec<TensorProto>,
    node: Vec<NodeProto>,
) -> GraphProto {
    GraphProto {
        name: "g".into(),
        input: inputs,
        output: outputs,
        initializer,
        node,
        ..GraphProto::default()
    }
}

pub fn opset(domain: &str, version: i64) -> OperatorSetIdProto {
    OperatorSetIdProto { domain: domain.into(), version }
}

pub fn model(g: GraphProto) -> ModelProto {
    ModelProto { ir_version: 9, opset_import: vec![opset("", 18)], graph: Some(g), ..ModelProto::default() }
}

pub fn function(name: &str, inputs: &[&str], outputs: &[&str], node: Vec<NodeProto>) -> FunctionProto {
    FunctionProto {
        name: name.into(),
        domain: "local".into(),
        input: names(inputs),
        output: names(outputs),
        node,
        opset_import: vec![opset("", 18)],
        ..FunctionProto::default()
    }
}

pub fn f32s(name: &str, dims: &[i64], data: &[f32]) -> TensorProto {
    let raw: Vec<u8> = data.iter().flat_map(|v| v.to_le_bytes()).collect();
    TensorProto {
        name: name.into(),
        dims: dims.into(),
        data_type: F32,
        raw_data: raw.into(),
        ..TensorProto::default()
    }
}

pub fn i64s(name: &str, dims: &[i64], data: &[i64]) -> TensorProto {
    let raw: Vec<u8> = data.iter().flat_map(|v| v.to_le_bytes()).collect();
    TensorProto {
        name: name.into(),
        dims: dims.into(),
        data_type: I64,
        raw_data: raw.into(),
        ..TensorProto::default()
    }
}

/// A tensor in another file.
pub fn external(name: &str, dims: &[i64], entries: &[(&str, &str)]) -> TensorProto {
    let entry = |(k, v): &(&str, &str)| StringStringEntryProto { key: (*k).into(), value: (*v).into() };
    TensorProto {
        name: name.into(),
        dims: dims.into(),
        data_type: F32,
        data_location: 1,
        external_data: entries.iter().map(entry).collect(),
        ..TensorProto::default()
    }
}

pub fn encode(m: &ModelProto) -> Vec<u8> {
    m.encode_to_vec()
}
