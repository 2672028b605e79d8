//! Machine IR of x86: instruction forms are iced's.

use crate::machine::mir;
pub use crate::machine::mir::{Base, Class, Label, Mem, Opnd, VReg};
use iced_x86::Code;

/// The machine code of one kernel under construction.
pub type Func = mir::Func<Code>;
/// An element of the list.
pub type Item = mir::Item<Code>;
/// One machine instruction before register allocation.
pub type Op = mir::Op<Code>;

/// Conditions, in the order of their encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Cond {
    O,
    NO,
    /// Unsigned below; carry.
    B,
    AE,
    E,
    NE,
    BE,
    A,
    S,
    NS,
    P,
    NP,
    L,
    GE,
    LE,
    G,
}
