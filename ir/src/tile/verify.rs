//! TileIR: verify.
