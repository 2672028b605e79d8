//! `report.json` and `report.html`: what was fused, what everything costs, where memory goes.

pub mod comparison;
mod html;
mod plot;
pub(crate) use html::{escape, size};

use crate::bench::sites::sites;
use crate::manifest::{LevelInfo, Manifest, PlaceInfo};
use serde::Serialize;
use sinter_ir::graph::SymbolInfo;
use sinter_ir::program::{BufferLife, Program, Step};
use sinter_passes::compress::LayerStat;
use sinter_passes::prune::PruneStat;
use sinter_passes::report::{LayoutStat, PassReport};
use std::collections::BTreeMap;

/// Size and use of one kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KernelRow {
    /// Kernel name.
    pub name: String,
    /// The level that it is for, in bundles with several.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub level: String,
    /// Machine code bytes.
    pub code_bytes: u64,
    /// How many steps call it.
    pub calls: u32,
    /// Operations of all its calls at the largest dims: a contraction's products count two, loops once.
    pub operations: u64,
    /// Bytes that all its calls must read and write, at the largest dims.
    pub touched_bytes: u64,
    /// The user's layers that it computes, first few.
    pub layers: Vec<String>,
}

/// Everything that the report says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Model name.
    pub name: String,
    /// Target name.
    pub target: String,
    /// The levels that `init` chooses from; see the manifest. Timeline, rewrites and layout are those of the first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub levels: Vec<LevelInfo>,
    /// Kernels, largest code first.
    pub kernels: Vec<KernelRow>,
    /// All machine code, glue included.
    pub code_bytes: u64,
    /// Packed weights.
    pub weights_bytes: u64,
    /// Planned arena.
    pub arena_bytes: u64,
    /// Which of the device's memories they lie in; see the manifest.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<PlaceInfo>,
    /// Largest sum of live buffers: no plan can be smaller.
    pub live_bytes: u64,
    /// `arena / live - 1` in percent.
    pub arena_gap_percent: f64,
    /// Rewrites by name and how often each fired.
    pub rules: BTreeMap<String, u64>,
    /// Matrices that lost weights, with what that cost each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pruned: Vec<PruneStat>,
    /// Matrices that became codes, with what that cost each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub compressed: Vec<LayerStat>,
    /// Transposes before and after layouts were chosen.
    pub layout: LayoutStat,
    /// Ranges of the symbolic dims that memory is planned for.
    pub dims: Vec<crate::manifest::DimInfo>,
    /// Life of every arena buffer.
    pub timeline: Vec<BufferLife>,
    /// Things in the model that look wrong but do not matter to the result.
    pub warnings: Vec<String>,
}

/// Layers listed per kernel.
const LAYERS_SHOWN: usize = 8;

impl Report {
    /// Collects the report of a bundle with the kernels of its first level.
    pub fn new(
        program: &Program,
        code: &BTreeMap<String, u64>,
        passes: &PassReport,
        manifest: &Manifest,
        warnings: &[String],
    ) -> Self {
        let mut calls: BTreeMap<u32, (u32, Vec<String>)> = BTreeMap::new();
        visit(&program.steps, &mut |kernel, label| {
            let row = calls.entry(kernel).or_default();
            row.0 += 1;
            if row.1.len() < LAYERS_SHOWN {
                row.1.push(label.to_owned());
            }
        });
        let most = |s| program.symbols.info(s).map(|i: &SymbolInfo| i.max);
        let mut needs: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for site in sites(program, passes) {
            let n = site.needs(&most);
            let sum = needs.entry(site.kernel).or_default();
            *sum = (sum.0.saturating_add(n.operations as u64), sum.1.saturating_add(n.bytes as u64));
        }
        let row = |(i, k): (usize, &sinter_ir::tile::Kernel)| {
            let (calls, layers) = calls.get(&(i as u32)).cloned().unwrap_or_default();
            KernelRow {
                name: k.name.clone(),
                level: manifest.levels.first().map(|l| l.target.clone()).unwrap_or_default(),
                code_bytes: code.get(&k.name).copied().unwrap_or(0),
                calls,
                operations: needs.get(&k.name).map_or(0, |n| n.0),
                touched_bytes: needs.get(&k.name).map_or(0, |n| n.1),
                layers,
            }
        };
        let mut kernels: Vec<KernelRow> = program.kernels.iter().enumerate().map(row).collect();
        kernels.sort_by(|a, b| b.code_bytes.cmp(&a.code_bytes).then_with(|| a.name.cmp(&b.name)));
        let gap = program.arena_bytes as f64 / program.live_bytes.max(1) as f64 - 1.0;
        Self {
            name: program.name.clone(),
            target: manifest.target.clone(),
            levels: manifest.levels.clone(),
            kernels,
            code_bytes: manifest.code_bytes,
            weights_bytes: program.weights_bytes(),
            arena_bytes: program.arena_bytes,
            places: manifest.places.clone(),
            live_bytes: program.live_bytes,
            arena_gap_percent: if program.live_bytes == 0 { 0.0 } else { (gap * 1e4).round() / 100.0 },
            rules: passes.rules.clone(),
            pruned: passes.pruned.clone(),
            compressed: passes.compressed.clone(),
            layout: passes.layout.clone(),
            dims: manifest.dims.clone(),
            timeline: program.timeline.clone(),
            warnings: warnings.to_vec(),
        }
    }
    /// Adds the kernels of another level.
    pub fn add(&mut self, level: &str, other: Self) {
        let own = |k: KernelRow| KernelRow { level: level.to_owned(), ..k };
        self.kernels.extend(other.kernels.into_iter().map(own));
    }
    /// `report.html`: self-contained, no scripts, no network.
    pub fn html(&self) -> String {
        html::page(self)
    }
}

fn visit(steps: &[Step], f: &mut dyn FnMut(u32, &str)) {
    for step in steps {
        match step {
            Step::Call { kernel, label, .. } => f(*kernel, label),
            Step::If { then, els, .. } => {
                visit(then, f);
                visit(els, f);
            }
            Step::Loop { body, .. } => visit(body, f),
            Step::Copy { .. } | Step::SetSym { .. } | Step::ReadSym { .. } | Step::Require { .. } => {}
        }
    }
}
