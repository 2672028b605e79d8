//! `sinter eval --quantize`: what recipes make of a language model, one line each.

use super::eval::EvalArgs;
use super::language::{diag, model_of};
use crate::calibrate::Work;
use crate::driver::{self, Request};
use crate::frontend::llm::cache::KvCache;
use crate::frontend::onnx::ImportOptions;
use crate::progress::Progress;
use crate::report::size;
use crate::system::{self, Clock};
use serde::Serialize;
use sinter_ir::Diag;
use sinter_llm::bundle::BundleModel;
use sinter_llm::eval;
use sinter_llm::files::Opening;
use sinter_llm::info::TOKENIZER_FILE;
use sinter_llm::tokenizer::Tokenizer;
use sinter_passes::compress::Wanted;
use sinter_passes::prune;
use std::path::PathBuf;

/// A line of the table.
#[derive(Debug, Serialize)]
struct Row {
    recipe: String,
    /// What was taken away before.
    prune: String,
    weights_bytes: u64,
    /// Bits per weight of the matrices that became codes, scales counted.
    bits: f64,
    perplexity: f64,
    /// Divergence from the model with float weights.
    kl: f64,
    /// Its standard error.
    kl_error: f64,
    kl_worst: f64,
    /// Part of the tokens where both find the same one most probable.
    agreement: f64,
    /// Seconds from the checkpoint to the bundle.
    seconds: f64,
}

/// Compiles the model once per recipe, and once with float weights to compare with.
pub fn run(a: &EvalArgs, text: &str) -> Result<(), Vec<Diag>> {
    let one = |d: Diag| vec![d];
    let bad = |e| one(diag(e));
    let progress = Progress::start();
    let (reference, float) = compile(a, ("none", "none-kv16"), &|w| progress.step(&format!("none: {w}")))?;
    let (mut reference, floats) = (reference, float.manifest.weights_bytes);
    let tokenizer = float.files.get(TOKENIZER_FILE);
    let tokenizer = tokenizer.ok_or_else(|| one(Diag::input("the model has no tokenizer")))?;
    let tokens = Tokenizer::from_json(tokenizer).and_then(|t| t.encode(text, false)).map_err(bad)?;
    drop(float);
    let most = a.windows.unwrap_or(usize::MAX);
    if !a.json {
        println!(
            "| recipe | weights | bits per weight | perplexity | KL | worst KL | same token | made in |"
        );
        println!("|---|---|---|---|---|---|---|---|");
    }
    let mut rows: Vec<Row> = vec![];
    for (prune, recipe) in recipes(a) {
        let name = match (prune, recipe) {
            ("none", _) => recipe.to_owned(),
            (_, "none") => prune.to_owned(),
            _ => format!("{prune}, {recipe}"),
        };
        let clock = Clock::start();
        let (mut model, b) = compile(a, (prune, recipe), &|w| progress.step(&format!("{name}: {w}")))?;
        let seconds = clock.seconds();
        let codes = &b.report.compressed;
        let weights: u64 = codes.iter().map(|l| l.dims[0] * l.dims[1]).sum();
        let bytes: u64 = codes.iter().map(|l| l.bytes).sum();
        let mut step = |p: &eval::Perplexity| progress.step(&format!("{name}: perplexity {:.3}", p.value()));
        let measured = eval::compare(&mut model, &mut reference, &tokens, a.window, most, &mut step);
        let (p, q, d) = measured.map_err(bad)?;
        if !a.json && rows.is_empty() {
            println!("| none | {} | | {:.3} | | | | |", size(floats), q.value());
        }
        let row = Row {
            recipe: recipe.to_owned(),
            prune: prune.to_owned(),
            weights_bytes: b.manifest.weights_bytes,
            bits: bytes as f64 * 8.0 / weights.max(1) as f64,
            perplexity: p.value(),
            kl: d.mean(),
            kl_error: d.standard_error(),
            kl_worst: d.worst,
            agreement: d.agreement(),
            seconds,
        };
        if !a.json {
            println!(
                "| {name} | {} | {:.2} | {:.3} | {:.4} +- {:.4} | {:.2} | {:.2} % | {seconds:.0} s |",
                size(row.weights_bytes),
                row.bits,
                row.perplexity,
                row.kl,
                row.kl_error,
                row.kl_worst,
                row.agreement * 100.0
            );
        }
        rows.push(row);
    }
    if let Some(work) = &a.calibration.work {
        Work::discard(work).map_err(one)?;
    }
    drop(progress);
    if a.json {
        println!("{}", serde_json::json!({ "model": a.bundle, "window": a.window, "recipes": rows }));
    }
    if let Some(bytes) = system::peak_memory() {
        eprintln!("peak memory: {}", size(bytes));
    }
    Ok(())
}

/// What is compared: every way of pruning with every one of rounding.
fn recipes(a: &EvalArgs) -> Vec<(&str, &str)> {
    fn all(list: &[String]) -> Vec<&str> {
        if list.is_empty() { vec!["none"] } else { list.iter().map(String::as_str).collect() }
    }
    let quantize = all(&a.quantize);
    all(&a.prune).into_iter().flat_map(|p| quantize.iter().map(move |q| (p, *q))).collect()
}

fn compile(
    a: &EvalArgs,
    (prune, recipe): (&str, &str),
    step: &dyn Fn(&str),
) -> Result<(BundleModel, driver::Bundle), Vec<Diag>> {
    let one = |d: Diag| vec![d];
    let (recipe, cache) = KvCache::of_recipe(recipe).map_err(one)?;
    let (stored, compress) = Wanted::parse(recipe).map_err(one)?.parts();
    let prune = prune::Recipe::parse(prune).map_err(one)?;
    let stored = stored.filter(|_| prune.is_none());
    let request = Request {
        model: PathBuf::from(&a.bundle),
        import: ImportOptions {
            all_logits: true,
            stored,
            kv_cache: cache.or(a.kv_cache),
            ..ImportOptions::default()
        },
        targets: vec!["native".into()],
        prune,
        compress,
        calibrate: a.calibration.calibration(),
        ..Request::default()
    };
    let out = driver::compile(&request, step)?;
    out.warnings.iter().for_each(|w| eprintln!("warning: {w}"));
    let b = out.bundles.into_iter().next().ok_or_else(|| one(Diag::bug("no bundle")))?;
    let opening = Opening { threads: a.threads, capacity: Some(a.window) };
    let (model, _) = model_of(&b, opening)?;
    Ok((model, b))
}
