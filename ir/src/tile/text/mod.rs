//! Text form of TileIR.

mod names;

pub(crate) use names::*;
