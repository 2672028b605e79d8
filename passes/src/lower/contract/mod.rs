//! Matrix products.

pub mod gemm;
pub mod kernel;
mod matmul;
pub mod micro;
pub mod num;
pub mod pack;
pub mod slots;

pub use matmul::lower;
