//! Options for recipes that want to see activations.

use crate::calibrate::{Budget, Calibration};
use crate::data;
use crate::data::picture::Normalise;
use crate::frontend::llm;
use crate::manifest::sha256_of_file;
use crate::quantise::{Job, samples::Data};
use crate::system;
use clap::Args;
use sinter_ir::{Diag, Result};
use sinter_passes::compress::Recipe;
use sinter_passes::quantise::StaticRecipe;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Tokens of a window, unless the model was made for fewer.
const WINDOW: usize = 512;

/// What to calibrate with.
#[derive(Debug, Clone, Default, Args)]
pub struct CalibrateArgs {
    /// Of a language model: a text to run it on, for gptq, awq, smooth, spin and pruning. Windows of 512 tokens, spread
    /// over the text, are read on this machine. Of others: samples of the inputs, for int8: .png, .jpg, .npy (one sample, or many along a first
    /// axis), .npz (an array per input), .pb, .wav, folders of these, or folders with a file per input; as INPUT=PATH
    /// where inputs have files of their own.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub calibrate: Vec<String>,
    /// Windows of text to calibrate with.
    #[arg(long, value_name = "N", default_value_t = 32, requires = "calibrate")]
    pub calibrate_windows: usize,
    /// Keep what calibration found in the model as it is, or take it from there if the file exists: other recipes need
    /// no second run of the model then. Without, gptq sees what codes of the layers before make of the text.
    #[arg(long, value_name = "FILE", requires = "calibrate")]
    pub stats: Option<PathBuf>,
    /// Keep every finished piece of the work in a folder: the same command begun again goes on where it was interrupted.
    /// What is kept goes when the command is done. Default of `compile`: the output folder.
    #[arg(long, value_name = "DIR", requires = "calibrate")]
    pub work: Option<PathBuf>,
    /// For int8: cosine between outputs and those of the float model on the samples below which the layers that lose most
    /// stay floats; 0: none.
    #[arg(long, value_name = "COSINE", default_value_t = 0.99)]
    pub min_cosine: f64,
    /// Of pictures: mean per channel, in pixel values: one number or three.
    #[arg(long, value_delimiter = ',', num_args = 1..)]
    pub mean: Vec<f32>,
    /// Of pictures: deviation per channel, in pixel values: one number or three.
    #[arg(long, value_delimiter = ',', num_args = 1..)]
    pub std: Vec<f32>,
    /// Shape of an input with open dims, for pictures.
    #[arg(long = "shape", value_name = "INPUT=1x3x640x640")]
    pub shapes: Vec<String>,
    /// With `auto` in the recipe: bytes that the weights of the bundle may take, or with K or M; default: as many as
    /// the recipe with w4 takes. Embeddings and the product that gives logits count, but keep their bits.
    #[arg(long, value_name = "SIZE", value_parser = super::bytes, requires = "calibrate")]
    pub max_size: Option<u64>,
    /// With `auto` in the recipe: divergence (KL) from the float model that may be lost, as measured on the text with
    /// weights that err as much as by their method; the fewest bytes that do are taken, or with --max-size it is seen
    /// whether that fits.
    #[arg(long, value_name = "KL", requires = "calibrate")]
    pub max_kl: Option<f64>,
    /// The same for perplexity on the text: by how many percent it may grow.
    #[arg(long, value_name = "PERCENT", requires = "calibrate")]
    pub max_ppl_increase: Option<f64>,
}

/// What `int8` and its variants say; of a model that is no language model, `auto` is `int8`.
pub fn statics(recipe: &str, model: &str) -> Result<Option<StaticRecipe>> {
    let network = !llm::is_model(Path::new(model));
    StaticRecipe::parse(if recipe == "auto" && network { "int8" } else { recipe })
}

impl CalibrateArgs {
    /// As the compiler wants it.
    pub fn calibration(&self) -> Option<Calibration> {
        let (window, windows, stats) = (WINDOW, self.calibrate_windows, self.stats.clone());
        let (threads, text) = (system::threads(), self.calibrate.first().map(PathBuf::from)?);
        Some(Calibration {
            text,
            window,
            windows,
            threads,
            stats,
            budget: self.budget(),
            work: self.work.clone(),
        })
    }
    fn budget(&self) -> Budget {
        let perplexity = self.max_ppl_increase.map(|percent| percent / 100.0);
        Budget { size: self.max_size, ram: None, kl: self.max_kl, perplexity }
    }
    /// Whether a recipe keeps to the budgets.
    pub fn check(&self, recipe: Option<&Recipe>) -> Result<()> {
        let budget = self.budget();
        if budget != Budget::default() && recipe.is_none_or(|r| r.mixed.is_none()) {
            let d =
                Diag::input("--max-size, --max-kl and --max-ppl-increase are for recipes that choose bits");
            return Err(d.help("of a language model: --quantize auto"));
        }
        let losses = [("--max-kl", budget.kl), ("--max-ppl-increase", self.max_ppl_increase)];
        if let Some((word, is)) =
            losses.into_iter().find_map(|(w, v)| Some((w, v.filter(|v| v.is_nan() || *v <= 0.0)?)))
        {
            return Err(Diag::input(format!("{word} {is}: a number above 0 is needed")));
        }
        Ok(())
    }
    /// What static quantisation wants.
    pub fn job(&self, recipe: StaticRecipe) -> Result<Job> {
        let data = self.data(&self.calibrate)?;
        Ok(Job { recipe, data, least: self.min_cosine, threads: system::threads() })
    }
    /// Samples in files.
    pub fn data(&self, paths: &[String]) -> Result<Data> {
        let shapes = self.shapes.iter().map(|s| data::shape(s)).collect::<Result<_>>()?;
        Ok(Data { paths: paths.to_vec(), shapes, normalise: Normalise::of(&self.mean, &self.std)? })
    }
    /// Adds what decides on bytes to a manifest's flags; the samples' sum comes from where they are read.
    pub fn note_static(&self, flags: &mut BTreeMap<String, String>) {
        let numbers = |v: &[f32]| v.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let words = [
            ("mean", numbers(&self.mean)),
            ("std", numbers(&self.std)),
            ("shape", self.shapes.join(" ")),
            ("min-cosine", self.min_cosine.to_string()),
        ];
        flags.extend(words.into_iter().filter(|w| !w.1.is_empty()).map(|(k, v)| (k.to_owned(), v)));
    }
    /// Adds what decides on weights to a manifest's flags.
    pub fn note(&self, flags: &mut BTreeMap<String, String>) -> Result<()> {
        let text = match self.calibrate.as_slice() {
            [] => return Ok(()),
            [text] => PathBuf::from(text),
            _ => return Err(Diag::input("--calibrate: a language model reads one text")),
        };
        let (sum, windows) = (sha256_of_file(&text)?, self.calibrate_windows);
        flags.insert("calibrate".to_owned(), format!("{windows} windows of {WINDOW} of {sum}"));
        let numbers = [
            ("max-size", self.max_size.map(|v| v.to_string())),
            ("max-kl", self.max_kl.map(|v| v.to_string())),
            ("max-ppl-increase", self.max_ppl_increase.map(|v| v.to_string())),
        ];
        flags.extend(numbers.into_iter().filter_map(|(k, v)| Some((k.to_owned(), v?))));
        if self.stats.is_some() {
            flags.insert("calibrate-statistics".to_owned(), "of the float model".to_owned());
        }
        Ok(())
    }
}
