//! Choices measured on this machine in place of the cost model's.
//!
//! The program is made once for every place in the cost model's order: in the first everything has its best candidate,
//! in the next its second best, and so on. Each is run with a stopwatch round every kernel, and for every question the
//! answer with the least time wins.

use crate::bench::{inputs, profile};
use crate::manifest::Manifest;
use crate::session::Session;
use crate::system::{self, Clock};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sinter_backends as backends;
use sinter_ir::program::Program;
use sinter_ir::target::TargetDesc;
use sinter_ir::{Diag, Result};
use sinter_passes::lower::choices::{Answer, Choices};
use sinter_passes::report::PassReport;
use sinter_runtime::{Aligned, Image};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Answers by question.
pub type Answers = BTreeMap<String, Answer>;

/// How to measure.
#[derive(Debug, Clone)]
pub struct Tuning {
    /// No new candidates are begun after so many seconds.
    pub seconds: f64,
    /// Folder with inputs, see `bench`; random data otherwise.
    pub inputs: Option<PathBuf>,
}

/// The file that tells choices: `tuned.json` of a bundle, or its manifest.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Tuned {
    /// Answers by target.
    #[serde(default)]
    pub tuned: BTreeMap<String, Answers>,
}

impl Tuned {
    /// Reads the choices of a `tuned.json` or a manifest.
    pub fn read(path: &Path) -> Result<Self> {
        let bad = |why: String| Diag::input(format!("{}: {why}", path.display()));
        let read: Self = serde_json::from_slice(&system::read(path)?).map_err(|e| bad(e.to_string()))?;
        match read.tuned.is_empty() {
            true => Err(bad("holds no choices".into())
                .help("`compile --tune` writes them to tuned.json and to the manifest")),
            false => Ok(read),
        }
    }
    /// As a file.
    pub fn file(&self) -> Result<Bytes> {
        let text = serde_json::to_string_pretty(self).map_err(|e| Diag::bug(format!("writing JSON: {e}")))?;
        Ok(Bytes::from(text + "\n"))
    }
}

/// Makes the program for choices.
pub type Make<'a> = dyn FnMut(&Choices) -> Result<(Program, PassReport), Vec<Diag>> + 'a;

/// Most candidates of a question that are tried.
const CANDIDATES: usize = 8;
/// A candidate is measured for about this long.
const EACH: f64 = 0.5;
/// What a candidate must take of the first one's time at most to be preferred: less is chance.
const CLEARLY: f64 = 0.98;

/// Measures candidates; `make` gives the program for choices. Answers that agree with the cost model are told too: they
/// are what was measured to be best.
pub fn tune(
    target: &TargetDesc,
    how: &Tuning,
    make: &mut Make,
    step: &dyn Fn(&str),
) -> Result<Answers, Vec<Diag>> {
    if let Some(lacks) = target.features.iter().find(|f| !system::host_has(f)) {
        return Err(vec![
            Diag::unsupported(format!("--tune for {}: this machine lacks {lacks}", target.name))
                .help("tune on a machine of this kind, and take its choices with --tuned"),
        ]);
    }
    let clock = Clock::start();
    let mut times: BTreeMap<String, Vec<(Answer, u64)>> = BTreeMap::new();
    let mut before = Answers::new();
    for rank in 0..CANDIDATES {
        if rank > 0 && clock.seconds() >= how.seconds {
            break;
        }
        let choices = Choices::of_rank(rank);
        let (program, report) = make(&choices)?;
        let asked = choices.asked();
        if asked == before {
            break;
        }
        step(&format!("measuring candidate {} of {CANDIDATES} for {} choices", rank + 1, asked.len()));
        let spent = measure(&program, target, &report, how).map_err(|d| vec![d])?;
        for (question, answer) in &asked {
            // Code that the inputs did not reach tells nothing.
            if let Some(ticks) = spent.get(question) {
                times.entry(question.clone()).or_default().push((*answer, *ticks));
            }
        }
        before = asked;
    }
    Ok(times.into_iter().filter_map(|(q, all)| Some((q, best(&all)?))).collect())
}

/// The fastest answer, the first one unless another is clearly faster.
fn best(all: &[(Answer, u64)]) -> Option<Answer> {
    let first = all.first()?;
    let fastest = all.iter().min_by_key(|(_, ticks)| *ticks)?;
    Some(if (fastest.1 as f64) < first.1 as f64 * CLEARLY { fastest.0 } else { first.0 })
}

/// Ticks of the kernels behind every question.
fn measure(
    program: &Program,
    target: &TargetDesc,
    report: &PassReport,
    how: &Tuning,
) -> Result<BTreeMap<String, u64>> {
    let emitted = backends::emit_measured(program, target)?;
    let manifest = Manifest::new(program, target, 0);
    let specs: Vec<_> = manifest.inputs.iter().map(|p| p.spec()).collect();
    let capacity = manifest.capacity.as_ref().map(|c| c.max.min(c.min.max(CAPACITY)));
    let stateful = !manifest.states.is_empty();
    let inputs = inputs::find(&specs, how.inputs.as_deref())?;
    let inputs: Vec<_> = inputs.into_iter().map(|i| i.1).collect();
    let weights = Aligned::copy_of(&emitted.weights).map_err(|e| Diag::limit(e.to_string()))?;
    let mut session = Session::new(manifest, &emitted.archive, Image::Heap(weights), 1)?;
    let sites = backends::sites(program);
    session.measure(sites.len())?;
    let mut states = stateful.then(|| session.states(capacity.unwrap_or(0))).transpose()?;
    let run = session.with(states.as_mut(), &inputs, |ready| profile::fastest(ready, sites.len(), EACH));
    let ((spent, _), _) =
        run.map_err(|d| d.help("give inputs that the model takes with --tune-inputs DIR"))?;
    let mut kernels = report.kernels.iter();
    let mut out = BTreeMap::new();
    for (site, spent) in sites.iter().zip(spent) {
        if site.kernel.is_none() {
            continue;
        }
        let (Some(stat), Some([ticks, _])) = (kernels.next(), spent) else { continue };
        for question in &stat.choices {
            *out.entry(question.clone()).or_default() += ticks;
        }
    }
    Ok(out)
}

/// Positions that states have room for while tuning, where the model allows it.
const CAPACITY: i64 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_candidate_stays_unless_another_is_clearly_faster() {
        assert_eq!(best(&[]), None);
        assert_eq!(best(&[([4, 3], 100), ([2, 2], 99), ([1, 1], 300)]), Some([4, 3]));
        assert_eq!(best(&[([4, 3], 100), ([2, 2], 90), ([1, 1], 80)]), Some([1, 1]));
    }
}
