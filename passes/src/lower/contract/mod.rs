//! Matrix products.

pub mod arith;
pub mod choose;
pub mod finish;
pub mod gemm;
pub mod kernel;
mod matmul;
pub mod micro;
pub mod nest;
pub mod num;
pub mod pack;
pub mod pairs;
pub mod slots;
mod sparse;
pub(in crate::lower) mod squares;
pub mod words;

pub use matmul::lower;
