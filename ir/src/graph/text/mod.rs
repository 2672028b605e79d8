//! Text form of modules: printer and parser.
//!
//! ```text
//! sinter-graph 1
//! module "name"
//! sym s0 "batch" input 1..8
//! require s0 == s1 ; "Add of x and y"
//! state input 1 output 1
//! graph(%0 "x": f32[s0, 3]) {
//!   %1: f32[3] = Constant [0.5, 1, 2] ()
//!   %2 "y": f32[s0, 3] = Binary {"kind":"add"} (%0, %1) ; "add1 (Add)"
//!   return %2
//! }
//! ```
//!
//! Values are numbered per graph in the order of their definition, dead slots are left out: parsing what was printed
//! and printing it again gives the same text. Attributes are the JSON of the op's struct. Regions follow their node as
//! blocks named `then`, `else`, `body` or `group`. The data of a constant is a list of elements where that is exact
//! (`[0.5, 1]`), else hexadecimal bytes (`x"0000c07f"`), a position in a side table (`@4096`), or `elided`.

mod consts;
pub(crate) mod parse;
pub(crate) mod print;

pub use consts::{ConstSink, ConstSource, ConstTable, Elide, Inline, NoConsts, Placement};
pub(crate) use consts::{hex_bytes, print_bytes};

/// First line of the text: changes with the format.
const HEADER: &str = "sinter-graph 1";
