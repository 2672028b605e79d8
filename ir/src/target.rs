//! Target descriptions: pure data, read from `backends/targets/*.toml`.

use crate::{Diag, Result};
use serde::{Deserialize, Serialize};

/// What the cost model counts with. Times are in 32nds of a cycle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CostModel {
    /// Vector multiply-adds under way that hide their latency.
    pub latency: i64,
    /// A multiply-add, or a load, whichever there are more of: two go at a time.
    pub operation: i64,
    /// A value of A that is broadcast, beside arithmetic that hides it.
    pub broadcast: i64,
    /// A vector of B, which comes from farther away.
    pub load: i64,
    /// A row of A whose line the first cache cannot hold.
    pub miss: i64,
    /// Ways of the first cache that the rows of A do not get.
    pub other_ways: i64,
    /// Instructions of an unrolled kernel that are as bad as twice the time: code has a price.
    pub code: i64,
    /// Multiply-adds of a depthwise convolution that are written out for one row of taps.
    pub depthwise: i64,
    /// Vector operations that are worth handing to another thread.
    pub thread_work: i64,
    /// Places from which a product of one row reads its weights in turns: memory may be faster than for one stream.
    #[serde(default = "one")]
    pub streams: usize,
    /// Code is to look alike whatever the shape: loops are not unrolled, rest rows come one by one.
    #[serde(skip)]
    pub uniform: bool,
}

impl Default for CostModel {
    fn default() -> Self {
        Self {
            latency: 8,
            operation: 16,
            broadcast: 1,
            load: 6,
            miss: 64,
            other_ways: 1,
            code: 2500,
            depthwise: 48,
            thread_work: 40_000,
            streams: one(),
            uniform: false,
        }
    }
}

fn one() -> usize {
    1
}

/// Memory of a device, where it is known.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Memory {
    /// For what a program writes, if not what its regions say.
    pub ram_bytes: Option<u64>,
    /// For weights and code, if not what its regions say.
    pub flash_bytes: Option<u64>,
    /// Its memories, the fastest first.
    #[serde(default)]
    pub regions: Vec<MemoryRegion>,
}

/// What a memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemoryKind {
    /// Keeps what it holds and is not written by programs.
    Flash,
    /// Within the chip.
    Sram,
    /// Beside the chip: larger and slower.
    Psram,
}

/// One of a device's memories.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct MemoryRegion {
    /// As its maker calls it.
    pub name: String,
    /// What it is.
    pub kind: MemoryKind,
    /// Its size.
    pub bytes: u64,
    /// The linker's section for what lies in it; none: the usual ones.
    pub section: Option<String>,
}

impl Memory {
    /// What a program may write: an arena lies in one memory.
    pub fn ram(&self) -> Option<u64> {
        let ram = self.regions.iter().filter(|r| r.kind != MemoryKind::Flash).map(|r| r.bytes);
        self.ram_bytes.or_else(|| ram.max())
    }
    /// What weights and code may take.
    pub fn flash(&self) -> Option<u64> {
        let flash = self.regions.iter().filter(|r| r.kind == MemoryKind::Flash).map(|r| r.bytes);
        self.flash_bytes.or_else(|| flash.max())
    }
}

/// What a device can do at most, by its data sheet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Peaks {
    /// Clock of its fastest cores.
    pub clock_mhz: u64,
    /// Multiply-adds of f32 per cycle of such a core.
    pub fma: u64,
    /// Multiply-adds of bytes per cycle of such a core.
    pub dot: u64,
    /// Millions of bytes per second that all cores together read from memory.
    pub memory_mbps: u64,
}

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
    /// What a C compiler is told for this chip, where bundles are source text.
    #[serde(default)]
    pub compiler_flags: Vec<String>,
    /// Its memory: bundles that need more are refused.
    #[serde(default)]
    pub memory: Memory,
    /// What it can do, where that is known.
    pub peaks: Option<Peaks>,
    /// Numbers of the cost model.
    #[serde(default)]
    pub cost: CostModel,
    /// How the target is verified: `native`, `emulated`, `linked`, `emitted`.
    pub verified: String,
}

/// Instructions that must be worth as much as the time of a kernel for its loops to be unrolled.
const UNROLLED: i64 = 100;

impl CostModel {
    /// Whether code is so dear that no loop is unrolled.
    pub fn short(&self) -> bool {
        self.uniform || self.code < UNROLLED
    }
    /// The same machine where code costs `2^steps` times as much: less is unrolled.
    pub fn dearer_code(&self, steps: u32) -> Self {
        self.code_worth(self.code >> steps.min(30))
    }
    /// The same machine where no more than so many instructions are worth as much as the time of a kernel.
    pub fn code_worth(&self, instructions: i64) -> Self {
        let (code, all) = (instructions.clamp(1, self.code.max(1)), self.code.max(1));
        let depthwise = (self.depthwise * code / all).max(self.depthwise.min(3));
        Self { code, depthwise, ..self.clone() }
    }
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
    /// Whether products of bytes are summed up faster four at a time.
    pub fn dots(&self) -> bool {
        self.byte_dots() || self.has("avx2")
    }
    /// Whether that is one instruction.
    pub fn byte_dots(&self) -> bool {
        ["avx512vnni", "byte-dots", "dotprod"].iter().any(|f| self.has(f))
    }
    /// Whether four bytes are multiplied as two pairs of 16 bits, for want of dot products of bytes.
    pub fn halves(&self) -> bool {
        self.dots() && !self.byte_dots()
    }
    /// Whether dot products multiply bytes without a sign by bytes with one.
    pub fn mixed_dots(&self) -> bool {
        !self.has("dotprod") || self.has("i8mm")
    }
    /// Whether dot products multiply bytes that both have a sign.
    pub fn signed_dots(&self) -> bool {
        self.has("dotprod")
    }
    /// Whether products take a single lane of a vector as one factor.
    pub fn lane_products(&self) -> bool {
        self.has("neon")
    }
    /// Whether there are products of small matrices of bytes.
    pub fn matrix_products(&self) -> bool {
        self.has("i8mm") && self.has("neon")
    }
    /// Whether there are products of small matrices of bf16.
    pub fn bf16_matrices(&self) -> bool {
        self.has("bf16") && self.has("neon")
    }
    /// Whether products of pairs of bf16 are single instructions.
    pub fn pairs(&self) -> bool {
        self.has("avx512bf16")
    }
    /// Whether a feature is present.
    pub fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|f| f == feature)
    }
}
