//! Small improvements of machine IR.

use super::mir::{Base, Func, Item, Mem, Op, Opnd, VReg};
use iced_x86::{Code, RflagsBits};
use std::collections::BTreeSet;

/// How far the end of the flags' life is looked for.
const REACH: usize = 100;

/// A copy and an addition to it become one `lea`: what is left when copies are coalesced.
pub fn sums(f: &mut Func) {
    let mut dead = BTreeSet::new();
    for i in 1..f.items.len() {
        let Item::Move { dst, src, .. } = f.items[i - 1] else { continue };
        let Item::Op(op) = &f.items[i] else { continue };
        if f.fixed.contains_key(&src) || !flags_are_free(&f.items[i + 1..]) {
            continue;
        }
        let Some((code, m, bytes)) = lea(op, dst, src) else { continue };
        f.items[i] = Item::Op(Op {
            code,
            opnds: vec![Opnd::Def(dst, bytes), Opnd::Mem(m)],
            mask: None,
            implicit: vec![],
        });
        dead.insert(i - 1);
    }
    remove(f, &dead);
}

/// The `lea` for an addition to a copy.
fn lea(op: &Op, dst: VReg, src: VReg) -> Option<(Code, Mem, u8)> {
    let wide = match op.code {
        Code::Add_r64_rm64 | Code::Add_rm64_imm8 | Code::Add_rm64_imm32 => true,
        Code::Add_r32_rm32 | Code::Add_rm32_imm8 | Code::Add_rm32_imm32 => false,
        _ => return None,
    };
    let code = if wide { Code::Lea_r64_m } else { Code::Lea_r32_m };
    let base = Base::Reg(src);
    let m = match op.opnds[..] {
        [Opnd::UseDef(v, _), Opnd::Imm(by)] if v == dst => Mem { base, index: None, disp: by },
        [Opnd::UseDef(v, _), Opnd::Use(x, _)] if v == dst && x != dst => {
            Mem { base, index: Some((x, 1)), disp: 0 }
        }
        _ => return None,
    };
    Some((code, m, if wide { 8 } else { 4 }))
}

/// Whether nothing reads the flags as they are in front of these items.
fn flags_are_free(items: &[Item]) -> bool {
    for item in items.iter().take(REACH) {
        match item {
            Item::Op(op) => {
                let i = form(op);
                if i.rflags_read() != RflagsBits::NONE {
                    return false;
                }
                if i.rflags_modified() & ALL == ALL {
                    return true;
                }
            }
            Item::Branch(..) => return false,
            // Selection carries no flags across labels and jumps.
            Item::Bind(_) | Item::Jump(_) | Item::Ret(_) => return true,
            _ => {}
        }
    }
    items.len() <= REACH
}

/// The flags that conditions read.
const ALL: u32 = RflagsBits::OF | RflagsBits::SF | RflagsBits::ZF | RflagsBits::CF | RflagsBits::PF;

/// The instruction without its registers: what it does to the flags does not depend on them.
fn form(op: &Op) -> iced_x86::Instruction {
    let mut i = iced_x86::Instruction::default();
    i.set_code(op.code);
    // A shift by nothing changes no flag: the amount counts.
    if let Some(Opnd::Imm(v)) = op.opnds.last() {
        i.set_immediate8(*v as u8);
    }
    i
}

/// Zeros by `xor`, where the flags allow it: two bytes instead of five. Not before registers are allocated, which may
/// repeat the plain form anywhere.
pub fn zeros(f: &mut Func) {
    for i in 0..f.items.len() {
        let Item::Op(op) = &f.items[i] else { continue };
        let [Opnd::Def(v, 4), Opnd::Imm(0)] = op.opnds[..] else { continue };
        if op.code == Code::Mov_r32_imm32 && flags_are_free(&f.items[i + 1..]) {
            let opnds = vec![Opnd::Def(v, 4), Opnd::Def(v, 4)];
            f.items[i] = Item::Op(Op { code: Code::Xor_r32_rm32, opnds, mask: None, implicit: vec![] });
        }
    }
}

/// Takes items out by their numbers.
fn remove(f: &mut Func, dead: &BTreeSet<usize>) {
    let mut at = 0;
    f.items.retain(|_| {
        at += 1;
        !dead.contains(&(at - 1))
    });
}
