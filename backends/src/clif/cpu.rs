//! The check whether a processor has what code was compiled for, in bytes: no portable instruction asks it what it is.

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
    ("avx512vnni", 7, 0, 2, 11),
    ("avx512bf16", 7, 1, 0, 5),
    ("lzcnt", 0x8000_0001, 0, 2, 5),
];

/// Machine code of `int cpu(void)`: 1 when the processor and the operating system have what the target needs.
/// A target that needs something of `lacking` is told that the processor has it not: that is how tests get to see
/// every level of a bundle on one machine.
pub fn check(target: &TargetDesc, lacking: &[String]) -> Vec<u8> {
    if lacking.iter().any(|f| target.has(f)) {
        // xor eax, eax; ret
        return vec![0x31, 0xc0, 0xc3];
    }
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
