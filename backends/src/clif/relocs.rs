//! Relocations between functions of one blob, resolved for good: the blob runs wherever it is mapped.

use cranelift_codegen::binemit::Reloc;
use sinter_ir::{Diag, Result};

/// A place that depends on where something else lies.
#[derive(Debug, Clone, Copy)]
pub struct Fixup {
    /// Offset in the blob.
    pub at: u64,
    /// Kind.
    pub kind: Reloc,
    /// Added to the target.
    pub addend: i64,
}

/// Resolves a fixup to an offset in the blob.
pub fn resolve(code: &mut [u8], f: &Fixup, target: u64) -> Result<()> {
    let at = f.at as usize;
    let distance = target as i64 + f.addend - f.at as i64;
    match f.kind {
        Reloc::X86PCRel4 | Reloc::X86CallPCRel4 | Reloc::X86CallPLTRel4 => {
            let value = i32::try_from(distance).map_err(|_| far())?;
            code[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        Reloc::Arm64Call => {
            let words = bits(distance / 4, 26)?;
            edit(code, at, |word| word & !0x03ff_ffff | words);
        }
        // Pages are no good to code that may lie anywhere: adr instead of adrp reaches what a blob can hold.
        Reloc::Aarch64AdrPrelPgHi21 => {
            let bytes = bits(distance, 21)?;
            edit(code, at, |word| word & 0x1f | 0x1000_0000 | (bytes & 3) << 29 | (bytes >> 2) << 5);
        }
        // The add of the page offset that adr has made needless.
        Reloc::Aarch64AddAbsLo12Nc => edit(code, at, |word| word & !(0xfff << 10)),
        Reloc::RiscvCallPlt => {
            let (high, low) = halves(distance)?;
            edit(code, at, |word| word & 0xfff | high);
            edit(code, at + 4, |word| word & 0x000f_ffff | low);
        }
        Reloc::RiscvPCRelHi20 => {
            let (high, low) = halves(distance)?;
            edit(code, at, |word| word & 0xfff | high);
            // Its other half always follows at once; the relocation there has nothing left to say.
            edit(code, at + 4, |word| word & 0x000f_ffff | low);
        }
        Reloc::RiscvPCRelLo12I if target + 4 == f.at => {}
        other => return Err(Diag::bug(format!("relocation {other:?}"))),
    }
    Ok(())
}

fn far() -> Diag {
    Diag::limit("more code than the target's relative addresses reach")
}

fn edit(code: &mut [u8], at: usize, f: impl FnOnce(u32) -> u32) {
    let word = f(u32::from_le_bytes([code[at], code[at + 1], code[at + 2], code[at + 3]]));
    code[at..at + 4].copy_from_slice(&word.to_le_bytes());
}

/// The low `n` bits of a signed number that fits them.
fn bits(value: i64, n: u32) -> Result<u32> {
    let limit = 1i64 << (n - 1);
    if (-limit..limit).contains(&value) { Ok(value as u32 & ((1 << n) - 1)) } else { Err(far()) }
}

/// A distance as the immediates of auipc and of an I-type instruction, in their places.
fn halves(distance: i64) -> Result<(u32, u32)> {
    let distance = i32::try_from(distance).map_err(|_| far())?;
    let high = distance.wrapping_add(0x800) as u32 & 0xffff_f000;
    Ok((high, (distance as u32).wrapping_sub(high) << 20))
}
