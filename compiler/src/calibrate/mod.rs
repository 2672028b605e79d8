//! Calibration: a language model reads a text on this machine, piece by piece, and its weights are rounded by what they
//! are multiplied with.
//!
//! The model is cut where one value is all that is known of the text ([`segments`]), usually twice per block. Memory
//! holds the activations at one cut and the moments of one piece. GPTQ sees what pieces with rounded weights give, AWQ
//! what the model as it was gives, as their authors do. Statistics that are kept ([`file`]) are always those of the model
//! as it was.

mod file;
mod learn;
mod methods;
pub(crate) mod mix;
mod parallel;
mod prune;
mod runner;
mod sensitivity;

use crate::frontend::onnx::ImportOptions;
use crate::frontend::{self, llm};
use crate::manifest::sha256_of_file;
use crate::system;
use file::{Header, Stored, Writer};
pub use learn::learn;
use mix::Weigh;
use runner::{Instead, Runner};
use sinter_ir::{Diag, Fault, Module, Result};
use sinter_llm::info::TOKENIZER_FILE;
use sinter_llm::tokenizer::Tokenizer;
use sinter_passes::compress::recipe::Method;
use sinter_passes::compress::segments::{Segment, segments};
use sinter_passes::compress::{Calibrated, Recipe, Scheme};
use sinter_passes::prune::shelf::Shelf;
use sinter_passes::prune::{Pruned, Step, apply};
use sinter_passes::report::PassReport;
use std::path::{Path, PathBuf};

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
    /// Of mixed recipes: bytes that the bundle's weights may take.
    pub max_size: Option<u64>,
    /// Of mixed recipes: divergence from the float model that is expected at most.
    pub max_kl: Option<f64>,
}

/// A model in pieces that can run on the windows of a text.
struct Prepared {
    module: Module,
    pieces: Vec<Segment>,
    runner: Runner,
    windows: usize,
    /// Tokens of a window.
    window: usize,
    /// The model's files.
    files: Vec<PathBuf>,
}

impl Prepared {
    /// Reads the model anew, with dims for windows, and does to it what was done to it before.
    fn new(
        model: &Path,
        import: &ImportOptions,
        how: &Calibration,
        pruned: &[Pruned],
    ) -> Result<Self, Vec<Diag>> {
        let one = |d: Diag| vec![d];
        if !llm::is_model(model) {
            let d = Diag::unsupported(format!("--calibrate: {} is no language model", model.display()));
            return Err(one(d.help("recipes without gptq, awq, smooth and spin need no calibration")));
        }
        let import = ImportOptions { stored: None, ..import.clone() };
        // A window is no longer than what the model was made for.
        let known = frontend::import(model, &import)?.language.map_or(0, |l| l.info.context);
        let window = if known > 1 { how.window.min(known) } else { how.window };
        let how = &Calibration { window, ..how.clone() };
        let dims = [("tokens", how.window), ("capacity", how.window)];
        let dims = dims.into_iter().map(|(n, v)| (n.to_owned(), (1, v as i64))).collect();
        let mut imported = frontend::import(model, &ImportOptions { dims, ..import })?;
        let language =
            imported.language.as_ref().ok_or_else(|| one(Diag::bug("a model without language")))?;
        let tokenizer = language.assets.get(TOKENIZER_FILE);
        let tokenizer =
            tokenizer.ok_or_else(|| one(Diag::input("--calibrate: the model has no tokenizer")))?;
        let tokens = tokens(tokenizer, how).map_err(one)?;
        let windows = spread(&tokens, how).map_err(one)?;
        for p in pruned {
            apply(&mut imported.module, p, &mut PassReport::default()).map_err(one)?;
        }
        let pieces = segments(&imported.module).map_err(one)?;
        let runner = Runner::new(&windows, how.threads).map_err(one)?;
        let (module, windows) = (imported.module, windows.len());
        Ok(Self { module, pieces, runner, windows, window, files: imported.files })
    }
    /// The file of statistics, where one is wanted.
    fn kept(&self, how: &Calibration, recipe: &Recipe) -> Result<Kept> {
        match &how.stats {
            Some(path) => Kept::new(path, self, how, format!("{:?}", recipe.basis)),
            None => Ok(Kept::No),
        }
    }
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
    let schemes = match recipe.mixed {
        Some(_) => {
            let import = ImportOptions { all_logits: true, ..import.clone() };
            Some(mix::schemes(&Prepared::new(model, &import, how, pruned)?, recipe, how, weigh, step)?)
        }
        None => None,
    };
    let mut model = Prepared::new(model, import, how, pruned)?;
    let mut kept = model.kept(how, recipe).map_err(one)?;
    let Prepared { pieces, runner, windows, .. } = &mut model;
    let uniform = || pieces.iter().map(|p| vec![recipe.weights; p.taps.len()]).collect();
    let schemes: Vec<Vec<Scheme>> = schemes.unwrap_or_else(uniform);
    let mut out = Calibrated::default();
    let sequential = recipe.weights.method == Method::Gptq && how.stats.is_none();
    let sparse = pruned.iter().any(|p| !p.weights.is_empty() && p.units.is_empty());
    for (i, (piece, schemes)) in pieces.iter().zip(&schemes).enumerate() {
        let of = format!("calibrating: piece {} of {}", i + 1, pieces.len());
        step(&of);
        let stats = match &mut kept {
            Kept::There(file) => file.next(piece).map_err(one)?,
            _ => runner.measure(piece, !sequential, &|n| step(&format!("{of}, window {n} of {windows}")))?,
        };
        if let Kept::Missing(file) = &mut kept {
            file.add(&stats).map_err(one)?;
        }
        step(&format!("{of}, rounding"));
        let instead = methods::quantise(piece, &stats, recipe, (schemes, sparse), how.threads, &mut out);
        let instead: Instead = instead.map_err(one)?;
        if sequential {
            step(&format!("{of}, running with codes"));
            runner.pass(piece, &instead)?;
        }
    }
    if let (Kept::Missing(file), Some(path)) = (kept, &how.stats) {
        file.finish(path).map_err(one)?;
    }
    Ok(out)
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
    let mut out = Pruned::default();
    for (i, piece) in pieces.iter().enumerate() {
        let of = of(i);
        step(&of);
        let stats = runner.measure(piece, false, &|n| step(&format!("{of}, window {n} of {windows}")))?;
        step(&format!("{of}, choosing"));
        let instead =
            prune::prune(piece, &stats, (what, &whole), how.threads, &mut out, shelf).map_err(one)?;
        step(&format!("{of}, running what is left"));
        runner.pass(piece, &instead)?;
    }
    Ok(out)
}

/// A file of statistics.
enum Kept {
    No,
    There(Stored),
    Missing(Writer),
}

impl Kept {
    fn new(path: &Path, m: &Prepared, how: &Calibration, basis: String) -> Result<Self> {
        let name = |f: &PathBuf| f.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let files = m.files.iter().map(|f| Ok((name(f), sha256_of_file(f)?))).collect::<Result<_>>()?;
        let read = (m.window, m.windows);
        let header = Header::new(files, sha256_of_file(&how.text)?, read, basis, &m.pieces);
        match system::exists(path) {
            true => Stored::open(path, &header).map(Self::There),
            false => Writer::create(path, &header).map(Self::Missing),
        }
    }
}

fn tokens(tokenizer: &[u8], how: &Calibration) -> Result<Vec<u32>> {
    let wrong = |e: sinter_llm::Error| Diag { fault: Fault::Input, ..Diag::input(e.message) };
    let text = system::read(&how.text)?;
    let text = std::str::from_utf8(&text)
        .map_err(|e| Diag::input(format!("--calibrate {}: {e}", how.text.display())))?;
    Tokenizer::from_json(tokenizer).and_then(|t| t.encode(text, false)).map_err(wrong)
}

/// Windows spread over a text.
fn spread<'a>(tokens: &'a [u32], how: &Calibration) -> Result<Vec<&'a [u32]>> {
    let there = tokens.len() / how.window.max(1);
    if there == 0 || how.windows == 0 {
        let what = format!("--calibrate: {} tokens, a window has {}", tokens.len(), how.window);
        return Err(Diag::input(what).help("give a longer text"));
    }
    let n = how.windows.min(there);
    Ok((0..n).filter_map(|i| tokens.chunks_exact(how.window).nth(i * there / n)).collect())
}
