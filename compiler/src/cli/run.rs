//! `sinter run`.

use super::compile::import_options;
use super::language::{self, LanguageArgs};
use super::{ModelArgs, inspect};
use crate::data::{self, picture::Normalise};
use crate::driver::{self, Request};
use crate::manifest::Manifest;
use crate::progress::Progress;
use crate::session::Session;
use crate::system::{self, Clock};
use clap::Args;
use sinter_ir::{DType, Diag, Result, Tensor};
use sinter_runtime::{Aligned, Image};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Options of `run`.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Bundle folder, or a model file that is compiled on the fly.
    #[arg(value_parser = super::given)]
    pub bundle: String,
    /// Inputs in order, or by name as INPUT=FILE: .npy, .pb, .json, .png, .jpg, .wav, anything else raw.
    pub inputs: Vec<String>,
    /// Dims of a model compiled on the fly; default: ranges that hold the inputs.
    #[arg(long = "dim", value_name = "NAME=N|MIN..MAX")]
    pub dims: Vec<String>,
    /// Fill inputs that are not given with random numbers from this seed.
    #[arg(long, value_name = "SEED")]
    pub random: Option<u64>,
    /// Shape of an input with open dims, for random or image data.
    #[arg(long = "shape", value_name = "INPUT=1x3x640x640")]
    pub shapes: Vec<String>,
    /// Image mean per channel, in pixel values: one number or three.
    #[arg(long, value_delimiter = ',', num_args = 1..)]
    pub mean: Vec<f32>,
    /// Image deviation per channel, in pixel values: one number or three.
    #[arg(long, value_delimiter = ',', num_args = 1..)]
    pub std: Vec<f32>,
    /// Save outputs as .npy files to a folder.
    #[arg(short, long = "output", value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Names of the entries of the last axis, one a line: prints the best ones.
    #[arg(long)]
    pub labels: Option<PathBuf>,
    /// How many labels to print.
    #[arg(long, default_value_t = 5)]
    pub top: usize,
    /// Threads.
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
    /// Run the bundle in the process that this command starts: `cargo build -p sinter-runtime --example serve` for the
    /// device, then "ssh board ./serve" or "qemu-aarch64 ./serve".
    #[arg(long, value_name = "COMMAND")]
    pub through: Option<String>,
    /// Print outputs whole, as JSON.
    #[arg(long)]
    pub json: bool,
    /// How to talk.
    #[command(flatten)]
    pub language: LanguageArgs,
}

/// Elements printed per output.
const SHOWN: usize = 8;

/// Whether a bundle has code for this machine.
pub fn runs_here(manifest: &Manifest) -> Result<()> {
    // Code for Windows is called in another way than everywhere else.
    let called_alike = manifest.triple.contains("-windows") == cfg!(windows);
    if manifest.triple.starts_with(std::env::consts::ARCH) && called_alike {
        return Ok(());
    }
    if !manifest.triple.starts_with("wasm32-") {
        let help = "`--through COMMAND` runs it elsewhere; or compile the model for this machine";
        return Err(Diag::input(format!("the bundle is for {}", manifest.target)).help(help));
    }
    let help = format!("load {}.js there, or compile the model for this machine", manifest.name);
    Err(Diag::input(format!("a bundle for {} runs in browsers and Node.js only", manifest.target)).help(help))
}

/// Opens a bundle folder or compiles a model for this machine.
pub fn open(path: &str, dims: &[String], threads: usize) -> Result<Session, Vec<Diag>> {
    let one = |d: Diag| vec![d];
    let dir = Path::new(path);
    if system::is_dir(dir) {
        let manifest = inspect::manifest(dir).map_err(one)?;
        runs_here(&manifest).map_err(one)?;
        let archive = system::read(&dir.join(format!("lib{}.a", manifest.name))).map_err(one)?;
        let file = dir.join(format!("{}.weights", manifest.name));
        let image =
            Image::map(&file).map_err(|e| one(Diag::input(format!("cannot map {}: {e}", file.display()))))?;
        return Session::new(manifest, &archive, image, threads).map_err(one);
    }
    let model = ModelArgs { model: path.to_owned(), dims: dims.to_vec() };
    let import = import_options(&model, None, &[]).map_err(one)?;
    let progress = Progress::start();
    let request =
        Request { model: PathBuf::from(path), import, targets: vec!["native".into()], ..Request::default() };
    let out = driver::compile(&request, &|w| progress.step(w))?;
    drop(progress);
    out.warnings.iter().for_each(|w| eprintln!("warning: {w}"));
    session(&out, threads).map_err(one)
}

/// Opens a bundle folder in the process that a command starts.
fn through(dir: &Path, command: &str, threads: usize) -> Result<Session> {
    let mut words = command.split_whitespace();
    let program = words.next().ok_or_else(|| Diag::input("--through needs a command"))?;
    let manifest = inspect::manifest(dir)?;
    let archive = system::read(&dir.join(format!("lib{}.a", manifest.name)))?;
    let weights = system::read(&dir.join(format!("{}.weights", manifest.name)))?;
    let remote = system::remote(program, words)?;
    Session::through(remote, manifest, &archive, &weights, threads)
}

/// A session of the first bundle of a compilation, without files.
pub fn session(out: &driver::Output, threads: usize) -> Result<Session> {
    let b = out.bundles.first().ok_or_else(|| Diag::bug("no bundle"))?;
    session_of(b, file(b, &format!("lib{}.a", b.manifest.name))?, threads)
}

fn file<'a>(b: &'a driver::Bundle, name: &str) -> Result<&'a [u8]> {
    b.files.get(name).map(|f| &f[..]).ok_or_else(|| Diag::bug(format!("no file {name}")))
}

/// A session of a bundle with other code.
pub fn session_of(b: &driver::Bundle, archive: &[u8], threads: usize) -> Result<Session> {
    let weights = file(b, &format!("{}.weights", b.manifest.name))?;
    let weights = Aligned::copy_of(weights).map_err(|e| Diag::limit(e.to_string()))?;
    Session::new(b.manifest.clone(), archive, Image::Heap(weights), threads)
}

/// Runs the command.
pub fn run(a: &RunArgs) -> Result<(), Vec<Diag>> {
    if a.language.talks() {
        return language::run(a);
    }
    let one = |d: Diag| vec![d];
    let mut session = match &a.through {
        Some(command) => through(Path::new(&a.bundle), command, a.threads).map_err(one)?,
        None => open(&a.bundle, &a.dims, a.threads)?,
    };
    let inputs = inputs(a, &session.manifest).map_err(one)?;
    let outside = outside(&session.manifest, &inputs);
    let on_the_fly = a.through.is_none() && !system::is_dir(Path::new(&a.bundle));
    if on_the_fly && a.dims.is_empty() && !outside.is_empty() {
        // Nobody asked for the default ranges; where the model has no such dims, the run says so.
        session = open(&a.bundle, &outside, a.threads).unwrap_or(session);
    }
    let clock = Clock::start();
    let outputs = session.run(&inputs).map_err(one)?;
    let seconds = clock.seconds();
    let names: Vec<String> = session.manifest.outputs.iter().map(|o| o.name.clone()).collect();
    if let Some(dir) = &a.output {
        for (i, t) in outputs.iter().enumerate() {
            system::write_file(&dir.join(format!("output_{i}.npy")), &data::npy::write(t)).map_err(one)?;
        }
    }
    if a.json {
        let all: BTreeMap<&String, serde_json::Value> = names.iter().zip(outputs.iter().map(json)).collect();
        println!("{}", serde_json::to_string(&all).unwrap_or_default());
        return Ok(());
    }
    for (name, t) in names.iter().zip(&outputs) {
        println!("{name}: {}{:?} {}", t.dtype(), t.shape(), preview(t));
    }
    if let (Some(file), Some(t)) = (&a.labels, outputs.first()) {
        let text = system::read(file).map_err(one)?;
        labels(t, &String::from_utf8_lossy(&text), a.top).map_err(one)?;
    }
    eprintln!("{:.2} ms, {} thread(s)", seconds * 1e3, a.threads.max(1));
    Ok(())
}

/// Dims of inputs that are not in the ranges of open dims, in the form of `--dim`.
fn outside(m: &Manifest, inputs: &[Tensor]) -> Vec<String> {
    let mut dims = Vec::new();
    for (port, t) in m.inputs.iter().zip(inputs).filter(|(p, t)| p.range.len() == t.rank()) {
        for (axis, (n, range)) in t.shape().iter().zip(&port.range).enumerate() {
            if !(range.0..=range.1).contains(n) {
                dims.push(format!("{}.{axis}={n}", port.name));
            }
        }
    }
    dims
}

fn inputs(a: &RunArgs, m: &Manifest) -> Result<Vec<Tensor>> {
    let norm = Normalise::of(&a.mean, &a.std)?;
    let mut files: BTreeMap<usize, &str> = BTreeMap::new();
    let mut next = 0;
    for given in &a.inputs {
        let named =
            given.split_once('=').and_then(|(n, f)| Some((m.inputs.iter().position(|p| p.name == n)?, f)));
        let (i, file) = named.unwrap_or((next, given.as_str()));
        if i >= m.inputs.len() || files.insert(i, file).is_some() {
            return Err(Diag::input(format!(
                "too many inputs at `{given}`: the model has {}",
                m.inputs.len()
            )));
        }
        next = i + 1;
    }
    let known = |s: &String| m.inputs.iter().any(|p| s.split_once('=').is_some_and(|(n, _)| n == p.name));
    if let Some(s) = a.shapes.iter().find(|s| !known(s)) {
        return Err(Diag::input(format!("--shape {s}: the model has no input of this name")));
    }
    let mut out = Vec::new();
    for (i, port) in m.inputs.iter().enumerate() {
        let mut spec = port.spec();
        for s in &a.shapes {
            let (name, dims) = data::shape(s)?;
            if name == port.name {
                if dims.len() != spec.dims.len() {
                    return Err(Diag::input(format!("--shape {s}: expected {} dims", spec.dims.len())));
                }
                spec.dims = dims.into_iter().map(|d| (d, d)).collect();
            }
        }
        out.push(match (files.get(&i), a.random) {
            (Some(file), _) => data::read(file, &system::read(Path::new(file))?, &spec, &norm)?,
            (None, Some(seed)) => data::random(&spec, spec.smallest_shape(), seed)?,
            (None, None) => {
                return Err(Diag::input(format!("input {} is missing", port.show()))
                    .help("give a file, or --random SEED"));
            }
        });
    }
    Ok(out)
}

fn json(t: &Tensor) -> serde_json::Value {
    let data = if t.dtype() == DType::Str {
        serde_json::json!(t.strings())
    } else if t.dtype().is_int() || t.dtype() == DType::Bool {
        serde_json::json!(t.to_i64().unwrap_or_default())
    } else {
        // JSON has no infinities; these are the words that inputs are read from.
        let number = |v: f64| match v {
            _ if v.is_finite() => serde_json::json!(v),
            _ if v.is_nan() => "nan".into(),
            _ => if v > 0.0 { "inf" } else { "-inf" }.into(),
        };
        t.to_f64().unwrap_or_default().into_iter().map(number).collect()
    };
    serde_json::json!({ "dtype": t.dtype(), "shape": t.shape(), "data": data })
}

fn preview(t: &Tensor) -> String {
    let text: Vec<String> = if t.dtype() == DType::Str {
        t.strings().iter().take(SHOWN).map(|s| format!("{s:?}")).collect()
    } else if t.dtype().is_int() || t.dtype() == DType::Bool {
        t.to_i64().unwrap_or_default().iter().take(SHOWN).map(ToString::to_string).collect()
    } else {
        t.to_f32().unwrap_or_default().iter().take(SHOWN).map(|v| format!("{v}")).collect()
    };
    format!("{}{}", text.join(" "), if t.len() > SHOWN { " ..." } else { "" })
}

/// Prints the best entries; scores that are not probabilities already go through a softmax.
fn labels(t: &Tensor, text: &str, top: usize) -> Result<()> {
    let names: Vec<&str> = text.lines().collect();
    let scores = t.to_f64()?;
    let Some(row) = scores.get(..names.len()).filter(|_| scores.len() % names.len().max(1) == 0) else {
        return Err(Diag::input(format!("{} labels for an output of {:?}", names.len(), t.shape())));
    };
    let total: f64 = row.iter().sum();
    let already = row.iter().all(|v| (0.0..=1.0).contains(v)) && (total - 1.0).abs() < 1e-2;
    let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = row.iter().map(|v| (v - max).exp()).sum();
    let mut order: Vec<usize> = (0..row.len()).collect();
    order.sort_by(|&a, &b| row[b].total_cmp(&row[a]).then(a.cmp(&b)));
    for &i in order.iter().take(top) {
        let p = if already { row[i] } else { (row[i] - max).exp() / sum };
        println!("{:6.2} %  {}", p * 100.0, names[i]);
    }
    Ok(())
}
