//! Machine IR with machine registers to bytes: prologue, code, epilogue, constants.

use super::instr::{Encodable, immediate};
use super::mir::{Class, Cond, Func, Item, Label, VReg};
use super::regs::PReg;
use super::short;
use crate::machine::Register as _;
use iced_x86::{Code, Encoder, Instruction, OpKind, Register};
use sinter_ir::{Diag, Result};

/// Alignment of loop heads.
const LOOP_ALIGN: usize = 32;
/// Alignment of the constant pool, and of the whole.
pub const ALIGN: usize = 64;

/// A page of the stack.
const PAGE: i64 = 4096;

/// A piece of code of known length, or one that depends on where things lie.
enum Piece {
    /// Bytes; where a displacement to the constant pool has to be filled in, and the offset in the pool.
    Bytes(usize, Option<(usize, u32)>),
    Bind(Label),
    Align,
    /// Jump and whether it takes its long form.
    Jump(Option<Cond>, Label, bool),
}

struct Assembler<'a> {
    cx: Encodable<'a>,
    encoder: Encoder,
    /// All instruction bytes, one after the other.
    bytes: Vec<u8>,
    pieces: Vec<Piece>,
}

/// Encodes a function; position independent, to be placed at a multiple of [`ALIGN`].
pub fn encode(f: &Func, regs: &[Option<PReg>]) -> Result<Vec<u8>> {
    let mut a =
        Assembler { cx: Encodable::new(f, regs), encoder: Encoder::new(64), bytes: vec![], pieces: vec![] };
    a.prologue()?;
    for item in &f.items {
        a.item(item)?;
    }
    a.layout()
}

/// An instruction whose first operand is a register.
fn reg1(code: Code, r: Register) -> Instruction {
    let mut i = Instruction::default();
    i.set_code(code);
    i.set_op0_kind(OpKind::Register);
    i.set_op0_register(r);
    i
}

/// An instruction of two registers.
fn reg2(code: Code, a: Register, b: Register) -> Instruction {
    let mut i = reg1(code, a);
    i.set_op1_kind(OpKind::Register);
    i.set_op1_register(b);
    i
}

/// Sets an operand to memory in the stack frame.
fn rsp_slot(i: &mut Instruction, operand: u32, disp: i64) {
    i.set_op_kind(operand, OpKind::Memory);
    i.set_memory_base(Register::RSP);
    i.set_memory_displacement64(disp as u64);
    i.set_memory_displ_size(u32::from(disp != 0));
}

impl Assembler<'_> {
    /// Appends an instruction; gives its length and where in it the displacement is.
    fn write(&mut self, i: &Instruction) -> Result<(usize, usize)> {
        self.encoder.set_buffer(std::mem::take(&mut self.bytes));
        let done = self.encoder.encode(i, 0);
        let at = self.encoder.get_constant_offsets().displacement_offset();
        self.bytes = self.encoder.take_buffer();
        let n = done.map_err(|e| Diag::bug(format!("{:?} does not encode: {e}", i.code())))?;
        Ok((n, at))
    }
    /// Appends an instruction in its shorter form; `pool`: the constant that it reads.
    fn raw(&mut self, i: &Instruction, pool: Option<u32>) -> Result<()> {
        let start = self.bytes.len();
        let (mut n, mut at) = self.write(i)?;
        if let Some(short) = short::vex(i) {
            let (m, other) = self.write(&short)?;
            if m <= n {
                self.bytes.drain(start..start + n);
                (n, at) = (m, other);
            } else {
                self.bytes.truncate(start + n);
            }
        }
        self.pieces.push(Piece::Bytes(n, pool.map(|p| (at, p))));
        Ok(())
    }
    /// Saves registers and makes the frame.
    fn prologue(&mut self) -> Result<()> {
        for p in self.cx.frame.saved.clone() {
            self.raw(&reg1(Code::Push_r64, p.view(8)), None)?;
        }
        if self.cx.frame.bytes > 0 {
            // Some systems give the stack page by page, and want them asked for in order.
            for page in 1..=self.cx.frame.bytes / PAGE {
                let mut i = Instruction::default();
                i.set_code(Code::Test_rm32_r32);
                rsp_slot(&mut i, 0, -page * PAGE);
                i.set_op1_kind(OpKind::Register);
                i.set_op1_register(Register::EAX);
                self.raw(&i, None)?;
            }
            if self.cx.frame.old.is_some() {
                self.raw(&reg2(Code::Mov_r64_rm64, Register::RAX, Register::RSP), None)?;
            }
            self.adjust([Code::Sub_rm64_imm8, Code::Sub_rm64_imm32], self.cx.frame.bytes)?;
        }
        if let Some(at) = self.cx.frame.old {
            let mut i = reg1(Code::And_rm64_imm8, Register::RSP);
            immediate(&mut i, 1, -64);
            self.raw(&i, None)?;
            let mut i = Instruction::default();
            i.set_code(Code::Mov_rm64_r64);
            rsp_slot(&mut i, 0, at);
            i.set_op1_kind(OpKind::Register);
            i.set_op1_register(Register::RAX);
            self.raw(&i, None)?;
        }
        Ok(())
    }
    /// Moves the stack pointer.
    fn adjust(&mut self, codes: [Code; 2], by: i64) -> Result<()> {
        let code = codes[usize::from(i8::try_from(by).is_err())];
        let mut i = reg1(code, Register::RSP);
        immediate(&mut i, 1, by);
        self.raw(&i, None)
    }
    /// Undoes the prologue and returns.
    fn epilogue(&mut self) -> Result<()> {
        if self.cx.frame.vectors {
            let mut i = Instruction::default();
            i.set_code(Code::VEX_Vzeroupper);
            self.raw(&i, None)?;
        }
        if let Some(at) = self.cx.frame.old {
            let mut i = reg1(Code::Mov_r64_rm64, Register::RSP);
            rsp_slot(&mut i, 1, at);
            self.raw(&i, None)?;
        } else if self.cx.frame.bytes > 0 {
            self.adjust([Code::Add_rm64_imm8, Code::Add_rm64_imm32], self.cx.frame.bytes)?;
        }
        for p in self.cx.frame.saved.clone().into_iter().rev() {
            self.raw(&reg1(Code::Pop_r64, p.view(8)), None)?;
        }
        let mut i = Instruction::default();
        i.set_code(Code::Retnq);
        self.raw(&i, None)
    }
    /// Appends an item.
    fn item(&mut self, item: &Item) -> Result<()> {
        match item {
            Item::Op(op) => {
                let (i, pool) = self.cx.instruction(op)?;
                self.raw(&i, pool)
            }
            Item::Move { dst, src, bytes } => self.copy(*dst, *src, *bytes),
            Item::Bind(l) => {
                self.pieces.push(Piece::Bind(*l));
                Ok(())
            }
            Item::Align => {
                self.pieces.push(Piece::Align);
                Ok(())
            }
            Item::Jump(l) => {
                self.pieces.push(Piece::Jump(None, *l, false));
                Ok(())
            }
            Item::Branch(c, l) => {
                self.pieces.push(Piece::Jump(Some(*c), *l, false));
                Ok(())
            }
            Item::LoopBegin | Item::LoopEnd => Ok(()),
            Item::Ret(_) => self.epilogue(),
        }
    }
    /// Appends a copy, unless both are one machine register.
    fn copy(&mut self, dst: VReg, src: VReg, bytes: u8) -> Result<()> {
        // What nobody reads has no register.
        let Some(d) = self.cx.regs[dst.0 as usize] else { return Ok(()) };
        let s = self.cx.preg(src)?;
        if d == s {
            return Ok(());
        }
        let evex = d.is_high() || s.is_high();
        let (code, bytes) = match (d.class(), bytes, evex) {
            (Class::Gpr, 8, _) => (Code::Mov_r64_rm64, 8),
            (Class::Gpr, ..) => (Code::Mov_r32_rm32, 4),
            (Class::Mask, ..) => (Code::VEX_Kmovq_kr_km64, 8),
            (_, 16, false) => (Code::VEX_Vmovaps_xmm_xmmm128, 16),
            (_, 32, false) => (Code::VEX_Vmovaps_ymm_ymmm256, 32),
            (_, 16, true) => (Code::EVEX_Vmovaps_xmm_k1z_xmmm128, 16),
            (_, 32, true) => (Code::EVEX_Vmovaps_ymm_k1z_ymmm256, 32),
            _ => (Code::EVEX_Vmovaps_zmm_k1z_zmmm512, 64),
        };
        self.raw(&reg2(code, d.view(bytes), s.view(bytes)), None)
    }
    /// Addresses of all pieces and labels under the present forms of the jumps.
    fn places(&self, labels: &mut [usize]) -> Vec<usize> {
        let mut at = 0;
        let mut out = Vec::with_capacity(self.pieces.len() + 1);
        for p in &self.pieces {
            out.push(at);
            match p {
                Piece::Bytes(n, _) => at += n,
                Piece::Bind(l) => labels[l.0 as usize] = at,
                Piece::Align => at = at.next_multiple_of(LOOP_ALIGN),
                Piece::Jump(c, _, long) => {
                    at += match (c, long) {
                        (_, false) => 2,
                        (None, true) => 5,
                        (Some(_), true) => 6,
                    }
                }
            }
        }
        out.push(at);
        out
    }
    /// Chooses short and long jumps: all begin short, and those that do not reach grow until nothing changes.
    fn layout(mut self) -> Result<Vec<u8>> {
        let mut labels = vec![0; self.cx.f.labels()];
        let places = loop {
            let places = self.places(&mut labels);
            let mut grew = false;
            for (i, p) in self.pieces.iter_mut().enumerate() {
                if let Piece::Jump(_, l, long @ false) = p
                    && i8::try_from(labels[l.0 as usize] as i64 - (places[i] as i64 + 2)).is_err()
                {
                    *long = true;
                    grew = true;
                }
            }
            if !grew {
                break places;
            }
        };
        let end = places.last().copied().unwrap_or(0);
        let pool = end.next_multiple_of(ALIGN);
        let mut out = Vec::with_capacity(pool + self.cx.f.pool.len());
        let mut taken = 0;
        for (i, p) in self.pieces.iter().enumerate() {
            match p {
                Piece::Bytes(n, fix) => {
                    out.extend_from_slice(&self.bytes[taken..taken + n]);
                    taken += n;
                    if let Some((at, offset)) = fix {
                        let disp = (pool + *offset as usize - (places[i] + n)) as u32;
                        let at = places[i] + at;
                        out[at..at + 4].copy_from_slice(&disp.to_le_bytes());
                    }
                }
                Piece::Bind(_) => {}
                Piece::Align => nops(&mut out, places[i + 1] - places[i]),
                Piece::Jump(c, l, long) => {
                    let disp = labels[l.0 as usize] as i64 - places[i + 1] as i64;
                    match (c, long) {
                        (None, false) => out.push(0xeb),
                        (None, true) => out.push(0xe9),
                        (Some(c), false) => out.push(0x70 | *c as u8),
                        (Some(c), true) => out.extend([0x0f, 0x80 | *c as u8]),
                    }
                    out.extend_from_slice(&(disp as i32).to_le_bytes()[..if *long { 4 } else { 1 }]);
                }
            }
        }
        if !self.cx.f.pool.is_empty() {
            out.resize(pool, 0xcc);
            out.extend_from_slice(&self.cx.f.pool);
        }
        Ok(out)
    }
}

/// Padding that executes as few instructions as possible.
fn nops(out: &mut Vec<u8>, mut n: usize) {
    const FORMS: [&[u8]; 9] = [
        &[0x90],
        &[0x66, 0x90],
        &[0x0f, 0x1f, 0x00],
        &[0x0f, 0x1f, 0x40, 0x00],
        &[0x0f, 0x1f, 0x44, 0x00, 0x00],
        &[0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00],
        &[0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00],
        &[0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
        &[0x66, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
    ];
    while n > 0 {
        let k = n.min(9);
        out.extend_from_slice(FORMS[k - 1]);
        n -= k;
    }
}
