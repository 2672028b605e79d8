//! Checks machine IR against what iced knows about instructions: a wrong access or a forgotten implicit register would
//! give code that fails only under some register assignment. Debug builds check every kernel.

use super::instr::Encodable;
use super::mir::{Func, Item, Op, Opnd};
use super::regs::PReg;
use super::select::Isa;
use iced_x86::{CpuidFeature, InstructionInfoFactory, InstructionInfoOptions, OpAccess, OpKind};
use sinter_ir::{Diag, Result};

/// Whether a target has a CPU feature.
fn allowed(f: CpuidFeature, isa: Isa) -> bool {
    use CpuidFeature::*;
    match f {
        INTEL8086 | INTEL186 | INTEL286 | INTEL386 | INTEL486 | X64 | CMOV | MULTIBYTENOP | AVX | AVX2
        | FMA | BMI1 | BMI2 | LZCNT | POPCNT => true,
        AVX512F | AVX512BW | AVX512DQ | AVX512VL => isa.avx512,
        AVX512_VBMI => isa.vbmi,
        AVX512_VNNI => isa.vnni,
        AVX512_BF16 => isa.bf16,
        F16C => isa.f16c,
        _ => false,
    }
}

/// Whether all register operands are writes of one register: then reads are in form only.
fn only_writes(op: &Op) -> bool {
    let mut first = None;
    op.opnds.iter().all(|o| match o {
        Opnd::Def(v, _) => *first.get_or_insert(*v) == *v,
        Opnd::Imm(_) => true,
        Opnd::Mem(m) | Opnd::Bcast(m) => m.index.is_none(),
        _ => false,
    })
}

/// Whether an operand says what the instruction does.
fn access_fits(o: &Opnd, a: OpAccess) -> bool {
    match o {
        Opnd::Def(..) => matches!(a, OpAccess::Write),
        // iced knows that `x ^ x` reads nothing.
        Opnd::Use(..) => matches!(a, OpAccess::Read | OpAccess::CondRead | OpAccess::None),
        Opnd::UseDef(..) => !matches!(a, OpAccess::None | OpAccess::Read | OpAccess::CondRead),
        _ => true,
    }
}

/// Checks all instructions.
pub fn audit(f: &Func, regs: &[Option<PReg>], isa: Isa) -> Result<()> {
    let cx = Encodable::new(f, regs);
    let mut factory = InstructionInfoFactory::new();
    for item in &f.items {
        let Item::Op(op) = item else { continue };
        let (i, _) = cx.instruction(op)?;
        let bug = |what: String| Err(Diag::bug(format!("{:?}: {what}", op.code)));
        if let Some(x) = op.code.cpuid_features().iter().find(|x| !allowed(**x, isa)) {
            return bug(format!("the target lacks {x:?}"));
        }
        if i.op_count() as usize != op.opnds.len() {
            return bug(format!("{} operands for {}", op.opnds.len(), i.op_count()));
        }
        let info = factory.info_options(&i, InstructionInfoOptions::NONE);
        let form = only_writes(op);
        for (n, o) in op.opnds.iter().enumerate() {
            let a = info.op_access(n as u32);
            if i.op_kind(n as u32) == OpKind::Register && !form && !access_fits(o, a) {
                return bug(format!("operand {n} is {a:?}, not {o:?}"));
            }
        }
        let mut named = Vec::new();
        item.regs(&mut |v, _| named.extend(regs[v.0 as usize]));
        for u in info.used_registers() {
            let r = u.register().full_register();
            let ours = r.is_gpr64() || r.is_vector_register() || r.is_k();
            if ours && r != iced_x86::Register::RSP && !named.contains(&PReg::of(r)) {
                return bug(format!("touches {r:?} unannounced"));
            }
        }
    }
    Ok(())
}
