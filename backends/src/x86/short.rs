//! VEX forms of EVEX instructions: two to three bytes shorter where no operand needs what only EVEX has.

use iced_x86::{Code, CpuidFeature, EncodingKind, Instruction, OpKind, Register};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// Mnemonics that differ between the two.
const NAMES: &[(&str, &str)] = &[
    ("Vmovdqu8_", "Vmovdqu_"),
    ("Vmovdqu16_", "Vmovdqu_"),
    ("Vmovdqu32_", "Vmovdqu_"),
    ("Vmovdqu64_", "Vmovdqu_"),
    ("Vmovdqa32_", "Vmovdqa_"),
    ("Vmovdqa64_", "Vmovdqa_"),
    ("Vpandd_", "Vpand_"),
    ("Vpandq_", "Vpand_"),
    ("Vpandnd_", "Vpandn_"),
    ("Vpandnq_", "Vpandn_"),
    ("Vpord_", "Vpor_"),
    ("Vporq_", "Vpor_"),
    ("Vpxord_", "Vpxor_"),
    ("Vpxorq_", "Vpxor_"),
    ("Vextractf32x4_", "Vextractf128_"),
    ("Vextractf64x2_", "Vextractf128_"),
    ("Vextracti32x4_", "Vextracti128_"),
    ("Vextracti64x2_", "Vextracti128_"),
    ("Vinsertf32x4_", "Vinsertf128_"),
    ("Vinsertf64x2_", "Vinsertf128_"),
    ("Vinserti32x4_", "Vinserti128_"),
    ("Vinserti64x2_", "Vinserti128_"),
    ("Vrndscaleps_", "Vroundps_"),
    ("Vrndscalepd_", "Vroundpd_"),
    ("Vrndscaless_", "Vroundss_"),
    ("Vrndscalesd_", "Vroundsd_"),
];

/// VEX form of an EVEX instruction's name: without masks, broadcasts and rounding.
fn vex_name(evex: &str) -> Option<String> {
    let mut name = evex.strip_prefix("EVEX_")?.replace("_k1z", "").replace("_k1", "");
    for end in ["_er", "_sae"] {
        name = name.strip_suffix(end).map_or(name.clone(), str::to_owned);
    }
    for (from, to) in NAMES {
        if let Some(rest) = name.strip_prefix(from) {
            name = format!("{to}{rest}");
            break;
        }
    }
    for bits in ["b16", "b32", "b64"] {
        for mem in ["m128", "m256"] {
            name = name.replace(&format!("{mem}{bits}"), mem);
        }
    }
    Some(format!("VEX_{name}"))
}

/// Every EVEX form that has a VEX form within AVX2 and FMA.
fn table() -> &'static BTreeMap<Code, Code> {
    static TABLE: OnceLock<BTreeMap<Code, Code>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let base = |c: &Code| {
            c.cpuid_features()
                .iter()
                .all(|f| matches!(f, CpuidFeature::AVX | CpuidFeature::AVX2 | CpuidFeature::FMA))
        };
        let of = |kind| Code::values().filter(move |c| c.encoding() == kind);
        let vex: BTreeMap<String, Code> =
            of(EncodingKind::VEX).filter(base).map(|c| (format!("{c:?}"), c)).collect();
        of(EncodingKind::EVEX).filter_map(|c| Some((c, *vex.get(&vex_name(&format!("{c:?}"))?)?))).collect()
    })
}

/// The VEX form, when the operands allow it. It is not always shorter: displacements are not scaled.
pub fn vex(i: &Instruction) -> Option<Instruction> {
    if i.has_op_mask() || i.is_broadcast() || i.zeroing_masking() {
        return None;
    }
    let reachable = |r: Register| !r.is_vector_register() || r.number() < 16;
    let regs = (0..i.op_count()).filter(|n| i.op_kind(*n) == OpKind::Register).map(|n| i.op_register(n));
    if !regs.chain([i.memory_index()]).all(reachable) {
        return None;
    }
    let mut short = *i;
    short.set_code(*table().get(&i.code())?);
    Some(short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_pair_up() {
        let t = table();
        let pairs = [
            (Code::EVEX_Vaddps_ymm_k1z_ymm_ymmm256b32, Code::VEX_Vaddps_ymm_ymm_ymmm256),
            (Code::EVEX_Vfmadd231ss_xmm_k1z_xmm_xmmm32_er, Code::VEX_Vfmadd231ss_xmm_xmm_xmmm32),
            (Code::EVEX_Vmovdqu32_xmm_k1z_xmmm128, Code::VEX_Vmovdqu_xmm_xmmm128),
            (Code::EVEX_Vpxord_ymm_k1z_ymm_ymmm256b32, Code::VEX_Vpxor_ymm_ymm_ymmm256),
            (Code::EVEX_Vmovups_ymmm256_k1z_ymm, Code::VEX_Vmovups_ymmm256_ymm),
            (Code::EVEX_Vucomiss_xmm_xmmm32_sae, Code::VEX_Vucomiss_xmm_xmmm32),
        ];
        for (evex, vex) in pairs {
            assert_eq!(t.get(&evex), Some(&vex), "{evex:?}");
        }
        // The VEX form of this one is an instruction set of its own.
        assert_eq!(t.get(&Code::EVEX_Vpdpbusd_ymm_k1z_ymm_ymmm256b32), None);
        assert!(t.len() > 500, "{}", t.len());
        for (evex, vex) in t {
            assert_eq!(evex.op_code().op_count(), vex.op_code().op_count(), "{evex:?}");
        }
    }
}
