//! The target table: one TOML file each.

use sinter_ir::target::TargetDesc;
use std::sync::OnceLock;

const FILES: &[&str] = &[
    include_str!("../targets/x86-64-v2.toml"),
    include_str!("../targets/x86-64-v3.toml"),
    include_str!("../targets/x86-64-v4.toml"),
];

/// All targets, in table order (weaker instruction sets first).
pub fn targets() -> &'static [TargetDesc] {
    static TABLE: OnceLock<Vec<TargetDesc>> = OnceLock::new();
    TABLE.get_or_init(|| FILES.iter().filter_map(|t| TargetDesc::from_toml(t).ok()).collect())
}

/// A target by name.
pub fn target(name: &str) -> Option<&'static TargetDesc> {
    targets().iter().find(|t| t.name == name)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_file_parses() {
        assert_eq!(super::targets().len(), super::FILES.len());
    }
}
