//! The target table: one TOML file each.

use sinter_ir::target::TargetDesc;
use std::sync::OnceLock;

const LEVELS: &[&str] = &[
    include_str!("../targets/browser-wasm.toml"),
    include_str!("../targets/browser-wasm-threads.toml"),
    include_str!("../targets/x86-64-v2.toml"),
    include_str!("../targets/x86-64-v3.toml"),
    include_str!("../targets/x86-64-v4.toml"),
    include_str!("../targets/aarch64.toml"),
    include_str!("../targets/aarch64-v8.2.toml"),
    include_str!("../targets/aarch64-v8.6.toml"),
    include_str!("../targets/riscv64-rv64gc.toml"),
    include_str!("../targets/riscv64-rv64gcv.toml"),
];

const CPUS: &[&str] = &[
    include_str!("../targets/cpus/haswell.toml"),
    include_str!("../targets/cpus/zen3.toml"),
    include_str!("../targets/cpus/skylake-server.toml"),
    include_str!("../targets/cpus/icelake-server.toml"),
    include_str!("../targets/cpus/sapphire-rapids.toml"),
    include_str!("../targets/cpus/zen4.toml"),
    include_str!("../targets/cpus/raspberry-pi-4.toml"),
    include_str!("../targets/cpus/raspberry-pi-5.toml"),
    include_str!("../targets/cpus/jetson-orin-cpu.toml"),
    include_str!("../targets/cpus/android-arm64-baseline.toml"),
    include_str!("../targets/cpus/pixel-9.toml"),
    include_str!("../targets/cpus/galaxy-s25.toml"),
    include_str!("../targets/cpus/iphone-17.toml"),
    include_str!("../targets/cpus/apple-m4.toml"),
    include_str!("../targets/cpus/visionfive-2.toml"),
    include_str!("../targets/cpus/windows-x86-64-v2.toml"),
    include_str!("../targets/cpus/windows-x86-64-v3.toml"),
    include_str!("../targets/cpus/windows-x86-64-v4.toml"),
    include_str!("../targets/cpus/windows-arm64.toml"),
];

const SOURCES: &[&str] = &[
    include_str!("../targets/generic-c.toml"),
    include_str!("../targets/chips/cortex-m3.toml"),
    include_str!("../targets/chips/cortex-m4f.toml"),
    include_str!("../targets/chips/cortex-m7.toml"),
    include_str!("../targets/chips/imxrt1060.toml"),
    include_str!("../targets/chips/cortex-m55.toml"),
    include_str!("../targets/chips/esp32-s3.toml"),
    include_str!("../targets/chips/lm3s6965.toml"),
    include_str!("../targets/chips/stm32f405.toml"),
];

/// What some processors of a level have beyond it, and emitters can use.
pub const EXTRAS: &[&str] = &["avx512bf16", "avx512vbmi", "avx512vnni"];

fn parse(files: &[&str]) -> Vec<TargetDesc> {
    files.iter().filter_map(|t| TargetDesc::from_toml(t).ok()).collect()
}

/// Targets by level, weaker instruction sets first; those of other machines before.
pub fn targets() -> &'static [TargetDesc] {
    static TABLE: OnceLock<Vec<TargetDesc>> = OnceLock::new();
    TABLE.get_or_init(|| parse(LEVELS))
}

/// Targets whose bundles are source text.
pub fn sources() -> &'static [TargetDesc] {
    static TABLE: OnceLock<Vec<TargetDesc>> = OnceLock::new();
    TABLE.get_or_init(|| parse(SOURCES))
}

/// Processors with a name of their own.
pub fn cpus() -> &'static [TargetDesc] {
    static TABLE: OnceLock<Vec<TargetDesc>> = OnceLock::new();
    TABLE.get_or_init(|| parse(CPUS))
}

/// Levels with features that only some processors of the level have: `x86-64-v4+avx512vnni`.
pub fn variants() -> &'static [TargetDesc] {
    static TABLE: OnceLock<Vec<TargetDesc>> = OnceLock::new();
    // The extras are changes of AVX-512 instructions.
    let base = targets().iter().filter(|t| t.has("avx512f"));
    let sets = || 1..1_usize << EXTRAS.len();
    TABLE.get_or_init(|| base.flat_map(|t| sets().map(|set| variant(t, set))).collect())
}

/// A level with the extras whose bits are set.
fn variant(base: &TargetDesc, set: usize) -> TargetDesc {
    let mut target = base.clone();
    for (_, extra) in EXTRAS.iter().enumerate().filter(|(i, _)| set >> i & 1 == 1) {
        target.features.push((*extra).to_owned());
        target.name += &format!("+{extra}");
    }
    target.features.sort_unstable();
    target
}

/// A target by name: a level, a level with more features, or a processor.
pub fn target(name: &str) -> Option<&'static TargetDesc> {
    targets().iter().chain(variants()).chain(cpus()).chain(sources()).find(|t| t.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_parses() {
        let parsed = (targets().len(), cpus().len(), sources().len());
        assert_eq!(parsed, (LEVELS.len(), CPUS.len(), SOURCES.len()));
        for t in targets().iter().chain(cpus()).chain(sources()) {
            assert!(t.features.is_sorted(), "{}", t.name);
            assert_eq!(target(&t.name), Some(t));
        }
    }

    #[test]
    fn features_can_be_added() {
        let t = target("x86-64-v4+avx512vnni").unwrap();
        assert!(t.has("avx512vnni") && !t.has("avx512bf16") && t.features.is_sorted());
        assert_eq!(
            target("x86-64-v4+avx512bf16+avx512vbmi+avx512vnni").unwrap().features,
            target("zen4").unwrap().features
        );
        assert_eq!(target("x86-64-v4+sse9"), None);
        assert_eq!(target("x86-64-v3+avx512vnni"), None);
    }
}
