//! Passes over graph IR, lowering to TileIR and memory planning.

#![forbid(unsafe_code)]

pub mod lower;
