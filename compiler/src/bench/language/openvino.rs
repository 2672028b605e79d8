//! OpenVINO GenAI, through its Python package: a process that loads the file once.

use super::own::tokens;
use super::{Contender, Phase};
use crate::bench::peer::{Job, Peer};
use sinter_ir::Result;
use std::path::Path;

/// Its name, in `--against` and in the script.
pub const NAME: &str = "openvino-genai";

/// A pipeline that has generated a token.
pub struct Openvino {
    peer: Peer,
    vocabulary: usize,
    depth: usize,
}

impl Openvino {
    /// Starts the interpreter and loads a GGUF file. Tokens below `vocabulary` are read; others are generated behind
    /// `depth` of them, or behind one, without which there is nothing to begin with.
    pub fn start(
        python: &str,
        model: &Path,
        threads: usize,
        (vocabulary, depth): (usize, usize),
    ) -> Result<Self> {
        let job = Job { python, peer: NAME, model, inputs: &[], threads, precision: "f32" };
        Ok(Self { peer: Peer::start(&job)?, vocabulary, depth: depth.max(1) })
    }
    /// Its version.
    pub fn version(&self) -> &str {
        self.peer.version()
    }
}

impl Contender for Openvino {
    fn time(&mut self, phase: Phase) -> Result<f64> {
        let (before, generate) = match phase {
            Phase::Read(n) => (n, 0),
            Phase::Generate(n) => (self.depth, n),
        };
        self.peer.time(&tokens(before, self.vocabulary), generate)
    }
}
