//! Real models, compiled for this machine and compared with ONNX Runtime.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod bar;
#[path = "../common/mod.rs"]
mod common;
mod emulated;
mod expected;
mod module_size;
mod recipe;
mod stored;
