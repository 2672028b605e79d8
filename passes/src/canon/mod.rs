//! Canonicalisation: graph to graph, semantics kept, independent of the target.

pub mod algebra;
pub mod captures;
mod clamps;
pub mod constraints;
pub mod cse;
pub mod dce;
pub mod dots;
pub mod fold;
pub mod fourier;
pub mod integers;
pub mod join;
mod largest;
pub mod ranges;
pub mod simplify;
pub mod subpixel;
pub mod substitute;
pub mod tables;
pub mod texts;
mod weights;
pub mod widen;
