//! What machine IR reads and writes.

use super::Forms;
use super::mir::{Base, Item, Mem, Op, Opnd, VReg};

/// How an instruction touches a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Access {
    Read,
    Write,
    ReadWrite,
}

impl Access {
    /// Whether the old value matters.
    pub fn reads(self) -> bool {
        self != Access::Write
    }
    /// Whether a new value appears.
    pub fn writes(self) -> bool {
        self != Access::Read
    }
}

impl Mem {
    /// Registers of the address.
    pub fn regs_mut(&mut self, mut f: impl FnMut(&mut VReg)) {
        if let Base::Reg(r) = &mut self.base {
            f(r);
        }
        if let Some((r, _)) = &mut self.index {
            f(r);
        }
    }
}

impl<C> Op<C> {
    /// Calls `f` with every register.
    pub fn regs_mut(&mut self, f: &mut impl FnMut(&mut VReg, Access)) {
        for o in self.opnds.iter_mut().chain(&mut self.implicit) {
            match o {
                Opnd::Def(r, _) => f(r, Access::Write),
                Opnd::Use(r, _) => f(r, Access::Read),
                Opnd::UseDef(r, _) => f(r, Access::ReadWrite),
                Opnd::Mem(m) | Opnd::Bcast(m) => m.regs_mut(|r| f(r, Access::Read)),
                Opnd::Imm(_) => {}
            }
        }
        if let Some((m, _)) = &mut self.mask {
            f(m, Access::Read);
        }
    }
}

impl<C: Forms> Item<C> {
    /// Calls `f` with every register.
    pub fn regs_mut(&mut self, f: &mut impl FnMut(&mut VReg, Access)) {
        match self {
            Item::Op(op) => op.regs_mut(f),
            Item::Move { dst, src, .. } => {
                f(src, Access::Read);
                f(dst, Access::Write);
            }
            Item::Ret(r) => f(r, Access::Read),
            _ => {}
        }
    }
    /// Calls `f` with every register.
    pub fn regs(&self, f: &mut impl FnMut(VReg, Access)) {
        let mem = |m: &Mem, f: &mut dyn FnMut(VReg, Access)| {
            if let Base::Reg(r) = m.base {
                f(r, Access::Read);
            }
            if let Some((r, _)) = m.index {
                f(r, Access::Read);
            }
        };
        match self {
            Item::Op(op) => {
                for o in op.opnds.iter().chain(&op.implicit) {
                    match o {
                        Opnd::Def(r, _) => f(*r, Access::Write),
                        Opnd::Use(r, _) => f(*r, Access::Read),
                        Opnd::UseDef(r, _) => f(*r, Access::ReadWrite),
                        Opnd::Mem(m) | Opnd::Bcast(m) => mem(m, f),
                        Opnd::Imm(_) => {}
                    }
                }
                if let Some((m, _)) = op.mask {
                    f(m, Access::Read);
                }
            }
            Item::Move { dst, src, .. } => {
                f(*src, Access::Read);
                f(*dst, Access::Write);
            }
            Item::Ret(r) => f(*r, Access::Read),
            _ => {}
        }
    }
}
