//! What emitters with register allocation of their own share: machine IR over mutable virtual registers, and linear scan.
//!
//! An instruction set is its type of instruction forms: it says which registers there are and how they are spilled.

pub mod access;
pub mod alloc;
pub mod expr;
pub mod facts;
pub mod mir;
pub mod patterns;

use mir::{Class, Func, Mem, Op, Opnd};
use std::fmt::Debug;

/// A machine register.
pub trait Register: Copy + Eq + Ord + Debug {
    /// Number of registers of all files together.
    const COUNT: usize;
    /// Its number among all.
    fn index(self) -> usize;
    /// Its file.
    fn class(self) -> Class;
}

/// Instruction forms of an instruction set.
pub trait Forms: Copy + Eq + Debug + 'static {
    /// Machine registers.
    type Reg: Register;
    /// What branches ask for.
    type Cond: Copy + Eq + Debug;
    /// What differs between processors and matters for registers.
    type Features: Copy;
    /// Registers to allocate from, in order of preference. `narrow`: see [`Forms::is_narrow`].
    fn allocatable(class: Class, narrow: bool, features: Self::Features) -> Vec<Self::Reg>;
    /// Whether the form reaches only some of the vectors.
    fn is_narrow(self) -> bool;
    /// The form that loads a spilled register, of which `bytes` are in use.
    fn reload(class: Class, bytes: u8, features: Self::Features) -> Self;
    /// Stores a register that is spilled.
    fn spill(class: Class, bytes: u8, features: Self::Features, to: Mem, from: Opnd) -> Op<Self>;
    /// Whether the form loads whole vectors and nothing else.
    fn is_reload(self) -> bool;
    /// Bytes of the element that the form repeats in all lanes, where it could be read from memory as often instead.
    fn repeats(self) -> Option<usize> {
        None
    }
    /// Whether an instruction that has operands of constants alone neither depends on the flags nor changes them.
    fn is_constant(op: &Op<Self>) -> bool;
    /// Whether operand `n` may be memory instead of a register.
    fn takes_memory(op: &Op<Self>, n: usize) -> bool;
    /// Improves the code in front of allocation, when copies are coalesced.
    fn before(_: &mut Func<Self>) {}
    /// Improves the code behind allocation; may not need registers.
    fn after(_: &mut Func<Self>) {}
}
