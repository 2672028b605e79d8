//! TileIR: interp.
