//! llama.cpp, through its own `llama-bench`: a process per measurement, which warms up by itself.

use super::{Contender, Phase};
use crate::system;
use serde_json::Value;
use sinter_ir::{Diag, Result};
use std::path::{Path, PathBuf};

/// The program and the file that it runs.
pub struct Llama {
    program: String,
    model: PathBuf,
    threads: usize,
    depth: usize,
}

impl Llama {
    /// With a GGUF file. Nothing is started yet.
    /// Tokens are generated behind `depth` others.
    pub fn new(program: &str, model: &Path, threads: usize, depth: usize) -> Self {
        Self { program: program.to_owned(), model: model.to_owned(), threads, depth }
    }
    fn ask(&self, read: usize, generate: usize) -> Result<Value> {
        let depth = if generate > 0 { self.depth } else { 0 };
        let numbers = [read, generate, self.threads, depth].map(|n| n.to_string());
        let model = self.model.to_string_lossy();
        let [read, generate, threads, depth] = &numbers;
        let mut arguments = vec![
            "-m", &model, "-p", read, "-n", generate, "-t", threads, "-r", "1", "-o", "json", "-ngl", "0",
        ];
        if depth != "0" {
            arguments.extend(["-d", depth]);
        }
        let out = system::output_of(&self.program, &arguments)?;
        let bad = || Diag::input(format!("{} gave no measurement", self.program));
        let all: Value = serde_json::from_slice(&out).map_err(|_| bad())?;
        all.get(0).cloned().ok_or_else(bad)
    }
    /// Its version and the bytes of the model.
    pub fn describe(&self) -> Result<(String, Option<u64>)> {
        let v = self.ask(1, 0)?;
        let version = v["build_commit"].as_str().unwrap_or_default().to_owned();
        Ok((version, v["model_size"].as_u64()))
    }
}

impl Contender for Llama {
    fn time(&mut self, phase: Phase) -> Result<f64> {
        let v = match phase {
            Phase::Read(n) => self.ask(n, 0)?,
            Phase::Generate(n) => self.ask(0, n)?,
        };
        let ns = v["avg_ns"].as_f64().filter(|ns| *ns > 0.0);
        ns.map(|ns| ns * 1e-9).ok_or_else(|| Diag::input(format!("{}: no time in {v}", self.program)))
    }
}
