//! Machine IR with machine registers to bytes: prologue, code, epilogue, constants.

use super::mir::{Base, Class, Cond, Func, Item, Label, Mem, Op, Opnd, VReg};
use super::regs::{CALLEE_SAVED, PReg};
use iced_x86::{Code, Encoder, Instruction, OpCodeOperandKind as Kind, OpKind, Register};
use sinter_ir::{Diag, Result};

/// Alignment of loop heads.
const LOOP_ALIGN: usize = 32;
/// Alignment of the constant pool, and of the whole.
pub const ALIGN: usize = 64;

/// A piece of code of known length, or one that depends on where things lie.
enum Piece {
    /// Bytes; where a displacement to the constant pool has to be filled in, and the offset in the pool.
    Bytes(usize, Option<(usize, u32)>),
    Bind(Label),
    Align,
    /// Jump and whether it takes its long form.
    Jump(Option<Cond>, Label, bool),
}

/// Places in the stack frame.
struct Frame {
    /// Registers to save.
    saved: Vec<PReg>,
    /// Distance of every slot from rsp.
    slots: Vec<i64>,
    /// Bytes below the saved registers.
    bytes: i64,
    /// Where the old rsp is kept when slots want more alignment than the ABI gives.
    old: Option<i64>,
    vectors: bool,
}

impl Frame {
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

struct Assembler<'a> {
    f: &'a Func,
    regs: &'a [Option<PReg>],
    frame: Frame,
    encoder: Encoder,
    /// All instruction bytes, one after the other.
    bytes: Vec<u8>,
    pieces: Vec<Piece>,
}

/// Encodes a function; position independent, to be placed at a multiple of [`ALIGN`].
pub fn encode(f: &Func, regs: &[Option<PReg>]) -> Result<Vec<u8>> {
    let frame = Frame::of(f, regs);
    let mut a = Assembler { f, regs, frame, encoder: Encoder::new(64), bytes: vec![], pieces: vec![] };
    a.prologue()?;
    for item in &f.items {
        a.item(item)?;
    }
    a.layout()
}

fn reg1(code: Code, r: Register) -> Instruction {
    let mut i = Instruction::default();
    i.set_code(code);
    i.set_op0_kind(OpKind::Register);
    i.set_op0_register(r);
    i
}

fn reg2(code: Code, a: Register, b: Register) -> Instruction {
    let mut i = reg1(code, a);
    i.set_op1_kind(OpKind::Register);
    i.set_op1_register(b);
    i
}

fn rsp_slot(i: &mut Instruction, operand: u32, disp: i64) {
    i.set_op_kind(operand, OpKind::Memory);
    i.set_memory_base(Register::RSP);
    i.set_memory_displacement64(disp as u64);
    i.set_memory_displ_size(u32::from(disp != 0));
}

/// Sets an immediate operand in the form that the instruction has.
fn immediate(i: &mut Instruction, operand: u32, v: i64) {
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

impl Assembler<'_> {
    fn preg(&self, v: VReg) -> Result<PReg> {
        self.regs[v.0 as usize].ok_or_else(|| Diag::bug(format!("v{} has no machine register", v.0)))
    }
    fn raw(&mut self, i: &Instruction, pool: Option<u32>) -> Result<()> {
        self.encoder.set_buffer(std::mem::take(&mut self.bytes));
        let done = self.encoder.encode(i, 0);
        let at = self.encoder.get_constant_offsets().displacement_offset();
        self.bytes = self.encoder.take_buffer();
        let n = done.map_err(|e| Diag::bug(format!("{:?} does not encode: {e}", i.code())))?;
        self.pieces.push(Piece::Bytes(n, pool.map(|p| (at, p))));
        Ok(())
    }
    fn prologue(&mut self) -> Result<()> {
        for p in self.frame.saved.clone() {
            self.raw(&reg1(Code::Push_r64, p.view(8)), None)?;
        }
        if self.frame.bytes > 0 {
            if self.frame.old.is_some() {
                self.raw(&reg2(Code::Mov_r64_rm64, Register::RAX, Register::RSP), None)?;
            }
            self.adjust(Code::Sub_rm64_imm32, self.frame.bytes)?;
        }
        if let Some(at) = self.frame.old {
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
    fn adjust(&mut self, code: Code, by: i64) -> Result<()> {
        let mut i = reg1(code, Register::RSP);
        immediate(&mut i, 1, by);
        self.raw(&i, None)
    }
    fn epilogue(&mut self) -> Result<()> {
        if self.frame.vectors {
            let mut i = Instruction::default();
            i.set_code(Code::VEX_Vzeroupper);
            self.raw(&i, None)?;
        }
        if let Some(at) = self.frame.old {
            let mut i = reg1(Code::Mov_r64_rm64, Register::RSP);
            rsp_slot(&mut i, 1, at);
            self.raw(&i, None)?;
        } else if self.frame.bytes > 0 {
            self.adjust(Code::Add_rm64_imm32, self.frame.bytes)?;
        }
        for p in self.frame.saved.clone().into_iter().rev() {
            self.raw(&reg1(Code::Pop_r64, p.view(8)), None)?;
        }
        let mut i = Instruction::default();
        i.set_code(Code::Retnq);
        self.raw(&i, None)
    }
    fn item(&mut self, item: &Item) -> Result<()> {
        match item {
            Item::Op(op) => {
                let (i, pool) = self.instruction(op)?;
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
    fn copy(&mut self, dst: VReg, src: VReg, bytes: u8) -> Result<()> {
        // What nobody reads has no register.
        let Some(d) = self.regs[dst.0 as usize] else { return Ok(()) };
        let s = self.preg(src)?;
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
    fn instruction(&self, op: &Op) -> Result<(Instruction, Option<u32>)> {
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
        let mut labels = vec![0; self.f.labels()];
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
        let mut out = Vec::with_capacity(pool + self.f.pool.len());
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
        if !self.f.pool.is_empty() {
            out.resize(pool, 0xcc);
            out.extend_from_slice(&self.f.pool);
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
