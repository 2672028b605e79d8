//! How values are spread over machine registers.

use super::Isa;
use crate::x86::mir::Class;
use sinter_ir::tile::{Elem, Ty};

/// One machine register's share of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Register file.
    pub class: Class,
    /// View: 4 or 8 for Gpr scalars, 16, 32 or 64 for vectors, 8 for masks.
    pub bytes: u8,
    /// First lane.
    pub first: u16,
    /// Number of lanes.
    pub lanes: u16,
}

impl Part {
    /// Distance in memory from the first lane of the value, in bytes.
    pub fn at(&self, elem: Elem) -> i64 {
        i64::from(self.first) * i64::from(elem.bytes())
    }
}

/// Parts of a type. Scalars have one. Vectors take the widest registers first, then smaller powers of two; what is
/// below 16 bytes is the low end of an xmm register. Truth vectors are masks of up to 64 lanes with AVX-512 and full
/// vectors of 32-bit lanes without.
pub fn layout(ty: Ty, isa: Isa) -> Vec<Part> {
    let Ty { elem, lanes } = ty;
    if lanes == 1 {
        let part = match elem {
            Elem::F32 | Elem::F64 => Part { class: Class::Vec, bytes: 16, first: 0, lanes },
            Elem::I64 => Part { class: Class::Gpr, bytes: 8, first: 0, lanes },
            _ => Part { class: Class::Gpr, bytes: 4, first: 0, lanes },
        };
        return vec![part];
    }
    let mask = elem == Elem::B1 && isa.avx512;
    let width = if elem == Elem::B1 { 4 } else { elem.bytes() };
    let most = if mask { 64 } else { isa.vector_bytes() / width };
    let mut out = Vec::new();
    let mut first = 0;
    while first < lanes {
        let left = u32::from(lanes - first);
        let n = if mask || left >= most {
            left.min(most)
        } else if left * width <= 16 {
            left
        } else {
            1 << left.ilog2()
        };
        let (class, bytes) =
            if mask { (Class::Mask, 8) } else { (Class::Vec, (n * width).next_power_of_two().max(16)) };
        out.push(Part { class, bytes: bytes as u8, first, lanes: n as u16 });
        first += n as u16;
    }
    out
}
