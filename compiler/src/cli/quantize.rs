//! `sinter quantize`.

use super::calibrate::CalibrateArgs;
use super::compare::{self, Comparison};
use crate::frontend::llm::cache::KvCache;
use crate::system;
use clap::Args;
use sinter_ir::Diag;
use std::path::PathBuf;

/// Options of `quantize`.
///
/// Every recipe is made, measured on a text like `eval` does, and timed. The output folder gets report.html with the
/// table and pictures: loss by size and by speed, and the errors of layers. `compile --quantize` makes the bundle of the
/// one that is chosen.
#[derive(Debug, Clone, Args)]
pub struct QuantizeArgs {
    /// A checkpoint of a language model. Its weights, as stored, are the float model.
    pub model: String,
    /// Recipes of `compile --quantize`: w4,gptq-w4,awq-w4-a16.
    #[arg(long, value_name = "RECIPE", value_delimiter = ',', required = true)]
    pub compare: Vec<String>,
    /// Recipes of `compile --prune`, each with every recipe of --compare behind; `none` is one too.
    #[arg(long, value_name = "RECIPE", value_delimiter = ',')]
    pub prune: Vec<String>,
    /// The text that is measured on: not that of --calibrate.
    #[arg(long, value_name = "FILE")]
    pub text: PathBuf,
    /// Tokens of a window.
    #[arg(long, value_name = "N", default_value_t = 512)]
    pub window: usize,
    /// Most windows; default: the whole text.
    #[arg(long, value_name = "N")]
    pub windows: Option<usize>,
    /// For gptq, awq, auto, smooth, spin and most of --prune.
    #[command(flatten)]
    pub calibration: CalibrateArgs,
    /// How caches hold keys and values, where a recipe does not say: see `compile --kv-cache`.
    #[arg(long, value_name = "TYPE")]
    pub kv_cache: Option<KvCache>,
    /// Threads.
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
    /// Output folder.
    #[arg(short, long = "output", value_name = "DIR")]
    pub output: PathBuf,
}

/// Runs the command.
pub fn run(a: &QuantizeArgs) -> Result<(), Vec<Diag>> {
    let text = system::read_text(&a.text).map_err(|d| vec![d])?;
    let all = Comparison {
        model: &a.model,
        quantize: &a.compare,
        prune: &a.prune,
        windows: (a.window, a.windows),
        calibration: &a.calibration,
        kv_cache: a.kv_cache,
        threads: a.threads,
        json: false,
        speed: true,
        page: Some(a.output.join("report.html")),
    };
    compare::run(&all, &text)
}
