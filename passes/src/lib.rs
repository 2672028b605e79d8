//! Graph to graph, graph to TileIR, and the plan of memory and steps.
//!
//! [`pipeline::PASSES`] is the table of contents. Must not know files, targets' machine code, or formats.

#![forbid(unsafe_code)]

pub mod assemble;
pub mod canon;
pub mod check;
pub mod compress;
pub mod fuse;
pub mod layout;
pub mod lower;
pub mod math;
pub mod patches;
pub mod pipeline;
pub mod plan;
pub mod prune;
pub mod quantise;
pub mod rebuild;
pub mod report;
pub mod symbols;
pub mod tidy;
pub mod work;
