//! Calibration: a language model reads a text on this machine, piece by piece, and its weights are rounded by what they
//! are multiplied with.
//!
//! The model is cut where one value is all that is known of the text ([`segments`]), usually twice per block. Memory
//! holds the activations at one cut and the moments of one piece. GPTQ sees what pieces with rounded weights give, AWQ
//! what the model as it was gives, as their authors do. Statistics that are kept ([`file`]) are always those of the model
//! as it was.

mod answers;
mod beside;
mod cost;
mod file;
mod learn;
mod methods;
pub(crate) mod mix;
mod parallel;
mod prepared;
mod prune;
mod runner;
mod sensitivity;
mod work;

use crate::frontend::onnx::ImportOptions;
use crate::manifest::sha256_of_file;
use crate::system::Clock;
use beside::Beside;
use cost::Cost;
use file::Kept;
pub use learn::learn;
pub use mix::Budget;
use mix::Weigh;
use prepared::Prepared;
use runner::{Instead, Stream};
use sinter_ir::{Diag, Result};
use sinter_passes::compress::{Calibrated, Recipe};
use sinter_passes::prune::shelf::Shelf;
use sinter_passes::prune::{Pruned, Step};
use std::path::{Path, PathBuf};
pub use work::Work;

/// What to calibrate with.
#[derive(Debug, Clone, Default)]
pub struct Calibration {
    /// The text.
    pub text: PathBuf,
    /// Tokens of a window, each read from the beginning.
    pub window: usize,
    /// Windows, spread evenly over the text.
    pub windows: usize,
    /// Threads.
    pub threads: usize,
    /// Where statistics are kept: taken from there, or put there where there are none.
    pub stats: Option<PathBuf>,
    /// What mixed recipes may spend.
    pub budget: Budget,
    /// Where finished pieces are kept, so that interrupted work goes on behind them.
    pub work: Option<PathBuf>,
}

/// Runs a model, to which something may have been done before, on a text and rounds its weights. `weigh`
/// compiles it with codes.
pub fn run(
    model: &Path,
    import: &ImportOptions,
    recipe: &Recipe,
    how: &Calibration,
    pruned: &[Pruned],
    weigh: &Weigh,
    step: &dyn Fn(&str),
) -> Result<Calibrated, Vec<Diag>> {
    let one = |d: Diag| vec![d];
    // Statistics that are kept are those of the model as it was.
    let how = &Calibration { stats: how.stats.clone().filter(|_| pruned.is_empty()), ..how.clone() };
    // Bits are chosen by what becomes of the answers to all tokens.
    let import = &ImportOptions { all_logits: recipe.mixed.is_some(), ..import.clone() };
    let mut model = Prepared::new(model, import, how, pruned)?;
    let words = format!("{recipe:?} {}", how.stats.is_some());
    let work = work(&model, import, &words, how, pruned).map_err(one)?;
    let mut kept = Kept::new(&model, import, how).map_err(one)?;
    let schemes = match (recipe.mixed, work.as_ref().and_then(Work::schemes)) {
        (Some(_), Some(known)) => known,
        (Some(_), None) => {
            let schemes = mix::schemes(&model, recipe, how, weigh, step)?;
            work.iter().try_for_each(|w| w.keep_schemes(&schemes)).map_err(one)?;
            schemes
        }
        (None, _) => model.pieces.iter().map(|p| vec![recipe.weights; p.taps.len()]).collect(),
    };
    // Statistics that are not there yet are those of all pieces.
    let work = work.filter(|_| !matches!(kept, Kept::Missing(_)));
    let Prepared { pieces, runner, windows, window, .. } = &mut model;
    let mut beside = Beside::new(runner).map_err(one)?;
    let (mut done, mut out) = (0, Calibrated::default());
    if let Some((pieces, known, streams)) = work.as_ref().and_then(Work::finished)
        && let Ok([carried, float, other]) = <[Stream; 3]>::try_from(streams)
    {
        (done, out) = (pieces, known);
        runner.resume(carried);
        beside.resume([float, other]);
    }
    let sequential = recipe.weights.method.goes_on() && how.stats.is_none();
    let (mut cost, clock) = (Cost::new(*windows * *window), Clock::start());
    let sparse = pruned.iter().any(|p| !p.weights.is_empty() && p.units.is_empty());
    for (i, (piece, schemes)) in pieces.iter().zip(&schemes).enumerate() {
        let of = format!("calibrating: piece {} of {}", i + 1, pieces.len());
        step(&of);
        let begun = clock.seconds();
        let stats = match &mut kept {
            Kept::There(file) => file.next(piece).map_err(one)?,
            _ if i < done => continue,
            _ => runner.measure(piece, !sequential, &|n| step(&format!("{of}, window {n} of {windows}")))?,
        };
        if let Kept::Missing(file) = &mut kept {
            file.add(&stats).map_err(one)?;
        }
        if i < done {
            continue;
        }
        step(&format!("{of}, rounding"));
        let (measured, warned) = (clock.seconds(), out.warnings.len());
        let instead = methods::quantise(piece, &stats, recipe, (schemes, sparse), how.threads, &mut out);
        let instead: Instead = instead.map_err(one)?;
        let rounded = clock.seconds();
        if sequential {
            step(&format!("{of}, running with codes"));
            runner.pass(piece, &instead)?;
        }
        let apart = beside.piece(piece, &instead)?;
        let names = || piece.taps.iter().flat_map(|t| &t.products).map(|p| &p.name);
        for name in names() {
            if let Some(l) = out.layers.get_mut(name) {
                l.stat.accumulated_db = Some(apart.decibels());
                l.stat.accumulated_cosine = Some(apart.cosine);
            }
        }
        if let Some(work) = &work {
            let layers = names().filter_map(|n| out.layers.get_key_value(n)).collect();
            let warnings = out.warnings.get(warned..).unwrap_or(&[]);
            let [float, other] = beside.streams();
            work.keep(i, &layers, warnings, &[runner.carried(), float, other]).map_err(one)?;
        }
        cost.piece(&piece.taps, measured - begun + clock.seconds() - rounded, rounded - measured);
    }
    if let (Kept::Missing(file), Some(path)) = (kept, &how.stats) {
        file.finish(path).map_err(one)?;
    }
    cost.lines().iter().for_each(|l| step(&format!("cost: {l}")));
    Ok(out)
}

/// Where finished pieces are kept, by all that decides on them.
fn work(
    model: &Prepared,
    import: &ImportOptions,
    what: &str,
    how: &Calibration,
    pruned: &[Pruned],
) -> Result<Option<Work>> {
    let Some(folder) = &how.work else { return Ok(None) };
    let files: Vec<String> = model.files.iter().map(|f| sha256_of_file(f)).collect::<Result<_>>()?;
    let text = sha256_of_file(&how.text)?;
    let gone: Vec<_> = pruned.iter().map(|p| (&p.stats, &p.layers)).collect();
    let words = [
        env!("CARGO_PKG_VERSION").to_owned(),
        format!("{files:?} {text} {} {} {:?}", model.window, model.windows, how.budget),
        format!("{what} {:?} {gone:?}", import.rotations),
        crate::driver::native()?.name.clone(),
    ];
    Ok(Some(Work::new(folder, &words)))
}

/// Runs a model on a text and does a step of pruning to it: every piece sees what pruned ones before it give.
pub fn prune(
    model: &Path,
    import: &ImportOptions,
    what: &Step,
    how: &Calibration,
    before: &[Pruned],
    shelf: &mut Shelf<'_>,
    step: &dyn Fn(&str),
) -> Result<Pruned, Vec<Diag>> {
    let one = |d: Diag| vec![d];
    let mut model = Prepared::new(model, import, how, before)?;
    let work = work(&model, import, &format!("{what}"), how, before).map_err(one)?;
    let Prepared { pieces, runner, windows, module, .. } = &mut model;
    let of = |i: usize| format!("pruning ({what}): piece {} of {}", i + 1, pieces.len());
    if let Step::Layers(count) = what {
        let mut layers = prune::Layers::new(module);
        for (i, piece) in pieces.iter().enumerate() {
            step(&of(i));
            runner.pass(piece, &Instead::new())?;
            layers.piece(piece, pieces.get(i + 1), runner.carried()).map_err(one)?;
        }
        return layers.choose(what, *count).map_err(one);
    }
    let whole = prune::Whole::new(std::mem::take(module), what).map_err(one)?;
    let (mut done, mut out) = (0, Pruned::default());
    if let Some((pieces, known, streams)) = work.as_ref().and_then(|w| w.pruned(shelf)) {
        (done, out) = (pieces, known);
        runner.resume(streams.into_iter().next().unwrap_or_default());
    }
    for (i, piece) in pieces.iter().enumerate().skip(done) {
        let of = of(i);
        step(&of);
        let stats = runner.measure(piece, false, &|n| step(&format!("{of}, window {n} of {windows}")))?;
        step(&format!("{of}, choosing"));
        let mut part = Pruned::default();
        let instead =
            prune::prune(piece, &stats, (what, &whole), how.threads, &mut part, shelf).map_err(one)?;
        step(&format!("{of}, running what is left"));
        runner.pass(piece, &instead)?;
        if let Some(work) = &work {
            work.keep_pruned(i, &part, runner.carried()).map_err(one)?;
        }
        out.add(part);
    }
    Ok(out)
}
