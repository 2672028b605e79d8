//! ONNX protobuf messages. `onnx.rs` is generated from `onnx.proto3` by prost-build with
//! `bytes([".onnx.TensorProto.raw_data"])` and committed, so that building needs no protoc.

#![allow(missing_docs, clippy::all, clippy::pedantic, rustdoc::all)]

include!("onnx.rs");
