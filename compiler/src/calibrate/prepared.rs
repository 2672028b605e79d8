//! A language model in pieces that can run on the windows of a text.

use super::Calibration;
use super::runner::Runner;
use crate::frontend::llm;
use crate::frontend::onnx::ImportOptions;
use crate::system;
use sinter_ir::{Diag, Fault, Module, Result};
use sinter_llm::info::TOKENIZER_FILE;
use sinter_llm::tokenizer::Tokenizer;
use sinter_passes::compress::segments::{Segment, segments};
use sinter_passes::prune::{Pruned, apply};
use sinter_passes::report::PassReport;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A text with fewer different tokens than this says the same over and over.
const DIFFERENT: usize = 8;

/// A model in pieces, and what runs them.
pub(super) struct Prepared {
    pub module: Module,
    pub pieces: Vec<Segment>,
    pub runner: Runner,
    pub windows: usize,
    /// Tokens of a window.
    pub window: usize,
    /// The model's files.
    pub files: Vec<PathBuf>,
}

impl Prepared {
    /// Reads the model anew, with dims for windows, and does to it what was done to it before.
    pub fn new(
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
        let checkpoint = llm::open(model).map_err(one)?;
        // A window is no longer than what the model was made for.
        let known = llm::build(&checkpoint, &import)?.1.info.context;
        let window = if known > 1 { how.window.min(known) } else { how.window };
        let how = &Calibration { window, ..how.clone() };
        let dims = [("tokens", how.window), ("capacity", how.window)];
        let dims = dims.into_iter().map(|(n, v)| (n.to_owned(), (1, v as i64))).collect();
        let (mut module, language) = llm::build(&checkpoint, &ImportOptions { dims, ..import })?;
        let tokenizer = language.assets.get(TOKENIZER_FILE);
        let tokenizer =
            tokenizer.ok_or_else(|| one(Diag::input("--calibrate: the model has no tokenizer")))?;
        let tokens = tokens(tokenizer, how).map_err(one)?;
        let windows = spread(&tokens, how).map_err(one)?;
        for p in pruned {
            apply(&mut module, p, &mut PassReport::default()).map_err(one)?;
        }
        let pieces = segments(&module).map_err(one)?;
        let runner = Runner::new(&windows, how.threads).map_err(one)?;
        let windows = windows.len();
        Ok(Self { module, pieces, runner, windows, window, files: checkpoint.files })
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
    let all: Vec<&[u32]> =
        (0..n).filter_map(|i| tokens.chunks_exact(how.window).nth(i * there / n)).collect();
    let different = all.iter().copied().flatten().collect::<BTreeSet<_>>().len();
    if different < DIFFERENT.min(how.window) {
        let what = format!(
            "--calibrate {}: {} tokens, of which {different} are different: that shows nothing of what the model does",
            how.text.display(),
            n * how.window
        );
        return Err(Diag::input(what).help("give a text like those that the model is to read"));
    }
    Ok(all)
}
