//! The check whether a processor has what code was compiled for, in bytes: no portable instruction asks it what it is.

use super::isa::Arch;
use sinter_ir::target::TargetDesc;

/// cpuid leaf, sub-leaf and register bits that feature names stand for: `(leaf, sub-leaf, register 0..=3 for a b c d,
/// bit)`.
const CPUID: &[(&str, u32, u32, u8, u8)] = &[
    ("sse3", 1, 0, 2, 0),
    ("ssse3", 1, 0, 2, 9),
    ("fma", 1, 0, 2, 12),
    ("sse4.1", 1, 0, 2, 19),
    ("sse4.2", 1, 0, 2, 20),
    ("popcnt", 1, 0, 2, 23),
    ("avx", 1, 0, 2, 28),
    ("f16c", 1, 0, 2, 29),
    ("bmi1", 7, 0, 1, 3),
    ("avx2", 7, 0, 1, 5),
    ("bmi2", 7, 0, 1, 8),
    ("avx512f", 7, 0, 1, 16),
    ("avx512dq", 7, 0, 1, 17),
    ("avx512bw", 7, 0, 1, 30),
    ("avx512vl", 7, 0, 1, 31),
    ("avx512vbmi", 7, 0, 2, 1),
    ("avx512vnni", 7, 0, 2, 11),
    ("avx512bf16", 7, 1, 0, 5),
    ("lzcnt", 0x8000_0001, 0, 2, 5),
];

/// Identification registers of AArch64 that feature names stand for: `(name, mrs x0, register; lowest bit of the
/// field)`; the field holds at least 1 where the feature exists (Arm ARM D19.2).
const ID_FIELDS: &[(&str, u32, u32)] =
    &[("bf16", 0xd538_0620, 44), ("dotprod", 0xd538_0600, 44), ("i8mm", 0xd538_0620, 52)];

/// Machine code of `int cpu(void)`: 1 when the processor and the operating system have what the target needs.
/// A target that needs something of `lacking` is told that the processor has it not: that is how tests get to see
/// every level of a bundle on one machine.
pub fn check(target: &TargetDesc, lacking: &[String]) -> Vec<u8> {
    let able = !lacking.iter().any(|f| target.has(f));
    match Arch::of(target) {
        // xor eax, eax; ret
        Some(Arch::X86) | None if !able => vec![0x31, 0xc0, 0xc3],
        Some(Arch::X86) | None => x86(target),
        // mov w0, able; ret
        Some(Arch::Arm) if !able => words(&[0x5280_0000, 0xd65f_03c0]),
        Some(Arch::Arm) => arm(target),
        // Which extensions a RISC-V has, only the operating system can tell. li a0, able; ret
        Some(Arch::RiscV) => words(&[0x0000_0513 | u32::from(able) << 20, 0x0000_8067]),
    }
}

fn words(code: &[u32]) -> Vec<u8> {
    code.iter().flat_map(|w| w.to_le_bytes()).collect()
}

/// Linux and Android answer reads of identification registers in user mode; elsewhere a target names devices that all
/// have its features.
fn arm(target: &TargetDesc) -> Vec<u8> {
    let mut code = vec![];
    let asks = ["linux", "android"].iter().any(|os| target.triple.contains(os));
    let needed: Vec<_> = ID_FIELDS.iter().filter(|f| asks && target.has(f.0)).collect();
    for (i, (_, mrs, low)) in needed.iter().enumerate() {
        // ubfx x0, x0, #low, #4; cbz x0, the ret at the end: what it finds in x0 is the answer 0.
        let left = 3 * (needed.len() - i) as u32 - 1;
        code.extend([*mrs, 0xd340_0000 | low << 16 | (low + 3) << 10, 0xb400_0000 | left << 5]);
    }
    // mov w0, 1; ret
    code.extend([0x5280_0020, 0xd65f_03c0]);
    words(&code)
}

fn x86(target: &TargetDesc) -> Vec<u8> {
    // push rbx
    let mut code = vec![0x53];
    let mut fails = vec![];
    let needed = || CPUID.iter().filter(|c| target.has(c.0));
    let mut leaves: Vec<(u32, u32)> = needed().map(|c| (c.1, c.2)).collect();
    leaves.sort_unstable();
    leaves.dedup();
    for (leaf, sub) in leaves {
        let mut masks = [0u32; 4];
        needed().filter(|c| (c.1, c.2) == (leaf, sub)).for_each(|c| masks[c.3 as usize] |= 1 << c.4);
        if leaf == 1 && target.has("avx") {
            // OSXSAVE, so that xgetbv below is allowed.
            masks[2] |= 1 << 27;
        }
        // mov eax, leaf; mov ecx, sub; cpuid
        code.push(0xb8);
        code.extend(leaf.to_le_bytes());
        code.push(0xb9);
        code.extend(sub.to_le_bytes());
        code.extend([0x0f, 0xa2]);
        for (reg, mask) in [(0u8, masks[0]), (3, masks[1]), (1, masks[2]), (2, masks[3])] {
            if mask != 0 {
                // and reg, mask; cmp reg, mask; jne fail
                code.extend([0x81, 0xe0 | reg]);
                code.extend(mask.to_le_bytes());
                code.extend([0x81, 0xf8 | reg]);
                code.extend(mask.to_le_bytes());
                code.extend([0x0f, 0x85, 0, 0, 0, 0]);
                fails.push(code.len());
            }
        }
    }
    if target.has("avx") {
        let mask: u8 = if target.has("avx512f") { 0xe6 } else { 0x06 };
        // xor ecx, ecx; xgetbv; and al, mask; cmp al, mask; jne fail
        code.extend([0x31, 0xc9, 0x0f, 0x01, 0xd0, 0x24, mask, 0x3c, mask, 0x0f, 0x85, 0, 0, 0, 0]);
        fails.push(code.len());
    }
    // mov eax, 1; pop rbx; ret
    code.extend([0xb8, 1, 0, 0, 0, 0x5b, 0xc3]);
    let fail = code.len();
    // xor eax, eax; pop rbx; ret
    code.extend([0x31, 0xc0, 0x5b, 0xc3]);
    for end in fails {
        let distance = (fail - end) as i32;
        code[end - 4..end].copy_from_slice(&distance.to_le_bytes());
    }
    code
}
