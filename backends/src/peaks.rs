//! Loops that do nothing but what a processor is best at, to measure what it can do at most.
//!
//! Each is `extern "C" void(const void *memory, uint64_t bytes, uint64_t passes)`, position independent, and reads
//! only from `memory`.

use iced_x86::{Code, Encoder, IcedError, Instruction, MemoryOperand, Register};
use sinter_ir::{Diag, Result};

/// What is to be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peak {
    /// Fused multiply-adds of f32: two operations per lane.
    Fma,
    /// Products of bytes summed into i32 by one instruction: eight operations per lane.
    Dot8,
    /// Products of bf16 summed into f32: four operations per lane.
    DotBf16,
    /// Bytes loaded, from wherever `memory` is cached.
    Read,
}

/// A loop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loop {
    /// Machine code.
    pub code: Vec<u8>,
    /// Operations of a pass; 0 where a pass reads `bytes` bytes.
    pub operations: u64,
}

/// Bytes that a pass over memory reads per round of its loop: `bytes` must be a multiple.
pub const READ_STEP: u64 = 512;

/// Where results are gathered: enough to hide the latency of every instruction.
const SUMS: u32 = 12;
/// Rounds of a pass.
const ROUNDS: u32 = 256;

/// The widest loop for a processor with these features; `None` when it has no such instruction.
pub fn code(peak: Peak, has: &dyn Fn(&str) -> bool) -> Result<Option<Loop>> {
    let wide = has("avx512f");
    let lanes: u64 = if wide { 16 } else { 8 };
    let (instruction, per_lane) = match peak {
        Peak::Read if wide => return read(Code::EVEX_Vmovups_zmm_k1z_zmmm512, Register::ZMM0, 64).map(Some),
        Peak::Read if has("avx") => return read(Code::VEX_Vmovups_ymm_ymmm256, Register::YMM0, 32).map(Some),
        Peak::Read => return Ok(None),
        Peak::Fma if wide => (Code::EVEX_Vfmadd231ps_zmm_k1z_zmm_zmmm512b32_er, 2),
        Peak::Fma if has("fma") => (Code::VEX_Vfmadd231ps_ymm_ymm_ymmm256, 2),
        Peak::Dot8 if wide && has("avx512vnni") => (Code::EVEX_Vpdpbusd_zmm_k1z_zmm_zmmm512b32, 8),
        Peak::Dot8 if has("avxvnni") => (Code::VEX_Vpdpbusd_ymm_ymm_ymmm256, 8),
        Peak::DotBf16 if has("avx512bf16") => (Code::EVEX_Vdpbf16ps_zmm_k1z_zmm_zmmm512b32, 4),
        _ => return Ok(None),
    };
    let first = if wide { Register::ZMM0 } else { Register::YMM0 };
    compute(instruction, first, wide, lanes * per_lane).map(Some)
}

/// Machine code being written; jumps go back to offsets that are known by then.
struct Text(Encoder, u64);

fn bad(e: IcedError) -> Diag {
    Diag::bug(format!("a loop for measuring: {e}"))
}

impl Text {
    fn new() -> Self {
        Self(Encoder::new(64), 0)
    }
    /// Adds an instruction and gives its offset.
    fn add(&mut self, i: std::result::Result<Instruction, IcedError>) -> Result<u64> {
        let at = self.1;
        self.1 += self.0.encode(&i.map_err(bad)?, at).map_err(bad)? as u64;
        Ok(at)
    }
    fn finish(mut self) -> Result<Vec<u8>> {
        self.add(Ok(Instruction::with(Code::VEX_Vzeroupper)))?;
        self.add(Ok(Instruction::with(Code::Retnq)))?;
        Ok(self.0.take_buffer())
    }
}

/// `passes` times `ROUNDS` rounds of independent sums of products.
fn compute(code: Code, first: Register, wide: bool, operations: u64) -> Result<Loop> {
    let mut t = Text::new();
    let load = if wide { Code::EVEX_Vmovups_zmm_k1z_zmmm512 } else { Code::VEX_Vmovups_ymm_ymmm256 };
    for i in 0..SUMS + 2 {
        t.add(Instruction::with2(load, first + i, MemoryOperand::with_base(Register::RDI)))?;
    }
    let pass = t.add(Instruction::with2(Code::Mov_r32_imm32, Register::EAX, ROUNDS))?;
    let mut round = None;
    for i in 0..SUMS {
        let at = t.add(Instruction::with3(code, first + i, first + SUMS, first + (SUMS + 1)))?;
        round.get_or_insert(at);
    }
    t.add(Instruction::with1(Code::Dec_rm32, Register::EAX))?;
    t.add(Instruction::with_branch(Code::Jne_rel32_64, round.unwrap_or(pass)))?;
    t.add(Instruction::with1(Code::Dec_rm64, Register::RDX))?;
    t.add(Instruction::with_branch(Code::Jne_rel32_64, pass))?;
    Ok(Loop { code: t.finish()?, operations: operations * u64::from(SUMS * ROUNDS) })
}

/// Places that are read from side by side: one alone does not keep memory busy.
const STREAMS: u32 = 4;

/// `passes` times over `bytes` bytes, a quarter of them in each stream.
fn read(load: Code, first: Register, width: u32) -> Result<Loop> {
    let mut t = Text::new();
    let streams = [Register::RDI, Register::R8, Register::R9, Register::R10];
    t.add(Instruction::with2(Code::Shr_rm64_imm8, Register::RSI, STREAMS.ilog2()))?;
    for pair in streams.windows(2) {
        let next = MemoryOperand::with_base_index_scale(pair[0], Register::RSI, 1);
        t.add(Instruction::with2(Code::Lea_r64_m, pair[1], next))?;
    }
    let pass = t.add(Instruction::with2(Code::Xor_rm32_r32, Register::EAX, Register::EAX))?;
    let (step, mut round) = (READ_STEP as u32 / STREAMS, None);
    for i in 0..READ_STEP as u32 / width {
        let (stream, part) = (streams[(i % STREAMS) as usize], i / STREAMS);
        let from = MemoryOperand::with_base_index_scale_displ_size(
            stream,
            Register::RAX,
            1,
            i64::from(part * width),
            8,
        );
        let at = t.add(Instruction::with2(load, first + i % 8, from))?;
        round.get_or_insert(at);
    }
    t.add(Instruction::with2(Code::Add_rm64_imm32, Register::RAX, step as i32))?;
    t.add(Instruction::with2(Code::Cmp_rm64_r64, Register::RAX, Register::RSI))?;
    t.add(Instruction::with_branch(Code::Jb_rel32_64, round.unwrap_or(pass)))?;
    t.add(Instruction::with1(Code::Dec_rm64, Register::RDX))?;
    t.add(Instruction::with_branch(Code::Jne_rel32_64, pass))?;
    Ok(Loop { code: t.finish()?, operations: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops_for_what_is_there_only() {
        let v3 = |f: &str| ["avx", "avx2", "fma"].contains(&f);
        for (peak, there) in
            [(Peak::Fma, true), (Peak::Read, true), (Peak::Dot8, false), (Peak::DotBf16, false)]
        {
            assert_eq!(code(peak, &v3).unwrap().is_some(), there, "{peak:?}");
        }
        let all = |_: &str| true;
        let wide = code(Peak::Fma, &all).unwrap().unwrap();
        let narrow = code(Peak::Fma, &v3).unwrap().unwrap();
        assert_eq!(wide.operations, 2 * narrow.operations);
        assert!(code(Peak::Fma, &|_| false).unwrap().is_none());
    }
}
