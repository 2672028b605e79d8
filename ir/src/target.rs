//! Target descriptions: pure data, read from `backends/targets/*.toml`.

use crate::{Diag, Result};
use serde::{Deserialize, Serialize};

/// One device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TargetDesc {
    /// CLI name, e.g. `x86-64-v3`.
    pub name: String,
    /// One line for `sinter targets`.
    pub summary: String,
    /// Target triple for object files, e.g. `x86_64-unknown-linux-gnu`.
    pub triple: String,
    /// ISA features, in the emitter's names (`sse4.1`, `avx2`, `fma`, `avx512f`, ...), sorted.
    #[serde(default)]
    pub features: Vec<String>,
    /// Widest vector register that lowering should use, in bits.
    pub vector_bits: u32,
    /// Number of vector registers.
    pub vector_registers: u32,
    /// Cores that a parallel split may count on.
    pub cores: u32,
    /// Data caches in bytes, L1 first.
    pub cache_bytes: Vec<u64>,
    /// Page size for weight sections.
    pub page_bytes: u64,
    /// How the target is verified: `native`, `emulated`, `linked`, `emitted`.
    pub verified: String,
}

impl TargetDesc {
    /// Parses one TOML file.
    pub fn from_toml(text: &str) -> Result<Self> {
        toml::from_str(text).map_err(|e| Diag::input(format!("target description: {e}")))
    }
    /// Lanes of a vector of `elem_bits`-wide elements, at least 1.
    pub fn lanes(&self, elem_bits: u32) -> u16 {
        (self.vector_bits / elem_bits.max(1)).max(1) as u16
    }
    /// Whether a feature is present.
    pub fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|f| f == feature)
    }
}
