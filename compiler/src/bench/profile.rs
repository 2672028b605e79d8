//! Where the time goes, kernel by kernel.

use super::peaks::{Level, Peaks};
use super::sites::{Measured, Needs, SiteInfo, Unit};
use crate::session::Ready;
use crate::system::Clock;
use serde::Serialize;
use sinter_ir::Result;
use sinter_runtime::measure::ticks;
use std::collections::BTreeMap;

/// One kernel in one run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KernelTime {
    /// Its name.
    pub kernel: String,
    /// Visits.
    pub calls: u64,
    /// Seconds of all visits: for each place in the program the fastest of all runs.
    pub seconds: f64,
    /// Part of the time of all kernels.
    pub share: f64,
    /// Operations per second.
    pub operations_per_second: f64,
    /// Bytes that must be touched per second.
    pub bytes_per_second: f64,
    /// What the machine's limits allow at best, in seconds.
    pub floor: f64,
    /// The limit that counts most: `FMA`, `bf16`, `dot8`, or a level of memory.
    pub bound: String,
    /// `floor / seconds`.
    pub of_peak: f64,
    /// Core ops.
    pub ops: String,
    /// The user's nodes, first few.
    pub layers: Vec<String>,
}

/// One place in the program, in its order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SiteTime {
    /// Kernel.
    pub kernel: String,
    /// The user's node.
    pub label: String,
    /// Visits of a run.
    pub calls: u64,
    /// Seconds.
    pub seconds: f64,
    /// Operations of all visits.
    pub operations: f64,
    /// Bytes of all visits.
    pub bytes: f64,
    /// Seconds at best.
    pub floor: f64,
    /// See [`KernelTime::bound`].
    pub bound: String,
}

/// A profile.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Profile {
    /// Limits of the machine.
    pub peaks: Peaks,
    /// Seconds of all kernels.
    pub seconds: f64,
    /// Seconds that the machine's limits allow at best.
    pub floor: f64,
    /// Slowest first.
    pub kernels: Vec<KernelTime>,
    /// In the order of the program; those that were not visited left out.
    pub sites: Vec<SiteTime>,
}

/// Layers listed per kernel.
const LAYERS: usize = 4;
/// A profile takes about this long.
const SECONDS: f64 = 1.0;
/// Least and most runs.
const RUNS: (usize, usize) = (5, 500);

/// Runs code for measuring for about so many seconds: the fewest ticks of every site with its visits in a run, and the
/// seconds of a tick.
pub fn fastest(ready: &mut Ready, sites: usize, seconds: f64) -> Result<(Vec<Option<[u64; 2]>>, f64)> {
    let empty = (0..1000).map(|_| (ticks() + 1).abs_diff(ticks())).min().unwrap_or(0);
    ready.run()?;
    ready.measured();
    let mut best: Vec<Option<[u64; 2]>> = vec![None; sites];
    let (clock, begin) = (Clock::start(), ticks());
    let mut runs = 0;
    while runs < RUNS.0 || runs < RUNS.1 && clock.seconds() < seconds {
        ready.run()?;
        for (best, [spent, visits]) in best.iter_mut().zip(ready.measured()) {
            let spent = spent.saturating_sub(empty * visits);
            if visits > 0 && best.is_none_or(|b| spent < b[0]) {
                *best = Some([spent, visits]);
            }
        }
        runs += 1;
    }
    Ok((best, clock.seconds() / (ticks() - begin).max(1) as f64))
}

/// Runs code for measuring and says what every site takes at best. `cold`: weights come
/// from the level of memory that holds all of them, whatever a single kernel reads.
pub fn collect(ready: &mut Ready, m: &Measured, peaks: Peaks, cold: bool) -> Result<Profile> {
    let (best, per_tick) = fastest(ready, m.sites.len(), SECONDS)?;
    let values = ready.symbols(m.symbols);
    let value = |s: sinter_ir::Sym| values.get(s.0 as usize).copied();
    let visited = || m.sites.iter().zip(&best).filter_map(|(info, best)| Some((info, (*best)?)));
    let all = visited().map(|(info, _)| info.needs(&value).weights).sum();
    let cold = if cold { peaks.level(all) } else { None };
    let site = |(info, [spent, visits]): (&SiteInfo, [u64; 2])| {
        SiteTime::new(info, info.needs(&value), spent as f64 * per_tick, visits, (&peaks, cold))
    };
    let sites: Vec<SiteTime> = visited().map(site).collect();
    Ok(Profile::of(sites, &m.sites, peaks))
}

impl SiteTime {
    /// `cold`: where weights come from, if they are read from there whatever their size.
    fn new(
        info: &SiteInfo,
        needs: Needs,
        seconds: f64,
        calls: u64,
        (peaks, cold): (&Peaks, Option<&Level>),
    ) -> Self {
        let (name, rate) = match info.unit {
            Unit::Fma => ("FMA", peaks.fma),
            Unit::Bf16 => ("bf16", peaks.bf16),
            Unit::Dot8 => ("dot8", peaks.dot8),
        };
        let (level, far) = (peaks.level(needs.bytes), cold.filter(|_| needs.weights > 0.0));
        let limits = [
            rate.map(|r| (name, needs.operations / r)),
            level.map(|l| (l.name, needs.bytes / l.rate)),
            far.map(|l| (l.name, needs.weights / l.rate)),
        ];
        let (bound, floor) =
            limits.into_iter().flatten().fold(("", 0.0), |a, b| if b.1 > a.1 { b } else { a });
        let times = calls as f64;
        Self {
            kernel: info.kernel.clone(),
            label: info.label.clone(),
            calls,
            seconds,
            operations: needs.operations * times,
            bytes: needs.bytes * times,
            floor: floor * times,
            bound: bound.to_owned(),
        }
    }
}

impl Profile {
    fn of(sites: Vec<SiteTime>, infos: &[SiteInfo], peaks: Peaks) -> Self {
        let seconds: f64 = sites.iter().map(|s| s.seconds).sum();
        let mut groups: BTreeMap<&str, Vec<&SiteTime>> = BTreeMap::new();
        for s in &sites {
            groups.entry(&s.kernel).or_default().push(s);
        }
        let total = |group: &[&SiteTime], f: fn(&SiteTime) -> f64| group.iter().map(|s| f(s)).sum::<f64>();
        let ops = |kernel: &str| infos.iter().find(|i| i.kernel == kernel).map(|i| i.ops.clone());
        let row = |(kernel, group): (&str, Vec<&SiteTime>)| {
            let time = total(&group, |s| s.seconds).max(1e-12);
            let floor = total(&group, |s| s.floor);
            let longest = group.iter().copied().max_by(|a, b| a.floor.total_cmp(&b.floor));
            KernelTime {
                kernel: kernel.to_owned(),
                calls: group.iter().map(|s| s.calls).sum(),
                seconds: time,
                share: time / seconds.max(1e-12),
                operations_per_second: total(&group, |s| s.operations) / time,
                bytes_per_second: total(&group, |s| s.bytes) / time,
                floor,
                bound: longest.map(|s| s.bound.clone()).unwrap_or_default(),
                of_peak: floor / time,
                ops: ops(kernel).unwrap_or_default(),
                layers: group.iter().take(LAYERS).map(|s| s.label.clone()).collect(),
            }
        };
        let mut kernels: Vec<KernelTime> = groups.into_iter().map(row).collect();
        kernels.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        let floor = sites.iter().map(|s| s.floor).sum();
        Self { peaks, seconds, floor, kernels, sites }
    }
}
