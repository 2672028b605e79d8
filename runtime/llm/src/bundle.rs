//! A language model's bundle, behind [`Model`].

#![allow(unsafe_code)]

use crate::error::{Error, Result};
use crate::info::LanguageModel;
use crate::model::Model;
use serde::Deserialize;
use sinter_runtime::{Bundle, States};
use std::ffi::c_void;

/// Schema of manifests that is read.
const SCHEMA: u32 = 1;

/// An input or output in the manifest.
#[derive(Debug, Clone, Deserialize)]
struct Port {
    name: String,
    dtype: String,
    range: Vec<(usize, usize)>,
}

/// A dim in the manifest.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Dim {
    min: i64,
    max: i64,
}

/// What a manifest says that the runtime needs.
#[derive(Debug, Clone, Deserialize)]
pub struct Manifest {
    schema: u32,
    /// C symbol prefix and file stem.
    pub name: String,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    #[serde(default)]
    capacity: Option<Dim>,
    /// What it says of the language model.
    #[serde(default)]
    pub language_model: Option<LanguageModel>,
}

/// Sizes of the model's interface.
#[derive(Debug, Clone, Copy)]
struct Shape {
    vocab: usize,
    /// Most tokens in one run.
    chunk: usize,
    /// Whether a run gives the logits of all its tokens.
    every: bool,
}

impl Manifest {
    /// Reads `manifest.json`.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let bad = |e: String| Error::input(format!("manifest.json: {e}"));
        let m: Self = serde_json::from_slice(bytes).map_err(|e| bad(e.to_string()))?;
        if m.schema != SCHEMA {
            return Err(bad(format!("schema {}, this runtime reads {SCHEMA}", m.schema)));
        }
        // The name becomes a part of file names.
        if m.name.is_empty() || !m.name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(bad(format!("{:?} is no name of a bundle", m.name)));
        }
        Ok(m)
    }
    /// What the bundle says of its language model.
    pub fn language_model(&self) -> Result<&LanguageModel> {
        self.language_model.as_ref().ok_or_else(|| {
            Error::input(format!("the bundle `{}` holds no language model", self.name))
                .help("compile a Hugging Face folder or a GGUF file")
        })
    }
    fn shape(&self) -> Result<Shape> {
        let other = || {
            Error::input(format!(
                "the bundle `{}` has other inputs and outputs than a language model",
                self.name
            ))
        };
        let range = |p: &Port, name: &str, dtype: &str| {
            (p.name == name && p.dtype == dtype).then(|| p.range.clone()).ok_or_else(other)
        };
        let ([tokens, position], [logits]) = (self.inputs.as_slice(), self.outputs.as_slice()) else {
            return Err(other());
        };
        let (tokens, position) = (range(tokens, "tokens", "i32")?, range(position, "position", "i64")?);
        let logits = range(logits, "logits", "f32")?;
        let (&[(1, chunk)], [(1, 1)], &[(1, rows), (vocab, same)]) =
            (tokens.as_slice(), position.as_slice(), logits.as_slice())
        else {
            return Err(other());
        };
        if vocab != same || vocab == 0 || (rows != 1 && rows != chunk) || rows.checked_mul(vocab).is_none() {
            return Err(other());
        }
        Ok(Shape { vocab, chunk, every: rows > 1 })
    }
    /// Room for this many tokens, or as near to it as the bundle allows; by default what the model was trained for, at
    /// most [`USUAL`].
    pub fn capacity(&self, wanted: Option<usize>) -> Result<usize> {
        let context = self.language_model.as_ref().map_or(0, |m| m.context);
        let usual = if context == 0 { USUAL } else { context.min(USUAL) };
        let Some(Dim { min, max }) = self.capacity else { return Ok(wanted.unwrap_or(usual)) };
        if min < 0 || max < min {
            return Err(Error::input(format!("manifest.json: a capacity of {min} to {max}")));
        }
        let n = i64::try_from(wanted.unwrap_or(usual)).unwrap_or(i64::MAX);
        if wanted.is_some() && !(min..=max).contains(&n) {
            return Err(Error::limit(format!(
                "a cache for {n} tokens: the bundle was compiled for {min} to {max}"
            )));
        }
        usize::try_from(n.clamp(min, max)).map_err(|_| Error::limit("the capacity does not fit this machine"))
    }
}

/// Tokens that caches have room for when nothing else is asked for.
pub const USUAL: usize = 4096;

/// A bundle as a model. Runs allocate nothing.
pub struct BundleModel {
    bundle: Bundle,
    states: States,
    shape: Shape,
    rewinds: bool,
    tokens: Vec<i32>,
    position: usize,
    /// Logits of the last run; the last row counts.
    logits: Vec<f32>,
    /// Where the last row begins.
    last: usize,
}

fn failed(e: &sinter_runtime::Error) -> Error {
    Error::model(e.to_string())
}

impl BundleModel {
    /// A loaded bundle with room for `capacity` tokens. The manifest must be the bundle's own.
    pub fn new(manifest: &Manifest, bundle: Bundle, capacity: usize) -> Result<Self> {
        let shape = manifest.shape()?;
        let room = i64::try_from(capacity).unwrap_or(i64::MAX);
        let states = bundle.states(room).map_err(|e| Error::limit(e.to_string()))?;
        let rows = if shape.every { shape.chunk } else { 1 };
        Ok(Self {
            bundle,
            states,
            rewinds: manifest.language_model.as_ref().is_some_and(|m| m.rewinds),
            tokens: Vec::with_capacity(shape.chunk),
            position: 0,
            logits: vec![0.0; rows * shape.vocab],
            last: 0,
            shape,
        })
    }
    /// Bytes of caches and states.
    pub fn memory_bytes(&self) -> usize {
        self.states.bytes().len()
    }
    /// Bytes of the arena.
    pub fn arena_bytes(&self) -> usize {
        self.bundle.arena_bytes()
    }
}

impl Model for BundleModel {
    fn vocab(&self) -> usize {
        self.shape.vocab
    }
    fn capacity(&self) -> usize {
        usize::try_from(self.states.capacity()).unwrap_or(0)
    }
    fn position(&self) -> usize {
        self.position
    }
    fn chunk(&self) -> usize {
        self.shape.chunk
    }
    fn forward(&mut self, tokens: &[u32]) -> Result<()> {
        let n = tokens.len();
        if n == 0 || n > self.shape.chunk || n > self.capacity() - self.position.min(self.capacity()) {
            return Err(Error::limit(format!("{n} tokens at once, 1 to {} can be read", self.shape.chunk)));
        }
        self.tokens.clear();
        for &t in tokens {
            let id = i32::try_from(t).ok().filter(|_| (t as usize) < self.shape.vocab);
            self.tokens.push(
                id.ok_or_else(|| Error::input(format!("token {t}, the model knows {}", self.shape.vocab)))?,
            );
        }
        let position = [self.position as i64];
        let inputs: [*const c_void; 2] = [self.tokens.as_ptr().cast(), position.as_ptr().cast()];
        let outputs: [*mut c_void; 1] = [self.logits.as_mut_ptr().cast()];
        let mut dims = [n as i64, 1, 0, 0];
        // SAFETY: the manifest, checked in `shape`, says that the inputs are i32[n] and i64[1] and that the logits have
        // at most as many rows and columns as there is room for.
        unsafe { self.bundle.call(Some(&mut self.states), &inputs, &outputs, &mut dims) }
            .map_err(|e| failed(&e))?;
        self.position += n;
        self.last = if self.shape.every { (n - 1) * self.shape.vocab } else { 0 };
        Ok(())
    }
    fn logits(&self) -> &[f32] {
        self.logits.get(self.last..self.last + self.shape.vocab).unwrap_or(&[])
    }
    fn forward_each(&mut self, tokens: &[u32], each: &mut dyn FnMut(usize, &[f32])) -> Result<()> {
        let size = if self.shape.every { self.shape.chunk } else { 1 };
        for (from, part) in (0..).step_by(size).zip(tokens.chunks(size)) {
            self.forward(part)?;
            let rows = self.logits.chunks_exact(self.shape.vocab).take(part.len());
            rows.enumerate().for_each(|(i, row)| each(from + i, row));
        }
        Ok(())
    }
    fn rewinds(&self) -> bool {
        self.rewinds
    }
    fn rewind(&mut self, position: usize) -> Result<()> {
        if position > self.position || (position != 0 && position != self.position && !self.rewinds) {
            return Err(Error::input(format!(
                "the model cannot go from {} back to {position}",
                self.position
            )));
        }
        if position == 0 && !self.rewinds {
            // Caches are read up to the position only; other states begin with zeros.
            self.states.bytes_mut().fill(0);
        }
        self.position = position;
        Ok(())
    }
    fn memory(&self) -> &[u8] {
        self.states.bytes()
    }
    fn restore(&mut self, memory: &[u8], logits: &[f32], position: usize) -> Result<()> {
        let fits = memory.len() == self.states.bytes().len() && position <= self.capacity();
        let Some(row) = self.logits.get_mut(..self.shape.vocab).filter(|r| fits && r.len() == logits.len())
        else {
            return Err(Error::input("the saved session belongs to a model of another size"));
        };
        row.copy_from_slice(logits);
        self.last = 0;
        self.states.bytes_mut().copy_from_slice(memory);
        self.position = position;
        Ok(())
    }
    fn identity(&self) -> u64 {
        self.bundle.weights_hash()
    }
}
