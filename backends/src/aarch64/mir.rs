//! Machine IR of AArch64.

use super::form::{self, Form};
use super::pairs;
use super::regs::{self, PReg};
pub use crate::machine::mir::{Base, Class, Label, Mem, Opnd, VReg};
use crate::machine::{Forms, mir};

/// The machine code of one kernel under construction.
pub type Func = mir::Func<Form>;
/// An element of the list.
pub type Item = mir::Item<Form>;
/// One machine instruction before register allocation.
pub type Op = mir::Op<Form>;

/// Conditions, in the order of their encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Cond {
    Eq,
    Ne,
    /// Unsigned at least.
    Hs,
    Lo,
    /// Negative; less, of floats.
    Mi,
    Pl,
    Vs,
    Vc,
    Hi,
    Ls,
    Ge,
    Lt,
    Gt,
    Le,
}

impl Cond {
    /// When this does not hold.
    pub fn opposite(self) -> Self {
        use Cond::*;
        match self {
            Eq => Ne,
            Ne => Eq,
            Hs => Lo,
            Lo => Hs,
            Mi => Pl,
            Pl => Mi,
            Vs => Vc,
            Vc => Vs,
            Hi => Ls,
            Ls => Hi,
            Ge => Lt,
            Lt => Ge,
            Gt => Le,
            Le => Gt,
        }
    }
    /// As an operand.
    pub fn opnd(self) -> Opnd {
        Opnd::Imm(self as i64)
    }
}

impl Forms for Form {
    type Reg = PReg;
    type Cond = Cond;
    type Features = ();

    fn allocatable(class: Class, _: bool, (): ()) -> Vec<PReg> {
        regs::allocatable(class)
    }
    fn is_narrow(self) -> bool {
        false
    }
    fn reload(class: Class, _: u8, (): ()) -> Self {
        if class == Class::Gpr { form::LDR_X } else { form::LDR_Q }
    }
    fn spill(class: Class, _: u8, (): (), to: Mem, from: Opnd) -> Op {
        let code = if class == Class::Gpr { form::STR_X } else { form::STR_Q };
        Op::plain(code, vec![from, Opnd::Mem(to)])
    }
    fn is_reload(self) -> bool {
        self == form::LDR_Q
    }
    fn is_constant(op: &Op) -> bool {
        // What is set by a condition depends on the flags.
        op.code != form::CSET
    }
    fn takes_memory(_: &Op, _: usize) -> bool {
        false
    }
    fn before(f: &mut Func) {
        pairs::join(f);
    }
}
