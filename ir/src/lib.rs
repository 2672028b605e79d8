//! Sinter's data: graph IR, TileIR, Program IR, shapes, element types, target descriptions, and for every
//! level a printer, a parser, a verifier and a reference evaluator.
//!
//! Owns everything the compiler reasons on. Must not know files, threads, clocks, environment or globals.

#![forbid(unsafe_code)]

pub mod diag;
pub mod dtype;
pub mod eval;
pub mod expr;
pub mod graph;
mod lex;
pub mod numeric;
pub mod op;
pub mod program;
pub mod target;
pub mod tensor;
pub mod tile;

pub use diag::{Diag, Fault, Result};
pub use dtype::DType;
pub use expr::{Expr, Sym};
pub use graph::{Graph, Module, Node, NodeId, Origin, State, SymKind, Symbols, TensorType, ValueId};
pub use op::Op;
pub use tensor::Tensor;
