//! Single instructions with machine registers, and the stack frame that their operands may be in.

use super::mir::{Base, Class, Func, Mem, Op, Opnd, VReg};
use super::regs::{CALLEE_SAVED, PReg};
use crate::machine::Register as _;
use iced_x86::{Code, Instruction, OpCodeOperandKind as Kind, OpKind, Register};
use sinter_ir::{Diag, Result};

/// Places in the stack frame.
pub struct Frame {
    /// Registers to save.
    pub(super) saved: Vec<PReg>,
    /// Distance of every slot from rsp.
    pub(super) slots: Vec<i64>,
    /// Bytes below the saved registers.
    pub(super) bytes: i64,
    /// Where the old rsp is kept when slots want more alignment than the ABI gives.
    pub(super) old: Option<i64>,
    pub(super) vectors: bool,
}

impl Frame {
    /// Lays out the slots and finds the registers to save.
    fn of(f: &Func, regs: &[Option<PReg>]) -> Self {
        let used = |p: PReg| regs.contains(&Some(p));
        let saved: Vec<PReg> = CALLEE_SAVED.into_iter().filter(|p| used(*p)).collect();
        let mut order: Vec<usize> = (0..f.slots.len()).collect();
        order.sort_by_key(|i| std::cmp::Reverse(f.slots[*i].align));
        let mut slots = vec![0; f.slots.len()];
        let mut bytes = 0u32;
        for i in order {
            bytes = bytes.next_multiple_of(f.slots[i].align.max(1));
            slots[i] = i64::from(bytes);
            bytes += f.slots[i].bytes;
        }
        let align = f.slots.iter().map(|s| s.align).max().unwrap_or(1);
        let old = (align > 8).then(|| bytes.next_multiple_of(8));
        let bytes = i64::from(match old {
            Some(at) => (at + 8).next_multiple_of(align),
            None => bytes.next_multiple_of(8),
        });
        let old = old.map(i64::from);
        let vectors = regs.iter().flatten().any(|p| p.class() == Class::Vec);
        Self { saved, slots, bytes, old, vectors }
    }
}

/// A function whose registers are known.
pub struct Encodable<'a> {
    pub(super) f: &'a Func,
    pub(super) regs: &'a [Option<PReg>],
    pub(super) frame: Frame,
}

/// Sets an immediate operand in the form that the instruction has.
pub fn immediate(i: &mut Instruction, operand: u32, v: i64) {
    let kind = match i.code().op_code().op_kind(operand) {
        Kind::imm8 | Kind::imm8_const_1 => OpKind::Immediate8,
        Kind::imm8sex16 => OpKind::Immediate8to16,
        Kind::imm8sex32 => OpKind::Immediate8to32,
        Kind::imm8sex64 => OpKind::Immediate8to64,
        Kind::imm16 => OpKind::Immediate16,
        Kind::imm32 => OpKind::Immediate32,
        Kind::imm32sex64 => OpKind::Immediate32to64,
        _ => OpKind::Immediate64,
    };
    i.set_op_kind(operand, kind);
    match kind {
        OpKind::Immediate8 => i.set_immediate8(v as u8),
        OpKind::Immediate8to16 => i.set_immediate8to16(v as i16),
        OpKind::Immediate8to32 => i.set_immediate8to32(v as i32),
        OpKind::Immediate8to64 => i.set_immediate8to64(v),
        OpKind::Immediate16 => i.set_immediate16(v as u16),
        OpKind::Immediate32 => i.set_immediate32(v as u32),
        OpKind::Immediate32to64 => i.set_immediate32to64(v),
        _ => i.set_immediate64(v as u64),
    }
}

/// View of the index register in gathers and scatters.
fn index_view(code: Code) -> u8 {
    let op = code.op_code();
    op.op_kinds()
        .iter()
        .find_map(|k| match k {
            Kind::mem_vsib32x | Kind::mem_vsib64x => Some(16),
            Kind::mem_vsib32y | Kind::mem_vsib64y => Some(32),
            Kind::mem_vsib32z | Kind::mem_vsib64z => Some(64),
            _ => None,
        })
        .unwrap_or(8)
}

impl<'a> Encodable<'a> {
    /// With its stack frame laid out.
    pub fn new(f: &'a Func, regs: &'a [Option<PReg>]) -> Self {
        Self { f, regs, frame: Frame::of(f, regs) }
    }
    /// Machine register of a virtual one.
    pub fn preg(&self, v: VReg) -> Result<PReg> {
        self.regs[v.0 as usize].ok_or_else(|| Diag::bug(format!("v{} has no machine register", v.0)))
    }
    /// An instruction, and where in the constant pool its memory operand is.
    pub fn instruction(&self, op: &Op) -> Result<(Instruction, Option<u32>)> {
        let mut i = Instruction::default();
        i.set_code(op.code);
        let mut pool = None;
        for (n, o) in op.opnds.iter().enumerate() {
            let n = n as u32;
            match o {
                Opnd::Def(v, b) | Opnd::Use(v, b) | Opnd::UseDef(v, b) => {
                    i.set_op_kind(n, OpKind::Register);
                    i.set_op_register(n, self.preg(*v)?.view(*b));
                }
                Opnd::Mem(m) => pool = self.memory(&mut i, n, m)?,
                Opnd::Bcast(m) => {
                    pool = self.memory(&mut i, n, m)?;
                    i.set_is_broadcast(true);
                }
                Opnd::Imm(v) => immediate(&mut i, n, *v),
            }
        }
        if let Some((m, zeroing)) = op.mask {
            i.set_op_mask(self.preg(m)?.view(8));
            i.set_zeroing_masking(zeroing);
        }
        Ok((i, pool))
    }
    /// Sets a memory operand; gives the constant that it is.
    fn memory(&self, i: &mut Instruction, n: u32, m: &Mem) -> Result<Option<u32>> {
        i.set_op_kind(n, OpKind::Memory);
        if let Base::Pool(at) = m.base {
            i.set_memory_base(Register::RIP);
            i.set_memory_displ_size(8);
            return Ok(Some((i64::from(at) + m.disp) as u32));
        }
        if let Some((x, scale)) = m.index {
            let view = if self.f.class(x) == Class::Vec { index_view(i.code()) } else { 8 };
            i.set_memory_index(self.preg(x)?.view(view));
            i.set_memory_index_scale(u32::from(scale));
        }
        let disp = match m.base {
            Base::Reg(r) => {
                i.set_memory_base(self.preg(r)?.view(8));
                m.disp
            }
            Base::Frame(s) => {
                i.set_memory_base(Register::RSP);
                m.disp + self.frame.slots[s as usize]
            }
            Base::Pool(_) => m.disp,
        };
        if i32::try_from(disp).is_err() {
            return Err(Diag::bug(format!("displacement {disp} in {:?}", i.code())));
        }
        i.set_memory_displacement64(disp as u64);
        i.set_memory_displ_size(u32::from(disp != 0));
        Ok(None)
    }
}
