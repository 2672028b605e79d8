//! What the target offers.

use sinter_ir::target::TargetDesc;

/// Instruction sets beyond AVX2, FMA and BMI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Isa {
    /// AVX-512 F, BW, DQ and VL.
    pub avx512: bool,
    /// AVX512-VNNI.
    pub vnni: bool,
    /// AVX512-VBMI.
    pub vbmi: bool,
    /// AVX512-BF16.
    pub bf16: bool,
    /// Conversions of half floats.
    pub f16c: bool,
}

impl Isa {
    /// Of a target; none where this emitter has no code for it.
    pub fn of(t: &TargetDesc) -> Option<Self> {
        let needs = ["avx", "avx2", "bmi1", "bmi2", "fma", "lzcnt"];
        (t.triple.starts_with("x86_64-") && needs.iter().all(|f| t.has(f))).then(|| {
            let avx512 = ["avx512f", "avx512bw", "avx512dq", "avx512vl"].iter().all(|f| t.has(f));
            Self {
                avx512,
                vnni: avx512 && t.has("avx512vnni"),
                vbmi: avx512 && t.has("avx512vbmi"),
                bf16: avx512 && t.has("avx512bf16"),
                f16c: avx512 || t.has("f16c"),
            }
        })
    }
    /// Bytes of the widest vector register.
    pub fn vector_bytes(self) -> u32 {
        if self.avx512 { 64 } else { 32 }
    }
}
