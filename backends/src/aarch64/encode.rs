//! Machine IR with machine registers to words: prologue, code, epilogue, constants.

use super::form::{self, Field, Form};
use super::mir::{Base, Class, Func, Item, Label, Mem, Op, Opnd, VReg};
use super::regs::PReg;
use crate::machine::Register;
use sinter_ir::{Diag, Result};

/// Alignment of innermost loops.
const LOOP_ALIGN: usize = 16;
/// Alignment of the constant pool, and of the whole.
pub const ALIGN: usize = 16;
const NOP: u32 = 0xd503_201f;
const RET: u32 = 0xd65f_03c0;
const SP: u32 = 31;
/// The register that is always 0, where the stack pointer cannot be.
const ZERO: u32 = 31;
/// A page of the stack.
const PAGE: i64 = 4096;

/// What a word still lacks.
enum Fix {
    /// Distance of a label, in words, in so many bits from a bit on.
    Label(Label, u32, u32),
    /// Distance of a constant, in words, in 19 bits from bit 5 on.
    Pool(u32),
}

/// Places in the stack frame.
struct Frame {
    slots: Vec<i64>,
    /// Registers to save, in pairs, and where.
    saved: Vec<([PReg; 2], i64)>,
    bytes: i64,
}

impl Frame {
    fn of(f: &Func, regs: &[Option<PReg>]) -> Self {
        let mut at = 0i64;
        let mut saved = Vec::new();
        // Saved registers lie below: pairs reach less far.
        for class in [Class::Gpr, Class::Vec] {
            let mut used: Vec<PReg> = regs.iter().flatten().copied().collect();
            used.retain(|p| p.is_saved() && p.class() == class);
            used.sort_unstable();
            used.dedup();
            for pair in used.chunks(2) {
                // One alone is saved twice.
                saved.push(([pair[0], pair[pair.len() - 1]], at));
                at += 16;
            }
        }
        let slots = f.slots.iter().map(|s| {
            let here = at as u64;
            let here = here.next_multiple_of(u64::from(s.align.max(1))) as i64;
            at = here + i64::from(s.bytes);
            here
        });
        let slots = slots.collect();
        Self { slots, saved, bytes: (at as u64).next_multiple_of(16) as i64 }
    }
}

struct Assembler<'a> {
    f: &'a Func,
    regs: &'a [Option<PReg>],
    frame: Frame,
    words: Vec<u32>,
    fixes: Vec<(usize, Fix)>,
    labels: Vec<usize>,
}

/// Encodes a function; position independent, to be placed at a multiple of [`ALIGN`].
pub fn encode(f: &Func, regs: &[Option<PReg>]) -> Result<Vec<u8>> {
    let frame = Frame::of(f, regs);
    let labels = vec![0; f.labels()];
    let mut a = Assembler { f, regs, frame, words: vec![], fixes: vec![], labels };
    a.frame_in()?;
    f.items.iter().try_for_each(|item| a.item(item))?;
    a.finish()
}

/// The bits of a number in a field of `width` bits; none where it does not fit.
fn unsigned(v: i64, width: u32) -> Option<u32> {
    (0..1i64 << width).contains(&v).then_some(v as u32)
}

/// The same for signed numbers.
fn signed(v: i64, width: u32) -> Option<u32> {
    let half = 1i64 << (width - 1);
    (-half..half).contains(&v).then_some(v as u32 & ((1 << width) - 1))
}

/// A displacement in units of `1 << shift`.
fn scaled(v: i64, shift: u32) -> Option<i64> {
    (v & ((1 << shift) - 1) == 0).then_some(v >> shift)
}

/// Whether loads and stores of `1 << size` bytes have this displacement.
pub fn reaches(disp: i64, size: u8) -> bool {
    signed(disp, 9).is_some() || scaled(disp, size.into()).is_some_and(|d| unsigned(d, 12).is_some())
}

/// Bits of a number in a field; none where it does not fit.
fn number(field: Field, v: i64) -> Option<u32> {
    let lane = |bytes: u8| unsigned(v, u32::from(4 - bytes)).map(|v| v << bytes);
    match field {
        Field::Num(low, width) => unsigned(v, width.into()).map(|v| v << low),
        Field::Left(bits) => unsigned(v, bits.ilog2()).map(|v| (v | u32::from(bits)) << 16),
        Field::Right(bits) => {
            let left = (1..=i64::from(bits)).contains(&v).then(|| 2 * u32::from(bits) - v as u32)?;
            Some(left << 16)
        }
        // H and L; H alone with two lanes.
        Field::Factor(bits) => match bits {
            32 => unsigned(v, 2).map(|v| (v & 1) << 21 | (v >> 1) << 11),
            _ => unsigned(v, 1).map(|v| v << 11),
        },
        Field::Lane(bytes) => lane(bytes).map(|v| (v << 1 | 1 << bytes) << 16),
        Field::Source(bytes) => lane(bytes).map(|v| v << 11),
        // Q, S and size together count bytes.
        Field::Place(bytes) => lane(bytes).map(|v| (v >> 3) << 30 | (v >> 2 & 1) << 12 | (v & 3) << 10),
        Field::Reg(_) | Field::Mem(_) | Field::Pair(_) | Field::Base => None,
    }
}

impl Assembler<'_> {
    fn preg(&self, v: VReg) -> Result<PReg> {
        self.regs[v.0 as usize].ok_or_else(|| Diag::bug(format!("v{} has no machine register", v.0)))
    }
    /// Number and displacement of a base.
    fn base(&self, m: &Mem) -> Result<(u32, i64)> {
        match m.base {
            Base::Reg(r) => Ok((self.preg(r)?.number(), m.disp)),
            Base::Frame(s) => Ok((SP, m.disp + self.frame.slots[s as usize])),
            Base::Pool(_) => Err(Diag::bug("a constant as the base of an address")),
        }
    }
    /// Memory operand: its bits, and whether the form becomes that with an unscaled displacement or an index.
    fn memory(&mut self, form: Form, field: Field, m: &Mem) -> Result<u32> {
        let bug = || Diag::bug(format!("{form:x?} at {m:?}"));
        // The bit that tells scaled displacements from the others.
        const SCALED: u32 = 1 << 24;
        if let (Base::Pool(at), Field::Mem(size)) = (m.base, field) {
            self.fixes.push((self.words.len(), Fix::Pool(at + m.disp as u32)));
            // Literals have words of their own: opc, V.
            let literal = match (form, size) {
                (form::LDR_S, _) => 0x1c00_0000,
                (form::LDR_D, _) => 0x5c00_0000,
                (form::LDR_Q, _) => 0x9c00_0000,
                _ => return Err(bug()),
            };
            return Ok(form.bits ^ literal);
        }
        let (base, disp) = self.base(m)?;
        let base = base << 5;
        if let Some((x, scale)) = m.index {
            let Field::Mem(size) = field else { return Err(bug()) };
            let shift = match u32::from(scale) {
                1 => 0,
                s if s == 1 << size => 1 << 12,
                _ => return Err(bug()),
            };
            let x = self.preg(x)?.number();
            let ok = disp == 0 && !matches!(m.base, Base::Frame(_));
            // Option 3: 64 bits, not extended.
            let bits = 1 << 21 | x << 16 | 3 << 13 | shift | 2 << 10 | base | SCALED;
            return ok.then_some(bits).ok_or_else(bug);
        }
        match field {
            Field::Base if disp == 0 => Ok(base),
            Field::Pair(size) => {
                let d = scaled(disp, size.into()).and_then(|d| signed(d, 7)).ok_or_else(bug)?;
                Ok(base | d << 15)
            }
            Field::Mem(size) => match scaled(disp, size.into()).and_then(|d| unsigned(d, 12)) {
                Some(d) => Ok(base | d << 10),
                None => Ok(base | SCALED | signed(disp, 9).ok_or_else(bug)? << 12),
            },
            _ => Err(bug()),
        }
    }
    /// The word of an instruction.
    fn word(&mut self, op: &Op) -> Result<u32> {
        let bug = |what: &str| Diag::bug(format!("{op:x?}: {what}"));
        if op.opnds.len() != op.code.fields.len() {
            return Err(bug("operands"));
        }
        let mut word = op.code.bits;
        for (o, field) in op.opnds.iter().zip(op.code.fields) {
            match (o, *field) {
                (Opnd::Def(v, _) | Opnd::Use(v, _) | Opnd::UseDef(v, _), Field::Reg(low)) => {
                    word |= self.preg(*v)?.number() << low;
                }
                // Forms of memory differ in bits that are set in the first of them.
                (Opnd::Mem(m), field) => word ^= self.memory(op.code, field, m)?,
                (Opnd::Imm(v), field) => word |= number(field, *v).ok_or_else(|| bug("a number"))?,
                _ => return Err(bug("an operand of another kind")),
            }
        }
        Ok(word)
    }
    fn item(&mut self, item: &Item) -> Result<()> {
        match item {
            Item::Op(op) => {
                let w = self.word(op)?;
                self.words.push(w);
            }
            Item::Move { dst, src, .. } => {
                // What nobody reads has no register.
                let Some(d) = self.regs[dst.0 as usize] else { return Ok(()) };
                let s = self.preg(*src)?;
                if d != s {
                    let (d, s, class) = (d.number(), s.number(), d.class());
                    self.words.push(match class {
                        Class::Gpr => 0xaa00_03e0 | s << 16 | d,
                        _ => 0x4ea0_1c00 | s << 16 | s << 5 | d,
                    });
                }
            }
            Item::Bind(l) => self.labels[l.0 as usize] = self.words.len(),
            Item::Align => {
                while !(4 * self.words.len()).is_multiple_of(LOOP_ALIGN) {
                    self.words.push(NOP);
                }
            }
            Item::Jump(l) => self.jump(0x1400_0000, Fix::Label(*l, 26, 0)),
            Item::Branch(c, l) => self.jump(0x5400_0000 | *c as u32, Fix::Label(*l, 19, 5)),
            Item::LoopBegin | Item::LoopEnd => {}
            Item::Ret(_) => self.frame_out()?,
        }
        Ok(())
    }
    fn jump(&mut self, word: u32, fix: Fix) {
        self.fixes.push((self.words.len(), fix));
        self.words.push(word);
    }
    /// Moves the stack pointer.
    fn adjust(&mut self, n: i64, add: bool) -> Result<()> {
        let form = if add { form::ADD_I } else { form::SUB_I }.wide(true);
        let parts = [(n & 0xfff, 0), (n >> 12, 1)];
        for (part, shift) in parts.into_iter().filter(|p| p.0 > 0) {
            let n = unsigned(part, 12).ok_or_else(|| Diag::bug("a stack frame of more than 16 MB"))?;
            self.words.push(form.bits | shift << 22 | n << 10 | SP << 5 | SP);
        }
        Ok(())
    }
    /// Saves or restores registers.
    fn save(&mut self, store: bool) {
        for ([a, b], at) in &self.frame.saved {
            let form = match (a.class(), store) {
                (Class::Gpr, true) => form::STP_X,
                (Class::Gpr, false) => form::LDP_X,
                (_, true) => form::STP_D,
                (_, false) => form::LDP_D,
            };
            let place = (at / 8) as u32 & 0x7f;
            // A pair may not be loaded to one register twice.
            let word = match (a == b, store) {
                (true, false) => {
                    let one = if a.class() == Class::Gpr { form::LDR_X } else { form::LDR_D };
                    one.bits | place << 10 | SP << 5 | a.number()
                }
                _ => form.bits | place << 15 | b.number() << 10 | SP << 5 | a.number(),
            };
            self.words.push(word);
        }
    }
    fn frame_in(&mut self) -> Result<()> {
        // Some systems give the stack page by page, and want them asked for in order.
        for _ in 0..self.frame.bytes / PAGE {
            self.adjust(PAGE, false)?;
            self.words.push(form::STR_X.bits | SP << 5 | ZERO);
        }
        self.adjust(self.frame.bytes % PAGE, false)?;
        self.save(true);
        Ok(())
    }
    fn frame_out(&mut self) -> Result<()> {
        self.save(false);
        self.adjust(self.frame.bytes, true)?;
        self.words.push(RET);
        Ok(())
    }
    /// Fills in distances and appends the constants.
    fn finish(mut self) -> Result<Vec<u8>> {
        let pool = (4 * self.words.len()).next_multiple_of(ALIGN);
        for (at, fix) in &self.fixes {
            let (to, width, low) = match fix {
                Fix::Label(l, width, low) => (4 * self.labels[l.0 as usize], *width, *low),
                Fix::Pool(offset) => (pool + *offset as usize, 19, 5),
            };
            let distance = (to as i64 - 4 * *at as i64) / 4;
            let bits = signed(distance, width).ok_or_else(|| Diag::bug("a kernel of more than 1 MB"))?;
            self.words[*at] |= bits << low;
        }
        let mut out: Vec<u8> = self.words.iter().flat_map(|w| w.to_le_bytes()).collect();
        if !self.f.pool.is_empty() {
            out.resize(pool, 0);
            out.extend_from_slice(&self.f.pool);
        }
        Ok(out)
    }
}
