//! Another runtime, through its Python package, in a process of its own.

use super::rounds::Runner;
use crate::data::npy;
use crate::system::{self, Scratch, Talk};
use serde_json::{Value, json};
use sinter_ir::{DType, Diag, Result, Tensor};
use std::path::Path;
use std::time::Duration;

/// What the process runs.
const SCRIPT: &str = include_str!("peer.py");

/// Those that the script knows for networks.
pub const PEERS: &[&str] = &["onnxruntime", "openvino", "ncnn", "tract"];

/// Longest wait for a model to load, conversions included.
const LOADING: Duration = Duration::from_secs(600);
/// Longest wait for one round.
const RUNNING: Duration = Duration::from_secs(300);

/// What a peer is to do.
#[derive(Debug, Clone)]
pub struct Job<'a> {
    /// The interpreter.
    pub python: &'a str,
    /// One of [`PEERS`], or of those for language models.
    pub peer: &'a str,
    /// ONNX or GGUF file.
    pub model: &'a Path,
    /// Inputs by name, in order.
    pub inputs: &'a [(String, Tensor)],
    /// Threads.
    pub threads: usize,
    /// `f32` or `bf16`.
    pub precision: &'a str,
}

/// A peer that has loaded the model and has run it once.
pub struct Peer {
    talk: Talk,
    scratch: Scratch,
    version: String,
}

/// A peer's answer, or why it cannot.
fn ask(talk: &mut Talk, line: &Value, patience: Duration) -> Result<Value> {
    let answer = talk.ask(&line.to_string(), patience)?;
    let bad = || Diag::input(format!("an answer that is none: {answer}"));
    let value: Value = serde_json::from_str(&answer).map_err(|_| bad())?;
    match value.get("unavailable") {
        Some(why) => Err(Diag::unsupported(one_line(why.as_str().unwrap_or("no reason given")))),
        None => Ok(value),
    }
}

/// The beginning of a message, without line breaks.
fn one_line(text: &str) -> String {
    const MOST: usize = 200;
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{} ...", text.get(..end).unwrap_or("")),
        None => text,
    }
}

impl Peer {
    /// Starts the process and loads the model.
    pub fn start(job: &Job) -> Result<Self> {
        let scratch = Scratch::new()?;
        let mut files = Vec::new();
        for (i, (name, tensor)) in job.inputs.iter().enumerate() {
            if matches!(tensor.dtype(), DType::Str | DType::BF16) || tensor.dtype().bits() < 8 {
                return Err(Diag::unsupported(format!("input {name} has type {}", tensor.dtype())));
            }
            let file = scratch.path().join(format!("input_{i}.npy"));
            system::write_file(&file, &npy::write(tensor))?;
            files.push((name.clone(), file));
        }
        let mut talk = Talk::start(job.python, &["-c", SCRIPT])?;
        let line = json!({
            "command": "load", "peer": job.peer, "model": system::absolute(job.model)?, "inputs": files,
            "threads": job.threads, "precision": job.precision, "scratch": scratch.path(),
        });
        let answer = ask(&mut talk, &line, LOADING)?;
        let version = answer["version"].as_str().unwrap_or_default().to_owned();
        Ok(Self { talk, scratch, version })
    }
    /// The runtime's version.
    pub fn version(&self) -> &str {
        &self.version
    }
    /// Seconds that a language model takes to read tokens, or to generate so many behind them.
    pub fn time(&mut self, tokens: &[u32], generate: usize) -> Result<f64> {
        let line = json!({ "command": "time", "tokens": tokens, "generate": generate });
        let answer = ask(&mut self.talk, &line, RUNNING)?;
        let ns = answer["ns"].as_f64().filter(|ns| *ns > 0.0);
        ns.map(|ns| ns * 1e-9).ok_or_else(|| Diag::input(format!("no time in {answer}")))
    }
    /// Outputs of the last run.
    pub fn outputs(&mut self) -> Result<Vec<Tensor>> {
        let line = json!({ "command": "outputs", "dir": self.scratch.path() });
        let answer = ask(&mut self.talk, &line, RUNNING)?;
        let files = answer["files"].as_array().cloned().unwrap_or_default();
        files.iter().map(|f| npy::read(&system::read(Path::new(f.as_str().unwrap_or_default()))?)).collect()
    }
}

impl Runner for Peer {
    fn run(&mut self, calls: usize) -> Result<Vec<f64>> {
        let answer = ask(&mut self.talk, &json!({ "command": "run", "calls": calls }), RUNNING)?;
        let times = answer["ns"].as_array().into_iter().flatten().filter_map(Value::as_f64);
        Ok(times.map(|ns| ns * 1e-9).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_become_short() {
        assert_eq!(one_line("a\n  b"), "a b");
        let long = one_line(&"ä".repeat(1000));
        assert!(long.ends_with(" ...") && long.chars().count() == 204);
    }

    #[test]
    fn a_missing_interpreter_is_an_answer() {
        let job = Job {
            python: "/nowhere/python",
            peer: "tract",
            model: Path::new("m.onnx"),
            inputs: &[],
            threads: 1,
            precision: "f32",
        };
        let Err(d) = Peer::start(&job) else { panic!("started") };
        assert!(d.message.contains("cannot start /nowhere/python"), "{d}");
    }
}
