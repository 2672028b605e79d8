//! What the passes did: counted rules, node counts, kernels, memory. Goes into the bundle's report.

use crate::compress::LayerStat;
use crate::patches::PatchStat;
use crate::prune::PruneStat;
use crate::work::Work;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything that the passes tell the report.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PassReport {
    /// How often each rewrite fired, by `pass/rule`.
    pub rules: BTreeMap<String, u64>,
    /// Passes in the order they ran.
    pub passes: Vec<PassStat>,
    /// Matrices that lost weights.
    #[serde(default)]
    pub pruned: Vec<PruneStat>,
    /// Matrices that became codes.
    #[serde(default)]
    pub compressed: Vec<LayerStat>,
    /// What is computed in parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patches: Option<PatchStat>,
    /// What the layouts left to do.
    #[serde(default)]
    pub layout: LayoutStat,
    /// Kernel calls in program order.
    pub kernels: Vec<KernelStat>,
    /// Sizes.
    pub memory: MemoryStat,
}

/// One run of a pass.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassStat {
    /// CLI-visible name.
    pub name: String,
    /// Nodes before, those of regions included.
    pub nodes_before: usize,
    /// Nodes after.
    pub nodes_after: usize,
}

/// Transposes in front of fusion, which folds some of them into loads and stores.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayoutStat {
    /// Before layouts were chosen.
    pub transposes_before: u64,
    /// After.
    pub transposes: u64,
    /// Bytes that those write, at typical sizes.
    pub bytes: u64,
}

/// One kernel call and what it stands for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelStat {
    /// Kernel name in the program.
    pub kernel: String,
    /// Core ops fused into it, in order, e.g. `Conv+Add+Max`.
    pub ops: String,
    /// The user's nodes.
    pub origin: Vec<String>,
    /// Its arithmetic.
    #[serde(default)]
    pub work: Work,
    /// Questions that its lowering asked: see [`crate::lower::choices`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
}

/// Bytes of the plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryStat {
    /// Arena as planned.
    pub arena_bytes: u64,
    /// Largest sum of live buffers: no plan of this order can be smaller.
    pub live_bytes: u64,
    /// Packed constants.
    pub weight_bytes: u64,
    /// Number of different kernels.
    pub kernels: usize,
}

impl PassReport {
    /// Counts one firing of a rewrite.
    pub fn fired(&mut self, rule: &str) {
        match self.rules.get_mut(rule) {
            Some(n) => *n += 1,
            None => {
                self.rules.insert(rule.to_owned(), 1);
            }
        }
    }
    /// How often a rewrite fired.
    pub fn count(&self, rule: &str) -> u64 {
        self.rules.get(rule).copied().unwrap_or(0)
    }
}
