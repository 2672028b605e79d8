//! Options for recipes that want to see activations.

use crate::calibrate::Calibration;
use crate::manifest::sha256_of_file;
use crate::system;
use clap::Args;
use sinter_ir::Result;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Tokens of a window, unless the model was made for fewer.
const WINDOW: usize = 512;

/// What to calibrate with.
#[derive(Debug, Clone, Default, Args)]
pub struct CalibrateArgs {
    /// Of a language model: a text to run it on, for gptq, awq and pruning. Windows of 512 tokens, spread over the text, are read
    /// on this machine.
    #[arg(long, value_name = "FILE")]
    pub calibrate: Option<PathBuf>,
    /// Windows of text to calibrate with.
    #[arg(long, value_name = "N", default_value_t = 32, requires = "calibrate")]
    pub calibrate_windows: usize,
    /// Keep what calibration found in the model as it is, or take it from there if the file exists: other recipes need
    /// no second run of the model then. Without, gptq sees what codes of the layers before make of the text.
    #[arg(long, value_name = "FILE", requires = "calibrate")]
    pub stats: Option<PathBuf>,
}

impl CalibrateArgs {
    /// As the compiler wants it.
    pub fn calibration(&self) -> Option<Calibration> {
        let (window, windows, stats) = (WINDOW, self.calibrate_windows, self.stats.clone());
        let threads = system::threads();
        self.calibrate.clone().map(|text| Calibration { text, window, windows, threads, stats })
    }
    /// Adds what decides on weights to a manifest's flags.
    pub fn note(&self, flags: &mut BTreeMap<String, String>) -> Result<()> {
        let Some(text) = &self.calibrate else { return Ok(()) };
        let (sum, windows) = (sha256_of_file(text)?, self.calibrate_windows);
        flags.insert("calibrate".to_owned(), format!("{windows} windows of {WINDOW} of {sum}"));
        if self.stats.is_some() {
            flags.insert("calibrate-statistics".to_owned(), "of the float model".to_owned());
        }
        Ok(())
    }
}
