//! Runtime for hosts with the standard library: aligned memory and mapped weights, a thread pool, and bundles loaded
//! into this process without a linker.
//!
//! With the emitter's tests the only place with `unsafe`: it maps machine code and calls it.

mod archive;
mod bundle;
mod code;
pub mod measure;
mod memory;
mod pool;
pub mod remote;
mod states;
pub mod texts;

pub use bundle::{Bound, Bundle, Error, Functions, Outputs};
pub use memory::{Aligned, Image};
pub use pool::Pool;
pub use states::States;
