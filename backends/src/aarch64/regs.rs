//! Machine registers.

use crate::machine::Register;
use crate::machine::mir::Class;

/// A machine register: 0..32 integers, 32..64 vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PReg(pub u8);

/// Where the numbers of vectors begin.
const VEC: u8 = 32;

impl PReg {
    /// An integer register.
    pub const fn x(n: u8) -> Self {
        Self(n)
    }
    /// A vector register.
    pub const fn v(n: u8) -> Self {
        Self(VEC + n)
    }
    /// Its number in instructions.
    pub fn number(self) -> u32 {
        u32::from(self.0 % VEC)
    }
    /// Whether a function must leave it as it was; of vectors the lower half.
    pub fn is_saved(self) -> bool {
        match self.class() {
            Class::Gpr => (19..=28).contains(&self.0),
            _ => (VEC + 8..VEC + 16).contains(&self.0),
        }
    }
}

impl Register for PReg {
    const COUNT: usize = 64;
    fn index(self) -> usize {
        self.0.into()
    }
    fn class(self) -> Class {
        if self.0 < VEC { Class::Gpr } else { Class::Vec }
    }
}

/// Registers to allocate from, those first that need not be saved. x18 belongs to the system, x29 and x30 are the frame
/// and the way back.
pub fn allocatable(class: Class) -> Vec<PReg> {
    match class {
        Class::Gpr => (0..18).chain(19..29).map(PReg::x).collect(),
        Class::Vec => (0..8).chain(16..32).chain(8..16).map(PReg::v).collect(),
        Class::Mask => vec![],
    }
}
