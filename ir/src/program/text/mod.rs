//! Text form of programs: printer and parser.
//!
//! ```text
//! sinter-program 1
//! program "name"
//! sym s0 "batch" input 1..8
//! input "x" f32[s0, 3] max 96
//! output "y" f32[s0, 3] max 96
//! state "cache" f32[s1, 3] max 96
//! arena 192 live 160
//! weights 0: 12 bytes x"0000803f0000803f0000803f"
//! buffer "h" at 64: 96 bytes in 0..1
//! kernel "add" {
//!   ..
//! }
//! run {
//!   call 0 "add" (input0, weights+0, arena+64) ; "add1 (Add)"
//!   copy output0 = arena+64 bytes 12*s0
//! }
//! ```
//!
//! Kernels are numbered in order; a call says number and name. Symbols and constraints are written as in modules,
//! kernels as in [`crate::tile::text`]. Weights are part of the text, in a side table, or left out: then they come
//! back as zeros, which is enough to verify the program but not to run it.

mod parse;
mod print;

/// First line of the text: changes with the format.
const HEADER: &str = "sinter-program 1";
