//! Networks that do not fit the RAM of their device are computed in parts, see [`sinter_passes::patches`].

use super::budget;
use super::lowering::Made;
use crate::report::size;
use sinter_ir::target::TargetDesc;
use sinter_ir::{Diag, Module};
use sinter_passes::patches::{self, Choice, PatchStat};
use sinter_passes::pipeline::{self, PipelineOptions};
use sinter_passes::report::PassReport;
use std::collections::BTreeMap;

/// Plans that are made at most.
const TRIES: usize = 16;

/// A module in front of what splits it, and what all targets have in common.
pub struct Before {
    pub module: Module,
    pub report: PassReport,
    pub target: Option<TargetDesc>,
}

/// Lowers and plans a module.
pub type Make<'a> = dyn FnMut(&Module, &PassReport) -> Result<Made, Vec<Diag>> + 'a;

/// What came of it.
pub struct Split {
    /// The program with the least memory of those made.
    pub made: Made,
    /// In words.
    pub told: String,
}

/// Splits a module until it fits `room` bytes, of which it needs `now` as a whole; none where nothing can be split.
pub fn split(
    before: &Before,
    (room, now): (u64, u64),
    options: &dyn Fn() -> PipelineOptions<'static>,
    make: &mut Make,
) -> Result<Option<Split>, Vec<Diag>> {
    let all = patches::choices(&before.module.graph, room);
    let mut best: Option<(u64, Made)> = None;
    // How much more plans take than the model says, for every part of the network that was tried.
    let mut more: BTreeMap<_, f64> = BTreeMap::new();
    let mut tried: Vec<&Choice> = vec![];
    while tried.len() < TRIES {
        // Others are thought to take as much more as the best of those.
        let least = more.values().copied().fold(f64::INFINITY, f64::min);
        let least = if least.is_finite() { least } else { 1.0 };
        let bytes = |c: &Choice| c.bytes as f64 * more.get(&(c.from, c.to)).copied().unwrap_or(least);
        let left = || all.iter().filter(|c| !tried.contains(c));
        let smallest = || left().min_by(|a, b| bytes(a).total_cmp(&bytes(b)));
        let Some(choice) = left().find(|c| bytes(c) <= room as f64).or_else(smallest) else { break };
        tried.push(choice);
        let mut options = PipelineOptions {
            start_from: Some(pipeline::AFTER_PATCHES.to_owned()),
            stop_after: None,
            past: before.report.clone(),
            patches: Some(choice.clone()),
            ..options()
        };
        let (module, report, _) =
            pipeline::rewrite(before.module.clone(), &mut options, before.target.as_ref())
                .map_err(|d| vec![d])?;
        let made = make(&module, &report)?;
        let ram = budget::ram(&made.0);
        let ratio = more.entry((choice.from, choice.to)).or_default();
        *ratio = ratio.max(ram as f64 / choice.bytes.max(1) as f64);
        if best.as_ref().is_none_or(|(least, _)| ram < *least) {
            best = Some((ram, made));
        }
        if ram <= room {
            break;
        }
    }
    Ok(best.map(|(ram, mut made)| {
        let told = match &mut made.1.patches {
            Some(stat) => {
                stat.ram_bytes = [now, ram];
                sentence(stat)
            }
            None => String::new(),
        };
        Split { made, told }
    }))
}

/// What was split and what it costs.
fn sentence(s: &PatchStat) -> String {
    let [first, last] = &s.between;
    let [whole, parts] = s.ram_bytes;
    format!(
        "{} nodes from `{first}` to `{last}` are computed in {} parts: {} of RAM instead of {}, {:.1} % more work",
        s.nodes,
        s.parts,
        size(parts),
        size(whole),
        100.0 * s.again
    )
}
