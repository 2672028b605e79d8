//! Between lanes of different widths: pieces of registers, their joining, and integers made wider and narrower.
//!
//! Parts of any two layouts of the same lanes nest: a part is a power of two of lanes (the last may have fewer) at a
//! multiple of that power.

use super::codes::V;
use super::emit::{Src, Vx};
use crate::x86::mir::{Mem, Opnd, VReg};
use crate::x86::select::{Part, layout};
use sinter_ir::tile::{Elem, Ty};

/// Lanes of one width in vector registers.
#[derive(Debug, Clone)]
pub struct Lanes {
    /// Bytes of an element.
    pub width: u32,
    /// Number of lanes.
    pub lanes: u16,
    /// One register per part.
    pub regs: Vec<VReg>,
}

/// An integer element of a width in bytes.
pub fn int_of(width: u32) -> Elem {
    match width {
        1 => Elem::I8,
        2 => Elem::I16,
        4 => Elem::I32,
        _ => Elem::I64,
    }
}

impl Vx<'_, '_> {
    /// Parts of lanes of a width that are no truth values.
    pub fn parts_of(&self, width: u32, lanes: u16) -> Vec<Part> {
        let ty = Ty { elem: int_of(width), lanes };
        if lanes > 1 {
            return layout(ty, self.isa);
        }
        vec![Part { class: crate::x86::mir::Class::Vec, bytes: 16, first: 0, lanes: 1 }]
    }
    /// The bytes from `at` on in the low end of a register; `want` of them are looked at, a power of two that divides
    /// `at`.
    pub fn low(&mut self, r: VReg, n: u8, at: u32, want: u32) -> VReg {
        if at == 0 {
            return r;
        }
        let d = self.vec();
        if want == 32 {
            let high = Opnd::Imm(1);
            self.v(V::Extract256, n, &[Opnd::Def(d, 32), Opnd::Use(r, n), high]);
            return d;
        }
        let lane = i64::from(at / 16);
        let x = if lane > 0 {
            self.v(V::Extract128, n, &[Opnd::Def(d, 16), Opnd::Use(r, n), Opnd::Imm(lane)]);
            d
        } else {
            r
        };
        match at % 16 {
            0 => x,
            by => self.new1i(V::Srldq, 16, x, by.into()),
        }
    }
    /// Lanes `first..first + n` at the low end of a register.
    pub fn piece(&mut self, v: &Lanes, first: u16, n: u16) -> VReg {
        let parts = self.parts_of(v.width, v.lanes);
        let found = parts.iter().zip(&v.regs).find(|(p, _)| first >= p.first && first < p.first + p.lanes);
        let Some((p, &r)) = found else { return v.regs[0] };
        let want = (u32::from(n) * v.width).next_power_of_two();
        self.low(r, p.bytes, u32::from(first - p.first) * v.width, want)
    }
    /// `low` with `high` behind it; `low` has that many bytes.
    pub fn join(&mut self, low: VReg, high: VReg, bytes: u32) -> VReg {
        let d = self.vec();
        match bytes {
            1 => self.v2(V::Unpcklbw, 16, d, low, high),
            2 => self.v2(V::Unpcklwd, 16, d, low, high),
            4 => self.v2(V::Unpckldq, 16, d, low, high),
            8 => self.v2(V::Unpcklqdq, 16, d, low, high),
            16 => self.v(
                V::Insert128,
                32,
                &[Opnd::Def(d, 32), Opnd::Use(low, 32), Opnd::Use(high, 16), Opnd::Imm(1)],
            ),
            _ => self.v(
                V::Insert256,
                64,
                &[Opnd::Def(d, 64), Opnd::Use(low, 64), Opnd::Use(high, 32), Opnd::Imm(1)],
            ),
        }
        d
    }
    /// Lanes of another width, each part of the result made of one piece of the source by `f`: its register view is
    /// given. For results at least as wide.
    pub fn widen_by(&mut self, v: &Lanes, width: u32, f: &mut dyn FnMut(&mut Self, u8, VReg, Src)) -> Lanes {
        let parts = self.parts_of(width, v.lanes);
        let regs = parts
            .iter()
            .map(|p| {
                let x = self.piece(v, p.first, p.lanes);
                let d = self.vec();
                f(self, p.bytes, d, Src::Reg(x));
                d
            })
            .collect();
        Lanes { width, lanes: v.lanes, regs }
    }
    /// As `widen_by`, straight from memory.
    pub fn widen_memory(
        &mut self,
        (m, from, lanes): (Mem, u32, u16),
        width: u32,
        f: &mut dyn FnMut(&mut Self, u8, VReg, Src),
    ) -> Lanes {
        let parts = self.parts_of(width, lanes);
        let regs = parts
            .iter()
            .map(|p| {
                let d = self.vec();
                let m = m.plus(i64::from(p.first) * i64::from(from));
                let src = if u32::from(p.lanes) * width == u32::from(p.bytes) {
                    Src::Mem(m)
                } else {
                    let t = self.vec();
                    self.load_low(t, m, u32::from(p.lanes) * from);
                    Src::Reg(t)
                };
                f(self, p.bytes, d, src);
                d
            })
            .collect();
        Lanes { width, lanes, regs }
    }
    /// Lanes of a smaller width: `f` makes one register of each source part, the results are joined.
    pub fn narrow_by(
        &mut self,
        v: &Lanes,
        width: u32,
        f: &mut dyn FnMut(&mut Self, u8, VReg) -> VReg,
    ) -> Lanes {
        let small: Vec<(Part, VReg)> = self
            .parts_of(v.width, v.lanes)
            .into_iter()
            .zip(&v.regs)
            .map(|(p, &r)| (p, f(self, p.bytes, r)))
            .collect();
        let parts = self.parts_of(width, v.lanes);
        let regs = parts
            .iter()
            .map(|p| self.gather_pieces(&small, p.first, p.lanes, width).unwrap_or(small[0].1))
            .collect();
        Lanes { width, lanes: v.lanes, regs }
    }
    /// Lanes `first..first + n` of narrowed parts in one register.
    fn gather_pieces(&mut self, small: &[(Part, VReg)], first: u16, n: u16, width: u32) -> Option<VReg> {
        if n == 0 {
            return None;
        }
        let (p, r) = small.iter().rev().find(|(p, _)| p.first <= first)?;
        if first + n <= p.first + p.lanes {
            return Some(*r);
        }
        let half = n.next_power_of_two() / 2;
        let low = self.gather_pieces(small, first, half, width)?;
        Some(match self.gather_pieces(small, first + half, n - half, width) {
            Some(high) => self.join(low, high, u32::from(half) * width),
            None => low,
        })
    }
    /// Integers of another width: sign- or zero-extended, or their low bits.
    pub fn resize(&mut self, v: &Lanes, width: u32, signed: bool) -> Lanes {
        if width == v.width {
            return v.clone();
        }
        if width > v.width {
            let op = extension(v.width, width, signed);
            return self.widen_by(v, width, &mut |s, n, d, x| s.extend(op, n, d, x));
        }
        let from = v.width;
        self.narrow_by(v, width, &mut |s, n, r| s.truncate(n, r, from, width))
    }
    /// One extending move.
    pub fn extend(&mut self, (op, ratio): (V, u8), n: u8, d: VReg, x: Src) {
        let from = (n / ratio).max(16);
        self.v(op, n, &[Opnd::Def(d, n), x.opnd(from)]);
    }
    /// The low bits of every lane of one register, at the low end of another.
    fn truncate(&mut self, n: u8, r: VReg, from: u32, to: u32) -> VReg {
        let d = self.vec();
        if self.isa.avx512 {
            let op = match (from, to) {
                (2, _) => V::Movwb,
                (4, 2) => V::Movdw,
                (4, _) => V::Movdb,
                (8, 4) => V::Movqd,
                (8, 2) => V::Movqw,
                _ => V::Movqb,
            };
            let view = (u32::from(n) * to / from).max(16) as u8;
            self.v(op, n, &[Opnd::Def(d, view), Opnd::Use(r, n)]);
            return d;
        }
        // Within each half of a ymm register, then the halves joined.
        let per = 16 / from;
        let bytes: Vec<u8> =
            (0..16).map(|i| if i < per * to { (i / to * from + i % to) as u8 } else { 0x80 }).collect();
        let pick = self.pattern(&bytes, n);
        self.v2(V::Shufb, n, d, r, pick);
        if n == 16 {
            return d;
        }
        if per * to == 8 {
            // Quadwords 0 and 2.
            return self.new1i(V::Permq, 32, d, 0b1000);
        }
        let high = self.low(d, 32, 16, 16);
        self.join(d, high, per * to)
    }
    /// Copies into the registers of a destination.
    pub fn put(&mut self, to: &[VReg], v: &Lanes) {
        let parts = self.parts_of(v.width, v.lanes);
        for ((p, &d), &r) in parts.iter().zip(to).zip(&v.regs) {
            self.mov(d, r, p.bytes);
        }
    }
}

/// The extending move between widths, and their ratio.
pub fn extension(from: u32, to: u32, signed: bool) -> (V, u8) {
    let op = match (from, to, signed) {
        (1, 2, true) => V::Movsxbw,
        (1, 4, true) => V::Movsxbd,
        (1, _, true) => V::Movsxbq,
        (2, 4, true) => V::Movsxwd,
        (2, _, true) => V::Movsxwq,
        (_, _, true) => V::Movsxdq,
        (1, 2, false) => V::Movzxbw,
        (1, 4, false) => V::Movzxbd,
        (1, _, false) => V::Movzxbq,
        (2, 4, false) => V::Movzxwd,
        (2, _, false) => V::Movzxwq,
        (_, _, false) => V::Movzxdq,
    };
    (op, (to / from) as u8)
}
