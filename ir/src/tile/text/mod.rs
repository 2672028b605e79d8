//! Text form of TileIR.
//!
//! ```text
//! kernel "relu" {
//!   parallel s0
//!   buf b0 "x" read 4*s0
//!   buf b1 "y" write 4*s0
//!   r0: f32 = const f32 0.0
//!   r1: i64 = dim s0
//!   for r2: i64 = 0..r1 step 1 parallel {
//!     r3: f32 = load b0[r2]
//!     r4: f32 = max r3, r0
//!     store b1[r2], r4
//!   }
//! }
//! ```
//!
//! A register has its type where it is first assigned; later assignments are plain `r3 = ...`. Registers that
//! nothing assigns are declared behind the buffers: `reg r7: i64`. What is printed reads back as the same
//! kernel. Reading checks only the grammar; [`super::verify`] does the rest.

mod inst;
mod names;
mod parse;
mod print;

pub(crate) use names::*;
pub(crate) use parse::kernel as parse_kernel;
pub(crate) use print::kernel as print_kernel;

use super::Kernel;
use crate::lex::Cursor;
use crate::{Diag, Result};

impl Kernel {
    /// The kernel as text.
    pub fn dump_text(&self) -> String {
        let mut out = String::new();
        print_kernel(&mut out, self);
        out
    }
}

impl std::str::FromStr for Kernel {
    type Err = Diag;
    fn from_str(text: &str) -> Result<Self> {
        let mut c = Cursor::new(text);
        let k = parse_kernel(&mut c)?;
        if c.at_end() { Ok(k) } else { Err(c.error("expected the end of the text")) }
    }
}
