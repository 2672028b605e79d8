//! What the shared register allocation has to know about x86.

use super::mir::{Class, Cond, Func, Mem, Op, Opnd};
use super::peephole;
use super::regs::{self, PReg};
use crate::machine::Forms;
use iced_x86::{Code, EncodingKind, OpCodeOperandKind as Kind};

impl Forms for Code {
    type Reg = PReg;
    type Cond = Cond;
    /// Whether there are 32 vector registers (AVX-512).
    type Features = bool;

    fn allocatable(class: Class, narrow: bool, wide: bool) -> Vec<PReg> {
        regs::allocatable(class, narrow || !wide)
    }
    fn is_narrow(self) -> bool {
        self.encoding() != EncodingKind::EVEX
    }
    fn reload(class: Class, bytes: u8, wide: bool) -> Self {
        match (class, bytes, wide) {
            (Class::Gpr, ..) => Code::Mov_r64_rm64,
            (Class::Mask, ..) => Code::VEX_Kmovq_kr_km64,
            (_, 16, false) => Code::VEX_Vmovups_xmm_xmmm128,
            (_, 16, true) => Code::EVEX_Vmovups_xmm_k1z_xmmm128,
            (_, 32, false) => Code::VEX_Vmovups_ymm_ymmm256,
            (_, 32, true) => Code::EVEX_Vmovups_ymm_k1z_ymmm256,
            _ => Code::EVEX_Vmovups_zmm_k1z_zmmm512,
        }
    }
    fn spill(class: Class, bytes: u8, wide: bool, to: Mem, from: Opnd) -> Op {
        let code = match (class, bytes, wide) {
            (Class::Gpr, ..) => Code::Mov_rm64_r64,
            (Class::Mask, ..) => Code::VEX_Kmovq_m64_kr,
            (_, 16, false) => Code::VEX_Vmovups_xmmm128_xmm,
            (_, 16, true) => Code::EVEX_Vmovups_xmmm128_k1z_xmm,
            (_, 32, false) => Code::VEX_Vmovups_ymmm256_ymm,
            (_, 32, true) => Code::EVEX_Vmovups_ymmm256_k1z_ymm,
            _ => Code::EVEX_Vmovups_zmmm512_k1z_zmm,
        };
        Op::plain(code, vec![Opnd::Mem(to), from])
    }
    fn is_reload(self) -> bool {
        let whole = [16, 32, 64].map(|b| [false, true].map(|wide| Self::reload(Class::Vec, b, wide)));
        whole.into_iter().flatten().any(|c| c == self)
    }
    fn repeats(self) -> Option<usize> {
        matches!(self, Code::VEX_Vpbroadcastd_ymm_xmmm32 | Code::VEX_Vpbroadcastd_xmm_xmmm32).then_some(4)
    }
    fn is_constant(op: &Op) -> bool {
        matches!(op.code, Code::Mov_r32_imm32 | Code::Mov_r64_imm64 | Code::Mov_rm64_imm32)
            || matches!(op.opnds.first(), Some(Opnd::Def(_, 16..)))
    }
    fn takes_memory(op: &Op, n: usize) -> bool {
        let lone = !op.opnds.iter().any(|o| matches!(o, Opnd::Mem(_) | Opnd::Bcast(_)));
        lone && matches!(
            op.code.op_code().op_kind(n as u32),
            Kind::r32_or_mem | Kind::r64_or_mem | Kind::xmm_or_mem | Kind::ymm_or_mem | Kind::zmm_or_mem
        )
    }
    fn before(f: &mut Func) {
        peephole::sums(f);
    }
    fn after(f: &mut Func) {
        peephole::zeros(f);
    }
}
