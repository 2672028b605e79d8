//! Machine IR: one kernel as a linear list of instructions over virtual registers.
//!
//! Virtual registers are mutable: they may be written any number of times, and liveness is found by data flow. A
//! virtual register can be bound to a machine register ([`Func::fixed`]) where an instruction or the ABI wants one.

use super::{Forms, Register};
use std::collections::BTreeMap;

/// Register files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Integers and addresses.
    Gpr,
    /// Vectors and float scalars.
    Vec,
    /// Masks of lanes.
    Mask,
}

/// A virtual register: index into [`Func::classes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct VReg(pub u32);

/// A place in the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label(pub u32);

/// An operand. The number is the view in bytes: 1, 2, 4, 8 of a Gpr, 16, 32, 64 of a Vec, 8 of a Mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opnd {
    /// Written, not read.
    Def(VReg, u8),
    /// Read.
    Use(VReg, u8),
    /// Read and written.
    UseDef(VReg, u8),
    /// Memory.
    Mem(Mem),
    /// One element from memory in every lane (EVEX only).
    Bcast(Mem),
    /// Immediate.
    Imm(i64),
}

/// A memory operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mem {
    /// Base.
    pub base: Base,
    /// Index and its scale: 1, 2, 4 or 8. A Vec in gathers.
    pub index: Option<(VReg, u8)>,
    /// Displacement; must fit in 32 bits.
    pub disp: i64,
}

/// What an address counts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// An address in a Gpr.
    Reg(VReg),
    /// A slot of the stack frame ([`Func::slot`]).
    Frame(u32),
    /// Bytes in the constant pool ([`Func::pool`]).
    Pool(u32),
}

impl Mem {
    /// At an address in a register.
    pub fn reg(base: VReg) -> Self {
        Base::Reg(base).into()
    }
    /// Further on.
    pub fn plus(self, bytes: i64) -> Self {
        Self { disp: self.disp + bytes, ..self }
    }
}

impl From<Base> for Mem {
    fn from(base: Base) -> Self {
        Self { base, index: None, disp: 0 }
    }
}

/// One machine instruction before register allocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op<C> {
    /// Instruction form.
    pub code: C,
    /// Operands in the order of the form.
    pub opnds: Vec<Opnd>,
    /// Write mask, and whether other lanes become zero. Without zeroing the first operand must be a `UseDef`.
    pub mask: Option<(VReg, bool)>,
    /// Registers that the instruction touches without naming them: [`Func::fixed`] ones.
    pub implicit: Vec<Opnd>,
}

impl<C> Op<C> {
    /// An instruction that touches no more than it names.
    pub fn plain(code: C, opnds: Vec<Opnd>) -> Self {
        Self { code, opnds, mask: None, implicit: vec![] }
    }
}

/// An element of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item<C: Forms> {
    /// An instruction.
    Op(Op<C>),
    /// A copy of that many bytes; vanishes when both get the same machine register.
    Move {
        /// Destination.
        dst: VReg,
        /// Source, of the same class.
        src: VReg,
        /// View.
        bytes: u8,
    },
    /// Here is a label.
    Bind(Label),
    /// Padding up to a multiple of 32 bytes.
    Align,
    /// Unconditional jump.
    Jump(Label),
    /// Jump on flags, which the instruction before has set.
    Branch(C::Cond, Label),
    /// Loop depth grows from here.
    LoopBegin,
    /// Loop depth shrinks from here.
    LoopEnd,
    /// Leaves the kernel with what the register, fixed to that of results, holds.
    Ret(VReg),
}

/// A slot of the stack frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Size.
    pub bytes: u32,
    /// Alignment: at most 64.
    pub align: u32,
}

/// The machine code of one kernel under construction.
#[derive(Debug)]
pub struct Func<C: Forms> {
    /// Classes of the virtual registers.
    pub classes: Vec<Class>,
    /// The code.
    pub items: Vec<Item<C>>,
    /// Virtual registers that stand for machine registers.
    pub fixed: BTreeMap<VReg, C::Reg>,
    /// The stack frame.
    pub slots: Vec<Slot>,
    /// Constant pool; it lies behind the code, aligned to 64.
    pub pool: Vec<u8>,
    labels: u32,
    known: BTreeMap<Vec<u8>, u32>,
}

impl<C: Forms> Default for Func<C> {
    fn default() -> Self {
        Self {
            classes: vec![],
            items: vec![],
            fixed: BTreeMap::new(),
            slots: vec![],
            pool: vec![],
            labels: 0,
            known: BTreeMap::new(),
        }
    }
}

impl<C: Forms> Func<C> {
    /// A new virtual register.
    pub fn vreg(&mut self, class: Class) -> VReg {
        self.classes.push(class);
        VReg(self.classes.len() as u32 - 1)
    }
    /// The virtual register that stands for a machine register. Keep its live ranges short.
    pub fn fixed(&mut self, r: impl Into<C::Reg>) -> VReg {
        let r = r.into();
        if let Some((v, _)) = self.fixed.iter().find(|(_, x)| **x == r) {
            return *v;
        }
        let v = self.vreg(r.class());
        self.fixed.insert(v, r);
        v
    }
    /// Class of a virtual register.
    pub fn class(&self, v: VReg) -> Class {
        self.classes[v.0 as usize]
    }
    /// Appends an instruction. An operand that is read only in form (`vpxor x, x, x`) is a `Def` like the result.
    pub fn op(&mut self, code: C, opnds: &[Opnd]) {
        self.items.push(Item::Op(Op::plain(code, opnds.to_vec())));
    }
    /// Appends an instruction under a write mask; `zeroing` clears the other lanes.
    pub fn op_masked(&mut self, code: C, opnds: &[Opnd], mask: VReg, zeroing: bool) {
        let mask = Some((mask, zeroing));
        self.items.push(Item::Op(Op { code, opnds: opnds.to_vec(), mask, implicit: vec![] }));
    }
    /// Appends an instruction that touches more registers than it names.
    pub fn implicit(&mut self, code: C, opnds: &[Opnd], implicit: &[Opnd]) {
        let (opnds, implicit) = (opnds.to_vec(), implicit.to_vec());
        self.items.push(Item::Op(Op { code, opnds, mask: None, implicit }));
    }
    /// Appends a copy between registers of one class; never changes the flags.
    pub fn copy(&mut self, dst: VReg, src: VReg, bytes: u8) {
        self.items.push(Item::Move { dst, src, bytes });
    }
    /// A new label.
    pub fn label(&mut self) -> Label {
        self.labels += 1;
        Label(self.labels - 1)
    }
    /// Number of labels.
    pub fn labels(&self) -> usize {
        self.labels as usize
    }
    /// Binds a label to what follows.
    pub fn bind(&mut self, l: Label) {
        self.items.push(Item::Bind(l));
    }
    /// Jump.
    pub fn jump(&mut self, to: Label) {
        self.items.push(Item::Jump(to));
    }
    /// Conditional jump.
    pub fn branch(&mut self, cond: C::Cond, to: Label) {
        self.items.push(Item::Branch(cond, to));
    }
    /// Opens a loop: registers used inside are worth ten times as much. Then binds its head, aligned.
    pub fn loop_begin(&mut self, head: Label) {
        self.items.extend([Item::LoopBegin, Item::Align, Item::Bind(head)]);
    }
    /// Closes the innermost loop, behind its last jump back.
    pub fn loop_end(&mut self) {
        self.items.push(Item::LoopEnd);
    }
    /// Bytes in the constant pool, shared with equal ones.
    pub fn pool(&mut self, bytes: &[u8], align: usize) -> Base {
        if let Some(&at) = self.known.get(bytes)
            && (at as usize).is_multiple_of(align)
        {
            return Base::Pool(at);
        }
        let at = self.pool.len().next_multiple_of(align);
        self.pool.resize(at, 0);
        self.pool.extend_from_slice(bytes);
        self.known.insert(bytes.to_vec(), at as u32);
        Base::Pool(at as u32)
    }
    /// A new slot of the stack frame.
    pub fn slot(&mut self, bytes: u32, align: u32) -> Base {
        self.slots.push(Slot { bytes, align });
        Base::Frame(self.slots.len() as u32 - 1)
    }
}
