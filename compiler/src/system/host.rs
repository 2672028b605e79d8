//! What this processor has.

/// Whether this machine has a feature of the target table.
#[cfg(target_arch = "x86_64")]
pub fn host_has(feature: &str) -> bool {
    use std::is_x86_feature_detected as has;
    match feature {
        "sse3" => has!("sse3"),
        "ssse3" => has!("ssse3"),
        "sse4.1" => has!("sse4.1"),
        "sse4.2" => has!("sse4.2"),
        "popcnt" => has!("popcnt"),
        "avx" => has!("avx"),
        "avx2" => has!("avx2"),
        "bmi1" => has!("bmi1"),
        "bmi2" => has!("bmi2"),
        "fma" => has!("fma"),
        "f16c" => has!("f16c"),
        "lzcnt" => has!("lzcnt"),
        "avxvnni" => has!("avxvnni"),
        "avx512f" => has!("avx512f"),
        "avx512bw" => has!("avx512bw"),
        "avx512dq" => has!("avx512dq"),
        "avx512vl" => has!("avx512vl"),
        "avx512vbmi" => has!("avx512vbmi"),
        "avx512vnni" => has!("avx512vnni"),
        "avx512bf16" => has!("avx512bf16"),
        _ => false,
    }
}

/// Whether this machine has a feature of the target table.
#[cfg(not(target_arch = "x86_64"))]
pub fn host_has(_: &str) -> bool {
    false
}

/// Threads that this machine runs at once.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
