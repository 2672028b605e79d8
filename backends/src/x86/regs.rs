//! Machine registers.

use super::mir::Class;
use crate::machine::{self, Register as _};
use iced_x86::Register;

/// A machine register: 0..16 integers, 16..48 vectors, 48..56 masks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PReg(pub u8);

const VEC: u8 = 16;
const MASK: u8 = 48;

/// Integers, cheapest first: those that a function may overwrite freely, then those that it must save.
const GPRS: [u8; 15] = [0, 1, 2, 6, 7, 8, 9, 10, 11, 3, 5, 12, 13, 14, 15];
/// Integers that a function must keep.
pub const CALLEE_SAVED: [PReg; 6] = [PReg(3), PReg(5), PReg(12), PReg(13), PReg(14), PReg(15)];

const GPR8: [Register; 16] = [
    Register::AL,
    Register::CL,
    Register::DL,
    Register::BL,
    Register::SPL,
    Register::BPL,
    Register::SIL,
    Register::DIL,
    Register::R8L,
    Register::R9L,
    Register::R10L,
    Register::R11L,
    Register::R12L,
    Register::R13L,
    Register::R14L,
    Register::R15L,
];

impl machine::Register for PReg {
    const COUNT: usize = 56;
    fn index(self) -> usize {
        self.0.into()
    }
    fn class(self) -> Class {
        match self.0 {
            0..VEC => Class::Gpr,
            VEC..MASK => Class::Vec,
            _ => Class::Mask,
        }
    }
}

impl From<Register> for PReg {
    fn from(r: Register) -> Self {
        Self::of(r)
    }
}

impl PReg {
    /// From iced's full name: 64 bits of an integer, zmm, mask.
    pub fn of(r: Register) -> Self {
        let n = r.number() as u8;
        if r.is_gpr() {
            Self(n)
        } else if r.is_k() {
            Self(MASK + n)
        } else {
            Self(VEC + n)
        }
    }
    /// A vector register that only EVEX encodings reach.
    pub fn is_high(self) -> bool {
        (VEC + 16..MASK).contains(&self.0)
    }
    /// iced's name of a view.
    pub fn view(self, bytes: u8) -> Register {
        let n = u32::from(self.0);
        match self.class() {
            Class::Gpr => match bytes {
                1 => GPR8[self.0 as usize],
                2 => Register::AX + n,
                4 => Register::EAX + n,
                _ => Register::RAX + n,
            },
            Class::Vec => {
                let n = n - u32::from(VEC);
                match bytes {
                    16 => Register::XMM0 + n,
                    32 => Register::YMM0 + n,
                    _ => Register::ZMM0 + n,
                }
            }
            Class::Mask => Register::K0 + (n - u32::from(MASK)),
        }
    }
}

/// Registers to allocate from, in order of preference. `low`: only vectors that VEX encodings reach.
pub fn allocatable(class: Class, low: bool) -> Vec<PReg> {
    match class {
        Class::Gpr => GPRS.into_iter().map(PReg).collect(),
        Class::Vec => (VEC..if low { VEC + 16 } else { MASK }).map(PReg).collect(),
        // k0 cannot be a write mask.
        Class::Mask => (MASK + 1..MASK + 8).map(PReg).collect(),
    }
}
