//! TileIR: text.
