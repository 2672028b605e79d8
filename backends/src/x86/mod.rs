//! The emitter for x86-64 with AVX2 and FMA or AVX-512: TileIR to machine code with our own register allocation.
//!
//! A kernel is selected into machine IR ([`mir`]) over virtual registers, gets machine registers by linear scan, and is
//! encoded with its constants behind it. What the emitter does not carry it says before it starts.

pub mod mir;
pub mod select;
